"""ROAD: remove pixels in a map's order and debias, so that the shape of the hole does not give the class away."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .._utils.checks import check_option
from .._utils.modes import undisturbed
from ..posthoc.network import Logits, Targets, check_pictures, check_targets, pick_targets
from .insertion_deletion import Curve, pixel_ranks

Removed = Literal["most", "least"]


def remove_and_debias(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    maps: Float[Tensor, "b h w"],
    targets: Targets = None,
    *,
    removed: Removed = "most",
    fractions: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9),
    noise: float = 0.1,
    batch_size: int = 256,
    seed: int = 0,
) -> Curve:
    """ROAD: fill the pixels that the map marks most (or least) from their neighbours, and follow the probability.

    A removed pixel is the weighted mean of its eight neighbours (1/6 beside, 1/12 across a corner), removed ones among
    them, plus Gaussian noise of deviation ``noise``: one linear system for each picture. A hole filled so can hardly be
    told from the picture, where a hole of one colour shows its shape to the network.

    Args:
        removed: ``"most"``: a faithful map makes the probability fall early (small area); ``"least"``: late (large
            area). A random map, from ``random_maps``, is chance for both.
        fractions: the shares of the pixels to remove, rising, from 0 to below 1.
        noise: in the units of the images.
        others: as in ``curve``.

    Source: Rong et al. (2022), "A Consistent and Efficient Evaluation Strategy for Attribution Methods" (ROAD),
    arXiv:2202.00449.
    Raises: ValueError on an unknown ``removed``, ``fractions`` that do not rise in [0, 1), a negative ``noise``;
        otherwise as ``curve``.
    """
    check_option("removed", removed, Removed)
    shares = [float(share) for share in fractions]
    if not shares or shares != sorted(set(shares)) or not 0 <= shares[0] <= shares[-1] < 1:
        raise ValueError(f"fractions must rise within [0, 1); got {tuple(fractions)}")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be at least 0; got {noise}")
    with undisturbed(model) as network, torch.no_grad():
        home, images = images.device, check_pictures(images, network)
        classes = check_targets(targets, len(images))
        ranks = pixel_ranks(maps, images, seed=seed).cpu()
        probability = Logits(network, probability=True)
        classes = pick_targets(probability, images, classes, batch_size=batch_size)
        pixels = images.shape[2] * images.shape[3]
        counts = [round(pixels * share) for share in shares]
        draw, scores = torch.Generator().manual_seed(seed), []
        for count in counts:
            holes = ranks < count if removed == "most" else ranks >= pixels - count
            filled = fill(images.cpu(), holes)
            drawn = torch.randn(filled.shape, generator=draw, dtype=torch.float64).to(filled.dtype)
            filled = (filled + noise * drawn * holes[:, None]).to(images)
            each = torch.cat([probability(some) for some in filled.split(batch_size)])
            scores.append(each.gather(1, classes[:, None]))
    result = torch.cat(scores, dim=1).to(home)
    true = torch.tensor(counts, dtype=result.dtype, device=home) / pixels
    return Curve(true, result, torch.trapezoid(result, true, dim=1))


def fill(images: Float[Tensor, "b c h w"], holes: Bool[Tensor, "b h w"]) -> Float[Tensor, "b c h w"]:
    """The pictures with every hole filled: each of its pixels the weighted mean of its neighbours (1/6, 1/12 diagonal).

    At the border the weights of the neighbours that exist are scaled to sum to 1. A picture that is all hole stays.
    """
    from scipy import sparse
    from scipy.sparse.linalg import splu

    high, wide = images.shape[2:]
    place = np.arange(high * wide).reshape(high, wide)
    rows, columns, weights = [], [], []
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            if down or across:
                here = place[max(0, -down) : high - max(0, down), max(0, -across) : wide - max(0, across)]
                rows.append(here.ravel())
                columns.append((here + down * wide + across).ravel())
                weights.append(np.full(here.size, 1 / 12 if down and across else 1 / 6))
    size = (high * wide,) * 2
    mean = sparse.csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), size)
    mean = sparse.diags(1 / np.asarray(mean.sum(axis=1)).ravel()) @ mean
    filled = images.double().flatten(2).numpy().copy()
    for picture, hole in zip(filled, holes.flatten(1).numpy(), strict=True):
        if hole.any() and not hole.all():
            own = sparse.identity(int(hole.sum()), format="csc") - mean[hole][:, hole]
            given = mean[hole][:, ~hole] @ picture[:, ~hole].T
            picture[:, hole] = splu(own.tocsc()).solve(np.ascontiguousarray(given)).T
    return torch.from_numpy(filled).view(images.shape).to(images.dtype)
