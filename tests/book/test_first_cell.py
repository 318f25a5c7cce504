"""The first code cell of the chapters: it finds the package, or installs it from the repository, and nothing else."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import notebooks
import pytest
import repository
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = notebooks.ROOT
URL = "https://github.com/owner/lpa-book"
CLONE = "lpa-book"
QUICK = "book/02-from-vgg-to-the-model.ipynb"


def a_book(root: Path, source: str) -> Path:
    cells = [new_markdown_cell("# One"), new_code_cell(source, id="first"), new_code_cell("1", id="second")]
    (root / "book").mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), root / "book" / "01-one.ipynb")
    return root / "book" / "01-one.ipynb"


def test_one_template_for_all_and_the_address_in_one_place():
    cell = repository.first_cell(URL)
    assert cell.count(URL) == 1
    assert repository.first_cell("") == cell.replace(URL, "")


def test_writing_changes_the_first_code_cell_and_nothing_else(tmp_path):
    path = a_book(tmp_path, 'import importlib\n\nimportlib.util.find_spec("lpa_core")')
    before = nbformat.read(path, as_version=4)
    assert repository.write_first_cells(tmp_path, URL) == [path]
    after = nbformat.read(path, as_version=4)
    assert after.cells[1].source == repository.first_cell(URL)
    before.cells[1].source = after.cells[1].source
    assert after == before
    assert repository.write_first_cells(tmp_path, URL) == []


def test_another_first_cell_is_not_overwritten(tmp_path):
    path = a_book(tmp_path, "import torch")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"first code cell of 01-one\.ipynb"):
        repository.write_first_cells(tmp_path, URL)
    assert path.read_bytes() == before


def test_make_anywhere_adds_the_same_few_packages():
    line = re.search(r"pip install --no-deps \. (.*)", (ROOT / "Makefile").read_text(encoding="utf8"))
    assert line[1].split() == [name.replace("_", "-") for name in repository.LIGHT]


def test_what_colab_lacks_is_what_the_package_needs_beyond_torch():
    wanted = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    assert {name.replace("_", "-") for name in repository.LIGHT if f'"{name.replace("_", "-")}>=' not in wanted} == {
        "wadler-lindig"
    }


# ---- run as a reader would who has opened one notebook, somewhere ----


class Reader:
    """A fresh environment outside the repository: it sees the packages of this one, as Colab has its own, and not ours.

    The packages are seen through a path file; an editable install is a path file in their folder, which none reads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "notebooks"
        self.folder.mkdir()
        self.environment = folder / "environment"
        make = [sys.executable, "-m", "venv", "--without-pip", str(self.environment)]
        subprocess.run(make, check=True)
        self.site = next(self.environment.glob("lib/python*/site-packages"))
        (self.site / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def run(self, *cells: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run cells as one program in ``folder``, with no index to install from."""
        settings = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        settings |= {"MPLBACKEND": "Agg", "GIT_ALLOW_PROTOCOL": "file", "LPA_SCALE": "quick"}
        settings["CUDA_VISIBLE_DEVICES"] = ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "COV_"))}
        command = [str(self.environment / "bin" / "python"), "-W", "ignore", "-c", "\n\n".join(cells)]
        where = self.folder if folder is None else folder
        return subprocess.run(command, cwd=where, env=kept | settings, capture_output=True, text=True, check=False)

    def installed(self) -> set[str]:
        return {path.name.partition("-")[0] for path in self.site.iterdir() if path.suffix != ".pth"}


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


@pytest.fixture
def remote(tmp_path):
    """The address of a repository that holds what this one holds now, committed or not."""
    folder = tmp_path / "remote" / CLONE
    for path in repository.tracked(ROOT):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    git = ["git", "-C", str(folder), "-c", "user.name=Reader", "-c", "user.email=reader@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *command], check=True)
    return folder.as_uri()


def test_without_an_address_the_cell_says_what_to_do(reader):
    done = reader.run(repository.first_cell(""))
    assert done.returncode == 1
    assert "Open this notebook in a clone of the book: see its README" in done.stderr


def test_a_clone_that_is_not_installed_is_used_as_it_lies(reader):
    done = reader.run(repository.first_cell(URL), "import lpa_core; print(lpa_core.__file__)", folder=ROOT / "book")
    assert done.stdout.split() == [str(ROOT / "lpa_core" / "__init__.py")], done.stderr
    assert reader.installed() == set()


def test_a_notebook_alone_fetches_the_package_and_runs_to_its_end(reader, remote):
    notebook = nbformat.read(ROOT / QUICK, as_version=4)
    _, *cells = (cell.source for cell in notebooks.code_cells(notebook))
    places = "import lpa_core, torch; print(*(m.__file__ for m in (lpa_core, torch)), os.getcwd(), sep='\\n')"
    done = reader.run(repository.first_cell(remote), *cells, places)
    assert done.returncode == 0, done.stderr
    package, torch, working = done.stdout.splitlines()[-3:]
    assert Path(package).is_relative_to(reader.site)
    assert Path(torch).is_relative_to(sysconfig.get_paths()["purelib"])
    assert reader.installed() == {"lpa_core", "lpa_core.dist_info"} or reader.installed() == {"lpa_core"}
    assert Path(working) == reader.folder / CLONE / "book"
    assert "No GPU here" in done.stdout.splitlines()[0]

    # A new kernel finds the package, installs nothing, and is beside the recorded runs again.
    again = reader.run(repository.first_cell("file:///nowhere/" + CLONE), "print(os.getcwd())")
    assert again.stdout.split() == [working], again.stderr
