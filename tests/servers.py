"""Real servers for the tests: where they are, and a place of its own in them for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["emptied", "postgres_schema", "server"]


def server(variable: str, name: str) -> str:
    """The address of a server; without one the test fails in CI and skips elsewhere, saying how to start it."""
    address = os.environ.get(variable, "")
    if address:
        return address
    sentence = f"needs {name}: `make services SERVICES={name}`, then `make test`, or set {variable}"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


@contextmanager
def postgres_schema() -> Iterator[str]:
    """The URL of an empty schema, dropped afterwards."""
    import psycopg

    url = server("TEST_POSTGRES_URL", "postgres")
    schema = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        try:
            yield f"{url}?options=-csearch_path%3D{schema}"
        finally:
            connection.execute("SET client_min_messages = warning")
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def emptied(url: str) -> None:
    """Empty the tables of a store in this schema: much quicker than making a new one."""
    import psycopg

    tables = "events snapshots runs leases charges reservations budget_windows approvals reputation_events agents"
    delivery = "message_notices message_attempts messages channels outbox"
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('ooda_migrations')").fetchone() != (None,):
            deletes = [f"DELETE FROM {table}" for table in f"{tables} {delivery} activities audit".split()]
            deletes.append("DELETE FROM meta WHERE key <> 'store.id'")
            connection.execute("; ".join(deletes).encode())
