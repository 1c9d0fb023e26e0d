"""Sign a CDR, and tell whether it is signed (Standard Webhooks, v1: HMAC-SHA256)."""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Final

OLDEST: Final = 300
"""Seconds by which the time of an attempt may differ from ours: what is older may be a replayed request."""


def signature(keys: tuple[bytes, ...], webhook_id: bytes, timestamp: bytes, body: bytes) -> bytes:
    """Return one signature for each active secret, separated by spaces."""
    signed = b".".join((webhook_id, timestamp, body))
    return b" ".join(b"v1," + b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys)


def unverified(keys: tuple[bytes, ...], headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Return why the signature is not accepted; empty if it is."""
    if "webhook-signature" not in headers:
        return "not signed: has the forwarder CDR_WEBHOOK_SECRET?"
    name, timestamp, given = (headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    if not (timestamp.isascii() and timestamp.isdecimal()) or abs(now - int(timestamp[:20])) > OLDEST:
        return "its webhook-timestamp is not of now: do both clocks agree?"
    wanted = signature(keys, name.encode(), timestamp.encode(), body).split()
    # Each is compared in constant time, so that nobody can guess one byte by byte.
    if not any(hmac.compare_digest(one, sent.encode()) for one in wanted for sent in given.split()):
        return "the signature is wrong: is it the same secret on both sides?"
    return ""
