"""The picture of the rooms in CONTRIBUTING.md, drawn from the contract in pyproject.toml: ``python tools/layers.py``.

Each line is a room with the first words of its docstring; a room imports only from rooms below it. ``--check`` changes
nothing and fails where the picture is not that of the contract.
"""

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = "```text\n"


def drawn(root: Path = ROOT) -> str:
    """The layers of the contract, one a line, top to bottom."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf8"))["tool"]["importlinter"]["contracts"]
    lines = []
    for name in contracts[0]["layers"]:
        path = root / "lpa_core" / name
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        says = (ast.get_docstring(ast.parse(file.read_text(encoding="utf8"))) or "").splitlines()[0].replace("``", "")
        lines.append(f"{name + ('/' if path.is_dir() else '.py'):<14} {says}")
    return "\n".join(lines) + "\n"


def main() -> None:
    page = ROOT / "CONTRIBUTING.md"
    before, _, rest = page.read_text(encoding="utf8").partition(FENCE)
    text = before + FENCE + drawn() + rest[rest.index("```") :]
    if "--check" in sys.argv and text != page.read_text(encoding="utf8"):
        sys.exit("the rooms in CONTRIBUTING.md are not those of pyproject.toml: python tools/layers.py draws them")
    page.write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()
