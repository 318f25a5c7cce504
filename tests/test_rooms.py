"""The house itself: rooms and stairs, the size of files, names that mean one thing, what users' tools see of it."""

import ast
import importlib
import pkgutil
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import layers
import pytest

import lpa_core

PACKAGE = Path(lpa_core.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(found.name for found in pkgutil.iter_modules(lpa_core.__path__) if found.ispkg)
MOST_LINES = 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_holds_one_idea_and_at_most_300_lines(path):
    text = path.read_text(encoding="utf8")
    assert len(text.splitlines()) <= MOST_LINES
    assert ast.get_docstring(ast.parse(text)), "a file says in its first line what it is for"


def test_no_public_name_is_given_twice():
    places = defaultdict(set)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(str(path.relative_to(PACKAGE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_lists_its_public_names_and_none_is_that_of_a_file(room):
    module = importlib.import_module(f"lpa_core.{room}")
    offered = getattr(module, "__all__", [])
    assert (not offered) is room.startswith("_")
    assert all(hasattr(module, name) for name in offered)
    assert not set(offered) & {found.name for found in pkgutil.iter_modules(module.__path__)}


def test_what_the_package_offers_a_room_offers_too():
    offered = {name for room in ROOMS for name in getattr(importlib.import_module(f"lpa_core.{room}"), "__all__", [])}
    elsewhere = {"attention", "look"}  # the two that are a file of their own
    lone = {name for place in elsewhere for name in dir(importlib.import_module(f"lpa_core.{place}"))}
    assert set(lpa_core.__all__) <= offered | lone


@pytest.mark.parametrize("upwards", [None, "from ..plotting import overlay", "from ..training.loop import fit"])
def test_the_stairs_go_one_way(tmp_path, upwards):
    shutil.copytree(PACKAGE, tmp_path / "lpa_core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if upwards is not None:
        with (tmp_path / "lpa_core" / "models" / "trunk.py").open("a") as file:
            file.write(f"\n\ndef up() -> None:\n    {upwards}\n")
    lint = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    done = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (upwards is not None), done.stdout + done.stderr
    if upwards is not None:
        assert f"lpa_core.models is not allowed to import lpa_core.{upwards.split('.')[2].split()[0]}" in done.stdout


def test_the_picture_of_the_rooms_is_that_of_the_contract():
    assert layers.PAGE.read_text(encoding="utf8") == layers.page(), "python tests/helpers/layers.py draws it anew"


USERS = """
from pathlib import Path
from lpa_core import attend_to, explain, load_weights, look_at, preset, quiz, train
from lpa_core.training import TrainConfig
from lpa_core.widgets import Explorer, maps_explorer

config: TrainConfig = preset("quick", "digits")
reveal_type(train(config, Path("runs")).results)
reveal_type(look_at("digits-pc", "photo.jpg").maps)
reveal_type(load_weights("digits-pc").model)
explain("not a model", 3)
look_at("digits-pc", "photo.jpg", bigger=True)
"""


def test_what_is_loaded_late_is_typed(tmp_path):
    file = tmp_path / "users.py"
    file.write_text(USERS)
    # With the configuration of `make lint`, whose cache saves reading all of torch's types once more.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    said = done.stdout
    assert 'Revealed type is "dict[str, Any]"' in said, said
    assert "tuple[torch._tensor.Tensor, ...]" in said
    assert "lpa_core.models.classifier.AttentionClassifier" in said
    assert 'Argument 1 to "explain" has incompatible type "str"; expected' in said
    assert 'Unexpected keyword argument "bigger" for "look_at"' in said


@pytest.mark.parametrize(
    ("code", "never"),
    [
        ("import lpa_core", ("torch", "numpy", "matplotlib", "torchvision", "sklearn", "ipywidgets", "captum")),
        ("from lpa_core import quiz; quiz('?', {'a': 'x', 'b': 'y'}, 'a').html()", ("torch", "matplotlib")),
        ("from lpa_core import attention_vgg, attend", ("matplotlib", "torchvision", "sklearn", "captum")),
        ("from lpa_core import train, load", ("matplotlib", "torchvision", "captum", "ipywidgets")),
        ("from lpa_core.widgets import maps_explorer", ("ipywidgets", "captum", "torchvision")),
    ],
)
def test_no_more_is_loaded_than_is_asked_for(code, never):
    show = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}} & set({never!r})))"
    done = subprocess.run([sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
