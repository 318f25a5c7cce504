"""Put the weights of finished runs into the package: ``ship_weights.py [--half] digits-pc=runs/digits-pc …``.

Each goes to ``lpa_core/models/_weights/``, with ``--half`` as float16 (its scores are then measured anew, on the file
that ships; ``LPA_DATA`` holds the data), and its sha256 into ``SHIPPED`` in
``lpa_core/models/weights.py``, which ``load_weights`` checks. The file itself says how it was made (``provenance``), in
a command without the places of the machine that made it.
"""

import re
import sys
from dataclasses import asdict
from pathlib import Path

from recording import public_command

from lpa_core.data import load_splits
from lpa_core.models.weights import load_weights, save_weights
from lpa_core.training import evaluate

ROOT = Path(__file__).resolve().parent.parent
FOLDER, SOURCE = ROOT / "lpa_core" / "models" / "_weights", ROOT / "lpa_core" / "models" / "weights.py"
TABLE = re.compile(r"^SHIPPED: dict\[str, str\] = \{.*?\}$", re.DOTALL | re.MULTILINE)


def main(arguments: list[str]) -> None:
    half = "--half" in arguments
    arguments = [argument for argument in arguments if argument != "--half"]
    if not arguments or not all("=" in argument for argument in arguments):
        raise SystemExit("usage: ship_weights.py [--half] NAME=RUN_FOLDER …")
    FOLDER.mkdir(exist_ok=True)
    for argument in arguments:
        name, run = argument.split("=", 1)
        model, info = load_weights(run)  # refuses what is damaged or not ours before anything is touched
        about = {key: value for key, value in asdict(info).items() if key not in ("config", "sha256", "backbone")}
        of = Path(run).stem.removesuffix(f"-{info.provenance['seed']}")  # as its record is named
        about["provenance"]["command"] = public_command(info.provenance.get("command"), of)
        target = FOLDER / f"{name}.safetensors"
        save_weights(target, model, **about, half=half)
        if half:
            about["scores"] = measured(target, about["provenance"]["data"]["name"], [*info.scores])
            save_weights(target, model, **about, half=half)
    hashes = {path.stem: load_weights(path).info.sha256 for path in sorted(FOLDER.glob("*.safetensors"))}
    rows = "".join(f'    "{name}": "{sha256}",\n' for name, sha256 in hashes.items())
    text, found = TABLE.subn(f"SHIPPED: dict[str, str] = {{\n{rows}}}", SOURCE.read_text(encoding="utf8"))
    if found != 1:
        raise SystemExit(f"{SOURCE} must have one table SHIPPED; found {found}")
    SOURCE.write_text(text, encoding="utf8")
    print(f"{len(hashes)} weights in {FOLDER.relative_to(ROOT)}: {', '.join(hashes)}")


def measured(weights: Path, data: str, splits: list[str]) -> dict[str, dict[str, float]]:
    """The scores of a file, on the splits that its run was scored on."""
    model, _ = load_weights(weights)
    return {part.split: evaluate(model, part) for part in load_splits(data, splits)}


if __name__ == "__main__":
    main(sys.argv[1:])
