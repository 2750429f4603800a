"""Hooks: programs of the operator's own that are asked before and after things happen, and may only tighten.

    PreToolUse, PermissionRequest   may refuse a call, or have a person asked
    PostToolUse, PostToolUseFailure may withhold a result from the model
    SessionStart, SubagentStart     may refuse to begin
    UserPromptSubmit                may refuse what a person says to the run
    PreCompact, Notification, SubagentStop, Stop, SessionEnd   are told

What a hook answers is read here, and a hook that crashes, is late or says something else has refused. Which hooks
there are stands in a file of the operator's; a project's own files name none. Knows words; starts no process.
Source: the names and the exit code 2 are those of Claude Code's hooks, which other agents share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import msgspec

from ooda.errors import ConfigError
from ooda.governance.globs import compile_globs
from ooda.governance.operations import Answer, strictest
from ooda.governance.settings_file import hint, read_toml, refuse_unknown

__all__ = ["MOST_BYTES", "Hook", "HookEvent", "HookSaid", "Hooks", "answer_of", "digest_of", "merged", "read_hooks"]

HookEvent = Literal[
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PermissionRequest",
    "PostToolUse",
    "PostToolUseFailure",
    "PreCompact",
    "Notification",
    "SubagentStart",
    "SubagentStop",
    "Stop",
    "SessionEnd",
]
MOST_BYTES: Final = 65_536
"""A hook that writes more has not answered."""
_REASON: Final = 2_000
_LONGEST_S: Final = 60


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """One program, and when it is asked."""

    name: str
    events: tuple[HookEvent, ...]
    tools: tuple[str, ...] = ("*",)
    """Globs for the tool's name; events without a tool are not held against them."""
    command: tuple[str, ...]
    """Program, by its absolute path, and arguments. No shell reads it."""
    timeout_s: float = 5.0

    def concerns(self, event: HookEvent, tool: str) -> bool:
        """Whether it is asked about this event of this tool."""
        return event in self.events and (not tool or compile_globs(list(self.tools))(tool))


class HookSaid(msgspec.Struct, frozen=True):
    """What the hooks say together: the strictest answer, and whose it is."""

    decision: Answer = "allow"
    reason: str = ""
    hook: str = ""


class Hooks(Protocol):
    """Whoever asks the hooks."""

    @property
    def digest(self) -> str:
        """Changes with every change of a hook; approvals are bound to it."""
        ...

    def concern(self, event: HookEvent, tool: str = "") -> bool:
        """Whether any hook is asked about this event of this tool."""
        ...

    async def ask(self, event: HookEvent, tool: str, facts: Mapping[str, Any]) -> HookSaid:
        """Ask all hooks concerned, at once; answers, also failures, within their deadlines."""
        ...


def read_hooks(path: Path) -> tuple[Hook, ...]:
    """The hooks of a file, in its order.

    Raises:
        ConfigError: the file cannot be read or understood, or may be changed by others than its owner.
    """
    where = f"hooks file `{path}`"
    document = read_toml(path, where)
    if path.stat().st_mode & 0o022:
        raise ConfigError(f"{where}: others may write it, and what it names runs as you; `chmod go-w {path}`")
    refuse_unknown(document, ("hook",), where)
    entries = document.get("hook", [])
    if not isinstance(entries, list):
        raise ConfigError(f"{where}: `hook` is a single table; write `[[hook]]` with two brackets")
    hooks = tuple(_hook(entry, f"{where}, hook {number}") for number, entry in enumerate(entries, 1))
    for number, hook in enumerate(hooks):
        if any(other.name == hook.name for other in hooks[:number]):
            raise ConfigError(f"{where}: there are two hooks named `{hook.name}`; rename one")
    return hooks


def _hook(entry: Mapping[str, Any], where: str) -> Hook:
    refuse_unknown(entry, ("name", "events", "tools", "command", "timeout"), where)
    for event in entry.get("events", ()):
        if event not in (known := get_args(HookEvent)):
            raise ConfigError(f"{where}: there is no event {event!r}; {hint(str(event), known)}")
    given = {name: value for name, value in entry.items() if name != "timeout"}
    if "timeout" in entry:
        given["timeout_s"] = float(entry["timeout"]) if isinstance(entry["timeout"], int | float) else entry["timeout"]
    try:
        hook = msgspec.convert(given, Hook)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error
    if not hook.name or not hook.events or not hook.command:
        raise ConfigError(f"{where}: `name`, `events` and `command` each need something in them")
    if not 0 < hook.timeout_s <= _LONGEST_S:
        raise ConfigError(f"{where}: `timeout` is {hook.timeout_s:g}; expected up to {_LONGEST_S} seconds")
    if not Path(hook.command[0]).is_absolute():
        raise ConfigError(f"{where}: `command` begins with {hook.command[0]!r}; write the program's absolute path")
    try:
        compile_globs(list(hook.tools))
    except ValueError as error:
        raise ConfigError(f"{where}: `tools`: {error}") from error
    return hook


class _Specific(msgspec.Struct, frozen=True, rename="camel"):
    permission_decision: Answer | None = None
    permission_decision_reason: str = ""


class _Output(msgspec.Struct, frozen=True, rename="camel"):
    """What a hook may print: our own form, and that of Claude Code's hooks."""

    decision: Literal["allow", "approve", "ask", "deny", "block"] | None = None
    reason: str = ""
    hook_specific_output: _Specific | None = None


_WORDS: Final[dict[str, Answer]] = {
    "allow": "allow",
    "approve": "allow",
    "ask": "ask",
    "deny": "deny",
    "block": "deny",
}


def answer_of(name: str, code: int, out: bytes, err: bytes) -> HookSaid:
    """What a hook's end means. Exit 0 and nothing printed has no objection; 2 refuses; any other end has failed."""
    if len(out) > MOST_BYTES or len(err) > MOST_BYTES:
        return HookSaid("deny", f"it wrote more than {MOST_BYTES:,} bytes, which is no answer", name)
    if code == 2:
        return HookSaid("deny", _text(err) or "it refused without a word", name)
    if code != 0:
        return HookSaid("deny", f"it ended with exit code {code}: {_text(err) or 'no word'}", name)
    if not out.strip():
        return HookSaid("allow", "", name)
    try:
        said = msgspec.json.decode(out, type=_Output)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return HookSaid("deny", 'it printed something else than {"decision": "allow" | "ask" | "deny"}', name)
    specific = said.hook_specific_output
    words = [word for word in (said.decision, specific.permission_decision if specific else None) if word is not None]
    decision = strictest(_WORDS[word] for word in words)
    reason = said.reason or (specific.permission_decision_reason if specific else "")
    return HookSaid(decision, _cut(reason) or (f"it answered `{decision}`" if decision != "allow" else ""), name)


def merged(answers: list[HookSaid]) -> HookSaid:
    """The strictest of all answers; of equals the first."""
    worst = strictest(said.decision for said in answers)
    return next((said for said in answers if said.decision == worst), HookSaid())


def digest_of(hooks: tuple[Hook, ...]) -> str:
    """One hash over all hooks; empty without any."""
    return hashlib.sha256(msgspec.json.encode(hooks)).hexdigest() if hooks else ""


def _text(data: bytes) -> str:
    return _cut(data.decode(errors="replace").strip())


def _cut(text: str) -> str:
    left = len(text) - _REASON
    return text if left <= 0 else f"{text[:_REASON]} … ({left} more characters)"
