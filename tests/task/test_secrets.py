"""Secrets leave a task at the door: they are in `secrets`, in memory, and nowhere else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.errors import CredentialError, TaskSpecError
from ooda.task import CodingTask, LoadedTask, UsernamePassword, load_task_text, parse_task
from tests.task.samples import MINIMAL, REQUESTS

CANARY = "hunter2-Zq9"


def _revealed(loaded: LoadedTask) -> dict[str, str]:
    return {name: secret.get_secret_value() for name, secret in loaded.secrets.items()}


def _everything_said(loaded: LoadedTask) -> str:
    """Whatever a log, a journal or a traceback could show of a loaded task."""
    task = [str(loaded.task), repr(loaded.task.model_dump()), loaded.task.model_dump_json()]
    return " ".join([repr(loaded), loaded.canonical.decode(), repr(loaded.secrets), *loaded.warnings, *task])


@pytest.mark.parametrize(
    ("credentials", "field"),
    [
        ({"credential_type": "username_password", "username": "bob", "password": CANARY}, "password"),
        ({"credential_type": "access_token", "access_token": CANARY}, "access_token"),
        ({"credential_type": "key_cert", "private_key": f"-----BEGIN-----\n{CANARY}\n"}, "private_key"),
        ({"credential_type": "key_cert", "private_key_path": "~/.ssh/id", "key_password": CANARY}, "key_password"),
    ],
    ids=["password", "token", "key", "passphrase"],
)
def test_an_inline_secret_becomes_a_reference_to_its_field(credentials: dict[str, str], field: str) -> None:
    """The task says where the secret was; only `secrets` says what it is."""
    data = copy.deepcopy(REQUESTS["access_token"])
    is_key = credentials["credential_type"] == "key_cert"
    data["repository"] |= {"credentials": credentials, "remote_url": "git@h:p.git" if is_key else "https://h/p.git"}
    loaded = load_task_text(json.dumps(data))
    name = f"repository.credentials.{field}"
    assert _revealed(loaded) == {name: credentials[field]}
    assert loaded.resolve_secrets({})[name].get_secret_value() == credentials[field]
    assert f'"{field}":{{"secret_ref":"{name}"}}' in loaded.canonical.decode()
    assert CANARY not in _everything_said(loaded)


def test_a_lent_secret_leaves_the_task_like_any_other() -> None:
    """Written out it is taken out, as `${NAME}` it is read by the caller."""
    lent = "{variable: A, hosts: [h.example], secret: " + CANARY + "}, {variable: B, hosts: ['i:8443'], secret: '${B}'}"
    loaded = load_task_text(MINIMAL + f"environment: {{credentials: [{lent}]}}\n")
    assert _revealed(loaded) == {"environment.credentials[0].secret": CANARY}
    resolved = loaded.resolve_secrets({"B": "other"})
    assert {name: value.get_secret_value() for name, value in resolved.items()} == {
        "environment.credentials[0].secret": CANARY,
        "env:B": "other",
    }
    assert CANARY not in _everything_said(loaded)


@pytest.mark.parametrize(
    ("lent", "words"),
    [
        ("{variable: A, hosts: ['*.h.example'], secret: x}", "the name of one host"),
        ("{variable: A, hosts: [], secret: x}", "hosts"),
        ("{variable: 1A, hosts: [h], secret: x}", "a variable name"),
        ("{variable: A, hosts: [h], secret: x}, {variable: A, hosts: [i], secret: y}", "which is set already"),
        ("{variable: TAKEN, hosts: [h], secret: x}", "which is set already"),
    ],
)
def test_a_secret_is_lent_to_named_hosts_under_a_name_of_its_own(lent: str, words: str) -> None:
    """No pattern of hosts, no variable twice."""
    with pytest.raises(TaskSpecError, match=words):
        load_task_text(MINIMAL + f"environment: {{env: {{TAKEN: '1'}}, credentials: [{lent}]}}\n")


def test_a_variable_is_named_and_read_by_the_caller() -> None:
    """`${NAME}` puts no secret into the file, and none into the task."""
    text = MINIMAL.replace(
        "./shop.git", "'https://h/p.git', credentials: {credential_type: access_token, access_token: '${GITHUB_TOKEN}'}"
    )
    loaded = load_task_text(text + "environment: {env: {PIP_INDEX: '${INDEX}', PLAIN: 'a ${b}'}}\n")
    assert loaded.secrets == {}
    resolved = loaded.resolve_secrets({"GITHUB_TOKEN": CANARY, "INDEX": "x"})
    assert {name: secret.get_secret_value() for name, secret in resolved.items()} == {
        "env:GITHUB_TOKEN": CANARY,
        "env:INDEX": "x",
    }
    assert loaded.task.environment.env["PLAIN"] == "a ${b}"


def test_what_is_missing_is_named_all_at_once() -> None:
    """A resumed run has no inline secrets any more; the message says what to do for each."""
    text = MINIMAL.replace(
        "./shop.git",
        f"'https://h/p.git', credentials: {{credential_type: access_token, access_token: {CANARY}}}",
    )
    loaded = load_task_text(text + "environment: {env: {A: '${NOT_SET}'}}\n")
    resumed = parse_task(json.loads(loaded.canonical))
    assert resumed.task == loaded.task
    with pytest.raises(CredentialError) as caught:
        resumed.resolve_secrets({"NOT_SET": ""})
    assert str(caught.value) == (
        "The task's credentials are incomplete: `repository.credentials.access_token` stood in the task file and is "
        "stored nowhere; give the file again, or use `${NAME}`; environment variable `NOT_SET` is not set."
    )


def test_a_password_in_the_remote_address_is_moved_out() -> None:
    """Addresses are logged; the password is decoded as git would send it, and the user is told."""
    text = MINIMAL.replace("./shop.git", "'https://bob:p%40ss@h:8443/p.git'")
    loaded = load_task_text(text)
    assert isinstance(loaded.task, CodingTask)
    assert loaded.task.repository.remote_url == "https://h:8443/p.git"
    assert isinstance(loaded.task.repository.credentials, UsernamePassword)
    assert loaded.task.repository.credentials.username == "bob"
    assert _revealed(loaded) == {"repository.credentials.password": "p@ss"}
    assert loaded.warnings == (
        "`repository.remote_url` carried a user name and password; they were moved to `repository.credentials` and "
        "are not stored. Write them there, or as `${NAME}`.",
    )


@pytest.mark.parametrize(
    "url",
    [
        f"https://{CANARY}@h/p.git",
        f"https://:{CANARY}@h/p.git",
        f"ssh://git:{CANARY}@h/p.git",
        f"git:{CANARY}@h",
        f"https://bob:{CANARY}/@h/p.git",
        f"ftp://bob:{CANARY}@h/p",
    ],
)
def test_another_address_with_something_secret_in_it_is_refused_unseen(url: str) -> None:
    """A name alone may be a token; a password for SSH cannot be used. The message does not repeat them."""
    with pytest.raises(TaskSpecError, match=r"`repository\.remote_url`") as caught:
        load_task_text(MINIMAL.replace("./shop.git", f"'{url}'"))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("url", ["git@h:p.git", "ssh://git@h/p.git", "file:///srv/p.git", "../p.git", "/srv/a b/p.git"])
def test_an_address_without_secrets_stays_as_it_is(url: str) -> None:
    """The name before an SSH host is no secret."""
    task = load_task_text(MINIMAL.replace("./shop.git", f"'{url}'")).task
    assert isinstance(task, CodingTask)
    assert task.repository.remote_url == url


def test_credentials_and_a_password_in_the_address_contradict_each_other() -> None:
    """Two answers to one question are refused."""
    text = MINIMAL.replace(
        "./shop.git",
        f"'https://bob:{CANARY}@h/p.git', credentials: {{credential_type: access_token, access_token: x1}}",
    )
    with pytest.raises(TaskSpecError, match="carries a name or password before `@`") as caught:
        load_task_text(text)
    assert CANARY not in str(caught.value)


def test_a_text_whose_name_says_it_is_secret_is_treated_as_one() -> None:
    """In `env` it still reaches the commands; in `context` the agent sees only the reference."""
    text = MINIMAL.replace("d: All of it.", "d: x").replace(
        "description: All of it.",
        f"description: d, context: {{a: [{{api_key: {CANARY}}}], tokens: 5, note: plain}}",
    )
    loaded = load_task_text(text + f"environment: {{env: {{NPM_TOKEN: {CANARY}, MODE: ci}}}}\n")
    assert isinstance(loaded.task, CodingTask)
    assert _revealed(loaded) == {"environment.env.NPM_TOKEN": CANARY, "task.context.a[0].api_key": CANARY}
    assert loaded.task.task.context == {
        "a": [{"api_key": {"secret_ref": "task.context.a[0].api_key"}}],
        "tokens": 5,
        "note": "plain",
    }
    assert loaded.task.environment.env["MODE"] == "ci"
    assert set(loaded.resolve_secrets({})) == {"environment.env.NPM_TOKEN"}
    assert loaded.warnings == (
        "`environment.env.NPM_TOKEN` is taken for a secret by its name: used, never stored.",
        "`task.context.a[0].api_key` is taken for a secret by its name: the agent does not see it.",
    )
    assert CANARY not in _everything_said(loaded)


_WHERE: dict[str, tuple[str, ...]] = {
    "token": ("repository", "credentials", "access_token"),
    "misspelt": ("repository", "credentials", "acces_token"),
    "one level up": ("repository", "access_token"),
    "instead of credentials": ("repository", "credentials"),
    "as a list": ("repository", "credentials", "password"),
    "environment": ("environment", "env", "GH_TOKEN"),
    "address": ("repository", "remote_url"),
}
_BREAK: list[tuple[tuple[str, ...], Any]] = [
    ((), None),
    (("task", "id"), 5),
    (("limits",), {"steps": -1}),
    (("kind",), "codng"),
    (("repository", "branch"), ["x"]),
    (("environment", "env"), [1]),
]


def _put(data: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    *parents, last = path
    for part in parents:
        if not isinstance(data.get(part), dict):
            data[part] = {}
        data = data[part]
    data[last] = value


@settings(deadline=None)
@given(
    where=st.sampled_from(sorted(_WHERE)),
    mistake=st.sampled_from(_BREAK),
    secret=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=40).map(CANARY.__add__),
    wrapped=st.booleans(),
)
def test_no_secret_is_ever_said_wherever_it_was_put(
    where: str, mistake: tuple[tuple[str, ...], Any], secret: str, wrapped: bool
) -> None:
    """Right or wrong place, right or wrong task: no message, repr or dump holds it."""
    data = copy.deepcopy(REQUESTS["access_token"])
    data["kind"] = "coding"
    value: object = [secret] if wrapped and where in ("as a list", "instead of credentials") else secret
    if where == "address":
        value = f"https://bob:{secret}@h/p.git"
        data["repository"]["credentials"] = None
    _put(data, _WHERE[where], value)
    if mistake[0]:
        _put(data, mistake[0], mistake[1])
    try:
        said = _everything_said(load_task_text(json.dumps(data)))
    except TaskSpecError as error:
        said = f"{error} {error!r} {error.problems!r} {error.__cause__!r} {error.__context__!s}"
    assert secret not in said
