"""What every key in Redis is called: operators, scripts and ACLs build on these names."""

import pytest

from app.store.keys import LaneKeys, Slot, all_slots, pending_of


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


def test_a_lane_has_one_key_for_what_fails_and_one_for_what_is_dead() -> None:
    """They are shared by all processes of an integrator."""
    keys = LaneKeys("acme", "enigma:notifications:cdr")
    assert (keys.pending, keys.failing, keys.dead) == ("enigma:notifications:cdr", "acme:failing:cdr", "acme:dead:cdr")


def test_there_are_64_slots_the_lowest_first() -> None:
    """So that a lone process always takes the documented one."""
    assert [slot.number for slot in all_slots("acme")] == list(range(1, 65))


def test_all_keys_of_an_integrator_begin_with_its_name() -> None:
    """One pattern in an ACL covers them, and two integrators share none."""
    lane = LaneKeys("acme", "source")
    keys = [key for slot in all_slots("acme") for key in (slot.processing, slot.owner, slot.ops)]
    assert all(key.startswith("acme:") for key in (*keys, lane.failing, lane.dead))
    assert len(set(keys)) == 3 * 64


def test_the_lists_of_an_endpoint_have_its_name_and_the_owner_is_that_of_all_lanes() -> None:
    """One lease covers whatever a process holds."""
    slot, keys = Slot("acme", 2, "crm"), LaneKeys("acme", pending_of("acme", "crm"), "crm")
    assert (slot.processing, slot.ops) == ("acme:crm:processing:cdr:2", "acme:crm:processing:cdr:2:ops")
    assert slot.owner == Slot("acme", 2).owner == "acme:processing:cdr:2:owner"
    assert (keys.pending, keys.failing, keys.dead) == (
        *("acme:crm:pending:cdr", "acme:crm:failing:cdr", "acme:crm:dead:cdr"),
    )
