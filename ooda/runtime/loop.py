"""The loop: `advance(state, entry) -> (state, commands)`. Pure; knows no agent, tool, clock, file or socket.

One call observes an event, orients (folds it, judges limits, stuck-ness and compaction), lets the decider of the
phase decide, and says which commands act on that. What the core concludes on the way (a phase entered, a decision,
a limit) stands in `state.derived`, to be journaled right after the event in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ooda.errors import JournalError
from ooda.events import Entry, Event, Foreign, PhaseEntered, encode, is_derived
from ooda.runtime.agent import LOOP_VERSION, AgentSpec
from ooda.runtime.commands import Command
from ooda.runtime.decide import Situation
from ooda.runtime.observing import Observing
from ooda.runtime.prefix import by_digest
from ooda.runtime.state import RunState
from ooda.runtime.working import situation_of

__all__ = ["Loop"]


class Loop:
    """The pure step function of one agent."""

    def __init__(self, agent: AgentSpec) -> None:
        self.agent = agent

    def advance(self, state: RunState, entry: Entry) -> tuple[RunState, tuple[Command, ...]]:
        """Fold one input event and say what to do next.

        Raises:
            JournalError: the event contradicts the state (an answer to a call that is not open, an event
                before RunStarted or after Stopped): the journal is damaged or not this run's.
        """
        working = Observing(self.agent, state, entry)
        working.fold(entry.event)
        return working.end()

    def situation(self, state: RunState) -> Situation:
        """What a decider, or the gate, sees in this state."""
        return situation_of(self.agent, state, state.next_seq - 1)

    def fold(self, run: str, entries: Iterable[Entry]) -> tuple[RunState, tuple[Command, ...]]:
        """State and outstanding commands after a journal; derived events are recomputed and compared.

        Raises:
            JournalError: a derived event in the journal is not what this loop concludes.
        """
        last: tuple[RunState, tuple[Command, ...]] = RunState(run=run), ()
        for reached in self.states(run, entries):
            last = reached
        return last

    def states(self, run: str, entries: Iterable[Entry]) -> Iterator[tuple[RunState, tuple[Command, ...]]]:
        """Every state of a journal, one per input event, in order."""
        state = RunState(run=run)
        expected: list[Event] = []
        seq = -1
        for seq, entry in enumerate(entries):
            if not is_derived(entry.event):
                if expected:
                    raise _unexpected(run, seq, expected[0], entry.event)
                state, commands = self.advance(state, entry)
                expected = list(state.derived)
                yield state, commands
            elif not expected or not _same(expected[0], entry.event):
                raise _unexpected(run, seq, expected[0] if expected else None, entry.event)
            else:
                expected.pop(0)
        if expected:
            raise _unexpected(run, seq + 1, expected[0], None)


def _same(derived: Event, written: Event | Foreign) -> bool:
    """Derived events compare by content; a long body is inline on one side and a reference on the other."""
    if isinstance(derived, PhaseEntered) and isinstance(written, PhaseEntered):
        derived, written = by_digest(derived), by_digest(written)
    return encode(derived) == encode(written)  # bytes: facts may hold tuples, which come back as lists


def _unexpected(run: str, seq: int, expected: Event | None, found: Event | Foreign | None) -> JournalError:
    wanted, got = (encode(event).decode() if event else "null" for event in (expected, found))
    return JournalError(
        f"Run {run} diverges at event {seq}: this loop (version {LOOP_VERSION}) concludes {_short(wanted)}, "
        f"the journal holds {_short(got)}. Use the version that wrote it, or fork the run before this event.",
        run=run,
        seq=seq,
        expected=wanted,
        found=got,
    )


def _short(event: str) -> str:
    return "nothing" if event == "null" else event[:300]
