"""Every key of the contract."""

import pytest

from app.store.keys import Topology
from tests.harness import environment, settings_from


def topology(redis_url: str = "redis://localhost/0", *endpoints: str, **variables: str) -> Topology:
    given = environment(redis_url, "http://127.0.0.1:9/", "acme", **{"source_key": "enigma:cdr", **variables})
    if endpoints:
        del given["CDR_WEBHOOK_URL"]
        given |= {f"CDR_ENDPOINTS__{name.upper()}__URL": "http://127.0.0.1:9/" for name in endpoints}
    return Topology(settings_from(given))


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
