"""`ooda runs fork`, `rewind` and `diff`: other ways on from a step, going back, and what they came to."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys

from ooda.api.differences import Difference, compare_runs
from ooda.api.fork import fork_run
from ooda.api.rewind import Rewinding, rewinding
from ooda.api.runs import known_run
from ooda.api.session import Session
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.settings import session_for
from ooda.cli.style import Style, amount, is_terminal, style_for
from ooda.errors import ConfigError
from ooda.services.git import Restoration

__all__ = ["diff", "fork", "rewind"]

_SHOWN = 200
"""Lines of a patch that are shown."""


def fork(args: argparse.Namespace) -> int:
    """Begin a new run with what another did up to a step."""
    with session_for(args) as session:
        made = asyncio.run(fork_run(session, args.run, args.at))
    if args.form != "text":
        print_data(made, args.form)
        return EXIT["success"]
    print(f"{made.run}: {made.events} events of {made.source}, up to step {made.step}")
    print(f"  workspace    {made.workspace}")
    if made.branch:
        print(f"  branch       {made.branch}")
    print(f"Go on with: ooda runs resume {made.run}")
    return EXIT["success"]


def rewind(args: argparse.Namespace) -> int:
    """Put a run's workspace back; shows first what that changes."""
    if not (args.preview or args.yes or is_terminal()):
        raise ConfigError("nobody is at the terminal to confirm; say `--yes`, or look first with `--preview`")
    with session_for(args) as session:
        return asyncio.run(_rewind(session, args))


async def _rewind(session: Session, args: argparse.Namespace) -> int:
    async with rewinding(session, args.run, args.to) as prepared:
        planned = await prepared.preview()
        if args.form == "text":
            print(_planned(planned, style_for(sys.stdout, args.color)))
        if args.preview or not (args.yes or _confirmed()):
            if args.form != "text":
                print_data(planned, args.form)
            return EXIT["success"]
        return await _put_back(session, prepared, args)


async def _put_back(session: Session, prepared: Rewinding, args: argparse.Namespace) -> int:
    done = await prepared.put_back()
    if args.form != "text":
        print_data(done, args.form)
        return EXIT["success"]
    print(f"Put back. What was there is kept in the run's repository as {done.rescue[:12]}.")
    if known_run(session, args.run).status == "success":
        print(f"A run that succeeded is not resumed. Go on from there with: ooda runs fork {args.run} --at {args.to}")
    else:
        print(f"Go on with: ooda runs resume {args.run}")
    return EXIT["success"]


def _planned(planned: Restoration, paint: Style) -> str:
    lines = [paint(f"  ~ {path}", "yellow") for path in planned.written]
    lines += [paint(f"  - {path}", "red") for path in planned.removed]
    lines += [paint(f"  = {path} stays as it is", "dim") for path in planned.kept]
    return "\n".join(lines) or "Nothing differs from what it was then."


def _confirmed() -> bool:
    print("Put this back? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def diff(args: argparse.Namespace) -> int:
    """Two runs beside each other."""
    with session_for(args) as session:
        found = asyncio.run(compare_runs(session, args.left, args.right))
    if args.form != "text":
        print_data(found, args.form)
        return EXIT["success"]
    paint = style_for(sys.stdout, args.color)
    print(_drawn(found, paint, args.width or shutil.get_terminal_size((120, 24)).columns, everything=args.all))
    return EXIT["success"]


def _drawn(found: Difference, paint: Style, width: int, *, everything: bool) -> str:
    half = max(20, (width - 3) // 2)

    def row(left: str, right: str, *look: str) -> str:
        return paint(f"{_fit(left, half):<{half}}", *look) + " │ " + paint(_fit(right, half), *look)

    rule = "─" * half + "─┼─" + "─" * half
    lines = [row(found.left, found.right, "bold"), rule]
    for fact in found.facts:
        look = () if fact.left == fact.right else ("yellow",)
        name, shown = (fact.name, str) if fact.name != "cost_nano" else ("cost", lambda nano: amount(int(nano)))
        lines.append(row(f"{name:<12}{shown(fact.left)}", f"{name:<12}{shown(fact.right)}", *look))
    lines += [rule, f"The first {found.shared_events} events are the same."]
    same = 0
    for pair in found.lines:
        if pair.is_same and not everything:
            same += 1
            continue
        if same:
            lines.append(row(f"… {same} lines are the same", "…", "dim"))
            same = 0
        lines.append(row(pair.left, pair.right, *(() if pair.is_same else ("yellow",))))
    if same:
        lines.append(row(f"… {same} lines are the same", "…", "dim"))
    lines += [rule, *_workspace(found, paint)]
    return "\n".join(lines)


def _workspace(found: Difference, paint: Style) -> list[str]:
    if found.workspace is None:
        return [f"The workspaces are not compared: {found.unread}."]
    if not found.workspace.changes:
        return ["The workspaces are the same."]
    lines = [f"{len(found.workspace.changes)} files differ between the workspaces:"]
    for change in found.workspace.changes:
        lines.append(f"  {change.status} {change.path} +{max(0, change.insertions)} -{max(0, change.deletions)}")
    patch = found.workspace.text.splitlines()
    looks = {"+": "green", "-": "red", "@": "cyan"}
    lines += [paint(_plain(line), looks[line[0]]) if line[:1] in looks else _plain(line) for line in patch[:_SHOWN]]
    if len(patch) > _SHOWN:
        lines.append(f"… {len(patch) - _SHOWN} more lines (`--json` has them)")
    return lines


def _plain(text: str) -> str:
    """What a terminal would obey is shown as blanks: models and files wrote this."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _fit(text: str, width: int) -> str:
    text = _plain(text)
    return text if len(text) <= width else text[: width - 1] + "…"
