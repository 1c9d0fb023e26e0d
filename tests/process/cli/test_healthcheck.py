"""A container is healthy while its forwarder owns a processing list."""

import signal

from tests.conftest import StartChild
from tests.support.harness import eventually


async def test_a_forwarder_that_runs_is_healthy_and_a_frozen_one_is_not(
    start_child: StartChild, variables: dict[str, str]
) -> None:
    """The lease is the pulse: it is renewed by the event loop itself, and ends without it."""

    async def status() -> int:
        return await (await start_child(variables, "healthcheck")).ended()

    async def is_unhealthy() -> bool:
        return await status() == 1

    assert await status() == 1
    forwarder = await start_child(variables, "run")
    await eventually(lambda: forwarder.events("slot.taken"))
    assert await status() == 0
    forwarder.signal(signal.SIGSTOP)
    await eventually(is_unhealthy)


async def test_it_is_not_healthy_without_redis(start_child: StartChild, variables: dict[str, str]) -> None:
    """Nothing can be claimed then."""
    child = await start_child(variables | {"CDR_REDIS_URL": "redis://127.0.0.1:1/0"}, "healthcheck")
    assert await child.ended() == 1
