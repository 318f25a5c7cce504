"""Steps as a page holds them: a list that JSON can say, and all learned numbers in one line of base85.

The high bytes of float16 numbers, which hold sign, exponent and two more bits, repeat themselves; the low ones do not.
All high bytes together, then all low ones, pack to about five sixths. Base85 makes five letters of four bytes, where
base64 makes four of three; "<", which could end a script, is written as a comma.
"""

import base64
import math
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .functions import Step


class Packed(NamedTuple):
    """The list of steps and the numbers. A step's numbers are ``[where they begin, their shape]``."""

    steps: list[dict[str, Any]]
    numbers: str


def packed(steps: Sequence[Step], *, half: bool = True) -> Packed:
    """Steps as plain values; numbers as float16 (``half``) or float32, byte by byte of all of them, lowest first, zlib.

    Raises: ValueError on NaN or inf, and on a number that float16 cannot hold.
    """
    described, pieces, place = [], list[np.ndarray](), 0
    for step in steps:
        plain: dict[str, Any] = {"do": step.do, "of": list(step.of), **step.options}
        for name, tensor in step.numbers.items():
            values = tensor.detach().cpu().double().numpy()
            if not np.isfinite(values).all():
                raise ValueError(f"model holds NaN or inf in a layer that a page calls {step.do!r}")
            if half and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                raise ValueError(f"a number of a layer that a page calls {step.do!r} is too large: give half=False")
            plain[name] = [place, list(values.shape)]
            place += math.prod(values.shape)
            pieces.append(values.astype("<f2" if half else "<f4").ravel())
        described.append(plain)
    numbers = np.concatenate([np.empty(0, "<f2" if half else "<f4"), *pieces])
    planes = numbers.view(np.uint8).reshape(len(numbers), numbers.itemsize).T
    text = base64.b85encode(zlib.compress(planes.tobytes(), 9)).decode()
    return Packed(described, text.replace("<", ","))
