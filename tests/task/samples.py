"""Tasks to test with: the requirement's three requests as data, and a strategy for any task at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ooda.task import GRANTABLE

USERNAME_PASSWORD: dict[str, Any] = {
    "agent": {"model": "z-ai/glm-4.6:exacto", "instructions": None},
    "repository": {
        "remote_url": "https://github.com/username/repo.git",
        "branch": "main",
        "credentials": {
            "credential_type": "username_password",
            "username": "github-username",
            "password": "github-password",
        },
    },
    "task": {
        "id": "task-789",
        "project_id": "project-456",
        "company_id": "company-123",
        "title": "Add user authentication",
        "description": "Implement JWT-based authentication",
        "requirements": ["Create user model", "Implement password hashing", "Create login endpoint"],
        "tags": ["authentication", "security"],
        "context": {},
    },
}
KEY_CERT: dict[str, Any] = USERNAME_PASSWORD | {
    "agent": {"instructions": "Focus on database performance and add comprehensive benchmarks."},
    "repository": {
        "remote_url": "git@github.com:username/repo.git",
        "branch": "develop",
        "credentials": {
            "credential_type": "key_cert",
            "private_key_path": "~/.ssh/id_rsa",
            "key_password": None,
        },
    },
}
ACCESS_TOKEN: dict[str, Any] = USERNAME_PASSWORD | {
    "agent": {},
    "repository": {
        "remote_url": "https://github.com/username/repo.git",
        "branch": "main",
        "credentials": {"credential_type": "access_token", "access_token": "ghp_0123456789abcdef"},
    },
}
REQUESTS: dict[str, dict[str, Any]] = {
    "username_password": USERNAME_PASSWORD,
    "key_cert": KEY_CERT,
    "access_token": ACCESS_TOKEN,
}

MINIMAL = """\
kind: coding
repository: {remote_url: ./shop.git}
task: {id: t-1, title: Fix it, description: All of it.}
"""


def _text(size: int = 40) -> st.SearchStrategy[str]:
    # Characters a document may hold, in the plane that every encoder knows; not blank.
    return st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=size)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


_names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text(10), inner, max_size=3),
    max_leaves=8,
)
_passwords = st.one_of(
    st.fixed_dictionaries({"credential_type": st.just("username_password"), "username": _text(), "password": _text()}),
    st.fixed_dictionaries({"credential_type": st.just("access_token"), "access_token": _text()}),
)
_keys = st.fixed_dictionaries(
    {"credential_type": st.just("key_cert"), "private_key": _text(), "key_password": _maybe(_text())}
)


def _repository(remotes: list[str], credentials: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"remote_url": st.sampled_from(remotes)},
        optional={"branch": st.sampled_from(["main", "feat/x", "v1.2"]), "credentials": _maybe(credentials)},
    )


_repositories = st.one_of(
    _repository(["https://h/p.git", "http://127.0.0.1:3000/p"], _passwords),
    _repository(["git@h:p.git", "ssh://git@h:22/p"], _keys),
    _repository(["./p", "/srv/p.git", "file:///srv/p"], _passwords | _keys),
)
_common = {
    "agent": st.fixed_dictionaries({}, optional={"model": _text(), "instructions": _maybe(_text())}),
    "environment": st.fixed_dictionaries(
        {},
        optional={
            "image": _maybe(_text()),
            "setup": st.lists(_text(), max_size=2),
            "env": st.dictionaries(_names, _text(), max_size=3),
            "hosts": st.lists(st.sampled_from(["pypi.org", "*.example.com", "localhost:8080"]), max_size=2),
            "credentials": st.lists(
                st.fixed_dictionaries(
                    {
                        "variable": st.sampled_from(["LENT_A", "LENT_B"]),
                        "hosts": st.lists(st.sampled_from(["pypi.org", "h.example:8443"]), min_size=1, max_size=2),
                        "secret": _text(),
                    }
                ),
                max_size=2,
                unique_by=lambda lent: str(lent["variable"]),
            ),
        },
    ),
    "validation": st.sampled_from(["auto", "none"]) | st.lists(_text(), min_size=1, max_size=3),
    "limits": st.fixed_dictionaries(
        {},
        optional={
            "steps": st.integers(1, 100_000),
            "wall_clock": st.integers(1, 86_400) | st.sampled_from(["24h", "90s", "1h30m"]),
            "usd": st.sampled_from([0.1, "0.10", 3, "0.000000001"]),
            "output_bytes": st.sampled_from([4096, "16KiB"]),
        },
    ),
    "grants": st.lists(st.sampled_from(GRANTABLE), unique=True, max_size=4),
    "model": st.fixed_dictionaries(
        {}, optional={"temperature": st.floats(0, 2), "fallbacks": st.lists(_text(), max_size=2)}
    ),
}
_own = {
    "coding": st.fixed_dictionaries(
        {
            "kind": st.just("coding"),
            "repository": _repositories,
            "task": st.fixed_dictionaries(
                {"id": _text(), "title": _text(), "description": _text()},
                optional={
                    "requirements": st.lists(_text(), max_size=2),
                    "tags": st.lists(_text(), max_size=2),
                    "context": st.dictionaries(_text(10), _json, max_size=3),
                },
            ),
        }
    ),
    "ops": st.fixed_dictionaries(
        {"kind": st.just("ops"), "task": _text()}, optional={"services": st.lists(_text(), max_size=2)}
    ),
    "triage": st.fixed_dictionaries(
        {
            "kind": st.just("triage"),
            "incident": st.fixed_dictionaries(
                {
                    "id": st.uuids().map(str),
                    "cluster": _text(),
                    "namespace": st.just("shop"),
                    "severity": st.sampled_from(["critical", "low"]),
                    "timestamp": st.sampled_from(["2026-11-21T08:00:00Z", "2026-11-21T08:00:00.5+02:00"]),
                }
            ),
        }
    ),
    "steward": st.fixed_dictionaries({"kind": st.just("steward"), "check": st.sampled_from(["ttl", "quiet_hours"])}),
    "chat": st.fixed_dictionaries({"kind": st.just("chat")}, optional={"message": _text()}),
}


@st.composite
def task_documents(draw: st.DrawFn) -> dict[str, Any]:
    """Plain data of a valid task of any kind."""
    own: dict[str, Any] = draw(st.one_of(*_own.values()))
    common: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=_common))
    return common | own
