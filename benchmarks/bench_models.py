"""What attention costs: in the full network, beside the same layers in plain PyTorch, and on top of a ResNet-18.

Every figure is the median of ratios of two times taken in turns; on a CPU processor time, which other processes that
keep the machine busy do not lengthen as much.
"""

import copy
import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks import Row
from benchmarks.bench_train import FORMATS, attention_share, step
from lpa_core.models.adapt import attend_to
from lpa_core.models.builders import attention_vgg
from lpa_core.models.classifier import AttentionClassifier

ROUNDS = 5


def run() -> Iterator[Row]:
    gpu = torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    batch = 128 if gpu else 4
    for layout, memory in FORMATS.items():
        note = f"32x32, {batch} a batch, {layout}"
        ours = attention_vgg().to(device).to(memory_format=memory)
        plain = PlainAttentionVGG(ours).to(memory_format=memory)
        images = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=memory)
        same(ours, plain, images)
        ratio = in_turns(step(ours, images), step(plain, images), device)
        yield Row("attention_vgg: training step, ours / plain PyTorch", ratio, "", note)
        share = attention_share(ours, images, device)
        yield Row("attention_vgg: estimators in a training step", 100 * share / (1 + share), "%", note)
    batch = 64 if gpu else 4
    for layout, memory in FORMATS.items():
        note = f"224x224, {batch} a batch, {layout}"
        network = resnet18(num_classes=10).to(device).to(memory_format=memory)
        model = attend_to(network, num_classes=10).to(memory_format=memory)
        images = torch.randn(batch, 3, 224, 224, device=device).contiguous(memory_format=memory)
        ratio = in_turns(training_step(model, images), training_step(network, images), device)
        yield Row("attend_to(resnet18) over resnet18: training step", 100 * (ratio - 1), "%", note)
        ratio = in_turns(forward(model, images), forward(network, images), device)
        yield Row("attend_to(resnet18) over resnet18: forward", 100 * (ratio - 1), "%", note)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(one: Callable[[], object], other: Callable[[], object], device: torch.device) -> float:
    """Time of ``one`` over time of ``other``: the median over rounds, each of both, in alternating order."""
    seconds(one, device), seconds(other, device)
    ratios = []
    for number in range(ROUNDS):
        if number % 2:
            second = seconds(other, device)
            ratios.append(seconds(one, device) / second)
        else:
            first = seconds(one, device)
            ratios.append(first / seconds(other, device))
    return median(ratios)


def training_step(model: nn.Module, images: Tensor) -> Callable[[], object]:
    labels = torch.arange(len(images), device=images.device) % 10

    def work() -> None:
        model.train().zero_grad()
        F.cross_entropy(model(images), labels).backward()

    return work


def forward(model: nn.Module, images: Tensor) -> Callable[[], object]:
    def work() -> None:
        model.eval()
        with torch.no_grad():
            model(images)

    return work


class PlainAttentionVGG(nn.Module):
    """(VGG-att3)-concat-pc as one writes it down from the paper: l + g is stored, a 1x1 convolution scores it, ``bmm``.

    Its layers are copies of those of the network given; nothing of this package is called in ``forward``.
    """

    def __init__(self, network: AttentionClassifier) -> None:
        super().__init__()
        network = copy.deepcopy(network)
        self.num_classes = network.num_classes
        self.stages, self.tail = network.trunk.stages, network.trunk.tail
        self.pool = nn.MaxPool2d(2)
        self.project = network.estimators[0].project_global
        self.score = nn.ModuleList()
        for estimator in network.estimators:
            layer = nn.Conv2d(len(estimator.u), 1, 1).to(estimator.u.device)
            with torch.no_grad():
                layer.weight.copy_(estimator.u[None, :, None, None])
                layer.bias.copy_(estimator.bias)
            self.score.append(layer)
        self.prepare, self.head = network.prepare, network.classifiers[0]

    def forward(self, x: Tensor) -> Tensor:
        local = []
        for stage in self.stages:
            local.append(stage(x))
            x = self.pool(local[-1])
        g = self.tail(x)
        vectors = []
        for level, score in zip(local, self.score, strict=True):
            query = self.project(g) if level is local[0] else g
            weights = score(level + query[:, :, None, None]).flatten(2).softmax(dim=2)
            vectors.append(torch.bmm(level.flatten(2), weights.transpose(1, 2))[:, :, 0])
        return self.head(torch.cat([prepare(v) for prepare, v in zip(self.prepare, vectors, strict=True)], dim=1))


@torch.no_grad()
def same(ours: nn.Module, plain: nn.Module, images: Tensor) -> None:
    """Two networks that are timed against each other must compute the same."""
    torch.testing.assert_close(plain.eval()(images[:2]), ours.eval()(images[:2]), rtol=1e-3, atol=1e-3)
