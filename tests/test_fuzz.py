"""Malformed input, drawn by hypothesis: a typed error whose message names what is wrong, and nothing is changed.

Every test runs twice: a few inputs, always the same, with all other tests; hundreds with ``make fuzz``.
"""

import copy
import io
import json
import os
import pickle
import shutil
import struct
import zlib
from collections import Counter
from functools import partial
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from files_of import contents
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from recorded import literature
from recorded import runs as runs_of_the_book
from recorded.hard import check_hard_run
from recording import record_run
from runs import tiny_run
from threads import single_thread
from tiny import tiny_config, tiny_sets

import lpa_core
from lpa_core import __main__
from lpa_core.data.batches import Batches
from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import normalise
from lpa_core.data.pictures import read_picture
from lpa_core.data.sources import load
from lpa_core.hard.kinds import HardConfig
from lpa_core.look import look_at
from lpa_core.metrics.baselines import centre_prior, random_maps, uniform_maps
from lpa_core.metrics.intervals import cluster_interval
from lpa_core.metrics.localisation import enlarge
from lpa_core.models.builders import build
from lpa_core.models.classifier import attention_maps
from lpa_core.models.weights import load_weights
from lpa_core.posthoc.methods import explain
from lpa_core.training import presets, sweeps
from lpa_core.training.checkpoint import RunFolder, load_checkpoint, save_checkpoint
from lpa_core.training.config import TrainConfig
from lpa_core.training.evaluation import evaluate
from lpa_core.training.run import train
from lpa_core.widgets.quizzes import quiz

ROOT = Path(__file__).parents[1]
TYPED = (ValueError, TypeError, OSError)  # what the package refuses with
MANY = 400


def amount(few, many=MANY):
    """How many inputs a test tries: ``few`` with all other tests, ``many`` with make fuzz."""
    cases = [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.fuzz)]
    return pytest.mark.parametrize("examples", cases)


def attack(examples, figures, strategy, one):
    """Give ``one`` so many inputs. It returns whether the input was malformed, and checks that it was then refused."""
    counts = Counter()

    class Drawn:
        """What was drawn, with a name that is not as long as a file."""

        def __init__(self, value):
            self.value = value

        def __repr__(self):
            return repr(self.value)[:1000]

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # an input that is not refused is shown as it was drawn
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(strategy.map(Drawn))
    def each(drawn):
        counts["malformed" if one(drawn.value) else "well formed"] += 1

    each()
    figures(malformed_inputs_refused_with_a_typed_error=counts["malformed"], inputs_well_formed=counts["well formed"])
    return counts["malformed"]


def error_of(function):
    """The error of the package's kinds with which ``function()`` refuses; None where it does not. Others go up."""
    try:
        function()
    except TYPED as error:
        return error
    return None


def refused(function, *names):
    """``function()`` raises one of the package's errors, and its message has one of ``names``."""
    error = error_of(function)
    assert error is not None, "nothing refused it"
    assert any(name in str(error) for name in names if name), f"{error!r} names none of {names}"
    return True


@pytest.fixture(scope="module", autouse=True)
def unchecked():
    """Without the shape checker, which tests alone have: users see the package's own messages."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    with single_thread():
        yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return lpa_core.small_attention_net(3).eval()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, its record and a picture, in one folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    tiny_run(folder / "run")
    record_run(folder / "run", "tiny", folder / "results")
    Image.fromarray(digits_in_clutter(1).images[0].permute(1, 2, 0).numpy()).save(folder / "picture.png")
    return folder


# --- options ----------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["", "pc ", "PC", "none", "0", "-1", "nan", "\x00", "é", "x" * 300]) | st.text(max_size=5)
NUMBERS = st.sampled_from([-1, 0, 10**30, -(2**63), 2.5, -0.5, float("nan"), float("inf"), -float("inf"), 1e308])
JUNK = (
    NUMBERS
    | WORDS
    | st.sampled_from([None, True, False, b"3", 1j, object, (), [], {}, [1], (1, 2, 3), {"a": 1}])
    | st.builds(lambda: torch.zeros(2))
    | st.builds(lambda: np.array([1, 2]))
)


def whole(least, below=2**62):
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v < below


def number(least, below=float("inf"), *, above=False):
    def fits(v):
        plain = isinstance(v, int | float) and not isinstance(v, bool)
        return plain and (least < v if above else least <= v) and v < below

    return fits


def among(*options):
    return lambda v: isinstance(v, str | int) and not isinstance(v, bool) and v in options


def optional(fits):
    return lambda v: v is None or fits(v)


def endless(v):
    return isinstance(v, int | float) and not isinstance(v, bool) and v > 0


def nothing(v):
    return False


COMPATIBILITY = among("pc", "dp", "scaled_dp", "additive", "uniform")
SETS = tiny_sets()
MAPS = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0))
# What takes options: a function, options that it takes, and for each what a value must be.
OPTIONS = {
    "TrainConfig": (
        TrainConfig,
        tiny_config().to_dict(),
        {
            "epochs": whole(1),
            "batch_size": whole(2),
            "lr": number(0, above=True),
            "momentum": number(0, 1, above=True),
            "weight_decay": number(0),
            "warmup": number(0, 1),
            "label_smoothing": number(0, 1),
            "ema": number(0, 1),
            "cutmix": number(0, 1),
            "crop": whole(0),
            "limit": optional(whole(1)),
            "seed": whole(0, 2**63),
            "nesterov": lambda v: isinstance(v, bool),
            "flip": lambda v: isinstance(v, bool),
            "compile": lambda v: isinstance(v, bool),
            "schedule": among("one_cycle", "halving", "constant"),
            "model": lambda v: isinstance(v, dict) and "builder" in v,
            "data": lambda v: isinstance(v, str) and v,
        },
    ),
    "HardConfig": (
        HardConfig,
        {},
        {
            "kind": among("soft", "uniform", "hard"),
            "steps": whole(1),
            "batch_size": whole(1),
            "lr": number(0, above=True),
            "weight_decay": number(0),
            "entropy_weight": number(0),
            "temperature": number(0, above=True),
            "seed": whole(0),
            "reward": among("probability"),
            "baseline": among("mean"),
            "options": lambda v: isinstance(v, dict),
        },
    ),
    "preset": (
        presets.preset,
        {"name": "quick", "data": "digits"},
        {"name": among(*presets.PRESETS), "seed": whole(0, 2**63)},
    ),
    "digits_in_clutter": (
        digits_in_clutter,
        {"n": 1},
        {
            "n": whole(1),
            "seed": whole(0),
            "split": among("train", "validation", "test", "all"),
            "digits": among(1, 2),
            "clutter_seed": optional(whole(0)),
        },
    ),
    "load": (
        load,
        {"name": "digits", "split": "test", "n": 1},
        {
            "name": nothing,
            "split": among("train", "validation", "test", "all"),
            "n": optional(whole(1)),
            "seed": whole(0),
            "size": lambda v: v is None,
        },
    ),
    "Batches": (
        partial(Batches, SETS[0]),
        {"batch_size": 8},
        {"batch_size": whole(1, 33), "seed": whole(0), "crop": whole(0, 16), "device": lambda v: v is None},
    ),
    "build": (
        lambda **options: build({"builder": "attention_vgg", "width": 0.02, "num_classes": 3, **options}),
        {},
        {
            "levels": among(1, 2, 3),
            "compatibility": COMPATIBILITY,
            "combine": among("concat", "indep", "global"),
            "match": among("global", "local"),
            "normalise": among("softmax", "sigmoid"),
            "width": number(0, 1e9, above=True),
            "dropout": number(0, 2),
            "num_classes": whole(1, 10**6),
            "in_channels": whole(1, 10**6),
            "builder": among("attention_vgg"),
            "depth": nothing,
        },
    ),
    "small_attention_net": (
        lpa_core.small_attention_net,
        {},
        {"levels": among(1, 2, 3), "compatibility": COMPATIBILITY, "num_classes": whole(1, 10**6)},
    ),
    "resnet164": (
        lpa_core.resnet164,
        {"width": 0.1, "blocks": 1},
        {"blocks": whole(1, 99), "width": number(0, 1e9, above=True)},
    ),
    "AttentionEstimator": (
        lpa_core.AttentionEstimator,
        {"local_channels": 4, "global_channels": 4},
        {
            "compatibility": COMPATIBILITY,
            "match": among("global", "local"),
            "normalise": among("softmax", "sigmoid"),
            "local_channels": whole(1, 10**6),
        },
    ),
    "attend": (
        partial(lpa_core.attend, torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3)),
        {},
        {"normalise": among("softmax", "sigmoid")},
    ),
    "random_maps": (
        random_maps,
        {"n": 2, "size": (3, 3), "seed": 0},
        {"n": whole(0, 100), "size": nothing, "seed": whole(-(2**63), 2**63), "sigma": number(0, 1000)},
    ),
    "centre_prior": (
        centre_prior,
        {"n": 2, "size": (3, 3)},
        {"n": whole(0, 100), "size": nothing, "sigma": number(0, above=True)},
    ),
    "uniform_maps": (uniform_maps, {"n": 2, "size": (3, 3)}, {"n": whole(0, 100), "size": nothing}),
    "enlarge": (enlarge, {"maps": MAPS, "size": (6, 6)}, {"maps": nothing, "size": nothing}),
    "cluster_interval": (
        cluster_interval,
        {"values": torch.arange(5.0)},
        {
            "confidence": number(0, 1, above=True),
            "resamples": whole(1, 10**6),
            "seed": whole(-(2**63), 2**63),
            "values": torch.is_tensor,
        },
    ),
    "evaluate": (
        lambda **options: evaluate(lpa_core.small_attention_net(3), SETS[0], **options),
        {},
        {"batch_size": whole(1), "device": lambda v: v is None},
    ),
    "train": (
        lambda **options: train(tiny_config(), sets=SETS, progress=False, **options),
        {},
        {
            "checkpoint_seconds": endless,
            "device": lambda v: v is None,
            "minutes": lambda v: v is None or endless(v) or number(0)(v),
        },
    ),
    "read_picture": (
        partial(read_picture, np.zeros((4, 4), dtype=np.uint8)),
        {},
        {"size": lambda v: v is None or whole(1)(v), "channels": among(1, 3)},
    ),
    "look_at": (
        partial(look_at, picture=np.zeros((40, 40), dtype=np.uint8)),
        {"model": "digits-pc"},
        {"model": nothing, "size": lambda v: v is None or whole(1)(v)},
    ),
    "load_weights": (
        lambda **options: load_weights(options["name"]),
        {},
        {"name": nothing},
    ),
    "quiz": (
        quiz,
        {"text": "?", "choices": {"a": "yes", "b": "no"}, "answer": "a"},
        {"choices": nothing, "text": lambda v: isinstance(v, str) and v.strip(), "answer": among("a", "b")},
    ),
    "named": (sweeps.named, {}, {"name": among(*sweeps.SWEEPS)}),
    "combined": (
        sweeps.combined,
        {"data": "digits", "of": "quick", "variants": ["pc"], "seeds": [0]},
        {
            "of": among(*presets.PRESETS),
            "variants": nothing,
            "seeds": lambda v: isinstance(v, list | tuple) and len(v) > 0,
        },
    ),
    "sweep": (
        lambda **options: sweeps.sweep([], "nowhere", **options),
        {},
        {"minutes": lambda v: v is None or endless(v)},
    ),
}
# Another name under which a message may speak of an option.
ALSO = {"preset": {"name": "preset"}, "load_weights": {"name": "weights"}, "combined": {"of": "preset"}, "named": {"name": "sweep"}, "quiz": {"choices": "choice"}, "read_picture": {}, "look_at": {"model": "weights"}, "load": {"name": "folder"}}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("where", OPTIONS)
@amount(2, 60)
def test_options(examples, where, figures):
    function, valid, options = OPTIONS[where]

    def one(drawn):
        name, value = drawn
        if options[name](value):
            return False
        as_file = value[:20] if isinstance(value, str) and where in ("load_weights", "look_at") else ""
        also = ALSO.get(where, {}).get(name, name)
        return refused(lambda: function(**{**valid, name: value}), name, also, as_file)

    attack(examples, figures, st.tuples(st.sampled_from(sorted(options)), JUNK), one)


# --- pictures ---------------------------------------------------------------------------------------------------------

DTYPES = (torch.uint8, torch.int64, torch.bool, torch.float16, torch.float32, torch.float64, torch.complex64)


@st.composite
def tensors(draw):
    """A tensor of any shape and kind, perhaps with values that are no numbers; or something else altogether."""
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 8, 40]), max_size=5))
    if np.prod(shape) > 50_000:
        shape = shape[:3]
    made = torch.zeros(shape, dtype=draw(st.sampled_from(DTYPES)))
    if made.is_floating_point() and made.numel() and draw(st.booleans()):
        made.view(-1)[0] = draw(st.sampled_from([float("nan"), float("inf"), -float("inf"), -1.0, 7.0]))
    return draw(st.sampled_from([made, made, made, made.numpy(), made.tolist(), None, "picture"]))


def a_tensor(value, *dtypes):
    return isinstance(value, torch.Tensor) and (value.dtype in dtypes if dtypes else True)


def batch_for(value):
    """What a network of three channels and 8 pixels or more can be given."""
    floating = a_tensor(value) and value.is_floating_point()
    return floating and value.ndim == 4 and value.shape[0] > 0 and value.shape[1] == 3 and min(value.shape[2:]) >= 8


def check_normalise(value, model):
    if a_tensor(value, torch.uint8) and value.ndim == 4 and min(value.shape[1:]) >= 1 and value.shape[1] == 3:
        return False
    return refused(lambda: normalise(value, (0.5,) * 3, (0.5,) * 3), "images")


def check_model(value, model):
    if batch_for(value) or (a_tensor(value, torch.float16, torch.float64)):
        return False  # weights of another precision are the caller's choice; torch says so
    return refused(lambda: model(value), "images")


def check_attention_maps(value, model):
    if a_tensor(value, torch.float16, torch.float64):
        return False
    batch = value[None] if a_tensor(value) and value.ndim == 3 else value
    if batch_for(batch) and not batch.isnan().any():
        return False
    return refused(lambda: attention_maps(model, value), "images")


def check_explain(value, model):
    if a_tensor(value, torch.float16, torch.float64) or (batch_for(value) and value.isfinite().all()):
        return False
    return refused(lambda: explain(model, value, method="grad_cam"), "images")


def check_read_picture(value, model):
    if a_tensor(value) and value.ndim == 3 and value.shape[0] in (1, 3) and min(value.shape) > 0:
        fits = value.dtype == torch.uint8 or (value.is_floating_point() and ((value >= 0) & (value <= 1)).all())
    elif isinstance(value, np.ndarray) and value.ndim in (2, 3) and min(value.shape) > 0:
        fits = value.dtype == np.uint8 and (value.ndim == 2 or value.shape[2] in (3, 4))
    else:
        fits = False
    return not fits and refused(lambda: read_picture(value), "picture")


def check_look_at(value, model):
    if not check_read_picture(value, model):
        return False
    return refused(lambda: look_at("digits-pc", value), "picture")


def check_image_set(value, model):
    def made():
        return lpa_core.ImageSet(
            "x", "train", value, torch.zeros(2, dtype=torch.long), ("a",), (0.5,) * 3, (0.5,) * 3, "x"
        )

    if a_tensor(value, torch.uint8) and value.ndim == 4 and value.shape[:2] == (2, 3) and min(value.shape) > 0:
        return False
    return refused(made, "images", "labels", "mean")


def check_maps(value, model):
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    floating = a_tensor(value) and value.is_floating_point()
    if floating and value.ndim == 3 and len(value) == 2 and min(value.shape) > 0 and max(value.shape[1:]) <= 8:
        return False
    return refused(lambda: lpa_core.pointing_game(value, masks), "maps", "masks", "size")


PICTURES = {
    name.removeprefix("check_"): function
    for name, function in globals().items()
    if name.startswith("check_") and function.__module__ == __name__
}


@pytest.mark.parametrize("where", PICTURES)
@amount(6, 150)
def test_pictures_that_are_none(examples, where, figures, model):
    attack(examples, figures, tensors(), lambda drawn: PICTURES[where](drawn, model))


@st.composite
def picture_files(draw):
    """A picture file of some format, cut off or with bytes changed; or bytes that are no picture at all."""
    kind = draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "ICO", "none"]))
    if kind == "none":
        return draw(st.binary(max_size=200))
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, min(len(data) - 1, 200)))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it then refuses
@amount(20, 300)
def test_picture_files_that_are_damaged(examples, figures, tmp_path):
    path = tmp_path / "broken.png"

    def one(data):
        path.write_bytes(data)
        error = error_of(lambda: read_picture(path, size=8))  # None: the damage left a picture
        assert error is None or "broken.png cannot be read as a picture" in str(error), error
        assert path.read_bytes() == data
        return error is not None

    attack(examples, figures, picture_files(), one)


# --- weights and checkpoints ------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value, path=()):
    """Every place in a value made of dicts and lists."""
    yield path
    for key, inside in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inside, (*path, key))


@st.composite
def mutated(draw, values):
    """``values`` with something at one place replaced, left out or added, or a number moved."""
    new = copy.deepcopy(values)
    where = draw(st.sampled_from(sorted(places(values), key=repr)))
    if not where:
        return draw(VALUES)
    inside = new
    for key in where[:-1]:
        inside = inside[key]
    what = draw(st.sampled_from(["replace", "replace", "remove", "add", "move"]))
    if what == "remove":
        del inside[where[-1]]
    elif what == "add" and isinstance(inside, dict):
        inside[draw(st.text(max_size=5))] = draw(VALUES)
    elif what == "move" and isinstance(inside[where[-1]], int | float):
        inside[where[-1]] = -inside[where[-1]] - 1
    else:
        inside[where[-1]] = draw(VALUES)
    return new


@st.composite
def weights_files(draw, data):
    """A weights file with another header, another description, bytes changed or cut off; or bytes that are none."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    what = draw(st.sampled_from(["cut", "bytes", "header", "about", "about", "random", "length"]))
    if what == "random":
        return draw(st.binary(max_size=300))
    if what == "cut":
        return data[: draw(st.integers(0, len(data) - 1))]
    if what == "bytes":
        changed = bytearray(data)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, length + 7))] = draw(st.integers(0, 255))
        return bytes(changed)
    if what == "length":
        return draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little") + data[8:]
    if what == "about":
        about = draw(mutated(json.loads(header["__metadata__"]["lpa_core"])))
        header["__metadata__"]["lpa_core"] = json.dumps(about)
    else:
        header = draw(mutated(header))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@amount(25)
def test_weights_files_that_are_damaged(examples, figures, finished, tmp_path):
    whole, path = (finished / "run" / "weights.safetensors").read_bytes(), tmp_path / "broken.safetensors"

    def one(data):
        path.write_bytes(data)
        error = error_of(lambda: load_weights(path))  # None: scores and provenance may be any values
        assert error is None or "broken.safetensors" in str(error), error
        assert path.read_bytes() == data
        return error is not None

    assert attack(examples, figures, weights_files(whole), one) > examples // 3


@st.composite
def checkpoints(draw, state):
    """A checkpoint with a right checksum and another content: other keys, other tensors, other types."""
    new = dict(state)
    key = draw(st.sampled_from(sorted(new)))
    what = draw(st.sampled_from(["remove", "replace", "inside", "tensor"]))
    if what == "remove":
        del new[key]
    elif what == "inside" and isinstance(new[key], dict) and new[key] and key != "config":
        inner = draw(st.sampled_from(sorted(new[key], key=repr)))
        new[key] = {k: v for k, v in new[key].items() if k != inner}
    elif what == "tensor":
        new[key] = torch.zeros(draw(st.lists(st.integers(0, 3), max_size=3)))
    else:
        new[key] = draw(VALUES)
    return new


@amount(3, 60)
def test_checkpoints_of_another_content(examples, figures, tmp_path):
    """The checksum is right, so that only what is inside can be wrong. Nothing in the run folder changes."""
    train(tiny_config(epochs=1), tmp_path / "run", sets=SETS, device="cpu", progress=False)
    path = tmp_path / "run" / "checkpoint.pt"
    state = load_checkpoint(path)
    (tmp_path / "run" / "weights.safetensors").unlink()
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**info, "finished": False, "results": None}))

    def one(new):
        if all(new.get(key) is value for key, value in state.items() if key != "seconds"):
            return False  # how long it took may be any number
        save_checkpoint(path, new)
        before = contents(tmp_path)

        def go_on():
            train(tiny_config(epochs=1), tmp_path / "run", sets=SETS, device="cpu", progress=False, resume=True)

        try:
            return refused(go_on, "checkpoint.pt")
        finally:
            assert contents(tmp_path) == before

    attack(examples, figures, checkpoints(state), one)


@amount(6, 100)
def test_run_json_that_is_damaged(examples, figures, finished, tmp_path, capsys):
    """Only what is read again can be wrong: whoever changes the time of a run is found out by its record."""
    shutil.copytree(finished / "run", tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    whole = json.loads(path.read_text())

    def one(values):
        path.write_text(json.dumps(values))
        before, found = contents(tmp_path), 0
        found += error_of(lambda: record_run(tmp_path / "run", "tiny", tmp_path / "results")) is not None
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        code, _, err = command(capsys, tmp_path, "train", "--resume", "--device", "cpu", "--out", "run")
        assert code in (0, 2), (code, err)
        found += code == 2
        assert contents(tmp_path) == before
        return found > 0

    attack(examples, figures, mutated(whole), one)


# --- records ----------------------------------------------------------------------------------------------------------


@amount(25)
def test_records_that_are_altered(examples, figures, finished, tmp_path):
    """Also with a digest that fits: what a forger would do. Any other record is refused, or was made consistent."""
    file = next((finished / "results").glob("*.json"))
    whole = json.loads(file.read_text())

    def one(drawn):
        values, forged = drawn
        if forged and isinstance(values, dict):
            values["digest"] = runs_of_the_book.digest(values)
        (tmp_path / file.name).write_text(json.dumps(values))
        if values == whole:
            return False
        error = error_of(lambda: runs_of_the_book.read_run(tmp_path / file.name))
        assert error is None or f"{file.name} is not a record of a run" in str(error), error
        assert error is not None or forged, f"an altered record was read: {values}"
        return error is not None

    altered = st.tuples(mutated(whole), st.booleans())
    assert attack(examples, figures, altered, one) > examples // 3


@amount(4, 100)
def test_records_of_hard_attention_that_are_altered(examples, figures):
    whole = json.loads((ROOT / "book" / "results" / "hard-soft-0.json").read_text())

    def one(values):
        return error_of(lambda: check_hard_run(values)) is not None

    attack(examples, figures, mutated(whole), one)


@amount(15, 150)
def test_published_numbers_that_are_altered(examples, figures, tmp_path):
    whole = json.loads((ROOT / "book" / "results" / "literature.json").read_text())

    def one(values):
        (tmp_path / "literature.json").write_text(json.dumps(values))
        error = error_of(lambda: literature.read_literature(tmp_path / "literature.json"))
        assert error is None or "literature.json" in str(error), error
        return error is not None

    attack(examples, figures, mutated(whole), one)


# --- the command line -------------------------------------------------------------------------------------------------


def command(capsys, folder, *arguments):
    """Exit code, standard output and standard error of a command that is run in ``folder``."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        code = __main__.main([*arguments])
    except SystemExit as error:
        code = error.code
    finally:
        os.chdir(before)
    return code, *capsys.readouterr()


# Commands that work, and for each option what makes it fail.
BAD_NUMBER = st.sampled_from(["", "x", "-3", "nan", "-inf", "1e999", "0x1", "1,5", "--", "None", "\x00", "9" * 400])
BAD_TIME = BAD_NUMBER.filter(lambda word: word != "1e999")  # for ever is a time
BAD_WORD = st.sampled_from(["", " ", "PC", "none", "\x00", "../..", "é", "-", "x" * 5000, "folder:", "folder:nowhere"])
TRAIN = [
    "train",
    "--data",
    "digits",
    "--limit",
    "64",
    "--epochs",
    "1",
    "--batch-size",
    "32",
    "--device",
    "cpu",
    "--quiet",
]
COMMANDS = {
    "data": (
        ["data", "digits"],
        {None: BAD_WORD, "--root=": BAD_WORD.filter(bool)},
    ),
    "train": (
        [*TRAIN, "--out", "new"],
        {
            **{
                f"--{name}": BAD_NUMBER for name in ("levels", "epochs", "batch-size", "lr", "seed", "limit", "threads")
            },
            **{f"--{name}": BAD_NUMBER for name in ("width", "dropout", "size")},
            **{f"--{name}": BAD_WORD for name in ("data", "preset", "compatibility", "combine", "match", "normalise")},
            **{f"--{name}": BAD_WORD for name in ("device", "backbone", "pretrained")},
            "--checkpoint-seconds": BAD_TIME,
            "--out": st.sampled_from(["picture.png", "picture.png/x", "/proc/nothing", "\x00", "x" * 5000]),
        },
    ),
    "resume": (
        ["train", "--resume", "--out", "run", "--device", "cpu", "--quiet"],
        {
            **{
                f"--{name}": BAD_NUMBER for name in ("levels", "epochs", "batch-size", "lr", "seed", "limit", "threads")
            },
            "--out": st.sampled_from(["results", "picture.png", "nowhere", "", "\x00"]),
            "--data": BAD_WORD,
        },
    ),
    "sweep": (
        ["sweep", "--data", "digits", "--limit", "64", "--epochs", "1", "--out", "many", "--quiet", "--device", "cpu"],
        {
            **{f"--{name}": BAD_NUMBER for name in ("seeds", "epochs", "batch-size", "width", "limit", "threads")},
            **{f"--{name}": BAD_WORD for name in ("data", "preset", "variants", "device")},
            "--minutes": BAD_TIME,
        },
    ),
    "evaluate": (
        ["evaluate", "run", "--data", "digits", "--device", "cpu"],
        {
            "--data": BAD_WORD,
            "--split": BAD_WORD,
            "--batch-size": BAD_NUMBER,
            "--device": BAD_WORD,
            "--threads": BAD_NUMBER,
            None: st.sampled_from(["picture.png", "results", "nowhere", "digits-xx", "", "\x00", "x" * 5000]),
        },
    ),
    "explain": (
        ["explain", "digits-pc", "picture.png", "--out", "map.png", "--device", "cpu"],
        {
            "--method": BAD_WORD,
            "--level": BAD_NUMBER,
            "--size": BAD_NUMBER,
            "--target": BAD_WORD,
            "--device": BAD_WORD,
            "--out": st.sampled_from(["map.jpg", "nowhere/map.png", "", "\x00.png", "run", "x" * 5000 + ".png"]),
            None: st.sampled_from(["picture.png", "results", "nowhere", "", "\x00", "run/run.json"]),
        },
    ),
}


@st.composite
def command_lines(draw, name):
    """A command that works, with one thing wrong: a value, a word too many, or an option that there is not."""
    works, bad = COMMANDS[name]
    words = [*works]
    what = draw(st.sampled_from(["value"] * 6 + ["extra", "unknown"]))
    if what == "extra":
        return [*words, draw(st.sampled_from(["train", "more", "-", "\x00"])), "another", "third"]
    if what == "unknown":
        return [*words, draw(st.sampled_from(["--colour", "--lvl", "-q", "--no-such", "--=", "--out=x=y=z"])), "1"]
    option = draw(st.sampled_from(sorted(bad, key=str)))
    value = draw(bad[option])
    if option is None:
        words[1] = value
    elif option == "--root=":
        words[1] = "cifar10"
        words += ["--no-download", f"--root={value}"]
    elif option in words:
        words[words.index(option) + 1] = value
    else:
        words += [option, value]
    return words


@pytest.mark.parametrize("name", COMMANDS)
@amount(6, 120)
def test_command_lines(examples, name, figures, finished, tmp_path, capsys, monkeypatch):
    """Exit code 2, one line on standard error that is no traceback, nothing on standard output, and no file changed."""
    folder = tmp_path / "place"
    shutil.copytree(finished, folder)
    before = contents(folder)
    monkeypatch.delenv("LPA_DATA", raising=False)

    def one(words):
        with single_thread():  # a command may set another number
            code, out, err = command(capsys, folder, *words)
        assert (code, out) == (2, ""), (words, code, out[:200], err[:300])
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert len(err) < 25_000
        assert contents(folder) == before, words
        return True

    attack(examples, figures, command_lines(name), one)


# --- nothing that is loaded is ever run -------------------------------------------------------------------------------


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, where):
        self.where = where

    def __reduce__(self):
        return os.mkdir, (str(self.where),)


def bombs(where):
    """The bomb in every shape in which it may come: as a pickle, as torch saves it, behind a right checksum, zipped."""
    plain = pickle.dumps(Bomb(where))
    saved, old = io.BytesIO(), io.BytesIO()
    torch.save({"format": 1, "a": Bomb(where)}, saved)
    torch.save({"format": 1, "a": Bomb(where)}, old, _use_new_zipfile_serialization=False)
    arrays = io.BytesIO()
    np.save(arrays, np.array([Bomb(where)], dtype=object), allow_pickle=True)
    for data in (plain, pickle.dumps(Bomb(where), protocol=0), saved.getvalue(), old.getvalue(), arrays.getvalue()):
        yield data
        yield data + zlib.crc32(data).to_bytes(4, "little")


def test_a_bomb_goes_off_where_it_may(tmp_path):
    """So that the next test can fail: unpickled, it does make the folder."""
    pickle.loads(next(bombs(tmp_path / "exploded")))
    assert (tmp_path / "exploded").is_dir()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch, before it refuses
def test_no_loader_runs_what_it_loads(tmp_path, finished, figures, monkeypatch, capsys):
    exploded, bomb, refusals = tmp_path / "exploded", tmp_path / "bomb", 0
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    monkeypatch.chdir(tmp_path)
    backbone = {"builder": "attend_to", "model": "squeezenet1_1", "weights": "bomb.pth", "num_classes": 2}
    for data in bombs(exploded):
        for name in ("bomb", "bomb.pth", "bomb.json", "bomb.png", "digits-tiny-3.json"):
            Path(name).write_bytes(data)
        loaders = {
            "load_weights": lambda: load_weights(bomb),
            "look_at": lambda: look_at(bomb, np.zeros((40, 40), dtype=np.uint8)),
            "load_checkpoint": lambda: load_checkpoint(bomb),
            "read_run": lambda: runs_of_the_book.read_run(tmp_path / "digits-tiny-3.json"),
            "read_runs": lambda: runs_of_the_book.read_runs(tmp_path),
            "read_literature": lambda: literature.read_literature(tmp_path / "bomb.json"),
            "read_picture": lambda: read_picture(tmp_path / "bomb.png"),
            "attend_to": lambda: build(backbone),
        }
        for name in ("run.json", "history.jsonl", "checkpoint.pt"):
            kept = (run / name).read_bytes()
            (run / name).write_bytes(data)
            folder = RunFolder(run)
            reader = {"run.json": folder.read_info, "history.jsonl": folder.read_history, "checkpoint.pt": folder.load}
            with pytest.raises(ValueError, match=name.replace(".", r"\.")):
                reader[name]()
            refusals += 1
            (run / name).write_bytes(kept)
        for name, loader in loaders.items():
            with pytest.raises(TYPED) as error:
                loader()
            assert "bomb" in str(error.value) or "digits-tiny-3.json" in str(error.value), (name, error.value)
            refusals += 1
        for arguments in (["evaluate", "bomb", "--data", "digits"], ["explain", "bomb", "bomb.png", "--out", "x.png"]):
            code, out, err = command(capsys, tmp_path, *arguments)
            assert (code, out, err.count("\n")) == (2, "", 1), err
            refusals += 1
        assert not exploded.exists()
    figures(pickles_refused_without_being_run=refusals)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_batch_of_cifar_with_a_wrong_checksum_is_never_opened(tmp_path, name, figures):
    from torchvision import datasets

    source = getattr(datasets, name.upper())
    (tmp_path / source.base_folder).mkdir()
    for file, _ in [*source.train_list, *source.test_list, (source.meta["filename"], None)]:
        (tmp_path / source.base_folder / file).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    for split in ("train", "validation", "test", "all"):
        with pytest.raises(ValueError, match="is damaged: its md5 is"):
            load(name, split, root=tmp_path, download=False)
    assert not (tmp_path / "exploded").exists()
    figures(pickles_refused_without_being_run=4)
