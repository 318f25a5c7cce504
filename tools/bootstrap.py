"""The first code cell of every chapter, from one template: ``python tools/bootstrap.py`` writes it into all of them.

It does nothing where ``lpa_core`` imports. Otherwise it uses the clone that the notebook lies in, or fetches the
repository and installs the package from it, without touching torch, numpy or anything else that is there.
"""

import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
# What Colab lacks: module -> package. None of them brings anything that Colab has in another version.
LIGHT = {"jaxtyping": "jaxtyping", "wadler_lindig": "wadler-lindig", "captum": "captum"}
TEMPLATE = """\
# Finds lpa_core, or installs it. Whatever is there already stays as it is, torch and numpy above all.
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

repository = "{url}"
folder, installed = Path(repository.rsplit("/", 1)[-1] or "none"), False
if importlib.util.find_spec("lpa_core") is None:
    if Path("../lpa_core/__init__.py").is_file():  # a clone that is not installed: it lies one folder up
        sys.path.insert(0, os.path.abspath(".."))
    elif not repository:
        raise ModuleNotFoundError("lpa_core was not found. Open this notebook in a clone of the book: see its README")
    else:
        light = {light}
        lacking = [package for module, package in light.items() if importlib.util.find_spec(module) is None]
        if not folder.exists():
            subprocess.run(["git", "clone", "--quiet", "--depth=1", repository], check=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, f"./{{folder}}", *lacking], check=True)
        importlib.invalidate_caches()
        installed = True
if (folder / "book").is_dir():  # the recorded runs lie beside the chapters
    os.chdir(folder / "book")
if (installed or os.environ.get("LPA_SCALE") == "full") and not __import__("torch").cuda.is_available():
    print('No GPU here. One helps where scale is "full" (Colab: Runtime, Change runtime type); "quick" needs none.')
"""


def source(url: str) -> str:
    """The cell for a repository at ``url``, or, where that is empty, one that says where to look."""
    light = "{" + ", ".join(f'"{module}": "{package}"' for module, package in LIGHT.items()) + "}"
    return TEMPLATE.format(url=url, light=light).rstrip("\n")


def first_code_cell(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    return next((cell for cell in notebook.cells if cell.cell_type == "code"), None)


def write(root: Path, url: str) -> list[Path]:
    """Put the cell into every notebook of ``root/book``; the notebooks that changed. Their outputs stay.

    Raises: ValueError where the first code cell is neither this cell nor an earlier form of it.
    """
    changed = []
    for path in sorted((root / "book").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cell = first_code_cell(notebook)
        if cell is None or 'find_spec("lpa_core")' not in cell.source:
            raise ValueError(f"the first code cell of {path.name} must be the one that finds lpa_core")
        if cell.source != source(url):
            cell.source = source(url)
            nbformat.write(notebook, path)
            changed.append(path)
    return changed


if __name__ == "__main__":
    import repository

    for path in write(ROOT, repository.address()):
        print(path.relative_to(ROOT), file=sys.stderr)
