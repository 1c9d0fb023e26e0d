"""Push CDRs that were pulled by hand from Enigma to the source."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import BinaryIO, Final
from uuid import uuid4

from app.cli.file import open_bytes
from app.cli.operation import Sources, explained
from app.cli.terminal import progress, say
from app.errors import CommandError, OperatorRedisError, OutOfMemoryError, TransientRedisError, UsageError
from app.store.client import Link
from app.store.ends import ENDS
from app.store.keys import Topology
from app.store.operations import Operation, Operations
from app.store.patience import ask

MOST_LINES: Final = 500
MOST_BYTES: Final = 2**20
LONGEST_LINE: Final = 16 * 2**20
MOST_COMPLAINTS: Final = 10
REMEMBERED_MS: Final = 3_600_000
NOT_APPLIED: Final = (OutOfMemoryError, OperatorRedisError)
"""After these errors a page was certainly not pushed; after any other, it may have been."""

Line = tuple[int, bytes]


@dataclass(frozen=True)
class Page:
    lines: list[Line]

    @property
    def span(self) -> str:
        return f"{self.lines[0][0]} to {self.lines[-1][0]}"


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """Open a file that can be read twice. The content of a pipe is copied to a temporary file first."""
    with TemporaryFile() as copy, open_bytes(name) as file:
        if file.seekable() and name != "-":
            yield file
        else:
            copyfileobj(file, copy)
            yield copy


def lines_of(file: BinaryIO) -> Iterator[Line]:
    """Yield the number and the exact bytes of each line that is not empty, without its newline."""
    file.seek(0)
    for number in count(1):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        if bare := line.removesuffix(b"\n").removesuffix(b"\r"):
            yield number, bare


def checked(file: BinaryIO) -> int:
    """Return how many CDRs there are. Raises CommandError with the number of a bad line, never its content."""
    number, complaints = 0, []
    for line, cdr in lines_of(file):
        number += 1
        if wrong := problem(cdr):
            complaints.append(f"line {line}: {wrong}")
        if len(complaints) == MOST_COMPLAINTS:
            break
    if complaints:
        raise CommandError("\n".join([*complaints, "nothing was pushed: correct these lines, or leave them out"]))
    return number


def problem(cdr: bytes) -> str:
    if len(cdr) >= LONGEST_LINE:
        return "is too long for a CDR"
    try:
        return "" if isinstance(json.loads(cdr.decode()), dict) else "is JSON, but not an object"
    except UnicodeDecodeError:
        return "is not UTF-8"
    except (ValueError, RecursionError):
        return "is not JSON"


def pages(lines: Iterable[Line]) -> Iterator[Page]:
    page: list[Line] = []
    size = 0
    for line in lines:
        page.append(line)
        size += len(line[1])
        if len(page) == MOST_LINES or size >= MOST_BYTES:
            yield Page(page)
            page, size = [], 0
    if page:
        yield Page(page)


@dataclass
class Injection:
    """Pushes pages to the newest end of the source. Each has a number, and is applied once."""

    link: Link

    def __post_init__(self) -> None:
        self._script = self.link.script("inject")
        self._topology = Topology(self.link.source)
        self._operation = self._topology.short.operation(uuid4().hex)
        self._push_newest = ENDS[self.link.source.oldest].push_newest

    async def run(self, file: BinaryIO, from_line: int) -> None:
        # All lines before the first push: a file with a bad line is corrected once, and not half-way through.
        there, pushed = checked(file), 0
        due = (line for line in lines_of(file) if line[0] >= from_line)
        try:
            with progress("pushed", there) as advance:
                for number, page in enumerate(pages(due), start=1):
                    await self._push(number, page, pushed)
                    pushed += len(page.lines)
                    advance(len(page.lines))
        finally:
            await Operations(self.link, self._topology).leave(Operation("inject", pushed))
        say(f"{pushed} CDRs pushed to {self.link.source.key}")

    async def _push(self, number: int, page: Page, before: int) -> None:
        args: list[bytes | str | int] = [number, REMEMBERED_MS, self._push_newest, *(cdr for _, cdr in page.lines)]
        keys = [self._operation, self.link.source.key]
        try:
            await ask(self.link, "inject", lambda: self._script(keys=keys, args=args))
        # Ctrl-C while a page was on its way: it may have been pushed.
        except asyncio.CancelledError:
            say(half_way(page, before, certain=False))
            raise
        except (TransientRedisError, OperatorRedisError) as error:
            certain = isinstance(error, NOT_APPLIED)
            said = explained(error, self.link), half_way(page, before, certain=certain)
            raise CommandError("\n".join(said)) from error


def half_way(page: Page, before: int, *, certain: bool) -> str:
    """Say how many were pushed, and how to go on."""
    first = page.lines[0][0]
    if certain:
        return f"{before} CDRs were pushed, all before line {first}; go on with --from-line {first}"
    return (
        f"{before} CDRs were pushed, all before line {first}; lines {page.span} may have been, since no reply came. "
        f"Go on with --from-line {first}: these may then arrive twice, under the same webhook-id"
    )


async def inject_file(sources: Sources, *, name: str, from_line: int) -> None:
    """Push what a file holds to the only source that was chosen. Raises UsageError where there are several."""
    if len(sources.links) > 1:
        names = ", ".join(link.source.name for link in sources.links)
        raise UsageError(f"--source: must say which, as there are several: {names}")
    with opened(name) as file:
        await sources.each(lambda link: Injection(link).run(file, from_line))
