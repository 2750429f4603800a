"""Errors at the command line: one message on stderr and an exit code; a trace only for our own bugs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ooda.cli.exits import EXIT, USAGE
from ooda.errors import (
    BudgetExceededError,
    CredentialError,
    DivergenceError,
    LeaseLostError,
    ModelUnavailableError,
    OodaError,
    RefusedError,
    RunCancelledError,
    StepLimitError,
    UserError,
)

__all__ = ["exit_code", "reported"]


def exit_code(error: OodaError) -> int:
    """The exit code of an error; the first kind that fits."""
    match error:
        case CredentialError() | ModelUnavailableError():
            return EXIT["model_unavailable"]
        case UserError():
            return USAGE
        case BudgetExceededError():
            return EXIT["budget_exceeded"]
        case RefusedError() | LeaseLostError():
            return EXIT["refused"]
        case StepLimitError():
            return EXIT["step_limit"]
        case RunCancelledError():
            return EXIT["cancelled"]
        case DivergenceError():
            return EXIT["failed"]
    return EXIT["failed"]


def reported(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a command; its errors made on purpose become a message and an exit code."""
    try:
        return run(args)
    except OodaError as error:
        print(f"ooda: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("ooda: interrupted", file=sys.stderr)
        return EXIT["cancelled"]
    except BrokenPipeError:
        # The reader of our output left (`ooda runs list | head`); not worth a word.
        sys.stderr.close()
        return EXIT["success"]
