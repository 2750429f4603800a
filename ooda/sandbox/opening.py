"""Which wall a run gets: docker, else bubblewrap, else a refusal that names what failed and how to mend it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ooda.errors import SandboxError
from ooda.sandbox.bubblewrap import open_bubblewrap
from ooda.sandbox.docker import open_docker
from ooda.sandbox.owners import Mark, this_process
from ooda.sandbox.protocol import Sandbox, SandboxSpec
from ooda.sandbox.unwalled import open_unwalled

__all__ = ["Audit", "open_sandbox"]

Audit = Callable[[str, Mapping[str, object]], None]
"""Takes the name of what happened and its facts; called on the event loop's thread."""


def _no_audit(what: str, facts: Mapping[str, object]) -> None:
    del what, facts


async def open_sandbox(spec: SandboxSpec, *, cache_dir: Path, audit: Audit = _no_audit) -> Sandbox:
    """An open sandbox as `spec` asks, made of the strongest wall that works here.

    Raises:
        SandboxError: no wall works; the message says for each which probe failed and what mends it.
    """
    if not spec.workspace.is_dir():
        raise SandboxError(f"the workspace {spec.workspace} is not a folder; make it before opening a sandbox")
    mark = Mark(f"ooda-{os.urandom(6).hex()}", spec.run, this_process())
    if spec.backend == "none":
        audit("sandbox.none", {"run": spec.run, "workspace": str(spec.workspace)})
        return await open_unwalled(spec, mark, cache_dir / "sandboxes" / mark.name)
    failures = []
    if spec.backend in ("auto", "docker"):
        try:
            return await open_docker(spec, mark)
        except SandboxError as error:
            failures.append(f"docker: {error}")
    if spec.backend in ("auto", "bubblewrap"):
        try:
            return await open_bubblewrap(spec, mark, cache_dir)
        except SandboxError as error:
            failures.append(f"bubblewrap: {error}")
    raise SandboxError("no sandbox works on this machine. " + "; ".join(failures), failures=tuple(failures))
