"""posthoc: explain() over all methods – shapes, what it refuses, and that it leaves model, images and caller alone."""

import ast
import builtins
import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lpa_core.attention import AttentionEstimator
from lpa_core.models.builders import attention_vgg, small_attention_net
from lpa_core.posthoc import METHODS, explain, layer_maps, picture_maps

CLASSES = 4


class Everything(nn.Module):
    """A network that every method fits: ReLU modules, global average pooling, one linear layer, attention."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.AvgPool2d(2))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(5, CLASSES)
        self.estimator = AttentionEstimator(5, 5)

    def forward(self, images):
        return self.fc(self.drop(self.features(images).mean((2, 3))))

    def attend(self, images):
        local = self.features(images)
        return SimpleNamespace(attended=(self.estimator(local, local.mean((2, 3))),))


def pictures(n: int = 3, size: int = 8) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def maps_of(model: nn.Module, images: Tensor, method: str, targets: object = 1, **options: object) -> Tensor:
    return explain(model, images, targets if METHODS[method].class_specific else None, method=method, **options)


# The table ------------------------------------------------------------------------------------------------------------


def test_the_table_is_complete_and_says_what_is_so():
    functions = {
        name: f
        for module in (picture_maps, layer_maps)
        for name, f in vars(module).items()
        if inspect.isfunction(f) and list(inspect.signature(f).parameters)[:1] == ["task"] and name[0] != "_"
    }
    for helper in ("modified_relus", "activations", "by_gradient"):
        del functions[helper]
    assert {name: m.function for name, m in METHODS.items()} == functions
    for name, m in METHODS.items():
        assert name == m.name
        assert m.description.endswith(".") or m.description.endswith("?"), name
        assert all((m.formula, m.paper, m.channels)), name
        uses_captum = "captum()" in inspect.getsource(m.function)
        assert (m.engine == "captum") == uses_captum, name
        assert m.relu == m.options.get("relu", False), name


@pytest.mark.parametrize("method", METHODS)
def test_shapes_signs_and_classes_are_as_the_table_says(method):
    model, images, about = Everything(), pictures(12, size=8), METHODS[method]
    maps = maps_of(model, images, method)
    assert maps.shape == ((12, 8, 8) if about.resolution == "image" else (12, 4, 4))
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert maps.grad_fn is None
    assert maps.abs().max() > 0
    assert (maps.min() < 0) == (about.sign == "signed")
    if about.class_specific:
        assert not torch.allclose(maps, maps_of(model, images, method, 2))


@pytest.mark.parametrize("method", METHODS)
def test_each_picture_is_explained_on_its_own(method):
    model, images, targets = Everything(), pictures(5), [0, 3, 1, 1, 2]
    whole = maps_of(model, images, method, targets)
    for batch_size in (1, 2):
        parts = maps_of(model, images, method, targets, batch_size=batch_size)
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    for i, target in enumerate(targets):
        one = maps_of(model, images[i : i + 1], method, target)
        torch.testing.assert_close(one[0], whole[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].class_specific])
def test_the_default_class_is_the_predicted_one(method):
    model, images = Everything().eval(), pictures(6)
    model.fc.bias.data -= model(images).detach().mean(dim=0)  # so that the pictures differ in their predicted class
    predicted = model(images).argmax(dim=1)
    assert len(predicted.unique()) > 1
    maps = explain(model, images, method=method)
    assert torch.equal(maps, explain(model, images, predicted, method=method))
    assert torch.equal(maps, explain(model, images, predicted.tolist(), method=method))
    assert not torch.equal(maps, explain(model, images, (predicted + 1) % CLASSES, method=method))


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].class_specific])
def test_several_classes_of_every_picture_are_the_maps_of_each(method):
    model, images = Everything(), pictures(4)
    targets = torch.tensor([[0, 1, 3], [2, 2, 0], [1, 0, 3], [3, 1, 2]])
    maps = maps_of(model, images, method, targets, batch_size=3)
    assert maps.shape[:2] == (4, 3)
    for k in range(3):
        torch.testing.assert_close(maps[:, k], maps_of(model, images, method, targets[:, k]), rtol=0, atol=1e-6)
    assert maps_of(model, images, method, [[1], [0], [2], [3]]).shape[:2] == (4, 1)
    with pytest.raises(ValueError, match="below the model's 4 classes; got 4"):
        maps_of(model, images, method, targets + 1)


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].one_pass])
def test_several_classes_take_one_pass_forward(method):
    class Counts(Everything):
        runs = 0

        def forward(self, images):
            Counts.runs += len(images)
            return super().forward(images)

    passes = 5 if method == "score_cam" else 0  # its five features, whatever the number of classes
    maps_of(Counts(), pictures(4), method, torch.arange(12).view(4, 3) % CLASSES, layer="features")
    assert Counts.runs == 4 * (1 + passes)


def test_a_function_of_one_s_own_is_a_method():
    seen = []

    def own(model, images, targets, *, power=1.0):
        seen.append((model.training, len(images), targets.tolist()))
        return (images.abs().sum(dim=1) ** power * (1 + targets[:, None, None])).numpy()

    model, images = Everything().train(), pictures(3)
    maps = explain(model, images, [2, 0, 1], method=own, batch_size=2, power=2.0)
    expected = images.abs().sum(dim=1) ** 2 * torch.tensor([3, 1, 2])[:, None, None]
    torch.testing.assert_close(maps, expected)
    assert seen == [(False, 2, [2, 0]), (False, 1, [1])]
    assert model.training
    several = explain(model, images, torch.tensor([[0, 1], [1, 2], [3, 3]]), method=own)
    torch.testing.assert_close(several[:, 1], images.abs().sum(dim=1) * torch.tensor([2, 3, 4])[:, None, None])
    predicted = model.eval()(images).argmax(dim=1)
    torch.testing.assert_close(explain(model, images, method=own), explain(model, images, predicted, method=own))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (lambda images: images, ValueError, r"own must give maps \(3, h, w\), at most 8x8; got \(3, 3, 8, 8\)"),
        (lambda images: images[:2, 0], ValueError, r"got \(2, 8, 8\)"),
        (lambda images: images[:, 0].repeat(1, 2, 1), ValueError, r"got \(3, 16, 8\)"),
        (lambda images: "maps", TypeError, "own must give a tensor or an array; got str"),
        (lambda images: images[:, 0] / 0, ValueError, "own gives NaN or infinite values"),
    ],
)
def test_what_a_function_of_one_s_own_gives_is_checked(given, error, message):
    def own(model, images, targets):
        return given(images)

    with pytest.raises(error, match=message):
        explain(Everything(), pictures(), method=own)
    with pytest.raises(ValueError, match="own takes no layer; got 'features'"):
        explain(Everything(), pictures(), method=own, layer="features")


# Nothing is changed ---------------------------------------------------------------------------------------------------

HOOKS = [name for name in vars(nn.Module()) if name.endswith("hooks")]


def snapshot(model: nn.Module, images: Tensor) -> list[object]:
    """All that explaining must not change, in comparable form."""
    state = {name: value.clone().tolist() for name, value in model.state_dict().items()}
    gradients = [(id(p.grad), p.grad.tolist()) if p.grad is not None else None for p in model.parameters()]
    return [
        state,
        gradients,
        [p.requires_grad for p in model.parameters()],
        [m.training for m in model.modules()],
        [len(getattr(m, name)) for m in model.modules() for name in HOOKS],
        [sorted(vars(m)) for m in model.modules()],
        (images.tolist(), images._version, images.requires_grad, images.grad, images._backward_hooks, images.is_leaf),
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    ]


class Fragile(Everything):
    """Fails in the given run of its forward pass."""

    def __init__(self, run: int):
        super().__init__()
        self.runs, self.last = [], run

    def forward(self, images):
        self.runs.append(1)
        if len(self.runs) == self.last:
            raise ArithmeticError("on purpose")
        return super().forward(images)

    def attend(self, images):
        self.forward(images)
        return super().attend(images)


class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("on purpose")


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_changed_by_success_or_failure(method, requires_grad):
    assert len(HOOKS) >= 6
    for run in range(1, 200):
        model, images = Fragile(run), pictures().requires_grad_(requires_grad)
        model.train()
        model.features[1].eval()
        model.fc.weight.grad = torch.full_like(model.fc.weight, 7.0)
        model.fc.bias.requires_grad_(False)
        handle = model.features.register_forward_hook(lambda *_: None)  # the user's own hook stays
        before = snapshot(model, images)
        failed = False
        try:
            maps_of(model, images, method)
        except ArithmeticError:
            failed = True
        model_after = snapshot(model, images)
        assert model_after == before
        handle.remove()
        if not failed:
            break
    assert not failed
    assert run > 1


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("occlusion", "cam", "score_cam", "attention")])
def test_nothing_is_changed_by_a_failure_on_the_way_back(method):
    class Breaks(Everything):
        def forward(self, images):
            x = self.features[:2](images)
            return self.fc(self.features[2:](Fails.apply(x)).mean((2, 3)))

    model, images = Breaks(), pictures()
    before = snapshot(model, images)
    layer = "features.0" if METHODS[method].takes_layer else None
    with pytest.raises(ArithmeticError, match="on purpose"):
        maps_of(model, images, method, layer=layer)
    assert snapshot(model, images) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS)
def test_it_works_under_no_grad_and_in_inference_mode(method, mode):
    model = Everything()
    expected = maps_of(model, pictures(), method)
    with mode():
        assert torch.equal(maps_of(model, pictures(), method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_train_mode_gives_the_map_of_eval_mode(method):
    model = Everything()
    expected = maps_of(model.eval(), pictures(), method)
    assert torch.equal(maps_of(model.train(), pictures(), method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_model_is_explained_like_any(method):
    expected = maps_of(Everything(), pictures(), method)
    assert torch.equal(maps_of(Everything().requires_grad_(False), pictures(), method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_model_is_explained_as_the_original(method):
    model, images = Everything().eval(), pictures()
    expected = maps_of(model, images, method)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager")
    compiled(images)
    assert torch.equal(maps_of(compiled, images, method), expected)
    model.compile(backend="eager")
    model(images)
    assert torch.equal(maps_of(model, images, method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_models_that_give_more_than_logits(method):
    class Gives(Everything):
        def forward(self, images):
            features = self.features(images)
            return {"logits": self.fc(features.mean((2, 3))), "features": features}

    class GivesTuple(Everything):
        def forward(self, images):
            return tuple(Gives.forward(self, images).values())

    expected = maps_of(Everything(), pictures(), method)
    for model in (Gives(), GivesTuple()):
        assert torch.equal(maps_of(model, pictures(), method), expected)


# Other people's networks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [m for m in METHODS if m != "attention"])
def test_a_torchvision_model_works_as_it_is(method):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model, images = resnet18(num_classes=CLASSES), pictures(1, size=64)
    options = {"integrated_gradients": {"steps": 2}, "occlusion": {"window": 32, "stride": 32}}
    maps = explain(model, images, 1, method=method, **options.get(method, {}))
    assert maps.shape == ((1, 64, 64) if METHODS[method].resolution == "image" else (1, 2, 2))
    assert maps.abs().max() > 0
    assert model.training
    if METHODS[method].takes_layer:
        assert torch.equal(maps, explain(model, images, 1, method=method, layer=model.layer4))


def test_our_networks_work():
    torch.manual_seed(0)
    for model, size in ((small_attention_net(), 40), (attention_vgg(5, width=1 / 64, dropout=1.0), 16)):
        for method in METHODS:
            if method != "cam":
                options = {"integrated_gradients": {"steps": 2}, "occlusion": {"window": 16, "stride": 16}}
                maps = maps_of(model, pictures(2, size), method, **options.get(method, {}))
                assert maps.abs().max() > 0, method


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "gradcam"}, ValueError, "method must be one of occlusion, saliency.*; got 'gradcam'"),
        ({"window": 3}, ValueError, "grad_cam has no option window; it has relu"),
        ({"method": "saliency", "a": 1, "b": 2}, ValueError, "no option a, b; it has absolute, channels$"),
        ({"method": "attention", "targets": 1}, ValueError, "attention takes no targets, the map is the same .* got 1"),
        (
            {"method": "attention", "layer": "features"},
            ValueError,
            r"no layer \(choose .* with level=\); got 'features'",
        ),
        ({"method": "saliency", "channels": "rms"}, ValueError, "'sum', 'mean', 'max'; got 'rms'"),
        ({"method": "saliency", "layer": "features"}, ValueError, "saliency takes no layer; got 'features'"),
        ({"layer": "layer4"}, ValueError, r"one of the model's: features, features\.0,.*; got 'layer4'"),
        ({"layer": "fc"}, ValueError, r"layer must give a map .*; 'fc' gives \(3, 4\)"),
        ({"targets": 4}, ValueError, "below the model's 4 classes; got 4"),
        ({"targets": [0, 1, -1]}, ValueError, "from 0; got -1"),
        ({"targets": [0, 1]}, ValueError, "each of the 3 images"),
        ({"targets": [[0, 1]]}, ValueError, r"or \(3, k\) for k classes each; got \(1, 2\)"),
        ({"targets": 1.5}, TypeError, "integers"),
        ({"targets": "3"}, TypeError, "targets must be integers; got '3'"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; got 0"),
        ({"images": torch.zeros(3, 8, 8)}, ValueError, r"\(b, c, h, w\) with at least one picture; got \(3, 8, 8\)"),
        ({"images": torch.zeros(3, 3, 8, 8).byte()}, TypeError, "floating-point"),
        ({"images": torch.full((3, 3, 8, 8), torch.nan)}, ValueError, "576 values are NaN or infinite"),
        ({"model": "resnet18"}, TypeError, r"model must be an nn\.Module; got str"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        explain(**{"model": Everything(), "images": pictures(), **arguments})


@pytest.mark.parametrize("method", ["cam", "hirescam", "saliency", "score_cam"])
def test_bad_arguments_are_refused_before_the_model_runs(method):
    model = Fragile(run=1)
    for arguments in ({"targets": [1, 2]}, {"nonsense": 1}, {"layer": "nowhere"}):
        with pytest.raises(ValueError, match=r"targets must|has no option|layer must be one|takes no layer"):
            explain(model, pictures(), method=method, **arguments)


def test_models_that_give_nan_or_infinite_gradients_are_refused():
    class Root(Everything):
        def forward(self, images):
            return super().forward(images).sqrt()  # the slope of the root at 0 is infinite

    model = Root()
    model.fc.weight.data.fill_(0.0)
    model.fc.bias.data.fill_(0.0)
    with pytest.raises(ValueError, match="hirescam gives NaN or infinite values"):
        explain(model, pictures(), 1, method="hirescam")
    model.fc.bias.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="model gives NaN logits"):
        explain(model, pictures(), 1, method="hirescam")


def test_without_captum_the_way_to_install_it_is_said(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("captum"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install captum; grad_cam, hirescam .* do without"):
        explain(Fragile(run=1), pictures(), method="saliency")
    assert explain(Everything(), pictures()).shape == (3, 4, 4)  # the default method
    for name, method in METHODS.items():
        if method.engine == "lpa_core":
            assert len(maps_of(Everything(), pictures(), name)) == 3


def test_captum_is_imported_by_the_methods_alone():
    for module in (picture_maps, layer_maps, inspect.getmodule(explain)):
        tree = ast.parse(inspect.getsource(module))
        top = {a.name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names}
        top |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not any(name.startswith(("captum.", "torchvision")) for name in top)
