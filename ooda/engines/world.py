"""The local engine's world: the model behind its door, the notices of a run, its children.

Renders a request from the recorder's prompt, compares it with a cassette when one is replayed, and puts notices
into outbox and activities. Knows nothing of agents: what is rendered and noticed comes from the journal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import msgspec

from ooda.engines.notices import Topic, put_notice
from ooda.errors import ConfigError
from ooda.events import Notified
from ooda.governance.grant import Grant
from ooda.governance.model_door import ModelDoor
from ooda.governance.model_spending import ModelSpending
from ooda.governance.prices import PriceRow
from ooda.governance.recorder import Intent, Recorder
from ooda.models.request import Attempt, ModelAccess, ModelReply, ModelRequest
from ooda.runtime.commands import CallModel, Spawn
from ooda.runtime.context import request_digest
from ooda.store import Tx

__all__ = ["Compare", "LocalWorld", "Spawner", "Topic"]

Compare = Callable[[str], None]
"""Given the digest of the request about to be sent; raises DivergenceError when a cassette holds another one."""


class Spawner(Protocol):
    """Runs a child to its end; gives its ChildStopped to record."""

    async def __call__(self, command: Spawn) -> Intent: ...


class LocalWorld:
    """Everything outside the gate's tools that a run of the local engine touches."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        door: ModelDoor,
        model: ModelAccess,
        schemas: Callable[[tuple[str, ...]], bytes],
        topic: Topic,
        temperature_milli: int | None = None,
        compare: Compare | None = None,
        on_piece: Callable[[str], None] | None = None,
        on_attempt: Callable[[Attempt], None] | None = None,
        spawner: Spawner | None = None,
    ) -> None:
        self._recorder = recorder
        self._door = door
        door.notice = self.enqueue
        self._model = model
        self._schemas = schemas
        self._topic = topic
        self._temperature_milli = temperature_milli
        self._compare = compare
        self._on_piece = on_piece
        self._on_attempt = on_attempt
        self._spawner = spawner

    @property
    def model_name(self) -> str:
        """The model that is asked now."""
        return self._door.model

    async def switch(self, model: ModelAccess, price: PriceRow) -> None:
        """Ask another model from the next call on; the one before is closed."""
        before, self._model = self._model, model
        self._door.switch(model.name, price)
        self._compare = None
        await before.close()

    async def close(self) -> None:
        """Close the model's connections."""
        self._door.close()
        await self._model.close()

    def ask_model(self, tx: Tx, command: CallModel) -> Intent:
        """Render the request and pass the door with it; gives the intent to record."""
        prompt = self._recorder.prompt
        tools = self._schemas(command.tools)
        digest = request_digest(prompt, tools)
        if self._compare is not None:
            self._compare(digest)
        # A copy: messages that arrive while the call is under way must not change what is being sent.
        messages = bytes(prompt.buffer)
        request = ModelRequest(
            model=self._door.model,
            messages=messages,
            tools=tools,
            reply_tokens=command.reply_tokens,
            temperature_milli=self._temperature_milli,
            stream=self._on_piece is not None,
            deadline_s=self._door.deadline_s,
            taken_ids=prompt.call_ids,
        )

        async def send(grant: Grant, spending: ModelSpending) -> ModelReply:
            def attempted(attempt: Attempt) -> Awaitable[None] | None:
                if self._on_attempt is not None:
                    self._on_attempt(attempt)
                return spending.failed(attempt.usage, is_billable=attempt.is_billable, goes_on=attempt.goes_on)

            sent = msgspec.structs.replace(request, on_send=spending.leaves)
            return await self._model.complete(sent, grant, on_piece=self._on_piece, on_attempt=attempted)

        return self._door.intent(
            tx,
            command,
            digest=digest,
            messages=len(prompt.messages),
            input_bytes=len(messages) + len(tools),
            send=send,
        )

    def abandon(self, tx: Tx, ask: str, kind: Literal["interrupted", "cancelled"], message: str) -> Intent:
        """Close a model call that was cut off: charged when it had been sent, released when not."""
        return self._door.abandon(tx, ask, kind, message)

    def enqueue(self, tx: Tx, notified: Notified) -> None:
        """A notice becomes an outbox row for its subject and an activity of its task."""
        put_notice(tx, self._recorder, self._topic, notified)

    async def spawn(self, command: Spawn) -> Intent:
        """Run a child to its end; gives its ChildStopped to record."""
        if self._spawner is None:
            raise ConfigError(f"this run cannot start a {command.agent} agent; its launcher gave it no spawner")
        return await self._spawner(command)
