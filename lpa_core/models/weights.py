"""Trained weights in one file: the tensors, and what is needed to use and to judge them.

A file is safetensors: numbers and text, nothing that could run. Its metadata hold one JSON text with the model's
config, the classes, the mean and standard deviation of the training pictures, the scores and the provenance.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from .._utils.files import write_atomic
from .._utils.modes import evaluating
from .builders import build
from .classifier import AttentionClassifier
from .lite0 import BACKBONE, LITE0, as_packaged, check_packaged, efficientnet_lite0, packaged

FORMAT = 1
METADATA_KEY = "lpa_core"

# The weights inside the package, by name, with the sha256 of each file. Each file's ``provenance["command"]`` is the
# one command that makes it again.
SHIPPED: dict[str, str] = {
    "cifar100-pc": "4e31d0bd6c99d17e3d6edfcc93dde9786eaa334c15d70c911bba7f0d7430c310",
    "digits-dp": "144c3f5f2b3200f0a61615f235ab3fd4a4aae9f0da79e0a0d48e31ed3bf604fb",
    "digits-pc": "719ffa5c6beea177520bf91cf77139a153d60a96fb817513fa8fdab4c660738c",
    "digits-uniform": "1bd2ded77bc3757512868c3324a718d43566675b9ef067847229ea3d57f2b26a",
    "photo-pc": "e05d2af2647b03336535712033fbbd25afa02156a0407fe290c1f9ff304d2587",
    "small-pc": "f01fd7fa80580501ade655901508ec02172f149b80c5e9aa2e9fdfba6cf3216e",
}


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says of itself.

    ``mean`` and ``std`` are per channel, of pictures scaled to [0, 1]; ``size`` is the (height, width) of the pictures
    it was trained on; ``scores`` and ``provenance`` are plain values as ``save_weights`` was given them. ``backbone``
    is empty, or names the package whose weights belong to the model and are not in the file: ``model``, ``package``,
    ``version`` and ``sha256``.
    """

    config: dict[str, Any]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scores: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    sha256: str = ""
    backbone: dict[str, str] = field(default_factory=dict)


class Trained(NamedTuple):
    """A model in evaluation mode and what its file says of it."""

    model: AttentionClassifier
    info: WeightsInfo


def save_weights(
    path: str | os.PathLike[str],
    model: nn.Module,
    *,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    scores: Mapping[str, Any],
    provenance: Mapping[str, Any],
    size: Sequence[int] | None = None,
    half: bool = False,
) -> str:
    """Write ``model`` and its description to ``path`` (safetensors) and return the file's sha256.

    The file appears whole or not at all. Equal content gives equal bytes. ``half=True`` stores float32 as float16:
    half the size, weights rounded to 11 bits; loading gives float32 again. A backbone that still has the weights of an
    installed package ("efficientnet_lite0") is left out, and the package named instead.

    Raises: ValueError when the model was not made by a builder, has become another network than its config builds (a
    changed ``eps``, another activation), does not fit ``classes``, ``mean`` or ``std``, or holds NaN or inf; TypeError
    when ``scores`` or ``provenance`` are not plain JSON values; OSError when the folder cannot be written.
    """
    config = dict(getattr(model, "config", {}))
    if "builder" not in config:
        raise ValueError(
            "model has no config to rebuild it from; make it with a builder such as attention_vgg(), or attend_to() "
            "with the name of a torchvision network (for a network of your own, torch.save(model.state_dict(), path))"
        )
    state = model.state_dict()
    backbone = packaged() if config.get("model") == LITE0 and as_packaged(state) else {}
    if backbone:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(BACKBONE)}
    info = WeightsInfo(
        config=config,
        classes=tuple(classes),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        scores=dict(scores),
        provenance=dict(provenance),
        size=None if size is None else (int(size[0]), int(size[1])),
        backbone=backbone,
    )
    _check_info(info)
    tensors = {}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise ValueError(f"model holds NaN or inf in {name}; it cannot be saved as trained weights")
        tensor = tensor.detach().cpu()
        tensors[name] = tensor.to(torch.float16 if half and tensor.is_floating_point() else tensor.dtype).contiguous()
        if not tensors[name].isfinite().all():
            raise ValueError(f"{name} does not fit into float16; save with half=False")
    _check_rebuilds(model, info)
    description = asdict(info)
    del description["sha256"]
    try:
        text = json.dumps({"format": FORMAT, **description}, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"scores and provenance must not hold NaN or inf (use None): {error}") from error
    data = save_tensors(tensors, metadata={METADATA_KEY: text})
    write_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def load_weights(
    path_or_name_or_run_folder: str | os.PathLike[str], *, device: str | torch.device | None = "cpu"
) -> Trained:
    """Load a model in evaluation mode from shipped weights (by name), a ``.safetensors`` file or a run folder.

    Shipped files are checked against their sha256. Nothing in a file is ever executed, global random state is not
    touched, and float16 becomes float32.

    Raises: FileNotFoundError naming what exists; ValueError on a damaged or foreign file, or one whose tensors do
    not fit its own config, or where the package with its backbone holds other weights; ImportError where that package
    is not installed.
    """
    path, expected = _find(path_or_name_or_run_folder)
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if expected is not None and sha256 != expected:
        raise ValueError(f"{path} is damaged: its sha256 is {sha256}, not {expected}; install the package again")
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); copy or make it again") from error
    info = _read_info(path, data, sha256)
    if info.backbone:
        check_packaged(path, info.backbone)
    try:
        model = _built(info.config)
        if info.backbone:
            own = {f"{BACKBONE}{name}": tensor for name, tensor in efficientnet_lite0().state_dict().items()}
            tensors |= {name: own[name] for name in model.state_dict() if name in own}
        misfit = _misfit({name: t.shape for name, t in model.state_dict().items()}, tensors)
        if misfit is None:
            whole = {name: t.float() if t.dtype == torch.float16 else t for name, t in tensors.items()}
            model.load_state_dict(whole, assign=True)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{path} holds a config that cannot be built: {error}") from error
    if misfit is not None:
        raise ValueError(f"{path} does not fit its own config: {misfit}")
    return Trained(model.to(device).eval(), info)


def available() -> tuple[str, ...]:
    """The names of the weights inside the package, for ``load_weights``."""
    return tuple(SHIPPED)


def _find(wanted: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """The file that is meant, and its sha256 where the package lists it."""
    if not isinstance(wanted, str | os.PathLike) or not str(wanted):
        names = ", ".join(available())
        raise TypeError(
            f"weights must be the name of shipped weights ({names}), a file or a run folder; got {wanted!r}"
        )
    if str(wanted) in SHIPPED:
        shipped = resources.files(__package__) / "_weights" / f"{wanted}.safetensors"
        return Path(str(shipped)), SHIPPED[str(wanted)]
    path = Path(wanted)
    if path.is_dir():
        if not (path / "weights.safetensors").is_file():
            raise FileNotFoundError(f"{path} holds no weights.safetensors: the run is not finished, or it is no run")
        return path / "weights.safetensors", None
    if not path.is_file():
        names = ", ".join(available()) or "none"
        raise FileNotFoundError(
            f"{str(wanted)!r} is neither shipped weights ({names}) nor a .safetensors file nor a run folder"
        )
    return path, None


def _read_info(path: Path, data: bytes, sha256: str) -> WeightsInfo:
    """The description inside a file that safetensors has already found whole."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = (header.get("__metadata__") or {}).get(METADATA_KEY)
    if text is None:
        raise ValueError(f"{path} was not written by lpa_core: its metadata have no {METADATA_KEY!r} entry")
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ValueError(f"its format is {values['format']!r}, this version reads {FORMAT}")
        info = WeightsInfo(
            config=dict(values["config"]),
            classes=tuple(map(str, values["classes"])),
            mean=tuple(map(float, values["mean"])),
            std=tuple(map(float, values["std"])),
            scores=dict(values["scores"]),
            provenance=dict(values["provenance"]),
            size=None if values["size"] is None else (int(values["size"][0]), int(values["size"][1])),
            sha256=sha256,
            backbone={str(key): str(value) for key, value in values.get("backbone", {}).items()},
        )
        _check_info(info)
    except KeyError as error:
        raise ValueError(f"{path} has an incomplete description: {error} is missing") from error
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"{path} has a description that cannot be used: {error}") from error
    return info


def _check_info(info: WeightsInfo) -> None:
    """Refuse classes, mean or std that do not fit the config, and a config that would fetch something."""
    if "weights" in info.config:
        raise ValueError(f"config must not name weights to start from; got {info.config['weights']!r}")
    classes, channels = info.config.get("num_classes"), info.config.get("in_channels", 3)
    if len(info.classes) != classes:
        raise ValueError(f"classes must name the {classes} classes of the model; got {len(info.classes)} names")
    if len(info.mean) != channels or len(info.std) != channels:
        raise ValueError(f"mean and std must have {channels} numbers, one per channel; got {info.mean} and {info.std}")
    if not all(s > 0 for s in info.std):
        raise ValueError(f"std must be above 0; got {info.std}")


def _built(config: Mapping[str, Any]) -> AttentionClassifier:
    """The network of a config, for tensors to be assigned to it.

    On the meta device, where a config costs no memory and no random numbers, whatever it asks for; but not where the
    network has buffers that a file does not hold.
    """
    with torch.device("meta"):
        model = build(config)
    if {name for name, _ in model.named_buffers()} <= set(model.state_dict()):
        return model
    with torch.random.fork_rng(devices=[]):
        return build(config)


def _check_rebuilds(model: nn.Module, info: WeightsInfo) -> None:
    """Raise ValueError unless the config builds the same network: its modules one by one, and its logits on noise."""
    again = _built(info.config)
    name = info.config["builder"]
    state = model.state_dict()
    problem = _misfit({key: tensor.shape for key, tensor in again.state_dict().items()}, state)
    for line, wanted in zip_longest(str(model).splitlines(), str(again).splitlines(), fillvalue="nothing"):
        if problem is None and line != wanted:
            problem = f"it has {line.strip()} where the config gives {wanted.strip()}"
    if problem is None:
        again.load_state_dict(state, assign=True)
        example = next(model.parameters())
        trunk = again.trunk
        side = info.size or (getattr(trunk, "input_size", 32),) * 2
        noise = torch.randn(1, trunk.in_channels, *side, generator=torch.Generator().manual_seed(0)).to(example)
        with torch.no_grad(), evaluating(model):
            one, other = model(noise), again.to(example.device).eval()(noise)
        if not torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max())):
            problem = f"its logits differ by up to {float((one - other).abs().max()):.2g} from those of the config's"
    if problem is not None:
        raise ValueError(
            f"model must be what its config builds ({name}), else its weights would be loaded into another network: "
            f"{problem}. Build it with these options, or keep it with torch.save(model.state_dict(), path)"
        )


def _misfit(shapes: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> str | None:
    """What is wrong with ``tensors`` for a model with these ``shapes``; None if they fit."""
    if absent := sorted(set(shapes) - set(tensors)):
        return f"{len(absent)} tensors are missing, first {absent[0]!r}"
    if extra := sorted(set(tensors) - set(shapes)):
        return f"{len(extra)} tensors are not in the model, first {extra[0]!r}"
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            return f"{name} has shape {tuple(tensors[name].shape)}, the config needs {tuple(shape)}"
        if not tensors[name].isfinite().all():
            return f"{name} holds NaN or inf"
    return None
