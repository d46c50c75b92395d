"""Labelled and unlabelled objects in one epoch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.training_sets.mixing import mixed_batches


def deal(labelled, unlabelled, size, seed=0):
    """Deal numbers from 0 and from 10,000 on."""
    numbers = np.arange(labelled), 10_000 + np.arange(unlabelled)
    return mixed_batches(*numbers, size, np.random.default_rng(seed))


@given(st.integers(1, 60), st.integers(0, 200), st.integers(1, 40))
def test_every_batch_is_as_rich_as_the_whole(labelled, unlabelled, size):
    n = labelled + unlabelled
    size = min(size, n)
    batches = deal(labelled, unlabelled, size)
    assert batches.shape == (n // size, size)
    assert len(np.unique(batches)) == batches.size
    known = (batches < labelled).sum(axis=1)
    assert set(np.unique(batches)) <= {*range(labelled), *range(10_000, 10_000 + unlabelled)}
    assert np.all(np.abs(known - size * labelled / n) < 1)


def test_the_place_in_a_batch_tells_nothing():
    places = [np.flatnonzero(batch < 50) for batch in deal(50, 350, 8)]
    assert all(len(place) == 1 for place in places)
    assert {int(place[0]) for place in places} == set(range(8))


def test_each_epoch_has_an_order_of_its_own_and_always_the_same():
    np.testing.assert_array_equal(deal(9, 21, 5), deal(9, 21, 5))
    assert not np.array_equal(deal(9, 21, 5), deal(9, 21, 5, seed=1))
