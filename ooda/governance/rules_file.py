"""Rule files: TOML read into typed rules, with mistakes named by rule, key, what was found and the nearest word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ooda.errors import ConfigError
from ooda.governance.operations import Answer, Operation, operation_named
from ooda.governance.settings_file import read_toml, refuse_unknown

__all__ = ["ExampleCall", "RuleText", "example_call", "read_rules"]


class RuleText(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule as it is written. All conditions that are given must hold."""

    name: str
    decision: Answer
    reason: str
    operations: tuple[str, ...] = ()
    """Any of these operations."""
    tools: tuple[str, ...] = ()
    """Globs for the tool's name."""
    below: str = ""
    """Only for levels below this one."""
    arguments: dict[str, tuple[str, ...]] = {}
    """Globs for each named argument; an argument that is not there does not match."""
    command: tuple[str, ...] = ()
    """Globs for the program and the words behind it, flags left out: `["git", "push"]`."""
    flags: tuple[str, ...] = ()
    """Globs that must each match one flag; order and clustering in the text do not matter."""
    operands: tuple[str, ...] = ()
    """Globs of which one must match one operand."""
    paths: tuple[str, ...] = ()
    """The same for operands as paths: absolute where the folder is known, without `.` and `..`."""
    last_path: tuple[str, ...] = ()
    """The same for the last of them: the target of `cp` and its like."""
    last_word: tuple[str, ...] = ()
    """The same for the last word, flag or operand."""
    operands_or_flags: tuple[str, ...] = ()
    """Globs of which one must match an operand or a flag."""
    has_operands: bool = False
    has_operands_or_flags: bool = False
    redirects: tuple[str, ...] = ()
    """Globs for files that output is redirected to."""
    code: tuple[str, ...] = ()
    """Globs for program text given to an interpreter: `python -c`."""
    is_fork_bomb: bool = False
    match: tuple[str | dict[str, Any], ...] = ()
    """Examples the rule must match: shell text, or a table with `tool` and arguments."""
    not_match: tuple[str | dict[str, Any], ...] = ()
    """Examples it must not match."""


class ExampleCall(msgspec.Struct, frozen=True):
    """An example as a call."""

    operation: Operation
    tool: str
    arguments: dict[str, Any]


_KEYS: Final = tuple(field.name for field in msgspec.structs.fields(RuleText))
_LISTS: Final = frozenset(
    field.name for field in msgspec.structs.fields(RuleText) if str(field.type).startswith("tuple")
)


def read_rules(path: Path) -> list[RuleText]:
    """The rules of a file, in its order.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, a value has the wrong type, or examples are missing.
    """
    where = f"rule file `{path}`"
    document = read_toml(path, where)
    refuse_unknown(document, ("rule",), where)
    entries = document.get("rule", [])
    if not isinstance(entries, list):
        raise ConfigError(f"{where}: `rule` is a single table; write `[[rule]]` with two brackets")
    return [_rule(entry, f"{where}, rule {number}") for number, entry in enumerate(entries, 1)]


def _rule(entry: Mapping[str, Any], where: str) -> RuleText:
    if isinstance(entry.get("name"), str):
        where = f"{where} `{entry['name']}`"
    refuse_unknown(entry, _KEYS, where)
    fields = dict(entry)
    for key in _LISTS & fields.keys():
        if isinstance(fields[key], str):
            fields[key] = [fields[key]]
    if isinstance(fields.get("arguments"), dict):
        fields["arguments"] = {
            name: [globs] if isinstance(globs, str) else globs for name, globs in fields["arguments"].items()
        }
    try:
        rule = msgspec.convert(fields, RuleText)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error
    if not rule.match or not rule.not_match:
        raise ConfigError(
            f"{where}: `match` and `not_match` each need at least one example, so that the rule is known to say what "
            "is meant"
        )
    if not set(entry) - {"name", "decision", "reason", "match", "not_match"}:
        raise ConfigError(f"{where}: it has no condition and would match every call; add `tools`, `command` or another")
    return rule


def example_call(example: str | dict[str, Any], rule: RuleText, where: str) -> ExampleCall:
    """An example as the call the rule is tried on.

    Raises:
        ConfigError: a table without `tool`.
    """
    operation = operation_named(rule.operations[0]) if rule.operations else Operation.RUN_IN_SANDBOX
    if isinstance(example, str):
        return ExampleCall(operation, "run_shell_command", {"command": example})
    arguments = dict(example)
    tool = arguments.pop("tool", None)
    if not isinstance(tool, str):
        raise ConfigError(f'{where}: example {example!r} has no `tool`; write {{ tool = "write_file", path = "x" }}')
    if "operation" in arguments:
        operation = operation_named(str(arguments.pop("operation")))
    return ExampleCall(operation, tool, arguments)
