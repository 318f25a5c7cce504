"""The styles and scripts of what is shown on a page: files beside this one, read when they are first needed."""

from functools import cache
from importlib import resources


@cache
def controls_script(name: str) -> str:
    """A script in this folder, without the comments that begin a line."""
    return "\n" + "".join(f"{line}\n" for line in _lines(name) if not line.startswith("//"))


@cache
def controls_style(name: str = "controls.css") -> str:
    """A style in this folder, that of explorers and quizzes by default, in one line and without its comments."""
    return "".join(line for line in _lines(name) if not line.startswith("/*"))


def _lines(name: str) -> list[str]:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf8").splitlines()
