"""Several CDRs in one POST: a real Redis, a receiver on a real socket."""

import hashlib
import json
import signal
from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Final

import httpx
import pytest
from standardwebhooks import Webhook

from app.cdr import webhook_id
from app.config.timings import Timings
from app.demo.embedded import free_port
from tests.support.forwarder import numbered
from tests.support.harness import eventually, gone, running
from tests.support.members import Member, members_of
from tests.support.pace import clock, paced
from tests.support.scripted import BROKEN, REJECTED, TAKEN, Answer, Request, Script
from tests.support.world import DefaultWorld

TOO_LARGE: Final = Answer(413)
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOT_JSON: Final = (
    *(b"", b"poison", b"\xff\x00\r\n1", b"NaN", b'{"a":-Infinity}', b"\xef\xbb\xbf{}", b"{} {}"),
    *(b'"\xed\xa0\x80"', b"[" * 1000 + b"]" * 1000, '{"a":1}'.encode("utf-16")),
)


@pytest.fixture
def world(default_world: DefaultWorld) -> DefaultWorld:
    return default_world.with_variables(webhook_batch_size="100")


def contains(answer: Answer, *, one_of: bytes) -> Script:
    """Return a script that gives this answer to requests that contain `one_of`, and takes the others."""
    return lambda question: answer if one_of in question.body else TAKEN


def members(requests: Iterable[Request], form: str = "envelope") -> list[Member]:
    return [member for request in requests for member in members_of(request.body, request.headers, form)]


def taken(world: DefaultWorld, form: str = "envelope") -> Counter[bytes]:
    """Count the CDRs that were answered 2xx, in batches and alone."""
    accepted = [request for request in world.receiver.requests if 200 <= request.status < 300]
    return Counter(member.cdr for member in members(accepted, form))


async def all_settled(world: DefaultWorld, within: float = 20) -> None:
    await eventually(lambda: gone(world.redis, *world.waiting), within)


# What a batch is


async def test_a_hundred_cdrs_in_one_post(world: DefaultWorld) -> None:
    """Their own bytes, each with its id, and headers that name the request; signed as a whole."""
    cdrs = numbered("cdr", 100)
    await world.redis.rpush(world.source, *cdrs)
    await world.with_variables(webhook_secret=SECRET).start()
    await all_settled(world)
    [request] = world.receiver.requests
    found = members_of(request.body, request.headers)
    assert found == [Member(webhook_id(cdr), 1, "cdr", cdr) for cdr in cdrs]
    assert [entry["cdr"] for entry in json.loads(request.body)] == [json.loads(cdr) for cdr in cdrs]
    ids = "\n".join(webhook_id(cdr) for cdr in cdrs)
    assert request.webhook_id == f"batch_{hashlib.sha256(ids.encode()).hexdigest()[:32]}"
    assert (request.headers["webhook-count"], request.headers["webhook-attempt"]) == ("100", "1")
    assert request.headers["content-type"] == "application/json"
    assert Webhook(SECRET).verify(request.body, dict(request.headers))


@pytest.mark.parametrize(("form", "content_type"), [("json", "application/json"), ("ndjson", "application/x-ndjson")])
async def test_other_formats(world: DefaultWorld, form: str, content_type: str) -> None:
    """The CDRs' own bytes and nothing else; lines have a content type of their own, plain POSTs keep theirs."""
    cdrs = [*numbered("cdr", 40), b"poison"]
    await world.redis.rpush(world.source, *cdrs)
    await world.with_variables(webhook_batch_format=form).start()
    await all_settled(world)
    batch, alone = sorted(world.receiver.requests, key=lambda request: "webhook-count" not in request.headers)
    assert [member.cdr for member in members_of(batch.body, batch.headers, form)] == cdrs[:40]
    assert batch.body == (b"[%b]" % b",".join(cdrs[:40]) if form == "json" else b"\n".join([*cdrs[:40], b""]))
    assert (batch.headers["content-type"], alone.headers["content-type"]) == (content_type, "application/json")


async def test_a_content_type_that_is_set_is_sent(world: DefaultWorld) -> None:
    """Some receivers of lines want another one."""
    await world.redis.rpush(world.source, b"{}")
    lines = world.with_variables(webhook_batch_format="ndjson", webhook_content_type="application/x-jsonlines")
    await lines.start()
    await all_settled(world)
    assert [request.headers["content-type"] for request in world.receiver.requests] == ["application/x-jsonlines"]


async def test_one_alone_has_the_same_format(world: DefaultWorld) -> None:
    """A receiver needs to know one format."""
    await world.redis.rpush(world.source, b"{}")
    await world.start()
    await all_settled(world)
    [request] = world.receiver.requests
    assert members_of(request.body, request.headers) == [Member(webhook_id(b"{}"), 1, "cdr", b"{}")]
    assert request.headers["webhook-count"] == "1"


@pytest.mark.parametrize("form", ["envelope", "json", "ndjson"])
async def test_what_is_no_strict_json_goes_alone(world: DefaultWorld, form: str) -> None:
    """As a plain POST of its own bytes; the others share a batch though such ones stand between them."""
    good = [b'{"a": 1e5, "a": "\xc3\xa9"}', b"null", b'"\\u0000"', b"[" * 100 + b"]" * 100, b' {"b":1}\t']
    bad = [*NOT_JSON, b'{\n"lines": 2}'] if form == "ndjson" else [*NOT_JSON]
    mixed = [cdr for pair in zip(bad[:5], good, strict=True) for cdr in pair] + bad[5:]
    await world.redis.rpush(world.source, *mixed)
    await world.with_variables(webhook_batch_format=form).start()
    await all_settled(world)
    batches = [request for request in world.receiver.requests if "webhook-count" in request.headers]
    alone = [request for request in world.receiver.requests if "webhook-count" not in request.headers]
    assert [[member.cdr for member in members([batch], form)] for batch in batches] == [good]
    assert Counter(request.body for request in alone) == Counter(bad)
    assert all(request.webhook_id == webhook_id(request.body) for request in alone)


async def test_a_batch_holds_so_many_bytes(world: DefaultWorld) -> None:
    """Each body keeps within the limit; a CDR that is larger goes by itself."""
    cdrs = [b'{"n":%d,"x":"%b"}' % (number, b"x" * 900) for number in range(30)] + [b'"%b"' % (b"y" * 9000)]
    await world.redis.rpush(world.source, *cdrs)
    await world.with_variables(webhook_batch_bytes="5000").start()
    await all_settled(world)
    assert taken(world) == Counter(cdrs)
    sizes = sorted(len(request.body) for request in world.receiver.requests)
    assert len(sizes) == 9  # four in each: 30 / 4, the rest, and the large one
    assert sizes[-2] <= 5000 < sizes[-1]


# Waiting for more


async def test_it_waits_for_more_and_no_longer_than_the_linger(world: DefaultWorld) -> None:
    """A trickle is sent together, by the time that the first of it may wait."""
    await world.with_variables(webhook_batch_linger="0.8").start(slot=1)
    cdrs, pushed_at = numbered("cdr", 40), clock()
    async for number in paced(40, per_second=100):
        await world.redis.rpush(world.source, cdrs[number])
    await all_settled(world)
    [request] = world.receiver.requests
    assert Counter(member.cdr for member in members([request])) == Counter(cdrs)
    assert 0.8 <= request.at - pushed_at <= 1.2


async def test_a_full_batch_waits_for_nothing(world: DefaultWorld) -> None:
    """However long the linger; what is left over waits for it, and a stop gives it back."""
    cdrs = numbered("cdr", 250)
    await world.redis.rpush(world.source, *cdrs)
    forwarder = await world.with_variables(webhook_batch_linger="60", webhook_concurrency="1").start()
    await eventually(lambda: taken(world).total() == 200)
    await eventually(lambda: world.redis.llen(world.processing), 5)
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended() == 0
    assert await world.redis.lrange(world.source, 0, -1) == cdrs[200:]
    assert await gone(world.redis, world.processing, world.retry, world.retrying)


async def test_no_linger_takes_what_there_is(world: DefaultWorld) -> None:
    """One that comes alone is sent at once."""
    await world.with_variables(webhook_batch_linger="0").start(slot=1)
    pushed_at = clock()
    await world.redis.rpush(world.source, b"{}")
    await eventually(lambda: world.receiver.requests)
    assert world.receiver.requests[0].at - pushed_at < 0.5


# A batch that fails


async def test_a_batch_that_fails_comes_back_in_halves(world: DefaultWorld) -> None:
    """Until the offender stands alone; each half counts one more attempt, and only equal ones share a batch."""
    world.receiver.script = contains(BROKEN, one_of=b'"cdr-7"')
    cdrs = numbered("cdr", 64)
    await world.redis.rpush(world.source, *cdrs)
    halving = world.with_variables(webhook_batch_size="64", webhook_backoff="0.05", webhook_backoff_max="0.2")
    await halving.start()
    await eventually(lambda: taken(world).total() == 63)
    await eventually(lambda: _most_attempts(world) >= 9)
    assert taken(world) == Counter(cdr for cdr in cdrs if cdr != cdrs[7])
    for request in world.receiver.requests:
        found = members_of(request.body, request.headers)
        assert len(found) <= max(1, 64 >> (found[0].attempt - 1))
    assert await gone(world.redis, world.dead)


def _most_attempts(world: DefaultWorld) -> int:
    return max((int(request.headers["webhook-attempt"]) for request in world.receiver.requests), default=0)


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_one_in_ten_that_is_always_refused_delays_no_others_for_long(world: DefaultWorld) -> None:
    """All pauses are the defaults, and at first all batches fail; the 900 good ones arrive, and none is dead."""
    world.receiver.script = contains(REJECTED, one_of=b"bad-")
    good, bad = numbered("good", 900), numbered("bad", 100)
    mixed = [cdr for number, one in enumerate(bad) for cdr in (*good[number * 9 : number * 9 + 9], one)]
    await world.redis.rpush(world.source, *mixed)
    forwarder = await world.with_variables(webhook_batch_size="64").start(slot=1)
    await eventually(lambda: taken(world).total() == 900, 90)
    assert taken(world) == Counter(good)
    assert not forwarder.events("endpoint.lost")
    assert await gone(world.redis, world.dead)  # a minute between two rejections has not passed since it stood alone


async def test_a_rejected_batch_makes_no_dead_letters(world: DefaultWorld) -> None:
    """Two rejections of a batch are none of its members; alone, the bad one is rejected as always."""
    world.receiver.script = contains(REJECTED, one_of=b'"cdr-3"')
    cdrs = numbered("cdr", 16)
    await world.redis.rpush(world.source, *cdrs)
    settings = world.with_variables(webhook_batch_size="16", webhook_backoff="0.01").settings
    async with running(settings, Timings(claim_wait=0.1, between_rejections=0.4)):
        numbers = count()

        async def is_dead_while_others_are_taken() -> bool:
            await world.redis.rpush(world.source, f'"good {next(numbers)}"')
            return bool(await world.redis.exists(world.dead))

        await eventually(is_dead_while_others_are_taken)
        await all_settled(world)
    [letter] = [json.loads(letter) for letter in await world.redis.lrange(world.dead, 0, -1)]
    assert (letter["cdr"].encode(), letter["reason"], letter["status"]) == (cdrs[3], "rejected", 400)
    assert letter["attempts"] >= 6  # with 16, 8, 4, 2, and twice alone


async def test_what_a_413_has_taught(world: DefaultWorld) -> None:
    """Half of the bytes that were too many: later batches begin there, and none is dead for it."""
    limit = 3000
    world.receiver.script = lambda question: TOO_LARGE if len(question.body) > limit else TAKEN
    first, later = numbered("first", 100), numbered("later", 100)
    few = world.with_variables(webhook_concurrency="1", webhook_backoff="0.05", webhook_backoff_max="0.2")
    await few.start()
    await world.redis.rpush(world.source, *first)
    await all_settled(world)
    assert taken(world) == Counter(first)
    before = len(world.receiver.requests)
    await world.redis.rpush(world.source, *later)
    await all_settled(world)
    assert taken(world) == Counter(first + later)
    assert {request.status for request in world.receiver.requests[before:]} == {TAKEN.status}
    assert len(world.receiver.requests) - before < 20
    assert await gone(world.redis, world.dead)


async def test_an_endpoint_that_is_down_is_probed_with_one_cdr(world: DefaultWorld) -> None:
    """Failed batches open the breaker; a probe is a batch of one; then all arrive, in batches."""
    world.receiver.script = lambda question: TAKEN if question.seconds > 4 else Answer(503)
    cdrs = numbered("cdr", 1000)
    await world.redis.rpush(world.source, *cdrs)
    forwarder = await world.with_variables(webhook_batch_size="20").start()
    await eventually(lambda: forwarder.events("endpoint.lost"))
    opened = clock()
    await eventually(lambda: taken(world).total() == 1000)
    probes = [request for request in world.receiver.requests if request.at > opened + 0.5 and request.status == 503]
    assert {request.headers["webhook-count"] for request in probes} == {"1"}
    assert taken(world) == Counter(cdrs)


async def test_a_batch_whose_answers_are_about_cdrs_opens_no_breaker(world: DefaultWorld) -> None:
    """500, as long as it holds more than one: in each there may be one that the endpoint cannot bear."""
    world.receiver.script = lambda question: BROKEN if question.seconds < 0.5 else TAKEN
    cdrs = numbered("cdr", 2000)
    await world.redis.rpush(world.source, *cdrs)
    forwarder = await world.with_variables(webhook_breaker_threshold="1").start()
    await all_settled(world)
    assert len([request for request in world.receiver.requests if request.status == 500]) >= 10
    assert taken(world) == Counter(cdrs)
    assert not forwarder.events("endpoint.lost")


async def test_retry_after_holds_the_endpoint(world: DefaultWorld) -> None:
    """As for single CDRs: nothing is sent meanwhile."""
    busy = Answer(429, (("retry-after", "2"),))
    world.receiver.script = lambda question: busy if question.seconds < 0.1 else TAKEN
    await world.with_variables(webhook_concurrency="1").start(slot=1)
    await world.redis.rpush(world.source, *numbered("cdr", 300))
    await eventually(lambda: taken(world).total() == 300)
    refused, *rest = world.receiver.requests
    assert refused.status == 429
    assert rest[0].at - refused.at >= 2


async def test_a_batch_uses_one_attempt_of_the_rate(world: DefaultWorld) -> None:
    """And counts as one in the metrics, where CDRs are counted as delivered."""
    port = free_port()
    limited = world.with_variables(webhook_rate_limit="2", webhook_batch_linger="60", ops_port=str(port))
    await limited.start(slot=1)
    await world.redis.rpush(world.source, *numbered("cdr", 400))
    await all_settled(world)
    at = [request.at for request in world.receiver.requests]
    assert len(at) == 4
    assert at[-1] - at[0] >= 1
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'cdr_forwarder_attempts_total{endpoint="webhook",result="success",source="cdr"} 4.0' in text
    assert 'cdr_forwarder_delivered_total{endpoint="webhook",source="cdr"} 400.0' in text


# Nothing is lost


async def test_a_crash_during_a_batch(world: DefaultWorld) -> None:
    """All of it comes again, under the same ids; nothing is left in Redis."""
    world.receiver.script = lambda question: Answer(204, delay=30 if question.seconds < 1 else 0)
    cdrs = numbered("cdr", 100)
    await world.redis.rpush(world.source, *cdrs)
    short = world.with_variables(lease="2", sweep_interval="1")
    forwarder = await short.start()
    await eventually(lambda: world.receiver.requests)
    await forwarder.kill()
    await short.start()
    await eventually(lambda: taken(world).total() == 200)
    await eventually(lambda: gone(world.redis, *world.waiting, f"{world.processing}:2"))
    first, *later = world.receiver.requests
    assert Counter(members([first])) == Counter(members(later))


async def test_a_stop_lets_a_batch_finish(world: DefaultWorld) -> None:
    """What is on the wire is acked, all of it; what waits is given back."""
    world.receiver.script = lambda _: Answer(204, delay=1)
    cdrs = numbered("cdr", 150)
    await world.redis.rpush(world.source, *cdrs)
    forwarder = await world.with_variables(webhook_concurrency="1").start()
    await eventually(lambda: world.receiver.requests)
    forwarder.signal(signal.SIGTERM)
    assert await forwarder.ended() == 0
    assert taken(world) == Counter(cdrs[:100])
    assert await world.redis.lrange(world.source, 0, -1) == cdrs[100:]
    assert await gone(world.redis, world.processing, world.retry, world.retrying)
