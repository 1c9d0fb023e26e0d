"""Write the settlement of a CDR: what Redis does with it, by where the CDR came from."""

from app.cdr import Cdr, History, Origin
from app.store.exchange import Settlement, TakenFrom
from app.store.retry_set import Tokens, member_of


def ack(cdr: Cdr) -> Settlement:
    """Remove it: the endpoint has answered 2xx. A retried one is removed from whichever set holds it."""
    if cdr.origin is Origin.RETRY:
        return Settlement("retry", "", cdr.member)
    return Settlement("processing", "", cdr.body)


def defer(cdr: Cdr, history: History, delay: float, tokens: Tokens) -> Settlement:
    """Move it to the retry set, to be due in `delay` seconds."""
    return Settlement(_place(cdr), "retry", _element(cdr), member_of(tokens.draw(), history, cdr.body), delay)


def dead_letter(cdr: Cdr, letter: bytes) -> Settlement:
    """Move it to the dead letters."""
    return Settlement(_place(cdr), "dead", _element(cdr), letter)


def give_back(cdr: Cdr) -> Settlement:
    """Put it where it was claimed from, as the oldest; a retried one is due now if it is still ours."""
    if cdr.origin is Origin.RETRY:
        return Settlement("hand", "retry", cdr.member, cdr.member)
    return Settlement("processing", "pending", cdr.body, cdr.body)


def _place(cdr: Cdr) -> TakenFrom:
    return "retry" if cdr.origin is Origin.RETRY else "processing"


def _element(cdr: Cdr) -> bytes:
    return cdr.member if cdr.origin is Origin.RETRY else cdr.body
