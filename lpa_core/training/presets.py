"""Named recipes, with the reason beside each number."""

from dataclasses import fields
from typing import Any

from .config import TrainConfig

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
    # The same network in a quarter of an hour, to compare it with its controls over several seeds.
    "photo-short": {
        "*": {
            "model": {"builder": "photo_attention_net"},
            "epochs": 4,
            "batch_size": 128,
            "lr": 0.15,  # as in "photo"
            "label_smoothing": 0.1,
            "ema": 0.99,  # averages over the last 100 steps: a longer memory would lag behind so short a schedule
            "crop": 2,  # four epochs underfit: less variety than in "photo", and no mixed pictures
            "flip": True,
            "bfloat16": True,
        },
    },
    # Rung beside rung of the paper's layout at an eighth of its width, six minutes of one CPU core each.
    "ladder": {
        "*": {
            "model": {"builder": "attention_vgg", "width": 0.125, "dropout": 0.0},  # as in "small"
            "epochs": 3,
            "batch_size": 64,  # with few epochs, steps count more than their noise
            "lr": 0.05,
            "label_smoothing": 0.1,  # dot products need it on digits, so every rung has it
            "flip": True,
            "bfloat16": True,
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
