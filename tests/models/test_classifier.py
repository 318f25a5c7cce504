"""Heads, ways to combine the levels, loading, and the maps in one call."""

import copy

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lpa_core.models.builders import small_attention_net, vgg, vgg_gap, vgg_pan
from lpa_core.models.classifier import AttentionClassifier, attention_maps
from lpa_core.models.small_trunk import SmallTrunk

K = 5


def images(batch: int = 3, size: tuple[int, int] = (16, 24)) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def net(**options: object) -> AttentionClassifier:
    """A small network whose BatchNorms do something, in eval mode."""
    torch.manual_seed(0)
    model = small_attention_net(K, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def prepared(model: AttentionClassifier, vectors: list[Tensor]) -> list[Tensor]:
    return [functional.relu(prepare[0](v)) for prepare, v in zip(model.prepare, vectors, strict=True)]


# The head -------------------------------------------------------------------------------------------------------------


def test_concat_is_one_linear_layer_on_all_levels():
    model = net()
    logits, attended, _ = model.attend(images())
    head = model.classifiers[0]
    vectors = torch.cat(prepared(model, [a.vector for a in attended]), dim=1)
    torch.testing.assert_close(logits, vectors @ head.weight.T + head.bias)
    assert head.in_features == sum(model.trunk.local_channels)


def test_indep_averages_the_probabilities_of_the_levels():
    model = net(combine="indep")
    logits, attended, _ = model.attend(images())
    each = [layer(v) for layer, v in zip(model.classifiers, prepared(model, [a.vector for a in attended]), strict=True)]
    probabilities = sum(x.softmax(1) for x in each) / 3
    torch.testing.assert_close(logits.softmax(1), probabilities)
    torch.testing.assert_close(logits, probabilities.log())
    assert not torch.allclose(logits.softmax(1), sum(each).softmax(1), atol=1e-3)  # the authors' code adds logits


def test_indep_is_exact_where_a_class_is_hopeless():
    model = net(combine="indep", levels=1)
    nn.init.zeros_(model.classifiers[0].weight)
    model.classifiers[0].bias.data = torch.tensor([0.0, 0.0, -500.0, -500.0, -500.0])
    logits = model(images())
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits[:, 2] - logits[:, 0], torch.full((3,), -500.0))


def test_global_classifies_from_g_and_looks_at_nothing():
    model = net(combine="global", compatibility="uniform")
    logits, attended, g = model.attend(images())
    assert attended == ()
    torch.testing.assert_close(logits, model.classifiers[0](prepared(model, [g])[0]))


def test_a_linear_head_prepares_nothing():
    torch.manual_seed(0)
    model = AttentionClassifier(SmallTrunk(levels=1), K, head="linear").eval()
    logits, (attended,), _ = model.attend(images())
    torch.testing.assert_close(logits, model.classifiers[0](attended.vector))


def test_vgg_gap_is_what_class_activation_maps_need():
    """The class activation map, averaged, plus the bias is the logit: nothing stands between map and logit."""
    torch.manual_seed(0)
    model = vgg_gap(K, width=1 / 16).eval()
    last = model.trunk(images(size=(32, 32))).local[-1]
    head = model.classifiers[0]
    cam = torch.einsum("bchw,kc->bkhw", last, head.weight)
    torch.testing.assert_close(model(images(size=(32, 32))), cam.mean((2, 3)) + head.bias)
    assert cam.shape[2:] == (8, 8)


def test_dropout_multiplies_the_authors_rates():
    def rates(**options: object) -> list[float]:
        model = AttentionClassifier(SmallTrunk(), K, g_per_level=True, **options)
        return [m.p for m in (*model.prepare.modules(), *model.estimators.modules()) if isinstance(m, nn.Dropout)]

    assert rates() == [0.5] * 6
    assert rates(dropout=0.5, head_rate=0.3) == [0.15] * 3 + [0.25] * 3


def test_one_g_or_one_per_level():
    shared, own = net(), net(g_per_level=True)
    top = shared.trunk.global_channels
    assert [e.project_global is not None for e in shared.estimators] == [c != top for c in shared.trunk.local_channels]
    assert all(e.project_global is not None for e in own.estimators)
    assert all(e.project_global is None for e in net(g_per_level=True, compatibility="uniform").estimators)


def test_classify_is_what_attend_ends_with():
    for combine in ("concat", "indep", "global"):
        model = net(combine=combine)
        logits, attended, g = model.attend(images())
        assert torch.equal(model.classify([a.vector for a in attended] or [g]), logits)
        with pytest.raises(ValueError, match=r"vectors must be \d, one for each level; got 0"):
            model.classify([])


# Maps in one call -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 40, (7, 9)])
def test_maps_are_the_weights_enlarged(size):
    model = net()
    maps = attention_maps(model, images(), size=size)
    height, width = {None: (16, 24), 40: (40, 40)}.get(size, size)
    assert len(maps) == 3
    for got, level in zip(maps, model.attend(images()).attended, strict=True):
        weights = level.weights[:, None]
        expected = functional.interpolate(weights, size=(height, width), mode="bilinear", align_corners=False)[:, 0]
        assert got.shape == (3, height, width)
        assert torch.equal(got, expected)
        assert not got.requires_grad


def test_one_picture_is_a_batch_of_one():
    model = net()
    for alone, batch in zip(attention_maps(model, images()[1]), attention_maps(model, images()), strict=True):
        assert alone.shape == (1, 16, 24)
        torch.testing.assert_close(alone, batch[1:2])


def test_a_uniform_level_has_one_value_everywhere():
    model = net(compatibility="uniform")
    attended = model.attend(images()).attended
    for enlarged, level in zip(attention_maps(model, images()), attended, strict=True):
        torch.testing.assert_close(enlarged, torch.full_like(enlarged, 1 / level.weights[0].numel()))


def test_a_progressive_network_shows_its_mask_and_its_weights():
    model = vgg_pan(K, width=1 / 16)
    mask, weights = attention_maps(model, images(size=(32, 32)), size=8)
    assert mask.shape == weights.shape == (3, 8, 8)
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(3))
    assert mask.max() <= 1
    assert mask.sum((1, 2)).min() > 1.5


def test_asking_for_maps_leaves_the_model_as_it_was():
    model = net().train()
    model.trunk.eval()  # say, frozen
    modes, state = [m.training for m in model.modules()], copy.deepcopy(model.state_dict())
    in_train = attention_maps(model, images())
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    for one, other in zip(in_train, attention_maps(model.eval(), images()), strict=True):
        assert torch.equal(one, other)


WRONG_MAPS = {
    "bytes": (lambda m, x: attention_maps(m, x.to(torch.uint8)), TypeError, "images must be floating point"),
    "gray": (
        lambda m, x: attention_maps(m, x[:, :1]),
        ValueError,
        r"images must be \(b, 3, h, w\); got \(3, 1, 16, 24\)",
    ),
    "NaN": (lambda m, x: attention_maps(m, x / 0 * 0), ValueError, "images must be numbers; got NaN"),
    "size": (lambda m, x: attention_maps(m, x, size=0), ValueError, "size must be a whole number of at least 1; got 0"),
    "no level": (
        lambda m, x: attention_maps(vgg(K, width=1 / 16), x),
        ValueError,
        "model must have levels to look at; combine='global' classifies from g alone",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), WRONG_MAPS.values(), ids=WRONG_MAPS)
def test_maps_of_something_else_are_refused(unchecked, call, kind, message):
    with pytest.raises(kind, match=message):
        call(net(), images())


# Weights and options --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"num_classes": 7},
            r"classifiers.0.weight is \(7, \d+\), not \(5, \d+\); classifiers.0.bias is \(7,\), not \(5,\)",
        ),
        ({"levels": 2}, r"state_dict must fit .*; and \d+ more"),
        ({"compatibility": "dp"}, r"estimators.0.u is missing.*; and \d+ more"),
        ({"combine": "indep"}, r"classifiers.1.weight is unknown"),
    ],
    ids=str,
)
def test_weights_of_another_variant_are_refused_and_change_nothing(other, message):
    model = net()
    before = copy.deepcopy(model.state_dict())
    foreign = small_attention_net(**{"num_classes": K} | other).state_dict()
    with pytest.raises(ValueError, match=message) as caught:
        model.load_state_dict(foreign)
    assert "builder='small_attention_net'" in str(caught.value)
    assert "5 classes" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_partial_state_loads_where_it_is_asked_for():
    source, target = net(), small_attention_net(K, levels=2)
    trunk = {name: value for name, value in source.state_dict().items() if name.startswith("trunk.")}
    assert target.load_state_dict(trunk, strict=False).missing_keys
    assert all(torch.equal(target.state_dict()[name], value) for name, value in trunk.items())


WRONG = {
    "combine": ({"combine": "sum"}, r"combine must be one of 'concat', 'indep', 'global'; got 'sum'"),
    "head": ({"head": "mlp"}, r"head must be one of 'bn_relu', 'linear'; got 'mlp'"),
    "num_classes": ({"num_classes": 0}, r"num_classes must be a whole number of at least 1; got 0"),
    "dropout": ({"dropout": 3.0}, r"dropout multiplies rates up to 0.5 and must leave \[0, 1\]; got 3.0"),
    "compatibility": ({"compatibility": "cosine"}, r"compatibility must be one of"),
    "global without g": (
        {"trunk": SmallTrunk(global_path=False), "combine": "global"},
        r"combine='global' classifies from g; build the trunk with global_path=True",
    ),
    "dp without g": ({"trunk": SmallTrunk(global_path=False), "compatibility": "dp"}, r"use_g=False needs"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_named_with_what_would_be_right(unchecked, options, message):
    with pytest.raises(ValueError, match=message):
        AttentionClassifier(**{"trunk": SmallTrunk(), "num_classes": K} | options)


def test_maps_of_a_model_wrapped_for_several_devices_or_compiled_are_its_own():
    torch.manual_seed(0)
    model, batch = small_attention_net(3).eval(), images()
    expected = attention_maps(model, batch)
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        assert all(torch.equal(one, two) for one, two in zip(attention_maps(wrapped, batch), expected, strict=True))
    with pytest.raises(
        TypeError, match=r"model must be an AttentionClassifier, .*; got Linear\. For another .* explain"
    ):
        attention_maps(nn.Linear(3, 3), batch)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_torch_jit_script_is_refused_with_what_to_use_instead():
    with pytest.raises(TypeError, match=r"cannot be compiled by torch\.jit\.script.* use torch\.export"):
        torch.jit.script(small_attention_net(3))
