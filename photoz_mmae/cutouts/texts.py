"""Millions of short texts in little memory: as objects of their own each takes 50 bytes more."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Word = TypeVar("Word", bound=str)


class Texts(Sequence[str]):
    """A sequence of texts in one buffer, made one by one when they are asked for.

    File names may have any bytes, which Python's text has as lone surrogates.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._bounds = array("q", [0])
        self.extend(texts)

    def append(self, text: str) -> None:
        """Add one text."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._bounds.append(len(self._bytes))

    def extend(self, texts: Iterable[str]) -> None:
        """Add texts."""
        for text in texts:
            self.append(text)

    def take(self, numbers: NDArray[np.int64]) -> "Texts":
        """Return the texts of these numbers, in this order."""
        taken = Texts()
        every, bounds = self._bytes, self._bounds
        for number in numbers.data:  # without a list of a million numbers
            taken._bytes += every[bounds[number] : bounds[number + 1]]
            taken._bounds.append(len(taken._bytes))
        return taken

    def clear(self) -> None:
        """Leave none."""
        self.__init__()  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._text(self._bounds[index], self._bounds[index + 1])

    def __iter__(self) -> Iterator[str]:
        return (self._text(start, end) for start, end in pairwise(self._bounds))

    def _text(self, start: int, end: int) -> str:
        return self._bytes[start:end].decode("utf-8", "surrogatepass")


class Words(Generic[Word]):
    """Texts of which few are different: each once, and its number, two bytes, where it stands."""

    def __init__(self) -> None:
        self._words: list[Word] = []
        self._numbers: dict[Word, int] = {}
        self._at = array("H")

    def extend(self, words: Iterable[Word]) -> None:
        """Add texts."""
        self._at.extend(map(self._number, words))

    def append(self, word: Word) -> None:
        """Add one text."""
        self._at.append(self._number(word))

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, index: int) -> Word:
        return self._words[self._at[index]]

    def __setitem__(self, index: int, word: Word) -> None:
        self._at[index] = self._number(word)

    def __iter__(self) -> Iterator[Word]:
        return map(self._words.__getitem__, self._at)

    def _number(self, word: Word) -> int:
        number = self._numbers.setdefault(word, len(self._words))
        if number == len(self._words):
            self._words.append(word)
        return number
