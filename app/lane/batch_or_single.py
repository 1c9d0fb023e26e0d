"""Choose how a lane sends CDRs: each in a POST of its own, or several in one."""

from collections.abc import Callable

from app.config.endpoint import EndpointSettings
from app.delivery.attempt import Attempt
from app.delivery.batch import BatchForm
from app.delivery.batch_size import BatchSize
from app.delivery.outage import Outage
from app.lane.batch_inbox import BatchInbox
from app.lane.batch_settler import BatchSettler
from app.lane.batch_worker import BatchWorker
from app.lane.decision import Rules
from app.lane.inbox import Inbox
from app.lane.lane import Lane
from app.lane.settler import Settler
from app.lane.worker import Worker


def inbox_of(settings: EndpointSettings, size: BatchSize, source: str) -> Inbox:
    """Return the inbox of a lane. `source`: where its CDRs come from."""
    if not settings.batches:
        return Inbox(settings.concurrency)
    return BatchInbox(settings.concurrency, BatchForm(settings.batch_format, source), size, settings.batch_linger)


def maker_of_workers(  # noqa: PLR0913 - what workers need
    *, lane: Lane, attempt: Attempt, rules: Rules, outage: Outage, size: BatchSize, settler: Settler
) -> Callable[[], Worker | BatchWorker]:
    """Return what makes the workers of a lane."""
    inbox = lane.inbox
    if not isinstance(inbox, BatchInbox):
        return lambda: Worker(lane, attempt, settler)
    settles = BatchSettler(lane=lane, rules=rules, outage=outage, size=size, settler=settler)
    return lambda: BatchWorker(lane, inbox, attempt, settles)
