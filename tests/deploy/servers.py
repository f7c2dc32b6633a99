"""The servers beside the proxy in compose and Kubernetes: two Valkeys and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import redis

from tests.deploy.compose import ADDRESSES, Project
from tests.deploy.sandbox import Network
from tests.support.client import Client
from tests.support.postgres import Postgres
from tests.support.server import eventually


@contextmanager
def beside(project: Project) -> Iterator[None]:
    """Start cache and limits with compose's commands, and the tests' own PostgreSQL."""
    with ExitStack() as stack:
        for name in ("cache", "limits"):
            # All in one network here, each at its own address.
            container = project.container(name, None, "--bind", ADDRESSES[name])
            server = stack.enter_context(container.started(project.directory / f"{name}.log"))
            eventually(lambda s=server, n=name: s.check() or answers(project.network, n), 60, name)
        with project.network.inside():
            postgres = Postgres()
            postgres.port = 5432
            stack.enter_context(postgres)
            address = "postgresql://postgres@127.0.0.1:5432/postgres"
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute("CREATE ROLE proxy LOGIN")
                connection.execute("CREATE DATABASE proxy OWNER proxy")
        yield


def answers(network: Network, name: str) -> bool:
    """Return whether a Valkey answers."""
    try:
        with network.inside(), redis.Redis(ADDRESSES[name]) as server:
            return bool(server.ping())
    except redis.ConnectionError:
        return False


class Within:
    """A client whose connections are in a network."""

    def __init__(self, network: Network, host: str, port: int, key: str | None = None) -> None:
        self._network, self._client = network, Client(host, port, key)

    def __getattr__(self, name: str):
        def call(*arguments, **options):
            with self._network.inside():
                return getattr(self._client, name)(*arguments, **options)

        return call

    def is_live(self) -> bool:
        """Return whether the proxy answers that it is live."""
        try:
            return bool(self.get("/health/live").status == 200)
        except OSError:
            return False
