"""The tools that build and install the package notice what they are there for."""

import io
import tarfile
import zipfile

import installed
import pytest

NAMES = sorted(
    str(path.relative_to(installed.ROOT))
    for path in (installed.ROOT / "lpa_core").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)


def wheel(folder, names):
    with zipfile.ZipFile(folder / "lpa_core-1-py3-none-any.whl", "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return folder / "lpa_core-1-py3-none-any.whl"


@pytest.mark.parametrize("lost", [None, "lpa_core/py.typed", "lpa_core/attention.py", "_weights"])
def test_a_wheel_without_a_file_is_noticed(tmp_path, lost):
    kept = [name for name in NAMES if lost is None or lost not in name]
    problems = installed.missing(wheel(tmp_path, [*kept, "lpa_core-1.dist-info/licenses/LICENSE"]))
    assert problems == [f"without {name}" for name in NAMES if name not in kept]
    assert (problems == []) is (lost is None)


def test_a_wheel_with_something_else_is_noticed(tmp_path):
    problems = installed.missing(wheel(tmp_path, [*NAMES, "tests/test_x.py"]))
    assert problems == ["without LICENSE", "with tests/test_x.py"]


def test_a_source_distribution_is_read_without_its_folder(tmp_path):
    with tarfile.open(tmp_path / "lpa_core-1.tar.gz", "w:gz") as archive:
        for name in (*NAMES, "LICENSE"):
            archive.addfile(tarfile.TarInfo(f"lpa_core-1/{name}"), io.BytesIO())
    assert installed.missing(tmp_path / "lpa_core-1.tar.gz") == []


def test_the_examples_of_the_readme_need_no_network():
    blocks = installed.examples()
    assert len(blocks) >= 3
    assert [block for block in blocks if "DEFAULT" in block] == []
