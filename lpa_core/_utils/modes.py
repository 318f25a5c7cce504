"""A model in evaluation mode for a while; afterwards every module is in the mode that it was in."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in eval mode; afterwards every module is in the mode that it was in, frozen parts included."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        if any(mode for _, mode in modes):
            model.eval()
        yield
    finally:
        for module, mode in modes:  # parents first: train() passes the mode down, then the exceptions follow
            if module.training != mode:
                module.train(mode)  # not the flag alone: a module may fold its weights for eval, and unfold them here
        for module, mode in modes:
            if module.training != mode:  # where train() would not have it, as in a part that stays frozen
                module.training = mode


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[nn.Module]:
    """Give ``model`` in eval mode with gradients on; afterwards every training flag is what it was.

    A model compiled by ``torch.compile`` or ``model.compile()`` runs uncompiled meanwhile: a traced network does not
    see hooks that are added later, and would answer wrongly without a word. The caller may be under ``torch.no_grad``
    or ``torch.inference_mode``. The weights are the model's own, nothing is copied.

    Raises: TypeError unless ``model`` is an ``nn.Module``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__name__}")
    network: nn.Module = getattr(model, "_orig_mod", model)
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # not imported: nothing can be compiled, and importing it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(evaluating(network))
        yield network
