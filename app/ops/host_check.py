"""Refuse requests for a host that is not this one."""

import re
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config.hosts import is_loopback
from app.ops.complaints import Complaints

PORT: Final = re.compile(r":\d*$")


class HostCheck:
    """Lets a request through to the routes only if its Host header fits.

    On loopback, only loopback names fit. Otherwise a foreign web page could let its own name point to our address (DNS
    rebinding), and read what we answer to a browser on this host.
    """

    def __init__(self, app: ASGIApp, host: str, complaints: Complaints) -> None:
        """Check for a server that listens on `host`."""
        self._app = app
        self._host = host.lower()
        self._complaints = complaints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, text = self._refusal(scope)
        if status:
            self._complaints.refused("wrong host")
            await PlainTextResponse(text, status)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str]:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not hosts and scope["http_version"] == "1.0":
            return 0, ""  # as health checks of load balancers do, and browsers never
        if len(hosts) != 1:
            return 400, "needs one Host header\n"
        if is_loopback(self._host) and not self._is_ours(hosts[0]):
            return 421, "this server is for its own host only: ask for localhost, or set CDR_OPS_HOST\n"
        return 0, ""

    def _is_ours(self, host: str) -> bool:
        name = PORT.sub("", host.lower()).removeprefix("[").removesuffix("]").removesuffix(".")
        return name == self._host or is_loopback(name)
