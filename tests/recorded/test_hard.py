"""The records of hard attention: complete, in agreement with themselves, and the only source of the table."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from recorded.hard import COMMON, check_hard_run, deciding, lines, read_hard_runs

from lpa_core import data

FOLDER = Path(__file__).resolve().parents[2] / "book" / "results"
RECORDS = read_hard_runs(FOLDER)
FILES = sorted(FOLDER.glob("hard-*-*.json"))
TABLE = ("hard", "random", "salient", "soft", "uniform")


def test_seeds_begin_at_0_and_none_is_left_out():
    """A seed that went badly cannot be dropped from the middle."""
    assert {"hard", "soft", "uniform"} <= set(RECORDS)
    assert all(line.seeds == tuple(range(len(line.seeds))) for line in lines(RECORDS).values())


def test_runs_to_compare_differ_in_what_they_compare():
    """Same data for all, same recipe for all of the table, and each run with the code of a commit."""
    runs = [run for group in RECORDS.values() for run in group]
    assert len({json.dumps(run["data"], sort_keys=True) for run in runs}) == 1
    recipe = [
        {key: value for key, value in deciding(run["config"]).items() if key in COMMON and key != "kind"}
        for name in TABLE
        for run in RECORDS.get(name, [])
    ]
    assert all(each == recipe[0] for each in recipe)
    assert all(len(run["commit"]) == 40 for run in runs)


@pytest.fixture(scope="module")
def pictures() -> dict[str, data.ImageSet]:
    return {part: data.load("digits", part, n=500 if part == "validation" else None) for part in ("validation", "test")}


def test_the_pictures_are_those_that_this_code_makes(pictures):
    stored = RECORDS["hard"][0]["data"]
    assert {part: [len(images), images.checksum] for part, images in pictures.items()} == {
        part: stored[part] for part in pictures
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_records_are_small(file):
    assert file.stat().st_size < 100_000


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    """The path to every number in a record."""
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in leaves(each, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, each in enumerate(value) for leaf in leaves(each, (*path, i))]
    return [path] if isinstance(value, (int, float)) else []


def altered(record: dict, path: tuple, by: float) -> dict:
    record = copy.deepcopy(record)
    *parents, last = path
    part = record
    for key in parents:
        part = part[key]
    part[last] += by
    return record


SHOWN = [path for path in leaves(RECORDS["hard"][0]) if path[0] in ("results", "cost", "seconds", "cpu_seconds")]


@pytest.mark.parametrize("by", [0.0005, 0.0117, 1])
@pytest.mark.parametrize("path", SHOWN, ids=lambda path: ".".join(map(str, path)))
def test_an_altered_number_is_refused_or_shown(path, by):
    """No number of the table is anywhere but in the records: changing one there changes the table, or is refused."""
    changed = altered(RECORDS["hard"][0], path, by)
    try:
        check_hard_run(changed)
    except ValueError:
        return
    assert path[0] == "results"  # what can be counted again is refused, whatever the change
    assert abs(by) < 0.1
    before, after = lines({"hard": RECORDS["hard"][:1]}), lines({"hard": [changed]})
    assert before != after or path[-1] == "hit_any"  # of one window, hit_any is hit, and not shown


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 2, "format must be 1"),
        (("seed",), 7, "seed must be that of the config"),
        (("kind",), "a guess", "kind must be"),
        (("commit",), None, "commit must say"),
        (("config", "steps"), 100, "must end at step 100"),
        (("config", "lr"), -1.0, "lr must be above 0"),
        (("cost", "macs"), 1, "as counted on the model"),
        (("cpu_seconds",), 1.0, "cpu_seconds must be the history's last"),
        (("history", 3, "step"), 1, "step must rise"),
        (("history", 3, "seconds"), 0.0, "seconds must rise"),
        (("history", 2, "validation_accuracy"), 0.1234, "a whole number of 500 pictures"),
        (("history", 2, "windows", 0, 0, 0), 30, "windows must be of"),
        (("results", "accuracy"), 0.5, "near the last one on validation"),
        (("results", "accuracy"), 0.97012, "a whole number of 2000 pictures"),
        (("results",), {"accuracy": 0.97}, "accuracy, hit and iou"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_record_that_contradicts_itself_is_refused(path, value, message):
    record = copy.deepcopy(RECORDS["hard"][0])
    part = record
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        check_hard_run(record)


def test_reading_names_the_file_that_is_wrong(tmp_path):
    assert read_hard_runs(tmp_path) == {}
    shutil.copy(FOLDER / "hard-hard-0.json", tmp_path / "hard-hard-1.json")
    with pytest.raises(ValueError, match=r"hard-hard-1\.json.*it holds hard-hard-0"):
        read_hard_runs(tmp_path)
    (tmp_path / "hard-hard-1.json").write_text("{}")
    with pytest.raises(ValueError, match=r"hard-hard-1\.json is not a record"):
        read_hard_runs(tmp_path)


def test_runs_of_one_name_differ_in_their_seed_alone():
    other = copy.deepcopy(RECORDS["hard"][0])
    other["config"]["lr"] = 1.0
    with pytest.raises(ValueError, match="in their seed alone"):
        lines({"hard": [RECORDS["hard"][0], other]})


def test_what_decides_a_run_depends_on_its_kind():
    assert deciding({"kind": "soft", "reward": "correct", "seed": 1}) == deciding({"kind": "soft", "baseline": "none"})
    assert deciding({"kind": "hard", "reward": "correct"}) != deciding({"kind": "hard"})
    assert deciding({"kind": "soft", "steps": 10}) != deciding({"kind": "soft"})


def test_the_runs_reach_what_the_chapter_says():
    """Hard attention as good as soft; within 120 seconds on two cores, which are 240 of processor time."""
    table = lines(RECORDS)
    assert abs(table["hard"].accuracy.mean - table["soft"].accuracy.mean) < 0.01
    assert table["hard"].accuracy.low > 0.97
    assert table["hard"].iou.low >= 0.7
    assert table["hard"].cpu_seconds.mean <= 240
