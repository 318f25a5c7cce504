"""A network as steps: the same numbers as the model, or one clear refusal; a page that holds all it needs."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
import torch
from replay import replay
from torch import nn

import lpa_core
from lpa_core import __main__ as command_line
from lpa_core.widgets.live_network import described, live, network_script
from lpa_core.widgets.live_network.functions import Step
from lpa_core.widgets.live_network.packing import packed
from lpa_core.widgets.live_network.steps import steps_of

STATISTICS = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def settled(model):
    """In eval mode, with running statistics and scales that differ from their beginnings."""
    chance = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
            ):
                tensor.data.uniform_(low, high, generator=chance)
    return model.eval()


class Plain(nn.Module):
    """A network of a reader's own: a branch, a sum, functions in place of modules."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.near = nn.Conv2d(8, 8, 3, padding=1, groups=2, padding_mode="replicate")
        self.far = nn.Sequential(nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(8), nn.GELU())
        self.last = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(8, 12, 1), nn.SiLU(), nn.MaxPool2d(3, 2, 1))
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(self.near(x) + self.far(x))
        return self.fc(self.last(x).mean(dim=(2, 3)))


def networks():
    small = lpa_core.small_attention_net
    yield "small-pc", small(), 24
    yield "small-dp", small(compatibility="dp"), 24
    yield "small-uniform", small(compatibility="uniform"), 24
    yield "small-local-pc", small(match="local", levels=2), 24
    yield "small-scaled-dp", small(match="local", compatibility="scaled_dp"), 24
    yield "small-local-dp", small(match="local", compatibility="dp"), 24
    yield "small-own-g", small(compatibility="dp", g_per_level=True), 24
    yield "small-no-g", small(global_path=False), 24
    yield "photo", lpa_core.photo_attention_net(7), 16
    yield "vgg", lpa_core.attention_vgg(4, width=1 / 32), 16
    yield "vgg-gap", lpa_core.vgg_gap(4, width=1 / 32), 16
    yield "resnet", lpa_core.attention_resnet164(4, width=1 / 8, blocks=2), 16
    own = lpa_core.attend_to(Plain(), ["far", "last"], 5, input_size=32, compatibility="dp")
    yield "own", own, 32


@pytest.mark.parametrize(("name", "model", "side"), [pytest.param(*case, id=case[0]) for case in networks()])
def test_steps_compute_what_the_model_computes(name, model, side):
    settled(model)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    steps = steps_of(model, (side, side))
    with torch.no_grad():
        wanted = model.attend(images)
        logits, maps = replay(steps, images)
    torch.testing.assert_close(logits, wanted.logits, rtol=1e-4, atol=1e-5)
    for own, attended in zip(maps, wanted.attended, strict=True):
        torch.testing.assert_close(own, attended.weights, rtol=1e-4, atol=1e-6)
    assert not any(step.do in ("act", "pad") for step in steps)
    assert all(step.do != "scale" or steps[step.of[0] - 1].do != "conv" or name == "resnet" for step in steps)


def test_recording_leaves_the_model_as_it_was():
    model = lpa_core.small_attention_net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    steps_of(model, (16, 16))
    assert model.training
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ELU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ELU())

    def forward(self, x):
        return self.second(self.first(x)).cos()


def test_every_layer_that_cannot_run_is_named_once():
    model = lpa_core.attend_to(Odd(), ["second"], 3, input_size=16)
    with pytest.raises(ValueError, match=r"GroupNorm in trunk\.backbone\.first\.1, ELU in [\w.]+\.2\. It can"):
        live(model, classes="abc", **STATISTICS)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lpa_core.small_attention_net(normalise="sigmoid"), "normalise='sigmoid'"),
        (lpa_core.small_attention_net(compatibility="additive"), "compatibility='additive'"),
        (lpa_core.small_attention_net(combine="indep"), "combine='indep'"),
        (lpa_core.vgg(4, width=1 / 32), "combine='global'"),
    ],
)
def test_attention_of_other_kinds_is_refused(model, named):
    with pytest.raises(ValueError, match=named):
        steps_of(model, (32, 32))


def test_classes_and_statistics_are_needed():
    model = lpa_core.small_attention_net(3)
    for given, message in (
        ({}, "classes must name the 3 logits"),
        ({"classes": ["a", "b"], **STATISTICS}, "classes must name the 3 logits; got 2"),
        ({"classes": ["a", "b", "c"]}, "mean and std must be given"),
    ):
        with pytest.raises(ValueError, match=message):
            live(model, **given)
    with pytest.raises(ValueError, match="come with the weights"):
        live("digits-pc", classes="0123456789")
    grey = lpa_core.small_attention_net(2, in_channels=1)
    with pytest.raises(ValueError, match="3 channels"):
        described(grey, classes="ab", mean=(0.5,), std=(0.5,), size=(16, 16))


@pytest.mark.parametrize("half", [True, False])
def test_numbers_are_packed_without_loss(half):
    numbers = torch.randn(3, 5).half().double()
    steps, text = packed([Step("linear", (0,), {"weight": numbers, "bias": numbers[0]})], half=half)
    size = 2 if half else 4
    planes = np.frombuffer(zlib.decompress(base64.b85decode(text.replace(",", "<"))), dtype=np.uint8).reshape(size, -1)
    values = np.ascontiguousarray(planes.T).view("<f2" if half else "<f4").ravel()
    for name, wanted in (("weight", numbers), ("bias", numbers[0])):
        start, shape = steps[0][name]
        assert np.array_equal(values[start : start + np.prod(shape)].reshape(shape), wanted.numpy())


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "NaN or inf"), (1e6, "half=False")])
def test_numbers_that_a_page_cannot_hold_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        packed([Step("linear", (0,), {"weight": torch.full((1, 1), value)})])


def test_a_page_holds_all_it_needs(tmp_path):
    page = live("digits-pc", title="Digits & <more>")
    assert page.save(tmp_path / "page.html").read_text(encoding="utf8") == page.html
    assert "Digits &amp; &lt;more&gt;" in page.html
    assert "<more>" not in page.html
    assert re.findall(r"""(?:src|href)=["'](?!data:|\$)""", page.html) == []
    assert "default-src 'none'" in page.html
    assert 'class="lpa-live"' in page.html
    assert "srcdoc" in page._repr_html_()
    assert "Digits" in repr(page)
    assert len(page.html) < 700_000


def test_a_class_cannot_end_the_script():
    script = network_script("x", {"classes": ["</script><b>"]})
    assert "<" not in script
    assert json.loads(script.partition(" = ")[2].rstrip(";")) == {"classes": ["</script><b>"]}


def test_the_command_line_writes_a_page(tmp_path, capsys):
    out = tmp_path / "mine.html"
    assert command_line.main(["live", "digits-dp", "--out", str(out), "--title", "Mine"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model": "digits-dp",
        "out": str(out),
        "bytes": out.stat().st_size,
    }
    assert "<title>Mine</title>" in out.read_text(encoding="utf8")
    assert command_line.main(["live", "digits-dp", "--out", str(tmp_path / "mine.pdf")]) == 2
    assert command_line.main(["live", "digits-dp", "--out", str(tmp_path / "no" / "mine.html")]) == 2
    assert "--out" in capsys.readouterr().err
