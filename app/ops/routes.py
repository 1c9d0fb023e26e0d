"""Answer over HTTP: health, metrics, status, the page, and dead letters."""

import asyncio
import json
from collections.abc import Awaitable, Callable
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
from app.ops.observation import Observation
from app.ops.token import OperatorToken

PAGE: Final = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css")} | {
    "/page.js": ("page.js", "text/javascript")
}
JSON: Final = "application/json"
UTF_8: Final = {"", "charset=utf-8", 'charset="utf-8"'}

Handler = Callable[[Request], Awaitable[Response]]


class Routes:
    """Answers from memory where possible: a scrape does not ask Redis."""

    def __init__(self, observation: Observation, letters: Letters, token: OperatorToken) -> None:
        self._observation = observation
        self._letters = letters
        self._token = token
        self.application = Starlette(
            routes=[*map(_asset, PAGE), *self._health(), *self._dead_letters()],
            exception_handlers={CommandError: _bad, ForwarderError: _unavailable, TimeoutError: _unavailable},
        )
        self.application.router.redirect_slashes = False

    def _health(self) -> list[Route]:
        return [
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/api/status", self._status),
        ]

    def _dead_letters(self) -> list[Route]:
        patience = self._observation.link.timings.answer_wait
        return [
            Route("/api/dead-letters", _within(patience, self._list)),
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
        body = exposition.exposed(self._observation, self._letters.work)
        return Response(body, headers={"content-type": exposition.CONTENT_TYPE})

    async def _status(self, _: Request) -> Response:
        return _json(self._observation.parts | {"actions": self._token.is_set})

    async def _list(self, request: Request) -> Response:
        return _json(await self._letters.oldest(request.query_params.get("endpoint")))

    async def _show(self, request: Request) -> Response:
        await self._token.check(request)
        return _json(await self._letters.show(request.path_params["id"]))

    async def _replay(self, request: Request) -> Response:
        return _json(await self._letters.replay(await self._asked(request)))

    async def _drop(self, request: Request) -> Response:
        return _json(await self._letters.drop(await self._asked(request)))

    async def _asked(self, request: Request) -> Asked:
        """Return the request of a caller who may ask. A foreign web page can send neither the token nor JSON."""
        await self._token.check(request)
        kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
        if kind.strip() != JSON or parameters.strip() not in UTF_8:
            raise HTTPException(415, "content-type must be application/json\n")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise HTTPException(415, "the body must have no content-encoding\n")
        try:
            return Asked.read(await request.json())
        except (ValueError, RecursionError):
            raise HTTPException(400, "the body is not JSON\n") from None


def _asset(path: str) -> Route:
    name, content_type = PAGE[path]
    text = files("app.ops").joinpath("page", name).read_text(encoding="utf-8")

    async def answer(_: Request) -> Response:
        return Response(text, media_type=content_type)

    return Route(path, answer)


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
