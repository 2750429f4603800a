"""Asks the operator's hooks: child processes of this one, JSON in, an answer out, a deadline each.

A hook runs on the host as the operator, in a process group of its own, with a bare environment and none of ours: what
it needs it fetches itself. Whatever goes wrong with it is a refusal. Every answer but a plain yes is audited.
Knows processes and the audit; what an answer means is `ooda.governance.hooks`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ooda.api.session import Session
from ooda.errors import ConfigError, RefusedError
from ooda.governance.approval import escape
from ooda.governance.audit import AuditFact
from ooda.governance.audit import append as append_audit
from ooda.governance.hooks import MOST_BYTES, Hook, HookEvent, HookSaid, answer_of, digest_of, merged, read_hooks

__all__ = ["HookRunner", "hooks_for"]

_KEPT = ("HOME", "PATH", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR")
"""What of our environment a hook gets: no keys, no tokens."""
_DRAIN_S = 0.5
"""How long a hook's pipes are read after its end, when something it left behind holds them open."""


def hooks_for(session: Session, run: str, agent: str, workspace: Path) -> HookRunner | None:
    """The hooks of the settings, for one run; None when there are none.

    Raises:
        ConfigError: the file has mistakes, or a hook's program lies where the agent can write.
    """
    file = session.settings.governance.hooks_file
    if file is None:
        return None
    hooks = read_hooks(Path(file).expanduser())
    for hook in hooks:
        program = Path(hook.command[0])
        if program.resolve().is_relative_to(workspace.resolve()):
            raise ConfigError(
                f"hook `{hook.name}` runs {str(program)!r}, which lies in the workspace {str(workspace)!r}: the agent "
                "could change it. Keep hooks outside"
            )
    return HookRunner(session, hooks, run, agent, workspace) if hooks else None


class HookRunner:
    """Implements `ooda.governance.hooks.Hooks` for one run."""

    def __init__(self, session: Session, hooks: tuple[Hook, ...], run: str, agent: str, workspace: Path) -> None:
        self.digest = digest_of(hooks)
        self._session = session
        self._hooks = hooks
        self._common = {"session_id": run, "agent": agent, "cwd": str(workspace)}

    def concern(self, event: HookEvent, tool: str = "") -> bool:
        return any(hook.concerns(event, tool) for hook in self._hooks)

    async def ask(self, event: HookEvent, tool: str, facts: Mapping[str, Any]) -> HookSaid:
        concerned = [hook for hook in self._hooks if hook.concerns(event, tool)]
        if not concerned:
            return HookSaid()
        payload = {"hook_event_name": event, **self._common, **facts}
        encoded = self._session.redactor.redact(msgspec.json.encode(payload).decode()).text.encode()
        answers = await asyncio.gather(*(self._one(hook, encoded) for hook in concerned))
        said = [self._clean(answer) for answer in answers]
        await self._audit(event, tool, said)
        return merged(said)

    async def begin(self, source: Literal["startup", "resume"], prompt: str = "") -> None:
        """Ask whether the run may begin or go on.

        Args:
            prompt: What a person wants of a new run; empty where nobody said anything.

        Raises:
            RefusedError: a hook says no.
        """
        said = await self.ask("SessionStart", "", {"source": source})
        if said.decision == "allow" and prompt:
            said = await self.ask("UserPromptSubmit", "", {"prompt": prompt})
        if said.decision != "allow":
            raise RefusedError(f"hook `{said.hook}` does not let this run begin: {said.reason}", hook=said.hook)

    async def end(self, status: str, reason: str) -> None:
        """Tell that the run has stopped or waits, and that this process leaves it; nothing said to it matters."""
        await self.ask("Stop", "", {"status": status, "reason": reason})
        await self.ask("SessionEnd", "", {"reason": status})

    async def _one(self, hook: Hook, payload: bytes) -> HookSaid:
        environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                *hook.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environ,
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return HookSaid("deny", f"`{hook.command[0]}` cannot be started: {error}", hook.name)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        reading = [asyncio.ensure_future(_read(stream)) for stream in (process.stdout, process.stderr)]
        try:
            async with asyncio.timeout(hook.timeout_s):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it does not want to read: its right
                    process.stdin.write(payload)
                    await process.stdin.drain()
                    process.stdin.close()
                await _ended(process.pid)
            _kill(process.pid)  # what it forked goes with it
            await asyncio.wait(reading, timeout=_DRAIN_S)
            if not all(task.done() for task in reading):
                return HookSaid("deny", "something it started still holds its output open", hook.name)
            code = await process.wait()
            return answer_of(hook.name, code, reading[0].result(), reading[1].result())
        except TimeoutError:
            return HookSaid("deny", f"it gave no answer in {hook.timeout_s:g} s", hook.name)
        finally:
            if process.returncode is None:
                _kill(process.pid)
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await process.wait()
            process._transport.close()  # type: ignore[attr-defined]  # or a pipe that is held open stays in the loop

    def _clean(self, said: HookSaid) -> HookSaid:
        """Its words redacted, and without characters that steer a terminal."""
        return msgspec.structs.replace(said, reason=escape(self._session.redactor.redact(said.reason).text))

    async def _audit(self, event: HookEvent, tool: str, answers: list[HookSaid]) -> None:
        facts = [
            AuditFact(
                at_ns=self._session.clock.now_ns(),
                actor=f"hook {said.hook}",
                action="hook",
                run=self._common["session_id"],
                subject=tool or event,
                decision=said.decision,
                reason=said.reason,
                details={"event": event},
            )
            for said in answers
            if said.decision != "allow"
        ]
        if facts:
            await self._session.store.write(lambda tx: append_audit(tx, *facts))


async def _read(stream: asyncio.StreamReader) -> bytes:
    """What a hook writes; of more than it may, just enough to know that."""
    data = bytearray()
    while chunk := await stream.read(8192):
        if len(data) <= MOST_BYTES:
            data += chunk
    return bytes(data)


async def _ended(pid: int) -> None:
    """Wait for a child's own end; asyncio's `wait` also waits for whoever holds its pipes open."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # ended and reaped
        return
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
