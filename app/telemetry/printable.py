"""Make text of others fit for a terminal, which obeys the control characters in it."""


def plain(text: object) -> str:
    """Return it without control characters and line breaks: anybody may have written what is in Redis."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def escaped(text: bytes) -> str:
    """Return it with an escape, as in Python, in the place of each control character."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text.decode(errors="replace")
    )
