"""What the files of the repository say of each other is true."""

import os
import re
import shutil
import subprocess
import tomllib

import nbformat
import notebooks
import pytest
import repository
import yaml

ROOT = notebooks.ROOT
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf8")


def make_targets() -> dict[str, bool]:
    """The targets of the Makefile, and whether ``make help`` describes them."""
    found = re.findall(r"^([a-z-]+):(?!=)([^\n]*)", read("Makefile"), re.MULTILINE)
    return {name: " ## " in rest for name, rest in found}


def locked() -> dict[str, set[str]]:
    """Name and versions of every package in the lock."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.+]+)", read("requirements.txt"), re.MULTILINE):
        versions.setdefault(name.lower().replace("_", "-"), set()).add(version)
    return versions


@pytest.mark.parametrize("place", ["README.md", ".ci/run", *(str(path.relative_to(ROOT)) for path in WORKFLOWS)])
def test_every_make_command_that_is_named_exists(place):
    # In prose, "make" is an English word: commands stand at the start of a line, in code, or after run: and step names.
    named = set(re.findall(r"""(?:^|`|run: |" )make ([a-z-]+)""", read(place), re.MULTILINE))
    assert named
    assert named - set(make_targets()) == set()


def test_make_help_lists_what_people_expect():
    expected = {"book", "serve", "lab", "outputs", "test", "unit", "lint", "lock", "benchmark", "repository", "clean"}
    described = {name for name, is_described in make_targets().items() if is_described}
    assert expected - described == set()
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [name for name in described if f"make {name} " not in shown] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_is_a_thin_call(workflow):
    content = yaml.safe_load(workflow.read_text(encoding="utf8"))
    steps = [step for job in content["jobs"].values() for step in job["steps"]]
    assert any("make " in step.get("run", "") for step in steps)
    assert [step["run"] for step in steps if len(step.get("run", "").strip().splitlines()) > 4] == []
    assert [step["uses"] for step in steps if "uses" in step and not re.search(r"@v\d", step["uses"])] == []


def test_the_test_command_of_the_ci_is_sound_bash():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)
    assert "set -euo pipefail" in read(".ci/run")


def test_the_lock_holds_every_dependency_and_the_constraints():
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [line for extra in extras.values() for line in extra]
    names = {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in wanted} - {"lpa-core"}
    versions = locked()
    assert names - set(versions) == set()
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", read("tools/lock-constraints.txt"), re.MULTILINE))
    assert {name: versions[name] for name in pins} == {name: {version} for name, version in pins.items()}
    # setuptools builds the package inside .venv, without a network.
    assert "setuptools" in versions


def test_dependencies_have_lower_bounds_only():
    loose = [line for line in PYPROJECT["project"]["dependencies"] if not re.fullmatch(r"[\w-]+>=[\d.]+", line)]
    assert loose == []


def test_one_version_everywhere():
    import lpa_core

    version = PYPROJECT["project"]["version"]
    assert lpa_core.__version__ == version
    assert str(yaml.safe_load(read("CITATION.cff"))["version"]) == version
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)[1] == version


def test_no_large_file_is_kept():
    large = {path.name: path.stat().st_size for path in repository.tracked(ROOT) if path.stat().st_size > 1_500_000}
    assert set(large) == {"cifar100-pc.safetensors"}  # the photo network: what a page shows, a reader can load
    assert large["cifar100-pc.safetensors"] < 2_500_000


def test_every_work_in_the_bibliography_is_a_page_or_paper_with_an_address():
    entries = re.findall(r"^@\w+\{(\w+),(.*?)^\}", read("book/references.bib"), re.MULTILINE | re.DOTALL)
    assert len(entries) == len({key for key, _ in entries}) > 0
    assert [key for key, body in entries if not re.search(r"url = \{https://", body)] == []


# ---- the address of the repository ----


@pytest.fixture
def clone(tmp_path):
    for name in ("CITATION.cff", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    shutil.copy(ROOT / notebooks.chapters()[0], tmp_path / "book")
    return tmp_path


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_setting_the_address_twice_leaves_nothing_of_the_first(clone):
    for url in ("https://github.com/one/first.git", "https://github.com/two/second/"):
        repository.set_address(url, clone)
    assert repository.address(clone) == "https://github.com/two/second"
    assert yaml.safe_load((clone / "CITATION.cff").read_text())["repository-code"] == "https://github.com/two/second"
    urls = tomllib.loads((clone / "pyproject.toml").read_text())["project"]["urls"]
    assert urls == {"Repository": "https://github.com/two/second"}
    (chapter,) = (clone / "book").glob("*.ipynb")
    first = repository.first_code_cell(nbformat.read(chapter, as_version=4))
    assert first.source == repository.first_cell("https://github.com/two/second")
    assert not [path.name for path in files(clone) if "one/first" in path.read_text()]


@pytest.mark.parametrize("url", ["", "OWNER/REPO", "http://github.com/a/b", "https://github.com/a"])
def test_something_else_than_an_address_is_refused(clone, url):
    before = {path.name: path.read_bytes() for path in files(clone)}
    with pytest.raises(ValueError, match="must look like https"):
        repository.set_address(url, clone)
    assert {path.name: path.read_bytes() for path in files(clone)} == before


def test_the_address_stands_only_where_it_is_set():
    """Other spellings of the repository's own address would not be rewritten."""
    own = repository.address()
    name = own.rsplit("/", 1)[-1] if own else "lpa[-_]core"
    stray = re.compile(rf"https://(?:www\.)?git(?:hub|lab)\.com/[\w.<>{{}}-]+/{name}\b")
    strays = {
        (path.name, found)
        for path in repository.tracked(ROOT)
        if path.suffix in {".md", ".toml", ".cff", ".yml", ".ipynb", ".py", ".txt"}
        and path.name != "test_repository.py"
        for found in stray.findall(path.read_text(encoding="utf8"))
        if found != own
    }
    assert strays == set()
