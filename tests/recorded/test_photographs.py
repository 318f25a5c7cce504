"""The records of photographs: those stored are whole, an altered one is refused, and the tool scores what it says."""

import copy
import json
from pathlib import Path

import pytest
import record_photos
import torch
from recorded.photographs import SCORES, montage_rows, read_montages, read_runs
from recorded.schema import checksum

from lpa_core.data import digits_in_clutter, montages
from lpa_core.models.weights import load_weights

FOLDER = Path(__file__).resolve().parents[2] / "book" / "results"


def test_the_stored_records_are_whole():
    runs = read_runs(FOLDER)
    assert runs is not None
    assert runs["data"]["test"] == 10_000
    assert set(read_montages(FOLDER)) == {"tiny-imagenet-pc", "cifar100-pc"}


def changed(record, path, value):
    """A copy with one entry changed, sealed anew, so that its content must give it away."""
    altered = copy.deepcopy(record)
    place = altered
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return {**altered, "checksum": checksum(altered)}


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("photos-tiny-imagenet", ("accuracy", "pc", "test", 0), 0.61234567, "must be a whole number of 10000 pictures"),
        ("photos-tiny-imagenet", ("accuracy", "pc", "test"), [0.5], "pc must have three seeds"),
        ("photos-tiny-imagenet", ("boxes", "centre prior", "pointing", 0), 1.2, r"must be in \[0, 1\]"),
        ("photos-tiny-imagenet", ("boxes", "uniform weights", "energy", 0), 0.1, "must score the boxes' share"),
        ("photos-tiny-imagenet", ("device",), "", "device must say where the numbers come from"),
        ("photos-montages-tiny-imagenet-pc", ("rows", 0, "saliency", "energy_all"), [0.5, 0.6, 0.7], "in its interval"),
        ("photos-montages-tiny-imagenet-pc", ("rows", 0, "edge map", "energy_all"), [0.3, 0.2, 0.4], "scores 0.25"),
        ("photos-montages-tiny-imagenet-pc", ("extra",), 1, "unknown extra"),
    ],
)
def test_an_altered_record_is_refused(name, path, value, message, tmp_path):
    record = json.loads((FOLDER / f"{name}.json").read_text())
    read = read_runs if name == "photos-tiny-imagenet" else read_montages
    (tmp_path / f"{name}.json").write_text(json.dumps(changed(record, path, value)))
    with pytest.raises(ValueError, match=message):
        read(tmp_path)
    (tmp_path / f"{name}.json").write_text(json.dumps({**changed(record, path, value), "checksum": "0"}))
    with pytest.raises(ValueError, match=r"altered after it was written|unknown"):
        read(tmp_path)


def test_the_tool_scores_every_method_and_level_beside_what_knows_nothing(monkeypatch):
    monkeypatch.setattr(
        record_photos, "METHODS", {k: record_photos.METHODS[k] for k in ("saliency", "CAM", "HiResCAM")}
    )
    made = montages(digits_in_clutter(200, split="test"), 8)
    rows, refused = record_photos.play(load_weights("digits-pc"), made, 0)
    assert set(refused) == {"CAM"}
    levels = {f"attention, level {level}" for level in (1, 2, 3)}
    assert set(rows) == {"said", "saliency", "HiResCAM", *levels, *record_photos.BASELINES}
    for name in (*levels, *record_photos.BASELINES):  # one map for all four classes
        assert rows[name]["energy_all"][0] == pytest.approx(0.25, abs=1e-5)
    assert rows["HiResCAM"]["energy_all"][0] > 0.4
    table = montage_rows({"rows": [rows, rows]})
    assert [row.name for row in table] == [name for name in rows if name != "said"]
    assert set(table[0].scores) == set(SCORES)
    assert table[0].scores["energy_all"][0] == rows["saliency"]["energy_all"][0]


def test_only_what_the_network_knows_is_put_into_montages():
    trained = load_weights("digits-pc")
    test = digits_in_clutter(200, split="test")
    made = record_photos.known_montages(trained, test, 10, 0)
    cells = made.images.unfold(2, 40, 40).unfold(3, 40, 40).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    with torch.no_grad():
        probability, said = trained.model(test.float_images()).softmax(dim=1).max(dim=1)
    for cell, label in zip(cells, made.labels.flatten(), strict=True):
        place = int((test.images == cell).flatten(1).all(dim=1).nonzero())
        assert said[place] == label
        assert probability[place] >= 0.5
