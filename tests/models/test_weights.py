import hashlib
import json
import os
import pickle
import struct
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from lpa_core import models
from lpa_core.models import weights
from lpa_core.models.weights import available, load_weights, save_weights

ABOUT = {
    "classes": ("a", "b", "c"),
    "mean": (0.1, 0.2, 0.3),
    "std": (0.4, 0.5, 0.6),
    "scores": {"test": {"accuracy": 0.9, "levels": [0.1, None]}},
    "provenance": {"command": "train", "commit": None, "seed": 3},
}


def make_model(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return models.small_attention_net(3, **options)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "w.safetensors"
    sha256 = save_weights(path, make_model(compatibility="dp"), size=(40, 40), **ABOUT)
    return path, sha256


def header_of(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def rewrite(path, change):
    """The same tensors under a description that ``change`` has altered."""
    header, body = header_of(path)
    about = json.loads(header["__metadata__"]["lpa_core"])
    header["__metadata__"]["lpa_core"] = json.dumps(change(about))
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def test_what_is_saved_is_loaded_bit_by_bit(saved):
    path, sha256 = saved
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    model, info = load_weights(path)
    original = make_model(compatibility="dp")
    assert model.state_dict().keys() == original.state_dict().keys()
    for name, value in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
        assert model.state_dict()[name].dtype == value.dtype
    assert not model.training
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert model.config == info.config == original.config
    assert (info.classes, info.mean, info.std, info.size) == (ABOUT["classes"], ABOUT["mean"], ABOUT["std"], (40, 40))
    assert (info.scores, info.provenance, info.sha256) == (ABOUT["scores"], ABOUT["provenance"], sha256)
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(images), original.eval()(images))


def test_any_safetensors_reader_can_open_it(saved):
    with safe_open(saved[0], framework="pt") as file:
        assert json.loads(file.metadata()["lpa_core"])["classes"] == ["a", "b", "c"]
        assert "classifiers.0.weight" in file.keys()  # noqa: SIM118


def test_equal_content_gives_equal_bytes(saved, tmp_path):
    other = tmp_path / "other.safetensors"
    model = make_model(compatibility="dp").to(memory_format=torch.channels_last)
    about = {**ABOUT, "scores": dict(ABOUT["scores"]), "provenance": dict(reversed(ABOUT["provenance"].items()))}
    assert save_weights(other, model, size=(40, 40), **about) == saved[1]


def test_half_is_half_the_size_and_loads_as_float32(saved, tmp_path):
    path = tmp_path / "half.safetensors"
    save_weights(path, make_model(compatibility="dp"), half=True, **ABOUT)
    assert path.stat().st_size < 0.6 * saved[0].stat().st_size
    model = load_weights(path).model
    for name, value in make_model(compatibility="dp").state_dict().items():
        loaded = model.state_dict()[name]
        assert loaded.dtype == value.dtype
        assert torch.equal(loaded, value.half().to(value.dtype) if value.is_floating_point() else value)


def test_loading_leaves_random_state_alone(saved):
    before = torch.get_rng_state()
    load_weights(saved[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_every_builder_survives(tmp_path):
    own = {"attend_to": {"model": "squeezenet1_1"}, "attention_vgg": {"width": 0.05}, "vgg": {"width": 0.05}}
    for name in models.BUILDERS:
        original = models.build({"builder": name, "num_classes": 3, **own.get(name, {})})
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, original, **ABOUT)
        model = load_weights(path).model
        assert model.config == original.config
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), original.parameters(), strict=True))


# --- refused ----------------------------------------------------------------------------------------------------------


def test_a_file_cut_off_anywhere_is_refused(saved):
    data = saved[0].read_bytes()
    for length in [0, 1, 7, 8, 9, 100, *range(1000, len(data), 20000), len(data) - 1]:
        saved[0].write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            load_weights(saved[0])
    saved[0].write_bytes(data + b"more")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_weights(saved[0])


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_a_pickle_is_refused_and_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_weights(path)
    assert os.listdir(tmp_path) == ["model.pt"]


def test_foreign_safetensors_are_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(weights.save_tensors({"a": torch.zeros(2)}))
    with pytest.raises(ValueError, match="was not written by lpa_core"):
        load_weights(path)
    path.write_bytes(weights.save_tensors({"a": torch.zeros(2)}, metadata={"lpa_core": "not json"}))
    with pytest.raises(ValueError, match="description that cannot be used"):
        load_weights(path)


def put(key, value):
    return lambda about: {**about, key: value}


def put_config(**changes):
    return lambda about: {**about, "config": {**about["config"], **changes}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("format", 99), "its format is 99, this version reads 1"),
        (lambda about: {k: v for k, v in about.items() if k != "mean"}, "'mean' is missing"),
        (lambda about: [], "description that cannot be used"),
        (put("config", 3), "description that cannot be used"),
        (put("classes", ["a", "b"]), "classes must name the 3 classes"),
        (put("classes", None), "description that cannot be used"),
        (put("mean", [0.5]), "mean and std must have 3 numbers"),
        (put("std", [0.5, 0.5, 0.0]), "std must be above 0"),
        (put("std", [0.5, 0.5, float("nan")]), "std must be above 0"),
        (put("size", [40]), "description that cannot be used"),
        (put_config(builder="os.system"), "builder must be one of"),
        (put_config(wings=2), "has no option wings"),
        (put_config(levels=7), "cannot be built"),
        (put_config(builder="attend_to", weights="DEFAULT"), "config must not name weights"),
        (put_config(compatibility="pc"), r"does not fit its own config: \d+ tensors are missing, first 'estimators"),
        (put_config(levels=2), r"does not fit its own config: .*tensors are not in the model"),
        (put_config(num_classes=4), "classes must name the 4 classes"),
        (put_config(builder="vgg", width=1e9), r"cannot be built|has no option|does not fit"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(saved, change, message):
    rewrite(saved[0], change)
    with pytest.raises(ValueError, match=message):
        load_weights(saved[0])


def test_another_shape_is_refused(saved):
    rewrite(saved[0], lambda about: {**put_config(num_classes=4)(about), "classes": list("abcd")})
    with pytest.raises(ValueError, match=r"classifiers\.0\.weight has shape \(3, 112\), the config needs \(4, 112\)"):
        load_weights(saved[0])


def test_a_config_that_asks_for_a_giant_costs_nothing(saved):
    def giant(about):
        config = {"builder": "attention_vgg", "width": 1000.0, "num_classes": 3, "in_channels": 3}
        return {**about, "config": config}

    rewrite(saved[0], giant)
    with pytest.raises(ValueError, match="does not fit its own config"):
        load_weights(saved[0])


def test_nan_is_neither_saved_nor_loaded(saved, tmp_path):
    model = make_model()
    with torch.no_grad():
        model.classifiers[0].bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or inf in classifiers\.0\.bias"):
        save_weights(tmp_path / "x.safetensors", model, **ABOUT)
    header, body = header_of(saved[0])
    start = header["classifiers.0.bias"]["data_offsets"][0]
    body = body[:start] + struct.pack("<f", float("nan")) + body[start + 4 :]
    text = json.dumps(header).encode()
    saved[0].write_bytes(struct.pack("<Q", len(text)) + text + body)
    with pytest.raises(ValueError, match=r"classifiers\.0\.bias holds NaN or inf"):
        load_weights(saved[0])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": ("a", "b")}, ValueError, "classes must name the 3 classes"),
        ({"mean": (0.5,)}, ValueError, "mean and std must have 3 numbers"),
        ({"std": (0.5, 0.5, -1.0)}, ValueError, "std must be above 0"),
        ({"scores": {"accuracy": float("nan")}}, ValueError, "must not hold NaN"),
        ({"provenance": {"path": Path("x")}}, TypeError, "JSON"),
    ],
)
def test_what_cannot_be_described_is_not_saved(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        save_weights(tmp_path / "x.safetensors", make_model(), **{**ABOUT, **changes})
    assert os.listdir(tmp_path) == []


def test_a_model_without_a_builder_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="make it with a builder"):
        save_weights(tmp_path / "x.safetensors", torch.nn.Linear(3, 3), **ABOUT)


def changed_eps(model):
    model.trunk.stages[0][0][1].eps = 0.1


def another_activation(model):
    model.trunk.stages[1][0][2] = torch.nn.Tanh()


def another_layer(model):
    model.classifiers[0] = torch.nn.Linear(model.classifiers[0].in_features, 3, bias=False)


def another_way(model):
    model.combine, model.classifiers = "concat", model.classifiers
    model.estimators[0].normalise = "sigmoid"


def another_forward(model):
    model.trunk.forward = lambda images, forward=model.trunk.forward: forward(images.flip(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_eps, r"it has \(1\): BatchNorm2d\(16, eps=0.1,.* where the config gives .*eps=0.001"),
        (another_activation, r"it has \(2\): Tanh\(\) where the config gives \(2\): ReLU\(\)"),
        (another_layer, r"1 tensors are missing, first 'classifiers\.0\.bias'"),
        (another_way, r"normalise='sigmoid' where the config gives .*normalise='softmax'"),
        (another_forward, r"its logits differ by up to \d.* from those of the config's"),
    ],
)
def test_a_model_that_its_config_cannot_rebuild_is_not_saved(tmp_path, change, message):
    model = make_model()
    change(model)
    with pytest.raises(ValueError, match=r"must be what its config builds \(small_attention_net\).*" + message):
        save_weights(tmp_path / "x.safetensors", model, **ABOUT)
    assert os.listdir(tmp_path) == []


def test_an_eps_that_the_builder_was_told_is_kept(tmp_path):
    model = models.attention_vgg(3, width=1 / 32, eps=1e-5, head="linear").eval()
    save_weights(tmp_path / "x.safetensors", model, **ABOUT)
    again = load_weights(tmp_path / "x.safetensors").model
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(images), model(images))
    assert {m.eps for m in again.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-5}
    with pytest.raises(ValueError, match="eps must be above 0 and below 1; got 0"):
        models.attention_vgg(3, eps=0.0)


def test_values_that_float16_cannot_hold_are_not_halved(tmp_path):
    model = make_model()
    with torch.no_grad():
        model.classifiers[0].bias[0] = 1e6
    with pytest.raises(ValueError, match="does not fit into float16"):
        save_weights(tmp_path / "x.safetensors", model, half=True, **ABOUT)


# --- names and folders ------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'digits-xy' is neither shipped weights \(.*\) nor"):
        load_weights("digits-xy")
    with pytest.raises(FileNotFoundError, match=r"holds no weights\.safetensors: the run is not finished"):
        load_weights(tmp_path)


def test_a_run_folder_is_its_weights(saved, tmp_path):
    os.rename(saved[0], tmp_path / "weights.safetensors")
    assert load_weights(tmp_path).info.sha256 == saved[1]


def test_shipped_weights_are_checked_against_their_sha256(saved, tmp_path, monkeypatch):
    (tmp_path / "_weights").mkdir()
    os.rename(saved[0], tmp_path / "_weights" / "mine.safetensors")
    monkeypatch.setattr(weights.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(weights, "SHIPPED", {"mine": saved[1]})
    assert available() == ("mine",)
    assert load_weights("mine").info.sha256 == saved[1]
    monkeypatch.setattr(weights, "SHIPPED", {"mine": "0" * 64})
    with pytest.raises(ValueError, match=r"mine\.safetensors is damaged: its sha256 is"):
        load_weights("mine")


def test_the_shipped_files_are_those_listed_and_each_can_be_made_again():
    folder = Path(weights.__file__).parent / "_weights"
    files = {path.stem for path in folder.glob("*")} if folder.is_dir() else set()
    assert files == set(available())
    for name in available():
        model, info = load_weights(name)
        assert info.provenance["command"].startswith(
            ("python -m lpa_core train ", "python tools/photo_models.py train ")
        )
        assert info.scores["test"]["accuracy"] > 0
        assert {"commit", "seed", "versions", "data"} <= set(info.provenance)
        assert model(torch.zeros(1, len(info.mean), *info.size)).shape == (1, len(info.classes))


def git(*arguments):
    """What git says of this checkout; None where there is no git, no checkout, or it says no."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(weights.__file__).parent, capture_output=True, text=True, timeout=30
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.mark.parametrize("name", available())
def test_the_commit_that_made_shipped_weights_is_in_the_history(name):
    if git("ls-files", "--error-unmatch", "weights.py") is None:
        pytest.skip("not a git checkout of this package: there is no history to look in")
    if git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("a shallow checkout: the history is not here")
    commit, _, _ = load_weights(name).info.provenance["commit"].partition("+")
    assert len(commit) == 40
    assert git("merge-base", "--is-ancestor", commit, "HEAD") is not None, f"{name}: {commit} is not in the history"
