"""The picture that the README opens with: ``python tools/readme_picture.py book/_static/cat-and-cup.png``.

A cat and a cup side by side, and one network asked twice: EfficientNet-Lite0 with HiResCAM, for the class Egyptian cat
and for the class espresso. The photographs are CC0: Chelsea by Stéfan van der Walt, coffee by Rachel Michetti.
"""

import io
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import torch
from PIL import Image

from lpa_core import data, metrics, plotting, posthoc
from lpa_core._utils.files import write_atomic
from lpa_core.models.lite0 import MEAN, STD, efficientnet_lite0

SIDE = 320
QUESTIONS = {"where is the cat?": 285, "where is the cup?": 967}  # ImageNet's Egyptian cat and espresso

halves = [data.read_picture(data.photograph(name).path, size=SIDE) for name in ("chelsea", "coffee")]
picture = torch.cat(halves, dim=2)
network = efficientnet_lite0().eval()
floats = data.normalise(picture[None], MEAN, STD)
maps = [posthoc.explain(network, floats, k, method="hirescam", layer="top").clamp(min=0) for k in QUESTIONS.values()]

# What the text beside it says: the map for each class lies on its own half.
for half, map in enumerate(maps):
    box = metrics.box_masks(torch.tensor([[0, half * SIDE, SIDE, (half + 1) * SIDE]]), (SIDE, 2 * SIDE))
    share = metrics.energy_in_mask(map, box).item()
    assert share > 0.85

figure = plt.figure(figsize=(8.4, 1.72), dpi=120)
for column, title in enumerate(("", *QUESTIONS)):
    ax = figure.add_axes((column / 3 + 0.003, 0.0, 0.327, 0.83))
    if column == 0:
        plotting.show_image(ax, picture)
    else:
        plotting.overlay(ax, picture, maps[column - 1][0], style="light", bar=False)
    ax.set_title(title, fontsize=plotting.TEXT, pad=4)
drawn = io.BytesIO()
figure.savefig(drawn, facecolor="white", format="png")
small = io.BytesIO()
Image.open(drawn).convert("RGB").quantize(256).save(small, format="png", optimize=True)
write_atomic(Path(sys.argv[1]), small.getvalue())
