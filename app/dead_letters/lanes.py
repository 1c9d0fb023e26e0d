"""Find the dead letters of each lane, and show one."""

import base64
from typing import Any, Final, NamedTuple

from app.dead_letters.store import DeadStore, Letter
from app.store.client import Link
from app.store.keys import LaneKeys, Topology
from app.store.leftovers import leftovers

DEFAULT_NAME: Final = "webhook"


class Lane(NamedTuple):
    """Names a lane: a source's way to an endpoint."""

    source: str
    endpoint: str


async def not_configured(link: Link, topology: Topology) -> dict[str, LaneKeys]:
    """Return the keys of endpoints that are left over."""
    left = await leftovers(link, topology)
    # Before there were several endpoints, the short keys were those of the only one.
    short = {DEFAULT_NAME: topology.short} if topology.fans_out else {}
    return short | {name: topology.named(name) for name in left if name not in topology.endpoints}


def stores(link: Link, keys: dict[str, LaneKeys], to: LaneKeys | None = None) -> dict[Lane, DeadStore]:
    """Return the dead letters of each lane. `to`: the lane that gets what is replayed, if another."""
    return {Lane(lane.source, endpoint): DeadStore(link, lane, to) for endpoint, lane in keys.items()}


def summary(lane: Lane, letter: Letter) -> dict[str, Any]:
    """Return all but the CDR, with the lane that the letter is in. Without the answer, which may quote the CDR."""
    return {
        "id": letter.id,
        "letter": letter.letter,
        "endpoint": lane.endpoint,
        "source": lane.source,
        "reason": letter.reason,
        "status": letter.status,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at and letter.first_failed_at.isoformat(timespec="seconds"),
        "dead_at": letter.dead_at and letter.dead_at.isoformat(timespec="seconds"),
        "bytes": len(letter.raw if letter.damaged else letter.cdr),
    }


def content(letter: Letter) -> dict[str, str]:
    """Return the last answer, and the CDR as in a dead letter: text, or base64.

    Of what is damaged: the element as it is, and what is wrong with it.
    """
    body, name = (letter.raw, "element") if letter.damaged else (letter.cdr, "cdr")
    more = {"damaged": letter.damaged} if letter.damaged else {"answer": letter.answer}
    try:
        return more | {name: body.decode()}
    except UnicodeDecodeError:
        return more | {f"{name}_base64": base64.b64encode(body).decode()}
