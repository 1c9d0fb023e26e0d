"""HTTP attempts and nothing else, as many at once as the forwarder would make: what they cost alone.

Configured as the forwarder is; prints CPU seconds per attempt.
"""

import asyncio
import resource
import sys

import uvloop

from app.cdr import Cdr
from app.config.environment import load_settings
from app.delivery.attempt import Attempt
from app.delivery.message import Message
from app.delivery.verdict import Kind
from tests.benchmarks.cdrs import cdrs


async def deliver(attempt: Attempt, waiting: list[Cdr]) -> None:
    while waiting:
        cdr = waiting.pop()
        verdict = await attempt.post(Message(cdr.webhook_id, cdr.body, 1, "cdr"))
        assert verdict.kind is Kind.DELIVERED, verdict


async def attempts(attempt: Attempt, concurrency: int, number: int, size: int) -> float:
    """Make so many attempts, and return the CPU seconds that one took."""
    waiting = [Cdr(body) for body in cdrs(number, size)]
    assert all(cdr.webhook_id for cdr in waiting)
    before = _cpu_seconds()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(deliver(attempt, waiting))
    return (_cpu_seconds() - before) / number


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main(number: int, size: int) -> None:
    (settings,) = load_settings(dotenv=None).endpoints
    attempt = Attempt(settings)
    await attempts(attempt, settings.concurrency, 500, size)
    print(await attempts(attempt, settings.concurrency, number, size))
    await attempt.aclose()


if __name__ == "__main__":
    uvloop.run(main(*map(int, sys.argv[1:])))
