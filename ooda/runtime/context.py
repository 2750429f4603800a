"""The prompt of a run as encoded bytes: rendered from events, appended once, byte-stable in its prefix. Pure.

A message is encoded when its event arrives and never again; a request is the pinned head and these bytes. Only a
Compacted event rewrites them. The order of results in the prompt is the order of the calls, whatever the order of
their completion in the journal. Bodies kept as blobs are opened through `text_of`, which the caller provides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from ooda.events import (
    RUNTIME,
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
from ooda.runtime.loop import CONTEXT_KINDS, chain
from ooda.runtime.normalise import normalise

__all__ = ["Message", "Prompt", "request_digest"]


class Message(msgspec.Struct, frozen=True):
    """One encoded message and where it came from."""

    seq: int
    encoded: bytes
    digest: bytes
    """SHA-256 of the normalised text, for comparing requests across runs."""
    is_pinned: bool = False


class Prompt:
    """The messages of one run. Feed it every event of the journal, in order."""

    def __init__(self, text_of: Callable[[Body], str]) -> None:
        self._text_of = text_of
        self.messages: list[Message] = []
        self.buffer = bytearray()
        """All messages as JSON objects joined by commas: what a request sends."""
        self.context_hash = ""
        self.digest = ""
        """Chain hash of the normalised messages."""
        self._calls: list[ToolCall] = []
        self._answers: dict[str, tuple[int, str]] = {}
        self._later: list[tuple[int, str]] = []
        self._records: list[tuple[int, str]] = []
        self._skills: list[tuple[int, str]] = []
        self._plan = ""
        self._phase: tuple[int, str] = (0, "")
        self._plan_tools = frozenset({"update_plan"})

    def feed(self, seq: int, event: Event | Foreign) -> None:
        """Take in one event; most add nothing."""
        if not isinstance(event, CONTEXT_KINDS):
            return
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
            case ToolInterrupted():
                self._answer(seq, event.call, event.tool, "interrupted", self._text_of(event.text))
            case ChildStopped():
                self._answer(seq, event.call, "spawn", event.status, self._text_of(event.text))
            case PhaseEntered(brief=brief):
                text = self._text_of(brief)
                if text:
                    self._phase = (seq, text)
                    self._say(seq, text)
            case UserMessage(text=body):
                self._say(seq, self._text_of(body))
            case Observed(source=source, text=body):
                text = self._text_of(body)
                self._say(
                    seq,
                    text if source == RUNTIME else f"<observation source={source!r}>\n{text}\n</observation>",
                )
            case SkillActivated(name=name, body=body):
                text = f"<skill name={name!r}>\n{self._text_of(body)}\n</skill>"
                self._skills.append((seq, text))
                self._say(seq, text)
            case Compacted(keep_from_seq=cut):
                self._compact(seq, cut)

    def digests(self) -> tuple[bytes, ...]:
        """The normalised digest of each message, in order."""
        return tuple(message.digest for message in self.messages)

    # -- one message at a time --------------------------------------------------------------------------

    def _reply(self, seq: int, event: ModelReplied) -> None:
        self._push(seq, self._text_of(event.message).encode())
        self._calls = list(event.calls)
        self._answers = {}

    def _say(self, seq: int, text: str) -> None:
        if self._calls:
            self._later.append((seq, text))
        else:
            self._append(seq, {"role": "user", "content": text})

    def _answer(self, seq: int, call: str, tool: str, status: str, text: str) -> None:
        asked = next((c for c in self._calls if c.id == call), None)
        shown = (self._text_of(asked.arguments) if asked else "").replace("\n", " ")
        first = text.strip().partition("\n")[0]
        self._records.append((seq, f"- {tool} {shown[:160]} -> {status}: {first[:160]}"))
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

    def _append(self, seq: int, message: dict[str, str], *, pinned: bool = False) -> None:
        self._push(seq, msgspec.json.encode(message), pinned=pinned)

    def _push(self, seq: int, encoded: bytes, *, pinned: bool = False) -> None:
        normal = hashlib.sha256(normalise(encoded.decode()).encode()).digest()
        self._link(Message(seq, encoded, normal, pinned))

    def _link(self, message: Message) -> None:
        self.messages.append(message)
        if self.buffer:
            self.buffer += b","
        self.buffer += message.encoded
        self.digest = hashlib.sha256(self.digest.encode() + message.digest).hexdigest()

    # -- compaction -------------------------------------------------------------------------------------

    def _compact(self, seq: int, cut: int) -> None:
        pinned = [message for message in self.messages if message.is_pinned]
        kept = [message for message in self.messages if message.seq >= cut and not message.is_pinned]
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
        parts += [text for at, text in self._skills if at < cut]
        if self._phase[1] and self._phase[0] < cut:
            parts.append("Your current assignment:\n" + self._phase[1])
        self._append(seq, {"role": "user", "content": "\n\n".join(part for part in parts if part)})
        for message in kept:
            self._link(message)


def request_digest(prompt: Prompt, tools: bytes) -> str:
    """What a replay compares: the chained normalised messages and the tools shown."""
    return hashlib.sha256(prompt.digest.encode() + canonical(tools.decode())).hexdigest()
