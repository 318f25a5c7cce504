"""Curves and bars, named where they are."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from .._utils.checks import check_option
from ..metrics.intervals import Interval
from ..metrics.tables import Row
from .style import BAR, BASELINE_BAR, COLOURS, INK, QUIET, TEXT, white

Score = Literal["pointing", "energy", "iou"]


def curves(
    ax: Axes,
    history: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    *,
    x: str = "epoch",
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    ylabel: str = "",
) -> Axes:
    """Draw quantities of a training run over ``x``, each named at the end of its line; no legend to look up.

    ``history`` is a run's records, one mapping each (the lines of ``history.jsonl``). A record without a key, or with
    None or NaN there, leaves a gap in no line: the points that exist are joined.

    Raises: ValueError on a key that no record has (the message lists those there are), or when ``labels`` or
        ``colours`` do not number the keys.
    """
    known = sorted({key for record in history for key in record})
    if not keys or (missing := [key for key in (x, *keys) if key not in known]):
        wanted = ", ".join(missing) if keys else "no key"
        raise ValueError(f"keys must be among {', '.join(known) or 'nothing: history is empty'}; got {wanted}")
    names = [key.replace("_", " ") for key in keys] if labels is None else list(labels)
    palette = [COLOURS[i % len(COLOURS)] for i in range(len(keys))] if colours is None else list(colours)
    for name, given in (("labels", names), ("colours", palette)):
        if len(given) != len(keys):
            raise ValueError(f"{name} must be {len(keys)}, one a key; got {len(given)}")
    _plain(ax)
    ends = []
    for key, name, colour in zip(keys, names, palette, strict=True):
        points = [(r[x], r[key]) for r in history if x in r and r.get(key) is not None and not np.isnan(r[key])]
        xs, ys = zip(*points, strict=True) if points else ((), ())
        ax.plot(xs, ys, color=colour, linewidth=2.2, marker="o", markersize=4 if len(points) <= 30 else 0, label=name)
        if points:
            ends.append((float(xs[-1]), float(ys[-1]), name, colour))
    ax.set_xlabel(x, fontsize=TEXT, color=INK)
    ax.set_ylabel(ylabel, fontsize=TEXT, color=INK)
    if all(float(r[x]).is_integer() for r in history if x in r):
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, nbins=6))
    _name_lines(ax, ends)
    return ax


def bars_with_intervals(
    ax: Axes, rows: Sequence[Row] | Sequence[tuple[str, Interval]], *, score: Score = "pointing", xlabel: str = ""
) -> Axes:
    """Horizontal bars from 0, one a row, each with its interval as a line and its value as a number.

    ``rows`` come from ``metrics.compare_maps`` (baselines are grey) or are pairs of a name and an interval.
    The axis runs from 0 to 1.

    Raises: ValueError when there is no row or ``score`` is unknown.
    """
    check_option("score", score, Score)
    if not rows:
        raise ValueError("rows must hold at least one row")
    _plain(ax)
    titles = {"pointing": "pointing game", "energy": "energy in mask", "iou": "IoU"}
    for place, row in enumerate(rows):
        if isinstance(row, Row):
            interval, colour = getattr(row, score), BASELINE_BAR if row.baseline else BAR
        else:
            interval, colour = row[1], BAR
        ax.barh(place, interval.mean, height=0.62, color=colour)
        ax.plot([interval.low, interval.high], [place, place], color=INK, linewidth=2, solid_capstyle="butt")
        right = np.nanmax([interval.mean, interval.high, 0.0])
        text = "no value" if np.isnan(interval.mean) else f"{interval.mean:.2f}"
        ax.annotate(
            text, (right, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=TEXT, color=INK
        )
    ax.set_yticks(range(len(rows)), [row[0] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel(xlabel or (titles[score] if isinstance(rows[0], Row) else ""), fontsize=TEXT, color=INK)
    ax.tick_params(axis="y", length=0)
    return ax


def _plain(ax: Axes) -> None:
    """Axes with two quiet spines and text that can be read."""
    white(ax)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=QUIET)
    ax.tick_params(labelsize=TEXT, labelcolor=INK, color=QUIET)


def _name_lines(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each name right of its line's end; names that would touch are moved apart, in order."""
    if not ends:
        return
    ax.set_ylim(*ax.get_ylim())  # fixed from here on, since the names are placed by it
    to_share = ax.transData + ax.transAxes.inverted()  # data -> share of the height, on any kind of axis
    inches = ax.get_position().height * ax.figure.figure.get_size_inches()[1]
    least = 1.4 * TEXT / 72 / inches
    ordered = sorted((to_share.transform(end[:2])[1], name, colour) for *end, name, colour in ends)
    wanted = [place for place, _, _ in ordered]
    places = list(wanted)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + least)
    shift = (sum(places) - sum(wanted)) / len(places)
    across = max(end[0] for end in ends)
    for (_, name, colour), place in zip(ordered, places, strict=True):
        ax.annotate(
            name,
            (across, place - shift),
            xycoords=("data", "axes fraction"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT,
            color=colour,
            annotation_clip=False,
        )
