"""attend_to: attention for torchvision's classifiers and for networks of one's own."""

import json

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model

from lpa_core.models.adapt import attend_to
from lpa_core.models.builders import build
from lpa_core.models.classifier import attention_maps

SIDE = 64
FAMILIES = ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vgg11_bn"]


def pictures(batch: int = 4, side: int = SIDE) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return get_model("resnet18", weights=None).eval()


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", FAMILIES)
def test_five_lines_from_a_torchvision_model_to_its_maps(name):
    torch.manual_seed(0)
    network = get_model(name, weights=None)
    model = attend_to(network, num_classes=5, input_size=SIDE)
    model(pictures()).sum().backward()
    maps = attention_maps(model, pictures()[0])
    assert [m.shape for m in maps] == 3 * [(1, SIDE, SIDE)]
    assert all(p.grad is not None for p in model.parameters())
    assert model(pictures(side=SIDE + 37)).shape == (4, 5)


def test_the_weights_of_the_backbone_are_kept(resnet):
    model = attend_to(resnet, ["layer2", "layer3", "layer4"], 5, input_size=SIDE).eval()
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(pictures()))))
    second = resnet.layer2(resnet.layer1(x))
    third = resnet.layer3(second)
    local, g, _ = model.trunk(pictures())
    for got, true in zip(local, (second, third, resnet.layer4(third)), strict=True):
        torch.testing.assert_close(got, true)
    torch.testing.assert_close(g, local[-1].mean((2, 3)))
    names = {f"trunk.backbone.{name}" for name in resnet.state_dict() if not name.startswith("fc.")}
    assert {name for name in model.state_dict() if name.startswith("trunk.")} == names


def test_it_has_as_many_classes_as_the_network_unless_told_otherwise(resnet):
    assert attend_to(resnet, input_size=SIDE).num_classes == 1000
    assert attend_to(resnet, num_classes=3, input_size=SIDE).num_classes == 3


def test_training_the_attention_alone_leaves_the_backbone_bit_for_bit(resnet):
    torch.manual_seed(0)
    model = attend_to(resnet, num_classes=4, freeze_backbone=True, dropout=0.0, input_size=SIDE).train()
    before = {name: value.clone() for name, value in model.trunk.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(4):
        loss = functional.cross_entropy(model(pictures()), torch.arange(4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in model.trunk.state_dict().items())
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if not name.startswith("trunk.")
    }


def test_the_model_is_in_the_mode_and_precision_of_the_network():
    network = get_model("shufflenet_v2_x0_5", weights=None).double().eval()
    model = attend_to(network, num_classes=5, input_size=SIDE)
    assert not any(module.training for module in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert attend_to(network.train(), num_classes=5, input_size=SIDE).training


def test_uniform_attention_at_the_last_level_is_the_network_s_own_pooling(resnet):
    model = attend_to(resnet, ["layer4"], compatibility="uniform", input_size=SIDE).eval()
    (attended,) = model.attend(pictures()).attended
    torch.testing.assert_close(resnet.fc(attended.vector), resnet(pictures()), rtol=1e-4, atol=1e-5)
    assert model.attend(pictures()).g is None


def test_g_matters_to_dp_and_the_projection_fits(resnet):
    model = attend_to(resnet, num_classes=5, compatibility="dp", match="local", input_size=SIDE).eval()
    output = model.attend(pictures())
    assert [a.vector.shape[1] for a in output.attended] == [512, 512, 512]
    for one, other in zip(model.estimators, output.attended, strict=True):
        torch.testing.assert_close(other.weights.sum((1, 2)), torch.ones(4))
        assert one.uses_g


def test_a_vision_transformer_s_tokens_become_maps():
    with torch.device("meta"):
        model = attend_to("vit_b_32", num_classes=5, levels=2).eval()
        output = model.attend(torch.empty(1, 3, 224, 224))
    assert model.trunk.nodes == ("encoder.layers.encoder_layer_7", "encoder.layers.encoder_layer_11")
    assert [a.weights.shape for a in output.attended] == [(1, 7, 7), (1, 7, 7)]


def test_a_name_is_recorded_and_builds_the_same_network_again():
    torch.manual_seed(0)
    model = attend_to("shufflenet_v2_x0_5", levels=2, num_classes=5, combine="indep", input_size=SIDE).eval()
    config = json.loads(json.dumps(model.config))
    assert config["model"] == "shufflenet_v2_x0_5"
    assert config["nodes"] == ["stage3", "conv5"]
    again = build(config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(pictures()), model(pictures()))
    assert again.config == model.config


def test_a_network_of_one_s_own_has_no_recipe_to_record(resnet):
    assert attend_to(resnet, input_size=SIDE).config == {}


def test_pretrained_weights_are_asked_of_torchvision_and_not_recorded(monkeypatch):
    from torchvision import models

    asked = []

    def get(name: str, weights: object = None) -> nn.Module:
        asked.append((name, weights))
        return get_model(name, weights=None)

    monkeypatch.setattr(models, "get_model", get)
    model = attend_to("shufflenet_v2_x0_5", weights="DEFAULT", input_size=SIDE)
    assert asked == [("shufflenet_v2_x0_5", "DEFAULT")]
    assert "weights" not in model.config
    build(model.config)
    assert asked[1] == ("shufflenet_v2_x0_5", None)


def test_weights_of_one_s_own_come_from_a_file_whatever_its_head(tmp_path):
    torch.manual_seed(1)
    mine = get_model("shufflenet_v2_x0_5", weights=None, num_classes=7).eval()
    path = tmp_path / "mine.pth"
    torch.save(mine.state_dict(), path)
    for given in (path, str(path)):
        model = attend_to("shufflenet_v2_x0_5", levels=2, num_classes=5, input_size=SIDE, weights=given).eval()
        direct = attend_to(mine, levels=2, num_classes=5, input_size=SIDE).eval()
        assert torch.equal(model.trunk(pictures()).local[-1], direct.trunk(pictures()).local[-1])
        assert "weights" not in model.config
    part = direct.trunk.backbone.state_dict()
    torch.save(part, path)  # what training up to the last node gives
    again = attend_to("shufflenet_v2_x0_5", levels=2, num_classes=5, input_size=SIDE, weights=path)
    assert all(torch.equal(value, part[name]) for name, value in again.trunk.backbone.state_dict().items())


def test_a_file_with_other_weights_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    options = {"levels": 2, "num_classes": 5, "input_size": SIDE, "weights": path}
    with pytest.raises(FileNotFoundError, match=r"weights: there is no file .*other\.pth"):
        attend_to("shufflenet_v2_x0_5", **options)
    torch.save(get_model("squeezenet1_1", weights=None).state_dict(), path)
    with pytest.raises(ValueError, match=r"does not hold the weights .* missing or of another shape, first 'conv1.0"):
        attend_to("shufflenet_v2_x0_5", **options)
    path.write_bytes(b"not tensors")
    with pytest.raises(ValueError, match="is no file of tensors"):
        attend_to("shufflenet_v2_x0_5", **options)
    torch.save(get_model("shufflenet_v2_x0_5", weights=None).state_dict(), path)
    with pytest.raises(ValueError, match="num_classes must be given: weights from a file do not say it"):
        attend_to("shufflenet_v2_x0_5", **options | {"num_classes": None})


@pytest.mark.parametrize("name", ["resnet18", "regnet_y_400mf"])
def test_a_name_can_be_built_without_memory_and_filled_later(name):
    with torch.device("meta"):
        model = attend_to(name, num_classes=5)
    assert all(value.is_meta for value in model.state_dict().values())
    assert model.num_classes == 5


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


WRONG = {
    "name": (
        {"model": "resnet19"},
        ValueError,
        r"one of torchvision's classifiers alexnet, .*resnet18.*; got 'resnet19'",
    ),
    "not a classifier": (
        {"model": "fcn_resnet50"},
        ValueError,
        r"one of torchvision's classifiers .* got 'fcn_resnet50'",
    ),
    "weights of a module": (
        {"weights": "DEFAULT"},
        ValueError,
        r"weights goes with the name of a model; this ResNet has",
    ),
    "node": (
        {"nodes": ["layer5"]},
        ValueError,
        r"got 'layer5' \(did you mean 'layer.*'\?\); there are .*layer4 512x2x2",
    ),
    "not a map": ({"nodes": ["fc"]}, ValueError, r"nodes must give maps .*; 'fc' gives \(1000,\); there are conv1"),
    "one position": (
        {"input_size": 32, "nodes": ["layer4"]},
        ValueError,
        r"nodes must have several positions; 'layer4'",
    ),
    "classes": ({"num_classes": 0}, ValueError, r"num_classes must be a whole number of at least 1; got 0"),
    "no classes": (
        {"model": Segmenter()},
        ValueError,
        r"num_classes must be given: Segmenter gives no \(b, K\) logits",
    ),
    "option": ({"combine": "sum"}, ValueError, r"combine must be one of 'concat', 'indep', 'global'; got 'sum'"),
    "one node": ({"nodes": "layer2"}, TypeError, r"nodes must be a list of names, such as .*; got 'layer2'"),
    "number for nodes": ({"nodes": 4}, TypeError, r"nodes must be a list of names, such as .*; got 4"),
    "type": ({"model": 3}, TypeError, r"model must be an nn.Module; got int"),
}


@pytest.mark.parametrize(("options", "kind", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_answered_with_what_exists(unchecked, resnet, options, kind, message):
    with pytest.raises(kind, match=message):
        attend_to(**{"model": resnet, "input_size": SIDE} | options)


def test_pictures_too_small_for_a_level_are_refused(resnet):
    model = attend_to(resnet, num_classes=5).eval()
    with pytest.raises(ValueError, match=r"images must be larger than \(32, 32\): node 'layer4' is left with one"):
        model(pictures(side=32))
