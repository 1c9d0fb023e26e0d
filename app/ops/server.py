"""Serve health, metrics, status and dead letters over HTTP."""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, Final, Self

from aiohttp import web

from app.config.settings import Settings
from app.errors import CommandError, ForwarderError
from app.ops import exposition
from app.ops.letters_api import Asked, Letters
from app.ops.listener import Listener
from app.ops.observation import Observation
from app.telemetry import process_events

LARGEST_BODY: Final = 64 * 1024
FAREWELL: Final = 1.0
PAGE: Final = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css")} | {
    "/page.js": ("page.js", "text/javascript")
}
HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "server": "cdr-forwarder",
    "x-content-type-options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Ops:
    """Answers in the loop of the forwarder, from what is known anyway: a scrape asks Redis nothing."""

    def __init__(self, settings: Settings, observation: Observation, letters: Letters) -> None:
        self._token = settings.ops_token.get_secret_value() if settings.ops_token else ""
        self._observation = observation
        self._letters = letters
        application = web.Application(client_max_size=LARGEST_BODY, middlewares=[_guarded])
        application.on_response_prepare.append(_add_headers)
        application.add_routes([*map(_asset, PAGE), *self._routes()])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=FAREWELL, keepalive_timeout=15)
        self._listener = Listener(self._runner, settings.ops_host, settings.ops_port)
        self._shows_token = settings.shows_ops_token

    async def __aenter__(self) -> Self:
        """Listen, now or as soon as that is possible. Nothing waits for it."""
        if self._shows_token:
            process_events.operator_token_unencrypted(self._listener.address)
        await self._runner.setup()
        self._listening = asyncio.create_task(self._listener.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        try:
            await asyncio.wait({self._listening})
        finally:
            await self._runner.cleanup()
        if not self._listening.cancelled():
            self._listening.result()

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/livez", self._livez),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
            web.get("/api/status", self._status),
            web.get("/api/dead-letters", self._list),
            web.get("/api/dead-letters/{id}", self._show),
            web.post("/api/dead-letters/replay", self._replay),
            web.post("/api/dead-letters/drop", self._drop),
        ]

    async def _livez(self, _: web.Request) -> web.Response:
        alive = self._observation.is_alive
        return web.Response(text="alive\n" if alive else "a loop is stuck\n", status=200 if alive else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._observation.unready
        return web.Response(text="\n".join([*reasons, ""]) if reasons else "ready\n", status=503 if reasons else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        body = exposition.exposed(self._observation, self._letters)
        return web.Response(body=body, headers={"content-type": exposition.CONTENT_TYPE})

    async def _status(self, _: web.Request) -> web.Response:
        return _json(self._observation.parts | {"actions": bool(self._token)})

    async def _list(self, request: web.Request) -> web.Response:
        return _json(await self._letters.oldest(request.query.get("endpoint")))

    async def _show(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return _json(await self._letters.show(request.match_info["id"]))

    async def _replay(self, request: web.Request) -> web.Response:
        return _json(await self._letters.replay(await self._asked(request)))

    async def _drop(self, request: web.Request) -> web.Response:
        return _json(await self._letters.drop(await self._asked(request)))

    async def _asked(self, request: web.Request) -> Asked:
        """Return the request of a caller who may ask. A foreign web page can send neither the token nor JSON."""
        self._authorize(request)
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="content-type must be application/json\n")
        try:
            return Asked.read(await request.json())
        except (ValueError, RecursionError) as error:
            known = isinstance(error, CommandError)
            raise web.HTTPBadRequest(text=f"{error if known else 'the body is not JSON'}\n") from None

    def _authorize(self, request: web.Request) -> None:
        if not self._token:
            raise web.HTTPForbidden(text="not allowed: CDR_OPS_TOKEN is not set\n")
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        # In constant time: otherwise the time to answer would tell how much of a token is right.
        if not hmac.compare_digest(given.encode(errors="replace"), self._token.encode()):
            raise web.HTTPUnauthorized(text="needs CDR_OPS_TOKEN\n", headers={"www-authenticate": "Bearer"})


def _asset(path: str) -> web.RouteDef:
    name, content_type = PAGE[path]
    text = files("app.ops").joinpath("page", name).read_text(encoding="utf-8")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type)

    return web.get(path, answer)


def _json(value: Any) -> web.Response:
    return web.json_response(value, dumps=lambda found: json.dumps(found, ensure_ascii=False))


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn a failure into an answer of one sentence. A failure here must not touch deliveries."""
    try:
        return await handler(request)
    except CommandError as error:
        raise web.HTTPBadRequest(text=f"{error}\n") from None
    except (ForwarderError, TimeoutError) as error:
        raise web.HTTPServiceUnavailable(text=f"{error or 'Redis does not answer'}\n") from None


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
