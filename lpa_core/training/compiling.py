"""model.compile() where it can be done; where it cannot, a warning in place of an error from deep inside."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)


def compiled(model: nn.Module, *, backend: str | Callable[..., Any] = "inductor") -> bool:
    """Compile ``model`` in place, so that the names of its weights stay; False, with a warning, where that cannot be.

    What this process compiled before is forgotten: PyTorch compiles a function for 8 networks and runs it eagerly for
    the ninth without a word, and all networks here share their functions.
    """
    if backend == "inductor" and (absent := _absent()):
        logger.warning("compile: %s is not installed here; the model runs uncompiled, and slower", absent)
        return False
    torch.compiler.reset()
    model.compile(backend=backend)
    return True


def _absent() -> str | None:
    """What inductor needs to make kernels for a GPU, and cannot find."""
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):  # for Triton's launchers
        return "a C compiler"
    return "Triton" if importlib.util.find_spec("triton") is None else None
