"""Answer over HTTP: health, metrics, status, the page, and dead letters."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta, timezone, tzinfo
from importlib.resources import files
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.errors import CommandError, ForwarderError
from app.ops import exposition
from app.ops.letters_api import Asked, Letters
from app.ops.probe import Probes
from app.ops.token import OperatorToken
from app.ops.view import View
from app.telemetry import operator_events

SCRIPTS: Final = ("page.js", "ask.js", "chart.js", "lanes.js", "letters.js", "make.js")
PAGE: Final = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css")} | {
    f"/{name}": (name, "text/javascript") for name in SCRIPTS
}
MOST_HOURS: Final = 24
MOST_OFFSET: Final = 14 * 60
"""Minutes between any clock and UTC."""
OPERATOR_HOST: Final = "x-operator-host"
"""The header in which a command says where it was typed."""
PAGE_ITSELF: Final = "page"
MOST_NAME: Final = 64
JSON: Final = "application/json"
UTF_8: Final = {"", "charset=utf-8", 'charset="utf-8"'}

Handler = Callable[[Request], Awaitable[Response]]


class Routes:
    """Answers from memory where possible: a scrape does not ask Redis."""

    def __init__(self, view: View, letters: Letters, probes: Probes, token: OperatorToken) -> None:
        self._view, self._probes = view, probes
        self._observation = view.observed
        self._letters = letters
        self._token = token
        self.application = Starlette(
            routes=[*map(_asset, PAGE), *self._health(), *self._overview(), *self._dead_letters()],
            exception_handlers={CommandError: _bad, ForwarderError: _unavailable, TimeoutError: _unavailable},
        )
        self.application.router.redirect_slashes = False

    def _health(self) -> list[Route]:
        return [
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
        ]

    def _overview(self) -> list[Route]:
        patience = self._observation.first.link.timings.answer_wait
        return [
            Route("/api/status", _within(patience, self._status)),
            Route("/api/minutes", _within(patience, self._minutes)),
            Route("/api/endpoints/{name}/probe", _within(patience, self._probe), methods=["POST"]),
        ]

    def _dead_letters(self) -> list[Route]:
        patience = self._observation.first.link.timings.answer_wait
        return [
            Route("/api/dead-letters", _within(patience, self._list)),
            Route("/api/dead-letters/search", _within(patience, self._search), methods=["POST"]),
            Route("/api/dead-letters/outcome", _within(patience, self._outcome), methods=["POST"]),
            Route("/api/dead-letters/replay", _within(patience, self._replay), methods=["POST"]),
            Route("/api/dead-letters/drop", _within(patience, self._drop), methods=["POST"]),
            Route("/api/dead-letters/{id:path}", _within(patience, self._show)),  # an id may have slashes
        ]

    async def _livez(self, _: Request) -> Response:
        alive = self._observation.is_alive
        return PlainTextResponse("alive\n" if alive else "a loop is stuck\n", 200 if alive else 503)

    async def _readyz(self, _: Request) -> Response:
        reasons = self._observation.unready
        return PlainTextResponse("\n".join([*reasons, ""]) if reasons else "ready\n", 503 if reasons else 200)

    async def _metrics(self, _: Request) -> Response:
        body = exposition.exposed(self._observation)
        return Response(body, headers={"content-type": exposition.CONTENT_TYPE})

    async def _status(self, request: Request) -> Response:
        trusted = await self._is_trusted(request)
        status = await self._view.status(_zone(request), trusted=trusted)
        return _json(status | {"actions": self._token.is_set, "trusted": trusted})

    async def _minutes(self, request: Request) -> Response:
        return _json(await self._view.minutes(_whole(request, "hours", 1, MOST_HOURS)))

    async def _probe(self, request: Request) -> Response:
        await self._token.check(request)
        probed = await self._probes.probe(request.path_params["name"])
        by = request.headers.get(OPERATOR_HOST, PAGE_ITSELF)[:MOST_NAME]
        operator_events.endpoint_probed(probed.endpoint, probed.outcome, by)
        return _json(asdict(probed))

    async def _list(self, request: Request) -> Response:
        await self._token.check(request)
        wanted: dict[str, Any] = dict(request.query_params)
        if "status" in wanted:
            wanted["status"] = _whole(request, "status", 0, 999)
        return _json(await self._letters.search(wanted))

    async def _search(self, request: Request) -> Response:
        return _json(await self._letters.search(await self._body(request)))

    async def _outcome(self, request: Request) -> Response:
        return _json(await self._letters.outcome(await self._body(request)))

    async def _show(self, request: Request) -> Response:
        await self._token.check(request)
        return _json(await self._letters.show(request.path_params["id"]))

    async def _replay(self, request: Request) -> Response:
        return _json(await self._letters.replay(Asked.read(await self._body(request))))

    async def _drop(self, request: Request) -> Response:
        return _json(await self._letters.drop(Asked.read(await self._body(request))))

    async def _is_trusted(self, request: Request) -> bool:
        """Tell whether the caller has the token; whoever shows none is a neighbour."""
        if "authorization" in request.headers:
            await self._token.check(request)
            return True
        return False

    async def _body(self, request: Request) -> Any:
        """Return what a caller has sent who may ask. A foreign web page can send neither the token nor JSON."""
        await self._token.check(request)
        kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
        if kind.strip() != JSON or parameters.strip() not in UTF_8:
            raise HTTPException(415, "content-type must be application/json\n")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise HTTPException(415, "the body must have no content-encoding\n")
        try:
            return await request.json()
        except (ValueError, RecursionError):
            raise HTTPException(400, "the body is not JSON\n") from None


def _asset(path: str) -> Route:
    name, content_type = PAGE[path]
    text = files("app.ops").joinpath("page", name).read_text(encoding="utf-8")

    async def answer(_: Request) -> Response:
        return Response(text, media_type=content_type)

    return Route(path, answer)


def _zone(request: Request) -> tzinfo:
    """Return that of the reader, whose clock is so many minutes ahead of UTC."""
    return timezone(timedelta(minutes=_whole(request, "utc_offset", 0, MOST_OFFSET, least=-MOST_OFFSET)))


def _whole(request: Request, name: str, default: int, most: int, *, least: int = 0) -> int:
    with suppress(ValueError):
        if least <= (value := int(request.query_params.get(name, default))) <= most:
            return value
    raise CommandError(f"{name}: must be a whole number from {least} to {most}")


def _json(value: Any) -> Response:
    # In ASCII: half a surrogate pair, which JSON can hold, has no UTF-8.
    return Response(json.dumps(value), headers={"content-type": f"{JSON}; charset=utf-8"})


def _within(patience: float, handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        async with asyncio.timeout(patience):
            return await handler(request)

    return answer


async def _bad(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 400)


async def _unavailable(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{str(error) or 'Redis does not answer in time'}\n", 503)
