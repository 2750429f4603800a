"""A task file becomes a typed task: the requirement's requests, YAML and JSON, files and standard input."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest

from ooda.errors import TaskSpecError
from ooda.task import ChatTask, CodingTask, KeyCert, OpsTask, load_task, load_task_text, parse_task
from tests.task.samples import MINIMAL, REQUESTS


@pytest.mark.parametrize("request_data", REQUESTS.values(), ids=REQUESTS)
def test_the_required_request_is_a_coding_task_as_it_stands(request_data: dict[str, Any]) -> None:
    """A CodingAgentRequest has no `kind`; it is understood, and the user is told."""
    loaded = load_task_text(json.dumps(request_data))
    assert isinstance(loaded.task, CodingTask)
    assert loaded.task.task.model_dump(mode="json") == request_data["task"]
    assert loaded.task.repository.remote_url == request_data["repository"]["remote_url"]
    assert loaded.warnings == ("`kind` is missing; the task has a `repository`, so it is read as `kind: coding`.",)


def test_the_agent_object_keeps_its_meaning() -> None:
    """`agent` names model and instructions; a model left out is the setting's."""
    task = load_task_text(MINIMAL + "agent: {model: 'z-ai/glm-4.6:exacto', instructions: Be brief.}\n").task
    assert (task.agent.model, task.agent.instructions) == ("z-ai/glm-4.6:exacto", "Be brief.")
    assert load_task_text(MINIMAL).task.agent.model is None


def test_everything_but_the_request_has_a_default() -> None:
    """A newcomer writes a repository and a task."""
    task = load_task_text(MINIMAL).task
    assert isinstance(task, CodingTask)
    assert (task.repository.branch, task.repository.credentials, task.validation, task.grants) == (
        "main",
        None,
        "auto",
        ("push_feature_branch",),
    )
    assert (task.task.project_id, task.task.company_id) == ("local", "local")


def test_yaml_and_json_of_the_same_task_are_the_same_task() -> None:
    """The syntax leaves no trace in canonical JSON and digest."""
    as_json = json.dumps({"kind": "chat", "message": "hello", "limits": {"usd": 0.5}})
    as_yaml = "kind: chat\nmessage: hello\nlimits:\n  usd: '0.50'\n"
    assert load_task_text(as_json).canonical == load_task_text(as_yaml).canonical
    assert load_task_text(as_json).digest == load_task_text(as_yaml).digest


def test_json_may_be_indented_by_tabs() -> None:
    """A document that begins like JSON is read as JSON, whatever it is called."""
    assert isinstance(load_task_text('{\n\t"kind": "chat"\n}').task, ChatTask)
    assert isinstance(load_task_text('{"kind": "chat"}', "task.json").task, ChatTask)
    assert isinstance(load_task_text("{kind: chat}", "-").task, ChatTask)


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    """The name is kept for messages and its folder for relative paths; a byte order mark does no harm."""
    path = tmp_path / "task.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    loaded = load_task(path)
    assert (loaded.source, loaded.folder) == (str(path), tmp_path)


def test_a_dash_reads_standard_input() -> None:
    """`-` as everywhere; relative paths then start from the current folder."""
    loaded = load_task("-", stdin=io.BytesIO(b"kind: ops\ntask: Deploy\n"))
    assert isinstance(loaded.task, OpsTask)
    assert (loaded.source, loaded.folder) == ("<stdin>", Path())


def test_words_that_other_readers_take_for_booleans_stay_text() -> None:
    """YAML 1.1 made `NO` false and dates objects; here only true and false are booleans."""
    text = MINIMAL.replace("title: Fix it", "title: NO, tags: [on, yes, 2026-01-01, 1:30, 007, .inf]")
    task = load_task_text(text).task
    assert isinstance(task, CodingTask)
    assert task.task.title == "NO"
    assert task.task.tags == ("on", "yes", "2026-01-01", "1:30", "007", ".inf")


def test_anchors_and_aliases_work() -> None:
    """They are bounded, not forbidden."""
    task = load_task_text("kind: chat\nmessage: &said hello\nagent: {instructions: *said}\n").task
    assert isinstance(task, ChatTask)
    assert task.agent.instructions == task.message == "hello"


def test_plain_data_is_parsed_by_the_same_door() -> None:
    """API callers get the same task and the same refusal, without lines."""
    data = copy.deepcopy(REQUESTS["key_cert"])
    task = parse_task(data, "request").task
    assert isinstance(task, CodingTask)
    assert isinstance(task.repository.credentials, KeyCert)
    data["task"]["id"] = 7
    with pytest.raises(TaskSpecError, match=r"`task\.id`: found the number 7; expected one line of text"):
        parse_task(data, "request")


def test_credentials_over_plain_http_are_worth_a_warning() -> None:
    """Allowed, for a server on this machine or a closed network, and said."""
    secret = "credentials: {credential_type: access_token, access_token: '${T}'}"
    text = MINIMAL.replace("./shop.git", f"'http://h/p.git', {secret}")
    assert load_task_text(text).warnings == (
        "`repository.remote_url` is http, so the credentials travel unencrypted; use https where you can.",
    )


def test_a_task_is_frozen() -> None:
    """Below the door nothing changes a task."""
    task = load_task_text(MINIMAL).task
    with pytest.raises(Exception, match="frozen"):
        task.validation = "none"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tsak.yaml", "there is no such file; did you mean `{folder}/task.yaml`?"),
        ("nothing-like-it", "there is no such file"),
        (".", "this is a folder; name the task file in it"),
        ("a\0b", "this is no file name"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, name: str, expected: str) -> None:
    """No traceback for a user's slip; the nearest file is offered."""
    (tmp_path / "task.yaml").write_text(MINIMAL)
    with pytest.raises(TaskSpecError) as caught:
        load_task(f"{tmp_path}/{name}")
    assert str(caught.value).splitlines()[1] == "  " + expected.format(folder=tmp_path)
