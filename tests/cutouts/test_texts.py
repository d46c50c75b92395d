"""Texts in one buffer are what a list of them is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photoz_mmae.cutouts.texts import Texts, Words

# Any bytes, as the file system gives them, and any text of Python's, lone surrogates too.
NAMES = st.binary(max_size=12).map(lambda b: b.decode("utf-8", "surrogateescape"))
TEXTS = st.lists(st.one_of(NAMES, st.text(st.characters(), max_size=12)))


@given(TEXTS, st.data())
def test_texts_are_a_list(texts: list[str], data: st.DataObject) -> None:
    packed = Texts(texts)
    assert list(packed) == texts
    assert len(packed) == len(texts)
    assert packed[1:-1] == texts[1:-1]
    assert [packed[k] for k in range(-len(texts), len(texts))] == texts + texts
    numbers = data.draw(st.lists(st.integers(0, len(texts) - 1))) if texts else []
    assert list(packed.take(np.array(numbers, np.int64))) == [texts[k] for k in numbers]
    packed.extend(texts)
    assert list(packed) == texts + texts
    packed.clear()
    assert list(packed) == []
    with pytest.raises(IndexError):
        packed[0]


@given(st.lists(st.sampled_from(["", "g", "grizy"])), st.data())
def test_words_are_a_list(words: list[str], data: st.DataObject) -> None:
    packed: Words[str] = Words()
    packed.extend(words)
    packed.append("y")
    expected = [*words, "y"]
    index = data.draw(st.integers(0, len(words)))
    packed[index] = expected[index] = "iz"
    assert list(packed) == expected
    assert [packed[k] for k in range(len(packed))] == expected
