"""What a task did, in the words operators query."""

from ooda.store import Store, activities
from ooda.store.activities import Activity

NOW = 1_700_000_000_000_000_000


def test_activities_are_found_by_the_query_operators_know(store: Store) -> None:
    """The documented statement works as written, with exactly the documented columns."""
    store.write_now(lambda tx: activities.add(tx, "run-a", 3, "task-789", "progress", "cloned", NOW))
    store.write_now(
        lambda tx: activities.add(tx, "run-a", 4, "task-789", "function_call", "read_file", NOW + 10**9, '{"n":1}')
    )
    store.write_now(lambda tx: activities.add(tx, "run-b", 3, "task-1", "error", "no", NOW))

    rows = store.read(
        lambda tx: tx.execute("SELECT * FROM task_activities WHERE task_id = 'task-789' ORDER BY timestamp DESC")
    )

    assert rows == [
        ("task-789", "function_call", "read_file", '{"n":1}', "2023-11-14T22:13:21.000Z"),
        ("task-789", "progress", "cloned", "{}", "2023-11-14T22:13:20.000Z"),
    ]
    assert store.read(lambda tx: activities.of_task(tx, "task-789", limit=1)) == [
        Activity(
            task_id="task-789",
            activity_type="function_call",
            message="read_file",
            details='{"n":1}',
            timestamp="2023-11-14T22:13:21.000Z",
        )
    ]


def test_following_a_journal_twice_writes_an_activity_once(store: Store) -> None:
    """An event means one activity, however often its journal is read."""
    added = [
        store.write_now(lambda tx: activities.add(tx, "run-a", 3, "t", "progress", "cloned", NOW)) for _ in range(2)
    ]

    assert added == [True, False]
    assert len(store.read(lambda tx: activities.of_task(tx, "t"))) == 1
