"""Colours and sizes of all figures, and how a number is written in them."""

from matplotlib.axes import Axes

SEQUENTIAL, DIVERGING = "inferno", "PuOr_r"
# Okabe and Ito's hues, darkened where needed to a contrast of 4.5 on white, since lines are named in their colour.
COLOURS = ("#0072B2", "#B84A00", "#007A5A", "#A6408A", "#7A5C00", "#3B3B3B")
INK, QUIET = "#1A1A1A", "#8C8C8C"
BAR, BASELINE_BAR = "#56B4E9", "#C4C4C4"
DPI, WIDTH, TEXT = 100, 7.0, 12.5  # text in points: 17 pixels at 700, 9 on a phone 360 pixels wide
ALPHA, CONTRAST = 0.65, 0.6  # the map's share of each colour; what is left of the picture's contrast beneath
DARK = 0.18  # how bright a lit picture still is where its map is 0


def tick_text(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-").replace("-", "\u2212")


def white(ax: Axes) -> None:
    ax.patch.set(facecolor="white", alpha=1)
    ax.figure.figure.patch.set(facecolor="white", alpha=1)
