"""How fast networks run and train, in both memory formats, and what the attention costs beside its trunk.

The full-width step stands beside the plainest PyTorch loop of the same network, and batches beside a DataLoader's, in
turns within one run: the ratios are what to read. Targets on a CPU: step at least 1, batches at least 6, the photo
network's loop at least 1.3 times the plain one and 60 % of the rate of matrix products.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks import Row, photo_network
from benchmarks.bench_data import BATCH, CROP, WORKERS, Transformed, count, noise
from lpa_core.data.batches import Batches
from lpa_core.models.builders import attention_vgg, small_attention_net
from lpa_core.models.classifier import AttentionClassifier
from lpa_core.training.config import TrainConfig
from lpa_core.training.loop import autocast, decay_groups

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
    yield from against_plain(device, 128 if gpu else 4)
    yield against_loader()
    yield from photo_network.rows(device)
    yield from costs(device)


class Plain(nn.Module):
    """The paper's att3-concat-pc as one would first write it: every layer by name, nothing shared, nothing folded."""

    def __init__(self, classes: int = 100) -> None:
        super().__init__()

        def stage(*layers: tuple[int, int, float]) -> nn.Sequential:
            blocks = []
            for i, o, drop in layers:
                blocks += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o, eps=1e-3), nn.ReLU(), nn.Dropout(drop)]
            return nn.Sequential(*blocks)

        self.first = stage(
            (3, 64, 0.3), (64, 64, 0), (64, 128, 0.4), (128, 128, 0), (128, 256, 0.4), (256, 256, 0.4), (256, 256, 0)
        )
        self.second = stage((256, 512, 0.4), (512, 512, 0.4), (512, 512, 0))
        self.third = stage((512, 512, 0.4), (512, 512, 0.4), (512, 512, 0))
        self.fourth, self.fifth = stage((512, 512, 0.4)), stage((512, 512, 0.4))
        self.to_g = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 512))
        self.project = nn.Sequential(nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 256))
        self.scores = nn.ModuleList(nn.Conv2d(channels, 1, 1) for channels in (256, 512, 512))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(channels), nn.ReLU(), nn.Dropout(0.5)) for channels in (256, 512, 512)
        )
        self.classify = nn.Linear(1280, classes)

    def forward(self, images: Tensor) -> Tensor:
        first = self.first(images)
        second = self.second(F.max_pool2d(first, 2))
        third = self.third(F.max_pool2d(second, 2))
        last = F.max_pool2d(self.fourth(F.max_pool2d(third, 2)), 2)
        g = self.to_g(F.max_pool2d(self.fifth(last), 2).flatten(1))
        vectors = []
        for local, to, score, head in zip(
            (first, second, third), (self.project(g), g, g), self.scores, self.heads, strict=True
        ):
            weights = score(local + to[:, :, None, None]).flatten(2).softmax(2)
            vectors.append(head((local.flatten(2) * weights).sum(2)))
        return self.classify(torch.cat(vectors, 1))


def plain_step(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """The loop of a first tutorial: one group of parameters, the loss read at every step."""
    labels = torch.arange(len(images), device=images.device) % 100
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def work() -> float:
        model.train()
        optimiser.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    return work


def against_plain(device: torch.device, batch: int) -> Iterator[Row]:
    """The full-width step in both memory formats over the plain one, in turns: plain seconds by ours."""
    plain = Plain().to(device)
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in attention_vgg().parameters())
    images = torch.randn(batch, 3, 32, 32, device=device)
    work = plain_step(plain, images)
    ours = {}
    for layout, memory in FORMATS.items():
        model = attention_vgg().to(device).to(memory_format=memory)
        ours[layout] = step(model, images.contiguous(memory_format=memory))
    times: dict[str, list[float]] = {layout: [] for layout in ours}
    for turn in range(REPEATS + 1):
        base = seconds(work, device)
        for layout, mine in ours.items():
            took = seconds(mine, device)
            if turn:  # the first is for warming up
                times[layout].append(base / took)
    for layout, ratios in times.items():
        yield Row(f"full-width step over a plain PyTorch loop, {layout}", median(ratios), "x", f"{batch} a batch")


def against_loader() -> Row:
    """Pictures a second of ``Batches`` over those of a DataLoader with torchvision's transforms, in turns."""
    pictures, cpu = noise(4000), torch.device("cpu")
    batches = Batches(pictures, BATCH, crop=CROP, flip=True)
    with torch.random.fork_rng():  # a DataLoader draws its seed from the global state
        loader = DataLoader(
            Transformed(pictures), BATCH, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
        )
        count(loader)  # the workers start
        count(batches)
        ratios = [seconds(lambda: count(loader), cpu) / seconds(lambda: count(batches), cpu) for _ in range(REPEATS)]
    return Row("batches over a DataLoader with torchvision", median(ratios), "x", f"32x32, {BATCH}, {WORKERS} workers")


def costs(device: torch.device) -> Iterator[Row]:
    """What a training step of ``attention_vgg`` costs against width, levels, batch and size of the picture."""
    usual = {"width": 0.125, "levels": 3, "batch": 32, "size": 32}
    changes = [("width", (0.0625, 0.125, 0.25)), ("levels", (1, 2)), ("batch", (8, 128)), ("size", (64,))]
    for name, values in changes:
        for value in values:
            case = {**usual, name: value}
            model = attention_vgg(width=case["width"], levels=int(case["levels"]), dropout=0.0)
            model.to(device).to(memory_format=torch.channels_last)
            batch, size = int(case["batch"]), int(case["size"])
            images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
            took = 1000 * batch / rate(step(model, images), batch, device) / batch
            yield Row(f"training step, {name} {value:g}", took, "ms/picture", "else width 1/8, 3 levels, 32 of 32x32")


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
