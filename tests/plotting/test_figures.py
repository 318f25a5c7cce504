"""The rules of every figure."""

import io

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from lpa_core.attention import Attended
from lpa_core.metrics.intervals import Interval
from lpa_core.models.classifier import AttentionOutput
from lpa_core.plotting.charts import bars_with_intervals, curves
from lpa_core.plotting.grids import attention_figure, map_grid
from lpa_core.plotting.maps import overlay, show_image

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


def picture(size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def some_maps(b: int = 2, signed: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(b, h, h, generator=generator) * h - 2 * signed for h in (4, 2)]


def grid(**options) -> np.ndarray:
    return map_grid(torch.stack([picture(), picture(seed=1)]), some_maps(), **options)


def drawn_texts(figure: Figure) -> list[Text]:
    """The texts that a reader sees: a tick outside the axis keeps its text but is not drawn."""
    unseen: set[Text] = set()
    for axis in (axis for a in figure.findobj(Axes) for axis in (a.xaxis, a.yaxis)):
        low, high = sorted(axis.get_view_interval())
        pairs = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        unseen |= {text for place, text in pairs if not low <= place <= high}
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in unseen]


def output_of(b: int = 2, levels: int = 2, classes: int = 3) -> AttentionOutput:
    logits = torch.zeros(b, classes)
    logits[:, 1] = torch.log(torch.tensor(6.0))  # probabilities 1/8, 6/8, 1/8
    attended = tuple(Attended(torch.zeros(b, 4), w, torch.zeros_like(w)) for w in some_maps(b)[:levels])
    return AttentionOutput(logits, attended, None)


def draw_each() -> dict[str, object]:
    """One call of every public function, each on a figure of its own."""
    return {
        "show_image": lambda: show_image(plt.subplots()[1], picture()),
        "overlay": lambda: overlay(plt.subplots()[1], picture(), some_maps()[0][0]),
        "map_grid": lambda: grid(labels=["a", "b"], quantity="weight"),
        "map_grid_panels": lambda: grid(share="panel", quantity="weight"),
        "attention_figure": lambda: attention_figure(picture(), output_of()),
        "curves": lambda: curves(plt.subplots(layout="constrained")[1], HISTORY, ["loss", "accuracy"], ylabel="y"),
        "bars_with_intervals": lambda: bars_with_intervals(plt.subplots(layout="constrained")[1], ROWS, xlabel="share"),
    }


EACH = list(draw_each())


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_no_global_setting_changes_and_nothing_is_shown(name: str, style: str, monkeypatch) -> None:
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("plt.show was called"))
    with plt.style.context(style):
        before, state = dict(mpl.rcParams), torch.random.get_rng_state()
        drawn = draw_each()[name]()
        assert dict(mpl.rcParams) == before
        assert torch.equal(torch.random.get_rng_state(), state)
    assert all(isinstance(a, Axes) for a in np.ravel(drawn))


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_background_is_opaque_white_and_text_dark_and_large_whatever_the_style(name: str, style: str) -> None:
    with plt.style.context(style):
        axes = np.ravel(draw_each()[name]())
        figure = axes[0].figure
        file = io.BytesIO()
        figure.savefig(file, format="png")
    file.seek(0)
    pixels = plt.imread(file)
    assert pixels[0, 0].tolist() == [1, 1, 1, 1]
    assert pixels[..., 3].min() == 1
    for a in figure.axes:
        assert to_hex(a.get_facecolor(), keep_alpha=True) == "#ffffffff"
    seen = drawn_texts(figure)
    assert seen or name == "show_image"
    for text in seen:
        assert text.get_fontsize() >= 12, text
        red, green, blue = mpl.colors.to_rgb(text.get_color())
        assert 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < 0.18, text  # contrast 4.5 on white


@pytest.mark.parametrize("name", ["map_grid", "map_grid_panels", "attention_figure", "curves", "bars_with_intervals"])
def test_no_text_is_cut_off_or_written_over_another(name: str) -> None:
    figure = np.ravel(draw_each()[name]())[0].figure
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    boxes = []
    for text in drawn_texts(figure):
        box = text.get_window_extent()
        assert box.x0 >= -0.5, text
        assert box.y0 >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y1 <= height + 0.5, text
        boxes.append((text.get_text(), box))
    assert len(boxes) >= 4
    for i, (first, a) in enumerate(boxes):
        for second, b in boxes[:i]:
            apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
            assert apart, f"{first!r} touches {second!r}"
        for b in (panel.get_window_extent() for panel in figure.axes if panel.images):
            assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0, f"{first!r} lies on a picture"
