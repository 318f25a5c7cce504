"""The relaxations: equal to the choice where they should be, with a derivative where the choice has none."""

import math

import pytest
import torch
from torch import Tensor

from lpa_core import hard
from lpa_core.hard import relaxations

B, H, W, SIZE = 3, 12, 10, (4, 3)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures() -> Tensor:
    return torch.rand(B, 2, H, W, generator=chance(), dtype=torch.float64)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_one_weight_of_1_gives_that_window(stride):
    rows, columns = hard.grid((H, W), SIZE, stride)
    weights, corners = torch.zeros(B, rows, columns, dtype=torch.float64), []
    for i, (row, column) in enumerate([(0, 0), (rows - 1, columns - 1), (1, 2)]):
        weights[i, row, column] = 1
        corners.append([row * stride, column * stride])
    mixed = relaxations.mix_windows(pictures(), weights, SIZE, stride=stride)
    assert torch.equal(mixed, hard.crop(pictures(), torch.tensor(corners), SIZE))


def test_a_mixture_is_the_weighted_sum():
    weights = torch.zeros(B, 9, 8, dtype=torch.float64)
    weights[:, 2, 1], weights[:, 5, 7] = 0.25, 0.75
    one, other = (hard.crop(pictures(), torch.tensor([c] * B), SIZE) for c in ([2, 1], [5, 7]))
    assert torch.allclose(relaxations.mix_windows(pictures(), weights, SIZE), 0.25 * one + 0.75 * other)


def test_mix_windows_refuses_other_weights(unchecked):
    with pytest.raises(ValueError, match=r"weights must be \(3, 9, 8\)"):
        relaxations.mix_windows(pictures(), torch.zeros(B, 9, 9), SIZE)
    with pytest.raises(ValueError, match="larger than the picture"):
        relaxations.mix_windows(pictures(), torch.zeros(B, 9, 8), (13, 3))


def test_gumbel_weights_sum_to_1_and_become_a_choice():
    scores = torch.randn(B, 4, 5, generator=chance())
    warm, cold = (relaxations.gumbel_softmax(scores, temperature=t, generator=chance(1)) for t in (5.0, 1e-3))
    for weights in (warm, cold):
        assert torch.allclose(weights.sum(dim=(1, 2)), torch.ones(B), atol=1e-6)
    assert cold.amax(dim=(1, 2)).min() > 0.999
    assert warm.amax(dim=(1, 2)).max() < 0.5
    assert torch.equal(warm.flatten(1).argmax(1), cold.flatten(1).argmax(1))


def test_the_largest_gumbel_weight_is_a_draw_from_the_softmax():
    scores = torch.tensor([[[0.0, 1.0], [2.0, -1.0]]]).expand(20_000, 2, 2)
    weights = relaxations.gumbel_softmax(scores, temperature=0.7, generator=chance())
    often = torch.bincount(weights.flatten(1).argmax(dim=1), minlength=4) / len(scores)
    pi = scores[0].flatten().softmax(0)
    assert ((often - pi).abs() < 4 * (pi * (1 - pi) / len(scores)).sqrt()).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        relaxations.gumbel_softmax(torch.zeros(1, 2, 2), temperature=temperature, generator=chance())
    with pytest.raises(ValueError, match="temperature must be above 0"):
        relaxations.expected_corner(torch.zeros(1, 2, 2), temperature=temperature)


def test_straight_through_is_a_choice_with_the_derivative_of_the_softmax():
    scores = torch.randn(B, 3, 4, generator=chance(), dtype=torch.float64).requires_grad_()
    value = torch.rand(B, 3, 4, generator=chance(1), dtype=torch.float64)
    for generator in (None, chance(2)):
        weights = relaxations.straight_through(scores, generator=generator)
        assert torch.allclose(weights.flatten(1).sort(dim=1).values[:, -2:], torch.tensor([0.0, 1.0]).double())
        (found,) = torch.autograd.grad((weights * value).sum(), scores)
        (softmax,) = torch.autograd.grad((scores.flatten(1).softmax(1) * value.flatten(1)).sum(), scores)
        assert torch.allclose(found, softmax)
    best = relaxations.straight_through(scores).flatten(1).argmax(1)
    assert torch.equal(best, scores.flatten(1).argmax(1))


def test_straight_through_draws_by_its_generator():
    scores = torch.zeros(40, 5, 5)
    one, two, three = (relaxations.straight_through(scores, generator=chance(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_the_expected_corner_lies_between_two_good_windows():
    scores = torch.full((1, 5, 7), -1e9)
    scores[0, 0, 0] = scores[0, 4, 6] = 0.0
    assert torch.allclose(relaxations.expected_corner(scores, stride=2), torch.tensor([[4.0, 6.0]]))


def test_at_whole_corners_the_transformer_crops():
    corners = torch.tensor([[0, 0], [8, 7], [3, 5]])
    smooth = relaxations.transformer_crop(pictures(), corners.double(), SIZE)
    assert torch.allclose(smooth, hard.crop(pictures(), corners, SIZE))


def test_between_pixels_the_transformer_mixes_and_has_a_derivative():
    corners = torch.tensor([[2.25, 3.5]] * B, dtype=torch.float64, requires_grad=True)
    window = relaxations.transformer_crop(pictures(), corners, SIZE)
    expected = sum(
        share * hard.crop(pictures(), torch.tensor([c] * B), SIZE)
        for share, c in ((0.375, [2, 3]), (0.375, [2, 4]), (0.125, [3, 3]), (0.125, [3, 4]))
    )
    assert torch.allclose(window, expected)
    assert torch.autograd.gradcheck(lambda c: relaxations.transformer_crop(pictures(), c, SIZE), corners)
    window.sum().backward()
    assert corners.grad.abs().min() > 0


def test_transformer_crop_refuses(unchecked):
    with pytest.raises(ValueError, match="larger than the picture"):
        relaxations.transformer_crop(pictures(), torch.zeros(B, 2), (4, 11))
    with pytest.raises(ValueError, match=r"corners must be \(3, 2\)"):
        relaxations.transformer_crop(pictures(), torch.zeros(B, 3), SIZE)


def test_the_global_random_state_stays(unchecked, chance_untouched):
    with chance_untouched():
        relaxations.gumbel_softmax(torch.zeros(2, 3, 3), temperature=1.0, generator=chance())
        relaxations.straight_through(torch.zeros(2, 3, 3), generator=chance())
