"""What is looked at, and how it is told."""

import asyncio
from collections.abc import AsyncIterator

from app.check_endpoints import of_endpoint
from app.check_lists import of_lists
from app.check_redis import of_redis
from app.check_settings import of_settings
from app.errors import CommandError, OperatorRedisError, TransientRedisError
from app.finding import Finding, fail
from app.link import Link
from app.operation import wrong_and_advice
from app.settings import Settings
from app.terminal import say_json, verdict_line


async def check(link: Link, settings: Settings, *, send: bool, as_json: bool) -> None:
    """Print a line for each finding. Raises CommandError where something fails."""
    failures = 0
    async for finding in findings(link, settings, send=send):
        failures += finding.level == "fail"
        if as_json:
            say_json(vars(finding))
        else:
            verdict_line(finding.level, finding.what, finding.advice)
    if failures:
        raise CommandError(f"{failures} of these must be set right")


async def findings(link: Link, settings: Settings, *, send: bool) -> AsyncIterator[Finding]:
    """Yield what is found, Redis first; where it is away, the endpoints are looked at all the same."""
    for finding in of_settings(settings):
        yield finding
    try:
        for look in of_redis, of_lists:
            async for finding in look(link, settings):
                yield finding
    except (TransientRedisError, OperatorRedisError) as error:
        yield fail(*wrong_and_advice(error, settings))
    for found in await asyncio.gather(*(of_endpoint(one, send=send) for one in settings.endpoints)):
        for finding in found:
            yield finding
