"""A command is carried out and its reply is lost: for every kind of command that we send."""

import json
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.embedded import EmbeddedRedis
from tests.harness import environment, eventually, running, settings_from
from tests.proxy import LossyProxy
from tests.receiver import Receiver

COMMANDS = (
    *("BLMOVE", "exchange", "bury", "park", "adopt", "page", "HMGET", "survey"),
    *("take", "renew", "release", "MGET", "INFO", "rehearse", "SCRIPT LOAD", "CLIENT LIST", "CLIENT UNBLOCK"),
)
"""Each is told apart by its name; `test_every_command_is_in_the_list` finds one that is missing here."""

CONNECTION_SETUP = {"CLIENT SETNAME", "CLIENT SETINFO", "SELECT"}

PUSHED = Counter({b"twin": 4, b"poison": 2, b"flaky": 2, b"one": 1, b"two": 1, b"orphan": 2, b"stray": 2})


@pytest.fixture
async def proxy(redis_server: EmbeddedRedis) -> AsyncIterator[LossyProxy]:
    async with LossyProxy(redis_server) as proxy:
        yield proxy


async def forward_all(proxy: LossyProxy, client: Redis, receiver: Receiver, integrator: str) -> Counter[bytes]:
    """Let a forwarder meet every kind of work; return how often each CDR arrived or became a dead letter."""
    source, processing = f"{integrator}-source", f"{integrator}:processing:cdr"
    await client.script_flush()
    await client.rpush(f"{processing}:7", b"orphan", b"orphan")
    await client.rpush(processing, b"stray", b"stray")
    refusals = Counter({b"flaky": 3})

    def judge(body: bytes) -> int:
        if body == b"poison":
            return 400
        refusals[body] -= 1
        return 503 if refusals[body] >= 0 else 204

    receiver.judge = judge
    variables = environment(proxy.url, receiver.url, integrator, lease="1", webhook_attempts="1", sweep_interval="0.2")
    async with running(settings_from(variables)):
        for body, copies in PUSHED.items():
            if body not in {b"orphan", b"stray"}:
                await client.rpush(source, *[body] * copies)
        dead = f"{integrator}:dead:cdr"

        async def arrived() -> Counter[bytes]:
            letters = [json.loads(letter)["cdr"].encode() for letter in await client.lrange(dead, 0, -1)]
            return receiver.bodies + Counter(letters)

        async def settled() -> bool:
            empty = not await client.exists(source, processing, f"{processing}:7", f"{integrator}:failing:cdr")
            return empty and not PUSHED - await arrived()

        await eventually(settled)
    return await arrived()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("command", COMMANDS)
async def test_nothing_is_lost_when_a_reply_is(
    command: str, times: int, proxy: LossyProxy, client: Redis, receiver: Receiver, integrator: str
) -> None:
    """For every payload, twins among them, at least as many arrive as were pushed; what was rejected is dead."""
    proxy.lose[command] = times
    arrived = await forward_all(proxy, client, receiver, integrator)
    assert proxy.lost[command]
    assert not PUSHED - arrived
    assert arrived[b"poison"] == PUSHED[b"poison"]


async def test_every_command_is_in_the_list(
    proxy: LossyProxy, client: Redis, receiver: Receiver, integrator: str
) -> None:
    """A new kind of command needs a test of its lost reply."""
    await forward_all(proxy, client, receiver, integrator)
    assert proxy.seen.keys() - CONNECTION_SETUP == set(COMMANDS)
