"""A request that gunicorn's parser reads from a socket."""

import socket

from gunicorn.config import Config
from gunicorn.http import get_parser

from app.server import body


class Talk:
    """A client's socket, and the request that gunicorn's parser reads from its peer."""

    def __init__(self, *pieces: bytes, end: bool = True) -> None:
        self.client, self.server = socket.socketpair()
        for piece in pieces:
            self.client.sendall(piece)
        if end:
            self.client.shutdown(socket.SHUT_WR)
        self.parser = get_parser(Config(), self.server, ("127.0.0.1", 1))
        self.unreader = self.parser.unreader = body.Unreader(self.server)
        request = next(self.parser)
        self.body = request.body = body.Body(request, self.unreader, self.server)

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()


def sized(body: bytes, *lines: bytes, length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    head = [b"POST / HTTP/1.1", b"Content-Length: %d" % length, *lines, b"", b""]
    return b"\r\n".join(head) + body


def chunked(*pieces: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + last
