"""Training on a GPU, which is a pretended one here: no test in here shows how fast or how exact a real one is."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from pretend_gpu import gpu
from tiny import tiny_config, tiny_set, tiny_sets
from torch import nn

from lpa_core import models
from lpa_core._utils.device import device_of, true_float32, tuned_convolutions
from lpa_core.training import VARIANTS, train
from lpa_core.training.checkpoint import RunFolder, load_checkpoint
from lpa_core.training.compiling import compiled
from lpa_core.training.evaluation import final_scores
from lpa_core.training.loop import update_average
from lpa_core.training.state import State

pytestmark = pytest.mark.usefixtures("one_thread")
DP = {"builder": "attention_vgg", "width": 0.02, "levels": 2, "compatibility": "dp"}


class Stop(Exception):
    pass


def same_tensors(one, other):
    return all(torch.equal(value.cpu(), other[name].cpu()) for name, value in one.items())


# --- what a step waits for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "bfloat16"),
    [
        ("pc", False),
        *((name, True) for name in ("pc", "dp", "additive", "sigmoid", "indep", "vgg", "global", "match")),
    ],
)
def test_no_step_waits_for_the_gpu_and_an_epoch_waits_for_its_sums(change, bfloat16):
    model = {**tiny_config().model, **({"match": "local"} if change == "match" else VARIANTS[change])}
    if change == "vgg":
        model.pop("levels")
    steps, epochs, seen = [], [], 0

    def note(moment, epoch, batch):
        nonlocal seen
        if moment == "step" and batch > 1:  # from one step to the next
            steps.append(waits.total() - seen)
        if moment == "validation" and epoch < 2:
            epochs.append(waits.total() - seen)
        seen = waits.total()

    with gpu(bfloat16=bfloat16) as waits:
        run = train(tiny_config(model=model), sets=tiny_sets(), progress=False, on_event=note)
        assert run.info["device"] == "a pretended GPU"
        assert device_of(run.model).type == "cuda"
    assert steps == [0] * 6
    assert epochs == [1, 1]


def test_training_in_bfloat16_is_training_and_its_scores_are_float32():
    with gpu(bfloat16=True):
        run = train(tiny_config(model=DP), sets=tiny_sets(), progress=False)
        images = tiny_set("test").float_images().to("cuda")
        with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
            output = run.model.attend(images)
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    assert {a.scores.dtype for a in output.attended} == {torch.float32}
    assert output.logits.float().cpu().numpy().shape == (32, 3)


# --- from device to device --------------------------------------------------------------------------------------------


def test_a_run_goes_from_a_gpu_to_a_cpu_and_back_and_ends_where_one_device_would(tmp_path):
    out, config, fused = tmp_path / "run", tiny_config(epochs=3), []

    def go(steps, *, on_gpu, out=out, **options):
        """Train on a device up to the end of a step (epochs done, batches done), with a checkpoint there."""

        def stop(*event):
            if event == ("checkpoint", *(steps or ())):
                raise Stop

        options = {"sets": tiny_sets(), "progress": False, "checkpoint_seconds": 1e-9, "on_event": stop, **options}
        try:
            if on_gpu:
                with gpu(bfloat16=False):
                    return train(config, out, **options)
            return train(config, out, device="cpu", **options)
        except Stop:
            groups = load_checkpoint(out / "checkpoint.pt")["optimiser"]["param_groups"]
            fused.append({group["fused"] for group in groups})
            return None

    go((0, 3), on_gpu=True)
    go((1, 2), on_gpu=False, resume=True)
    moved = go(None, on_gpu=True, resume=True)
    assert fused == [{True}, {False}]
    cpu = train(config, sets=tiny_sets(), device="cpu", progress=False)
    for name, value in cpu.model.state_dict().items():
        assert torch.allclose(moved.model.state_dict()[name].cpu(), value, atol=1e-6), name
    here = cpu.info["device"]
    assert moved.info["devices"] == ["a pretended GPU", here, "a pretended GPU"]
    assert moved.info["device"] == f"a pretended GPU, {here}"
    assert moved.info["compiled"] == [False, False, False]
    assert json.loads((out / "run.json").read_text())["devices"] == moved.info["devices"]
    again = train(config, out, resume=True, device="cpu", sets=tiny_sets(), progress=False)  # finished: as it is
    assert same_tensors(again.model.state_dict(), moved.model.state_dict())


def test_a_run_from_before_devices_were_listed_goes_on(tmp_path):
    def stop(moment, *rest):
        if moment == "checkpoint":
            raise Stop

    options = {"sets": tiny_sets(), "device": "cpu", "progress": False, "checkpoint_seconds": 1e-9}
    with pytest.raises(Stop):
        train(tiny_config(), tmp_path, on_event=stop, **options)
    info = json.loads((tmp_path / "run.json").read_text())
    name = info["device"]
    del info["devices"], info["compiled"]
    (tmp_path / "run.json").write_text(json.dumps(info))
    run = train(tiny_config(), tmp_path, resume=True, **options)
    assert (run.info["devices"], run.info["compiled"], run.info["device"]) == ([name, name], [None, False], name)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_written_when_it_is_due_and_at_the_end_and_the_history_after_every_epoch(tmp_path):
    written, lines = [], []

    def note(moment, epoch, batch):
        if moment == "checkpoint":
            written.append((epoch, batch))
        if moment == "epoch":
            lines.append(len(RunFolder(tmp_path).read_history()))

    options = {"sets": tiny_sets(), "device": "cpu", "progress": False, "on_event": note}
    train(tiny_config(epochs=3), tmp_path, checkpoint_seconds=1e6, **options)
    assert written == [(3, 0)]
    assert lines == [0, 1, 2]
    assert len(RunFolder(tmp_path).read_history()) == 3


KILLED = """
import os, signal, sys
from tiny import tiny_config, tiny_sets
from lpa_core.training import train

def die(*event):
    if event == ("step", 2, 1):
        os.kill(os.getpid(), signal.SIGKILL)

options = {"device": "cpu", "progress": False, "sets": tiny_sets()}
train(tiny_config(epochs=3), sys.argv[1], resume=True, checkpoint_seconds=1e6, on_event=die, **options)
"""


def test_epochs_after_the_last_checkpoint_are_made_again_with_the_same_bits(tmp_path):
    """Killed in epoch 3; the only checkpoint is of step 2 of epoch 1, and the history has two epochs by then."""
    out, config = tmp_path / "run", tiny_config(epochs=3)
    options = {"device": "cpu", "progress": False, "sets": tiny_sets()}

    def stop_early(*event):
        if event == ("checkpoint", 0, 2):
            raise Stop

    with pytest.raises(Stop):
        train(config, out, checkpoint_seconds=1e-9, on_event=stop_early, **options)
    # A process of its own, not a fork: autograd's threads do not survive one.
    helpers = os.pathsep.join([str(Path(tiny.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    killed = subprocess.run([sys.executable, "-c", KILLED, out], env={**os.environ, "PYTHONPATH": helpers}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(RunFolder(out).read_history()) == 2
    assert load_checkpoint(out / "checkpoint.pt")["batch"] == 2
    begun = []
    run = train(
        config,
        out,
        resume=True,
        on_event=lambda moment, *place: begun.append(len(RunFolder(out).read_history())) if moment == "begin" else None,
        **options,
    )
    assert begun == [0]  # the history agrees with the checkpoint again
    whole = train(config, **options)
    assert same_tensors(run.model.state_dict(), whole.model.state_dict())
    times = ("seconds", "images_per_second")
    one, other = ([{k: v for k, v in e.items() if k not in times} for e in r.history] for r in (run, whole))
    assert one == other


# --- compiled or not --------------------------------------------------------------------------------------------------


def test_every_network_of_a_process_is_compiled_and_the_ninth_too():
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    for number in range(10):
        net = nn.Sequential(nn.Linear(2, number + 1), nn.ReLU())
        assert compiled(net, backend=backend)
        net(torch.zeros(3, 2))
        assert len(traced) == number + 1
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("hide", "said"), [("triton", "Triton is not installed"), ("compiler", "a C compiler is not installed")]
)
def test_without_triton_or_a_c_compiler_a_run_is_not_compiled_and_says_so(hide, said, monkeypatch, caplog):
    if hide == "triton":
        monkeypatch.setitem(sys.modules, "triton", None)
    else:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.delenv("CC", raising=False)
    with gpu(), caplog.at_level(logging.WARNING, logger="lpa_core.training"):
        run = train(tiny_config(epochs=1, compile=True), sets=tiny_sets(), progress=False)
    assert run.info["compiled"] == [False]
    assert said in caplog.text


def test_a_compiled_run_says_that_it_was(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("CC", sys.executable)  # any program: nothing is built here
    with gpu():
        run = train(tiny_config(epochs=1, compile=True), sets=tiny_sets(), progress=False)
    assert run.info["compiled"] == [True]
    cpu = train(tiny_config(epochs=1, compile=True), sets=tiny_sets(), progress=False, device="cpu")
    assert cpu.info["compiled"] == [False]


# --- fast where it may be, exact where it must be ---------------------------------------------------------------------


def precisions():
    cudnn = torch.backends.cudnn
    return cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, torch.backends.cuda.matmul.fp32_precision


@pytest.mark.parametrize("asked", ["highest", "high"])
def test_true_float32_is_without_tf32_and_put_back_whatever_was_asked_for(asked):
    torch.set_float32_matmul_precision(asked)
    before = precisions()
    try:
        with pytest.raises(KeyError), true_float32():  # noqa: PT012
            assert not {"tf32"} & {*precisions()}
            assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is False
            raise KeyError
        assert precisions() == before
        assert before[0] == "tf32"  # PyTorch's default for convolutions
        assert torch.get_float32_matmul_precision() == asked
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_final_evaluation_is_without_tf32():
    model, seen = models.small_attention_net(3), []
    model.register_forward_hook(lambda *_: seen.append((precisions()[0], torch.backends.cudnn.allow_tf32)))
    final_scores(model, replace(tiny_set(), masks=None, boxes=None))
    assert seen == [("none", False)]
    assert torch.backends.cudnn.allow_tf32


def test_cudnn_tries_its_algorithms_while_training_and_not_after():
    seen = []
    with gpu():
        train(
            tiny_config(epochs=1),
            sets=tiny_sets(),
            progress=False,
            on_event=lambda moment, *_: seen.append(torch.backends.cudnn.benchmark),
        )
        assert {*seen} == {True}
        assert not torch.backends.cudnn.benchmark
        with pytest.raises(KeyError), tuned_convolutions():
            raise KeyError
        assert not torch.backends.cudnn.benchmark


class Counting(nn.Linear):
    """A layer that counts how often somebody walks over its parameters."""

    walks = 0

    def named_parameters(self, *arguments, **options):
        self.walks += 1
        return super().named_parameters(*arguments, **options)


def test_the_average_lists_its_tensors_once():
    model, average = nn.Sequential(Counting(2, 2)), nn.Sequential(Counting(2, 2))
    walks = []
    for net in (model, average):
        net.register_buffer("count", torch.tensor(0))
        whole = net.parameters
        net.parameters = lambda whole=whole: walks.append(1) or whole()
    state = State(model, average, torch.optim.SGD(model.parameters(), lr=0.1), torch.zeros(2))
    walks.clear()
    for step in range(5):
        model.count += 1
        update_average(average, model, 0.9, step, pairs=state.pairs)
    assert len(walks) == 2
    assert average.count == 5
    expected = state.pairs.averages[0].clone()
    update_average(average, model, 0.9, 5)
    assert torch.equal(average[0].weight, expected + (model[0].weight - expected) * (1 - 6 / 15))
