"""The whole way of a CDR, with a real Redis and a real receiver."""

from collections import Counter

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.support.harness import eventually, gone, running, settings_from
from tests.support.receiver import Receiver

ODD = {
    "documented": b'{"type": "cdr", "payload": {"extension": "1042", "number": "0825550142"}}',
    "older shape": b'{"type": "cdr", "payload": {"ref": "0825550142"}}',
    "not JSON": b"not json {",
    "not UTF-8": b"\xff\xfe\x00\x80 caf\xe9",
    "empty": b"",
    "1 MiB": b"x" * 1024 * 1024,
    "white space": b'  {"a":  1}\r\n',
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
async def test_a_cdr_arrives_byte_for_byte(
    body: bytes, client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """Whatever Enigma appends is what the endpoint gets, and it is gone afterwards."""
    await client.rpush(source, body)
    async with running(settings_from(variables)):
        await eventually(lambda: receiver.bodies[body])
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == {body: 1}


async def test_twins_are_delivered_as_often_as_they_were_pushed(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """Byte-identical CDRs are different calls to us, and one webhook-id to a receiver that deduplicates."""
    await client.rpush(source, *[b"twin"] * 5)
    async with running(settings_from(variables)):
        await eventually(lambda: receiver.bodies[b"twin"] == 5)
        await eventually(lambda: gone(client, source, processing))
    assert len(receiver.taken) == 1


@pytest.mark.parametrize(("oldest", "expected"), [("head", ["0", "1", "2"]), ("tail", ["2", "1", "0"])])
async def test_the_oldest_cdr_goes_first(
    oldest: str, expected: list[str], client: Redis, receiver: Receiver, variables: dict[str, str], source: str
) -> None:
    """CDR_SOURCE_OLDEST says which end of the source is old."""
    await client.rpush(source, "0", "1", "2")
    one_at_a_time = variables | {"CDR_SOURCE_OLDEST": oldest, "CDR_WEBHOOK_CONCURRENCY": "1"}
    async with running(settings_from(one_at_a_time)):
        await eventually(lambda: len(receiver.arrivals) == 3)
    assert [arrival.body.decode() for arrival in receiver.arrivals] == expected


async def test_a_backlog_is_drained(
    client: Redis, receiver: Receiver, variables: dict[str, str], source: str, processing: str
) -> None:
    """Batches of claims and acks lose none and deliver none twice."""
    pushed = [f"cdr {number}".encode() for number in range(3000)]
    await client.rpush(source, *pushed)
    async with running(settings_from(variables)):
        await eventually(lambda: gone(client, source, processing))
    assert receiver.bodies == Counter(pushed)


def oauth2(token_url: str) -> dict[str, str]:
    given = {"TOKEN_URL": token_url, "CLIENT_ID": "forwarder", "CLIENT_SECRET": "secret"}
    return {f"CDR_WEBHOOK_OAUTH2_{name}": value for name, value in given.items()}


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({}, []),
        ({"CDR_WEBHOOK_TLS_VERIFY": "false"}, ["endpoint.unverified"]),
        ({"CDR_WEBHOOK_URL": "http://billing.invalid/cdr"}, []),
        ({"CDR_WEBHOOK_URL": "http://ann:secret@billing.invalid/cdr"}, ["endpoint.unencrypted"]),
        (
            {"CDR_WEBHOOK_URL": "http://billing.invalid/cdr", "CDR_WEBHOOK_BEARER_TOKEN": "secret"},
            ["endpoint.unencrypted"],
        ),
        (oauth2("http://login.invalid/token"), ["endpoint.unencrypted"]),
        (oauth2("https://login.invalid/token") | {"CDR_WEBHOOK_URL": "http://a.invalid/"}, ["endpoint.unencrypted"]),
        (oauth2("https://login.invalid/token"), []),
        ({"CDR_WEBHOOK_BEARER_TOKEN": "secret"}, []),
        ({"CDR_WEBHOOK_URL": "https://billing.invalid/cdr", "CDR_WEBHOOK_BEARER_TOKEN": "secret"}, []),
    ],
)
async def test_what_is_chosen_at_the_cost_of_safety_is_told_at_start(
    chosen: dict[str, str], told: list[str], variables: dict[str, str]
) -> None:
    """Somebody may have forgotten it. Loopback is nobody's to listen to."""
    with capture_logs() as said:
        async with running(settings_from(variables | chosen)) as service:
            await eventually(service.parts.sources[0].lease.holds)
    assert [event["event"] for event in said if event["event"].startswith("endpoint.un")] == told
