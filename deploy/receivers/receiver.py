"""Receive CDRs from cdr-forwarder: verify each request, store each CDR once, and answer 2xx only when it is on disk.

    CDR_WEBHOOK_SECRET=whsec_… CDR_STORE=cdrs.sqlite python3 receiver.py 127.0.0.1:9000

It needs Python ≥ 3.9 and nothing else; for PostgreSQL also `pip install 'psycopg[binary]'`, and the store is a URL:
CDR_STORE=postgresql://user:password@host/database. `application` is plain WSGI: in production, run it behind TLS by
gunicorn, uWSGI or mod_wsgi, with any number of processes: `gunicorn --workers 2 --threads 8 receiver:application`.
"""

import base64
import hashlib
import hmac
import os
import re
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from socketserver import ThreadingMixIn
from threading import Lock
from typing import Any, BinaryIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

STORE = os.environ.get("CDR_STORE", "cdrs.sqlite")
IS_POSTGRESQL = STORE.startswith(("postgresql://", "postgres://"))
if IS_POSTGRESQL:
    import psycopg
DATABASE_ERRORS = psycopg.Error if IS_POSTGRESQL else sqlite3.Error
TOLERANCE = 300  # seconds that the sender's clock may differ from ours; keep both synchronised
LARGEST = 4 * 1024 * 1024  # bytes; what is larger becomes a dead letter, so stay well above the largest CDR
SHORTEST_KEY = 16  # bytes
BUSY = 5  # seconds to wait for another writer

TABLE = """CREATE TABLE IF NOT EXISTS cdr (
    webhook_id TEXT PRIMARY KEY,  -- the unique index that makes a CDR that arrives twice one row
    received_at BIGINT NOT NULL,
    body BLOB NOT NULL
)"""
INSERT = "INSERT INTO cdr (webhook_id, received_at, body) VALUES (?, ?, ?) ON CONFLICT (webhook_id) DO NOTHING"

TOKEN = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)
ENVELOPE = re.compile(rb'\{"id":"(cdr_[0-9a-f]{32})","attempt":[0-9]+,"source":"[^"]*","cdr":(.*)\}', re.DOTALL)

Cdr = tuple[str, bytes]  # its id, and its bytes as Enigma wrote them


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


def id_of(cdr: bytes) -> str:
    """Return the id that the forwarder gives to a CDR. In an envelope it stands beside it, and this checks it."""
    return f"cdr_{hashlib.sha256(cdr).hexdigest()[:32]}"


def cdrs_of(webhook_id: str, content_type: str, body: bytes) -> list[Cdr]:
    """Return the CDRs in the body. A batch is known by its webhook-id, which is signed, unlike webhook-count.

    To work with values rather than bytes: `json.loads(body)`, and each element's "id" and "cdr".
    """
    if not webhook_id.startswith("batch_"):
        return [(webhook_id, body)]
    if "ndjson" in content_type or not body.startswith(b"["):
        return [(id_of(line), line) for line in body.removesuffix(b"\n").split(b"\n")]
    elements = elements_of(body)
    enveloped = [found for found in map(ENVELOPE.fullmatch, elements) if found]
    if len(enveloped) == len(elements):
        return [(found[1].decode(), found[2]) for found in enveloped]
    return [(id_of(element), element) for element in elements]


def elements_of(array: bytes) -> list[bytes]:
    """Return the bytes of each element of a JSON array, none where it is not whole.

    From what a parser returns, nobody can make the same bytes again.
    """
    depth, begin, in_string, elements = 0, 1, False, []
    for token in TOKEN.finditer(array):
        in_string ^= token[0] == b'"'
        if in_string or token[0] == b'"':
            continue
        depth += (token[0] in b"[{") - (token[0] in b"]}")
        if depth == 0 or (depth == 1 and token[0] == b","):
            elements.append(array[begin : token.start()])
            begin = token.end()
    return elements if depth == 0 and begin == len(array) else []


IDLE: "deque[Any]" = deque()  # connections to the database that nobody uses at the moment
WRITING: Any = nullcontext() if IS_POSTGRESQL else Lock()  # SQLite has one writer at a time, and who waits may starve


def connect() -> Any:
    """Open the database, and make the table where there is none."""
    if not IS_POSTGRESQL:
        database = sqlite3.connect(STORE, timeout=BUSY, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(TABLE)
        return database
    connection = psycopg.connect(STORE)
    connection.execute("SELECT pg_advisory_xact_lock(1)")  # two processes that make one table at once: one would fail
    connection.execute(TABLE.replace("BLOB", "BYTEA"))
    connection.commit()
    return connection


def store(cdrs: list[Cdr]) -> None:
    """Return when all are committed, in one transaction. Does nothing for those that are there already."""
    now = int(time.time())
    rows = [(webhook_id, now, cdr) for webhook_id, cdr in sorted(cdrs)]  # in one order: else two requests may deadlock
    with WRITING:
        try:
            database = IDLE.pop()  # one that died meanwhile costs a 503, and the forwarder sends it again
        except IndexError:
            database = connect()
        try:
            database.cursor().executemany(INSERT.replace("?", "%s") if IS_POSTGRESQL else INSERT, rows)
            database.commit()
        except BaseException:
            database.close()
            raise
        IDLE.append(database)


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
    return status_of_storing(webhook_id, environ, body)


def status_of_storing(webhook_id: str, environ: dict[str, Any], body: bytes) -> str:
    """Store what an authentic request holds, and return the status of its answer."""
    cdrs = cdrs_of(webhook_id, environ.get("CONTENT_TYPE", ""), body)
    if not cdrs or environ.get("HTTP_WEBHOOK_COUNT", str(len(cdrs))) != str(len(cdrs)):
        return "400 Bad Request"  # a batch that is not whole
    try:
        store(cdrs)
    except DATABASE_ERRORS as error:
        sys.stderr.write(f"not stored: {error}\n")
        return "503 Service Unavailable"  # not stored, so not 2xx: the forwarder keeps it
    return "204 No Content"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request (WSGI, PEP 3333). An exception becomes 500 in any server, and 500 means «send it again»."""
    status = status_for(environ)
    start_response(status, [] if status.startswith("204") else [("Content-Length", "0")])
    return []


connect().close()  # what is wrong with the database shows at the start


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
