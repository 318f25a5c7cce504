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
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .._utils.checks import is_size

# Two enlarged values that are equal in exact arithmetic differ by a few roundings; this many count as equal.
_ROUNDINGS = 8


class MapScores(NamedTuple):
    """The three scores of each picture, each in [0, 1] or NaN where the mask is empty."""

    pointing: Float[Tensor, " b"]
    energy: Float[Tensor, " b"]
    iou: Float[Tensor, " b"]


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


def relevance_rank_accuracy(maps: Float[Tensor, "b h w"], masks: Bool[Tensor, "b H W"]) -> Float[Tensor, " b"]:
    """Relevance rank accuracy: the share of the map's k largest pixels that lie in the mask of k pixels; in [0, 1].

    t / k with t as in ``iou``, which is t / (2k - t): for one picture the two rank maps alike; their means over
    pictures need not. Ties share as there; a constant map has k / n, chance.

    Source: Arras et al. (2022), "CLEVR-XAI", arXiv:2003.07258.
    Raises: as ``score_maps``.
    """
    values, masks = _prepare(maps, masks)
    inside, area = _largest_inside(values, masks)
    return _nan_where_empty(inside / area, masks)


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
    inside, area = _largest_inside(values, masks)
    return _nan_where_empty(inside / (2 * area - inside), masks)


def _largest_inside(values: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the k largest values lie in the mask of k pixels, ties in part; and k."""
    area = masks.sum(dim=1, keepdim=True)
    last = values.sort(dim=1, descending=True).values.gather(1, (area - 1).clamp(min=0))  # the k-th largest value
    ties = _ties(values, last)
    sure = (values > last) & ~ties
    share = (area - sure.sum(dim=1, keepdim=True)) / ties.sum(dim=1, keepdim=True)
    inside = (sure & masks).sum(dim=1) + share[:, 0] * (ties & masks).sum(dim=1)
    return inside, area[:, 0]


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
