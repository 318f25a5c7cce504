"""Scores for maps: does a map point at the object, beside what a map that knows nothing would score.

A map is one number per position, (b, h, w), of any size up to the picture's; a mask says which pixels belong to the
object, (b, H, W). Maps are enlarged to the mask's size first (``enlarge``), and nothing else is done to them.

Three rules hold for every score. An empty mask gives NaN, never a hit. Equal values are scored by what a fair draw
among them would give, so a map that says nothing (all values equal) scores chance, exactly. A map with NaN or inf is
refused.

These scores measure *localisation*: is the map where the object is? They do not say whether the network used what the
map marks. A map can be right about the network and far from the object, and the other way round.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from .checks import is_number, is_size, is_whole

# Two enlarged values that are equal in exact arithmetic differ by a few roundings; this many count as equal.
_ROUNDINGS = 8


class MapScores(NamedTuple):
    """The three scores of each picture, each in [0, 1] or NaN where the mask is empty."""

    pointing: Float[Tensor, " b"]
    energy: Float[Tensor, " b"]
    iou: Float[Tensor, " b"]


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


class Row(NamedTuple):
    """One line of a table of maps: a name, its three scores over all pictures, and whether it is a baseline."""

    name: str
    pointing: Interval
    energy: Interval
    iou: Interval
    baseline: bool = False


# Scores ---------------------------------------------------------------------------------------------------------------


def enlarge(maps: Float[Tensor, "b h w"], size: tuple[int, int]) -> Float[Tensor, "b H W"]:
    """Enlarge maps to ``size`` = (H, W): bilinear, ``align_corners=False``, in float32 at least.

    Cell i of n covers the pixels [i H/n, (i+1) H/n) and has its value at their centre; between centres values are
    mixed linearly, beyond the outermost they stay. Where H and W are multiples of h and w the mean is kept.
    A map that has the size already comes back unchanged. The result carries no gradient.

    Raises: TypeError unless ``maps`` is floating point; ValueError unless it is (b, h, w), finite, and at most
        ``size`` (this function does not shrink).
    """
    return _enlarge(_check_maps(maps), size)


def pointing_game(maps: Float[Tensor, "b h w"], masks: Bool[Tensor, "b H W"]) -> Float[Tensor, " b"]:
    """Pointing game: is the map's largest value on the object? 1 or 0; chance is the mask's share of the picture.

    Where several pixels share the largest value, the score is the share of them that lie on the object: what pointing
    at one of them by lot would score on average. A constant map so scores the mask's share of the picture.
    The score depends on the order of the enlarged values alone: multiplying the map or adding to it changes nothing.

    Source: Zhang et al. (2018), "Top-Down Neural Attention by Excitation Backprop". Differs from theirs: no tolerance
    around the object (theirs is 15 pixels).
    Raises: as ``score_maps``.
    """
    return _pointing(*_prepare(maps, masks))


def energy_in_mask(
    maps: Float[Tensor, "b h w"], masks: Bool[Tensor, "b H W"], *, clamp: bool = False
) -> Float[Tensor, " b"]:
    """Energy in the mask: sum of the map inside the mask / sum of the map, in [0, 1].

    Needs maps without negative values (attention weights, not scores). ``clamp=True`` counts the positive part of a
    signed map and leaves the rest out. A map with no mass at all points nowhere and is scored as a constant map, by
    the mask's share of the picture; NaN would drop a method's failures out of its mean.

    Source: Wang et al. (2020), "Score-CAM" (there: energy-based pointing game, on boxes).
    Raises: ValueError on a negative value with ``clamp=False``; otherwise as ``score_maps``.
    """
    return _energy(*_prepare(maps, masks), clamp)


def iou(maps: Float[Tensor, "b h w"], masks: Bool[Tensor, "b H W"]) -> Float[Tensor, " b"]:
    """Intersection over union of the mask and as many of the map's largest pixels as the mask has; in [0, 1].

    With k pixels in the mask and t of them among the k largest, IoU = t / (2k - t). Taking k from the mask leaves no
    threshold to tune: the score depends on the order of the enlarged values alone. Pixels that tie for the last
    places share them equally (each belongs in part), and t counts the shares: a constant map of n pixels has
    t = k^2 / n and IoU = k / (2n - k).

    Raises: as ``score_maps``.
    """
    return _iou(*_prepare(maps, masks))


def score_maps(maps: Float[Tensor, "b h w"], masks: Bool[Tensor, "b H W"], *, clamp: bool = False) -> MapScores:
    """All three scores of each picture: ``pointing_game``, ``energy_in_mask`` and ``iou``, enlarging once.

    ``clamp`` is that of ``energy_in_mask``; the other two scores always see the map as it is.
    Raises: TypeError unless ``maps`` is floating point and ``masks`` bool; ValueError unless they are (b, h, w) and
        (b, H, W) with h <= H and w <= W, or on a NaN or infinite map, or a negative one with ``clamp=False``.
    """
    values, masks = _prepare(maps, masks)
    return MapScores(_pointing(values, masks), _energy(values, masks, clamp), _iou(values, masks))


def _prepare(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Checked, enlarged and flattened: values (b, n) and masks (b, n) on the maps' device."""
    maps = _check_maps(maps)
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool:
        raise TypeError(f"masks must be bool (mask > 0 makes it so); got {getattr(masks, 'dtype', type(masks))}")
    if masks.ndim != 3 or masks.shape[1] * masks.shape[2] == 0 or len(maps) != len(masks):
        raise ValueError(
            f"masks must be (b, H, W) with one mask for each of {len(maps)} maps; got {tuple(masks.shape)}"
        )
    values = _enlarge(maps, (masks.shape[1], masks.shape[2]))
    return values.flatten(1), masks.to(values.device).flatten(1)


def _check_maps(maps: Tensor) -> Tensor:
    if not isinstance(maps, Tensor) or not torch.is_floating_point(maps):
        raise TypeError(f"maps must be floating point; got {getattr(maps, 'dtype', type(maps))}")
    if maps.ndim != 3 or maps.shape[1] * maps.shape[2] == 0:
        raise ValueError(f"maps must be (b, h, w), one map per picture; got {tuple(maps.shape)}")
    if not maps.isfinite().all():
        bad = (~maps.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
        raise ValueError(f"maps must be finite; NaN or inf in {len(bad)} of {len(maps)}, the first is number {bad[0]}")
    return maps.detach().to(torch.promote_types(maps.dtype, torch.float32))


def _enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if not is_size(size) or maps.shape[1] > size[0] or maps.shape[2] > size[1]:
        raise ValueError(f"size must be at least the maps' {tuple(maps.shape[1:])}; got {size!r}")
    if maps.shape[1:] == tuple(size):
        return maps
    if len(maps) == 0:  # interpolate refuses an empty batch
        return maps.new_zeros(0, *size)
    return F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def _ties(values: Tensor, level: Tensor) -> Tensor:
    return (values - level).abs() <= _ROUNDINGS * torch.finfo(values.dtype).eps * level.abs()


def _nan_where_empty(scores: Tensor, masks: Tensor) -> Tensor:
    return scores.masked_fill(~masks.any(dim=1), math.nan)


def _pointing(values: Tensor, masks: Tensor) -> Tensor:
    top = _ties(values, values.amax(dim=1, keepdim=True))
    return _nan_where_empty((top & masks).sum(dim=1) / top.sum(dim=1), masks)


def _energy(values: Tensor, masks: Tensor, clamp: bool) -> Tensor:
    if clamp:
        values = values.clamp(min=0)
    elif values.numel() and values.min() < 0:
        raise ValueError(
            f"maps must not be negative for the energy; got {values.min().item():.3g}. Give attention weights rather "
            f"than scores, or clamp=True to count the positive part"
        )
    # Divided by the largest value first, so that neither tiny nor huge values leave the range of a float.
    peak = values.amax(dim=1, keepdim=True)
    values = torch.where(peak > 0, values / peak, torch.ones_like(values))
    return _nan_where_empty((values * masks).sum(dim=1) / values.sum(dim=1), masks)


def _iou(values: Tensor, masks: Tensor) -> Tensor:
    area = masks.sum(dim=1, keepdim=True)
    last = values.sort(dim=1, descending=True).values.gather(1, (area - 1).clamp(min=0))  # the k-th largest value
    ties = _ties(values, last)
    sure = (values > last) & ~ties
    share = (area - sure.sum(dim=1, keepdim=True)) / ties.sum(dim=1, keepdim=True)
    inside = (sure & masks).sum(dim=1) + share[:, 0] * (ties & masks).sum(dim=1)
    return _nan_where_empty(inside / (2 * area[:, 0] - inside), masks)


def box_masks(boxes: Int[Tensor, "b 4"], size: tuple[int, int]) -> Bool[Tensor, "b H W"]:
    """Boxes (top, left, bottom, right), half-open, in pixels -> masks of ``size`` = (H, W).

    A box without area (top = bottom or left = right) gives an empty mask.
    Raises: ValueError unless ``boxes`` is (b, 4) with 0 <= top <= bottom <= H and 0 <= left <= right <= W.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be (b, 4): top, left, bottom, right; got {tuple(boxes.shape)}")
    high, wide = size
    top, left, bottom, right = boxes.unbind(dim=1)
    wrong = (top < 0) | (top > bottom) | (bottom > high) | (left < 0) | (left > right) | (right > wide)
    if wrong.any():
        raise ValueError(
            f"boxes must be top <= bottom <= {high}, left <= right <= {wide}, none negative; "
            f"got {boxes[wrong][0].tolist()}"
        )
    rows = torch.arange(high, device=boxes.device)[None, :, None]
    columns = torch.arange(wide, device=boxes.device)[None, None, :]
    top, left, bottom, right = (edge[:, None, None] for edge in (top, left, bottom, right))
    return (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)


# Baselines: maps that know nothing of the network --------------------------------------------------------------------


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
    return _blur(maps, sigma)


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
    return _blur(images.float().mean(dim=1), sigma)


def _check_count(n: int, size: tuple[int, int]) -> None:
    if not is_whole(n, 0, 2**31) or not is_size(size):
        raise ValueError(f"n must be at least 0 and size (h, w) at least (1, 1); got n={n!r}, size={size!r}")


def _seeded(seed: int) -> torch.Generator:
    if not is_whole(seed, -(2**63)):
        raise ValueError(f"seed must be a whole number of 64 bits; got {seed!r}")
    return torch.Generator().manual_seed(int(seed))


def _blur(maps: Tensor, sigma: float) -> Tensor:
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


# Over many pictures ---------------------------------------------------------------------------------------------------


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


def best_level(scores_per_level: Sequence[Float[Tensor, " n"] | Interval | float]) -> int:
    """Index of the level with the highest mean score, counted from 0 (shallow); of equal levels the deepest.

    Give scores of *validation* pictures and report the chosen level on the test set: the best of several levels
    picked on the test set flatters itself. NaNs are left out of each mean.

    Raises: ValueError when no level is given, or one has no score but NaN.
    """
    means = [
        level.mean if isinstance(level, Interval) else float(torch.as_tensor(level, dtype=torch.float64).nanmean())
        for level in scores_per_level
    ]
    if not means or any(math.isnan(mean) for mean in means):
        raise ValueError(f"scores_per_level must give at least one score for every level; got means {means}")
    return max(range(len(means)), key=lambda level: (means[level], level))


def compare_maps(
    named_maps: Mapping[str, Float[Tensor, "b _ _"]],
    masks: Bool[Tensor, "b H W"],
    clusters: Int[Tensor, " b"] | None = None,
    *,
    images: UInt8[Tensor, "b c H W"] | Float[Tensor, "b c H W"],
    baselines: Mapping[str, Float[Tensor, "b _ _"]] | None = None,
    sigma: float | None = None,
    clamp: bool = False,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Row, ...]:
    """A table of maps on the same pictures: one ``Row`` for each of ``named_maps``, then the baselines, always.

    The baselines are ``"random map"`` (drawn at the size of the coarsest of ``named_maps``), ``"centre prior"``,
    ``"blurred brightness"`` of ``images`` and ``"uniform weights"`` (a constant map: chance); then those you add in
    ``baselines``, such as ``{"untrained network": maps}``.

    Args:
        named_maps: name -> maps (b, h, w); their sizes may differ. Give every level, not the best alone.
        masks: the pixels of the object.
        clusters: what the pictures share (their source digit), as in ``cluster_interval``.
        images: the pictures, before normalisation by mean and std.
        sigma: blur of the brightness in pixels; a tenth of the picture's shorter side if None.
        clamp: as in ``energy_in_mask``.

    Raises: ValueError when there is no map or a name is used twice; otherwise as ``score_maps``, with the map's name.
    """
    if not named_maps:
        raise ValueError("named_maps must hold at least one map")
    n, size = len(masks), (masks.shape[-2], masks.shape[-1])
    coarsest = min(((maps.shape[-2], maps.shape[-1]) for maps in named_maps.values()), key=math.prod)
    ours = {
        "random map": random_maps(n, coarsest, seed=seed),
        "centre prior": centre_prior(n, size),
        "blurred brightness": blurred_brightness(images, sigma=min(size) / 10 if sigma is None else sigma),
        "uniform weights": uniform_maps(n, size),
    }
    added = dict(baselines or {})
    if twice := (named_maps.keys() & (ours.keys() | added.keys())) | (added.keys() & ours.keys()):
        raise ValueError(
            f"names must be used once; got {', '.join(sorted(twice))} twice ({', '.join(ours)} are built in)"
        )
    rows = []
    for name, maps in {**named_maps, **ours, **added}.items():
        try:
            scores = score_maps(maps, masks, clamp=clamp)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
        pointing, energy, overlap = (
            cluster_interval(each, clusters, confidence=confidence, resamples=resamples, seed=seed) for each in scores
        )
        rows.append(Row(name, pointing, energy, overlap, baseline=name not in named_maps))
    return tuple(rows)
