"""Layers by name, which one is taken by default, and layers whose channels lie last or that give tokens."""

import pytest
import torch
from torch import Tensor, nn

from lpa_core.models.builders import attention_vgg, small_attention_net
from lpa_core.posthoc.layers import find_layer, last_map_layer, map_layers
from lpa_core.posthoc.methods import explain


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def pictures(n: int = 2, size: int = 8, wide: int | None = None) -> Tensor:
    return torch.randn(n, 3, size, wide or size, generator=torch.Generator().manual_seed(1))


def test_map_layers_are_named_with_their_sizes_in_order_of_execution():
    assert map_layers(net(), pictures(size=6)) == {"0": (4, 6, 6), "1": (4, 6, 6), "2": (4, 6, 6)}


def test_a_layer_is_found_by_name_and_by_module():
    model = net()
    assert find_layer(model, "2") == ("2", model[2])
    assert find_layer(model, model[2]) == ("2", model[2])
    with pytest.raises(ValueError, match="one of the model's: 0, 1, 2, 3, 4, 5; got 'layer4'"):
        find_layer(model, "layer4")
    with pytest.raises(ValueError, match="got a Conv2d that is not part of it"):
        find_layer(model, nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="it has none"):
        find_layer(nn.Linear(1, 1), "x")


class Reordered(nn.Module):
    """Not in order of definition: ``late`` runs first. Then a pool makes 7x7 of any map, as in torchvision's VGG."""

    def __init__(self):
        super().__init__()
        self.late = nn.Conv2d(3, 4, 3, padding=1)
        self.stage = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(7)
        self.fc = nn.Linear(4 * 49, 5)
        self.early = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return self.fc(self.pool(self.stage(self.late(self.early(images)))).flatten(1))


def test_the_default_layer_is_the_outermost_last_map_by_execution():
    assert last_map_layer(Reordered().eval(), pictures()) == "stage"
    with pytest.raises(ValueError, match=r"images of \(3, 1, 1\) no layer"):
        last_map_layer(net().eval(), pictures(size=1))


def test_a_layer_that_runs_twice_counts_where_it_runs_last():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.between, self.fc = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 5)

        def forward(self, images):
            return self.fc(self.shared(self.between(self.shared(images))).mean((2, 3)))

    assert list(map_layers(Twice(), pictures())) == ["between", "shared"]
    assert last_map_layer(Twice().eval(), pictures()) == "shared"


def test_the_default_layer_of_our_networks_is_their_last_local_map():
    images = pictures(size=40)
    for model in (
        small_attention_net(),
        small_attention_net(levels=1, compatibility="dp"),
        attention_vgg(width=1 / 32, levels=2),  # its tail makes maps later, but none that the classifier attends to
        attention_vgg(width=1 / 32, pooled_local=True),  # one pool, run three times
    ):
        model.eval()
        name = last_map_layer(model, images)
        found = []
        handle = model.get_submodule(name).register_forward_hook(lambda _m, _i, o, found=found: found.append(o))
        handle_2 = model.trunk.register_forward_hook(lambda _m, _i, o, found=found: found.append(o.local[-1]))
        model(images)
        handle.remove()
        handle_2.remove()
        assert found[-2] is found[-1], name


# Tokens and channels last ---------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q_norm, self.heads = nn.Identity(), heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q = self.q_norm(q)  # (b, heads, n, channels): no map
        return x + self.proj((q @ k.mT).softmax(dim=-1).matmul(v).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """A small vision transformer of 2x2 patches; classifies its class token, or the mean of its patches."""

    def __init__(self, *, class_token: bool = True, width: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, width, 2, stride=2)
        self.first = nn.Parameter(torch.randn(1, 1, width)) if class_token else None
        self.blocks = nn.Sequential(*(Block(width, 2) for _ in range(3)))
        self.head = nn.Linear(width, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).mT
        if self.first is not None:
            x = torch.cat([self.first.expand(len(x), -1, -1), x], dim=1)
        x = self.blocks(x)
        return self.head(x.mean(dim=1) if self.first is None else x[:, 0])


@pytest.mark.parametrize("wide", [12, 16])
def test_tokens_become_maps_of_the_picture_s_proportions_by_hand(wide):
    model, images = Transformer().eval(), pictures(size=12, wide=wide)
    tokens = model.blocks[:2](
        torch.cat([model.first.expand(2, -1, -1), model.patches(images).flatten(2).mT], dim=1)
    ).detach()
    score = model.head(model.blocks[2](tokens.requires_grad_())[:, 0])[:, 3].sum()
    (gradient,) = torch.autograd.grad(score, tokens)
    rows = (tokens * gradient).detach()[:, 1:].sum(dim=2)
    maps = explain(model, images, 3, method="hirescam")
    torch.testing.assert_close(maps, rows.view(2, 6, wide // 2))
    torch.testing.assert_close(explain(model, images, 3, method="hirescam", layer="blocks.1"), maps)


def test_the_default_layer_of_a_transformer_is_the_last_block_whose_patches_count():
    images = pictures(size=12)
    assert last_map_layer(Transformer().eval(), images) == "blocks.1"
    assert last_map_layer(Transformer(class_token=False).eval(), images) == "blocks.2"
    with pytest.raises(ValueError, match=r"after 'blocks\.2' the class token alone counts: take a layer before it"):
        explain(Transformer(), images, layer="blocks.2")


def test_tokens_apart_for_each_head_are_no_map():
    model, images = Transformer(), pictures(size=12)
    found = map_layers(model, images)
    assert found["blocks.0"] == (32, 6, 6)
    assert not any(name.endswith("q_norm") for name in found)
    with pytest.raises(ValueError, match=r"tokens \(b, n, c\) of a grid; 'blocks.1.q_norm' gives \(2, 2, 37, 16\)"):
        explain(model, images, layer="blocks.1.q_norm")


def test_where_the_mean_of_the_patches_is_classified_the_map_sums_to_the_logit():
    model, images = Transformer(class_token=False).eval(), pictures(size=12)
    maps = explain(model, images, 2, method="hirescam")
    torch.testing.assert_close(maps.sum((1, 2)), (model(images)[:, 2] - model.head.bias[2]).detach())
    n = maps[0].numel()
    torch.testing.assert_close(explain(model, images, 2, method="cam"), maps * n)


class Turned(nn.Module):
    """Channels last on the way, as in a Swin transformer; ``turned=False`` is the same network with channels first."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.turned, self.conv, self.stage = turned, nn.Conv2d(3, 6, 3, stride=2), nn.Identity()
        self.late, self.fc = nn.Conv2d(6, 4, 3), nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images).relu()
        x = self.stage(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.turned else self.stage(x)
        return self.fc(self.late(x).relu().mean((2, 3)))


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "layer_cam", "hirescam", "score_cam"])
@pytest.mark.parametrize("wide", [16, 22])
def test_channels_last_give_the_maps_of_channels_first(method, wide):
    images = pictures(size=16, wide=wide)
    maps = [explain(Turned(turned), images, 1, method=method, layer="stage") for turned in (True, False)]
    torch.testing.assert_close(*maps)
    assert maps[0].shape == (2, 7, (wide - 1) // 2)
    assert map_layers(Turned(True), images)["stage"] == (6, 7, (wide - 1) // 2)
