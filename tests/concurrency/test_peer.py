"""A closed connection is noticed without reading from it."""

import socket
import struct

import pytest

from app.concurrency.peer import has_closed, never_left
from tests.support.server import eventually


@pytest.fixture
def pair():
    """A connection over TCP: both ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


def test_open_connection_is_not_closed(pair):
    assert not has_closed(pair[1])
    assert not never_left()


def test_unread_bytes_are_no_end(pair):
    client, server = pair
    client.sendall(b"POST /next HTTP/1.1\r\n")
    assert not has_closed(server)
    assert server.recv(4) == b"POST"


def test_close_is_noticed_behind_unread_bytes(pair):
    client, server = pair
    client.sendall(b"POST /next HTTP/1.1\r\n")
    client.close()
    eventually(lambda: has_closed(server))
    assert server.recv(4) == b"POST"


def test_reset_is_noticed(pair):
    client, server = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    eventually(lambda: has_closed(server))


def test_closed_sending_side_is_noticed(pair):
    client, server = pair
    client.shutdown(socket.SHUT_WR)
    eventually(lambda: has_closed(server))


def test_socket_closed_on_this_side_is_closed(pair):
    pair[1].close()
    assert has_closed(pair[1])
