"""Helpers for tests of the transport: providers on real sockets, with and without TLS."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from app.concurrency.deadline import Deadline
from app.config import ProviderSettings
from app.domain import Call
from app.providers.http.transport import HttpProvider
from app.providers.kinds.openai import make
from tests.support.upstream import Upstream, good
from tests.support.vectors import vector

WIDTH = 32


def call(*texts):
    return Call("model", list(texts or ["text"]), WIDTH)


def within(seconds=60.0):
    return Deadline(time.monotonic() + seconds)


def provider_at(upstream, **options):
    """Return the proxy's provider for an `Upstream`, or for an address."""
    if isinstance(upstream, str):
        address = {"base_url": upstream, "api_key": "sk-unknown"}
    else:
        address = {"base_url": upstream.base_url, "api_key": upstream.api_key}
    settings = ProviderSettings("p", "openai", **{**address, **options})
    return HttpProvider(settings, make(settings))


def connections(upstream):
    """Return the number of the connection of each call."""
    return [call.connection for call in upstream.calls]


def assert_embeds(provider, *texts, seconds=60.0):
    asked = call(*texts)
    vectors = provider.embed(asked, within(seconds))
    assert list(vectors.rows) == [vector(text, WIDTH).tobytes() for text in asked.items]


class NoThreads:
    """In the place of the module ``_thread``, where the process can have no further thread."""

    def __init__(self, error: type[Exception]):
        self._error = error

    def start_new_thread(self, *_):
        raise self._error("can't start new thread")


without_threads = pytest.mark.parametrize(
    "no_threads",
    [NoThreads(RuntimeError), NoThreads(MemoryError)],
    ids=["RuntimeError", "MemoryError"],
)


class InThread:
    """A call of `embed` in a thread. ``join`` returns the vectors or raises the error."""

    def __init__(self, provider, deadline, *texts):
        self._result = None
        self._thread = threading.Thread(
            target=self._run, args=(provider, call(*texts), deadline), daemon=True
        )
        self._thread.start()

    def _run(self, provider, asked, deadline):
        try:
            self._result = provider.embed(asked, deadline)
        except Exception as error:
            self._result = error

    def join(self, seconds=20.0):
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"still blocked after {seconds} s"
        return self._result


def embed_together(upstream, provider, number):
    """Make calls that are all in flight at the same time, and check their answers."""
    barrier = threading.Barrier(number)

    def together(exchange):
        barrier.wait(20)
        good(exchange)

    upstream.script(*[together] * number)
    for task in [InThread(provider, within(), f"text {n}") for n in range(number)]:
        assert not isinstance(task.join(), Exception)


class TlsUpstream(Upstream):
    """An `Upstream` behind TLS, for the certificate of these files."""

    def __init__(self, certificate, key):
        super().__init__(WIDTH)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)

    @property
    def base_url(self):
        return f"https://127.0.0.1:{self.port}/v1"

    def _serve(self, connection, number):
        with contextlib.suppress(OSError):
            connection.settimeout(20)  # for the handshake
            tls = self._context.wrap_socket(connection, server_side=True)
            tls.settimeout(None)
            self._open.add(tls)
            super()._serve(tls, number)
        self._open.discard(connection)


def make_certificate(directory, name):
    """A self-signed certificate for a name like ``IP:127.0.0.1``; (certificate, key) as files."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ],
            *["-nodes", "-days", "2", "-subj", "/CN=test", "-addext"],
            f"subjectAltName={name}",
            *["-addext", "keyUsage=critical,digitalSignature,keyCertSign", "-keyout"],
            *(str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return str(certificate), str(key)


@contextlib.contextmanager
def listening(serve):
    """Return the port of a server; ``serve(connection)`` runs in a thread for each connection."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        connections = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    threading.Thread(target=run, args=(connection,), daemon=True).start()

        def run(connection):
            with connection, contextlib.suppress(OSError):
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def relay(one, other):
    """Copy bytes between two sockets, both ways, until one of them is closed."""

    def carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):  # after a reset too
            sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=carry, args=(other, one), daemon=True)
    back.start()
    carry(one, other)
    back.join(5)


@contextlib.contextmanager
def forward_proxy(seen, certificate=None):
    """A tiny egress proxy, with CONNECT for TLS. ``seen`` gets the head of each request.

    With a certificate it speaks TLS itself.
    """
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)

    def serve(connection):
        if context is None:
            forward(connection)
            return
        with context.wrap_socket(connection, server_side=True) as wrapped:
            forward(wrapped)

    def forward(connection):
        with connection.makefile("rb", buffering=0) as stream:
            lines = [stream.readline()]
            while lines[-1].strip():
                lines.append(stream.readline())
        seen.append(b"".join(lines).decode("latin-1"))
        method, target, _ = lines[0].decode("latin-1").split()
        host, port = target.removeprefix("http://").partition("/")[0].split(":")
        with socket.create_connection((host, int(port))) as upstream:
            if method == "CONNECT":
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.sendall(b"".join(lines).replace(f"http://{host}:{port}".encode(), b"", 1))
            relay(connection, upstream)

    with listening(serve) as port:
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
