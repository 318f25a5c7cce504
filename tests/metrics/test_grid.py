"""The grid pointing game against what can be counted by hand, and the edge map that it is held against."""

import jaxtyping
import pytest
import torch

from lpa_core.metrics.baselines import centre_prior, random_maps, uniform_maps
from lpa_core.metrics.grid import grid_pointing_game


def test_the_share_of_the_positive_part_in_the_cell():
    map = torch.tensor([[3.0, 1.0, 0.0, -5.0], [0.0, 0.0, 2.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    scores = grid_pointing_game(map.expand(4, 4, 4), torch.arange(4))
    assert scores.energy.tolist() == pytest.approx([4 / 8, 2 / 8, 2 / 8, 0])
    assert scores.pointing.tolist() == [1, 0, 0, 0]
    larger = grid_pointing_game(map.expand(4, 4, 4), torch.arange(4), size=(64, 64))
    assert larger.energy[0] > larger.energy[1] > larger.energy[3]


@pytest.mark.parametrize("n", [2, 3])
def test_what_knows_nothing_scores_chance_and_a_map_for_all_classes_does_on_average(n):
    cells = torch.arange(n * n)
    for maps in (uniform_maps(n * n, (12, 12)), random_maps(1, (12, 12), seed=0).expand(n * n, 12, 12)):
        assert grid_pointing_game(maps, cells, n=n).energy.mean().item() == pytest.approx(1 / n**2)
    assert grid_pointing_game(uniform_maps(n * n, (12, 12)), cells, n=n).pointing.tolist() == pytest.approx(
        [1 / n**2] * n**2
    )
    centre = grid_pointing_game(centre_prior(4, (12, 12)), torch.arange(4)).energy
    assert centre.tolist() == pytest.approx([0.25] * 4)


def test_a_map_that_n_does_not_divide_is_enlarged_first():
    scores = grid_pointing_game(uniform_maps(4, (7, 5)), torch.arange(4))
    assert scores.energy.tolist() == pytest.approx([0.25] * 4)


@pytest.fixture
def unchecked():
    """Without the shape checker of the tests, as users run: the package's own errors must speak."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        ([0, 4], {}, r"cells must be 2 numbers from 0 to 3, one a map; got \[0, 4\]"),
        ([0], {}, "cells must be 2 numbers from 0 to 3"),
        ([0, -1], {}, "cells must be"),
        ([0, 1], {"n": 1}, "n must be a whole number of at least 2; got 1"),
        ([0, 1], {"size": (9, 8)}, r"size must be a multiple of n=2 .* got \(9, 8\)"),
    ],
)
def test_what_does_not_fit_is_refused(cells, options, message):
    with pytest.raises(ValueError, match=message):
        grid_pointing_game(uniform_maps(2, (8, 8)), torch.tensor(cells), **options)
