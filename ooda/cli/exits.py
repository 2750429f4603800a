"""Exit codes: one table for every command, told apart so that scripts can act on them."""

from __future__ import annotations

__all__ = ["EXIT", "TABLE", "USAGE"]

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

USAGE = 2
"""Wrong arguments, a bad task spec, a bad setting."""

TABLE = """exit codes:
  0  success             5  step limit or stuck         75  waiting for a person
  1  failed              6  model unavailable          124  timeout
  2  usage or bad spec   7  done, but unverified       130  interrupted
  3  refused
  4  budget exceeded"""
