"""The command `ooda`: parses, calls, renders. Every command's own module is imported only when it runs.

This module must stay free of heavy imports: `ooda --help` costs what Python and argparse cost.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from ooda import __version__
from ooda.cli.exits import STATUSES, TABLE, USAGE
from ooda.cli.leaves import leaf as _leaf
from ooda.cli.leaves import with_output as _output
from ooda.cli.leaves import with_settings as _settings
from ooda.cli.notice_words import notice_commands
from ooda.cli.steward_words import fake_commands, steward_commands

__all__ = ["entry", "main", "parser"]

_Run = Callable[[argparse.Namespace], int]


def entry() -> None:
    """The console script."""
    # A command builds modules and models that live as long as it does; looking through them for garbage again and
    # again is a tenth of the CPU of a short one (`make bench-durability`, replay).
    gc.set_threshold(50_000, 20, 20)
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command; gives its exit code. Errors made on purpose are one message on stderr, never a trace."""
    args = parser().parse_args(argv)
    command = getattr(args, "command", None)
    if command is None:
        parser().print_help()
        return USAGE
    module, _, function = str(command).partition(":")
    run: _Run = getattr(import_module(f"ooda.cli.{module}"), function)
    from ooda.cli.failures import reported

    return reported(run, args)


class _Parser(argparse.ArgumentParser):
    """Names the nearest word when a command, an option or a choice is mistyped."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Unknown words are told by the command they were given to, with its usage, not by `ooda`."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown and self._subparsers is None:
            from ooda.errors import nearest

            given = next((word for word in unknown if word.startswith("--")), unknown[0]).partition("=")[0]
            near = nearest(given, self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}" + (f"; did you mean `{near}`?" if near else ""))
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        given, sign, known = message.partition(" (choose from ")
        if sign and "invalid choice: " in given:
            from ooda.errors import nearest

            near = nearest(given.rpartition(": ")[2].strip("'"), re.findall(r"[\w-]+", known))
            message += f"; did you mean `{near}`?" if near else ""
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """The whole command line; what the reference page and the completions are made from."""
    top = _Parser(
        prog="ooda",
        description="Agents that act on real systems through one governed door.",
        epilog=TABLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"ooda {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    _run(commands)
    _chat(commands)
    _runs(commands)
    _task(commands)
    _approvals(commands)
    _permissions(commands)
    _reputation(commands)
    steward_commands(commands)
    fake_commands(commands)
    notice_commands(commands)
    _small(commands)
    return top


def _run(commands: Any) -> None:
    leaf = _leaf(commands, "run", "run:run", "run an agent on a task spec")
    leaf.add_argument("task", help="task file (YAML or JSON), or - for standard input")
    leaf.add_argument("--model", help="language model, instead of the task's")
    leaf.add_argument("--base-url", help="OpenAI-compatible endpoint, instead of the configured one")
    leaf.add_argument("--replay", metavar="CASSETTE", help="take the model's replies from a cassette; tools are real")
    leaf.add_argument(
        "--yes-unattended", action="store_true", help="never ask at the terminal: what needs a person waits"
    )
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(commands, "demo", "demo:demo", "watch the coding agent mend a bundled project; no key needed")
    leaf.add_argument("--mend", action="store_true", help="the recording that first fails its validation")
    leaf.add_argument("--folder", help="where to put the repository it works on (default: a temporary folder)")
    _output(leaf)
    _settings(leaf)


def _chat(commands: Any) -> None:
    leaf = _leaf(commands, "chat", "chat:chat", "talk with an agent in this folder")
    leaf.add_argument(
        "--agent",
        choices=("coding", "steward"),
        default="coding",
        help="coding: works in this folder; steward: explains the fleet of Coder workspaces (default coding)",
    )
    leaf.add_argument("--model", help="language model")
    leaf.add_argument("--base-url", help="OpenAI-compatible endpoint")
    leaf.add_argument("--resume", metavar="RUN", help="go on with an earlier session")
    leaf.add_argument("--replay", metavar="CASSETTE", help="take the model's replies from a cassette")
    _settings(leaf)


def _runs(commands: Any) -> None:
    runs = commands.add_parser("runs", help="list, look at, resume and replay runs").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(runs, "list", "runs:list_runs", "list runs, the newest first")
    leaf.add_argument("--limit", type=_entries, default=20, metavar="N", help="at most so many (default 20)")
    leaf.add_argument("--status", choices=STATUSES, metavar="STATUS", help=f"only these: {', '.join(STATUSES)}")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(runs, "show", "runs:show", "what a run did, step by step")
    leaf.add_argument("run")
    leaf.add_argument("--events", action="store_true", help="every event instead of a line a step")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(runs, "resume", "run:resume", "go on with a stopped, waiting or killed run")
    leaf.add_argument("run")
    leaf.add_argument("--task", metavar="FILE", help="the run's task file again, for the secrets that stand in it")
    leaf.add_argument("--model", help="language model from here on, instead of the run's")
    leaf.add_argument("--base-url", help="OpenAI-compatible endpoint, instead of the configured one")
    leaf.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="limits",
        help="a ceiling of the run from here on, as under `limits:` in a task: steps=400, usd=2, wall_clock=48h",
    )
    leaf.add_argument("--replay", metavar="CASSETTE", help="take the model's replies from a cassette")
    leaf.add_argument("--yes-unattended", action="store_true", help="never ask at the terminal")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(runs, "replay", "runs:replay", "run the loop again over a recording and compare")
    leaf.add_argument("run", help="a run id or a cassette file")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(runs, "fork", "forks:fork", "begin a new run with what another did up to a step")
    leaf.add_argument("run")
    leaf.add_argument("--at", type=int, required=True, metavar="STEP", help="the first step that is done anew")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(runs, "rewind", "forks:rewind", "put a run's workspace back to what it was before a step")
    leaf.add_argument("run")
    leaf.add_argument("--to", type=int, required=True, metavar="STEP", help="the first step whose changes are undone")
    leaf.add_argument("--preview", action="store_true", help="only show what would change")
    leaf.add_argument("--yes", "-y", action="store_true", help="do not ask")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(runs, "diff", "forks:diff", "two runs beside each other: steps, decisions, workspaces")
    leaf.add_argument("left", metavar="A")
    leaf.add_argument("right", metavar="B")
    leaf.add_argument("--all", action="store_true", help="show what is the same too")
    leaf.add_argument("--width", type=int, metavar="N", help="columns to draw in (default: the terminal's)")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(runs, "gc", "gc:gc", "remove old runs and what nobody names any more")
    leaf.add_argument(
        "--keep", default="30d", metavar="AGE", help="keep runs that succeeded so long (default 30d; ever)"
    )
    leaf.add_argument(
        "--keep-failures", default="90d", metavar="AGE", help="keep all others so long (default 90d; ever)"
    )
    leaf.add_argument("--max-runs", type=int, metavar="N", help="keep at most so many; the oldest successes go first")
    leaf.add_argument("--max-size", metavar="SIZE", help="keep at most so much, as 5GB; the oldest successes go first")
    leaf.add_argument("--export", metavar="FOLDER", help="write a cassette of each run there before it goes")
    leaf.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(runs, "export", "runs:export", "write a run out")
    leaf.add_argument("run")
    leaf.add_argument("--format", choices=("cassette",), default="cassette", help="default: cassette")
    leaf.add_argument("--output", "-o", default="-", metavar="FILE", help="default: standard output")
    leaf.add_argument(
        "--nothing-to-redact",
        action="store_true",
        help="write it although the run used credentials and none shows in it; each is looked for",
    )
    _settings(leaf)
    leaf = _leaf(runs, "decide", "approvals:decide", "say whether an interrupted effect happened")
    leaf.add_argument("run")
    leaf.add_argument("call")
    answer = leaf.add_mutually_exclusive_group(required=True)
    answer.add_argument("--happened", action="store_const", const="happened", dest="answer")
    answer.add_argument("--did-not", action="store_const", const="did_not", dest="answer")
    _settings(leaf)


def _task(commands: Any) -> None:
    task = commands.add_parser("task", help="check task specs").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(task, "validate", "task:validate", "check a task spec; every mistake in one answer")
    leaf.add_argument("task", help="task file, or - for standard input")
    leaf = _leaf(task, "schema", "task:schema", "print the JSON Schema of task specs")


def _approvals(commands: Any) -> None:
    approvals = commands.add_parser("approvals", help="questions that wait for a person").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(approvals, "list", "approvals:list_waiting", "list what waits")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(approvals, "answer", "approvals:answer", "answer one")
    leaf.add_argument("approval")
    answer = leaf.add_mutually_exclusive_group(required=True)
    answer.add_argument("--approve", action="store_const", const="approve", dest="answer")
    answer.add_argument("--reject", action="store_const", const="reject", dest="answer")
    answer.add_argument("--stop", action="store_const", const="stop", dest="answer")
    answer.add_argument("--modify", metavar="FILE", help="approve with these arguments (JSON; - is standard input)")
    leaf.add_argument("--note", default="", help="why; the agent reads it")
    _settings(leaf)
    leaf = _leaf(approvals, "show", "approvals:show", "one question, what it is bound to, and its answer")
    leaf.add_argument("approval")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(approvals, "link", "approvals:link", "print a link by which one person answers one question")
    leaf.add_argument("approval")
    leaf.add_argument(
        "--for", required=True, dest="person", metavar="NAME", help="who is to answer; named in the audit"
    )
    leaf.add_argument("--url", default="http://127.0.0.1:8736", help="where `approvals serve` is reached")
    _settings(leaf)
    leaf = _leaf(approvals, "serve", "approvals:serve", "answer such links, until interrupted")
    leaf.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    leaf.add_argument("--port", type=_port, default=8736, help="default 8736; 0 takes a free one")
    leaf.add_argument(
        "--name", action="append", default=[], dest="names", metavar="HOST", help="a host name a proxy passes on"
    )
    _settings(leaf)


def _permissions(commands: Any) -> None:
    permissions = commands.add_parser("permissions", help="what agents may do, and why").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(permissions, "show", "permissions:show", "what an agent may do at each level, and now")
    leaf.add_argument("--agent", default="coding", metavar="KIND", help="coding (default), chat, steward, …")
    leaf.add_argument("--task", metavar="FILE", help="count the grants of this task")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(permissions, "explain", "permissions:why", "what the gate would say to a call, and which rule decides")
    leaf.add_argument(
        "call", nargs="+", help="a tool and its arguments as JSON, or a shell command line in quotes (or behind `--`)"
    )
    leaf.add_argument("--agent", default="coding", metavar="KIND", help="who would call (default coding)")
    leaf.add_argument("--task", metavar="FILE", help="count the grants and targets of this task")
    leaf.add_argument("--run", help="count the task of this run and what it has read")
    leaf.add_argument("--label", help="what the run has read: trusted, tool or untrusted (default), perhaps /secret")
    leaf.add_argument("--unattended", action="store_true", help="as if nobody could be asked")
    _output(leaf)
    _settings(leaf)


def _reputation(commands: Any) -> None:
    reputation = commands.add_parser("reputation", help="how agents stand, and what people decide").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(reputation, "show", "reputation:show", "scores and levels; of one agent what it needs for the next")
    leaf.add_argument("agent", nargs="?", default="", help="as in `coding_agent`; `coding` does too")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(reputation, "history", "reputation:history", "what an agent did, and what each thing changed")
    leaf.add_argument("agent")
    leaf.add_argument("--limit", type=_entries, default=50, metavar="N", help="the latest so many (default 50)")
    _output(leaf)
    _settings(leaf)
    for name, help in (("promote", "grant the next level up"), ("demote", "take a level back, at once")):
        leaf = _leaf(reputation, name, f"reputation:{name}", help)
        leaf.add_argument("agent")
        leaf.add_argument("level", help="sandbox_only, staging_access, prod_low_risk or prod_full_access")
        leaf.add_argument("--note", required=True, help="why; it is kept with your name")
        _output(leaf)
        _settings(leaf)
    leaf = _leaf(reputation, "appeal", "reputation:appeal", "take the effect of an event back, by another event")
    leaf.add_argument("agent")
    leaf.add_argument("event", help="its id in `ooda reputation history`")
    leaf.add_argument("--note", required=True, help="why; it is kept with your name")
    _output(leaf)
    _settings(leaf)


def _small(commands: Any) -> None:
    leaf = _leaf(commands, "doctor", "doctor:doctor", "check what this machine has and what is missing")
    _output(leaf)
    _settings(leaf)
    sandbox = commands.add_parser("sandbox", help="what runs are shut into").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(sandbox, "build-image", "sandbox:build", "build an image for sandboxes here, without a registry")
    leaf.add_argument(
        "--package", action="append", default=[], metavar="NAME", dest="packages", help="one more Debian package"
    )
    leaf.add_argument(
        "--run", action="append", default=[], metavar="COMMAND", dest="commands", help="a command in the new root"
    )
    _output(leaf)
    _settings(leaf)
    config = commands.add_parser("config", help="settings").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(config, "show", "config:show", "every setting, its value and where it comes from")
    _output(leaf)
    _settings(leaf)
    budget = commands.add_parser("budget", help="money and tokens").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(budget, "show", "budget:show", "what is spent, reserved and left")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(budget, "history", "budget:history", "what was spent in past hours or days")
    leaf.add_argument("scope", nargs="?", default="global", help="as `budget show` names it (default global)")
    leaf.add_argument("--by", choices=("day", "hour"), default="day", help="default: day")
    leaf.add_argument("--limit", type=_entries, default=14, metavar="N", help="the newest so many (default 14)")
    _output(leaf)
    _settings(leaf)
    leaf = _leaf(budget, "check", "budget:check", "whether the books agree with themselves")
    leaf.add_argument("--mend", action="store_true", help="set windows to what reservations and charges add up to")
    _output(leaf)
    _settings(leaf)
    audit = commands.add_parser("audit", help="the chained log of every decision").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    leaf = _leaf(audit, "verify", "audit:verify", "check the chain, and say what it cannot prove")
    _output(leaf)
    _settings(leaf)


def _entries(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of entries; expected 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected 0 to 65535")
    return int(text)
