"""Average drop and increase in confidence: what is left of a class when the picture is seen through its map."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .._utils.modes import undisturbed
from ..posthoc.network import Logits, Targets, check_pictures, check_targets, pick_targets
from .insertion_deletion import with_baselines
from .intervals import Interval, cluster_interval
from .localisation import enlarge


class ConfidenceChange(NamedTuple):
    """Of each picture: the share of its confidence that was lost, in [0, 1], and whether it rose, 0 or 1."""

    drop: Float[Tensor, " b"]
    increase: Float[Tensor, " b"]


class ConfidenceRow(NamedTuple):
    """One line of a table: average drop (small is good) and increase in confidence (large is good), with intervals."""

    name: str
    drop: Interval
    increase: Interval
    baseline: bool = False


def confidence_change(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    maps: Float[Tensor, "b h w"],
    targets: Targets = None,
    *,
    batch_size: int = 256,
) -> ConfidenceChange:
    """Average drop and increase in confidence: drop = max(0, Y - O) / Y, increase = [O > Y].

    Y is the probability of the class for the picture, O that for the picture times the map, enlarged and scaled to
    [0, 1] (its smallest value to 0, its largest to 1; a constant map to 1, so it changes nothing: drop 0, increase 0).
    Pictures are multiplied as the model gets them: 0 is the mean colour of normalised pictures.

    Caution: a map that shows the whole picture has the best drop, so a broad map beats an exact one; read it beside
    ``curve`` and the baselines of ``compare_confidence``.

    Source: Chattopadhyay et al. (2018), "Grad-CAM++", arXiv:1710.11063; means over pictures are their average drop and
    rate of increase, without the factor of 100.
    Raises: ValueError unless there is one finite map per picture, no larger than it; otherwise as ``posthoc.explain``.
    """
    with undisturbed(model) as network, torch.no_grad():
        home, images = images.device, check_pictures(images, network)
        classes = check_targets(targets, len(images))
        if maps.ndim != 3 or len(maps) != len(images):
            raise ValueError(f"maps must be ({len(images)}, h, w), one for each image; got {tuple(maps.shape)}")
        classes = pick_targets(Logits(network), images, classes, batch_size=batch_size)
        seen = enlarge(maps, (images.shape[2], images.shape[3])).to(images)
        low, high = seen.amin(dim=(1, 2), keepdim=True), seen.amax(dim=(1, 2), keepdim=True)
        seen = torch.where(high > low, (seen - low) / (high - low), 1.0)
        probability = Logits(network, probability=True)

        def of_class(pictures: Tensor) -> Tensor:
            each = [probability(some) for some in pictures.split(batch_size)]
            return torch.cat(each).gather(1, classes[:, None])[:, 0]

        whole, through = of_class(images), of_class(images * seen[:, None])
    drop = ((whole - through).relu() / whole.clamp(min=torch.finfo(whole.dtype).tiny)).to(home)
    return ConfidenceChange(drop, (through > whole).to(drop))


def compare_confidence(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    named_maps: Mapping[str, Float[Tensor, "b _ _"]],
    targets: Targets = None,
    *,
    clusters: Int[Tensor, " b"] | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[ConfidenceRow, ...]:
    """``confidence_change`` of every map, and always of a random map (chance) and a centre prior, with intervals.

    ``clusters`` as in ``metrics.cluster_interval``; the random map is as coarse as the coarsest of ``named_maps``.
    Raises: ValueError when there is no map or a name is one of the two baselines'; otherwise as ``confidence_change``.
    """
    rows = []
    for name, (maps, is_baseline) in with_baselines(named_maps, images, seed=seed).items():
        change = confidence_change(model, images, maps, targets, **options)
        drop, increase = (cluster_interval(each, clusters, seed=seed) for each in change)
        rows.append(ConfidenceRow(name, drop, increase, is_baseline))
    return tuple(rows)
