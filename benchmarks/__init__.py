"""Benchmarks: how fast the package is on this machine. ``python -m benchmarks [data | train | ...]``; never a test."""

from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table: what was measured, its value with a unit, and on what."""

    name: str
    value: float
    unit: str
    note: str = ""
