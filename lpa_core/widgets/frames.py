"""What an explorer is made of: panels, frames, controls."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

COLOURS = 96  # of a picture's palette: more cannot be told apart at this size, and cost bytes
MOST_PNG = 5_000  # bytes; what is larger is a photograph or like one, and takes a third as WebP
WEBP_QUALITY = 60


class Panel(NamedTuple):
    """One picture of an explorer, what it shows in words, and the values at the ends of its colours, if it is a map."""

    image: UInt8[np.ndarray, "h w 3"]
    alt: str
    title: str = ""
    scale: tuple[float, float] | None = None


class Frame(NamedTuple):
    """What one choice shows: pictures side by side, and a sentence beneath that says what to see in them."""

    panels: Sequence[Panel]
    text: str


@dataclass(frozen=True, kw_only=True)
class Control:
    """Something to choose: a list, or a slider where the options have an order.

    Attributes:
        label: what is chosen.
        options: name -> value, in order.
        start: the name shown first; the first option by default.
        slider: a slider rather than a list.
        live: the options of the live face, which may be many more; by default the same.

    Raises: ValueError without options, or on a ``start`` that is none of them.
    """

    label: str
    options: Mapping[str, Any]
    start: str | None = None
    slider: bool = False
    live: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, options in (("options", self.options), ("live", self.live)):
            if options is not None and not options:
                raise ValueError(f"{name} of the control {self.label!r} must hold at least one option; got none")
            if options is not None and self.start is not None and self.start not in options:
                raise ValueError(
                    f"start of the control {self.label!r} must be one of {', '.join(options)}; got {self.start!r}"
                )

    @property
    def first(self) -> str:
        return next(iter(self.options)) if self.start is None else self.start


def png(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """A picture as a small PNG file with a palette."""
    file = io.BytesIO()
    reduced = Image.fromarray(image).quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    reduced.save(file, "png", optimize=True)
    return file.getvalue()


def address(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture as an address that holds it: PNG, or WebP where that would be large."""
    data, kind = png(image), "png"
    if len(data) > MOST_PNG:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "webp", quality=WEBP_QUALITY, method=6)
        data, kind = file.getvalue(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def number(value: float) -> str:
    """Two digits, without an exponent where a few zeros do."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    text = f"{value:.{max(0, 1 - math.floor(math.log10(abs(value))))}f}" if abs(value) > 1e-4 else f"{value:.1e}"
    return text.replace("-", "\u2212")


def plain(panel: Panel) -> tuple[object, ...]:
    """A panel as the page's script takes it: picture, alternative text, title, ends of the scale, signed or not."""
    source = address(panel.image)
    if panel.scale is None:
        return source, panel.alt, panel.title
    low, high = panel.scale
    return source, panel.alt, panel.title, number(low), number(high), int(low < 0)
