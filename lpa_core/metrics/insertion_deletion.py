"""Does the network use what a map marks? Change the picture in the map's order and watch the score.

Insertion and deletion work for every map, post-hoc or trained. Localisation (``metrics``) asks where a map is; here
nobody asks where the object is. ``interventions`` changes the trained maps themselves.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .._utils.checks import check_option
from .._utils.modes import undisturbed
from ..posthoc.network import Logits, Targets, check_pictures, check_targets, constant_picture, pick_targets
from .baselines import blur, centre_prior, random_maps
from .intervals import Interval, cluster_interval
from .localisation import enlarge

Baseline = Literal["blur", "mean"]
Kind = Literal["insertion", "deletion"]


class Curve(NamedTuple):
    """The score of each picture against the share of its pixels that were changed, from none to all.

    ``fractions`` are true shares: round(n j / steps) / n of n pixels. ``area`` is the area under the curve, by the
    trapezoid rule over ``fractions``.
    """

    fractions: Float[Tensor, " steps"]
    scores: Float[Tensor, "b steps"]
    area: Float[Tensor, " b"]


class CurveRow(NamedTuple):
    """One line of a table of curves: mean areas, each with its interval over pictures."""

    name: str
    insertion: Interval
    deletion: Interval
    baseline: bool = False


def curve(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    maps: Float[Tensor, "b h w"],
    targets: Targets = None,
    *,
    kind: Kind,
    baseline: Baseline | float | Tensor = "blur",
    steps: int = 20,
    probability: bool = True,
    batch_size: int = 256,
    seed: int = 0,
) -> Curve:
    """Insertion or deletion: change the pixels that the map marks most first, and follow the score.

    ``kind="deletion"`` replaces pixels by a baseline: a faithful map makes the score fall early (small area).
    ``kind="insertion"`` starts from the baseline and puts pixels back: a faithful map has a large area.

    Args:
        model: a classifier; left as it was.
        images: normalised as the model expects.
        maps: one per picture, of any sign; enlarged to the pictures' size (``metrics.enlarge``). Only the order of
            their values counts. Equal values are taken in random order, so a constant map changes pixels at random.
        targets: the class whose score is followed; None for the one predicted for the whole picture.
        baseline: ``"blur"``: the picture under a Gaussian of a tenth of its shorter side; ``"mean"``: its mean colour;
            or a number or a picture (c, height, width) in the units of the images. None is neutral: the score where
            all pixels are replaced says what the network sees in it.
        steps: the pixels are changed in this many equal parts.
        probability: follow the softmax of the target (in [0, 1]), or its logit.
        seed: for the random order of equal values.

    Source: Petsiuk et al. (2018), "RISE", arXiv:1806.07421. Differs from the paper: one baseline for both kinds.
    Raises: ValueError unless there is one finite map (b, h, w) per picture, no larger than it; on an unknown ``kind``
        or ``baseline``, or ``steps`` not from 1 to the number of pixels; otherwise as ``posthoc.explain``.
    """
    check_option("kind", kind, Kind)
    with undisturbed(model) as network, torch.no_grad():
        home, images = images.device, check_pictures(images, network)
        classes = check_targets(targets, len(images))
        pixels = images.shape[2] * images.shape[3]
        if not 1 <= steps <= pixels:
            raise ValueError(f"steps must be 1 to the {pixels} pixels of a picture; got {steps}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        ranks = pixel_ranks(maps, images, seed=seed).to(images.device)
        other = replacement(images, baseline)
        logits = Logits(network, probability=probability)
        classes = pick_targets(logits, images, classes, batch_size=batch_size)
        counts = [round(pixels * j / steps) for j in range(steps + 1)]
        before, after = (other, images) if kind == "insertion" else (images, other)
        parts = []
        for r, b, a, k in zip(*(x.split(batch_size) for x in (ranks[:, None], before, after, classes)), strict=True):
            steps_of_part = [logits(torch.where(r < count, a, b)).gather(1, k[:, None]) for count in counts]
            parts.append(torch.cat(steps_of_part, dim=1))
        scores = torch.cat(parts).to(home)
    fractions = torch.tensor(counts, dtype=scores.dtype, device=scores.device) / pixels
    return Curve(fractions, scores, torch.trapezoid(scores, fractions, dim=1))


def pixel_ranks(
    maps: Float[Tensor, "b h w"], images: Float[Tensor, "b c height width"], *, seed: int
) -> Int[Tensor, "b height width"]:
    """The place of each pixel when the map's largest value comes first, from 0; equal values in random order.

    Values that differ by less than a millionth of the map's range count as equal: enlarging rounds.
    Raises: ValueError unless there is one map per picture; otherwise as ``metrics.enlarge``.
    """
    if maps.ndim != 3 or len(maps) != len(images):
        raise ValueError(
            f"maps must be (b, h, w) with one map for each of {len(images)} images; got {tuple(maps.shape)}"
        )
    size = (images.shape[2], images.shape[3])
    values = enlarge(maps, size).flatten(1).double()
    low, high = values.aminmax(dim=1, keepdim=True)
    span = high - low
    flat = span <= 1e-6 * torch.maximum(high.abs(), low.abs())
    values = torch.where(flat, torch.zeros_like(values), ((values - low) / span * 1e6).round())
    lot = torch.rand(values.shape, generator=torch.Generator().manual_seed(seed)).argsort(dim=1).to(values.device)
    order = values.gather(1, lot).argsort(dim=1, descending=True, stable=True)
    order = lot.gather(1, order)
    return order.argsort(dim=1).view(len(maps), *size)


def replacement(
    images: Float[Tensor, "b c height width"], baseline: Baseline | float | Tensor = "blur"
) -> Float[Tensor, "b c height width"]:
    """What ``curve`` puts in place of pixels: the pictures with every one of them replaced by the ``baseline``.

    Raises: ValueError on an unknown ``baseline``, or a picture of another size.
    """
    if isinstance(baseline, str):
        check_option("baseline", baseline, Baseline)
        if baseline == "mean":
            return images.mean(dim=(2, 3), keepdim=True).expand_as(images)
        return blur(images, sigma=min(images.shape[2:]) / 10)
    return constant_picture(baseline, images).expand_as(images)


def compare_curves(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    named_maps: Mapping[str, Float[Tensor, "b _ _"]],
    targets: Targets = None,
    *,
    clusters: Int[Tensor, " b"] | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[CurveRow, ...]:
    """Insertion and deletion areas of every map, and always of a random map and a centre prior, with intervals.

    The random map is drawn at the size of the coarsest of ``named_maps``. ``clusters`` as in
    ``metrics.cluster_interval``; ``options`` are those of ``curve``.

    Raises: ValueError when there is no map or a name is one of the two baselines'; otherwise as ``curve``.
    """
    rows = []
    for name, (maps, is_baseline) in with_baselines(named_maps, images, seed=seed).items():
        insertion, deletion = (
            cluster_interval(
                curve(model, images, maps, targets, kind=kind, seed=seed, **options).area, clusters, seed=seed
            )
            for kind in get_args(Kind)
        )
        rows.append(CurveRow(name, insertion, deletion, is_baseline))
    return tuple(rows)


def with_baselines(
    named_maps: Mapping[str, Float[Tensor, "b _ _"]], images: Float[Tensor, "b c height width"], *, seed: int
) -> dict[str, tuple[Tensor, bool]]:
    """name -> (maps, is it a baseline?), with ``"random map"`` and ``"centre prior"`` added."""
    if not named_maps:
        raise ValueError("named_maps must hold at least one map")
    coarsest = min(((m.shape[-2], m.shape[-1]) for m in named_maps.values()), key=math.prod)
    baselines = {
        "random map": random_maps(len(images), coarsest, seed=seed),
        "centre prior": centre_prior(len(images), (images.shape[2], images.shape[3])),
    }
    if twice := named_maps.keys() & baselines.keys():
        raise ValueError(f"named_maps must not use the names of the baselines; got {', '.join(sorted(twice))}")
    ours = {name: (maps, False) for name, maps in named_maps.items()}
    return ours | {name: (maps.to(images.device), True) for name, maps in baselines.items()}
