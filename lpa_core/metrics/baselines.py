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
    return blur_maps(maps, sigma)


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
    if images.ndim != 4:
        raise ValueError(f"images must be (b, c, h, w); got {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        images = images.float() / 255
    if not torch.is_floating_point(images) or not ((images >= 0) & (images <= 1)).all():
        raise ValueError("images must be uint8, or float in [0, 1] before normalisation by mean and std")
    return blur_maps(images.float().mean(dim=1), sigma)


def edge_maps(
    images: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"], *, sigma: float = 0.0
) -> Float[Tensor, "b h w"]:
    """Where brightness changes: the length of the Sobel gradient of the pictures' brightness, blurred by ``sigma``.

    The baseline that asks whether a map is more than a drawing of the picture's edges, which no network is needed for.

    Source: Clark et al. (2024), "XAI-TRIS", where edge filters beat many methods.
    Raises: as ``blurred_brightness``.
    """
    grey = F.pad(blurred_brightness(images, sigma=0.0)[:, None], (1, 1, 1, 1), mode="replicate")
    smooth = torch.tensor([1.0, 2.0, 1.0], device=grey.device)
    across, down = grey[..., 2:] - grey[..., :-2], grey[..., 2:, :] - grey[..., :-2, :]  # 0 exactly where all is equal
    across = F.conv2d(across, smooth[None, None, :, None])
    down = F.conv2d(down, smooth[None, None, None, :])
    return blur_maps((across.square() + down.square()).sqrt()[:, 0], sigma)


def _check_count(n: int, size: tuple[int, int]) -> None:
    if not is_whole(n, 0, 2**31) or not is_size(size):
        raise ValueError(f"n must be at least 0 and size (h, w) at least (1, 1); got n={n!r}, size={size!r}")


def _seeded(seed: int) -> torch.Generator:
    if not is_whole(seed, -(2**63)):
        raise ValueError(f"seed must be a whole number of 64 bits; got {seed!r}")
    return torch.Generator().manual_seed(int(seed))


def blur_maps(maps: Tensor, sigma: float) -> Tensor:
    if not is_number(sigma) or not 0 <= sigma < 1000:
        limit = " and below 1000" if is_number(sigma) and sigma > 0 else ""
        raise ValueError(f"sigma must be at least 0{limit}; got {sigma!r}")
    if sigma == 0 or len(maps) == 0:
        return maps
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=maps.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(maps[:, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])[:, 0].clamp(0, 1)
