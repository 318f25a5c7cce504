import json
import os
import signal
import statistics
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpa_core import __main__, _commands, models
from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import normalise
from lpa_core.data.sources import load
from lpa_core.models.weights import load_weights, save_weights
from lpa_core.posthoc import METHODS
from lpa_core.training.checkpoint import load_checkpoint
from lpa_core.training.evaluation import evaluate

pytestmark = pytest.mark.usefixtures("one_thread")
REPOSITORY = Path(__file__).parents[1]
TINY = ["--data", "digits", "--limit", "64", "--epochs", "1", "--batch-size", "32", "--device", "cpu", "--quiet"]

CIFAR = Path(os.environ.get("LPA_DATA", "/nonexistent"), "cifar-100-python", "train").exists()


def run(capsys, *arguments):
    """Exit code, the JSON object on standard output (None if there is none), and standard error."""
    try:
        code = __main__.main([str(a) for a in arguments])
    except SystemExit as error:
        code = error.code
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def refused(capsys, *arguments):
    """The one line of a mistake, after checking that it is one line and the exit code 2."""
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, None), err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Untrained weights of a digits network."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.small_attention_net(10)
    some = digits_in_clutter(1)
    save_weights(
        path, model, classes=some.classes, mean=some.mean, std=some.std, scores={}, provenance={}, size=(40, 40)
    )
    return path


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(digits_in_clutter(1).images[0].permute(1, 2, 0).numpy()).save(path)
    return path


# --- the four commands ------------------------------------------------------------------------------------------------


def test_from_data_to_a_picture_of_attention(tmp_path, capsys, picture):
    code, described, _ = run(capsys, "data", "digits")
    assert (code, described["classes"], described["shape"]) == (0, 10, [3, 40, 40])
    assert described["test"]["n"] == len(load("digits", "test"))

    out = tmp_path / "runs" / "one"
    code, trained, err = run(capsys, "train", *TINY, "--compatibility", "dp", "--seed", 3, "--out", out)
    assert (code, err) == (0, "")
    info = json.loads((out / "run.json").read_text())
    assert info["config"]["model"] == {"builder": "small_attention_net", "compatibility": "dp"}
    assert (info["config"]["seed"], info["config"]["limit"], info["config"]["epochs"]) == (3, 64, 1)
    assert info["command"].startswith("python -m lpa_core train --data digits --limit 64")
    assert trained["test"] == info["results"]["test"]

    code, scores, _ = run(capsys, "evaluate", out, "--data", "digits", "--device", "cpu")
    assert code == 0
    whole = evaluate(load_weights(out).model, load("digits", "test"))
    assert scores == {"model": str(out), "data": "digits", "split": "test", **whole}

    png = tmp_path / "map.png"
    code, said, _ = run(capsys, "explain", out, picture, "--out", png, "--device", "cpu")
    assert (code, said["out"]) == (0, str(png))
    assert said["class"] in "0123456789"
    with Image.open(png) as drawn:
        assert drawn.format == "PNG"


@pytest.mark.parametrize(
    "options", [["--level", "2"], ["--method", "grad_cam"], ["--method", "saliency", "--target", "7"]]
)
def test_explain_draws_one_level_or_a_post_hoc_map(tmp_path, capsys, weights, picture, options):
    every, one = tmp_path / "every.png", tmp_path / "one.png"
    assert run(capsys, "explain", weights, picture, "--out", every)[0] == 0
    code, said, err = run(capsys, "explain", weights, picture, "--out", one, *options)
    assert code == 0, err
    with Image.open(one) as drawn, Image.open(every) as drawn_every:
        assert drawn.size[0] == drawn_every.size[0] > 0
    assert one.read_bytes() != every.read_bytes()
    assert set(said) == {"class", "probability", "out"}


def test_a_larger_picture_is_scaled_and_says_what_the_model_says(tmp_path, capsys, weights):
    path = tmp_path / "large.png"
    image = digits_in_clutter(3).images[2].permute(1, 2, 0).numpy()
    Image.fromarray(image.repeat(4, axis=0).repeat(4, axis=1)).save(path)
    code, said, _ = run(capsys, "explain", weights, path, "--size", 160, "--out", tmp_path / "a.png")
    model, info = load_weights(weights)
    pictures = torch.from_numpy(image).permute(2, 0, 1)[None].repeat_interleave(4, 2).repeat_interleave(4, 3)
    with torch.no_grad():
        p = model(normalise(pictures, info.mean, info.std)).softmax(1)[0]
    assert (code, said["class"]) == (0, info.classes[int(p.argmax())])
    assert said["probability"] == pytest.approx(float(p.max()), abs=1e-3)


@pytest.fixture
def folder(tmp_path):
    """Forty pictures of two classes: red above blue, and blue above red."""
    for name, shift in (("up", 0), ("down", 16)):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(20):
            pixels = np.random.default_rng(i).integers(0, 60, (40, 32, 3), dtype=np.uint8)
            pixels[4 + shift : 20 + shift, :, 0] += 190
            Image.fromarray(pixels).save(tmp_path / "mine" / name / f"{i}.png")
    return tmp_path / "mine"


def test_attention_for_a_torchvision_network_on_a_folder(tmp_path, capsys, folder):
    from torchvision.models import get_model

    torch.save(get_model("shufflenet_v2_x0_5", weights=None, num_classes=3).state_dict(), tmp_path / "mine.pth")
    out, data = tmp_path / "run", f"folder:{folder}"
    tiny = [
        "--backbone",
        "shufflenet_v2_x0_5",
        "--pretrained",
        tmp_path / "mine.pth",
        "--freeze-backbone",
        "--size",
        64,
    ]
    recipe = ["--levels", 2, "--epochs", 2, "--batch-size", 8, "--device", "cpu", "--quiet", "--out", out]
    code, trained, err = run(capsys, "train", "--data", data, *tiny, *recipe)
    assert code == 0, err
    model, info = load_weights(out)
    given = torch.load(tmp_path / "mine.pth", weights_only=True)
    kept = model.trunk.backbone.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in kept.items())
    assert (info.size, info.classes, len(model.estimators)) == ((64, 64), ("down", "up"), 2)
    assert "weights" not in info.config

    code, scores, err = run(capsys, "evaluate", out, "--data", data, "--device", "cpu")  # at the size of training
    assert code == 0, err
    assert scores["accuracy"] == pytest.approx(trained["test"]["accuracy"])
    code, said, err = run(capsys, "explain", out, folder / "up" / "0.png", "--out", tmp_path / "a.png")
    assert code == 0, err
    assert said["class"] in info.classes


def test_pretrained_networks_get_pictures_normalised_as_they_know_them(tmp_path, folder):
    options = __main__.parser().parse_args(
        ["train", "--data", f"folder:{folder}", "--backbone", "resnet18", "--pretrained", "DEFAULT", "--out", "run"]
    )
    config = _commands._config(options, {"levels": 2})
    assert config.model == {"builder": "attend_to", "model": "resnet18", "weights": "DEFAULT", "levels": 2}
    sets = _commands._sets(options, config)
    assert {part.mean for part in sets} == {(0.485, 0.456, 0.406)}
    assert {part.std for part in sets} == {(0.229, 0.224, 0.225)}


def test_options_of_a_backbone_need_one(tmp_path, capsys, folder):
    place = ["--out", tmp_path / "run"]
    assert "need --backbone" in refused(capsys, "train", "--data", f"folder:{folder}", "--freeze-backbone", *place)
    assert "--backbone needs --data" in refused(capsys, "train", "--resume", "--backbone", "resnet18", *place)
    unknown = ["--data", f"folder:{folder}", "--backbone", "resnet19", "--batch-size", 8, "--device", "cpu"]
    assert "resnet18" in refused(capsys, "train", *unknown, *place)
    assert "size is for 'folder:PATH', 'tiny-imagenet' and 'imagenette'" in refused(
        capsys, "train", "--data", "digits", "--size", 32, *place
    )


def test_a_model_of_grey_pictures_sees_a_picture_in_grey(tmp_path, capsys, picture):
    path = tmp_path / "grey.safetensors"
    with torch.random.fork_rng():
        model = models.small_attention_net(10, in_channels=1)
    some = digits_in_clutter(1)
    about = {"classes": some.classes, "mean": some.mean[:1], "std": some.std[:1], "scores": {}, "provenance": {}}
    save_weights(path, model, **about)
    png = ["--out", tmp_path / "x.png"]
    assert "digits has 3" in refused(capsys, "evaluate", path, "--data", "digits")
    code, said, err = run(capsys, "explain", path, picture, *png)  # these weights say no size: the picture's own
    assert code == 0, err
    with Image.open(picture) as colour:
        grey = torch.from_numpy(np.array(colour.convert("L")))[None, None]
    with torch.no_grad():
        p = model.eval()(normalise(grey, some.mean[:1], some.std[:1])).softmax(1).max()
    assert said["probability"] == pytest.approx(float(p), abs=2e-3)


def test_train_options_reach_the_config(tmp_path, capsys):
    out = tmp_path / "run"
    options = "--preset small --levels 2 --combine indep --match local --normalise sigmoid --width 0.02 --lr 0.03 --all"
    code, _, err = run(
        capsys, "train", *TINY, *options.split(), "--weight-decay", "0.001", "--threads", 1, "--out", out
    )
    assert code == 0, err
    config = json.loads((out / "run.json").read_text())["config"]
    assert config["model"] == {
        "builder": "attention_vgg",
        "width": 0.02,
        "dropout": 0.0,
        "levels": 2,
        "combine": "indep",
        "match": "local",
        "normalise": "sigmoid",
    }
    assert (config["lr"], config["all"], config["weight_decay"], config["batch_size"]) == (0.03, True, 0.001, 32)


# --- help and export --------------------------------------------------------------------------------------------------


def test_no_arguments_and_help_say_what_there_is(capsys):
    assert __main__.main([]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("data", "train", "sweep", "evaluate", "explain", "export"))
    with pytest.raises(SystemExit) as ended:
        __main__.main(["explain", "--help"])
    said = "".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert all(method in said for method in METHODS)


def test_the_console_script_is_the_command_line():
    (script,) = entry_points(group="console_scripts", name="lpa-core")
    assert script.load() is __main__.main


def test_export_hands_the_model_and_its_size_on(tmp_path, capsys, monkeypatch):
    seen = []

    def written(path, model, *, size):
        seen.append((path, model.info.classes, size))
        return ("logits", "map_1")

    monkeypatch.setattr(_commands, "export_onnx", written)
    code, said, _ = run(capsys, "export", "digits-dp", "--out", tmp_path / "m.onnx", "--size", 40)
    assert code == 0
    assert said == {"out": str(tmp_path / "m.onnx"), "inputs": ["images"], "outputs": ["logits", "map_1"]}
    assert seen == [(str(tmp_path / "m.onnx"), tuple("0123456789"), 40)]
    assert "must end in .onnx" in refused(capsys, "export", "digits-dp", "--out", tmp_path / "m.pt")


# --- mistakes: one line, exit code 2 ----------------------------------------------------------------------------------


def test_mistakes_on_the_command_line(tmp_path, capsys, weights, picture):
    new = ["--out", tmp_path / "new"]
    assert "invalid choice: 'test'" in refused(capsys, "test")
    assert "name must be 'digits'" in refused(capsys, "data", "mnist")
    assert "--data is needed" in refused(capsys, "train", *new)
    assert "no run in" in refused(capsys, "train", "--resume", *new)
    assert "--preset needs --data" in refused(capsys, "train", "--resume", "--preset", "quick", *new)
    assert "small_attention_net has no option width" in refused(capsys, "train", *TINY, "--width", 0.5, *new)
    assert "levels must be" in refused(capsys, "train", *TINY, "--levels", 4, *new)
    assert "epochs must be at least 1" in refused(capsys, "train", *TINY, "--epochs", 0, *new)
    assert "lr must be at least 0" in refused(capsys, "train", *TINY, "--lr", "nan", *new)
    assert "invalid int value: 'x'" in refused(capsys, "train", *TINY, "--seed", "x", *new)
    assert "--threads must be at least 1" in refused(capsys, "train", *TINY, "--threads", 0, *new)
    assert "device" in refused(capsys, "train", *TINY, "--device", "abacus", *new)
    assert "cifar10" in refused(capsys, "train", "--data", "cifar10", "--no-download", "--root", tmp_path, *new)
    assert "diverged" in refused(capsys, "train", *TINY, "--lr", "1e30", "--out", tmp_path / "bad")
    assert "neither shipped weights" in refused(capsys, "evaluate", "nothing", "--data", "digits")
    assert "--batch-size" in refused(capsys, "evaluate", weights, "--data", "digits", "--batch-size", 0)
    png = ["--out", tmp_path / "x.png"]
    assert "must end in .png" in refused(capsys, "explain", weights, picture, "--out", tmp_path / "x.jpg")
    assert "cannot be written" in refused(capsys, "explain", weights, picture, "--out", tmp_path / "no" / "x.png")
    assert "--method must be one of" in refused(capsys, "explain", weights, picture, "--method", "magic", *png)
    assert "--level must be from 1 to 3" in refused(capsys, "explain", weights, picture, "--level", 4, *png)
    assert "has no levels" in refused(capsys, "explain", weights, picture, "--method", "saliency", "--level", 1, *png)
    assert "--target is for post-hoc" in refused(capsys, "explain", weights, picture, "--target", "3", *png)
    method = ["--method", "saliency", "--target", "10"]
    assert "--target must be a class" in refused(capsys, "explain", weights, picture, *method, *png)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "x.png").exists()


def test_pictures_that_cannot_be_used(tmp_path, capsys, weights):
    png = ["--out", tmp_path / "x.png"]
    nan = tmp_path / "nan.tiff"
    Image.fromarray(np.full((40, 40), np.nan, dtype=np.float32)).save(nan)
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("no picture")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])
    for path in (nan, text, cut):
        assert f"{path.name} cannot be read as a picture" in refused(capsys, "explain", weights, path, *png)
    assert "there is no picture" in refused(capsys, "explain", weights, tmp_path / "none.png", *png)
    assert not (tmp_path / "x.png").exists()


def test_weights_are_refused_for_other_data(tmp_path, capsys, weights):
    (tmp_path / "pictures").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir()
        for i in range(10):
            Image.fromarray(np.full((8, 8, 3), i, dtype=np.uint8)).save(tmp_path / "pictures" / name / f"{i}.png")
    err = refused(capsys, "evaluate", weights, "--data", f"folder:{tmp_path / 'pictures'}")
    assert "MODEL knows the classes 0, 1, 2, ... (10)" in err
    assert "has cat, dog (2)" in err


def test_nothing_that_exists_is_harmed(tmp_path, capsys, caplog):
    out = tmp_path / "run"
    assert run(capsys, "train", *TINY, "--out", out)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "already holds a run" in refused(capsys, "train", *TINY, "--out", out)
    assert "lr is 0.1 there, 0.2 here" in refused(capsys, "train", *TINY, "--lr", 0.2, "--resume", "--out", out)
    assert "seed is 0 there, 1 here" in refused(capsys, "train", "--resume", "--seed", 1, "--out", out)
    assert "cannot write" in refused(capsys, "train", *TINY, "--out", out / "run.json")
    with caplog.at_level("INFO"):
        assert run(capsys, "train", "--resume", "--out", out)[0] == 0
    assert "is finished; nothing to do" in caplog.text
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_stopped_run_is_told_how_to_go_on(capsys, monkeypatch, tmp_path):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_commands, "train", stop)
    code, _, err = run(capsys, "train", *TINY, "--out", tmp_path / "run")
    assert (code, "--resume" in err) == (130, True)


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_told_in_one_line(capsys, monkeypatch, tmp_path, error):
    def large(*arguments, **options):
        raise error

    monkeypatch.setattr(_commands, "train", large)
    assert str(error) in refused(capsys, "train", *TINY, "--out", tmp_path / "run")
    monkeypatch.setattr(error, "args", ("a mistake of ours",))
    if isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError, match="a mistake of ours"):
            __main__.main(["train", *TINY, "--out", str(tmp_path / "run")])


@pytest.mark.parametrize(
    "mistake",
    [
        lambda *_, **__: int("x"),  # a ValueError that nobody raised for a user
        lambda *_, **__: len(3),
        lambda *_, **__: torch.zeros(2).view(3, 3),
        lambda *_, **__: {}["x"],
        lambda *_, **__: statistics.mean([]),  # raised on purpose, but not by this package
    ],
)
def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch, tmp_path, mistake):
    monkeypatch.setattr(_commands, "train", mistake)
    with pytest.raises((ValueError, TypeError, RuntimeError, KeyError)):
        __main__.main(["train", *TINY, "--out", str(tmp_path / "run")])


def test_compile_is_a_switch(capsys, monkeypatch, tmp_path):
    seen = []

    def remember(config, *arguments, **options):
        seen.append(config.compile)
        raise OSError("enough")

    monkeypatch.setattr(_commands, "train", remember)
    for preset, switch in (("book", []), ("book", ["--no-compile"]), ("small", ["--compile"]), ("small", [])):
        refused(capsys, "train", "--data", "cifar10", "--preset", preset, *switch, "--out", tmp_path / "run")
    assert seen == [True, False, True, False]


# --- killed -----------------------------------------------------------------------------------------------------------


def command(*arguments, **environment):
    return {
        "args": [sys.executable, "-m", "lpa_core", *map(str, arguments)],
        "cwd": REPOSITORY,
        "env": {**os.environ, "OMP_NUM_THREADS": "1", **environment},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def kill_once_it_has_a_checkpoint(out, *arguments):
    process = subprocess.Popen(**command(*arguments))
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()


def check_kill_and_resume(capsys, tmp_path, *arguments):
    """Kill -9 after the first checkpoint, --resume, and compare with an unbroken run."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    often = ["--checkpoint-seconds", "0.01", "--threads", "1", "--device", "cpu", "--quiet"]
    kill_once_it_has_a_checkpoint(killed, "train", *arguments, *often, "--out", killed)
    assert not (killed / "weights.safetensors").exists()
    for out, more in ((whole, []), (killed, ["--resume"])):
        code, _, err = run(capsys, "train", *arguments, *often, "--out", out, *more)
        assert code == 0, err
    one, other = (load_weights(folder).model.state_dict() for folder in (whole, killed))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    one, other = (load_checkpoint(folder / "checkpoint.pt")["history"] for folder in (whole, killed))
    times = ("seconds", "images_per_second")
    assert [{k: v for k, v in entry.items() if k not in times} for entry in one] == [
        {k: v for k, v in entry.items() if k not in times} for entry in other
    ]
    assert json.loads((killed / "run.json").read_text())["resumed"] == 1


def test_a_run_survives_kill_9(tmp_path, capsys):
    """On the real CIFAR-100 where LPA_DATA leads to it, else on digits."""
    if not CIFAR:
        few = ["--limit", "240", "--epochs", "2", "--batch-size", "12"]
        check_kill_and_resume(capsys, tmp_path, "--data", "digits", *few)
        return
    quick = ["--data", "cifar100", "--preset", "quick", "--limit", "120", "--batch-size", "8"]
    check_kill_and_resume(capsys, tmp_path, *quick)
    info = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert (info["config"]["model"]["width"], info["config"]["model"]["dropout"]) == (0.125, 0.0)
    assert (info["data"]["train"], info["results"]["test"]["n"]) == (120, 120)
    assert len(load_weights(tmp_path / "killed").info.classes) == 100


def test_explain_shows_a_photograph_that_is_installed(tmp_path, capsys, weights):
    png = tmp_path / "coffee.png"
    code, said, _ = run(capsys, "explain", weights, "--sample", "coffee", "--out", png)
    assert code == 0
    with Image.open(png) as drawn:
        assert drawn.size[0] == 700
    assert said


def test_explain_takes_one_picture(tmp_path, capsys, weights, picture):
    for given in ((), (picture, "--sample", "coffee")):
        code, _, err = run(capsys, "explain", weights, *given, "--out", tmp_path / "a.png")
        assert code == 2
        assert "give one picture: a file, or --sample with one of chelsea, coffee" in err
    code, _, err = run(capsys, "explain", weights, "--sample", "dog", "--out", tmp_path / "a.png")
    assert code == 2
    assert "name must be one of chelsea, coffee" in err
