"""Write the body of one POST that carries several CDRs."""

import hashlib
from collections.abc import Sequence
from typing import Final

from pydantic_core import from_json

from app.cdr import Cdr
from app.config.batch import BatchFormat, BatchSettings
from app.delivery.message import Message

OVERHEAD: Final = {"envelope": 96, "json": 1, "ndjson": 1}
"""Bytes that a format adds to a CDR, but for the name of its source."""


class BatchForm:
    """Makes CDRs into messages, in one format; `source` is where they come from."""

    def __init__(self, form: BatchFormat, source: str) -> None:
        self.overhead = OVERHEAD[form] + (len(source) if form == "envelope" else 0)
        self._form, self._source = form, source

    def takes(self, body: bytes) -> bool:
        """Tell whether it can be in a batch: strict JSON in UTF-8, nested 200 deep or so; for ndjson, one line."""
        if self._form == "ndjson" and (b"\n" in body or b"\r" in body):
            return False
        try:
            from_json(body, allow_inf_nan=False)
        except ValueError:
            return False
        return True

    def message(self, cdrs: Sequence[Cdr]) -> Message:
        """Return what one POST of them carries. One alone that cannot be in a batch is sent as its own bytes."""
        first = cdrs[0]
        attempt = first.history.attempts + 1
        if len(cdrs) == 1 and not self.takes(first.body):
            return Message(first.webhook_id, first.body, attempt, self._source)
        return Message(_id_of(cdrs), self._body(cdrs, attempt), attempt, self._source, len(cdrs))

    def _body(self, cdrs: Sequence[Cdr], attempt: int) -> bytes:
        match self._form:
            case "json":
                return b"[%b]" % b",".join([cdr.body for cdr in cdrs])
            case "ndjson":
                return b"\n".join([*(cdr.body for cdr in cdrs), b""])
            case "envelope":
                rest = f'","attempt":{attempt},"source":"{self._source}","cdr":'
                return b"[%b]" % b",".join(
                    [b'{"id":"%b%b}' % ((cdr.webhook_id + rest).encode(), cdr.body) for cdr in cdrs]
                )


def message_of_one(cdr: Cdr, settings: BatchSettings, source: str) -> Message:
    """Return what a CDR is sent as where nothing else is sent with it."""
    if settings.batches:
        return BatchForm(settings.batch_format, source).message([cdr])
    return Message(cdr.webhook_id, cdr.body, cdr.history.attempts + 1, source)


def _id_of(cdrs: Sequence[Cdr]) -> str:
    """Return the id of a batch, which depends on the ids of its CDRs and on their order."""
    ids = "\n".join([cdr.webhook_id for cdr in cdrs])
    return f"batch_{hashlib.sha256(ids.encode()).hexdigest()[:32]}"
