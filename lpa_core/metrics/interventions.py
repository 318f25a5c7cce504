"""Does the network use its own trained maps? Change them inside the network and watch the accuracy.

Permute the weights, make them uniform, take an attended vector away. No gradient, no perturbed picture: the network
itself answers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .._utils.checks import check_option
from .._utils.modes import undisturbed
from ..attention import Attended, AttentionEstimator
from ..posthoc.network import Logits, check_pictures, check_targets, pick_targets
from .intervals import Interval, cluster_interval

Change = Literal["permute", "uniform", "zero vector", "mean vector"]


class Intervention(NamedTuple):
    """Accuracy under one change of the trained maps, and its fall against the intact network, picture by picture.

    ``level`` is counted from 0 (shallow); None for all levels at once. ``changed`` is the share of pictures whose
    predicted class is another than the intact network's.
    """

    change: str
    level: int | None
    accuracy: Interval
    fall: Interval
    changed: Interval


@contextmanager
def intervened(
    model: nn.Module,
    change: Change,
    *,
    level: int | None = None,
    vectors: Float[Tensor, "levels _"] | tuple[Tensor, ...] | None = None,
    seed: int = 0,
) -> Iterator[nn.Module]:
    """Inside the ``with`` block the model classifies from changed attention; afterwards it is as it was.

    * ``"permute"``: each picture's weights a_i are dealt to random positions: same values, the place is lost.
    * ``"uniform"``: every weight is their mean (1/n after a softmax): average pooling.
    * ``"zero vector"``: the attended vector g_a is 0. The network has never seen that, so some of the harm may be
      surprise rather than loss.
    * ``"mean vector"``: g_a is the mean over pictures, given in ``vectors``, one for each level.

    Args:
        model: an attention network (``AttentionEstimator`` modules, one per level, shallow to deep). Where a level
            gates the map that is fed on (``vgg_pan``) its vector is not used, and changing that does nothing.
        level: which one, from 0 (shallow) or -1 (deepest); None for all.
        vectors: needed by ``"mean vector"`` alone.
        seed: for the permutations, drawn anew for every picture.

    The weights that ``model.attend`` shows are the changed ones; the scores stay the network's own. Gives the model
    in eval mode.

    Raises: ValueError where the model has no attention or not this level, on an unknown ``change``, or where
        ``vectors`` are missing or not wanted.
    """
    check_option("change", change, Change)
    with undisturbed(model) as network:
        estimators = _estimators(network)
        if level is not None and not -len(estimators) <= level < len(estimators):
            raise ValueError(f"level must be one of the model's {len(estimators)}, from 0 (shallow) or -1; got {level}")
        if (vectors is None) == (change == "mean vector"):
            raise ValueError(f"vectors must be given for 'mean vector' and nothing else; got change={change!r}")
        if vectors is not None and len(vectors) != len(estimators):
            raise ValueError(f"vectors must be one for each of the {len(estimators)} levels; got {len(vectors)}")
        levels = range(len(estimators)) if level is None else [level % len(estimators)]
        handles = []
        try:
            for s in levels:
                # A generator for each level: what is drawn does not depend on how the pictures are batched.
                draw = torch.Generator().manual_seed(seed + s)
                vector = None if vectors is None else vectors[s]
                handles.append(estimators[s].register_forward_hook(partial(_changed, change, draw, vector)))
            yield network
        finally:
            for handle in handles:
                handle.remove()


def _estimators(network: nn.Module) -> list[AttentionEstimator]:
    found = [module for module in network.modules() if isinstance(module, AttentionEstimator)]
    if not found:
        raise ValueError(f"model must have attention to change; {type(network).__name__} has no AttentionEstimator")
    return found


def _changed(
    change: Change,
    draw: torch.Generator,
    vector: Tensor | None,
    estimator: AttentionEstimator,
    inputs: tuple[Any, ...],
    output: Attended,
) -> Attended:
    if change == "zero vector":
        return output._replace(vector=torch.zeros_like(output.vector))
    if change == "mean vector":
        assert vector is not None  # checked by intervened()
        return output._replace(vector=vector.to(output.vector).expand_as(output.vector))
    weights = output.weights.flatten(1)
    if change == "permute":
        deal = torch.rand(weights.shape, generator=draw).argsort(dim=1).to(weights.device)
        weights = weights.gather(1, deal)
    else:
        weights = weights.mean(dim=1, keepdim=True).expand_as(weights)
    weights = weights.reshape(output.weights.shape)
    return output._replace(weights=weights, vector=estimator.vector(inputs[0], weights))


def compare_interventions(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    labels: Int[Tensor, " b"],
    *,
    clusters: Int[Tensor, " b"] | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> tuple[Intervention, ...]:
    """A table of accuracies: intact, then every change of ``intervened`` at every level and at all of them.

    If uniform weights classify as well as the trained ones, the network does not use *where* it looks, however good
    its map looks. The mean vectors are those of ``images`` in the intact network. ``clusters`` as in
    ``metrics.cluster_interval``.

    Raises: ValueError on labels outside the classes or not one for each picture; otherwise as ``intervened``.
    """
    with undisturbed(model) as network, torch.no_grad():
        estimators = _estimators(network)
        images = check_pictures(images, network)
        truth = check_targets(labels, len(images))
        truth = pick_targets(Logits(network), images, truth, batch_size=batch_size).to("cpu")
        attended: list[list[Tensor]] = []

        def note(_estimator: nn.Module, _inputs: object, output: Attended) -> None:
            attended[-1].append(output.vector)

        handles = [estimator.register_forward_hook(note) for estimator in estimators]
        predicted = []
        try:
            for chunk in images.split(batch_size):
                attended.append([])
                predicted.append(Logits(network)(chunk).argmax(dim=1))
        finally:
            for handle in handles:
                handle.remove()
        intact = torch.cat(predicted).cpu()
        vectors = tuple(torch.cat(level).mean(dim=0) for level in zip(*attended, strict=True))

        def row(change: str, level: int | None, now: Tensor) -> Intervention:
            right, was = (now == truth).double(), (intact == truth).double()
            values = (right, was - right, (now != intact).double())
            return Intervention(change, level, *(cluster_interval(v, clusters, seed=seed) for v in values))

        rows = [row("none", None, intact)]
        for change in get_args(Change):
            which: list[int | None] = [*range(len(estimators))]
            for level in [*which, None] if len(which) > 1 else which:
                given = vectors if change == "mean vector" else None
                with intervened(network, change, level=level, vectors=given, seed=seed) as changed:
                    now = torch.cat([Logits(changed)(chunk).argmax(dim=1) for chunk in images.split(batch_size)])
                rows.append(row(change, level, now.cpu()))
    return tuple(rows)
