"""What a look costs against the size of the picture: soft attention reads every pixel, hard attention does not."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks import Row
from lpa_core.hard.glimpses import RecurrentAttention
from lpa_core.hard.model import HardAttention
from lpa_core.hard.scoring import cost
from lpa_core.models.builders import small_attention_net

SIZES = (40, 80, 100, 200)  # pixels each way; multiples of the 20 cells of the policy's coarse view
WINDOW = (20, 20)
BATCH, REPEATS = 16, 7


def models(side: int) -> dict[str, nn.Module]:
    """The three ways to look, for pictures of ``side`` x ``side``. The coarse view always has 20 x 20 cells."""
    return {
        "soft": small_attention_net(),
        "hard": HardAttention(size=WINDOW, shrink=side // 20),
        "glimpses": RecurrentAttention(shrink=side // 20),
    }


def measure() -> Iterator[dict[str, Any]]:
    """One entry a model and size: multiply-accumulates of a picture, and milliseconds of processor time.

    The least of several: what else the machine does can only add to it.
    """
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        for side in SIZES:
            images = torch.randn(BATCH, 3, side, side)
            for name, model in models(side).items():
                model.eval()
                model(images)  # the first call sets things up
                times = []
                for _ in range(REPEATS):
                    start = time.process_time()
                    model(images)
                    times.append((time.process_time() - start) / BATCH)
                milliseconds = round(1000 * min(times), 3)
                yield {"model": name, "side": side, "milliseconds": milliseconds, **cost(model, (3, side, side))}


def run() -> Iterator[Row]:
    for entry in measure():
        note = f"{entry['macs'] / 1e6:.1f} M multiply-accumulates, {entry['positions']} positions"
        yield Row(
            f"look, {entry['model']}, {entry['side']}x{entry['side']}",
            entry["milliseconds"],
            "processor ms/picture",
            note,
        )
