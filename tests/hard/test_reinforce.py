"""The choice of a window, and REINFORCE against the gradient found by enumeration."""

import math

import pytest
import torch
from torch import Tensor

from lpa_core import hard


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_one_window_is_no_choice():
    choice = hard.choose(torch.zeros(2, 1, 1), stride=3, generator=chance())
    assert choice.corners.tolist() == [[0, 0], [0, 0]]
    assert choice.entropy.tolist() == [0.0, 0.0]


def test_choose_names_a_wrong_stride():
    with pytest.raises(ValueError, match=r"^stride must be a whole number of at least 1; got 0$"):
        hard.choose(torch.zeros(1, 2, 2), stride=0)
