"""`ooda task`: check a spec, print the schema."""

from __future__ import annotations

import argparse
import json

from ooda.api.steward.tasks import needed_grant
from ooda.task import load_task, task_schema

__all__ = ["schema", "validate"]


def validate(args: argparse.Namespace) -> int:
    """Load the task; every mistake is reported at once by the loader."""
    loaded = load_task(args.task)
    for warning in loaded.warnings:
        print(f"note: {warning}")
    task = loaded.task
    if task.kind == "coding" and "push_feature_branch" not in task.grants:
        print("note: the task ends with a push, and its `grants` leave it out; add `push_feature_branch`.")
    if task.kind == "steward" and not task.dry_run and (lacking := needed_grant(task.check)) not in task.grants:
        print(f"note: the pass acts, and its `grants` leave that out, so it waits for a person; add `{lacking}`.")
    needs = sorted({ref.secret_ref for ref in task.secret_refs()})
    print(
        f"{loaded.source}: a valid {task.kind} task, digest {loaded.digest[:12]}"
        + (f"; needs {', '.join(needs)}" if needs else "")
    )
    return 0


def schema(args: argparse.Namespace) -> int:
    """The published JSON Schema."""
    print(json.dumps(task_schema(), indent=2, ensure_ascii=False))
    return 0
