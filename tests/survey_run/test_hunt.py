"""The hunt ends, and finds the objects that kill and no other."""

from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.survey_run.hunt import MAX_DEADLY, Hunt
from photoz_mmae.survey_run.part import PartJob


def hunt(rows, kills):
    """Go on with a hunt to its end; returns it and the number of trials."""
    it, trials = Hunt(PartJob(0, rows, 0, 1, "s")), 0
    while it.trial is not None and it.hopeless is None:
        trials += 1
        if kills(range(*it.trial)):
            it.killed()
        else:
            it.survived()
    return it, trials


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=5))
def test_finds_those_and_no_other(rows, deadly):
    deadly = {row for row in deadly if row < rows}
    found, trials = hunt(rows, lambda some: bool(deadly & set(some)))
    assert sorted(found.deadly) == sorted(deadly)
    assert found.hopeless is None
    assert trials <= 3 + len(deadly) * (2 * 9 + 1)


def test_one_death_of_an_object_may_be_chance():
    deaths = iter([True])
    found, _ = hunt(2, lambda some: len(some) == 1 and next(deaths, False))
    assert (found.deadly, found.hopeless) == ([], None)


def test_where_no_object_is_to_blame():
    found, trials = hunt(100, lambda some: True)
    assert "before they read an object" in found.hopeless
    assert (found.deadly, trials) == ([], 2)


def test_too_many_to_be_an_accident():
    found, trials = hunt(1000, lambda some: len(some) > 0)
    assert "from row 999 backwards" in found.hopeless
    assert len(found.deadly) == MAX_DEADLY + 1
    assert trials < 300
