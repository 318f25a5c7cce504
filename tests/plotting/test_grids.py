"""Grids of maps, and the figure of one look."""

import io

import jaxtyping
import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lpa_core.attention import Attended
from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import normalise
from lpa_core.metrics.localisation import enlarge
from lpa_core.models.builders import small_attention_net
from lpa_core.models.classifier import AttentionOutput
from lpa_core.plotting.grids import attention_figure, map_grid


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


def output_of(b: int = 2, levels: int = 2, classes: int = 3) -> AttentionOutput:
    logits = torch.zeros(b, classes)
    logits[:, 1] = torch.log(torch.tensor(6.0))  # probabilities 1/8, 6/8, 1/8
    attended = tuple(Attended(torch.zeros(b, 4), w, torch.zeros_like(w)) for w in some_maps(b)[:levels])
    return AttentionOutput(logits, attended, None)


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
