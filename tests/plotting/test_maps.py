"""Figures: what is drawn is what was given, the scale is shown, and nothing outside the figure changes."""

import io
import itertools

import jaxtyping
import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from lpa_core.attention import Attended
from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import normalise
from lpa_core.metrics.intervals import Interval
from lpa_core.metrics.localisation import enlarge
from lpa_core.metrics.tables import compare_maps
from lpa_core.models.builders import small_attention_net
from lpa_core.models.classifier import AttentionOutput
from lpa_core.plotting.charts import bars_with_intervals, curves
from lpa_core.plotting.grids import attention_figure, map_grid
from lpa_core.plotting.maps import overlay, pixels, show_image
from lpa_core.plotting.style import ALPHA, CONTRAST

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
def unchecked():
    """Turn the run-time shape checker off, as it is for users, so that the package's own messages are seen."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def ax() -> Axes:
    return plt.subplots(figsize=(4, 4))[1]


def picture(size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def some_maps(b: int = 2, signed: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(b, h, h, generator=generator) * h - 2 * signed for h in (4, 2)]


def grid(**options) -> np.ndarray:
    return map_grid(torch.stack([picture(), picture(seed=1)]), some_maps(), **options)


def one_picture(ax: Axes) -> np.ndarray:
    (image,) = ax.images
    return np.asarray(image.get_array())


def the_map(ax: Axes):
    _, over = ax.images
    return over


def bars_of(axes: np.ndarray) -> list[Axes]:
    return [a for a in axes[0, 0].figure.axes if a not in axes.ravel().tolist()]


def ticks(ax: Axes) -> list[str]:
    return [t.get_text() for t in ax.get_xticklabels()]


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

# the rules of every figure --------------------------------------------------------------------------------------------


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


# show_image -----------------------------------------------------------------------------------------------------------


def test_show_image_draws_the_pixels_it_was_given(ax: Axes) -> None:
    image = picture()
    assert show_image(ax, image) is ax
    np.testing.assert_allclose(one_picture(ax), image.permute(1, 2, 0).numpy() / 255, atol=1e-7)
    assert ax.images[0].get_extent() == [0, 8, 8, 0]
    assert ticks(ax) == []


def test_show_image_takes_grey_float_and_normalised(ax: Axes) -> None:
    grey = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]])
    show_image(ax, grey)
    np.testing.assert_allclose(one_picture(ax), np.repeat(grey[0].numpy()[..., None], 3, axis=2))
    other = plt.subplots()[1]
    image, mean, std = picture(), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    show_image(other, normalise(image[None], mean, std)[0], mean=mean, std=std)
    np.testing.assert_allclose(one_picture(other), image.permute(1, 2, 0).numpy() / 255, atol=1e-6)


def test_rounding_just_outside_the_range_is_drawn_as_its_end(ax: Axes, caplog) -> None:
    show_image(ax, torch.tensor([[[-5e-4, 1 + 5e-4]]]))
    assert one_picture(ax)[0, :, 0].tolist() == [0, 1]
    assert not caplog.records  # matplotlib was left nothing to clip, and so to warn about


def test_boxes_are_drawn_at_their_pixels(ax: Axes) -> None:
    show_image(ax, picture(), box=torch.tensor([[1, 2, 4, 7], [0, 0, 8, 8]]))
    shapes = {(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in ax.patches if isinstance(p, Rectangle)}
    assert shapes == {(2, 1, 5, 3), (0, 0, 8, 8)}
    assert len(ax.patches) == 4  # each a light line on a dark one
    assert {to_hex(p.get_edgecolor()) for p in ax.patches} == {"#ffffff", "#1a1a1a"}
    assert not any(p.get_fill() for p in ax.patches)


@pytest.mark.usefixtures("unchecked")
def test_show_image_refuses_what_is_no_picture(ax: Axes) -> None:
    image = picture()
    for wrong in (image[0], image[None], image[:2], image.permute(1, 2, 0)):
        with pytest.raises(ValueError, match=r"image must be \(3, h, w\), or \(1, h, w\)"):
            show_image(ax, wrong)
    with pytest.raises(TypeError, match="uint8 or floating point"):
        show_image(ax, image.long())
    for bad in (-0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"image must be in \[0, 1\].*undo a normalisation"):
            show_image(ax, torch.full((3, 2, 2), bad))
    with pytest.raises(ValueError, match="given together"):
        show_image(ax, image.float() / 255, mean=(0, 0, 0))
    with pytest.raises(ValueError, match="a uint8 image has none"):
        show_image(ax, image, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ValueError, match="must have 3 values; got 1 and 1"):
        show_image(ax, image.float() / 255, mean=(0,), std=(1,))
    with pytest.raises(ValueError, match=r"box must be \(4,\) or \(k, 4\)"):
        show_image(ax, image, box=torch.tensor([1, 2, 3]))


# overlay --------------------------------------------------------------------------------------------------------------


def test_overlay_draws_the_enlarged_map_over_the_grey_picture(ax: Axes) -> None:
    image, heat = picture(), some_maps()[0][0]
    assert overlay(ax, image, heat) is ax
    under, over = ax.images
    np.testing.assert_allclose(over.get_array(), enlarge(heat[None], (8, 8))[0].numpy())
    assert over.get_extent() == under.get_extent()
    assert over.get_alpha() == ALPHA
    red, green, blue = image.numpy() / 255
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(under.get_array(), 0.5 + CONTRAST * (luminance - 0.5), atol=1e-6)
    assert under.get_clim() == (0, 1)


def test_overlay_shows_cells_on_demand(ax: Axes) -> None:
    heat = some_maps()[0][0]
    overlay(ax, picture(), heat, cells=True)
    np.testing.assert_array_equal(the_map(ax).get_array(), heat.numpy())
    assert the_map(ax).get_interpolation() == "nearest"
    assert the_map(ax).get_extent() == [0, 8, 8, 0]


def test_scale_runs_from_zero_and_stands_on_the_bar(ax: Axes) -> None:
    overlay(ax, picture(), torch.tensor([[0.2, 0.3], [0.25, 0.04567]]))
    assert the_map(ax).get_clim() == pytest.approx((0, 0.3))  # not from the smallest value
    (bar,) = ax.child_axes
    assert ticks(bar) == ["0", "0.3"]


def test_scale_of_a_signed_map_is_symmetric_and_uses_two_hues(ax: Axes) -> None:
    overlay(ax, picture(), torch.tensor([[0.5, -2.0], [1.0, 0.0]]))
    assert the_map(ax).get_clim() == (-2, 2)
    assert ticks(ax.child_axes[0]) == ["−2", "0", "2"]
    other = plt.subplots()[1]
    overlay(other, picture(), torch.tensor([[0.5, 2.0], [1.0, 0.0]]))
    assert the_map(ax).get_cmap().name != the_map(other).get_cmap().name
    assert the_map(ax).get_cmap()(0.5)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)  # zero is white


def test_a_given_scale_is_kept_and_a_map_of_zeros_has_one(ax: Axes) -> None:
    overlay(ax, picture(), some_maps()[0][0], scale=(0.0, 8e-5))
    assert the_map(ax).get_clim() == (0, 8e-5)
    assert ticks(ax.child_axes[0]) == ["0", "8e−5"]
    other = plt.subplots()[1]
    overlay(other, picture(), torch.zeros(2, 2))
    assert the_map(other).get_clim() == (0, 1)
    assert ticks(other.child_axes[0]) == ["0", "1"]


def test_the_bar_has_the_colours_a_panel_shows_over_mid_grey(ax: Axes) -> None:
    overlay(ax, picture(), torch.tensor([[0.0, 1.0]]), alpha=0.5)
    (mesh,) = [c for c in ax.child_axes[0].collections if c.get_array() is not None]
    shown = mesh.get_cmap()([0.0, 1.0])[:, :3]
    pure = the_map(ax).get_cmap()([0.0, 1.0])[:, :3]
    np.testing.assert_allclose(shown, 0.5 * pure + 0.25, atol=1e-6)


def test_a_lit_picture_keeps_its_colours_and_is_dark_where_the_map_is_low(ax: Axes) -> None:
    picture = torch.full((3, 4, 6), 200, dtype=torch.uint8)
    picture[0] = 100
    map = torch.zeros(4, 6)
    map[:, 3:] = torch.tensor([1.0, 2.0, 4.0])
    overlay(ax, picture, map, style="light")
    drawn = np.asarray(ax.images[0].get_array())
    share = drawn / (np.array([100, 200, 200]) / 255)
    for column, expected in enumerate([0.18, 0.18, 0.18, 0.18 + 0.82 / 4, 0.18 + 0.82 / 2, 1]):
        np.testing.assert_allclose(share[:, column], expected, atol=1e-6)
    bar = ax.child_axes[0]
    assert [text.get_text() for text in bar.get_xticklabels()] == ["0", "4"]
    lit = pixels(picture, map, style="light", side=6)
    np.testing.assert_array_equal(lit, np.rint(255 * drawn))
    cells = torch.tensor([[0.0, 1.0]])
    overlay(ax, picture, cells, style="light", cells=True)
    assert np.ptp(np.asarray(ax.images[-1].get_array())[:, :3]) < np.ptp(np.asarray(ax.images[-1].get_array()))
    with pytest.raises(ValueError, match="style='light' is for maps without negative values"):
        overlay(ax, picture, -map, style="light")


def test_overlay_without_bar(ax: Axes) -> None:
    overlay(ax, picture(), some_maps()[0][0], bar=False, box=torch.tensor([1, 1, 3, 3]))
    assert ax.child_axes == []
    assert len(ax.patches) == 2


@pytest.mark.usefixtures("unchecked")
def test_overlay_refuses_bad_maps_and_options(ax: Axes) -> None:
    heat = some_maps()[0][0]
    with pytest.raises(ValueError, match="NaN or inf"):
        overlay(ax, picture(), torch.full((2, 2), float("nan")))
    for cells in (False, True):
        with pytest.raises(ValueError, match="size must be at least"):
            overlay(ax, picture(), torch.rand(9, 9), cells=cells)
    with pytest.raises(ValueError, match=r"map must be \(h, w\)"):
        overlay(ax, picture(), heat[None])
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\]"):
            overlay(ax, picture(), heat, alpha=alpha)
    for scale in ((1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (0.0, float("nan")), (1.0,)):
        with pytest.raises(ValueError, match=r"scale must be \(low, high\)"):
            overlay(ax, picture(), heat, scale=scale)
    assert not ax.images  # refused before anything was drawn


# map_grid -------------------------------------------------------------------------------------------------------------


def test_map_grid_has_a_row_a_picture_and_a_column_a_level() -> None:
    maps = some_maps()
    axes = grid(labels=["cat", "dog"], titles=["early", "late"])
    assert axes.shape == (2, 3)
    np.testing.assert_allclose(one_picture(axes[1, 0]), picture(seed=1).permute(1, 2, 0).numpy() / 255, atol=1e-7)
    for row in range(2):
        for level in range(2):
            expected = enlarge(maps[level], (8, 8))[row].numpy()
            np.testing.assert_allclose(the_map(axes[row, level + 1]).get_array(), expected)
    assert [a.get_title() for a in axes[0]] == ["picture", "early\n4×4", "late\n2×2"]
    assert [a.get_title() for a in axes[1]] == ["", "", ""]
    assert [a.get_ylabel() for a in axes[:, 0]] == ["cat", "dog"]
    assert [a.get_title().split("\n")[0] for a in grid()[0]] == ["picture", "level 1", "level 2"]


def test_map_grid_shares_a_scale_over_a_column() -> None:
    axes = grid()
    for level, maps in enumerate(some_maps(), start=1):
        for row in range(2):
            assert the_map(axes[row, level]).get_clim() == pytest.approx((0, maps.max().item()))
    assert [ticks(bar) for bar in bars_of(axes)] == [["0", f"{m.max().item():.2g}"] for m in some_maps()]
    # Each bar stands under its column.
    for level, bar in enumerate(bars_of(axes), start=1):
        above, below = axes[1, level].get_position(), bar.get_position()
        assert (below.x0, below.x1) == pytest.approx((above.x0, above.x1))
        assert below.y1 < above.y0


def test_map_grid_shares_a_scale_over_all() -> None:
    axes = grid(share="all")
    top = max(m.max().item() for m in some_maps())
    for a in axes[:, 1:].ravel():
        assert the_map(a).get_clim() == pytest.approx((0, top))
    (bar,) = bars_of(axes)
    assert bar.get_position().x0 == pytest.approx(axes[0, 1].get_position().x0)
    assert bar.get_position().x1 == pytest.approx(axes[0, -1].get_position().x1)


def test_map_grid_prints_the_scale_of_each_panel() -> None:
    axes = grid(share="panel")
    assert bars_of(axes) == []
    for level, maps in enumerate(some_maps(), start=1):
        for row in range(2):
            top = maps[row].max().item()
            assert the_map(axes[row, level]).get_clim() == pytest.approx((0, top))
            assert axes[row, level].get_xlabel() == f"0 to {top:.2g}"


def test_map_grid_names_what_the_scale_measures() -> None:
    axes = grid(quantity="relevance")
    (text,) = [t for t in axes[0, 0].figure.texts if t.get_text()]
    (bar, _) = bars_of(axes)
    assert text.get_text() == "relevance"
    assert bar.get_position().y0 < text.get_position()[1] < bar.get_position().y1
    assert text.get_position()[0] == pytest.approx(axes[0, 0].get_position().x1)
    assert [a.get_xlabel() for a in grid(quantity="relevance", share="panel")[:, 0]] == ["relevance"] * 2


def test_map_grid_keeps_a_given_scale_everywhere() -> None:
    for share in ("column", "all", "panel"):
        axes = grid(share=share, scale=(-1.0, 3.0))
        assert {the_map(a).get_clim() for a in axes[:, 1:].ravel()} == {(-1, 3)}
        assert [ticks(bar) for bar in bars_of(axes)] == [["−1", "0", "3"]]


def test_map_grid_passes_boxes_cells_and_alpha_on() -> None:
    boxes = torch.tensor([[1, 2, 3, 4], [0, 0, 5, 5]])
    axes = grid(boxes=boxes, cells=True, alpha=0.3)
    for row, (x, y, side) in enumerate([(2, 1, 2), (0, 0, 5)]):
        for a in axes[row]:
            assert {(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in a.patches} == {(x, y, side, side)}
    assert the_map(axes[1, 1]).get_array().shape == (4, 4)
    assert the_map(axes[1, 1]).get_alpha() == 0.3
    two = grid(boxes=torch.stack([boxes, boxes], dim=1))  # two-digit mode: two boxes a picture
    assert len(two[0, 0].patches) == 4


def test_map_grid_panels_keep_the_shape_of_the_picture_and_the_width_asked_for() -> None:
    images = torch.zeros(2, 1, 6, 12, dtype=torch.uint8)
    axes = map_grid(images, [torch.rand(2, 3, 6)], width=5.0, labels=["a", "b"])
    figure = axes[0, 0].figure
    assert figure.get_size_inches()[0] == pytest.approx(5)
    figure.draw_without_rendering()
    for a in axes.ravel():
        box = a.get_window_extent()
        assert box.height / box.width == pytest.approx(0.5, abs=0.01)


def test_map_grid_draws_into_a_figure_without_pyplot() -> None:
    figure = Figure()
    axes = grid(figure=figure)
    assert plt.get_fignums() == []
    assert {a.figure for a in axes.ravel()} == {figure}
    assert figure.get_size_inches()[0] == 7
    box = axes[0, 1].get_window_extent()
    assert box.width == pytest.approx(box.height)
    file = io.BytesIO()
    figure.savefig(file)
    assert file.tell() > 0


def test_a_figure_of_real_maps_is_small_and_700_pixels_wide() -> None:
    pictures = digits_in_clutter(4, split="test", seed=0)
    model = small_attention_net().eval()
    with torch.no_grad():
        output = model.attend(pictures.float_images())
    axes = map_grid(pictures.images, [a.weights for a in output.attended], boxes=pictures.boxes)
    file = io.BytesIO()
    axes[0, 0].figure.savefig(file, format="png")
    assert file.tell() < 120_000
    file.seek(0)
    assert plt.imread(file).shape[1] == 700


@pytest.mark.usefixtures("unchecked")
def test_map_grid_refuses_what_does_not_fit() -> None:
    images, maps = torch.stack([picture(), picture()]), some_maps()
    with pytest.raises(ValueError, match="share must be one of 'column', 'all', 'panel'; got 'row'"):
        map_grid(images, maps, share="row")
    with pytest.raises(ValueError, match=r"images must be \(b, c, h, w\)"):
        map_grid(images[0], maps)
    for pictures, levels in ((images, []), (images[:0], [m[:0] for m in maps])):
        with pytest.raises(ValueError, match="at least one picture and one level"):
            map_grid(pictures, levels)
    with pytest.raises(ValueError, match=r"maps_per_level\[1\] must be \(2, h, w\)"):
        map_grid(images, [maps[0], maps[1][:1]])
    for name, given in (("titles", ["a"]), ("labels", ["a", "b", "c"]), ("boxes", torch.zeros(3, 4).long())):
        with pytest.raises(ValueError, match=f"{name} must be 2; got {len(given)}"):
            map_grid(images, maps, **{name: given})
    with pytest.raises(ValueError, match="NaN or inf"):
        map_grid(images, [torch.full((2, 2, 2), float("nan"))])
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\]"):
        map_grid(images, maps, alpha=2.0)
    with pytest.raises(ValueError, match=r"scale must be \(low, high\)"):
        map_grid(images, maps, scale=(1.0, 0.0))
    with pytest.raises(ValueError, match="size must be at least"):
        map_grid(images, [torch.rand(2, 9, 9)])
    assert plt.get_fignums() == []  # refused before a figure was made


# attention_figure -----------------------------------------------------------------------------------------------------


def test_attention_figure_shows_the_prediction_and_the_weights() -> None:
    output = output_of()
    axes = attention_figure(picture(), output, index=1, classes=["cat", "dog", "owl"], box=torch.tensor([1, 1, 3, 3]))
    assert axes.shape == (1, 3)
    assert axes[0, 0].get_title() == "dog\npredicted, 75 %"
    assert [a.get_title() for a in axes[0, 1:]] == ["level 1\n4×4", "level 2\n2×2"]
    for a, attended in zip(axes[0, 1:], output.attended, strict=True):
        np.testing.assert_allclose(the_map(a).get_array(), enlarge(attended.weights, (8, 8))[1].numpy())
        assert len(a.patches) == 2
    assert [t.get_text() for t in axes[0, 0].figure.texts] == ["weight"]
    other = attention_figure(picture(), output, titles=["early", "late"])
    assert [a.get_title() for a in other[0]] == ["class 1\npredicted, 75 %", "early\n4×4", "late\n2×2"]


def test_attention_figure_of_a_model_in_training() -> None:
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    images = normalise(torch.stack([picture(40), picture(40, seed=1)]), mean, std)
    output = small_attention_net().attend(images)  # with gradients: nothing needs to be detached by hand
    axes = attention_figure(images[1], output, index=1, mean=mean, std=std)
    np.testing.assert_allclose(one_picture(axes[0, 0]), picture(40, seed=1).permute(1, 2, 0).numpy() / 255, atol=1e-6)
    assert axes.shape == (1, 4)


def test_attention_figure_refuses_what_does_not_fit() -> None:
    output = output_of()
    with pytest.raises(ValueError, match="combine='global' does not attend"):
        attention_figure(picture(), output._replace(attended=()))
    for index in (2, -3):
        with pytest.raises(ValueError, match=f"index must be within the batch of 2; got {index}"):
            attention_figure(picture(), output, index=index)
    with pytest.raises(ValueError, match="classes must name the 3 logits; got 2"):
        attention_figure(picture(), output, classes=["a", "b"])


# curves ---------------------------------------------------------------------------------------------------------------


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


# bars -----------------------------------------------------------------------------------------------------------------


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


# ---- plain pixels for a page ----


def test_pixels_of_a_picture_are_its_own_enlarged():
    image = digits_in_clutter(1, split="test").images[0]
    shown = pixels(image)
    assert shown.shape == (120, 120, 3)
    assert np.array_equal(shown[1::3, 1::3], image.permute(1, 2, 0).numpy())
    assert pixels(image, side=79).shape == (40, 40, 3)


def test_pixels_of_a_map_are_what_overlay_draws():
    image = digits_in_clutter(1, split="test").images[0]
    weights = torch.rand(10, 10, generator=torch.Generator().manual_seed(0))
    figure = Figure(figsize=(4, 4), dpi=10)  # 40 pixels for 40: nothing is resampled
    ax = figure.add_axes((0, 0, 1, 1))
    overlay(ax, image, weights, bar=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(float)
    assert np.abs(drawn - pixels(image, weights, side=40)).max() <= 3  # matplotlib rounds twice


def test_pixels_outline_a_box_just_inside_it():
    shown = pixels(torch.zeros(3, 8, 8, dtype=torch.uint8), boxes=torch.tensor([2, 1, 6, 7]), side=80)
    white = (shown == 255).all(axis=2)
    rows, columns = np.nonzero(white)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 59, 10, 69)
    assert white.sum() == 2 * 60 + 2 * 38


def test_pixels_of_a_large_picture_are_averaged_down():
    image = torch.zeros(1, 100, 200)
    image[..., :100] = 1
    shown = pixels(image, side=50)
    assert shown.shape == (25, 50, 3)
    assert shown[:, :25].min() == 255
    assert shown[:, 25:].max() == 0


def test_pixels_refuse_what_overlay_refuses(unchecked):
    image = torch.zeros(3, 4, 4)
    for options, message in (
        ({"side": 0}, "side must be at least 1"),
        ({"alpha": 2.0}, "alpha must be in"),
        ({"boxes": torch.zeros(3, dtype=torch.long)}, "box must be"),
        ({"map": torch.full((2, 2), torch.nan)}, "NaN|finite"),
    ):
        with pytest.raises(ValueError, match=message):
            pixels(image, **options)


@pytest.mark.parametrize("label", ["bee", "orchid\n→ bee", "one\ntwo\nthree"])
def test_names_of_rows_are_inside_the_figure(label):
    axes = map_grid(torch.zeros(2, 3, 8, 8), [torch.ones(2, 4, 4)], labels=["bee", label])
    figure = axes[0, 0].figure
    figure.draw_without_rendering()  # puts the names in their places
    name = axes[1, 0].yaxis.label.get_window_extent(figure.canvas.get_renderer())
    assert name.x0 >= 0
    assert name.x1 <= axes[1, 0].get_window_extent().x0
