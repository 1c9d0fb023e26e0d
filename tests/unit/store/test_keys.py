"""What every key in Redis is called: operators, scripts and ACLs build on these names."""

import pytest

from app.store.keys import MOST_SLOTS, LaneKeys, Slot, Topology
from tests.support.harness import environment, settings_from


def topology(redis_url: str = "redis://localhost/0", *endpoints: str, **variables: str) -> Topology:
    given = environment(redis_url, "http://127.0.0.1:9/", "acme", **{"source_key": "enigma:cdr", **variables})
    if endpoints:
        del given["CDR_WEBHOOK_URL"]
        given |= {f"CDR_ENDPOINTS__{name.upper()}__URL": "http://127.0.0.1:9/" for name in endpoints}
    return Topology(settings_from(given).sources[0])


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("pending", "enigma:cdr"),
        ("retry", "acme:retry:cdr"),
        ("retrying", "acme:retrying:cdr"),
        ("dead", "acme:dead:cdr"),
        ("minutes", "acme:minutes:cdr"),
    ],
)
def test_short_keys(name: str, key: str) -> None:
    """With CDR_WEBHOOK_URL alone; its pending list is the source."""
    assert getattr(topology().lane("webhook"), name) == key


@pytest.mark.parametrize("name", ["pending", "retry", "retrying", "dead", "minutes"])
def test_keys_of_an_endpoint(name: str) -> None:
    """With any CDR_ENDPOINTS__, even one."""
    assert getattr(topology("redis://localhost/0", "crm").lane("crm"), name) == f"acme:crm:{name}:cdr"


@pytest.mark.parametrize(
    ("number", "endpoint", "processing"),
    [
        (1, None, "acme:processing:cdr"),
        (2, None, "acme:processing:cdr:2"),
        (64, None, "acme:processing:cdr:64"),
        (1, "crm", "acme:crm:processing:cdr"),
        (2, "crm", "acme:crm:processing:cdr:2"),
    ],
)
def test_keys_of_a_slot(number: int, endpoint: str | None, processing: str) -> None:
    """One owner has the lists of all lanes; each list has sequence numbers of its own."""
    keys = topology("redis://localhost/0", "crm")
    slot = (keys.lane(endpoint) if endpoint else keys.short).slot(number)
    suffix = "" if number == 1 else f":{number}"
    assert slot.processing == processing
    assert slot.ops == f"{processing}:ops"
    assert slot.owner == f"acme:processing:cdr{suffix}:owner"
    assert slot.report == f"acme:processing:cdr{suffix}:report"
    assert slot.scratch == f"{processing}:scratch"


def test_64_slots() -> None:
    """A 65th process waits."""
    assert [slot.number for slot in topology().short.slots()] == list(range(1, 65))


def test_lanes_that_are_left_over() -> None:
    """One that this configuration does not use has the keys that carry its name, whatever it is called."""
    assert topology().lane("crm").pending == "acme:crm:pending:cdr"
    assert topology().named("webhook").pending == "acme:webhook:pending:cdr"


@pytest.mark.parametrize(("source", "prefix"), [("enigma:cdr", "{enigma:cdr}:acme"), ("x{tag}y", "{tag}:acme")])
def test_keys_in_a_cluster(source: str, prefix: str) -> None:
    """All share the hash slot of the source, which may lend its tag."""
    keys = topology("redis+cluster://localhost:7000", "crm", source_key=source)
    short, lane = keys.short, keys.lane("crm")
    ours = [lane.pending, lane.retry, lane.dead, lane.minutes, short.retrying, short.slot(1).owner, lane.slot(2).ops]
    assert all(key.startswith(f"{prefix}:") for key in [*ours, keys.scratch])
    assert short.pending == source


@pytest.mark.parametrize(
    ("number", "processing"),
    [(1, "acme:processing:cdr"), (2, "acme:processing:cdr:2"), (64, "acme:processing:cdr:64")],
)
def test_the_first_slot_has_the_documented_name_and_the_others_a_number(number: int, processing: str) -> None:
    """A single process, and one that restarts, works on the key that Enigma's guide names."""
    slot = Slot("acme", number)
    assert slot.processing == processing
    assert slot.owner == f"{processing}:owner"
    assert slot.ops == f"{processing}:ops"
    assert slot.report == f"{processing}:report"


def test_a_lane_has_one_key_for_each_place_outside_the_processing_lists() -> None:
    """They are shared by all processes of an integrator."""
    keys = LaneKeys("acme", "enigma:notifications:cdr")
    assert keys.waiting == ("enigma:notifications:cdr", "acme:retry:cdr", "acme:retrying:cdr")
    assert (keys.dead, keys.minutes) == ("acme:dead:cdr", "acme:minutes:cdr")


def test_there_are_64_slots_the_lowest_first() -> None:
    """So that a lone process always takes the documented one."""
    assert [slot.number for slot in LaneKeys("acme", "source").slots()] == list(range(1, MOST_SLOTS + 1))
    assert MOST_SLOTS == 64


def test_all_keys_of_an_integrator_begin_with_its_name() -> None:
    """One pattern in an ACL covers them, and two integrators share none."""
    lane = LaneKeys("acme", "source")
    slots = [key for slot in lane.slots() for key in (slot.processing, slot.owner, slot.ops, slot.report, slot.scratch)]
    lanes = [lane.retry, lane.retrying, lane.dead, lane.minutes, lane.operation("x"), topology().scratch]
    assert all(key.startswith("acme:") for key in (*slots, *lanes))
    assert len({*slots, *lanes}) == 5 * 64 + 6


def test_the_keys_of_an_endpoint_have_its_name_and_the_owner_is_that_of_all_lanes() -> None:
    """One lease covers whatever a process holds."""
    keys = topology("redis://localhost/0", "crm").lane("crm")
    slot = keys.slot(2)
    assert (slot.processing, slot.ops) == ("acme:crm:processing:cdr:2", "acme:crm:processing:cdr:2:ops")
    assert slot.owner == Slot("acme", 2).owner == "acme:processing:cdr:2:owner"
    assert keys.waiting == ("acme:crm:pending:cdr", "acme:crm:retry:cdr", "acme:crm:retrying:cdr")
    assert (keys.dead, keys.minutes) == ("acme:crm:dead:cdr", "acme:crm:minutes:cdr")


def test_the_only_endpoint_has_the_short_keys_and_a_named_one_never() -> None:
    """So that both kinds of configuration can be told apart, also where the name is the same."""
    alone = topology()
    assert alone.lanes == {"webhook": alone.short}
    assert alone.short.pending == alone.source_key
    assert alone.named("webhook").dead == "acme:webhook:dead:cdr"
    one = topology("redis://localhost/0", "crm")
    assert one.lanes == {"crm": one.named("crm")}


@pytest.mark.parametrize(
    ("source", "tag"),
    [("enigma:notifications:cdr", "{enigma:notifications:cdr}:acme"), ("{enigma}:cdr", "{enigma}:acme")],
)
def test_in_a_cluster_all_keys_share_the_hash_slot_of_the_source(source: str, tag: str) -> None:
    """A source key with a hash tag lends us that tag."""
    found = topology("redis+cluster://localhost:7000", source_key=source)
    keys = [found.short.dead, found.short.slot(3).owner, found.short.retry, found.scratch]
    assert all(key.startswith(f"{tag}:") for key in keys)
