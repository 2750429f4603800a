"""Act: the open batch of calls. Reads run together, a writer alone and in its turn, results stand in call order."""

from __future__ import annotations

import msgspec

from ooda.runtime.commands import CallTool, Command, RunCli, Spawn
from ooda.runtime.decide import Result
from ooda.runtime.state import OpenCall
from ooda.runtime.working import NANO, Working

__all__ = ["Acting"]


class Acting(Working):
    """The moves on the calls of the current batch."""

    def _start_batch(self, calls: tuple[OpenCall, ...]) -> None:
        self._set(calls=calls, results=())
        self._issue()

    def _issue(self) -> None:
        """Command what may run now: leading reads together, a writer alone and in its turn."""
        state = self.state
        if self._is_over:
            return
        calls = list(state.calls)
        running = False
        for i, call in enumerate(calls):
            if state.has_result(call.call):
                continue
            reads = self._traits(call.tool).effect == "pure"
            if not call.commanded:
                if running and not reads:
                    break
                calls[i] = msgspec.structs.replace(call, commanded=True)
                self.commands.append(self._call_command(call))
            running = True
            if not reads:
                break
        self._set(calls=tuple(calls))

    def _call_command(self, call: OpenCall) -> Command:
        kind, _, name = call.tool.partition(":") if call.is_offered else ("", "", "")
        if name and kind == "cli":
            left_s = self.state.limits.wall_s - self.state.spent.active_ns // NANO
            return RunCli(call=call.call, profile=name, prompt=call.arguments, deadline_s=max(1, left_s))
        if name and kind == "spawn":
            return Spawn(call=call.call, agent=name, task=call.arguments)
        return CallTool(call.call, call.tool, call.arguments, call.approval)

    def _record_result(self, result: Result) -> tuple[OpenCall, ...]:
        """Keep the result of one call; gives the calls of the batch when it was the last, none before."""
        state = self.state
        call = next((c for c in state.calls if c.call == result.call), None)
        if call is None or state.has_result(result.call):
            raise self._contradiction(f"an answer to call {result.call!r}, which is not open")
        if call.waiting:  # closed over the question: nobody needs to answer it any more
            self._no_longer_waits_for(call.waiting)
        known = {r.call: r for r in state.results}
        known[result.call] = result
        results = tuple(known[c.call] for c in state.calls if c.call in known)
        spent = msgspec.structs.replace(state.spent, tool_calls=state.spent.tool_calls + 1)
        self._set(results=results, spent=spent)
        if len(results) < len(state.calls):
            self._issue()
            return ()
        self._set(calls=(), attempts=state.attempts + 1)
        return state.calls

    def _taken_up(self, call: OpenCall) -> OpenCall:
        """An open call as it stands when its run is resumed.

        What a person is asked about keeps waiting. An effect that was begun and is not recognised outside when
        repeated is not commanded again: its owner says by ToolInterrupted what became of it.
        """
        if call.waiting and any(ask.id == call.waiting for ask in self.state.waiting):
            return call
        is_held = call.started and self._traits(call.tool).effect in ("local", "once")
        return msgspec.structs.replace(call, waiting="", commanded=is_held)
