"""Numbers of parts as a person writes them: `0-4,7`."""

from collections.abc import Iterable


def write_ranges(numbers: Iterable[int]) -> str:
    """Return increasing numbers as text, those that follow each other as one range."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in ranges)


def read_ranges(text: str) -> set[int]:
    """Return the numbers that `write_ranges` wrote; raises ValueError where it did not."""
    numbers: set[int] = set()
    for one in filter(None, text.split(",")):
        first, _, last = one.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers
