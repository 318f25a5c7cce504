"""Tables of scores, baselines always among them."""

import jaxtyping
import pytest
import torch
from torch import nn

from lpa_core.metrics.baselines import edge_maps, random_maps, uniform_maps
from lpa_core.metrics.intervals import Interval
from lpa_core.metrics.localisation import box_masks, score_maps
from lpa_core.metrics.tables import best_level, by_layer, compare_maps
from lpa_core.posthoc import explain, map_layers

NAN = float("nan")


@pytest.fixture
def unchecked():
    """Turn the run-time shape checker off, as it is for users, so that the package's own messages are seen."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def test_best_level_takes_numbers_tensors_and_intervals() -> None:
    assert best_level([0.2, 0.9, 0.5]) == 1
    assert best_level([torch.tensor([1.0, 0.0]), torch.tensor([NAN, 0.6])]) == 1  # NaN out: .5 beside .6
    assert best_level([Interval(0.7, 0.1, 0.9, 9, 9), Interval(0.6, 0.5, 0.99, 9, 9)]) == 0
    assert best_level([0.5, 0.9, 0.9]) == 2  # of equals the deepest


def test_best_level_refuses_levels_without_a_score() -> None:
    for levels in ([], [0.5, torch.tensor([NAN])]):
        with pytest.raises(ValueError, match="at least one score for every level"):
            best_level(levels)


def comparison(n: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures with one bright square anywhere, its mask, and clusters of three pictures."""
    generator = torch.Generator().manual_seed(0)
    top, left = torch.randint(0, 12, (2, n), generator=generator)
    masks = box_masks(torch.stack([top, left, top + 4, left + 4], dim=1), (16, 16))
    images = (masks[:, None] * 200).to(torch.uint8).expand(n, 3, 16, 16)
    return masks, images, torch.arange(n) // 3


BUILT_IN = ["random map", "centre prior", "blurred brightness", "edges", "uniform weights"]


def test_compare_maps_always_has_the_baselines() -> None:
    masks, images, clusters = comparison()
    named = {"level 1": masks.float(), "level 2": random_maps(60, (4, 4), seed=5)}
    rows = compare_maps(
        named, masks, clusters, images=images, baselines={"untrained network": uniform_maps(60, (2, 2))}
    )
    assert [row.name for row in rows] == ["level 1", "level 2", *BUILT_IN, "untrained network"]
    assert [row.baseline for row in rows] == [False, False, *[True] * 6]
    table = {row.name: row for row in rows}
    # The mask itself is perfect; the brightness of a lone bright square finds it; a constant map scores the area.
    assert table["level 1"][1:4] == ((1.0, 1.0, 1.0, 60, 20, 0),) * 3
    assert table["blurred brightness"].pointing.mean == 1.0
    expected = score_maps(edge_maps(images), masks)
    assert table["edges"].pointing.mean == expected.pointing.mean()
    assert table["edges"].energy.mean == pytest.approx(expected.energy.mean().item())
    assert 0.25 < table["edges"].energy.mean < 1  # some of an edge lies around its object
    for name in ("uniform weights", "untrained network"):
        assert table[name].pointing.mean == pytest.approx(16 / 256)
        assert table[name].energy.mean == pytest.approx(16 / 256)
        assert table[name].iou.mean == pytest.approx(16 / (2 * 256 - 16))
    assert table["random map"].energy.mean == pytest.approx(16 / 256, abs=0.02)
    assert table["random map"].pointing.mean < 0.2


def test_compare_maps_draws_the_random_map_at_the_size_of_the_coarsest() -> None:
    masks, images, _ = comparison()
    rows = compare_maps({"a": torch.rand(60, 8, 8), "b": torch.rand(60, 2, 4)}, masks, images=images, seed=3)
    expected = score_maps(random_maps(60, (2, 4), seed=3), masks)
    assert {row.name: row for row in rows}["random map"].energy.mean == pytest.approx(expected.energy.mean().item())


def test_compare_maps_counts_empty_masks_and_passes_options_on() -> None:
    masks, images, clusters = comparison()
    masks[:6] = False
    maps = {"signed": torch.randn(60, 4, 4, generator=torch.Generator().manual_seed(0))}
    with pytest.raises(ValueError, match="signed: maps must not be negative"):
        compare_maps(maps, masks, clusters, images=images)
    rows = compare_maps(maps, masks, clusters, images=images, clamp=True, confidence=0.5)
    wide = compare_maps(maps, masks, clusters, images=images, clamp=True, confidence=0.99)
    for row, other in zip(rows, wide, strict=True):
        assert row.pointing[3:] == (54, 18, 6)
        if row.name != "uniform weights":  # all its scores are equal
            assert other.energy.high - other.energy.low > row.energy.high - row.energy.low


def test_compare_maps_refuses_bad_names() -> None:
    masks, images, _ = comparison(6)
    with pytest.raises(ValueError, match="at least one map"):
        compare_maps({}, masks, images=images)
    with pytest.raises(ValueError, match="names must be used once; got random map"):
        compare_maps({"random map": masks.float()}, masks, images=images)
    with pytest.raises(ValueError, match="names must be used once; got mine"):
        compare_maps({"mine": masks.float()}, masks, images=images, baselines={"mine": masks.float()})


@pytest.mark.usefixtures("unchecked")
def test_compare_maps_names_the_map_that_does_not_fit() -> None:
    masks, images, _ = comparison(6)
    with pytest.raises(ValueError, match=r"level 2: masks must be .* each of 5 maps"):
        compare_maps({"level 1": masks.float(), "level 2": torch.rand(5, 4, 4)}, masks, images=images)


class Reader(nn.Module):
    """Two convolutions and a mean: what each layer shows is known."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU())
        self.late = nn.Conv2d(2, 3, 2, stride=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.late(self.early(images)).mean((2, 3))


def test_methods_stand_in_for_their_maps() -> None:
    def own(model, images, targets):
        return images[:, 0] * targets[:, None, None]

    model, pictures = Reader(), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    masks = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.3
    targets = [0, 1, 2, 1]
    maps = {"grad_cam": explain(model, pictures, targets), "own": own(model, pictures, torch.tensor(targets))}
    given = compare_maps(maps, masks, images=pictures, clamp=True)
    named = compare_maps(
        {"grad_cam": "grad_cam", "own": own},
        masks,
        images=pictures,
        model=model,
        inputs=pictures,
        targets=targets,
        clamp=True,
    )
    assert named == given
    with pytest.raises(ValueError, match=r"own: a method needs model= and inputs="):
        compare_maps({"own": own}, masks, images=pictures)


def test_by_layer_has_a_row_for_every_layer_and_the_baselines() -> None:
    model, pictures = Reader(), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    masks = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(2)) < 0.3
    rows = by_layer(model, pictures - 0.5, masks, 1, method="hirescam", pictures=pictures)
    assert [row.name for row in rows] == ["early", "late", *BUILT_IN]
    assert [row.baseline for row in rows] == [False, False, *[True] * 5]
    alone = explain(model, pictures - 0.5, 1, method="hirescam", layer="early")
    expected = compare_maps({"early": alone}, masks, images=pictures, clamp=True)[0]
    assert rows[0] == expected
    (row, *_) = by_layer(model, pictures - 0.5, masks, 1, pictures=pictures, layers=["early.0"])
    assert row.name == "early.0"


def test_by_layer_leaves_out_what_no_logit_rests_on() -> None:
    class WithIdle(Reader):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Conv2d(2, 2, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.idle(self.early(images))
            return super().forward(images)

    model, pictures = WithIdle(), torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert "idle" in map_layers(model, pictures)
    rows = by_layer(model, pictures, pictures[:, 0] > 0.7, pictures=pictures)
    assert [row.name for row in rows if not row.baseline] == ["early", "late"]
