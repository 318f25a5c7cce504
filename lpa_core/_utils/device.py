"""The device that is meant by a name, or by none."""

import os

import torch


def as_device(device: str | torch.device) -> torch.device:
    try:
        if isinstance(device, str | torch.device):
            return torch.device(device)
    except RuntimeError:
        pass
    raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N'; got {device!r}")


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
