"""A minimal HTTP/2 client that can send frames that client libraries refuse."""

import socket
import ssl
import struct
from dataclasses import dataclass, field

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
#: Statuses of HPACK's static table (RFC 7541, appendix A); nginx sends others as literals.
STATUSES = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}


@dataclass
class Answer:
    """The answer of one stream. Status 0: the stream or the connection was closed instead."""

    status: int = 0
    body: bytes = b""
    cut: list[int] = field(default_factory=list)  # error codes of RST_STREAM and GOAWAY


def connect(port: int, *, http2: bool = True, **options: ssl.TLSVersion) -> ssl.SSLSocket:
    """Connect to loopback by TLS without checking the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    for name, value in options.items():
        setattr(context, name, value)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=20))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Encode a header as a literal without indexing and Huffman code (RFC 7541, 6.2.2)."""
    return b"\0" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)])
    rest, digits = len(text) - 127, b""
    while rest >= 128:
        rest, digits = rest >> 7, digits + bytes([rest & 127 | 128])
    return b"\x7f" + digits + bytes([rest])


def post(
    connection: ssl.SSLSocket,
    headers: list[tuple[bytes, bytes]],
    body: bytes = b"",
    path: bytes = b"/v1/embeddings",
    stream: int = 1,
) -> Answer:
    """Send one request. ``headers`` follow the four pseudo-headers."""
    first = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", path)]
    first.append((b":authority", b"proxy"))
    block = b"".join(literal(name, value) for name, value in [*first, *headers])
    if stream == 1:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
    connection.sendall(frame(HEADERS, END_HEADERS | (0 if body else END_STREAM), stream, block))
    for at in range(0, len(body), 16384):
        last = END_STREAM if at + 16384 >= len(body) else 0
        connection.sendall(frame(DATA, last, stream, body[at : at + 16384]))
    return _read(connection, stream)


def _read(connection: ssl.SSLSocket, stream: int) -> Answer:
    answer = Answer()
    with connection.makefile("rb") as frames:
        while head := frames.read(9):
            size, kind, flags, number = struct.unpack(">IBBI", b"\0" + head)
            payload = frames.read(size)
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(frame(SETTINGS, ACK, 0))
            elif kind == GOAWAY:
                answer.cut.append(struct.unpack(">I", payload[4:8])[0])
            elif number == stream and kind == RST_STREAM:
                answer.cut.append(struct.unpack(">I", payload)[0])
                break
            elif number == stream and kind == HEADERS:
                answer.status = _status(payload)
            elif number == stream and kind == DATA:
                answer.body += payload
            if number == stream and kind in (DATA, HEADERS) and flags & END_STREAM:
                break
    return answer


def _status(block: bytes) -> int:
    while block[0] & 0xE0 == 0x20:  # a change of the table's size comes first
        block = block[1:]
    return STATUSES.get(block[0]) or int(block[2:5])
