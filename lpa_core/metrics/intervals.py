"""A mean with an interval that counts pictures of one kind as one."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._utils.checks import is_number, is_whole
from .baselines import _seeded


class Interval(NamedTuple):
    """A mean with its confidence interval; from ``n`` values in ``clusters`` clusters, ``left_out`` NaNs not counted.

    ``low`` and ``high`` are NaN where fewer than two clusters are left: one cluster says nothing about the spread.
    """

    mean: float
    low: float
    high: float
    n: int
    clusters: int
    left_out: int = 0

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def cluster_interval(
    values: Float[Tensor, " n"] | Bool[Tensor, " n"],
    clusters: Int[Tensor, " n"] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Mean of ``values`` with a bootstrap interval that draws whole clusters.

    Pictures made from the same handwritten digit are not independent, so a resample draws digits (``clusters``), with
    replacement, each with all its pictures; the interval holds the middle ``confidence`` of the resampled means.
    ``clusters=None`` makes every value a cluster of its own. NaNs are left out and counted. For two maps scored on the
    same pictures give the differences: their interval is the paired one, and narrower. Percentile intervals are
    somewhat too narrow below about 30 clusters.

    Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13; drawn by cluster.
    Raises: ValueError unless ``values`` and ``clusters`` are (n,), values not infinite, ``confidence`` in (0, 1) and
        ``resamples`` at least 1.
    """
    generator = _seeded(seed)
    for name, one in (("values", values), ("clusters", clusters)):
        if not isinstance(one, Tensor) and (name == "values" or one is not None):
            raise TypeError(f"{name} must be a tensor (n,); got {type(one).__name__}")
    if values.ndim != 1 or (clusters is not None and clusters.shape != values.shape):
        given = None if clusters is None else tuple(clusters.shape)
        raise ValueError(f"values and clusters must both be (n,); got {tuple(values.shape)} and {given}")
    if not is_number(confidence) or not 0 < confidence < 1 or not is_whole(resamples, 1, 2**31):
        raise ValueError(
            f"confidence must be in (0, 1) and resamples at least 1, a whole number; "
            f"got confidence={confidence!r}, resamples={resamples!r}"
        )
    values = values.detach().cpu().double()
    if values.isinf().any():
        raise ValueError("values must not be infinite")
    known = ~values.isnan()
    left_out = int((~known).sum())
    labels = torch.arange(len(values)) if clusters is None else clusters.cpu()
    values, labels = values[known], labels[known]
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0, left_out)
    names, index = labels.unique(return_inverse=True)
    n = len(names)
    mean = values.mean().item()
    if n < 2:
        return Interval(mean, math.nan, math.nan, len(values), n, left_out)
    sums = torch.zeros(n, dtype=torch.float64).index_add_(0, index, values - mean)  # centred: nothing lost to rounding
    counts = torch.bincount(index, minlength=n).double()
    means = []
    at_once = max(1, 4_000_000 // n)  # resamples drawn together; bounds the memory, not the result's meaning
    for first in range(0, resamples, at_once):
        drawn = torch.randint(n, (min(at_once, resamples - first), n), generator=generator)
        means.append(mean + sums[drawn].sum(dim=1) / counts[drawn].sum(dim=1))
    tail = (1 - confidence) / 2
    # A mean of values stays among them; rounding may not.
    drawn_means = torch.cat(means).clamp(values.min(), values.max())
    low, high = drawn_means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(mean, low, high, len(values), n, left_out)
