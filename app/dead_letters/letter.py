"""Write dead letters."""

import base64
import json
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from app.cdr import Cdr, History
from app.telemetry.printable import escaped

Reason = Literal["rejected", "gave_up"]


def dead_letter(  # noqa: PLR0913 - each is a field
    *, cdr: Cdr, endpoint: str, source: str, reason: Reason, status: int | None, answer: bytes, history: History
) -> bytes:
    """Return the dead letter as JSON: times in ISO 8601, UTC; the CDR as text, or base64 where it is not UTF-8.

    `answer`: the first bytes of the last answer. The letter has an id of its own, so that those of twins differ.
    """
    now = datetime.now(UTC)
    first = datetime.fromtimestamp(history.first_failed_at / 1000, UTC) if history.first_failed_at else now
    letter: dict[str, object] = {
        "id": cdr.webhook_id,
        "letter": uuid4().hex,
        "endpoint": endpoint,
        "source": source,
        "reason": reason,
        "status": status,
        "answer": escaped(answer),
        "attempts": history.attempts,
        "first_failed_at": first.isoformat(timespec="milliseconds"),
        "dead_at": now.isoformat(timespec="milliseconds"),
    }
    try:
        letter["cdr"] = cdr.body.decode()
    except UnicodeDecodeError:
        letter["cdr_base64"] = base64.b64encode(cdr.body).decode()
    return json.dumps(letter, ensure_ascii=False).encode()
