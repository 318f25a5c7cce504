"""The recipe: the training loop on one page, and the six things it is made of.

SGD with weight decay on weights alone, a learning rate that follows from the step, pictures mixed by CutMix, a moving
average of the weights, bfloat16 where the hardware has it, and an evaluation that leaves the model as it was.
``training.train`` sets the loop up and keeps its results.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .._utils.seeding import generator
from ..data.batches import Batches
from .config import TrainConfig
from .state import Pairs, State, paired

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)
Wanted = list[tuple[Int64[Tensor, " b"], float]]  # labels and their share of the loss


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
            update_average(state.average, state.model, config.ema, step, pairs=state.pairs)
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
    return one_cycle(config.lr, step, config.epochs * steps_per_epoch, warmup=config.warmup)


def one_cycle(peak: float, step: int, steps: int, *, warmup: float) -> float:
    """The learning rate of a step (0 is the first) of ``steps``: a straight rise to ``peak`` over the share ``warmup``
    of them, then half a cosine to 0."""
    rise = warmup * steps
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))


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
def update_average(
    average: nn.Module, model: nn.Module, decay: float, step: int, *, pairs: Pairs | None = None
) -> None:
    """Exponential moving average of weights and buffers: m <- d m + (1 - d) w, in place, after step 0, 1, ...

    d = min(decay, (1 + step) / (10 + step)), so that the random start is forgotten soon. Integer buffers (counters)
    are copied. BatchNorm's running statistics are averaged too: those of the last steps do not fit averaged weights.
    ``pairs``: the tensors of both where they are known; to list them takes longer than to average them.
    """
    averages, tensors, copies, counters = paired(average, model) if pairs is None else pairs
    if averages:
        get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averages, tensors, 0)
    if copies:
        torch._foreach_copy_(copies, counters)


def autocast(device: torch.device, *, bfloat16: bool = False) -> torch.autocast:
    """bfloat16 for convolutions and matrix products: on GPUs that compute in it; on a CPU where asked for."""
    on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    enabled = on_gpu or (device.type == "cpu" and bfloat16)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
