"""CDRs that were deferred, put into Redis as the forwarder writes them."""

import secrets
from typing import Final

from redis import Redis

from tests.benchmarks.cdrs import cdrs

RETRY: Final = "bench:retry:cdr"
PAGE: Final = 1000
FIRST_DUE_MS: Final = 1_200_000
LAST_DUE_MS: Final = 3_600_000
"""From now: late enough that none is due in a benchmark, and no later than a backoff may be."""


def fill_retry_set(redis: Redis, number: int) -> None:
    """Defer so many CDRs, none of them due soon."""
    now = _now_ms(redis)
    process = secrets.token_hex(16)
    step = (LAST_DUE_MS - FIRST_DUE_MS) / max(1, number)
    page: dict[bytes, float] = {}
    for each, body in enumerate(cdrs(number)):
        page[header(f"{process}-{each}", now) + body] = now + FIRST_DUE_MS + int(each * step)
        if len(page) == PAGE:
            redis.zadd(RETRY, page)
            page = {}
    if page:
        redis.zadd(RETRY, page)


def header(token: str, now: int) -> bytes:
    """Return the line before the bytes of a CDR that failed twice, a minute ago and now. Times are ms."""
    attempts, strikes, first_failure, first_strike = 2, 1, now - 60_000, now
    last_failure, last_result, first_rejection, replayed = now, "500", 0, 0
    fields = (
        *(attempts, strikes, first_failure, first_strike),
        *(last_failure, last_result, first_rejection, replayed),
    )
    return f"cdr1 {token} {' '.join(map(str, fields))}\n".encode()


def _now_ms(redis: Redis) -> int:
    seconds, microseconds = redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000
