"""The chapters that train, where there is a GPU (a pretended one), and the full branches, shrunk."""

import logging
import os

import chapters
import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from pretend_gpu import gpu
from tiny_imagenet_folder import write_tiny_imagenet

from lpa_core.training.checkpoint import RunFolder

mpl.use("Agg")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch, tmp_path, one_thread, unchecked):
    """Beside a chapter lie the recorded runs; what it writes goes elsewhere."""
    (tmp_path / "results").symlink_to(chapters.BOOK / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(chapters.BOOK)
    monkeypatch.setenv("LPA_SCALE", "quick")
    logger = logging.getLogger("lpa_core")
    level = logger.level
    yield
    logger.setLevel(level)  # a chapter that would name folders of this machine quietens it
    plt.close("all")


def test_a_chapter_runs_where_there_is_a_gpu():
    """The full branch of the chapter on training, below, runs all of the quick one too."""
    with gpu(bfloat16=False) as waits, chapters.shrunk(None, epochs=1):
        space = chapters.run("12")
    assert waits.total() > 0
    assert space["plt"]


def test_the_full_branch_of_the_chapter_on_your_own_pictures_runs_on_a_gpu(monkeypatch, tmp_path):
    """It differs from the quick one in the pictures of its second folder alone."""
    monkeypatch.setenv("LPA_SCALE", "full")
    monkeypatch.setenv("LPA_DATA", str(write_tiny_imagenet(tmp_path / "data", train=12, test=5)))
    with gpu(bfloat16=False) as waits, chapters.shrunk(None, epochs=1):
        space = chapters.run("11")
    assert waits.total() > 0
    assert space["tiny"]
    assert space["photos"][2].classes == ("cat", "crane, bird", "crane, machine")
    assert [len(part) for part in space["photos"]] == [32, 4, 15]
    assert space["framed"].flatten(1).sum(dim=1).tolist() == [20 * 6] * 15
    assert {kind: run.results["test"]["n"] for kind, run in space["found"].items()} == {"pc": 15, "uniform": 15}


def test_the_full_branch_of_the_chapter_on_training_runs(monkeypatch, tmp_path):
    root = os.environ.get("LPA_DATA")
    root = root if root and os.path.isdir(os.path.join(root, "cifar-100-python")) else None
    monkeypatch.setenv("LPA_SCALE", "full")
    with gpu() as waits, chapters.shrunk(root):
        space = chapters.run("04")
    assert waits.total() > 0
    run = space["run"]
    assert (run.config.data, run.config.epochs, len(space["sets"].train)) == ("cifar100", 2, 512)
    assert run.model.config["width"] == 1 / 8
    assert len(run.model.classifiers[0].weight) == 100
    assert RunFolder(tmp_path / "runs" / "full").read_info()["finished"]
