import math
import sys

import pytest
import torch
from pretend_gpu import THERE, gpu

from benchmarks import bench_gpu
from lpa_core.data.batches import Batches

pytestmark = pytest.mark.usefixtures("one_thread", "unchecked")
SMALL = {"width": 0.02, "batch_size": 16}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("CC", sys.executable)  # any program: nothing is built here
    monkeypatch.setattr(bench_gpu, "FEW", 32)
    monkeypatch.setattr(bench_gpu, "BATCHES", (8,))


def test_without_a_gpu_nothing_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(bench_gpu.run()) == []
    assert "no GPU here" in capsys.readouterr().out


def test_where_all_is_well_the_checklist_says_ok_seven_times():
    with gpu():
        rows = list(bench_gpu.checklist(THERE, **SMALL))
    assert [row.name.partition(":")[0] for row in rows] == ["ok"] * 7, rows


def test_what_is_wrong_is_said_and_the_list_goes_on(monkeypatch):
    """No bfloat16, no compiler, and a batch that is read on the CPU in every step."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CC", "/nowhere")
    epoch = Batches.epoch

    def waiting(self, number, *, start=0):
        for images, labels in epoch(self, number, start=start):
            labels.sum().item()
            yield images, labels

    monkeypatch.setattr(Batches, "epoch", waiting)
    with gpu(bfloat16=False):
        rows = list(bench_gpu.checklist(THERE, **SMALL))
    failed = {row.name.split(": ")[1]: row.note for row in rows if row.name.startswith("FAILED")}
    assert [*failed] == [
        "the device computes in bfloat16",
        "two epochs, compiled, end where eager ones do",
        "no step waits for the GPU",
    ]
    assert all(math.isnan(row.value) == row.name.startswith("FAILED") for row in rows)
    assert "synchronizing" in failed["no step waits for the GPU"]
