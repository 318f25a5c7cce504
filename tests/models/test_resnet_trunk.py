"""The residual trunks against the architecture that they are named after."""

import jaxtyping
import pytest
import torch
from torch import nn
from torch.nn import functional

from lpa_core.models.resnet_trunk import Bottleneck, ResNetTrunk

TAILS = ("average", "conv", "none")


def images(size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


def short(**options: object) -> ResNetTrunk:
    torch.manual_seed(0)
    return ResNetTrunk(**{"blocks": 1, "width": 0.25} | options).eval()


@pytest.mark.parametrize(("channels", "stride"), [(8, 1), (16, 1), (8, 2)])
def test_a_bottleneck_is_the_pre_activation_formula(channels, stride):
    torch.manual_seed(0)
    block = Bottleneck(8, channels, stride).eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    first, second, third = (m for m in block.residual if isinstance(m, nn.Conv2d))
    x = torch.randn(2, 8, 7, 7)
    active = functional.relu(norms[0](x))
    inner = functional.conv2d(functional.relu(norms[1](first(active))), second.weight, stride=stride, padding=1)
    residual = functional.conv2d(functional.relu(norms[2](inner)), third.weight)
    kept = x if channels == 8 and stride == 1 else functional.conv2d(active, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(x), kept + residual)
    assert (block.shortcut is None) == (channels == 8 and stride == 1)
    assert first.out_channels == channels // 4


def test_eighteen_blocks_a_stage_are_the_164_layers_of_the_paper():
    with torch.device("meta"):
        trunk = ResNetTrunk(levels=3)
        local, g, _ = trunk.eval()(torch.empty(2, 3, 32, 32))
    main = [m for n, m in trunk.named_modules() if isinstance(m, nn.Conv2d) and "shortcut" not in n]
    assert len(main) + 1 == 164  # and the linear layer of the classifier
    assert all(m.bias is None for m in main)
    assert [tuple(x.shape[1:]) for x in local] == [(64, 32, 32), (128, 16, 16), (256, 8, 8)]
    assert g.shape == (2, 256)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (16, 16)])
def test_it_gives_what_it_announces_at_any_size(tail, levels, size):
    trunk = short(tail=tail, levels=levels)
    local, g, _ = trunk(images(size))
    assert tuple(x.shape[1] for x in local) == trunk.local_channels == (16, 32, 64)[-levels:]
    assert trunk.has_global == (tail != "none")
    assert (g is None) == (tail == "none")
    assert g is None or g.shape == (2, trunk.global_channels)


def test_the_plain_network_averages_its_last_activation():
    trunk = short()
    local, g, _ = trunk(images())
    norm = trunk.tail[0]
    torch.testing.assert_close(g, functional.relu(norm(local[-1])).mean((2, 3)))


def test_the_tail_of_the_attention_network_has_the_layers_of_the_authors_code():
    kinds = [type(m).__name__ for m in short(tail="conv").tail.modules() if not list(m.children())]
    assert kinds == [
        *("BatchNorm2d", "ReLU", "MaxPool2d"),
        *("Conv2d", "BatchNorm2d", "ReLU", "Dropout"),
        *("AdaptiveMaxPool2d", "Flatten", "Dropout", "Linear"),
    ]
    assert [m.p for m in short(tail="conv").tail.modules() if isinstance(m, nn.Dropout)] == [0.4, 0.5]
    assert [m.p for m in short(tail="conv", dropout=0.5).tail.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.25]


def test_convolutions_start_as_the_authors_do():
    torch.manual_seed(0)
    block = Bottleneck(64, 256)
    first, second, third = (m for m in block.residual if isinstance(m, nn.Conv2d))
    for conv, fan in ((first, 64), (second, 9 * 64), (third, 256)):
        assert float(conv.weight.detach().std()) == pytest.approx((2 / fan) ** 0.5, rel=0.05)


WRONG = {
    "blocks": ({"blocks": 0}, r"blocks must be a whole number of at least 1; got 0"),
    "tail": ({"tail": "max"}, r"tail must be one of 'average', 'conv', 'none'; got 'max'"),
    "levels": ({"levels": 4}, r"levels must be 1 \(stage 3\), 2 \(stage 2, stage 3\) or 3 .* got 4"),
    "width": ({"width": -1}, r"width must be above 0"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_named_with_what_would_be_right(options, message):
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=message):
            short(**options)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match=r"images must be at least 16x16 for this trunk; got \(8, 8\)"):
        short()(images((8, 8)))
