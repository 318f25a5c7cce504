"""ROAD: holes filled by hand-solved systems, and curves on a network whose answer is known."""

import pytest
import torch
from torch import nn

from lpa_core.metrics import remove_and_debias
from lpa_core.metrics.road import fill


def test_one_hole_is_the_weighted_mean_of_its_neighbours():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    image[0, 0, 0, 0] = 100.0
    hole = torch.zeros(1, 3, 3, dtype=torch.bool)
    hole[0, 1, 1] = True
    beside, across = (1 + 3 + 5 + 7) / 6, (100 + 2 + 6 + 8) / 12
    filled = fill(image, hole)
    assert filled[0, 0, 1, 1].item() == pytest.approx(beside + across)
    assert torch.equal(filled[~hole[:, None]], image[~hole[:, None]])


def test_neighbouring_holes_are_solved_together_and_a_corner_s_weights_sum_to_one():
    image = torch.tensor([[[[5.0, 6.0, 9.0]]]])
    hole = torch.tensor([[[True, True, False]]])
    # x0 = x1; x1 = (x0 + 9) / 2: both are 9.
    torch.testing.assert_close(fill(image, hole), torch.full((1, 1, 1, 3), 9.0))
    everything = torch.ones(1, 1, 3, dtype=torch.bool)
    assert torch.equal(fill(image, everything), image)


class Bright(nn.Module):
    """Class 1 where the pixel in the middle is bright."""

    def forward(self, images):
        middle = 8 * (images[:, 0, 2, 2] - 0.5)
        return torch.stack([-middle, middle], dim=1)


def test_the_map_that_marks_the_pixel_in_use_falls_at_once_and_the_other_way_round_last():
    images = torch.zeros(2, 1, 5, 5)
    images[:, 0, 2, 2] = 1.0
    right = torch.zeros(2, 5, 5)
    right[:, 2, 2] = 1.0
    options = {"fractions": (0.0, 0.04, 0.5, 0.96), "noise": 0.0}
    falls = remove_and_debias(Bright(), images, right, 1, **options)
    assert falls.fractions.tolist() == pytest.approx([0.0, 0.04, 12 / 25, 0.96])
    assert (falls.scores[:, 0] > 0.99).all()
    assert (falls.scores[:, 1:] < 0.01).all()
    stays = remove_and_debias(Bright(), images, right, 1, removed="least", **options)
    assert (stays.scores > 0.99).all()
    assert (falls.area < stays.area).all()


def test_noise_is_drawn_by_seed_and_bad_options_are_refused():
    images, maps = torch.rand(2, 1, 5, 5), torch.rand(2, 5, 5)
    one, two, other = (remove_and_debias(Bright(), images, maps, 1, seed=seed).scores for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    with pytest.raises(ValueError, match=r"fractions must rise within \[0, 1\)"):
        remove_and_debias(Bright(), images, maps, fractions=(0.5, 0.2))
    with pytest.raises(ValueError, match="noise must be at least 0; got -1"):
        remove_and_debias(Bright(), images, maps, noise=-1.0)
