"""The trunks against the paper's layer tables, and what they promise to the models on top."""

import warnings

import jaxtyping
import pytest
import torch
from torch import nn
from torch.nn import functional

from lpa_core import models
from lpa_core._utils.modes import evaluating
from lpa_core.models.photo_trunk import PhotoTrunk
from lpa_core.models.small_trunk import SmallTrunk
from lpa_core.models.trunk import Features, Trunk, check_images, conv_bn_relu, scaled
from lpa_core.models.vgg_trunk import AttentionVGGTrunk, ProgressiveVGGTrunk, VGGTrunk

THIRTEEN = [(64, 0.3), (64, 0), (128, 0.4), (128, 0), (256, 0.4), (256, 0.4), (256, 0)] + 2 * [
    (512, 0.4),
    (512, 0.4),
    (512, 0),
]
TAIL = ["pool", (512, 0.4), "pool", (512, 0.4), "pool", "flatten", "dropout 0.5", "linear 512 512"]
NARROW = {"width": 1 / 16}
TRUNKS = {
    "vgg": VGGTrunk,
    "attention": AttentionVGGTrunk,
    "progressive": ProgressiveVGGTrunk,
    "small": SmallTrunk,
    "photo": PhotoTrunk,
}
every_trunk = pytest.mark.parametrize("trunk_type", TRUNKS.values(), ids=TRUNKS)


def narrow(trunk_type: type[Trunk], **options: object) -> Trunk:
    torch.manual_seed(0)
    return trunk_type(**options, **({} if trunk_type in (SmallTrunk, PhotoTrunk) else NARROW))


def images(size: int | tuple[int, int] = 32, batch: int = 2, channels: int = 3) -> torch.Tensor:
    height, width = (size, size) if isinstance(size, int) else size
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


@every_trunk
def test_what_promises_any_memory_format_gives_the_same_in_channels_last(trunk_type):
    trunk, given = narrow(trunk_type).eval(), images()
    assert trunk.any_memory_format
    one, other = trunk(given), trunk(given.contiguous(memory_format=torch.channels_last))
    for a, b in zip((*one.local, one.g), (*other.local, other.g), strict=True):
        torch.testing.assert_close(a, b)


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def layers_of(module: nn.Module) -> list[object]:
    """The layers as the tables of the paper write them: (channels, dropout) for a block, names for the rest."""
    found: list[object] = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.padding, layer.stride) == ((3, 3), (1, 1), (1, 1))
            assert layer.bias is not None
            found.append((layer.out_channels, 0))
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.eps == 1e-3
        elif isinstance(layer, nn.Dropout):
            found = (
                [*found[:-1], (found[-1][0], layer.p)]
                if isinstance(found[-1], tuple)
                else [*found, f"dropout {layer.p}"]
            )
        elif isinstance(layer, nn.MaxPool2d):
            assert (layer.kernel_size, layer.stride) == (2, 2)
            found.append("pool")
        elif isinstance(layer, nn.AdaptiveMaxPool2d):
            found.append("pool")
        elif isinstance(layer, nn.Flatten):
            found.append("flatten")
        elif isinstance(layer, nn.Linear):
            found.append(f"linear {layer.in_features} {layer.out_features}")
    return found


# The paper's tables ---------------------------------------------------------------------------------------------------


def test_the_paper_s_trunk_has_the_layers_of_the_authors_code():
    with torch.device("meta"):
        trunk = AttentionVGGTrunk()
    assert [layers_of(stage) for stage in trunk.stages] == [THIRTEEN[:7], THIRTEEN[7:10], THIRTEEN[10:]]
    assert [layers_of(pool) for pool in trunk.pools] == [["pool"]] * 3
    # A pool stands before the tail, so layers 14 and 15 and the three pools leave 1x1 of 8x8.
    assert ["pool", *layers_of(trunk.tail)] == TAIL


def test_the_baseline_has_the_same_convolutions_and_early_pools():
    with torch.device("meta"):
        trunk = VGGTrunk()
    expected = list(THIRTEEN)
    for place in (10, 7, 4, 2):
        expected.insert(place, "pool")
    assert layers_of(trunk.layers) == expected
    assert layers_of(trunk.tail) == ["pool", "flatten", "dropout 0.5", "linear 512 512"]


def test_local_features_have_the_paper_s_sizes():
    with torch.device("meta"):
        local, g, gates = AttentionVGGTrunk().eval()(torch.empty(2, 3, 32, 32))
    assert [tuple(x.shape[1:]) for x in local] == [(256, 32, 32), (512, 16, 16), (512, 8, 8)]
    assert g.shape == (2, 512)
    assert gates == ()


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("pooled_local", [False, True])
def test_levels_count_from_the_deepest_and_can_be_taken_after_the_pools(levels, pooled_local):
    every = narrow(AttentionVGGTrunk).eval()
    trunk = narrow(AttentionVGGTrunk, levels=levels, pooled_local=pooled_local).eval()
    trunk.load_state_dict(every.state_dict())
    local, g, _ = trunk(images())
    expected = every(images())
    assert torch.equal(g, expected.g)
    assert len(local) == len(trunk.local_channels) == levels
    for got, before in zip(local, expected.local[-levels:], strict=True):
        assert torch.equal(got, functional.max_pool2d(before, 2) if pooled_local else before)


def test_a_block_is_initialised_as_the_authors_do():
    torch.manual_seed(0)
    conv, norm, relu = conv_bn_relu(64, 128)
    assert float(conv.weight.detach().std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert abs(float(conv.weight.detach().mean())) < 1e-3
    assert (conv.bias == 0).all()
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(relu, nn.ReLU)
    assert conv_bn_relu(4, 4, 0.3)[3].p == 0.3


def test_dropout_multiplies_the_authors_rates_and_zero_leaves_it_out():
    with torch.device("meta"):
        half, none = AttentionVGGTrunk(dropout=0.5), AttentionVGGTrunk(dropout=0.0)
    assert layers_of(half.stages[0])[0] == (64, 0.15)
    assert layers_of(half.tail)[-2] == "dropout 0.25"
    assert {m.p for m in none.modules() if isinstance(m, nn.Dropout)} <= {0.0}


def test_width_scales_every_channel_count():
    with torch.device("meta"):
        trunk = AttentionVGGTrunk(width=0.25)
    assert trunk.local_channels == (64, 128, 128)
    assert trunk.global_channels == trunk.tail[-1].out_features == 128
    assert [c for c, _ in layers_of(trunk.stages[0])] == [16, 16, 32, 32, 64, 64, 64]
    assert scaled(64, 0.001) == 1
    assert scaled(64, 1.2) == 77


# Progressive ----------------------------------------------------------------------------------------------------------


def test_the_progressive_gate_multiplies_the_map_that_is_fed_on():
    trunk = narrow(ProgressiveVGGTrunk).eval()
    (local,), g, (gate,) = trunk(images())
    pool = nn.MaxPool2d(2)
    below = trunk.stages[1](pool(trunk.stages[0](images())))
    scores = torch.einsum("bchw,c->bhw", below + below.mean((2, 3), keepdim=True), trunk.gate.u) + trunk.gate.bias
    torch.testing.assert_close(gate.scores, scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gate.weights, scores.sigmoid(), rtol=1e-5, atol=1e-6)
    expected = trunk.stages[2](pool(below * scores.sigmoid()[:, None]))
    torch.testing.assert_close(local, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(g, trunk.tail(pool(expected)), rtol=1e-4, atol=1e-5)


def test_a_progressive_gate_that_is_open_leaves_the_paper_s_trunk():
    trunk, plain = narrow(ProgressiveVGGTrunk).eval(), narrow(AttentionVGGTrunk, levels=1).eval()
    plain.load_state_dict({k: v for k, v in trunk.state_dict().items() if not k.startswith("gate.")})
    nn.init.constant_(trunk.gate.bias, 1000.0)
    assert torch.equal(trunk(images()).local[0], plain(images()).local[0])
    nn.init.constant_(trunk.gate.bias, -1000.0)
    assert not torch.allclose(trunk(images()).local[0], plain(images()).local[0], atol=1e-3)


# What every trunk promises --------------------------------------------------------------------------------------------


@every_trunk
@pytest.mark.parametrize("size", [32, (33, 47), (16, 16)], ids=str)
def test_every_trunk_gives_what_it_announces_at_any_size(trunk_type, size):
    trunk = narrow(trunk_type).eval()
    features = trunk(images(size))
    assert isinstance(features, Features)
    assert tuple(x.shape[1] for x in features.local) == trunk.local_channels
    if trunk_type is not VGGTrunk:  # whose one map is for post-hoc methods
        assert all(x.shape[2] * x.shape[3] > 1 for x in features.local)
    assert features.g.shape == (2, trunk.global_channels)
    positions = [x.shape[2] * x.shape[3] for x in features.local]
    assert positions == sorted(positions, reverse=True)


@every_trunk
def test_every_trunk_takes_other_numbers_of_channels(trunk_type):
    trunk = narrow(trunk_type, in_channels=1).eval()
    assert trunk.in_channels == 1
    assert trunk(images(channels=1)).g.shape[0] == 2


@pytest.mark.parametrize("trunk_type", [AttentionVGGTrunk, ProgressiveVGGTrunk, SmallTrunk])
def test_without_a_global_path_the_local_features_are_the_same(trunk_type):
    whole, bare = narrow(trunk_type).eval(), narrow(trunk_type, global_path=False).eval()
    assert whole.has_global
    assert not bare.has_global
    assert bare.global_channels == whole.global_channels
    bare.load_state_dict({k: v for k, v in whole.state_dict().items() if k in bare.state_dict()})
    assert bare(images()).g is None
    for one, other in zip(bare(images()).local, whole(images()).local, strict=True):
        assert torch.equal(one, other)


def test_evaluating_brings_every_mode_back_also_of_frozen_parts_and_after_an_error():
    network = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Dropout()), nn.ReLU())
    network[0].eval()
    network[0][1].train()
    before = [module.training for module in network.modules()]
    inside = []

    def fail() -> None:
        with evaluating(network):
            inside.extend(module.training for module in network.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not any(inside)
    assert [module.training for module in network.modules()] == before == [True, False, False, True, True]


# Errors ---------------------------------------------------------------------------------------------------------------

WRONG = {
    "width": ({"width": 0.0}, r"width must be above 0 .* got 0.0"),
    "width is no number": ({"width": float("nan")}, r"width must be above 0 .* got nan"),
    "dropout": ({"dropout": 2.5}, r"dropout multiplies .* must be in \[0, 2\); got 2.5"),
    "in_channels": ({"in_channels": 0}, r"in_channels must be a whole number of at least 1; got 0"),
    "levels": ({"levels": 4}, r"levels must be 1 \(layer 13\), 2 \(layer 10, layer 13\) or 3 .*; got 4"),
    "levels is a truth value": ({"levels": True}, r"levels must be .* got True"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_named_with_what_would_be_right(unchecked, options, message):
    with pytest.raises(ValueError, match=message):
        AttentionVGGTrunk(**options)


def test_the_small_trunk_names_its_own_levels(unchecked):
    with pytest.raises(ValueError, match=r"levels must be 1 \(block 3\)"):
        SmallTrunk(levels=0)


@every_trunk
def test_pictures_that_are_too_small_are_refused(unchecked, trunk_type):
    least = 8 if trunk_type in (SmallTrunk, PhotoTrunk) else 16
    with pytest.raises(
        ValueError, match=rf"images must be at least {least}x{least} for this trunk; got \({least - 1}, 32\)"
    ):
        narrow(trunk_type)(images((least - 1, 32)))


def test_what_is_no_batch_of_pictures_is_refused(unchecked):
    with pytest.raises(TypeError, match=r"images must be floating point .*normalise\); got torch.uint8"):
        check_images(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 3)
    for shape in ((3, 8, 8), (2, 1, 8, 8)):
        with pytest.raises(ValueError, match=r"images must be \(b, 3, h, w\); got"):
            check_images(torch.zeros(shape), 3)
    check_images(torch.zeros(2, 3, 8, 8), 3)


def test_a_trunk_must_define_its_forward(unchecked):
    with pytest.raises(TypeError, match=r"Trunk must define forward\(images\) -> Features"):
        Trunk()(images())


def test_the_photo_trunk_is_as_small_and_its_maps_as_large_as_its_words_say():
    trunk = PhotoTrunk(global_path=False)
    local, g, _ = trunk.eval()(images())
    assert [tuple(level.shape[1:]) for level in local] == [(64, 16, 16), (192, 16, 16), (256, 8, 8)]
    assert g is None
    assert 0.935e6 < sum(p.numel() for p in trunk.parameters()) < 0.945e6


def test_the_photo_trunk_cannot_tell_the_edge_of_an_even_picture():
    # With zeros beside the picture, features near its edge would differ from those of the middle.
    for trunk, even in ((PhotoTrunk(), True), (SmallTrunk(), False)):
        local = trunk.eval()(torch.full((1, 3, 32, 32), 0.7)).local
        assert all(torch.allclose(x, x.mean(dim=(2, 3), keepdim=True), atol=1e-5) for x in local) is even


@pytest.mark.parametrize("build", [models.attention_vgg, models.vgg_pan, models.small_attention_net])
def test_captum_s_deep_lift_goes_through_our_networks(build):
    captum_attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    model = build(3, **({"width": 1 / 32} if build is not models.small_attention_net else {})).eval()
    images = torch.randn(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = captum_attr.DeepLift(model).attribute(images, target=1)
    assert given.shape == images.shape
    assert given.abs().max() > 0
