"""Commands on keys and strings, and of the server."""

from fnmatch import fnmatchcase
from hashlib import sha1

from tests.simulation.redis.arguments import SYNTAX, integer
from tests.simulation.redis.engine import Engine, command
from tests.simulation.redis.values import OK, RedisError, Reply, Status


@command("ping", -1)
def ping(_: Engine, args: list[bytes]) -> Reply:
    return args[1] if len(args) > 1 else Status(b"PONG")


@command("echo", 2)
def echo(_: Engine, args: list[bytes]) -> Reply:
    return args[1]


@command("select", 2)
def select(_: Engine, args: list[bytes]) -> Reply:
    return OK if integer(args[1]) == 0 else RedisError("ERR DB index is out of range")


@command("time", 1)
def time(engine: Engine, _: list[bytes]) -> Reply:
    seconds, micros = divmod(engine.clock(), 1_000_000)
    return [b"%d" % seconds, b"%d" % micros]


@command("get", 2)
def get(engine: Engine, args: list[bytes]) -> Reply:
    return engine.get(args[1], bytes)


@command("mget", -2)
def mget(engine: Engine, args: list[bytes]) -> Reply:
    return [value if isinstance(value := engine.any(key), bytes) else None for key in args[1:]]


@command("strlen", 2)
def strlen(engine: Engine, args: list[bytes]) -> Reply:
    return len(engine.get(args[1], bytes) or b"")


@command("set", -3, "wm")
def set_(engine: Engine, args: list[bytes]) -> Reply:
    key, value = args[1:3]
    expires: int | None = None
    only_new = only_old = keeps = False
    options = iter(args[3:])
    for option in options:
        match option.lower():
            case b"nx":
                only_new = True
            case b"xx":
                only_old = True
            case b"keepttl":
                keeps = True
            case b"px" | b"ex" as unit:
                amount = integer(next(options, b""))
                if amount <= 0:
                    raise RedisError("ERR invalid expire time in 'set' command")
                expires = engine.now() + amount * (1 if unit == b"px" else 1000)
            case b"pxat":
                expires = integer(next(options, b""))
            case _:
                raise RedisError(SYNTAX)
    exists = engine.any(key) is not None
    if (only_new and exists) or (only_old and not exists):
        return None
    engine.put(key, value, engine.expires.get(key) if keeps else expires)
    return OK


@command("incr", 2, "wm")
def incr(engine: Engine, args: list[bytes]) -> Reply:
    return _increase(engine, args[1], 1)


@command("incrby", 3, "wm")
def incrby(engine: Engine, args: list[bytes]) -> Reply:
    return _increase(engine, args[1], integer(args[2]))


def _increase(engine: Engine, key: bytes, by: int) -> int:
    value = engine.get(key, bytes)
    number = (0 if value is None else integer(value)) + by
    engine.put(key, b"%d" % number, engine.expires.get(key))
    return number


@command("del", -2, "w")
def delete(engine: Engine, args: list[bytes]) -> Reply:
    return sum(engine.drop(key) for key in args[1:])


@command("unlink", -2, "w")
def unlink(engine: Engine, args: list[bytes]) -> Reply:
    return sum(engine.drop(key) for key in args[1:])


@command("exists", -2)
def exists(engine: Engine, args: list[bytes]) -> Reply:
    return sum(engine.any(key) is not None for key in args[1:])


@command("type", 2)
def type_(engine: Engine, args: list[bytes]) -> Reply:
    return Status(engine.type_name(args[1]))


@command("rename", 3, "w")
def rename(engine: Engine, args: list[bytes]) -> Reply:
    old, new = args[1:]
    value = engine.any(old)
    if value is None:
        raise RedisError("ERR no such key")
    if old != new:
        expires = engine.expires.get(old)
        engine.drop(old)
        engine.put(new, value, expires)
    return OK


@command("pexpire", -3, "w")
def pexpire(engine: Engine, args: list[bytes]) -> Reply:
    return _expire_at(engine, args[1], engine.now() + integer(args[2]))


@command("expire", -3, "w")
def expire(engine: Engine, args: list[bytes]) -> Reply:
    return _expire_at(engine, args[1], engine.now() + integer(args[2]) * 1000)


@command("pexpireat", -3, "w")
def pexpireat(engine: Engine, args: list[bytes]) -> Reply:
    return _expire_at(engine, args[1], integer(args[2]))


def _expire_at(engine: Engine, key: bytes, when: int) -> int:
    if engine.any(key) is None:
        return 0
    if when <= engine.now():
        engine.drop(key)
    else:
        engine.touch(key)
        engine.expires[key] = when
    return 1


@command("persist", 2, "w")
def persist(engine: Engine, args: list[bytes]) -> Reply:
    if engine.any(args[1]) is None or args[1] not in engine.expires:
        return 0
    engine.touch(args[1])
    del engine.expires[args[1]]
    return 1


@command("pttl", 2)
def pttl(engine: Engine, args: list[bytes]) -> Reply:
    if engine.any(args[1]) is None:
        return -2
    return engine.expires[args[1]] - engine.now() if args[1] in engine.expires else -1


@command("ttl", 2)
def ttl(engine: Engine, args: list[bytes]) -> Reply:
    left = pttl(engine, args)
    assert isinstance(left, int)
    return left if left < 0 else (left + 500) // 1000


@command("keys", 2)
def keys(engine: Engine, args: list[bytes]) -> Reply:
    return [key for key in engine.every_key() if _matches(key, args[1])]


@command("dbsize", 1)
def dbsize(engine: Engine, _: list[bytes]) -> Reply:
    return len(engine.every_key())


@command("scan", -2)
def scan(engine: Engine, args: list[bytes]) -> Reply:
    """Answer everything at once: a cursor of 0 says that there is no more."""
    options = {args[i].lower(): args[i + 1] for i in range(2, len(args) - 1, 2)}
    pattern, kind = options.get(b"match", b"*"), options.get(b"type")
    found = [key for key in engine.every_key() if _matches(key, pattern) and kind in (None, engine.type_name(key))]
    return [b"0", list(found)]


def _matches(key: bytes, pattern: bytes) -> bool:
    return fnmatchcase(key.decode("latin-1"), pattern.decode("latin-1"))


@command("flushall", -1, "w")
def flushall(engine: Engine, _: list[bytes]) -> Reply:
    for key in engine.every_key():
        engine.drop(key)
    return OK


@command("script", -2, "s")
def script(engine: Engine, args: list[bytes]) -> Reply:
    match args[1].lower():
        case b"load":
            return load_script(engine, args[2])
        case b"exists":
            return [int(digest.lower() in engine.scripts) for digest in args[2:]]
        case b"flush":
            engine.scripts.clear()
            return OK
    raise RedisError(SYNTAX)


@command("eval", -3, "s")
def eval_(engine: Engine, args: list[bytes]) -> Reply:
    return _run(engine, load_script(engine, args[1]), args)


@command("evalsha", -3, "s")
def evalsha(engine: Engine, args: list[bytes]) -> Reply:
    return _run(engine, args[1].lower(), args)


def load_script(engine: Engine, text: bytes) -> bytes:
    digest = sha1(text, usedforsecurity=False).hexdigest().encode()
    engine.scripts[digest] = text
    return digest


def _run(engine: Engine, digest: bytes, args: list[bytes]) -> Reply:
    number = integer(args[2])
    if number < 0 or number > len(args) - 3:
        raise RedisError("ERR Number of keys can't be greater than number of args")
    if digest not in engine.scripts:
        engine.met["script flush"] += digest in engine.flushed
        raise RedisError("NOSCRIPT No matching script. Please use EVAL.")
    assert engine.run_script is not None
    return engine.run_script(engine, digest, args[3 : 3 + number], args[3 + number :])
