"""What a hostile receiver does on a connection."""

from dataclasses import dataclass
from typing import Literal

from hypothesis import strategies as st


@dataclass(frozen=True)
class Step:
    """`read`: wait for a request. `send`: write `data`. `turn`: let the client run. The others end the connection."""

    kind: Literal["read", "send", "turn", "close", "reset", "half-close", "hang"]
    data: bytes = b""


Script = tuple[Step, ...]

READ = Step("read")

STATUS_LINES = st.builds(
    b"".join,
    st.tuples(
        st.sampled_from([b"HTTP/1.1 ", b"HTTP/1.1 ", b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/1.9 ", b"HTTP/2.0 ", b"ICY "]),
        st.sampled_from(
            [
                *(
                    b"200",
                    b"200",
                    b"200",
                    b"204",
                    b"201",
                    b"299",
                    b"100",
                    b"103",
                    b"101",
                    b"301",
                    b"304",
                    b"400",
                    b"408",
                ),
                *(b"410", b"500", b"503", b"999", b"000", b"2000", b"20", b"2OO", b"-200", b"+200", b" 200", b""),
            ]
        ),
        st.sampled_from([b" OK", b" OK", b"", b" ", b"  OK", b"\tOK", b" \xff", b" OK\r", b" 200 200", b"OK"]),
        st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"", b"\n\r"]),
    ),
)

HEADERS = st.lists(
    st.sampled_from(
        [
            *(b"content-length: 0\r\n", b"content-length: 0\r\n", b"content-length: 2\r\n", b"Content-Length: 5\r\n"),
            *(b"transfer-encoding: chunked\r\n", b"connection: close\r\n", b"connection: keep-alive\r\n"),
            *(b"content-length: -1\r\n", b"content-length: 99999999999999999999\r\n", b"content-length: 2, 2\r\n"),
            *(b"retry-after: 1\r\n", b" folded\r\n", b"x: y\n", b"no colon\r\n", b": empty\r\n", b"x\x00: y\r\n"),
            *(b"x: " + b"a" * 70_000 + b"\r\n", b"x: y\r\n" * 500, b"upgrade: websocket\r\n", b"trailer: x\r\n"),
        ]
    ),
    max_size=4,
).map(b"".join)

BODIES = st.sampled_from(
    [
        *(b"", b"", b"", b"ok", b"hello", b"\r\n", b"\n", b"\0", b"x" * 70_000),
        *(
            b"0\r\n\r\n",
            b"2\r\nok\r\n0\r\n\r\n",
            b"2\r\nok\r\n0\r\nx: y\r\n\r\n",
            b"2;a=b\r\nok\r\n",
            b"zz\r\n",
            b"2\r\nokok",
        ),
    ]
)

ANSWERS = st.builds(
    lambda line, headers, end, body: line + headers + end + body,
    STATUS_LINES,
    HEADERS,
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""]),
    BODIES,
)

PLAIN = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ]
)

BYTES = st.one_of(
    PLAIN, ANSWERS, st.binary(min_size=1, max_size=20), st.lists(PLAIN, min_size=2, max_size=3).map(b"".join)
)


@st.composite
def sendings(draw: st.DrawFn) -> list[Step]:
    """Send something, in pieces, with turns of the client between them."""
    data, steps = draw(BYTES), []
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if data[begin:end]:
            steps.append(Step("send", data[begin:end]))
        steps += [Step("turn")] * draw(st.integers(0, 2))
    return steps


ENDS = st.sampled_from([Step("close"), Step("close"), Step("reset"), Step("half-close"), Step("hang")])


@st.composite
def connections(draw: st.DrawFn) -> Script:
    """What is done on one connection: most of the time read and answer, and sometimes anything in any order."""
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 9)):
            steps.append(READ)
        steps += draw(sendings())
        steps += [Step("turn")] * draw(st.integers(0, 3))
    return (*steps, draw(ENDS))


@st.composite
def late_answers(draw: st.DrawFn) -> Script:
    """Answer well, and then again without having been asked, at about the time of the next request."""
    steps = [READ, Step("send", draw(PLAIN)), *[Step("turn")] * draw(st.integers(0, 12)), Step("send", draw(BYTES))]
    return (*steps, *[READ] * draw(st.integers(0, 1)), draw(ENDS))


SCENES = st.lists(st.one_of(connections(), late_answers()), min_size=1, max_size=4).map(tuple)
