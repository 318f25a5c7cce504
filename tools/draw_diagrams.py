"""Draw the diagrams of the book anew: ``python tools/draw_diagrams.py`` writes ``book/_static/diagrams/*.svg``."""

from pathlib import Path

from drawing import DIAGRAMS

FOLDER = Path(__file__).resolve().parent.parent / "book" / "_static" / "diagrams"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(draw().svg(name), encoding="utf8")
    print(f"{len(DIAGRAMS)} diagrams in {FOLDER}")


if __name__ == "__main__":
    main()
