"""Recipes: what a training run is made of, and named presets with the reason beside each number."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from .attention import check_option

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


# A digit in a mirror is no digit: on these data sets the presets below do not flip ("paper" keeps to the paper).
NOT_MIRRORED = ("digits", "svhn")

# Each preset by data set; "*" is for every data set without an entry of its own. Fields that are not named here keep
# the default of TrainConfig: SGD with Nesterov momentum 0.9 and weight decay 5e-4, the usual choice for VGGs on CIFAR.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # A minute or two on two CPU cores.
    "quick": {
        "digits": {
            "model": {"builder": "small_attention_net"},
            "epochs": 7,  # of 100 steps: each of the 6,400 pictures is seen seven times
            "batch_size": 64,
            "lr": 0.1,
            "label_smoothing": 0.1,  # dot products need it: seed 0 ended at 97 % with it and at 88 % without
        },
        # The real files, the paper's layout, the whole path from data to weights: not a good result, a working one.
        "*": {
            "model": {"builder": "attention_vgg", "width": 0.125, "dropout": 0.0},  # the table's rates stop learning
            "epochs": 1,
            "batch_size": 64,
            "lr": 0.05,
            "flip": True,
        },
    },
    # Real photographs without a GPU.
    "small": {
        "*": {
            "model": {"builder": "attention_vgg", "width": 0.125, "dropout": 0.0},  # 3.8 G MAC a picture become 0.06
            "epochs": 10,  # under an hour on two cores
            "batch_size": 64,  # 700 steps an epoch: with few epochs, steps count more than their noise
            "lr": 0.05,
            "flip": True,  # no crops: a network this narrow underfits in 10 epochs, more variety would not help
        },
    },
    # A compact network that knows photographs, without a GPU: two hours on one CPU core.
    "photo": {
        "*": {
            "model": {"builder": "photo_attention_net"},
            "epochs": 20,
            "batch_size": 128,
            "lr": 0.15,  # with one-cycle, 0.15 was stable in a first trial
            "label_smoothing": 0.1,  # usual for 100 classes
            "ema": 0.998,  # averages over the last epoch and a half
            "crop": 4,  # usual for 32x32 since He et al. (2016); with 2 a first trial overfitted
            "cutmix": 0.3,  # the same trial ended 15 points better on its training pictures than on new ones
            "flip": True,
            "bfloat16": True,  # 1.7 times the pictures a second where the processor computes in it (AVX-512 BF16)
        },
    },
    # The full network on one GPU: a modern recipe in a fifth of the paper's epochs.
    "book": {
        "*": {
            "model": {"builder": "attention_vgg"},
            "epochs": 60,  # one-cycle gets in tens of epochs what steps down get in hundreds
            "batch_size": 128,  # the paper's
            "lr": 0.1,  # with the true gradient; the authors' 1.0 belongs to their hand-written backward pass
            "label_smoothing": 0.1,  # usual for 100 classes
            "ema": 0.999,  # averages over the last 2 to 3 epochs
            "crop": 4,  # usual for 32x32 since He et al. (2016)
            "flip": True,
            "compile": True,
        },
    },
    # The full network with time to spare.
    "long": {
        "*": {
            "model": {"builder": "attention_vgg"},
            "epochs": 200,  # mixed pictures are harder to learn; the length is a choice, not measured here
            "batch_size": 128,  # as in "book", so that only what is named here differs
            "lr": 0.1,
            "cutmix": 0.5,  # half of the batches stay whole pictures; a choice, not tuned here
            "label_smoothing": 0.0,  # mixed labels are soft already
            "ema": 0.999,
            "crop": 4,
            "flip": True,
            "compile": True,
        },
    },
    # The authors' recipe, with the true gradient and without their whitening of the pictures.
    "paper": {
        "*": {
            "model": {"builder": "attention_vgg"},
            "epochs": 300,
            "batch_size": 128,
            "lr": 1.0,
            "nesterov": False,
            "decay_all": True,
            "schedule": "halving",
            "flip": True,
        },
    },
}
PRESETS["paper"]["svhn"] = {**PRESETS["paper"]["*"], "lr": 0.1}  # theirs too


def preset(name: str, data: str, **overrides: Any) -> TrainConfig:
    """The config of a named preset for a data set; ``overrides`` are fields of ``TrainConfig`` or model options.

    ``preset("quick", "digits", compatibility="dp", seed=1)``.

    Raises: ValueError on an unknown preset (the message lists them) or a value out of range. An option that the
    model's builder does not have is refused when the model is built.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {name!r}")
    recipe = {**PRESETS[name].get(data, PRESETS[name]["*"])}
    if data in NOT_MIRRORED and name != "paper":
        recipe["flip"] = False
    known = {field.name for field in fields(TrainConfig)}
    options = {key: value for key, value in overrides.items() if key not in known}
    recipe.update({key: value for key, value in overrides.items() if key in known})
    recipe["model"] = {**recipe["model"], **options}
    return TrainConfig(data=data, **recipe)
