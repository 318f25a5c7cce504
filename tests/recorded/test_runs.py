import copy
import hashlib
import json
from pathlib import Path

import pytest
import torch
from recorded import runs as records
from recorded.runs import NOT_RUN, check_run, difference, digest, read_run, read_runs, runs_of, table
from recording import MOST_BYTES
from runs import varied

from lpa_core.data.sources import load
from lpa_core.models.weights import load_weights
from lpa_core.training.evaluation import evaluate


def place(folder, *some):
    for one in some:
        (folder / f"{records.stem(one)}.json").write_text(json.dumps(one))
    return read_runs(folder)


def numbers(value, path=()):
    """The path of every number (and switch) in a record."""
    if isinstance(value, dict | list):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(inside, (*path, key))
    elif isinstance(value, int | float):
        yield path


def altered(values, path, change):
    new = copy.deepcopy(values)
    inside = new
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = change(inside[path[-1]]) if callable(change) else change
    return new


# --- a file is whole and true to itself -------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(tmp_path, values):
    (found,) = place(tmp_path, values)
    assert (found.name, found.data, found.seed) == ("tiny", "digits", 3)
    assert found.config.to_dict() == values["config"]
    assert (found.history, found.results, found.values) == (values["history"], values["results"], values)


def test_every_altered_number_is_noticed(tmp_path, values):
    paths = [*numbers(values)]
    assert len(paths) > 50
    for path in paths:
        with pytest.raises(ValueError, match="is not a record of a run"):
            place(tmp_path, altered(values, path, lambda v: (not v) if isinstance(v, bool) else v + 1))


ALTERED = [
    (("results", "validation", "accuracy"), lambda a: a - 4 / 64, "validation must be the last epoch's"),
    (("results", "test", "accuracy"), lambda a: a + 0.001, "test: accuracy must be a whole number of 64 pictures"),
    (("results", "test", "accuracy"), 1.5, "must be a whole number"),
    (("results", "test", "n"), 65, "n must be 64"),
    (("results", "test", "loss"), -1.0, "loss must be finite"),
    (("results", "validation"), {}, "validation: accuracy, loss, n missing"),
    (("results",), None, "cut_short must be true"),
    (("cut_short",), True, "cut_short must be true"),
    (("history", 0, "lr"), 0.06, "epoch 1: lr must be"),
    (("history", 1, "step"), 5, "epoch 2: step must be 4"),
    (("history", 1, "epoch"), 3, "epoch 2: epoch must be 2"),
    (("history", 0, "train_accuracy"), 0.3, "train_accuracy must be a whole number"),
    (("history", 0, "validation_accuracy"), 0.3, "validation_accuracy must be a whole number"),
    (("history", 0, "validation_loss"), float("inf"), "validation_loss must be finite"),
    (("history", 0, "seconds"), 1e-4, "seconds must be at least"),
    (("history", 0, "seconds"), 100.0, "timings: seconds must be"),
    (("history", 0, "note"), "fine", "unknown note"),
    (("history",), [], "history must have an epoch"),
    (("history",), lambda h: h[:1], "history must have 2 epochs"),
    (("parameters",), 1, "parameters must be"),
    (("seed",), 4, "seed must be 3"),
    (("format",), 2, "format must be 1"),
    (("data", "name"), "cifar10", "data must be 'digits'"),
    (("data", "checksums"), ["sha256:0"], "checksums must be one for each"),
    (("config", "leraning_rate"), 1, "config has no field leraning_rate"),
    (("config", "lr"), -1.0, "lr must be at least 0"),
    (("config", "model", "builder"), "resnet", "builder must be one of"),
    (("device",), "", "device must say where"),
    (("timings", "images_per_second"), 1.0, "timings: images_per_second must be"),
    (("weights", "sha256"), None, "weights must have their sha256"),
    (("weights", "url"), "x", "weights: unknown url"),
    (("maps",), {"file": "x.png"}, "maps: pictures, sha256 missing"),
    (("ended",), "2001-01-01T00:00:00+00:00", "ended too early"),
    (("remark",), "best of ten", "fields: unknown remark"),
]


@pytest.mark.parametrize(("path", "change", "message"), ALTERED, ids=[".".join(map(str, a[0])) for a in ALTERED])
def test_what_contradicts_the_rest_is_refused_even_with_a_new_digest(values, path, change, message):
    new = altered(values, path, change)
    new["digest"] = digest(new)
    with pytest.raises(ValueError, match=message):
        check_run(new)


@pytest.mark.parametrize("field", records.FIELDS)
def test_a_missing_field_is_refused(values, field):
    new = {key: value for key, value in values.items() if key != field}
    with pytest.raises(ValueError, match=f"fields: {field} missing"):
        check_run(new)


def test_a_file_under_another_name_is_refused(tmp_path, values):
    (tmp_path / "digits-best-0.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"digits-best-0\.json is not a record of a run: it holds digits-tiny-3"):
        read_runs(tmp_path)
    (tmp_path / "digits-best-0.json").write_text("{")
    with pytest.raises(ValueError, match=r"digits-best-0\.json is not a record"):
        read_run(tmp_path / "digits-best-0.json")


def test_other_files_of_the_folder_are_left_alone(tmp_path, values):
    (tmp_path / "literature.json").write_text("{}")
    (tmp_path / "hard-soft-0.json").write_text("{}")
    assert len(place(tmp_path, values)) == 1
    assert read_runs(tmp_path / "nowhere") == []


def test_a_run_trained_on_everything_has_no_validation(values):
    new = varied(values, all=True)
    new["results"]["validation"] = None
    new["data"]["checksums"].pop()
    for entry in new["history"]:
        entry["validation_loss"] = entry["validation_accuracy"] = None
    new["digest"] = digest(new)
    check_run(new)
    new["history"][0]["validation_accuracy"] = 0.5
    new["digest"] = digest(new)
    with pytest.raises(ValueError, match="nothing was held out"):
        check_run(new)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_row_has_mean_spread_and_seeds(tmp_path, values):
    found = place(tmp_path, *(varied(values, seed=s, accuracy=a / 64) for s, a in ((0, 48), (1, 32), (2, 40))))
    (row,) = table(found, ["tiny"], data="digits")
    assert (row.seeds, row.error, row.spread) == ((0, 1, 2), pytest.approx(37.5), pytest.approx(12.5))
    assert (row.epochs, row.parameters, row.cut_short) == (2, values["parameters"], ())
    assert row.seconds == pytest.approx(values["timings"]["seconds"])
    assert str(row) == "37.50 ± 12.50"
    (row,) = table(found[:1], ["tiny"], data="digits")
    assert (row.error, row.spread, str(row)) == (25.0, None, "25.00")


def test_what_was_not_run_says_so(tmp_path, values):
    absent, other_data = table(place(tmp_path, values), ["book-pc", "tiny"])
    assert str(absent) == str(other_data) == NOT_RUN
    assert (absent.seeds, absent.error, absent.spread, absent.epochs) == ((), None, None, None)


def test_a_run_cut_short_is_shown_as_such_and_counts_in_nothing(tmp_path, values):
    short = varied(values, seed=9)
    short |= {"cut_short": True, "results": None, "timings": None, "ended": None, "history": short["history"][:1]}
    short["digest"] = digest(short)
    (row,) = table(place(tmp_path, short), ["tiny"], data="digits")
    assert (row.cut_short, row.seeds, str(row)) == ((9,), (), "not run yet to its end")
    (row,) = table(place(tmp_path, values), ["tiny"], data="digits")
    assert (row.cut_short, row.seeds) == ((9,), (3,))
    assert row.error == pytest.approx(100 * (1 - values["results"]["test"]["accuracy"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decay": 0.01}, "the configs of seeds 0 and 3 differ in weight_decay"),
        ({"model": {"normalise": "sigmoid"}}, "the configs of seeds 0 and 3 differ in model"),
    ],
)
def test_mixed_configs_are_refused(tmp_path, values, changes, message):
    found = place(tmp_path, values, varied(values, seed=0, **changes))
    with pytest.raises(ValueError, match=message):
        runs_of(found, "tiny", data="digits")
    with pytest.raises(ValueError, match=message):
        table(found, ["tiny"], data="digits")


def test_mixed_data_are_refused(tmp_path, values):
    other = varied(values, seed=0)
    other["data"]["checksums"][0] = "sha256:0"
    other["digest"] = digest(other)
    with pytest.raises(ValueError, match="the data of seeds 0 and 3 differ in checksums"):
        table(place(tmp_path, values, other), ["tiny"], data="digits")


def test_a_difference_is_paired_by_seed_with_an_interval_of_student(tmp_path, values):
    correct = {"one": {0: 48, 1: 40, 2: 44, 5: 1}, "two": {0: 44, 1: 38, 2: 38, 7: 1}}
    # Another name of the same parameters: the control differs in ``combine`` alone.
    models = {"one": {"combine": "concat"}, "two": {"combine": "concat", "normalise": "sigmoid"}}
    made = [
        varied(values, name=name, seed=seed, accuracy=n / 64, model=models[name])
        for name, runs in correct.items()
        for seed, n in runs.items()
    ]
    found = difference(place(tmp_path, *made), "one", "two", data="digits")
    assert found.seeds == (0, 1, 2)
    assert found.points == pytest.approx(100 * 4 / 64)  # gains of 4, 2 and 6 pictures: mean 4, standard deviation 2
    half = 4.302652729911275 * (100 * 2 / 64) / 3**0.5
    assert (found.low, found.high) == (pytest.approx(found.points - half), pytest.approx(found.points + half))
    assert str(found) == "+6.25 points, 95 % interval -1.51 to +14.01 (3 seeds)"


def test_one_seed_has_no_interval_and_none_is_not_run(tmp_path, values):
    found = place(tmp_path, values, varied(values, name="two", accuracy=0.0))
    one = difference(found, "tiny", "two", data="digits")
    assert (one.low, one.high, one.seeds) == (None, None, (3,))
    assert "one seed: no interval" in str(one)
    assert str(difference(found, "tiny", "three", data="digits")) == NOT_RUN


def test_a_control_that_differs_in_more_is_refused(tmp_path, values):
    found = place(tmp_path, values, varied(values, name="two", epochs=2, momentum=0.8))
    with pytest.raises(ValueError, match="two is no matched control of tiny: they differ in momentum"):
        difference(found, "tiny", "two", data="digits")


# --- the records of the book ------------------------------------------------------------------------------------------

RESULTS = Path(__file__).parents[2] / "book" / "results"


def test_the_records_of_the_book_are_whole_and_runs_of_one_name_belong_together():
    found = read_runs(RESULTS)
    for name, data in {(run.name, run.data) for run in found}:
        assert runs_of(found, name, data=data)


RECORDED = read_runs(RESULTS)
SHIPPED = [run for run in RECORDED if run.values["weights"]["shipped"]]


@pytest.mark.parametrize("run", RECORDED, ids=lambda run: records.stem(run.values))
def test_the_pictures_of_maps_are_those_recorded(run):
    maps = run.values["maps"]
    if maps is None:
        assert not (RESULTS / f"{records.stem(run.values)}.png").exists()
        return
    drawn = (RESULTS / maps["file"]).read_bytes()
    assert (len(drawn) <= MOST_BYTES, hashlib.sha256(drawn).hexdigest()) == (True, maps["sha256"])


@pytest.mark.parametrize("run", SHIPPED, ids=lambda run: records.stem(run.values))
def test_shipped_weights_say_what_their_record_says(run):
    info = load_weights(run.values["weights"]["shipped"]).info
    assert info.provenance["command"] == run.values["command"]
    for split, found in run.results.items():  # those of the file that ships: in float16, another rounding
        assert info.scores[split]["accuracy"] == pytest.approx(found["accuracy"], abs=0.001)
        assert info.scores[split]["n"] == found["n"]
    assert run.config.model.items() <= info.config.items()
    assert (info.provenance["data"], info.provenance["commit"]) == (run.values["data"], run.values["commit"])


@pytest.mark.parametrize("run", SHIPPED, ids=lambda run: records.stem(run.values))
def test_shipped_weights_score_what_their_record_says(run, cifar_root):
    model = load_weights(run.values["weights"]["shipped"]).model.to(memory_format=torch.channels_last)
    found = evaluate(model, load(run.data, "test", root=cifar_root), batch_size=100)
    assert found["accuracy"] == pytest.approx(run.results["test"]["accuracy"], abs=0.002)  # stored as float16
    assert found["loss"] == pytest.approx(run.results["test"]["loss"], abs=0.01)
