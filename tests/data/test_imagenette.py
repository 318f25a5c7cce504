"""Imagenette as torchvision names it: its archive, its classes, its own test pictures."""

import hashlib
import tarfile

import pytest
import torch
from PIL import Image
from torchvision.datasets import Imagenette

from lpa_core.data.sources import load

WNIDS = ("n01440764", "n03394916")


def test_it_is_fetched_checked_unpacked_and_read(tmp_path, monkeypatch):
    made, mirror = tmp_path / "made" / "imagenette2-160", tmp_path / "mirror"
    for split, count in (("train", 10), ("val", 2)):
        for number, wnid in enumerate(WNIDS):
            (made / split / wnid).mkdir(parents=True)
            for i in range(count):
                colour = (200 * number, 10 * i, 0)
                Image.new("RGB", (180, 160), colour).save(made / split / wnid / f"{i}.JPEG", quality=95)
    mirror.mkdir()
    with tarfile.open(mirror / "imagenette2-160.tgz", "w:gz") as tar:
        tar.add(made, made.name)
    url = Imagenette._ARCHIVES["160px"][0]
    md5 = hashlib.md5((mirror / "imagenette2-160.tgz").read_bytes()).hexdigest()
    root = tmp_path / "data"
    with pytest.raises(FileNotFoundError, match=r"imagenette is not in root .* could not be downloaded .*md5"):
        load("imagenette", "train", root=root, mirror=mirror.as_uri())
    monkeypatch.setitem(Imagenette._ARCHIVES, "160px", (url, md5))
    parts = {split: load("imagenette", split, root=root, mirror=mirror.as_uri(), size=32) for split in ("all", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"all": 20, "test": 4}
    assert parts["test"].classes == ("tench", "French horn")
    assert parts["test"].images.shape == (4, 3, 32, 32)
    assert (parts["test"].images[:, 0].float().mean((1, 2)) > 100).equal(parts["test"].labels == torch.tensor(1))
