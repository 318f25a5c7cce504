"""Networks as they come from torchvision and timm, with random weights: attention is put on them, and maps come out.

The short list runs with every test; the long one is for the weekly run.
"""

import importlib.util

import pytest
import torch

from lpa_core import attend_to, explain, look_at
from lpa_core.models import load_weights, save_weights
from lpa_core.posthoc.layers import last_map_layer

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

SHORT = {
    "shufflenet_v2_x0_5": (("stage2", "stage3", "conv5"), "conv5"),
    "timm:test_efficientnet": (None, "bn2"),
    "timm:vit_tiny_patch16_224": (("blocks.3", "blocks.7", "blocks.11"), "blocks.10"),
    "timm:test_resnet": (None, "layer4"),
}
LONG = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "maxvit_t", "mnasnet0_5", "mobilenet_v2"),
    *(
        "mobilenet_v3_small",
        "regnet_y_400mf",
        "resnet18",
        "squeezenet1_1",
        "swin_t",
        "swin_v2_t",
        "vgg11_bn",
        "vit_b_32",
    ),
    *("timm:convnext_atto", "timm:convnextv2_atto", "timm:crossvit_tiny_240", "timm:deit_tiny_patch16_224"),
    *("timm:densenet121", "timm:efficientnet_b0", "timm:efficientnet_lite0", "timm:eva02_tiny_patch14_224"),
    *("timm:ghostnet_100", "timm:hrnet_w18_small", "timm:levit_128s", "timm:mixer_s32_224", "timm:mnasnet_100"),
    *("timm:mobilenetv2_100", "timm:mobilenetv3_small_050", "timm:mobilenetv4_conv_small", "timm:mobilevit_xxs"),
    *(
        "timm:poolformer_s12",
        "timm:regnetx_002",
        "timm:repvgg_a0",
        "timm:resnet18",
        "timm:resnetv2_50",
        "timm:rexnet_100",
    ),
    *("timm:swin_tiny_patch4_window7_224", "timm:tf_efficientnetv2_b0", "timm:vgg11", "timm:vit_tiny_patch16_224"),
    *("timm:vit_small_patch16_dinov3", "timm:xcit_nano_12_p16_224"),
)
# What is refused by one or the other, and why; everything else must work.
REFUSED = {
    "timm:crossvit_tiny_240": "traceable",  # its way depends on the size of the picture
    "timm:vit_small_patch16_dinov3": "same way",  # frozen, it works
}


def tried(name: str) -> tuple[object, torch.Tensor]:
    """The model in eval mode and noise of its size, after the checks that all networks share."""
    torch.manual_seed(0)
    model = attend_to(name, num_classes=4)
    side = model.trunk.input_size
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    model.train()(images).sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.trunk.backbone.parameters())
    output = model.eval().attend(images)
    assert output.logits.shape == (2, 4)
    for attended in output.attended:
        assert attended.weights.shape[1] * attended.weights.shape[2] > 1
        torch.testing.assert_close(attended.weights.sum((1, 2)), torch.ones(2))
    return model, images


@pytest.mark.parametrize(
    ("name", "nodes", "layer"),
    [
        pytest.param(name, *expected, marks=needs_timm if name.startswith("timm:") else ())
        for name, expected in SHORT.items()
    ],
)
def test_attention_and_maps_for_networks_by_name(name, nodes, layer):
    from torchvision.models import get_model

    model, images = tried(name)
    assert nodes is None or model.trunk.nodes == nodes
    torch.manual_seed(0)
    if name.startswith("timm:"):
        import timm

        network = timm.create_model(name.removeprefix("timm:"))
        assert (model.mean, model.std) == (network.pretrained_cfg["mean"], network.pretrained_cfg["std"])
    else:
        network = get_model(name, weights=None)
        assert model.mean is None
    assert last_map_layer(network.eval(), images) == layer
    maps = explain(network, images, 1)
    assert maps.ndim == 3
    assert maps.isfinite().all()


@needs_timm
def test_a_name_of_timm_is_recorded_saved_and_looked_at(tmp_path):
    torch.manual_seed(0)
    model = attend_to("timm:test_efficientnet", num_classes=2).eval()
    about = {"classes": ("a", "b"), "mean": model.mean, "std": model.std, "scores": {}, "provenance": {}}
    save_weights(tmp_path / "x.safetensors", model, **about)
    again = load_weights(tmp_path / "x.safetensors").model
    images = torch.randn(1, 3, *(model.trunk.input_size,) * 2)
    assert torch.equal(again(images), model(images))
    side = model.trunk.input_size
    picture = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
    told = look_at(model, picture, mean=model.mean, std=model.std)
    assert torch.equal(look_at(model, picture).output.logits, told.output.logits)


def test_wrong_names_are_answered_with_what_is_close(monkeypatch):
    with pytest.raises(ValueError, match=r"a name of torchvision, or 'timm:NAME'; got 'keras:resnet50'"):
        attend_to("keras:resnet50")
    if importlib.util.find_spec("timm") is not None:
        with pytest.raises(ValueError, match=r"got 'efficientnet_lite', close to it are .*efficientnet_lite0"):
            attend_to("timm:efficientnet_lite")
        with pytest.raises(
            ValueError, match="weights of a network of timm must be None, 'DEFAULT' or a file; got 'best'"
        ):
            attend_to("timm:test_vit", weights="best")
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ImportError, match=r"'timm:test_vit' needs timm: pip install timm"):
        attend_to("timm:test_vit")


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_timm if name.startswith("timm:") else ()) for name in LONG]
)
def test_many_networks(name):
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            attend_to(name, num_classes=4)
        if REFUSED[name] == "same way":
            model = attend_to(name, num_classes=4, freeze_backbone=True)
            model.train()(torch.randn(2, 3, *(model.trunk.input_size,) * 2))
        return
    _, images = tried(name)
    torch.manual_seed(0)
    if name.startswith("timm:"):
        import timm

        network = timm.create_model(name.removeprefix("timm:"))
    else:
        from torchvision.models import get_model

        network = get_model(name, weights=None)
    head = [module for module in network.modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)][-1]
    torch.nn.init.normal_(head.weight, std=0.1)  # some start at zero, and no gradient would pass
    maps = explain(network, images, 1, relu=False)
    assert maps.shape[1] * maps.shape[2] > 1
    assert maps.abs().max() > 0
