"""An in-memory network: connections with latency, bandwidth, and faults that come from a seed."""

import asyncio
import select
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from tests.simulation.process import PROCESS, Process

HIGH_WATER: Final = 64 * 1024
LARGEST_READ: Final = 256 * 1024
OUTSIDE: Final = Context()
"""The context of what no process does: packets on their way."""

FIN: Final = b""
RETRANSMISSIONS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(slots=True)
class Segment:
    """Bytes on their way. `data` None: a reset; empty: the end of the stream."""

    data: bytes | None
    receipt: Callable[[], None] | None = None
    """Called when it is handed to the receiver's protocol."""


@dataclass
class Fate:
    """What becomes of one write."""

    cut: bool = False
    """Lost, and the connection with it: of a request, or of a reply."""
    hole: bool = False
    """Lost without a word, as all that follows on this connection."""
    late: float = 0.0
    pieces: int = 1


NOTHING: Final = Fate()


class Weather(Protocol):
    """Decides how good the network is just now."""

    def fate(self, sender: "Transport", data: bytes) -> Fate: ...

    def latency(self, sender: "Transport") -> tuple[float, float]:
        """Return the latency in seconds, and the bandwidth in bytes a second, of a connection's one direction."""
        ...


@dataclass(eq=False)
class Listener:
    process: Process
    factory: Callable[[], asyncio.BaseProtocol]


@dataclass
class Connected:
    transport: "Transport"


class Transport(asyncio.Transport):
    """One end of a connection."""

    def __init__(
        self, network: "Network", process: Process | None, context: Context, peername: tuple[str, int]
    ) -> None:
        super().__init__()
        self.network = network
        self.process = process
        self.context = context
        self.peername = peername
        self.descriptor = network.descriptor(self)
        self.peer: Transport
        self.whole = False
        """Set by whoever writes: what is written next arrives in one piece."""
        self.matters = False
        """Set by whoever writes: what is written next says something about CDRs."""
        self.lost = False
        self._protocol: asyncio.BaseProtocol | None = None
        self._socket: socket.socket | None = None
        self._closing = False
        self._received: deque[Segment] = deque()
        self._paused = False
        self._pumps = False
        self._on_the_way = 0
        self._writing_paused = False
        self.last_arrival = 0.0
        self.stalled: deque[Segment] = deque()
        self.in_a_hole = False
        self.latency, self.bandwidth = 0.0, float("inf")

    def begin(self, protocol: asyncio.BaseProtocol, sock: socket.socket | None = None) -> None:
        """Give it its protocol; what has been received meanwhile follows."""
        self._socket = sock
        self._protocol = protocol
        protocol.connection_made(self)
        self.pump_soon()

    # What a protocol calls.

    def write(
        self, data: bytes | bytearray | memoryview, receipt: Callable[[], None] | None = None, at: int = 0
    ) -> None:
        """`receipt` is called when the receiver's protocol gets the byte at index `at`."""
        if data and not self._closing and not self.lost:
            self._on_the_way += len(data)
            self.network.send(self, bytes(data), receipt, at)
            if self._on_the_way > HIGH_WATER and not self._writing_paused and not self.lost:
                self._writing_paused = True
                self._tell("pause_writing")

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Send what is written, and then the end; the protocol hears of nothing but the end any more."""
        if not self._closing and not self.lost:
            self._closing = True
            self._received.clear()
            self.network.send_end(self, FIN)
            self.network.loop.call_soon(self._lose, None, context=self.context)

    def abort(self) -> None:
        if not self.lost:
            self._closing = True
            # What a partition has held back is never sent again: the system forgets it with the connection.
            self.stalled = deque(segment for segment in self.stalled if segment.data is None)
            self._received.clear()
            self.network.send_end(self, None)
            self.network.loop.call_soon(self._lose, None, context=self.context)

    def is_closing(self) -> bool:
        return self._closing or self.lost

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.network.send_end(self, FIN)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self.pump_soon()

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Keep ours."""

    def get_write_buffer_size(self) -> int:
        """Return what the system has not taken: it keeps some itself."""
        return max(0, self._on_the_way - HIGH_WATER)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return 0, HIGH_WATER

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peername": self.peername, "sockname": ("0.0.0.0", 0), "socket": Peephole(self)}
        return known.get(name, default)

    # What the network calls.

    def arrive(self, segment: Segment) -> None:
        """Take it into the socket's buffer, from which the process reads when it runs."""
        if not self._closing and not self.lost:
            self._received.append(segment)
            self.pump_soon()

    def left(self, size: int) -> None:
        """Take note that so many bytes have arrived at the other end."""
        self._on_the_way -= size
        if self._writing_paused and self._on_the_way <= HIGH_WATER // 4 and not self.lost:
            self._writing_paused = False
            self.network.loop.call_soon(self._tell, "resume_writing", context=self.context)

    def pump_soon(self) -> None:
        if self._received and not self._pumps and self._protocol is not None:
            self._pumps = True
            self.network.loop.call_soon(self._pump, context=self.context)

    @property
    def unread(self) -> bytes | None:
        """What a read from the socket would bring now: empty at the end of the stream, None where it would block."""
        if not self._received:
            return FIN if self.lost else None
        return self._received[0].data or FIN

    def _pump(self) -> None:
        self._pumps = False
        if self._paused or self.lost or self._closing or not self._received:
            return
        segment = self._received.popleft()
        if segment.receipt is not None:
            segment.receipt()
        if segment.data is None:
            self._received.clear()
            self._closing = True
            self._lose(ConnectionResetError(104, "Connection reset by peer"))
        elif segment.data is FIN:
            if not self._protocol_call("eof_received"):
                self.close()
        else:
            self._hand_over(segment.data)
        self.pump_soon()

    def _hand_over(self, data: bytes) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            while data:
                buffer = memoryview(protocol.get_buffer(len(data)))
                size = min(len(buffer), len(data))
                buffer[:size] = data[:size]
                protocol.buffer_updated(size)
                data = data[size:]
        else:
            self._protocol_call("data_received", data)

    def _protocol_call(self, name: str, *args: Any) -> Any:
        return getattr(self._protocol, name)(*args)

    def _tell(self, name: str) -> None:
        if not self.lost and self._protocol is not None:
            self._protocol_call(name)

    def _lose(self, error: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        self.network.forget(self)
        if self._socket is not None:
            self._socket.close()
        if self._protocol is not None:
            self._protocol_call("connection_lost", error)


class Poll:
    """Stands for `select.poll`, for connections of one network."""

    def __init__(self, network: "Network") -> None:
        self._network = network
        self._registered: list[int] = []

    def register(self, descriptor: int, _: int = 0) -> None:
        self._registered.append(descriptor)

    def poll(self, _: float = 0) -> list[tuple[int, int]]:
        """Return those from which something can be read, or that are gone."""
        found = []
        for descriptor in self._registered:
            transport = self._network.descriptors.get(descriptor)
            if transport is None or transport.unread is not None:
                found.append((descriptor, select.POLLIN if transport else select.POLLNVAL))
        return found


class Peephole:
    """What stands for a connection's socket: options are taken, and what has arrived can be peeked at."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def setsockopt(self, *_: Any) -> None:
        """Take it."""

    def getsockopt(self, *_: Any) -> int:
        return 0

    def getpeername(self) -> tuple[str, int]:
        return self._transport.peername

    def getsockname(self) -> tuple[str, int]:
        return ("0.0.0.0", 0)

    def fileno(self) -> int:
        return self._transport.descriptor

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not flags & socket.MSG_PEEK:
            raise NotImplementedError("the transport reads")
        if (unread := self._transport.unread) is None:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return unread[:size]


@dataclass(eq=False)
class Network:
    """Who listens, who is connected, and who cannot reach whom."""

    chance: Random
    weather: Weather
    names: dict[str, str] = field(default_factory=dict)
    listeners: dict[tuple[str, int], Listener] = field(default_factory=dict)
    transports: dict[Transport, None] = field(default_factory=dict)
    descriptors: dict[int, Transport] = field(default_factory=dict)
    apart: set[frozenset[str]] = field(default_factory=set)
    """Pairs of hosts that do not reach each other."""
    met: Counter[str] = field(default_factory=Counter)
    """How often something met what was done to the network, by host or pair of hosts."""

    def __post_init__(self) -> None:
        self.loop: asyncio.BaseEventLoop
        self._ports = 40_000
        self._descriptors = 1_000_000

    def descriptor(self, transport: Transport) -> int:
        """Return a number for a connection's socket that no real one has."""
        self._descriptors += 1
        self.descriptors[self._descriptors] = transport
        return self._descriptors

    def resolve(self, host: str | None) -> str:
        name = host or "127.0.0.1"
        if name in self.names:
            return self.names[name]
        if name.replace(".", "").isdigit():
            return name
        raise socket.gaierror(-2, "Name or service not known")

    def listen(self, process: Process, port: int, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self.listeners[process.host, port] = Listener(process, factory)

    def deafen(self, process: Process, port: int | None = None) -> None:
        """Stop listening; what is connected stays so."""
        for place, listener in list(self.listeners.items()):
            if listener.process is process and port in (None, place[1]):
                del self.listeners[place]

    async def connect(self, host: str, port: int) -> Connected:
        """Return the near end, once the far end has taken the connection."""
        process = PROCESS.get()
        dialled: asyncio.Future[Connected] = self.loop.create_future()
        tries = iter(RETRANSMISSIONS)

        def knock() -> None:
            if dialled.done() or (process is not None and not process.alive):
                return
            if self.is_apart(process, host):
                if (pause := next(tries, None)) is None:
                    dialled.set_exception(TimeoutError(110, "Connection timed out"))
                else:
                    self.loop.call_later(pause, knock, context=OUTSIDE)
            elif listener := self.listeners.get((host, port)):
                dialled.set_result(Connected(self._pair(process, listener, (host, port))))
            else:
                self.met[host] += 1
                dialled.set_exception(ConnectionRefusedError(111, f"Connect call failed ('{host}', {port})"))

        self.loop.call_later(0.0002 + self.chance.random() * 0.002, knock, context=OUTSIDE)
        try:
            return await dialled
        except asyncio.CancelledError:
            if dialled.done() and not dialled.cancelled() and dialled.exception() is None:
                dialled.result().transport.abort()
            raise

    def is_apart(self, process: Process | None, host: str) -> bool:
        if process is None or (pair := frozenset((process.host, host))) not in self.apart:
            return False
        self.met[str(sorted(pair))] += 1
        return True

    def _pair(self, process: Process | None, listener: Listener, place: tuple[str, int]) -> Transport:
        self._ports += 1
        near = Transport(self, process, process.context() if process else OUTSIDE, place)
        theirs = (process.host if process else "0.0.0.0", self._ports)
        far = Transport(self, listener.process, listener.process.context(), theirs)
        near.peer, far.peer = far, near
        for transport in (near, far):
            transport.latency, transport.bandwidth = self.weather.latency(transport)
            self.transports[transport] = None
            if transport.process is not None:
                transport.process.transports[transport] = None
        self.loop.call_soon(far.begin, far.context.run(listener.factory), context=far.context)
        return near

    # Packets.

    def send(self, sender: Transport, data: bytes, receipt: Callable[[], None] | None, at: int) -> None:
        fate = self.weather.fate(sender, data)
        pieces = 1 if sender.whole else fate.pieces
        sender.matters = sender.whole = False
        if fate.cut:
            self.cut(sender)
        elif fate.hole or sender.in_a_hole:
            sender.in_a_hole = sender.peer.in_a_hole = True
        elif len(data) <= pieces or pieces == 1:
            self._send(sender, Segment(data, receipt), fate.late)
        else:
            cuts = sorted(self.chance.sample(range(1, len(data)), pieces - 1))
            for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                self._send(sender, Segment(data[begin:end], receipt if begin <= at < end else None), fate.late)

    def send_end(self, sender: Transport, data: bytes | None) -> None:
        if not sender.in_a_hole:
            self._send(sender, Segment(data), 0.0)

    def _send(self, sender: Transport, segment: Segment, late: float) -> None:
        travels = sender.latency * (1 + 0.5 * self.chance.random()) + late
        size = len(segment.data or b"")
        arrival = max(self.loop.time() + travels, sender.last_arrival + 1e-7) + size / sender.bandwidth
        sender.last_arrival = arrival
        self.loop.call_at(arrival, self._arrive, sender, segment, context=OUTSIDE)

    def _arrive(self, sender: Transport, segment: Segment) -> None:
        if sender.stalled or self._is_cut_off(sender):
            sender.stalled.append(segment)
            return
        sender.left(len(segment.data or b""))
        sender.peer.arrive(segment)

    def _is_cut_off(self, sender: Transport) -> bool:
        there = sender.peer.process
        return bool(self.apart) and there is not None and self.is_apart(sender.process, there.host)

    def heal(self) -> None:
        """Send again what has waited for the end of a partition, soon."""
        for transport in list(self.transports):
            if transport.stalled and not self._is_cut_off(transport):
                self.loop.call_later(0.2 + self.chance.random(), self._flush, transport, context=OUTSIDE)

    def _flush(self, sender: Transport) -> None:
        if not self._is_cut_off(sender):
            waiting, sender.stalled = sender.stalled, deque()
            for segment in waiting:
                self._arrive(sender, segment)

    # Ends.

    def cut(self, one: Transport) -> None:
        """Reset a connection: what was on its way from here is still delivered, and nothing else."""
        for transport in (one, one.peer):
            transport.in_a_hole = True
            self.loop.call_later(
                transport.latency + self.chance.random() * 0.001, transport.arrive, Segment(None), context=OUTSIDE
            )

    def orphan(self, transport: Transport, *, silently: bool) -> None:
        """Take away a connection from a process that is dead. `silently`: the other end hears nothing of it."""
        if not silently and not transport.in_a_hole:
            self.send_end(transport, FIN if self.chance.random() < 0.5 else None)
        transport.lost = True
        transport.in_a_hole = True
        self.forget(transport)

    def forget(self, transport: Transport) -> None:
        self.descriptors.pop(transport.descriptor, None)
        if not transport.stalled:
            self.transports.pop(transport, None)
        if transport.process is not None:
            transport.process.transports.pop(transport, None)
            if not transport.process.alive:
                transport.process.graveyard.append(transport)
