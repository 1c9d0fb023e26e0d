"""What a dead letter looks like."""

import base64
import json
from typing import Literal

from app.cdr import Cdr
from app.lane.parking import now

Reason = Literal["rejected", "gave_up"]


def dead_letter(cdr: Cdr, endpoint: str, reason: Reason, status: int | None) -> bytes:
    """Return the dead letter as JSON: times in ISO 8601, UTC; the CDR as text, or base64 where it is not UTF-8."""
    died = now()
    first_failed = cdr.failing.first_failed_at if cdr.failing else died
    letter: dict[str, object] = {
        "id": cdr.webhook_id,
        "endpoint": endpoint,
        "reason": reason,
        "status": status,
        "attempts": cdr.attempts,
        "first_failed_at": first_failed.isoformat(),
        "dead_at": died.isoformat(),
    }
    try:
        letter["cdr"] = cdr.body.decode()
    except UnicodeDecodeError:
        letter["cdr_base64"] = base64.b64encode(cdr.body).decode()
    return json.dumps(letter, ensure_ascii=False).encode()
