"""What every provider of chat completions demands of a conversation."""

from __future__ import annotations

from typing import Any


def assert_valid(messages: list[dict[str, Any]], *, open_calls: bool = False) -> None:
    """Each tool call has exactly one result right after its message, in call order, and no result is without a call.

    With `open_calls` the last message may ask for calls that are still running.
    """
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        assert message["role"] in ("system", "user", "assistant"), f"a result without a call: {message}"
        if message["role"] == "system":
            assert at == 1, "one system message, at the head"
        wanted = [call["id"] for call in message.get("tool_calls", ())]
        following = messages[at : at + len(wanted)]
        if open_calls and not following:
            return
        assert [result["role"] for result in following] == ["tool"] * len(wanted)
        assert [result["tool_call_id"] for result in following] == wanted
        at += len(wanted)
