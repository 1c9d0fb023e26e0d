"""Run all checks and print the findings."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from app.cli.check.endpoints import of_endpoint
from app.cli.check.finding import Finding, fail
from app.cli.check.lists import of_lists
from app.cli.check.notice import of_notice
from app.cli.check.redis import of_redis
from app.cli.check.settings import of_settings
from app.cli.operation import Sources, wrong_and_advice
from app.cli.terminal import say_json, verdict_line
from app.config.endpoint import EndpointSettings
from app.config.redis_login import RedisLogin
from app.config.settings import Settings
from app.config.source import DEFAULT_SOURCE
from app.errors import CommandError, OperatorRedisError, TransientRedisError
from app.store.client import Link


async def check(sources: Sources, *, send: bool, notice: bool, as_json: bool) -> None:
    """Print a line for each finding. Raises CommandError where something fails."""
    failures = 0
    async for finding in findings(sources, send=send, notice=notice):
        failures += finding.level == "fail"
        if as_json:
            say_json(vars(finding))
        else:
            verdict_line(finding.level, finding.what, finding.advice)
    if failures:
        raise CommandError(f"{failures} of these must be fixed")


async def findings(sources: Sources, *, send: bool, notice: bool) -> AsyncIterator[Finding]:
    """Yield the findings, each Redis first. The endpoints are checked even if Redis is away."""
    settings = sources.settings
    for finding in of_settings(settings):
        yield finding
    on: dict[RedisLogin, list[Link]] = defaultdict(list)
    for link in sources.links:
        on[link.source.redis].append(link)
    for links in on.values():
        async for finding in _of_redis(links, sources):
            yield finding
    looks = [of_endpoint(one, send=send, source=_source_of(one, settings)) for one in settings.endpoints]
    for found in await asyncio.gather(*looks):
        for finding in found:
            yield finding
    if notice:
        yield await of_notice(settings)


async def _of_redis(links: Sequence[Link], sources: Sources) -> AsyncIterator[Finding]:
    """Yield what is found in one Redis, and then of each source that it has. What fails there ends only this."""
    who = links
    try:
        async for finding in of_redis(links[0]):
            yield _titled(finding, who, sources)
        for link in links:
            who = [link]
            async for finding in of_lists(link, sources.settings):
                yield _titled(finding, who, sources)
    except (TransientRedisError, OperatorRedisError) as error:
        yield _titled(fail(*wrong_and_advice(error, who[0])), who, sources)


def _source_of(endpoint: EndpointSettings, settings: Settings) -> str:
    """Return the first source that goes to the endpoint; where none does, any will do."""
    return next((one.name for one in settings.sources if endpoint in one.endpoints), DEFAULT_SOURCE)


def _titled(finding: Finding, links: Sequence[Link], sources: Sources) -> Finding:
    """Say which sources it is about, where there are several."""
    if not sources.are_several:
        return finding
    names = ", ".join(link.source.name for link in links)
    return finding.titled(f"source {names}" if len(links) == 1 else f"sources {names}")
