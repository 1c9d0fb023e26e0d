"""Commands on sorted sets."""

from collections.abc import Iterator

from tests.simulation.redis.arguments import SYNTAX, bound, integer, score, span
from tests.simulation.redis.engine import Engine, command
from tests.simulation.redis.values import RedisError, Reply, SortedSet, number_text

EMPTY = SortedSet()

Limit = tuple[float, bool]


def _read(engine: Engine, key: bytes) -> SortedSet:
    return engine.get(key, SortedSet) or EMPTY


@command("zadd", -4, "wm")
def zadd(engine: Engine, args: list[bytes]) -> Reply:
    flags: set[bytes] = set()
    first = 2
    while first < len(args) and args[first].lower() in (b"nx", b"xx", b"gt", b"lt", b"ch", b"incr"):
        flags.add(args[first].lower())
        first += 1
    pairs = args[first:]
    if not pairs or len(pairs) % 2 or flags >= {b"nx", b"xx"}:
        raise RedisError(
            SYNTAX if not flags >= {b"nx", b"xx"} else "ERR XX and NX options at the same time are not compatible"
        )
    wanted = [(score(number), member) for number, member in zip(pairs[::2], pairs[1::2], strict=True)]
    members = engine.changing(args[1], SortedSet)
    added = changed = 0
    last: float | None = None
    for number, member in wanted:
        there = members.scores.get(member)
        new = number + (there or 0.0) if b"incr" in flags else number
        if new != new:  # noqa: PLR0124 - not a number
            raise RedisError("ERR resulting score is not a number (NaN)")
        refused = (
            (there is not None and b"nx" in flags)
            or (there is None and b"xx" in flags)
            or (there is not None and b"gt" in flags and new <= there)
            or (there is not None and b"lt" in flags and new >= there)
        )
        if refused:
            last = None
            continue
        added += there is None
        changed += there is None or there != new
        members.set(member, new)
        last = new
    engine.tidy(args[1])
    if b"incr" in flags:
        return None if last is None else number_text(last)
    return changed if b"ch" in flags else added


@command("zrem", -3, "w")
def zrem(engine: Engine, args: list[bytes]) -> Reply:
    members = engine.get(args[1], SortedSet)
    if members is None:
        return 0
    engine.touch(args[1])
    removed = sum(members.discard(member) for member in args[2:])
    engine.tidy(args[1])
    return removed


@command("zcard", 2)
def zcard(engine: Engine, args: list[bytes]) -> Reply:
    return len(_read(engine, args[1]))


@command("zscore", 3)
def zscore(engine: Engine, args: list[bytes]) -> Reply:
    found = _read(engine, args[1]).scores.get(args[2])
    return None if found is None else number_text(found)


@command("zmscore", -3)
def zmscore(engine: Engine, args: list[bytes]) -> Reply:
    scores = _read(engine, args[1]).scores
    return [number_text(scores[member]) if member in scores else None for member in args[2:]]


@command("zrank", 3)
def zrank(engine: Engine, args: list[bytes]) -> Reply:
    members = _read(engine, args[1])
    return members.order.index((members.scores[args[2]], args[2])) if args[2] in members.scores else None


@command("zcount", 4)
def zcount(engine: Engine, args: list[bytes]) -> Reply:
    limits = bound(args[2]), bound(args[3])
    return sum(1 for _ in _between(_read(engine, args[1]), *limits))


def _between(members: SortedSet, low: Limit, high: Limit) -> Iterator[tuple[float, bytes]]:
    (least, not_least), (most, not_most) = low, high
    for number, member in members.order:
        if (number > least if not_least else number >= least) and (number < most if not_most else number <= most):
            yield number, member


@command("zrange", -4)
def zrange(engine: Engine, args: list[bytes]) -> Reply:
    by_score = backwards = with_scores = False
    offset, most = 0, -1
    options = iter(args[4:])
    for option in options:
        match option.lower():
            case b"byscore":
                by_score = True
            case b"rev":
                backwards = True
            case b"withscores":
                with_scores = True
            case b"limit":
                offset, most = integer(next(options, b"")), integer(next(options, b""))
            case _:
                raise RedisError(SYNTAX)
    if by_score:
        low, high = map(bound, (args[3], args[2]) if backwards else (args[2], args[3]))
        found = list(_between(_read(engine, args[1]), low, high))
        found = found[::-1] if backwards else found
        found = found[offset:] if most < 0 else found[offset : offset + most]
    else:
        start, stop = integer(args[2]), integer(args[3])
        members = _read(engine, args[1])
        order = members.order[::-1] if backwards else members.order
        indexes = span(len(order), start, stop)
        found = order[indexes.start : indexes.stop]
    return _shown(found, with_scores=with_scores)


@command("zrangebyscore", -4)
def zrangebyscore(engine: Engine, args: list[bytes]) -> Reply:
    return zrange(engine, [*args[:4], b"BYSCORE", *args[4:]])


@command("zrevrangebyscore", -4)
def zrevrangebyscore(engine: Engine, args: list[bytes]) -> Reply:
    return zrange(engine, [*args[:4], b"BYSCORE", b"REV", *args[4:]])


@command("zrevrange", -4)
def zrevrange(engine: Engine, args: list[bytes]) -> Reply:
    return zrange(engine, [*args[:4], b"REV", *args[4:]])


@command("zpopmin", -2, "w")
def zpopmin(engine: Engine, args: list[bytes]) -> Reply:
    members = engine.get(args[1], SortedSet)
    if members is None:
        return []
    engine.touch(args[1])
    popped = members.order[: integer(args[2]) if len(args) > 2 else 1]
    for _, member in popped:
        members.discard(member)
    engine.tidy(args[1])
    return _shown(popped, with_scores=True)


@command("zremrangebyscore", 4, "w")
def zremrangebyscore(engine: Engine, args: list[bytes]) -> Reply:
    limits = bound(args[2]), bound(args[3])
    members = engine.get(args[1], SortedSet)
    doomed = list(_between(members or EMPTY, *limits))
    if members is not None:
        engine.touch(args[1])
        for _, member in doomed:
            members.discard(member)
        engine.tidy(args[1])
    return len(doomed)


def _shown(found: list[tuple[float, bytes]], *, with_scores: bool) -> Reply:
    if not with_scores:
        return [member for _, member in found]
    return [part for number, member in found for part in (member, number_text(number))]
