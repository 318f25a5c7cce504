"""Curves and bars."""

import itertools

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from lpa_core.metrics.intervals import Interval
from lpa_core.metrics.tables import compare_maps
from lpa_core.plotting.charts import bars_with_intervals, curves

HISTORY = [
    {"epoch": 1, "loss": 2.0, "accuracy": 0.2},
    {"epoch": 2, "loss": 1.0, "accuracy": None},
    {"epoch": 3, "loss": 0.5, "accuracy": 0.6, "late": 1.0},
]


ROWS = [("ours", Interval(0.8, 0.7, 0.9, 10, 5)), ("chance", Interval(0.1, 0.05, 0.2, 10, 5))]


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def ax() -> Axes:
    return plt.subplots(figsize=(4, 4))[1]


def test_curves_draw_the_points_that_exist(ax: Axes) -> None:
    history = [*HISTORY, {"epoch": 4, "loss": float("nan"), "accuracy": 0.7}, {"loss": 9.0}]
    assert curves(ax, history, ["loss", "accuracy"], ylabel="value") is ax
    loss, accuracy = ax.lines
    assert loss.get_xydata().tolist() == [[1, 2.0], [2, 1.0], [3, 0.5]]
    assert accuracy.get_xydata().tolist() == [[1, 0.2], [3, 0.6], [4, 0.7]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "value")


def test_curves_are_named_at_their_ends_in_their_colour(ax: Axes) -> None:
    curves(ax, HISTORY, ["loss", "accuracy"], labels=["the loss", "the accuracy"])
    assert ax.get_legend() is None
    assert [t.get_text() for t in ax.texts] == ["the loss", "the accuracy"]  # from low to high, as their ends are
    for text, line in zip(ax.texts, ax.lines, strict=True):
        assert text.get_color() == line.get_color()
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


def test_names_stand_at_the_height_of_the_end_when_there_is_room(ax: Axes) -> None:
    curves(ax, [{"epoch": 0, "a": 0.0, "b": 0.0}, {"epoch": 1, "a": 0.2, "b": 1.0}], ["b", "a"])
    heights = {t.get_text(): ax.transAxes.transform((0, t.xy[1]))[1] for t in ax.texts}
    for name, value in (("a", 0.2), ("b", 1.0)):
        assert heights[name] == pytest.approx(ax.transData.transform((0, value))[1])


@pytest.mark.parametrize("yscale", ["linear", "log"])
def test_names_of_lines_that_end_together_do_not_touch(yscale: str) -> None:
    ax = plt.subplots(figsize=(4, 2.6), layout="constrained")[1]
    ax.set_yscale(yscale)
    keys = ["a", "b", "c", "d"]
    curves(ax, [{"epoch": e, **{k: 1 + e + 0.01 * i for i, k in enumerate(keys)}} for e in range(3)], keys)
    ax.figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in ax.texts]
    assert [t.get_text() for t in ax.texts] == keys
    for lower, upper in itertools.pairwise(boxes):
        assert lower.y1 <= upper.y0
    # They are moved apart to both sides: their middle stays at the middle of the ends.
    ends = [ax.transData.transform((2, 3 + 0.01 * i))[1] for i in range(4)]
    names = [ax.transAxes.transform((0, t.xy[1]))[1] for t in ax.texts]
    assert np.mean(names) == pytest.approx(np.mean(ends), abs=0.5)


def test_curves_over_whole_numbers_have_whole_ticks_and_one_record_is_enough(ax: Axes) -> None:
    curves(ax, HISTORY, ["loss"])
    assert all(float(t).is_integer() for t in ax.get_xticks())
    other = plt.subplots()[1]
    curves(other, HISTORY[:1], ["loss"])
    assert other.lines[0].get_marker() == "o"
    assert other.lines[0].get_markersize() > 0
    third = plt.subplots()[1]
    curves(third, [{"share": 0.1, "y": 1.0}, {"share": 0.9, "y": 2.0}], ["y"], x="share", colours=["#0072B2"])
    assert third.get_xlabel() == "share"
    assert third.lines[0].get_color() == "#0072B2"


def test_curves_refuse_unknown_keys(ax: Axes) -> None:
    with pytest.raises(ValueError, match="keys must be among accuracy, epoch, late, loss; got los"):
        curves(ax, HISTORY, ["loss", "los"])
    with pytest.raises(ValueError, match="got step"):
        curves(ax, HISTORY, ["loss"], x="step")
    with pytest.raises(ValueError, match="history is empty"):
        curves(ax, [], ["loss"])
    with pytest.raises(ValueError, match="got no key"):
        curves(ax, HISTORY, [])
    with pytest.raises(ValueError, match="labels must be 1"):
        curves(ax, HISTORY, ["loss"], labels=["a", "b"])
    with pytest.raises(ValueError, match="colours must be 1"):
        curves(ax, HISTORY, ["loss"], colours=[])
    assert not ax.lines


def test_bars_have_the_length_of_the_mean_and_a_line_for_the_interval(ax: Axes) -> None:
    assert bars_with_intervals(ax, ROWS, xlabel="share") is ax
    assert [bar.get_width() for bar in ax.patches] == [0.8, 0.1]
    assert [bar.get_x() for bar in ax.patches] == [0, 0]
    assert [line.get_xdata().tolist() for line in ax.lines] == [[0.7, 0.9], [0.05, 0.2]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["ours", "chance"]
    assert [t.get_text() for t in ax.texts] == ["0.80", "0.10"]
    assert ax.get_xlim() == (0, 1)
    low, high = ax.get_ylim()
    assert low > high  # the first row is on top
    assert ax.get_xlabel() == "share"


def test_bars_of_a_table_name_the_score_and_grey_the_baselines(ax: Axes) -> None:
    masks = torch.zeros(6, 8, 8, dtype=torch.bool)
    masks[:, 2:4, 2:4] = True
    images = (masks[:, None] * 255).to(torch.uint8)
    rows = compare_maps({"level 1": masks.float()}, masks, images=images, resamples=20)
    bars_with_intervals(ax, rows, score="iou")
    assert ax.get_xlabel() == "IoU"
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([row.iou.mean for row in rows])
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert len(set(colours[1:])) == 1
    assert colours[0] != colours[1]


def test_a_row_without_a_value_says_so(ax: Axes) -> None:
    nothing = float("nan")
    bars_with_intervals(ax, [*ROWS, ("empty", Interval(nothing, nothing, nothing, 0, 0, 3))])
    assert [t.get_text() for t in ax.texts] == ["0.80", "0.10", "no value"]
    bars_with_intervals(plt.subplots()[1], [("one cluster", Interval(0.5, nothing, nothing, 2, 1))])


def test_bars_refuse_no_rows_and_unknown_scores(ax: Axes) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        bars_with_intervals(ax, [])
    for wrong in ("accuracy",):
        with pytest.raises((ValueError, TypeError), match="score"):
            bars_with_intervals(ax, ROWS, score=wrong)
