"""How often and how long an endpoint is tried, and what came of it."""

import asyncio
from typing import Any, Final

import httpx
import pytest
import respx
from app.delivery.delivery import Delivery, Outcome
from app.delivery.endpoint import Endpoint
from app.lane.parking import FailingRecord, now
from pydantic import SecretStr

from app.cdr import Cdr
from app.config.endpoint import EndpointSettings
from app.delivery.breaker import Breaker
from app.delivery.verdict import Kind, Verdict
from app.telemetry.metrics import LaneMetrics
from tests.harness import eventually

URL: Final = "http://crm.example/hook"
BODY: Final = b'{"type": "cdr"}'
QUICK: Final[dict[str, Any]] = {"backoff": 0.001, "backoff_max": 0.001, "attempts": 4}
SLOW: Final[dict[str, Any]] = {"backoff": 100_000.0, "backoff_max": 100_000.0, "attempts": 4}


def answer(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


class Stage:
    """A delivery to an endpoint that gives `answers` in turn, and its last one from then on."""

    def __init__(self) -> None:
        self.router = respx.Router()
        self.stopping = asyncio.Event()
        self.breaker = Breaker("webhook", 100)
        self._route = self.router.post(URL)

    def answers(self, *answers: httpx.Response | type[Exception]) -> None:
        remaining = list(answers)

        def next_answer(_: httpx.Request) -> httpx.Response:
            given = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            if isinstance(given, httpx.Response):
                return httpx.Response(given.status_code, headers=given.headers, stream=httpx.ByteStream(b""))
            raise given("as the test says")

        self._route.side_effect = next_answer

    async def deliver(self, cdr: Cdr, settings: dict[str, Any]) -> tuple[Outcome, Verdict]:
        one = EndpointSettings(url=SecretStr(URL), **settings)
        endpoint = Endpoint(one, httpx.MockTransport(self.router.async_handler))
        async with asyncio.timeout(20):
            return await Delivery(endpoint, one, self.breaker, LaneMetrics("webhook"), self.stopping).deliver(cdr)

    @property
    def attempts(self) -> list[str]:
        """`webhook-attempt` of each request."""
        return [call.request.headers["webhook-attempt"] for call in self.router.calls]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def parked(attempts: int) -> Cdr:
    """Return a CDR that has failed before, as the sweep finds it."""
    return Cdr(BODY, recovered=True, failing=FailingRecord(now(), attempts, now()), attempts=attempts)


async def test_what_is_taken_at_once_is_sent_once(stage: Stage) -> None:
    """2xx ends it."""
    stage.answers(answer(204))
    assert await stage.deliver(Cdr(BODY), QUICK) == (Outcome.DELIVERED, Verdict(Kind.DELIVERED, "success", 204))
    assert stage.attempts == ["1"]


async def test_it_is_tried_as_often_as_configured(stage: Stage) -> None:
    """After ATTEMPTS tries the outcome is EXHAUSTED, with the last verdict; webhook-attempt counts them."""
    stage.answers(answer(500), answer(404), answer(503))
    cdr = Cdr(BODY)
    assert await stage.deliver(cdr, QUICK) == (Outcome.EXHAUSTED, Verdict(Kind.TRANSIENT, "http_5xx", 503))
    assert stage.attempts == ["1", "2", "3", "4"]
    assert cdr.attempts == 4


async def test_one_attempt_is_one_attempt(stage: Stage) -> None:
    """ATTEMPTS=1 means no second try."""
    stage.answers(answer(500))
    outcome, _ = await stage.deliver(Cdr(BODY), QUICK | {"attempts": 1})
    assert (outcome, stage.attempts) == (Outcome.EXHAUSTED, ["1"])


@pytest.mark.parametrize("failure", [answer(500), answer(301), answer(401), httpx.ConnectError, httpx.ReadTimeout])
async def test_a_failure_that_may_pass_is_tried_again(stage: Stage, failure: httpx.Response | type[Exception]) -> None:
    """An error of the server, of the network or of an operator; the next 2xx delivers."""
    stage.answers(failure, failure, answer(200))
    assert await stage.deliver(Cdr(BODY), QUICK) == (Outcome.DELIVERED, Verdict(Kind.DELIVERED, "success", 200))
    assert stage.attempts == ["1", "2", "3"]


@pytest.mark.parametrize("before", [[], [answer(503)], [answer(503), answer(503)]])
async def test_a_rejection_is_final(stage: Stage, before: list[httpx.Response]) -> None:
    """The first 400 ends it, whatever came before."""
    stage.answers(*before, answer(400))
    assert await stage.deliver(Cdr(BODY), QUICK) == (Outcome.REJECTED, Verdict(Kind.REJECTED, "http_4xx", 400))
    assert len(stage.attempts) == len(before) + 1


@pytest.mark.parametrize("before", [[], [answer(500)]])
@pytest.mark.parametrize("seconds", [0, 30])
async def test_a_hold_ends_the_attempts_at_once(stage: Stage, before: list[httpx.Response], seconds: int) -> None:
    """Nothing sleeps in a slot for as long as an endpoint asks: it is waited for in processing."""
    stage.answers(*before, answer(429, retry_after=str(seconds)))
    outcome, verdict = await stage.deliver(Cdr(BODY), QUICK)
    assert (outcome, verdict.hold) == (Outcome.EXHAUSTED, seconds)
    assert len(stage.attempts) == len(before) + 1


async def test_a_parked_cdr_gets_one_attempt_and_goes_on_counting(stage: Stage) -> None:
    """The rest of its attempts are tries at growing intervals; the receiver sees the number of all."""
    stage.answers(answer(500))
    outcome, _ = await stage.deliver(cdr := parked(attempts=7), QUICK)
    assert (outcome, stage.attempts, cdr.attempts) == (Outcome.EXHAUSTED, ["8"], 8)


async def test_a_parked_cdr_that_is_taken_is_delivered(stage: Stage) -> None:
    """The one attempt is as good as the first."""
    stage.answers(answer(204))
    outcome, _ = await stage.deliver(parked(attempts=4), QUICK)
    assert (outcome, stage.attempts) == (Outcome.DELIVERED, ["5"])


async def test_every_attempt_is_the_same_bytes_under_the_same_id(stage: Stage) -> None:
    """A receiver that deduplicates knows the second for the first."""
    stage.answers(answer(500))
    await stage.deliver(Cdr(b"\xff\x00 odd"), QUICK)
    sent = {(call.request.headers["webhook-id"], call.request.content) for call in stage.router.calls}
    assert sent == {(Cdr(b"\xff\x00 odd").webhook_id, b"\xff\x00 odd")}


async def test_the_wait_between_attempts_is_bounded(stage: Stage) -> None:
    """BACKOFF doubles, and BACKOFF_MAX ends that: with a small one, many attempts take no time."""
    stage.answers(answer(500))
    await stage.deliver(Cdr(BODY), {"backoff": 0.001, "backoff_max": 0.002, "attempts": 60})
    assert stage.attempts[-1] == "60"


async def test_a_stop_ends_the_wait_between_attempts(stage: Stage) -> None:
    """What waits for its next attempt is left at once, with the verdict of the last one."""
    stage.answers(answer(503))
    async with asyncio.TaskGroup() as tasks:
        delivery = tasks.create_task(stage.deliver(Cdr(BODY), SLOW))
        await eventually(lambda: stage.attempts)
        assert not delivery.done()
        stage.stopping.set()
    assert delivery.result() == (Outcome.EXHAUSTED, Verdict(Kind.TRANSIENT, "http_5xx", 503))
    assert stage.attempts == ["1"]


async def test_after_a_stop_nothing_is_tried_again(stage: Stage) -> None:
    """An attempt on the wire finishes, and no other begins."""
    stage.answers(answer(503))
    stage.stopping.set()
    outcome, _ = await stage.deliver(Cdr(BODY), SLOW)
    assert (outcome, stage.attempts) == (Outcome.EXHAUSTED, ["1"])


async def test_deliveries_of_one_lane_do_not_share_their_attempts(stage: Stage) -> None:
    """Each CDR has all of its attempts, however many are delivered side by side."""
    stage.answers(answer(500))
    one = EndpointSettings(url=SecretStr(URL), **QUICK)
    endpoint = Endpoint(one, httpx.MockTransport(stage.router.async_handler))
    delivery = Delivery(endpoint, one, Breaker("webhook", 100), LaneMetrics("webhook"), stage.stopping)
    cdrs = [Cdr(b"%d" % number) for number in range(20)]
    await asyncio.gather(*map(delivery.deliver, cdrs))
    assert [cdr.attempts for cdr in cdrs] == [4] * 20
