"""Figures of maps, curves and scores that can be trusted: every scale is shown, none is changed in secret."""

from .charts import bars_with_intervals, curves
from .grids import attention_figure, map_grid
from .maps import overlay, pixels, show_image
from .style import ALPHA, BAR, BASELINE_BAR, COLOURS, CONTRAST, DIVERGING, DPI, INK, QUIET, SEQUENTIAL, TEXT, WIDTH

__all__ = [
    "ALPHA",
    "BAR",
    "BASELINE_BAR",
    "COLOURS",
    "CONTRAST",
    "DIVERGING",
    "DPI",
    "INK",
    "QUIET",
    "SEQUENTIAL",
    "TEXT",
    "WIDTH",
    "attention_figure",
    "bars_with_intervals",
    "curves",
    "map_grid",
    "overlay",
    "pixels",
    "show_image",
]
