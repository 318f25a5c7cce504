"""Does a map depend on what the network has learned? Randomise the network and compare the maps.

A map that stays the same when the weights are replaced by noise shows the picture, not the network.
"""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .._utils.checks import check_option
from .._utils.device import device_of
from .._utils.modes import undisturbed
from ..posthoc.layers import find_layer
from ..posthoc.methods import OwnMethod, explain, find_method
from ..posthoc.network import Logits, Targets, check_pictures, check_targets, pick_targets
from .likeness import Similarity, compare_with_baselines, similarity

Mode = Literal["cascading", "independent"]


def randomisation_check(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    targets: Targets = None,
    *,
    method: str | OwnMethod,
    mode: Mode = "cascading",
    layers: Sequence[str] | None = None,
    clusters: Int[Tensor, " b"] | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[Similarity, ...]:
    """How like the trained network's maps are those of a network whose layers are randomised, one after the other.

    ``"cascading"`` randomises from the top down, so the last layer's row is a network with random weights throughout;
    ``"independent"`` randomises one layer and leaves the others trained. The last two rows compare the trained maps
    with a random map and a centre prior: that likeness is there without any network. Works on a copy of the model.

    Args:
        targets: the class explained in every network; None for the trained network's prediction.
        method, options: as in ``posthoc.explain``.
        layers: names of modules, in the order in which they are randomised, each with all it contains; ``""`` is the
            whole network at once. None for every module's own parameters, those of the last to run first
            (``parameter_layers``).
        clusters: as in ``metrics.cluster_interval``.
        seed: of the random weights, and of the baselines.

    Where a randomised network gives a constant map (as Grad-CAM's ReLU may), the correlation is NaN: it is left out
    and counted in ``Interval.left_out``.

    Source: Adebayo et al. (2018), "Sanity Checks for Saliency Maps", arXiv:1810.03292.
    Raises: ValueError on an unknown ``mode`` or a layer that does not exist or has no parameters; otherwise as
        ``posthoc.explain``.
    """
    check_option("mode", mode, Mode)
    with undisturbed(model) as network:
        images = check_pictures(images, network)
        known = {name for name, module in network.named_modules() if next(module.parameters(), None) is not None}
        if wrong := [name for name in layers or () if name not in known]:
            raise ValueError(
                f"layers must be modules with parameters, {', '.join(sorted(known - {''}))}; got {', '.join(wrong)}"
            )
        order = parameter_layers(network, images) if layers is None else tuple(layers)
        explained = explain_options(network, images, targets, method, options)
        trained = explain(network, images, **explained)
        rows = []
        draw = torch.Generator().manual_seed(seed)
        for name, changed in _randomised(network, order, mode, draw, recurse=layers is not None):
            maps = explain(changed, images, **explained)
            rows.append(similarity(name or type(network).__name__, trained, maps, clusters, seed=seed))
    return (*rows, *compare_with_baselines(trained, images, clusters, seed=seed))


def random_logit(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    targets: Targets = None,
    *,
    method: str | OwnMethod,
    clusters: Int[Tensor, " b"] | None = None,
    seed: int = 0,
    **options: Any,
) -> tuple[Similarity, ...]:
    """How like the map of the class is that of another class, drawn at random for every picture.

    A map that is the same for every class does not explain one. Of a method that explains a class the likeness should
    be small; the last two rows, a random map and a centre prior, say what is there by chance.

    Source: Sixt et al. (2020), "When Explanations Lie", arXiv:1912.09818.
    Raises: ValueError on a method that takes no class, or a model with one class; otherwise as ``posthoc.explain``.
    """
    line = find_method(method)
    if not line.class_specific:
        raise ValueError(f"method must explain a class; {line.name} gives one map for all")
    with undisturbed(model) as network:
        images = check_pictures(images, network)
        logits = Logits(network)
        classes = pick_targets(logits, images, check_targets(targets, len(images)), batch_size=64)
        with torch.no_grad():
            number = logits(images[:1]).shape[1]
        if number < 2:
            raise ValueError(f"model must have several classes; {type(network).__name__} has {number}")
        step = torch.randint(1, number, (len(images),), generator=torch.Generator().manual_seed(seed))
        both = torch.stack([classes, (classes + step.to(classes.device)) % number], dim=1)
        own, other = explain(network, images, both, method=method, **options).unbind(dim=1)
    row = similarity("random class", own, other, clusters, seed=seed)
    return (row, *compare_with_baselines(own, images, clusters, seed=seed))


def _randomised(
    network: nn.Module, order: Iterable[str], mode: str, generator: torch.Generator, *, recurse: bool
) -> Iterator[tuple[str, nn.Module]]:
    changed = copy.deepcopy(network)
    for name in order:
        if mode == "independent":
            changed = copy.deepcopy(network)
        randomise(changed.get_submodule(name), generator=generator, recurse=recurse)
        yield name, changed


def explain_options(
    network: nn.Module, images: Tensor, targets: Targets, method: str | OwnMethod, options: dict[str, Any]
) -> dict[str, Any]:
    """Keyword arguments for ``explain`` that always explain the same classes: the predicted ones where none is given.

    A method that takes no class gets none. A layer goes by its name, so that it is found in a copy of the network too.
    Raises: ValueError on an unknown method or layer.
    """
    classes = None
    if find_method(method).class_specific:
        with undisturbed(network) as plain:
            classes = pick_targets(Logits(plain), images, check_targets(targets, len(images)), batch_size=64)
    if options.get("layer") is not None:
        options = {**options, "layer": find_layer(network, options["layer"])[0]}
    return {"method": method, "targets": classes, **options}


def parameter_layers(model: nn.Module, images: Float[Tensor, "b c h w"]) -> tuple[str, ...]:
    """Modules with parameters of their own, the last to run first; before them those that do not run.

    A module that does not run in a forward pass is idle, or its parameters are used by another.
    """
    ran: dict[str, None] = {}
    with undisturbed(model) as network, torch.no_grad():
        owners = {
            name: module
            for name, module in network.named_modules()
            if next(module.parameters(recurse=False), None) is not None
        }

        def note(name: str) -> None:
            ran.pop(name, None)  # a module that runs again counts where it runs last
            ran[name] = None

        handles = [module.register_forward_hook(lambda *_, name=name: note(name)) for name, module in owners.items()]
        try:
            network(images[:1].to(device_of(network)))
        finally:
            for handle in handles:
                handle.remove()
    return (*(name for name in reversed(owners) if name not in ran), *reversed(ran))


def randomise(module: nn.Module, *, generator: torch.Generator, recurse: bool = True) -> None:
    """Replace all that ``module`` has learned, and its children with ``recurse``, by fresh random values, in place.

    Modules that know how to start (``reset_parameters``: convolutions, linear layers, norms with their running
    statistics) start again. Other parameters become N(0, r^2) with r their root mean square, so a zero stays zero.
    All chance comes from ``generator``; the numbers are drawn on the CPU and do not depend on the device.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for child in module.modules() if recurse else (module,):
            own = [*child.parameters(recurse=False), *child.buffers(recurse=False)]
            if not own:
                continue
            reset = getattr(child, "reset_parameters", None)
            if reset is None:
                for parameter in child.parameters(recurse=False):
                    drawn = torch.randn(parameter.shape).to(parameter)
                    parameter.copy_(drawn * parameter.square().mean().sqrt())
            else:
                device = own[0].device
                child.to("cpu")
                reset()
                child.to(device)
