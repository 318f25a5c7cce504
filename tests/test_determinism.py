"""Chance comes from seeds and generators alone: equal seeds give equal bits, and no global generator is ever touched.

The tables below say how to call what is public; a new name without an entry fails.
"""

import dataclasses
import importlib
import inspect
import io
import math
import pkgutil
import random
from types import GeneratorType

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tiny import tiny_config, tiny_set, tiny_sets
from torch import nn

import lpa_core
from lpa_core import data, hard, metrics, models, plotting, widgets
from lpa_core._utils import seeding
from lpa_core.data import painting
from lpa_core.hard import kinds, relaxations
from lpa_core.metrics import insertion_deletion, interventions, likeness, randomisation, robustness
from lpa_core.models import small_trunk, trunk
from lpa_core.posthoc import METHODS
from lpa_core.training.loop import State
from lpa_core.widgets import live_network

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(lpa_core.__path__, "lpa_core.")
    if not found.name.endswith("__main__")
]
DIGITS = data.digits_in_clutter(4, split="test")
IMAGES = DIGITS.float_images()
CPU = torch.device("cpu")


def drawn(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


LOCAL, G, MAPS = drawn(2, 4, 5, 5), drawn(2, 4), drawn(4, 5, 5)
MASKS = DIGITS.masks
MODEL = lpa_core.load_weights("digits-pc").model


def public():
    """The names that the package and its rooms offer with ``__all__``, and what they are."""
    offered = {name: getattr(lpa_core, name) for name in lpa_core.__all__}
    for module in MODULES:
        offered |= {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    return offered


def holds(thing):
    """Whether a type only holds what it is given."""
    return isinstance(thing, type) and (dataclasses.is_dataclass(thing) or issubclass(thing, tuple | Exception))


def computes(thing):
    """Whether a public thing computes something: a function, or a class that does more than hold values."""
    ours = getattr(thing, "__module__", "").startswith("lpa_core")
    return ours and (inspect.isfunction(thing) or (isinstance(thing, type) and not holds(thing)))


def seeded():
    """What takes a seed or a generator, in any module; not what only holds one."""
    found = {}
    for module in MODULES:
        for name, thing in vars(module).items():
            if name.startswith("_") or not computes(thing) or thing.__module__ != module.__name__:
                continue
            if {"seed", "generator", "chance", "lot", "key"} & set(inspect.signature(thing).parameters):
                found[f"{module.__name__.rpartition('.')[2]}.{name}"] = thing
    return found


def bits(value):
    """Whatever was computed, as something that is equal only where every bit is."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.detach().contiguous().numpy().tobytes())
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, nn.Module):
        return bits(dict(value.state_dict()))
    if isinstance(value, torch.Generator):
        return bits(value.get_state())
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return bits({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, dict):
        clocks = ("seconds", "cpu_seconds", "images_per_second", "started", "ended", "timings", "seconds_per_epoch")
        return {str(key): bits(inside) for key, inside in value.items() if key not in clocks}
    if isinstance(value, list | tuple | GeneratorType):
        return [bits(inside) for inside in value]
    if hasattr(value, "_repr_mimebundle_"):
        return str(value._repr_mimebundle_())
    return value if isinstance(value, str | int | bytes | type(None)) else type(value).__name__


def drawing(draw):
    """The picture that ``draw(figure)`` draws."""
    figure, out = Figure(), io.BytesIO()
    draw(figure)
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def fitted():
    """Two steps of training. Without dropout: with it ``fit`` draws from the generator that ``train`` forks for it."""
    config = tiny_config(epochs=1, batch_size=16, ema=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, average = lpa_core.small_attention_net(3), lpa_core.small_attention_net(3)
    state = State(model, average, torch.optim.SGD(model.parameters(), lr=0.1), torch.zeros(2))
    batches = data.Batches(tiny_set(), 16, seed=1, crop=2, flip=True)

    def closed():
        state.epoch, state.batch = state.epoch + 1, 0

    lpa_core.training.fit(state, batches, config, after_step=lambda: None, after_epoch=closed)
    return model, average


def averaged():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with torch.no_grad():
        for number, parameter in enumerate([*one.parameters(), *other.parameters()]):
            parameter.fill_(number)
    lpa_core.training.update_average(one, other, 0.9, 3)
    return one


def with_chance_of_its_own(call):
    """For what begins with fresh weights of torch's own layers, as in ``averaged``."""

    def made():
        with torch.random.fork_rng():
            return call()

    return made


CONFIG = lpa_core.preset("quick", "digits")
ABOUT = {"classes": DIGITS.classes, "mean": DIGITS.mean, "std": DIGITS.std}
HARD = hard.HardConfig(kind="soft")
SHORT = dataclasses.replace(HARD, steps=2, batch_size=2)
PANEL = widgets.Panel(np.zeros((2, 2, 3), dtype=np.uint8), "black")
# How to call what is public. Equal bits each time, whatever the global generators hold, and none of them is touched.
CALLS = {
    "Attended": lambda: lpa_core.Attended(G, LOCAL[:, 0], LOCAL[:, 0]),
    "AttentionOutput": lambda: lpa_core.AttentionOutput(G, (), None),
    "Batches": lambda: [*lpa_core.Batches(DIGITS, 2, seed=1, crop=2, flip=True)],
    "Control": lambda: widgets.Control(label="x", options={"a": 1}),
    "Explorer": lambda: (
        widgets.Explorer("x", [widgets.Control(label="x", options={"a": 1})], lambda _: widgets.Frame([PANEL], "text"))
        .frames[0]
        .text
    ),
    "Features": lambda: lpa_core.Features((LOCAL,), G),
    "Frame": lambda: widgets.Frame([PANEL], "text").text,
    "ImageSet": lambda: [DIGITS.subset([0, 2]), DIGITS.float_images()],
    "Look": lambda: lpa_core.look_at("digits-pc", DIGITS.images[0]).probabilities,
    "Panel": lambda: PANEL,
    "Question": lambda: widgets.Question("?", {"a": "yes", "b": "no"}, "a"),
    "Quiz": lambda: widgets.Quiz([widgets.Question("?", {"a": "yes", "b": "no"}, "a")]).html(),
    "Run": lambda: lpa_core.training.Run(None, CONFIG, [], {}, {}),
    "Sets": lambda: lpa_core.training.Sets(*tiny_sets()),
    "Stepper": lambda: widgets.stepper(drawn(2, 2, 2), drawn(2), drawn(2), classes={"a": (1.0, 0.0), "b": (0.0, 1.0)}),
    "TimeUp": lambda: str(lpa_core.training.TimeUp("x")),
    "TrainConfig": lambda: lpa_core.TrainConfig.from_dict(CONFIG.to_dict()),
    "Trained": lambda: lpa_core.Trained(MODEL, None),
    "Trunk": lambda: trunk.Trunk(),
    "additive_scores": lambda: lpa_core.additive_scores(LOCAL, G, drawn(3, 4), drawn(3, 4), drawn(3)),
    "attend": lambda: lpa_core.attend(LOCAL, LOCAL[:, 0]),
    "bundled": lambda: live_network.bundled([DIGITS.images[0]]),
    "confidence_change": lambda: metrics.confidence_change(MODEL, IMAGES, MAPS),
    "described": lambda: live_network.described(MODEL, size=(40, 40), **ABOUT),
    "edge_maps": lambda: metrics.edge_maps(DIGITS.images),
    "exported": lambda: models.exported(MODEL, size=40).graph_signature.user_outputs,
    "grid_pointing_game": lambda: metrics.grid_pointing_game(MAPS, torch.tensor([0, 1, 2, 3])),
    "live": lambda: lpa_core.live(MODEL, size=40, **ABOUT).html,
    "montage": lambda: data.montage(DIGITS.images, [0, 1, 2, 3]),
    "network_script": lambda: live_network.network_script("x", {"a": 1}),
    "photograph": lambda: data.photograph("coffee"),
    "relevance_rank_accuracy": lambda: metrics.relevance_rank_accuracy(MAPS, MASKS),
    "script": live_network.script,
    "style": live_network.style,
    "bars_with_intervals": lambda: drawing(
        lambda figure: plotting.bars_with_intervals(figure.subplots(), [("a", metrics.cluster_interval(drawn(9)))])
    ),
    "blur": lambda: metrics.blur(IMAGES, sigma=1.0),
    "blurred_brightness": lambda: metrics.blurred_brightness(DIGITS.images, sigma=1.0),
    "box_iou": lambda: hard.box_iou(DIGITS.boxes, DIGITS.boxes.flip(0)),
    "centre_prior": lambda: metrics.centre_prior(2, (5, 5)),
    "combined": lambda: lpa_core.training.combined("digits", "quick", ["pc", "dp"], [0, 1]),
    "cost": lambda: hard.cost(MODEL, (3, 40, 40)),
    "crop": lambda: hard.crop(IMAGES, torch.tensor([[0, 1]] * 4), (18, 12)),
    "curves": lambda: drawing(lambda figure: plotting.curves(figure.subplots(), [{"epoch": 1, "a": 2.0}], ["a"])),
    "cutmix": lambda: lpa_core.training.cutmix(IMAGES, DIGITS.labels, tiny_config(), 3),
    "every_window": lambda: hard.every_window((40, 40), (18, 12), 2),
    "expected_corner": lambda: hard.expected_corner(MAPS, stride=2),
    "fgsm": lambda: metrics.fgsm(MODEL, IMAGES, DIGITS.labels, epsilon=0.1),
    "grid": lambda: hard.grid((40, 40), (18, 12), 2),
    "heaviest_window": lambda: hard.heaviest_window(drawn(4, 40, 40), (18, 12)),
    "load_splits": lambda: data.load_splits("digits", ("train", "test"), n=2),
    "loss_and_rewards": lambda: hard.loss_and_rewards(
        hard.look(MODEL, IMAGES, HARD), DIGITS.labels, reward="correct", baseline="none", entropy_weight=0.0
    ),
    "map_layers": lambda: lpa_core.posthoc.map_layers(MODEL, IMAGES),
    "loss_of": lambda: hard.loss_of(hard.look(MODEL, IMAGES, HARD), DIGITS.labels, HARD),
    "mix_windows": lambda: hard.mix_windows(IMAGES, drawn(4, 12, 15), (18, 12), stride=2),
    "named": lambda: lpa_core.training.named("full-width"),
    "one_cycle": lambda: lpa_core.training.one_cycle(0.1, 3, 10, warmup=0.25),
    "sweep": lambda: lpa_core.training.sweep(
        [lpa_core.training.Job("a", tiny_config(epochs=1))], "runs", sets=tiny_sets(), device="cpu", progress=False
    ),
    "parameter_layers": lambda: metrics.parameter_layers(MODEL, IMAGES),
    "patch_boxes": lambda: hard.patch_boxes(drawn(4, 2), (40, 40), 8),
    "pixels": lambda: plotting.pixels(DIGITS.images[0], MAPS[0]),
    "record": lambda: hard.record(hard.HardRun(MODEL, HARD, [{"seconds": 1.0, "cpu_seconds": 1.0}], {"accuracy": 1.0})),
    "reinforce_loss": lambda: hard.reinforce_loss(drawn(4), drawn(4), baseline="mean"),
    "window_saliency": lambda: hard.window_saliency(IMAGES, (18, 12), stride=2),
    "score": lambda: hard.score(MODEL, DIGITS, HARD),
    "show_image": lambda: drawing(lambda figure: plotting.show_image(figure.subplots(), DIGITS.images[0])),
    "spearman": lambda: metrics.spearman(MAPS, MAPS.flip(0)),
    "ssim": lambda: metrics.ssim(MAPS, MAPS.flip(0)),
    "train_hard": lambda: hard.train_hard(SHORT, DIGITS, DIGITS, progress=False).results,
    "transformer_crop": lambda: hard.transformer_crop(IMAGES, drawn(4, 2) * 20, (18, 12)),
    "uniform_maps": lambda: metrics.uniform_maps(2, (3, 3)),
    "window_boxes": lambda: hard.window_boxes(torch.tensor([[0, 1]]), (18, 12)),
    "attention_figure": lambda: drawing(
        lambda figure: lpa_core.attention_figure(DIGITS.images[0], MODEL.attend(IMAGES[:1]), figure=figure)
    ),
    "attention_maps": lambda: lpa_core.attention_maps(MODEL, IMAGES),
    "available": lpa_core.available,
    "best_level": lambda: lpa_core.best_level([0.1, 0.5, 0.3]),
    "box_masks": lambda: lpa_core.box_masks(DIGITS.boxes, (40, 40)),
    "cluster_interval": lambda: lpa_core.cluster_interval(drawn(9), resamples=50),
    "digits_in_clutter": lambda: lpa_core.digits_in_clutter(2, seed=3),
    "dot_scores": lambda: lpa_core.dot_scores(LOCAL, G),
    "scaled_dot_scores": lambda: lpa_core.scaled_dot_scores(LOCAL, G),
    "energy_in_mask": lambda: lpa_core.energy_in_mask(MAPS, MASKS),
    "enlarge": lambda: lpa_core.enlarge(MAPS, (10, 10)),
    "epochs_explorer": lambda: (
        widgets.epochs_explorer(DIGITS, {"pc": [MODEL.attend(DIGITS.float_images())]}, shown=1).frames[0].text
    ),
    "evaluate": lambda: lpa_core.evaluate(MODEL, DIGITS),
    "explain": lambda: {name: lpa_core.explain(MODEL, IMAGES[:1], method=name) for name in METHODS if name != "cam"},
    "fit": fitted,
    "iou": lambda: lpa_core.iou(MAPS, MASKS),
    "learning_rate": lambda: lpa_core.training.learning_rate(CONFIG, 3, 10),
    "load": lambda: lpa_core.load("digits", "test", n=2),
    "load_sets": lambda: lpa_core.training.load_sets(lpa_core.preset("quick", "digits", limit=2)),
    "load_weights": lambda: lpa_core.load_weights("digits-dp").model,
    "look_at": lambda: lpa_core.look_at("digits-pc", DIGITS.images[0]),
    "map_grid": lambda: drawing(lambda figure: lpa_core.map_grid(DIGITS.images, [MAPS], figure=figure)),
    "maps_explorer": lambda: (
        widgets.maps_explorer(DIGITS, lambda images: {"a": [a.weights for a in MODEL.attend(images).attended]}, shown=1)
        .frames[0]
        .text
    ),
    "node_shapes": lambda: lpa_core.node_shapes(MODEL, input_size=40),
    "normalise": lambda: lpa_core.normalise(DIGITS.images, DIGITS.mean, DIGITS.std),
    "overlay": lambda: drawing(lambda figure: lpa_core.overlay(figure.subplots(), DIGITS.images[0], MAPS[0])),
    "parametrised_scores": lambda: lpa_core.parametrised_scores(LOCAL, G, drawn(4)),
    "pointing_game": lambda: lpa_core.pointing_game(MAPS, MASKS),
    "preset": lambda: lpa_core.preset("book", "cifar100"),
    "quiz": lambda: lpa_core.quiz("?", {"a": "yes", "b": "no"}, "a").html(),
    "read_picture": lambda: lpa_core.read_picture(DIGITS.images[0], size=20),
    "save_weights": lambda: lpa_core.save_weights(
        "w.safetensors", MODEL, classes=DIGITS.classes, mean=DIGITS.mean, std=DIGITS.std, scores={}, provenance={}
    ),
    "score_maps": lambda: lpa_core.score_maps(MAPS, MASKS),
    "stepper": lambda: widgets.stepper(
        drawn(2, 2, 2), drawn(2), drawn(2), classes={"a": (1.0, 0.0), "b": (0.0, 1.0)}
    ).html(),
    "replacement": lambda: insertion_deletion.replacement(IMAGES),
    "swap_explorer": lambda: widgets.swap_explorer({"pc": MODEL}, DIGITS, shown=2).frames[0].text,
    "temperature_explorer": lambda: widgets.temperature_explorer(DIGITS.images[0], MAPS[0]).frames[0].text,
    "train": lambda: lpa_core.train(tiny_config(epochs=1), sets=tiny_sets(), device="cpu", progress=False),
    "uniform_scores": lambda: lpa_core.uniform_scores(LOCAL),
    "update_average": with_chance_of_its_own(averaged),
    "window_explorer": lambda: widgets.window_explorer(DIGITS, [1, 2], [DIGITS.boxes, DIGITS.boxes]).frames[0].text,
}
# Fresh weights come from torch's global generator, as those of any torch module: torch.manual_seed decides them.
FRESH = {
    "AttentionClassifier": lambda: lpa_core.AttentionClassifier(small_trunk.SmallTrunk(), 3),
    "AttentionEstimator": lambda: lpa_core.AttentionEstimator(4, 6),
    "attend_to": lambda: lpa_core.attend_to("squeezenet1_1", ["features.4"], num_classes=2, input_size=32),
    "attention_resnet164": lambda: lpa_core.attention_resnet164(width=0.1, blocks=1),
    "attention_vgg": lambda: lpa_core.attention_vgg(width=0.02),
    "LogitsAndMaps": lambda: models.LogitsAndMaps(models.small_attention_net(3)),
    "AttentionVGGTrunk": lambda: models.AttentionVGGTrunk(width=0.02),
    "BackboneTrunk": lambda: models.BackboneTrunk(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), ["1"], input_size=16),
    "CropPolicy": lambda: hard.CropPolicy((18, 12), channels=4),
    "HardAttention": lambda: hard.HardAttention(3, channels=4),
    "Logits": lambda: lpa_core.posthoc.Logits(nn.Linear(2, 2)),
    "PhotoTrunk": models.PhotoTrunk,
    "ProgressiveVGGTrunk": lambda: models.ProgressiveVGGTrunk(width=0.02),
    "RecurrentAttention": lambda: hard.RecurrentAttention(3),
    "ResNetTrunk": lambda: models.ResNetTrunk(width=0.1, blocks=1),
    "SmallTrunk": models.SmallTrunk,
    "VGGTrunk": lambda: models.VGGTrunk(width=0.02),
    "build": lambda: lpa_core.build({"builder": "vgg", "width": 0.02}),
    "build_model": lambda: hard.build_model(HARD, 3),
    "photo_attention_net": lambda: lpa_core.photo_attention_net(5),
    "window_classifier": lambda: hard.window_classifier(3, (18, 12)),
    "resnet164": lambda: lpa_core.resnet164(width=0.1, blocks=1),
    "small_attention_net": lpa_core.small_attention_net,
    "vgg": lambda: lpa_core.vgg(width=0.02),
    "vgg_gap": lambda: lpa_core.vgg_gap(width=0.02),
    "vgg_pan": lambda: lpa_core.vgg_pan(width=0.02),
}


def dice(seed):
    return torch.Generator().manual_seed(seed)


def randomised(seed):
    layer = lpa_core.load_weights("digits-pc").model.classifiers[0]
    randomisation.randomise(layer, generator=dice(seed))
    return layer


def own_state(seed):
    with seeding.own_random_state(CPU, seed):
        return torch.rand(3)


def permuted(seed):
    with interventions.intervened(MODEL, "permute", seed=seed) as network:
        return network.attend(IMAGES).attended


def looked(seed):
    config = kinds.HardConfig(kind="hard", options={"channels": 4})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kinds.build_model(config, 10)
    return kinds.look(model, IMAGES, config, dice(seed)).boxes


METHOD = {"attention": {"method": "attention"}}
# What takes a seed or a generator: equal seeds, equal bits; another seed, other bits. The seed of a config is tested
# with the training that it is for.
SEEDED = {
    "seeding.generator": lambda seed: seeding.generator("x", seed),
    "seeding.stratified": lambda seed: seeding.stratified(np.arange(40) % 2, 10, key=seed),
    "seeding.own_random_state": own_state,
    "confidence.compare_confidence": lambda seed: metrics.compare_confidence(MODEL, IMAGES, {"a": MAPS}, seed=seed),
    "montage_sets.montages": lambda seed: data.montages(lpa_core.digits_in_clutter(40), 2, seed=seed),
    "picture_maps.smooth_grad": lambda seed: lpa_core.explain(
        MODEL, IMAGES, method="smooth_grad", samples=2, seed=seed
    ),
    "randomisation.random_logit": lambda seed: metrics.random_logit(MODEL, IMAGES, method="hirescam", seed=seed),
    "road.remove_and_debias": lambda seed: metrics.remove_and_debias(MODEL, IMAGES, MAPS, fractions=(0.2,), seed=seed),
    "shortcuts.plant_shortcut": lambda seed: data.plant_shortcut(DIGITS, misleading=True, seed=seed),
    "tables.by_layer": lambda seed: metrics.by_layer(MODEL, IMAGES, MASKS, pictures=DIGITS.images, seed=seed),
    "painting.paint_digits": lambda seed: painting.paint_digits(2, "test", seed, 1, seed, True),
    "batches.Batches": lambda seed: [*data.Batches(DIGITS, 2, seed=seed, crop=2, flip=True)],
    "digits.digits_in_clutter": lambda seed: data.digits_in_clutter(2, seed=seed, digits=2),
    "sources.load": lambda seed: data.load("digits", "test", n=2, seed=seed),
    "sources.load_splits": lambda seed: data.load_splits("digits", ("test",), n=2, seed=seed),
    "explore_deletion.deletion_explorer": lambda seed: widgets.deletion_explorer(
        MODEL, IMAGES[:1], MAPS[:1], 3, mean=DIGITS.mean, std=DIGITS.std, steps=4, seed=seed
    ).html(),
    "insertion_deletion.compare_curves": lambda seed: insertion_deletion.compare_curves(
        MODEL, IMAGES, {"a": MAPS}, steps=4, seed=seed
    ),
    "insertion_deletion.curve": lambda seed: insertion_deletion.curve(
        MODEL, IMAGES, torch.ones(4, 5, 5), kind="deletion", steps=3, seed=seed
    ),
    "insertion_deletion.pixel_ranks": lambda seed: insertion_deletion.pixel_ranks(
        torch.ones(4, 5, 5), IMAGES, seed=seed
    ),
    "insertion_deletion.with_baselines": lambda seed: insertion_deletion.with_baselines({"a": MAPS}, IMAGES, seed=seed),
    "reinforce.choose": lambda seed: hard.choose(drawn(40, 5, 5), generator=dice(seed)),
    "kinds.look": looked,
    "interventions.intervened": permuted,
    "interventions.compare_interventions": lambda seed: interventions.compare_interventions(
        MODEL, IMAGES, DIGITS.labels, seed=seed
    ),
    "intervals.cluster_interval": lambda seed: metrics.cluster_interval(drawn(30), resamples=50, seed=seed),
    "tables.compare_maps": lambda seed: metrics.compare_maps(
        {"a": MAPS}, MASKS, images=DIGITS.images, resamples=50, seed=seed
    ),
    "baselines.random_maps": lambda seed: metrics.random_maps(2, (3, 3), seed=seed, sigma=1.0),
    "relaxations.gumbel_softmax": lambda seed: relaxations.gumbel_softmax(MAPS, temperature=1.0, generator=dice(seed)),
    "relaxations.straight_through": lambda seed: relaxations.straight_through(drawn(40, 5, 5), generator=dice(seed)),
    "robustness.fgsm_robustness": lambda seed: robustness.fgsm_robustness(
        MODEL, IMAGES, DIGITS.labels, methods=METHOD, epsilons=[0.1], seed=seed
    ),
    "robustness.sensitivity": lambda seed: robustness.sensitivity(
        MODEL, IMAGES, methods=METHOD, radius=0.1, samples=2, seed=seed
    ),
    "likeness.compare_with_baselines": lambda seed: likeness.compare_with_baselines(MAPS, IMAGES, seed=seed),
    "randomisation.randomisation_check": lambda seed: randomisation.randomisation_check(
        MODEL, IMAGES, method="attention", layers=[""], seed=seed
    ),
    "randomisation.randomise": randomised,
    "likeness.similarity": lambda seed: likeness.similarity("a", drawn(40, 5, 5), drawn(40, 5, 5).flip(0), seed=seed),
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)


def stir(seed):
    """Put the global generators elsewhere."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def test_every_public_name_has_an_entry_and_every_entry_a_name():
    entries, offered = {*CALLS, *FRESH}, public()
    with_seed = {name.partition(".")[2] for name in SEEDED}
    tested = {"export_onnx", "from_saoyan"}  # with the exporter and with weights of their layout, in tests/models
    assert {name for name, thing in offered.items() if computes(thing)} <= entries | with_seed | tested
    assert entries <= offered.keys()
    assert not (CALLS.keys() & FRESH.keys())


def test_all_that_takes_a_seed_has_an_entry():
    assert set(SEEDED) == set(seeded())


@pytest.mark.parametrize("name", CALLS)
def test_no_global_generator_is_used_or_touched(name, chance_untouched):
    results = []
    for seed in (1, 2):
        stir(seed)
        with chance_untouched():
            results.append(bits(CALLS[name]()))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", FRESH)
def test_fresh_weights_follow_from_the_seed_of_torch_alone(name, unchecked):
    results = []
    for seed, others in ((1, 1), (1, 2), (2, 2)):
        stir(others)
        before = random.getstate(), np.random.get_state()[1].tolist()
        torch.manual_seed(seed)
        results.append(bits(FRESH[name]()))
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("name", SEEDED)
def test_equal_seeds_give_equal_bits(name, chance_untouched):
    results = []
    for seed, others in ((1, 1), (1, 2), (2, 2)):
        stir(others)
        with chance_untouched():
            results.append(bits(SEEDED[name](seed)))
    assert results[0] == results[1]
    assert results[1] != results[2]
