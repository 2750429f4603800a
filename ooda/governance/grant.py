"""Grants: the proof that the gate let exactly this call through.

A tool, a model transport and a notification channel take a grant and spend it before they act. Only a `Mint`
makes grants, only the gate holds one (tests/test_one_door.py reads every module for it), and a grant is single
use, bound to one process, and cannot be copied or pickled: it is a capability, not a record of one.
"""

from __future__ import annotations

import os
from dataclasses import InitVar, dataclass, field
from typing import Literal, NoReturn

from ooda.errors import RefusedError
from ooda.events import Effect
from ooda.governance.operations import Operation
from ooda.labels import UNTRUSTED, Label

__all__ = ["Grant", "Mint"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grant:
    """One permitted action. Everything that could make it another action is bound in it."""

    kind: Literal["tool", "model", "channel"]
    run: str
    seq: int
    """Journal position of the intent (ToolStarted, ModelAsked)."""
    call: str
    tool: str
    definition: str
    """Hash of the tool's definition; the model's name for a model call."""
    arguments: str
    """SHA-256 of the canonical arguments."""
    operation: Operation | None
    effect: Effect
    key: str
    """Idempotency key carried to the outside."""
    fence: int
    deadline_ns: int
    targets: tuple[str, ...] = ()
    label: Label = UNTRUSTED
    approval: str = ""
    reservation: str = ""
    sandbox: str = ""
    """Id of the sandbox in which the action runs; empty for host-side actions."""
    _minted_by: InitVar[Mint]
    """Shown, not kept: a holder of a grant finds no mint in it, and `dataclasses.replace` has none to show."""
    _pid: int = field(repr=False)
    _spent: list[str] = field(default_factory=list, repr=False, init=False)

    def __post_init__(self, _minted_by: Mint) -> None:
        if not isinstance(_minted_by, Mint):
            raise RefusedError("a Grant is made by the gate only; call `gate.decide` and pass on what it allows")

    def spend(self, spender: str, *, kind: str | None = None, arguments: str | None = None) -> None:
        """Use the grant up; `spender` is the name of the tool, model or channel that acts.

        Raises:
            RefusedError: it was spent before, belongs to another process, or was granted for something else.
        """
        if self._pid != os.getpid():
            raise RefusedError(f"the grant for `{self.tool}` was made in process {self._pid}, not in this one")
        if self._spent:
            raise RefusedError(f"the grant for `{self.tool}` call {self.call!r} was already spent by {self._spent[0]}")
        if spender != self.tool or (kind or self.kind) != self.kind:
            raise RefusedError(f"a {self.kind} grant for `{self.tool}` cannot be spent by {kind or ''} `{spender}`")
        if arguments is not None and arguments != self.arguments:
            raise RefusedError(f"the grant for `{self.tool}` is bound to other arguments; decide the new call anew")
        self._spent.append(spender)

    @property
    def is_spent(self) -> bool:
        return bool(self._spent)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Grant is made and spent in one process; it cannot be copied or pickled")


class Mint:
    """What the gate makes grants with. One per gate."""

    def grant(
        self,
        *,
        kind: Literal["tool", "model", "channel"],
        run: str,
        seq: int,
        call: str,
        tool: str,
        definition: str,
        arguments: str,
        operation: Operation | None,
        effect: Effect,
        key: str,
        fence: int,
        deadline_ns: int,
        targets: tuple[str, ...] = (),
        label: Label = UNTRUSTED,
        approval: str = "",
        reservation: str = "",
        sandbox: str = "",
    ) -> Grant:
        """A fresh, unspent grant for this process."""
        return Grant(
            kind=kind,
            run=run,
            seq=seq,
            call=call,
            tool=tool,
            definition=definition,
            arguments=arguments,
            operation=operation,
            effect=effect,
            key=key,
            fence=fence,
            deadline_ns=deadline_ns,
            targets=targets,
            label=label,
            approval=approval,
            reservation=reservation,
            sandbox=sandbox,
            _minted_by=self,
            _pid=os.getpid(),
        )
