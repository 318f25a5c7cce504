"""Is a map steady? Disturb the picture a little, by chance (sensitivity) or on purpose (FGSM), and compare the maps."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from .._utils.modes import undisturbed
from ..posthoc.methods import explain
from ..posthoc.network import Logits, Targets, check_pictures, check_targets, pick_targets
from .baselines import centre_prior, random_maps
from .intervals import Interval, cluster_interval
from .likeness import spearman
from .randomisation import explain_options

Methods = Mapping[str, Mapping[str, Any]]


class SensitivityRow(NamedTuple):
    """One line of ``sensitivity``: the largest relative change of a map under small noise; 0 is steady."""

    name: str
    change: Interval
    baseline: bool = False


class FGSMRow(NamedTuple):
    """One epsilon of ``fgsm_robustness``.

    ``accuracy`` is that on attacked pictures, ``noise_accuracy`` that on pictures moved as far in random directions:
    the control. ``stability`` is, for each map, the rank correlation of the clean and the attacked picture's map.
    """

    epsilon: float
    accuracy: Interval
    noise_accuracy: Interval
    stability: dict[str, Interval]


def sensitivity(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    targets: Targets = None,
    *,
    methods: Methods,
    radius: float,
    samples: int = 8,
    clusters: Int[Tensor, " b"] | None = None,
    seed: int = 0,
) -> tuple[SensitivityRow, ...]:
    """How much small noise changes each map: max over noises of ||M(x + e) - M(x)|| / ||M(x)||, e within ``radius``.

    Args:
        targets: the classes explained, with and without noise; None for those predicted without.
        methods: row name -> keyword arguments of ``posthoc.explain``, such as
            ``{"Grad-CAM": {"method": "grad_cam"}, "attention 3": {"method": "attention", "level": 2}}``.
        radius: each value of each picture moves by a uniform number in [-radius, radius], in units of ``images``.
        samples: noises for each picture; the largest change counts, so more samples give larger numbers.
        clusters: as in ``metrics.cluster_interval``.

    The last two rows are the baselines: a random map, drawn anew for every noise, and a centre prior, whose 0 shows
    that steadiness alone is no merit. A map of zeros has no relative change: NaN, left out and counted.

    Source: Yeh et al. (2019), "On the (In)fidelity and Sensitivity of Explanations", arXiv:1901.09392; relative as in
    captum.
    Raises: ValueError on no method, a ``radius`` not above 0 or ``samples`` below 1; otherwise as ``posthoc.explain``.
    """
    if not radius > 0 or samples < 1:
        raise ValueError(f"radius must be above 0 and samples at least 1; got radius={radius}, samples={samples}")
    with undisturbed(model) as network:
        images = check_pictures(images, network)
        mapper = _Mapper(network, images, targets, methods, seed)
        clean = mapper(images)
        worst = {name: torch.zeros(len(images), device=images.device) for name in clean}
        draw = torch.Generator().manual_seed(seed)
        for _ in range(samples):
            noise = (2 * torch.rand(images.shape, generator=draw) - 1) * radius
            for name, maps in mapper(images + noise.to(images)).items():
                size = clean[name].flatten(1).norm(dim=1)
                moved = (maps - clean[name]).flatten(1).norm(dim=1)
                worst[name] = torch.maximum(worst[name], (moved / size).where(size > 0, torch.nan))
    return tuple(
        SensitivityRow(name, cluster_interval(change, clusters, seed=seed), name not in methods)
        for name, change in worst.items()
    )


def fgsm(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    *,
    epsilon: float,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Float[Tensor, "b c h w"]:
    """Fast gradient sign method: x + epsilon * sign(gradient of the cross-entropy with respect to x).

    With ``mean`` and ``std``, by which the images were normalised, ``epsilon`` is in units of a pixel from 0 to 1
    (8/255, say) and the result stays a possible picture: clipped to that range. Without them ``epsilon`` is in units of
    ``images`` and nothing is clipped.

    Source: Goodfellow et al. (2015), "Explaining and Harnessing Adversarial Examples", arXiv:1412.6572.
    Raises: ValueError on a negative ``epsilon``, ``mean`` without ``std``, one number per channel missing, or labels
        outside the classes; otherwise as ``posthoc.explain``.
    """
    with undisturbed(model) as network:
        home, images = images.device, check_pictures(images, network)
        step = _step(images, epsilon, std, mean)
        truth = pick_targets(Logits(network), images, check_targets(labels, len(images)), batch_size=64)
        moved = []
        for some, label in zip(images.split(64), truth.split(64), strict=True):
            x = some.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(Logits(network)(x), label, reduction="sum"), x)
            moved.append(some + step * gradient.sign())
        return _clip(torch.cat(moved), mean, std).to(home)


def fgsm_robustness(
    model: nn.Module,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    *,
    methods: Methods,
    epsilons: Sequence[float],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    clusters: Int[Tensor, " b"] | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> tuple[FGSMRow, ...]:
    """Accuracy and steadiness of maps against the strength of an FGSM attack; one row for each of ``epsilons``.

    Maps of class-specific methods explain the label, clean and attacked. ``methods`` as in ``sensitivity``; the
    baselines stand among the maps: a random one (drawn anew: about 0) and a centre prior (constant over pictures: 1).
    ``epsilon``, ``mean`` and ``std`` as in ``fgsm``.

    Raises: ValueError on no epsilon or no method; otherwise as ``fgsm`` and ``posthoc.explain``.
    """
    if not epsilons:
        raise ValueError("epsilons must hold at least one number")
    with undisturbed(model) as network:
        images = check_pictures(images, network)
        mapper = _Mapper(network, images, labels, methods, seed)
        clean = mapper(images)
        truth = labels.to(images.device)
        rows = []
        for epsilon in epsilons:
            attacked = fgsm(network, images, labels, epsilon=epsilon, mean=mean, std=std)
            signs = torch.randint(2, images.shape, generator=torch.Generator().manual_seed(seed)).to(images) * 2 - 1
            noisy = _clip(images + _step(images, epsilon, std, mean) * signs, mean, std)
            right, noise_right = (
                pick_targets(Logits(network), pictures, None, batch_size=batch_size) == truth
                for pictures in (attacked, noisy)
            )
            stability = {
                name: cluster_interval(spearman(clean[name], maps), clusters, seed=seed)
                for name, maps in mapper(attacked).items()
            }
            accuracy, noise_accuracy = (cluster_interval(r, clusters, seed=seed) for r in (right, noise_right))
            rows.append(FGSMRow(epsilon, accuracy, noise_accuracy, stability))
    return tuple(rows)


class _Mapper:
    """All maps of given pictures, by name, for classes fixed once; then a new random map and the centre prior."""

    def __init__(self, network: nn.Module, images: Tensor, targets: Targets, methods: Methods, seed: int) -> None:
        if not methods:
            raise ValueError("methods must hold at least one map: {'Grad-CAM': {'method': 'grad_cam'}}")
        if twice := methods.keys() & {"random map", "centre prior"}:
            raise ValueError(f"methods must not use the names of the baselines; got {', '.join(sorted(twice))}")
        self.network, self.seed = network, seed
        self.explained = {}
        for name, options in methods.items():
            if "method" not in options or "targets" in options:
                raise ValueError(f"methods[{name!r}] must name a method and no targets; got {dict(options)}")
            rest = {key: value for key, value in options.items() if key != "method"}
            self.explained[name] = explain_options(network, images, targets, options["method"], rest)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        maps = {name: explain(self.network, images, **options) for name, options in self.explained.items()}
        n, size = len(images), (images.shape[2], images.shape[3])
        coarsest = min(((m.shape[1], m.shape[2]) for m in maps.values()), key=lambda shape: shape[0] * shape[1])
        self.seed += 1
        maps["random map"] = random_maps(n, coarsest, seed=self.seed).to(images)
        maps["centre prior"] = centre_prior(n, size).to(images)
        return maps


def _step(images: Tensor, epsilon: float, std: Sequence[float] | None, mean: Sequence[float] | None) -> Tensor:
    """``epsilon`` in units of ``images``, one number per channel."""
    channels = images.shape[1]
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0; got {epsilon}")
    if (mean is None) != (std is None):
        raise ValueError(f"mean and std must be given together; got mean={mean}, std={std}")
    for name, given in (("mean", mean), ("std", std)):
        if given is not None and len(given) != channels:
            raise ValueError(f"{name} must have one number for each of {channels} channels; got {len(given)}")
    per_channel = images.new_full((channels,), epsilon)
    if std is not None:
        per_channel = per_channel / images.new_tensor(std)
    return per_channel.view(1, channels, 1, 1)


def _clip(images: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> Tensor:
    if mean is None or std is None:
        return images
    m, s = (images.new_tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    return images.clamp(-m / s, (1 - m) / s)
