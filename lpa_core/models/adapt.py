"""Attention for any network: ``attend_to`` puts estimators and a classifier on its maps and keeps its weights."""

import difflib
import pickle
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..attention import Compatibility, Match, Normalise
from .backbone_trunk import BackboneTrunk
from .classifier import AttentionClassifier, Combine, needs_global
from .lite0 import LITE0, efficientnet_lite0
from .tracing import first_channels


def attend_to(
    model: nn.Module | str,
    nodes: Sequence[str] | None = None,
    num_classes: int | None = None,
    *,
    levels: int | None = None,
    global_node: str | None = None,
    compatibility: Compatibility = "pc",
    combine: Combine = "concat",
    match: Match = "global",
    normalise: Normalise = "softmax",
    g_per_level: bool = False,
    dropout: float = 1.0,
    global_path: bool = True,
    flat_start: bool = False,
    freeze_backbone: bool = False,
    input_size: int | None = None,
    weights: Any = None,
) -> AttentionClassifier:
    """Attention for a network of your own, or any of torchvision's or timm's: its weights kept, its head replaced.

    ``attend_to(resnet18(weights="DEFAULT"), ["layer2", "layer3", "layer4"], 10)`` attends to three maps of a trained
    network. The estimators and the linear layer start fresh; train them alone with ``freeze_backbone=True``. Pictures
    must be prepared as the backbone wants them: for torchvision by ``weights.transforms()``, usually scaled to [0, 1],
    then normalised with mean (0.485, 0.456, 0.406) and standard deviation (0.229, 0.224, 0.225). Any size works that
    the backbone takes and that leaves each level several positions; a network of tokens keeps its own.

    ``attend_to("timm:efficientnet_lite0", weights="DEFAULT")`` does the same for a network of timm, if that is
    installed. timm's networks say what their pictures are normalised with; it stands in ``mean`` and ``std`` of the
    result, which ``look_at`` uses.

    Args:
        model: the network, or the name of a torchvision classifier, "efficientnet_lite0" (see ``Lite0``), or "timm:"
            and the name of one of timm's. The network is left as it was: the part in use is copied. A name is recorded
            in ``config``, so that saved weights can be loaded again.
        nodes, levels, global_node, input_size: see ``BackboneTrunk``; ``node_shapes(model)`` lists the nodes.
        num_classes: K; None for as many as the network has.
        flat_start: let u start at 0, so that every level begins with equal weights and leaves them only where that
            helps. Without it, features as large as a trained backbone's make sharp peaks of a random u, some of which
            training never levels. For "pc" and "additive"; "dp" has no u.
        freeze_backbone: train the attention alone: no gradient for the backbone, which stays in eval mode.
        weights: for a name, torchvision's ``weights=``, ``"DEFAULT"`` for its best (downloaded when not at hand; of
            timm ``pretrained=True``); or a file of your own, ``torch.save(network.state_dict(), "mine.pth")``, of which
            the part in use is read, so its head may have other classes. Not recorded in ``config``.
        compatibility, combine, match, normalise, g_per_level, dropout, global_path: as in ``attention_vgg``; g is the
            average of the deepest level's map, or of ``global_node``'s.

    Source: ours; the method of Jetley et al. (2018) on other trunks.
    Raises: ValueError on an unknown name, node or option, a node that is no map or has a single position, weights of
        another network, and where the number of classes is neither given nor to be read off; TypeError unless ``model``
        is a module or a name, and ``nodes`` a list; FileNotFoundError where ``weights`` is a file that is not there;
        ImportError for a name of timm without timm.
    """
    if nodes is not None and (isinstance(nodes, str) or not isinstance(nodes, Sequence)):
        raise TypeError(f"nodes must be a list of names, such as ['layer2', 'layer3']; got {nodes!r}")
    file = _weights_file(weights)
    network = _named(model, None if file else weights) if isinstance(model, str) else model
    if network is model and weights is not None:
        raise ValueError(f"weights goes with the name of a model; this {type(model).__name__} has its own")
    trunk = BackboneTrunk(
        network,
        nodes,
        levels=levels,
        global_node=global_node,
        global_path=needs_global(compatibility, combine, global_path),
        freeze=freeze_backbone,
        input_size=_input_size(network) if input_size is None else input_size,
    )
    if file is not None:
        _load_part(trunk.backbone, file)
    classes = None if file and num_classes is None else trunk.num_classes if num_classes is None else num_classes
    if classes is None:
        why = (
            "weights from a file do not say it" if file else f"{type(network).__name__} gives no (b, K) logits to read"
        )
        raise ValueError(f"num_classes must be given: {why}")
    classifier = AttentionClassifier(
        trunk,
        classes,
        compatibility=compatibility,
        combine=combine,
        match=match,
        normalise=normalise,
        g_per_level=g_per_level,
        dropout=dropout,
    )
    for estimator in classifier.estimators if flat_start else ():
        if isinstance(u := getattr(estimator, "u", None), nn.Parameter):
            nn.init.zeros_(u)
    example = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    classifier.to(device=example.device, dtype=example.dtype)
    classifier.train(network.training)
    classifier.mean, classifier.std = _statistics(network)
    if isinstance(model, str):
        classifier.config = {
            "builder": "attend_to",
            "model": model,
            "nodes": list(trunk.nodes),
            "num_classes": classes,
            "global_node": global_node,
            "compatibility": compatibility,
            "combine": combine,
            "match": match,
            "normalise": normalise,
            "g_per_level": g_per_level,
            "dropout": dropout,
            "global_path": global_path,
            "flat_start": flat_start,
            "freeze_backbone": freeze_backbone,
            "input_size": trunk.input_size,
        }
    return classifier


def _named(name: str, weights: Any) -> nn.Module:
    library, _, inside = name.rpartition(":")
    if library not in ("", "timm"):
        raise ValueError(f"model must be a module, a name of torchvision, or 'timm:NAME'; got {name!r}")
    return _timm_classifier(inside, weights) if library else _torchvision_classifier(name, weights)


def _timm_classifier(name: str, weights: Any) -> nn.Module:
    try:
        import timm  # optional
    except ImportError as error:
        raise ImportError(f"'timm:{name}' needs timm: pip install timm") from error
    if weights not in (None, "DEFAULT"):
        raise ValueError(f"weights of a network of timm must be None, 'DEFAULT' or a file; got {weights!r}")
    if not timm.is_model(name):
        close = timm.list_models(f"*{name}*")[:8] or difflib.get_close_matches(name, timm.list_models(), n=8)
        raise ValueError(
            f"model must be one of timm's networks (timm.list_models()); got {name!r}, close to it are "
            f"{', '.join(close) or 'none'}"
        )
    return timm.create_model(name, pretrained=weights == "DEFAULT")


def _about(network: nn.Module) -> Mapping[str, Any]:
    """What a network of timm says of its pictures; nothing for others."""
    about = getattr(network, "pretrained_cfg", None)
    return about if isinstance(about, Mapping) else {}


def _input_size(network: nn.Module) -> int | None:
    size = _about(network).get("input_size")
    return int(size[-1]) if size is not None and size[-1] == size[-2] else None


def _statistics(network: nn.Module) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    mean, std = (_about(network).get(name) for name in ("mean", "std"))
    if mean is None or std is None or len(mean) != first_channels(network) or len(std) != len(mean):
        return None, None
    return tuple(map(float, mean)), tuple(map(float, std))


def _torchvision_classifier(name: str, weights: Any) -> nn.Module:
    if name == LITE0:
        return efficientnet_lite0(weights)
    from torchvision import models  # imported here: nothing else in this package needs its networks

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"model must be a module, {LITE0!r} or one of torchvision's classifiers {', '.join(known)}; got {name!r}"
        )
    try:
        return models.get_model(name, weights=weights)
    except NotImplementedError:  # on the meta device: a RegNet computes its widths with tensors
        with torch.device("cpu"):
            network = models.get_model(name, weights=weights)
        return network.to(torch.get_default_device())


def _weights_file(weights: Any) -> Path | None:
    """The file that ``weights`` names, if it names one: a path, or text with the ending of one."""
    if isinstance(weights, PathLike) or (isinstance(weights, str) and weights.endswith((".pt", ".pth"))):
        if not Path(weights).is_file():
            raise FileNotFoundError(f"weights: there is no file {weights}")
        return Path(weights)
    return None


def _load_part(part: nn.Module, file: Path) -> None:
    """Load what ``part`` needs from the state dict of the whole network. Nothing in the file is executed."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f"weights: {file} is no file of tensors, as torch.save(network.state_dict()) makes") from error
    own = part.state_dict()
    given = state if isinstance(state, Mapping) else {}
    wrong = [name for name in own if getattr(given.get(name), "shape", None) != own[name].shape]
    if wrong:
        raise ValueError(
            f"weights: {file} does not hold the weights of this network up to its last node: {len(wrong)} of "
            f"{len(own)} tensors are missing or of another shape, first {wrong[0]!r}; a file that ends earlier needs "
            f"nodes that do"
        )
    part.load_state_dict({name: given[name] for name in own})
