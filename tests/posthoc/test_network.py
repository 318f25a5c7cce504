"""probe: eval mode and back, plain logits from any output, targets, layers by name."""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lpa_core import explain, small_attention_net
from lpa_core._utils.modes import undisturbed
from lpa_core.posthoc.network import Logits, check_pictures, check_targets, pick_targets, working_copy


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


def pictures(n: int = 2, size: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


# working_copy ---------------------------------------------------------------------------------------------------------


class Viewed(nn.Module):
    """A network as many are written: with a view that only pictures laid out in rows survive."""

    def forward(self, images):
        return images.view(len(images), -1)[:, :5]


def test_a_trunk_that_promises_it_gets_channels_last_and_any_other_network_its_own_layout():
    given = pictures(size=16)
    ours = working_copy(given, small_attention_net())
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert ours.requires_grad
    assert ours.equal(given)
    theirs = working_copy(given, Viewed())
    assert theirs.is_contiguous()
    assert theirs.requires_grad
    assert theirs is not given
    assert explain(Viewed(), given, 1, method="saliency").shape == (2, 16, 16)


@pytest.mark.parametrize("method", ["grad_cam", "saliency", "hirescam", "attention"])
def test_maps_are_the_same_in_either_layout(method):
    torch.manual_seed(0)
    model, given = small_attention_net().eval(), pictures(size=16)
    fast = explain(model, given, method=method)
    model.trunk.any_memory_format = False
    torch.testing.assert_close(fast, explain(model, given, method=method))


# undisturbed ----------------------------------------------------------------------------------------------------------


def test_every_training_flag_is_restored_also_after_a_failure():
    model = net().train()
    model[1].eval()  # a frozen BatchNorm in a training network
    before = [m.training for m in model.modules()]
    with undisturbed(model) as network:
        assert not any(m.training for m in network.modules())
    assert [m.training for m in model.modules()] == before
    with pytest.raises(KeyError), undisturbed(model):
        raise KeyError
    assert [m.training for m in model.modules()] == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_on_inside_and_off_again_outside(mode):
    with mode():
        with undisturbed(net()):
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


def test_a_compiled_model_is_unwrapped_and_hooks_work_inside():
    model = net().eval()
    images = pictures()
    compiled = torch.compile(model, backend="eager")
    compiled(images)
    calls = []
    with undisturbed(compiled) as network:
        assert network is model
        handle = model[0].register_forward_hook(lambda *_: calls.append(1))
        network(images)
        handle.remove()
    assert calls == [1]


def test_a_model_compiled_in_place_or_inside_runs_uncompiled():
    images = pictures()
    inner = net().eval()
    inner.compile(backend="eager")
    outer = nn.Sequential(torch.compile(net().eval(), backend="eager"))
    for model, conv in ((inner, inner[0]), (outer, outer[0]._orig_mod[0])):
        model(images)
        calls = []
        with undisturbed(model) as network:
            handle = conv.register_forward_hook(lambda *_, calls=calls: calls.append(1))
            network(images)
            handle.remove()
        assert calls == [1]


@pytest.mark.usefixtures("unchecked")
def test_only_modules_are_models():
    with pytest.raises(TypeError, match=r"model must be an nn\.Module; got function"), undisturbed(F.relu):
        pass


# Logits ---------------------------------------------------------------------------------------------------------------


class Named(NamedTuple):
    features: torch.Tensor
    logits: torch.Tensor


class Gives(nn.Module):
    """A model whose output is wrapped by ``wrap``."""

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = net(), wrap

    def forward(self, images):
        return self.wrap(self.net(images))


WRAPPED = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, x[:, :, None, None]),
    "list": lambda x: [None, x],
    "named tuple": lambda x: Named(torch.zeros(len(x), 7), x),
    "dict": lambda x: {"features": torch.zeros(len(x), 7), "logits": x},
    "dict without the name": lambda x: {"out": x, "loss": None, "labels": torch.zeros(len(x), 2, dtype=torch.long)},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_logits_are_found_in_whatever_the_model_gives(kind):
    model = Gives(WRAPPED[kind]).eval()
    assert torch.equal(Logits(model)(pictures()), model.net(pictures()))


def test_probabilities():
    model = net().eval()
    expected = model(pictures()).softmax(dim=1)
    assert torch.equal(Logits(model, probability=True)(pictures()), expected)


@pytest.mark.parametrize(
    ("wrap", "error", "message"),
    [
        (lambda x: (x, x), TypeError, "got tuple with 2 of them"),
        (lambda x: None, TypeError, "got NoneType with 0 of them"),
        (lambda x: x[:, :, None, None], ValueError, r"logits \(2, K\); got \(2, 5, 1, 1\)"),
        (lambda x: x[:1], ValueError, r"logits \(2, K\); got \(1, 5\)"),
        (lambda x: x * torch.nan, ValueError, "NaN logits"),
    ],
)
def test_what_names_no_logits_is_refused(wrap, error, message):
    with pytest.raises(error, match=message):
        Logits(Gives(wrap).eval())(pictures())


# Inputs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "floating-point.*torch.uint8"),
        ([1.0], TypeError, "got list"),
        (torch.zeros(3, 8, 8), ValueError, r"got \(3, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8), ValueError, "at least one picture"),
        (torch.tensor([0.0, torch.nan, torch.inf]).view(1, 3, 1, 1), ValueError, "2 values are NaN or infinite"),
        (
            torch.zeros(1, 3, 8, 8, device="meta"),
            ValueError,
            "images must hold numbers; got a tensor on the device meta",
        ),
    ],
)
def test_bad_pictures(images, error, message):
    with pytest.raises(error, match=message):
        check_pictures(images, net())


@pytest.mark.parametrize("targets", [2, torch.tensor(2), [2, 2], torch.tensor([2, 2], dtype=torch.int32), (2, 2)])
def test_targets_in_every_form(targets):
    checked = check_targets(targets, 2)
    assert checked.tolist() == [2, 2]
    assert checked.dtype == torch.long


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([1, 2, 3], ValueError, r"each of the 2 images; got \(3,\)"),
        (torch.zeros(2, 1, dtype=torch.long), ValueError, r"got \(2, 1\)"),
        ([0, -1], ValueError, "from 0; got -1"),
        (torch.tensor([0.0, 1.0]), TypeError, "integers; got torch.float32"),
        (True, TypeError, "integers; got torch.bool"),
    ],
)
def test_bad_targets(targets, error, message):
    with pytest.raises(error, match=message):
        check_targets(targets, 2)


def test_no_targets_means_the_predicted_classes_whatever_the_batches():
    model = net().eval()
    images = pictures(5)
    expected = model(images).argmax(dim=1)
    for batch_size in (1, 2, 5, 64):
        assert torch.equal(pick_targets(Logits(model), images, None, batch_size=batch_size), expected)
    with pytest.raises(ValueError, match="below the model's 5 classes; got 5"):
        pick_targets(Logits(model), images, torch.tensor([0, 1, 2, 3, 5]), batch_size=2)
