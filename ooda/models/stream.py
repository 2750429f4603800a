"""Server-sent events of a streamed chat completion, put together into one reply.

Events: WHATWG HTML, section 9.2 (only `data` lines matter here). The deltas follow OpenAI's format, with the
liberties that compatible servers take: no index, the same index for several calls, whole names repeated, usage
in the last chunk or in every one, no closing `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ooda.events import Usage
from ooda.models.failures import from_provider_error, output_failure
from ooda.models.reply import Asked, text_of, to_reply
from ooda.models.request import ModelReply
from ooda.models.usage import normalise_usage

__all__ = ["EventLines", "StreamedReply"]


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: dict[str, Any] | None = None
    finish_reason: str | None = None
    error: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    model: str | None = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Chunk)
_STRINGS = frozenset({"refusal", "reasoning", "reasoning_content", "thinking"})
"""Members of a delta that are continued; any other member replaces what stood there."""


class EventLines:
    """Cuts a byte stream into the `data` of its events, however the bytes are split."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []

    def feed(self, piece: bytes | bytearray) -> list[bytes]:
        """The data of every event that `piece` completes, in order."""
        self._rest += piece
        if b"\n" not in piece and b"\r" not in piece:
            return []
        events: list[bytes] = []
        *lines, rest = _split_lines(self._rest)
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(bytes(line[6:] if line[5:6] == b" " else line[5:]))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        self._rest = bytearray(rest)
        return events

    def close(self) -> list[bytes]:
        """The data of a last event without its blank line; several servers end so."""
        return self.feed(b"\n\n")


def _split_lines(text: bytearray) -> list[bytearray]:
    """Lines ended by LF, CR LF or CR; the last entry is the unfinished one.

    A CR at the very end may be half of a CR LF and stays unfinished.
    """
    if b"\r" not in text:
        return text.split(b"\n")
    held = b""
    if text.endswith(b"\r"):
        text, held = text[:-1], b"\r"
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    lines[-1] += held
    return lines


class StreamedReply:
    """Accumulates chunks; one per attempt."""

    def __init__(self, asked: Asked, on_piece: Callable[[str], None] | None) -> None:
        self._asked = asked
        self._on_piece = on_piece
        self._message: dict[str, Any] = {}
        self._calls: list[dict[str, Any]] = []
        self._slots: dict[int, int] = {}
        """Position in `_calls` of each index the server uses."""
        self._reason = ""
        self._usage: Any = None
        self._model = ""
        self._chunks = 0
        self.is_done = False
        """`[DONE]` has come: nothing after it matters."""

    def add(self, data: bytes) -> None:
        """Take in the data of one event.

        Raises:
            AttemptFailure: no chunk, or the provider's error.
        """
        if data.strip() == b"[DONE]":
            self.is_done = True
            return
        try:
            chunk = _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problem = f"a stream whose event {self._chunks + 1} is no chunk ({error})"
            raise output_failure(problem, self._asked.who) from error
        self._chunks += 1
        if chunk.model:
            self._model = chunk.model
        if chunk.usage:
            self._usage = chunk.usage
        for choice in chunk.choices or ():
            if choice.index in (0, None):
                self._add_choice(choice)
        if chunk.error:
            raise from_provider_error(chunk.error, self._asked.who, self._asked.scrub)

    @property
    def has_finished(self) -> bool:
        """Whether the model said why it stopped: whatever is cut off after that is no loss."""
        return bool(self._reason) or self.is_done

    @property
    def usage(self) -> Usage | None:
        """What the provider has counted so far; the one price tag of a stream that breaks off."""
        return normalise_usage(self._usage)

    def reply(self) -> ModelReply:
        """The whole reply, once the stream has ended.

        Raises:
            AttemptFailure: it ended before the model had finished.
        """
        if not self.has_finished:
            problem = f"a stream that broke off after {self._chunks} chunks" if self._chunks else "an empty stream"
            raise output_failure(problem, self._asked.who)
        message = dict(self._message)
        if self._calls:
            message["tool_calls"] = self._calls
        return to_reply(message, self._reason, self._usage, self._model or self._asked.model, self._asked)

    def _add_choice(self, choice: _Choice) -> None:
        if choice.error:
            raise from_provider_error(choice.error, self._asked.who, self._asked.scrub)
        if choice.finish_reason:
            self._reason = choice.finish_reason
        for key, value in (choice.delta or {}).items():
            if value is None:
                continue
            if key == "tool_calls":
                for part in value if isinstance(value, list) else ():
                    self._add_call(part)
            elif key == "content":
                self._add_content(value)
            elif key in _STRINGS and isinstance(value, str):
                self._message[key] = self._message.get(key, "") + value
            elif key == "reasoning_details" and isinstance(value, list):
                _merge_details(self._message.setdefault(key, []), value)
            else:
                self._message[key] = value

    def _add_content(self, value: Any) -> None:
        """Text; or, from Mistral when it reasons, a list of parts, after which text is a part as well."""
        content = self._message.setdefault("content", "")
        if isinstance(value, str) and isinstance(content, str):
            self._message["content"] = content + value
        else:
            parts = [{"type": "text", "text": value}] if isinstance(value, str) else value
            before = [{"type": "text", "text": content}] if content and isinstance(content, str) else content or []
            self._message["content"] = [*before, *parts]
        if self._on_piece is not None and (visible := text_of(value)):
            self._on_piece(visible)

    def _add_call(self, part: Any) -> None:
        if not isinstance(part, dict):
            raise output_failure("a malformed tool call in its stream", self._asked.who)
        call = self._call_for(part)
        function = part.get("function")
        for key, value in part.items():
            if key == "id":
                call["id"] = call.get("id") or value
            elif key not in ("function", "index") and value is not None:
                call[key] = value
        if isinstance(function, dict):
            target = call["function"]
            name, arguments = function.get("name"), function.get("arguments")
            if name and name != target["name"]:
                target["name"] += name
            if isinstance(arguments, str):
                target["arguments"] += arguments
            elif arguments is not None:
                target["arguments"] = msgspec.json.encode(arguments).decode()

    def _call_for(self, part: dict[str, Any]) -> dict[str, Any]:
        """The call that a delta continues, or a new one."""
        index, call_id = part.get("index"), part.get("id")
        function = part.get("function")
        opens = bool(isinstance(function, dict) and function.get("name"))
        known: dict[str, Any] | None
        if isinstance(index, int):
            known = self._calls[self._slots[index]] if index in self._slots else None
        elif call_id:
            known = next((call for call in self._calls if call["id"] == call_id), None)
        else:
            known = None if opens or not self._calls else self._calls[-1]
        # Gemini's compatible endpoint gives every parallel call index 0 and an id of its own.
        if known is not None and not (opens and call_id and known["id"] and call_id != known["id"]):
            return known
        call: dict[str, Any] = {"id": "", "function": {"name": "", "arguments": ""}}
        if isinstance(index, int):
            self._slots[index] = len(self._calls)
        self._calls.append(call)
        return call


def _merge_details(merged: list[Any], parts: list[Any]) -> None:
    """Continue OpenRouter's reasoning blocks: pieces of one block share type and index."""
    for part in parts:
        last = merged[-1] if merged else None
        if not (
            isinstance(part, dict)
            and isinstance(last, dict)
            and (part.get("type"), part.get("index")) == (last.get("type"), last.get("index"))
            and part.get("type") != "reasoning.encrypted"
        ):
            merged.append(part)
            continue
        for key, value in part.items():
            if key in ("text", "summary") and isinstance(value, str):
                last[key] = (last.get(key) or "") + value
            elif value is not None:
                last[key] = value
