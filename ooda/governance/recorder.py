"""The one writer of a run's journal: redacts, externalises, folds, seals and commits every event.

`record` is the choke point that every text passes before it is stored. The fold, the rows and whatever must agree
with them (a reservation, an approval, an outbox row, the audit) are written in one transaction; state moves only
with it. Knows the store and the pure loop; must not know tools, models or sandboxes.
"""

from __future__ import annotations

from collections.abc import Callable

from ooda.clock import Clock
from ooda.events import BlobRef, Body, Entry, Event
from ooda.governance.redaction import Redactor
from ooda.labels import TRUSTED, Label
from ooda.runtime.commands import Command
from ooda.runtime.context import Prompt
from ooda.runtime.journal import GENESIS, Row, event_of, externalise, redact_bodies, seal, verify
from ooda.runtime.loop import Loop
from ooda.runtime.state import RunState
from ooda.store import Store, Tx

__all__ = ["Recorder"]

Also = Callable[[Tx, int], None]
"""What is written in the event's transaction, given its seq. Raising leaves no trace of the event either."""


class Recorder:
    """The journal, state and prompt of one run, held by the owner of its lease.

    Args:
        fence: The owner's fence; a write under an older one raises LeaseLostError.
        heard: Called with `(seq, entry)` after each committed event, derived ones included.
    """

    def __init__(
        self,
        *,
        run: str,
        loop: Loop,
        store: Store,
        redactor: Redactor,
        clock: Clock,
        fence: int,
        heard: Callable[[int, Entry], None] = lambda seq, entry: None,
    ) -> None:
        self.loop = loop
        self.store = store
        self.redactor = redactor
        self.clock = clock
        self.fence = fence
        self.state = RunState(run=run)
        self.prompt = Prompt(self.text_of)
        self.heard = heard
        self._hash = GENESIS
        self._texts: dict[str, str] = {}

    def load(self) -> tuple[Command, ...]:
        """Fold the journal as it stands; gives the commands its last event asked for.

        Raises:
            JournalError: the chain is broken, a blob is missing, or the loop concludes something else.
        """
        rows = list(self.store.rows(self.state.run))
        verify(rows)
        entries = [Entry(event_of(row), row.at_ns, Label.parse(row.label)) for row in rows]
        self.state, commands = self.loop.fold(self.state.run, entries)
        for row, entry in zip(rows, entries, strict=True):
            self.prompt.feed(row.seq, entry.event)
        if rows:
            self._hash = rows[-1].hash
        return commands

    def text_of(self, body: Body) -> str:
        """The text of a body, opened from its blob when it is a reference."""
        if body.ref is None:
            return body.text
        text = self._texts.get(body.ref.digest)
        return text if text is not None else self.store.blobs.get(body.ref.digest)

    async def record(
        self, event: Event | Callable[[int], Event], *, label: Label = TRUSTED, also: Also | None = None
    ) -> tuple[Command, ...]:
        """Commit one input event and what the core concludes from it; gives the commands that answer it.

        Args:
            event: The event, or a function from its seq to it.
            also: Further writes of the same transaction.

        Raises:
            LeaseLostError: another owner holds the run; nothing was written.
        """

        def work(tx: Tx) -> tuple[tuple[Command, ...], list[tuple[Row, Entry]]]:
            seq = self.state.next_seq
            given = event(seq) if callable(event) else event
            clean = externalise(redact_bodies(given, self._redact), self._put)
            at_ns = self.clock.now_ns()
            entry = Entry(clean, at_ns, label)
            state, commands = self.loop.advance(self.state, entry)
            sealed = self._seal(seq, entry, state.derived)
            waits = "waiting" if state.life == "waiting" else None
            self.store.append(tx, [row for row, _ in sealed], self.fence, status=waits)
            if also is not None:
                also(tx, seq)
            # State, hash and prompt move inside the transaction: works of one commit run one after the other, and a
            # caller that is cancelled while it waits for the commit must not leave the prompt behind the journal.
            self.state, self._hash = state, sealed[-1][0].hash
            for row, made in sealed:
                self.prompt.feed(row.seq, made.event)
            self._texts.clear()
            return commands, sealed

        commands, sealed = await self.store.write(work)
        for row, entry in sealed:
            self.heard(row.seq, entry)
        return commands

    def _seal(self, seq: int, entry: Entry, derived: tuple[Event, ...]) -> list[tuple[Row, Entry]]:
        run, previous = self.state.run, self._hash
        sealed = []
        for offset, event in enumerate((entry.event, *(externalise(event, self._put) for event in derived))):
            row = seal(run, seq + offset, event, entry.at_ns, str(entry.label), previous)
            previous = row.hash
            sealed.append((row, Entry(event, entry.at_ns, entry.label)))
        return sealed

    def _redact(self, text: str) -> str:
        return self.redactor.redact(text).text

    def _put(self, text: str) -> BlobRef:
        reference = self.store.blobs.put(text)
        self._texts[reference.digest] = text
        return reference
