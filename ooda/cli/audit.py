"""`ooda audit verify`: check the chain, and say what it cannot prove."""

from __future__ import annotations

import argparse

from ooda.cli.data import print_data
from ooda.cli.exits import EXIT
from ooda.cli.settings import session_for
from ooda.governance.audit import verify as verify_audit

__all__ = ["verify"]


def verify(args: argparse.Namespace) -> int:
    """Findings, one a line; exit code 1 when there are any."""
    with session_for(args) as session:
        has_anchors, place = session.anchors is not None, session.places.state / "audit.anchors"
        key = session.places.config / "audit.key"
        report = verify_audit(session.store, session.anchors, session.audit_key(make=False))
    if args.form != "text":
        print_data(report, args.form)
    else:
        for finding in report.findings:
            print(f"row {finding.seq}: {finding.kind}: {finding.message}")
        verdict = "intact" if report.is_clean else f"{len(report.findings)} findings"
        print(f"audit: {report.rows} rows, {verdict}")
        for sentence in report.cannot_prove:
            print(f"not proven: {sentence}")
        if not has_anchors:
            print(f"next: runs write anchors to {place}; keep copies of it and of {key} on another machine")
    return EXIT["success"] if report.is_clean else EXIT["failed"]
