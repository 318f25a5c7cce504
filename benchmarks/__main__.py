"""Run benchmarks and print one table: ``python -m benchmarks`` for all, ``python -m benchmarks data train`` for some.

Each module ``bench_NAME.py`` beside this file has a ``run()`` that yields ``Row``s.
"""

import importlib
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from lpa_core._utils.provenance import device_name

from . import Row

NAMES = tuple(sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py")))


def main(wanted: Sequence[str]) -> int:
    if unknown := sorted(set(wanted) - set(NAMES)):
        sys.stderr.write(f"benchmarks: error: there is no {', '.join(unknown)}; there are {', '.join(NAMES)}\n")
        return 2
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    processor = device_name(torch.device("cpu"))
    print(
        f"{processor}, {torch.get_num_threads()} threads{gpu}; torch {torch.__version__}, {platform.python_version()}"
    )
    for name in wanted or NAMES:
        print(f"\n{name}")
        for row in importlib.import_module(f"benchmarks.bench_{name}").run():
            print(line(row), flush=True)
    return 0


def line(row: Row) -> str:
    """A line of the table; numbers of 100 and more whole, smaller ones with three digits."""
    number = f"{row.value:,.0f}" if abs(row.value) >= 100 else f"{row.value:.3g}"
    return f"  {row.name:<58}{number:>12} {row.unit:<10} {row.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
