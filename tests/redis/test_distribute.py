"""A CDR goes to every lane or to none, whatever is refused half-way."""

import pytest

from app.cdr import History
from app.demo.embedded import EmbeddedRedis
from app.errors import OperatorRedisError
from app.store.channel import Channel
from app.store.exchange import Distributed
from app.store.keys import LaneKeys
from app.store.queue import DISTRIBUTE, Queue
from app.store.retry_set import member_of
from tests.redis.conftest import Deny, OpenRig
from tests.redis.rig import MIB, Rig

LANES = ("a", "b", "c")
WAITED = History(
    3, 1, first_failed_at=5, first_strike_at=6, last_failed_at=7, last_result="http_5xx", first_rejected_at=5
)
WITHOUT_STRIKES = History(attempts=3, first_failed_at=5, last_result="http_5xx")


class Fan:
    """A rig with three lanes."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.lanes: list[LaneKeys] = [rig.topology.lane(name) for name in LANES]
        self.queue: Queue = rig.queue()
        self.channel: Channel = self.queue.channel()

    async def give(self, *modes: str, most: int = 100, most_bytes: int = MIB, most_pending: int = 100) -> Distributed:
        lanes = list(zip(self.lanes, modes or ["passing"] * 3, strict=True))
        done = await self.queue.distribute(self.channel, lanes, most, most_bytes, most_pending)
        assert done
        return done

    async def once(self, *modes: str, channel: Channel | None = None) -> object:
        """Send the script once, where `give` would go on until it is not refused."""
        rig = self.rig
        keys = [rig.slot.processing, rig.keys.pending, rig.keys.retry, rig.keys.retrying, rig.slot.scratch]
        keys += [key for lane in self.lanes for key in (lane.pending, lane.retry)]
        holder = [rig.lease.value, rig.lease.lease_ms, 1, 1]
        args = [*holder, "LEFT", 100, MIB, 100, *(modes or ["passing"] * 3)]
        sent = rig.link.call(
            "distribute", lambda: self.channel.evaluate(DISTRIBUTE, [rig.slot.owner, rig.slot.ops, *keys], args)
        )
        return await sent

    async def pending(self) -> list[list[bytes]]:
        return [
            await self.rig.elements(lane.pending) if await self.rig.redis.type(lane.pending) == b"list" else []
            for lane in self.lanes
        ]

    async def retry(self) -> list[list[bytes]]:
        return [await self.rig.members(lane.retry) for lane in self.lanes]


@pytest.fixture
async def fan(open_rig: OpenRig) -> Fan:
    return Fan(await open_rig(endpoints=LANES))


@pytest.fixture
async def limited_fan(open_rig: OpenRig, limited: str) -> Fan:
    return Fan(await open_rig(endpoints=LANES, redis_username=limited, redis_password="secret"))


async def test_gives_to_every_lane(fan: Fan) -> None:
    """Oldest first, what is in processing before what is in the source; nothing is left of it."""
    rig = fan.rig
    await rig.redis.rpush(rig.slot.processing, "1")
    await rig.redis.rpush(rig.keys.pending, "2", "3")
    assert await fan.give() == Distributed(3, wants_more=True, refusal="")
    assert await fan.pending() == [[b"1", b"2", b"3"]] * 3
    assert (await rig.processing(), await rig.pending()) == ([], [])


async def test_from_the_tail_of_the_source(fan: Fan) -> None:
    """The oldest end of the source may be its tail; that of a lane's pending list is its head all the same."""
    rig = fan.rig
    fan.queue = rig.queue(oldest="tail")
    await rig.redis.rpush(rig.keys.pending, "2", "1")
    await fan.give()
    assert await fan.pending() == [[b"1", b"2"]] * 3


async def test_no_more_than_was_asked_for(fan: Fan) -> None:
    """Neither in number nor in bytes; the CDR that fills the bytes is the last."""
    rig = fan.rig
    await rig.redis.rpush(rig.keys.pending, "1", b"2" * 100, "3", "4")
    assert (await fan.give(most=1)).given == 1
    assert (await fan.give(most_bytes=50)).given == 1
    assert await fan.pending() == [[b"1", b"2" * 100]] * 3
    assert await rig.pending() == [b"3", b"4"]


async def test_until_every_passing_lane_has_enough(fan: Fan) -> None:
    """It goes on for the emptiest lane that passes, and then claims nothing more."""
    rig = fan.rig
    await rig.redis.rpush(rig.keys.pending, *range(9))
    await rig.redis.rpush(fan.lanes[0].pending, "full", "full")
    done = await fan.give(most_pending=2)
    assert (done.given, done.wants_more) == (2, False)
    assert len(await rig.pending()) == 7
    assert await rig.processing() == []


async def test_shut_lanes_want_nothing(fan: Fan) -> None:
    """A lane that is shut gets its CDRs with the others, and asks for none."""
    rig = fan.rig
    await rig.redis.rpush(rig.keys.pending, "1")
    assert await fan.give("shut", "shut", "shut") == Distributed(0, wants_more=False, refusal="")
    assert (await fan.pending(), await rig.processing()) == ([[]] * 3, [])
    assert (await fan.give("shut", "passing", "shut")).given == 1
    assert await fan.pending() == [[b"1"]] * 3


async def test_one_to_probe_with(fan: Fan) -> None:
    """A lane that is shut and has nothing is given one CDR, and no second."""
    rig = fan.rig
    await rig.redis.rpush(rig.keys.pending, "1", "2")
    assert await fan.give("shut", "probe", "shut") == Distributed(1, wants_more=False, refusal="")
    assert (await fan.give("shut", "probe", "shut")).given == 0
    assert await rig.pending() == [b"2"]


async def test_a_deferred_one_is_not_enough_to_probe_with(fan: Fan) -> None:
    """What failed before may fail for ever: a new one is given all the same, and no second."""
    await fan.rig.redis.rpush(fan.rig.keys.pending, "1", "2")
    await fan.rig.redis.zadd(fan.lanes[1].retry, {"waits": 1})
    assert (await fan.give("shut", "probe", "shut")).given == 1
    assert (await fan.give("shut", "probe", "shut")).given == 0


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("place", ["pending", "retry"])
async def test_wrong_type_of_a_lane(fan: Fan, number: int, place: str) -> None:
    """Nothing moves to the other lanes either; told with the name of the key."""
    rig, lane = fan.rig, fan.lanes[number]
    key = {"pending": lane.pending, "retry": lane.retry}[place]
    await rig.redis.set(key, "of somebody")
    await rig.redis.rpush(rig.slot.processing, "1")
    await rig.redis.rpush(rig.keys.pending, "2")
    with pytest.raises(OperatorRedisError, match=f"WRONGTYPE {key}"):
        await fan.once()
    assert await fan.pending() == [[]] * 3
    assert (await rig.processing(), await rig.pending()) == ([b"1"], [b"2"])


@pytest.mark.parametrize("command", ["lpop", "rpop", "zrem"])
async def test_missing_right_for_a_removal(limited_fan: Fan, deny: Deny, command: str) -> None:
    """Refused before the first push, however often: no lane ever has a CDR twice."""
    fan, rig = limited_fan, limited_fan.rig
    await rig.redis.rpush(rig.keys.pending, "1")
    await deny(command)
    for _ in range(3):
        with pytest.raises(OperatorRedisError):
            await fan.once()
    assert (await fan.pending(), await rig.pending()) == ([[]] * 3, [b"1"])


async def test_missing_right_to_push(limited_fan: Fan, deny: Deny) -> None:
    """The CDR waits in processing, and is given once the right is back."""
    fan, rig = limited_fan, limited_fan.rig
    await rig.redis.rpush(rig.keys.pending, "1")
    await deny("rpush")
    done = await fan.give()
    assert (done.given, bool(done.refusal)) == (0, True)
    assert (await fan.pending(), await rig.processing()) == ([[]] * 3, [b"1"])


async def test_what_was_deferred_before_is_taken_along(fan: Fan) -> None:
    """A former configuration with one endpoint: its retry set goes to every lane, due when it was.

    Its attempts are still counted; strikes and rejections are not those of the lane's endpoint.
    """
    rig, later = fan.rig, await fan.rig.now() + 60_000
    before = {member_of("t-1", WAITED, b"due"): 1, member_of("t-2", WAITED, b"waits"): later}
    due, waits = member_of("t-1", WITHOUT_STRIKES, b"due"), member_of("t-2", WITHOUT_STRIKES, b"waits")
    await rig.redis.zadd(rig.keys.retry, before)
    assert (await fan.give("shut", "shut", "shut")).given == 2
    assert await fan.retry() == [[due, waits]] * 3
    assert [await rig.redis.zscore(lane.retry, waits) for lane in fan.lanes] == [later] * 3
    assert await rig.retry() == []


async def test_what_is_in_hand_is_taken_along_when_its_visibility_ends(fan: Fan) -> None:
    """A process of the former configuration may still be posting it."""
    rig, later = fan.rig, await fan.rig.now() + 60_000
    ended, in_hand = member_of("t-1", WAITED, b"ended"), member_of("t-2", WAITED, b"in hand")
    await rig.redis.zadd(rig.keys.retrying, {ended: 1, in_hand: later})
    await fan.give()
    assert await fan.retry() == [[member_of("t-1", WITHOUT_STRIKES, b"ended")]] * 3
    assert await rig.retrying() == [in_hand]


@pytest.mark.parametrize("place", ["retry", "retrying"])
async def test_wrong_type_of_the_former_retry_set(fan: Fan, place: str) -> None:
    """It is none of ours any more: everything else goes on."""
    rig = fan.rig
    await rig.redis.set({"retry": rig.keys.retry, "retrying": rig.keys.retrying}[place], "of somebody")
    await rig.redis.rpush(rig.keys.pending, "1")
    assert (await fan.give()).given == 1


async def test_a_refused_deferred_one_is_not_counted(limited_fan: Fan, deny: Deny) -> None:
    """Nothing was given: whoever asks must pause before it asks again."""
    fan, rig = limited_fan, limited_fan.rig
    waits = member_of("t-1", WAITED, b"waits")
    await rig.redis.zadd(rig.keys.retry, {waits: 1})
    await deny("zadd")
    done = await fan.give()
    assert (done.given, bool(done.refusal)) == (0, True)
    assert (await fan.retry(), await rig.retry()) == ([[]] * 3, [waits])


async def test_full_redis_drains(own_redis: EmbeddedRedis, open_rig: OpenRig) -> None:
    """What is distributed can be delivered, and frees memory."""
    fan = Fan(await open_rig(own_redis.url, endpoints=LANES))
    await fan.rig.redis.rpush(fan.rig.keys.pending, "1")
    await fan.rig.redis.config_set("maxmemory", "1")
    assert (await fan.give()).given == 1


async def test_sent_again_it_does_nothing(fan: Fan) -> None:
    """Its reply was lost: no lane gets a second copy, nor the CDR behind it."""
    rig = fan.rig
    channel = rig.recording()
    fan.channel = channel
    await rig.redis.rpush(rig.keys.pending, "1", "2")
    await fan.give(most=1)
    assert await channel.ask(*channel.sent[-1]) is None
    assert (await fan.pending(), await rig.pending()) == ([[b"1"]] * 3, [b"2"])
