"""The self-test of an open sandbox: it tries what must not work, from inside, and looks at the result.

A wall that was never leaned on is a hope. The result is cached per engine, image and configuration, because
it takes half a second and those do not change between two runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import msgspec

from ooda.sandbox.launch import guest_folder
from ooda.sandbox.protocol import Probe, Sandbox

__all__ = ["cached_result", "keep_result", "run_selftest", "selftest_key"]

_MARKER = ".ooda-selftest"
_OUTSIDE = ("/", "/usr", "/etc", "/usr/bin", "/.ooda/guest")

# Plain shell over /proc: the test must not depend on what the image offers.
_LOOK = f"""
echo uid $(id -u)
while read name value rest; do
    case $name in NoNewPrivs:|CapEff:|CapPrm:|Seccomp:) echo $name $value;; esac
done </proc/self/status
for folder in {" ".join(_OUTSIDE)}; do ( : >$folder/{_MARKER} ) 2>/dev/null && echo wrote $folder; done
tail -n +2 /proc/net/route 2>/dev/null | while read interface rest; do echo route $interface; done
while read a b c d e f g h i interface; do
    case $interface in lo) ;; *) echo route $interface;; esac
done </proc/net/ipv6_route 2>/dev/null
echo done
"""
_STUBBORN = "trap '' TERM HUP; (setsid sleep 60 &) ; (sleep 60 &) ; sleep 60"
_STUBBORN_S = 0.3
_OVERSHOOT_S = 1.0


async def run_selftest(sandbox: Sandbox) -> tuple[Probe, ...]:
    """What the sandbox holds against, tried from inside. Takes about half a second."""
    look = await sandbox.exec(_LOOK, timeout_s=20, persist=False, cwd=".")
    words = [line.split() for line in look.output.head.splitlines()]
    facts = {word[0].rstrip(":"): word[1] for word in words if len(word) > 1 and word[0] not in ("wrote", "route")}
    wrote = [word[1] for word in words if word[0] == "wrote"]
    wrote += await asyncio.to_thread(_marked)
    routes = sorted({word[1] for word in words if word[0] == "route"})
    finished = ["done"] in words
    capabilities = int(facts.get("CapEff", "1"), 16) | int(facts.get("CapPrm", "1"), 16)
    uid = facts.get("uid", "0")
    stubborn = await sandbox.exec(_STUBBORN, timeout_s=_STUBBORN_S, persist=False, cwd=".")
    left = (await sandbox.stats()).processes
    late = stubborn.duration_ms / 1000 - _STUBBORN_S
    return (
        Probe(
            "outside-write", finished and not wrote, f"wrote to {', '.join(wrote)}" if wrote else "refused everywhere"
        ),
        Probe("network", finished and not routes, f"routes by {', '.join(routes)}" if routes else "no route"),
        Probe("user", uid != "0", f"uid {uid}"),
        Probe("capabilities", capabilities == 0, f"{capabilities:#x}"),
        Probe("no-new-privileges", facts.get("NoNewPrivs") == "1", facts.get("NoNewPrivs", "unknown")),
        Probe("seccomp", facts.get("Seccomp") == "2", f"mode {facts.get('Seccomp', 'unknown')}"),
        Probe(
            "tree-kill",
            stubborn.timed_out and left == 0 and late <= _OVERSHOOT_S,
            f"{stubborn.killed} processes ended {late * 1000:.0f} ms after the time-out, {left} left",
        ),
    )


def _marked() -> list[str]:
    """Folders of the host in which the marker appeared after all."""
    return [f"the host's {folder}" for folder in _OUTSIDE if os.path.lexists(Path(folder, _MARKER))]


def selftest_key(*parts: str) -> str:
    """What a cached result is good for: engine, image, configuration, this helper, this kernel."""
    digest = hashlib.sha256()
    for source in sorted(Path(guest_folder()).glob("*.py")):
        digest.update(source.read_bytes())
    for part in (*parts, os.uname().release, str(os.geteuid() == 0)):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


def cached_result(cache_dir: Path, key: str) -> tuple[Probe, ...] | None:
    """The kept result under `key`, None when there is none that can be read."""
    try:
        return msgspec.json.decode((cache_dir / "selftest" / f"{key}.json").read_bytes(), type=tuple[Probe, ...])
    except (OSError, msgspec.DecodeError):
        return None


def keep_result(cache_dir: Path, key: str, probes: tuple[Probe, ...]) -> None:
    """Keep a result; replaced in one step, so that no reader sees half of it."""
    folder = cache_dir / "selftest"
    folder.mkdir(parents=True, exist_ok=True)
    making = folder / f"{key}.{os.getpid()}"
    making.write_bytes(msgspec.json.encode(probes))
    making.replace(folder / f"{key}.json")
