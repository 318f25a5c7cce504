"""Any torchvision classifier, or another network of modules, as a trunk: local features from nodes of your choice.

A node is the name of a module, as in ``dict(model.named_modules())``; its local features are what the module gives.
``node_shapes(model)`` lists them. Nothing here needs torchvision.
"""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from .._utils.checks import check_count
from .tracing import Node, first_channels, input_side, listing, not_found, part_of, trial_run
from .trunk import Features, Trunk

CLASSIFIER_NAMES = ("classifier", "fc", "head", "heads")  # what stands behind the feature maps, by torchvision's custom
MOST_EXTRA_TOKENS = 5  # a class token and four registers: what may stand before a square grid of tokens


class BackboneTrunk(Trunk):
    """A trunk made of any network built from modules, as all classifiers of torchvision: weights kept.

    The part of the network up to the last node in use is copied; the rest, its classifier included, is left out. g is
    the average over positions of the global node's map (or its vector, or the first of its tokens).

    A map (b, c, h, w) serves as it is; (b, h, w, c), as in a Swin transformer, is transposed; tokens (b, n, c) of a
    vision transformer are laid out as the square grid they came from, without the extra tokens in front, and then
    pictures must be ``input_size`` large. ``maps[s]`` is the module that gives level s, for hooks.

    Args:
        backbone: the network. It is left as it was.
        nodes: names of modules, one per level; put into running order. None: the last maps at the three deepest
            resolutions, without pools and classifier (resnet18: layer2, layer3, layer4); for a torchvision vision
            transformer its layers at one, two and three thirds.
        levels: how many of the default nodes, from the deepest; up to 3 where None.
        global_node: name of the module that gives g; None for the deepest of ``nodes``.
        global_path: False gives ``g=None``.
        freeze: True: the backbone's parameters get no gradient, and it stays in eval mode under ``train()``, so that
            its BatchNorm statistics and its dropout rest too.
        input_size: side of the square picture of the trial run that learns channels and sizes; other sizes work
            afterwards where the backbone takes them. None for the model's own ``image_size``, else 224.

    Raises: TypeError unless ``backbone`` is an ``nn.Module``; ValueError on an unknown node (lists what exists), a node
        that is no map, has one position or runs more than once, and a network that cannot be traced; on images so
        small that a level has one position.
    """

    def __init__(
        self,
        backbone: nn.Module,
        nodes: Sequence[str] | None = None,
        *,
        levels: int | None = None,
        global_node: str | None = None,
        global_path: bool = True,
        freeze: bool = False,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, nn.Module):
            raise TypeError(f"model must be an nn.Module; got {type(backbone).__name__}")
        backbone = getattr(backbone, "_orig_mod", backbone)  # a compiled model holds the network under this name
        self.in_channels, self.input_size = first_channels(backbone), input_side(backbone, input_size)
        table = trial_run(backbone, self.input_size)
        if nodes is None:
            nodes = _default_nodes(backbone, table, levels)
        elif levels is not None:
            raise ValueError(f"levels counts default nodes: give nodes or levels; got {nodes!r} and {levels!r}")
        self.nodes = _checked_nodes(nodes, table)
        self.global_node = self.nodes[-1] if global_node is None else global_node
        if self.global_node not in table or not 1 <= len(table[self.global_node].shape) <= 3:
            raise ValueError(f"global_node must give a vector, a map or tokens; {not_found(self.global_node, table)}")
        self.maps = nn.ModuleList(_to_map(table[node].shape) for node in self.nodes)
        self.local_channels = tuple(_channels(table[node].shape) for node in self.nodes)
        self.global_channels = _channels(table[self.global_node].shape)
        self.to_vector = _to_vector(table[self.global_node].shape) if global_path else None
        self.has_global, self.frozen = global_path, freeze
        self.num_classes = table[""].shape[0] if "" in table and len(table[""].shape) == 1 else None
        self.has_tokens = any(len(table[node].shape) == 2 for node in self.nodes)
        self.backbone = part_of(
            backbone, (*self.nodes, self.global_node) if global_path else self.nodes, self.input_size
        )
        if freeze:
            self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> "BackboneTrunk":
        """As ``nn.Module.train``; a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        size = tuple(images.shape[2:])
        if self.has_tokens and size != (self.input_size, self.input_size):
            raise ValueError(f"images must be {self.input_size}x{self.input_size} for a network of tokens; got {size}")
        found = self.backbone(images)
        local = tuple(to_map(found[node]) for to_map, node in zip(self.maps, self.nodes, strict=True))
        for node, level in zip(self.nodes, local, strict=True):
            if level.shape[2] * level.shape[3] == 1:
                raise ValueError(
                    f"images must be larger than {size}: node {node!r} is left with one position, and attention with "
                    f"nothing to choose; or use shallower nodes than {', '.join(self.nodes)}"
                )
        return Features(local, None if self.to_vector is None else self.to_vector(found[self.global_node]))


class ChannelsLastToMap(nn.Module):
    """(b, h, w, c) -> (b, c, h, w)."""

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b c h w"]:
        return x.permute(0, 3, 1, 2)


class TokensToMap(nn.Module):
    """Tokens (b, extra + side * side, c) -> (b, c, side, side), row by row, without the extra tokens in front."""

    def __init__(self, extra: int, side: int) -> None:
        super().__init__()
        self.extra, self.side = extra, side

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b c h w"]:
        return x[:, self.extra :].mT.unflatten(2, (self.side, self.side))


class FirstToken(nn.Module):
    """Tokens (b, n, c) -> the first of them (b, c): the class token."""

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b c"]:
        return x[:, 0]


class MeanOfMap(nn.Module):
    """The average over the axes of the positions: (b, c)."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Float[Tensor, "b ..."]) -> Float[Tensor, "b c"]:
        return x.mean(dim=self.axes)


# The shape of what a node gives, without the batch: (c, h, w), (h, w, c), (n, c) tokens or (c,).


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Is a map of a square picture (h, w, c)? Where all three are equal it is taken for (c, h, w)."""
    return len(shape) == 3 and shape[0] == shape[1] != shape[2]


def _channels(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) < 3 or _channels_last(shape) else shape[0]


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the map that a node gives; (0, 0) for what is none."""
    if len(shape) == 3:
        return (shape[0], shape[1]) if _channels_last(shape) else (shape[1], shape[2])
    side = math.isqrt(shape[0]) if len(shape) == 2 else 0
    return (side, side) if side and shape[0] - side**2 <= MOST_EXTRA_TOKENS else (0, 0)


def _to_map(shape: tuple[int, ...]) -> nn.Module:
    if len(shape) == 2:
        side, _ = _grid(shape)
        return TokensToMap(shape[0] - side**2, side)
    return ChannelsLastToMap() if _channels_last(shape) else nn.Identity()


def _to_vector(shape: tuple[int, ...]) -> nn.Module:
    if len(shape) == 1:
        return nn.Identity()
    if len(shape) == 2:
        return FirstToken() if shape[0] > _grid(shape)[0] ** 2 else MeanOfMap((1,))
    return MeanOfMap((1, 2) if _channels_last(shape) else (2, 3))


def _default_nodes(model: nn.Module, table: dict[str, Node], levels: int | None) -> tuple[str, ...]:
    if levels is not None:
        check_count("levels", levels)
    wanted = 3 if levels is None else levels
    layers = [name for name in table if name.rpartition(".")[0] == "encoder.layers"]
    if layers and type(model).__name__ == "VisionTransformer":
        return tuple(layers[len(layers) * (third + 1) // 3 - 1] for third in range(3))[-wanted:]
    modules = dict(model.named_modules())
    for depth in (1, 2):  # the model's children, or with theirs where that gives too few
        found: dict[tuple[int, int], str] = {}
        names = [name for name in table if name and name.count(".") < depth]
        for name in names:
            grid = _grid(table[name].shape)
            no_map = len(table[name].shape) != 3 or grid[0] * grid[1] == 1 or "Pool" in type(modules[name]).__name__
            holds_others = any(other.startswith(f"{name}.") for other in names)
            if not (no_map or holds_others or name.split(".")[0] in CLASSIFIER_NAMES):
                found[grid] = name  # the last at each resolution
        if len(found) >= max(3, wanted):
            break
    order = list(table)
    nodes = sorted((found[grid] for grid in sorted(found)[:wanted]), key=order.index)
    if not nodes or (levels is not None and len(nodes) < levels):
        raise ValueError(
            f"nodes must be named for {type(model).__name__}: it has maps at {len(nodes)} resolutions, and {wanted} "
            f"levels are wanted; {listing(table)}"
        )
    return tuple(nodes)


def _checked_nodes(nodes: Sequence[str], table: dict[str, Node]) -> tuple[str, ...]:
    """The nodes in running order. Raises: ValueError on one that cannot be a level."""
    if isinstance(nodes, str) or not nodes or len(set(nodes)) < len(nodes):
        raise ValueError(f"nodes must be one or several different names of modules; got {nodes!r}")
    for name in nodes:
        if name not in table:
            raise ValueError(f"nodes must be names of modules; {not_found(name, table)}")
        shape, calls = table[name]
        height, width = _grid(shape)
        if height * width == 0:
            raise ValueError(
                f"nodes must give maps or a square grid of tokens; {name!r} gives {shape}; {listing(table)}"
            )
        if height * width == 1:
            raise ValueError(
                f"nodes must have several positions; {name!r} gives {shape}: take shallower ones, or a larger "
                f"input_size if the pictures are larger; {listing(table)}"
            )
        if calls > 1:
            raise ValueError(f"nodes must run once; {name!r} runs {calls} times: take the module that holds it")
    order = list(table)
    return tuple(sorted(nodes, key=order.index))
