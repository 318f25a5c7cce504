import json
import math

import pytest
from tiny import tiny_config

from lpa_core import models
from lpa_core.training.config import TrainConfig
from lpa_core.training.presets import PRESETS, preset


def test_a_config_survives_json():
    config = tiny_config()
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": math.nan}, "lr must be at least 0"),
        ({"lr": math.inf}, "lr must be at least 0"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"momentum": 0.0}, "nesterov=True needs momentum"),
        ({"label_smoothing": -0.1}, "label_smoothing must be at least 0 and below 1"),
        ({"cutmix": 1.0}, "cutmix must be at least 0 and below 1"),
        ({"ema": 1.0}, "ema must be at least 0 and below 1"),
        ({"warmup": 1.0}, "warmup must be"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"crop": -1}, "crop must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"model": {"levels": 3}}, "model must be a dict with a 'builder'"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


def test_unknown_and_missing_fields_are_refused():
    values = tiny_config().to_dict()
    with pytest.raises(ValueError, match=r"config has no field leraning_rate; it has .*lr"):
        TrainConfig.from_dict({**values, "leraning_rate": 1.0})
    del values["epochs"]
    with pytest.raises(ValueError, match=r"not complete .*epochs"):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize("data", ["digits", "cifar10", "cifar100", "svhn", "folder:x"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model_and_no_digit_is_mirrored(name, data):
    config = preset(name, data)
    assert config.data == data
    assert models.build({**config.model, "num_classes": 10}).num_classes == 10
    if name != "paper":
        assert config.flip == (data not in ("digits", "svhn"))


def test_overrides_go_to_the_recipe_or_to_the_model_and_never_into_the_table():
    config = preset("quick", "cifar100", epochs=3, compatibility="dp", width=0.25)
    assert (config.epochs, config.model["compatibility"], config.model["width"]) == (3, "dp", 0.25)
    assert preset("quick", "cifar100").epochs == 1
    assert "compatibility" not in preset("quick", "cifar100").model
    with pytest.raises(ValueError, match=r"preset must be one of quick, .*; got 'fast'"):
        preset("fast", "digits")


def test_the_quick_preset_of_real_pictures_is_one_epoch_at_an_eighth_without_dropout():
    config = preset("quick", "cifar100")
    assert (config.model["width"], config.model["dropout"], config.epochs) == (0.125, 0.0, 1)


def test_the_paper_preset_is_the_authors_recipe():
    config = preset("paper", "cifar100")
    assert (config.lr, config.epochs, config.batch_size, config.weight_decay) == (1.0, 300, 128, 5e-4)
    assert (config.momentum, config.nesterov, config.decay_all, config.schedule) == (0.9, False, True, "halving")
    assert (config.flip, config.crop, config.ema, config.label_smoothing) == (True, 0, 0.0, 0.0)
    assert preset("paper", "svhn").lr == 0.1


def test_the_long_preset_is_the_book_preset_with_time_and_cutmix():
    book, long = (preset(name, "cifar100").to_dict() for name in ("book", "long"))
    differ = {key: long[key] for key in book if book[key] != long[key]}
    assert differ == {"epochs": 200, "cutmix": 0.5, "label_smoothing": 0.0}
    assert long["ema"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2.0}, "epochs must be a whole number; got 2.0"),
        ({"lr": "0.1"}, "lr must be a number; got '0.1'"),
        ({"seed": True}, "seed must be a whole number; got True"),
        ({"flip": "yes"}, "flip must be True or False; got 'yes'"),
    ],
)
def test_values_of_another_type_are_refused(unchecked, changes, message):
    with pytest.raises(TypeError, match=message):
        tiny_config(**changes)
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict({**tiny_config().to_dict(), **changes})
