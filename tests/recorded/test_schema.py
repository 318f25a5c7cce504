"""One reader for all recorded files: it finds them all, and whatever is wrong with one becomes one kind of error."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from recorded import few_classes, hard, literature, maps, photographs, runs, swaps
from recorded.schema import sha256_of
from runs import varied

RESULTS = Path(__file__).parents[2] / "book" / "results"
SCHEMAS = {
    "runs": runs.RUNS,
    "hard": hard.HARD_RUNS,
    "cost": hard.HARD_COST,
    "maps": maps.MAPS,
    "literature": literature.LITERATURE,
}


def test_every_file_of_the_book_is_of_exactly_one_kind_and_whole():
    photos = (photographs.RUNS_SCHEMA, photographs.MONTAGES_SCHEMA, few_classes.SCHEMA)
    every = (*SCHEMAS.values(), *photos, swaps.SWAPS)
    found = sorted(path for schema in every for path in schema.files(RESULTS))
    assert found == sorted(RESULTS.glob("*.json"))
    assert all(schema.files(RESULTS) for schema in SCHEMAS.values())
    for name in ("cost", "literature"):
        assert SCHEMAS[name].read_all(RESULTS)[0]


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_seeds_of_two_digits_are_found_and_come_after_those_of_one(tmp_path):
    values = json.loads((RESULTS / "digits-quick-pc-0.json").read_text())
    record = json.loads((RESULTS / "hard-uniform-0.json").read_text())
    for seed in (0, 2, 10, 11):
        (tmp_path / f"digits-quick-pc-{seed}.json").write_text(json.dumps(varied(values, seed=seed)))
        record["seed"] = record["config"]["seed"] = seed
        (tmp_path / f"hard-uniform-{seed}.json").write_text(json.dumps(record))
    assert [run.seed for run in runs.read_runs(tmp_path)] == [0, 2, 10, 11]
    found = hard.read_hard_runs(tmp_path)
    assert [run["seed"] for run in found["uniform"]] == [0, 2, 10, 11]
    assert hard.lines(found)["uniform"].seeds == (0, 2, 10, 11)


# --- whatever is wrong ------------------------------------------------------------------------------------------------

FILES = {
    "runs": "digits-quick-pc-0.json",
    "hard": "hard-hard-0.json",
    "cost": "hard-cost.json",
    "maps": "maps-digits-pc.json",
    "literature": "literature.json",
}
NO_RECORD = ["", "[", "null", "[]", "{}", '"text"', "3", '{"format": NaN}', "[" * 100_000, "\ufffe", '{"format": 1}']


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_file_that_is_no_record_is_refused_by_name(tmp_path, kind):
    for text in NO_RECORD:
        path = tmp_path / FILES[kind]
        path.write_text(text)
        with pytest.raises(ValueError, match=f"^{path.name} is not {SCHEMAS[kind].what}: "):
            SCHEMAS[kind].read(path)
    with pytest.raises(FileNotFoundError):
        SCHEMAS[kind].read(tmp_path / "nowhere.json")


# Each of these raised something else than ValueError in one of the readers, or in the check that they share now.
BROKEN = {
    "an empty history": ("hard", lambda v: v.update(history=[])),
    "no history": ("hard", lambda v: v.update(history=None)),
    "a history of texts": ("hard", lambda v: v.update(history=["step"])),
    "windows of three corners": ("hard", lambda v: v["history"][0].update(windows=[[[1, 2, 3]]])),
    "data without a length": ("hard", lambda v: v["data"].update(test=[])),
    "a kind that is a list": ("hard", lambda v: v["config"].update(kind=["hard"])),
    "a field too many": ("hard", lambda v: v.update(remark="best of ten")),
    "a rate of zero": ("runs", lambda v: v["history"][0].update(images_per_second=0)),
    "a time too large for a float": ("runs", lambda v: v["history"][0].update(seconds=10**400)),
    "an empty history of a run": ("runs", lambda v: v.update(history=[])),
    "results that are a list": ("runs", lambda v: v.update(results=[1])),
    "a date that is a number": ("runs", lambda v: v.update(ended=5)),
    "no rows": ("maps", lambda v: v.update(rows=[])),
    "no interventions": ("maps", lambda v: v.update(interventions=[])),
    "an interval of two numbers": ("maps", lambda v: v["rows"][0].update(pointing=[0.1, 0.2])),
    "a pointing game above 1": ("maps", lambda v: v["rows"][0]["pointing"].__setitem__(2, 1.5)),
    "a cost of nothing": ("cost", lambda v: v["entries"][0].update(milliseconds=0)),
    "no costs": ("cost", lambda v: v.update(entries=[])),
    "a cost without a side": ("cost", lambda v: v["entries"][0].pop("side")),
    "no origin": ("cost", lambda v: v.update(commit=None)),
    "an entry that is a number": ("literature", lambda v: v["entries"].append(3)),
    "a source that is a list": ("literature", lambda v: v["entries"][0].update(source=[])),
}


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_is_wrong_is_one_error_that_names_the_file(tmp_path, what):
    kind, change = BROKEN[what]
    schema, path = SCHEMAS[kind], tmp_path / FILES[kind]
    values = json.loads((RESULTS / path.name).read_text())
    change(values)
    if schema.seal is not None:  # as somebody would who knows how to seal a record
        values[schema.seal] = schema.digest(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"^{path.name} is not {schema.what}: ."):
        schema.read(path)
    schema_of_whole = shutil.copy(RESULTS / path.name, path)
    schema.read(schema_of_whole)


@pytest.mark.parametrize("kind", ["runs", "maps"])
def test_a_broken_seal_is_noticed(tmp_path, kind):
    schema, path = SCHEMAS[kind], tmp_path / FILES[kind]
    values = json.loads((RESULTS / path.name).read_text())
    values["device"] += " overclocked"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"{schema.seal} does not fit: the record was altered"):
        schema.read(path)


def test_a_seal_does_not_depend_on_the_order_of_the_fields():
    values = {"a": 1, "b": [2.5, "é"], "seal": "x"}
    assert sha256_of(values, without="seal") == sha256_of(dict(reversed(values.items())), without="seal")
    other = copy.deepcopy(values)
    other["b"][0] = 2.25
    assert sha256_of(values, without="seal") != sha256_of(other, without="seal")
