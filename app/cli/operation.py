"""Connect an operator's command to the Redis of each source, and explain what fails."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from app.config.settings import Settings
from app.errors import (
    CommandError,
    LoginRefusedError,
    OperatorRedisError,
    OutOfMemoryError,
    TransientRedisError,
    UsageError,
)
from app.store.client import COMMAND, Link
from app.store.refusals import ADVICE

Done = TypeVar("Done")


@dataclass
class Sources:
    """Holds a link to the Redis of each source that a command is about, and those that have failed it."""

    settings: Settings
    links: Sequence[Link]
    failed: dict[str, str] = field(default_factory=dict)
    """What is wrong, by the name of the source."""

    @property
    def are_several(self) -> bool:
        """Tell whether several are configured, so that their names tell the reader something."""
        return len(self.settings.sources) > 1

    def choose(self, name: str | None) -> None:
        """Leave only that source; None: all of them. Raises UsageError."""
        if name is None:
            return
        names = [link.source.name for link in self.links]
        if name.lower() not in names:
            raise UsageError(f"--source: there is no {name}; there are {', '.join(names)}")
        self.links = [link for link in self.links if link.source.name == name.lower()]

    def titled(self, link: Link, text: str) -> str:
        """Return the text behind the name of the source, where there are several."""
        return f"source {link.source.name}: {text}" if self.are_several else text

    async def each(self, work: Callable[[Link], Awaitable[Done]]) -> list[Done]:
        """Do it for each source that has not failed, also after another one does. Raises CommandError if all have."""
        done = []
        for link in self.links:
            if link.source.name not in self.failed:
                try:
                    done.append(await work(link))
                except UsageError:
                    raise
                except (CommandError, OperatorRedisError, TransientRedisError) as error:
                    self.failed[link.source.name] = self.titled(link, explained(error, link))
        if len(self.failed) == len(self.links):
            self.end()
        return done

    def end(self) -> None:
        """Raise CommandError with a line for each source that has failed, if one has."""
        if self.failed:
            raise CommandError("\n".join(self.failed.values()))


@asynccontextmanager
async def linked(settings: Settings) -> AsyncIterator[Sources]:
    """Open a link to each source for a command. A failure becomes a sentence for the person who typed it."""
    sources = Sources(settings, [Link(source, COMMAND) for source in settings.sources])
    opened = sources.links
    try:
        yield sources
        sources.end()
    finally:
        for link in opened:
            await link.aclose()


def explained(error: Exception, link: Link) -> str:
    if isinstance(error, CommandError):
        return str(error)
    wrong, advice = wrong_and_advice(error, link)
    return f"{wrong.rstrip('.')}; {advice}"


def wrong_and_advice(error: Exception, link: Link) -> tuple[str, str]:
    """Return what is wrong with the Redis of a source, and what a person is to do."""
    login = link.source.redis
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
