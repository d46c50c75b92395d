"""Numbers of things in words, as messages tell them."""


def count(number: int, thing: str, things: str = "") -> str:
    """Return "1 object", "2 objects"; `things` where that is no mere s."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"
