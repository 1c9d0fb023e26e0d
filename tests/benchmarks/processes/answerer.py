"""An endpoint that answers each POST with a 204 at once, plain and with TLS; prints both ports.

Its arguments are the files of its certificate and key.
"""

import asyncio
import ssl
import sys
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\nserver: answerer\r\ndate: Tue, 24 Nov 2026 08:00:00 GMT\r\n\r\n"


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, end, body = self._unread.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if end and len(body) == int(length):
            self._unread = b""
            self._transport.write(ANSWER)


async def main(certificate: str, key: str) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Connection, "127.0.0.1", 0, ssl=by, backlog=1024) for by in (None, tls)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
