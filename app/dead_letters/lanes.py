"""Where the dead letters of each endpoint are, and what is shown of one."""

import base64
from typing import Any, Final

from app.config.settings import Settings
from app.dead_letters.store import DeadStore, Letter
from app.store.client import Link
from app.store.keys import LaneKeys, pending_of
from app.store.leftovers import leftovers

DEFAULT_NAME: Final = "webhook"


def configured(settings: Settings) -> dict[str, LaneKeys]:
    return {one.name: settings.lane_keys(one.name) for one in settings.endpoints}


async def not_configured(link: Link, settings: Settings) -> dict[str, LaneKeys]:
    left = await leftovers(link, settings)
    # Before there were several endpoints, the short keys were those of the only one.
    short = {DEFAULT_NAME: settings.base_keys} if settings.fans_out else {}
    return short | {name: LaneKeys(settings.namespace, pending_of(settings.namespace, name), name) for name in left}


def stores(link: Link, settings: Settings, keys: dict[str, LaneKeys], endpoint: str | None) -> dict[str, DeadStore]:
    chosen = [endpoint] if endpoint else list(keys)
    return {name: DeadStore(link, keys[name], settings.pending_oldest) for name in chosen}


def summary(endpoint: str, letter: Letter) -> dict[str, Any]:
    """Return all but the CDR, with the lane that the letter is in."""
    return {
        "id": letter.id,
        "endpoint": endpoint,
        "reason": letter.reason,
        "status": letter.status,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at and letter.first_failed_at.isoformat(timespec="seconds"),
        "dead_at": letter.dead_at and letter.dead_at.isoformat(timespec="seconds"),
        "bytes": len(letter.raw if letter.damaged else letter.cdr),
    }


def content(letter: Letter) -> dict[str, str]:
    """Return the CDR as in a dead letter: text, or base64; what is damaged, as it is and with what is wrong."""
    body, name = (letter.raw, "element") if letter.damaged else (letter.cdr, "cdr")
    wrong = {"damaged": letter.damaged} if letter.damaged else {}
    try:
        return wrong | {name: body.decode()}
    except UnicodeDecodeError:
        return wrong | {f"{name}_base64": base64.b64encode(body).decode()}
