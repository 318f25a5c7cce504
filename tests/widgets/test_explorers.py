"""The explorers show what the package computes: the numbers in their texts are those of the maps beside them."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny import tiny_set

from lpa_core import widgets
from lpa_core.attention import attend
from lpa_core.data.digits import digits_in_clutter
from lpa_core.hard.windows import box_iou
from lpa_core.metrics import box_masks, energy_in_mask
from lpa_core.metrics.baselines import random_maps
from lpa_core.metrics.insertion_deletion import curve
from lpa_core.models import weights
from lpa_core.models.builders import small_attention_net
from lpa_core.plotting.maps import pixels
from lpa_core.posthoc import explain


@pytest.fixture(scope="module")
def pictures():
    return digits_in_clutter(6, split="test", seed=3)


@pytest.fixture(scope="module")
def networks():
    return {name[-2:]: weights.load_weights(name)[0] for name in ("digits-pc", "digits-dp")}


def attention_maps(model):
    def maps(images):
        with torch.no_grad():
            return {"attention": [attended.weights for attended in model.attend(images).attended]}

    return maps


# ---- maps ----


def test_maps_are_those_of_the_picture_the_level_and_the_method(pictures, networks):
    def maps(images):
        found = attention_maps(networks["pc"])(images)
        return {**found, "minus": [-map for map in found["attention"]]}

    explorer = widgets.maps_explorer(pictures, maps, shown=2)
    assert len(explorer.frames) == 2 * 3 * 2
    expected = attention_maps(networks["pc"])(pictures.float_images([1]))["attention"][1][0]
    frame = explorer.frames[1 * 6 + 1 * 2]
    picture, map = frame.panels
    box = pictures.boxes[1]
    assert (picture.image == pixels(pictures.images[1], boxes=box)).all()
    assert (map.image == pixels(pictures.images[1], expected, boxes=box)).all()
    assert map.scale == pytest.approx((0, expected.max().item()))
    assert f"{expected.max() / expected.mean():.1f} times the mean" in frame.text
    minus = explorer.frames[1 * 6 + 1 * 2 + 1].panels[1]
    assert minus.scale == pytest.approx((-expected.max().item(), expected.max().item()))


def test_the_deepest_level_or_the_one_asked_for_is_shown_first(pictures, networks):
    maps = attention_maps(networks["pc"])
    for level, name in ((None, "3 of 3"), (2, "2 of 3")):
        assert widgets.maps_explorer(pictures, maps, level=level).controls[1].first == name


def test_inside_the_frame_means_inside(pictures):
    top, left, bottom, right = pictures.boxes[0].tolist()
    spot = torch.zeros(2, 40, 40)
    spot[0, (top + bottom) // 2, (left + right) // 2] = spot[1, top - 1, left] = 1
    explorer = widgets.maps_explorer(pictures, lambda _: {"spot": [spot[:1], spot[1:]]}, shown=1)
    assert [re.search("(inside|outside) the frame", frame.text)[1] for frame in explorer.frames] == [
        "inside",
        "outside",
    ]


def test_a_picture_is_computed_once_and_only_when_it_is_shown(pictures):
    asked = []

    def maps(images):
        asked.append(images)
        return {"flat": [torch.ones(1, 2, 2)]}

    explorer = widgets.maps_explorer(pictures, maps, shown=2)
    assert len(asked) == 1
    explorer.html()
    explorer.html()
    assert len(asked) == 2
    live = explorer.live()
    live.children[1].value = 5
    assert len(asked) == 3
    assert torch.equal(asked[-1], pictures.float_images([5]))


def test_pictures_without_boxes_do(networks):
    pictures = digits_in_clutter(2, split="test")
    bare = replace(pictures, boxes=None, masks=None, sources=None)
    explorer = widgets.maps_explorer(bare, attention_maps(networks["pc"]), shown=2)
    assert all("frame" not in frame.text for frame in explorer.frames)


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        ({"a": [torch.ones(1, 2, 2)], "b": []}, {}, "as many levels for every method"),
        ({}, {}, "no method"),
        ({"a": [torch.ones(1, 2, 2)]}, {"level": 2}, "level must be from 1 to 1; got 2"),
        ({"a": [torch.ones(1, 2, 2)]}, {"shown": 7}, "shown must be from 1 to the 6"),
    ],
)
def test_maps_that_do_not_fit_are_refused(pictures, maps, options, message):
    with pytest.raises(ValueError, match=message):
        widgets.maps_explorer(pictures, lambda _: maps, **options)


# ---- temperature ----


def test_the_temperature_divides_the_scores(pictures):
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    explorer = widgets.temperature_explorer(pictures.images[0], scores, start=4.0)
    assert explorer.controls[0].first == "4"
    for temperature, frame in zip((2.0**power for power in range(-4, 5)), explorer.frames, strict=True):
        expected = attend(torch.ones(1, 1, 5, 4), scores[None] / temperature).weights[0]
        assert (frame.panels[2].image == pixels(pictures.images[0], expected)).all()
        assert f"holds {100 * expected.max():.1f} % of the weight" in frame.text
    positions = [int(re.search(r"equal weights on (\d+) of the 20", frame.text)[1]) for frame in explorer.frames]
    assert positions == sorted(positions)
    assert (positions[0], positions[-1]) == (1, 20)


def test_equal_scores_are_as_good_as_all_positions(pictures):
    explorer = widgets.temperature_explorer(pictures.images[0], torch.full((3, 3), 7.0))
    assert all("equal weights on 9 of the 9 positions" in frame.text for frame in explorer.frames)


def test_the_live_temperature_has_finer_steps(pictures):
    control = widgets.temperature_explorer(pictures.images[0], torch.eye(3)).controls[0]
    assert set(control.options) <= set(control.live)
    assert len(control.live) > 2 * len(control.options)
    values = list(control.live.values())
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("scores", "start", "message"),
    [
        (torch.full((2, 2), torch.nan), 1.0, "finite"),
        (torch.zeros(2, 2), 3.0, "start must be one of 1/16"),
    ],
)
def test_scores_or_starts_that_do_not_fit_are_refused(pictures, scores, start, message):
    with pytest.raises(ValueError, match=message):
        widgets.temperature_explorer(pictures.images[0], scores, start=start)


# ---- g swapped ----


def test_g_moves_the_maps_of_dp_and_not_those_of_pc(pictures, networks):
    explorer = widgets.swap_explorer(networks, pictures, shown=3)
    moved = [re.search(r"pc (\d+) %, dp (\d+) %", frame.text).groups() for frame in explorer.frames]
    assert {pc for pc, _ in moved} == {"0"}
    assert [int(dp) == 0 for _, dp in moved] == [picture == donor for picture in range(3) for donor in range(3)]
    assert [control.first for control in explorer.controls] == ["1", "2"]


def test_swapping_agrees_with_the_estimator_and_leaves_the_model(pictures, networks):
    dp = networks["dp"]
    dp.train()
    try:
        frame = widgets.swap_explorer({"dp": dp}, pictures, shown=2).frames[1]
        assert dp.training
        assert all(parameter.grad is None for parameter in dp.parameters())
    finally:
        dp.eval()
    with torch.no_grad():
        features = dp.trunk(pictures.float_images())
        own, other = (dp.estimators[1](features.local[1][:1], features.g[i : i + 1]).weights for i in (0, 1))
    assert f"dp {50 * (own - other).abs().sum():.0f} %" in frame.text
    assert frame.panels[2].scale[1] == pytest.approx(other.max().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        ({}, {"level": 4}, "level must be from 1 to 3"),
        ({"global_path": False}, {}, "no global vector to swap"),
        (None, {}, "at least one model"),
    ],
)
def test_models_without_that_level_or_g_are_refused(pictures, build, options, message):
    models = {} if build is None else {"net": small_attention_net(**build)}
    with pytest.raises(ValueError, match=message):
        widgets.swap_explorer(models, pictures, **options)


# ---- the hard window ----


def test_the_window_is_light_and_its_overlap_is_told(pictures):
    box = pictures.boxes[:2]
    away = torch.tensor([[0, 0, 18, 12]] * 2)
    explorer = widgets.window_explorer(pictures, [10, 2000], [away, box], shown=2)
    assert explorer.controls[0].first == "2,000"
    assert [frame.text.rpartition(" by ")[2] for frame in explorer.frames] == [
        *(f"{iou:.2f} (IoU)." for iou in box_iou(away, box).tolist()),
        "1.00 (IoU).",
        "1.00 (IoU).",
    ]
    seen, shown = explorer.frames[0].panels[1].image, pixels(pictures.images[0])
    inside = (slice(3, 50), slice(3, 30))
    assert (seen[inside] == shown[inside]).all()
    assert seen[60:].mean() < 0.5 * shown[60:].mean()


@pytest.mark.parametrize(
    ("steps", "windows", "message"),
    [
        ([1], [], "one for each of 0 windows"),
        ([2, 1], [torch.zeros(4, 4).long()] * 2, "must rise"),
        ([1], [torch.zeros(2, 4).long()], "4 or more"),
    ],
)
def test_windows_that_do_not_fit_are_refused(pictures, steps, windows, message):
    with pytest.raises(ValueError, match=message):
        widgets.window_explorer(pictures, steps, windows)


def test_windows_need_boxes_to_be_held_against(pictures):
    bare = replace(tiny_set(), boxes=None)
    with pytest.raises(ValueError, match="must have boxes"):
        widgets.window_explorer(bare, [1], [torch.zeros(4, 4).long()])


# ---- epochs ----


@pytest.fixture(scope="module")
def watched(pictures, networks):
    """Three pictures, as two networks see them at two moments."""
    three = pictures.subset(range(3))
    with torch.no_grad():
        outputs = [networks[name].attend(three.float_images()) for name in ("pc", "dp")]
        twin = [small_attention_net(compatibility="uniform").eval().attend(three.float_images())] * 2
    return three, {"looks": outputs, "twin": twin}


def test_an_epoch_shows_the_maps_and_answers_of_that_epoch(watched):
    pictures, networks = watched
    explorer = widgets.epochs_explorer(pictures, networks, start=1)
    assert [control.first for control in explorer.controls][1] == "1"
    assert len(explorer.frames) == 3 * 2
    frame = explorer.frames[2 * 2 + 1]
    map = networks["looks"][1].attended[2].weights[2]
    top, box = map.max().item(), pictures.boxes[2]
    assert top > 2 / map.numel()
    picture, looks, twin = frame.panels
    assert (picture.image == pixels(pictures.images[2], boxes=box)).all()
    assert (looks.image == pixels(pictures.images[2], map, boxes=box, scale=(0.0, top))).all()
    assert looks.scale == twin.scale == pytest.approx((0.0, top))
    flat = torch.full((10, 10), 0.01)
    assert twin.image.mean() < pixels(pictures.images[2], flat).mean()
    assert "equal everywhere" in twin.alt
    assert "heaviest" in looks.alt
    probability, best = networks["looks"][1].logits[2].softmax(dim=0).max(dim=0)
    assert f"looks answers {pictures.classes[best]} ({100 * probability:.0f} %)" in frame.text
    inside = box_masks(box[None], (40, 40))
    shares = [energy_in_mask(each[None], inside).item() for each in (map, flat)]
    assert [int(found) for found in re.findall(r"with (\d+) %", frame.text)] == [round(100 * s) for s in shares]


def test_a_level_and_names_of_moments_can_be_asked_for(watched):
    pictures, networks = watched
    explorer = widgets.epochs_explorer(pictures, networks, level=1, moments=["early", "late"], shown=1)
    assert [frame.text[:12] for frame in explorer.frames] == ["Epoch early:", "Epoch late: "]
    map = networks["looks"][0].attended[0].weights[0]
    expected = pixels(pictures.images[0], map, boxes=pictures.boxes[0], scale=(0.0, map.max().item()))
    assert (explorer.frames[0].panels[1].image == expected).all()


def test_epochs_without_boxes_do(watched):
    pictures, networks = watched
    bare = replace(pictures, boxes=None, masks=None, sources=None)
    assert all("frame" not in frame.text for frame in widgets.epochs_explorer(bare, networks).frames)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda networks: {}, {}, "equally many moments, at least one; got no network"),
        (lambda networks: {**networks, "twin": networks["twin"][:1]}, {}, "equally many moments"),
        (lambda networks: {"none": []}, {}, "at least one"),
        (lambda networks: networks, {"moments": ["one"]}, "moments must be 2 different names"),
        (lambda networks: networks, {"level": 4}, "level must be from 1 to 3; got 4"),
        (lambda networks: networks, {"start": 2}, "start must be from 0 to 1; got 2"),
        (lambda networks: networks, {"shown": 4}, "shown must be from 1 to the 3"),
        (lambda networks: {"none": [networks["twin"][0]._replace(attended=())]}, {}, "equally many levels"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(watched, change, options, message):
    pictures, networks = watched
    with pytest.raises(ValueError, match=message):
        widgets.epochs_explorer(pictures, change(networks), **options)


def test_outputs_of_other_pictures_are_refused(watched, pictures):
    with pytest.raises(ValueError, match="looked at the 6 pictures; got outputs of"):
        widgets.epochs_explorer(pictures, watched[1], shown=1)


# ---- all of them ----


def test_every_explorer_of_the_book_is_small_and_speaks(pictures, networks, watched):
    with torch.no_grad():
        scores = networks["pc"].attend(pictures.float_images()).attended[1].scores[0]
    explorers = [
        widgets.maps_explorer(pictures, attention_maps(networks["pc"])),
        widgets.temperature_explorer(pictures.images[0], scores),
        widgets.swap_explorer(networks, pictures),
        widgets.window_explorer(pictures, range(1, 11), [pictures.boxes] * 10),
        widgets.epochs_explorer(watched[0], {name: [*seen, *seen, seen[0]] for name, seen in watched[1].items()}),
    ]
    for explorer in explorers:
        assert len(explorer.html()) <= 150_000, explorer
        assert all(len(panel.alt) >= 20 for frame in explorer.frames for panel in frame.panels)


# ---- deletion and insertion ----


@pytest.fixture(scope="module")
def film(pictures, networks):
    image = pictures.float_images([0])
    map = explain(networks["pc"], image, method="attention")
    about = {"mean": pictures.mean, "std": pictures.std, "name": "its digit", "steps": 4}
    return widgets.deletion_explorer(networks["pc"], image, map, int(pictures.labels[0]), **about)


def test_the_film_tells_what_the_curves_say(film, pictures, networks):
    image, target = pictures.float_images([0]), int(pictures.labels[0])
    maps = (explain(networks["pc"], image, method="attention"), random_maps(1, (10, 10), seed=0))
    expected = [
        curve(networks["pc"], image, map, target, kind=kind, steps=4, baseline="mean").scores[0].tolist()
        for kind in ("deletion", "insertion")
        for map in maps
    ]
    told = [re.findall(r"\d\.\d\d", frame.text) for frame in film.frames]
    assert told == [[f"{value:.2f}" for value in at] for at in zip(*expected, strict=True)]
    assert list(film.controls[0].options) == ["0 %", "25 %", "50 %", "75 %", "100 %"]


def test_the_film_parts_the_picture_in_what_is_marked_and_what_is_not(film, pictures):
    picture = pixels(pictures.images[0], side=200)
    plain = picture.reshape(-1, 3).mean(axis=0)
    for share, frame in zip((0, 0.25, 0.5, 0.75, 1), film.frames, strict=True):
        without, alone, _ = (panel.image.astype(float) for panel in frame.panels)
        painted = [(abs(image - plain) < 1.5).all(axis=2) for image in (without, alone)]
        assert painted[0].mean() == pytest.approx(share, abs=0.02)
        assert painted[1].mean() == pytest.approx(1 - share, abs=0.02)
        assert abs(without + alone - plain - picture).max() < 2.5
    charts = [frame.panels[2].image for frame in film.frames]
    assert all((one != other).any() for one, other in pairwise(charts))


def test_a_film_is_of_one_picture(pictures, networks):
    with pytest.raises(ValueError, match=r"image must be one picture, .*got \(2, 3, 40, 40\)"):
        widgets.deletion_explorer(
            networks["pc"], pictures.float_images([0, 1]), torch.rand(2, 4, 4), 0, mean=pictures.mean, std=pictures.std
        )
