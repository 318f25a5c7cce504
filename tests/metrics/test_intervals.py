"""Intervals that count clusters."""

import math

import jaxtyping
import pytest
import torch

from lpa_core.metrics.intervals import Interval, cluster_interval

NAN = float("nan")


@pytest.fixture
def unchecked():
    """Turn the run-time shape checker off, as it is for users, so that the package's own messages are seen."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def test_interval_leaves_nans_out_and_counts_them() -> None:
    values = torch.tensor([1.0, NAN, 0.0, 1.0, NAN])
    interval = cluster_interval(values, torch.tensor([3, 3, 5, 5, 9]))
    assert interval.mean == pytest.approx(2 / 3)
    assert interval[3:] == (3, 2, 2)  # three values, two clusters with a value, two left out


def test_interval_without_values_or_with_one_cluster_has_no_bounds() -> None:
    nothing = cluster_interval(torch.tensor([NAN, NAN]))
    assert math.isnan(nothing.mean)
    assert nothing[3:] == (0, 0, 2)
    one = cluster_interval(torch.tensor([0.2, 0.4]), torch.tensor([7, 7]))
    assert one.mean == pytest.approx(0.3)
    assert math.isnan(one.low)
    assert math.isnan(one.high)


def test_interval_is_reproducible_and_leaves_the_global_state_alone() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    first = cluster_interval(values, seed=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first == cluster_interval(values, seed=1)
    assert first != cluster_interval(values, seed=2)
    assert first.low < first.mean < first.high


def test_interval_of_two_clusters_by_hand() -> None:
    # A resample of the clusters {0, 0, 0} and {1} is both of one (mean 0 or 1, a quarter each) or one of each (1/4).
    interval = cluster_interval(torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([0, 0, 0, 1]), confidence=0.4)
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.25, 0.25)
    wide = cluster_interval(torch.tensor([0.0, 0.0, 0.0, 1.0]), torch.tensor([0, 0, 0, 1]), confidence=0.9)
    assert (wide.low, wide.high) == (0.0, 1.0)


def test_interval_has_the_width_of_theory_for_equal_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.randn(400, generator=generator)
    values = (levels[:, None] + 0.1 * torch.randn(400, 5, generator=generator)).flatten()
    clusters = torch.arange(400).repeat_interleave(5)
    means = values.view(400, 5).mean(dim=1)
    interval = cluster_interval(values, clusters, resamples=4000)
    half = 1.96 * means.std(correction=0).item() / 400**0.5
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.06)
    # Taking the 2000 pictures as independent would claim less than half of that.
    naive = cluster_interval(values, resamples=4000)
    assert naive.high - naive.low < 0.6 * (interval.high - interval.low)


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(3)
    clusters = torch.arange(60).repeat_interleave(4)
    held = 0
    for trial in range(200):
        effects = torch.randn(60, generator=generator)
        values = 0.5 + effects.repeat_interleave(4) + 0.3 * torch.randn(240, generator=generator)
        interval = cluster_interval(values, clusters, confidence=0.9, resamples=300, seed=trial)
        held += interval.low <= 0.5 <= interval.high
    assert 168 <= held <= 192  # 180 expected; two and a half standard deviations of a binomial count


def test_interval_does_not_depend_on_the_names_or_order_of_clusters() -> None:
    values, clusters = torch.arange(12.0), torch.arange(12) % 4
    first = cluster_interval(values, clusters)
    assert cluster_interval(values, clusters * 100 - 7) == first
    assert cluster_interval(values.flip(0), clusters.flip(0)) == pytest.approx(first)


def test_interval_takes_bools_and_many_clusters() -> None:
    interval = cluster_interval(torch.arange(20_000) % 4 == 0, resamples=300)
    assert interval.mean == 0.25
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * (0.25 * 0.75 / 20_000) ** 0.5, rel=0.15)


def test_interval_prints_three_digits() -> None:
    assert str(Interval(0.91234, 0.9, 0.95, 10, 5)) == "0.912 (0.900 to 0.950)"


@pytest.mark.usefixtures("unchecked")
def test_interval_refuses_bad_input() -> None:
    values = torch.rand(4)
    for bad_values, clusters in ((values.view(2, 2), None), (values, torch.arange(3))):
        with pytest.raises(ValueError, match=r"values and clusters must both be \(n,\)"):
            cluster_interval(bad_values, clusters)
    for options in ({"confidence": 0.0}, {"confidence": 1.0}, {"confidence": 95}, {"resamples": 0}):
        with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\) and resamples at least 1"):
            cluster_interval(values, **options)
    with pytest.raises(ValueError, match="infinite"):
        cluster_interval(torch.tensor([1.0, math.inf]))
