"""Data sets by name, from small files in their formats and from the real ones."""

import hashlib
import io
import os
import pickle
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from lpa_core.data.digits import DIGITS_N, digits_in_clutter
from lpa_core.data.image_set import ImageSet
from lpa_core.data.sources import load, load_splits

NAN = float("nan")


def same(a: ImageSet, b: ImageSet, *fields: str) -> bool:
    return all(torch.equal(getattr(a, field), getattr(b, field)) for field in fields)


def test_load_makes_digits():
    assert same(load("digits", "test", n=20, seed=5), digits_in_clutter(20, split="test", seed=5), "images", "labels")
    assert len(load("digits", "validation")) == DIGITS_N["validation"] == 2000


@pytest.mark.parametrize("name", ["mnist", "CIFAR10", "folder:", "folder", "", "digits:3"])
def test_load_names_what_there_is(name):
    with pytest.raises(ValueError, match=rf"name must be 'digits', .* or 'folder:PATH'; got '{name}'"):
        load(name, "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "split must be one of"),
        ({"n": 0}, "n must be an integer of at least 1; got 0"),
        ({"seed": -1}, "seed must be an integer of at least 0; got -1"),
        (
            {"size": 32},
            "size is for 'folder:PATH', 'tiny-imagenet' and 'imagenette'; pictures of 'digits' have one size; got 32",
        ),
    ],
)
def test_load_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        load(**({"name": "digits", "split": "train"} | options))


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Small:
    """A CIFAR-10 of 40 training and 10 test pictures in torchvision's format, its archive on a mirror."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.root, mirror = folder / "root", folder / "mirror"
        self.root.mkdir()
        mirror.mkdir()
        self.archive, self.mirror = mirror / "cifar-10-python.tar.gz", mirror.as_uri()
        self.batches = self.root / "cifar-10-batches-py"
        generator = np.random.default_rng(0)
        self.pictures = generator.integers(0, 256, (50, 3072), dtype=np.uint8)
        self.labels = (np.arange(50) % 2).tolist()
        self.files = {
            "one": pickle.dumps({"data": self.pictures[:20], "labels": self.labels[:20]}),
            "two": pickle.dumps({"data": self.pictures[20:40], "labels": self.labels[20:40]}),
            "test": pickle.dumps({"data": self.pictures[40:], "labels": self.labels[40:]}),
            "meta": pickle.dumps({"label_names": ["cat", "dog"]}),
        }
        with tarfile.open(self.archive, "w:gz") as tar:
            for name, content in self.files.items():
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        md5s = {name: md5_of(content) for name, content in self.files.items()}
        monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5_of(self.archive.read_bytes()))
        monkeypatch.setattr(datasets.CIFAR10, "train_list", [["one", md5s["one"]], ["two", md5s["two"]]])
        monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test", md5s["test"]]])
        meta = {"filename": "meta", "key": "label_names", "md5": md5s["meta"]}
        monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
        monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
        monkeypatch.delenv("LPA_MIRROR", raising=False)
        monkeypatch.setenv("LPA_DATA", str(self.root))

    def load(self, split: str = "train", **options) -> ImageSet:
        return load("cifar10", split, **options)

    def images(self, *index) -> torch.Tensor:
        return torch.from_numpy(self.pictures.reshape(50, 3, 32, 32)[index])

    def left_in_root(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


@pytest.fixture
def small(tmp_path, monkeypatch) -> Small:
    return Small(tmp_path, monkeypatch)


def test_a_mirror_gives_the_whole_data_set(small, capsys):
    everything, test = small.load("all", mirror=small.mirror), small.load("test", download=False)
    assert "cifar-10-python.tar.gz" in capsys.readouterr().err  # the progress bar
    assert torch.equal(everything.images, small.images(slice(40)))
    assert everything.labels.tolist() == small.labels[:40]
    assert torch.equal(test.images, small.images(slice(40, 50)))
    assert test.labels.tolist() == small.labels[40:]
    assert everything.classes == test.classes == ("cat", "dog")
    assert (everything.name, everything.split, test.split) == ("cifar10", "all", "test")
    assert everything.images.is_contiguous()
    assert small.left_in_root() == ["cifar-10-batches-py", *(f"cifar-10-batches-py/{f}" for f in sorted(small.files)), "cifar-10-python.tar.gz"]  # fmt: skip  # noqa: E501


def test_the_environment_names_mirror_and_root(small, monkeypatch, tmp_path):
    monkeypatch.setenv("LPA_MIRROR", small.mirror)
    assert len(small.load()) == 36
    assert (small.batches / "one").exists()
    assert len(small.load(root=tmp_path / "elsewhere")) == 36
    assert (tmp_path / "elsewhere" / "cifar-10-batches-py" / "one").exists()
    monkeypatch.delenv("LPA_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert len(small.load(root=str(tmp_path / "elsewhere"), download=False)) == 36
    small.load()
    assert (tmp_path / "home" / ".cache" / "lpa_core" / "cifar-10-batches-py" / "one").exists()


def test_an_archive_in_the_root_is_unpacked_without_a_download(small):
    small.archive.rename(small.root / small.archive.name)
    assert len(small.load(download=False)) == 36


def test_files_in_the_root_need_no_archive(small):
    small.load(mirror=small.mirror)
    (small.root / small.archive.name).unlink()
    small.archive.unlink()
    assert len(small.load()) == 36


def test_one_missing_file_is_put_back_and_the_others_stay(small):
    small.load(mirror=small.mirror)
    (small.batches / "meta").unlink()
    before = {name: (small.batches / name).stat().st_ino for name in ("one", "two", "test")}
    small.load(download=False)
    assert (small.batches / "meta").read_bytes() == small.files["meta"]
    assert before == {name: (small.batches / name).stat().st_ino for name in before}


def test_train_and_validation_part_the_training_pictures(small):
    train, validation = small.load("train", mirror=small.mirror), small.load("validation")
    assert (len(train), len(validation)) == (36, 4)
    assert validation.labels.bincount().tolist() == [2, 2]
    both = torch.cat([train.images, validation.images]).flatten(1)
    assert torch.equal(both.unique(dim=0), small.images(slice(40)).flatten(1).unique(dim=0))
    other = load("cifar10", "validation", seed=7)
    assert torch.equal(other.images, validation.images)  # fixed, whatever the seed of a run


@pytest.mark.parametrize("split", ["train", "validation", "test", "all"])
def test_mean_and_std_come_from_the_training_split(small, split):
    train = small.load("train", mirror=small.mirror).images.double() / 255
    pictures = small.load(split)
    torch.testing.assert_close(torch.tensor(pictures.mean).double(), train.mean((0, 2, 3)), rtol=0, atol=1e-7)
    torch.testing.assert_close(
        torch.tensor(pictures.std).double(), train.std((0, 2, 3), correction=0), rtol=0, atol=1e-7
    )


def test_three_splits_read_each_file_twice_once_for_its_md5_and_once_for_its_pictures(small, monkeypatch):
    small.load(mirror=small.mirror)  # fetches and unpacks the archive
    opened, plainly = Counter(), open

    def counting(file, *arguments, **options):
        opened[Path(file).name] += 1
        return plainly(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", counting)
    monkeypatch.setattr("io.open", counting)
    parts = load_splits("cifar10", ("train", "validation", "test"))
    assert [(part.split, len(part)) for part in parts] == [("train", 36), ("validation", 4), ("test", 10)]
    assert {name: opened[name] for name in ("one", "two", "test")} == {"one": 2, "two": 2, "test": 2}


def test_checksum_is_made_of_the_files(small):
    checksum = small.load(mirror=small.mirror).checksum
    assert checksum == "md5:" + "+".join(md5_of(small.files[name]) for name in ("one", "two", "test", "meta"))
    assert small.load("test").checksum == checksum


def test_n_takes_a_part_in_proportion_by_the_seed(small):
    part = small.load("train", n=10, seed=1, mirror=small.mirror)
    assert part.labels.bincount().tolist() == [5, 5]
    assert same(part, small.load("train", n=10, seed=1), "images")
    assert not same(part, small.load("train", n=10, seed=2), "images")
    assert part.checksum not in (small.load().checksum, small.load("train", n=10, seed=2).checksum)
    with pytest.raises(ValueError, match="n must be at most 36, the pictures in 'cifar10' 'train'; got 37"):
        small.load("train", n=37)


def test_nothing_there_and_no_network_is_one_clear_error(small):
    with pytest.raises(FileNotFoundError) as error:
        small.load()
    for part in ("cifar10", str(small.root), str(small.batches / "one"), "could not be downloaded", "LPA_MIRROR"):
        assert part in str(error.value), part
    with pytest.raises(FileNotFoundError, match="download=False"):
        small.load(download=False)
    assert small.left_in_root() == []


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, where: Path):
        self.where = where

    def __reduce__(self):
        return os.mkdir, (str(self.where),)


@pytest.mark.parametrize("name", ["one", "test", "meta"])
def test_a_damaged_file_is_named_never_opened_and_left_alone(small, name, tmp_path):
    small.load(mirror=small.mirror)
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    (small.batches / name).write_bytes(bomb)
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=rf"{name} is damaged: its md5 is {md5_of(bomb)}, not "):
            small.load(split, mirror=small.mirror)
    assert not (tmp_path / "exploded").exists()
    assert (small.batches / name).read_bytes() == bomb


@pytest.mark.parametrize("where", ["root", "mirror"])
def test_a_damaged_archive_is_never_used(small, where):
    whole = small.archive.read_bytes()
    if where == "root":
        (small.root / small.archive.name).write_bytes(whole[:-100])
        error, message = ValueError, r"root/cifar-10-python\.tar\.gz is damaged"
    else:
        small.archive.write_bytes(whole[:-100])
        error, message = FileNotFoundError, "could not be downloaded .*damaged or cut short"
    with pytest.raises(error, match=message):
        small.load(mirror=small.mirror)
    assert small.left_in_root() == ([small.archive.name] if where == "root" else [])


def test_svhn(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    pictures = {
        part: generator.integers(0, 256, (32, 32, 3, n), dtype=np.uint8) for part, n in (("train", 40), ("test", 10))
    }
    labels = {part: (np.arange(p.shape[3]) % 10 + 1)[:, None].astype(np.uint8) for part, p in pictures.items()}
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    split_list = {}
    for part in pictures:
        file = mirror / f"{part}_32x32.mat"
        scipy.io.savemat(file, {"X": pictures[part], "y": labels[part]})
        split_list[part] = ["http://127.0.0.1:9/x.mat", file.name, md5_of(file.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    options = {"root": tmp_path / "root", "mirror": mirror.as_uri()}
    test, everything = load("svhn", "test", **options), load("svhn", "all", **options)
    assert torch.equal(test.images, torch.from_numpy(pictures["test"].transpose(3, 2, 0, 1)))
    assert test.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert test.classes == tuple("0123456789")
    assert (len(everything), len(load("svhn", "train", **options)), len(load("svhn", "validation", **options))) == (
        40,
        36,
        4,
    )
    assert test.mean == everything.mean
    assert test.checksum == f"md5:{split_list['train'][2]}+{split_list['test'][2]}"


def write_pictures(folder: Path, counts: dict[str, int], size=(20, 12), seed=0) -> None:
    generator = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")


def test_a_folder_without_parts_is_split_in_proportion_once_and_for_all(tmp_path):
    write_pictures(tmp_path, {"cat": 20, "dog": 30})
    sets = {split: load(f"folder:{tmp_path}", split, size=8) for split in ("train", "validation", "test", "all")}
    assert {k: v.labels.bincount().tolist() for k, v in sets.items()} == {
        "train": [14, 22], "validation": [2, 2], "test": [4, 6], "all": [16, 24],
    }  # fmt: skip
    assert sets["test"].classes == ("cat", "dog")
    assert sets["test"].images.shape == (10, 3, 8, 8)
    together = torch.cat([sets[k].images for k in ("train", "validation", "test")]).flatten(1).unique(dim=0)
    assert len(together) == 50
    assert torch.equal(load(f"folder:{tmp_path}", "test", seed=3, size=8).images, sets["test"].images)
    train = sets["train"].images.double() / 255
    for pictures in sets.values():
        torch.testing.assert_close(torch.tensor(pictures.mean).double(), train.mean((0, 2, 3)), rtol=0, atol=1e-7)
    assert len({pictures.checksum for pictures in sets.values()}) == 4


def test_a_folder_with_train_and_test_keeps_them_apart(tmp_path):
    write_pictures(tmp_path / "train", {"cat": 10, "dog": 10})
    write_pictures(tmp_path / "test", {"cat": 1, "dog": 2}, seed=1)
    sizes = {split: len(load(f"folder:{tmp_path}", split)) for split in ("train", "validation", "test", "all")}
    assert sizes == {"train": 18, "validation": 2, "test": 3, "all": 20}
    assert load(f"folder:{tmp_path}", "test").images.shape == (3, 3, 64, 64)


def test_a_folder_with_train_alone_gives_a_fifth_of_it_to_test(tmp_path):
    write_pictures(tmp_path / "train", {"cat": 10, "dog": 10})
    write_pictures(tmp_path / "raw", {"cat": 7})  # not read, and no class
    sets = {split: load(f"folder:{tmp_path}", split) for split in ("train", "validation", "test")}
    assert [len(pictures) for pictures in sets.values()] == [14, 2, 4]
    assert sets["test"].classes == ("cat", "dog")


def test_train_may_be_the_name_of_a_class(tmp_path):
    write_pictures(tmp_path, {"bus": 5, "train": 5})
    assert load(f"folder:{tmp_path}", "all").classes == ("bus", "train")


def test_train_and_test_must_have_the_same_classes(tmp_path):
    write_pictures(tmp_path / "train", {"cat": 5, "dog": 5})
    write_pictures(tmp_path / "test", {"cat": 2})
    with pytest.raises(ValueError, match=r"classes \('cat', 'dog'\) in train but \('cat',\) in test"):
        load(f"folder:{tmp_path}", "test")


def test_pictures_of_a_folder_become_rgb_upright_and_of_one_size(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    # Left half black, right half white, lying on its side with a note which way is up.
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[:, 16:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    for i in range(4):
        Image.fromarray(pixels).save(tmp_path / "a" / f"{i}.png", exif=exif)
        Image.fromarray(pixels[..., 0]).convert("P").save(tmp_path / "b" / f"{i}.gif")
        Image.fromarray(pixels).convert("RGBA").save(tmp_path / "b" / f"{i}.webp", lossless=True)
    pictures = load(f"folder:{tmp_path}", "all", size=8)
    # The middle square of the 16x32 picture, or of the 32x16 one that it is when upright.
    across = torch.tensor([0] * 4 + [255] * 4)
    for image, label in zip(pictures.images, pictures.labels, strict=True):
        expected = across[:, None].expand(8, 8) if label == 0 else across.expand(8, 8)
        away_from_the_edge = [0, 1, 2, 5, 6, 7]
        for channel in image:
            along = channel if label == 1 else channel.T
            wanted = expected if label == 1 else expected.T
            assert (along.long() - wanted)[:, away_from_the_edge].abs().max() <= 20


def test_an_unreadable_picture_is_named(tmp_path):
    write_pictures(tmp_path, {"cat": 5, "dog": 5})
    broken = tmp_path / "cat" / "03.png"
    for content in (b"not a picture", broken.read_bytes()[:200], b""):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{broken} cannot be read as a picture \(.+\)"):
            load(f"folder:{tmp_path}", "all")


def test_a_picture_with_pixels_that_are_no_numbers_is_named(tmp_path):
    write_pictures(tmp_path, {"cat": 5, "dog": 5})
    for i in range(5):
        Image.fromarray(np.full((8, 8), NAN, np.float32)).save(tmp_path / "dog" / f"1{i}.tiff")
    with pytest.raises(ValueError, match=r"dog/1\d\.tiff cannot be read as a picture \(its pixels are not all numbers"):
        load(f"folder:{tmp_path}", "all")


def test_pictures_of_a_single_value_can_still_be_normalised(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / name / f"{i}.png")
    assert load(f"folder:{tmp_path}", "train", size=8).float_images().abs().max() < 1e-4


def test_a_folder_needs_classes_and_pictures(tmp_path):
    missing = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError, match=rf"one folder of pictures per class; {missing} is none"):
        load(f"folder:{missing}", "train")
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load(f"folder:{tmp_path}", "train")
    write_pictures(tmp_path, {"cat": 2, "dog": 1})
    with pytest.raises(ValueError, match=r"has 3 pictures, too few for a 'validation' split"):
        load(f"folder:{tmp_path}", "validation")
    with pytest.raises(ValueError, match="size must be an integer of at least 1; got 0"):
        load(f"folder:{tmp_path}", "train", size=0)


@pytest.mark.parametrize(("name", "classes", "first"), [("cifar10", 10, "airplane"), ("cifar100", 100, "apple")])
def test_the_real_cifar(cifar_root, name, classes, first):
    train = load(name, "train", root=cifar_root, download=False)
    validation = load(name, "validation", root=cifar_root, download=False)
    test = load(name, "test", root=cifar_root, download=False)
    assert (len(train), len(validation), len(test)) == (45_000, 5_000, 10_000)
    for pictures in (train, validation, test):
        assert (pictures.labels.bincount() == len(pictures) // classes).all()
        assert pictures.classes[0] == first
        assert len(pictures.classes) == classes
    # The means that everybody uses, to what 45,000 of the 50,000 pictures can tell.
    known = {"cifar10": (0.4914, 0.4822, 0.4465), "cifar100": (0.5071, 0.4865, 0.4409)}[name]
    torch.testing.assert_close(torch.tensor(train.mean), torch.tensor(known), rtol=0, atol=1e-3)
    fingerprint = hashlib.sha256(test.images.numpy().tobytes()).hexdigest()
    reference = getattr(datasets, {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}[name])(cifar_root, train=False)
    assert fingerprint == hashlib.sha256(reference.data.transpose(0, 3, 1, 2).tobytes()).hexdigest()
    assert test.labels.tolist() == reference.targets
