"""The bytes of a request."""

import httpx
import pytest

from app.delivery.transport.request import Post, Target, head_of, written

FIXED = [(b"host", b"example.org"), (b"content-type", b"application/json"), (b"x", b"100 %d")]
OWN = [(b"content-length", b"3"), (b"webhook-id", b"cdr_1")]
NAMES, VALUES = tuple(name for name, _ in OWN), tuple(value for _, value in OWN)
URL = httpx.URL("https://example.org/a?b=c")


@pytest.mark.parametrize("keeps_alive", [True, False])
async def test_a_head_written_in_two_parts_is_the_same(*, keeps_alive: bool) -> None:
    """As if httpx's headers had been written at once."""
    whole = httpx.Request("POST", URL, headers=[*FIXED, *OWN], stream=httpx.ByteStream(b"cdr"))
    post = Post(Target(URL, FIXED, NAMES), VALUES, b"cdr")
    assert await written(post, keeps_alive=keeps_alive) == await written(whole, keeps_alive=keeps_alive)


async def test_a_post_is_a_request_of_httpx() -> None:
    """For its own transports, for proxies, and for whoever intercepts them."""
    post = Post(Target(URL, FIXED, NAMES), VALUES, b"cdr")
    assert (post.method, post.url, await post.aread()) == ("POST", URL, b"cdr")
    assert post.headers.raw == [*FIXED, *OWN]
    post.headers["connection"] = "close"
    assert post.headers["connection"] == "close"


@pytest.mark.parametrize("value", [b"a\nb: c", b"a\r\nb: c", b"a\rb"])
def test_a_line_break_is_refused(value: bytes) -> None:
    """It would make two headers of one."""
    with pytest.raises(httpx.LocalProtocolError):
        head_of(httpx.Request("POST", URL, headers=[(b"x", value)]), keeps_alive=True)
    with pytest.raises(httpx.LocalProtocolError):
        Target(URL, [(b"x", value)], [])
