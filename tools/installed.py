"""Build the package, install it where nothing of the repository is in reach, and use it there.

A wheel and a source distribution are built; each is installed alone into a new environment, which sees the packages of
this one (so that torch is not fetched again) but not the repository. There, outside the repository:

* the distribution holds what it must: the types' marker, the shipped weights, the licence;
* the core imports and computes without the packages that only figures, widgets, data or the book need;
* the Python examples of the README run, in their order (with weights=None where they would download);
* the command line says its version.

    python tools/installed.py
    python tools/installed.py torch==2.11.0 torchvision==0.26.0     with these beside the package
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from repository import ROOT, tracked

WORK = ROOT / "_build" / "installed"

# Not needed by the core: figures, digits, other methods, widgets, progress bars, and what builds the book.
BLOCKED = ("matplotlib", "sklearn", "captum", "ipywidgets", "IPython", "nbformat", "sphinx", "jupyter_book", "pytest")
WITHOUT = f"""
import sys

sys.modules.update(dict.fromkeys({BLOCKED}))  # None: an import of it fails
import torch
import lpa_core
from lpa_core import hard, metrics, models, posthoc, training

model = lpa_core.small_attention_net().eval()
output = model.attend(torch.rand(2, 3, 40, 40))
assert output.attended[-1].weights.sum(dim=(1, 2)).allclose(torch.ones(2))
assert lpa_core.load_weights("digits-pc")[0] is not None
assert lpa_core.look_at("digits-pc", torch.rand(3, 40, 40)).maps
lpa_core.explain(model, torch.rand(1, 3, 40, 40), 3, method="hirescam")  # written here; needs no captum
for needs, action in (
    ("captum", lambda: lpa_core.explain(model, torch.rand(1, 3, 40, 40), 3, method="saliency")),
    ("matplotlib", lambda: lpa_core.map_grid),
):
    try:
        action()
    except ImportError as error:
        assert needs in str(error), error
    else:
        sys.exit(f"{{needs}} was not blocked")
"""
WHERE = "import lpa_core; print(lpa_core.__file__)"


def run(command: list[str], **options: object) -> str:
    """The output of a command; it and what went wrong are shown where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{' '.join(command)[:200]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return str(done.stdout)


def build() -> list[Path]:
    """The wheel and the source distribution that it is built from."""
    shutil.rmtree(WORK, ignore_errors=True)
    # From a copy: setuptools would leave build/ and rewrite the egg-info that an editable install lives on.
    source = WORK / "source"
    for path in tracked(ROOT):
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(WORK / "dist"), str(source)])
    return sorted((WORK / "dist").iterdir(), reverse=True)


def contents(distribution: Path) -> set[str]:
    """Names of the files in a distribution, without the folder that a source distribution puts around them."""
    if distribution.suffix == ".whl":
        with zipfile.ZipFile(distribution) as archive:
            return set(archive.namelist())
    with tarfile.open(distribution) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def missing(distribution: Path) -> list[str]:
    """What a distribution should hold and does not, or holds and should not."""
    held = contents(distribution)
    own = {str(path.relative_to(ROOT)) for path in tracked(ROOT) if path.is_relative_to(ROOT / "lpa_core")}
    problems = sorted(f"without {name}" for name in own - held)
    problems += [] if any(name.endswith("LICENSE") for name in held) else ["without LICENSE"]
    if distribution.suffix == ".whl":
        problems += sorted(f"with {name}" for name in held if not name.startswith(("lpa_core/", "lpa_core-")))
    return problems


def examples() -> list[str]:
    """The Python blocks of the README, without their downloads."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf8"), re.DOTALL | re.M)
    return [block.replace('weights="DEFAULT"', "weights=None") for block in blocks]


def use(distribution: Path, folder: Path, others: list[str]) -> None:
    """Install a distribution and ``others`` above the packages of this environment, and use it in an empty folder."""
    venv.create(folder / "environment", with_pip=False)
    python, empty = folder / "environment" / "bin" / "python", folder / "elsewhere"
    empty.mkdir()
    site = Path(run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    # Path files of a folder that is named in a path file are not read: the editable install stays out of reach.
    (site / "beneath.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf8")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    run([*pip, "--ignore-installed", "--no-index", "--no-build-isolation", str(distribution)])
    if others:
        run([*pip, "--ignore-installed", *others])
    settings = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    settings |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}

    def python_runs(*arguments: str) -> str:
        return run([str(python), *arguments], cwd=empty, env=settings)

    found = Path(python_runs("-c", WHERE).strip())
    if not found.is_relative_to(folder):
        sys.exit(f"lpa_core was imported from {found}, not from {folder}")
    python_runs("-W", "error", "-c", WITHOUT)
    blocks = examples()
    python_runs("-c", "\n".join(blocks))
    version = python_runs("-m", "lpa_core", "--version").split()[-1]
    if version not in distribution.name:
        sys.exit(f"python -m lpa_core --version says {version}; built was {distribution.name}")
    torch = python_runs("-c", "import torch; print(torch.__version__)").strip()
    done = f"imports without {len(BLOCKED)} packages, {len(blocks)} examples run"
    print(f"{distribution.name}: installed alone beside torch {torch}, {done}", flush=True)


if __name__ == "__main__":
    for distribution in build():
        if problems := missing(distribution):
            sys.exit(f"{distribution.name} is built {', '.join(problems)}")
        size = distribution.stat().st_size / 1e6
        print(f"{distribution.name}: {len(contents(distribution))} files, {size:.1f} MB", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            use(distribution, Path(folder).resolve(), sys.argv[1:])
