"""Tiny ImageNet in its own layout: pictures with boxes, a part of it, an archive, and what is damaged."""

import hashlib
import shutil
import zipfile

import pytest
import torch
from tiny_imagenet_folder import write_tiny_imagenet

from lpa_core.data import tiny_imagenet
from lpa_core.data.sources import load


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three classes of ten pictures to train on and two to test on, as the archive lays them out."""
    return write_tiny_imagenet(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_splits_classes_labels_and_boxes(whole):
    parts = {split: load("tiny-imagenet", split, root=whole) for split in ("train", "validation", "all", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 27, "validation": 3, "all": 30, "test": 6}
    part = parts["all"]
    assert part.classes == ("cat", "crane, bird", "crane, machine")  # a name that two classes have is given in full
    assert part.images.shape == (30, 3, 64, 64)
    levels = [part.images[part.labels == label].float().mean().item() for label in range(3)]
    assert levels == pytest.approx([80, 20, 140], abs=3)  # n01 was painted second, n02 first
    assert part.boxes[3].tolist() == [2, 3, 64, 24]  # top, left, bottom, right; the ends are included in the file
    assert part.masks is None
    assert sorted(parts["test"].labels.tolist()) == [0, 0, 1, 1, 2, 2]
    assert parts["test"].boxes[0].tolist() == [1, 0, 4, 10]
    assert parts["train"].mean == parts["test"].mean


def test_a_size_enlarges_pictures_and_boxes(whole):
    small, large = (load("tiny-imagenet", "test", root=whole, size=size) for size in (64, 96))
    assert large.images.shape == (6, 3, 96, 96)
    assert torch.equal(large.boxes[0], torch.tensor([2, 0, 6, 15]))
    assert load("tiny-imagenet", "test", root=whole, size=8).boxes[0].tolist() == [0, 0, 1, 1]  # never empty
    assert small.mean == large.mean


def test_a_part_of_it_works_and_says_so(copy, caplog):
    shutil.rmtree(copy / "tiny-imagenet-200" / "train" / "n01")
    (copy / "tiny-imagenet-200" / "train" / "n03" / "images" / "n03_4.JPEG").unlink()
    found = load("tiny-imagenet", "all", root=copy)
    assert len(found) == 19
    assert len(found.classes) == 3
    assert "is a part of the archive: 19 of 100000 pictures to train on, 6 of 10000 to test on" in caplog.text


def test_an_archive_is_fetched_checked_and_unpacked(whole, tmp_path, monkeypatch):
    archive = tmp_path / "mirror" / "tiny-imagenet-200.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in sorted(whole.rglob("*")):
            zipped.write(path, path.relative_to(whole))
        zipped.writestr("tiny-imagenet-200/test/images/test_0.JPEG", b"without a label")
    mirror = archive.parent.as_uri()
    with pytest.raises(
        FileNotFoundError, match=r"not in root .*wnids.txt.*md5 is .*not 90528d7ca1a48142e341f4ef8d21d0de"
    ):
        load("tiny-imagenet", "test", root=tmp_path / "data", mirror=mirror)
    monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(FileNotFoundError, match=r"wnids.txt, and download=False. Put tiny-imagenet-200.zip"):
        load("tiny-imagenet", "test", root=tmp_path / "data", mirror=mirror, download=False)
    found = load("tiny-imagenet", "test", root=tmp_path / "data", mirror=mirror)
    assert torch.equal(found.images, load("tiny-imagenet", "test", root=whole).images)
    assert not (tmp_path / "data" / "tiny-imagenet-200" / "test").exists()


@pytest.mark.parametrize(
    ("file", "text", "error", "message"),
    [
        ("wnids.txt", None, FileNotFoundError, r"there is no .*wnids.txt: tiny-imagenet-200 must be laid out as"),
        ("words.txt", "n01\tcat\n", ValueError, r"words.txt is damaged: it has no name for n02"),
        ("train/n02/n02_boxes.txt", None, FileNotFoundError, r"there is no .*n02_boxes.txt"),
        ("train/n02/n02_boxes.txt", "n02_0.JPEG\t0\t0\n", ValueError, r"is damaged: 'n02_0.JPEG.* is no picture with"),
        ("train/n02/n02_boxes.txt", "n02_0.JPEG\t9\t0\t3\t64\n", ValueError, "is damaged"),
        ("train/n02/n02_boxes.txt", "n02_0.JPEG\t0\t0\t3\t6\n", ValueError, r"n02_1.JPEG has no box in n02_boxes.txt"),
        ("val/val_annotations.txt", "val_0.JPEG\tn09\t0\t0\t3\t6\n", ValueError, "is damaged: 'val_0.JPEG"),
        ("val/val_annotations.txt", "val_0.JPEG\n", ValueError, "is damaged: 'val_0.JPEG"),
        ("val/images/val_2.JPEG", "cut", ValueError, r"val_2.JPEG cannot be read as a picture"),
    ],
)
def test_what_is_damaged_is_named(file, text, error, message, copy):
    path = copy / "tiny-imagenet-200" / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message):
        load("tiny-imagenet", "test", root=copy)


def test_a_split_without_pictures_is_refused(copy):
    shutil.rmtree(copy / "tiny-imagenet-200" / "val" / "images")
    with pytest.raises(ValueError, match="has no pictures for 'test': it is damaged, or not whole"):
        load("tiny-imagenet", "test", root=copy)
