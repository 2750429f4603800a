"""`ooda runs`: list, show, replay, export."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from ooda.api.retention import sizes_of
from ooda.api.runs import entries_of, export_cassette, known_run, replay_run, summaries
from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.progress import Progress
from ooda.cli.settings import session_for
from ooda.cli.style import amount, style_for, table, when
from ooda.errors import ConfigError
from ooda.events import encode

__all__ = ["export", "list_runs", "replay", "show"]


def list_runs(args: argparse.Namespace) -> int:
    """Runs, the newest first."""
    with session_for(args) as session:
        found = summaries(session, limit=args.limit, status=args.status or "")
    if args.form != "text":
        print_data(found, args.form)
        return 0
    if not found:
        empty = f"No run has the status {args.status}." if args.status else "No runs yet."
        print(f"{empty} `ooda demo` makes one that needs no key." if not args.status else empty)
        return 0
    rows = [
        (s.run, s.agent, s.status, s.phase, str(s.steps), amount(s.cost_nano), when(s.updated_ns), s.title or s.task_id)
        for s in found
    ]
    head = ("run", "agent", "status", "phase", "steps", "cost", "last", "task")
    print(table(head, rows, style_for(sys.stdout, args.color)))
    return 0


def show(args: argparse.Namespace) -> int:
    """What a run did."""
    with session_for(args) as session:
        summary = known_run(session, args.run)
        entries = entries_of(session, args.run)
        sizes = sizes_of(session, args.run)
    if args.form == "jsonl" or args.events:
        for seq, entry in enumerate(entries):
            line = {
                "seq": seq,
                "at_ns": entry.at_ns,
                "label": str(entry.label),
                "event": msgspec.Raw(encode(entry.event)),
            }
            print(msgspec.json.encode(line).decode())
        return 0
    if args.form == "json":
        print_data(msgspec.structs.asdict(summary) | {"sizes": sizes}, args.form)
        return 0
    style = style_for(sys.stdout, args.color)
    progress = Progress(sys.stdout, style)
    for seq, entry in enumerate(entries):
        progress.heard(seq, entry)
    print()
    print(
        f"{summary.run} · {summary.status} · {summary.steps} steps · {amount(summary.cost_nano)} · "
        f"{summary.tokens:,} tokens"
    )
    print(
        f"journal: {sizes.events:,} events, {sizes.journal_bytes:,} bytes, chain intact · "
        f"{sizes.blobs} blobs, {sizes.blob_bytes:,} bytes · folder {sizes.folder_bytes:,} bytes · "
        f"begun {when(summary.created_ns)}"
    )
    return 0


def replay(args: argparse.Namespace) -> int:
    """Run the loop again over a recording and compare."""
    with session_for(args) as session:
        report = replay_run(session, args.run)
    if args.form != "text":
        shown = ("run", "events", "model_calls", "tool_calls", "divergence")
        print_data({name: getattr(report, name) for name in shown}, args.form)
    elif report.divergence is None:
        calls = f"{report.model_calls} model calls, {report.tool_calls} tool calls"
        print(f"{report.run}: {report.events} events, {calls}, no divergence")
    else:
        print(f"{report.run}: diverges at event {report.divergence.seq}:\n{report.divergence.what}")
    return EXIT["success"] if report.divergence is None else EXIT["failed"]


def export(args: argparse.Namespace) -> int:
    """Write a run out as a cassette."""
    with session_for(args) as session:
        lines = b"".join(export_cassette(session, args.run, nothing_to_redact=args.nothing_to_redact))
    if args.output == "-":
        sys.stdout.buffer.write(lines)
    else:
        try:
            Path(args.output).write_bytes(lines)
        except OSError as error:
            raise ConfigError(
                f"`{args.output}` cannot be written: {error.strerror}; name another file with `--output`, or leave it "
                "out for standard output"
            ) from error
        print(f"{args.output}: {len(lines):,} bytes", file=sys.stderr)
    return 0
