"""Dead letters as the forwarder writes them, and the CDR in one."""

import base64
import json
from typing import Final

from app.cdr import Cdr, History
from app.dead_letters.letter import Reason, dead_letter

ONCE: Final = History(attempts=1)


def raw_letter(
    body: bytes,
    reason: Reason = "rejected",
    status: int | None = 400,
    answer: bytes = b"no such account",
    history: History = ONCE,
) -> bytes:
    return dead_letter(
        cdr=Cdr(body), endpoint="crm", source="cdr", reason=reason, status=status, answer=answer, history=history
    )


def cdr_in(raw: bytes | str) -> bytes:
    fields = json.loads(raw)
    return fields["cdr"].encode() if "cdr" in fields else base64.b64decode(fields["cdr_base64"])
