"""The way to a Redis or Valkey: every kind of address, and never longer than there is time for."""

import contextlib
import math
import socket
import threading
import time

import pytest
import redis as redis_py

from app import valkey as client_module
from app.breaker import FAILURES, MAX_PAUSE, PAUSE, PROVEN, Breaker
from app.cache.admin import clear, stats
from app.cache.shared import SharedCache
from app.remote import Remote
from app.valkey import budget, connect, shown
from tests.cache.contract import entry, key
from tests.support.server import eventually, free_port
from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def valkey():
    """A real server."""
    with Valkey() as server:
        yield server


@pytest.fixture
def open_client():
    """`connect`, closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_client(url, timeout=2.0):
            client = connect(url, timeout)
            stack.callback(client.close)
            return client

        yield open_client


class Clock:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self):
        return self.now


# Breaker


def test_it_opens_after_failures_in_a_row():
    breaker = Breaker(Clock())
    for _ in range(FAILURES - 1):
        assert not breaker.failed()
    breaker.worked()
    for _ in range(FAILURES - 1):
        assert not breaker.failed()
    assert not breaker.open
    assert breaker.failed()
    assert breaker.open
    assert not breaker.failed()  # it was open already


def test_only_a_probe_closes_it():
    breaker = Breaker(Clock())
    assert breaker.failed(at_once=True)
    breaker.worked()
    assert breaker.open
    assert breaker.proved()
    assert not breaker.open
    assert not breaker.proved()


def test_pauses_grow_for_a_server_that_passes_probes_and_fails_at_work():
    clock = Clock()
    breaker = Breaker(clock)
    pauses = []
    for _ in range(6):
        breaker.failed(at_once=True)
        pauses.append(breaker.pause)
        breaker.proved()
        clock.now += PROVEN / 2
    assert pauses == [PAUSE, 2 * PAUSE, 4 * PAUSE, MAX_PAUSE, MAX_PAUSE, MAX_PAUSE]
    clock.now += PROVEN
    breaker.failed(at_once=True)
    assert breaker.pause == PAUSE


# Addresses


def test_one_server(valkey, open_client):
    assert open_client(valkey.url).ping()
    assert open_client(valkey.url.replace("redis", "valkey")).ping()
    assert open_client(valkey.url.replace("127.0.0.1", "localhost")).ping()
    assert open_client(f"unix://{valkey.socket}").ping()
    assert open_client(f"redis+unix://{valkey.socket}?db=1").ping()


def test_a_password_and_a_database(open_client):
    with Valkey(requirepass="it's a secret") as server:
        url = f"redis://:it%27s%20a%20secret@127.0.0.1:{server.port}/3"
        client = open_client(url)
        client.set("a", "b")
        assert client.info("keyspace").keys() == {"db3"}
        assert shown(url) == f"redis://127.0.0.1:{server.port}/3"
        with pytest.raises(redis_py.RedisError):
            open_client(server.url).ping()


def test_a_cluster(open_client):
    options = {"cluster_enabled": "yes", "cluster_announce_ip": "127.0.0.1"}
    with Valkey(**options) as server:
        with server.client() as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: b"cluster_state:ok" in admin.execute_command("CLUSTER", "INFO"))
        url = f"redis+cluster://127.0.0.1:{server.port}"
        assert open_client(url).ping()
        cache = SharedCache(url, 3600, timeout=0.5)
        space = cache.of("m", 8)
        space.put((key(n), entry(n)) for n in range(64))
        assert cache.flush()
        assert space.get([key(n) for n in range(65)]) == [entry(n) for n in range(64)] + [None]
        space.put([(key(1), entry(2))])
        assert cache.flush()
        assert space.get([key(1)]) == [entry(2)]
        client = open_client(url)
        assert stats(client, "embeddings", ["m"])["shared"]["m"]["entries"] == 64
        assert clear(client, "embeddings", "m") == 64
        cache.close()


def test_a_master_that_sentinels_know(valkey, open_client):
    with Valkey(watched=valkey) as sentinel:
        client = open_client(f"redis+sentinel://127.0.0.1:{sentinel.port}/it/2")
        client.set("a", "b")
        with valkey.client() as plain:
            assert "db2" in plain.info("keyspace")
            plain.flushall()


def test_tls(open_client, valkey, certificate):
    """A TLS server in front of Valkey would do, but the wheel's server has no TLS: so a socket."""
    with tls_server(certificate) as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={certificate[0]}"
        assert open_client(url).ping()
        with pytest.raises(redis_py.RedisError, match="certificate"):
            open_client(f"rediss://localhost:{port}").ping()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of localhost that vouches for itself, and its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    public = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(private, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(public.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@contextlib.contextmanager
def tls_server(certificate):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def talk(connection):
        with contextlib.suppress(OSError), context.wrap_socket(connection, True) as secured:
            while secured.recv(1000):
                secured.sendall(b"+PONG\r\n")

    with talking(talk) as port:
        yield port


@contextlib.contextmanager
def talking(talk):
    """A server on a free port; ``talk`` gets each connection, in a thread."""
    threads = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            talk(connection)

    with socket.create_server(("localhost", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for thread in threads:
        thread.join(2)


# Time


def silent(connection):
    while connection.recv(1000):
        pass


def drips(connection):
    connection.recv(1000)
    for byte in b"+PONG" + b"!" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.01)


@pytest.mark.parametrize("talk", [silent, drips])
def test_nothing_outlasts_the_budget(open_client, talk):
    with talking(talk) as port:
        client = open_client(f"redis://localhost:{port}", timeout=5)
        start = time.monotonic()
        with budget.of(0.1), pytest.raises(redis_py.RedisError):
            client.ping()
        assert 0.09 < time.monotonic() - start < 0.3


def test_an_answer_that_is_there_counts_however_late_one_comes_for_it(open_client, valkey):
    client = open_client(valkey.url)
    assert client.ping()
    connection = client.connection_pool.get_connection()
    with budget.of(0.02):
        connection.send_command("PING")
        time.sleep(0.05)
        assert connection.read_response() == b"PONG"
        connection.send_command("PING")
        time.sleep(0.01)
        assert connection.read_response() == b"PONG"
    client.connection_pool.release(connection)


def test_hiredis_may_read_too():
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(1)
        wrapped, buffer = client_module._Socket(one), bytearray(8)
        other.sendall(b"+PONG")
        with budget.of(0.05):
            assert wrapped.recv_into(buffer) == 5
            with pytest.raises(TimeoutError):
                wrapped.recv_into(buffer)


def test_a_name_is_not_looked_up_on_a_caller_s_time(open_client, valkey, monkeypatch):
    client = open_client(valkey.url.replace("127.0.0.1", "localhost"))
    assert client.ping()
    client.connection_pool.disconnect()
    monkeypatch.setattr(socket, "getaddrinfo", None)
    with budget.of(1):
        assert client.ping()


def test_without_an_address_it_is_an_error(open_client, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    with pytest.raises(redis_py.ConnectionError, match="no address"):
        open_client("redis://nowhere").ping()


def test_a_budget_is_the_thread_s_own():
    seen = []
    with budget.of(1):
        thread = threading.Thread(target=lambda: seen.append(budget.until))
        thread.start()
        thread.join()
        assert budget.left(None) <= 1
    assert seen == [math.inf]
    assert budget.left(None) is None
    assert client_module.budget.left(3) == 3


# Remote


@pytest.fixture
def make_remote():
    """Makes remotes with a timeout of 50 ms."""
    made = []

    def make(url, **options):
        made.append(Remote(url, 0.05, "test", **options))
        return made[-1]

    yield make
    for remote in made:
        remote.close()


def ping(client):
    return client.ping()


def timed(ask):
    start = time.monotonic()
    answer = ask()
    return answer, time.monotonic() - start


def test_a_dead_server_is_not_asked_and_one_that_comes_is(make_remote):
    with Valkey() as server:
        server.kill()
        remote = make_remote(server.url)
        assert not remote.call(ping)  # nobody has tried yet, and it does not wait
        eventually(remote.ready)
        assert remote.breaker.open
        assert remote.call(ping) is None
        assert (remote.calls, remote.skipped) == (0, 2)
        server.start()
        eventually(lambda: remote.call(ping), 3)


def test_a_frozen_server_costs_a_few_callers_50_ms_and_no_more(make_remote):
    with Valkey() as server:
        remote = make_remote(server.url)
        eventually(remote.ready)
        assert remote.call(ping)
        server.freeze()
        asked = [timed(lambda: remote.call(ping)) for _ in range(20)]
        assert all(answer is None for answer, _ in asked)
        assert max(seconds for _, seconds in asked) < 0.15
        assert sum(seconds > 0.02 for _, seconds in asked) <= FAILURES
        server.thaw()
        eventually(lambda: remote.call(ping), 3)


def test_a_server_that_was_killed_is_noticed_at_once(make_remote):
    with Valkey() as server:
        remote = make_remote(server.url)
        eventually(remote.ready)
        server.kill()
        answer, seconds = timed(lambda: remote.call(ping))
        assert answer is None
        assert seconds < 0.05
        assert remote.breaker.open
        server.start()
        eventually(lambda: remote.call(ping), 3)


def test_whoever_asks_while_it_is_not_known_waits_no_longer_than_may_be(make_remote):
    with talking(silent) as port:
        remote = make_remote(f"redis://localhost:{port}")
        ready, seconds = timed(remote.ready)
        assert not ready
        assert seconds < 0.15


def test_whatever_goes_wrong_is_no_exception(make_remote, valkey):
    remote = make_remote(valkey.url)
    eventually(remote.ready)
    assert remote.call(lambda client: 1 / 0) is None
    assert remote.failures == 1
    assert remote.call(ping)


def test_chores_are_done_each_round_and_when_asked_for(make_remote, valkey):
    done = []
    remote = make_remote(valkey.url, chore=lambda client, due: done.append(due))
    remote.wake()
    eventually(lambda: done == [True])
    remote.wake()
    eventually(lambda: done == [True, False])
    eventually(lambda: done.count(True) == 2, 3)
    remote.close()
    assert done[-1] is False  # once more, for what was left


def test_a_chore_that_fails_is_a_failure_of_the_server(make_remote, valkey):
    def fails(client, due):
        raise OSError("broken")

    remote = make_remote(valkey.url, chore=fails)
    eventually(remote.ready)
    for _ in range(FAILURES):
        remote.wake()
        time.sleep(0.02)
    eventually(lambda: remote.breaker.open)


def test_closing_what_was_never_used():
    Remote(f"redis://127.0.0.1:{free_port()}", 0.05, "test").close()
