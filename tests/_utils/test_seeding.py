"""Chance from a key: the same for the same key, other for another, and nothing global is touched."""

import numpy as np
import pytest
import torch

from lpa_core._utils.seeding import generator, stratified


def test_generator_depends_on_the_key_alone(chance_untouched):
    with chance_untouched():
        first = torch.rand(5, generator=generator("a", 1))
        torch.testing.assert_close(torch.rand(5, generator=generator("a", 1)), first, rtol=0, atol=0)
        for other in (("a", 2), ("b", 1), ("a", "1"), ("a1",), ("a", 1, 0)):
            assert not torch.equal(torch.rand(5, generator=generator(*other)), first), other


def test_generator_stays_the_same_from_one_process_and_release_to_the_next():
    # Recorded runs and shipped weights rest on this stream: if it changes, they cannot be made again.
    numbers = torch.randint(0, 1000, (6,), generator=generator("batches", 0, 0))
    assert numbers.tolist() == [485, 76, 536, 743, 43, 651]


def test_stratified_takes_each_class_in_proportion(chance_untouched):
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    with chance_untouched():
        mask = stratified(labels, 10, key=0)
    assert np.bincount(labels[mask]).tolist() == [5, 3, 2]
    assert np.array_equal(mask, stratified(labels, 10, key=0))
    assert not np.array_equal(mask, stratified(labels, 10, key=1))
    assert not np.array_equal(np.flatnonzero(mask)[:5], np.arange(5))  # chosen by chance, not from the front


@pytest.mark.parametrize("count", range(8))
def test_stratified_takes_exactly_so_many(count):
    labels = np.array([0, 0, 0, 1, 1, 3, 3])  # class 2 has none
    mask = stratified(labels, count, key=5)
    assert mask.sum() == count
    shares = np.bincount(labels, minlength=4) * count / 7
    assert (np.abs(np.bincount(labels[mask], minlength=4) - shares) < 1).all()


@pytest.mark.parametrize("count", [-1, 4])
def test_stratified_refuses_more_than_there_are(count):
    with pytest.raises(ValueError, match=f"count must be from 0 to 3.*got {count}"):
        stratified(np.array([0, 1, 1]), count, key=0)
