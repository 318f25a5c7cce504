"""The recipe: the training loop on one page, and the six things it is made of.

SGD with weight decay on weights alone, a learning rate that follows from the step, pictures mixed by CutMix, a moving
average of the weights, bfloat16 where the hardware has it, and an evaluation that leaves the model as it was.
``training.train`` sets the loop up and keeps its results.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .chance import generator, stratified
from .data import DIGITS_N, Batches, ImageSet, load
from .presets import TrainConfig
from .trunks import evaluating

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)

Wanted = list[tuple[Int64[Tensor, " b"], float]]  # labels and their share of the loss


class Sets(NamedTuple):
    """The three parts of a data set; ``validation`` is None where everything is trained on."""

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


@dataclass
class State:
    """Everything that changes while training, and nothing else: what a checkpoint holds beside the random state."""

    model: nn.Module
    average: nn.Module  # what is evaluated and kept: the moving average of model, or model itself
    optimiser: torch.optim.Optimizer
    totals: Float[Tensor, "2"]  # loss and correct answers, summed over the pictures of this epoch, on the device
    epoch: int = 0  # epochs done
    batch: int = 0  # batches done of the epoch under way
    seconds: float = 0.0  # spent on those batches
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per epoch done
    parallel: nn.Module | None = None  # model as several processes share it (DistributedDataParallel)


def fit(
    state: State,
    batches: Batches,
    config: TrainConfig,
    *,
    after_step: Callable[[], None],
    after_epoch: Callable[[], None],
) -> None:
    """The training loop, from wherever ``state`` stands to the last epoch of ``config``.

    ``after_step()`` may save the state; ``after_epoch()`` evaluates, closes the epoch in it and saves it. Nothing in
    here waits for the device: losses are summed there and read once an epoch.
    """
    for epoch in range(state.epoch, config.epochs):
        state.model.train()
        for images, labels in batches.epoch(epoch, start=state.batch):
            step = epoch * len(batches) + state.batch
            for group in state.optimiser.param_groups:
                group["lr"] = learning_rate(config, step, len(batches))
            images, wanted = cutmix(images, labels, config, step)
            with autocast(images.device, bfloat16=config.bfloat16):
                logits = (state.parallel or state.model)(images)
            loss = cross_entropy(logits, wanted, config)
            state.optimiser.zero_grad()
            loss.backward()
            state.optimiser.step()
            update_average(state.average, state.model, config.ema, step)
            correct = (logits.detach().argmax(dim=1) == labels).sum()
            state.totals += torch.stack([loss.detach() * len(labels), correct])
            state.batch += 1
            after_step()
        after_epoch()


def cross_entropy(logits: Tensor, wanted: Wanted, config: TrainConfig) -> Float[Tensor, ""]:
    """The loss of a batch, in float32: that of each kind of labels times its share, with the config's smoothing."""
    smoothing = config.label_smoothing
    losses = [share * F.cross_entropy(logits.float(), labels, label_smoothing=smoothing) for labels, share in wanted]
    return torch.stack(losses).sum()


def cutmix(
    images: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"], config: TrainConfig, step: int
) -> tuple[Float[Tensor, "b c h w"], Wanted]:
    """In a share ``config.cutmix`` of the batches, put a box of the neighbour in the batch into every picture.

    The box is the same for the batch: its middle anywhere, its area a uniform share of the picture, cut at the edge.
    Returns the pictures and the labels with their shares of the loss: [(labels, 1 - s), (neighbours' labels, s)], where
    s is the part of the picture that the box really covers. Chance depends on (seed, step) alone, so a resumed run
    goes on as it would have.

    Source: Yun et al. (2019), CutMix, with the area drawn from Beta(1, 1) as theirs. Batches are in random order, so
    the neighbour does for a random partner.
    """
    if not config.cutmix:
        return images, [(labels, 1.0)]
    lot, area, row, column = torch.rand(4, generator=generator("cutmix", config.seed, step)).tolist()
    if lot >= config.cutmix:
        return images, [(labels, 1.0)]
    height, width = images.shape[2:]
    (top, bottom), (left, right) = (
        (min(max(round(size * (middle + side * area**0.5 / 2)), 0), size) for side in (-1, 1))
        for size, middle in ((height, row), (width, column))
    )
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, dims=0)[:, :, top:bottom, left:right]
    share = (bottom - top) * (right - left) / (height * width)
    return mixed, [(labels, 1 - share), (labels.roll(1), share)]


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step (0 is the first), from the step alone: nothing to save, nothing to get out of step.

    * ``"one_cycle"``: a straight rise to ``lr`` over the first ``warmup`` of all steps, then half a cosine to 0.
    * ``"halving"``: ``lr`` halved every 25 epochs and divided by 1 + 1e-7 * step (the authors' CIFAR recipe).
    * ``"constant"``: ``lr``.

    Source: one-cycle after Smith & Topin (2018), with a cosine; halving from the authors' code.
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "halving":
        return config.lr * 0.5 ** (step // steps_per_epoch // 25) / (1 + 1e-7 * step)
    steps = config.epochs * steps_per_epoch
    rise = config.warmup * steps
    if step < rise:
        return config.lr * (step + 1) / (rise + 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


def decay_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameter groups for the optimiser: weight decay on weights, none on normalisation layers, biases and scalars.

    With ``decay_all`` everything decays, as in the authors' recipe. The score vectors u are weights: they decay.
    """
    norms = {p for module in model.modules() if isinstance(module, NORMS) for p in module.parameters(recurse=False)}
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter in norms or parameter.ndim == 0 or name.rpartition(".")[2] == "bias"
        (free if plain and not config.decay_all else decayed).append(parameter)
    groups = [(decayed, config.weight_decay), (free, 0.0)]
    return [{"params": parameters, "weight_decay": decay} for parameters, decay in groups if parameters]


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of weights and buffers: m <- d m + (1 - d) w, in place, after step 0, 1, ...

    d = min(decay, (1 + step) / (10 + step)), so that the random start is forgotten soon. Integer buffers (counters)
    are copied. BatchNorm's running statistics are averaged too: those of the last steps do not fit averaged weights.
    """
    if average is model:
        return
    averages, tensors = ([*module.parameters(), *module.buffers()] for module in (average, model))
    pairs = [*zip(averages, tensors, strict=True)]
    old, new = ([pair[i] for pair in pairs if pair[0].is_floating_point()] for i in (0, 1))
    get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(old, new, 0)
    for a, tensor in pairs:
        if not a.is_floating_point():
            a.copy_(tensor)


def autocast(device: torch.device, *, bfloat16: bool = False) -> torch.autocast:
    """bfloat16 for convolutions and matrix products: on GPUs that compute in it; on a CPU where asked for."""
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    enabled = on_gpu or (device.type == "cpu" and bfloat16)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@torch.no_grad()
def evaluate(
    model: nn.Module, image_set: ImageSet, *, batch_size: int = 500, device: str | torch.device | None = None
) -> dict[str, Any]:
    """``{"accuracy", "loss", "n"}`` of ``model`` on ``image_set``: top-1, mean cross-entropy, number of pictures.

    In evaluation mode (each module's own mode is put back), and in float32 unless the caller is under ``autocast``.
    ``device`` moves the model there; by default it stays where it is.

    Raises: ValueError when the model has not one class per class of the set, or the set has two labels a picture.
    """
    check_labels(image_set)
    if device is not None:
        model.to(pick_device(device))
    device = next(model.parameters()).device
    batches = Batches(image_set, batch_size, shuffle=False, drop_last=False, device=device)
    totals = torch.zeros(2, device=device)
    with evaluating(model):
        for images, labels in batches:
            logits = model(images).float()
            if logits.shape[1] != len(image_set.classes):
                raise ValueError(
                    f"model has {logits.shape[1]} classes, {image_set.name} has {len(image_set.classes)}; "
                    f"evaluate it on the data it was trained for"
                )
            loss = F.cross_entropy(logits, labels, reduction="sum")
            totals += torch.stack([loss, (logits.argmax(dim=1) == labels).sum()])
    loss, correct = totals.tolist()
    return {"accuracy": correct / len(image_set), "loss": loss / len(image_set), "n": len(image_set)}


def load_sets(
    config: TrainConfig, *, root: str | Path | None = None, download: bool = True, size: int | None = None
) -> Sets:
    """The data of a config: nine tenths to train on and one held out for every choice, or with ``all`` all ten.

    ``size`` is for "folder:PATH", as in ``data.load``.

    Raises: as ``data.load``.
    """

    def part(split: str) -> ImageSet:
        if (
            config.data == "digits" and config.limit is not None and size is None
        ):  # made one by one: no need to make all of them
            return load("digits", split, n=min(config.limit, DIGITS_N[split]))
        found = load(config.data, split, root=root, download=download, size=size)
        if config.limit is None or config.limit >= len(found):
            return found
        return found.subset(torch.from_numpy(stratified(found.labels.numpy(), config.limit, key=0)))

    if config.all:
        return Sets(part("all"), None, part("test"))
    return Sets(part("train"), part("validation"), part("test"))


def check_sets(sets: Sets, config: TrainConfig) -> None:
    """Refuse sets that cannot be trained on together."""
    if (sets.validation is None) != config.all:
        wanted = "None, since all=True trains on everything" if config.all else "a set, unless all=True"
        raise ValueError(f"sets: validation must be {wanted}")
    for part in filter(None, sets):
        check_labels(part)
        if part.classes != sets.train.classes or part.images.shape[1:] != sets.train.images.shape[1:]:
            raise ValueError(
                f"sets: all must have the classes and the picture shape of the {sets.train.split} set "
                f"({len(sets.train.classes)}, {tuple(sets.train.images.shape[1:])}); the {part.split} set has "
                f"{len(part.classes)} and {tuple(part.images.shape[1:])}, or other class names"
            )


def check_labels(image_set: ImageSet) -> None:
    """Raise ValueError unless ``image_set`` has one label a picture."""
    if image_set.labels.ndim != 1:
        raise ValueError(
            f"{image_set.name} ({image_set.split}) has {image_set.labels.shape[1]} labels a picture; training and "
            f"evaluation need one"
        )


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device that is meant: a GPU if there is one, by default. Raises: ValueError when it is not there."""
    if device is None or (isinstance(device, str) and device == "cuda" and torch.cuda.is_available()):
        own = int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())) if torch.cuda.is_available() else 0
        device = f"cuda:{own}" if torch.cuda.is_available() else "cpu"
    if not isinstance(device, str | torch.device):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N'; got {device!r}")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N'; got {device!r}") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N'; got {device!r}")
    if found.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device is {device!r}, but PyTorch finds no GPU here; use device='cpu'")
        found = torch.device("cuda", torch.cuda.current_device() if found.index is None else found.index)
        if found.index >= torch.cuda.device_count():
            raise ValueError(f"device is {device!r}, but there are only {torch.cuda.device_count()} GPUs, from cuda:0")
    return found
