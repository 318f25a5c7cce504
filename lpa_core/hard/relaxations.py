"""Smooth stand-ins for the choice of one window, which let the derivative through: three ways around REINFORCE.

* ``gumbel_softmax``: weights that are almost a choice, from noise that is drawn beforehand.
* ``straight_through``: a real choice forwards, the derivative of the softmax backwards (which is then not the
  derivative of what was computed).
* ``transformer_crop``: a window at any place, also between pixels, read by interpolation.

The first two give weights (b, rows, columns) that sum to 1; ``mix_windows`` lays all windows over each other by them.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from .windows import check_window, grid


def mix_windows(
    images: Float[Tensor, "b c h w"],
    weights: Float[Tensor, "b rows columns"],
    size: tuple[int, int],
    *,
    stride: int = 1,
) -> Float[Tensor, "b c H W"]:
    """The weighted sum of all windows, sum_k w_k window_k; with one weight 1 and the others 0, that window itself.

    Costs as much as cutting out every window: the price of a derivative.

    Raises: ValueError when ``weights`` are not one number a window.
    """
    rows, columns = grid((images.shape[2], images.shape[3]), size, stride)
    if weights.shape != (len(images), rows, columns):
        raise ValueError(f"weights must be ({len(images)}, {rows}, {columns}); got {tuple(weights.shape)}")
    windows = images.unfold(2, size[0], stride).unfold(3, size[1], stride)
    return torch.einsum("brk,bcrkyx->bcyx", weights.to(images.dtype), windows)


def gumbel_softmax(
    scores: Float[Tensor, "b rows columns"], *, temperature: float, generator: torch.Generator
) -> Float[Tensor, "b rows columns"]:
    """w = softmax((s + e) / temperature) with Gumbel noise e = -log(-log(uniform)).

    The largest of s + e is a draw from softmax(s), whatever the temperature; towards 0 the weights become that choice,
    and their derivative wilder.

    Source: Jang et al. (2017); Maddison et al. (2017).
    Raises: ValueError on a ``temperature`` that is not above 0.
    """
    _check_temperature(temperature)
    uniform = torch.rand(scores.shape, generator=generator, device=generator.device, dtype=torch.float64)  # below 1
    noise = -(-uniform.clamp(min=torch.finfo(torch.float64).tiny).log()).log()
    return _softmax((scores + noise.to(scores)) / temperature)


def straight_through(
    scores: Float[Tensor, "b rows columns"], *, generator: torch.Generator | None = None
) -> Float[Tensor, "b rows columns"]:
    """A choice (one weight 1, the others 0) whose derivative is taken as that of softmax(s).

    Drawn with a ``generator``, the most probable window without. Biased: it follows the slope of another function.

    Source: Bengio et al. (2013).
    """
    pi = _softmax(scores)
    flat = pi.detach().flatten(1)
    if generator is None:
        index = flat.argmax(dim=1)
    else:
        index = torch.multinomial(flat.to(generator.device), 1, generator=generator)[:, 0].to(scores.device)
    chosen = functional.one_hot(index, flat.shape[1]).to(pi.dtype).view_as(pi)
    return chosen + (pi - pi.detach())


def expected_corner(
    scores: Float[Tensor, "b rows columns"], *, stride: int = 1, temperature: float = 1.0
) -> Float[Tensor, "b 2"]:
    """The mean corner (top, left) in pixels under softmax(s / temperature): a place, with a derivative.

    Between two good windows the mean is a third one that may be good for nothing.

    Raises: ValueError on a ``temperature`` that is not above 0.
    """
    _check_temperature(temperature)
    pi = _softmax(scores / temperature)
    rows, columns = (torch.arange(n, dtype=pi.dtype, device=pi.device) * stride for n in pi.shape[1:])
    return torch.stack([pi.sum(dim=2) @ rows, pi.sum(dim=1) @ columns], dim=1)


def transformer_crop(
    images: Float[Tensor, "b c h w"], corners: Float[Tensor, "b 2"], size: tuple[int, int]
) -> Float[Tensor, "b c H W"]:
    """A window whose corner (top, left) may lie between pixels, read bilinearly: it has a derivative in the corner.

    At whole corners it equals ``hard.crop``. The derivative is local: it compares neighbouring pixels, and knows of a
    digit ten pixels away nothing. Beyond the edge the last pixel is repeated.

    Source: Jaderberg et al. (2015), with translation alone.
    Raises: ValueError on a window larger than the picture, or corners of another shape.
    """
    height, width = images.shape[-2:]
    check_window(size, (height, width))
    if corners.shape != (len(images), 2):
        raise ValueError(f"corners must be ({len(images)}, 2), one (top, left) a picture; got {tuple(corners.shape)}")
    down = corners[:, :1] + torch.arange(size[0], device=images.device) + 0.5
    across = corners[:, 1:] + torch.arange(size[1], device=images.device) + 0.5
    # grid_sample wants (x, y) from -1 to 1 over the whole picture.
    y = (down * (2 / height) - 1)[:, :, None].expand(-1, -1, size[1])
    x = (across * (2 / width) - 1)[:, None, :].expand(-1, size[0], -1)
    where = torch.stack([x, y], dim=3).to(images.dtype)
    return functional.grid_sample(images, where, padding_mode="border", align_corners=False)


def _softmax(scores: Tensor) -> Tensor:
    return scores.flatten(1).softmax(dim=1).view_as(scores)


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0 and finite; got {temperature}")
