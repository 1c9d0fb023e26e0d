"""Send a test notice, and say what came of it."""

import socket
import time
from typing import Final

from app.cli.check.finding import Finding, fail, ok
from app.config.settings import Settings
from app.config.timings import Timings
from app.delivery.notifier import NoticePost
from app.delivery.resolver import Resolver
from app.delivery.verdict import Kind
from app.telemetry.notice import Writer

TRIES: Final = 2
"""The second one is for a chat that refuses fields that it does not know."""

ADVICE: Final[dict[int | str, str]] = {
    "http_3xx": "redirects are not followed: set the URL that it redirects to",
    "http_4xx": "is CDR_NOTICE_URL the whole URL of the chat's incoming webhook, and still valid there?",
    "http_5xx": "the chat fails: try again later",
    "timeout": "it does not answer in time: does a firewall drop it?",
    "dns": "is the host name right? Ask DNS",
    "tls": "its certificate is not accepted by the trust store of this host",
}


async def of_notice(settings: Settings) -> Finding:
    """Send it to where notices go. Nothing else is told or changed."""
    if not (endpoint := settings.notice_endpoint):
        return fail("notices: CDR_NOTICE_URL is not set", "set it to the incoming webhook of a chat")
    writer = Writer(settings.integrator, socket.gethostname())
    notice = writer.notice("notice.test", "this is a test notice. Nothing has happened.")
    post, began = NoticePost(endpoint, Resolver(), Timings()), time.monotonic()
    try:
        verdict = await post.send(notice, TRIES)
    finally:
        await post.aclose()
    answer = f"{verdict.words or verdict.status}, after {1000 * (time.monotonic() - began):.0f} ms"
    if verdict.kind is Kind.DELIVERED:
        return ok(f"notices: {endpoint.shown_url} took a test notice: {answer}")
    advice = ADVICE.get(verdict.result, "is it up, and the port right?")
    return fail(f"notices: {endpoint.shown_url} did not accept a test notice: {answer}", advice)
