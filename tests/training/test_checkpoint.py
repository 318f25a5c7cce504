import json
import os
import pickle

import pytest
import torch

from lpa_core._utils.seeding import own_random_state, random_state, set_random_state
from lpa_core.training.checkpoint import RunFolder, load_checkpoint, refuse_other, save_checkpoint

CPU = torch.device("cpu")


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", {"a": torch.arange(3000.0), "b": [{"c": 0.1, "d": None}]})
    return tmp_path / "checkpoint.pt"


def test_what_is_saved_is_loaded_and_torch_can_read_it_without_executing_anything(path):
    state = load_checkpoint(path)
    assert torch.equal(state.pop("a"), torch.arange(3000.0))
    assert state == {"b": [{"c": 0.1, "d": None}]}
    assert torch.load(path, weights_only=True)["b"] == state["b"]


def test_a_checkpoint_cut_off_anywhere_is_refused(path):
    data = path.read_bytes()
    for length in [0, 1, 3, 4, 5, *range(100, len(data), 500), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
            load_checkpoint(path)


def test_a_single_wrong_bit_is_refused(path):
    data = path.read_bytes()
    for place in range(0, len(data), 700):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
            load_checkpoint(path)


def test_foreign_files_are_refused_and_never_executed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (b"", b"not a checkpoint", pickle.dumps(Bomb()), pickle.dumps({"format": 1})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no checkpoint"):
            load_checkpoint(path)
    save_checkpoint(path, {"a": Bomb()})
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)
    save_checkpoint(path, {"format": 2})
    with pytest.raises(ValueError, match="no checkpoint of this version"):
        load_checkpoint(path)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "nothing")


def test_a_full_disk_leaves_the_last_good_checkpoint(path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"a": 1})
    monkeypatch.undo()
    assert torch.equal(load_checkpoint(path)["a"], torch.arange(3000.0))
    assert os.listdir(path.parent) == ["checkpoint.pt"]


# --- the folder -------------------------------------------------------------------------------------------------------

INFO = {
    "format": 1,
    "command": None,
    "config": {"epochs": 5, "lr": 0.1},
    "data": {"name": "digits"},
    "finished": False,
    "resumed": 0,
    "started": "today",
    "threads": [1],
}


def test_an_earlier_run_is_only_touched_to_continue_it_with_the_same_config(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.earlier(INFO["config"], resume=False) is None
    assert folder.earlier(INFO["config"], resume=True) is None
    folder.write_info(INFO)
    assert folder.earlier({"epochs": 5, "lr": 0.1}, resume=True) == INFO
    with pytest.raises(ValueError, match=r"already holds a run \(run\.json\); continue it with resume \(--resume\)"):
        folder.earlier(INFO["config"], resume=False)
    with pytest.raises(
        ValueError, match=r"has another config: ema is 0\.0 there, 0\.9 here; epochs is 5 there, 6 here"
    ):
        folder.earlier({"epochs": 6, "lr": 0.1, "ema": 0.9}, resume=True)


@pytest.mark.parametrize("name", ["history.jsonl", "checkpoint.pt", "weights.safetensors"])
def test_files_of_a_run_without_run_json_are_never_written_over(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match="already holds a run"):
        RunFolder(tmp_path).earlier({}, resume=False)
    with pytest.raises(ValueError, match=r"no run\.json"):
        RunFolder(tmp_path).earlier({}, resume=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": 1}', json.dumps({**INFO, "format": 99}), "\xff"])
def test_a_damaged_run_json_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        RunFolder(tmp_path).earlier({}, resume=True)


def test_the_history_is_written_anew(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "history.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    folder.write_history([{"epoch": 1, "loss": 0.5}])
    assert (tmp_path / "history.jsonl").read_text() == '{"epoch": 1, "loss": 0.5}\n'
    assert folder.read_history() == [{"epoch": 1, "loss": 0.5}]


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(None)
    assert folder.earlier({}, resume=True) is None
    assert folder.load() is None
    folder.write_info({})
    folder.write_history([])
    folder.save({})
    folder.clean()
    assert os.listdir(tmp_path) == []


def test_values_are_compared_as_json_gives_them_back():
    refuse_other("x", {"a": [1, 2]}, {"a": (1, 2)})
    with pytest.raises(ValueError, match="x: b is None there, None here"):
        refuse_other("x", {}, {"b": None})


# --- random state -----------------------------------------------------------------------------------------------------


def test_the_callers_random_state_is_given_back():
    before = torch.get_rng_state()
    with own_random_state(CPU, 3):
        first = torch.rand(2)
        state = random_state(CPU)
        second = torch.rand(2)
        set_random_state(CPU, state)
        assert torch.equal(torch.rand(2), second)
    assert torch.equal(torch.get_rng_state(), before)
    with own_random_state(CPU, 3):
        assert torch.equal(torch.rand(2), first)
    with own_random_state(CPU, 4):
        assert not torch.equal(torch.rand(2), first)


@pytest.mark.parametrize("lines", ["", '{"epoch": 1}\n'])
def test_a_finished_run_whose_history_is_empty_or_short_is_damaged(tmp_path, lines):
    folder = RunFolder(tmp_path)
    folder.write_history([])
    assert folder.read_history() == []
    folder.write_info(INFO)
    assert folder.read_history() == []
    folder.write_info({**INFO, "finished": True, "results": {}, "timings": {}})
    (tmp_path / "history.jsonl").write_text(lines)
    with pytest.raises(ValueError, match=rf"history\.jsonl is damaged .*it has {len(lines) // 10} of 5 epochs"):
        folder.read_history()
