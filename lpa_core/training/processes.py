"""Several processes as one: data-parallel training under ``torchrun``, on one machine.

``torchrun --nproc-per-node 8 -m lpa_core train …``: every process takes its part of each batch, so the recipe is that
of one process. Checkpoint, results and progress are the main process's, rank 0.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; alone, the first of one."""

    rank: int = 0
    size: int = 1

    def shared(self, value: Any) -> Any:
        """What the main process has, in all of them."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def summed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, over NCCL on GPUs and gloo on CPUs; alone, do nothing."""
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield Ranks()
        return
    on_gpu = device.type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
