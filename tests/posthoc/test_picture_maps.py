"""input_maps: each method against a plain computation of its formula, and against captum called by hand."""

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpa_core.models.builders import small_attention_net
from lpa_core.posthoc.methods import explain

N, CLASSES = 3, 4
TARGETS = torch.tensor([2, 0, 3])


def pictures(size: int = 9) -> Tensor:
    return torch.randn(N, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def conv(i: int, o: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, padding=1)


def plain(activation: type[nn.Module] = nn.ReLU, pool: type[nn.Module] = nn.MaxPool2d) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [conv(3, 5), nn.BatchNorm2d(5), activation(), pool(2), conv(5, 6), activation()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES)).double().eval()


def gradient(model: nn.Module, images: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    scores = model(images)[torch.arange(N), TARGETS]
    return torch.autograd.grad(scores.sum(), images)[0]


# Occlusion ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (4, 4), (2, 1), (9, 9)])
@pytest.mark.parametrize("probability", [False, True])
def test_occlusion_is_the_plain_loop(window, stride, probability):
    model, images = plain(), pictures()

    def score(x: Tensor) -> Tensor:
        y = model(x)
        return (y.softmax(1) if probability else y)[torch.arange(N), TARGETS]

    with torch.no_grad():
        total, count = torch.zeros(N, 9, 9).double(), torch.zeros(9, 9).double()
        steps = -(-(9 - window) // stride) + 1
        for i in range(steps):
            for j in range(steps):
                here = (slice(i * stride, i * stride + window), slice(j * stride, j * stride + window))
                covered = images.clone()
                covered[:, :, here[0], here[1]] = 0.5
                total[:, here[0], here[1]] += (score(images) - score(covered))[:, None, None]
                count[here] += 1
    options = {"window": window, "stride": stride, "probability": probability, "baseline": 0.5}
    for evaluations in (4, 1000):
        maps = explain(model, images, TARGETS, method="occlusion", evaluations=evaluations, **options)
        torch.testing.assert_close(maps, total / count, rtol=0, atol=1e-7)  # captum gives float32


@pytest.mark.parametrize("shape", [(10, 30), (30, 10)], ids=["wide", "high"])
def test_a_window_is_by_default_a_fifth_of_the_shorter_side_and_may_be_one_pixel(shape):
    model, images = plain(), pictures(30)[..., : shape[0], : shape[1]]
    default = explain(model, images, TARGETS, method="occlusion")
    assert torch.equal(default, explain(model, images, TARGETS, method="occlusion", window=2, stride=1))
    small = explain(model, images[..., :10, :10], TARGETS, method="occlusion", window=1)
    assert small.shape == (N, 10, 10)


def test_an_occlusion_map_exists_for_pictures_of_one_channel():
    torch.manual_seed(0)
    model = nn.Sequential(conv(1, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, CLASSES)).double()
    assert explain(model, pictures()[:, :1], TARGETS, method="occlusion").abs().sum() > 0


def test_occlusion_covers_all_windows_of_a_picture_in_one_batched_pass():
    model, images = plain(), pictures(size=20)[:1]
    batches = []
    handle = model.register_forward_hook(lambda _m, inputs, _o: batches.append(len(inputs[0])))
    explain(model, images, 1, method="occlusion")  # windows of 4 pixels, every 2
    handle.remove()
    assert max(batches) == 81
    assert batches.count(81) == 1
    assert sum(batches) <= 81 + 2  # the score of the whole picture, and the number of classes


def test_a_picture_as_baseline_is_used_as_one():
    model, images = plain(), pictures()
    baseline = torch.randn(3, 9, 9, dtype=torch.float64)
    maps = explain(model, images, TARGETS, method="occlusion", window=9, stride=9, baseline=baseline)
    scores = model(images)[torch.arange(N), TARGETS] - model(baseline[None])[0, TARGETS]
    torch.testing.assert_close(maps, scores[:, None, None].expand(N, 9, 9), rtol=0, atol=1e-7)
    per_colour = torch.tensor([0.1, 0.2, 0.3]).double().view(3, 1, 1)
    one = explain(model, images, TARGETS, method="integrated_gradients", baseline=per_colour)
    whole = explain(model, images, TARGETS, method="integrated_gradients", baseline=per_colour.expand(3, 9, 9))
    assert torch.equal(one, whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 10}, "window must be 1 to 9 pixels"),
        ({"window": 0}, "got window=0"),
        ({"window": 3, "stride": 4}, "stride 1 to window; got window=3, stride=4"),
        ({"baseline": torch.zeros(3, 8, 9)}, r"one picture \(3, 9, 9\); got \(3, 8, 9\)"),
        ({"baseline": torch.zeros(3)}, r"got \(3,\)"),
    ],
)
def test_bad_windows_and_baselines(options, message):
    with pytest.raises(ValueError, match=message):
        explain(plain(), pictures(), method="occlusion", **options)


# Gradients ------------------------------------------------------------------------------------------------------------


def test_saliency_is_the_gradient_by_hand():
    model, images = plain(), pictures()
    expected = gradient(model, images)
    cases = {
        ("max", True): expected.abs().amax(1),
        ("sum", False): expected.sum(1),
        ("mean", True): expected.abs().mean(1),
        ("max", False): expected.amax(1),
    }
    for (channels, absolute), by_hand in cases.items():
        maps = explain(model, images, TARGETS, method="saliency", channels=channels, absolute=absolute)
        torch.testing.assert_close(maps, by_hand, rtol=0, atol=1e-14)
    default = explain(model, images, TARGETS, method="saliency")
    assert torch.equal(default, explain(model, images, TARGETS, method="saliency", channels="max", absolute=True))


def test_smooth_grad_is_the_mean_gradient_over_the_same_noise():
    class Square(nn.Module):
        """s = sum_i x_i^2 / 2 of the first colour: the gradient is the picture itself, noise included."""

        def forward(self, images):
            return (images[:, :1] ** 2 / 2).sum((1, 2, 3))[:, None]

    images = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draw = torch.Generator().manual_seed(4)
    noise = sum(torch.randn(3, 5, 5, generator=draw, dtype=torch.float64) for _ in range(6)) / 6
    spread = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
    expected = (images + 0.3 * spread[:, None, None, None] * noise)[:, 0].abs()
    options = {"method": "smooth_grad", "samples": 6, "noise": 0.3, "seed": 4}
    torch.testing.assert_close(explain(Square(), images, 0, **options), expected)
    signed = explain(Square(), images, 0, absolute=False, channels="sum", **options)
    torch.testing.assert_close(signed.abs(), expected)
    torch.testing.assert_close(
        explain(Square(), images, 0, method="smooth_grad", noise=0.0, samples=1),
        explain(Square(), images, 0, method="saliency"),
    )


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise": -0.1}, {"noise": float("nan")}])
def test_smooth_grad_needs_a_sample_and_a_size_of_noise(options):
    with pytest.raises(ValueError, match="samples must be at least 1 and noise at least 0"):
        explain(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(1, 3, 2, 2), method="smooth_grad", **options)


def test_gradient_x_input_by_hand_and_exact_for_a_linear_network():
    model, images = plain(), pictures()
    expected = (gradient(model, images) * images).sum(1)
    maps = explain(model, images, TARGETS, method="gradient_x_input")
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-14)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 81, CLASSES, bias=False)).double()
    for method in ("gradient_x_input", "integrated_gradients"):
        maps = explain(linear, images, TARGETS, method=method)
        torch.testing.assert_close(maps.sum((1, 2)), linear(images)[torch.arange(N), TARGETS], rtol=0, atol=1e-9)


def test_integrated_gradients_are_complete():
    images = pictures()
    for model, steps, tolerance in ((plain(nn.Tanh, nn.AvgPool2d), 50, 1e-6), (plain(), 1000, 1e-3)):
        rise = (model(images) - model(torch.full_like(images, 0.3)))[torch.arange(N), TARGETS]
        maps = explain(model, images, TARGETS, method="integrated_gradients", steps=steps, baseline=0.3)
        torch.testing.assert_close(maps.sum((1, 2)), rise, rtol=0, atol=tolerance)
        assert rise.abs().min() > 10 * tolerance  # so that a map of zeros would not pass


def test_integrated_gradients_do_not_depend_on_how_they_are_batched():
    model, images = plain(), pictures()
    maps = [
        explain(model, images, TARGETS, method="integrated_gradients", steps=20, evaluations=e, batch_size=b)
        for e, b in ((9, 3), (7, 2), (1000, 1))
    ]
    torch.testing.assert_close(maps[0], maps[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(maps[0], maps[2], rtol=0, atol=1e-12)


def test_integrated_gradients_keep_the_dtype_and_need_a_step():
    images = pictures().float()
    assert explain(plain().float(), images, method="integrated_gradients").dtype == torch.float32
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        explain(plain(), pictures(), method="integrated_gradients", steps=0)


# Parity with captum ---------------------------------------------------------------------------------------------------

ENGINES = {
    "saliency": lambda m: captum.attr.Saliency(m),
    "gradient_x_input": lambda m: captum.attr.InputXGradient(m),
    "integrated_gradients": lambda m: captum.attr.IntegratedGradients(m),
    "deconvnet": lambda m: captum.attr.Deconvolution(m),
    "guided_backprop": lambda m: captum.attr.GuidedBackprop(m),
}
SIGNED = {"gradient_x_input", "integrated_gradients"}


@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor 0 did not")
@pytest.mark.parametrize("method", ENGINES)
@pytest.mark.parametrize("network", ["plain", "small_attention_net"])
def test_parity_with_captum(method, network):
    torch.manual_seed(0)
    model, size = (plain(), 9) if network == "plain" else (small_attention_net(CLASSES).double().eval(), 40)
    images = pictures(size)
    theirs = ENGINES[method](model).attribute(images.clone(), target=TARGETS).detach()
    expected = theirs.sum(1) if method in SIGNED else theirs.abs().amax(1)
    assert expected.abs().max() > 1e-6
    torch.testing.assert_close(explain(model, images, TARGETS, method=method), expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not")
def test_parity_with_captum_occlusion():
    model, images = plain(), pictures()
    theirs = captum.attr.Occlusion(model).attribute(images, (3, 2, 2), (3, 1, 1), target=TARGETS)
    torch.testing.assert_close(
        explain(model, images, TARGETS, method="occlusion"), theirs[:, 1].double(), rtol=0, atol=1e-12
    )


# Modified ReLUs -------------------------------------------------------------------------------------------------------


class Rule(torch.autograd.Function):
    """ReLU forwards; backwards the rule of guided backpropagation or, with ``forget``, of the DeconvNet."""

    @staticmethod
    def forward(ctx, x, forget):
        ctx.save_for_backward(x)
        ctx.forget = forget
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g.clamp(min=0) * (torch.ones_like(x) if ctx.forget else (x > 0)), None


class Ruled(nn.Module):
    def __init__(self, forget: bool):
        super().__init__()
        self.forget = forget

    def forward(self, x):
        return Rule.apply(x, self.forget)


class Net(nn.Module):
    """One ReLU module in all places. ``path``: in a row, in two branches, or on a skip connection's own input."""

    def __init__(self, path: str, relu: nn.Module):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = conv(3, 5), conv(5, 5), conv(5, 5)
        self.path, self.relu, self.fc = path, relu, nn.Linear(5, CLASSES)
        self.double().eval()

    def forward(self, x):
        x = self.a(x)
        if self.path == "row":
            x = self.relu(self.c(self.relu(self.b(self.relu(x)))))
        elif self.path == "branches":
            first, second = self.b(x), self.c(x)
            x = self.relu(first) * 2 + self.relu(second)
        else:
            x = self.b(self.relu(x)) + x
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize("path", ["row", "branches", "skip"])
@pytest.mark.parametrize("inplace", [False, True])
def test_the_relu_rule_is_exact_where_one_module_is_reused_or_its_input_is_used_twice(method, path, inplace):
    if inplace and path == "skip":
        inplace = False  # this network would not train either: the skip connection's input would be overwritten
    images = pictures()
    expected = gradient(Net(path, Ruled(method == "deconvnet")), images)
    maps = explain(Net(path, nn.ReLU(inplace)), images, TARGETS, method=method, absolute=False, channels="sum")
    torch.testing.assert_close(maps, expected.sum(1), rtol=0, atol=1e-14)
    assert (expected - gradient(Net(path, nn.ReLU()), images)).abs().max() > 1e-4  # the rule makes a difference


@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor 0 did not")
def test_captum_alone_would_be_wrong_on_a_skip_connection():
    """Why explain() copies before every ReLU. If this fails, captum was mended and the copies can go."""
    images = pictures()
    theirs = captum.attr.GuidedBackprop(Net("skip", nn.ReLU())).attribute(images.clone(), TARGETS)
    assert (theirs - gradient(Net("skip", Ruled(False)), images)).abs().max() > 1e-4


class Functional(nn.Module):
    def __init__(self, mixed: bool):
        super().__init__()
        self.a, self.b, self.fc = conv(3, 5), conv(5, 5), nn.Linear(5, CLASSES)
        self.relu, self.mixed = nn.ReLU(), mixed

    def forward(self, x):
        x = self.a(x)
        x = self.relu(x) if self.mixed else F.relu(x)
        return self.fc(torch.relu(self.b(x)).mean((2, 3)))


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "guided_grad_cam"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Functional(mixed=False), "logit of Functional 2 of 2 are functional"),
        (Functional(mixed=True), "logit of Functional 1 of 2 are functional"),
        (plain(nn.Tanh), "logit of Sequential there is none"),
        (plain(nn.ReLU6), r"logit of Sequential \d of \d are functional, or ReLU6"),  # captum would pass over them
    ],
)
def test_models_whose_relus_cannot_be_changed_are_refused(method, model, message):
    with pytest.raises(ValueError, match=message):
        explain(model.float(), pictures().float(), method=method)
