"""Plays scenes against a transport, and judges what it says to have delivered."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import h11
import httpx
from pydantic import SecretStr

from app.config.endpoint import EndpointSettings
from app.delivery.transport import build_transport
from tests.fuzz.receiver import BODY_SIZE, Conversation, HostileReceiver
from tests.fuzz.scripts import Script

REQUESTS = 3
DEADLINE = 0.03
"""Seconds; a scene in which nobody says any more takes this long for each request."""

HALF_ARRIVED = -0.5

LONGEST_INTERIM = 64 * 1024

Client = Literal["direct", "httpx"]


@dataclass(frozen=True)
class Result:
    """What became of a request: its status, or 0."""

    body: bytes
    status: int
    conversations: Sequence[Conversation]

    def written(self, arrived: float = 0) -> list[int]:
        """Return the successes that were written for it, on each connection on which it arrived."""
        return [
            conversation.status_for(number + arrived)
            for conversation in self.conversations
            for number, body in enumerate(conversation.requests, start=1)
            if body == self.body
        ]

    def must_be_delivered(self, client: Client) -> bool:
        """Tell whether it was answered with a success beyond doubt: alone on its connection, which was not reset.

        httpx hangs up at a malformed interim answer, and reads no further; an endless one is too long for both. Then
        the CDR is sent again.
        """
        return any(
            conversation.requests[:1] == [self.body]
            and conversation.status_for(1)
            and not (conversation.was_reset or conversation.has_strays)
            and not _is_too_much(conversation.interim_before(1), client)
            for conversation in self.conversations
        )


def findings(results: Sequence[Result], client: Client) -> list[str]:
    """Say what is wrong: a delivery that nobody confirmed, and a confirmed one that is sent again.

    httpx writes head and body apart, so that what arrives between the two looks to it like an answer.
    """
    found = []
    for result in results:
        is_delivered = 200 <= result.status <= 299
        written = result.written() + (result.written(HALF_ARRIVED) if client == "httpx" else [])
        if is_delivered and result.status not in written:
            found.append(f"delivered with {result.status}, but written: {written}")
        if result.must_be_delivered(client) and not is_delivered:
            found.append(f"answered {written}, but not delivered: {result.status}")
    return found


def _is_too_much(interim: bytes, client: Client) -> bool:
    """Tell whether interim answers may end an attempt: too long ones, or what h11 refuses, which httpx reads with."""
    if len(interim) > LONGEST_INTERIM or client == "direct":
        return len(interim) > LONGEST_INTERIM
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("host", "localhost")]))
    parser.receive_data(interim)
    try:
        while parser.next_event() is not h11.NEED_DATA:
            pass
    except h11.RemoteProtocolError:
        return True
    return False


async def play(
    scene: Sequence[Script], client: Client, *, keep_alive: bool, deadline: float = DEADLINE
) -> list[Result]:
    """Send requests one after the other to a hostile receiver."""
    receiver = HostileReceiver(scene)
    settings = EndpointSettings(url=SecretStr(receiver.url), http_client=client, keep_alive=keep_alive)
    receiving = asyncio.create_task(receiver.run())
    statuses: dict[bytes, int] = {}
    try:
        async with build_transport(settings) as transport:
            for _ in range(REQUESTS):
                body = os.urandom(BODY_SIZE // 2).hex().encode()
                statuses[body] = await _post(transport, receiver.url, body, deadline)
    finally:
        receiving.cancel()
        await asyncio.wait([receiving])
    return [Result(body, status, receiver.conversations) for body, status in statuses.items()]


async def find(scene: Sequence[Script], client: Client, *, keep_alive: bool) -> list[str]:
    """Return what is wrong. What a short deadline may explain is played again with a long one."""
    found = findings(await play(scene, client, keep_alive=keep_alive), client)
    if any(finding.startswith("answered") for finding in found):
        found = findings(await play(scene, client, keep_alive=keep_alive, deadline=100 * DEADLINE), client)
    return found


async def _post(transport: httpx.AsyncBaseTransport, url: str, body: bytes, deadline: float) -> int:
    """Return the status, as an attempt does; 0: there is none."""
    response: httpx.Response | None = None
    try:
        async with asyncio.timeout(deadline):
            response = await transport.handle_async_request(httpx.Request("POST", url, content=body))
            await response.aread()
    except (TimeoutError, httpx.TransportError):
        pass
    finally:
        if response is not None:
            await response.aclose()
    return response.status_code if response is not None else 0
