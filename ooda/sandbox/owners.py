"""Who made a sandbox: this process, told apart from every other that had or will have its number.

A container, a cgroup or a folder carries this mark; the reaper removes it when its owner is gone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

__all__ = ["Mark", "Owning", "is_alive", "maker_of", "making_name", "this_process"]


class Owning(msgspec.Struct, frozen=True):
    """A process of one boot of one machine (or of one pid namespace on it)."""

    pid: int
    started: int
    """Clock ticks after boot: with the pid unique for the life of the machine."""
    boot: str
    namespace: str
    """Inode of the pid namespace in which `pid` is a number."""


class Mark(msgspec.Struct, frozen=True):
    """What stands on everything that belongs to one sandbox."""

    name: str
    run: str
    owner: Owning

    def labels(self) -> dict[str, str]:
        """As container labels."""
        return {
            "ooda.sandbox": self.name,
            "ooda.run": self.run,
            "ooda.owner.pid": str(self.owner.pid),
            "ooda.owner.started": str(self.owner.started),
            "ooda.owner.boot": self.owner.boot,
            "ooda.owner.namespace": self.owner.namespace,
        }


def this_process() -> Owning:
    """The calling process."""
    return Owning(os.getpid(), _started(os.getpid()) or 0, _boot(), _namespace())


_MAKING = re.compile(r".+\.making-(\d+)-(\d+)-(\d+)-([0-9a-f-]{36})-[0-9a-f]{8}\Z", re.DOTALL)


def making_name(name: str) -> str:
    """A name for what will be called `name` once it is whole: it says who makes it, so that half of it can be
    removed when that process is gone. Another one at every call."""
    me = this_process()
    namespace = "".join(filter(str.isdigit, me.namespace))
    return f"{name}.making-{me.pid}-{me.started}-{namespace}-{me.boot}-{os.urandom(4).hex()}"


def maker_of(name: str) -> Owning | None:
    """Who makes what is called `name`, None when it is not being made but whole."""
    found = _MAKING.match(name)
    if found is None:
        return None
    return Owning(int(found[1]), int(found[2]), found[4], f"pid:[{found[3]}]")


def is_alive(owner: Owning) -> bool:
    """Whether `owner` still runs. A process of another pid namespace counts as alive: it cannot be seen from here."""
    if owner.boot != _boot():
        return False
    if owner.namespace != _namespace():
        return True
    return _started(owner.pid) == owner.started


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _started(pid: int) -> int | None:
    """When a process started, None when there is none (a zombie counts as none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])
