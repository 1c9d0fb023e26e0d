"""Run all checks and print the findings."""

import asyncio
from collections.abc import AsyncIterator

from app.cli.check.endpoints import of_endpoint
from app.cli.check.finding import Finding, fail
from app.cli.check.lists import of_lists
from app.cli.check.notice import of_notice
from app.cli.check.redis import of_redis
from app.cli.check.settings import of_settings
from app.cli.operation import wrong_and_advice
from app.cli.terminal import say_json, verdict_line
from app.config.settings import Settings
from app.errors import CommandError, OperatorRedisError, TransientRedisError
from app.store.client import Link


async def check(link: Link, settings: Settings, *, send: bool, notice: bool, as_json: bool) -> None:
    """Print a line for each finding. Raises CommandError where something fails."""
    failures = 0
    async for finding in findings(link, settings, send=send, notice=notice):
        failures += finding.level == "fail"
        if as_json:
            say_json(vars(finding))
        else:
            verdict_line(finding.level, finding.what, finding.advice)
    if failures:
        raise CommandError(f"{failures} of these must be fixed")


async def findings(link: Link, settings: Settings, *, send: bool, notice: bool = False) -> AsyncIterator[Finding]:
    """Yield the findings, Redis first. The endpoints are checked even if Redis is away."""
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
    if notice:
        yield await of_notice(settings)
