"""Read a secret from a file."""

import io
from pathlib import Path
from typing import Final

LARGEST_SECRET: Final = 64 * 1024
PATH_STARTS: Final = ("/", "./", "../", "~")


def secret_in(file: Path) -> str:
    """Return the content without a byte order mark, and without spaces and line breaks around it."""
    if file.exists() and not file.is_file():  # a device or a pipe may never end
        raise ValueError("it is not a regular file")
    with file.open("rb") as opened:
        content = opened.read(LARGEST_SECRET + 1)
    if len(content) > LARGEST_SECRET:
        raise ValueError(f"it is larger than {LARGEST_SECRET // 1024} KiB")
    secret = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read().strip()
    if not secret:
        raise ValueError("it is empty")
    return secret


def path_shown(value: str) -> str:
    """Return a path; anything else may be the secret itself, by mistake."""
    return repr(value) if value.startswith(PATH_STARTS) else "*** (a path begins with / or ./)"


def reason(error: Exception) -> str:
    """Return what is wrong with a file, without any of its content."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(getattr(error, "strerror", None) or error)
