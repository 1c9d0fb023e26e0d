"""Read the bytes of an answer.

llhttp parses headers and framing. The status line is parsed here: llhttp takes `HTTP/1.1 2000` for a 200, and
reports some 2xx only as an error, because of what follows.
"""

import re
from typing import Final

import httptools

MOST_HEAD: Final = 64 * 1024
MOST_BODY: Final = 64 * 1024
MOST_STATUS_LINE: Final = 8 * 1024
MOST_INTERIM: Final = 8

SWITCHING_PROTOCOLS: Final = 101

STATUS_LINE: Final = re.compile(rb"HTTP/1\.\d ([1-9]\d\d)(?: [^\n]{0,%d})?\r?\n" % (MOST_STATUS_LINE - 15))
END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
BEGINNING: Final = b"HTTP/1."

PARSER_ERRORS: Final = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class Answer:
    """Reads one answer after the other from a connection.

    `status`: 0 until the status line of a final answer is terminated; then it is fixed, whatever follows.
    `has_head`: all headers are known that ever will be. `has_ended`: nothing more is wanted.
    `is_whole`: it ended as it should. `is_followed`: more came, which belongs to no answer.
    `is_cut`: we stop here, because it is too long.
    `is_reusable`: it is whole, nothing followed, and the other side keeps the connection open.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Expect the next answer."""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.has_head = self.has_ended = self.is_whole = self.is_followed = self.is_cut = self.is_reusable = False
        self.has_begun = False
        self._unread = b""
        self._interim = self._read = self._body = 0

    @property
    def is_success(self) -> bool:
        return 200 <= self.status <= 299  # noqa: PLR2004 - RFC 9110, 15.3

    @property
    def is_known(self) -> bool:
        """Tell whether its status, and what may be needed of its head, is known, or never will be."""
        return self.has_head or self.has_ended or self.is_success

    @property
    def is_within_a_head(self) -> bool:
        return bool(self._unread)

    def feed(self, data: bytes) -> None:
        self.has_begun = True
        if not self.status and not (data := self._final(data)):
            return
        self._read += len(data)
        try:
            # llhttp does not tell where an answer ended. So its last byte is fed alone.
            if len(data) > 1:
                self._parser.feed_data(data[:-1])
            self.is_followed = self.is_whole
            self._parser.feed_data(data[-1:])
        except PARSER_ERRORS:
            self.is_followed = self.is_whole
            self.has_ended = True
        if self.is_followed:
            self.is_reusable = False
        elif self._read > MOST_HEAD and (not self.has_head or self._read > MOST_HEAD + MOST_BODY):
            self.has_ended = True

    def end(self) -> None:
        """Note the end of the connection. It ends a body of no announced length as it should."""
        if self.has_head and not self.has_ended:
            names = {name.lower() for name, _ in self.headers}
            self.is_whole = names.isdisjoint((b"content-length", b"transfer-encoding"))
        self.has_ended = True
        self.is_reusable = False
        del self._parser  # it refers to us: a cycle for each connection

    def _final(self, data: bytes) -> bytes:
        """Return the beginning of a final answer once its status line is terminated; until then, nothing."""
        data, self._unread = self._unread + data, b""
        while match := STATUS_LINE.match(data):
            status = int(match[1])
            if status >= 200:  # noqa: PLR2004 - RFC 9110, 15.2: interim answers are below
                self.status = status
                return data
            if status == SWITCHING_PROTOCOLS or self._interim == MOST_INTERIM:
                self.has_ended = True
                return b""
            end = END_OF_HEAD.search(data, match.end() - 1, MOST_HEAD)
            if end is None:
                self._unread = data
                self.has_ended = len(data) >= MOST_HEAD
                return b""
            self._interim += 1
            data = data[end.end() :]
        self._unread = data
        self.has_ended = not _may_become_a_status_line(data)
        return b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # else a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, piece: bytes) -> None:
        if not self.is_whole:
            self._body += len(piece)
            if self._body > MOST_BODY:
                self.has_ended = self.is_cut = True
                piece = piece[: max(0, len(piece) + MOST_BODY - self._body)]
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if not self.is_whole:
            self.is_reusable = self._parser.should_keep_alive() and not self.has_ended
            self.is_whole = self.has_ended = True


def _may_become_a_status_line(data: bytes) -> bool:
    if len(data) > len(BEGINNING):
        return data.startswith(BEGINNING) and len(data) <= MOST_STATUS_LINE and b"\n" not in data
    return BEGINNING.startswith(data)
