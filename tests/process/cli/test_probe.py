"""`cdr-forwarder probe`: try an endpoint that is down at once, from the command line."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
from redis.asyncio import Redis

from app.config.timings import Timings
from app.demo.embedded import free_port
from app.service import Service
from tests.conftest import StartChild
from tests.support.harness import eventually, running, settings_from
from tests.support.receiver import Receiver

TOKEN: Final = "token-of-sixteen-characters"

Run = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def watched(variables: dict[str, str]) -> dict[str, str]:
    return variables | {"CDR_OPS_PORT": str(free_port()), "CDR_OPS_HOST": "127.0.0.1", "CDR_OPS_TOKEN": TOKEN}


@pytest.fixture
async def service(watched: dict[str, str]) -> AsyncIterator[Service]:
    async with running(settings_from(watched), Timings(between_rejections=0.3)) as service:
        await eventually(service.parts.sources[0].lease.holds)
        yield service


@pytest.fixture
async def run(start_child: StartChild, watched: dict[str, str]) -> Run:
    """Return the exit status and what was printed; no secret is."""

    async def run(*words: str, **more: str) -> tuple[int, str]:
        child = await start_child(watched | more, "probe", *words)
        status, said = await child.ended(), child.log.read_text()
        assert "Traceback" not in said
        assert TOKEN not in said
        return status, said

    return run


async def test_an_endpoint_that_is_down_is_tried_at_once(
    service: Service, client: Redis, receiver: Receiver, source: str, run: Run
) -> None:
    """By the process on this host; the exit status says whether it is back."""
    receiver.status = 503
    await client.rpush(source, *[b"cdr %d" % number for number in range(50)])
    lane = service.parts.lanes[0].lane
    breaker = lane.gate.breaker
    await eventually(lambda: breaker.state.value == "open" and not lane.in_flight.number)
    assert await run("webhook") == (1, "webhook is still down: the last result is 503\n")
    await eventually(lambda: breaker.state.value == "open")
    breaker.probe_at = time.monotonic() + 3600
    receiver.status = 204
    assert await run("webhook") == (0, "webhook has answered 204: it is back\n")
    assert await run("webhook") == (
        0,
        "webhook is not down here: what failed is tried again within a minute\n",
    )


async def test_what_cannot_be_asked_is_a_sentence(service: Service, watched: dict[str, str], run: Run) -> None:
    """No token, a wrong one, no such endpoint, no server, no URL."""
    url = f"http://127.0.0.1:{watched['CDR_OPS_PORT']}"
    assert await run("crm") == (1, "there is no such endpoint; there are webhook\n")
    for words, more, said in (
        (("webhook",), {"CDR_OPS_TOKEN": ""}, "CDR_OPS_TOKEN: not set here"),
        (("webhook", "--url", f"{url}/"), {"CDR_OPS_TOKEN": "another-of-sixteen"}, f"{url} has another one"),
        (("webhook",), {"CDR_OPS_PORT": "0"}, "--url names another one"),
        (("webhook", "--url", "http://127.0.0.1:1"), {}, "does not answer"),
        (("webhook", "--url", "file:///etc/passwd"), {}, "--url: must be that of an operator server"),
    ):
        status, told = await run(*words, **more)
        assert (status, said in told) == (1, True), told
