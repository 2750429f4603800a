"""The client against a PostgREST of our own, and both against the published summary of PostgREST."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from pydantic import SecretStr

from ooda.errors import ConfigError, CredentialError, IntegrationError, OodaError
from ooda.services.supabase import PostgrestClient
from ooda.services.supabase import postgrest as room
from tests.services.supabase.fake import ERRORS, KEY, FakePostgrest, error


class Row(msgspec.Struct, frozen=True):
    id: str
    kind: str


class Full(msgspec.Struct, frozen=True):
    id: str
    agent: str
    kind: str
    at_ns: int
    event: dict[str, Any] = {}


@pytest.fixture
async def fake() -> AsyncIterator[FakePostgrest]:
    async with FakePostgrest() as running:
        yield running


@pytest.fixture
async def client(fake: FakePostgrest) -> AsyncIterator[PostgrestClient]:
    made = PostgrestClient(fake.url, SecretStr(KEY), timeout_s=5)
    yield made
    await made.close()


def rows(count: int) -> list[Full]:
    return [Full(f"e{number:04}", "a", "task_success", number) for number in range(count)]


async def test_all_pages_are_read_in_order(client: PostgrestClient, fake: FakePostgrest, monkeypatch: Any) -> None:
    """Also when the server gives fewer rows than asked for."""
    monkeypatch.setattr(room, "PAGE", 40)
    fake.most = 30
    await client.insert("reputation_events", rows(100), on_conflict="id")

    found = await client.select("reputation_events", Row, {"agent": "eq.a"}, order="at_ns,id")

    assert [row.id for row in found] == [row.id for row in rows(100)]
    assert await client.select("reputation_events", Row, {"agent": "eq.b"}, order="id") == ()


async def test_a_row_that_is_there_is_left_as_it_stands(client: PostgrestClient, fake: FakePostgrest) -> None:
    """Inserting may be repeated after an answer that was lost."""
    await client.insert("reputation_events", rows(2), on_conflict="id")
    await client.insert("reputation_events", [Full("e0000", "a", "task_failure", 9), *rows(3)], on_conflict="id")

    assert [(row["id"], row["kind"]) for row in fake.tables["reputation_events"]] == [
        (f"e000{number}", "task_success") for number in range(3)
    ]


@pytest.mark.parametrize(
    ("code", "expected", "says"),
    [
        ("PGRST301", CredentialError, "SUPABASE_SERVICE_ROLE_KEY"),
        ("42501", CredentialError, "not the public one"),
        ("PGRST205", ConfigError, "governance-supabase"),
        ("PGRST204", ConfigError, "governance-supabase"),
        ("23505", IntegrationError, "duplicate key"),
        ("PGRST000", IntegrationError, "Could not connect"),
    ],
)
async def test_errors_are_sorted_by_who_has_to_act(
    client: PostgrestClient, fake: FakePostgrest, code: str, expected: type[OodaError], says: str
) -> None:
    """With the server's own sentence, and never the key."""
    fake.fault = lambda: error(code)

    with pytest.raises(expected, match=says) as caught:
        await client.select("agents", Row, {}, order="id")

    assert type(caught.value) is expected
    assert KEY not in str(caught.value)
    if expected is IntegrationError:
        assert caught.value.facts["retryable"] is (code == "PGRST000")


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"content-range": "0-0/1"}, b"<html>"),
        (200, {"content-range": "0-0/1"}, b'[{"id": 7}]'),
        (200, {}, b"[]"),
        (206, {"content-range": "0-0/9"}, b"[]"),
        (200, {"content-range": "0-0/0"}, b'[{"id":"a","kind":"b"}]'),
        (302, {"location": "http://elsewhere.invalid/"}, b""),
        (500, JSON, b"not json"),
        (200, {"content-range": "*/*"}, b"[]"),
    ],
    ids=["a page", "another type", "no range", "half", "more than there is", "redirect", "broken", "no count"],
)
async def test_garbage_and_half_an_answer_are_down(
    client: PostgrestClient, fake: FakePostgrest, answer: tuple[int, dict[str, str], bytes]
) -> None:
    """Nothing is concluded from what was not asked for."""
    fake.fault = lambda: answer

    with pytest.raises(IntegrationError) as caught:
        await client.select("agents", Row, {}, order="id")

    assert caught.value.facts["service"] == "supabase"


async def test_a_server_that_is_not_there_is_down() -> None:
    """At once, and so is one that takes too long (its own test is that of every client: `timeout_s`)."""
    client = PostgrestClient("http://127.0.0.1:1", SecretStr(KEY), timeout_s=1)

    with pytest.raises(IntegrationError, match="supabase_url"):
        await client.insert("agents", rows(1), on_conflict="id")
    await client.close()


@pytest.mark.parametrize("url", ["ftp://x", "http://project.supabase.co", "https://user:pw@h", "nonsense"])
def test_an_address_that_leaks_the_key_or_is_none_is_refused(url: str) -> None:
    """The key gives everything: it never travels in the clear."""
    with pytest.raises(ConfigError, match="supabase_url"):
        PostgrestClient(url, SecretStr(KEY))


# -- the published summary


@pytest.fixture(scope="session")
def published() -> dict[str, Any]:
    """What PostgREST publishes of its headers, filters and errors."""
    folder = os.environ.get("OODA_SPECS")
    if not folder:
        pytest.skip("set OODA_SPECS to the folder of published interfaces to hold client and fake against them")
    return json.loads(Path(folder, "postgrest", "subset.json").read_text())  # type: ignore[no-any-return]


async def test_requests_are_as_published(
    client: PostgrestClient, fake: FakePostgrest, published: dict[str, Any]
) -> None:
    """Base path, headers, preferences, filters and paging."""
    await client.insert("reputation_events", rows(2), on_conflict="id")
    await client.select("reputation_events", Row, {"agent": "eq.a"}, order="id")

    asked = published["request"]
    preferences = {
        f"{name}={value}"
        for name, _, values in (part.partition("=") for part in asked["headers"]["Prefer"].split(", "))
        for value in values.split("|")
    }
    for method, path, query, headers in fake.requests:
        assert f"/{path.removeprefix('/')}".startswith("/rest/v1/")
        assert {"apikey", "authorization"} <= set(headers)
        assert set(headers["prefer"].split(",")) <= preferences
        if method == "POST":
            assert set(query) == {"on_conflict"}
            assert headers["content-type"] == asked["headers"]["Content-Type"]
        else:
            operators = {value.partition(".")[0] for name, value in query.items() if name not in PAGING}
            assert operators <= set(asked["filters"])
            assert {"limit", "offset"} <= set(query)


PAGING = {"select", "order", "limit", "offset"}


def test_the_fakes_errors_are_as_published(published: dict[str, Any]) -> None:
    """Status, code and shape."""
    known = {(item["status"], item["code"]) for item in published["errors_to_fake"]}
    for code, (status, _) in ERRORS.items():
        assert (status, code) in known
        jsonschema.validate(json.loads(error(code)[2]), published["error_schema"])
