"""Scores of many maps over many pictures, side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from ..posthoc.layers import used_map_layers
from ..posthoc.methods import OwnMethod, explain
from ..posthoc.network import Targets
from .baselines import blurred_brightness, centre_prior, edge_maps, random_maps, uniform_maps
from .intervals import Interval, cluster_interval
from .localisation import score_maps


class Row(NamedTuple):
    """One line of a table of maps: a name, its three scores over all pictures, and whether it is a baseline."""

    name: str
    pointing: Interval
    energy: Interval
    iou: Interval
    baseline: bool = False


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
    named_maps: Mapping[str, Float[Tensor, "b _ _"] | str | OwnMethod],
    masks: Bool[Tensor, "b H W"],
    clusters: Int[Tensor, " b"] | None = None,
    *,
    images: UInt8[Tensor, "b c H W"] | Float[Tensor, "b c H W"],
    model: nn.Module | None = None,
    inputs: Float[Tensor, "b c H W"] | None = None,
    targets: Targets = None,
    baselines: Mapping[str, Float[Tensor, "b _ _"]] | None = None,
    sigma: float | None = None,
    clamp: bool = False,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Row, ...]:
    """A table of maps on the same pictures: one ``Row`` for each of ``named_maps``, then the baselines, always.

    The baselines are ``"random map"`` (drawn at the size of the coarsest of ``named_maps``), ``"centre prior"``,
    ``"blurred brightness"`` and ``"edges"`` of ``images``, and ``"uniform weights"`` (a constant map: chance); then
    those you add in ``baselines``, such as ``{"untrained network": maps}``.

    Args:
        named_maps: name -> maps (b, h, w); their sizes may differ. Give every level, not the best alone. In place of
            maps also a method: a key of ``posthoc.METHODS`` or a function ``(model, images, targets) -> maps``, which
            explains ``targets`` of ``model`` on ``inputs``, the pictures as the model takes them.
        masks: the pixels of the object.
        clusters: what the pictures share (their source digit), as in ``cluster_interval``.
        images: the pictures, before normalisation by mean and std.
        model, inputs, targets: as for ``posthoc.explain``, needed where ``named_maps`` names methods.
        sigma: blur of the brightness in pixels; a tenth of the picture's shorter side if None.
        clamp: as in ``energy_in_mask``.

    Raises: ValueError when there is no map or a name is used twice; otherwise as ``score_maps``, with the map's name.
    """
    if not named_maps:
        raise ValueError("named_maps must hold at least one map")
    maps_of = {name: _maps(given, name, model, inputs, targets) for name, given in named_maps.items()}
    n, size = len(masks), (masks.shape[-2], masks.shape[-1])
    coarsest = min(((maps.shape[-2], maps.shape[-1]) for maps in maps_of.values()), key=math.prod)
    ours = {
        "random map": random_maps(n, coarsest, seed=seed),
        "centre prior": centre_prior(n, size),
        "blurred brightness": blurred_brightness(images, sigma=min(size) / 10 if sigma is None else sigma),
        "edges": edge_maps(images),
        "uniform weights": uniform_maps(n, size),
    }
    added = dict(baselines or {})
    if twice := (named_maps.keys() & (ours.keys() | added.keys())) | (added.keys() & ours.keys()):
        raise ValueError(
            f"names must be used once; got {', '.join(sorted(twice))} twice ({', '.join(ours)} are built in)"
        )
    rows = []
    for name, maps in {**maps_of, **ours, **added}.items():
        try:
            scores = score_maps(maps, masks, clamp=clamp)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
        pointing, energy, overlap = (
            cluster_interval(each, clusters, confidence=confidence, resamples=resamples, seed=seed) for each in scores
        )
        rows.append(Row(name, pointing, energy, overlap, baseline=name not in named_maps))
    return tuple(rows)


def _maps(
    given: Tensor | str | OwnMethod, name: str, model: nn.Module | None, inputs: Tensor | None, targets: Targets
) -> Tensor:
    """Maps as they are, or those that a method makes."""
    if isinstance(given, Tensor):
        return given
    if model is None or inputs is None:
        raise ValueError(
            f"{name}: a method needs model= and inputs= (the pictures as the model takes them); got {given!r}"
        )
    return explain(model, inputs, targets, method=given)


def by_layer(
    model: nn.Module,
    images: Float[Tensor, "b c H W"],
    masks: Bool[Tensor, "b H W"],
    targets: Targets = None,
    *,
    method: str = "grad_cam",
    pictures: UInt8[Tensor, "b c H W"] | Float[Tensor, "b c H W"],
    layers: Sequence[str] | None = None,
    clusters: Int[Tensor, " b"] | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[Row, ...]:
    """Which layer? The scores of one method's maps at every layer against the object's mask, then the baselines.

    A row a layer, in running order, named as ``posthoc.map_layers`` names it; then those of ``compare_maps``, chance
    among them. Negative values count as 0 in the energy. Choose on validation pictures (``best_level`` of the layers'
    intervals): the best of many layers picked on the test set flatters itself.

    Args:
        model, images, targets, method, options: as in ``posthoc.explain``, for a method that takes a layer.
        pictures: the same before normalisation, for the baselines that look at brightness and edges.
        layers: names of modules; None for every layer whose map leads to the logits, of nested modules of one size the
            outermost.

    Raises: ValueError on a method that takes no layer; otherwise as ``posthoc.explain`` and ``compare_maps``.
    """
    if layers is None:
        found = used_map_layers(model, images)
        layers = [name for name in found if found.get(name.rpartition(".")[0], ())[1:] != found[name][1:]]
    maps = {name: explain(model, images, targets, method=method, layer=name, **options) for name in layers}
    return compare_maps(maps, masks, clusters, images=pictures, clamp=True, seed=seed)
