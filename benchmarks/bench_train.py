"""How fast networks run and train, in both memory formats, and what the attention costs beside its trunk."""

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import Row
from lpa_core.classifier import AttentionClassifier
from lpa_core.models import attention_vgg, small_attention_net
from lpa_core.presets import TrainConfig
from lpa_core.recipe import autocast, decay_groups

REPEATS = 3
RECIPE = TrainConfig(data="noise", model={"builder": "attention_vgg"}, epochs=1, batch_size=2, lr=0.01)
FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def run() -> Iterator[Row]:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    cases: list[tuple[str, Callable[[], AttentionClassifier], int, int]] = [
        ("small_attention_net", small_attention_net, 40, 512 if gpu else 64),
        ("attention_vgg, width 1/8", lambda: attention_vgg(width=0.125, dropout=0.0), 32, 512 if gpu else 64),
        ("attention_vgg, full width", attention_vgg, 32, 128 if gpu else 8),
    ]
    for name, build, size, batch in cases:
        for layout, memory in FORMATS.items():
            model = build().to(device).to(memory_format=memory)
            images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=memory)
            note = f"{size}x{size}, {batch} a batch, {layout}"
            yield Row(f"{name}: forward", rate(forward(model, images), batch, device), "images/s", note)
            yield Row(f"{name}: training step", rate(step(model, images), batch, device), "images/s", note)
        share = attention_share(model, images, device)
        yield Row(f"{name}: attention beside its trunk", 100 * share, "%", f"forward and backward, {note}")


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rate(work: Callable[[], object], pictures: int, device: torch.device) -> float:
    """Pictures a second, the best of several times after an untimed one."""
    seconds(work, device)
    return pictures / min(seconds(work, device) for _ in range(REPEATS))


def forward(model: AttentionClassifier, images: Tensor) -> Callable[[], object]:
    def work() -> None:
        model.eval()
        with torch.no_grad(), autocast(images.device):
            model(images)

    return work


def step(model: AttentionClassifier, images: Tensor) -> Callable[[], object]:
    """Forward, backward and optimiser, as in ``recipe.fit``."""
    labels = torch.arange(len(images), device=images.device) % model.num_classes
    groups = decay_groups(model, RECIPE)
    optimiser = torch.optim.SGD(groups, lr=1e-4, momentum=0.9, nesterov=True, fused=images.is_cuda)

    def work() -> None:
        model.train()
        with autocast(images.device):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return work


def attention_share(model: AttentionClassifier, images: Tensor, device: torch.device) -> float:
    """Time of the estimators over time of the trunk, forward and backward, taken in turns: the median ratio."""
    model.train()
    with autocast(device):
        features = model.trunk(images)
    local = [level.detach().requires_grad_() for level in features.local]
    g = None if features.g is None else features.g.detach().requires_grad_()
    outputs = [*features.local, *([] if features.g is None else [features.g])]
    gradients = [torch.randn_like(output) for output in outputs]

    def trunk() -> None:
        with autocast(device):
            found = model.trunk(images)
        torch.autograd.backward([*found.local, *([] if found.g is None else [found.g])], gradients)

    def attention() -> None:
        with autocast(device):
            vectors = [estimate(level, g).vector for estimate, level in zip(model.estimators, local, strict=True)]
        torch.autograd.backward([vector.sum() for vector in vectors])

    seconds(trunk, device), seconds(attention, device)
    return median(seconds(attention, device) / seconds(trunk, device) for _ in range(2 * REPEATS + 1))
