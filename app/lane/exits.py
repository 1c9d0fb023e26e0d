"""Say how a CDR leaves what we hold, by where it came from."""

from app.cdr import Cdr, History, Origin
from app.store.exchange import Exit, Held
from app.store.retry_set import Tokens, member_of


def ack(cdr: Cdr) -> Exit:
    """Remove it: an endpoint has answered 2xx. A retried one is removed from whichever set holds it."""
    return Exit(_held(cdr), "", _element(cdr))


def defer(cdr: Cdr, history: History, delay: float, tokens: Tokens) -> Exit:
    """Move it to the retry set, to be due in `delay` seconds."""
    return Exit(_held(cdr), "retry", _element(cdr), member_of(tokens.draw(), history, cdr.body), delay)


def dead_letter(cdr: Cdr, letter: bytes) -> Exit:
    """Move it to the dead letters."""
    return Exit(_held(cdr), "dead", _element(cdr), letter)


def give_back(cdr: Cdr) -> Exit:
    """Put it where it was claimed from, as the oldest; a retried one is due now if it is still ours."""
    if cdr.origin is Origin.RETRY:
        return Exit("hand", "retry", cdr.member, cdr.member)
    return Exit("processing", "pending", cdr.body, cdr.body)


def _held(cdr: Cdr) -> Held:
    return "retry" if cdr.origin is Origin.RETRY else "processing"


def _element(cdr: Cdr) -> bytes:
    return cdr.member if cdr.origin is Origin.RETRY else cdr.body
