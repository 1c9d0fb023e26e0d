"""Receive CDRs from cdr-forwarder: verify each one, store it once, and answer 2xx only when it is on disk.

    CDR_WEBHOOK_SECRET=whsec_… CDR_STORE=cdrs.sqlite python3 receiver.py 127.0.0.1:9000

It needs Python ≥ 3.9 and nothing else. `application` is plain WSGI: in production, run it behind TLS by gunicorn,
uWSGI or mod_wsgi, with any number of processes: `gunicorn --workers 2 --threads 8 receiver:application`.
"""

import base64
import hashlib
import hmac
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from socketserver import ThreadingMixIn
from typing import Any, BinaryIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

STORE = os.environ.get("CDR_STORE", "cdrs.sqlite")
TOLERANCE = 300  # seconds that the sender's clock may differ from ours; keep both synchronised
LARGEST = 4 * 1024 * 1024  # bytes; what is larger becomes a dead letter, so stay well above the largest CDR
SHORTEST_KEY = 16  # bytes
BUSY = 5  # seconds to wait for another writer

# PostgreSQL: `body` is BYTEA, and "%s" stands for each "?". ON CONFLICT is the same.
TABLE = """CREATE TABLE IF NOT EXISTS cdr (
    webhook_id TEXT PRIMARY KEY,  -- the unique index that makes a CDR that arrives twice one row
    received_at INTEGER NOT NULL,
    body BLOB NOT NULL
)"""
INSERT = "INSERT INTO cdr (webhook_id, received_at, body) VALUES (?, ?, ?) ON CONFLICT (webhook_id) DO NOTHING"


def keys_of(secrets: str) -> list[bytes]:
    """Return the keys of whsec_… secrets. While a secret is changed there are two of them, separated by a space."""
    padded = (secret + "=" * (-len(secret) % 4) for secret in secrets.replace("whsec_", "").split())
    keys = [base64.b64decode(secret) for secret in padded]
    if not keys or min(map(len, keys)) < SHORTEST_KEY:
        raise SystemExit("CDR_WEBHOOK_SECRET must be the secret of the forwarder: whsec_…")
    return keys


KEYS = keys_of(os.environ.get("CDR_WEBHOOK_SECRET", ""))


def is_authentic(webhook_id: str, timestamp: str, signatures: str, body: bytes) -> bool:
    """Verify a request as Standard Webhooks says: any signature by any key will do. Compares in constant time."""
    if not webhook_id or not re.fullmatch("[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    signed = f"{webhook_id}.{timestamp}.".encode("latin-1") + body
    expected = [b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in KEYS]
    given = [signature.encode("latin-1") for signature in signatures.split()]
    return any(hmac.compare_digest(one, other) for one in given for other in expected)


def store(webhook_id: str, body: bytes) -> None:
    """Return when the CDR is committed. Does nothing if it is there already."""
    with closing(sqlite3.connect(STORE, timeout=BUSY)) as database, database:
        database.execute(INSERT, (webhook_id, int(time.time()), body))


def discard(stream: BinaryIO, length: int) -> None:
    """Read what nobody wants: a sender whose bytes are not read sees a reset in place of the answer."""
    while length > 0 and (piece := stream.read(min(length, 65536))):
        length -= len(piece)


def status_for(environ: dict[str, Any]) -> str:
    """Handle one request, and return the status of its answer."""
    if environ["REQUEST_METHOD"] != "POST":
        return "405 Method Not Allowed"
    length = environ.get("CONTENT_LENGTH") or "0"
    if int(length) > LARGEST:
        discard(environ["wsgi.input"], int(length))
        return "413 Content Too Large"
    body = environ["wsgi.input"].read(int(length))
    if len(body) < int(length):
        return "503 Service Unavailable"  # the sender hung up; it will send all of it again
    named = (environ.get(f"HTTP_WEBHOOK_{name}", "") for name in ("ID", "TIMESTAMP", "SIGNATURE"))
    webhook_id, timestamp, signatures = named
    if not is_authentic(webhook_id, timestamp, signatures, body):
        return "401 Unauthorized"
    try:
        store(webhook_id, body)
    except sqlite3.Error as error:
        sys.stderr.write(f"not stored: {error}\n")
        return "503 Service Unavailable"  # not stored, so not 2xx: the forwarder keeps it
    return "204 No Content"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request (WSGI, PEP 3333). An exception becomes 500 in any server, and 500 means «send it again»."""
    status = status_for(environ)
    start_response(status, [] if status.startswith("204") else [("Content-Length", "0")])
    return []


with closing(sqlite3.connect(STORE, timeout=BUSY)) as created, created:
    created.execute("PRAGMA journal_mode = WAL")
    created.execute(TABLE)


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    timeout = 30  # for who connects and says nothing

    def log_request(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    host, _, port = sys.argv[1].rpartition(":")
    with make_server(host, int(port), application, Server, Handler) as server:
        server.serve_forever()
