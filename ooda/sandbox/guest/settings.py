"""What `hello` says about this sandbox: fixed for its life."""

from __future__ import annotations

from typing import Any

__all__ = ["Settings"]


class Settings:
    """The host's orders to the helper; KeyError when one is missing."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.mode: str = facts["mode"]
        """How commands are held: see `minder.Confinement.mode`."""
        self.workspace: str = facts["workspace"]
        self.home: str = facts["home"]
        self.state_dir: str = facts["state_dir"]
        """Where a command saves directory and variables; writable by commands, small."""
        self.uid: int = facts["uid"]
        self.gid: int = facts["gid"]
        self.env: dict[str, str] = facts["env"]
        self.rlimits: dict[str, int] = facts["rlimits"]
        self.nice: int = facts["nice"]
        self.pin_cpus: bool = facts["pin_cpus"]
        """Commands may not change their CPU affinity: it is their CPU cap."""
        self.watch_memory_bytes: int | None = facts["watch_memory_bytes"]
        """Ceiling for all processes together where no cgroup holds it."""
        self.disk_bytes: int = facts["disk_bytes"]
        self.entries: dict[str, int] = facts["entries"]
        """Temporary folder -> how many files it may hold."""
        self.background: int = facts["background"]
        self.writable: list[str] = facts["writable"]
        """Folders besides the usual ones in which commands may write."""
        self.direct: list[str] = facts["direct"]
        """Names that programs are told to reach without the proxy."""
        self.egress_socket: str | None = facts["egress_socket"]
        """Where the host's proxy listens; None without a network."""
