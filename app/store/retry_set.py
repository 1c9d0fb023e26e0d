"""Write and read the members of the retry set: one header line, then the exact bytes of the CDR.

    cdr1 TOKEN ATTEMPTS STRIKES FIRST_FAILED FIRST_STRIKE LAST_FAILED LAST_RESULT FIRST_REJECTED REPLAYED

Times are milliseconds of Redis' clock. The token is used once, so that twins stay two members.
"""

import re
from itertools import count
from typing import Final

from app.cdr import NEVER_FAILED, History

MARK: Final = b"cdr1 "
LONGEST_HEADER: Final = 256
HEADER: Final = re.compile(
    rb"cdr1 (?P<token>[!-~]{1,80}) (?P<attempts>\d{1,9}) (?P<strikes>\d{1,9}) (?P<first_failed>\d{1,14})"
    rb" (?P<first_strike>\d{1,14}) (?P<last_failed>\d{1,14}) (?P<result>[a-z0-9_]{1,16}|-)"
    rb" (?P<first_rejected>\d{1,14}) (?P<replayed>[01])"
)


class Tokens:
    """Draws tokens that no process ever draws again."""

    def __init__(self, process_id: str) -> None:
        self._process_id = process_id
        self._numbers = count(1)

    def draw(self) -> str:
        return f"{self._process_id}-{next(self._numbers)}"


def member_of(token: str, history: History, body: bytes) -> bytes:
    """Return the member for a CDR that is deferred or replayed."""
    header = (
        f"cdr1 {token} {history.attempts} {history.strikes} {history.first_failed_at} {history.first_strike_at}"
        f" {history.last_failed_at} {history.last_result} {history.first_rejected_at} {history.replayed:d}\n"
    )
    return header.encode() + body


def read_member(member: bytes) -> tuple[History, bytes]:
    """Return the history of a CDR, and its bytes.

    Every member is a CDR. If its header cannot be read, it has no history; without a header, all of it is the CDR.
    """
    if not member.startswith(MARK) or (end := member.find(b"\n")) < 0:
        return NEVER_FAILED, member
    header = HEADER.fullmatch(member[:end]) if end <= LONGEST_HEADER else None
    return (_history(header) if header else NEVER_FAILED), member[end + 1 :]


def _history(header: re.Match[bytes]) -> History:
    return History(
        attempts=int(header["attempts"]),
        strikes=int(header["strikes"]),
        first_failed_at=int(header["first_failed"]),
        first_strike_at=int(header["first_strike"]),
        last_failed_at=int(header["last_failed"]),
        last_result=header["result"].decode(),
        first_rejected_at=int(header["first_rejected"]),
        replayed=header["replayed"] == b"1",
    )
