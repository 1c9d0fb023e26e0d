"""Find what waits in the keys of sources that are no longer configured."""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from app.config.redis_url import same_database
from app.config.source import Source
from app.errors import ForwarderError
from app.store.client import Link
from app.store.leftovers import PLACES, waiting_elsewhere
from app.telemetry import source_events


async def left_over_sources(link: Link, sources: Sequence[Source]) -> Counter[str]:
    """Return how many CDRs each of them has here, dead letters among them. `sources`: all that are configured.

    One database is looked through for the first source that it has: the keys do not say which one was beside them.
    """
    if _first_on(link.source, sources) is not link.source:
        return Counter()
    integrator = link.source.integrator
    ours = rf"(?:{{[^}}]*}}:)?{re.escape(integrator)}:(?:[a-z0-9_-]+:)?(?:{PLACES}):([a-z0-9_-]+)(?::[0-9]+)?"
    pattern = f"*{integrator}:*" if link.source.redis.place.kind == "cluster" else f"{integrator}:*"
    return await waiting_elsewhere(link, pattern, ours, {source.name for source in sources})


def _first_on(source: Source, sources: Sequence[Source]) -> Source:
    url = source.redis.url.get_secret_value()
    return next(one for one in sources if same_database(one.redis.url.get_secret_value(), url))


async def report_sources(link: Link, sources: Sequence[Source]) -> None:
    """Say at start what is left over of sources; nothing else depends on it."""
    with suppress(ForwarderError):
        for source, number in (await left_over_sources(link, sources)).items():
            source_events.source_left_over(source, number)
