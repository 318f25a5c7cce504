"""The tool that records runs, as its user calls it."""

import json
import os

import pytest
import record
from recorded.runs import read_run, read_runs
from runs import tiny_run
from threads import single_thread

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with single_thread():
        tiny_run(folder)
    return folder


def test_a_run_is_recorded_with_maps(tmp_path, capsys, run):
    results = tmp_path / "results"
    record.main(["run", str(run), "--name", "tiny-pc", "--to", str(results), "--maps", "1"])
    said = json.loads(capsys.readouterr().out)
    assert (said["record"], said["cut_short"]) == (str(results / "digits-tiny-pc-3.json"), False)
    assert said["results"] == read_run(said["record"]).results
    assert sorted(os.listdir(results)) == ["digits-tiny-pc-3.json", "digits-tiny-pc-3.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--maps", "-1"], "maps must be at least 0"),
        (["--maps", "5000"], "maps must be at most 2000, the test pictures; got 5000"),
        (["--name", "Best run"], "name must be made of"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(tmp_path, run, options, message):
    with pytest.raises(SystemExit, match=message):
        record.main(["run", str(run), "--to", str(tmp_path / "results"), *options])
    assert os.listdir(tmp_path) == []


def test_a_sweep_records_its_runs_as_they_finish_and_none_twice(tmp_path, capsys):
    places = ["--out", str(tmp_path / "runs"), "--to", str(tmp_path / "results")]
    line = ["sweep", "--data", "digits", "--variants", "pc", "global", "--limit", "64", "--epochs", "1", "--maps", "1"]
    line += ["--device", "cpu", "--quiet", "--threads", "1", *places]
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(
        SystemExit, match=r"quick-pc-0: \w+Error: .*; quick-global-0: "
    ):  # both are trained all the same
        record.main(line)
    (tmp_path / "results").unlink()
    record.main(line)
    said = json.loads(capsys.readouterr().out)
    assert said == {"finished": ["quick-pc-0", "quick-global-0"], "left": [], "failed": {}, "hook_failed": {}}
    found = read_runs(tmp_path / "results")
    assert [run.name for run in found] == ["quick-global", "quick-pc"]
    # A network without attention has no maps.
    assert [run.values["maps"] is None for run in found] == [True, False]
    assert found[0].values["command"] == (
        "python tools/record.py sweep --data digits --variants pc global --limit 64 --epochs 1 --device cpu "
        "--threads 1 --out runs"
    )
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}
    record.main(line)
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "results").iterdir()}


def test_a_sweep_is_named_or_described(tmp_path):
    for line in ([], ["full-width", "--data", "digits"], ["full-width", "--epochs", "1"]):
        with pytest.raises(SystemExit, match=r"either the name|says what to train"):
            record.main(["sweep", *line, "--out", str(tmp_path / "runs")])
    assert os.listdir(tmp_path) == []
