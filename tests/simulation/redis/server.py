"""A simulated Redis server: connections, blocking commands, restarts, and who changed what."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, Final

import hiredis

from tests.simulation.network import Network, Transport
from tests.simulation.process import Process
from tests.simulation.redis.arguments import SYNTAX, at_left
from tests.simulation.redis.build import build_engine
from tests.simulation.redis.engine import Changes
from tests.simulation.redis.values import OK, RedisError, Reply, encode

PORT: Final = 6379
BLMOVE_WORDS: Final = 6

UNBLOCKED: Final = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
DEMOTED: Final = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"

Observer = Callable[["Client", list[bytes], Changes], None]


@dataclass(eq=False)
class Wait:
    """A blocked BLMOVE."""

    args: list[bytes]
    timer: asyncio.TimerHandle | None = None


class Client(asyncio.Protocol):
    """One connection, as the server sees it."""

    def __init__(self, server: "RedisServer", number: int) -> None:
        self.server = server
        self.number = number
        self.name = b""
        self.process: Process | None = None
        self.waits: Wait | None = None
        self._requests = hiredis.Reader()
        self._transport: Transport
        self._replies = True
        self._skips = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Transport)
        self._transport = transport
        self.process = transport.peer.process
        self.server.clients[self.number] = self

    def data_received(self, data: bytes) -> None:
        self._requests.feed(data)
        self.serve()

    def connection_lost(self, _: Exception | None) -> None:
        self.server.forget(self)

    def serve(self) -> None:
        """Carry out what has been sent, as long as nothing blocks."""
        while self.waits is None and not self._transport.is_closing():
            request = self._requests.gets()
            if request is False:
                return
            self.server.carry_out(self, request)

    def reply(self, reply: Reply, *, matters: bool = False) -> None:
        if self._skips:
            self._skips -= 1
        elif self._replies:
            self._transport.matters = matters
            self._transport.write(encode(reply))

    def reply_mode(self, mode: bytes) -> None:
        match mode.lower():
            case b"on":
                self._replies = True
                self.reply(OK)
            case b"off":
                self._replies = False
            case b"skip":
                self._skips = 1

    def hang_up(self) -> None:
        self._transport.close()

    def line(self) -> bytes:
        host, port = self._transport.peername
        flags, last = ("b", "blmove") if self.waits else ("N", "NULL")
        told = f"id={self.number} addr={host}:{port} name={self.name.decode()} age=1 idle=0 flags={flags} db=0"
        return f"{told} cmd={last} user=default\n".encode()


@dataclass(eq=False)
class RedisServer:
    """`observer` hears of every unit that has changed something: who, by which command, and what was before."""

    network: Network
    process: Process
    observer: Observer
    wall_clock: Callable[[], float]
    version: tuple[int, int] = (7, 0)
    offset: float = 0.0
    """Seconds by which its clock is wrong."""
    clients: dict[int, Client] = field(default_factory=dict)
    loading: bool = False
    maxmemory: int = 0

    def __post_init__(self) -> None:
        self.engine = build_engine(lambda: int((self.wall_clock() + self.offset) * 1e6), self.version)
        self._numbers = 0
        self.waiting: dict[Client, None] = {}
        """Who is blocked, in the order in which they came."""
        self._own = {
            b"blmove": self._blmove,
            b"client": self._client,
            b"info": self._info,
            b"config": self._config,
            b"hello": self._hello,
            b"auth": self._auth,
            b"quit": self._quit,
            b"role": self._role,
        }
        self.served = 0
        self.listen()

    def listen(self) -> None:
        self.network.listen(self.process, PORT, self._accept)

    def _accept(self) -> Client:
        self._numbers += 1
        return Client(self, self._numbers)

    def forget(self, client: Client) -> None:
        self.clients.pop(client.number, None)
        self._stop_waiting(client)

    # Faults.

    def restart(self, process: Process, lose: int) -> list[Changes]:
        """Come up as another process, without the last `lose` writes; return them, the last one first."""
        self.clients.clear()
        self.waiting.clear()
        self.process = process
        lost: list[Changes] = []
        while len(lost) < lose and self.engine.history:
            changes = self.engine.history.pop()
            self.engine.undo(changes)
            lost.append(changes)
        self.engine.scripts.clear()
        self.listen()
        return lost

    def demote(self) -> None:
        """Become a replica, as in a failover: writes are refused, and who waits is sent away."""
        self.engine.read_only = True
        for client in list(self.clients.values()):
            if client.waits is not None:
                self._answer(client, RedisError(DEMOTED))

    def kick_all(self) -> None:
        for client in list(self.clients.values()):
            client.hang_up()

    # Commands.

    def carry_out(self, client: Client, args: list[bytes]) -> None:
        self.served += 1
        name = args[0].lower()
        if name in self.engine.denied and name != b"blmove":
            self.engine.met["right"] += 1
            client.reply(RedisError(self.engine.no_permission(name.decode())))
            return
        if self.loading and name not in (b"info", b"client", b"auth", b"select", b"hello"):
            client.reply(RedisError("LOADING Redis is loading the dataset in memory"))
        elif name in self._own:
            self._own[name](client, args)
        else:
            reply = self.engine.execute(args)
            changes = self._end_unit(client, args)
            client.reply(reply, matters=bool(changes))
            self._serve_waiting(changes)

    def local(self, *args: bytes) -> Reply:
        """Run a command for the world outside, as a client without process would."""
        reply = self.engine.execute(list(args))
        changes = self._end_unit(OUTSIDER, list(args))
        self._serve_waiting(changes)
        return reply

    def _end_unit(self, client: Client, args: list[bytes]) -> Changes:
        if not self.engine.changes:
            return {}
        changes = self.engine.take_changes()
        if changes:
            self.observer(client, args, changes)
        return changes

    def _serve_waiting(self, changes: Changes) -> None:
        """Give what was pushed to those who wait for it, in the order in which they came."""
        fed = deque(key for key in changes if isinstance(self.engine.data.get(key), list))
        while fed and self.waiting:
            key = fed.popleft()
            for client in [one for one in self.waiting if one.waits is not None and one.waits.args[1] == key]:
                moved = self._try_move(client, self.engine.unchecked)
                fed.extend(moved)

    def _blmove(self, client: Client, args: list[bytes]) -> None:
        try:
            seconds = _seconds_to_wait(args)
        except RedisError as error:
            client.reply(error)
            return
        client.waits = Wait(args)
        self.waiting[client] = None
        self._serve_waiting(self._try_move(client, self.engine.execute))
        if client.waits is not None and seconds:
            loop = self.network.loop
            client.waits.timer = loop.call_later(seconds, self._answer, client, None, context=self.process.context())

    def _try_move(self, client: Client, run: Callable[[list[bytes]], Reply]) -> Changes:
        assert client.waits is not None
        reply = run(client.waits.args)
        changes = self._end_unit(client, client.waits.args)
        if reply is not None:
            self._answer(client, reply, matters=bool(changes))
        return changes

    def _answer(self, client: Client, reply: Reply, *, matters: bool = False) -> None:
        if client.waits is not None:
            self._stop_waiting(client)
            client.reply(reply, matters=matters)
            self.network.loop.call_soon(client.serve, context=self.process.context())

    def _stop_waiting(self, client: Client) -> None:
        if client.waits is not None and client.waits.timer is not None:
            client.waits.timer.cancel()
        client.waits = None
        self.waiting.pop(client, None)

    def _client(self, client: Client, args: list[bytes]) -> None:
        match [arg.lower() for arg in args[1:2]] + args[2:]:
            case [b"id"]:
                client.reply(client.number)
            case [b"setname", name]:
                client.name = name
                client.reply(OK)
            case [b"getname"]:
                client.reply(client.name or None)
            case [b"setinfo", _, _]:
                if self.version >= (7, 2):
                    client.reply(OK)
                else:
                    client.reply(
                        RedisError(
                            "ERR Unknown subcommand or wrong number of arguments for 'setinfo'. Try CLIENT HELP."
                        )
                    )
            case [b"list", *_]:
                client.reply(b"".join(one.line() for one in self.clients.values()))
            case [b"unblock", number, *how]:
                client.reply(self._unblock(int(number), how))
            case [b"reply", mode]:
                client.reply_mode(mode)
            case [b"no-evict" | b"no-touch", _]:
                client.reply(OK)
            case _:
                client.reply(RedisError(SYNTAX))

    def _unblock(self, number: int, how: list[bytes]) -> int:
        client = self.clients.get(number)
        if client is None or client.waits is None:
            return 0
        self._answer(client, RedisError(UNBLOCKED) if [one.lower() for one in how] == [b"error"] else None)
        return 1

    def _info(self, client: Client, _: list[bytes]) -> None:
        version = ".".join(map(str, self.version)) + ".0"
        lines = {
            "redis_version": version,
            "run_id": sha1(self.process.name.encode(), usedforsecurity=False).hexdigest(),
            "process_id": 1,
            "tcp_port": PORT,
            "loading": int(self.loading),
            "connected_clients": len(self.clients),
            "used_memory": 2_000_000 if self.engine.full else 1_000_000,
            "maxmemory": 1_500_000 if self.engine.full else self.maxmemory,
            "maxmemory_policy": "noeviction",
            "role": "slave" if self.engine.read_only else "master",
            "aof_enabled": 1,
        }
        text = "".join(f"{name}:{value}\r\n" for name, value in lines.items())
        client.reply(f"# Server\r\n{text}".encode())

    def _config(self, client: Client, args: list[bytes]) -> None:
        known = {b"maxmemory": b"0", b"maxmemory-policy": b"noeviction", b"appendonly": b"yes", b"save": b""}
        wanted = [name.lower() for name in args[2:]]
        client.reply([part for name in wanted if name in known for part in (name, known[name])])

    def _hello(self, client: Client, _: list[bytes]) -> None:
        client.reply(RedisError("NOPROTO unsupported protocol version"))

    def _auth(self, client: Client, _: list[bytes]) -> None:
        client.reply(OK)

    def _quit(self, client: Client, _: list[bytes]) -> None:
        client.reply(OK)
        client.hang_up()

    def _role(self, client: Client, _: list[bytes]) -> None:
        client.reply([b"slave" if self.engine.read_only else b"master", 0, []])


def _seconds_to_wait(args: list[bytes]) -> float:
    if len(args) != BLMOVE_WORDS:
        raise RedisError("ERR wrong number of arguments for 'blmove' command")
    at_left(args[3])
    at_left(args[4])
    try:
        seconds = float(args[5])
    except ValueError:
        raise RedisError("ERR timeout is not a float or out of range") from None
    if seconds < 0:
        raise RedisError("ERR timeout is negative")
    return seconds


class _Outsider:
    """Who pushes without a connection."""

    process: Any = None
    name = b"outside"


OUTSIDER: Final[Any] = _Outsider()
