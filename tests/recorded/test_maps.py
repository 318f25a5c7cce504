"""The recorded scores of maps keep their schema, are those of the shipped weights, and are what the chapter shows."""

import copy
import dataclasses
import json
import os
import re

import nbformat
import notebooks
import pytest
import record_maps
import torch
from recorded.maps import check_maps, four_scores, read_maps
from recorded.schema import checksum

from lpa_core import data, metrics, posthoc
from lpa_core.models import weights
from lpa_core.training.config import TrainConfig
from lpa_core.training.presets import preset

STORED = read_maps(record_maps.RESULTS)
CHAPTER = notebooks.ROOT / "book" / "08-judging-attention-maps.ipynb"
ONLY_LOCATED = {"blurred brightness", "uniform weights"}
ADDED = {"edges"}  # a baseline of every table since the records were made


def check_schema(record: dict) -> None:
    """It is whole, and of the methods and networks that the tool measures."""
    check_maps(record)
    assert record["name"] in record_maps.NETWORKS
    assert record["command"] == f"python tools/record_maps.py {record['name']}"
    settings = {field.name for field in dataclasses.fields(record_maps.Settings)}
    assert set(record["settings"]) == settings
    rows = {row["name"]: row for row in record["rows"]}
    judged = {*record_maps.METHODS, *record_maps.BASELINES, *ONLY_LOCATED}
    assert (set(record["refused"]) | set(rows)) - ADDED == judged
    assert all(row["options"] == record_maps.METHODS.get(name) for name, row in rows.items())
    assert {name for name, row in rows.items() if "sanity" not in row} == (ONLY_LOCATED | ADDED) & set(rows)
    assert len(record["interventions"]) == 1 + 4 * 4


def check_scores(record: dict) -> None:
    """The cheap scores again, from the weights and pictures of today."""
    rows = {row["name"]: row for row in record["rows"]}
    test = data.load("digits", "test", n=record["data"]["n"])
    assert record["data"]["checksum"] == test.checksum, "other pictures: python tools/record_maps.py --again"
    n = record["settings"]["located"]
    masks = metrics.box_masks(test.boxes[:n], (40, 40))
    chance = metrics.cluster_interval(masks.double().mean(dim=(1, 2)), test.sources[:n])
    assert rows["uniform weights"]["pointing"][:3] == pytest.approx(chance[:3], abs=1e-4)
    if (
        record["name"] == "digits-uniform"
    ):  # the control, trained for the record: its maps are constant, whatever it has learned
        for level in (1, 2, 3):
            assert rows[f"attention, level {level}"]["pointing"][0] == pytest.approx(chance.mean, abs=1e-4)
        return
    model, info = weights.load_weights(record["name"])
    assert record["network"]["sha256"] == info.sha256, "other weights: python tools/record_maps.py --again"
    for name in ("attention, level 1", "attention, level 2", "attention, level 3", "Grad-CAM"):
        maps = posthoc.explain(model, test.float_images(slice(0, n)), **rows[name]["options"])
        scores = metrics.score_maps(maps, masks)
        # Rounding may move one picture's largest value.
        assert rows[name]["pointing"][0] == pytest.approx(scores.pointing.mean().item(), abs=1.01 / n), name
        assert rows[name]["energy"][0] == pytest.approx(scores.energy.mean().item(), abs=1e-3), name


def check(record: dict) -> None:
    check_schema(record)
    check_scores(record)


@pytest.mark.parametrize("name", sorted(STORED))
def test_a_stored_record_is_complete_and_of_these_weights(name):
    assert STORED[name]["name"] == name
    check(STORED[name])


def test_the_control_stands_beside_what_it_controls_for():
    assert set(STORED) in (set(), set(record_maps.NETWORKS))
    for one in STORED.values():
        assert one["settings"] == STORED["digits-uniform"]["settings"]
        assert one["data"] == STORED["digits-uniform"]["data"]
    training = STORED["digits-uniform"]["network"]["training"]
    config = preset("quick", "digits", compatibility="uniform")
    assert TrainConfig.from_dict(training["config"]) == config
    assert len(training["history"]) == config.epochs
    shipped = STORED["digits-pc"]["network"]["training"]
    assert training["data"] == shipped["data"]
    assert (training["config"]["seed"], training["threads"]) == (shipped["seed"], shipped["threads"])


# Altered records are noticed ------------------------------------------------------------------------------------------


def row_of(record: dict, name: str) -> dict:
    return next(row for row in record["rows"] if row["name"] == name)


ALTERATIONS = {
    "a pointing game": lambda r: row_of(r, "attention, level 3")["pointing"].__setitem__(slice(0, 2), [0.9, 0.8]),
    "an energy": lambda r: row_of(r, "Grad-CAM")["energy"].__setitem__(slice(0, 3), [0.5, 0.4, 0.6]),
    "chance": lambda r: row_of(r, "uniform weights")["pointing"].__setitem__(slice(0, 2), [0.11, 0.1]),
    "the weights": lambda r: r["network"].update(sha256="0" * 64),
    "the pictures": lambda r: r["data"].update(checksum="sha256:0"),
    "a lost row": lambda r: r["rows"].pop(3),
    "a lost score": lambda r: row_of(r, "saliency").pop("deletion"),
    "a correlation above 1": lambda r: row_of(r, "saliency")["sanity"][0].update(spearman=[1.2, 1, 1.4, 9, 9, 0]),
    "a lost intervention": lambda r: r["interventions"].pop(),
    "an option": lambda r: row_of(r, "occlusion")["options"].update(window=3),
}


@pytest.mark.parametrize("what", ALTERATIONS)
def test_an_altered_record_is_noticed(what):
    record = copy.deepcopy(STORED["digits-pc"])
    ALTERATIONS[what](record)
    with pytest.raises(ValueError, match="altered after it was written"):
        check_schema(record)
    record["checksum"] = checksum(record)
    with pytest.raises((AssertionError, ValueError)):
        check(record)


# The chapter ----------------------------------------------------------------------------------------------------------


def shown_table() -> str:
    """The text of the chapter's table of four scores."""
    cells = notebooks.code_cells(nbformat.read(CHAPTER, as_version=4))
    (cell,) = (cell for cell in cells if "four[name] for name in eight" in cell.source)
    (text,) = (output.data["text/plain"] for output in cell.outputs if "data" in output)
    return text


def test_the_chapters_table_is_made_of_the_records():
    lines = {
        line[:20].strip(): re.findall(r"(-?\d\.\d\d)(?= \(|\s|$)", line[20:]) for line in shown_table().splitlines()
    }
    scores = four_scores(STORED["digits-pc"])
    of_the_record = set(lines) & set(scores)
    assert len(of_the_record) == 7
    assert "edges" in lines
    for name in of_the_record:
        assert [float(value) for value in lines[name]] == pytest.approx([*scores[name].values()], abs=0.0051), name


def test_four_scores_are_those_of_the_record():
    record = copy.deepcopy(STORED["digits-pc"])
    row_of(record, "HiResCAM")["deletion"][:3] = [0.123, 0.1, 0.2]
    for draw, value in zip(row_of(record, "HiResCAM")["sanity"], (0.1, None, 0.2), strict=True):
        draw["spearman"][0] = value
    record["attacks"][-1]["stability"]["HiResCAM"][0] = 0.7
    scores = four_scores(record)
    expected = {"pointing": 1.0, "deletion": 0.123, "random network": 0.15, "attacked": 0.7}
    assert scores["HiResCAM"] == pytest.approx(expected)
    assert set(scores) == {row["name"] for row in record["rows"]} - ONLY_LOCATED


# The tool -------------------------------------------------------------------------------------------------------------

TINY = record_maps.Settings(
    located=3, curves=2, steps=2, checked=2, draws=2, samples=1, epsilons=(4 / 255,), answered=4
)


def test_the_tool_writes_whole_records_and_skips_those_there_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record_maps, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(record_maps, "Settings", lambda: TINY)
    monkeypatch.setattr(record_maps, "preset", lambda *name, **model: preset(*name, **model, epochs=1, limit=64))
    monkeypatch.setattr("sys.argv", ["record_maps.py", "digits-uniform", "--threads", str(torch.get_num_threads())])
    record_maps.main()
    assert os.listdir(tmp_path / "results") == ["maps-digits-uniform.json"]
    written = record_maps.path("digits-uniform").read_text()
    assert "digits-uniform" in capsys.readouterr().out
    record = json.loads(written)
    monkeypatch.undo()
    check(record)
    assert len(record["network"]["training"]["history"]) == 1
    assert row_of(record, "attention, level 1")["sanity"][0]["spearman"][0] is None  # constant maps have no order
    assert row_of(record, "centre prior")["sanity"][0]["spearman"][0] == 1
    assert list(record["refused"]) == ["CAM"]

    monkeypatch.setattr(record_maps, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(record_maps, "run", lambda *_: pytest.fail("it must be skipped"))
    monkeypatch.setattr("sys.argv", ["record_maps.py", "digits-uniform", "--threads", str(torch.get_num_threads())])
    record_maps.main()
    assert record_maps.path("digits-uniform").read_text() == written
    monkeypatch.setattr("sys.argv", ["record_maps.py", "digits"])
    with pytest.raises(SystemExit):
        record_maps.main()
    assert "there is no digits; there are digits-pc" in capsys.readouterr().err
