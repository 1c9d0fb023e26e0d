"""The simulated Redis answers as real ones do: the same random commands and scripts, on each kind of server."""

from collections.abc import Iterator
from hashlib import sha1
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError as RealError
from redis.retry import Retry

from app.demo.embedded import EmbeddedRedis
from app.store.scripts import script
from tests.simulation.redis.build import build_engine
from tests.simulation.redis.engine import Engine
from tests.simulation.redis.values import NilArray, RedisError, Status
from tests.support.servers import KINDS, server_of

ROUNDS: Final = 40
COMMANDS_A_ROUND: Final = 150

KEYS: Final = ("a", "b", "c", "d")
ELEMENTS: Final = (b"", b"x", b"y", b"x", b"7", b"-3", b"\xff\x00", b'{"a":1}', b"cdr1 t 1\nbody")
NUMBERS: Final = ("0", "1", "2", "-1", "-2", "3", "100", "nonsense", "1.5")
SCORES: Final = ("0", "1", "2.5", "-1", "inf", "-inf", "1e3", "17179869184.25", "word")
BOUNDS: Final = ("-inf", "+inf", "(1", "0", "2.5", "(2.5", "no")
SIDES: Final = ("LEFT", "RIGHT", "UP")


@pytest.fixture(params=KINDS, scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    binary = server_of(request.param)
    with (
        EmbeddedRedis(tmp_path_factory.mktemp("redis"), server=binary, appendonly=False) as running,
        Redis.from_url(running.url, protocol=2, retry=Retry(NoBackoff(), 0)) as client,
    ):
        client.response_callbacks.clear()
        yield client


def simulated(client: Redis) -> Engine:
    """Return an engine of the same version, whose clock is the real one's."""
    info = _answer(client, ["INFO", "server"]).decode()
    found = dict(line.split(":", 1) for line in info.split("\r\n") if ":" in line)
    text = found.get("valkey_version") or found["redis_version"]
    major, minor = map(int, text.split(".")[:2])

    def clock() -> int:
        seconds, micros = _answer(client, ["TIME"])
        return int(seconds) * 1_000_000 + int(micros)

    return build_engine(clock, (major, minor))


def _answer(client: Redis, args: list[Any]) -> Any:
    send: Any = client.execute_command
    try:
        return send(*args)
    except RealError as error:
        return error


def _plain(reply: Any) -> Any:  # noqa: PLR0911 - one for each type
    """Return what can be compared; of an error, what our code can tell apart."""
    match reply:
        case RedisError() | RealError():
            return _kind(str(reply) if isinstance(reply, RedisError) else _code(reply))
        case Status():
            return bytes(reply)
        case NilArray():
            return None
        case list():
            return [_plain(one) for one in reply]
        case int() if reply > 10**12:
            return "now, in milliseconds"
        case str():
            return reply.encode()
    return reply


def _code(error: RealError) -> str:
    """redis-py takes the code away from some errors."""
    named = {
        "NoScriptError": "NOSCRIPT",
        "NoPermissionError": "NOPERM",
        "ReadOnlyError": "READONLY",
        "OutOfMemoryError": "OOM",
    }
    return f"{named.get(type(error).__name__, '')} {error}"


def _kind(text: str) -> str:
    if any(words in text for words in ("NOPERM", "can't run this command", "can't access", "ACL failure")):
        return "NOPERM"
    return next((word for word in ("WRONGTYPE", "NOSCRIPT", "OOM", "READONLY") if word in text), "ERR")


def _same(client: Redis, engine: Engine, args: list[Any]) -> None:
    """Carry a command out on both, and compare the answers."""
    texts = [one if isinstance(one, bytes) else str(one).encode() for one in args]
    real = _plain(_answer(client, args))
    made = _plain(engine.execute(texts))
    engine.take_changes()
    if args[0] in ("HGETALL", "HKEYS", "HVALS", "KEYS"):
        real, made = (sorted(one) if isinstance(one, list) else one for one in (real, made))
    assert made == real, f"{args}: simulated {made!r}, real {real!r}"


def _compare_keys(client: Redis, engine: Engine, keys: tuple[str, ...] = KEYS) -> None:
    for key in keys:
        kind = bytes(engine.type_name(key.encode())).decode()
        _same(client, engine, ["TYPE", key])
        reader = {
            "list": ["LRANGE", key, "0", "-1"],
            "hash": ["HGETALL", key],
            "zset": ["ZRANGE", key, "0", "-1", "WITHSCORES"],
            "string": ["GET", key],
        }.get(kind)
        if reader:
            _same(client, engine, reader)


def _random_command(chance: Random) -> list[Any]:
    def key() -> str:
        return chance.choice(KEYS)

    def some(choices: tuple[Any, ...], most: int = 3) -> list[Any]:
        return [chance.choice(choices) for _ in range(chance.randint(1, most))]

    def number() -> str:
        return chance.choice(NUMBERS)

    def element() -> bytes:
        return chance.choice(ELEMENTS)

    def limit() -> str:
        return chance.choice(BOUNDS)

    flags = chance.choice(([], ["NX"], ["XX"], ["GT"], ["CH"], ["LT", "CH"], ["NX", "XX"], ["INCR"]))
    pairs = [part for _ in range(chance.randint(1, 2)) for part in (chance.choice(SCORES), element())]
    return chance.choice(
        (
            ["RPUSH", key(), *some(ELEMENTS)],
            ["RPUSH", key(), *some(ELEMENTS)],
            ["LPUSH", key(), *some(ELEMENTS)],
            [chance.choice(("LPOP", "RPOP")), key(), *chance.choice(([], [number()]))],
            ["LLEN", key()],
            ["LRANGE", key(), number(), number()],
            ["LINDEX", key(), number()],
            ["LREM", key(), number(), element()],
            ["LTRIM", key(), number(), number()],
            ["LSET", key(), number(), element()],
            [
                "LPOS",
                key(),
                element(),
                *chance.choice(([], ["RANK", number()], ["COUNT", "0"], ["RANK", "-1", "COUNT", "2"])),
            ],
            ["LMOVE", key(), key(), chance.choice(SIDES), chance.choice(SIDES)],
            ["LMOVE", key(), key(), "LEFT", "RIGHT"],
            ["RPOPLPUSH", key(), key()],
            ["HSET", key(), *some(("f", "g", "h"), 1), element()],
            ["HSET", key(), "f", number(), "g", element()],
            ["HGET", key(), "f"],
            ["HMGET", key(), "f", "g", "z"],
            ["HDEL", key(), *some(("f", "g", "z"))],
            ["HLEN", key()],
            ["HEXISTS", key(), "f"],
            ["HINCRBY", key(), "f", number()],
            ["HGETALL", key()],
            ["ZADD", key(), *flags, *(pairs[:2] if "INCR" in flags else pairs)],
            ["ZREM", key(), *some(ELEMENTS)],
            ["ZCARD", key()],
            ["ZSCORE", key(), element()],
            ["ZRANK", key(), element()],
            ["ZRANGE", key(), number(), number(), *chance.choice(([], ["WITHSCORES"], ["REV"]))],
            ["ZRANGE", key(), limit(), limit(), "BYSCORE", *chance.choice(([], ["LIMIT", "0", "2"], ["REV"]))],
            ["ZRANGEBYSCORE", key(), limit(), limit(), *chance.choice(([], ["WITHSCORES"], ["LIMIT", "1", "1"]))],
            ["ZREVRANGEBYSCORE", key(), limit(), limit(), *chance.choice(([], ["WITHSCORES"], ["LIMIT", "0", "1"]))],
            ["ZCOUNT", key(), limit(), limit()],
            ["ZPOPMIN", key(), *chance.choice(([], ["2"]))],
            ["ZREMRANGEBYSCORE", key(), limit(), limit()],
            ["SET", key(), element(), *chance.choice(([], ["NX"], ["XX"], ["PX", "100000"], ["PX", "0"]))],
            ["GET", key()],
            ["STRLEN", key()],
            ["INCR", key()],
            ["MGET", key(), key()],
            ["DEL", *some(KEYS)],
            ["EXISTS", *some(KEYS)],
            ["RENAME", key(), key()],
            ["PEXPIRE", key(), chance.choice(("100000", "-1", "0", "x"))],
            ["PERSIST", key()],
            ["TYPE", key()],
            ["SELECT", "0"],
            ["NOSUCH", key()],
            ["GET"],
        )
    )


@pytest.mark.parametrize("part", range(4))
def test_random_commands(server: Redis, part: int) -> None:
    """Every answer is the same, and so is what is left in each key."""
    for seed in range(ROUNDS // 4):
        chance = Random(f"{part} {seed}")
        engine = simulated(server)
        server.flushall()
        for _ in range(COMMANDS_A_ROUND):
            _same(server, engine, _random_command(chance))
        _compare_keys(server, engine)


def test_a_write_can_be_undone(server: Redis) -> None:
    """What is recorded of each write is enough to go back, one write at a time."""
    chance = Random("undo")
    engine = simulated(server)
    seen: list[dict[bytes, bytes]] = [_image(engine)]
    for _ in range(300):
        engine.execute([one if isinstance(one, bytes) else str(one).encode() for one in _random_command(chance)])
        if engine.take_changes():
            seen.append(_image(engine))

    while len(seen) > 1:
        assert _image(engine) == seen.pop()
        engine.undo(engine.history.pop())
    assert _image(engine) == seen.pop()


def _image(engine: Engine) -> dict[bytes, bytes]:
    return {key: repr(getattr(value, "scores", value)).encode() for key, value in engine.data.items()}


SNIPPETS: Final = (
    "return redis.call('GET', KEYS[1])",
    "return redis.pcall('GET', KEYS[1])",
    "local r = redis.pcall('GET', KEYS[1]) if type(r) == 'table' and r.err then return 'failed' end return r",
    "return {1, 'two', false, {3, {ok = 'fine'}}, 4.9, true}",
    "return {1, nil, 3}",
    "return redis.error_reply('MY own error')",
    "return redis.status_reply('GOOD')",
    "return {err = 'MY table'}",
    "return nosuch",
    "return redis.call('NOSUCH')",
    "return redis.call('GET')",
    "return redis.call('GET', {})",
    "redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('HSET', KEYS[1], 'f', 1)",
    "redis.call('RPUSH', KEYS[1], 1, 1.5, 1e20) return redis.call('LRANGE', KEYS[1], 0, -1)",
    "return redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT') or 'none'",
    "return redis.call('TYPE', KEYS[1]).ok",
    "return redis.call('TYPE', KEYS[1])",
    "return #redis.call('TIME')",
    "return redis.sha1hex(ARGV[1])",
    'return cjson.decode(\'{"a":[1,2,{"b":"c"}]}\').a[3].b',
    "return pcall(cjson.decode, 'no json') and 1 or 0",
    "return {KEYS[1], ARGV[1], #KEYS, #ARGV}",
    "return tonumber(ARGV[1]) or -1",
    "error('boom')",
    "return tostring(redis.call('ZSCORE', KEYS[1], ARGV[1]))",
    "redis.call('ZADD', KEYS[1], 1.25, ARGV[1]) return redis.call('ZSCORE', KEYS[1], ARGV[1])",
    "return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', 3, 'LIMIT', 0, 1)",
    "return redis.call('PEXPIRE', KEYS[1], 100000)",
    "return redis.call('SELECT', 0)",
    "return redis.call('EVAL', 'return 1', 0)",
    "if redis.replicate_commands then redis.replicate_commands() end return redis.call('SET', KEYS[1], 'v')",
)


def test_generic_scripts(server: Redis) -> None:
    """Conversions between Lua and Redis, errors in scripts, and what scripts may not do."""
    chance = Random("scripts")
    engine = simulated(server)
    server.flushall()
    for _ in range(600):
        if chance.random() < 0.4:
            _same(server, engine, _random_command(chance))
        else:
            keys = [chance.choice(KEYS), chance.choice(KEYS)]
            _same(server, engine, ["EVAL", chance.choice(SNIPPETS), "2", *keys, chance.choice(ELEMENTS)])
    _compare_keys(server, engine)


SCRIPTS: Final = Path(str(files("app.store").joinpath("scripts")))
PREFIXES: Final = (("common", "guard"), ("common", "once"), ("common", "unowned"))
"""Scripts that stand before others."""

SCRIPT_KEYS: Final = tuple(f"k{number}" for number in range(9))
SCRIPT_ARGS: Final = (*ELEMENTS, b"0", b"1", b"2", b"me", b"1000", b"LEFT", b"RIGHT", b"left", b"RPUSH", b"LPUSH", b"")


NAMES: Final = sorted(path.stem for path in SCRIPTS.glob("*.lua"))
REHEARSAL: Final = "rehearse"
"""Writes what has expired a millisecond later: on keys of its own, only its answer can be compared."""


def test_the_rehearsal(server: Redis) -> None:
    """All that we do is known to the simulated Redis."""
    engine = simulated(server)
    _same(server, engine, ["EVAL", (SCRIPTS / f"{REHEARSAL}.lua").read_text(), "4", *SCRIPT_KEYS[:4]])


@pytest.mark.parametrize("name", [name for name in NAMES if name != REHEARSAL])
def test_our_scripts(server: Redis, name: str) -> None:
    """Each of our scripts, with and without what stands before it, on whatever keys and arguments."""
    chance = Random(name)
    engine = simulated(server)
    texts = [script(*before, name).text for before in ((), *PREFIXES)]
    for _ in range(12):
        server.flushall()
        engine.data.clear()
        engine.expires.clear()
        for key in SCRIPT_KEYS:
            if (made := _filled(chance, key)) is not None:
                _same(server, engine, made)
        for _ in range(5):
            number = chance.randint(1, len(SCRIPT_KEYS))
            args: list[Any] = ["me", "1000", str(chance.randint(0, 3)), str(chance.randint(1, 5))]
            args += [chance.choice(SCRIPT_ARGS) for _ in range(chance.randint(0, 6))]
            _same(server, engine, ["EVAL", chance.choice(texts), str(number), *SCRIPT_KEYS[:number], *args])
        _compare_keys(server, engine, SCRIPT_KEYS)


def _filled(chance: Random, key: str) -> list[Any] | None:
    return chance.choice(
        (
            None,
            ["SET", key, "me"],
            ["RPUSH", key, *(chance.choice(ELEMENTS) for _ in range(5))],
            ["RPUSH", key, *(chance.choice(ELEMENTS) for _ in range(5))],
            ["HSET", key, "1", "2"],
            ["ZADD", key, "1", chance.choice(ELEMENTS), "2", "cdr1 t 2\nother"],
        )
    )


EXCHANGE_KEYS: Final = ("owner", "ops", "processing", "pending", "retry", "retrying", "dead", "scratch")
EXCHANGES: Final = 60
LATER: Final = "1000000"


@pytest.mark.parametrize("seed", range(4))
def test_exchanges(server: Redis, seed: int) -> None:
    """Settlements and claims with arguments that make sense, in a row, some of them sent twice."""
    engine = simulated(server)
    server.flushall()
    _exchanges(server, engine, Random(f"exchanges {seed}"), 1)


@pytest.mark.parametrize(
    "denied", ["lrem", "rpush", "rpop", "lpop", "lmove", "zadd", "zrem", "hset", "pexpire", "lset"]
)
def test_exchanges_without_a_right(server: Redis, denied: str) -> None:
    """What is refused in the middle leaves the same behind."""
    engine = simulated(server)
    server.flushall()
    chance = Random(f"without {denied}")
    _exchanges(server, engine, chance, 1)
    _answer(server, ["ACL", "SETUSER", "default", f"-{denied}"])
    engine.denied.add(denied.encode())
    try:
        _exchanges(server, engine, chance, EXCHANGES)
    finally:
        _answer(server, ["ACL", "SETUSER", "default", f"+{denied}"])


def test_exchanges_in_a_full_memory(server: Redis) -> None:
    """What waits can be settled and claimed."""
    engine = simulated(server)
    server.flushall()
    chance = Random("full")
    _exchanges(server, engine, chance, 1)
    _answer(server, ["CONFIG", "SET", "maxmemory", "1"])
    engine.full = True
    try:
        _exchanges(server, engine, chance, EXCHANGES)
    finally:
        _answer(server, ["CONFIG", "SET", "maxmemory", "0"])


def _exchanges(server: Redis, engine: Engine, chance: Random, first: int) -> None:
    """Send some, numbered from `first` on."""
    text = script("common", "guard", "settle_and_claim").text
    _same(server, engine, ["SET", "owner", "me", "PX", "100000"])
    for number in range(first, first + EXCHANGES):
        if chance.random() < 0.5:
            _same(server, engine, ["RPUSH", "pending", *(chance.choice(ELEMENTS) for _ in range(3))])
        sequence = number - chance.choice((0, 0, 0, 0, 1))
        _exchange(server, engine, [text, "8", *EXCHANGE_KEYS, "me", "100000", "1", sequence, *_wanted(chance, server)])
        for key in ("processing", "pending", "dead"):
            _same(server, engine, ["LRANGE", key, "0", "-1"])
        for key in ("retry", "retrying"):
            _same(server, engine, ["ZCARD", key])


def _wanted(chance: Random, server: Redis) -> list[Any]:
    """Return what to claim, and some settlements of what is there, or is not."""
    claims = [chance.choice((0, 1, 3)), chance.choice((1, 10, 1000)), chance.choice((0, 1, 2))]
    early = chance.choice(("due", "due", "", "0" * 40))
    there = [*_answer(server, ["LRANGE", "processing", "0", "-1"]), b"gone"]
    handed = [element for key in ("retrying", "retry") for element in _answer(server, ["ZRANGE", key, "0", "-1"])]
    handed.append(b"gone")
    settlements: list[Any] = []
    for number in range(chance.randint(0, 4)):
        held = chance.choice(("processing", "processing", "retry", "hand"))
        place = chance.choice(("", "", "retry", "dead", "pending"))
        element = chance.choice(there if held == "processing" else handed)
        pushed = f"cdr1 t-{chance.random()} {number}\n".encode() + element if place == "retry" else element
        settlements += [held, place, element, pushed, chance.choice(("0", LATER))]
    long, number = chance.choice(("0", "2", "1000")), len(settlements) // 5
    return [chance.choice(("LEFT", "RIGHT")), *claims, LATER, early, "9000000", long, number, *settlements]


def _exchange(client: Redis, engine: Engine, args: list[Any]) -> None:
    """Compare two answers, but for what time it was, and which of several that are due at once came first."""
    real = _plain(_answer(client, ["EVAL", *args]))
    texts = [one if isinstance(one, bytes) else str(one).encode() for one in args]
    made = _plain(engine.execute([b"EVAL", *texts]))
    engine.take_changes()
    if isinstance(real, list) and isinstance(made, list):
        for reply in (real, made):
            reply[0] = 0
            reply[1] = min(reply[1], 1)
            reply[2:4] = map(_refusal, reply[2:4])
            reply[4] = [_refusal(one) for one in reply[4]]
    assert made == real


def _refusal(told: Any) -> Any:
    """Return what can be compared of a refusal that a script tells."""
    return _kind(told.decode().partition(": ")[2] or told.decode()) if isinstance(told, bytes) and told else told


def test_scripts_by_their_hash(server: Redis) -> None:
    """A script is known once it was loaded, and no more after a flush."""
    engine = simulated(server)
    text = "return {KEYS[1], ARGV[1]}"
    digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
    for args in (
        ["EVALSHA", digest, "1", "k", "a"],
        ["SCRIPT", "LOAD", text],
        ["EVALSHA", digest, "1", "k", "a"],
        ["EVALSHA", digest.upper(), "1", "k", "a"],
        ["EVALSHA", digest, "9", "k", "a"],
    ):
        _same(server, engine, args)
    _answer(server, ["SCRIPT", "FLUSH"])
    engine.scripts.clear()
    _same(server, engine, ["EVALSHA", digest, "1", "k", "a"])


def test_time_to_live(server: Redis) -> None:
    """What has none, and what is not there."""
    engine = simulated(server)
    server.flushall()
    for args in (["SET", "a", "1"], ["PTTL", "a"], ["PTTL", "b"], ["PEXPIRE", "a", "0"], ["PTTL", "a"]):
        _same(server, engine, args)


def test_a_full_memory(server: Redis) -> None:
    """The same writes are refused, and the same scripts get through."""
    engine = simulated(server)
    server.flushall()
    for args in (["RPUSH", "a", "x", "y"], ["SET", "b", "me"], ["ZADD", "c", "1", "m"], ["HSET", "d", "f", "1"]):
        _same(server, engine, args)
    _answer(server, ["CONFIG", "SET", "maxmemory", "1"])
    engine.full = True
    try:
        for args in _WRITES:
            _same(server, engine, args)
        _compare_keys(server, engine)
    finally:
        _answer(server, ["CONFIG", "SET", "maxmemory", "0"])


_WRITES: Final[tuple[list[Any], ...]] = (
    ["SET", "e", "1"],
    ["RPUSH", "a", "z"],
    ["LMOVE", "a", "e", "LEFT", "RIGHT"],
    ["BLMOVE", "a", "e", "LEFT", "RIGHT", "0.01"],
    ["ZADD", "c", "2", "n"],
    ["HSET", "d", "g", "1"],
    ["PEXPIRE", "b", "100000"],
    ["EVAL", "return redis.call('SET', KEYS[1], '1')", "1", "e"],
    ["EVAL", "return redis.pcall('RPUSH', KEYS[1], '1')", "1", "e"],
    ["EVAL", "redis.call('PEXPIRE', KEYS[1], 5000) return redis.call('RPUSH', KEYS[2], '1')", "2", "b", "a"],
    ["EVAL", "redis.call('PEXPIRE', KEYS[1], 5000) return redis.call('ZADD', KEYS[2], 5, '1')", "2", "nosuch", "c"],
    ["EVAL", "redis.call('LREM', KEYS[1], 1, 'x') return redis.call('SET', KEYS[2], '1')", "2", "a", "e"],
    [
        "EVAL",
        "redis.pcall('SET', KEYS[2], '1') redis.call('LREM', KEYS[1], 1, 'y') return redis.call('SET', KEYS[2], '2')",
        "2",
        "a",
        "e",
    ],
    ["LREM", "a", "1", "1"],
    ["HDEL", "d", "f"],
    ["ZREM", "c", "m"],
    ["LPOP", "a"],
    ["DEL", "b"],
    ["INCR", "i"],
)


def test_missing_rights(server: Redis) -> None:
    """A command that a user may not use is refused, also in a script."""
    engine = simulated(server)
    server.flushall()
    denied = ("lrem", "zadd", "rpush", "evalsha")
    _same(server, engine, ["RPUSH", "a", "x", "y"])
    _answer(server, ["ACL", "SETUSER", "default", *(f"-{name}" for name in denied)])
    engine.denied.update(name.encode() for name in denied)
    try:
        for args in (
            ["LREM", "a", "1", "x"],
            ["ZADD", "z", "1", "m"],
            ["EVALSHA", "0" * 40, "0"],
            ["EVAL", "return redis.call('LREM', KEYS[1], 1, 'x')", "1", "a"],
            [
                "EVAL",
                "local r = redis.pcall('RPUSH', KEYS[1], 'z') return type(r) == 'table' and r.err and 'no' or r",
                "1",
                "a",
            ],
            ["EVAL", "return redis.pcall('RPUSH', KEYS[1], 'z')", "1", "a"],
            ["LPOP", "a"],
        ):
            _same(server, engine, args)
    finally:
        _answer(server, ["ACL", "SETUSER", "default", *(f"+{name}" for name in denied)])


def test_locked_keys(server: Redis) -> None:
    """A key that may only be read is refused to writes, also in a script."""
    engine = simulated(server)
    if engine.version < (7, 0):
        pytest.skip("before 7.0 there are no rights to read only")
    server.flushall()
    _same(server, engine, ["RPUSH", "a", "x", "y"])
    _answer(server, ["ACL", "SETUSER", "default", "resetkeys", "~a", "~c", "%R~b"])
    engine.locked.add(b"b")
    try:
        for args in (
            ["RPUSH", "b", "x"],
            ["LMOVE", "a", "b", "LEFT", "RIGHT"],
            ["LLEN", "b"],
            ["EVAL", "return redis.call('RPUSH', KEYS[1], 'x')", "1", "b"],
            ["EVAL", "redis.pcall('RPUSH', KEYS[1], 'x') return redis.call('LLEN', KEYS[2])", "2", "b", "a"],
            ["EVAL", "return redis.pcall('LMOVE', KEYS[2], KEYS[1], 'LEFT', 'RIGHT')", "2", "b", "a"],
            ["LPOP", "a"],
        ):
            _same(server, engine, args)
    finally:
        _answer(server, ["ACL", "SETUSER", "default", "allkeys"])


def test_keys_that_are_locked_inside_scripts_only(server: Redis) -> None:
    """A selector may let a script be given a key to which its commands may not write."""
    engine = simulated(server)
    if engine.version < (7, 0):
        pytest.skip("before 7.0 there are no selectors")
    server.flushall()
    _same(server, engine, ["RPUSH", "b", "x"])
    _answer(server, ["ACL", "SETUSER", "default", "resetkeys", "~a", "%R~b", "(+eval ~*)"])
    engine.locked_inside.add(b"b")
    both = "redis.call('RPUSH', KEYS[1], 'x') return redis.call('RPUSH', KEYS[2], 'x')"
    try:
        for args in (
            ["EVAL", both, "2", "a", "b"],
            ["EVAL", both.replace("call", "pcall"), "2", "a", "b"],
            ["EVAL", "return redis.call('LLEN', KEYS[2])", "2", "a", "b"],
            ["LRANGE", "a", "0", "-1"],
            ["RPUSH", "b", "x"],
        ):
            _same(server, engine, args)
    finally:
        _answer(server, ["ACL", "SETUSER", "default", "clearselectors", "allkeys"])


def test_a_replica(server: Redis) -> None:
    """A replica refuses writes, also those of scripts, and goes on reading."""
    engine = simulated(server)
    server.flushall()
    _same(server, engine, ["RPUSH", "a", "x", "y"])
    _answer(server, ["CONFIG", "SET", "replica-serve-stale-data", "yes"])
    _answer(server, ["REPLICAOF", "127.0.0.1", "1"])
    engine.read_only = True
    try:
        for args in (
            ["LLEN", "a"],
            ["LPOP", "a"],
            ["BLMOVE", "a", "b", "LEFT", "RIGHT", "0.01"],
            ["EVAL", "return redis.call('LLEN', KEYS[1])", "1", "a"],
            ["EVAL", "return redis.call('LPOP', KEYS[1])", "1", "a"],
            ["EVAL", "return redis.pcall('LPOP', KEYS[1])", "1", "a"],
            ["EVAL", "return redis.call('PEXPIRE', KEYS[1], 1000)", "1", "a"],
        ):
            _same(server, engine, args)
    finally:
        _answer(server, ["REPLICAOF", "NO", "ONE"])
