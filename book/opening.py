"""The figure of the book's first page: a photograph, three levels of attention. ``notebooks.py stage`` runs it."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import torch

from lpa_core import data, look_at, plotting


def check(seen):
    """What the caption says: a cat, and at the deepest level the largest weight on its nose and mouth."""
    assert seen.prediction == "Egyptian cat"
    height, width = seen.photograph.shape[1:]
    peak = divmod(int(seen.maps_on_photograph[2].argmax()), width)
    assert 0.4 * height < peak[0] < 0.95 * height
    assert 0.45 * width < peak[1] < 0.8 * width
    assert all(torch.isclose(level.weights.sum(), torch.ones(())) for level in seen.output.attended)
    assert all(float(level.weights.min()) > 0 for level in seen.output.attended)


seen = look_at("photo-pc", data.photograph("chelsea").path)
maps = seen.maps_on_photograph
check(seen)

figure = plt.figure(figsize=(7, 5.1), dpi=150, layout="constrained")
axes, size = figure.subplots(2, 2), 1.3 * plotting.TEXT
plotting.show_image(axes[0, 0], seen.photograph)
axes[0, 0].set_title("picture", fontsize=size)
levels = zip(axes.flat[1:], seen.output.attended, maps, strict=True)
for ax, level, map in levels:
    plotting.overlay(ax, seen.photograph, map, bar=False)
    rows, columns = level.weights.shape[1:]
    ax.set_title(f"{rows} × {columns} places", fontsize=size)
figure.savefig(Path(sys.argv[1]), facecolor="white")
