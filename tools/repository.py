"""Set the address of the repository everywhere: ``python tools/repository.py https://github.com/owner/name``.

``repository.txt`` holds it for the book, whose buttons and links are absent without it; ``CITATION.cff`` and
``pyproject.toml`` repeat it for those who read them, and the first cell of every chapter installs the package from it
(tools/bootstrap.py). A change rewrites the old address wherever it stands.
"""

import re
import subprocess
import sys
from pathlib import Path

import bootstrap

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"https://(github|gitlab)\.com/[\w.-]+/[\w.-]+")
HOLDER = "repository.txt"


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
    bootstrap.write(root, url)
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
        set_address(sys.argv[1] if len(sys.argv) > 1 else "")
    except ValueError as error:
        sys.exit(str(error))
    print(f"The repository is {address()}. The next make book shows its buttons.")
