"""A GPU where there is none: tensors "on cuda:0" are tensors of the CPU in another class, which says it is there.

What CUDA refuses is refused: one operation on tensors of both devices, numpy, a generator of the CPU. What would make
the host wait for the device is counted. Every kernel runs on the CPU, so bits are the CPU's. For tests only: nothing
in here shows that a real GPU would work, only that the code keeps devices apart.

    with gpu() as waits:
        run = train(config, sets=sets)
    assert waits.total() == 0
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

THERE, HERE = torch.device("cuda", 0), torch.device("cpu")
NAME = "a pretended GPU"
PLACES = ("/lpa_core/", "/tests/", "/book/", "code cell")  # whose lines a wait is counted for
untouched = torch._C.DisableTorchFunctionSubclass


class OnGPU(torch.Tensor):
    """A tensor of the pretended device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return call(func, args, kwargs or {})


# What the host must wait for: its result is a number, or a shape that depends on numbers.
WAITS = {
    *(Tensor.item, Tensor.tolist, Tensor.__bool__, Tensor.__float__, Tensor.__int__, Tensor.__index__, Tensor.__repr__),
    *(Tensor.__format__, Tensor.__contains__, Tensor.nonzero, torch.nonzero, Tensor.masked_select, torch.masked_select),
    *(Tensor.unique, torch.unique, Tensor.equal, torch.equal, Tensor.allclose, torch.allclose, torch.bincount),
}
# Operations that may see tensors of both devices: they copy, or look at one of them only.
ACROSS = {Tensor.copy_, Tensor.to, Tensor.type_as, Tensor.set_, Tensor.__deepcopy__, Tensor.__reduce_ex__}
LIKE = {Tensor.expand_as, Tensor.view_as, Tensor.reshape_as, Tensor.new_tensor, Tensor.new_zeros, Tensor.new_ones}
ATTRIBUTES = ("__get__", "__set__", "__delete__")
current: list[Counter[str]] = []  # of the block that is under way
modes: list[str] = []  # what torch.cuda.set_sync_debug_mode was told, the last as it is now


def wait(what: str) -> None:
    """Count that the host waits, for the innermost line of ours; outside a block nobody asks."""
    if not current:
        return
    if modes and modes[-1] == "error":
        raise RuntimeError(f"called a synchronizing CUDA operation: {what}")
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path != __file__ and any(place in path for place in PLACES):
            current[-1][f"{what} in {path.rpartition('/')[2]}, {frame.f_code.co_name}"] += 1
            return
        frame = frame.f_back
    current[-1][f"{what} elsewhere"] += 1


def is_there(device: object) -> bool:
    """Does this name or object mean the pretended device?"""
    return isinstance(device, str | torch.device) and torch.device(device).type == "cuda"


def placed(value: Any, there: bool) -> Any:
    """``value`` with its tensors in the class of one device."""

    def one(x: Any) -> Any:
        if isinstance(x, Tensor) and isinstance(x, OnGPU) != there:
            with untouched():
                if there and type(x) is Tensor and x.grad_fn is not None:
                    x.__class__ = OnGPU  # the same object: as_subclass would put a node of its own into the graph
                    return x
                return x.as_subclass(OnGPU if there else Tensor)
        return x

    return tree_map(one, value)


def plainly(func: Any, args: Any, kwargs: Any) -> Any:
    with untouched():
        return func(*args, **kwargs)


def call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do what ``func`` does, as if the tensors of ``OnGPU`` were on a GPU."""
    name, first = getattr(func, "__name__", ""), args[0] if args else None
    there = isinstance(first, OnGPU)
    if func == Tensor.device.__get__:
        return THERE if there else plainly(func, args, kwargs)
    if func == Tensor.is_cuda.__get__ or func == Tensor.is_cpu.__get__:
        return there == (func == Tensor.is_cuda.__get__)
    if func is torch._has_compatible_shallow_copy_type:
        return isinstance(args[0], OnGPU) == isinstance(args[1], OnGPU) and plainly(func, args, kwargs)
    if func is Tensor.numpy or name in ("__array__", "__dlpack__"):
        if there:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")
        return plainly(func, args, kwargs)
    if func is Tensor.__deepcopy__:
        return deepcopied(*args)
    if func is Tensor.__reduce_ex__:  # in a file a tensor of the GPU is one that map_location brings to the CPU
        return plainly(func, (placed(first, False).detach(), *args[1:]), kwargs)
    if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
        return moved(func, args, kwargs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours, others = [x for x in tensors if isinstance(x, OnGPU)], [x for x in tensors if not isinstance(x, OnGPU)]
    if ours and func in WAITS:
        wait(name)
    if ours and func in (Tensor.__getitem__, Tensor.__setitem__):
        for index in tree_leaves(args[1]):
            if isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8):
                wait("boolean index")
            elif isinstance(index, Tensor) and not isinstance(index, OnGPU):
                wait("index from the CPU")
        others = [x for x in (first, *args[2:]) if isinstance(x, Tensor) and not isinstance(x, OnGPU)]
    if ours and others and func not in ACROSS | LIKE and name not in ATTRIBUTES:
        single = all(x.ndim == 0 for x in others) and name not in ("cat", "stack") and "foreach" not in name
        if not single:
            both = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
            raise RuntimeError(f"{both} ({name})")
    target = is_there(kwargs["device"]) if kwargs.get("device") is not None else bool(ours)
    generator = kwargs.get("generator")
    if target and generator is not None and generator.device.type == "cpu":
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' ({name})")
    if kwargs.get("device") is not None:
        if target and ours + others and name in ("as_tensor", "tensor") and others:
            wait("copy to the device")
        kwargs = {**kwargs, "device": HERE}
    if func is Tensor.copy_ and ours and others:
        wait("copy across")
    result = plainly(func, args, kwargs)
    if func is Tensor.set_ or (name in ATTRIBUTES and not isinstance(result, Tensor)):
        return result
    return placed(result, True) if target else result


def deepcopied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(tensor) not in memo:
        with untouched():
            copied = tensor.detach().clone(memory_format=torch.preserve_format).as_subclass(OnGPU)
            copied.requires_grad_(tensor.requires_grad)
            if getattr(tensor, "_is_param", False):
                copied._is_param = True
        memo[id(tensor)] = copied
    return memo[id(tensor)]


def moved(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
    """``to``, ``cpu`` and ``cuda``: a copy in the other class where the device changes."""
    tensor, *rest = args
    there = isinstance(tensor, OnGPU)
    target = there if func is Tensor.to else func is Tensor.cuda
    if func is Tensor.to:
        for wish in (*rest, *kwargs.values()):
            if isinstance(wish, Tensor):
                target = isinstance(wish, OnGPU)
            elif isinstance(wish, str | torch.device):
                target = is_there(wish)
        rest = [HERE if isinstance(wish, str | torch.device) else wish for wish in rest]
        kwargs = {key: HERE if isinstance(wish, str | torch.device) else wish for key, wish in kwargs.items()}
        result = plainly(func, (tensor, *rest), kwargs)
    else:
        result = tensor
    if there != target:
        wait("copy to the CPU" if there else "copy to the device")
        with untouched():
            result = result.clone() if result.data_ptr() == tensor.data_ptr() else result
    return placed(result, target)


class Everywhere(TorchFunctionMode):
    """Factories (``torch.zeros(2, device="cuda")``) have no tensor whose class could be asked: this sees them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        asked = [*args[1:], *kwargs.values()] if func is Tensor.to else [kwargs.get("device")]
        ours = any(isinstance(x, OnGPU) for x in tree_leaves((args, kwargs)))
        if ours or func is Tensor.cuda or any(is_there(wish) for wish in asked):
            return call(func, args, kwargs)
        return func(*args, **kwargs)


@contextmanager
def gpu(*, bfloat16: bool = True) -> Iterator[Counter[str]]:
    """One pretended GPU for the block; gives the waits of the host, by what and where."""
    chance, autocast = torch.Generator(), torch.autocast
    fakes: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_bf16_supported": lambda including_emulation=True: bfloat16,
        "get_device_name": lambda device=None: NAME,
        "get_rng_state": lambda device="cuda": chance.get_state(),
        "set_rng_state": lambda state, device="cuda": chance.set_state(state),
        "manual_seed": chance.manual_seed,
        "manual_seed_all": chance.manual_seed,
        "synchronize": lambda device=None: wait("synchronize"),
        "empty_cache": lambda: None,
        "is_current_stream_capturing": lambda: False,
        "_lazy_init": lambda: None,
        "get_device_properties": lambda device=None: SimpleNamespace(name=NAME, total_memory=2**30, major=9, minor=0),
        "reset_peak_memory_stats": lambda device=None: None,
        "max_memory_allocated": lambda device=None: 2**20,
        "set_sync_debug_mode": modes.append,
        "device": lambda device: nullcontext(),
    }

    def on_cpu(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        real(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    real, enabled = autocast.__init__, torch.is_autocast_enabled
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for name, fake in fakes.items():
            stack.enter_context(patch.object(torch.cuda, name, fake))
        stack.enter_context(patch.object(autocast, "__init__", on_cpu))
        stack.enter_context(
            patch.object(torch, "is_autocast_enabled", lambda kind="cuda": enabled("cpu" if kind == "cuda" else kind))
        )
        # Adam asks the accelerator whether a CUDA graph is being captured: there is none to ask.
        health = "_accelerator_graph_capture_health_check"
        stack.enter_context(patch.object(torch.optim.Optimizer, health, lambda self: None))
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(torch.compiler.set_stance("force_eager"))  # dynamo does not trace tensors of other classes
        current.append(Counter())
        stack.callback(current.pop)
        stack.callback(modes.clear)
        stack.enter_context(Everywhere())
        yield current[-1]
