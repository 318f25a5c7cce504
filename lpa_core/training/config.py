"""What decides the result of a training run, as one checked object."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from .._utils.checks import check_option

Schedule = Literal["one_cycle", "halving", "constant"]
# Each number of a config: whole or not, the least it may be, and what it must stay below.
_RANGES: dict[str, tuple[type, int, float]] = {
    "epochs": (int, 1, 2**63),
    "batch_size": (int, 2, 2**63),
    "lr": (float, 0, math.inf),
    "momentum": (float, 0, 1),
    "weight_decay": (float, 0, math.inf),
    "warmup": (float, 0, 1),
    "label_smoothing": (float, 0, 1),
    "ema": (float, 0, 1),
    "cutmix": (float, 0, 1),
    "crop": (int, 0, 2**63),
    "limit": (int, 1, 2**63),
    "seed": (int, 0, 2**63),
}
_SWITCHES = ("nesterov", "decay_all", "flip", "all", "channels_last", "compile", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run, apart from the hardware it runs on.

    ``model`` is a builder config (``{"builder": "attention_vgg", "levels": 3, ...}``); the number of classes and of
    channels are filled in from the data. Numbers are checked when the config is made.

    Raises: ValueError naming the field out of range; TypeError where a field is not a number.
    """

    data: str  # a name for ``data.load``: "digits", "cifar100", "folder:PATH", ...
    model: dict[str, Any]
    epochs: int
    batch_size: int
    lr: float  # the peak for "one_cycle", the start for "halving"
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4  # off normalisation, biases and other single numbers ...
    decay_all: bool = False  # ... unless this is set
    schedule: Schedule = "one_cycle"
    warmup: float = 0.25  # the share of all steps in which "one_cycle" rises
    label_smoothing: float = 0.0
    ema: float = 0.0  # decay of the averaged weights that are evaluated and kept; 0: the last weights themselves
    crop: int = 0  # pixels of padding for random crops; 0: none
    flip: bool = False  # mirror half of the pictures
    cutmix: float = 0.0  # the share of the batches in which a box of every picture is another picture's
    all: bool = False  # train on the held-out tenth too, when nothing is left to choose
    limit: int | None = None  # use at most this many pictures of each split; None: all
    seed: int = 0
    channels_last: bool = True  # the faster memory format on GPUs, and on most CPUs
    compile: bool = False  # model.compile() on a GPU; without effect on a CPU
    bfloat16: bool = False  # on a CPU too; a GPU that computes in it does so in any case

    def __post_init__(self) -> None:
        if not isinstance(self.data, str) or not self.data:
            raise TypeError(f"data must be a name, such as 'digits' or 'folder:PATH'; got {self.data!r}")
        for name, (kind, least, below) in _RANGES.items():
            value = getattr(self, name)
            if name == "limit" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
                raise TypeError(f"{name} must be a {'whole number' if kind is int else 'number'}; got {value!r}")
            if not least <= value < below:
                above = "" if below == math.inf or (below == 2**63 and value < below) else f" and below {below}"
                raise ValueError(f"{name} must be at least {least}{above}; got {value}")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False; got {getattr(self, name)!r}")
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


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config as ``to_dict`` gave it, perhaps before a field was added: what it lacks has its default."""
    return {f.name: f.default for f in fields(TrainConfig) if f.default is not MISSING} | dict(values)
