import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_config, tiny_set, tiny_sets
from torch import nn

from lpa_core import training
from lpa_core._utils import files
from lpa_core.metrics.localisation import box_masks, pointing_game
from lpa_core.models.weights import load_weights
from lpa_core.training.checkpoint import load_checkpoint, save_checkpoint
from lpa_core.training.evaluation import evaluate
from lpa_core.training.run import train

pytestmark = pytest.mark.usefixtures("one_thread")
REPOSITORY = Path(__file__).parents[2]


def same_tensors(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(value, other[name]) for name, value in one.items())


def without_times(history):
    return [{k: v for k, v in entry.items() if k not in ("seconds", "images_per_second")} for entry in history]


# --- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_four_files_and_they_agree(tmp_path):
    out, config = tmp_path / "run", tiny_config()
    run = train(config, out, sets=tiny_sets(), device="cpu", progress=False, command="make it")
    assert sorted(os.listdir(out)) == ["checkpoint.pt", "history.jsonl", "run.json", "weights.safetensors"]

    info = json.loads((out / "run.json").read_text())
    assert info == json.loads(json.dumps(run.info))
    assert (info["finished"], info["resumed"], info["threads"], info["command"]) == (True, 0, [1], "make it")
    assert training.TrainConfig.from_dict(info["config"]) == config
    assert info["data"] == {
        "name": "tiny",
        "train": 32,
        "validation": 32,
        "test": 32,
        "checksums": [f"{split} 32 16 3 0" for split in ("train", "validation", "test")],
    }
    assert info["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert info["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert info["timings"]["seconds"] == pytest.approx(sum(e["seconds"] for e in run.history), abs=0.01)
    assert info["started"] <= info["ended"]

    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert history == run.history
    assert [(entry["epoch"], entry["step"]) for entry in history] == [(1, 4), (2, 8)]
    assert [entry["lr"] for entry in history] == [training.learning_rate(config, step, 4) for step in (3, 7)]
    assert {*history[0]} == {
        *("epoch", "step", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
        *("seconds", "images_per_second"),
    }

    model, about = load_weights(out)
    assert same_tensors(model.state_dict(), run.model.state_dict())
    assert not run.model.training
    assert about.sha256 == info["sha256"]
    assert (about.classes, about.size, about.scores) == (("left", "right", "none"), (16, 16), info["results"])
    assert about.provenance["command"] == "make it"
    assert (about.provenance["seed"], about.provenance["data"]) == (5, info["data"])


def test_the_optimiser_is_the_one_asked_for(tmp_path):
    for name, changes in (("a", {}), ("b", {"nesterov": False, "momentum": 0.5, "weight_decay": 0.01})):
        config = tiny_config(epochs=1, **changes)
        train(config, tmp_path / name, sets=tiny_sets(), device="cpu", progress=False)
        decayed, free = load_checkpoint(tmp_path / name / "checkpoint.pt")["optimiser"]["param_groups"]
        assert (decayed["weight_decay"], free["weight_decay"]) == (config.weight_decay, 0.0)
        for group in (decayed, free):
            assert (group["nesterov"], group["momentum"]) == (config.nesterov, config.momentum)
            assert group["lr"] == training.learning_rate(config, 3, 4)


def test_the_results_are_those_of_the_kept_model(tmp_path):
    run = train(tiny_config(), sets=tiny_sets(), device="cpu", progress=False)
    for part, name in zip(tiny_sets()[1:], ("validation", "test"), strict=True):
        scores = evaluate(run.model, part)
        pointing = run.results[name].pop("pointing_game")
        assert run.results[name] == scores
        with torch.no_grad():
            maps = [a.weights for a in run.model.attend(part.float_images()).attended]
        assert pointing == {
            "box": pytest.approx([pointing_game(m, box_masks(part.boxes, (16, 16))).mean().item() for m in maps]),
            "ink": pytest.approx([pointing_game(m, part.masks).nanmean().item() for m in maps]),
        }
    last = run.history[-1]
    assert last["validation_accuracy"] == run.results["validation"]["accuracy"]
    assert last["validation_loss"] == pytest.approx(run.results["validation"]["loss"])


def test_the_kept_model_is_the_average(tmp_path):
    out = tmp_path / "run"
    run = train(tiny_config(), out, sets=tiny_sets(), device="cpu", progress=False)
    saved = load_checkpoint(out / "checkpoint.pt")
    assert same_tensors(saved["average"], run.model.state_dict())
    assert not same_tensors(saved["average"], saved["model"])
    plain = train(tiny_config(ema=0.0), sets=tiny_sets(), device="cpu", progress=False)
    assert same_tensors(saved["model"], plain.model.state_dict())


class Read(torch.Tensor):
    """Pictures that write down when they are taken somewhere: whoever computes with them does that first."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.to, torch.Tensor.__getitem__):
            args[0].log.append("read")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def test_the_test_set_is_read_once_at_the_end():
    train_set, validation, test = tiny_sets()
    log, images = [], test.images.as_subclass(Read)
    images.log = log
    sets = (train_set, validation, replace(test, images=images, masks=None))
    train(tiny_config(epochs=3), sets=sets, device="cpu", progress=False, on_event=lambda *event: log.append(event[:2]))
    assert [entry for entry in log if entry[0] in ("validation", "r", "test") or entry == "read"] == [
        *(("validation", epoch) for epoch in (0, 1, 2, 3)),
        ("test", 3),
        "read",
    ]


def test_with_all_nothing_is_held_out(tmp_path):
    train_set, _, test_set = tiny_sets()
    run = train(tiny_config(all=True), sets=(train_set, None, test_set), device="cpu", progress=False)
    assert run.results["validation"] is None
    assert {entry["validation_accuracy"] for entry in run.history} == {None}
    assert run.results["test"]["n"] == 32


def test_equal_seeds_give_equal_runs_and_others_do_not():
    runs = [train(tiny_config(seed=seed), sets=tiny_sets(), device="cpu", progress=False) for seed in (1, 1, 2)]
    first, second, third = (run.model.state_dict() for run in runs)
    assert same_tensors(first, second)
    assert not same_tensors(first, third)
    assert without_times(runs[0].history) == without_times(runs[1].history)


def test_global_random_state_is_neither_used_nor_touched():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = train(tiny_config(), sets=tiny_sets(), device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = train(tiny_config(), sets=tiny_sets(), device="cpu", progress=False)
    assert same_tensors(one.model.state_dict(), other.model.state_dict())


def test_on_epoch_sees_each_epoch_and_its_random_numbers_change_nothing():
    seen = []

    def look(entry, model):
        assert not model.training
        seen.append(
            (entry["epoch"], evaluate(model, tiny_set("validation"))["accuracy"] == entry["validation_accuracy"])
        )
        torch.rand(10)

    plain = train(tiny_config(ema=0.0), sets=tiny_sets(), device="cpu", progress=False)
    watched = train(tiny_config(ema=0.0), sets=tiny_sets(), device="cpu", progress=False, on_epoch=look)
    assert seen == [(1, True), (2, True)]
    assert same_tensors(plain.model.state_dict(), watched.model.state_dict())


def test_progress_is_shown_on_standard_error_or_not_at_all(capsys):
    train(tiny_config(), sets=tiny_sets(), device="cpu", progress=False)
    assert capsys.readouterr() == ("", "")
    train(tiny_config(), sets=tiny_sets(), device="cpu")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "8/8" in shown.err
    assert "validation_accuracy" in shown.err


# --- refused before any work ------------------------------------------------------------------------------------------


def refuse(error, message, config=None, out=None, **options):
    options = {"sets": tiny_sets(), "device": "cpu", "progress": False, **options}
    before = {p: p.read_bytes() for p in Path(out).iterdir()} if out is not None and Path(out).is_dir() else None
    with pytest.raises(error, match=message):
        train(config or tiny_config(), out, **options)
    if before is not None:
        assert {p: p.read_bytes() for p in Path(out).iterdir()} == before


def test_what_does_not_fit_is_refused_and_leaves_no_folder(tmp_path):
    out = tmp_path / "run"
    model = tiny_config().model
    refuse(ValueError, "batch_size must be at most 32", tiny_config(batch_size=64), out)
    refuse(ValueError, "builder must be one of", tiny_config(model={"builder": "resnet"}), out)
    refuse(ValueError, "no option depth", tiny_config(model={**model, "depth": 3}), out)
    refuse(ValueError, r"model\['num_classes'\] must be 3", tiny_config(model={**model, "num_classes": 10}), out)
    refuse(ValueError, "levels must be", tiny_config(model={**model, "levels": 4}), out)
    refuse(ValueError, "at least 16x16", tiny_config(), out, sets=tiny_sets(size=12))
    refuse(ValueError, "checkpoint_seconds must be above 0", tiny_config(), out, checkpoint_seconds=0.0)
    refuse(ValueError, "device", tiny_config(), out, device="tpu")
    refuse(ValueError, "name must be 'digits'", tiny_config(data="cifar"), out, sets=None)
    refuse(FileNotFoundError, "cifar10", tiny_config(data="cifar10"), out, sets=None, root=tmp_path, download=False)
    assert os.listdir(tmp_path) == []


def test_a_network_that_cannot_be_written_down_is_trained_without_a_folder_only(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(2), nn.AdaptiveAvgPool1d(1))
    model = {"builder": "attend_to", "model": network, "nodes": ["1", "2"], "input_size": 16}
    options = {"sets": tiny_sets(), "device": "cpu", "progress": False}
    with pytest.raises(TypeError, match=r"in names and numbers, .*; got a Sequential.*train with out=None"):
        train(tiny_config(model=model), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    assert train(tiny_config(model=model), **options).results["test"]["n"] > 0


def test_three_sets_are_needed(unchecked):
    train_set, _, test_set = tiny_sets()
    with pytest.raises(ValueError, match=r"sets must be three: train, validation \(or None\) and test; got 2"):
        train(tiny_config(), sets=(train_set, test_set), device="cpu", progress=False)


def test_a_folder_that_cannot_be_written_is_refused_before_the_data_are_read(tmp_path):
    (tmp_path / "file").touch()
    refuse(OSError, "cannot write", tiny_config(data="nonsense"), tmp_path / "file" / "run", sets=None)


def test_another_run_in_the_folder_is_refused(tmp_path):
    out = tmp_path / "run"
    train(tiny_config(), out, sets=tiny_sets(), device="cpu", progress=False)
    refuse(ValueError, "already holds a run", out=out)
    refuse(
        ValueError,
        "epochs is 2 there, 3 here; lr is 0.05 there, 0.1 here",
        tiny_config(epochs=3, lr=0.1),
        out,
        resume=True,
    )


def test_a_diverging_run_says_so(tmp_path):
    with pytest.raises(FloatingPointError, match=r"the loss is nan in epoch 1.*lower lr"):
        train(tiny_config(lr=1e30), tmp_path / "run", sets=tiny_sets(), device="cpu", progress=False)


# --- stopped and continued --------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


def stopped_after(steps, out, config=None, sets=None, **options):
    """Train and stop, with a checkpoint at every step, when ``steps`` of them were written."""
    written = 0

    def stop(moment, epoch, batch):
        nonlocal written
        written += moment == "checkpoint"
        if written == steps:
            raise Stop

    options = {"device": "cpu", "progress": False, "checkpoint_seconds": 1e-9, "on_event": stop, **options}
    with pytest.raises(Stop):
        train(config or tiny_config(), out, sets=sets or tiny_sets(), **options)


def test_a_finished_run_is_returned_as_it_is(tmp_path):
    out = tmp_path / "run"
    run = train(tiny_config(), out, sets=tiny_sets(), device="cpu", progress=False)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()}
    begun = []
    again = train(
        tiny_config(), out, resume=True, device="cpu", progress=False, on_event=lambda *event: begun.append(event)
    )
    assert begun == []
    assert same_tensors(run.model.state_dict(), again.model.state_dict())
    assert (again.history, again.results) == (run.history, run.results)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()} == before


def test_a_checkpoint_of_other_data_or_another_config_is_refused(tmp_path):
    out = tmp_path / "run"
    stopped_after(2, out)
    refuse(ValueError, "made with other data: checksums", out=out, resume=True, sets=tiny_sets(seed=7))
    state = load_checkpoint(out / "checkpoint.pt")
    state["config"]["epochs"] = 9
    save_checkpoint(out / "checkpoint.pt", state)
    refuse(ValueError, r"checkpoint\.pt has another config: epochs is 9 there, 2 here", out=out, resume=True)


def test_a_run_from_before_a_field_was_added_goes_on(tmp_path):
    out, config = tmp_path / "run", tiny_config(cutmix=0.0)
    stopped_after(2, out, config)
    info, state = json.loads((out / "run.json").read_text()), load_checkpoint(out / "checkpoint.pt")
    del info["config"]["cutmix"], state["config"]["cutmix"]
    (out / "run.json").write_text(json.dumps(info))
    save_checkpoint(out / "checkpoint.pt", state)
    refuse(ValueError, "cutmix is 0.0 there, 0.5 here", tiny_config(), out, resume=True)
    run = train(config, out, resume=True, sets=tiny_sets(), device="cpu", progress=False)
    whole = train(config, sets=tiny_sets(), device="cpu", progress=False)
    assert same_tensors(run.model.state_dict(), whole.model.state_dict())


def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path):
    out = tmp_path / "run"
    stopped_after(2, out)
    data = (out / "checkpoint.pt").read_bytes()
    for length in (0, 10, 1000, len(data) // 2, len(data) - 1):
        (out / "checkpoint.pt").write_bytes(data[:length])
        refuse(ValueError, "damaged", out=out, resume=True)


def test_another_thread_count_is_told(tmp_path, caplog, monkeypatch):
    out = tmp_path / "run"
    stopped_after(2, out)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with caplog.at_level(logging.WARNING, logger="lpa_core.training"):
        run = train(tiny_config(), out, resume=True, sets=tiny_sets(), device="cpu", progress=False)
    assert "made with 1 threads and goes on with 2" in caplog.text
    assert run.info["threads"] == [1, 2]


def test_the_same_thread_count_is_not_worth_a_word(tmp_path, caplog):
    stopped_after(2, tmp_path / "run")
    with caplog.at_level(logging.WARNING, logger="lpa_core.training"):
        train(tiny_config(), tmp_path / "run", resume=True, sets=tiny_sets(), device="cpu", progress=False)
    assert caplog.text == ""


def test_a_folder_in_use_is_refused(tmp_path):
    with files.locked(tmp_path / "run"):
        refuse(BlockingIOError, "another process", out=tmp_path / "run")


# One process that forks: each child trains, with resume, until SIGKILL strikes at its point of the run.
KILLED = """
import os, signal, sys
sys.path.insert(0, "tests/helpers")
import torch, torch._dynamo  # imported by the first step: once here, not in every child
torch.set_num_threads(1)
from lpa_core.training import train
from tiny import tiny_config, tiny_sets

often = 1e-9
POINTS = {  # a moment of the run, or what happens to which file; at which time it is met; seconds between checkpoints
    "before run.json": (("os.rename", "run.json"), 1, often),
    "after run.json": (("os.rename", "history.jsonl"), 1, often),
    "in step 2, before any checkpoint": (("step", 0, 2), 1, 99),
    "while the first checkpoint is written": (("open", "checkpoint.pt"), 1, often),
    "between its write and its rename": (("os.rename", "checkpoint.pt"), 1, often),
    "in step 3, after two checkpoints": (("step", 0, 3), 1, often),
    "in the validation of epoch 1": (("validation", 0, 4), 1, often),
    "between checkpoint and history of epoch 1": (("os.rename", "history.jsonl"), 2, 99),
    "in step 2 of epoch 2": (("step", 1, 2), 1, 99),
    "in a checkpoint of epoch 2": (("os.rename", "checkpoint.pt"), 2, often),
    "after the last epoch": (("validation", 3, 0), 1, 99),
    "in the test": (("test", 3, 0), 1, 99),
    "before the weights are written": (("open", "weights.safetensors"), 1, 99),
    "after the weights are written": (("open", "run.json"), 2, 99),
    "before run.json says finished": (("os.rename", "run.json"), 2, 99),
}

def child(out, point=None, times=0, seconds=99):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    status, met = 1, 0

    def pass_by(*here):
        nonlocal met
        met += here == point
        if met == times > 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event, arguments):  # Python's own: called before a file is opened or renamed
        if event in ("open", "os.rename") and isinstance(arguments[0], str | os.PathLike):
            name = os.path.basename(arguments[0])
            if name.endswith(".tmp"):
                pass_by(event, name.lstrip(".").removesuffix(f".{os.getpid()}.tmp"))

    try:
        sys.addaudithook(hook)
        train(tiny_config(epochs=3), out, sets=tiny_sets(), device="cpu", progress=False, resume=True,
              checkpoint_seconds=seconds, on_event=pass_by)
        status = 0
    finally:
        os._exit(status)

assert child(sys.argv[1] + "/whole") == 0
for point, change in POINTS.items():
    status = child(sys.argv[1] + "/killed", *change)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (point, status)
assert child(sys.argv[1] + "/killed") == 0
print(len(POINTS))
"""


def test_a_run_killed_fifteen_times_gives_the_same_bits(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "15\n"), done.stderr
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert sorted(os.listdir(killed)) == ["checkpoint.pt", "history.jsonl", "run.json", "weights.safetensors"]
    assert (whole / "weights.safetensors").read_bytes() == (killed / "weights.safetensors").read_bytes()
    one, other = (load_checkpoint(folder / "checkpoint.pt") for folder in (whole, killed))
    for part in ("model", "average", "random"):
        assert same_tensors(one[part], other[part]), part
    histories = [[json.loads(x) for x in (f / "history.jsonl").read_text().splitlines()] for f in (whole, killed)]
    assert without_times(histories[0]) == without_times(histories[1])
    assert len(histories[0]) == 3
    infos = [json.loads((folder / "run.json").read_text()) for folder in (whole, killed)]
    assert infos[0]["results"] == infos[1]["results"]
    assert (infos[0]["resumed"], infos[1]["resumed"]) == (0, 14)  # the first was killed before there was a run
    assert infos[1]["threads"] == [1] * 15


def test_a_disk_that_fills_up_loses_nothing(tmp_path, monkeypatch):
    out, calls, fsync = tmp_path / "run", 0, os.fsync

    def full(handle):
        nonlocal calls
        calls += 1
        if calls > 12:
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        train(tiny_config(), out, sets=tiny_sets(), device="cpu", progress=False, checkpoint_seconds=1e-9)
    monkeypatch.undo()
    assert load_checkpoint(out / "checkpoint.pt")["batch"] == 4
    run = train(tiny_config(), out, sets=tiny_sets(), device="cpu", progress=False, resume=True)
    whole = train(tiny_config(), sets=tiny_sets(), device="cpu", progress=False)
    assert same_tensors(run.model.state_dict(), whole.model.state_dict())


def test_every_builder_can_be_trained():
    trained = {
        "attention_vgg": {"width": 0.02},
        "small_attention_net": {"compatibility": "dp"},
        "vgg": {"width": 0.02},
        "attend_to": {"model": "squeezenet1_1", "nodes": ["features.4"], "freeze_backbone": True},
    }
    for name, options in trained.items():
        config = tiny_config(model={"builder": name, **options}, epochs=1, channels_last=False)
        run = train(config, sets=tiny_sets(size=32), device="cpu", progress=False)
        assert run.model.config["builder"] == name
        assert ("pointing_game" in run.results["test"]) == (name != "vgg")
        assert run.model.num_classes == 3


def test_sets_without_boxes_have_no_pointing_game():
    sets = [replace(part, masks=None, boxes=None) for part in tiny_sets()]
    run = train(tiny_config(epochs=1), sets=tuple(sets), device="cpu", progress=False)
    assert set(run.results["test"]) == {"accuracy", "loss", "n"}
