"""Average drop and increase by hand, and always beside what knows nothing."""

import jaxtyping
import pytest
import torch
from torch import nn

from lpa_core.metrics import compare_confidence, confidence_change


class TwoPixels(nn.Module):
    """Logits (0, sum of the picture): the probability of class 1 is the sigmoid of the sum."""

    def forward(self, images):
        total = images.sum((1, 2, 3))
        return torch.stack([torch.zeros_like(total), total], dim=1)


IMAGES = torch.tensor([[[[2.0, -1.0]]], [[[1.0, 3.0]]], [[[1.0, 1.0]]]])


def test_drop_and_increase_by_hand():
    maps = torch.tensor([[[5.0, 1.0]], [[-1.0, 1.0]], [[0.3, 0.3]]])  # scaled: (1, 0), (0, 1) and, constant, (1, 1)
    change = confidence_change(TwoPixels(), IMAGES, maps, 1)
    sigmoid = torch.sigmoid
    expected = [0.0, float(1 - sigmoid(torch.tensor(3.0)) / sigmoid(torch.tensor(4.0))), 0.0]
    assert change.drop.tolist() == pytest.approx(expected)
    assert change.increase.tolist() == [1.0, 0.0, 0.0]  # the first loses what spoke against it


def test_the_predicted_class_is_followed_and_maps_are_enlarged():
    change = confidence_change(TwoPixels(), -IMAGES, torch.tensor([[[1.0]], [[2.0]], [[3.0]]]), batch_size=2)
    assert change.drop.tolist() == [0.0, 0.0, 0.0]
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=r"maps must be \(3, h, w\)"):
            confidence_change(TwoPixels(), IMAGES, torch.ones(2, 1, 2))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_a_table_has_chance_beside_the_maps():
    rows = compare_confidence(TwoPixels(), IMAGES, {"mine": torch.rand(3, 1, 2)}, 1)
    assert [row.name for row in rows] == ["mine", "random map", "centre prior"]
    assert [row.baseline for row in rows] == [False, True, True]
    assert all(0 <= row.drop.mean <= 1 and 0 <= row.increase.mean <= 1 for row in rows)
