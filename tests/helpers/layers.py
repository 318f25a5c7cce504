"""The picture of the rooms in CONTRIBUTING.md: ``python tests/helpers/layers.py`` draws it from the contract."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
FENCE = "```text\n"


def drawn() -> str:
    """The layers of the contract, top to bottom, each with the first line of its docstring."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["importlinter"]["contracts"]
    lines = []
    for name in contracts[0]["layers"]:
        path = ROOT / "lpa_core" / name
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        says = (ast.get_docstring(ast.parse(file.read_text(encoding="utf8"))) or "").splitlines()[0].replace("``", "")
        lines.append(f"{name + ('/' if path.is_dir() else '.py'):<14} {says}")
    return "\n".join(lines) + "\n"


def page() -> str:
    """CONTRIBUTING.md with this picture in it."""
    before, _, rest = PAGE.read_text(encoding="utf8").partition(FENCE)
    return before + FENCE + drawn() + rest[rest.index("```") :]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf8")
