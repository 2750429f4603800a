"""The SQL of docs/how-to/governance-supabase.md on a real PostgreSQL with Supabase's roles: who may do what."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import server

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "governance-supabase.md"
AGENT = "insert into agents (name) values ('coding_agent') on conflict (name) do nothing"
EVENT = (
    "insert into reputation_events (id, agent, kind, at_ns, event) "
    "select 'rep-1', id, 'task_success', 1, '{}' from agents on conflict (id) do nothing"
)


@pytest.fixture
def project() -> Iterator[Any]:
    """A schema as a project has it, in a transaction that is never committed: roles belong to the whole server."""
    import psycopg

    (sql,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with psycopg.connect(server("TEST_POSTGRES_URL", "postgres")) as connection:
        schema = f"t_{uuid.uuid4().hex}"
        for role, more in (("anon", ""), ("authenticated", ""), ("service_role", "bypassrls")):
            if connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone() is None:
                connection.execute(f"create role {role} nologin {more}".encode())
        connection.execute(f"create schema {schema}".encode())
        connection.execute(f"set local search_path = {schema}".encode())
        connection.execute(f"grant usage on schema {schema} to anon, authenticated, service_role".encode())
        # As Supabase does: everybody gets everything on new tables, and row level security keeps them apart.
        everybody = "anon, authenticated, service_role"
        connection.execute(f"alter default privileges in schema {schema} grant all on tables to {everybody}".encode())
        connection.execute(sql.encode())
        yield connection
        connection.rollback()


def tried(connection: Any, role: str, sql: str) -> str:
    """What becomes of a statement of a role: how many rows it touched, or its SQLSTATE."""
    import psycopg

    try:
        with connection.transaction():
            connection.execute(f"set local role {role}".encode())
            return str(connection.execute(sql.encode()).rowcount)
    except psycopg.Error as error:
        return str(error.sqlstate)


DENIED = "42501"


def test_the_service_role_adds_and_reads_and_changes_nothing(project: Any) -> None:
    """Once for each id; a record is never edited."""
    assert [tried(project, "service_role", sql) for sql in (AGENT, AGENT, EVENT, EVENT)] == ["1", "0", "1", "0"]
    assert tried(project, "service_role", "select * from reputation_events") == "1"
    for sql in (
        "update reputation_events set kind = 'x'",
        "update agents set name = 'ops_agent'",
        "delete from reputation_events",
        "truncate agents cascade",
    ):
        assert tried(project, "service_role", sql) == DENIED
    assert tried(project, "service_role", "insert into agents (name) values ('Coding Agent')") == "23514"


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_nobody_else_gets_in(project: Any, role: str) -> None:
    """Not even to read."""
    tried(project, "service_role", AGENT)
    for sql in ("select * from agents", "select * from reputation_events", AGENT, "delete from agents"):
        assert tried(project, role, sql) == DENIED
