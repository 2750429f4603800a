"""The words of `ooda notices`. argparse only."""

from __future__ import annotations

from typing import Any

from ooda.cli.leaves import leaf, with_output, with_settings

__all__ = ["notice_commands"]


def notice_commands(commands: Any) -> None:
    """Add `ooda notices`."""
    notices = commands.add_parser("notices", help="what is on its way to people").add_subparsers(
        title="commands", metavar="COMMAND", required=True
    )
    channels = ("mail", "slack", "teams", "webhook")
    made = leaf(notices, "list", "notices:list_messages", "list messages, the newest first")
    made.add_argument("--state", choices=("waiting", "sending", "sent", "dead"), help="only these")
    made.add_argument("--channel", choices=channels, help="only over this channel")
    made.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50)")
    with_output(made)
    with_settings(made)
    made = leaf(notices, "show", "notices:show", "a message, what it tells and every attempt at it")
    made.add_argument("message", help="its id, or how it begins")
    with_output(made)
    with_settings(made)
    made = leaf(notices, "deliver", "notices:deliver_now", "deliver what is due")
    made.add_argument("--dry-run", action="store_true", help="only say what would go where")
    made.add_argument("--wait", type=float, metavar="SECONDS", help="go on so long with what becomes due")
    made.add_argument("--watch", action="store_true", help="go on until interrupted")
    with_output(made)
    with_settings(made)
    made = leaf(notices, "retry", "notices:retry", "try dead letters again")
    made.add_argument("messages", nargs="*", help="their ids (default: all dead letters)")
    made.add_argument("--channel", choices=channels, help="only those over this channel")
    with_output(made)
    with_settings(made)
    made = leaf(notices, "test", "notices:test", "send a test message")
    made.add_argument("channel", choices=channels)
    with_settings(made)
