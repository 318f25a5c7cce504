"""What a run works with from its first step to its last, in one object."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from .._utils import provenance
from .checkpoint import FORMAT, RunFolder
from .config import TrainConfig
from .frozen import FrozenFeatures
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
    frozen: FrozenFeatures | None = None

    @property
    def shown(self) -> Sets:
        """What the model is shown: the sets, or tickets for the maps of a frozen backbone."""
        return self.sets if self.frozen is None else self.frozen.sets

    def tell(self, moment: Moment, epoch: int, batch: int = 0) -> None:
        """Say where the run is, to whoever listens."""
        if self.on_event is not None:
            self.on_event(moment, epoch, batch)


def run_info(config: TrainConfig, sets: Sets, device: torch.device, command: str | None) -> dict[str, Any]:
    """What run.json says at the start."""
    counts = {name: 0 if part is None else len(part) for name, part in sets._asdict().items()}
    return {
        "format": FORMAT,
        "finished": False,
        "config": config.to_dict(),
        "command": command,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device_name(device),  # every device that the run was on
        "threads": [torch.get_num_threads()],  # one entry per start, as in all lists here
        "devices": [provenance.device_name(device)],
        "compiled": [],
        "resumed": 0,
        "started": provenance.now(),
        "data": {"name": config.data, **counts, "checksums": [part.checksum for part in filter(None, sets)]},
        "parameters": None,
        "timings": None,
        "results": None,
    }
