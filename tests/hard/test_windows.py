"""Windows: cut out, laid out on a grid, compared, and scored without learning."""

import pytest
import torch
from torch import Tensor

from lpa_core import hard

B, C, H, W = 3, 2, 11, 9
SIZE = (4, 3)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(B, C, H, W, generator=chance(), dtype=dtype)


def test_crop_is_the_slice_of_each_picture():
    images, corners = pictures(), torch.tensor([[0, 0], [7, 6], [2, 5]])
    windows = hard.crop(images, corners, SIZE)
    for i, (top, left) in enumerate(corners.tolist()):
        assert torch.equal(windows[i], images[i, :, top : top + 4, left : left + 3])


def test_crop_of_the_whole_picture_is_the_picture():
    images = pictures()
    assert torch.equal(hard.crop(images, torch.zeros(B, 2, dtype=torch.long), (H, W)), images)


def test_crop_passes_the_gradient_to_the_pixels_in_the_window_alone():
    images = pictures().requires_grad_()
    hard.crop(images, torch.tensor([[1, 2]] * B), SIZE).sum().backward()
    expected = torch.zeros(B, C, H, W)
    expected[:, :, 1:5, 2:5] = 1
    assert torch.equal(images.grad, expected)


def test_the_derivative_of_a_crop_by_its_position_is_exactly_zero():
    """A picture, an answer and a place that is rounded to a pixel: nothing reaches the place."""
    place = torch.tensor([[3.3, 2.6]], requires_grad=True)
    step = place.floor()  # the choice of a pixel is a step function
    window = hard.crop(pictures()[:1], step.long(), SIZE)
    assert not window.requires_grad  # not even connected
    (grad,) = torch.autograd.grad(step.sum() + place.sum() * 0, place)
    assert torch.equal(grad, torch.zeros(1, 2))
    h = 1e-3  # and by finite differences
    for moved in (place + torch.tensor([[h, 0.0]]), place + torch.tensor([[0.0, h]])):
        assert torch.equal(hard.crop(pictures()[:1], moved.floor().long(), SIZE), window)


@pytest.mark.parametrize(
    ("corners", "size", "message"),
    [
        ([[0, 0]] * B, (12, 3), r"larger than the picture, \(11, 9\)"),
        ([[0, 0]] * B, (4, 10), "larger than the picture"),
        ([[0, 0]] * B, (0, 3), "size must be a whole number"),
        ([[8, 0]] * B, SIZE, r"corners must be from \(0, 0\) to \(7, 6\)"),
        ([[0, -1]] * B, SIZE, "corners must be from"),
        ([[0, 0]] * 2, SIZE, r"corners must be \(3, 2\)"),
    ],
)
def test_crop_refuses(unchecked, corners, size, message):
    with pytest.raises(ValueError, match=message):
        hard.crop(pictures(), torch.tensor(corners), size)


def test_grid_counts_the_windows_that_fit():
    assert hard.grid((40, 40), (18, 12), 2) == (12, 15)
    assert hard.grid((40, 40), (40, 40), 3) == (1, 1)
    assert hard.grid((10, 10), (3, 3), 4) == (2, 2)
    with pytest.raises(ValueError, match="larger than the picture"):
        hard.grid((10, 10), (11, 3), 1)
    with pytest.raises(ValueError, match="stride"):
        hard.grid((10, 10), (3, 3), 0)


def test_box_iou_by_hand(unchecked):
    boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 4, 4]])
    others = torch.tensor([[0, 0, 2, 2], [2, 2, 4, 4], [2, 0, 6, 2]])
    assert torch.allclose(hard.box_iou(boxes, others), torch.tensor([1.0, 0.0, 4 / 20]))
    with pytest.raises(ValueError, match="some area"):
        hard.box_iou(boxes, torch.zeros(3, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="of one shape"):
        hard.box_iou(boxes, others[:2])


def test_window_boxes_are_half_open():
    assert hard.window_boxes(torch.tensor([[3, 5]]), (4, 2)).tolist() == [[3, 5, 7, 7]]


def test_heaviest_window_holds_most():
    maps = torch.zeros(2, H, W)
    maps[0, 5:9, 6:9], maps[1, 0, 0] = 1, 1
    assert hard.heaviest_window(maps, SIZE).tolist() == [[5, 6], [0, 0]]
    assert hard.heaviest_window(maps, SIZE, stride=3).tolist()[0] == [6, 6]


def test_saliency_by_hand():
    """One grey square on black: the mean over a window of |x - mean(x)|, then standardised over the windows."""
    shown = torch.zeros(1, 3, 4, 6)
    shown[:, :, 0:2, 0:2] = 1
    mean = 4 / 24
    square, ground = 1 - mean, mean
    expected = torch.tensor([[square, ground, ground], [ground, ground, ground]])
    expected = (expected - expected.mean()) / expected.std(correction=0)
    assert torch.allclose(hard.window_saliency(shown, (2, 2), stride=2)[0], expected, atol=1e-4)
    assert torch.allclose(
        hard.window_saliency(1 - shown, (2, 2), stride=2)[0], expected, atol=1e-4
    )  # darker or brighter
    assert torch.equal(hard.window_saliency(torch.full((2, 3, 9, 9), 0.5), (4, 4), stride=2), torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="larger than the picture"):
        hard.window_saliency(shown, (6, 2))


@pytest.mark.parametrize(
    ("shape", "size", "stride"), [((24, 20), (8, 12), 2), ((11, 9), (4, 3), 1), ((17, 19), (9, 6), 3)]
)
def test_saliency_has_a_number_for_every_window(shape, size, stride):
    found = hard.window_saliency(torch.rand(2, 3, *shape, generator=chance()), size, stride=stride)
    assert found.shape[1:] == hard.grid(shape, size, stride)
    assert torch.allclose(found.mean(dim=(1, 2)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(found.std(dim=(1, 2), correction=0), torch.ones(2), atol=1e-3)


def test_a_box_of_one_pixel_has_an_area():
    pixel = torch.tensor([[3, 4, 4, 5]])
    assert hard.box_iou(pixel, pixel).tolist() == [1.0]
