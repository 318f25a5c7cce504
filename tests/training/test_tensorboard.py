import importlib.util
import os
import sys
import types

import pytest
from tiny import tiny_config, tiny_sets

from lpa_core import __main__
from lpa_core.training.run import train
from lpa_core.training.tensorboard import scalars

INSTALLED = importlib.util.find_spec("tensorboard") is not None


@pytest.mark.skipif(INSTALLED, reason="TensorBoard is installed here")
def test_without_tensorboard_one_line_says_so_before_anything_is_done(tmp_path, capsys):
    with pytest.raises(ImportError, match="pip install tensorboard, or leave --tensorboard out"):
        scalars(tmp_path / "board")
    out = str(tmp_path / "run")
    arguments = ["train", "--data", "digits", "--tensorboard", str(tmp_path / "board"), "--out", out, "--device", "cpu"]
    assert __main__.main(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "the package tensorboard is needed" in said.err
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not INSTALLED, reason="TensorBoard is not installed")
def test_tensorboard_gets_its_file(tmp_path):
    train(tiny_config(), sets=tiny_sets(), device="cpu", progress=False, on_epoch=scalars(tmp_path))
    assert [name.startswith("events.out.tfevents") for name in os.listdir(tmp_path)] == [True]


def test_every_number_of_an_epoch_is_written_at_its_epoch(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == str(tmp_path)

        def add_scalar(self, name, value, step):
            written.append((step, name, value))

        def flush(self):
            pass

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run = train(tiny_config(), sets=tiny_sets(), device="cpu", progress=False, on_epoch=scalars(tmp_path))
    assert written == [(e["epoch"], k, v) for e in run.history for k, v in e.items() if k != "epoch"]
