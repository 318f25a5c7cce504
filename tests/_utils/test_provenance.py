import platform
import subprocess
from datetime import UTC, datetime

import pytest
import torch

from lpa_core._utils import provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with a package in it, from whose file ``commit()`` is asked."""
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("one\n")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    git(package.parent, "init", "--quiet")
    return package


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_commit_is_that_of_the_package_and_says_when_files_differ(repository):
    assert provenance.commit() is None  # a repository, but the file is not in it
    git(repository.parent, "add", ".")
    git(repository.parent, "commit", "--quiet", "-m", "first")
    revision = git(repository, "rev-parse", "HEAD").strip()
    assert provenance.commit() == revision
    (repository.parent / "elsewhere.txt").touch()
    assert provenance.commit() == revision
    (repository / "__init__.py").write_text("two\n")
    assert provenance.commit() == f"{revision}+changes"


def test_without_git_there_is_no_commit(repository, monkeypatch):
    git(repository.parent, "add", ".")
    git(repository.parent, "commit", "--quiet", "-m", "first")
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() is None


def test_versions_are_those_installed():
    found = provenance.versions()
    assert set(found) == {"python", *provenance.PACKAGES}
    assert found["python"] == platform.python_version()
    assert torch.__version__.startswith(found["torch"])


def test_a_package_that_is_absent_is_said_to_be(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))
    assert provenance.versions()["no-such-package"] == "absent"


def test_devices_have_names():
    assert provenance.device_name(torch.device("cpu"))
    assert provenance.device_name(torch.device("meta")) == "meta"


def test_now_is_utc():
    then = datetime.fromisoformat(provenance.now())
    assert then.utcoffset().total_seconds() == 0
    assert abs((datetime.now(UTC) - then).total_seconds()) < 60
