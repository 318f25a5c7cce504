"""The photo network's training loop: pictures a second, beside matrix products and beside the plainest PyTorch loop."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import Row
from benchmarks.bench_data import WORKERS, Transformed, noise
from lpa_core.data.batches import Batches
from lpa_core.models.builders import photo_attention_net
from lpa_core.training.loop import autocast, cross_entropy, decay_groups, fit
from lpa_core.training.presets import preset
from lpa_core.training.state import State

BATCHES, REPEATS, SIDE = 8, 3, 2048  # a few batches a turn; matrices of SIDE x SIDE


def rows(device: torch.device) -> Iterator[Row]:
    """Ours, the share of the matrix rate that it reaches, and ours over the plain loop, in turns within one run."""
    config = replace(preset("photo", "cifar100"), epochs=1, cutmix=0.0)
    pictures = noise(BATCHES * config.batch_size)
    ours = loop(pictures, device)
    with torch.random.fork_rng():  # a DataLoader draws its seed from the global state
        plain = plain_loop(pictures, config.batch_size, device)
        works: dict[str, Callable[[], object]] = {"ours": ours, "plain": plain, "matrices": lambda: product(device)}
        times: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(REPEATS + 1):
            for name, work in works.items():
                start = time.perf_counter()
                work()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if turn:  # the first is for warming up
                    times[name].append(time.perf_counter() - start)
    speed = len(pictures) / median(times["ours"])
    matrices = median(2 * SIDE**3 / took for took in times["matrices"])
    per_picture = operations(config.batch_size)
    note = f"32x32, {config.batch_size} a batch, crops and flips, {torch.get_num_threads()} threads"
    yield Row("photo network, training loop", speed, "images/s", note)
    yield Row("photo network, matrix products in bfloat16", matrices / 1e9, "GFLOP/s", f"{SIDE} x {SIDE}")
    yield Row(
        "photo network, share of that rate",
        100 * speed * per_picture / matrices,
        "%",
        f"{per_picture / 1e6:.0f} M operations a picture, there and back",
    )
    ratio = median(slow / fast for slow, fast in zip(times["plain"], times["ours"], strict=True))
    yield Row("photo network, over the plainest PyTorch loop", ratio, "x", f"DataLoader, {WORKERS} workers, float32")


def loop(pictures: object, device: torch.device) -> Callable[[], object]:
    """One epoch of the package's own loop with the preset's recipe."""
    config = replace(preset("photo", "cifar100"), epochs=1, cutmix=0.0)
    model = photo_attention_net(100).to(device).to(memory_format=torch.channels_last)
    average = photo_attention_net(100).to(device)
    batches = Batches(pictures, config.batch_size, crop=config.crop, flip=True, device=device, channels_last=True)
    optimiser = torch.optim.SGD(decay_groups(model, config), lr=1e-4, momentum=0.9, nesterov=True)

    def work() -> None:
        state = State(model, average, optimiser, torch.zeros(2, device=device))
        fit(state, batches, config, after_step=lambda: None, after_epoch=lambda: None)

    return work


def plain_loop(pictures: object, batch: int, device: torch.device) -> Callable[[], object]:
    """The loop of a first tutorial: a DataLoader with torchvision's transforms, one group, the loss read each step."""
    model: nn.Module = photo_attention_net(100).to(device)
    loader = DataLoader(
        Transformed(pictures), batch, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def work() -> None:
        model.train()
        for images, labels in loader:
            optimiser.zero_grad()
            loss = F.cross_entropy(model(images.to(device)), labels.to(device))
            loss.backward()
            optimiser.step()
            loss.item()

    return work


def product(device: torch.device) -> torch.Tensor:
    """One product of two large matrices in bfloat16: what the processor gives at its best."""
    a, b = (torch.ones(SIDE, SIDE, dtype=torch.bfloat16, device=device) for _ in range(2))
    return a @ b


def operations(batch: int) -> float:
    """Multiplications and additions a picture of one training step."""
    config = preset("photo", "cifar100")
    model, images = photo_attention_net(100), torch.randn(batch, 3, 32, 32)
    with FlopCounterMode(display=False) as counter, autocast(images.device, bfloat16=True):
        cross_entropy(model(images), [(torch.zeros(batch, dtype=torch.long), 1.0)], config).backward()
    return counter.get_total_flops() / batch
