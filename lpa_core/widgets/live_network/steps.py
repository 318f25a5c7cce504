"""What a network does with a picture, as a list of plain steps: what a page's script can follow.

The network is watched while it looks at one picture, so whatever way its layers are written, what counts is what is
computed. ``engine.js`` beside this file follows the same list.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..._utils.modes import evaluating
from ...attention import AttentionEstimator
from ...models.classifier import AttentionClassifier
from .folding import folded
from .functions import STEPS, Step, unknown

CAN_RUN = (
    "It can run 2-d convolutions (padded with zeros or with the pixels at the edge), BatchNorm, ReLU, GELU, SiLU, "
    "pooling, linear layers, sums, and softmax attention of the kinds pc, dp and uniform, combined by 'concat'"
)


def steps_of(model: AttentionClassifier, size: tuple[int, int]) -> list[Step]:
    """The steps of ``model`` for pictures like one of ``size``, the last of which gives the logits.

    BatchNorm is folded into the convolution before it where that one feeds nothing else: W x + b, then scale and
    shift, is (scale W) x + (scale b + shift). Activations become part of the step before them. The model
    stays as it is.

    Raises: ValueError naming every layer and option that a page cannot run.
    """
    watch = _Watch(model)
    parameter = next(model.parameters())
    picture = torch.zeros(1, model.trunk.in_channels, *size, device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad(), evaluating(model):
        watch.known[id(watch.keep(picture))] = 0
        with watch.watching():
            features = model.trunk(picture)
        vectors = []
        for name, local, estimator in zip(_names(model), features.local, model.estimators, strict=False):
            vectors.append(watch.attend(name, estimator, local, features.g))
        if model.combine != "concat":
            watch.refuse(f"combine={model.combine!r}")
        elif vectors:
            with watch.watching():
                model.classify(vectors)
    if not model.estimators:
        watch.refuse("a network without attention")
    if watch.refused:
        named = ", ".join(what + where for what, where in watch.refused.items())
        raise ValueError(f"model holds what a page cannot run: {named}. {CAN_RUN}")
    return folded(watch.steps)


def _names(model: AttentionClassifier) -> list[str]:
    return [f"estimators.{level}" for level in range(len(model.estimators))]


class _Watch(TorchFunctionMode):
    """Notes every torch function that gives a tensor made from the picture."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.steps, self.refused = model, list[Step](), dict[str, str]()
        self.known: dict[int, int] = {}  # id of a tensor -> the step that gave it
        self.alive: list[Tensor] = []  # so that no id is given twice
        self.inside: list[str] = []  # the modules that run now

    def keep(self, tensor: Tensor) -> Tensor:
        self.alive.append(tensor)
        return tensor

    def watching(self) -> "_Watching":
        return _Watching(self)

    def refuse(self, what: str) -> None:
        """``what`` cannot be run; where it stands is said of the first place alone."""
        inside = f" in {self.inside[-1]}" if self.inside else ""
        self.refused.setdefault(what, inside)

    def add(self, step: Step, out: Tensor) -> None:
        self.steps.append(step)
        self.known[id(self.keep(out))] = len(self.steps)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [*_tensors(args), *_tensors(tuple((kwargs or {}).values()))]
        of = tuple(self.known[id(t)] for t in tensors if id(t) in self.known)
        if isinstance(out, Tensor) and of:
            made = STEPS.get(func, unknown)(*args, **(kwargs or {}))
            if made == "same":
                self.known[id(self.keep(out))] = of[0]
                return out
            if isinstance(made, str):
                self.refuse(made or self.name(func))
                made = Step("unknown", ())
            made.of = of
            self.add(made, out)
        return out

    def name(self, func: Any) -> str:
        """The layer that called ``func``, where it is one; else the function."""
        module = self.model.get_submodule(self.inside[-1]) if self.inside else self.model
        leaf = type(module).__module__.startswith("torch.nn")
        return type(module).__name__ if leaf else str(getattr(func, "__name__", func))

    def attend(self, name: str, estimator: nn.Module, local: Tensor, g: Tensor | None) -> Tensor:
        """The step of one level's attention; what makes its g comes before it."""
        assert isinstance(estimator, AttentionEstimator)
        self.inside.append(name)
        kind = estimator.compatibility
        if kind == "additive" or estimator.normalise != "softmax":
            self.refuse(f"attention with compatibility={kind!r} and normalise={estimator.normalise!r}")
        self.inside.pop()
        numbers: dict[str, Tensor] = {}
        if kind == "pc":
            numbers |= {"u": estimator.u.detach(), "bias": estimator.bias.detach().reshape(1)}
        if estimator.project_local is not None:
            numbers["P"] = estimator.project_local.weight.detach()
        if not estimator.uses_g:
            g = None
        vector = estimator(local, g).vector  # not watched
        if g is not None and estimator.project_global is not None:
            with self.watching():
                g = estimator.project_global(g)
        of = tuple(self.known[id(value)] for value in (local, g) if value is not None)
        self.add(Step("attend", of, numbers, {"compatibility": kind}), vector)
        return vector


class _Watching:
    """While it lasts, functions are noted, and it is known which module calls them."""

    def __init__(self, watch: _Watch) -> None:
        self.watch = watch

    def __enter__(self) -> None:
        inside = self.watch.inside

        def enter(name: str) -> Callable[..., None]:
            return lambda *_: inside.append(name)

        self.hooks: list[Any] = []
        for name, module in self.watch.model.named_modules():
            self.hooks.append(module.register_forward_pre_hook(enter(name)))
            self.hooks.append(module.register_forward_hook(lambda *_: (inside.pop(), None)[1], always_call=True))
        TorchFunctionMode.__enter__(self.watch)

    def __exit__(self, *error: Any) -> None:
        TorchFunctionMode.__exit__(self.watch, *error)
        for hook in self.hooks:
            hook.remove()


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found
