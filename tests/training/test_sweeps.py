import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import tiny_config, tiny_sets

from lpa_core import __main__
from lpa_core._utils.files import locked
from lpa_core.models.builders import build
from lpa_core.training.checkpoint import load_checkpoint
from lpa_core.training.sweeps import SWEEPS, VARIANTS, Job, combined, named, sweep

pytestmark = pytest.mark.usefixtures("one_thread")
REPOSITORY = Path(__file__).parents[2]
HOW = {"device": "cpu", "progress": False, "sets": tiny_sets()}


def files(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


# --- what there is to do ----------------------------------------------------------------------------------------------


def test_the_full_width_sweep_asks_the_important_questions_first():
    jobs = named("full-width")
    assert [job.folder for job in jobs] == [
        *("book-pc-0", "book-uniform-0", "book-global-0", "book-vgg-0"),
        *("book-pc-1", "book-uniform-1", "book-pc-2", "book-uniform-2"),
        *("book-dp-0", "book-additive-0", "book-sigmoid-0", "book-indep-0"),
        *("book-levels-1-0", "book-levels-2-0", "book-vgg-gap-0", "long-pc-0", "quarter-long-pc-0"),
    ]
    assert [job.config.epochs for job in jobs] == [60] * 15 + [200] * 2
    assert {job.config.data for job in jobs} == {"cifar100"}
    assert (jobs[-1].config.model["width"], jobs[-1].config.cutmix) == (0.25, 0.5)
    with pytest.raises(ValueError, match=r"sweep must be one of full-width; got 'all'"):
        named("all")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_model_of_its_own(name):
    (job,) = combined("cifar100", "small", [name], [0])
    with torch.device("meta"):
        model = build({**job.config.model, "num_classes": 100})
    assert all(model.config[key] == value for key, value in VARIANTS[name].items())


def test_all_variants_of_a_seed_come_before_the_next():
    jobs = combined("digits", "quick", ["pc", "dp"], [3, 1], epochs=2)
    assert [job.folder for job in jobs] == ["quick-pc-3", "quick-dp-3", "quick-pc-1", "quick-dp-1"]
    assert {job.config.epochs for job in jobs} == {2}
    with pytest.raises(ValueError, match=r"variants must be among pc, .*; got best"):
        combined("digits", "quick", ["pc", "best"], [0])
    with pytest.raises(ValueError, match="must differ"):
        combined("digits", "quick", ["pc"], [0, 0])
    assert SWEEPS.keys() == {"full-width"}


# --- stopped and continued --------------------------------------------------------------------------------------------


def test_a_finished_run_is_never_made_again(tmp_path):
    jobs = [Job("a", tiny_config(epochs=1)), Job("b", tiny_config(epochs=1))]
    assert sweep(jobs[:1], tmp_path, **HOW) == (["a-5"], [], {}, {})
    before = files(tmp_path)
    assert sweep(jobs, tmp_path, **HOW) == (["a-5", "b-5"], [], {}, {})
    assert before.items() <= files(tmp_path).items()
    begun = []
    assert sweep(jobs, tmp_path, on_event=lambda *event: begun.append(event), **HOW).finished == ["a-5", "b-5"]
    assert begun == []


def test_time_runs_out_within_a_run_and_the_next_call_goes_on(tmp_path):
    jobs, calls = [Job("a", tiny_config())], 0
    while (done := sweep(jobs, tmp_path / "cut", minutes=1e-4, **HOW)).left:
        calls += 1
        assert calls < 30
    assert (done.finished, calls >= 1) == (["a-5"], True)
    sweep(jobs, tmp_path / "whole", **HOW)
    one, other = (load_checkpoint(tmp_path / kind / "a-5" / "checkpoint.pt")["model"] for kind in ("cut", "whole"))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    with pytest.raises(ValueError, match="minutes must be above 0"):
        sweep(jobs, tmp_path, minutes=0.0, **HOW)


def test_a_run_of_another_process_is_left_to_it_and_a_diverging_one_stops_no_other(tmp_path):
    jobs = [Job("held", tiny_config()), Job("wild", tiny_config(lr=1e30)), Job("fine", tiny_config(epochs=1))]
    with locked(tmp_path / "held-5"):
        done = sweep(jobs, tmp_path, **HOW)
    assert (done.finished, done.left, [*done.failed]) == (["fine-5"], ["held-5"], ["wild-5"])
    assert "lower lr" in done.failed["wild-5"]


def test_a_sweep_killed_in_its_second_run_continues_there(tmp_path, capsys):
    line = ["sweep", "--data", "digits", "--variants", "pc", "uniform", "--limit", "240", "--epochs", "2"]
    line += ["--batch-size", "12", "--checkpoint-seconds", "0.01", "--threads", "1", "--device", "cpu", "--quiet"]
    line += ["--out", str(tmp_path / "runs")]
    first, second = tmp_path / "runs" / "quick-pc-0", tmp_path / "runs" / "quick-uniform-0"
    process = subprocess.Popen([sys.executable, "-m", "lpa_core", *line], cwd=REPOSITORY, stderr=subprocess.PIPE)
    until = time.monotonic() + 180
    while not (second / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = files(first)
    assert not (second / "weights.safetensors").exists()

    assert __main__.main(line) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"finished": ["quick-pc-0", "quick-uniform-0"], "left": [], "failed": {}, "hook_failed": {}}
    assert files(first) == before
    assert json.loads((second / "run.json").read_text())["resumed"] == 1
    command = json.loads((first / "run.json").read_text())["command"]
    assert command == "python -m lpa_core " + " ".join(line)


def test_a_hook_that_fails_is_reported_at_the_end_and_stops_no_later_run(tmp_path):
    """A disk that is full while a record is written is no reason to lose a night of training."""
    jobs, seen = [Job("a", tiny_config(epochs=1)), Job("b", tiny_config(epochs=1))], []

    def hook(job, folder):
        seen.append((job.folder, (folder / "weights.safetensors").exists()))
        if job.name == "a":
            raise OSError("no space left")

    done = sweep(jobs, tmp_path, on_finished=hook, **HOW)
    assert done == (["a-5", "b-5"], [], {}, {"a-5": "OSError: no space left"})
    assert seen == [("a-5", True), ("b-5", True)]
    assert sweep(jobs[:1], tmp_path, on_finished=hook, **HOW).hook_failed  # called for runs that were finished before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "name a sweep (full-width) or give --data"),
        (["full-width", "--epochs", "1"], "leave --data, --preset and what changes them out"),
        (["everything"], "sweep must be one of full-width"),
        (["--data", "digits", "--variants", "best"], "variants must be among"),
    ],
)
def test_what_is_not_a_sweep_is_refused(tmp_path, capsys, line, message):
    assert __main__.main(["sweep", *line, "--out", str(tmp_path / "runs")]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
