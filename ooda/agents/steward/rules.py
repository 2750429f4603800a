"""Rules over several criteria: which policy a workspace is under.

    {"name": "gpu", "when": {"all": [{"template": "gpu-*"}, {"not": {"role": "owner"}}]},
     "policy": {"idle_minutes": 15, "all_day": {"weekdays": ["sat", "sun"]}}}

A rule looks at what a workspace is, not at the time: criteria of time (idle, started, the hour) are the policy's own
fields. So the decision stays exact, its next change included, whatever rule chose the policy. The first rule that
fits counts; without one the fleet's policy stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from ooda.agents.steward.policy import Policy, problem_of
from ooda.agents.steward.records import Workspace
from ooda.errors import ConfigError, nearest

__all__ = ["Rule", "RuleBook", "parse_rules"]

_Test = Callable[[Workspace, Collection[str]], bool]
_DEPTH = 10
_HOUR_MS = 3_600_000


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, read by `parse_rules`."""

    name: str
    when: dict[str, Any]
    policy: dict[str, Any]
    """Fields that differ from the fleet's policy."""

    def applied_to(self, policy: Policy) -> Policy:
        """The policy with this rule's fields in place."""
        return msgspec.convert({**msgspec.to_builtins(policy), **self.policy}, Policy)


class RuleBook:
    """Rules in their order, ready to be asked about many workspaces."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        """Raises ConfigError for a condition that is none."""
        self.rules = rules
        self._tests = [(_test(rule.when, rule.name), rule) for rule in rules]

    def picked(self, seen: Workspace, roles: Collection[str] = ()) -> Rule | None:
        """The first rule that fits a workspace, whose owner has these roles."""
        return next((rule for test, rule in self._tests if test(seen, roles)), None)


def parse_rules(given: object, policy: Policy) -> RuleBook:
    """Rules from configuration, every one checked, with the policy it leads to.

    Raises:
        ConfigError: with the rule, what was given and what is expected.
    """
    try:
        rules = msgspec.convert(given, tuple[Rule, ...])
    except msgspec.ValidationError as error:
        raise ConfigError(f"the rules are not a list of `{{name, when, policy}}`: {error}") from error
    names = [rule.name for rule in rules]
    for rule in rules:
        if names.count(rule.name) > 1 or not rule.name:
            raise ConfigError(f"two rules are called {rule.name!r}, or one has no name; name each of them once")
        try:
            problem = problem_of(rule.applied_to(policy))
        except msgspec.ValidationError as error:
            problem = str(error)
        if problem:
            raise ConfigError(f"rule {rule.name!r}: its policy cannot be used: {problem}")
    return RuleBook(rules)


# -- conditions ---------------------------------------------------------------------------------------------------


def _test(when: Mapping[str, Any], rule: str, depth: int = 0) -> _Test:
    """A condition as a function; several keys of one object must all hold."""
    if depth > _DEPTH:
        raise ConfigError(f"rule {rule!r}: conditions are nested more than {_DEPTH} deep")
    tests = [_one(key, value, rule, depth) for key, value in when.items()]
    return lambda seen, roles: all(test(seen, roles) for test in tests)


def _one(key: str, value: Any, rule: str, depth: int) -> _Test:
    if key in ("all", "any"):
        parts = [_test(part, rule, depth + 1) for part in _list(value, key, rule)]
        judge = all if key == "all" else any
        return lambda seen, roles: judge(part(seen, roles) for part in parts)
    if key == "not":
        inner = _test(_object(value, key, rule), rule, depth + 1)
        return lambda seen, roles: not inner(seen, roles)
    if key == "role":
        wanted = {str(role).casefold() for role in _words(value, key, rule)}
        return lambda seen, roles: not wanted.isdisjoint(role.casefold() for role in roles)
    if key in _TEXTS:
        patterns = [word.casefold() for word in _words(value, key, rule)]
        text = _TEXTS[key]
        return lambda seen, roles: any(fnmatchcase(text(seen).casefold(), pattern) for pattern in patterns)
    if key in _FACTS:
        if not isinstance(value, bool):
            raise ConfigError(f"rule {rule!r}: `{key}` takes true or false, not {value!r}")
        fact = _FACTS[key]
        return lambda seen, roles: fact(seen) is value
    if key in _NUMBERS:
        low, high = _bounds(value, key, rule)
        number = _NUMBERS[key]
        return lambda seen, roles: (found := number(seen)) is not None and low <= found <= high
    known = [*_TEXTS, *_FACTS, *_NUMBERS, "role", "all", "any", "not"]
    near = nearest(key, known)
    hint = f"did you mean `{near}`?" if near else "known are " + ", ".join(f"`{name}`" for name in known)
    raise ConfigError(f"rule {rule!r}: there is no criterion `{key}`; {hint}")


_TEXTS: dict[str, Callable[[Workspace], str]] = {
    "owner": lambda seen: seen.owner,
    "template": lambda seen: seen.template,
    "organization": lambda seen: seen.organization,
    "name": lambda seen: seen.name,
    "workspace": lambda seen: seen.title,
    "owner_tz": lambda seen: seen.owner_tz or "",
}
"""Compared with globs, without case."""
_FACTS: dict[str, Callable[[Workspace], bool]] = {
    "has_ttl": lambda seen: bool(seen.ttl_ms),
    "has_deadline": lambda seen: seen.deadline_ns is not None,
    "has_autostart": lambda seen: bool(seen.autostart),
    "is_healthy": lambda seen: seen.is_healthy,
    "is_outdated": lambda seen: seen.is_outdated,
}
_NUMBERS: dict[str, Callable[[Workspace], float | None]] = {
    "ttl_hours": lambda seen: seen.ttl_ms / _HOUR_MS if seen.ttl_ms else None,
    "daily_cost": lambda seen: seen.daily_cost,
}
"""Compared with `{"at_least": x, "at_most": y}`."""


def _list(value: Any, key: str, rule: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple) or not value:
        raise ConfigError(f"rule {rule!r}: `{key}` takes a list of conditions, not {value!r}")
    return [_object(part, key, rule) for part in value]


def _object(value: Any, key: str, rule: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not value:
        raise ConfigError(f'rule {rule!r}: `{key}` takes a condition such as {{"template": "gpu-*"}}, not {value!r}')
    return value


def _words(value: Any, key: str, rule: str) -> list[str]:
    words = value if isinstance(value, list | tuple) else [value]
    if not words or not all(isinstance(word, str) and word for word in words):
        raise ConfigError(f"rule {rule!r}: `{key}` takes a text or a list of texts, not {value!r}")
    return list(words)


def _bounds(value: Any, key: str, rule: str) -> tuple[float, float]:
    bounds = {"at_least": float("-inf"), "at_most": float("inf")}
    if not isinstance(value, dict) or not value or not set(value) <= set(bounds):
        raise ConfigError(f'rule {rule!r}: `{key}` takes {{"at_least": 1, "at_most": 9}} or one of them, not {value!r}')
    for name, bound in value.items():
        if not isinstance(bound, int | float) or isinstance(bound, bool):
            raise ConfigError(f"rule {rule!r}: `{key}.{name}` takes a number, not {bound!r}")
        bounds[name] = float(bound)
    return bounds["at_least"], bounds["at_most"]
