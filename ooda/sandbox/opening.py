"""Which wall a run gets: docker, else bubblewrap, else a refusal that names what failed and how to mend it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ooda.errors import SandboxError
from ooda.sandbox.bubblewrap import open_bubblewrap
from ooda.sandbox.docker import connect, examine, open_docker
from ooda.sandbox.egress import Audit
from ooda.sandbox.owners import Mark, this_process
from ooda.sandbox.protocol import Backend, Probe, Sandbox, SandboxSpec
from ooda.sandbox.reaper import reap
from ooda.sandbox.selftest import cached_result, keep_result, run_selftest, selftest_key
from ooda.sandbox.session import OpenSandbox
from ooda.sandbox.site import prepare_site
from ooda.sandbox.unwalled import open_unwalled

__all__ = ["ignore_audit", "open_sandbox", "probe_backends"]

_WALLS: tuple[Backend, ...] = ("docker", "bubblewrap")
_reaped: set[Path] = set()
"""Caches whose leavings this process has looked for already."""


def ignore_audit(what: str, facts: Mapping[str, object]) -> None:
    """The audit of whoever keeps none."""
    del what, facts


async def open_sandbox(spec: SandboxSpec, *, cache_dir: Path, audit: Audit = ignore_audit) -> Sandbox:
    """An open sandbox as `spec` asks, made of the strongest wall that works here and holds its self-test.

    Args:
        cache_dir: keeps records of open sandboxes, self-test results and generated files between runs.
        audit: takes the name of what happened and its facts; called on the event loop's thread.

    Raises:
        SandboxError: no wall works; the message says for each which probe failed and what mends it.
        ConfigError: `spec.network` names something that is not a host.
    """
    if sys.platform != "linux":
        raise SandboxError(
            "the sandbox is made of Linux namespaces, whichever backend; run this inside a Linux machine or container",
            probe="linux",
        )
    if not spec.workspace.is_dir():
        raise SandboxError(f"the workspace {spec.workspace} is not a folder; make it before opening a sandbox")
    spec = msgspec.structs.replace(spec, workspace=await asyncio.to_thread(spec.workspace.resolve))
    await asyncio.to_thread(spec.spool.mkdir, parents=True, exist_ok=True)
    if cache_dir not in _reaped:
        _reaped.add(cache_dir)
        for name in await reap(cache_dir):
            audit("sandbox.reaped", {"sandbox": name})
    if spec.backend == "none":
        audit("sandbox.none", {"run": spec.run, "workspace": str(spec.workspace)})
        return await _open(spec, "none", cache_dir, audit)
    if spec.runtime is not None and spec.backend == "bubblewrap":
        raise SandboxError(
            f"bubblewrap has no runtimes, and {spec.runtime!r} was asked for; use docker, or leave it unset",
            probe="bubblewrap runtime",
        )
    failures: list[Probe] = []
    # Who asks for a runtime asks for its wall: bubblewrap would be another one.
    walls = ("docker",) if spec.runtime is not None else _WALLS
    for backend in walls if spec.backend == "auto" else (spec.backend,):
        try:
            sandbox = await _open(spec, backend, cache_dir, audit)
        except SandboxError as error:
            failures.append(_failed(backend, error))
            continue
        if failures:
            audit("sandbox.fallback", {"run": spec.run, "backend": backend, "because": failures[0].detail})
        return sandbox
    raise SandboxError(_refusal(failures), probes=tuple(failures))


async def probe_backends(cache_dir: Path) -> tuple[Probe, ...]:
    """What works on this machine, tried now and not from the cache: for `ooda doctor`. Takes about 2 s."""
    probes: list[Probe] = []
    workspace = cache_dir / f"probe-{os.urandom(6).hex()}"
    workspace.mkdir(parents=True)
    try:
        for backend in _WALLS:
            spec = SandboxSpec(run="doctor", workspace=workspace, spool=workspace, backend=backend)
            try:
                sandbox = await _open(spec, backend, cache_dir, ignore_audit, fresh=True)
            except SandboxError as error:
                probes.append(_failed(backend, error))
                continue
            await sandbox.close()
            report = sandbox.report
            missing = f"; this machine cannot give: {', '.join(report.missing)}" if report.missing else ""
            probes.append(Probe(backend, True, f"{report.image}, ready in {report.ready_ms} ms{missing}"))
            probes += [msgspec.structs.replace(probe, name=f"{backend}: {probe.name}") for probe in report.probes]
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    return tuple(probes)


async def _open(
    spec: SandboxSpec, backend: Backend, cache_dir: Path, audit: Audit, *, fresh: bool = False
) -> OpenSandbox:
    """One backend, opened and tested. Raises SandboxError with the facts `probe` and `fix`."""
    engine, identity, program, shift = None, "", "", 0
    if backend == "docker":
        engine = connect()
        facts = await examine(engine)
        identity, shift = facts.identity, facts.shift
        if spec.runtime is not None and spec.runtime not in facts.runtimes:
            raise SandboxError(
                f"the Docker Engine knows no runtime {spec.runtime!r}; it has {', '.join(facts.runtimes)}",
                probe="docker runtime",
                fix=f"install {spec.runtime} and name it in the engine's daemon.json, or leave the runtime unset",
            )
    elif backend == "bubblewrap":
        program, identity = await _bubblewrap()
    mark = Mark(f"ooda-{os.urandom(6).hex()}", spec.run, this_process())
    site, wall = await prepare_site(spec, mark, backend, cache_dir, audit, shift=shift)
    try:
        if engine is not None:
            sandbox = await open_docker(spec, site, wall, engine)
        elif backend == "bubblewrap":
            sandbox = await open_bubblewrap(spec, site, wall, program)
        else:
            return await open_unwalled(spec, site, wall)
        return await _tested(sandbox, spec, identity, cache_dir, fresh=fresh)
    except BaseException:
        await asyncio.shield(wall.destroy())
        raise


async def _tested(
    sandbox: OpenSandbox, spec: SandboxSpec, identity: str, cache_dir: Path, *, fresh: bool
) -> OpenSandbox:
    report = sandbox.report
    key = selftest_key(report.backend, identity, report.digest, str(spec.runtime), ",".join(report.missing))
    probes = None if fresh else cached_result(cache_dir, key)
    if probes is None:
        probes = await run_selftest(sandbox)
        failed = next((probe for probe in probes if not probe.ok), None)
        if failed is not None:
            await sandbox.close()
            raise SandboxError(
                f"the sandbox opened but did not hold its self-test `{failed.name}`: {failed.detail}",
                probe=failed.name,
                fix="use another backend, or another engine configuration",
            )
        keep_result(cache_dir, key, probes)
    return sandbox.with_report(msgspec.structs.replace(report, probes=probes))


async def _bubblewrap() -> tuple[str, str]:
    """The program, and what identifies it."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError(
            "bubblewrap (`bwrap`) is not installed",
            probe="bubblewrap program",
            fix="as root on Debian or Ubuntu: apt-get install -y bubblewrap",
        )
    process = await asyncio.create_subprocess_exec(program, "--version", stdout=asyncio.subprocess.PIPE)
    version, _ = await process.communicate()
    return program, version.decode("utf-8", "replace").strip()


_NAMESPACE_WORDS = ("namespace", "uid map", "Operation not permitted", "No space left on device")


def _failed(backend: str, error: SandboxError) -> Probe:
    name = str(error.facts.get("probe") or backend)
    fix = str(error.facts.get("fix") or "")
    if backend == "bubblewrap" and not fix and any(word in str(error) for word in _NAMESPACE_WORDS):
        name = "user namespaces"
        fix = (
            "allow unprivileged user namespaces: sysctl -w kernel.unprivileged_userns_clone=1 "
            "user.max_user_namespaces=15000 and, on Ubuntu, kernel.apparmor_restrict_unprivileged_userns=0"
        )
    return Probe(name if name.startswith(backend) else f"{backend}: {name}", False, str(error), fix)


def _refusal(failures: list[Probe]) -> str:
    said = "; ".join(
        f"{probe.name}: {probe.detail}" + (f" (to mend it: {probe.fix})" if probe.fix else "") for probe in failures
    )
    return (
        f"no sandbox works here, and nothing runs without one: {said}. "
        "`ooda doctor` shows every probe; `sandbox.backend = none` runs without a wall, on your own risk."
    )
