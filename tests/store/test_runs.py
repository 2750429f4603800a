"""The line of a run follows its events."""

from collections.abc import Callable

import msgspec
import pytest

from ooda.events import (
    ApprovalAnswered,
    ApprovalAsked,
    Body,
    ChildStopped,
    Decided,
    Event,
    Limits,
    ModelFailed,
    ModelReplied,
    PhaseEntered,
    Resumed,
    RunStarted,
    Stopped,
    Usage,
)
from ooda.runtime.journal import Row
from ooda.store import Store, runs

Chain = Callable[..., list[Row]]

REPLIED = ModelReplied(
    ask="a",
    model="m",
    message=Body("{}"),
    content=Body("hi"),
    usage=Usage(100, 50, 0, 20, 5),
    cost_nano=700,
    finish="stop",
)
LIFE: list[tuple[Event, str]] = [
    (PhaseEntered(phase="plan", round=1), "running"),
    (REPLIED, "running"),
    (ModelFailed(ask="b", error="unavailable", message="gone", cost_nano=30, tokens=4), "running"),
    (Decided(phase="plan", step=1), "running"),
    (ApprovalAsked(approval="p", call="c", tool="t", shown=Body("?"), expires_at_ns=9), "waiting"),
    (ApprovalAnswered(approval="p", call="c", answer="approve", by="ada"), "running"),
    (PhaseEntered(phase="implement", round=2), "running"),
    (ChildStopped(call="c", run="run-child", status="success", text=Body(""), cost_nano=1000, tokens=9), "running"),
    (Stopped(status="timeout", reason="too slow"), "timeout"),
    (Resumed(by="ada"), "running"),
    (Decided(phase="implement", step=2), "running"),
    (Stopped(status="success", reason="done"), "success"),
]


def test_the_line_follows_the_events_one_by_one_and_all_at_once(store: Store, chain: Chain, take: Callable) -> None:
    """Cost, tokens, steps, phase and status are what the events add up to, however they were batched."""
    events = [event for event, _ in LIFE]
    single, batched = chain(events), chain(events, run="run-b")
    fence, other = take().fence, take("run-b").fence
    statuses = []
    for row in single:
        store.write_now(lambda tx, row=row: store.append(tx, [row], fence))
        statuses.append(store.read(lambda tx: runs.find(tx, "run-a")).status)  # type: ignore[union-attr]
    store.write_now(lambda tx: store.append(tx, batched, other))

    found = store.read(lambda tx: runs.find(tx, "run-a"))

    assert statuses == ["starting", *(status for _, status in LIFE)]
    assert found == runs.RunSummary(
        run="run-a",
        agent="coding",
        task_id="task-789",
        title="Add user authentication",
        model="z-ai/glm-4.6:exacto",
        parent="",
        run_by="ada",
        loop_version=1,
        status="success",
        reason="done",
        phase="implement",
        steps=2,
        cost_nano=1730,
        tokens=133,
        created_ns=single[0].at_ns,
        updated_ns=single[-1].at_ns,
        last_seq=len(LIFE),
        last_hash=single[-1].hash,
    )
    again = store.read(lambda tx: runs.find(tx, "run-b"))
    assert again == msgspec.structs.replace(found, run="run-b", last_hash=batched[-1].hash)


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ('{"kind":"coding","task":{"id":"t-1","title":"Fix it"}}', ("t-1", "Fix it")),
        ('{"kind":"ops","task":"Deploy the shop\\nand watch it"}', ("", "Deploy the shop")),
        ('{"kind":"triage","incident":{"id":"i-9"}}', ("i-9", "")),
        ('{"kind":"chat"}', ("", "")),
        ("no json", ("", "")),
    ],
    ids=["coding", "ops", "triage", "chat", "not JSON"],
)
def test_a_run_is_named_after_its_task(
    store: Store, chain: Chain, take: Callable, task: str, named: tuple[str, str]
) -> None:
    """Each kind of task keeps its id elsewhere; a task that cannot be read leaves the names empty."""
    start = RunStarted(
        agent="x", task=Body(task), task_digest="d", rules=Body(""), brief=Body(""), limits=Limits(), loop_version=1
    )
    fence = take().fence
    store.write_now(lambda tx: store.append(tx, chain(start=start), fence))

    found = store.read(lambda tx: runs.find(tx, "run-a"))

    assert found is not None
    assert (found.task_id, found.title) == named


def test_a_task_kept_as_a_blob_names_its_run_too(store: Store, chain: Chain, take: Callable) -> None:
    """Long task specs stand outside the row."""
    spec = '{"task":{"id":"t-2","title":"Long","description":"%s"}}' % ("x" * 9000)
    start = RunStarted(
        agent="x",
        task=Body(ref=store.blobs.put(spec)),
        task_digest="d",
        rules=Body(""),
        brief=Body(""),
        limits=Limits(),
        loop_version=1,
    )
    fence = take().fence
    store.write_now(lambda tx: store.append(tx, chain(start=start), fence))

    found = store.read(lambda tx: runs.find(tx, "run-a"))

    assert found is not None
    assert (found.task_id, found.title) == ("t-2", "Long")


def test_runs_are_listed_newest_first_and_can_be_filtered(store: Store, chain: Chain, take: Callable) -> None:
    """By status, by parent, and at most so many."""
    for number in range(4):
        run = f"run-{number}"
        rows = chain([Stopped(status="failed", reason="")] if number % 2 else 0, run=run)
        rows = [msgspec.structs.replace(row, at_ns=row.at_ns + number * 1000) for row in rows]
        fence = take(run).fence
        store.write_now(lambda tx, rows=rows, fence=fence: store.append(tx, rows, fence))

    def names(**asked: object) -> list[str]:
        return [line.run for line in store.read(lambda tx: runs.listed(tx, **asked))]  # type: ignore[arg-type]

    assert names() == ["run-3", "run-2", "run-1", "run-0"]
    assert names(limit=2) == ["run-3", "run-2"]
    assert names(status="failed") == ["run-3", "run-1"]
    assert names(parent="run-x") == []
    assert store.read(lambda tx: runs.find(tx, "run-x")) is None


def test_the_runner_may_say_what_the_run_waits_for(store: Store, chain: Chain, take: Callable) -> None:
    """Events alone do not tell that a chat waits for the next message."""
    fence = take().fence
    store.write_now(lambda tx: store.append(tx, chain(1), fence, status="waiting"))

    found = store.read(lambda tx: runs.find(tx, "run-a"))

    assert found is not None
    assert found.status == "waiting"
