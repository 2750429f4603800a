"""The parts all kinds share: limits over defaults, grants against governance's list, kinds and their schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from ooda.errors import TaskSpecError
from ooda.events import Limits
from ooda.governance.operations import Operation
from ooda.task import GRANTABLE, KINDS, StewardTask, load_task, load_task_text, parse_task, task_schema
from tests.task.samples import REQUESTS, task_documents

EXAMPLES = Path(__file__).parents[2] / "docs" / "reference" / "tasks"


def test_a_task_may_grant_every_operation_but_the_change_of_governance() -> None:
    """The names are held twice, because governance stands above tasks; here they are compared."""
    assert set(GRANTABLE) == {operation.value for operation in Operation} - {"change_governance"}


def test_limits_stand_over_the_defaults_one_by_one() -> None:
    """What a task does not say is the setting's; money becomes integer nano-USD."""
    text = "kind: chat\nlimits: {steps: 5, wall_clock: 2h, usd: 0.000000001, output_bytes: 8KiB}\n"
    assert load_task_text(text).task.limits.to_limits(Limits(rounds=3)) == Limits(
        steps=5, rounds=3, wall_s=7_200, cost_nano=1, output_bytes=8_192
    )
    assert load_task_text("kind: chat").task.limits.to_limits(Limits()) == Limits()


def test_a_small_window_shortens_the_default_reply_only() -> None:
    """The default reply would fill a window of 8,000 tokens; one that the task names is kept."""
    small = load_task_text("kind: chat\nlimits: {context_tokens: 8000}\n").task.limits
    assert small.to_limits(Limits()).reply_tokens == 2_000
    named = load_task_text("kind: chat\nlimits: {context_tokens: 8000, reply_tokens: 4000}\n").task.limits
    assert named.to_limits(Limits()).reply_tokens == 4_000


def test_a_steward_task_does_nothing_unless_told_to() -> None:
    """Dry run is the default of the typed task."""
    task = load_task_text("kind: steward\ncheck: ttl\n").task
    assert isinstance(task, StewardTask)
    assert task.dry_run is True


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_every_kind_is_right(kind: str) -> None:
    """The files that the reference shows load, without warnings, and match the published schema."""
    loaded = load_task(EXAMPLES / f"{kind}.yaml")
    assert (loaded.task.kind, loaded.warnings) == (kind, ())
    jsonschema.validate(json.loads(loaded.canonical), task_schema())


def test_the_schema_is_a_schema() -> None:
    """Draft 2020-12, as its first line says."""
    jsonschema.Draft202012Validator.check_schema(task_schema())


@pytest.mark.parametrize("request_data", REQUESTS.values(), ids=REQUESTS)
def test_the_schema_accepts_the_required_requests(request_data: dict[str, Any]) -> None:
    """With and without `kind`, with secrets inline."""
    jsonschema.validate(request_data, task_schema())
    jsonschema.validate({"kind": "coding", **request_data}, task_schema())


_VALIDATOR = jsonschema.Draft202012Validator(task_schema())


@settings(deadline=None)
@given(task_documents())
def test_the_schema_accepts_whatever_loads(document: dict[str, Any]) -> None:
    """An editor must not mark what `ooda run` takes; nor what it stores."""
    _VALIDATOR.validate(document)
    _VALIDATOR.validate(json.loads(parse_task(document).canonical))


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "chat", "mesage": "x"},
        {"kind": "codng"},
        {"kind": "chat", "limits": {"steps": 0}},
        {"kind": "chat", "limits": {"usd": 0}},
        {"kind": "chat", "grants": ["push"]},
        {"kind": "chat", "validation": "autp"},
        {"kind": "coding", "task": {"id": "t", "title": "t", "description": "d"}},
        {"kind": "ops"},
    ],
    ids=lambda document: json.dumps(document)[:40],
)
def test_the_schema_refuses_what_does_not_load(document: dict[str, Any]) -> None:
    """The plain mistakes: unknown words, missing fields, numbers out of range."""
    with pytest.raises(TaskSpecError):
        parse_task(document)
    with pytest.raises(jsonschema.ValidationError):
        _VALIDATOR.validate(document)
