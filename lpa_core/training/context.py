"""What a run works with from its first step to its last, in one object."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from .checkpoint import RunFolder
from .config import TrainConfig
from .processes import Ranks
from .sets import Sets

Moment = Literal["begin", "step", "epoch", "validation", "checkpoint", "test"]
OnEpoch = Callable[[dict[str, Any], nn.Module], None]
OnEvent = Callable[[Moment, int, int], None]


@dataclass(frozen=True)
class Context:
    """Everything about a run that stays; what changes is the ``State``."""

    config: TrainConfig
    sets: Sets
    device: torch.device
    folder: RunFolder
    ranks: Ranks
    info: dict[str, Any]  # what run.json says
    checkpoint_seconds: float = math.inf
    until: float = math.inf  # when to stop, on the clock of time.perf_counter
    progress: bool = False
    on_epoch: OnEpoch | None = None
    on_event: OnEvent | None = None

    def tell(self, moment: Moment, epoch: int, batch: int = 0) -> None:
        """Say where the run is, to whoever listens."""
        if self.on_event is not None:
            self.on_event(moment, epoch, batch)
