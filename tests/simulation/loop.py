"""An event loop of our own: one thread, a virtual clock, and an order of callbacks that comes from a seed.

asyncio's own loop does all but three things: `time` is virtual, `_run_once` runs one callback that the scheduler
picks, and connections lead into a simulated network.
"""

import asyncio
import heapq
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from random import Random
from typing import Any, Final

from tests.simulation.network import Connected, Network, Transport
from tests.simulation.process import PROCESS, Process

STEP: Final = 20e-6
"""Virtual seconds that one callback takes: a loop that never waits for anything gets older all the same."""

WINDOW: Final = 8
MOST_PASSED: Final = 32
"""How far from the front of the queue the next callback may be picked, and how often the front may be passed over."""

MANY_CANCELLED: Final = 400


class StuckError(Exception):
    """Nothing is ready, and no timer is set: whatever is awaited will never happen."""


class NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        self.number = number
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs callbacks of all processes of one world.

    `disorder`: how often the scheduler picks another callback than the first one. Only steps of tasks overtake:
    asyncio promises to run plain callbacks in the order in which they were scheduled.
    """

    def __init__(self, chance: Random, network: Network, disorder: float) -> None:
        super().__init__()
        self.network = network
        network.loop = self
        self.steps = 0
        self.closing = False
        self.on_error: Callable[[str, BaseException | None], None] = lambda *_: None
        self._chance = chance.random
        self._disorder = disorder
        self._now = 0.0
        self._passed = 0
        self._tasks = 0
        self._dialled: dict[int, Connected] = {}
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]
        self._timer_cancelled_count: int
        self.set_exception_handler(self._note_error)

    def time(self) -> float:
        return self._now

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        self._tasks += 1
        return NumberedTask(self._tasks, coro, loop=self, name=name or f"Task-{self._tasks}", context=context)

    # The scheduler.

    def _run_once(self) -> None:
        handle = self._next()
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None:
            if not process.alive:
                process.graveyard.append(handle)
                return
            if process.frozen:
                process.held.append(handle)
                return
        self.steps += 1
        self._now += STEP
        if not handle.cancelled():
            handle._run()

    def _next(self) -> asyncio.Handle:
        ready, scheduled = self._ready, self._scheduled
        if self._timer_cancelled_count > MANY_CANCELLED:
            self._forget_cancelled()
        while True:
            while scheduled and (scheduled[0]._when <= self._now or scheduled[0]._cancelled):  # type: ignore[attr-defined]
                timer = heapq.heappop(scheduled)
                timer._scheduled = False  # type: ignore[attr-defined]
                if not timer._cancelled:
                    ready.append(timer)
            if ready:
                return self._pick()
            if not scheduled:
                raise StuckError("nothing is ready, and no timer is set")
            self._now = scheduled[0].when()

    def _pick(self) -> asyncio.Handle:
        ready = self._ready
        if len(ready) > 1 and self._passed < MOST_PASSED and self._chance() < self._disorder:
            picked = int(self._chance() * min(len(ready), WINDOW))
            if not _is_step(ready[picked]):
                picked = next(index for index, handle in enumerate(ready) if not _is_step(handle))
            if picked:
                handle = ready[picked]
                del ready[picked]
                self._passed += 1
                return handle
        self._passed = 0
        return ready.popleft()

    def _forget_cancelled(self) -> None:
        kept = []
        for timer in self._scheduled:
            if timer.cancelled():
                timer._scheduled = False  # type: ignore[attr-defined]
            else:
                kept.append(timer)
        heapq.heapify(kept)
        self._scheduled[:] = kept
        self._timer_cancelled_count = 0

    def _write_to_self(self) -> None:
        """Wake nobody: there is one thread."""

    def _note_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.closing:
            self.on_error(context["message"], context.get("exception"))

    # Processes.

    def freeze(self, process: Process) -> None:
        process.frozen = True

    def thaw(self, process: Process) -> None:
        process.frozen = False
        process.thawed_at = self._now
        self._ready.extend(process.held)
        process.held.clear()

    def kill(self, process: Process, *, vanishes: bool = False) -> None:
        """End it without any clean-up. `vanishes`: its host too, so that nobody is told."""
        process.alive = False
        process.graveyard.extend(process.held)
        process.held.clear()
        for transport in list(process.transports):
            self.network.orphan(transport, silently=vanishes)
        self.network.deafen(process)

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        process = PROCESS.get()
        if process is not None:
            process.signal_handlers[sig] = lambda: self.call_soon(callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        process = PROCESS.get()
        return process is not None and process.signal_handlers.pop(sig, None) is not None

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Call it here and now: there are no threads."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future

    # The network.

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        address = self.network.resolve(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        sock: socket.socket | None = None,
        **_: Any,
    ) -> tuple[Transport, asyncio.BaseProtocol]:
        if ssl:
            raise NotImplementedError("there is no TLS in the simulated network")
        if sock is not None:
            connected = self._dialled.pop(id(sock))
        else:
            connected = await self.network.connect(self.network.resolve(host), port or 0)
        protocol = protocol_factory()
        connected.transport.begin(protocol, sock)
        return connected.transport, protocol

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Dial for a socket of the caller's, which stays unconnected; `create_connection(sock=…)` follows."""
        self._dialled[id(sock)] = await self.network.connect(address[0], address[1])

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: Any = None, port: int = 0, **_: Any
    ) -> "SimulatedServer":
        process = PROCESS.get()
        if process is None:
            raise RuntimeError("only a process can listen")
        self.network.listen(process, port, protocol_factory)
        return SimulatedServer(self.network, process, port)


class SimulatedServer(asyncio.AbstractServer):
    """What `create_server` returns."""

    def __init__(self, network: Network, process: Process, port: int) -> None:
        self._network = network
        self._process = process
        self._port = port
        self.sockets: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        self._network.deafen(self._process, self._port)

    def is_serving(self) -> bool:
        return True

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def start_serving(self) -> None:
        """It does already."""

    async def serve_forever(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""


def _is_step(handle: asyncio.Handle) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)  # type: ignore[attr-defined]
