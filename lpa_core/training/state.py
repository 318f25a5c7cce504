"""What changes while training, how it is written down, and how it is put back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._utils.checks import is_number, is_whole
from .._utils.seeding import random_state, set_random_state
from .context import Context


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

    @cached_property
    def pairs(self) -> "Pairs":
        """The tensors of ``average`` and ``model``, listed once, for they stay the same objects while training."""
        return paired(self.average, self.model)


class Pairs(NamedTuple):
    """The tensors of an average and of its model: what is averaged, and counters, which are copied."""

    averages: list[Tensor]
    tensors: list[Tensor]
    copies: list[Tensor]
    counters: list[Tensor]


def paired(average: nn.Module, model: nn.Module) -> Pairs:
    """The parameters and buffers of both, in one order; none where the model itself is kept."""
    found = Pairs([], [], [], [])
    if average is not model:
        ours, theirs = ([*module.parameters(), *module.buffers()] for module in (average, model))
        for one, other in zip(ours, theirs, strict=True):
            first = 0 if one.is_floating_point() else 2
            found[first].append(one)
            found[first + 1].append(other)
    return found


def snapshot(context: Context, state: State) -> dict[str, Any]:
    """Everything that ``restore`` needs, and what the checkpoint belongs to."""
    return {
        "config": context.info["config"],
        "data": context.info["data"],
        "model": state.model.state_dict(),
        "average": None if state.average is state.model else state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "totals": state.totals,
        "epoch": state.epoch,
        "batch": state.batch,
        "seconds": state.seconds,
        "history": state.history,
        "random": random_state(context.device),
    }


def check_snapshot(saved: Mapping[str, Any]) -> None:
    """Raise ValueError naming what of a loaded checkpoint is not as ``snapshot`` made it, tensors apart."""

    def must(holds: bool, what: str, value: object) -> None:
        if not holds:
            raise ValueError(f"checkpoint.pt does not fit this version of the code: {what}; got {str(value)[:200]}")

    kinds = {"config": dict, "data": dict, "model": dict, "optimiser": dict, "random": dict, "history": list}
    absent = {*kinds, "average", "totals", "epoch", "batch", "seconds"} - set(saved)
    must(not absent, f"{', '.join(sorted(absent))} missing", sorted(saved))
    for name, kind in kinds.items():
        must(isinstance(saved[name], kind), f"{name} must be a {kind.__name__}", saved[name])
    epoch, batch, seconds, history = (saved[name] for name in ("epoch", "batch", "seconds", "history"))
    epochs = saved["config"].get("epochs")
    must(is_whole(epochs, 1) and is_whole(epoch, 0, epochs + 1), f"epoch must be from 0 to {epochs}", epoch)
    must(is_whole(batch) and (epoch < epochs or not batch), "batch must be one of the epoch", batch)
    must(is_number(seconds) and 0 <= seconds < float("inf"), "seconds must be at least 0", seconds)
    numbers = [entry.get("epoch") if isinstance(entry, dict) else None for entry in history]
    must(numbers == [*range(1, epoch + 1)], f"history must be of epochs 1 to {epoch}", numbers)
    totals = saved["totals"]
    must(isinstance(totals, torch.Tensor) and totals.shape == (2,), "totals must be two numbers", totals)


def restore(context: Context, state: State, saved: dict[str, Any]) -> None:
    """The inverse of ``snapshot``. Raises: ValueError when the tensors do not fit (the code has changed)."""
    how = [{name: group[name] for name in ("foreach", "fused")} for group in state.optimiser.param_groups]
    try:
        state.model.load_state_dict(saved["model"])
        if state.average is not state.model:
            state.average.load_state_dict(saved["average"])
        state.optimiser.load_state_dict(saved["optimiser"])
        for group, own in zip(state.optimiser.param_groups, how, strict=True):
            group.update(own)  # they belong to the device, which may be another now
        state.totals.copy_(saved["totals"])
        state.epoch, state.batch, state.seconds = saved["epoch"], saved["batch"], saved["seconds"]
        state.history[:] = saved["history"]
        set_random_state(context.device, saved["random"])
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"checkpoint.pt does not fit this version of the code: {reason}") from error
