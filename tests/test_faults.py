"""What goes wrong with disks, files and processes: a clear error, nothing lost, and the run goes on, bit by bit."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from files_of import contents
from PIL import Image
from recording import record_run
from runs import tiny_run
from threads import single_thread
from tiny import tiny_config, tiny_sets
from torchvision import datasets  # here: nobody may read root's Python

from lpa_core import __main__, training
from lpa_core._utils.files import write_atomic
from lpa_core.data.sources import load
from lpa_core.models.weights import load_weights, save_weights
from lpa_core.training.checkpoint import load_checkpoint, save_checkpoint
from lpa_core.training.run import train

pytestmark = pytest.mark.usefixtures("one_thread")
REPOSITORY = Path(__file__).parents[1]
NOBODY = 65534
SEED = 20261124  # of the moments of the kills


def same_bits(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


class Stop(Exception):
    pass


def stopped(out, config=None, **options):
    """A run that stops in the third step of its second epoch, with a checkpoint at every step."""

    def stop(*event):
        if event == ("step", 1, 3):
            raise Stop

    options = {"sets": tiny_sets(), "device": "cpu", "progress": False, "checkpoint_seconds": 1e-9, **options}
    with pytest.raises(Stop):
        train(config or tiny_config(), out, on_event=stop, **options)


def go_on(out, config=None, **options):
    options = {"sets": tiny_sets(), "device": "cpu", "progress": False, "resume": True, **options}
    return train(config or tiny_config(), out, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of the tiny run when nothing goes wrong."""
    with single_thread():
        return train(tiny_config(), sets=tiny_sets(), device="cpu", progress=False).model


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run on digits in clutter."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with single_thread():
        tiny_run(out)
    return out


def refused(capsys, *arguments):
    """The one line of a mistake on the command line, after checking that it is one line and the exit code 2."""
    try:
        code = __main__.main([str(a) for a in arguments])
    except SystemExit as error:
        code = error.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "Traceback" not in err
    return err


def command(*arguments):
    return {
        "args": [sys.executable, "-m", "lpa_core", *map(str, arguments)],
        "cwd": REPOSITORY,
        "env": {**os.environ, "OMP_NUM_THREADS": "1"},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_twenty_kills_at_random_moments_change_no_bit(tmp_path, figures):
    done = subprocess.run(
        [sys.executable, "-W", "error", "tests/helpers/killing.py", str(tmp_path), str(SEED), "20"],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] >= 20
    assert min(counts[what] for what in ("in_a_write", "between_epochs", "in_evaluation")) >= 3, counts
    kills = counts.pop("kills")
    figures(kills_survived_with_equal_bits=kills, runs_that_were_killed=counts.pop("runs"))
    figures(**{f"kills_{where}": count for where, count in counts.items()})


def test_a_kill_while_the_checkpoint_is_put_aside_loses_nothing(tmp_path, monkeypatch, whole):
    """Between the new checkpoint and the renaming of the one before it: the link is a leftover, no more."""
    out = tmp_path / "run"
    stopped(out)
    os.link(out / "checkpoint.pt", out / ".checkpoint.previous.pt.1.tmp")
    assert same_bits(go_on(out).model, whole)
    assert sorted(os.listdir(out)) == ["checkpoint.pt", "history.jsonl", "run.json", "weights.safetensors"]


# --- the disk is full -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["checkpoint.pt", "weights.safetensors"])
def test_a_full_disk_is_named_and_the_run_goes_on_later(tmp_path, whole, name):
    """The hidden file beside the target leads to /dev/full, whose every write fails as on a full disk."""
    out = tmp_path / "run"
    stopped(out)
    before = contents(out)
    beside = out / f".{name}.{os.getpid()}.tmp"

    def fill(moment, epoch, batch):
        if moment == "begin":
            beside.symlink_to("/dev/full")

    with pytest.raises(OSError, match=rf"cannot write .*run/{name}: No space left on device"):
        go_on(out, on_event=fill)
    after = contents(out)
    assert after.pop(name, None) == before.pop(name, None)  # what there was of it is as it was
    assert not [path for path in after if path.endswith(".tmp")]
    assert same_bits(go_on(out).model, whole)


def test_a_file_that_may_not_grow_is_named(tmp_path):
    """A limit of the system on the size of files, as an administrator sets it."""
    path, (soft, hard) = tmp_path / "checkpoint.pt", resource.getrlimit(resource.RLIMIT_FSIZE)
    save_checkpoint(path, {"a": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*checkpoint\.pt: File too large"):
            save_checkpoint(path, {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.faults
def test_a_real_disk_that_fills_up(tmp_path, whole, figures):
    """A disk of its own for each size, from too small for anything to large enough."""
    found = {}
    for size in ("4k", "32k", "160k", "224k", "320k", "1m"):
        with small_disk(tmp_path / f"disk-{size}", size) as disk:
            out = disk / "run"
            try:
                run = go_on(out, checkpoint_seconds=1e-9)
            except OSError as error:
                found[size] = str(error)
                # On a larger disk it goes on from whatever there was.
                copied = tmp_path / f"copy-{size}"
                if out.exists():
                    shutil.copytree(out, copied)
                    assert not [name for name in os.listdir(copied) if name.endswith(".tmp")]
                run = go_on(copied)
            assert same_bits(run.model, whole)
    for size, error in found.items():
        assert "No space left on device" in error
        assert str(tmp_path / f"disk-{size}" / "run") in error
    assert set(found) >= {"4k", "32k"}, found
    assert "1m" not in found
    figures(full_disks_survived_with_equal_bits=len(found))


# --- folders that may not be written ----------------------------------------------------------------------------------


@contextmanager
def nobody(folder):
    """As a user without rights: root may write everywhere. The folders above ``folder`` are root's alone: go there."""
    before = Path.cwd()
    os.chdir(folder)
    os.chmod(folder, 0o755)
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if privileged:
            os.seteuid(0)
        os.chdir(before)


def lock_up(folder):
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_read_only_folders_are_named_and_stay_as_they_are(tmp_path, capsys, whole):
    stopped(tmp_path / "run")
    (tmp_path / "place").mkdir()
    lock_up(tmp_path / "run")
    lock_up(tmp_path / "place")
    before = contents(tmp_path)
    about = {"classes": "abc", "mean": (0.4,) * 3, "std": (0.3,) * 3, "scores": {}, "provenance": {}}
    sets = tiny_sets()
    with nobody(tmp_path):
        for out in ("run", "place", "place/new"):
            with pytest.raises(PermissionError, match=rf"out: cannot write in {out} \(Permission denied\)"):
                train(tiny_config(), Path(out), sets=sets, device="cpu", progress=False, resume=True)
        with pytest.raises(PermissionError, match=r"cannot write place/w\.safetensors: Permission denied"):
            save_weights(Path("place", "w.safetensors"), whole, **about)
        with pytest.raises(PermissionError, match=r"cannot write run/run\.json"):
            write_atomic(Path("run", "run.json"), "new")
        assert load_checkpoint(Path("run", "checkpoint.pt"))["batch"] == 2  # reading needs no right to write
        err = refused(capsys, "train", "--data", "digits", "--limit", 64, "--device", "cpu", "--out", "place/new")
        assert "out: cannot write in place/new" in err
        err = refused(capsys, "data", "cifar10", "--root", "place/data")
        assert "place/data" in err
    assert contents(tmp_path) == before
    (tmp_path / "run").chmod(0o755)
    assert same_bits(go_on(tmp_path / "run").model, whole)


def test_a_record_is_not_written_where_one_may_not_write(tmp_path, finished):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "results").mkdir()
    lock_up(tmp_path / "results")
    (tmp_path / "run").chmod(0o755)
    with nobody(tmp_path):
        for to in ("results", "results/new"):
            with pytest.raises(OSError, match=to):
                record_run("run", "tiny", to)
    assert os.listdir(tmp_path / "results") == []


# --- data that vanish or change ---------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    """A folder of 60 pictures of two classes."""
    chance = np.random.default_rng(0)
    for name in ("dark", "light"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(30):
            low = 128 * (name == "light")
            pixels = chance.integers(low, low + 128, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i:02}.png")
    return tmp_path / "pictures"


def test_pictures_that_vanish_or_change_stop_a_run_that_goes_on_when_they_are_back(tmp_path, pictures):
    config = tiny_config(data=f"folder:{pictures}", model={"builder": "attention_vgg", "width": 0.02, "levels": 2})
    out, one = tmp_path / "run", pictures / "dark" / "03.png"
    sets = training.load_sets(config, size=16)
    stopped(out, config, sets=sets)
    before, kept = contents(out), one.read_bytes()

    def check(error, message):
        with pytest.raises(error, match=message):
            train(config, out, sets=None, device="cpu", progress=False, resume=True)
        assert contents(out) == before

    one.unlink()
    check(ValueError, "made with other data")
    one.write_bytes(kept[:200])
    check(ValueError, r"03\.png cannot be read as a picture")
    pictures.rename(tmp_path / "away")
    check(FileNotFoundError, r"needs a folder with one folder of pictures per class; .*pictures is none")
    (tmp_path / "away").rename(pictures)
    one.write_bytes(kept)
    run = train(config, out, sets=training.load_sets(config, size=16), device="cpu", progress=False, resume=True)
    unbroken = train(config, sets=sets, device="cpu", progress=False)
    assert same_bits(run.model, unbroken.model)


def test_a_picture_that_vanishes_while_they_are_read_is_named(tmp_path, pictures, monkeypatch):
    listed = datasets.ImageFolder(str(pictures))
    (pictures / "light" / "07.png").unlink()
    monkeypatch.setattr(datasets, "ImageFolder", lambda path: listed)
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*07\.png"):
        load(f"folder:{pictures}", "all")


# --- files that are damaged -------------------------------------------------------------------------------------------


def damaged(data, step):
    """``data`` cut off at every ``step``-th byte, and one byte before its end."""
    for length in (*range(0, len(data) - 1, step), len(data) - 1):
        yield data[:length]


def check_damaged_checkpoints(out, step):
    """However the checkpoint is cut off, the error is clear, no file changes, and the one before it is whole."""
    data, previous = (out / "checkpoint.pt").read_bytes(), (out / "checkpoint.previous.pt").read_bytes()
    cut = 0
    for rest in damaged(data, step):
        (out / "checkpoint.pt").write_bytes(rest)
        before = contents(out)
        with pytest.raises(
            ValueError, match=r"checkpoint\.pt is damaged .* checkpoint\.previous\.pt, is whole: rename"
        ):
            go_on(out)
        assert contents(out) == before
        cut += 1
    assert (out / "checkpoint.previous.pt").read_bytes() == previous
    return cut


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_goes_on_to_the_same_bits(tmp_path, whole):
    out = tmp_path / "run"
    stopped(out)
    step = len((out / "checkpoint.pt").read_bytes()) // 4
    assert check_damaged_checkpoints(out, step) >= 4
    (out / "checkpoint.previous.pt").replace(out / "checkpoint.pt")
    assert load_checkpoint(out / "checkpoint.pt")["batch"] == 1
    assert same_bits(go_on(out).model, whole)


@pytest.mark.faults
def test_a_checkpoint_cut_off_at_every_kilobyte(tmp_path, whole, figures):
    out = tmp_path / "run"
    stopped(out)
    figures(cut_checkpoints_refused=check_damaged_checkpoints(out, 1000))
    (out / "checkpoint.previous.pt").replace(out / "checkpoint.pt")
    assert same_bits(go_on(out).model, whole)


def test_without_a_whole_checkpoint_the_error_says_to_start_again(tmp_path):
    out = tmp_path / "run"
    stopped(out)
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        (out / name).write_bytes((out / name).read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged .*; start again in a new folder"):
        go_on(out)
    (out / "checkpoint.previous.pt").unlink()
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged .*; start again in a new folder"):
        go_on(out)


def test_a_checkpoint_that_is_gone_is_not_begun_anew_in_secret(tmp_path, whole):
    """Where the previous one is there, the last has been lost: starting from nothing would throw the run away."""
    out = tmp_path / "run"
    stopped(out)
    (out / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match=r"there is no checkpoint .*; the checkpoint before it, .* is whole: rename"):
        go_on(out)
    (out / "checkpoint.previous.pt").rename(out / "checkpoint.pt")
    assert same_bits(go_on(out).model, whole)


def test_a_damaged_file_of_a_finished_run_is_named_and_nothing_is_written(tmp_path, capsys, finished):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    for name in ("run.json", "history.jsonl", "weights.safetensors"):
        kept = (out / name).read_bytes()
        for rest in (kept[: len(kept) // 2], b"", b"\xff\x00", None):
            (out / name).unlink()
            if rest is not None:
                (out / name).write_bytes(rest)
            before = contents(tmp_path)
            said = [refused(capsys, "train", "--resume", "--device", "cpu", "--out", out)]
            if name != "weights.safetensors":  # a record needs no weights
                with pytest.raises((ValueError, OSError)) as error:
                    record_run(out, "tiny", tmp_path / "results")
                said.append(str(error.value))
            for err in said:
                assert (name.removesuffix(".jsonl") if rest is not None else str(out)) in err, (name, rest, err)
            assert contents(tmp_path) == before
        (out / name).write_bytes(kept)
    assert record_run(out, "tiny", tmp_path / "results").is_file()


# --- two at once ------------------------------------------------------------------------------------------------------


@pytest.mark.faults
def test_of_several_commands_in_one_folder_one_trains_and_the_others_say_so(tmp_path, figures):
    often = ["--checkpoint-seconds", 0.01, "--threads", 1, "--device", "cpu", "--quiet"]
    arguments = ["train", "--data", "digits", "--limit", 240, "--epochs", 2, "--batch-size", 12, *often]
    processes = [subprocess.Popen(**command(*arguments, "--out", tmp_path / "shared")) for _ in range(3)]
    ended = [(*process.communicate(), process.returncode) for process in processes]
    assert sorted(code for *_, code in ended) == [0, 2, 2], ended
    for out, err, code in ended:
        if code == 2:
            assert out == ""
            assert "another process is using" in err or "already holds a run" in err
            assert "Traceback" not in err
    alone = subprocess.run(**command(*arguments, "--out", tmp_path / "alone"), check=False)
    assert alone.returncode == 0, alone.stderr
    assert same_bits(load_weights(tmp_path / "shared").model, load_weights(tmp_path / "alone").model)
    figures(runs_refused_in_a_folder_in_use=2)


# --- downloads that break off -----------------------------------------------------------------------------------------

FETCH = """
import sys
from pathlib import Path
from lpa_core.data.download import find_or_fetch
path, md5, url = sys.argv[1:]
find_or_fetch(Path(path), md5, url, name="things", download=True, mirror=None)
"""


@pytest.mark.faults
def test_a_download_that_is_killed_leaves_nothing_that_is_used(tmp_path, slow_server, figures):
    content, url = slow_server
    path, md5 = tmp_path / "root" / "data.bin", hashlib.md5(content, usedforsecurity=False).hexdigest()
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", FETCH, str(path), md5, f"{url}/slow"], cwd=REPOSITORY, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not list(path.parent.glob(".data.bin.*.tmp")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not path.exists()
    done = subprocess.run([sys.executable, "-c", FETCH, str(path), md5, f"{url}/whole"], cwd=REPOSITORY)
    assert done.returncode == 0
    assert path.read_bytes() == content
    figures(downloads_killed_and_never_used=3)
