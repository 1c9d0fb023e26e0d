"""Check the paths by which an operator names fields of a CDR."""

from typing import Final

MOST_PATHS: Final = 32
LONGEST_PATH: Final = 256


def field_paths(text: object) -> object:
    """Return the paths of a comma-separated list. Raises ValueError for one that no field can have."""
    if not isinstance(text, str):
        return text
    paths = [path.strip() for path in text.split(",")]
    for path in paths:
        if not all(path.split(".")) or len(path.split()) != 1 or not path.isprintable() or len(path) > LONGEST_PATH:
            raise ValueError(f"has {path!r:.80}: a path is names with dots between them, as in payload.call_ref")
    if len(paths) > MOST_PATHS:
        raise ValueError(f"cannot name more than {MOST_PATHS} fields")
    return paths
