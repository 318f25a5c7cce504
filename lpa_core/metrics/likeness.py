"""How alike two maps are: Spearman's rank correlation and SSIM, beside maps that know nothing."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .baselines import centre_prior, random_maps
from .intervals import Interval, cluster_interval


class Similarity(NamedTuple):
    """How alike two sets of maps are: rank correlation with signs and of absolute values, and SSIM; 1 is identical."""

    name: str
    spearman: Interval
    spearman_absolute: Interval
    ssim: Interval
    baseline: bool = False


def spearman(one: Float[Tensor, "b h w"], other: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Spearman's rank correlation of two maps over their positions, in [-1, 1]; NaN where one of them is constant.

    The correlation of the ranks, equal values sharing the mean of their ranks. For "without sign" give absolute values.
    Raises: ValueError unless both have the same shape (b, h, w).
    """
    _same_maps(one, other)
    first, second = (_ranks(maps.flatten(1).double()) for maps in (one, other))
    product = (first * second).sum(dim=1)
    return (product / (first.square().sum(dim=1) * second.square().sum(dim=1)).sqrt()).to(one.dtype)


def _ranks(values: Tensor) -> Tensor:
    """Ranks about their mean; equal values share the mean rank."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values, right=False)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to - values.shape[1]).double() / 2


def ssim(one: Float[Tensor, "b h w"], other: Float[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Structural similarity of two maps, each scaled to [0, 1] by its own least and largest value; in [-1, 1].

    Mean over the positions of a Gaussian window (11 positions, sigma 1.5; on smaller maps the largest odd number that
    fits) of (2 m m' + C1) (2 s + C2) / ((m^2 + m'^2 + C1) (v + v' + C2)), with means m, variances v, covariance s,
    C1 = 0.01^2 and C2 = 0.03^2. A constant map scales to 0.

    Source: Wang et al. (2004), "Image quality assessment". Scaling as in Adebayo et al. (2018).
    Raises: ValueError unless both have the same shape (b, h, w).
    """
    _same_maps(one, other)
    a, b = (_unit(maps.double())[:, None] for maps in (one, other))
    side = min(11, *one.shape[1:])
    side -= 1 - side % 2
    line = torch.exp(-0.5 * ((torch.arange(side, device=a.device, dtype=a.dtype) - side // 2) / 1.5) ** 2)
    line = line / line.sum()

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, line[None, None, :, None]), line[None, None, None, :])

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return values.mean(dim=(1, 2, 3)).to(one.dtype)


def _unit(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, torch.ones_like(high))


def _same_maps(one: Tensor, other: Tensor) -> None:
    if one.ndim != 3 or one.shape != other.shape:
        raise ValueError(f"maps must both be (b, h, w) of one shape; got {tuple(one.shape)} and {tuple(other.shape)}")


def similarity(
    name: str,
    one: Float[Tensor, "b h w"],
    other: Float[Tensor, "b h w"],
    clusters: Int[Tensor, " b"] | None = None,
    *,
    baseline: bool = False,
    seed: int = 0,
) -> Similarity:
    """``spearman``, ``spearman`` of absolute values and ``ssim`` over all pictures, with intervals."""
    signed, absolute, structure = (
        cluster_interval(scores, clusters, seed=seed)
        for scores in (spearman(one, other), spearman(one.abs(), other.abs()), ssim(one, other))
    )
    return Similarity(name, signed, absolute, structure, baseline)


def compare_with_baselines(
    maps: Float[Tensor, "b h w"],
    images: Float[Tensor, "b c height width"],
    clusters: Int[Tensor, " b"] | None = None,
    *,
    seed: int = 0,
) -> tuple[Similarity, Similarity]:
    """How alike ``maps`` are to maps that know nothing: a random one and a centre prior of their size."""
    n, size = len(images), (maps.shape[1], maps.shape[2])
    others = {"random map": random_maps(n, size, seed=seed), "centre prior": centre_prior(n, size)}
    random, centre = (
        similarity(name, maps, other.to(maps), clusters, baseline=True, seed=seed) for name, other in others.items()
    )
    return random, centre
