"""The code cells of a chapter, run one after another in this process. For tests only."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from lpa_core import training
from lpa_core.data.image_set import ImageSet
from lpa_core.training.sets import load_sets

BOOK = Path(__file__).parents[2] / "book"
WIDTH, EPOCHS, PICTURES = 1 / 8, 2, 512


def cells(number):
    """Name and source of each code cell; the first looks for the package, which is here."""
    (file,) = BOOK.glob(f"{number}-*.ipynb")
    found = [c for c in json.loads(file.read_text(encoding="utf8"))["cells"] if c["cell_type"] == "code"]
    return [(f"{file.name}, code cell {i}", "".join(cell["source"])) for i, cell in enumerate(found) if i]


class Unjudged(ast.NodeTransformer):
    """What a cell asserts of a full run is computed, and need not hold of a shrunk one."""

    def visit_Assert(self, node):
        return ast.copy_location(ast.Expr(node.test), node)


def run(number):
    """Run a chapter's code in a namespace of its own, which is given back; its assertions are computed, not judged."""
    space = {"__name__": "__main__"}
    for name, source in cells(number):
        exec(compile(Unjudged().visit(ast.parse(source, name)), name, "exec"), space)
    return space


def noise(split, seed):
    chance = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (PICTURES, 3, 32, 32), dtype=torch.uint8, generator=chance)
    names = tuple(f"class {i}" for i in range(100))
    return ImageSet("cifar100", split, images, torch.arange(PICTURES) % 100, names, (0.5,) * 3, (0.25,) * 3, split)


def shrunk(data_root, *, epochs=EPOCHS):
    """In this block runs are narrow and short; CIFAR is that of ``data_root``, or noise of the same form."""
    real, whole = training.preset, training.train

    def preset(name, data, **overrides):
        wide = real(name, data).model["builder"] == "attention_vgg"
        return real(name, data, **{**overrides, "limit": PICTURES, **({"width": WIDTH} if wide else {})})

    def sets(config, **options):
        if config.data == "cifar100" and data_root is None:
            return training.Sets(noise("train", 0), noise("validation", 1), noise("test", 2))
        return load_sets(config, root=data_root, **options)

    def train(config, *arguments, **options):
        return whole(replace(config, epochs=min(config.epochs, epochs)), *arguments, **options)

    return patch.multiple(training, preset=preset, load_sets=sets, train=train)
