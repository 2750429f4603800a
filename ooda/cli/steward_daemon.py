"""`ooda steward daemon`: the passes at their times, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack

from ooda.api.session import Session
from ooda.api.steward.daemon import StewardDaemon
from ooda.api.steward.endpoint import serve_texts
from ooda.api.steward.looks import deployment_of
from ooda.api.steward.open import coder_client
from ooda.cli.exits import EXIT
from ooda.cli.steward import session_of
from ooda.errors import ConfigError

__all__ = ["daemon"]


def daemon(args: argparse.Namespace) -> int:
    """Run until it is told to stop; a clean stop is a success."""
    if args.metrics_port is not None and not 0 <= args.metrics_port <= 65_535:
        raise ConfigError(f"`--metrics-port {args.metrics_port}`: expected a port from 0 to 65535")
    with session_of(args) as session:
        asyncio.run(_run(session, args))
    return EXIT["success"]


async def _run(session: Session, args: argparse.Namespace) -> None:
    async with coder_client(session.settings):
        pass  # a missing address or token is said at once, not at the first pass
    made = StewardDaemon(session, lambda: coder_client(session.settings), deployment_of(session), write=_write)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, made.stop, f"interrupted by {signal.Signals(number).name}")
    async with AsyncExitStack() as stack:
        if args.metrics_port is not None:
            texts = {
                "/metrics": made.exposition,
                "/health": lambda: _standing(made),
            }
            port = await stack.enter_async_context(serve_texts(args.metrics_port, texts))
            print(f"Metrics are served on http://127.0.0.1:{port}/metrics", file=sys.stderr, flush=True)
        await made.run(once=args.once)


def _standing(made: StewardDaemon) -> str:
    return "leading\n" if made.is_leading else "standing by\n"


def _write(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
