"""The device that is meant by a name, by none, or by a model; and what a GPU is told about speed and exactness."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


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


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are. Pictures follow the model, and what is made of them comes back to them."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


@contextmanager
def tuned_convolutions() -> Iterator[None]:
    """Let cuDNN try its algorithms for each shape once and keep the fastest: batches have one shape here."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def true_float32() -> Iterator[None]:
    """float32 with its 24 bits on a GPU: TF32, PyTorch's default for convolutions, keeps 11 of them."""
    cudnn: Any = torch.backends.cudnn
    places: list[Any] = [cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]
    before = [place.fp32_precision for place in places]
    # Set by the old names, which set all that belongs together; put back by the new ones, of which each is one thing.
    cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before[0] == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = before[2] == "tf32"
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def _refused(device: object) -> ValueError:
    return ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N'; got {device!r}")
