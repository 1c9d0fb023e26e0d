"""A chat hears of outages and of dead letters, and deliveries never wait for it."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from app.config.timings import Timings
from tests.support.harness import eventually, gone, running
from tests.support.receiver import Receiver
from tests.support.world import World

SECRET = "whsec_bXkgb3duIHNlY3JldCBmb3Igbm90aWNlcw=="
QUICK = Timings(notice_wait=0.01, between_rejections=0.2)


class Chat(Receiver):
    """Listens for notices, and remembers their headers too."""

    def __init__(self) -> None:
        super().__init__()
        self.headers: list[Mapping[str, str]] = []

    async def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        self.headers.append(dict(headers))
        return await super().receive(headers, body)

    @property
    def heard(self) -> list[dict[str, Any]]:
        """What it has accepted."""
        return [json.loads(arrival.body) for arrival in self.arrivals if arrival.taken]

    @property
    def events(self) -> list[str]:
        return [notice["event"] for notice in self.heard]

    async def hears(self, *events: str) -> None:
        await eventually(lambda: len(self.events) >= len(events))
        assert self.events == list(events)


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    async with Chat() as chat:
        yield chat
        chat.gate.set()


def noisy(world: World, chat: Chat, **variables: str) -> World:
    """Return the world with notices; its endpoint counts as down after three failures."""
    return world.with_variables(notice_url=chat.url, webhook_breaker_threshold="3", **variables)


async def push(world: World, name: str, number: int = 5) -> None:
    await world.redis.rpush(world.source, *(f"{name} 0825550142 {one}" for one in range(number)))


def told(events: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [event for event in events if event["event"] == name]


async def goes_down(world: World, name: str = "cdr") -> None:
    world.receiver.status = 503
    await push(world, name)


async def test_an_endpoint_that_goes_down_and_comes_back_is_told(world: World, chat: Chat) -> None:
    """Who, what, why, how long and how many wait, in a plain sentence and as fields; signed, and nothing of a CDR."""
    world = noisy(world, chat, notice_secret=SECRET)
    await world.start(slot=1)
    await goes_down(world)
    await chat.hears("endpoint.lost")
    world.receiver.status = 204
    await chat.hears("endpoint.lost", "endpoint.back")

    lost, back = chat.heard
    place = world.receiver.url.split("/")[2]
    assert f"{world.integrator} on {lost['host']}: endpoint webhook ({place}) is down" in lost["text"]
    assert (lost["endpoint"], lost["place"], lost["error"]) == ("webhook", place, "503")
    assert "is back after" in back["text"]
    assert back["after"] >= 0.5
    for headers, arrival in zip(chat.headers, chat.arrivals, strict=True):
        Webhook(SECRET).verify(arrival.body, dict(headers))
        assert arrival.webhook_id.startswith("notice_")
        assert b"0825550142" not in arrival.body
    assert len({arrival.webhook_id for arrival in chat.arrivals}) == 2
    await eventually(lambda: gone(world.redis, *world.waiting))


async def test_redis_that_goes_away_and_comes_back_is_told(own_world: World, chat: Chat) -> None:
    """Also while it is away: notices do not need it."""
    world = noisy(own_world, chat)
    await world.start(slot=1)
    world.server.kill()
    await chat.hears("redis.lost")
    world.server.start()
    await chat.hears("redis.lost", "redis.back")
    assert "Redis (redis://" in chat.heard[0]["text"]
    assert "@" not in chat.heard[0]["text"]


async def test_a_login_that_is_refused_is_an_outage_too(own_world: World, chat: Chat) -> None:
    """Nothing moves then; the chat must not hear that Redis is back because it answers."""
    world = noisy(own_world, chat)
    await world.redis.config_set("requirepass", "a password")
    forwarder = await world.start()
    await chat.hears("redis.lost")
    await world.redis.auth("a password")
    await world.redis.config_set("requirepass", "")
    await chat.hears("redis.lost", "redis.back")
    assert forwarder.events("redis.accepted")


async def test_the_first_dead_letter_of_an_hour_is_told_and_the_others_are_summed(world: World, chat: Chat) -> None:
    """One at once; when the hour is over, one that counts all that came meanwhile."""
    world = noisy(world, chat)
    world.receiver.judge = lambda body: 422 if body.startswith(b"bad") else 204

    async def four_are_dead() -> bool:
        await push(world, "good", 1)  # a rejection is final only if others are accepted meanwhile
        return await world.redis.llen(world.dead) == 4

    async with running(world.settings, Timings(between_rejections=0.2, notice_hour=4, complaint_pause=0.1)):
        await push(world, "bad", 4)
        await eventually(four_are_dead)
        await eventually(lambda: len(chat.heard) == 2)

    assert sum(notice["number"] for notice in chat.heard) == 4
    assert set(chat.events) == {"cdrs.dead_lettered"}
    assert "dead letter" in chat.heard[0]["text"]
    first, second = (arrival.at for arrival in chat.arrivals)
    assert second - first >= 3.9


async def test_a_chat_that_hangs_delays_no_delivery_and_no_stop(world: World, chat: Chat) -> None:
    """The notice waits for its answer; all CDRs arrive, and SIGTERM is obeyed within two seconds of its farewell."""
    world = noisy(world, chat)
    chat.gate.clear()
    forwarder = await world.start(slot=1)
    await goes_down(world)
    await eventually(lambda: chat.at_the_gate)
    world.receiver.status = 204
    await push(world, "more", 200)
    await eventually(lambda: world.receiver.bodies.total() == 205)
    await eventually(lambda: gone(world.redis, *world.waiting))
    assert chat.at_the_gate
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended(4) == 0


async def test_a_chat_that_is_down_is_one_warning(world: World, chat: Chat) -> None:
    """Three tries under one id, and no storm; once it accepts again, a line says so, and it hears how things are."""
    world = noisy(world, chat)
    chat.status = 500
    with capture_logs() as events:
        async with running(world.settings, Timings(notice_wait=0.05, reminder=1)):
            await goes_down(world)
            await eventually(lambda: told(events, "notices.lost"))
            assert [arrival.attempt for arrival in chat.arrivals] == [1, 2, 3]
            assert len({arrival.webhook_id for arrival in chat.arrivals}) == 1
            await eventually(lambda: len(chat.arrivals) == 6)
            chat.status = 200
            await chat.hears("endpoint.lost")
            await eventually(lambda: told(events, "notices.back"))
    [warning] = told(events, "notices.lost")
    assert (warning["log_level"], warning["error"]) == ("warning", "500")


async def test_an_end_that_nobody_accepted_is_told_later(world: World, chat: Chat) -> None:
    """Or the chat would say for ever that the endpoint is down."""
    world = noisy(world, chat)
    async with running(world.settings, Timings(notice_wait=0.01, reminder=0.5)):
        await goes_down(world)
        await chat.hears("endpoint.lost")
        chat.status = 503
        world.receiver.status = 204
        await eventually(lambda: chat.refused >= 3)
        chat.status = 200
        await chat.hears("endpoint.lost", "endpoint.back")


async def test_an_endpoint_that_comes_and_goes_is_told_once_a_minute(world: World, chat: Chat) -> None:
    """Its second outage waits, and the last word is the truth."""
    world = noisy(world, chat)
    async with running(world.settings, Timings(notice_pause=4, first_probe=0.1, longest_probe=0.2)):
        await goes_down(world, "one")
        await chat.hears("endpoint.lost")
        world.receiver.status = 204
        await chat.hears("endpoint.lost", "endpoint.back")
        await goes_down(world, "two")
        await chat.hears("endpoint.lost", "endpoint.back", "endpoint.lost")
        world.receiver.status = 204
        await eventually(lambda: len(chat.heard) == 4)

    at = [arrival.at for arrival in chat.arrivals]
    assert at[2] - at[0] >= 3.9
    assert at[3] - at[1] >= 3.9
    assert chat.events == ["endpoint.lost", "endpoint.back"] * 2


async def test_a_redirect_is_not_followed(world: World, chat: Chat) -> None:
    """It is no acceptance: whoever answers is not whom the operator named."""
    world = noisy(world, chat)
    chat.status = 302
    with capture_logs() as events:
        async with running(world.settings, QUICK):
            await goes_down(world)
            await eventually(lambda: told(events, "notices.lost"))
    assert told(events, "notices.lost")[0]["error"] == "302"


async def test_a_chat_that_refuses_fields_gets_the_text_alone(world: World, chat: Chat) -> None:
    """Google Chat answers 400 to every field that it does not know."""
    world = noisy(world, chat)
    chat.judge = lambda body: 200 if json.loads(body).keys() == {"text"} else 400
    async with running(world.settings, QUICK):
        await goes_down(world)
        await eventually(lambda: chat.heard)
    assert "endpoint webhook" in chat.heard[0]["text"]


async def test_a_stop_while_an_endpoint_is_down_is_told(world: World, chat: Chat) -> None:
    """Or nobody would know why no end of the outage is told: the next process has not heard of it."""
    world = noisy(world, chat)
    forwarder = await world.start(slot=1)
    await goes_down(world)
    await chat.hears("endpoint.lost")
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended() == 0
    await chat.hears("endpoint.lost", "service.stopping")


async def test_without_a_url_nothing_is_told(world: World, chat: Chat) -> None:
    """It is off by default."""
    async with running(world.with_variables(webhook_breaker_threshold="3").settings, QUICK) as service:
        assert service.parts.notifier is None
        assert not [task for task in asyncio.all_tasks() if "Notifier" in str(task.get_coro())]
    assert not chat.arrivals


@pytest.mark.parametrize(
    ("status", "exit_status", "said"),
    [(204, 0, "took a test notice: 204"), (404, 1, "did not accept a test notice: 404"), (0, 1, "refused")],
)
async def test_check_sends_a_test_notice(world: World, chat: Chat, status: int, exit_status: int, said: str) -> None:
    """And says what came of it; the path of the URL, which is a secret, is not shown."""
    world = noisy(world, chat)
    chat.status = status
    if not status:
        await chat.stop()
    command = await world.command("check", "--notice")
    assert await command.ended() == exit_status
    output = " ".join(command.log.read_text().split())
    assert said in output
    assert "/***" in output
    assert "/cdr" not in output.partition("notices:")[2]
    if status == 204:
        assert chat.events == ["notice.test"]


async def test_check_needs_a_url_for_a_test_notice(world: World) -> None:
    """It says what to set."""
    command = await world.command("check", "--notice")
    assert await command.ended() == 1
    assert "CDR_NOTICE_URL is not set" in command.log.read_text()
