"""Make a CDR to try an endpoint with."""

import json
import time
from secrets import token_hex


def marked_cdr() -> bytes:
    """Return a CDR of the documented shape. It is unique, and nobody can take it for a call."""
    payload = {
        "extension": "0",
        "number": "0",
        "dial_number": "0",
        "call_ref": f"cdr-forwarder-check-{token_hex(8)}",
        "contact_ref": "cdr-forwarder-check",
        "dialed_at": int(time.time()),
        "end_reason": "TEST",
        "end_code": 0,
        "call_time": 0,
        "hold_time": 0,
        "call_dir": "outbound",
        "recording_url": "",
        "ref": "cdr-forwarder-check",
    }
    return json.dumps({"type": "test", "payload": payload}).encode()
