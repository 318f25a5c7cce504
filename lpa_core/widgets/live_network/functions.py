"""From torch's functions to the steps of a page: what each call means, or why a page cannot run it.

Each function here is called as torch's own was. It gives a ``Step``; or ``"same"`` where the numbers stay as they are;
or, as other text, what is refused ("" for the whole function).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass
class Step:
    """``do`` something with earlier values: 0 is the picture, i the result of step i. ``numbers`` were learned."""

    do: str
    of: tuple[int, ...]
    numbers: dict[str, Tensor] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def _pair(value: Any) -> list[int]:
    return [int(value)] * 2 if isinstance(value, int) else [int(v) for v in value] * (2 if len(value) == 1 else 1)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Step | str:
    if isinstance(padding, str):
        return f"padding={padding!r}"
    numbers = {"weight": weight.detach(), "bias": weight.new_zeros(len(weight)) if bias is None else bias.detach()}
    options = {"stride": _pair(stride), "padding": _pair(padding), "dilation": _pair(dilation), "groups": groups}
    return Step("conv", (), numbers, {**options, "edge": "zeros"})


def _batch_norm(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Step | str:
    if mean is None or variance is None:
        return "BatchNorm without running statistics"
    scale = (1 if weight is None else weight.detach().double()) / (variance.double() + eps).sqrt()
    shift = (0 if bias is None else bias.detach().double()) - mean.double() * scale
    return Step("scale", (), {"scale": scale, "shift": shift})


def _pad(x: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Step | str:
    if not any(pad):
        return "same"
    left, right, top, bottom = pad if len(pad) == 4 else (None, 0, 0, 0)
    if mode not in ("replicate", "constant") or value or left != right or top != bottom or not left or left < 0:
        return f"padding {tuple(pad)} of mode {mode!r}"
    return Step("pad", (), {}, {"padding": [top, left], "edge": "zeros" if mode == "constant" else mode})


def _pool(kind: str, size: Any, stride: Any, padding: Any, others: bool) -> Step | str:
    if others:
        return f"{kind} pooling with dilation, ceil_mode, or another divisor than the size of its window"
    sizes = {"size": _pair(size), "stride": _pair(size if stride is None else stride), "padding": _pair(padding)}
    return Step(kind, (), {}, sizes)


def _max(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Step | str:
    return _pool("max", kernel_size, stride, padding, ceil_mode or _pair(dilation) != [1, 1])


def _avg(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Step | str:
    padded = _pair(padding) != [0, 0] and not count_include_pad
    return _pool("avg", kernel_size, stride, padding, ceil_mode or padded or divisor_override is not None)


def _adaptive(kind: str) -> Callable[..., Step | str]:
    def pool(x: Tensor, output_size: Any, return_indices: bool = False) -> Step | str:
        size = [output_size] * 2 if isinstance(output_size, int | None) else list(output_size)
        if None in size:
            return f"adaptive pooling to {tuple(size)}"
        return Step(f"adaptive_{kind}", (), {}, {"size": size})

    return pool


def _mean(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Step | str:
    axes = sorted(d % x.ndim for d in ([dim] if isinstance(dim, int) else dim or ()))
    return Step("adaptive_avg", (), {}, {"size": [1, 1]}) if x.ndim == 4 and axes == [2, 3] else "mean"


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Step | str:
    if x.ndim != 2:
        return "a linear layer on a map"
    numbers = {"weight": weight.detach(), "bias": weight.new_zeros(len(weight)) if bias is None else bias.detach()}
    return Step("linear", (), numbers)


def _flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> str:
    return "same" if start_dim == 1 and end_dim in (-1, x.ndim - 1) else "flatten"


def _gelu(x: Tensor, approximate: str = "none") -> Step | str:
    return Step("act", (), {}, {"act": "gelu"}) if approximate == "none" else f"GELU with approximate={approximate!r}"


def _add(x: Any, y: Any, *, alpha: float = 1) -> Step | str:
    same = isinstance(x, Tensor) and isinstance(y, Tensor) and x.shape == y.shape and alpha == 1
    return Step("add", ()) if same else "a sum of different shapes"


def _cat(tensors: Any, dim: int = 0) -> Step | str:
    return Step("concat", ()) if dim == 1 else f"concatenation along axis {dim}"


def _act(name: str) -> Callable[..., Step | str]:
    return lambda x, inplace=False: Step("act", (), {}, {"act": name})


def _hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Step | str:
    return Step("act", (), {}, {"act": "relu6"}) if (min_val, max_val) == (0, 6) else f"hardtanh from {min_val}"


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> str:
    return "dropout in training mode" if training else "same"


def _same(*_: Any, **__: Any) -> str:
    return "same"


def unknown(*_: Any, **__: Any) -> str:
    return ""


STEPS: dict[Any, Callable[..., Step | str]] = {
    torch.conv2d: _conv,
    functional.batch_norm: _batch_norm,
    functional.pad: _pad,
    functional.max_pool2d: _max,
    functional.avg_pool2d: _avg,
    functional.adaptive_avg_pool2d: _adaptive("avg"),
    functional.adaptive_max_pool2d: _adaptive("max"),
    functional.linear: _linear,
    functional.gelu: _gelu,
    functional.relu: _act("relu"),
    torch.relu: _act("relu"),
    torch.relu_: _act("relu"),
    Tensor.relu: _act("relu"),
    Tensor.relu_: _act("relu"),
    functional.silu: _act("silu"),
    functional.hardtanh: _hardtanh,  # what ReLU6 calls
    functional.dropout: _dropout,
    functional.dropout2d: _dropout,
    torch.flatten: _flatten,
    Tensor.flatten: _flatten,
    torch.mean: _mean,
    Tensor.mean: _mean,
    torch.add: _add,
    Tensor.add: _add,
    Tensor.add_: _add,
    Tensor.__add__: _add,
    Tensor.__iadd__: _add,
    torch.cat: _cat,
    Tensor.contiguous: _same,
    Tensor.clone: _same,
    Tensor.to: _same,
}
