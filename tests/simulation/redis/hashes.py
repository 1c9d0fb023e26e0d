"""Commands on hashes."""

from tests.simulation.redis.arguments import integer
from tests.simulation.redis.engine import Engine, command
from tests.simulation.redis.values import RedisError, Reply


@command("hset", -4, "wm")
def hset(engine: Engine, args: list[bytes]) -> Reply:
    if len(args) % 2:
        raise RedisError("ERR wrong number of arguments for 'hset' command")
    fields = engine.changing(args[1], dict)
    before = len(fields)
    fields.update(zip(args[2::2], args[3::2], strict=True))
    return len(fields) - before


@command("hsetnx", 4, "wm")
def hsetnx(engine: Engine, args: list[bytes]) -> Reply:
    fields = engine.changing(args[1], dict)
    if args[2] in fields:
        return 0
    fields[args[2]] = args[3]
    return 1


@command("hget", 3)
def hget(engine: Engine, args: list[bytes]) -> Reply:
    return (engine.get(args[1], dict) or {}).get(args[2])


@command("hmget", -3)
def hmget(engine: Engine, args: list[bytes]) -> Reply:
    fields = engine.get(args[1], dict) or {}
    return [fields.get(name) for name in args[2:]]


@command("hgetall", 2)
def hgetall(engine: Engine, args: list[bytes]) -> Reply:
    return [part for pair in (engine.get(args[1], dict) or {}).items() for part in pair]


@command("hkeys", 2)
def hkeys(engine: Engine, args: list[bytes]) -> Reply:
    return list(engine.get(args[1], dict) or {})


@command("hvals", 2)
def hvals(engine: Engine, args: list[bytes]) -> Reply:
    return list((engine.get(args[1], dict) or {}).values())


@command("hlen", 2)
def hlen(engine: Engine, args: list[bytes]) -> Reply:
    return len(engine.get(args[1], dict) or {})


@command("hexists", 3)
def hexists(engine: Engine, args: list[bytes]) -> Reply:
    return int(args[2] in (engine.get(args[1], dict) or {}))


@command("hdel", -3, "w")
def hdel(engine: Engine, args: list[bytes]) -> Reply:
    fields = engine.get(args[1], dict)
    if not fields:
        return 0
    engine.touch(args[1])
    removed = sum(fields.pop(name, None) is not None for name in args[2:])
    engine.tidy(args[1])
    return removed


@command("hincrby", 4, "wm")
def hincrby(engine: Engine, args: list[bytes]) -> Reply:
    by = integer(args[3])
    fields = engine.changing(args[1], dict)
    try:
        number = integer(fields.get(args[2], b"0")) + by
    except RedisError:
        raise RedisError("ERR hash value is not an integer") from None
    fields[args[2]] = b"%d" % number
    return number
