"""Run the service, and make an exit status of whatever ends it."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final

from app.cli.command import BAD_CONFIGURATION
from app.config.environment import load_settings, log_format_of
from app.config.settings import LogFormat, Settings
from app.errors import ConfigurationError, RedisUnusableError
from app.service import Service
from app.telemetry import log, process_events, stderr, stdout
from app.telemetry.printable import plain

CRASHED: Final = 1

FAREWELL: Final = 1.0
"""Seconds that the last events may take to be written."""


def run_forwarder() -> int:
    """Run the service and return its exit status. Whatever ends it is an event."""
    stdout.keep_numbers()
    form = log_format_of()
    log.configure("info", form)
    try:
        return _run_service(load_settings())
    except ConfigurationError as error:
        _refuse(form, process_events.configuration_refused, *error.problems)
        return BAD_CONFIGURATION
    except RedisUnusableError as error:
        _refuse(form, process_events.redis_unusable, str(error))
        return BAD_CONFIGURATION
    except Exception as error:  # noqa: BLE001 - the last line of a process that dies, with its reason
        process_events.service_crashed(error)
        return CRASHED
    finally:
        stdout.flush(FAREWELL)
        stderr.flush(FAREWELL)


def _refuse(form: LogFormat, tell: Callable[[str], None], *reasons: str) -> None:
    """Tell why the service cannot start: as plain lines on a terminal, otherwise as events."""
    for reason in reasons:
        if form == "json":
            tell(reason)
        else:
            sys.stderr.write(f"{plain(reason)}\n")


def _run_service(settings: Settings) -> int:
    log.configure(settings.log_level, settings.log_format)
    for variable in dict.fromkeys(one.redis.url_variable for one in settings.sources if one.redis.trusts_any):
        process_events.redis_unverified(variable)
    status = _run(_service(settings))
    process_events.service_stopped(status)
    return status


async def _service(settings: Settings) -> int:
    return await Service(settings).run()


def _run(work: Coroutine[None, None, int]) -> int:
    """Run on uvloop where it is installed."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        from uvloop import new_event_loop

        loop_factory = new_event_loop

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(work)
