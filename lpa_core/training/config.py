"""What decides the result of a training run, as one checked object."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from .._utils.checks import check_option

Schedule = Literal["one_cycle", "halving", "constant"]


class Bounds(NamedTuple):
    """What a number of a config may be: at least ``least`` and below ``below``."""

    least: int
    below: float

    def check(self, name: str, value: object, *, whole: bool) -> None:
        """Raise TypeError unless ``value`` is a number, ValueError unless it lies within these bounds."""
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise TypeError(f"{name} must be a {'whole number' if whole else 'number'}; got {value!r}")
        if not self.least <= value < self.below:
            above = "" if self.below == math.inf or (whole and value < self.below) else f" and below {self.below}"
            raise ValueError(f"{name} must be at least {self.least}{above}; got {value}")


Count = Annotated[int, Bounds(1, 2**63)]
Whole = Annotated[int, Bounds(0, 2**63)]
Share = Annotated[float, Bounds(0, 1)]
Amount = Annotated[float, Bounds(0, math.inf)]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run, apart from the hardware it runs on.

    ``model`` is a builder config (``{"builder": "attention_vgg", "levels": 3, ...}``); the number of classes and of
    channels are filled in from the data. Numbers are checked when the config is made.

    Raises: ValueError naming the field out of range; TypeError where a field is not a number.
    """

    data: str  # a name for ``data.load``: "digits", "cifar100", "folder:PATH", ...
    model: dict[str, Any]
    epochs: Count
    batch_size: Annotated[int, Bounds(2, 2**63)]
    lr: Amount  # the peak for "one_cycle", the start for "halving"
    momentum: Share = 0.9
    nesterov: bool = True
    weight_decay: Amount = 5e-4  # off normalisation, biases and other single numbers ...
    decay_all: bool = False  # ... unless this is set
    schedule: Schedule = "one_cycle"
    warmup: Share = 0.25  # the share of all steps in which "one_cycle" rises
    label_smoothing: Share = 0.0
    ema: Share = 0.0  # decay of the averaged weights that are evaluated and kept; 0: the last weights themselves
    crop: Whole = 0  # pixels of padding for random crops; 0: none
    flip: bool = False  # mirror half of the pictures
    cutmix: Share = 0.0  # the share of the batches in which a box of every picture is another picture's
    all: bool = False  # train on the held-out tenth too, when nothing is left to choose
    limit: Count | None = None  # use at most this many pictures of each split; None: all
    seed: Whole = 0
    channels_last: bool = True  # the faster memory format on GPUs, and on most CPUs
    compile: bool = False  # model.compile() on a GPU; without effect on a CPU
    bfloat16: bool = False  # on a CPU too; a GPU that computes in it does so in any case

    def __post_init__(self) -> None:
        if not isinstance(self.data, str) or not self.data:
            raise TypeError(f"data must be a name, such as 'digits' or 'folder:PATH'; got {self.data!r}")
        for name, (kind, bounds) in _checked().items():
            value = getattr(self, name)
            if bounds is None and not isinstance(value, bool):
                raise TypeError(f"{name} must be True or False; got {value!r}")
            if bounds is not None and (name, value) != ("limit", None):
                bounds.check(name, value, whole=kind is int)
        if self.lr <= 0:
            raise ValueError(f"lr must be above 0; got {self.lr}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs momentum above 0; got momentum=0")
        check_option("schedule", self.schedule, Schedule)
        if not isinstance(self.model, dict) or "builder" not in self.model:
            raise ValueError(f"model must be a dict with a 'builder', as model.config is; got {self.model!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as run.json and the checkpoint hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The config that ``to_dict`` gave. Raises: ValueError on a missing or unknown field."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"config has no field {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"config is not complete or of wrong types: {error}") from error


@cache
def _checked() -> dict[str, tuple[type, Bounds | None]]:
    """The kind and the bounds of each number of a config, as its annotation says; a switch has no bounds."""
    found: dict[str, tuple[type, Bounds | None]] = {}
    for name, hint in get_type_hints(TrainConfig, include_extras=True).items():
        for part in (hint, *get_args(hint)):
            if get_origin(part) is Annotated:
                found[name] = part.__origin__, part.__metadata__[0]
        if hint is bool:
            found[name] = bool, None
    return found


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config as ``to_dict`` gave it, perhaps before a field was added: what it lacks has its default."""
    return {f.name: f.default for f in fields(TrainConfig) if f.default is not MISSING} | dict(values)
