"""`ooda fake coder`: a Coder deployment on this machine, for trying the steward and for other people's tests."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from ooda.cli.exits import EXIT
from ooda.errors import ConfigError
from ooda.testing.fake_coder import serve
from ooda.testing.fake_coder.faults import FaultKind

__all__ = ["coder"]

_MOST = 200_000
_FAULTS: tuple[FaultKind, ...] = ("429", "500", "502", "reset_before", "reset_after", "truncated", "slow")


def coder(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    if not 0 <= args.workspaces <= _MOST:
        raise ConfigError(f"`--workspaces {args.workspaces}`: a fake fleet has 0 to {_MOST:,} workspaces")
    if not 0 <= args.faults <= 1:
        raise ConfigError(f"`--faults {args.faults}`: expected a share from 0 to 1, as 0.1")
    if args.build_time is not None and not 0 <= args.build_time <= 3_600:
        raise ConfigError(f"`--build-time {args.build_time}`: expected seconds, from 0 to 3600")
    spec = Path(args.spec) if args.spec else None
    if spec is not None and not spec.is_file():
        raise ConfigError(f"`--spec {args.spec}` is no file")
    try:
        asyncio.run(_serve(args, spec))
    except OSError as error:
        raise ConfigError(f"port {args.port} cannot be served: {error.strerror}; leave `--port` out") from error
    return EXIT["success"]


async def _serve(args: argparse.Namespace, spec: Path | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    builds = {"build_s": (args.build_time, args.build_time)} if args.build_time is not None else {}
    async with serve(args.workspaces, args.seed, port=args.port, spec=spec, **builds) as fake:
        fake.faults.at_random(args.faults, _FAULTS, args.seed)
        if args.json:
            sys.stdout.write(msgspec.json.encode({"url": fake.url, "token": fake.token}).decode() + "\n")
        else:
            print(f"export CODER_URL={fake.url}\nexport CODER_TOKEN={fake.token}")
            print(
                f"A made-up deployment with {args.workspaces} workspaces; nothing in it is real. Ctrl-C ends it.",
                file=sys.stderr,
            )
        sys.stdout.flush()
        await stopping.wait()
        for violation in dict.fromkeys(fake.violations):
            print(f"violation: {violation}", file=sys.stderr)
