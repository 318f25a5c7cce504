"""layer_maps: the CAM family on networks where the answer is known, and the model's own attention."""

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpa_core.models.builders import small_attention_net, vgg_gap
from lpa_core.models.classifier import AttentionClassifier
from lpa_core.models.small_trunk import SmallTrunk
from lpa_core.posthoc.layers import map_layers
from lpa_core.posthoc.methods import explain

N, CLASSES = 3, 4
TARGETS = torch.tensor([2, 0, 3])


def pictures(size: int = 12) -> Tensor:
    return torch.randn(N, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gap_network(**relu: bool) -> nn.Sequential:
    """Two convolutions, global average pooling, one linear layer: where CAM is defined."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(**relu),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(5, 6, 3), nn.ReLU(**relu)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(6, CLASSES),
    ).double()


class Readout(nn.Module):
    """One feature map, the picture itself, read by one weight for each position: s = sum_i w_i A_i."""

    def __init__(self, weights: list[list[float]]):
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.features.weight)
        self.fc = nn.Linear(4, 1, bias=False)
        self.fc.weight.data = torch.tensor(weights).reshape(1, 4)

    def forward(self, images):
        return self.fc(self.features(images).flatten(1))


# CAM = Grad-CAM = HiResCAM --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inplace", [False, True])
def test_on_a_gap_network_cam_grad_cam_and_hirescam_agree(inplace):
    model, images = gap_network(inplace=inplace).eval(), pictures()
    maps = explain(model, images, TARGETS, method="cam")
    n = maps[0].numel()
    assert n == 16
    grad = explain(model, images, TARGETS, method="grad_cam", relu=False)
    hires = explain(model, images, TARGETS, method="hirescam")
    assert maps.min() < -1e-3 < 1e-3 < maps.max()
    torch.testing.assert_close(maps / n, grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(maps / n, hires, rtol=0, atol=1e-12)
    assert (maps / n - hires.float()).abs().max() < 1e-6
    # CAM is the class's evidence: its mean and the bias are the logit.
    logits = model(images)[torch.arange(N), TARGETS]
    torch.testing.assert_close(maps.mean((1, 2)) + model[-1].bias[TARGETS], logits, rtol=0, atol=1e-12)
    # With the ReLU they agree as well, and Grad-CAM has it by default.
    for method in ("cam", "hirescam", "grad_cam"):
        factor = n if method == "cam" else 1
        rectified = explain(model, images, TARGETS, method=method, relu=True)
        torch.testing.assert_close(rectified, hires.relu() * factor, rtol=0, atol=1e-12)
    assert torch.equal(explain(model, images, TARGETS), explain(model, images, TARGETS, method="grad_cam", relu=True))


def test_on_vgg_gap_they_agree_in_single_precision_too():
    torch.manual_seed(0)
    model, images = vgg_gap(CLASSES, width=1 / 32), pictures(32).float()
    maps = explain(model, images, TARGETS, method="cam")
    assert maps.shape == (N, 8, 8)
    assert maps.abs().max() > 0.1  # so that the tolerance means something
    for method in ("grad_cam", "hirescam"):
        other = explain(model, images, TARGETS, method=method, relu=False)
        torch.testing.assert_close(other, maps / 64, rtol=0, atol=1e-6 * float(maps.abs().max() / 64))


def test_cam_by_its_formula():
    model, images = gap_network().eval(), pictures()
    activation = model[:5](images)
    expected = torch.stack(
        [(model[-1].weight[k][:, None, None] * a).sum(0) for k, a in zip(TARGETS, activation, strict=True)]
    )
    torch.testing.assert_close(explain(model, images, TARGETS, method="cam"), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", ["2", "4.0"])
def test_cam_refuses_a_layer_that_is_not_the_one_pooled(layer):
    with pytest.raises(ValueError, match=f"global average pooling of layer '{layer}'"):
        explain(gap_network(), pictures(), method="cam", layer=layer)


def test_cam_refuses_networks_that_end_otherwise():
    max_pooled = gap_network()
    max_pooled[5] = nn.AdaptiveMaxPool2d(1)
    with_more = nn.Sequential(*gap_network(), nn.ReLU())
    deeper = nn.Sequential(*gap_network()[:-1], nn.Linear(6, 6), nn.Linear(6, CLASSES)).double()
    without = nn.Sequential(*gap_network()[:5], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for model in (max_pooled, with_more, deeper, without):
        with pytest.raises(ValueError, match=r"Sequential does not\. grad_cam and hirescam fit any network"):
            explain(model, pictures(), method="cam")
    with pytest.raises(ValueError, match="AttentionClassifier does not"):
        explain(small_attention_net(CLASSES).double(), pictures(40), method="cam")


# HiResCAM against Grad-CAM --------------------------------------------------------------------------------------------


def test_hirescam_and_grad_cam_differ_where_the_answer_is_known():
    """A = [[1, 2], [3, 4]]. The network reads only the first position: s = 2 A_1, so 2 is owed to it alone."""
    images = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    model = Readout([[2.0, 0.0], [0.0, 0.0]])
    hires = explain(model, images, 0, method="hirescam", layer="features")
    assert hires.tolist() == [[[2.0, 0.0], [0.0, 0.0]]]
    assert hires.sum() == model(images)[0, 0]
    # Grad-CAM averages the gradient, 2 / 4, and marks most what was not read at all.
    assert explain(model, images, 0, layer="features").tolist() == [[[0.5, 1.0], [1.5, 2.0]]]
    # Gradients that cancel in the mean leave Grad-CAM with nothing.
    model = Readout([[1.0, -1.0], [1.0, -1.0]])
    assert explain(model, images, 0, layer="features", relu=False).abs().sum() == 0
    assert explain(model, images, 0, method="hirescam", layer="features").tolist() == [[[1.0, -2.0], [3.0, -4.0]]]


def test_hirescam_of_an_attention_network_is_the_trained_map_times_a_term_of_the_class():
    """pc with softmax: ds/dl_i = a_i (v + <v, l_i - g_a> u) with v = ds/dg_a, by the product rule; g cancels."""
    torch.manual_seed(0)
    model, images = small_attention_net(CLASSES).double().eval(), pictures(40)
    output = model.attend(images)
    vectors = [attended.vector for attended in output.attended]
    (v,) = torch.autograd.grad(model.classify(vectors)[torch.arange(N), TARGETS].sum(), vectors[2])
    local, u, a = model.trunk(images).local[2], model.estimators[2].u.flatten(), output.attended[2].weights
    v_l, u_l = torch.einsum("bchw,bc->bhw", local, v), torch.einsum("bchw,c->bhw", local, u)
    expected = a * (v_l + (v_l - (v * vectors[2]).sum(dim=1)[:, None, None]) * u_l)
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(explain(model, images, TARGETS, method="hirescam"), expected, rtol=0, atol=1e-12)


# Against captum, and by hand ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor 0 did not")
@pytest.mark.parametrize("place", [0, -1])
def test_parity_with_captum(place):
    torch.manual_seed(0)
    model = small_attention_net(CLASSES, compatibility="dp").double().eval()
    images = pictures(40)
    layer = list(map_layers(model, images))[place]
    module = model.get_submodule(layer)
    for relu in (False, True):
        theirs = captum.attr.LayerGradCam(model, module).attribute(images, TARGETS, relu_attributions=relu)
        ours = explain(model, images, TARGETS, layer=layer, relu=relu)
        torch.testing.assert_close(ours, theirs[:, 0], rtol=0, atol=1e-12)
        assert ours.abs().max() > 1e-6
    theirs = captum.attr.GuidedGradCam(model, module).attribute(images, TARGETS, interpolate_mode="bilinear")
    ours = explain(model, images, TARGETS, method="guided_grad_cam", layer=module)
    torch.testing.assert_close(ours, theirs.abs().amax(1), rtol=0, atol=1e-12)
    theirs = captum.attr.LayerGradientXActivation(model, module).attribute(images, TARGETS)
    ours = explain(model, images, TARGETS, method="hirescam", layer=layer)
    torch.testing.assert_close(ours, theirs.sum(1), rtol=0, atol=1e-12)


def test_grad_cam_and_guided_grad_cam_by_hand():
    model, images = gap_network().eval(), pictures()
    activation = model[:3](images).detach().requires_grad_()
    scores = model[3:](activation)[torch.arange(N), TARGETS]
    (gradient,) = torch.autograd.grad(scores.sum(), activation)
    expected = (gradient.mean((2, 3), keepdim=True) * activation).sum(1).detach()
    torch.testing.assert_close(explain(model, images, TARGETS, layer="2", relu=False), expected, rtol=0, atol=1e-12)
    enlarged = F.interpolate(expected[:, None].relu(), size=(12, 12), mode="bilinear", align_corners=False)[:, 0]
    guided = explain(model, images, TARGETS, method="guided_backprop")
    product = explain(model, images, TARGETS, method="guided_grad_cam", layer="2")
    torch.testing.assert_close(product, guided * enlarged, rtol=0, atol=1e-12)


def two_features() -> tuple[nn.Module, Tensor]:
    """Two feature maps, the two colours of one 2x2 picture, read by one weight for each position: g is known."""
    model = Readout([[0.0] * 4])
    model.features = nn.Conv2d(2, 2, 1, bias=False)
    model.features.weight.data = torch.eye(2).view(2, 2, 1, 1)
    model.fc = nn.Linear(8, 1, bias=False)
    model.fc.weight.data = torch.tensor([[1.0, 1.0, 0.0, -2.0, 0.0, 0.0, 0.0, 4.0]])
    return model, torch.tensor([[[[1.0, 2.0], [3.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]]])


def test_grad_cam_plus_plus_by_hand():
    model, images = two_features()
    # Feature 1 sums to 6: alpha = 1 / (2 + 6) where g is 1, and the negative g does not count: w = 2/8. Feature 2 sums
    # to 2: alpha = 1 / (2 + 2 * 4) where g is 4: w = 4/10.
    expected = torch.tensor([[[0.25, 0.5 + 0.4], [0.75, 0.4]]])
    torch.testing.assert_close(explain(model, images, 0, method="grad_cam_plus_plus", layer="features"), expected)


def test_layer_cam_by_hand():
    model, images = two_features()
    expected = torch.tensor([[[1.0, 2.0], [0.0, 4.0]]])  # A times g, where g is positive
    torch.testing.assert_close(explain(model, images, 0, method="layer_cam", layer="features"), expected)
    images[0, 1, 1, 1] = -1.0
    with_sign = explain(model, images, 0, method="layer_cam", layer="features", relu=False)
    torch.testing.assert_close(with_sign, torch.tensor([[[1.0, 2.0], [0.0, -4.0]]]))
    torch.testing.assert_close(
        explain(model, images, 0, method="layer_cam", layer="features"), with_sign.clamp(min=0.0)
    )


@pytest.mark.parametrize("evaluations", [1, 256])
def test_score_cam_by_hand(evaluations):
    model, images = two_features()
    # The picture through feature 1, [1 2; 3 0] / 3: s = 1/3 + 4/3 - 0 + 0. Through feature 2, [0 1; 0 1]: s = 2 + 4.
    weights = torch.tensor([5 / 3, 6.0]).softmax(dim=0)
    expected = (weights[:, None, None] * images[0]).sum(dim=0)[None]
    maps = explain(model, images, 0, method="score_cam", layer="features", evaluations=evaluations)
    torch.testing.assert_close(maps, expected)


def test_a_constant_feature_shows_score_cam_nothing():
    model, images = two_features()
    images[0, 1] = 7.0  # H = 0: the score of the black picture, which is 0
    weights = torch.tensor([5 / 3, 0.0]).softmax(dim=0)
    expected = (weights[:, None, None] * images[0]).sum(dim=0)[None]
    torch.testing.assert_close(explain(model, images, 0, method="score_cam", layer="features"), expected)


def test_a_network_that_turns_gradients_off_before_the_layer_and_on_after_it_is_explained():
    class Switches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = gap_network()

        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                early = self.net[:3](images)
            return self.net[4:](early)

    model = Switches().eval()
    maps = explain(model, pictures(), TARGETS, layer="net.2")
    assert maps.abs().max() > 0

    class Off(Switches):
        def forward(self, images: Tensor) -> Tensor:
            with torch.no_grad():
                return super().forward(images)

    with pytest.raises(ValueError, match="no gradient reaches"):
        explain(Off().eval(), pictures(), TARGETS, layer="net.2")


def test_a_layer_before_an_in_place_relu_keeps_its_own_values():
    model, images = gap_network(inplace=True).eval(), pictures()
    out_of_place = gap_network(inplace=False).eval()
    for method in ("grad_cam", "hirescam"):
        ours = explain(model, images, TARGETS, method=method, layer="1", relu=False)
        expected = explain(out_of_place, images, TARGETS, method=method, layer="1", relu=False)
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


class AddsInPlace(nn.Module):
    """What follows the layer overwrites its output, as a residual block does."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5, CLASSES)

    def forward(self, images):
        out = self.conv(images)
        out += 3.0
        return self.fc(out.mean((2, 3)))


@pytest.mark.parametrize("method", ["grad_cam", "hirescam"])
def test_a_layer_that_is_overwritten_counts_with_what_it_gave(method):
    model, images = AddsInPlace().double(), pictures()
    with torch.no_grad():
        expected = torch.einsum("bchw,bc->bhw", model.conv(images), model.fc.weight[TARGETS]) / 100
    maps = explain(model, images, TARGETS, method=method, layer="conv", relu=False)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="layer 'conv' and one linear layer for cam"):  # it is not what is pooled
        explain(model, images, TARGETS, method="cam", layer="conv")


class Twice(nn.Module):
    """One convolution, run twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, CLASSES)

    def forward(self, images):
        return self.fc(self.conv(self.conv(images).relu()).mean((2, 3)))


def test_of_a_layer_that_runs_twice_the_last_run_counts():
    model, images = Twice().double(), pictures()
    with torch.no_grad():
        activation = model.conv(model.conv(images).relu())
        expected = torch.einsum("bchw,bc->bhw", activation, model.fc.weight[TARGETS])
    torch.testing.assert_close(explain(model, images, TARGETS, method="cam", layer="conv"), expected)
    for method in ("grad_cam", "hirescam"):
        maps = explain(model, images, TARGETS, method=method, layer="conv", relu=False)
        torch.testing.assert_close(maps * activation[0, 0].numel(), expected)


class Sides(nn.Module):
    """``side`` runs and leads nowhere, ``idle`` never runs, ``pair`` gives two tensors."""

    def __init__(self):
        super().__init__()
        self.main, self.side, self.idle = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.pair, self.fc = nn.Module(), nn.Linear(4, CLASSES)
        self.pair.forward = lambda x: (x, x)

    def forward(self, images):
        self.side(images)
        return self.fc(self.pair(self.main(images))[0].mean((2, 3)))


@pytest.mark.parametrize("method", ["cam", "grad_cam", "hirescam", "guided_grad_cam"])
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("fc", r"'fc' gives \(\d, 4\)"),
        ("idle", "'idle' did not run"),
        ("pair", "'pair' gives a tuple"),
        ("nothing", "one of the model's: main, side, idle, pair, fc; got 'nothing'"),
        (nn.Conv2d(3, 4, 3), "got a Conv2d that is not part of it"),
    ],
)
def test_layers_that_give_no_map_are_refused(method, layer, message):
    with pytest.raises(ValueError, match=message):
        explain(Sides().double(), pictures(), method=method, layer=layer)


@pytest.mark.parametrize("method", ["grad_cam", "hirescam", "guided_grad_cam"])
def test_a_layer_that_leads_nowhere_is_refused(method):
    with pytest.raises(ValueError, match="no gradient reaches 'side'"):
        explain(Sides().double(), pictures(), method=method, layer="side")


# Trained attention ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compatibility", ["pc", "dp", "additive", "uniform"])
def test_attention_is_the_models_own_by_level(compatibility):
    torch.manual_seed(0)
    model = small_attention_net(CLASSES, compatibility=compatibility).double().eval()
    images = pictures(40)
    attended = model.attend(images).attended
    for level in (0, 1, 2, -1, -3):
        maps = explain(model, images, method="attention", level=level)
        torch.testing.assert_close(maps, attended[level].weights)  # in another memory format: equal up to rounding
    torch.testing.assert_close(explain(model, images, method="attention"), attended[-1].weights)


def test_attention_takes_no_class():
    with pytest.raises(ValueError, match="attention takes no targets, the map is the same for every class; got 3"):
        explain(small_attention_net(), pictures(40).float(), 3, method="attention")


def test_attention_that_does_not_exist():
    model = small_attention_net(levels=2)
    for level in (2, -3):
        with pytest.raises(ValueError, match=f"one of the model's 2, from 0 .shallow. or -1; got {level}"):
            explain(model, pictures(40).float(), method="attention", level=level)
    without = AttentionClassifier(SmallTrunk(), 10, combine="global")
    with pytest.raises(ValueError, match="this AttentionClassifier has no level to show"):
        explain(without, pictures(40).float(), method="attention")
    with pytest.raises(ValueError, match="Sequential has none"):
        explain(gap_network(), pictures(), method="attention")
    with pytest.raises(ValueError, match=r"attention takes no layer \(choose among the model's own maps with level=\)"):
        explain(model, pictures(40).float(), method="attention", layer="trunk")
