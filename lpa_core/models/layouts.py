"""How what a module gives is read as a map: channels first, channels last, or tokens in rows.

A layout is read off the shape alone, beside the size of the picture: a map has the picture's proportions. ``MapOf`` is
the module that turns such an output into a map (b, c, h, w).
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

MOST_EXTRA_TOKENS = 5  # a class token and four registers: what may stand before the tokens of the patches


class Layout(NamedTuple):
    """Where channels and positions lie in an output without its batch; ``extra`` tokens stand before the patches.

    ``"map"``: (c, h, w). ``"channels last"``: (h, w, c), as in a Swin transformer. ``"tokens"``: (extra + h w, c), rows
    of a vision transformer.
    """

    kind: Literal["map", "channels last", "tokens"]
    channels: int
    height: int
    width: int
    extra: int = 0

    @property
    def positions(self) -> int:
        return self.height * self.width


def layout_of(shape: tuple[int, ...], picture: tuple[int, int]) -> Layout | None:
    """How an output of ``shape`` (without the batch) for a picture of this height and width is a map; None if it isn't.

    Three numbers are a map, channels first where the last two have the picture's proportions, channels last where only
    the first two have. What has the form of tokens apart for each head, (heads, n, channels), is none.
    """
    if len(shape) == 2 and (grid := _grid_of_tokens(shape[0], picture)):
        return Layout("tokens", shape[1], *grid)
    if len(shape) != 3 or 0 in shape:
        return None
    last = Layout("channels last", shape[2], shape[0], shape[1])
    first = Layout("map", shape[0], shape[1], shape[2])
    if picture[0] == picture[1] and shape[0] == shape[1] != shape[2]:
        return last
    if _fits(shape[1:], picture):
        return first
    if _fits(shape[:2], picture):
        return last
    heads = shape[1] >= 36 and shape[2] >= 16 and _grid_of_tokens(shape[1], picture)
    return None if heads else first


def _fits(sides: tuple[int, ...], picture: tuple[int, int]) -> bool:
    """Is there one stride that leads from the picture to such a map, if each side may be one more or less?"""
    least = max(whole / (side + 1) for side, whole in zip(sides, picture, strict=True))
    most = min(whole / (side - 1) if side > 1 else math.inf for side, whole in zip(sides, picture, strict=True))
    return least <= most


def _grid_of_tokens(n: int, picture: tuple[int, int]) -> tuple[int, int, int] | None:
    """Height and width of the grid that n tokens come from, and how many stand before it. The fewest extra ones win."""
    for extra in range(min(MOST_EXTRA_TOKENS, n - 1) + 1):
        height = round(math.sqrt((n - extra) * picture[0] / picture[1]))
        width = (n - extra) // max(height, 1)
        if height * width == n - extra and height * picture[1] == width * picture[0]:
            return height, width, extra
    return None


def token_blocks(model: nn.Module, layouts: Mapping[str, Layout | None]) -> tuple[str, ...]:
    """The blocks of a vision transformer, in running order: the outermost row of modules that all give its tokens.

    A row is what an ``nn.Sequential`` or an ``nn.ModuleList`` holds, at least three modules.
    """
    for row, holder in model.named_modules():  # from the outside inwards
        if isinstance(holder, nn.Sequential | nn.ModuleList) and len(holder) > 2:
            names = [f"{row}.{child}" if row else child for child, _ in holder.named_children()]
            kinds = {layouts.get(name) for name in names}
            only = next(iter(kinds))
            if len(kinds) == 1 and only is not None and only.kind == "tokens" and only.positions > 1:
                return tuple(name for name in layouts if name in names)
    return ()


class MapOf(nn.Module):
    """What a module gives, (b, c, h, w), (b, h, w, c) or (b, extra + h w, c), as a map (b, c, h, w)."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.layout._asdict().items())

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b c h w"]:
        if self.layout.kind == "map":
            return x
        if self.layout.kind == "channels last":
            return x.permute(0, 3, 1, 2)
        return x[:, self.layout.extra :].mT.unflatten(2, (self.layout.height, self.layout.width))


class VectorOf(nn.Module):
    """One vector (b, c) from what a module gives: a vector as it is, the mean over the positions of a map, or of tokens
    the first where it stands before the patches (the class token), else their mean. ``layout`` None: a vector."""

    def __init__(self, layout: Layout | None) -> None:
        super().__init__()
        self.layout = layout

    def extra_repr(self) -> str:
        return "" if self.layout is None else ", ".join(f"{n}={v!r}" for n, v in self.layout._asdict().items())

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
        if self.layout is None:
            return x
        if self.layout.extra:
            return x[:, 0]
        axes = {"map": (2, 3), "channels last": (1, 2), "tokens": (1,)}[self.layout.kind]
        return x.mean(dim=axes)
