"""An endpoint that wants access tokens: a real process, a real Redis, a real token server."""

from typing import Any

from app.cdr import History
from app.config.timings import Timings
from app.store.retry_set import read_member
from tests.support.harness import eventually, running
from tests.support.token_server import CLIENT, SECRET, Guarded, TokenEndpoint, guarded, refusal, token_endpoint
from tests.support.world import World

CDRS = [b'{"type": "cdr", "payload": {"call_ref": "%d"}}' % number for number in range(40)]


def given_tokens(world: World, receiver: Guarded, tokens: TokenEndpoint, **variables: str) -> World:
    return world.with_variables(
        webhook_url=receiver.url,
        webhook_oauth2_token_url=f"{tokens.url}?tenant=hush",
        webhook_oauth2_client_id=CLIENT,
        webhook_oauth2_client_secret=SECRET,
        **variables,
    )


async def test_a_token_server_that_fails_is_an_outage_and_its_end_ends_it(world: World) -> None:
    """Two lines that name it; no CDR is lost or dead, none is sent without a token, and no log shows a secret."""
    async with (
        token_endpoint(answers=b"HTTP/1.1 503 Down\r\ncontent-length: 0\r\n\r\n") as tokens,
        guarded() as receiver,
    ):
        here = given_tokens(world, receiver, tokens)
        receiver.valid = {"token-1"}
        await world.redis.rpush(world.source, *CDRS)
        forwarder = await here.start()
        [lost] = await eventually(lambda: forwarder.events("endpoint.lost"))
        assert receiver.tokens == []
        asked = tokens.asked
        tokens.answers = b""
        await eventually(lambda: set(receiver.taken) == set(CDRS))
        await eventually(lambda: forwarder.events("endpoint.back"))
        await eventually(lambda: len(forwarder.events("cdr.delivered")) == len(CDRS))
        log = forwarder.log.read_text()
    place = tokens.url.split("/")[2]
    assert (lost["level"], lost["error"]) == ("warning", f"token server {place}: 503")
    assert asked <= 5  # and not once for each of the forty
    assert await world.redis.llen(world.dead) == 0
    assert not [secret for secret in ("token-", SECRET, "hush", "0825550142") if secret in log]


async def test_a_wrong_secret_is_an_error_that_says_what_to_do(world: World) -> None:
    """It needs a person, and dead-letters nothing."""
    async with token_endpoint(secret="another") as tokens, guarded() as receiver:
        await world.redis.rpush(world.source, *CDRS)
        forwarder = await given_tokens(world, receiver, tokens).start()
        [lost] = await eventually(lambda: forwarder.events("endpoint.lost"))
        place = tokens.url.split("/")[2]
    assert (lost["level"], lost["error"]) == ("error", f"token server {place}: 401 invalid_client")
    assert lost["advice"] == "check OAUTH2_CLIENT_ID and OAUTH2_CLIENT_SECRET"
    assert await world.redis.llen(world.dead) == 0


async def test_tokens_that_are_revoked_early_fail_no_cdr(world: World) -> None:
    """Each attempt that gets a 401 goes out once more with a new token."""
    async with token_endpoint() as tokens, guarded("token-1") as receiver:
        here = given_tokens(world, receiver, tokens)
        await world.redis.rpush(world.source, *CDRS[:20])
        forwarder = await here.start()
        await eventually(lambda: len(receiver.taken) == 20)
        receiver.valid = {"token-2"}
        await world.redis.rpush(world.source, *CDRS[20:])
        await eventually(lambda: len(receiver.taken) == 40)
        assert sorted(receiver.taken) == sorted(CDRS)
        assert forwarder.events("attempt.failed") == []
        assert tokens.asked == 2


async def test_a_failure_of_the_token_server_is_never_a_strike(world: World) -> None:
    """A CDR that failed before, while others were accepted since, is not to blame for it."""
    async with token_endpoint() as tokens, guarded("token-1") as receiver:

        def judge(body: bytes) -> int:
            if body == b"bad":
                return 500
            receiver.valid = set()
            tokens.answers = refusal(503, "temporarily_unavailable")
            return 204

        receiver.judge = judge
        here = given_tokens(world, receiver, tokens, webhook_concurrency="1", webhook_breaker_threshold="1000")
        await world.redis.rpush(world.source, b"bad", b"good")
        async with running(here.settings, Timings(claim_wait=0.1, token_pause=0.01, longest_token_pause=0.02)):

            async def history() -> History | None:
                keys = (world.retry, world.retrying)
                members: list[Any] = [one for key in keys for one in await world.redis.zrange(key, 0, -1)]
                found = [read_member(member)[0] for member in members]
                return next((one for one in found if one.last_result == "token"), None)

            known = await eventually(history)
    assert receiver.taken == [b"good"]
    assert known.strikes == 0
    assert known.attempts >= 2
