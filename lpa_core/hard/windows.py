"""Windows of a picture: cut out, laid out on a grid, compared, and scored without learning."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .._utils.checks import check_count


def crop(
    images: Float[Tensor, "b c h w"], corners: Int64[Tensor, "b 2"], size: tuple[int, int]
) -> Float[Tensor, "b c H W"]:
    """Cut one window from each picture: out[i, :, y, x] = images[i, :, y + top_i, x + left_i].

    ``corners`` are (top, left) in pixels, ``size`` is (H, W). All windows at once: a view of every window that there
    is, indexed by the corners. The result has a derivative with respect to the pixels and none with respect to the
    corners, which are whole numbers.

    Raises: ValueError on a window larger than the picture, or one that leaves it.
    """
    check_window(size, images.shape[-2:])
    if corners.shape != (len(images), 2):
        raise ValueError(f"corners must be ({len(images)}, 2), one (top, left) a picture; got {tuple(corners.shape)}")
    last = corners.new_tensor([images.shape[2] - size[0], images.shape[3] - size[1]])
    if bool(((corners < 0) | (corners > last)).any()):
        raise ValueError(f"corners must be from (0, 0) to {tuple(last.tolist())}; got {corners.tolist()}")
    windows = images.unfold(2, size[0], 1).unfold(3, size[1], 1)  # (b, c, tops, lefts, H, W), nothing is copied
    return windows[torch.arange(len(images), device=images.device), :, corners[:, 0], corners[:, 1]]


def grid(picture: tuple[int, int], size: tuple[int, int], stride: int) -> tuple[int, int]:
    """How many windows fit, (rows, columns). Raises: ValueError on a window larger than the picture."""
    check_window(size, picture)
    check_count("stride", stride)
    return (picture[0] - size[0]) // stride + 1, (picture[1] - size[1]) // stride + 1


def window_boxes(corners: Int64[Tensor, "b 2"], size: tuple[int, int]) -> Int64[Tensor, "b 4"]:
    """Windows as boxes: top, left, bottom, right in pixels, half-open, as ``ImageSet.boxes`` has them."""
    return torch.cat([corners, corners + corners.new_tensor(size)], dim=1)


def every_window(picture: tuple[int, int], size: tuple[int, int], stride: int) -> Int64[Tensor, "n 4"]:
    """All windows of a picture as boxes, row by row. Raises: ValueError on a window larger than the picture."""
    rows, columns = grid(picture, size, stride)
    return window_boxes(torch.cartesian_prod(torch.arange(rows) * stride, torch.arange(columns) * stride), size)


def box_iou(boxes: Int64[Tensor, "b 4"], others: Int64[Tensor, "b 4"]) -> Float[Tensor, " b"]:
    """Intersection over union of pairs of boxes (top, left, bottom, right; half-open), in [0, 1].

    Raises: ValueError on a box without area or tensors of different shape.
    """
    if boxes.shape != others.shape:
        raise ValueError(f"boxes and others must be of one shape; got {tuple(boxes.shape)} and {tuple(others.shape)}")
    areas = []
    for name, each in (("boxes", boxes), ("others", others)):
        sides = each[:, 2:] - each[:, :2]
        if bool((sides < 1).any()):
            raise ValueError(f"{name} must be top, left, bottom, right with some area; got {each.tolist()}")
        areas.append(sides.prod(dim=1))
    shared = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(min=0)
    inside = shared.prod(dim=1)
    return inside / (areas[0] + areas[1] - inside)


def heaviest_window(maps: Float[Tensor, "b h w"], size: tuple[int, int], *, stride: int = 1) -> Int64[Tensor, "b 2"]:
    """The corner of the window that holds most of each map (of the picture's size): what a soft map would crop.

    The first of equal windows is taken. Raises: ValueError on a window larger than the map.
    """
    _, columns = grid((maps.shape[1], maps.shape[2]), size, stride)
    inside = nn.functional.avg_pool2d(maps[:, None].double(), size, stride)
    best = inside.flatten(1).argmax(dim=1)
    return torch.stack([best // columns, best % columns], dim=1) * stride


def window_saliency(
    images: Float[Tensor, "b c h w"], size: tuple[int, int], *, stride: int = 1
) -> Float[Tensor, "b rows columns"]:
    """How much every window differs from its picture's mean colour: without learning, a first guess where to look.

    d = mean over channels of ``|x - mean(x)|``, on the picture averaged over ``stride`` x ``stride`` pixels; its mean
    over each window, less their mean and divided by their standard deviation over all windows of the picture. A plain
    picture gives 0 everywhere. ``size`` must be a multiple of ``stride``.

    Raises: ValueError on a window larger than the picture.
    """
    rows, columns = grid((images.shape[2], images.shape[3]), size, stride)
    view = nn.functional.avg_pool2d(images, stride)
    differs = (view - view.mean(dim=(2, 3), keepdim=True)).abs().mean(dim=1, keepdim=True)
    windows = nn.functional.avg_pool2d(differs, (size[0] // stride, size[1] // stride), 1)[:, 0, :rows, :columns]
    centred = windows - windows.mean(dim=(1, 2), keepdim=True)
    return centred / (centred.square().mean(dim=(1, 2), keepdim=True).sqrt() + 1e-6)


def check_size_of_window(size: tuple[int, int], name: str = "size") -> None:
    if len(size) != 2:
        raise ValueError(f"{name} must be (height, width); got {size!r}")
    for value in size:
        check_count(name, value)


def check_window(size: tuple[int, int], picture: tuple[int, ...]) -> None:
    """Raise ValueError unless a window of ``size`` fits in a ``picture`` of (h, w)."""
    check_size_of_window(size)
    if size[0] > picture[0] or size[1] > picture[1]:
        raise ValueError(f"a window of {tuple(size)} is larger than the picture, {tuple(picture)}; take a smaller size")
