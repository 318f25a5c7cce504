import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny import tiny_config, tiny_set, tiny_sets
from torch import nn

from lpa_core import models
from lpa_core._utils.device import pick_device
from lpa_core.data.batches import Batches
from lpa_core.training import loop
from lpa_core.training.evaluation import evaluate
from lpa_core.training.loop import State, cross_entropy, cutmix, decay_groups, fit, learning_rate, update_average
from lpa_core.training.run import train
from lpa_core.training.sets import Sets, check_sets, load_sets


def nothing():
    pass


def make_state(config, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = models.build({**config.model, "num_classes": 3})
    average = copy.deepcopy(model) if config.ema else model
    optimiser = torch.optim.SGD(
        decay_groups(model, config), lr=config.lr, momentum=config.momentum, nesterov=config.nesterov
    )
    return State(model, average, optimiser, torch.zeros(2))


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_the_loop_does_what_a_plain_loop_does():
    config = tiny_config(model={"builder": "small_attention_net"}, crop=0, flip=False, cutmix=0.0, ema=0.0)
    state, plain = make_state(config), make_state(config)
    batches = Batches(tiny_set(), 8, seed=config.seed)
    fit(state, batches, config, after_step=nothing, after_epoch=lambda: setattr(state, "batch", 0))

    model, total, velocity, step = plain.model, torch.zeros(2), {}, 0
    norms = {p for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for p in m.parameters()}
    model.train()
    for epoch in range(2):
        for images, labels in batches.epoch(epoch):
            logits = model(images)
            log_p = logits.log_softmax(1)
            wanted = F.one_hot(labels, 3) * 0.9 + 0.1 / 3
            loss = -(wanted * log_p).sum(1).mean()
            grads = torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)
            lr = learning_rate(config, step, 4)
            with torch.no_grad():
                for (name, p), grad in zip(model.named_parameters(), grads, strict=True):
                    if grad is None:
                        continue
                    if p not in norms and not name.endswith("bias"):
                        grad = grad + 5e-4 * p
                    velocity[name] = grad if name not in velocity else 0.9 * velocity[name] + grad
                    p -= lr * (grad + 0.9 * velocity[name])
            total += torch.tensor([loss.item() * 8, (logits.argmax(1) == labels).sum()])
            step += 1
    for (name, a), b in zip(state.model.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=2e-5), name
    assert torch.allclose(state.totals, total, rtol=1e-5)


def test_the_loop_starts_where_the_state_stands_and_reports_every_step():
    config = tiny_config(epochs=3)
    state = make_state(config)
    state.epoch, state.batch = 1, 3
    seen, batches = [], Batches(tiny_set(), 8)

    def after_epoch():
        state.epoch, state.batch = state.epoch + 1, 0

    fit(state, batches, config, after_step=lambda: seen.append((state.epoch, state.batch)), after_epoch=after_epoch)
    assert seen == [(1, 4), (2, 1), (2, 2), (2, 3), (2, 4)]
    assert [group["lr"] for group in state.optimiser.param_groups] == [learning_rate(config, 11, 4)] * 2


def test_the_loop_learns():
    config = tiny_config(
        model={"builder": "small_attention_net"}, epochs=12, flip=False, crop=0, cutmix=0.0, ema=0.0, lr=0.1
    )
    state = make_state(config)
    batches = Batches(tiny_set(n=96), 8)
    fit(state, batches, config, after_step=nothing, after_epoch=lambda: setattr(state, "batch", 0))
    assert evaluate(state.model, tiny_set("test"))["accuracy"] > 0.9


# --- CutMix -----------------------------------------------------------------------------------------------------------


def constant_pictures(n=6, size=16):
    """Picture i is i everywhere, and so is its label."""
    labels = torch.arange(n)
    return labels.float()[:, None, None, None].expand(n, 3, size, size).contiguous(), labels


def test_a_box_of_the_neighbour_is_pasted_and_the_loss_is_shared_by_its_area():
    config, (images, labels) = tiny_config(cutmix=0.999999, label_smoothing=0.0), constant_pictures()
    shares = []
    for step in range(200):
        mixed, wanted = cutmix(images, labels, config, step)
        assert [w[0].tolist() for w in wanted] == [[0, 1, 2, 3, 4, 5], [5, 0, 1, 2, 3, 4]]
        from_neighbour = mixed == labels.roll(1).float()[:, None, None, None]
        assert torch.equal(from_neighbour[:1].expand_as(from_neighbour), from_neighbour)  # one box for the batch
        assert torch.equal(mixed[~from_neighbour], images[~from_neighbour])
        inside = from_neighbour[0, 0]
        rows, columns = inside.any(1), inside.any(0)
        assert torch.equal(inside, rows[:, None] & columns[None])  # a box
        assert wanted[1][1] == pytest.approx(inside.float().mean().item())
        assert wanted[0][1] == pytest.approx(1 - wanted[1][1])
        shares.append(wanted[1][1])
    assert torch.equal(images.amin((1, 2, 3)), labels.float())  # the batch itself stays as it was
    # The area is uniform, and what reaches over the edge is cut off: for a middle anywhere, a side of s keeps
    # s (1 - s / 4) on average, so the mean is the integral of (sqrt(a) (1 - sqrt(a) / 4))^2 = 0.5 - 0.2 + 1/48.
    assert sum(shares) / len(shares) == pytest.approx(0.5 - 0.2 + 1 / 48, abs=0.06)


def test_the_asked_for_share_of_the_batches_is_mixed_by_seed_and_step_alone():
    images, labels = constant_pictures()
    config = tiny_config(cutmix=0.5)
    mixed = [len(cutmix(images, labels, config, step)[1]) == 2 for step in range(400)]
    assert 160 <= sum(mixed) <= 240
    torch.manual_seed(0)
    again = [len(cutmix(images, labels, config, step)[1]) == 2 for step in range(400)]
    other = [len(cutmix(images, labels, tiny_config(cutmix=0.5, seed=6), step)[1]) == 2 for step in range(400)]
    assert mixed == again != other
    unmixed, wanted = cutmix(images, labels, tiny_config(), 0)
    assert unmixed is images
    assert wanted == [(labels, 1.0)]


def test_the_shared_loss_is_the_cross_entropy_with_mixed_labels():
    images, labels = constant_pictures()
    config = tiny_config(cutmix=0.999999, label_smoothing=0.1)
    _, wanted = cutmix(images, labels, config, 3)
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    soft = sum(share * F.one_hot(names, 6) for names, share in wanted)
    expected = F.cross_entropy(logits, soft, label_smoothing=0.1)
    assert cross_entropy(logits, wanted, config).item() == pytest.approx(expected.item(), rel=1e-6)
    assert len(wanted) == 2


# --- its parts --------------------------------------------------------------------------------------------------------


def test_one_cycle_rises_straight_and_falls_as_a_cosine():
    config = tiny_config(epochs=10, lr=0.4, warmup=0.25, schedule="one_cycle")
    rates = [learning_rate(config, step, 4) for step in range(40)]
    assert rates[:3] == pytest.approx([0.4 / 11, 0.8 / 11, 1.2 / 11])
    assert rates[9] == pytest.approx(4 / 11)
    assert max(rates) == rates[10] == pytest.approx(0.4)
    assert rates[25] == pytest.approx(0.2)
    assert rates[39] == pytest.approx(0.2 * (1 + math.cos(math.pi * 29 / 30)))
    assert 0 < rates[39] < 0.002
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_one_cycle_without_a_rise_starts_at_the_peak():
    config = tiny_config(epochs=1, lr=0.4, warmup=0.0)
    assert learning_rate(config, 0, 4) == 0.4


def test_halving_is_the_authors_schedule():
    config = tiny_config(epochs=300, lr=1.0, schedule="halving")
    assert learning_rate(config, 0, 390) == 1.0
    assert learning_rate(config, 25 * 390 - 1, 390) == pytest.approx(1 / (1 + 1e-7 * 9749), rel=1e-12)
    assert learning_rate(config, 25 * 390, 390) == pytest.approx(0.5 / (1 + 1e-7 * 9750), rel=1e-12)
    assert learning_rate(config, 299 * 390, 390) == pytest.approx(0.5**11 / (1 + 1e-7 * 116610), rel=1e-12)


def test_constant_is_constant():
    config = tiny_config(schedule="constant")
    assert {learning_rate(config, step, 4) for step in range(8)} == {config.lr}


def test_weights_decay_and_norms_biases_and_scalars_do_not():
    config = tiny_config()
    model = models.small_attention_net(3)
    decayed, free = decay_groups(model, config)
    assert (decayed["weight_decay"], free["weight_decay"]) == (5e-4, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, free = ({names[id(p)] for p in group["params"]} for group in (decayed, free))
    assert decayed | free == set(names.values())
    assert not decayed & free
    norms = {n for n, m in model.named_modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))}
    assert free == {n for n in names.values() if n.endswith("bias") or n.rpartition(".")[0] in norms}
    assert {"estimators.0.u", "classifiers.0.weight"} <= decayed
    assert {"estimators.0.bias", "classifiers.0.bias"} <= free


def test_the_authors_recipe_decays_everything():
    model = models.small_attention_net(3)
    (group,) = decay_groups(model, tiny_config(decay_all=True))
    assert len(group["params"]) == len([*model.parameters()])
    assert group["weight_decay"] == 5e-4


def test_the_average_follows_its_formula_buffers_too():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = copy.deepcopy(model)
    expected = {name: value.clone().double() for name, value in model.state_dict().items()}
    for step in range(30):
        with torch.no_grad():
            for p in model.parameters():
                p += step + 1
            model[1].running_mean += 2 * step
            model[1].num_batches_tracked += 1
        d = min(0.7, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            expected[name] = d * expected[name] + (1 - d) * value.double() if value.is_floating_point() else value
        update_average(average, model, 0.7, step)
    for name, value in average.state_dict().items():
        assert torch.allclose(value.double(), expected[name].double(), rtol=1e-5), name
    assert average[1].num_batches_tracked == 30


def test_without_an_average_the_model_itself_is_kept():
    model = nn.Linear(2, 2)
    before = copy.deepcopy(model.state_dict())
    update_average(model, model, 0.0, 0)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))


@pytest.mark.parametrize(("asked", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_autocast_changes_a_cpu_only_where_asked(asked, dtype):
    with loop.autocast(torch.device("cpu"), bfloat16=asked):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_training_computes_in_bfloat16_where_the_config_says_so():
    seen = []
    for asked in (False, True):
        config = tiny_config(model={"builder": "photo_attention_net"}, epochs=1, lr=1e-4, bfloat16=asked)
        run = train(config, sets=tiny_sets(), device="cpu", progress=False)
        assert all(p.dtype == torch.float32 for p in run.model.parameters())
        seen.append(run.history[0]["train_loss"])
    assert seen[0] != seen[1]
    assert seen[0] == pytest.approx(seen[1], rel=0.3)  # three steps on noise; bfloat16 has three digits


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_is_the_plain_mean_whatever_the_batch_size():
    images = tiny_set("test", n=31)
    model = models.small_attention_net(3)
    model.eval()
    with torch.no_grad():
        logits = model(images.float_images())
    accuracy = (logits.argmax(1) == images.labels).double().mean().item()
    loss = F.cross_entropy(logits, images.labels).item()
    model.train()
    model.trunk.pools[0].eval()
    for size in (7, 31, 500):
        scores = evaluate(model, images, batch_size=size, device="cpu")
        assert scores == {"accuracy": pytest.approx(accuracy), "loss": pytest.approx(loss, rel=1e-5), "n": 31}
    assert [module.training for module in (model, model.estimators[0], model.trunk.pools[0])] == [True, True, False]


def test_evaluation_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="model has 4 classes, tiny has 3"):
        evaluate(models.small_attention_net(4), tiny_set())


def test_evaluation_and_training_refuse_two_labels_a_picture():
    from lpa_core.data.digits import digits_in_clutter

    two = digits_in_clutter(4, digits=2)
    with pytest.raises(ValueError, match="2 labels a picture"):
        evaluate(models.small_attention_net(10), two)
    with pytest.raises(ValueError, match="2 labels a picture"):
        check_sets(Sets(two, two, two), tiny_config())


# --- data and devices -------------------------------------------------------------------------------------------------


def test_a_tenth_is_held_out_unless_everything_is_asked_for():
    config = tiny_config(data="digits", limit=20)
    train, validation, test = load_sets(config)
    assert [len(part) for part in (train, validation, test)] == [20, 20, 20]
    assert [part.split for part in (train, validation, test)] == ["train", "validation", "test"]
    whole = load_sets(tiny_config(data="digits", limit=20, all=True))
    assert (whole.train.split, whole.validation, whole.test.split) == ("all", None, "test")


def test_sets_that_do_not_belong_together_are_refused():
    train, validation, test = tiny_sets()
    check_sets(Sets(train, validation, test), tiny_config())
    check_sets(Sets(train, None, test), tiny_config(all=True))
    with pytest.raises(ValueError, match="validation must be a set, unless all=True"):
        check_sets(Sets(train, None, test), tiny_config())
    with pytest.raises(ValueError, match="validation must be None"):
        check_sets(Sets(train, validation, test), tiny_config(all=True))
    with pytest.raises(ValueError, match=r"the test set has 3 and \(3, 20, 20\)"):
        check_sets(Sets(train, validation, tiny_set("test", size=20)), tiny_config())


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match="device"):
        pick_device(device)


def test_the_device_is_a_gpu_if_there_is_one():
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


def test_a_limit_takes_at_most_so_many_of_each_split_in_proportion(tmp_path):
    chance = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(20):
            picture = Image.fromarray(chance.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            picture.save(tmp_path / name / f"{i}.png")
    sets = load_sets(tiny_config(data=f"folder:{tmp_path}", limit=10))
    assert [len(part) for part in sets] == [10, 3, 8]
    assert sets.train.labels.tolist().count(0) == 5
