"""Connect an operator's command to Redis, and explain what fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.config.settings import Settings
from app.errors import CommandError, LoginRefusedError, OperatorRedisError, OutOfMemoryError, TransientRedisError
from app.store.client import COMMAND, Link
from app.store.refusals import ADVICE


@asynccontextmanager
async def linked(settings: Settings) -> AsyncIterator[Link]:
    """Open a link to Redis for a command. Its errors become sentences for the person who typed it."""
    link = Link(settings.sources[0], COMMAND)
    try:
        yield link
    except (TransientRedisError, OperatorRedisError) as error:
        raise CommandError(explained(error, settings)) from error
    finally:
        await link.aclose()


def explained(error: Exception, settings: Settings) -> str:
    wrong, advice = wrong_and_advice(error, settings)
    return f"{wrong.rstrip('.')}; {advice}"


def wrong_and_advice(error: Exception, settings: Settings) -> tuple[str, str]:
    """Return what is wrong with Redis, and what a person is to do."""
    login = settings.sources[0].redis
    redis = f"{login.url_variable}: {login.shown_url}"
    match error:
        case LoginRefusedError():
            return f"{redis} refuses our login: {error}", ADVICE["login"]
        case OperatorRedisError():
            return f"{redis} refuses: {error}", "fix it in Redis: the ACL rights, or the type of the key"
        case OutOfMemoryError():
            return f"{redis} is full (maxmemory)", "give it more memory, or let it drain first"
        case TransientRedisError(away=True):
            return f"{redis} does not answer: {error}", "is it running, and reachable from here?"
        case _:
            return f"{redis} cannot do it just now: {error}", "try again in a moment"
