"""interventions: changed attention computes what it says, harms where it must, and is gone afterwards."""

import pytest
import torch
from torch import Tensor, nn

from lpa_core.attention import AttentionEstimator
from lpa_core.metrics.interventions import compare_interventions as interventions
from lpa_core.metrics.interventions import intervened
from lpa_core.models.builders import small_attention_net
from lpa_core.models.classifier import AttentionClassifier
from lpa_core.models.trunk import Features, Trunk

CHANGES = ["permute", "uniform", "zero vector", "mean vector"]


def pictures(n: int = 5, size: int = 16) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def net(**options: object) -> AttentionClassifier:
    torch.manual_seed(0)
    return small_attention_net(4, **options).eval()


@pytest.mark.parametrize("match", ["global", "local"])
@pytest.mark.parametrize(
    ("compatibility", "normalise"), [("pc", "softmax"), ("dp", "softmax"), ("additive", "sigmoid"), ("pc", "sigmoid")]
)
def test_the_unchanged_weights_give_the_estimators_own_vector(compatibility, normalise, match):
    torch.manual_seed(0)
    estimator = AttentionEstimator(6, 8, compatibility=compatibility, normalise=normalise, match=match).eval()
    local, g = torch.randn(3, 6, 4, 5), torch.randn(3, 8)
    attended = estimator(local, g)
    torch.testing.assert_close(estimator.vector(local, attended.weights), attended.vector)


def test_uniform_weights_are_those_of_the_uniform_network():
    model, images = net(), pictures()
    control = net(compatibility="uniform")
    missing = control.load_state_dict(model.state_dict(), strict=False)
    assert not missing.missing_keys
    with torch.no_grad(), intervened(model, "uniform") as changed:
        output = changed.attend(images)
        torch.testing.assert_close(output.logits, control(images))
        for attended in output.attended:
            n = attended.weights[0].numel()
            torch.testing.assert_close(attended.weights, torch.full_like(attended.weights, 1 / n))


def test_permuted_weights_are_the_same_numbers_elsewhere():
    model, images = net(), pictures()
    intact = model.attend(images)
    with torch.no_grad(), intervened(model, "permute", seed=3) as changed:
        output = changed.attend(images)
    places = []
    for before, after in zip(intact.attended, output.attended, strict=True):
        old, new = before.weights.flatten(1), after.weights.flatten(1)
        torch.testing.assert_close(new.sort(dim=1).values, old.sort(dim=1).values)
        assert not torch.equal(new, old)
        places.append(new.argmax(dim=1))
        assert torch.equal(after.scores, before.scores)
    with torch.no_grad(), intervened(model, "permute", seed=3) as changed:
        assert torch.equal(changed(images), output.logits)
    with torch.no_grad(), intervened(model, "permute", seed=4) as changed:
        assert not torch.equal(changed(images), output.logits)
    one = images[:1].expand(20, -1, -1, -1)
    with torch.no_grad(), intervened(model, "permute") as changed:
        peaks = changed.attend(one).attended[0].weights.flatten(1).argmax(dim=1)
    assert len(peaks.unique()) > 5  # every picture is dealt anew


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("level", [0, 1, 2, -1, None])
def test_only_the_level_asked_for_is_changed(change, level):
    model, images = net(), pictures()
    intact = model.attend(images)
    vectors = tuple(a.vector.mean(0).detach() for a in intact.attended) if change == "mean vector" else None
    with torch.no_grad(), intervened(model, change, level=level, vectors=vectors) as changed:
        output = changed.attend(images)
    for s, (before, after) in enumerate(zip(intact.attended, output.attended, strict=True)):
        touched = level is None or s == level % 3
        assert torch.equal(before.vector, after.vector) != touched
        if touched and change == "zero vector":
            assert after.vector.abs().max() == 0
        if touched and vectors is not None:
            assert torch.equal(after.vector, vectors[s].expand_as(after.vector))


@pytest.mark.parametrize("change", CHANGES)
def test_the_model_is_as_before_also_after_a_failure(change):
    model, images = net().train(), pictures()
    vectors = tuple(torch.zeros(e.out_channels) for e in model.estimators) if change == "mean vector" else None
    state = torch.get_rng_state()
    intact = model.eval()(images)
    model.train()

    def fail() -> None:
        with intervened(model, change, vectors=vectors) as changed:
            assert not changed.training
            assert not torch.equal(changed(images), intact)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all(m.training for m in model.modules())
    assert not any(len(m._forward_hooks) for m in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.eval()(images), intact)


# Where the answer is known --------------------------------------------------------------------------------------------


class Pixels(Trunk):
    """Local features are the picture's own pixels; g is idle."""

    in_channels, local_channels, global_channels, has_global = 3, (3,), 3, True

    def forward(self, images):
        return Features((images,), images.mean((2, 3)))


def marked(n: int = 40) -> tuple[Tensor, Tensor, AttentionClassifier]:
    """One pixel is marked in channel 0 and shows the class in channel 1 or 2; all others show the other class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (n,), generator=generator)
    images = torch.zeros(n, 3, 16)
    images.scatter_(1, (2 - labels)[:, None, None].expand(n, 1, 16), 1.0)
    where = torch.randint(16, (n,), generator=generator)
    rows = torch.arange(n)
    images[rows, :, where] = 0.0
    images[rows, 0, where] = 1.0
    images[rows, 1 + labels, where] = 1.0
    model = AttentionClassifier(Pixels(), 2, dropout=0.0).eval()
    with torch.no_grad():
        model.estimators[0].u.copy_(torch.tensor([50.0, 0.0, 0.0]))
        model.classifiers[0].weight.copy_(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
        model.classifiers[0].bias.zero_()
    return images.view(n, 3, 4, 4), labels, model


def test_a_network_that_needs_its_map_fails_without_it():
    images, labels, model = marked()
    rows = {(row.change, row.level): row for row in interventions(model, images, labels)}
    assert list(rows) == [("none", None)] + [(change, 0) for change in CHANGES]
    assert rows["none", None].accuracy.mean == 1
    assert rows["none", None].fall.mean == rows["none", None].changed.mean == 0
    assert rows["uniform", 0].accuracy.mean == 0
    assert rows["uniform", 0].fall.mean == rows["uniform", 0].changed.mean == 1
    assert rows["permute", 0].accuracy.mean < 0.3  # one position in 16 is right
    share = (labels == 0).double().mean().item()
    assert rows["zero vector", 0].accuracy.mean == pytest.approx(share)  # two equal logits: class 0
    assert rows["mean vector", 0].accuracy.mean == pytest.approx(max(share, 1 - share))


def test_the_table_holds_every_change_level_and_cluster_and_does_not_depend_on_batches():
    model, images = net(), pictures(7)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    rows = interventions(model, images, labels, clusters=torch.tensor([0, 0, 1, 1, 2, 2, 2]))
    assert len(rows) == 1 + 4 * 4
    assert {row.level for row in rows if row.change == "permute"} == {0, 1, 2, None}
    assert rows[0].accuracy.mean == pytest.approx((model(images).argmax(1) == labels).double().mean().item())
    assert rows[0].accuracy.clusters == 3
    assert interventions(model, images, labels, batch_size=2) == interventions(model, images, labels)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"change": "shuffle"}, "change must be one of 'permute', 'uniform'.*; got 'shuffle'"),
        ({"level": 3}, r"level must be one of the model's 3, from 0 \(shallow\) or -1; got 3"),
        ({"level": -4}, "got -4"),
        ({"change": "mean vector"}, "vectors must be given for 'mean vector'"),
        ({"vectors": (torch.zeros(3),)}, "and nothing else; got change='permute'"),
        ({"change": "mean vector", "vectors": (torch.zeros(3),)}, "each of the 3 levels; got 1"),
        ({"model": nn.Linear(1, 1)}, "Linear has no AttentionEstimator"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message), intervened(**{"model": net(), "change": "permute", **arguments}):
        pass


def test_labels_must_fit():
    with pytest.raises(ValueError, match="below the model's 4 classes; got 4"):
        interventions(net(), pictures(2), torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="has no AttentionEstimator"):
        interventions(nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 4)), pictures(2), torch.tensor([0, 1]))
