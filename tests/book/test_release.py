"""The tools that build, install and audit the package notice what they are there for."""

import io
import tarfile
import zipfile

import audit
import installed
import mutants
import pytest

NAMES = sorted(
    str(path.relative_to(installed.ROOT))
    for pattern in ("*.py", "*.safetensors", "py.typed")
    for path in (installed.ROOT / "lpa_core").rglob(pattern)
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


def test_an_audit_says_what_was_found_and_what_was_not_asked():
    unknown = {"name": "a", "skip_reason": "not found"}
    clean = {"name": "b", "version": "1", "vulns": []}
    bad = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    for packages in (None, [], [unknown]):
        assert audit.summary(packages) == (
            "The registry says nothing about vulnerabilities: nothing was audited.",
            False,
        )
    assert audit.summary([unknown, clean]) == ("1 of 2 locked packages audited, 0 known vulnerabilities", False)
    text, found = audit.summary([unknown, clean, bad])
    assert text.splitlines() == ["2 of 3 locked packages audited, 1 known vulnerabilities", "c 2: CVE-1, mended in 3"]
    assert found


def test_the_modules_to_mutate_and_their_tests_exist():
    assert {"attention", "metrics", "hard", "posthoc"} <= set(mutants.TARGETS)
    for module, tests in mutants.TARGETS.items():
        assert (mutants.ROOT / "lpa_core" / f"{module}.py").is_file()
        assert all((mutants.ROOT / "tests" / f"{name}.py").is_file() for name in tests)


def test_mutants_are_made_and_shown(tmp_path):
    names = mutants.prepare("chance", tmp_path / "package")
    assert len(names) > 5
    assert len(set(names)) == len(names)
    shown = mutants.differences(tmp_path / "package" / "lpa_core" / "chance.py", names)
    assert shown.count("# x") == len(names)
    assert "\n-" in shown
    assert "\n+" in shown
    assert not (tmp_path / "package" / "lpa_core" / "__pycache__").exists()
