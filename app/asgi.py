"""Configure uvicorn's HTTP protocol without its server, which takes over signals, log and exit of a process."""

from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class RefusedError(Exception):
    """Raised inside the parser, to stop it: uvicorn then calls `send_400_response`."""


def protocol_config(application: Any, keep_alive: float) -> Config:
    """Return what its protocol needs to serve an ASGI application. `keep_alive`: seconds for idle connections."""
    return Config(
        application,
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=int(keep_alive),
    )
