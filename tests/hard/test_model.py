"""Windows, the choice of one, and REINFORCE against the gradient found by enumeration."""

import math

import pytest
import torch
from torch import Tensor, nn

from lpa_core import hard

B, C, H, W = 3, 2, 11, 9
SIZE = (4, 3)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(B, C, H, W, generator=chance(), dtype=dtype)


# Windows --------------------------------------------------------------------------------------------------------------


def test_crop_is_the_slice_of_each_picture():
    images, corners = pictures(), torch.tensor([[0, 0], [7, 6], [2, 5]])
    windows = hard.crop(images, corners, SIZE)
    for i, (top, left) in enumerate(corners.tolist()):
        assert torch.equal(windows[i], images[i, :, top : top + 4, left : left + 3])


def test_crop_of_the_whole_picture_is_the_picture():
    images = pictures()
    assert torch.equal(hard.crop(images, torch.zeros(B, 2, dtype=torch.long), (H, W)), images)


def test_crop_passes_the_gradient_to_the_pixels_in_the_window_alone():
    images = pictures().requires_grad_()
    hard.crop(images, torch.tensor([[1, 2]] * B), SIZE).sum().backward()
    expected = torch.zeros(B, C, H, W)
    expected[:, :, 1:5, 2:5] = 1
    assert torch.equal(images.grad, expected)


def test_the_derivative_of_a_crop_by_its_position_is_exactly_zero():
    """A picture, an answer and a place that is rounded to a pixel: nothing reaches the place."""
    place = torch.tensor([[3.3, 2.6]], requires_grad=True)
    step = place.floor()  # the choice of a pixel is a step function
    window = hard.crop(pictures()[:1], step.long(), SIZE)
    assert not window.requires_grad  # not even connected
    (grad,) = torch.autograd.grad(step.sum() + place.sum() * 0, place)
    assert torch.equal(grad, torch.zeros(1, 2))
    h = 1e-3  # and by finite differences
    for moved in (place + torch.tensor([[h, 0.0]]), place + torch.tensor([[0.0, h]])):
        assert torch.equal(hard.crop(pictures()[:1], moved.floor().long(), SIZE), window)


@pytest.mark.parametrize(
    ("corners", "size", "message"),
    [
        ([[0, 0]] * B, (12, 3), r"larger than the picture, \(11, 9\)"),
        ([[0, 0]] * B, (4, 10), "larger than the picture"),
        ([[0, 0]] * B, (0, 3), "size must be a whole number"),
        ([[8, 0]] * B, SIZE, r"corners must be from \(0, 0\) to \(7, 6\)"),
        ([[0, -1]] * B, SIZE, "corners must be from"),
        ([[0, 0]] * 2, SIZE, r"corners must be \(3, 2\)"),
    ],
)
def test_crop_refuses(unchecked, corners, size, message):
    with pytest.raises(ValueError, match=message):
        hard.crop(pictures(), torch.tensor(corners), size)


def test_grid_counts_the_windows_that_fit():
    assert hard.grid((40, 40), (18, 12), 2) == (12, 15)
    assert hard.grid((40, 40), (40, 40), 3) == (1, 1)
    assert hard.grid((10, 10), (3, 3), 4) == (2, 2)
    with pytest.raises(ValueError, match="larger than the picture"):
        hard.grid((10, 10), (11, 3), 1)
    with pytest.raises(ValueError, match="stride"):
        hard.grid((10, 10), (3, 3), 0)


def test_box_iou_by_hand(unchecked):
    boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 4, 4]])
    others = torch.tensor([[0, 0, 2, 2], [2, 2, 4, 4], [2, 0, 6, 2]])
    assert torch.allclose(hard.box_iou(boxes, others), torch.tensor([1.0, 0.0, 4 / 20]))
    with pytest.raises(ValueError, match="some area"):
        hard.box_iou(boxes, torch.zeros(3, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="of one shape"):
        hard.box_iou(boxes, others[:2])


def test_window_boxes_are_half_open():
    assert hard.window_boxes(torch.tensor([[3, 5]]), (4, 2)).tolist() == [[3, 5, 7, 7]]


def test_heaviest_window_holds_most():
    maps = torch.zeros(2, H, W)
    maps[0, 5:9, 6:9], maps[1, 0, 0] = 1, 1
    assert hard.heaviest_window(maps, SIZE).tolist() == [[5, 6], [0, 0]]
    assert hard.heaviest_window(maps, SIZE, stride=3).tolist()[0] == [6, 6]


# The choice -----------------------------------------------------------------------------------------------------------


def test_without_a_generator_the_most_probable_window_is_taken():
    scores = torch.zeros(2, 3, 5)
    scores[0, 2, 1], scores[1, 0, 4] = 2, 3
    choice = hard.choose(scores, stride=4)
    assert choice.corners.tolist() == [[8, 4], [0, 16]]
    assert choice.log_prob[0].item() == pytest.approx(2 - math.log(14 + math.exp(2)), abs=1e-5)


def test_windows_are_drawn_as_often_as_the_softmax_says():
    scores = torch.tensor([[[0.0, 1.0], [2.0, -1.0]]]).expand(20_000, 2, 2)
    choice = hard.choose(scores, generator=chance())
    index = choice.corners[:, 0] * 2 + choice.corners[:, 1]
    often = torch.bincount(index, minlength=4) / len(index)
    pi = scores[0].flatten().softmax(0)
    assert ((often - pi).abs() < 4 * (pi * (1 - pi) / len(index)).sqrt()).all()
    assert torch.allclose(choice.log_prob, pi.log()[index], atol=1e-6)


def test_the_entropy_is_that_of_the_softmax():
    even = hard.choose(torch.zeros(1, 4, 5)).entropy
    assert even.item() == pytest.approx(math.log(20), abs=1e-5)
    sure = torch.zeros(1, 4, 5)
    sure[0, 0, 0] = 50
    assert hard.choose(sure).entropy.item() == pytest.approx(0, abs=1e-5)


def test_equal_seeds_draw_equal_windows_and_the_global_state_stays():
    scores, before = torch.zeros(50, 6, 6), torch.get_rng_state()
    one, two, three = (hard.choose(scores, generator=chance(s)).corners for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert torch.equal(torch.get_rng_state(), before)


def test_scores_with_nan_are_refused():
    with pytest.raises(ValueError, match="scores must be finite"):
        hard.choose(torch.full((1, 2, 2), math.nan))


# REINFORCE ------------------------------------------------------------------------------------------------------------

SCORES = torch.tensor([0.3, -0.5, 1.2, 0.1, -1.0, 0.6], dtype=torch.float64)
REWARDS = torch.tensor([1.0, 4.0, 2.5, -1.0, 0.0, 3.0], dtype=torch.float64)  # of each of the six windows
SAMPLES = 40_000


def exact_gradient() -> Tensor:
    """The gradient of E[R] = sum_k pi_k R_k by enumeration of the windows."""
    scores = SCORES.clone().requires_grad_()
    (scores.softmax(0) * REWARDS).sum().backward()
    return scores.grad


def estimates(baseline: object, n: int = SAMPLES) -> Tensor:
    """One REINFORCE estimate of that gradient a row, from one drawn window each."""
    scores = SCORES.view(1, 2, 3).expand(n, 2, 3).clone().requires_grad_()
    choice = hard.choose(scores, generator=chance(5))
    reward = REWARDS[choice.corners[:, 0] * 3 + choice.corners[:, 1]]
    (-n * hard.reinforce_loss(choice.log_prob, reward, baseline=baseline)).backward()  # the loss is minus the mean
    return scores.grad.flatten(1)


def best_constant() -> Tensor:
    return torch.full((SAMPLES,), float((SCORES.softmax(0) * REWARDS).sum()), dtype=torch.float64)


@pytest.mark.parametrize("baseline", ["none", "mean", best_constant(), torch.full((SAMPLES,), 7.0).double()])
def test_the_mean_estimate_is_the_gradient_of_the_expected_reward(baseline):
    found = estimates(baseline)
    error = found.std(dim=0) / math.sqrt(SAMPLES)
    assert ((found.mean(dim=0) - exact_gradient()).abs() < 4 * error).all()


def test_a_baseline_lowers_the_variance():
    plain, mean, learned = (estimates(b).var(dim=0).sum() for b in ("none", "mean", best_constant()))
    assert mean < 0.7 * plain
    assert learned < 0.7 * plain


def test_the_batch_mean_leaves_the_sample_itself_out():
    log_prob = torch.zeros(3, requires_grad=True)
    hard.reinforce_loss(log_prob, torch.tensor([1.0, 2.0, 6.0]), baseline="mean").backward()
    advantage = torch.tensor([1 - 4.0, 2 - 3.5, 6 - 1.5])
    assert torch.allclose(log_prob.grad, -advantage / 3)


def test_neither_the_reward_nor_the_baseline_gets_a_gradient():
    log_prob, reward, expected = (torch.rand(4, generator=chance(i)).requires_grad_() for i in range(3))
    hard.reinforce_loss(log_prob, reward, baseline=expected).backward()
    assert log_prob.grad is not None
    assert reward.grad is None
    assert expected.grad is None


def test_the_entropy_bonus_makes_a_policy_less_sure():
    scores = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    choice = hard.choose(scores, generator=chance())
    hard.reinforce_loss(choice.log_prob, torch.zeros(1), entropy=choice.entropy, entropy_weight=1.0).backward()
    assert scores.grad[0, 0, 0] > 0  # a step down the gradient lowers the highest score
    assert hard.choose((scores - scores.grad).detach()).entropy > choice.entropy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reward": torch.tensor([1.0, math.nan])}, "reward must be finite"),
        ({"reward": torch.tensor([1.0, math.inf])}, "reward must be finite"),
        ({"baseline": torch.tensor([1.0, math.nan])}, "baseline must be finite"),
        ({"baseline": torch.zeros(3)}, r"baseline must be \(2,\)"),
        ({"reward": torch.zeros(3)}, r"reward must be \(2,\)"),
        ({"entropy_weight": 0.1}, "needs entropy"),
        ({"entropy_weight": -1.0}, "entropy_weight must be at least 0"),
    ],
)
def test_reinforce_refuses(unchecked, changes, message):
    with pytest.raises(ValueError, match=message):
        hard.reinforce_loss(torch.zeros(2), **{"reward": torch.zeros(2), **changes})


def test_the_batch_mean_needs_two():
    with pytest.raises(ValueError, match="needs 2 at least"):
        hard.reinforce_loss(torch.zeros(1), torch.zeros(1), baseline="mean")


def test_an_unknown_baseline_is_refused(unchecked):
    with pytest.raises(ValueError, match="'none', 'mean' or a tensor"):
        hard.reinforce_loss(torch.zeros(2), torch.zeros(2), baseline="median")


# The model ------------------------------------------------------------------------------------------------------------


def model(**options: object) -> hard.HardAttention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return hard.HardAttention(4, **{"size": (8, 12), "channels": 4, **options})


def images(n: int = 5) -> Tensor:
    return torch.randn(n, 3, 24, 20, generator=chance(3))


def test_saliency_by_hand():
    """One grey square on black: the mean over a window of |x - mean(x)|, then standardised over the windows."""
    shown = torch.zeros(1, 3, 4, 6)
    shown[:, :, 0:2, 0:2] = 1
    mean = 4 / 24
    square, ground = 1 - mean, mean
    expected = torch.tensor([[square, ground, ground], [ground, ground, ground]])
    expected = (expected - expected.mean()) / expected.std(correction=0)
    assert torch.allclose(hard.saliency(shown, (2, 2), stride=2)[0], expected, atol=1e-4)
    assert torch.allclose(hard.saliency(1 - shown, (2, 2), stride=2)[0], expected, atol=1e-4)  # darker or brighter
    assert torch.equal(hard.saliency(torch.full((2, 3, 9, 9), 0.5), (4, 4), stride=2), torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="larger than the picture"):
        hard.saliency(shown, (6, 2))


@pytest.mark.parametrize(
    ("shape", "size", "stride"), [((24, 20), (8, 12), 2), ((11, 9), (4, 3), 1), ((17, 19), (9, 6), 3)]
)
def test_saliency_has_a_number_for_every_window(shape, size, stride):
    found = hard.saliency(torch.rand(2, 3, *shape, generator=chance()), size, stride=stride)
    assert found.shape[1:] == hard.grid(shape, size, stride)
    assert torch.allclose(found.mean(dim=(1, 2)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(found.std(dim=(1, 2), correction=0), torch.ones(2), atol=1e-3)


def test_an_untrained_policy_goes_by_saliency_alone():
    scores = model().eval().policy(images())
    assert scores.shape == (5, 9, 5)  # (24 - 8) / 2 + 1, (20 - 12) / 2 + 1
    assert torch.equal(scores, 2 * hard.saliency(images(), (8, 12), stride=2))
    assert torch.equal(model(saliency=0.0).eval().policy(images()), torch.zeros(5, 9, 5))


def test_a_window_is_scored_by_what_lies_in_and_near_it():
    policy = model(saliency=0.0).eval().policy
    nn.init.normal_(policy.score.weight, generator=chance())
    tall = torch.randn(2, 3, 80, 20, generator=chance(3))
    before = policy(tall)
    changed = tall.clone()
    changed[:, :, 78:, 18:] += 5  # the last corner; the convolutions carry it less than 10 cells, 20 pixels, further
    same = (policy(changed) - before).abs().amax(dim=0) < 1e-6
    assert not same[-1, -1]
    assert same[:26].all()  # windows that end at row 58 or above are out of reach
    assert not same.all()


def test_logits_are_those_of_the_window_that_is_reported():
    net = model().eval()
    nn.init.normal_(net.policy.score.weight, generator=chance())
    for generator in (None, chance(7)):
        out = net.attend(images(), generator=generator)
        for i, (top, left, bottom, right) in enumerate(out.boxes.tolist()):
            alone = net.classifier(images()[i : i + 1, :, top:bottom, left:right])
            assert torch.allclose(out.logits[i], alone[0], atol=1e-5)
    assert torch.equal(net(images()), net.attend(images()).logits)


def test_pixels_outside_the_window_do_not_change_the_answer_to_it():
    net = model().eval()
    out = net.attend(images())
    outside = torch.ones(5, 1, 24, 20, dtype=torch.bool)
    for i, (top, left, bottom, right) in enumerate(out.boxes.tolist()):
        outside[i, :, top:bottom, left:right] = False
    blanked = images().masked_fill(outside, 0.0)
    corners = out.boxes[:, :2]
    assert torch.equal(net.classifier(hard.crop(blanked, corners, net.size)), out.logits)


def test_cross_entropy_alone_teaches_the_policy_nothing_and_reinforce_does():
    net = model()
    out = net.attend(images(), generator=chance())
    out.logits.logsumexp(dim=1).sum().backward()
    assert all(p.grad is None for p in net.policy.parameters())
    out = net.attend(images(), generator=chance())
    hard.reinforce_loss(out.log_prob, torch.arange(5.0)).backward()
    assert net.policy.score.weight.grad.norm() > 0


def test_the_learned_baseline_does_not_shape_the_features():
    net = model()
    net.attend(images()).baseline.sum().backward()
    assert net.policy.expect.weight.grad.norm() > 0
    assert all(p.grad is None for part in (net.policy.near, net.policy.far) for p in part.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (4, 12)}, r"size must be at least \(8, 8\)"),
        ({"size": (9, 12)}, "multiple of shrink=2"),
        ({"size": (8, 0)}, "size must be a whole number"),
        ({"shrink": 0}, "shrink"),
        ({"channels": 0}, "channels"),
        ({"num_classes": 0}, "num_classes"),
        ({"saliency": -1.0}, "saliency must be at least 0"),
        ({"saliency": math.nan}, "saliency must be at least 0"),
    ],
)
def test_model_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        hard.HardAttention(**options)


def test_a_window_larger_than_the_picture_is_refused():
    with pytest.raises(ValueError, match=r"window of \(8, 12\) is larger than the picture, \(24, 10\)"):
        model()(images()[..., :10])


def test_a_policy_learns_where_the_bright_square_is():
    """The whole loop on the smallest task there is: the reward is the brightness of the window."""
    gen = chance(0)
    net = model()
    optimiser = torch.optim.Adam(net.policy.parameters(), lr=0.01)

    def batch(n: int) -> tuple[Tensor, Tensor]:
        where = torch.stack([torch.randint(0, 9, (n,), generator=gen), torch.randint(0, 5, (n,), generator=gen)], 1) * 2
        shown = 0.1 * torch.randn(n, 3, 24, 20, generator=gen)
        for i, (top, left) in enumerate(where.tolist()):
            shown[i, :, top : top + 8, left : left + 12] += 1
        return shown, hard.window_boxes(where, (8, 12))

    for _ in range(120):
        shown, boxes = batch(32)
        choice = hard.choose(net.policy(shown), stride=2, generator=gen)
        reward = hard.box_iou(hard.window_boxes(choice.corners, (8, 12)), boxes)
        loss = hard.reinforce_loss(choice.log_prob, reward, baseline="mean")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    shown, boxes = batch(200)
    net.eval()
    assert hard.box_iou(net.attend(shown).boxes, boxes).mean() > 0.75


# Edges and defaults ---------------------------------------------------------------------------------------------------


def test_a_box_of_one_pixel_has_an_area():
    pixel = torch.tensor([[3, 4, 4, 5]])
    assert hard.box_iou(pixel, pixel).tolist() == [1.0]


def test_one_window_is_no_choice():
    choice = hard.choose(torch.zeros(2, 1, 1), stride=3, generator=chance())
    assert choice.corners.tolist() == [[0, 0], [0, 0]]
    assert choice.entropy.tolist() == [0.0, 0.0]


def test_choose_names_a_wrong_stride():
    with pytest.raises(ValueError, match=r"^stride must be a whole number of at least 1; got 0$"):
        hard.choose(torch.zeros(1, 2, 2), stride=0)


def test_windows_are_a_pixel_apart_unless_said_otherwise():
    images = torch.randn(2, 3, 10, 8, generator=chance())
    assert hard.saliency(images, (4, 4)).shape == (2, 7, 5)
    assert torch.equal(hard.saliency(images, (4, 4)), hard.saliency(images, (4, 4), stride=1))
    assert hard.HardAttention().stride == hard.CropPolicy((18, 12)).shrink == 2


def test_the_layers_of_a_policy():
    def widths(policy: hard.CropPolicy) -> list[int]:
        return [module.out_channels for module in policy.modules() if isinstance(module, nn.Conv2d)]

    assert widths(hard.CropPolicy((4, 4), channels=1)) == [1, 1, 1, 1, 1, 1]
    policy = hard.CropPolicy((4, 4), channels=8)
    assert widths(policy) == [4, 8, 12, 12, 8, 1]
    near = policy.near(torch.rand(2, 3, 14, 12))
    assert near.shape == (2, 8, 7, 6)
    assert policy.far(near).shape == (2, 8, 4, 3)  # half the resolution; the odd row counts
