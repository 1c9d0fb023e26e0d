"""Three sources on two Redis servers, three endpoints that are unlike each other: `python -m tests.crash.several`.

The first endpoint takes batches and is half sick; the second wants access tokens, which are revoked now and then by a
token server that fails half of the time; the third is plain, and down half of the time. Everything else is as in
`tests.crash.run`, which has the options.
"""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from tests.crash.endpoint import DENIED, Answer, Endpoint
from tests.crash.injuries import Injuries
from tests.crash.run import Asked, CrashRun, Source, main
from tests.support.token_server import CLIENT, SECRET, TokenEndpoint, refusal, token_endpoint

BATCH_SIZE = 50
TOKENS_LAST = 2.0
"""Seconds until all are revoked, while faults last."""


class Guarded(Endpoint):
    """Wants a token that was given since the last time when all were revoked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.tokens = TokenEndpoint()
        self.revoked = 0
        self.revocations = 0

    def answer_to(self, headers: Mapping[str, str], body: bytes) -> Answer:
        if headers["authorization"].removeprefix("Bearer ") in self.tokens.given[self.revoked :]:
            return super().answer_to(headers, body)
        self.answers[DENIED.status] += 1
        return DENIED

    def revoke(self) -> None:
        self.revoked = len(self.tokens.given)
        self.revocations += 1


class SeveralSources(CrashRun):
    """One run with all that a configuration may have several of. Three sources take longer to begin than one."""

    pauses = (0.5, 2.0)

    def __init__(self, directory: Path, asked: Asked) -> None:
        super().__init__(directory, asked)
        self.guarded = Guarded("oauth")
        self.endpoints = [Endpoint("batched"), self.guarded, Endpoint("plain")]
        first, second = self.sources[0].redis, self.server("redis-2")
        self.sources = [Source("cdr", first), Source("campaigns", first, "tail"), Source("inbound", second)]

    async def run(self) -> bool:
        async with AsyncExitStack() as stack:
            self.guarded.tokens = await stack.enter_async_context(token_endpoint())
            is_right = await super().run()
        print(f"tokens      {len(self.guarded.tokens.given)} given, all revoked {self.guarded.revocations} times")
        print(f"batches     of up to {self.endpoints[0].most_at_once} CDRs")
        return is_right and self.endpoints[0].most_at_once > 1

    def cdr(self, source: Source, kind: str, identity: str) -> bytes:
        """Return one that can be in a batch, and that no other source has."""
        return f'"{kind} {source.name} {identity}"'.encode()

    def variables(self) -> dict[str, str]:
        given = {
            "CDR_ENDPOINTS__BATCHED__BATCH_SIZE": str(BATCH_SIZE),
            "CDR_ENDPOINTS__OAUTH__OAUTH2_TOKEN_URL": self.guarded.tokens.url,
            "CDR_ENDPOINTS__OAUTH__OAUTH2_CLIENT_ID": CLIENT,
            "CDR_ENDPOINTS__OAUTH__OAUTH2_CLIENT_SECRET": SECRET,
        }
        for source in self.sources:
            own = f"CDR_SOURCES__{source.name}__"
            given |= {f"{own}KEY": source.key, f"{own}OLDEST": source.oldest, f"{own}REDIS_URL": source.redis.url}
        common = super().variables()
        del common["CDR_SOURCE_KEY"]
        return common | given

    async def hurt(self, injuries: Injuries) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.be_forgetful())
            await super().hurt(injuries)

    async def be_forgetful(self) -> None:
        """Revoke all tokens now and then, and give no new ones for as long again."""
        while not self.over.is_set():
            await self.unless_over(TOKENS_LAST)
            self.guarded.revoke()
            self.guarded.tokens.answers = refusal(503, "temporarily_unavailable")
            await self.unless_over(TOKENS_LAST)
            self.guarded.tokens.answers = b""


if __name__ == "__main__":
    sys.exit(main(SeveralSources))
