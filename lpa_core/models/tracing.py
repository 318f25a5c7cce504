"""The modules of a network by name: what each gives, and the part of the network that leads to some of them.

The part is traced by torch.fx down to the wanted modules and no deeper: each block stays one call of the module that it
was, so its hooks, its mode and whatever its forward does stay too.
"""

import copy
import difflib
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from .._utils.checks import check_count
from .._utils.modes import evaluating

STANDARD_SIDE = 224  # of the pictures on which torchvision's classifiers were trained


class Node(NamedTuple):
    """What a module gave in a trial run on one picture: its shape without the batch, and how often it ran."""

    shape: tuple[int, ...]
    calls: int


def node_shapes(model: nn.Module, *, input_size: int | None = None) -> dict[str, tuple[int, ...]]:
    """Names and output shapes (without the batch) of the modules of ``model`` that give one tensor, in running order.

    For choosing nodes. ``input_size`` is the side of the square picture of the trial run; None for the model's own
    ``image_size`` if it has one, else 224. Nothing on the model changes.

    Raises: ValueError where the model cannot take such a picture.
    """
    return {name: node.shape for name, node in trial_run(model, input_side(model, input_size)).items() if name}


def input_side(model: nn.Module, asked: int | None = None) -> int:
    """``asked``, or the model's own ``image_size``, or 224. Raises: ValueError unless it is a whole number above 0."""
    if asked is None:
        own = getattr(model, "image_size", None)
        return own if isinstance(own, int) else STANDARD_SIDE
    check_count("input_size", asked)
    return asked


def first_channels(model: nn.Module) -> int:
    """Channels of the pictures that ``model`` takes, by its first convolution; 3 if it has none."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)


def _picture(model: nn.Module, side: int) -> Tensor:
    """A picture of noise, the same each time, on the device and in the precision of the model."""
    example = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    noise = torch.randn(1, first_channels(model), side, side, generator=torch.Generator().manual_seed(0))
    return noise.to(device=example.device, dtype=example.dtype)


def trial_run(model: nn.Module, side: int, keep: dict[str, Tensor] | None = None) -> dict[str, Node]:
    """What every module gives for one picture, in running order; the model itself under the name "".

    Copies of the outputs of the modules named in ``keep`` are written into it. No hook and no mode remains.

    Raises: ValueError where the model cannot take the picture.
    """
    table: dict[str, Node] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim > 1:
            table[name] = Node(tuple(output.shape[1:]), table[name].calls + 1 if name in table else 1)
            if keep is not None and name in keep:
                keep[name] = output.clone()  # what follows may overwrite it

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in model.named_modules()
    ]
    picture = _picture(model, side)
    try:
        with torch.no_grad(), evaluating(model):
            model(picture)
    except Exception as error:
        shape, place = tuple(picture.shape[1:]), _place(error)
        raise ValueError(
            f"{type(model).__name__} must run on a picture of noise, {shape}, to show its modules; it raised "
            f"{type(error).__name__}{place}: {error}. If it takes pictures of another size, give input_size"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return table


def _place(error: BaseException) -> str:
    """Where an error was raised: the last line outside of torch, which is the user's own forward."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "torch" not in Path(frame.filename).parts]
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if len(frames) > 1 else ""


def listing(table: Mapping[str, Node]) -> str:
    """The nodes that errors show: maps with several positions, and tokens, that stand high in the model."""
    high = [name for name, node in table.items() if name and name.count(".") < 2 and len(node.shape) > 1]
    several = [name for name in high if table[name].shape[1:] != (1, 1)]
    shown = ", ".join(f"{name} {'x'.join(map(str, table[name].shape))}" for name in several[-24:])
    return f"there are {shown or 'none'} (node_shapes lists all)"


def not_found(name: str, table: Mapping[str, Node]) -> str:
    """The end of an error about a node: what was got, what is close to it, what there is."""
    close = difflib.get_close_matches(name, [n for n in table if n and n != name], n=3)
    hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
    return f"got {name!r}{hint}; {listing(table)}"


class _ShallowTracer(fx.Tracer):
    """Traces only into the modules that hold a wanted node; every other module stays one call."""

    def __init__(self, wanted: Sequence[str] = ()) -> None:  # torch.fx makes one without arguments when it unpickles
        super().__init__()
        self.wanted = set(wanted)
        self.holders = {name[:i] for name in wanted for i, letter in enumerate(name) if letter == "."}
        self.found: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.holders

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        name = self.path_of_module(m)
        if name in self.wanted and isinstance(output, fx.Proxy):
            self.found[name] = output.node
        return output


def _traced(model: nn.Module, wanted: Sequence[str], cloned: Collection[str] = ()) -> fx.GraphModule:
    """``model`` up to the wanted nodes, as a module that gives {node: output}; it shares the model's modules."""
    tracer = _ShallowTracer(wanted)
    try:
        graph = tracer.trace(model)
        outputs = {name: tracer.found[name] for name in wanted}
    except Exception as error:
        raise ValueError(
            f"model must be traceable by torch.fx down to its nodes {', '.join(wanted)}; {type(model).__name__} raised "
            f"{type(error).__name__}: {error}. Choose nodes less deep, or write a Trunk of your own"
        ) from error
    for node in [node for node in graph.nodes if node.op == "output"]:
        graph.erase_node(node)
    for name in cloned:
        with graph.inserting_after(outputs[name]):
            outputs[name] = graph.call_method("clone", (outputs[name],))
    graph.output(outputs)
    whole = fx.GraphModule(model, graph)
    whole.graph.eliminate_dead_code()
    return fx.GraphModule(model, whole.graph, type(model).__name__)  # holds only the modules still called


def part_of(model: nn.Module, wanted: Sequence[str], side: int, *, train_too: bool = True) -> fx.GraphModule:
    """A copy of the part of ``model`` that leads to the wanted nodes, proved to give what they give in the model.

    The rest of the model is left out, so every parameter of the part is in use. Where a node's output is overwritten in
    place by what follows (an ``inplace`` ReLU after a BatchNorm, say), it is cloned. ``train_too=False`` is for a part
    that stays in eval mode.

    Raises: ValueError where the model cannot be traced, takes another way to the nodes in train than in eval mode, or
        gives something else there than its part.
    """
    wanted = tuple(dict.fromkeys(wanted))
    true: dict[str, Tensor] = {name: torch.empty(0) for name in wanted}
    trial_run(model, side, keep=true)

    def differing(part: fx.GraphModule) -> list[str]:
        with torch.no_grad():
            given = part(_picture(model, side))
        return [name for name in wanted if not _agree(given[name], true[name])]

    with evaluating(model):
        part = _traced(model, wanted)
        if overwritten := differing(part):
            part = _traced(model, wanted, overwritten)
            if wrong := differing(part):
                raise ValueError(
                    f"nodes must give the same in a part of the model as in the whole; {', '.join(wrong)} of "
                    f"{type(model).__name__} do not: take the modules that hold them"
                )
        model.train(train_too)
        if train_too and _traced(model, wanted, overwritten).code != part.code:
            holders = [name.rpartition(".")[0] for name in wanted if "." in name]
            whole = f", or take nodes that hold it and run whole ({', '.join(dict.fromkeys(holders))})"
            raise ValueError(
                f"model must take the same way to its nodes in train and eval mode; the forward of "
                f"{type(model).__name__} depends on `training` there: put that step (dropout, say) into a module"
                f"{whole if holders else ''}, or freeze the backbone, which then stays in eval mode"
            )
    return copy.deepcopy(part)


def _agree(one: Tensor, other: Tensor) -> bool:
    """Equal up to the freedom that a GPU takes; on the meta device there is nothing to compare."""
    return one.is_meta or torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()), equal_nan=True)
