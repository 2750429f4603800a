"""The prompt of a run as encoded bytes: rendered from events, appended once, byte-stable in its prefix. Pure.

A message is encoded when its event arrives and never again; a request is the pinned head and these bytes. Only a
Compacted event rewrites them. The order of results in the prompt is the order of the calls, whatever the order of
their completion in the journal. Bodies kept as blobs are opened through `text_of`, which the caller provides.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from ooda.events import (
    RUNTIME,
    ApprovalAnswered,
    Body,
    CallRefused,
    ChildStopped,
    Compacted,
    Event,
    Foreign,
    ModelReplied,
    Observed,
    PhaseEntered,
    RunStarted,
    SkillActivated,
    ToolCall,
    ToolInterrupted,
    ToolReturned,
    UserMessage,
    canonical,
)
from ooda.runtime.compaction import digest_text
from ooda.runtime.normalise import normalise
from ooda.runtime.prefix import CONTEXT_KINDS, chain, words_of

__all__ = ["Message", "Prompt", "request_digest"]


class Message(msgspec.Struct, frozen=True):
    """One encoded message and where it came from."""

    seq: int
    encoded: bytes
    digest: bytes
    """SHA-256 of the normalised text, for comparing requests across runs."""
    is_pinned: bool = False


class Prompt:
    """The messages of one run. Feed it every event of the journal, in order.

    Args:
        text_of: Opens a body: its text, or that of the blob it refers to.
        plan_tools: Tools whose last successful result is the plan, pinned through compaction.
    """

    def __init__(self, text_of: Callable[[Body], str], plan_tools: frozenset[str] = frozenset({"update_plan"})) -> None:
        self._text_of = text_of
        self.messages: list[Message] = []
        self.buffer = bytearray()
        """All messages as JSON objects joined by commas: what a request sends."""
        self.context_hash = ""
        self.digest = ""
        """Chain hash of the normalised messages."""
        self.call_ids: set[str] = set()
        """Ids of every tool call a model ever made in this run; a later reply may not use one again."""
        self._calls: list[ToolCall] = []
        self._answers: dict[str, tuple[int, str]] = {}
        self._later: list[tuple[int, str]] = []
        self._edits: dict[str, str] = {}
        self._records: list[tuple[int, str]] = []
        self._record: Message | None = None
        self._skills: dict[str, tuple[int, str]] = {}
        self._request: tuple[int, str] = (0, "")
        self._plan = ""
        self._phase: tuple[int, str] = (0, "")
        self._plan_tools = plan_tools

    def feed(self, seq: int, event: Event | Foreign, *, is_chained: bool = True) -> None:
        """Take in one event; most add nothing.

        Args:
            is_chained: Also chain it into `context_hash`; False for a caller that takes the hash from the state.
        """
        if type(event) not in CONTEXT_KINDS:
            return
        if is_chained:
            self.context_hash = chain(self.context_hash, event)
        match event:
            case RunStarted(rules=rules, brief=brief):
                self._append(seq, {"role": "system", "content": self._text_of(rules)}, pinned=True)
                if not brief.is_empty:
                    self._append(seq, {"role": "user", "content": self._text_of(brief)}, pinned=True)
            case ModelReplied():
                self._reply(seq, event)
            case ToolReturned():
                text = self._text_of(event.text)
                if event.status == "ok" and event.tool in self._plan_tools:
                    self._plan = text
                self._answer(seq, event.call, event.tool, event.status, text)
            case CallRefused():
                self._answer(seq, event.call, event.tool, "refused", f"Refused ({event.why}): {event.reason}")
            case ToolInterrupted(outcome="not_repeated"):
                self._answer(seq, event.call, event.tool, "interrupted", self._text_of(event.text))
            case ApprovalAnswered():
                self._answered(seq, event)
            case ChildStopped():
                self._answer(seq, event.call, "spawn", event.status, self._text_of(event.text))
            case PhaseEntered(brief=brief):
                text = self._text_of(brief)
                if text:
                    self._phase = (seq, text)
                    self._say(seq, text)
            case UserMessage(text=body):
                text = self._text_of(body)
                self._request = (seq, text)
                self._records.append((seq, f"- the person said: {_line(text)}"))
                self._say(seq, text)
            case Observed(source=source, text=body):
                text = self._text_of(body)
                self._say(
                    seq,
                    text if source == RUNTIME else f"<observation source={source!r}>\n{text}\n</observation>",
                )
            case SkillActivated(name=name, body=body):
                text = f"<skill name={name!r}>\n{self._text_of(body)}\n</skill>"
                self._skills[name] = (seq, text)
                self._say(seq, text)
            case Compacted(keep_from_seq=cut):
                self._compact(seq, cut)

    def digests(self) -> tuple[bytes, ...]:
        """The normalised digest of each message, in order."""
        return tuple(message.digest for message in self.messages)

    # -- one message at a time --------------------------------------------------------------------------

    def _reply(self, seq: int, event: ModelReplied) -> None:
        message = self._text_of(event.message)
        if message:
            self._link(Message(seq, message.encode(), _digest(msgspec.json.decode(message))))
        self._calls = list(event.calls)
        self.call_ids.update(call.id for call in event.calls)
        self._answers = {}

    def _say(self, seq: int, text: str) -> None:
        if self._calls:
            self._later.append((seq, text))
        else:
            self._append(seq, {"role": "user", "content": text})

    def _answer(self, seq: int, call: str, tool: str, status: str, text: str) -> None:
        asked = next((c for c in self._calls if c.id == call), None)
        shown = _line(self._text_of(asked.arguments).replace("\n", " ")) if asked else ""
        text = self._edits.pop(call, "") + text
        self._records.append((seq, f"- {tool} {shown} -> {status}: {_line(text.strip())}"))
        if asked is None:
            return  # a policy's call: the model never asked for it
        self._answers[call] = (seq, text)
        if len(self._answers) < len(self._calls):
            return
        for done in self._calls:
            at, content = self._answers[done.id]
            self._append(at, {"role": "tool", "tool_call_id": done.id, "content": content})
        self._calls, self._answers = [], {}
        later, self._later = self._later, []
        for at, content in later:
            self._append(at, {"role": "user", "content": content})

    def _answered(self, seq: int, event: ApprovalAnswered) -> None:
        """A person's answer is a call's result when nothing else will be: the model must read one."""
        tool = next((call.tool for call in self._calls if call.id == event.call), "call")
        match event.answer:
            case "reject":
                self._answer(seq, event.call, tool, "refused", words_of(event))
            case "happened":
                self._answer(seq, event.call, tool, "ok", words_of(event))
            case "modify" if event.arguments is not None:
                given = self._text_of(event.arguments)
                self._edits[event.call] = f"A person ({event.by}) changed the arguments of this call to {given}\n"

    def _append(self, seq: int, message: dict[str, str], *, pinned: bool = False) -> Message:
        linked = Message(seq, msgspec.json.encode(message), _digest(message), pinned)
        self._link(linked)
        return linked

    def _link(self, message: Message) -> None:
        self.messages.append(message)
        if self.buffer:
            self.buffer += b","
        self.buffer += message.encoded
        self.digest = hashlib.sha256(self.digest.encode() + message.digest).hexdigest()

    # -- compaction -------------------------------------------------------------------------------------

    def _compact(self, seq: int, cut: int) -> None:
        pinned = [message for message in self.messages if message.is_pinned]
        tail = [message for message in self.messages if message.seq >= cut and not message.is_pinned]
        kept = [message for message in tail if message is not self._record]
        dropped = [line for at, line in self._records if at < cut]
        self.messages, self.buffer, self.digest = [], bytearray(), ""
        for message in pinned:
            self._link(message)
        parts = [
            "Earlier messages were left out to fit your window. What follows is the record of this run, taken from "
            "its journal; trust it over your memory, and read files again before you rely on them.",
            digest_text(dropped),
        ]
        if self._plan:
            parts.append("The plan as it stands:\n" + self._plan)
        parts += [text for at, text in self._skills.values() if at < cut]
        for title, (at, text) in (
            ("Your current assignment", self._phase),
            ("The person's last message", self._request),
        ):
            if text and at < cut:
                parts.append(f"{title}:\n{text}")
        self._record = self._append(seq, {"role": "user", "content": "\n\n".join(part for part in parts if part)})
        for message in kept:
            self._link(message)


def _line(text: str) -> str:
    """The first line of a text, short enough for a record of one line."""
    return text.partition("\n")[0][:160]


def _digest(message: Any) -> bytes:
    """SHA-256 of a message with every text in it normalised before it is encoded: an escaped line break hides lines."""
    return hashlib.sha256(canonical(_normalised(message))).digest()


def _normalised(value: Any) -> Any:
    # Values fresh from JSON are of exactly these types; a `match` asks for each of them by a call.
    kind = type(value)
    if kind is str:
        return normalise(value)
    if kind is dict:
        return {name: _normalised(part) for name, part in value.items()}
    if kind is list:
        return [_normalised(part) for part in value]
    return value


def request_digest(prompt: Prompt, tools: bytes) -> str:
    """What a replay compares: the chained normalised messages and the tools shown."""
    return hashlib.sha256(prompt.digest.encode() + _as_json_text(tools)).hexdigest()


@functools.lru_cache(maxsize=16)
def _as_json_text(tools: bytes) -> bytes:
    """Kept, as a phase shows the same kilobytes of tools at every call."""
    return canonical(tools.decode())
