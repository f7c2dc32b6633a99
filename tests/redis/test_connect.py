"""`connect`: every kind of URL, to real servers."""

import contextlib
import threading

import pytest
import redis as redis_py

from app.cache.admin import clear, stats
from app.cache.shared import SharedCache
from app.redis.connect import check_address, close, connect, without_secrets
from tests.cache.contract import entry, key
from tests.cache.levels import level
from tests.redis.patience import PATIENT_S
from tests.redis.servers import silent, talking
from tests.support.server import eventually
from tests.support.valkey import Valkey


@pytest.fixture
def open_client():
    """`connect`, closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_client(url, timeout_s=PATIENT_S):
            client = connect(url, timeout_s)
            stack.callback(client.close)
            return client

        yield open_client


def test_url_of_one_server_connects(valkey, open_client):
    assert open_client(valkey.url).ping()
    assert open_client(valkey.url.replace("redis", "valkey")).ping()
    assert open_client(valkey.url.replace("127.0.0.1", "localhost")).ping()
    assert open_client(f"unix://{valkey.socket}").ping()
    assert open_client(f"redis+unix://{valkey.socket}?db=1").ping()


def test_password_and_database_are_used_and_not_shown(open_client):
    with Valkey(requirepass="it's a secret") as server:
        url = f"redis://:it%27s%20a%20secret@127.0.0.1:{server.port}/3"
        client = open_client(url)
        client.set("a", "b")
        assert client.info("keyspace").keys() == {"db3"}
        assert without_secrets(url) == f"redis://127.0.0.1:{server.port}/3"
        with pytest.raises(redis_py.RedisError):
            open_client(server.url).ping()


def test_a_cluster_serves_as_cache(open_client):
    options = {"cluster_enabled": "yes", "cluster_announce_ip": "127.0.0.1"}
    with Valkey(**options) as server:
        with server.client() as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: b"cluster_state:ok" in admin.execute_command("CLUSTER", "INFO"))
        url = f"redis+cluster://127.0.0.1:{server.port}"
        assert open_client(url).ping()
        cache = SharedCache(url, 3600, timeout=PATIENT_S)
        space = level(cache)
        space.put((key(n), entry(n)) for n in range(64))
        assert cache.flush()
        assert space.get([key(n) for n in range(65)]) == [entry(n) for n in range(64)] + [None]
        space.put([(key(1), entry(2))])
        assert cache.flush()
        assert space.get([key(1)]) == [entry(2)]
        client = open_client(url)
        assert stats(client, "embeddings", {"m": ["m"]})["shared"]["m"]["entries"] == 64
        assert clear(client, "embeddings", "m") == 64
        cache.close()


def test_sentinels_name_the_master(valkey, open_client):
    with Valkey(watched=valkey) as sentinel:
        client = open_client(f"redis+sentinel://127.0.0.1:{sentinel.port}/it/2")
        client.set("a", "b")
        with valkey.client() as plain:
            assert "db2" in plain.info("keyspace")
            plain.flushall()


def test_rediss_is_tls_with_a_checked_certificate(open_client, valkey, certificate):
    """A TLS socket of the test stands for Valkey, since the wheel's server has no TLS."""
    with tls_server(certificate) as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={certificate[0]}"
        assert open_client(url).ping()
        with pytest.raises(redis_py.RedisError, match="certificate"):
            open_client(f"rediss://localhost:{port}").ping()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate of localhost, and its key."""
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


def test_options_of_a_url_do_not_replace_the_timeouts(open_client):
    with talking(silent) as port:
        client = open_client(f"redis://localhost:{port}?socket_timeout=60", timeout_s=0.05)
        with pytest.raises(redis_py.TimeoutError):
            client.ping()


def test_close_ends_a_running_read():
    asked = threading.Event()

    def talk(connection):
        connection.recv(1000)
        asked.set()
        silent(connection)

    with talking(talk) as port:
        client = connect(f"redis://localhost:{port}", 60)
        errors = []

        def ask():
            try:
                client.ping()
            except Exception as error:  # also exceptions of redis-py, which has no socket any more
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(PATIENT_S)
        close(client)
        thread.join(PATIENT_S)
        assert len(errors) == 1


@pytest.mark.parametrize(
    "url",
    [
        "redis://:it%27s@host",
        "redis://host:6379/0?health_check_interval=5&client_name=proxy",
        "rediss://host/3?ssl_cert_reqs=none",
        "unix:///run/valkey.sock?db=2",
        "redis+sentinel://a:1,b:2/it/2?username=me",
        "redis://host?max_connections=10",
        "redis://host/2/",
        "redis+sentinel://a:1/it/2/",
        "redis+cluster://a:1/0",
        "rediss+cluster://a:1,b:2?ssl_check_hostname=false&read_from_replicas=true",
    ],
)
def test_an_address_is_checked_without_a_connection(url):
    check_address(url)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("redis://host/first", "database"),
        ("redis://host/1/2", "database"),
        ("redis+sentinel://host/it/first", "database"),
        ("redis+cluster://host/3", "database"),
        ("redis://host?socket_timeout=soon", "'socket_timeout'"),
        ("redis+cluster://host?db=first", "'db'"),
        ("redis://host?tls=secret", "'tls'"),
        ("redis+sentinel://host?tls=secret", "'tls'"),
        ("redis+cluster://host?tls=secret", "'tls'"),
        ("rediss://host?ssl_cert_reqs=secret", "options"),
    ],
)
def test_what_redis_py_cannot_use_is_a_mistake_without_its_value(url, wrong):
    with pytest.raises(ValueError, match=wrong) as caught:
        check_address(url)
    assert "secret" not in str(caught.value)
