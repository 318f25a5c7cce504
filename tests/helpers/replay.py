"""What a page's steps compute, in PyTorch: the reference of its script. For tests only."""

import numpy as np
import torch
from torch.nn import functional

from lpa_core.attention import attend, dot_scores, parametrised_scores, uniform_scores

ACTIVATIONS = {
    None: lambda x: x,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "gelu": functional.gelu,
    "silu": functional.silu,
}


def rounded(step):
    """The numbers of a step as a page of half precision has them."""
    # By numpy: torch goes from float64 to float16 by way of float32, and rounds twice.
    halves = {name: tensor.double().numpy().astype(np.float16) for name, tensor in step.numbers.items()}
    return {name: torch.from_numpy(half) for name, half in halves.items()}


def replay(steps, images, numbers=lambda step: step.numbers):
    """(logits, maps of every level) for pictures that are normalised; in their precision."""
    values, maps = [images], []
    for step in steps:
        learned = {name: tensor.to(images.dtype) for name, tensor in numbers(step).items()}
        inputs = [values[i] for i in step.of]
        if step.do == "attend":
            attended = _attend(step.options["compatibility"], learned, *inputs)
            maps.append(attended.weights)
            vector = attended.vector
            values.append(vector if "P" not in learned else vector @ learned["P"].T)
        else:
            out = _layer(step, learned, inputs)
            values.append(ACTIVATIONS[step.options.get("act")](out))
    return values[-1], maps


def _layer(step, learned, inputs):
    x, options = inputs[0], step.options
    if step.do == "conv":
        top, left = options["padding"]
        mode = "replicate" if options["edge"] == "replicate" else "constant"
        padded = functional.pad(x, (left, left, top, top), mode=mode)
        how = {name: options[name] for name in ("stride", "dilation", "groups")}
        return functional.conv2d(padded, learned["weight"], learned["bias"], **how)
    if step.do == "linear":
        return functional.linear(x.flatten(1), learned["weight"], learned["bias"])
    if step.do == "scale":
        shape = (-1, *[1] * (x.ndim - 2))
        return x * learned["scale"].view(shape) + learned["shift"].view(shape)
    if step.do in ("max", "avg"):
        pool = functional.max_pool2d if step.do == "max" else functional.avg_pool2d
        return pool(x, options["size"], options["stride"], options["padding"])
    if step.do in ("adaptive_max", "adaptive_avg"):
        name = {"adaptive_max": "adaptive_max_pool2d", "adaptive_avg": "adaptive_avg_pool2d"}[step.do]
        out = getattr(functional, name)(x, options["size"])
        return out.flatten(1) if options["size"] == [1, 1] else out
    return {"act": lambda: x, "add": lambda: sum(inputs), "concat": lambda: torch.cat(inputs, 1)}[step.do]()


def _attend(kind, learned, local, g=None):
    if kind == "uniform":
        return attend(local, uniform_scores(local))
    query = learned["u"] if kind == "pc" else g
    if "P" in learned:
        query = query @ learned["P"]
    if kind.endswith("dp"):
        return attend(local, dot_scores(local, query / len(g[0]) ** 0.5 if kind == "scaled_dp" else query))
    constant = learned["bias"] + (0 if g is None else g @ learned["u"])
    return attend(local, parametrised_scores(local, None, query) + constant.view(-1, 1, 1))
