"""Exit codes: one table for every command, told apart so that scripts can act on them, and what to do after each."""

from __future__ import annotations

__all__ = ["EXIT", "NEXT", "STATUSES", "TABLE", "USAGE"]

EXIT: dict[str, int] = {
    "success": 0,
    "failed": 1,
    "refused": 3,
    "budget_exceeded": 4,
    "step_limit": 5,
    "stuck": 5,
    "model_unavailable": 6,
    "unverified": 7,
    "waiting": 75,
    "timeout": 124,
    "cancelled": 130,
}
"""Status of a run to exit code."""

STATUSES = ("created", "running", "interrupted", *EXIT)
"""How a run may stand in a list: it is being carried, its process was lost, or as it stopped or waits."""

USAGE = 2
"""Wrong arguments, a bad task spec, a bad setting."""

NEXT: dict[str, str] = {
    "success": "",
    "failed": "Mend what it names, then go on: `ooda runs resume {run}`. What it did: `ooda runs show {run}`.",
    "refused": "When what it names has changed, go on: `ooda runs resume {run}`; another task is a new run.",
    "budget_exceeded": "Go on with more: `ooda runs resume {run} --limit usd=2` (or `tokens=…`), within the caps of "
    "`ooda budget show`.",
    "step_limit": "Go on with more: `ooda runs resume {run} --limit steps=400` (or `rounds=20`).",
    "stuck": "Look at its last steps (`ooda runs show {run}`), then go on, perhaps with another model: "
    "`ooda runs resume {run} --model NAME`.",
    "model_unavailable": "Go on when it answers again, or with another one: `ooda runs resume {run} --model NAME`.",
    "unverified": "Name the commands that check it under `validation:` in the task.",
    "waiting": "Answer (`ooda approvals list`), then go on: `ooda runs resume {run}`.",
    "timeout": "Go on with more time: `ooda runs resume {run} --limit wall_clock=48h`.",
    "cancelled": "To go on: `ooda runs resume {run}`",
}
"""Status of a run to what its person does next; `{run}` stands for its id."""

TABLE = """exit codes:
  0  success             5  step limit or stuck         75  waiting for a person
  1  failed              6  model unavailable          124  timeout
  2  usage or bad spec   7  done, but unverified       130  interrupted
  3  refused
  4  budget exceeded"""
