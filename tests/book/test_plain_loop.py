"""The plain loop of the chapter on training ends at the weights of ``training.train``: its source is the notebook's."""

import json

import chapters
import pytest
import torch
from tiny import tiny_set, tiny_sets

from lpa_core import training
from lpa_core.data.batches import Batches
from lpa_core.models.builders import build
from lpa_core.training.config import TrainConfig

CELLS = ("one-cycle", "the-loop")


def source() -> str:
    """The code of the cells with the schedule and the loop, as readers see them."""
    (file,) = chapters.BOOK.glob("04-*.ipynb")
    found = {cell["id"]: "".join(cell["source"]) for cell in json.loads(file.read_text(encoding="utf8"))["cells"]}
    return "\n".join(found[name] for name in CELLS)


def config(compatibility: str) -> TrainConfig:
    """The recipe of the chapter, ``preset("quick", "digits", decay_all=True)``, in small."""
    return training.preset("quick", "digits", compatibility=compatibility, epochs=2, batch_size=8, decay_all=True)


@pytest.fixture(scope="module", params=["pc", "uniform"])
def package(request):
    chosen = config(request.param)
    return chosen, training.train(chosen, sets=tiny_sets(), device="cpu", progress=False).model


def trained(code: str, chosen: TrainConfig) -> tuple[torch.nn.Module, list[int]]:
    """The model that the chapter's loop trains, and the numbers that it collects by looking."""
    space = {"torch": torch, "config": chosen, "sets": training.Sets(*tiny_sets())}
    exec(compile(code, "chapter 04", "exec"), space)
    torch.manual_seed(chosen.seed)
    model = build({**chosen.model, "num_classes": 3, "in_channels": 3})
    batches = Batches(tiny_set(), chosen.batch_size, channels_last=True)
    looks = iter(range(100))
    seen = space["train"](model, batches, chosen.epochs, lambda net: next(looks))
    return model, seen


def distance(one: torch.nn.Module, other: torch.nn.Module) -> float:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def test_the_loop_of_the_chapter_ends_at_the_weights_of_the_package(package):
    chosen, expected = package
    model, seen = trained(source(), chosen)
    assert distance(model, expected) < 1e-6
    assert seen == [0, 1, 2]  # before training and after each epoch


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"momentum": 0.9', '"momentum": 0.8'),
        ('"nesterov": True', '"nesterov": False'),
        ('weight_decay": 5e-4', 'weight_decay": 5e-2'),
        ('"lr": 0.1', '"lr": 0.2'),
        ("label_smoothing=0.1", "label_smoothing=0.0"),
        ("steps / 4", "steps / 2"),
        ("schedule.step()", "pass"),
        ("batches.epoch(epoch)", "batches.epoch(0)"),
    ],
)
def test_a_loop_with_anything_changed_ends_elsewhere(package, old, new):
    chosen, expected = package
    assert source().count(old) == 1
    assert distance(trained(source().replace(old, new), chosen)[0], expected) > 1e-5
