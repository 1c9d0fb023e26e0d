"""`receive`: what an integrator sees before there is a receiver of their own."""

import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from standardwebhooks import Webhook

from app.cdr import webhook_id
from app.telemetry.printable import escaped
from tests.conftest import StartChild
from tests.support.batches import FORMATS, content_type
from tests.support.harness import Child, eventually, gone

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
OTHER = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy"
BODY = b'{"number": "0825550142"}'


async def url_of(receiver: Child) -> str:
    found = await eventually(lambda: re.search(r"http://\S+/cdr", receiver.log.read_text()))
    return str(found[0])


async def said(receiver: Child) -> list[str]:
    """Stop it, and return its lines without the first."""
    receiver.signal(signal.SIGTERM)
    assert await receiver.ended() == 0
    return receiver.log.read_text().splitlines()[1:]


def headers(secret: str = SECRET, name: str = "cdr_1", late: float = 0, body: bytes = BODY) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=late)
    signed = Webhook(secret).sign(name, at, body.decode())
    return {"webhook-id": name, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signed}


def line_of(cdr: bytes, news: str) -> str:
    return f"{webhook_id(cdr)} {news}, {len(cdr)} bytes: {escaped(cdr)}"


@pytest.mark.parametrize("way", ["option", "variable", "file"])
async def test_it_verifies_and_deduplicates(way: str, start_child: StartChild, tmp_path: Path) -> None:
    """As any receiver must: with the secret of an option, of the variable, or of its file."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    variables = {"variable": {"CDR_WEBHOOK_SECRET": SECRET}, "file": {"CDR_WEBHOOK_SECRET_FILE": f"{tmp_path}/secret"}}
    option = ["--secret", SECRET] if way == "option" else []
    receiver = await start_child(variables.get(way, {}), "receive", "--port", "0", *option)
    url = await url_of(receiver)
    requests = [headers(), headers(), headers(OTHER), {"webhook-id": "cdr_1"}, headers(late=400)]
    requests.append(headers() | {"webhook-id": "cdr_2"})
    async with httpx.AsyncClient() as client:
        answers = [await client.post(url, content=BODY, headers=sent) for sent in requests]
    assert [answer.status_code for answer in answers] == [204, 204, 401, 401, 401, 401]
    new, duplicate, wrong, unsigned, old, another, summary = await said(receiver)
    assert new == f"204 cdr_1 new, attempt 0, {len(BODY)} bytes: {BODY.decode()}"
    assert duplicate.startswith("204 cdr_1 duplicate")
    assert (
        wrong
        == another.replace("cdr_2", "cdr_1")
        == ("401 cdr_1 the signature is wrong: is it the same secret on both sides?")
    )
    assert "not signed" in unsigned
    assert "webhook-timestamp" in old
    assert summary.startswith("Received 1 CDRs and 1 duplicates, refused 0 requests, and 4 whose signature")


@pytest.mark.parametrize("format_name", FORMATS)
async def test_each_cdr_of_a_batch_is_a_line(format_name: str, start_child: StartChild) -> None:
    """With the id by which it is deduplicated: within a batch, and from one to the next."""
    receiver = await start_child({}, "receive", "--port", "0", "--secret", SECRET)
    url = await url_of(receiver)
    write, other = FORMATS[format_name], b'{"text": "a \\"quoted\\" [,{"}'
    async with httpx.AsyncClient() as client:
        for cdrs in ([BODY, other, BODY], [other]):
            body = write(cdrs)
            sent = headers(name="batch_1", body=body) | {"content-type": content_type(format_name)}
            answer = await client.post(url, content=body, headers=sent)
            assert answer.status_code == 204
    lines = await said(receiver)
    assert [line.strip() for line in lines[:6]] == [
        f"204 batch_1 3 in a batch, attempt 0, {len(write([BODY, other, BODY]))} bytes",
        line_of(BODY, "new"),
        line_of(other, "new"),
        line_of(BODY, "duplicate"),
        f"204 batch_1 1 in a batch, attempt 0, {len(write([other]))} bytes",
        line_of(other, "duplicate"),
    ]
    assert lines[6].startswith("Received 2 CDRs and 2 duplicates, refused 0 requests")


async def test_a_batch_that_cannot_be_read_is_refused(start_child: StartChild) -> None:
    """Also one that holds fewer CDRs than its sender says; and the CDRs of a refused one are still new."""
    receiver = await start_child({}, "receive", "--port", "0", "--secret", SECRET)
    url = await url_of(receiver)
    answers = []
    async with httpx.AsyncClient() as client:
        for body, count in ((b"[" + BODY, "1"), (b"[" + BODY + b"]", "2"), (b"[" + BODY + b"]", "1")):
            sent = headers(name="batch_1", body=body) | {"webhook-count": count}
            answers.append((await client.post(url, content=body, headers=sent)).status_code)
    assert answers == [400, 400, 204]
    half, short, _, new, summary = await said(receiver)
    assert half.startswith("400 batch_1 a batch that cannot be read")
    assert short.startswith("400 batch_1 a batch that cannot be read")
    assert " new, " in new
    assert summary.startswith("Received 1 CDRs and 0 duplicates, refused 2 requests")


async def test_it_answers_and_waits_as_told(start_child: StartChild) -> None:
    """--status, --fail, --delay; and with --no-body it prints no CDR."""
    async with httpx.AsyncClient() as client:
        for options, status in (
            (["--status", "422", "--no-body"], 422),
            (["--fail", "1"], 503),
            (["--delay", "0.3"], 204),
        ):
            receiver = await start_child({}, "receive", "--port", "0", *options)
            answer = await client.post(await url_of(receiver), content=BODY)
            assert answer.status_code == status
            line, _ = await said(receiver)
            assert line.startswith(f"{status} (no webhook-id)")
            assert ("0825550142" in line) == ("--no-body" not in options)
    assert answer.elapsed > timedelta(seconds=0.3)


async def test_what_is_sent_steers_no_terminal(start_child: StartChild) -> None:
    """A CDR with control characters is one line, and they are escaped; a long one is cut."""
    receiver = await start_child({}, "receive", "--port", "0")
    url = await url_of(receiver)
    async with httpx.AsyncClient() as client:
        await client.post(url, content=b"\x1b[31m\n\xff", headers=[(b"webhook-id", b"cdr_\x9b")])
        await client.post(url, content=b"x" * 9_000)
    lines = await said(receiver)
    assert all(line.isprintable() for line in lines)
    assert lines[0].endswith(r"\x1b[31m\n" + "\N{REPLACEMENT CHARACTER}")
    assert len(lines[1]) < 2_100


async def test_what_cannot_work_is_one_sentence(start_child: StartChild) -> None:
    """A port that is taken; a secret that is none, which is not shown."""
    first = await start_child({}, "receive", "--port", "0")
    port = (await url_of(first)).split(":")[2].split("/")[0]
    taken = await start_child({}, "receive", "--port", port)
    assert await taken.ended() == 1
    assert re.fullmatch(r"cannot listen on 127\.0\.0\.1, port \d+: .*; choose another --port\n", taken.log.read_text())
    wrong = await start_child({}, "receive", "--secret", "hunter2")
    assert await wrong.ended() == 2
    assert wrong.log.read_text().startswith("--secret: got ***; must be whsec_ and base64")


async def test_a_forwarder_delivers_to_it(
    start_child: StartChild, variables: dict[str, str], client: Redis, source: str
) -> None:
    """Signed and verified; each CDR arrives although half of the requests fail."""
    receiver = await start_child({}, "receive", "--port", "0", "--secret", SECRET, "--fail", "0.5")
    variables |= {"CDR_WEBHOOK_URL": await url_of(receiver), "CDR_WEBHOOK_SECRET": SECRET}
    await client.rpush(source, *[b'{"call": %d}' % number for number in range(30)])
    await start_child(variables, "run")
    await eventually(lambda: receiver.log.read_text().count(" new, ") == 30)
    await eventually(lambda: gone(client, source))
    lines = await said(receiver)
    assert any("refused, attempt 1" in line for line in lines)
    assert "and 0 whose signature" in lines[-1]
