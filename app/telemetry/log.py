"""Set up the log: events go to standard error, one line each."""

import logging
from collections import deque
from typing import Any, Final, Literal

import structlog
from structlog.typing import EventDict, Processor

from app.telemetry import events, stderr
from app.telemetry.printable import plain

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

recent: Final[deque[dict[str, Any]]] = deque(maxlen=50)
"""The last events, for the status page, without those about single CDRs, which are at debug."""


def configure(level: str, form: Literal["json", "console"]) -> None:
    """Write events of `level` and above to standard error, one line each.

    From then on, nothing that is written there can block or end the process: lines pass through a bounded queue.
    """
    stream = stderr.queued(events.lines_dropped)
    renderers: dict[str, list[Processor]] = {
        "json": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        # Not the pretty traceback: it shows local variables, and those hold CDRs.
        "console": [
            _make_plain,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ],
    }
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _remember,
            *renderers[form],
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    # Libraries such as asyncio and redis-py log by themselves: those lines become events too.
    logging.basicConfig(handlers=[_Library(logging.WARNING)], force=True)


class _Library(logging.Handler):
    """Makes events of what libraries log, so that each line is one."""

    def emit(self, record: logging.LogRecord) -> None:
        events.library_reported(record)


def _make_plain(_: object, _method: str, event: EventDict) -> EventDict:
    """Take out what steers a terminal: others wrote some of it. JSON escapes it by itself."""
    return {name: plain(value) if isinstance(value, str) else value for name, value in event.items()}


def _remember(_: object, method: str, event: EventDict) -> EventDict:
    if method != "debug":
        recent.append({name: value for name, value in event.items() if name != "exc_info"})
    return event


def keep_silent() -> None:
    """Write no events: a command answers the person who typed it in a sentence."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
