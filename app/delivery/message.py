"""Describe what one POST carries."""

from typing import NamedTuple


class Message(NamedTuple):
    """Holds the body of one POST, and what its headers say of it.

    `attempt` counts from 1. `cdrs`: how many a batch holds; None: the body is the bytes of one CDR.
    """

    webhook_id: str
    body: bytes
    attempt: int
    source: str
    cdrs: int | None = None
