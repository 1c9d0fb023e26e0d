"""Headers of an attempt, on the wire: placeholders, and those that not every configuration has."""

import hashlib
import re
import time
from collections.abc import Sequence
from typing import Any, Final

import pytest
from pydantic import SecretStr

from app.cdr import webhook_id
from app.config.endpoint import EndpointSettings
from app.delivery.attempt import Attempt
from app.delivery.message import Message
from app.delivery.verdict import Kind
from tests.support.http_faults import NO_CONTENT, answers, serve

BODY: Final = b'{"type": "cdr", "payload": {"number": "0825550142"}}'
HASH: Final = hashlib.sha256(BODY).hexdigest()[:32]
CDR: Final = Message(webhook_id(BODY), BODY, 1, "campaigns")
BATCH: Final = Message("batch_00112233445566778899aabbccddeeff", b"[]", 2, "campaigns", cdrs=3)


async def arrive(messages: Sequence[Message], *, names_source: bool = False, **overrides: Any) -> list[dict[str, str]]:
    """Return the headers of each POST as a receiver reads them; none of them may be there twice."""
    async with serve(answers(NO_CONTENT)) as server:
        settings = EndpointSettings(name="crm-eu_1", url=SecretStr(server.url), **overrides)
        attempt = Attempt(settings, names_source=names_source)
        for message in messages:
            assert (await attempt.post(message)).kind is Kind.DELIVERED
        await attempt.aclose()
    return [_headers(request) for request in server.requests]


async def arrives(message: Message = CDR, **overrides: Any) -> dict[str, str]:
    [headers] = await arrive([message], **overrides)
    return headers


def _headers(request: bytes) -> dict[str, str]:
    lines = [line.split(": ", 1) for line in request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]]
    assert len({name for name, _ in lines}) == len(lines)
    return dict(lines)


# Placeholders


async def test_each_placeholder_stands_for_its_value() -> None:
    """All of them in one value, beside braces and percent signs that mean nothing."""
    value = "{webhook_id} {attempt} {source} {endpoint} {trace_id} {{literal}} 100%b"
    got = await arrives(headers={"X-All": value, "x-when": "{timestamp}"})
    assert got["x-all"] == f"cdr_{HASH} 1 campaigns crm-eu_1 {HASH} {{literal}} 100%b"
    assert got["x-when"] == got["webhook-timestamp"]
    assert abs(int(got["x-when"]) - time.time()) < 60


async def test_an_idempotency_key() -> None:
    """The same for each attempt at a CDR, as payment services want it."""
    first, second = await arrive([CDR, CDR._replace(attempt=2)], headers={"Idempotency-Key": "{webhook_id}"})
    assert first["idempotency-key"] == second["idempotency-key"] == webhook_id(BODY)


async def test_a_traceparent() -> None:
    """W3C Trace Context: one trace for a CDR, a span of its own for each attempt, in all headers of it alike."""
    headers = {"traceparent": "00-{trace_id}-{span_id}-01", "b3": "{trace_id}-{span_id}-1"}
    attempts = await arrive([CDR] * 20, headers=headers)
    spans = [re.fullmatch(f"00-{HASH}-([0-9a-f]{{16}})-01", got["traceparent"]) for got in attempts]
    assert all(span and span[1] != "0" * 16 for span in spans)
    assert len({span[1] for span in spans if span}) == 20
    assert all(span and got["b3"] == f"{HASH}-{span[1]}-1" for got, span in zip(attempts, spans, strict=True))


async def test_cloud_events_in_binary_mode() -> None:
    """Its required attributes are headers; the content type is that of the data."""
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "com.example.cdr",
        "ce-source": "/enigma/{source}",
        "ce-id": "{webhook_id}",
    }
    got = await arrives(headers=headers)
    assert {name: value for name, value in got.items() if name.startswith("ce-")} == {
        "ce-specversion": "1.0",
        "ce-type": "com.example.cdr",
        "ce-source": "/enigma/campaigns",
        "ce-id": webhook_id(BODY),
    }
    assert got["content-type"] == "application/json"


async def test_in_a_batch_they_are_those_of_the_batch() -> None:
    """It has an id and an attempt of its own."""
    got = await arrives(BATCH, headers={"Idempotency-Key": "{webhook_id}", "x": "{trace_id} {attempt}"})
    assert got["idempotency-key"] == BATCH.webhook_id
    assert got["x"] == "00112233445566778899aabbccddeeff 2"


@pytest.mark.parametrize("name", ["content-type", "Authorization", "x%b"])
async def test_any_header_that_may_be_configured_may_hold_one(name: str) -> None:
    """It takes the place of ours, as one without placeholders does; a name with a percent sign is one, too."""
    got = await arrives(headers={name: "for {endpoint}"}, username="ann", password=SecretStr("s3cret"))
    assert got[name.lower()] == "for crm-eu_1"


async def test_literal_braces_need_no_placeholder_beside_them() -> None:
    """Each is written twice."""
    assert (await arrives(headers={"x": '{{"tenant": 7}}'}))["x"] == '{"tenant": 7}'


async def test_they_stand_beside_a_signature() -> None:
    """Each value goes to its own header."""
    got = await arrives(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", headers={"x": "{attempt}", "y": "{source}"})
    assert got["webhook-signature"].startswith("v1,")
    assert (got["x"], got["y"]) == ("1", "campaigns")


# Ours that depend on the configuration


async def test_the_source_is_named_where_there_are_several() -> None:
    """And not where there is one: its name would say nothing."""
    assert (await arrives(names_source=True))["webhook-source"] == "campaigns"
    assert "webhook-source" not in await arrives()


async def test_a_batch_says_how_many_it_holds() -> None:
    """A POST of one CDR's own bytes does not: it is no batch of one."""
    cdr, batch, one = await arrive([CDR, BATCH, BATCH._replace(cdrs=1)])
    assert (batch["webhook-count"], one["webhook-count"]) == ("3", "1")
    assert "webhook-count" not in cdr
