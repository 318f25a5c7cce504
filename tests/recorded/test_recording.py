import hashlib
import json
import os

import pytest
from recorded.runs import read_run
from recording import MOST_BYTES, public_command, record, record_run
from runs import CONFIG, tiny_run
from threads import single_thread

from lpa_core.data.sources import load
from lpa_core.training.run import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with single_thread():
        tiny_run(folder)
    return folder


def test_a_record_holds_the_run_and_where_it_comes_from(tmp_path, run):
    path = record_run(run, "tiny-pc", tmp_path / "results")
    assert path == tmp_path / "results" / "digits-tiny-pc-3.json"
    values, info = json.loads(path.read_text()), json.loads((run / "run.json").read_text())
    for key in ("config", "results", "commit", "versions", "device", "threads", "data", "timings", "parameters"):
        assert values[key] == info[key], key
    assert values["history"] == [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert values["weights"] == {
        "sha256": hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest(),
        "shipped": None,
    }
    assert (values["cut_short"], values["maps"]) == (False, None)
    assert values["command"] == "python -m lpa_core train --data digits --limit 64 --out runs/tiny-pc"
    assert read_run(path).config == CONFIG
    assert os.listdir(tmp_path / "results") == [path.name]


def test_the_maps_are_those_of_the_first_test_pictures(tmp_path, run):
    path = record_run(run, "tiny", tmp_path, maps=2)
    maps = json.loads(path.read_text())["maps"]
    drawn = (tmp_path / maps["file"]).read_bytes()
    assert maps == {"file": "digits-tiny-3.png", "sha256": hashlib.sha256(drawn).hexdigest(), "pictures": [0, 1]}
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) <= MOST_BYTES


def test_a_run_cut_short_is_recorded_as_cut_short(tmp_path):
    class Stop(Exception):
        pass

    def stop(entry, model):
        raise Stop

    with pytest.raises(Stop):
        tiny_run(tmp_path / "run", on_epoch=stop)
    values = record(tmp_path / "run", "tiny")
    assert (values["cut_short"], values["results"], len(values["history"])) == (True, None, 1)
    assert (values["timings"], values["ended"], values["weights"]["sha256"]) == (None, None, None)


def test_what_cannot_be_recorded_is_refused_and_nothing_is_written(tmp_path, run):
    with pytest.raises(ValueError, match="there is none at"):
        record(tmp_path / "nowhere", "tiny")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no run\.json"):
        record(tmp_path / "empty", "tiny")
    for name in ("", "Best run", "../tiny"):
        with pytest.raises(ValueError, match="name must be made of"):
            record_run(run, name, tmp_path / "results")
    tiny = {"builder": "vgg", "width": 0.02}
    config = CONFIG.from_dict({**CONFIG.to_dict(), "model": tiny, "epochs": 1})
    train(config, tmp_path / "vgg", device="cpu", progress=False)
    with pytest.raises(ValueError, match="no attention"):
        record_run(tmp_path / "vgg", "vgg", tmp_path / "results", maps=1)
    assert not (tmp_path / "results").exists()
    assert len(load("digits", "test", n=1)) == 1


@pytest.mark.parametrize(
    ("command", "public"),
    [
        (None, None),
        ("python -m lpa_core train --out=/a/b --seed 1", "python -m lpa_core train --out runs/x --seed 1"),
        ("a --root '/my data' --out b --resume --lr 1 --quiet", "a --out runs/x --lr 1"),
        ("a sweep full-width --minutes 9 --out /b --to c --maps 4", "a sweep full-width --out runs"),
        ("a --tensorboard /t --data 'folder:my pictures'", "a --data 'folder:my pictures'"),
    ],
)
def test_a_command_is_published_without_the_places_of_a_machine(command, public):
    assert public_command(command, "x") == public
