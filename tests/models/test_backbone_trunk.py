"""Other networks as trunks: which nodes they get, what their levels are, what is refused."""

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lpa_core.models.backbone_trunk import BackboneTrunk


class Plain(nn.Module):
    """Three maps, (b, c, h, w): c1 at full size, then halved twice."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.c2 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.c3 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.Dropout(0.5))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.c3(self.c2(self.c1(x)))).flatten(1))


class Turned(nn.Module):
    """Channels behind the positions, as a Swin transformer has them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 2, stride=2)
        self.turned = nn.Linear(6, 10)
        self.fc = nn.Linear(10, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.turned(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))


class Tokens(nn.Module):
    """``extra`` tokens, then one for each 4x4 patch, whose value is its number in row order."""

    def __init__(self, extra: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 5, 4, stride=4)
        self.first = nn.Parameter(torch.arange(extra * 5.0).view(1, extra, 5) - 100)
        self.encoder = nn.Identity()
        self.image_size = 12
        self.head = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        x = self.encoder(torch.cat((self.first.expand(x.shape[0], -1, -1), tokens), dim=1))
        return self.head(x[:, 0])


def pictures(size: int | tuple[int, int] = 12) -> Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(3, 1, height, width, generator=torch.Generator().manual_seed(0))


def plain(*arguments: object, **options: object) -> BackboneTrunk:
    torch.manual_seed(0)
    return BackboneTrunk(Plain().eval(), *arguments, **{"input_size": 12} | options).eval()


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# Which nodes ----------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "resnet18": ("layer2", "layer3", "layer4"),
    "vgg16_bn": ("features.22", "features.32", "features.42"),
    "convnext_tiny": ("features.3", "features.5", "features.7"),
    "mobilenet_v3_small": ("features.3", "features.8", "features.12"),
    "efficientnet_b0": ("features.3", "features.5", "features.8"),
    "densenet121": ("features.denseblock2", "features.denseblock3", "features.norm5"),
    "squeezenet1_1": ("features.4", "features.7", "features.12"),
    "shufflenet_v2_x0_5": ("stage2", "stage3", "conv5"),
    "swin_t": ("features.3", "features.5", "permute"),
    "vit_b_32": tuple(f"encoder.layers.encoder_layer_{i}" for i in (3, 7, 11)),
}


@pytest.mark.parametrize(("name", "nodes"), DEFAULTS.items(), ids=DEFAULTS)
def test_torchvision_s_families_have_sensible_nodes(name, nodes):
    from torchvision.models import get_model

    with torch.device("meta"):
        network = get_model(name, weights=None).eval()
        trunk = BackboneTrunk(network)
        local, g, _ = trunk(torch.empty(2, 3, 224, 224))
    assert trunk.nodes == nodes
    assert trunk.num_classes == 1000
    assert tuple(x.shape[1] for x in local) == trunk.local_channels
    assert all(x.shape[2] == x.shape[3] > 1 for x in local)
    assert g.shape == (2, trunk.global_channels)
    used = {name.removeprefix("backbone.") for name, _ in trunk.named_parameters()}
    assert used < {name for name, _ in network.named_parameters()}
    assert not any(name.startswith(("fc.", "classifier.", "head.", "heads.")) for name in used)


def test_the_deepest_levels_are_taken_and_nodes_are_put_in_running_order():
    assert plain().nodes == ("c1", "c2", "c3")
    assert plain(levels=1).nodes == ("c3",)
    assert plain(levels=2).nodes == ("c2", "c3")
    assert plain(["c3", "c1"]).nodes == ("c1", "c3")
    assert plain(("c2.1",)).nodes == ("c2.1",)


class NormAct(nn.BatchNorm2d):
    """A norm with its activation inside, which takes its mode by itself: as in timm's EfficientNets."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        return self.act(x)


class Normed(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), NormAct(4))
        self.end = NormAct(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.end(self.c3(self.c2(self.c1(x))))).flatten(1))


def test_a_norm_with_its_activation_inside_is_run_whole_in_both_modes():
    torch.manual_seed(0)
    network = Normed()
    trunk = BackboneTrunk(network, input_size=12)
    assert trunk.nodes == ("c1", "c2", "end")
    assert isinstance(trunk.backbone.get_submodule("end"), NormAct)
    trunk.train()(pictures())
    moved = trunk.backbone.get_submodule("end").running_mean
    assert moved.abs().max() > 0 == network.end.running_mean.abs().max()
    with pytest.raises(ValueError, match=r"same way .* or take nodes that hold it and run whole \(end\)"):
        BackboneTrunk(network, ["end.act"], input_size=12)


class Transformer(Tokens):
    """Tokens through blocks, as timm's vision transformers: their one map (b, c, h, w) is the patch embedding."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 5)) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        x = self.blocks(torch.cat((self.first.expand(x.shape[0], -1, -1), tokens), dim=1))
        return self.head(x[:, 0])


@pytest.mark.parametrize(
    ("blocks", "levels", "numbers"), [(6, None, (1, 3, 5)), (6, 1, (5,)), (6, 4, (0, 2, 3, 5)), (3, 2, (1, 2))]
)
def test_a_vision_transformer_is_attended_to_in_its_blocks_and_not_before_them(blocks, levels, numbers):
    trunk = BackboneTrunk(Transformer(blocks), levels=levels)
    assert trunk.nodes == tuple(f"blocks.{number}" for number in numbers)
    assert [tuple(x.shape[1:]) for x in trunk(pictures()).local] == [(5, 3, 3)] * len(numbers)


def test_default_nodes_that_leave_most_of_the_network_out_are_refused():
    class Hidden(Transformer):
        """Its tokens run with the positions first, so that no block gives something that is read as a map."""

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patches(x).flatten(2).permute(2, 0, 1)
            return self.head(self.blocks(tokens)[0])

    with pytest.raises(
        ValueError, match=r"nodes must be named for Hidden: .* 'patches', it has 85 of the 205 parameters"
    ):
        BackboneTrunk(Hidden(3))


# What the levels are --------------------------------------------------------------------------------------------------


def test_levels_and_g_are_what_the_network_computes():
    torch.manual_seed(0)
    network = Plain().eval()
    trunk = BackboneTrunk(network, input_size=12).eval()
    c1 = network.c1(pictures())
    c2 = network.c2(c1)
    c3 = network.c3(c2)
    local, g, gates = trunk(pictures())
    for got, true in zip(local, (c1, c2, c3), strict=True):
        assert torch.equal(got, true)
    torch.testing.assert_close(g, c3.mean((2, 3)))
    assert gates == ()
    assert trunk.in_channels == 1


def test_g_comes_from_any_node_or_from_none():
    torch.manual_seed(0)
    network = Plain().eval()
    c2 = network.c2(network.c1(pictures()))
    middle = BackboneTrunk(network, ["c1"], global_node="c2", input_size=12).eval()
    torch.testing.assert_close(middle(pictures()).g, c2.mean((2, 3)))
    assert middle.global_channels == 6
    vector = BackboneTrunk(network, ["c1"], global_node="fc", input_size=12).eval()
    torch.testing.assert_close(vector(pictures()).g, network(pictures()))
    bare = BackboneTrunk(network, ["c1"], global_node="c2", global_path=False, input_size=12)
    assert bare.eval()(pictures()).g is None
    assert not bare.has_global
    assert not any("c2" in name for name, _ in bare.named_parameters())


def test_maps_with_the_channels_last_are_turned():
    torch.manual_seed(0)
    network = Turned()
    trunk = BackboneTrunk(network, ["turned"], input_size=12)
    (local,), g, _ = trunk(pictures((12, 16)))
    true = network.turned(network.conv(pictures((12, 16))).permute(0, 2, 3, 1))
    torch.testing.assert_close(local, true.permute(0, 3, 1, 2))
    torch.testing.assert_close(g, true.mean((1, 2)))
    assert trunk.local_channels == (10,)


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_tokens_are_laid_out_as_the_grid_they_came_from(extra):
    torch.manual_seed(0)
    network = Tokens(extra)
    trunk = BackboneTrunk(network, ["encoder"])
    (local,), g, _ = trunk(pictures())
    assert torch.equal(local, network.patches(pictures()))
    expected = network.first[:, 0].expand(3, -1) if extra else network.patches(pictures()).mean((2, 3))
    torch.testing.assert_close(g, expected)


@pytest.mark.parametrize("size", [16, (13, 21)], ids=str)
def test_other_sizes_work(size):
    local, _, _ = plain()(pictures(size))
    height, width = (size, size) if isinstance(size, int) else size
    assert [tuple(x.shape[2:]) for x in local] == [(height // n, width // n) for n in (1, 2, 4)]


def test_the_modules_of_the_levels_can_be_hooked():
    trunk = plain()
    seen: list[Tensor] = []
    for module in trunk.maps:
        module.register_forward_hook(lambda _m, _i, output: seen.append(output))
    local = trunk(pictures()).local
    assert all(one is other for one, other in zip(seen, local, strict=True))


def test_the_network_given_stays_as_it_was():
    torch.manual_seed(0)
    network = Plain().train()
    network.c2.eval()
    modes = [m.training for m in network.modules()]
    trunk = BackboneTrunk(network, input_size=12, freeze=True)
    assert [m.training for m in network.modules()] == modes
    assert all(p.requires_grad for p in network.parameters())
    assert torch.equal(network.c1[1].running_mean, torch.zeros(4))
    trunk.backbone.get_parameter("c1.0.weight").data.zero_()
    assert network.c1[0].weight.abs().max() > 0


def test_a_compiled_network_is_taken_by_its_inside():
    class Compiled(nn.Module):
        def __init__(self, inside: nn.Module) -> None:
            super().__init__()
            self._orig_mod = inside

    torch.manual_seed(0)
    assert BackboneTrunk(Compiled(Plain().eval()), input_size=12).nodes == ("c1", "c2", "c3")


def test_a_frozen_backbone_learns_nothing_and_rests_in_train_mode():
    trunk = plain(freeze=True)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    trunk.train()
    assert trunk.training
    assert not any(module.training for module in trunk.backbone.modules())
    first, second = trunk(pictures()), trunk(pictures())
    assert torch.equal(first.g, second.g)  # no dropout either
    assert not first.g.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())
    free = plain().train()
    assert all(module.training for module in free.modules())
    assert not torch.equal(free(pictures()).g, free(pictures()).g)


def test_a_frozen_backbone_still_lets_gradients_through_to_the_picture():
    images = pictures().requires_grad_()
    plain(freeze=True)(images).g.sum().backward()
    assert images.grad.abs().max() > 0


# Errors ---------------------------------------------------------------------------------------------------------------

WRONG = {
    "unknown": (
        {"nodes": ["c33"]},
        r"got 'c33' \(did you mean 'c3'.*\?\); there are c1.0 4x12x12, .*c3 8x3x3 .*lists all",
    ),
    "not a map": (
        {"nodes": ["fc"]},
        r"nodes must give maps or a square grid of tokens; 'fc' gives \(7,\); there are c1",
    ),
    "one position": (
        {"nodes": ["pool"]},
        r"nodes must have several positions; 'pool' gives \(8, 1, 1\): take shallower",
    ),
    "one position here": ({"nodes": ["c3"], "input_size": 4}, r"'c3' gives \(8, 1, 1\): .* or a larger input_size"),
    "a string": ({"nodes": "c1"}, r"nodes must be one or several different names of modules; got 'c1'"),
    "none": ({"nodes": []}, r"nodes must be one or several .* got \[\]"),
    "twice": ({"nodes": ["c1", "c1"]}, r"nodes must be one or several different names"),
    "nodes and levels": ({"nodes": ["c1"], "levels": 1}, r"levels counts default nodes: give nodes or levels"),
    "too many levels": (
        {"levels": 4},
        r"nodes must be named for Plain: it has maps at 3 resolutions, and 4 levels are",
    ),
    "no level": ({"levels": 0}, r"levels must be a whole number of at least 1; got 0"),
    "unknown g": ({"global_node": "top"}, r"global_node must give a vector, a map or tokens; got 'top'"),
    "too small": (
        {"input_size": 1},
        r"Plain must run on a picture of noise, \(1, 1, 1\), .* RuntimeError in test_backbone_trunk.py, ",
    ),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_answered_with_what_exists(unchecked, options, message):
    with pytest.raises(ValueError, match=message):
        plain(**options)


def test_a_node_that_runs_twice_is_refused():
    class Twice(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return self.c1[2](self.c2(self.c1(x)))

    with pytest.raises(ValueError, match=r"nodes must run once; 'c1.2' runs 2 times: take the module that holds it"):
        BackboneTrunk(Twice().eval(), ["c1.2"], input_size=12)


def test_tokens_that_are_no_square_grid_are_refused():
    with pytest.raises(ValueError, match=r"nodes must give maps or a square grid of tokens; 'encoder' gives \(24, 5\)"):
        BackboneTrunk(Tokens(15), ["encoder"])


def test_pictures_of_another_size_are_refused_for_tokens():
    trunk = BackboneTrunk(Tokens(), ["encoder"])
    with pytest.raises(ValueError, match=r"images must be 12x12 for a network of tokens; got \(16, 16\)"):
        trunk(pictures(16))


def test_pictures_that_leave_a_level_one_position_are_refused():
    with pytest.raises(ValueError, match=r"images must be larger than \(4, 4\): node 'c3' is left with one position"):
        plain()(pictures(4))


def test_what_is_no_module_is_refused(unchecked):
    with pytest.raises(TypeError, match=r"model must be an nn.Module; got list"):
        BackboneTrunk([1])
