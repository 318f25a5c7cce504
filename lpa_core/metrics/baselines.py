"""Maps that know nothing of the network: what every score is held against."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from .._utils.checks import is_number, is_size, is_whole


def uniform_maps(n: int, size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """``n`` maps of equal weights 1 / (h w): what uniform attention shows. Their scores are chance, exactly."""
    _check_count(n, size)
    return torch.full((n, *size), 1 / (size[0] * size[1]))


def random_maps(n: int, size: tuple[int, int], *, seed: int, sigma: float = 0.0) -> Float[Tensor, "n h w"]:
    """``n`` random maps: each position uniform in [0, 1), independent of everything; the same for the same seed.

    ``size`` is the size at which the map is drawn. Give the size of the map it is compared with: enlarged to the
    picture it is then as coarse. ``sigma`` > 0 smooths the noise by a Gaussian of that many positions.

    Raises: ValueError on ``n`` below 0, an empty ``size`` or a negative ``sigma``.
    """
    _check_count(n, size)
    maps = torch.rand(n, *size, generator=_seeded(seed))
    return blur(maps[:, None], sigma=sigma)[:, 0].clamp(0, 1)


def centre_prior(n: int, size: tuple[int, int], *, sigma: float = 0.25) -> Float[Tensor, "n h w"]:
    """``n`` times the same Gaussian at the centre, largest value at most 1: "the object is in the middle".

    The standard deviation is ``sigma`` times the map's height and width.
    Raises: ValueError on ``n`` below 0, an empty ``size`` or a ``sigma`` not above 0.
    """
    _check_count(n, size)
    if not is_number(sigma) or not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be above 0; got {sigma!r}")
    down, across = (torch.exp(-0.5 * (((torch.arange(k) + 0.5) / k - 0.5) / sigma) ** 2) for k in size)
    return (down[:, None] * across).repeat(n, 1, 1)


def blurred_brightness(
    images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"], *, sigma: float
) -> Float[Tensor, "b h w"]:
    """Brightness of the pictures, blurred: mean over channels, then a Gaussian of ``sigma`` pixels; in [0, 1].

    The baseline that asks whether an object can be found without a network, because it is brighter than the rest.
    At the border the outermost pixels are repeated, so that no frame is darkened.

    Raises: ValueError unless ``images`` is (b, c, h, w), uint8 or float in [0, 1]; or ``sigma`` is negative.
    """
    return blur(_brightness(images), sigma=sigma)[:, 0].clamp(0, 1)


def edge_maps(
    images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"], *, sigma: float = 1.0
) -> Float[Tensor, "b h w"]:
    """How strong the edges of the pictures are: the slope of their brightness, then a Gaussian of ``sigma`` pixels.

    M = G_sigma * sqrt(d_x^2 + d_y^2), with d_x and d_y the Sobel slopes of the mean over channels y in [0, 1]: an
    upright edge from black to white has 0.5 on both of its sides. At the border the outermost pixels are repeated, so
    the frame is no edge. Values are in [0, sqrt(1/2)].

    The baseline that asks whether a map shows more than outlines, which are there without a network: many methods
    do not beat it (Clark et al., 2023, "XAI-TRIS", arXiv:2306.12816).
    Source: Sobel's operator, divided by 8, so that it measures the slope per pixel.
    Raises: as ``blurred_brightness``.
    """
    grey = F.pad(_brightness(images), (1, 1, 1, 1), mode="replicate")
    smooth = grey.new_tensor([0.25, 0.5, 0.25])
    # Differences first: they are exactly 0 where all is equal.
    across, down = (grey[..., 2:] - grey[..., :-2]) / 2, (grey[..., 2:, :] - grey[..., :-2, :]) / 2
    across, down = F.conv2d(across, smooth[None, None, :, None]), F.conv2d(down, smooth[None, None, None, :])
    return blur((across.square() + down.square()).sqrt(), sigma=sigma)[:, 0]


def _brightness(images: Tensor) -> Tensor:
    """The mean over channels (b, 1, h, w), in [0, 1]."""
    if images.ndim != 4:
        raise ValueError(f"images must be (b, c, h, w); got {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        images = images.float() / 255
    if not torch.is_floating_point(images) or not ((images >= 0) & (images <= 1)).all():
        raise ValueError("images must be uint8, or float in [0, 1] before normalisation by mean and std")
    return images.float().mean(dim=1, keepdim=True)


def _check_count(n: int, size: tuple[int, int]) -> None:
    if not is_whole(n, 0, 2**31) or not is_size(size):
        raise ValueError(f"n must be at least 0 and size (h, w) at least (1, 1); got n={n!r}, size={size!r}")


def _seeded(seed: int) -> torch.Generator:
    if not is_whole(seed, -(2**63)):
        raise ValueError(f"seed must be a whole number of 64 bits; got {seed!r}")
    return torch.Generator().manual_seed(int(seed))


def blur(images: Float[Tensor, "b c h w"], *, sigma: float) -> Float[Tensor, "b c h w"]:
    """The pictures under a Gaussian of ``sigma`` pixels, cut at 3 sigma; at the border the last pixels are repeated.

    ``sigma=0`` leaves them as they are. Raises: ValueError on a ``sigma`` below 0 or of 1000 and more.
    """
    if not is_number(sigma) or not 0 <= sigma < 1000:
        limit = " and below 1000" if is_number(sigma) and sigma > 0 else ""
        raise ValueError(f"sigma must be at least 0{limit}; got {sigma!r}")
    if sigma == 0 or len(images) == 0:
        return images
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    one = F.pad(images.flatten(0, 1)[:, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(one, kernel[None, None, :, None]), kernel[None, None, None, :]).view_as(images)
