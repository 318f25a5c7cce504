"""What an option is held against before anything else is done with it. Standard library only."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TypeGuard, get_args

MOST_PIXELS = 16_384  # of a side: a picture of 800 MB


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is one number: no bool, no text, no array. It may be NaN or infinite."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object, least: int = 0, below: int = 2**63) -> TypeGuard[int]:
    """Whether ``value`` is a whole number from ``least`` to below ``below`` (by default what 64 bits hold)."""
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) < below


def is_size(value: object) -> TypeGuard[tuple[int, int]]:
    """Whether ``value`` is a height and a width of at least 1."""
    return isinstance(value, Sequence) and len(value) == 2 and all(is_whole(side, 1, 2**31) for side in value)


def height_and_width(value: object) -> tuple[int, int]:
    """``size`` as the user gave it, one number or two, as two. Raises: ValueError unless it is that."""
    pair = (value, value) if is_whole(value) else value
    if not is_size(pair) or max(pair) > MOST_PIXELS:
        limit = f" and at most {MOST_PIXELS}" if is_size(pair) else ""
        pairs = "" if is_number(value) else "; two are height and width"
        raise ValueError(f"size must be a whole number of at least 1{limit}; got {value!r}{pairs}")
    return (int(pair[0]), int(pair[1]))


def check_option(name: str, value: object, allowed: object) -> None:
    """Raise ValueError unless ``value`` is one of the Literal type ``allowed``; names what would be right."""
    options = get_args(allowed)
    if not isinstance(value, str) or value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}")


def check_count(name: str, value: object) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least 1, and small enough to count memory with."""
    if not is_whole(value, 1, 2**31):
        limit = " and below 2**31" if isinstance(value, int) and value > 1 else ""
        raise ValueError(f"{name} must be a whole number of at least 1{limit}; got {value!r}")


def check_int(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) < 2**63:
        limit = " and of 64 bits" if isinstance(value, Integral) and int(value) >= 2**63 else ""
        raise ValueError(f"{name} must be an integer of at least {least}{limit}; got {value!r}")
