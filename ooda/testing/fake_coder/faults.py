"""What goes wrong and when: a plan of faults per method and path, and actions that happen between two requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from typing import Literal

from ooda.testing.fake_coder.http import Request

__all__ = ["Fault", "FaultKind", "FaultPlan"]

FaultKind = Literal[
    "429",  # refused for the moment, with Retry-After where one is given
    "500",
    "502",  # with a proxy's page as its body
    "timeout_before",  # no answer, nothing done
    "timeout_after",  # done, and no answer
    "reset_before",
    "reset_after",
    "truncated",  # done, the answer cut off
    "slow",  # done, the answer in small pieces
    "406",
    "409",
    "401",
    "403",
    "404",
]


@dataclass
class _Rule:
    method: str
    path: str
    skip: int
    times: int
    fault: Fault | None = None
    action: Callable[[], None] | None = None

    def applies(self, request: Request) -> bool:
        if self.times <= 0 or self.method not in ("*", request.method) or not fnmatchcase(request.path, self.path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    kind: FaultKind
    retry_after_s: float | None = None


@dataclass
class FaultPlan:
    """Faults in the order they were planned; the first rule that applies to a request is used up by it."""

    seen: list[str] = field(default_factory=list)
    """Faults that happened, as `kind method path`."""
    _rules: list[_Rule] = field(default_factory=list)
    _odds: float = 0.0
    _kinds: tuple[FaultKind, ...] = ()
    _rng: Random = field(default_factory=Random)

    def add(
        self,
        kind: FaultKind,
        *,
        method: str = "*",
        path: str = "*",
        skip: int = 0,
        times: int = 1,
        retry_after_s: float | None = None,
    ) -> None:
        """Let the next `times` matching requests fail, after `skip` of them; `path` is a glob."""
        self._rules.append(_Rule(method, path, skip, times, fault=Fault(kind, retry_after_s)))

    def before(
        self, action: Callable[[], None], *, method: str = "*", path: str = "*", skip: int = 0, times: int = 1
    ) -> None:
        """Do something to the world right before a matching request is handled: what happens between two looks."""
        self._rules.append(_Rule(method, path, skip, times, action=action))

    def at_random(self, odds: float, kinds: tuple[FaultKind, ...], seed: int) -> None:
        """Let any request fail with these odds; 0 ends it."""
        self._odds, self._kinds, self._rng = odds, kinds, Random(seed)  # noqa: S311 - a plan that can be repeated

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._rules.clear()
        self._odds = 0.0

    def meet(self, request: Request) -> Fault | None:
        """What happens to this request. Actions are carried out here."""
        found = None
        for rule in [rule for rule in self._rules if rule.applies(request)]:
            if rule.action is not None:
                rule.action()
            elif found is None:
                found = rule.fault
            else:
                rule.times += 1  # one fault for one request; the other waits for the next
        self._rules = [rule for rule in self._rules if rule.times > 0]
        if found is None and self._odds and self._rng.random() < self._odds:
            found = Fault(self._rng.choice(self._kinds))
        if found is not None:
            self.seen.append(f"{found.kind} {request.method} {request.path}")
        return found
