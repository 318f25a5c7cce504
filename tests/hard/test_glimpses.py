"""The recurrent attention model: what the sensor sees, and what each network may learn from."""

import pytest
import torch
from torch import Tensor

from lpa_core import hard
from lpa_core.hard import glimpses


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 28, 24, generator=chance(1))


def model(**options: object) -> glimpses.RecurrentAttention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return glimpses.RecurrentAttention(5, **{"glimpses": 3, "size": 6, "scales": 2, "hidden": 16, **options})


# The sensor -----------------------------------------------------------------------------------------------------------


def test_the_finest_patch_is_cut_around_the_place():
    images, centre = pictures(), torch.zeros(4, 2)
    fine = glimpses.GlimpseSensor(6, 2)(images, centre)[:, :3]
    assert torch.equal(fine, images[:, :, 11:17, 9:15])  # the middle of 28 x 24
    assert glimpses.patch_boxes(centre, (28, 24), 6)[0].tolist() == [11, 9, 17, 15]


def test_places_are_rows_then_columns_from_edge_to_edge():
    boxes = glimpses.patch_boxes(torch.tensor([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]]), (20, 16), 4)
    assert boxes.tolist() == [[-2, -2, 2, 2], [18, 6, 22, 10], [8, 14, 12, 18]]


def test_coarser_patches_cover_twice_as_much_and_are_averaged():
    images = pictures()
    coarse = glimpses.GlimpseSensor(6, 2)(images, torch.zeros(4, 2))[:, 3:]
    around = images[:, :, 8:20, 6:18]
    assert torch.allclose(coarse, around.unflatten(2, (6, 2)).unflatten(4, (6, 2)).mean(dim=(3, 5)), atol=1e-6)


def test_beyond_the_picture_there_is_nothing():
    corner = glimpses.GlimpseSensor(6, 3)(pictures() + 10, torch.tensor([[-1.0, -1.0]] * 4))
    assert corner.shape == (4, 9, 6, 6)
    assert torch.equal(corner[:, :3, :3], torch.zeros(4, 3, 3, 6))
    assert (corner[:, :3, 3:, 3:] > 1).all()


@pytest.mark.parametrize("place", [-1.0, 0.37, 1.0])
def test_every_scale_fits_at_every_place(place):
    assert glimpses.GlimpseSensor(6, 4)(pictures(), torch.full((4, 2), place)).shape == (4, 12, 6, 6)


# The model ------------------------------------------------------------------------------------------------------------


def test_what_attend_says():
    out = model().attend(pictures(), generator=chance())
    assert out.logits.shape == (4, 5)
    assert out.places.shape == (4, 3, 2)
    assert out.answers.shape == (4, 3, 5)
    assert torch.equal(out.answers[:, -1], out.logits)
    assert out.boxes.shape == (4, 3, 4)
    assert out.log_prob.shape == out.entropy.shape == out.baseline.shape == (4, 3)
    assert out.boxes[:, 1].tolist() == glimpses.patch_boxes(out.places[:, 1], (28, 24), 6).tolist()


def test_equal_seeds_give_equal_glimpses_and_the_global_state_stays(unchecked, chance_untouched):
    net = model().eval()
    with chance_untouched():
        one, two, three = (net.attend(pictures(), generator=chance(s)) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.places, three.places)
    assert torch.equal(net(pictures()), net.attend(pictures()).logits)


def test_places_are_the_middles_of_windows():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = glimpses.LocationNetwork(8, shrink=2, reach=3).eval()
    memory = torch.randn(4, 8, generator=chance())
    keys = network.view(pictures())
    assert keys.shape == (4, 9, 12, 10)  # 14 x 12 cells, windows of 3 x 3
    place, choice = network(keys, memory, (28, 24), chance(3))
    log_pi = (
        (2 * hard.window_saliency(pictures(), (6, 6), stride=2)).flatten(1).log_softmax(1)
    )  # untrained: by saliency
    index = choice.corners[:, 0] // 2 * 10 + choice.corners[:, 1] // 2
    assert torch.allclose(choice.log_prob, log_pi[torch.arange(4), index], atol=1e-5)
    assert torch.allclose((place + 1) / 2 * torch.tensor([28, 24]), choice.corners + 3.0)


def test_the_memory_asks_for_the_next_place():
    """s_k = <u + W h, key_k>: another memory, another most probable place."""
    network = glimpses.LocationNetwork(2, reach=3, saliency=0.0)
    keys = torch.zeros(2, 9, 4, 4)
    keys[:, 0, 1, 2], keys[:, 1, 3, 0] = 1, 1
    with torch.no_grad():
        network.query.weight[0, 0] = network.query.weight[1, 1] = 5
    _, choice = network(keys, torch.eye(2), (28, 24))
    assert choice.corners.tolist() == [[2, 4], [6, 0]]


def test_the_places_are_detached_from_the_answer():
    """A place moves no logit by a derivative: the location network learns from log p alone."""
    net = model()
    out = net.attend(pictures(), generator=chance())
    assert not out.places.requires_grad
    out.logits.logsumexp(dim=1).sum().backward()
    assert all(p.grad is None for p in net.location_network.parameters())
    assert net.glimpse_network.where[0].weight.grad.norm() > 0
    out = net.attend(pictures(), generator=chance())
    reward = torch.rand(4, generator=chance())[:, None].expand_as(out.log_prob)
    hard.reinforce_loss(out.log_prob.flatten(), reward.flatten()).backward()
    assert net.location_network.query.bias.grad.norm() > 0


def test_the_baseline_does_not_shape_the_memory():
    net = model()
    net.attend(pictures(), generator=chance()).baseline.sum().backward()
    assert net.baseline_network.weight.grad.norm() > 0
    assert all(p.grad is None for p in net.core_network.parameters())


def test_later_glimpses_change_the_answer():
    net = model().eval()
    with torch.no_grad():
        first = net.attend(pictures(), generator=chance(1))
        second = net.attend(pictures(), generator=chance(2))
    assert not torch.allclose(first.logits, second.logits, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"glimpses": 0}, "glimpses must be a whole number of at least 1; got 0"),
        ({"glimpses": -2}, "glimpses must be"),
        ({"scales": 0}, "scales"),
        ({"size": 5}, "size must be an even number"),
        ({"size": 0}, "size"),
        ({"hidden": 0}, "hidden"),
        ({"shrink": 0}, "shrink"),
    ],
)
def test_model_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)


def test_a_picture_smaller_than_a_window_of_the_view_is_refused():
    with pytest.raises(ValueError, match=r"window of \(18, 18\) is larger than the picture, \(28, 16\)"):
        model()(pictures()[..., :16])


def test_other_channels_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"images must be \(b, 3, h, w\)"):
        model()(pictures()[:, :2])
