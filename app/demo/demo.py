"""Run the demo: start a Redis, an endpoint and a forwarder, play the scenario, and print the count."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from rich.console import Console

from app.demo.count import Ledger, percentile
from app.demo.embedded import EmbeddedRedis
from app.demo.lists import KEYS
from app.demo.sample_endpoint import SampleEndpoint
from app.demo.scenario import GRACE, QUICK, UNHURRIED, Pace, Scenario
from app.demo.view import LiveView, PlainView
from app.errors import ForwarderError


def settings(pace: Pace, redis_url: str, webhook_url: str) -> dict[str, str]:
    return {
        "CDR_REDIS_URL": redis_url,
        "CDR_WEBHOOK_URL": webhook_url,
        "CDR_INTEGRATOR": KEYS.integrator,
        "CDR_LEASE": str(pace.lease),
        "CDR_SWEEP_INTERVAL": str(pace.sweep),
        "CDR_WEBHOOK_BACKOFF": "0.2",
        "CDR_WEBHOOK_BACKOFF_MAX": "1",
        "CDR_SHUTDOWN_GRACE": str(GRACE),
        "CDR_LOG_FORMAT": "json",
        "CDR_OPS_PORT": "0",
    }


@contextmanager
def heeding_signals(scenario: Scenario) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, scenario.ask_to_stop, signum)
    try:
        yield
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(signum)


def main(*, quick: bool) -> int:
    return asyncio.run(run_demo(quick=quick, console=Console()))


async def run_demo(*, quick: bool, console: Console) -> int:
    """Return the exit status: 0 when every CDR has arrived, 128 + the signal's number when asked to stop."""
    view = LiveView(console) if console.is_terminal and not (quick or console.is_dumb_terminal) else PlainView(console)
    try:
        with TemporaryDirectory(prefix="cdr-forwarder-demo-") as directory:
            return await _run(QUICK if quick else UNHURRIED, view, console, Path(directory))
    except* ForwarderError as failures:
        for failure in failures.exceptions:
            console.print(str(failure), style="red", markup=False, highlight=False, soft_wrap=True)
    return 1


async def _run(pace: Pace, view: LiveView | PlainView, console: Console, directory: Path) -> int:
    ledger = Ledger()
    async with (
        EmbeddedRedis(directory) as server,
        SampleEndpoint(ledger.arrived) as endpoint,
        # No retries, as in the service: a repeated RPUSH would push a CDR twice, and the count would be wrong.
        Redis.from_url(server.url, protocol=2, retry=Retry(NoBackoff(), 0)) as redis,
    ):
        scenario = Scenario(pace, view, redis, endpoint, ledger)
        with heeding_signals(scenario):
            await scenario.play(settings(pace, server.url, endpoint.url), directory)
        count = await scenario.count()
    p50, p99 = percentile(ledger.latencies, 0.5), percentile(ledger.latencies, 0.99)
    console.print(f"From RPUSH to arrival: p50 {p50}, p99 {p99}, whatever happened meanwhile", highlight=False)
    if scenario.asked_to_stop:
        console.print(f"Stopped by {scenario.asked_to_stop.name}; the count so far:", highlight=False)
        console.print(str(count), highlight=False, soft_wrap=True)
        return 128 + scenario.asked_to_stop
    console.print(str(count), style="bold green" if count.complete else "bold red", highlight=False, soft_wrap=True)
    return 0 if count.complete else 1
