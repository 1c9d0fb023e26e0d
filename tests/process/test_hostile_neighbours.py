"""Whoever reaches the operator server, and has no token, cannot stop or slow deliveries: attacks on a real process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.demo.embedded import EmbeddedRedis
from tests.attacks import attacks
from tests.attacks.scene import DESCRIPTORS, HEALTH, MIB, TOKEN, Scene, measured, scene_on
from tests.support.forwarder import is_told, is_up


@pytest.fixture
async def scene(redis_server: EmbeddedRedis, client: Redis, integrator: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_on(redis_server, client, tmp_path, integrator) as scene:
        yield scene


async def test_idle_connections_stop_no_delivery(scene: Scene) -> None:
    """A thousand of them, where the process may have 256 descriptors."""
    cost = await measured(scene, attacks.idle_connections)
    assert cost.found["health"] == 200
    assert cost.found["descriptors"] < DESCRIPTORS / 2
    await scene.deliver()
    assert [event["event"] for event in scene.forwarder.events() if event["level"] == "error"] == []


async def test_fat_unfinished_heads_cost_no_memory(scene: Scene) -> None:
    """110 connections, each with a head of megabytes, in fields that are short enough one by one."""
    cost = await measured(scene, attacks.fat_unfinished_heads)
    assert cost.found["health"] == 200
    assert cost.memory < 24 * MIB
    assert cost.log < 2000
    assert "Traceback" not in scene.forwarder.log.read_text()


async def test_requests_in_one_packet_cost_no_memory(scene: Scene) -> None:
    """A hundred thousand of them, and more, on 60 connections."""
    cost = await measured(scene, attacks.requests_in_one_packet)
    assert cost.found["health"] == 200
    assert cost.memory < 24 * MIB


async def test_requests_without_host_write_no_log(scene: Scene) -> None:
    """Nor do those that are no requests: a line tells of all."""
    cost = await measured(scene, attacks.requests_without_host)
    assert cost.found["answers"] == {400: 600}
    assert (await is_told(scene.forwarder, "operator_server.refused", within=5))["level"] == "warning"
    assert cost.log < 2000
    assert "Traceback" not in scene.forwarder.log.read_text()


async def test_a_token_cannot_be_guessed_quickly(scene: Scene) -> None:
    """Neither by those who wait for the answer, nor by those who hang up; and whoever has it is not kept out."""
    cost = await measured(scene, attacks.guesses)
    assert cost.found["judged"] <= 10
    assert cost.found["all"] < 400
    assert await scene.ask(attacks.dropping(TOKEN)) == [200]
    told = await is_told(scene.forwarder, "operator_server.refused", within=5)
    assert "wrong token" in told["reasons"]


async def test_large_dead_letters_keep_redis_free(scene: Scene) -> None:
    """Many ask for a list of them and hang up: that ends with them, and Redis answers others all the while."""
    cost = await measured(scene, attacks.large_dead_letters)
    assert cost.found["answer"] == 200
    assert cost.slowest < 100
    assert is_up(scene.forwarder)


async def test_a_page_of_another_site_reads_nothing(scene: Scene) -> None:
    """By a name of its own that leads to loopback (DNS rebinding)."""
    hosts = (b"evil.example", b"evil.example:%d" % scene.port, b"localhost.evil")
    foreign = [attacks.LIST.replace(b"localhost", host) for host in hosts]
    assert await scene.ask(*foreign) == [421, 421, 421]
    assert await scene.ask(HEALTH.replace(b"localhost", b"127.0.0.1:%d" % scene.port)) == [200]
