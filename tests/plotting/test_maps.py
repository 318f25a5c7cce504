"""Pictures and maps over them."""

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

from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import normalise
from lpa_core.metrics.localisation import enlarge
from lpa_core.plotting.grids import map_grid
from lpa_core.plotting.maps import overlay, pixels, show_image
from lpa_core.plotting.style import ALPHA, CONTRAST


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


def one_picture(ax: Axes) -> np.ndarray:
    (image,) = ax.images
    return np.asarray(image.get_array())


def the_map(ax: Axes):
    _, over = ax.images
    return over


def ticks(ax: Axes) -> list[str]:
    return [t.get_text() for t in ax.get_xticklabels()]


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
