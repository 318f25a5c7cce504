"""How alike two maps are."""

import math

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from lpa_core.metrics.likeness import similarity, spearman, ssim


def maps(n: int = 6, *size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *(size or (5, 7)), generator=torch.Generator().manual_seed(seed))


def test_spearman_is_scipys_with_ties_and_without():
    one, other = maps(seed=1), maps(seed=2)
    for a, b in ((one, other), (one.relu(), (one + other).relu()), ((one * 2).round(), (other + one).round())):
        expected = [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b, strict=True)]
        torch.testing.assert_close(
            spearman(a.double(), b.double()), torch.tensor(expected).double(), atol=1e-12, rtol=0
        )


def test_spearman_at_its_ends():
    one = maps()
    assert spearman(one, one.exp()).tolist() == pytest.approx([1] * 6)
    assert spearman(one, -one).tolist() == pytest.approx([-1] * 6)
    assert spearman(one, torch.ones_like(one)).isnan().all()


@pytest.mark.parametrize(("size", "window"), [((14, 12), 11), ((6, 9), 5), ((5, 5), 5), ((1, 4), 1)])
def test_ssim_is_the_plain_loop(size, window):
    one, other = maps(3, *size, seed=1).double(), maps(3, *size, seed=2).double()
    g = [math.exp(-0.5 * ((i - window // 2) / 1.5) ** 2) for i in range(window)]
    weights = torch.tensor([[a * b for a in g] for b in g], dtype=torch.float64)
    weights /= weights.sum()
    expected = []
    for a, b in zip(one, other, strict=True):
        a, b = ((x - x.min()) / (x.max() - x.min()) for x in (a, b))
        values = []
        for i in range(size[0] - window + 1):
            for j in range(size[1] - window + 1):
                p, q = (x[i : i + window, j : j + window] for x in (a, b))
                m, k = (weights * p).sum(), (weights * q).sum()
                v, w, c = (
                    (weights * (p - m) ** 2).sum(),
                    (weights * (q - k) ** 2).sum(),
                    (weights * (p - m) * (q - k)).sum(),
                )
                values.append((2 * m * k + 1e-4) * (2 * c + 9e-4) / ((m * m + k * k + 1e-4) * (v + w + 9e-4)))
        expected.append(torch.stack(values).mean())
    torch.testing.assert_close(ssim(one, other), torch.stack(expected), rtol=0, atol=1e-10)


def test_ssim_at_its_ends():
    one = maps(3, 20, 20)
    torch.testing.assert_close(ssim(one, one * 3 + 2), torch.ones(3))  # the scale is taken out
    assert (ssim(one, -one) < 0).all()
    assert (ssim(one, torch.ones_like(one)).abs() < 0.1).all()


@pytest.mark.usefixtures("unchecked")
def test_maps_of_different_sizes_are_refused():
    for measure in (spearman, ssim):
        with pytest.raises(ValueError, match=r"of one shape; got \(6, 5, 7\) and \(6, 5, 6\)"):
            measure(maps(), maps(6, 5, 6))


def test_likeness_with_and_without_sign():
    one = maps()
    row = similarity("negative", one, -one)
    assert row.spearman.mean == pytest.approx(-1)
    assert row.spearman_absolute.mean == pytest.approx(1)
    assert row.spearman.n == 6
    assert similarity("c", one, one, torch.tensor([0, 0, 0, 1, 1, 1])).ssim.clusters == 2
