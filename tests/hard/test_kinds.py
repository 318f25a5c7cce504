"""A kind is one object, and where it looks is a matter of its config."""

import dataclasses
import json

import pytest
import torch

from lpa_core import hard
from lpa_core.data.digits import digits_in_clutter
from lpa_core.hard.kinds import KINDS, HardConfig, HardKind, Seen, build_model, look
from lpa_core.hard.scoring import score
from lpa_core.hard.windows import box_iou, crop, every_window, window_boxes


@pytest.fixture(scope="module")
def digits():
    return digits_in_clutter(8, split="train")


class TopLeft(HardKind):
    """Always the first window."""

    def look(self, model, images, config, chance, lot):
        corners = torch.zeros(len(images), 2, dtype=torch.long)
        boxes = window_boxes(corners, model.size)[:, None]
        return Seen(model.classifier(crop(images, corners, model.size)), boxes)


def test_a_new_kind_is_added_in_one_place(digits, monkeypatch):
    monkeypatch.setitem(KINDS, "top-left", TopLeft("the first window"))
    config = HardConfig(kind="top-left", steps=2, batch_size=4, draws=1, options={"channels": 4})
    run = hard.train_hard(config, digits, digits, watch=digits, progress=False)
    assert run.results["hit"] == 0  # no digit has its middle there
    assert run.history[-1]["windows"] == [[[0, 0, 18, 12]]] * 6
    assert hard.record(run)["kind"] == "the first window"


@pytest.mark.parametrize("kind", ["hard", "random", "transformer"])
def test_the_window_of_the_config_is_that_of_the_model(digits, kind):
    config = HardConfig(kind=kind, window=(12, 9), stride=3, options={"channels": 4})
    with torch.random.fork_rng():
        model = build_model(config, 10).eval()
    assert (model.size, model.stride) == ((12, 9), 3)
    boxes = look(model, digits.float_images(), config, lot=torch.Generator().manual_seed(0)).boxes[:, 0]
    assert (boxes[:, 2:] - boxes[:, :2]).tolist() == [[12, 9]] * 8
    for taken in ("size", "shrink"):
        with pytest.raises(ValueError, match=f"options must leave {taken} to window and stride"):
            build_model(dataclasses.replace(config, options={taken: 3}), 10)


def test_soft_maps_are_judged_with_the_window_of_the_config(digits):
    """Uniform weights get the mean over all windows: of this size, and this far apart."""
    config = HardConfig(kind="uniform", window=(30, 30), stride=5)
    with torch.random.fork_rng():
        model = build_model(config, 10)
    windows = every_window((40, 40), (30, 30), 5)
    assert windows.tolist() == [[y, x, y + 30, x + 30] for y in (0, 5, 10) for x in (0, 5, 10)]
    every = torch.stack([box_iou(window.expand(8, 4), digits.boxes) for window in windows])
    assert score(model, digits, config)["iou"] == pytest.approx(every.mean().item(), rel=1e-5)
    assert score(model, digits, config)["iou"] != score(model, digits, HardConfig(kind="uniform"))["iou"]


def test_a_config_comes_back_from_json_and_from_before_it_had_a_window():
    config = HardConfig(window=(20, 14), stride=1)
    assert HardConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    assert HardConfig.from_dict({"kind": "soft"}) == HardConfig(kind="soft", window=(18, 12), stride=2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"window": [18, 12]}, TypeError, "window must be"),
        ({"window": (18, 0)}, ValueError, "window must be a whole number"),
        ({"window": (18,)}, ValueError, r"window must be \(height, width\)"),
        ({"stride": 0}, ValueError, "stride"),
    ],
)
def test_a_window_that_cannot_be_is_refused(unchecked, changes, error, message):
    with pytest.raises(error, match=message):
        HardConfig(**changes)
