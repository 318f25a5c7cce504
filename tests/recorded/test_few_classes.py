"""Attention on a folder of a few classes: the folder, the tool that measures it, and its record."""

import copy
import json
from pathlib import Path

import pytest
import record_few_classes
import tiny_folder
import torch
from PIL import Image
from recorded.few_classes import CENTRE, LEVELS, SCHEMA, read_few_classes
from recorded.schema import checksum
from threads import single_thread
from tiny_imagenet_folder import write_tiny_imagenet

from lpa_core.data import load, read_picture

FOLDER = Path(__file__).resolve().parents[2] / "book" / "results"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_tiny_imagenet(tmp_path_factory.mktemp("tiny"))


# --- the folder -------------------------------------------------------------------------------------------------------


def test_the_folder_has_the_pictures_of_its_classes_and_their_boxes(root, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_folder, "PICTURES", 4)
    boxes = tiny_folder.write_folder(tmp_path / "photos", root, size=128)
    train, test = (load(f"folder:{tmp_path / 'photos'}", part, size=128) for part in ("all", "test"))
    assert train.classes == test.classes == ("cat", "crane, bird", "crane, machine")
    assert (len(train), len(test)) == (12, 6)
    whole = load("tiny-imagenet", "test", root=root, size=128)
    order = whole.labels.sort(stable=True).indices  # the classes' names are in the order of their numbers here
    assert torch.equal(test.labels, whole.labels[order])
    assert torch.equal(boxes, whole.boxes[order])
    assert torch.equal(test.images, whole.images[order])
    original = read_picture(root / "tiny-imagenet-200/train/n01/images/n01_3.JPEG")
    assert torch.equal(read_picture(tmp_path / "photos/train/cat/003.png"), original)


def test_a_folder_that_is_there_is_written_anew_and_classes_are_evenly_spaced(root, tmp_path, monkeypatch):
    (tmp_path / "photos/train/dog").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "photos/train/dog/000.png")
    monkeypatch.setattr(tiny_folder, "CLASSES", 1)
    tiny_folder.write_folder(tmp_path / "photos", root, size=64)
    assert [path.name for path in (tmp_path / "photos/train").iterdir()] == ["cat"]


def test_it_is_there_or_not(root, tmp_path):
    assert tiny_folder.is_there(root)
    assert not any(map(tiny_folder.is_there, (tmp_path, "", None)))


# --- the record -------------------------------------------------------------------------------------------------------


def test_the_tool_writes_a_record_that_is_whole(root, tmp_path, monkeypatch):
    monkeypatch.setattr(record_few_classes, "RECIPE", {"epochs": 1, "batch_size": 16, "lr": 0.05})
    with single_thread():
        made = SCHEMA.checked(json.loads(json.dumps(record_few_classes.record(tmp_path, str(root)))))
    assert (made["data"]["train"], made["data"]["validation"], made["data"]["test"]) == (27, 3, 6)
    assert made["command"] == f"python tools/record_few_classes.py {tmp_path.name}"
    assert made["pointing"][CENTRE]["seeds"] == [0]  # the boxes are in a corner
    assert made["box_share"] == pytest.approx(10 * 3 / 64**2)


def test_the_stored_record_is_whole_and_an_empty_folder_has_none(tmp_path):
    record = read_few_classes(FOLDER)
    assert record is not None
    assert (record["config"]["model"], len(record["data"]["classes"])) == (record_few_classes.MODEL, 8)
    assert {key: record["config"][key] for key in record_few_classes.RECIPE} == record_few_classes.RECIPE
    assert read_few_classes(tmp_path) is None


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("accuracy", "pc", "seeds", 0),
            0.61234567,
            "must be a whole number of 400 pictures|must be that of the seeds",
        ),
        (("accuracy", "pc", "seeds"), [0.5], "pc: a value for each seed"),
        (("accuracy", "pc", "interval"), [0.5, 0.6, 0.7], "must lie in its interval"),
        (("accuracy", "pc less uniform"), {"seeds": [0.5] * 3, "interval": [0.5] * 3}, "must be their difference"),
        (("pointing", LEVELS[0], "seeds", 0), 1.5, r"must be in \[0, 1\]"),
        (("pointing", "equal weights"), {"seeds": [0.1], "interval": [0.1] * 3}, "must score the boxes' share"),
        (("data", "more"), 1, "unknown more"),
        (("config", "seeds"), [0, 0, 1], "seeds must be three"),
        (("device",), "", "device must say where the numbers come from"),
    ],
)
def test_an_altered_record_is_refused(path, value, message, tmp_path):
    altered = copy.deepcopy(read_few_classes(FOLDER))
    place = altered
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "photos-few-classes.json"
    file.write_text(json.dumps({**altered, "checksum": checksum(altered)}))
    with pytest.raises(ValueError, match=message):
        read_few_classes(tmp_path)
    file.write_text(json.dumps(altered))
    with pytest.raises(ValueError, match="altered after it was written"):
        read_few_classes(tmp_path)
