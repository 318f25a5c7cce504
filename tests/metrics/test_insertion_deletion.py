"""faithfulness: insertion and deletion on a linear network, where every score is known."""

import pytest
import torch
from torch import Tensor, nn

from lpa_core.metrics.baselines import blur
from lpa_core.metrics.insertion_deletion import CurveRow, compare_curves, curve, pixel_ranks, with_baselines
from lpa_core.metrics.localisation import enlarge

N, SIZE, CLASSES = 4, 5, 3


def pictures() -> Tensor:
    return torch.randn(N, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(2 * SIZE * SIZE, CLASSES)).double()


def contributions(model: nn.Sequential, images: Tensor, target: int) -> Tensor:
    """What each position adds to the logit, exactly."""
    return (images * model[1].weight[target].detach().view(2, SIZE, SIZE)).sum(1)


# The curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["insertion", "deletion"])
def test_curves_of_a_linear_network_are_sums_of_contributions(kind):
    model, images = linear(), pictures()
    owed = contributions(model, images, 1)
    result = curve(model, images, owed, 1, kind=kind, baseline=0.0, steps=4, probability=False)
    # True shares of 25 pixels, though 4 does not divide them.
    assert result.fractions.tolist() == [0, 6 / 25, 12 / 25, 19 / 25, 1]
    ordered = owed.flatten(1).sort(dim=1, descending=True).values
    taken = torch.stack([ordered[:, :k].sum(1) for k in (0, 6, 12, 19, 25)], dim=1)
    bias = model[1].bias[1].detach()
    expected = bias + (taken if kind == "insertion" else taken[:, -1:] - taken)
    torch.testing.assert_close(result.scores, expected, rtol=0, atol=1e-12)
    widths = torch.tensor([6, 6, 7, 6]).double() / 25
    area = ((expected[:, 1:] + expected[:, :-1]) / 2 * widths).sum(1)
    torch.testing.assert_close(result.area, area, rtol=0, atol=1e-12)


def test_the_true_contributions_are_the_best_order_and_their_negative_the_worst():
    model, images = linear(), pictures()
    owed = contributions(model, images, 1)
    options = {"baseline": 0.0, "steps": 25, "probability": False}
    noise = torch.rand(N, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    for kind, sign in (("insertion", 1), ("deletion", -1)):
        best, chance, worst = (curve(model, images, m, 1, kind=kind, **options).area for m in (owed, noise, -owed))
        assert (sign * best > sign * chance).all()
        assert (sign * chance > sign * worst).all()


def test_probability_targets_and_batches():
    model, images = linear(), pictures()
    maps = contributions(model, images, 1)
    predicted = model(images).argmax(dim=1)
    default = curve(model, images, maps, kind="deletion")
    given = curve(model, images, maps, predicted, kind="deletion", probability=True, steps=20, baseline="blur")
    assert torch.equal(default.scores, given.scores)
    torch.testing.assert_close(default.scores[:, 0], model(images).softmax(1).amax(1).detach())
    for batch_size in (1, 3):
        parts = curve(model, images, maps, kind="deletion", batch_size=batch_size)
        torch.testing.assert_close(parts.scores, default.scores, rtol=0, atol=1e-12)


@pytest.mark.parametrize("baseline", ["blur", "mean", 0.5, torch.ones(2, 5, 5), torch.tensor([[[1.0]], [[2.0]]])])
def test_the_ends_are_the_picture_and_the_baseline(baseline):
    model, images = linear(), pictures()
    if baseline == "blur" if isinstance(baseline, str) else False:
        replaced = blur(images, sigma=0.5)
    elif isinstance(baseline, str):
        replaced = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    else:
        replaced = torch.as_tensor(baseline).double().expand_as(images)
    whole, none = (model(x)[:, 2].detach() for x in (images, replaced))
    maps = torch.rand(N, 1, 1)
    for kind, ends in (("deletion", (whole, none)), ("insertion", (none, whole))):
        scores = curve(model, images, maps, 2, kind=kind, baseline=baseline, probability=False).scores
        torch.testing.assert_close(scores[:, 0], ends[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(scores[:, -1], ends[1], rtol=0, atol=1e-12)


def test_blur_is_a_normalised_gaussian():
    dot = torch.zeros(1, 1, 21, 21).double()
    dot[0, 0, 10, 10] = 1
    spread = blur(dot, sigma=1.5)[0, 0]
    assert spread.sum() == pytest.approx(1)
    assert (spread[10, 12] / spread[10, 10]).item() == pytest.approx(torch.tensor(-2 / 1.5**2).exp().item(), rel=1e-6)
    assert torch.equal(spread, spread.T)
    flat = torch.full((2, 3, 7, 9), 0.7).double()
    torch.testing.assert_close(blur(flat, sigma=2.0), flat)  # no dark frame
    with pytest.raises(ValueError, match="sigma must be at least 0; got -1"):
        blur(dot, sigma=-1.0)


# The order ------------------------------------------------------------------------------------------------------------


def test_ranks_follow_the_map_and_break_ties_by_lot():
    images = torch.zeros(200, 1, 2, 2)
    maps = torch.tensor([[3.0, 1.0], [1.0, -2.0]]).expand(200, 2, 2)
    ranks = pixel_ranks(maps, images, seed=0)
    assert (ranks[:, 0, 0] == 0).all()
    assert (ranks[:, 1, 1] == 3).all()
    first = (ranks[:, 0, 1] == 1).double().mean()
    assert 0.3 < first < 0.7
    assert torch.equal(ranks, pixel_ranks(maps, images, seed=0))
    assert not torch.equal(ranks, pixel_ranks(maps, images, seed=1))


def test_a_constant_map_has_no_order_even_where_enlarging_rounds():
    images = torch.zeros(3, 1, 40, 40)
    uniform = torch.full((3, 7, 7), 1 / 49)
    assert enlarge(uniform, (40, 40)).unique().numel() > 1  # rounding does make differences
    assert torch.equal(pixel_ranks(uniform, images, seed=5), pixel_ranks(torch.zeros(3, 1, 1), images, seed=5))


def test_every_pixel_has_one_place():
    ranks = pixel_ranks(torch.rand(2, 3, 3), torch.zeros(2, 1, 9, 9), seed=0)
    assert torch.equal(ranks.flatten(1).sort(dim=1).values, torch.arange(81).expand(2, 81))


# The table ------------------------------------------------------------------------------------------------------------


def test_the_table_has_the_baselines_and_intervals():
    model, images = linear(), pictures()
    owed = contributions(model, images, 1)
    rows = compare_curves(model, images, {"owed": owed}, 1, baseline=0.0, steps=5, probability=False)
    assert [(row.name, row.baseline) for row in rows] == [
        ("owed", False),
        ("random map", True),
        ("centre prior", True),
    ]
    assert all(isinstance(row, CurveRow) for row in rows)
    options = {"baseline": 0.0, "steps": 5, "probability": False}
    assert rows[0].insertion.mean == pytest.approx(
        curve(model, images, owed, 1, kind="insertion", **options).area.mean().item()
    )
    assert rows[0].deletion.mean == pytest.approx(
        curve(model, images, owed, 1, kind="deletion", **options).area.mean().item()
    )
    assert rows[0].insertion.mean > rows[1].insertion.mean
    assert rows[0].deletion.mean < rows[1].deletion.mean
    assert rows[0].insertion.low < rows[0].insertion.mean < rows[0].insertion.high
    clustered = compare_curves(model, images, {"owed": owed}, 1, clusters=torch.tensor([0, 0, 1, 1]), **options)
    assert clustered[0].insertion.clusters == 2


def test_baselines_are_as_coarse_as_the_maps():
    named = {"a": torch.rand(N, 3, 3), "b": torch.rand(N, 2, 2)}
    made = with_baselines(named, pictures(), seed=0)
    assert made["random map"][0].shape == (N, 2, 2)
    assert made["centre prior"][0].shape == (N, SIZE, SIZE)
    with pytest.raises(ValueError, match="names of the baselines; got random map"):
        with_baselines({"random map": torch.rand(N, 2, 2)}, pictures(), seed=0)
    with pytest.raises(ValueError, match="at least one map"):
        with_baselines({}, pictures(), seed=0)


# What is refused, and what is left alone ------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "removal"}, "kind must be one of 'insertion', 'deletion'; got 'removal'"),
        ({"baseline": "grey"}, "baseline must be one of 'blur', 'mean'; got 'grey'"),
        ({"maps": torch.rand(N - 1, 5, 5)}, r"one map for each of 4 images; got \(3, 5, 5\)"),
        ({"maps": torch.rand(N, 6, 5)}, "size must be at least the maps'"),
        ({"maps": torch.full((N, 5, 5), torch.nan)}, "maps must be finite"),
        ({"images": torch.full((N, 2, 5, 5), torch.nan).double()}, "images must be finite"),
        ({"steps": 0}, "steps must be 1 to the 25 pixels of a picture; got 0"),
        ({"steps": 26}, "got 26"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"targets": 3}, "below the model's 3 classes; got 3"),
        ({"baseline": torch.ones(3, 5, 5)}, r"one picture \(2, 5, 5\); got \(3, 5, 5\)"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"model": linear(), "images": pictures(), "maps": torch.rand(N, 5, 5), "kind": "deletion", **change}
    with pytest.raises(ValueError, match=message):
        curve(**arguments)


def test_model_pictures_and_random_state_are_left_alone():
    model, images = linear(), pictures().requires_grad_()
    state, before, values = torch.get_rng_state(), [m.training for m in model.modules()], images.detach().clone()
    result = curve(model, images, torch.rand(N, 5, 5, generator=torch.Generator()), kind="insertion")
    compare_curves(model, images, {"a": torch.zeros(N, 2, 2)})
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.modules()] == before == [True] * 3
    assert torch.equal(images, values)
    assert images.grad is None
    assert not result.scores.requires_grad
