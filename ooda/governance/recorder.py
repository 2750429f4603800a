"""The one writer of a run's journal: redacts, externalises, folds, seals and commits every event.

`record` is the choke point that every text passes before it is stored. The fold, the rows and whatever must agree
with them (a reservation, an approval, an outbox row, the audit) are written in one transaction; state moves only
with it. Where the loop answers an event with commands whose intents can be written at once, they join the same
transaction, so that a step costs two commits: what came back and what goes out next are one fact.
Knows the store and the pure loop; must not know tools, models or sandboxes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from ooda.clock import Clock
from ooda.errors import JournalError
from ooda.events import BlobRef, Body, Compacted, Entry, Event, Notified, Stopped
from ooda.governance.audit import AuditFact
from ooda.governance.audit_chain import Head, append_after
from ooda.governance.redaction import Redactor
from ooda.labels import TRUSTED, Label
from ooda.runtime.commands import Command, Stop
from ooda.runtime.context import Prompt
from ooda.runtime.journal import GENESIS, Row, admit, event_of, externalise, seal, verify
from ooda.runtime.loop import Loop
from ooda.runtime.state import RunState
from ooda.store import Store, Tx
from ooda.store.leases import check as check_lease

__all__ = ["Follow", "Intent", "Recorded", "Recorder"]

T = TypeVar("T")


class Intent(msgspec.Struct, frozen=True):
    """An event to record, and what begins once it is on disk."""

    event: Event
    label: Label = TRUSTED
    also: Callable[[Tx], None] | None = None
    """What is written in the event's transaction. Raising leaves no trace of the event either."""
    start: Callable[[], Coroutine[Any, Any, Intent | None]] | None = None
    """The effect; gives the intent to record next."""
    is_repeatable: bool = False
    """The effect reads only: a power cut may lose its intent, since doing it again does no harm."""
    may_wait: bool = False
    """A power cut may lose it as long as only repeatable effects follow: its sync to disk then is the next commit's."""


Follow = Callable[[Tx, Command], Intent | None]
"""The intent of a command, when it can be written at once; None leaves the command to the caller."""


class Recorded(msgspec.Struct, frozen=True):
    """What a commit leads to."""

    commands: tuple[Command, ...]
    """Commands without an intent of their own."""
    starts: tuple[Callable[[], Coroutine[Any, Any, Intent | None]], ...]
    is_repeatable: bool
    """All that starts reads only."""
    told: tuple[Compacted | Notified, ...] = ()
    """What was committed that the operator's hooks are told of before anything starts."""


class Recorder:
    """The journal, state and prompt of one run, held by the owner of its lease.

    Args:
        fence: The owner's fence; a write under an older one raises LeaseLostError.
        heard: Called with `(seq, entry)` after each committed event, derived ones included.
        is_alone: Whether no other run of this process writes to a store that answers at once.
        ended: Called in the transaction that records the run's end, with the state it ends in.
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
        is_alone: Callable[[], bool] = lambda: False,
        ended: Callable[[Tx, RunState], None] = lambda tx, state: None,
    ) -> None:
        self.loop = loop
        self.store = store
        self.redactor = redactor
        self.clock = clock
        self.fence = fence
        self.state = RunState(run=run)
        self.prompt = Prompt(self.text_of)
        self.heard = heard
        self._is_alone = is_alone
        self._ended = ended
        self._hash = GENESIS
        self._texts: dict[str, str] = {}
        self._tx: Tx | None = None
        self._thread = 0
        """The thread of the transaction under way: a remote store has one of its own."""
        self._facts: list[AuditFact] = []
        self._joined: list[Intent] = []
        self._audited: Head | None = None
        """The head of the audit log as this run left it."""
        self._is_ahead = False
        """A transaction failed after state had moved with it; only a reload makes this recorder usable again."""

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

    def read(self, work: Callable[[Tx], T]) -> T:
        """Read the store: inside the transaction under way, when it is the caller's own."""
        if self._tx is not None and self._thread == threading.get_ident():
            return work(self._tx)
        return self.store.read(work)

    def check_fence(self) -> None:
        """Return when the run is still ours. Raises LeaseLostError: nothing may be done for it any more."""
        self.read(lambda tx: check_lease(tx, self.state.run, self.fence))

    def audit(self, fact: AuditFact) -> None:
        """Add a fact to the audit log in the transaction under way; all of one transaction are chained at its end."""
        if self._tx is None:
            raise RuntimeError("an audit fact of a run is written with the event it belongs to")
        self._facts.append(fact)

    def join(self, intent: Intent) -> None:
        """Record `intent` too, in the transaction under way, behind the event it belongs to."""
        if self._tx is None:
            raise RuntimeError("what joins an event is written in its transaction")
        self._joined.append(intent)

    async def record(self, intent: Intent, follow: Follow | None = None) -> Recorded:
        """Commit one input event, what the core concludes from it, and the intents that follow at once.

        Raises:
            LeaseLostError: another owner holds the run; nothing was written.
        """
        return await self.record_with(lambda tx: intent, follow, may_wait=intent.may_wait)

    async def record_with(
        self, make: Callable[[Tx], Intent], follow: Follow | None = None, *, may_wait: bool = False
    ) -> Recorded:
        """The same with an intent that is made inside the transaction."""
        moved = False

        def work(tx: Tx) -> tuple[Recorded, list[tuple[Row, Entry]]]:
            nonlocal moved
            done = self._transact(tx, make, follow)
            moved = True
            return done

        try:
            # A run that shares the store with others in this process shares their commits too; one that is alone
            # has nothing to wait for and spares itself two rounds of the event loop.
            if not self._is_alone():
                recorded, rows = await self._written(work)
            elif may_wait:
                # Kept through a kill at once, through a power cut with the next synced commit: nothing that could
                # not be done again begins before that (docs/adr/0010).
                recorded, rows = self.store.note(work)
                if not recorded.is_repeatable:
                    self.store.sync()
            else:
                recorded, rows = self.store.write_now(work)
        except Exception:
            self._is_ahead = self._is_ahead or moved  # the work was accepted, and its commit failed
            raise
        for row, entry in rows:
            self.heard(row.seq, entry)
        return recorded

    async def _written(self, work: Callable[[Tx], T]) -> T:
        """The outcome of `work` in the next transaction."""
        written = self.store.write(work)
        try:
            return await written
        except asyncio.CancelledError:
            # Cancelled while the commit was under way: its failure must not be lost with the caller.
            if written.done() and not written.cancelled() and written.exception() is not None:
                self._is_ahead = True
            raise

    def _transact(
        self, tx: Tx, make: Callable[[Tx], Intent], follow: Follow | None
    ) -> tuple[Recorded, list[tuple[Row, Entry]]]:
        # State, hash and prompt move inside the transaction: works of one commit run one after the other, and a
        # caller that is cancelled while it waits for the commit must not leave the prompt behind the journal.
        if self._is_ahead:
            raise JournalError(
                f"run {self.state.run} could not be written; memory is ahead of its journal. Resume it: "
                f"`ooda runs resume {self.state.run}`",
                run=self.state.run,
            )
        rows: list[tuple[Row, Entry]] = []
        left: list[Command] = []
        starts = []
        self._tx, self._thread = tx, threading.get_ident()
        try:
            intent = make(tx)
            commands = deque(self._advance(tx, intent, rows))
            self._is_ahead = True  # until everything of this transaction is accepted
            is_repeatable = intent.start is None or intent.is_repeatable
            if intent.start is not None:
                starts.append(intent.start)
            while commands:
                command = commands.popleft()
                following = follow(tx, command) if follow is not None else None
                if following is None:
                    left.append(command)
                    continue
                commands.extend(self._advance(tx, following, rows))
                if following.start is not None:
                    starts.append(following.start)
                    is_repeatable = is_repeatable and following.is_repeatable
            if self._facts:
                known = self._audited if self._is_alone() else None  # spares the look at every commit
                self._audited = append_after(tx, known, *self._facts)
            status = "waiting" if self.state.life == "waiting" else None
            self.store.append(tx, [row for row, _ in rows], self.fence, status=status)
        finally:
            self._tx = None
            self._facts.clear()
            self._joined.clear()
        self._is_ahead = False
        self._texts.clear()
        # The end of a run does nothing but write one more event.
        is_repeatable = is_repeatable and all(type(command) is Stop for command in left)
        told = tuple(event for _, entry in rows if isinstance(event := entry.event, Compacted | Notified))
        return Recorded(tuple(left), tuple(starts), is_repeatable, told), rows

    def _advance(self, tx: Tx, intent: Intent, rows: list[tuple[Row, Entry]]) -> tuple[Command, ...]:
        clean = admit(intent.event, self._redact, self._put)
        entry = Entry(clean, self.clock.now_ns(), intent.label)
        state, commands = self.loop.advance(self.state, entry)
        if intent.also is not None:
            intent.also(tx)
        if isinstance(clean, Stopped):
            self._ended(tx, state)
        self._seal(entry, state.derived, rows)
        self.prompt.context_hash = state.context_hash
        self.state = state
        if self._joined:
            joined, self._joined = self._joined, []
            commands = (*commands, *(command for each in joined for command in self._advance(tx, each, rows)))
        return commands

    def _seal(self, entry: Entry, derived: tuple[Event, ...], rows: list[tuple[Row, Entry]]) -> None:
        run, label, seq = self.state.run, str(entry.label), self.state.next_seq
        events = (entry.event, *(externalise(event, self._put) for event in derived)) if derived else (entry.event,)
        for offset, event in enumerate(events):
            row = seal(run, seq + offset, event, entry.at_ns, label, self._hash)
            self._hash = row.hash
            rows.append((row, Entry(event, entry.at_ns, entry.label)))
            self.prompt.feed(row.seq, event, is_chained=False)

    def _redact(self, text: str) -> str:
        return self.redactor.redact(text).text

    def _put(self, text: str) -> BlobRef:
        reference = self.store.blobs.put(text)
        self._texts[reference.digest] = text
        return reference
