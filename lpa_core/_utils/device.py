"""The device that is meant by a name, or by none."""

import os

import torch


def as_device(device: str | torch.device) -> torch.device:
    """The device of this name, whether or not it is there. Raises: ValueError when it names none."""
    try:
        if isinstance(device, str | torch.device):
            return torch.device(device)
    except RuntimeError:
        pass
    raise _refused(device)


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device to train on: a GPU if there is one, by default. Raises: ValueError when it is not there."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = as_device(("cuda" if gpus else "cpu") if device is None else device)
    if found.type not in ("cpu", "cuda"):
        raise _refused(device)
    if found.type == "cpu":
        return found
    if not gpus:
        raise ValueError(f"device is {device!r}, but PyTorch finds no GPU here; use device='cpu'")
    if found.index is None:  # several processes under torchrun have one each
        found = torch.device("cuda", int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())))
    if found.index >= gpus:
        raise ValueError(f"device is {device!r}, but there are only {gpus} GPUs, from cuda:0")
    return found


def _refused(device: object) -> ValueError:
    return ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N'; got {device!r}")
