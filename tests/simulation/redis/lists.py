"""Commands on lists."""

from itertools import islice

from tests.simulation.redis.arguments import SYNTAX, at_left, integer, span
from tests.simulation.redis.engine import Engine, command
from tests.simulation.redis.values import NIL_ARRAY, OK, RedisError, Reply


@command("rpush", -3, "wm")
def rpush(engine: Engine, args: list[bytes]) -> Reply:
    elements = engine.changing(args[1], list)
    elements.extend(args[2:])
    return len(elements)


@command("lpush", -3, "wm")
def lpush(engine: Engine, args: list[bytes]) -> Reply:
    elements = engine.changing(args[1], list)
    elements[:0] = args[:1:-1]
    return len(elements)


@command("rpop", -2, "w")
def rpop(engine: Engine, args: list[bytes]) -> Reply:
    return _pop(engine, args, left=False)


@command("lpop", -2, "w")
def lpop(engine: Engine, args: list[bytes]) -> Reply:
    return _pop(engine, args, left=True)


def _pop(engine: Engine, args: list[bytes], *, left: bool) -> Reply:
    most = integer(args[2]) if len(args) > 2 else None
    if most is not None and most < 0:
        raise RedisError("ERR value is out of range, must be positive")
    elements = engine.get(args[1], list)
    if not elements:
        return None if most is None else NIL_ARRAY
    if most == 0:
        return []
    engine.touch(args[1])
    taken = [elements.pop(0 if left else -1) for _ in range(min(most or 1, len(elements)))]
    engine.tidy(args[1])
    return taken[0] if most is None else list(taken)


@command("llen", 2)
def llen(engine: Engine, args: list[bytes]) -> Reply:
    return len(engine.get(args[1], list) or ())


@command("lrange", 4)
def lrange(engine: Engine, args: list[bytes]) -> Reply:
    start, stop = integer(args[2]), integer(args[3])
    elements = engine.get(args[1], list) or []
    indexes = span(len(elements), start, stop)
    return list(elements[indexes.start : indexes.stop])


@command("lindex", 3)
def lindex(engine: Engine, args: list[bytes]) -> Reply:
    elements = engine.get(args[1], list)
    if elements is None:
        return None
    index = integer(args[2])
    return elements[index] if -len(elements) <= index < len(elements) else None


@command("lset", 4, "wm")
def lset(engine: Engine, args: list[bytes]) -> Reply:
    elements = engine.get(args[1], list)
    index = integer(args[2])
    if elements is None:
        raise RedisError("ERR no such key")
    if not -len(elements) <= index < len(elements):
        raise RedisError("ERR index out of range")
    engine.touch(args[1])
    elements[index] = args[3]
    return OK


@command("ltrim", 4, "w")
def ltrim(engine: Engine, args: list[bytes]) -> Reply:
    start, stop = integer(args[2]), integer(args[3])
    if elements := engine.get(args[1], list):
        engine.touch(args[1])
        indexes = span(len(elements), start, stop)
        elements[:] = elements[indexes.start : indexes.stop]
        engine.tidy(args[1])
    return OK


@command("lrem", 4, "w")
def lrem(engine: Engine, args: list[bytes]) -> Reply:
    count, wanted = integer(args[2]), args[3]
    elements = engine.get(args[1], list)
    if not elements:
        return 0
    indexes = (i for i in range(len(elements)) if elements[i] == wanted)
    if count < 0:
        indexes = (i for i in range(len(elements) - 1, -1, -1) if elements[i] == wanted)
    found = sorted(islice(indexes, abs(count) or None), reverse=True)
    if found:
        engine.touch(args[1])
        for index in found:
            del elements[index]
        engine.tidy(args[1])
    return len(found)


@command("lpos", -3)
def lpos(engine: Engine, args: list[bytes]) -> Reply:
    options = {args[i].lower(): integer(args[i + 1]) for i in range(3, len(args) - 1, 2)}
    if options.keys() - {b"rank", b"count", b"maxlen"} or len(args) % 2 == 0:
        raise RedisError(SYNTAX)
    rank, count = options.get(b"rank", 1), options.get(b"count")
    if rank == 0:
        raise RedisError("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ...")
    elements = engine.get(args[1], list) or []
    order = range(len(elements)) if rank > 0 else range(len(elements) - 1, -1, -1)
    examined = list(order)[: options.get(b"maxlen", 0) or None]
    found = [i for i in examined if elements[i] == args[2]][abs(rank) - 1 :]
    if count is None:
        return found[0] if found else None
    return list(found[: count or None])


@command("lmove", 5, "wm")
def lmove(engine: Engine, args: list[bytes]) -> Reply:
    from_left, to_left = at_left(args[3]), at_left(args[4])
    source = engine.get(args[1], list)
    if not source:
        return None
    engine.get(args[2], list)
    engine.touch(args[1])
    element = source.pop(0 if from_left else -1)
    target = engine.changing(args[2], list)
    target.insert(0 if to_left else len(target), element)
    engine.tidy(args[1])
    return element


@command("rpoplpush", 3, "wm")
def rpoplpush(engine: Engine, args: list[bytes]) -> Reply:
    return lmove(engine, [*args, b"RIGHT", b"LEFT"])


@command("blmove", 6, "wms")
def blmove(engine: Engine, args: list[bytes]) -> Reply:
    """Move without waiting: it is the server that waits."""
    return lmove(engine, args[:5])
