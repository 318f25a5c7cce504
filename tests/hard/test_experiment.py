"""The common recipe of soft, hard and control, its scores, and the records that the chapters read."""

import dataclasses
import json
import math

import pytest
import torch
from recorded.hard import read_hard_runs

from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import ImageSet
from lpa_core.hard import experiment, kinds, scoring
from lpa_core.hard.experiment import train_hard
from lpa_core.hard.glimpses import RecurrentAttention
from lpa_core.hard.kinds import KINDS, HardConfig, loss_of
from lpa_core.hard.model import HardAttention
from lpa_core.hard.seen import Seen
from lpa_core.hard.windows import window_saliency

SMALL = {"hidden": 8, "size": 6, "scales": 2, "glimpses": 2}


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return digits_in_clutter(24, split="train")


def tiny(kind: str, **changes: object) -> HardConfig:
    options = SMALL if kind == "glimpses" else {} if kind in ("soft", "uniform") else {"channels": 4}
    return HardConfig(**{"kind": kind, "steps": 4, "batch_size": 8, "options": options, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_is_scored(unchecked, digits, kind, chance_untouched):
    with chance_untouched():
        run = train_hard(tiny(kind), digits, digits, watch=digits, every=3, progress=False)
    assert [entry["step"] for entry in run.history] == [3, 4]
    for clock in ("seconds", "cpu_seconds"):
        assert 0 < run.history[0][clock] <= run.history[1][clock]
    assert 0 <= run.results["iou"] < 1
    assert set(run.results) >= {"accuracy", "hit", "iou"}
    assert not run.model.training
    shown = run.history[-1]["weights" if kind in ("soft", "uniform") else "windows"]
    assert len(shown) == 6
    json.dumps(experiment.record(run), allow_nan=False)


@pytest.mark.parametrize("kind", ["hard", "glimpses", "gumbel"])
def test_the_same_seed_gives_the_same_run(digits, kind):
    one, two, three = (train_hard(tiny(kind, seed=s), digits, digits, progress=False) for s in (3, 3, 4))
    same, other = one.model.state_dict(), three.model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in two.model.state_dict().items())
    assert not all(torch.equal(value, same[name]) for name, value in other.items())
    assert one.results == two.results


@pytest.mark.parametrize("kind", ["hard", "glimpses", "gumbel", "straight_through", "transformer"])
def test_the_policy_is_trained(digits, kind):
    run = train_hard(tiny(kind, steps=2), digits, digits, progress=False)
    torch_state = torch.random.get_rng_state()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fresh = kinds.build_model(tiny(kind), 10).state_dict()
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    policy = "location_network" if kind == "glimpses" else "policy.score"
    moved = [name for name, value in run.model.state_dict().items() if not torch.equal(value, fresh[name])]
    assert any(name.startswith(policy) for name in moved)


@pytest.mark.parametrize("kind", ["random", "salient"])
def test_the_controls_train_no_policy(digits, kind):
    run = train_hard(tiny(kind, steps=2, weight_decay=0.0), digits, digits, progress=False)
    assert torch.equal(run.model.policy.score.weight, torch.zeros_like(run.model.policy.score.weight))
    assert run.model.policy.gain == 2


def test_the_salient_control_looks_as_an_untrained_policy_does(digits):
    model, config = kinds.build_model(tiny("salient"), 10).eval(), tiny("salient")
    images = digits.float_images(slice(0, 8))
    same = [torch.Generator().manual_seed(1) for _ in range(2)]
    drawn, hard_drawn = (kinds.look(model, images, tiny(k), g) for k, g in zip(("salient", "hard"), same, strict=True))
    assert torch.equal(drawn.boxes, hard_drawn.boxes)
    assert drawn.log_prob is None is not hard_drawn.log_prob
    best = kinds.look(model, images, config).boxes[:, 0, :2]
    scores = window_saliency(images, (18, 12), stride=2)
    assert (best[:, 0] // 2 * 15 + best[:, 1] // 2).tolist() == scores.flatten(1).argmax(dim=1).tolist()


@pytest.mark.parametrize("kind", ["hard", "salient", "random"])
def test_several_windows_of_a_picture_are_as_many_pictures_of_one(digits, kind):
    """Two draws are the draws of a batch that holds every picture twice; the loss is the mean over all of them."""
    config = tiny(kind, draws=2)
    model = kinds.build_model(config, 10).eval()
    images, labels = digits.float_images(slice(0, 8)), digits.labels[:8]
    twice = kinds.look(model, images, config, torch.Generator().manual_seed(1))
    doubled = kinds.look(
        model, images.repeat(2, 1, 1, 1), dataclasses.replace(config, draws=1), torch.Generator().manual_seed(1)
    )
    assert torch.equal(twice.boxes, doubled.boxes)
    assert not torch.equal(twice.boxes[:8], twice.boxes[8:])
    assert torch.allclose(twice.logits, doubled.logits, atol=1e-6)
    one, other = loss_of(twice, labels, config), loss_of(doubled, labels.repeat(2), config)
    assert torch.allclose(one[0], other[0])
    assert torch.allclose(one[1], other[1], atol=1e-6)
    assert len(kinds.look(model, images, config, lot=torch.Generator()).boxes) == 8  # at test time: one each


def test_the_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    seen = Seen(
        logits, None, torch.tensor([[-1.0], [-2.0]]), torch.tensor([[1.0], [3.0]]), torch.tensor([[0.5], [0.25]])
    )
    labels = torch.tensor([0, 1])
    p = torch.tensor([0.5, 0.25])
    surprise = -p.log().mean()
    for reward, value in (("log_probability", p.log()), ("probability", p), ("correct", torch.tensor([1.0, 0.0]))):
        expected = torch.tensor([0.5, 0.25])
        policy = -((value - expected) * torch.tensor([-1.0, -2.0])).mean() - 0.1 * 2.0
        loss, found = loss_of(seen, labels, HardConfig(reward=reward, entropy_weight=0.1))
        assert torch.allclose(found, value)
        assert torch.allclose(loss, surprise + policy + 0.5 * ((expected - value) ** 2).mean())


def test_a_place_is_rewarded_by_the_answers_that_follow_it():
    """Three answers, two places: the first place is followed by answers 2 and 3, the second by answer 3 alone."""
    answers = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3])
    log_prob = torch.zeros(4, 2, requires_grad=True)
    seen = Seen(answers[:, -1], None, log_prob, None, torch.zeros(4, 2), answers)
    loss, reward = loss_of(seen, labels, HardConfig(reward="probability", baseline="none"))
    p = answers.softmax(dim=2)[torch.arange(4), :, labels]
    loss.backward()
    assert torch.allclose(reward, p[:, 2])
    assert torch.allclose(log_prob.grad, -torch.stack([p[:, 1:].mean(dim=1), p[:, 2]], dim=1) / 4)


def test_scores_of_a_policy_that_knows_the_answer(digits, monkeypatch):
    """A policy that always takes the window nearest to the digit: hit in every picture, and the best IoU there is."""
    model = HardAttention(channels=4).eval()
    boxes = digits.boxes

    def best(images):
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        corner = (
            ((middle - torch.tensor([9.0, 6.0])) / 2).round().clamp(torch.zeros(2), torch.tensor([11.0, 14.0])).long()
        )
        scores = torch.zeros(len(images), 12, 15)
        scores[torch.arange(len(images)), corner[:, 0], corner[:, 1]] = 9
        return scores, torch.zeros(len(images))

    monkeypatch.setattr(model.policy, "look", best)
    found = scoring.score(model, digits, HardConfig())
    assert found["hit"] == found["hit_any"] == 1
    assert 0.7 < found["iou"] < 0.9


def test_uniform_weights_hit_as_often_as_the_box_is_large(digits):
    model = kinds.build_model(tiny("uniform"), 10)
    found = scoring.score(model, digits, tiny("uniform"))
    sides = (digits.boxes[:, 2:] - digits.boxes[:, :2]).float()
    assert found["hit"] == pytest.approx(float(sides.prod(dim=1).mean() / 1600), rel=1e-4)
    assert 0.05 < found["iou"] < 0.25


def test_cost_counts_by_hand():
    model = HardAttention(10, channels=4)
    found = scoring.cost(model, (3, 40, 40))
    near = 400 * 9 * (3 * 2 + 2 * 4)
    far = 100 * (9 * (4 * 6 + 6 * 6) + 6 * 4)
    policy = near + far + 12 * 15 * 9 * 6 * 4
    classifier = 216 * 9 * (3 * 32 + 32 * 32) + 54 * 9 * (32 * 64 + 64 * 64) + 64 * 4 * 3 * 10
    assert found["macs"] == policy + classifier + 4  # and the baseline's linear layer
    assert found["positions"] == 400 + 216
    assert found["parameters"] == sum(p.numel() for p in model.parameters())


def test_a_diverged_run_stops(digits):
    with pytest.raises(FloatingPointError, match="lower lr"):
        train_hard(tiny("soft", lr=1e30, steps=20), digits, digits, progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "hopeful"}, "kind must be one of"),
        ({"reward": "praise"}, "reward must be one of"),
        ({"baseline": "median"}, "baseline must be one of"),
        ({"steps": 0}, "steps"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"temperature": math.nan}, "temperature"),
        ({"entropy_weight": -1.0}, "entropy_weight"),
    ],
)
def test_config_refuses(unchecked, changes, message):
    with pytest.raises(ValueError, match=message):
        HardConfig(**changes)


# Records --------------------------------------------------------------------------------------------------------------


def test_a_device_that_is_not_there_is_refused(digits):
    for device in ("tpu", "cuda:99"):
        with pytest.raises(ValueError, match="device"):
            train_hard(tiny("hard"), digits, digits, device=device, progress=False)


def test_cost_follows_the_model_to_its_device():
    """On the meta device every tensor of another device is an error."""
    model = RecurrentAttention(10, **SMALL).glimpse_network.features
    assert scoring.cost(model, (3, 40, 40)) == scoring.cost(model.to("meta"), (3, 40, 40))


def test_the_tool_writes_a_record_that_can_be_read(digits, monkeypatch, tmp_path):
    import record_hard

    monkeypatch.setattr(record_hard, "RESULTS", tmp_path)
    sets = (digits, *(dataclasses.replace(digits, split=split) for split in ("validation", "test")))
    monkeypatch.setattr(record_hard, "sets", lambda: sets)
    monkeypatch.setitem(record_hard.RUNS, "hard", {"kind": "hard", "steps": 2, "batch_size": 8})
    record_hard.run("hard", 1)
    (found,) = read_hard_runs(tmp_path)["hard"]
    assert found["seed"] == found["config"]["seed"] == 1
