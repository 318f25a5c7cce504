"""Every builder and every option: a new builder in ``BUILDERS`` is covered here without another test."""

import copy
import inspect
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

import jaxtyping
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import lpa_core
from lpa_core.attention import Compatibility, Match, Normalise
from lpa_core.models.builders import (
    BUILDERS,
    attention_resnet164,
    attention_vgg,
    build,
    resnet164,
    small_attention_net,
    vgg,
    vgg_pan,
)
from lpa_core.models.classifier import AttentionClassifier, Combine, attention_maps

K = 5

# What keeps the tests of a builder small. A builder without an entry is tested at its default size.
SMALL: dict[str, dict[str, Any]] = {
    "attention_vgg": {"width": 1 / 16},
    "vgg": {"width": 1 / 16},
    "vgg_gap": {"width": 1 / 16},
    "vgg_pan": {"width": 1 / 16},
    "resnet164": {"width": 1 / 4, "blocks": 1},
    "attention_resnet164": {"width": 1 / 4, "blocks": 1},
    "attend_to": {"model": "shufflenet_v2_x0_5", "input_size": 64},
}
# Other values than the default, for options that are no choice among words and no truth value.
OTHERS: dict[str, tuple[Any, ...]] = {
    "levels": (1, 2, 3),
    "width": (1 / 32,),
    "dropout": (0.0,),
    "blocks": (2,),
    "in_channels": (1,),
    "nodes": (["stage2", "conv5"],),
    "global_node": ("stage2",),
}
LEFT_OUT = {"model", "num_classes", "weights", "input_size"}


def values_of(option: inspect.Parameter) -> tuple[Any, ...]:
    if get_origin(option.annotation) is not None and (words := get_args(option.annotation)) and option.default in words:
        return tuple(word for word in words if word != option.default)
    return (not option.default,) if isinstance(option.default, bool) else OTHERS.get(option.name, ())


CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in BUILDERS] + [
    (name, {option.name: value})
    for name, builder in BUILDERS.items()
    for option in inspect.signature(builder).parameters.values()
    if option.name not in LEFT_OUT
    for value in values_of(option)
]


def case_name(case: tuple[str, dict[str, Any]]) -> str:
    return "-".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


every_builder = pytest.mark.parametrize("name", BUILDERS)
every_case = pytest.mark.parametrize("case", CASES, ids=case_name)


def make(case: tuple[str, dict[str, Any]]) -> AttentionClassifier:
    name, options = case
    torch.manual_seed(0)
    return build({"builder": name, "num_classes": K, **SMALL.get(name, {}), **options})


def images(model: AttentionClassifier, batch: int = 2, *, size: tuple[int, int] | None = None) -> Tensor:
    side = getattr(model.trunk, "input_size", 32)
    shape = (batch, model.trunk.in_channels, *(size or (side, side)))
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# Tables ---------------------------------------------------------------------------------------------------------------

PARAMETERS = {
    "att1": (lambda: attention_vgg(levels=1), 19_760_293),
    "att2": (lambda: attention_vgg(levels=2), 19_813_030),
    "att3": (lambda: attention_vgg(), 19_971_751),
    "vgg": (vgg, 15_038_116),
    "resnet164": (resnet164, 1_726_388),
    "RN-att2": (attention_resnet164, 2_430_134),
}


@pytest.mark.parametrize(("builder", "count"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameter_table(builder, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in builder().parameters()) == count


def test_the_parameters_that_g_leaves_idle_are_a_quarter_of_the_network():
    with torch.device("meta"):
        full, pruned = attention_vgg(), attention_vgg(global_path=False)
    idle = {name: p.numel() for name, p in full.named_parameters() if name not in dict(pruned.named_parameters())}
    assert sum(n for name, n in idle.items() if name.startswith("trunk.tail.")) == 4_984_320
    assert sum(n for name, n in idle.items() if name.startswith("estimators.0.project_global.")) == 132_352
    biases = sum(e.bias.numel() for e in full.estimators)
    assert sum(idle.values()) + biases == 5_116_675


@pytest.mark.parametrize(("builder", "millions"), [(attention_vgg, 3786), (vgg, 313)], ids=["attention_vgg", "vgg"])
def test_multiplication_table(builder, millions):
    """Multiply-accumulates of the convolutions for one 32x32 picture; attention itself adds well under a hundredth."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        builder().eval()(torch.empty(1, 3, 32, 32))
    flops = counter.get_flop_counts()["Global"]
    convolutions = flops[torch.ops.aten.convolution] / 2
    assert round(convolutions / 1e6) == millions
    assert sum(flops.values()) / 2 < 1.003 * convolutions


# Every builder and option ---------------------------------------------------------------------------------------------


@every_case
def test_it_gives_logits_and_maps_and_can_be_built_again_from_its_config(case):
    model = make(case).eval()
    pictures = images(model)
    with torch.no_grad():
        logits, attended, g = model.attend(pictures)
        again = build(json.loads(json.dumps(model.config))).eval()
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(pictures), logits)
    assert again.config == model.config
    assert model.config["builder"] == case[0]
    assert logits.shape == (2, K)
    assert torch.isfinite(logits).all()
    assert (g is not None) == model.trunk.has_global
    assert g is None or g.shape == (2, model.trunk.global_channels)
    gates = len(attended) - len(model.estimators)
    for number, (vector, weights, scores) in enumerate(attended):
        assert weights.shape == scores.shape
        assert vector.shape[0] == weights.shape[0] == 2
        assert weights.dtype is torch.float32
        if number >= gates:
            estimator = model.estimators[number - gates]
            assert vector.shape[1] == estimator.out_channels
            if estimator.normalise == "softmax":
                torch.testing.assert_close(weights.sum((1, 2)), torch.ones(2))
            if estimator.compatibility == "uniform":
                assert len(weights.unique()) == 1
    sizes = [a.weights[0].numel() for a in attended]
    assert sizes == sorted(sizes, reverse=True)


@every_case
def test_every_parameter_takes_part_and_a_few_steps_lower_the_loss(case):
    model = make((case[0], {"dropout": 0.0, **case[1]} if "dropout" in makes(case[0]) else case[1])).train()
    pictures, labels = images(model, 8), torch.arange(8) % K
    before = copy.deepcopy(model.state_dict())
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learning, lr=1e-3)
    losses = []
    for _ in range(4):
        loss = functional.cross_entropy(model(pictures), labels)
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    frozen = getattr(model.trunk, "frozen", False)
    for name, value in model.state_dict().items():
        if frozen and name.startswith("trunk."):
            assert torch.equal(value, before[name])
    assert frozen == (len(learning) < len(list(model.parameters())))


def makes(name: str) -> set[str]:
    return set(inspect.signature(BUILDERS[name]).parameters)


@every_case
def test_a_batch_of_one_and_odd_sizes_work_in_eval_mode(case):
    model = make(case).eval()
    with torch.no_grad():
        batch = images(model)
        torch.testing.assert_close(model(batch[:1]), model(batch)[:1], rtol=1e-3, atol=1e-4)
        side = batch.shape[-1]
        odd = images(model, 1, size=(side + 1, side + 15))
        assert model(odd).shape == (1, K)
        if model.estimators:
            for level in attention_maps(model, odd):
                assert level.shape == (1, side + 1, side + 15)


@every_builder
def test_half_precision_gives_nearly_the_same(name):
    model = make((name, {})).eval()
    pictures = images(model)
    with torch.no_grad():
        true = model.attend(pictures)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model.attend(pictures)
        low = copy.deepcopy(model).bfloat16().attend(pictures.bfloat16())
    for output in (mixed, low):
        torch.testing.assert_close(output.logits.float(), true.logits, rtol=0.1, atol=0.1)
        for one, other in zip(output.attended, true.attended, strict=True):
            assert one.weights.dtype is torch.float32
            torch.testing.assert_close(one.weights, other.weights, rtol=0.1, atol=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.train()(pictures).float().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@every_builder
def test_both_memory_formats_agree(name):
    model = make((name, {})).eval()
    pictures = images(model)
    with torch.no_grad():
        usual = model.attend(pictures)
        turned = model.to(memory_format=torch.channels_last).attend(pictures.to(memory_format=torch.channels_last))
    torch.testing.assert_close(turned.logits, usual.logits, rtol=1e-3, atol=1e-4)
    for one, other in zip(turned.attended, usual.attended, strict=True):
        torch.testing.assert_close(one.weights, other.weights, rtol=1e-3, atol=1e-5)


@every_builder
def test_dropout_is_in_train_mode_alone(name):
    model = make((name, {}))
    pictures = images(model)
    with torch.no_grad():
        assert torch.equal(model.eval()(pictures), model(pictures))
        if any(isinstance(m, nn.Dropout) and m.p for m in model.modules()):
            assert not torch.equal(model.train()(pictures), model(pictures))


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(
    ("compatibility", "combine", "match", "normalise", "g_per_level"),
    list(itertools.product(*map(get_args, (Compatibility, Combine, Match, Normalise)), (False, True))),
)
def test_all_options_go_together(levels, compatibility, combine, match, normalise, g_per_level):
    torch.manual_seed(0)
    model = small_attention_net(
        K,
        levels=levels,
        compatibility=compatibility,
        combine=combine,
        match=match,
        normalise=normalise,
        g_per_level=g_per_level,
    )
    pictures = images(model, 3, size=(16, 16))
    logits, attended, g = model.attend(pictures)
    assert logits.shape == (3, K)
    assert len(attended) == (0 if combine == "global" else levels)
    assert (g is None) == (compatibility == "uniform" and combine != "global")
    start = copy.deepcopy(model.state_dict())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        loss = functional.cross_entropy(model(pictures), torch.arange(3))
        optimiser.zero_grad()
        loss.backward()
        assert torch.isfinite(loss)
        assert all(p.grad is not None for p in model.parameters() if combine != "global")
        optimiser.step()
    learnt = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-6]
    assert learnt
    assert not any(torch.equal(model.state_dict()[name], start[name]) for name in learnt)
    again = build(json.loads(json.dumps(model.config)))
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(pictures), model.eval()(pictures))
    if attended:
        for one, other in zip(attention_maps(again, pictures), attention_maps(model, pictures), strict=True):
            assert one.shape == (3, 16, 16)
            assert torch.equal(one, other)


def test_the_uniform_control_is_the_same_network_without_scores():
    """Matched: same trunk and head; what pc has on top is u and a bias at each level, and the path of g."""
    with torch.device("meta"):
        control, pc = attention_vgg(compatibility="uniform"), attention_vgg(global_path=False)
    names = {name: tuple(p.shape) for name, p in pc.named_parameters()}
    own = {name: tuple(p.shape) for name, p in control.named_parameters()}
    scores = {f"estimators.{s}.{part}" for s in range(3) for part in ("u", "bias")}
    assert own == {name: shape for name, shape in names.items() if name not in scores}


def test_the_residual_network_has_the_dropout_of_the_authors_in_its_head():
    def rates(model: AttentionClassifier) -> list[float]:
        return [m.p for m in model.prepare.modules() if isinstance(m, nn.Dropout)]

    with torch.device("meta"):
        assert rates(attention_resnet164()) == [0.3, 0.3]
        assert rates(attention_vgg()) == [0.5, 0.5, 0.5]
        assert rates(attention_vgg(dropout=0.5)) == [0.25, 0.25, 0.25]


# g cancels ------------------------------------------------------------------------------------------------------------

# Everything under which g cancels: a score affine in l + g, a softmax over positions, no other way from g to the loss.
G_CANCELS = {
    "att3-concat-pc": lambda **o: attention_vgg(K, width=1 / 8, dropout=0.0, **o),
    "att2": lambda **o: attention_vgg(K, levels=2, width=1 / 16, dropout=0.0, **o),
    "att1": lambda **o: attention_vgg(K, levels=1, width=1 / 16, dropout=0.0, **o),
    "indep": lambda **o: attention_vgg(K, combine="indep", width=1 / 16, dropout=0.0, **o),
    "local features projected": lambda **o: attention_vgg(K, match="local", width=1 / 16, dropout=0.0, **o),
    "one g per level": lambda **o: attention_vgg(K, g_per_level=True, width=1 / 16, dropout=0.0, **o),
    "after pooling": lambda **o: attention_vgg(K, pooled_local=True, width=1 / 16, dropout=0.0, **o),
    "RN-att2": lambda **o: attention_resnet164(K, width=1 / 4, blocks=2, dropout=0.0, **o),
    "VGG-PAN, level 2": lambda **o: vgg_pan(K, width=1 / 16, dropout=0.0, **o),
    "small": lambda **o: small_attention_net(K, **o),
}
G_MATTERS = {
    "dp": lambda: attention_vgg(K, compatibility="dp", width=1 / 16, dropout=0.0),
    "scaled dp": lambda: attention_vgg(K, compatibility="scaled_dp", width=1 / 16, dropout=0.0),
    "additive": lambda: attention_vgg(K, compatibility="additive", width=1 / 16, dropout=0.0),
    "sigmoid": lambda: attention_vgg(K, normalise="sigmoid", width=1 / 16, dropout=0.0),
    "classified from g": lambda: attention_vgg(K, combine="global", width=1 / 16, dropout=0.0),
    "dp, RN": lambda: attention_resnet164(K, compatibility="dp", width=1 / 4, blocks=2, dropout=0.0),
}


def sharpen(model: AttentionClassifier, pictures: Tensor) -> None:
    """Scale every u until some weight of its level is more than ten times the uniform one."""
    with torch.no_grad():
        for level, estimator in enumerate(model.estimators):
            for _ in range(60):
                weights = model.attend(pictures).attended[level - len(model.estimators)].weights
                if weights.max() * weights[0].numel() > 10:
                    break
                estimator.u.mul_(1.5)
            assert weights.max() * weights[0].numel() > 10


def run(model: AttentionClassifier, pictures: Tensor) -> tuple[Any, dict[str, Tensor]]:
    output = model.attend(pictures)
    model.zero_grad()
    functional.cross_entropy(output.logits, torch.arange(len(pictures)) % K).backward()
    return output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def full_and_pruned(
    builder, dtype: torch.dtype, training: bool
) -> tuple[AttentionClassifier, AttentionClassifier, Tensor]:
    torch.manual_seed(0)
    full, pruned = builder().to(dtype).train(training), builder(global_path=False).to(dtype).train(training)
    pictures = images(full, 4).to(dtype)
    sharpen(full, pictures)
    state = full.state_dict()
    pruned.load_state_dict({name: state[name] for name in pruned.state_dict()})
    return full, pruned, pictures


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("builder", G_CANCELS.values(), ids=G_CANCELS)
def test_in_pc_with_softmax_g_cancels_exactly(builder, training):
    """Maps, logits and all gradients are those of the network without g, which itself gets no gradient."""
    full, pruned, pictures = full_and_pruned(builder, torch.float64, training)
    (output, gradients), (expected, others) = run(full, pictures), run(pruned, pictures)
    assert output.g is not None
    assert expected.g is None
    pairs = [(output.logits, expected.logits)]
    for one, other in zip(output.attended, expected.attended, strict=True):
        pairs += [(one.weights, other.weights), (one.vector, other.vector)]
    for one, other in pairs:
        assert (one - other).abs().max() <= 1e-12 * other.abs().max()

    # In train mode BatchNorm takes the bias of the convolution before it away: its gradient is nothing but the rounding
    # of large sums that cancel, so it is measured against the largest gradient of all.
    largest = max(float(g.abs().max()) for g in others.values())
    cancelled = {f"{name}.bias" for name, m in pruned.named_modules() if isinstance(m, nn.Conv2d) and training}
    assert set(others) == {name for name, _ in pruned.named_parameters()}
    for name, other in others.items():
        floor = largest if name in cancelled else 1e-3 * largest
        assert (gradients[name] - other).abs().max() <= 1e-12 * max(float(other.abs().max()), floor), name
    idle = [g for name, g in gradients.items() if name not in others]
    idle += [gradients[f"estimators.{s}.bias"] for s in range(len(full.estimators))]
    assert len(idle) > len(full.estimators)
    assert max(float(g.abs().max()) for g in idle) <= 1e-12 * largest
    if training:
        for name, value in pruned.state_dict().items():
            torch.testing.assert_close(full.state_dict()[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("builder", [G_CANCELS["att3-concat-pc"], G_CANCELS["RN-att2"]], ids=["att3", "RN-att2"])
def test_in_float32_g_cancels_up_to_a_tenth_of_a_thousandth(builder):
    full, pruned, pictures = full_and_pruned(builder, torch.float32, False)
    output, expected = full.attend(pictures), pruned.attend(pictures)
    assert (output.logits - expected.logits).abs().max() <= 1e-4 * expected.logits.abs().max()
    for one, other in zip(output.attended, expected.attended, strict=True):
        torch.testing.assert_close(one.weights, other.weights, rtol=1e-4, atol=0)


@pytest.mark.parametrize("builder", G_MATTERS.values(), ids=G_MATTERS)
def test_where_a_condition_fails_g_learns_and_changes_the_answer(builder):
    torch.manual_seed(0)
    model = builder().double().eval()
    pictures = images(model, 4).double()
    output, gradients = run(model, pictures)
    first = next(g for name, g in gradients.items() if g.ndim == 4)
    tail = [g.abs().max() for name, g in gradients.items() if name.startswith("trunk.tail.") and g.ndim > 1]
    assert min(map(float, tail)) > 1e-6 * float(first.abs().max())
    with torch.no_grad():
        model.trunk.tail[-1].bias.add_(1.0)
    assert not torch.allclose(model(pictures), output.logits, rtol=1e-3)


@pytest.mark.parametrize("options", [{"compatibility": "dp"}, {"compatibility": "additive"}, {"normalise": "sigmoid"}])
def test_where_g_matters_it_cannot_be_left_out(options):
    with pytest.raises(ValueError, match="use_g=False needs compatibility='pc' with normalise='softmax'"):
        small_attention_net(K, global_path=False, **options)


# Errors ---------------------------------------------------------------------------------------------------------------


def test_an_unknown_builder_or_option_is_answered_with_what_exists(unchecked):
    with pytest.raises(ValueError, match=r"builder must be one of attention_vgg, vgg, .*; got 'resnet'"):
        build({"builder": "resnet"})
    with pytest.raises(ValueError, match=r"builder must be one of .*; got None"):
        build({})
    with pytest.raises(ValueError, match=r"vgg has no option levels; it has num_classes, width, dropout, in_channels"):
        build({"builder": "vgg", "levels": 3})


@pytest.mark.parametrize(
    ("builder", "options", "message"),
    [
        (attention_vgg, {"levels": 0}, "levels must be 1"),
        (attention_vgg, {"width": 0}, "width must be above 0"),
        (vgg, {"dropout": -1}, "dropout multiplies"),
        (resnet164, {"blocks": 1.5}, "blocks must be a whole number"),
        (vgg, {"num_classes": "ten"}, "num_classes must be a whole number of at least 1; got 'ten'"),
        (small_attention_net, {"combine": "mean"}, "combine must be one of"),
        (attention_vgg, {"combine": "global", "global_path": False}, "combine='global' classifies from g"),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_a_builder_refuses_wrong_options(unchecked, builder, options, message):
    with pytest.raises(ValueError, match=message):
        builder(**options)


@every_builder
def test_a_builder_says_which_pictures_it_takes(unchecked, name):
    model = make((name, {})).eval()
    with pytest.raises(TypeError, match="images must be floating point"):
        model(images(model).to(torch.uint8))
    with pytest.raises(ValueError, match=r"images must be \(b, 3, h, w\); got \(2, 4, 32, 32\)"):
        model(torch.zeros(2, 4, 32, 32))


# In other processes: tracing cannot see through the shape checker of these tests --------------------------------------

SETUP = """
import torch
from torch.nn import functional
from lpa_core import attend_to, small_attention_net
torch.set_num_threads(1)
torch.manual_seed(0)
models = {
    "small": (lambda: small_attention_net(5, combine="indep", match="local", g_per_level=True), 16),
    "attend_to": (lambda: attend_to("resnet18", ["layer1", "layer2"], 5, compatibility="dp", input_size=64), 64),
}
"""
COMPILE_AND_EXPORT = """
class Attend(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
    def forward(self, images):
        return self.model.attend(images)

for name, (make, size) in models.items():
    model, images = make().eval(), torch.randn(3, 3, size, size)
    with torch.no_grad():
        true = model.attend(images)
        exported = torch.export.export(Attend(model), (images[:2],), dynamic_shapes=({0: torch.export.Dim("b")},))
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        got = exported.module()(images)
        torch.testing.assert_close(compiled(images), true.logits)
    torch.testing.assert_close(got.logits, true.logits)
    for one, other in zip(got.attended, true.attended, strict=True):
        torch.testing.assert_close(one.weights, other.weights)
    compiled(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    print(name, "ok")
"""
TWO_RANKS = """
import copy, os, sys, tempfile
import torch.distributed as dist

def batches(size):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 2, 3, size, size, generator=generator) for _ in range(2)]  # [step][rank]

def optimiser(model):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)

def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=2)
    for name, (make, size) in {**models, "frozen": (lambda: attend_to(
            "resnet18", ["layer1"], 5, compatibility="uniform", freeze_backbone=True, input_size=64), 64)}.items():
        torch.manual_seed(0)
        model = make()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        alone = copy.deepcopy(model)
        ranks, own = torch.nn.parallel.DistributedDataParallel(model), optimiser(model)
        for step in batches(size):
            own.zero_grad()
            functional.cross_entropy(ranks(step[rank]), torch.tensor([rank, 2])).backward()
            own.step()
        if rank == 0:  # one process that accumulates the same two micro-batches
            other = optimiser(alone)
            for step in batches(size):
                other.zero_grad()
                for number in (0, 1):
                    (functional.cross_entropy(alone(step[number]), torch.tensor([number, 2])) / 2).backward()
                other.step()
            for (key, one), two in zip(model.named_parameters(), alone.parameters(), strict=True):
                torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4, msg=lambda text: f"{name} {key}: {text}")
            print(name, "ok", flush=True)
    dist.destroy_process_group()

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (folder,), nprocs=2)
"""


def in_another_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(lpa_core.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "PYTHONPATH": paths},
    )


@pytest.mark.parametrize(
    ("script", "expected"),
    [(COMPILE_AND_EXPORT, "small ok\nattend_to ok\n"), (TWO_RANKS, "small ok\nattend_to ok\nfrozen ok\n")],
    ids=["compile and export", "two ranks"],
)
def test_in_another_process(script, expected, tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SETUP + script)
    done = in_another_process(str(path))
    assert done.stdout == expected, done.stderr


LIGHT = """
import sys
import lpa_core
heavy = {"torchvision", "sklearn", "matplotlib", "captum", "ipywidgets", "lpa_core.data"} & set(sys.modules)
assert not heavy, heavy
lpa_core.small_attention_net()
assert "torchvision" not in sys.modules
missing = [name for name in lpa_core.__all__ if not hasattr(lpa_core, name)]
assert not missing, missing
assert set(lpa_core.__all__) <= set(dir(lpa_core))
try:
    lpa_core.no_such_name
except AttributeError as error:
    print(error)
"""


def test_importing_the_package_is_light_and_every_public_name_exists():
    done = in_another_process("-c", LIGHT)
    assert done.stdout == "No lpa_core attribute no_such_name\n", done.stderr
