"""The figure of the book's first page: one picture, three levels, soft and hard. ``notebooks.py stage`` runs it."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import torch

from lpa_core import data, hard, load_weights, metrics, plotting

network = load_weights("digits-pc").model
picture = data.digits_in_clutter(12, split="test").subset([8])
with torch.no_grad():
    output = network.attend(picture.float_images())
maps = [attended.weights for attended in output.attended]  # one weight for each position, at three levels
windows = [hard.heaviest_window(metrics.enlarge(map, (40, 40)), (18, 12)) for map in maps]  # the heaviest of its size
crops = [metrics.box_masks(hard.window_boxes(window, (18, 12)), (40, 40))[0] for window in windows]

# What the caption says.
digit = metrics.box_masks(picture.boxes, (40, 40))
held = [metrics.energy_in_mask(map, crop[None]).item() for map, crop in zip(maps, crops, strict=True)]
share = [metrics.energy_in_mask(map, digit).item() for map in maps]
assert output.logits.argmax(dim=1) == picture.labels
assert all(torch.isclose(map.sum(), torch.ones(())) for map in maps)
assert share[2] > 0.9 > 0.5 > max(share[:2])
assert held[2] > 0.9 > 0.5 > max(held[:2])
assert min(map.min() for map in maps) > 0
assert [bool((digit[0] & crop).any()) for crop in crops] == [False, False, True]
assert (digit[0] & crops[2]).sum() > 0.75 * digit.sum()
assert not digit[0].flatten()[picture.images.sum(dim=1).argmax()]  # the brightest pixel is not the digit's

figure = plt.figure(figsize=(7, 3.5), dpi=150, layout="constrained")
grid = figure.add_gridspec(2, 5)
large = plotting.show_image(figure.add_subplot(grid[:, :2]), picture.images[0], box=picture.boxes[0])
large.set_title("picture", fontsize=plotting.TEXT)
for level, (map, crop) in enumerate(zip(maps, crops, strict=True)):
    above, below = (figure.add_subplot(grid[line, 2 + level]) for line in (0, 1))
    plotting.overlay(above, picture.images[0], map[0], box=picture.boxes[0], bar=False)
    plotting.show_image(below, picture.images[0] * crop, box=picture.boxes[0])
    above.set_title(f"level {level + 1}", fontsize=plotting.TEXT)
    above.set_xlabel(f"{100 * share[level]:.0f} %", fontsize=plotting.TEXT)
    below.set_xlabel(f"{100 * held[level]:.0f} %", fontsize=plotting.TEXT)
    if level == 0:
        above.set_ylabel("soft", fontsize=plotting.TEXT)
        below.set_ylabel("hard", fontsize=plotting.TEXT)
figure.savefig(Path(sys.argv[1]), facecolor="white")
