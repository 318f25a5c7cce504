"""Any torchvision classifier, or another network of modules, as a trunk: local features from nodes of your choice.

A node is the name of a module, as in ``dict(model.named_modules())``; its local features are what the module gives.
``node_shapes(model)`` lists them. Nothing here needs torchvision.
"""

from collections.abc import Mapping, Sequence
from math import prod

from jaxtyping import Float
from torch import Tensor, nn

from .._utils.checks import check_count
from .layouts import Layout, MapOf, VectorOf, layout_of, token_blocks
from .tracing import Node, first_channels, input_side, listing, not_found, part_of, trial_run
from .trunk import Features, Trunk

CLASSIFIER_NAMES = ("classifier", "fc", "head", "heads")  # what stands behind the feature maps, by torchvision's custom


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
            resolutions, without pools and classifier (resnet18: layer2, layer3, layer4); for a vision transformer,
            which has one resolution, its blocks at one, two and three thirds.
        levels: how many of the default nodes, from the deepest; up to 3 where None.
        global_node: name of the module that gives g; None for the deepest of ``nodes``.
        global_path: False gives ``g=None``.
        freeze: True: the backbone's parameters get no gradient, and it stays in eval mode under ``train()``, so that
            its BatchNorm statistics and its dropout rest too. It may then take another way to its nodes in train mode.
        input_size: side of the square picture of the trial run that learns channels and sizes; other sizes work
            afterwards where the backbone takes them. None for the model's own ``image_size``, else 224.

    Raises: TypeError unless ``backbone`` is an ``nn.Module``; ValueError on an unknown node (lists what exists), a node
        that is no map, has one position or runs more than once, default nodes that would leave out most of the
        network, and a network that cannot be traced; on images so small that a level has one position.
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
        layouts = {name: layout_of(node.shape, (self.input_size,) * 2) for name, node in table.items() if name}
        chosen = nodes is None
        if nodes is None:
            nodes = _default_nodes(backbone, table, layouts, levels)
        elif levels is not None:
            raise ValueError(f"levels counts default nodes: give nodes or levels; got {nodes!r} and {levels!r}")
        self.nodes = _checked_nodes(nodes, table, layouts)
        self.global_node = self.nodes[-1] if global_node is None else global_node
        g_layout = layouts.get(self.global_node)
        if self.global_node not in table or (g_layout is None and len(table[self.global_node].shape) != 1):
            raise ValueError(f"global_node must give a vector, a map or tokens; {not_found(self.global_node, table)}")
        levels_as = [found for node in self.nodes if (found := layouts[node]) is not None]
        self.maps = nn.ModuleList(map(MapOf, levels_as))
        self.local_channels = tuple(each.channels for each in levels_as)
        self.global_channels = table[self.global_node].shape[0] if g_layout is None else g_layout.channels
        self.to_vector = VectorOf(g_layout) if global_path else None
        self.has_global, self.frozen = global_path, freeze
        self.num_classes = table[""].shape[0] if "" in table and len(table[""].shape) == 1 else None
        self.has_tokens = any(each.kind == "tokens" for each in levels_as)
        self.backbone = part_of(
            backbone,
            (*self.nodes, self.global_node) if global_path else self.nodes,
            self.input_size,
            train_too=not freeze,
        )
        if chosen:
            _check_most_is_used(backbone, self.backbone, table, self.nodes)
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


def _default_nodes(
    model: nn.Module, table: Mapping[str, Node], layouts: Mapping[str, Layout | None], levels: int | None
) -> tuple[str, ...]:
    if levels is not None:
        check_count("levels", levels)
    wanted = 3 if levels is None else levels
    modules = dict(model.named_modules())
    maps = {
        name: (each.height, each.width)
        for name, each in layouts.items()
        if each is not None
        and each.positions > 1
        and table[name].calls == 1
        and "Pool" not in type(modules[name]).__name__
        and name.split(".")[0] not in CLASSIFIER_NAMES
    }
    found: dict[tuple[int, int], str] = {}
    for depth in (1, 2):  # the model's children, or with theirs where that gives too few
        names = [name for name in maps if name.count(".") < depth]
        found = {}
        for name in names:
            # What holds maps of several sizes is a whole stack of stages. What holds one size can be run whole: a norm
            # with its activation inside, say, whose way through itself depends on its mode.
            if not any(other.startswith(f"{name}.") and maps[other] != maps[name] for other in names):
                found[maps[name]] = name  # the last at each resolution
        if len(found) >= max(3, wanted):
            break
    if len(found) == 1 and (blocks := token_blocks(model, layouts)):
        parts = max(3, wanted)
        if wanted <= len(blocks):
            return tuple(blocks[max(1, len(blocks) * (part + 1) // parts) - 1] for part in range(parts))[-wanted:]
    order = list(table)
    nodes = sorted((found[grid] for grid in sorted(found)[:wanted]), key=order.index)
    if not nodes or (levels is not None and len(nodes) < levels):
        raise ValueError(
            f"nodes must be named for {type(model).__name__}: it has maps at {len(nodes)} resolutions, and {wanted} "
            f"levels are wanted; {listing(table)}"
        )
    return tuple(nodes)


def _check_most_is_used(model: nn.Module, part: nn.Module, table: Mapping[str, Node], nodes: tuple[str, ...]) -> None:
    """Raise ValueError where the part up to the default nodes leaves out most of what works on maps or tokens."""
    used = sum(p.numel() for p in part.parameters())
    whole = sum(
        p.numel()
        for name, module in model.named_modules()
        if name in table and (len(table[name].shape) == 2 or prod(table[name].shape[1:]) > 1)  # not one position
        for p in module.parameters(recurse=False)
    )
    if 2 * used < whole:
        raise ValueError(
            f"nodes must be named for {type(model).__name__}: up to its last map that was found, {nodes[-1]!r}, it has "
            f"{used:,} of the {whole:,} parameters that work on maps or tokens; {listing(table)}"
        )


def _checked_nodes(
    nodes: Sequence[str], table: Mapping[str, Node], layouts: Mapping[str, Layout | None]
) -> tuple[str, ...]:
    """The nodes in running order. Raises: ValueError on one that cannot be a level."""
    if isinstance(nodes, str) or not nodes or len(set(nodes)) < len(nodes):
        raise ValueError(f"nodes must be one or several different names of modules; got {nodes!r}")
    for name in nodes:
        if name not in table:
            raise ValueError(f"nodes must be names of modules; {not_found(name, table)}")
        shape, calls = table[name]
        layout = layouts[name]
        if layout is None:
            raise ValueError(
                f"nodes must give maps or a square grid of tokens; {name!r} gives {shape}; {listing(table)}"
            )
        if layout.positions == 1:
            raise ValueError(
                f"nodes must have several positions; {name!r} gives {shape}: take shallower ones, or a larger "
                f"input_size if the pictures are larger; {listing(table)}"
            )
        if calls > 1:
            raise ValueError(f"nodes must run once; {name!r} runs {calls} times: take the module that holds it")
    order = list(table)
    return tuple(sorted(nodes, key=order.index))
