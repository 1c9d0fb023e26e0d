"""What does not fit among the processes of one source is told."""

import asyncio
from contextlib import suppress

from redis.asyncio import Redis
from structlog.typing import EventDict

from app.demo.embedded import EmbeddedRedis
from app.store.client import client_name
from app.store.neighbours import Neighbours
from tests.redis.conftest import OpenRig
from tests.redis.rig import Rig, acl
from tests.support.harness import eventually


async def look(rig: Rig, said: list[EventDict]) -> list[EventDict]:
    """Return what two looks say."""
    neighbours = Neighbours(rig.link, rig.lease)
    for each in (neighbours.compare, neighbours.look_for_others):
        await each()
    return [event for event in said if event["event"] in ("installation.differs", "source.shared")]


async def test_alike(open_rig: OpenRig, said: list[EventDict]) -> None:
    """Replicas of one configuration are nothing to tell of."""
    rig, _ = await open_rig(), await open_rig()
    assert await look(rig, said) == []


async def test_other_endpoints(open_rig: OpenRig, said: list[EventDict]) -> None:
    """CDRs would go to some of the endpoints only."""
    rig, _ = await open_rig(endpoints=("a", "b")), await open_rig(endpoints=("a",))
    [told] = await look(rig, said)
    assert (told["event"], told["slot"], told["log_level"]) == ("installation.differs", 2, "error")


async def test_one_of_them_does_not_fan_out(open_rig: OpenRig, said: list[EventDict]) -> None:
    """One has CDR_WEBHOOK_URL, and the other one a named endpoint."""
    rig, _ = await open_rig(endpoints=("crm",)), await open_rig()
    assert len(await look(rig, said)) == 1


async def test_other_urls(open_rig: OpenRig, said: list[EventDict]) -> None:
    """Named by the endpoint, without the URL."""
    rig, _ = await open_rig(), await open_rig(webhook_url="http://127.0.0.1:9/secret-path")
    [told] = await look(rig, said)
    assert "webhook" in told["differences"]
    assert "secret-path" not in str(told)


async def test_an_owner_that_cannot_be_read(rig: Rig, said: list[EventDict]) -> None:
    """Nothing can be said of it."""
    for number, value in enumerate((b"\xff", b"[" * 100_000, b"9" * 5000, b'{"endpoints": 5}'), start=2):
        await rig.redis.set(rig.keys.slot(number).owner, value, px=60_000)
    assert await look(rig, said) == []
    await rig.redis.delete(*(rig.keys.slot(number).owner for number in range(2, 6)))


async def test_another_integrator_on_the_source(
    rig: Rig, redis_server: EmbeddedRedis, source: str, said: list[EventDict]
) -> None:
    """Each CDR reaches only one of them: an error, with their name."""
    async with Redis.from_url(redis_server.url, client_name=client_name("other", source)) as other:
        await other.ping()
        neighbours = Neighbours(rig.link, rig.lease)
        await neighbours.look_for_others()
        assert neighbours.foreign_consumers == 1
    [told] = [event for event in said if event["event"] == "source.shared"]
    assert (told["integrators"], told["log_level"]) == (["other"], "error")


async def test_not_another_integrator(rig: Rig, redis_server: EmbeddedRedis, source: str) -> None:
    """Another source, another database, or a command that a person has typed, takes nothing from ours."""
    others = [
        (client_name("other", f"{source}:too"), 0),
        (client_name("other", source), 1),
        (client_name("other", source, "command"), 0),
        ("cdr-forwarder", 0),
    ]
    clients = [Redis.from_url(f"{redis_server.url[:-1]}{db}", client_name=name) for name, db in others]
    for client in clients:
        await client.ping()
    neighbours = Neighbours(rig.link, rig.lease)
    await neighbours.look_for_others()
    assert neighbours.foreign_consumers == 0
    for client in clients:
        await client.aclose()


async def test_an_old_script_that_pops(rig: Rig, redis_server: EmbeddedRedis, source: str) -> None:
    """It is counted, whatever its list is; a forwarder is not, and nobody in another database."""
    others = [("old-script", 0), (client_name("other", source), 0), ("old-script", 1)]
    before = Neighbours(rig.link, rig.lease)
    await before.look_for_others()
    clients = [Redis.from_url(f"{redis_server.url[:-1]}{db}", client_name=name) for name, db in others]
    for client in clients:
        await client.lpop(f"{source}-other")
    neighbours = Neighbours(rig.link, rig.lease)
    await neighbours.look_for_others()
    assert neighbours.poppers == before.poppers + 1
    for client in clients:
        await client.aclose()


async def test_it_looks_on_where_it_may_not(open_rig: OpenRig, limited: str, client: Redis) -> None:
    """CLIENT LIST may be withheld: a look that fails costs nothing."""
    rig = await open_rig(redis_username=limited, redis_password="secret")
    await acl(client, "SETUSER", limited, "-client")
    neighbours = Neighbours(rig.link, rig.lease)
    looking = asyncio.create_task(neighbours.run())
    await eventually(lambda: "client list" in rig.link.refused)
    assert not looking.done()
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking
