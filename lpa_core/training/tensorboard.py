"""The numbers of a run for TensorBoard. It is no requirement of this package: it is imported when it is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn


def scalars(folder: str | Path) -> Callable[[dict[str, Any], nn.Module], None]:
    """An ``on_epoch`` for ``train`` that writes every number of an epoch to ``folder``, at its epoch.

    Raises: ImportError when TensorBoard is not installed, before anything is written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f"tensorboard: to write to {folder} the package tensorboard is needed, and it is not installed; "
            f"pip install tensorboard, or leave --tensorboard out (history.jsonl has the same numbers)"
        ) from error
    writer = SummaryWriter(str(folder))

    def write(entry: dict[str, Any], model: nn.Module) -> None:
        for name, value in entry.items():
            if name != "epoch" and value is not None:
                writer.add_scalar(name, value, entry["epoch"])
        writer.flush()

    return write
