"""The rule table: allow, ask or deny calls by operation, tool, arguments and the commands in shell text.

The most restrictive matching rule wins, wherever it stands, so a file of a project's own can add rules and never
lift one. Every rule carries examples of what it matches and what it does not; they are tried when the table is
loaded, and a rule that fails its own examples is an error. Rules are a courtesy that names harm before it is tried;
the sandbox is the wall. Shell text that is not understood is not guessed at: it is `ask`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ooda.errors import ConfigError
from ooda.governance.globs import Matches, compile_globs
from ooda.governance.levels import Level, level_named
from ooda.governance.operations import Answer, Operation, operation_named, strictest
from ooda.governance.rules_file import RuleText, example_call, read_rules
from ooda.governance.shell_text import ShellText, SimpleCommand, parse_shell

__all__ = ["UNREAD", "Rule", "RuleDecision", "RuleSet"]

_DEFAULT: Final = Path(__file__).with_name("default_rules.toml")

SHELL_ARGUMENTS: Final[Mapping[str, tuple[str, str]]] = {"run_shell_command": ("command", "cwd")}
"""Tools whose argument is shell text, and the argument that says where it runs."""


class RuleDecision(msgspec.Struct, frozen=True):
    """What the table says to a call."""

    decision: Answer
    rule: str = ""
    """The rule that decided; empty when none matched."""
    reason: str = "no rule speaks against it"
    matched: tuple[str, ...] = ()
    """All rules that matched, in the order of the table."""
    unparsed: str = ""
    """Why shell text in the call, or a part of it, is not understood. Then the answer is at least `ask`, under the
    rule `unread`."""


class Rule:
    """One compiled rule."""

    def __init__(self, text: RuleText) -> None:
        """Compile.

        Raises:
            ValueError: a glob cannot be read.
            ConfigError: an operation or a level has no such name.
        """
        self.name, self.decision, self.reason = text.name, text.decision, text.reason
        self.text = text
        self.operations = frozenset(operation_named(word) for word in text.operations)
        self.below = level_named(text.below) if text.below else None
        self._tool = compile_globs(text.tools) if text.tools else None
        self._arguments = [(name, compile_globs(globs)) for name, globs in text.arguments.items()]
        self._command = [compile_globs([word]) for word in text.command]
        self._flags = [compile_globs([flag]) for flag in text.flags]
        self._tests: list[tuple[Matches, str]] = [
            (compile_globs(globs), what)
            for what, globs in (
                ("operands", text.operands),
                ("paths", text.paths),
                ("last_path", text.last_path),
                ("last_word", text.last_word),
                ("redirects", text.redirects),
                ("code", text.code),
            )
            if globs
        ]
        self._either = compile_globs(text.operands_or_flags) if text.operands_or_flags else None
        self.is_about_shell = bool(
            self._command or self._flags or self._tests or self._either or text.is_fork_bomb or text.has_operands
        )

    @property
    def programs(self) -> frozenset[str] | None:
        """The programs the rule can match, for looking rules up by name; None when that cannot be listed."""
        if not self.text.command or any(mark in self.text.command[0] for mark in "*?[{"):
            return None
        return frozenset(self.text.command[0].split("|"))

    def concerns(self, operation: Operation, tool: str, level: Level) -> bool:
        """Whether the rule speaks about such calls at all."""
        return (
            (not self.operations or operation in self.operations)
            and (self._tool is None or self._tool(tool))
            and (self.below is None or level < self.below)
        )

    def matches_arguments(self, arguments: Mapping[str, Any]) -> bool:
        """Whether every argument the rule names is there and matches."""
        return all(any(matches(value) for value in _texts(arguments.get(name))) for name, matches in self._arguments)

    def matches_command(self, command: SimpleCommand) -> bool:
        """Whether one simple command matches all the rule says about commands."""
        if self._command:
            words = (command.name, *command.operands)
            if len(words) < len(self._command):
                return False
            if not all(matches(word) for matches, word in zip(self._command, words, strict=False)):
                return False
        for flag in self._flags:
            if not any(map(flag, command.flags)):
                return False
        for matches, what in self._tests:
            if not any(map(matches, _subjects(command, what))):
                return False
        if self._either and not any(map(self._either, (*command.operands, *command.flags, *command.words[1:]))):
            return False
        if self.text.has_operands and not command.operands:
            return False
        return not self.text.has_operands_or_flags or bool(command.operands or command.flags)


def _subjects(command: SimpleCommand, what: str) -> tuple[str, ...]:
    match what:
        case "operands":
            return command.operands
        case "paths":
            return command.paths
        case "last_path":
            return command.paths[-1:]
        case "last_word":
            return command.words[-1:]
        case "redirects":
            return tuple(redirect.target for redirect in command.redirects if redirect.is_write)
        case _:
            return (command.code,) if command.code else ()


def _texts(value: object) -> list[str]:
    """An argument as texts to match: itself, or each entry of a list."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [entry for entry in value if isinstance(entry, str)]
    return [] if value is None else [str(value).lower() if isinstance(value, bool) else str(value)]


class RuleSet:
    """All rules of a run."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = tuple(rules)
        self.digest = hashlib.sha256(msgspec.json.encode([rule.text for rule in rules])).hexdigest()
        """Changes with every change of a rule; approvals are bound to it."""
        self._concerned: dict[tuple[Operation, str, Level], _Concerned] = {}

    @classmethod
    def load(cls, path: Path | None = None) -> RuleSet:
        """The bundled rules, and those of a project's own file behind them.

        Raises:
            ConfigError: the file cannot be read or understood, or a rule fails one of its examples.
        """
        rules: list[Rule] = []
        for file in (_DEFAULT, path) if path is not None else (_DEFAULT,):
            for text in read_rules(file):
                if any(rule.name == text.name for rule in rules):
                    raise ConfigError(f"rule file `{file}`: there are two rules named `{text.name}`; rename one")
                rules.append(_tried(text, file))
        return cls(rules)

    def decide(
        self, operation: Operation, tool: str, arguments: bytes | Mapping[str, Any], level: Level
    ) -> RuleDecision:
        """The strictest answer of all rules that match a call; of equals the first in the table decides.

        Args:
            arguments: Validated arguments, as canonical JSON or as a mapping.
        """
        concerned = self._concerned.get((operation, tool, level))
        if concerned is None:
            concerned = _Concerned(rule for rule in self.rules if rule.concerns(operation, tool, level))
            self._concerned[operation, tool, level] = concerned
        shell = SHELL_ARGUMENTS.get(tool)
        if not concerned.plain and not shell:
            return _NOTHING
        given = arguments if isinstance(arguments, Mapping) else msgspec.json.decode(arguments)
        matched = [rule for rule in concerned.plain if rule.matches_arguments(given)]
        unparsed = ""
        if shell and isinstance(given.get(shell[0]), str):
            text = parse_shell(given[shell[0]], _folder(given.get(shell[1])))
            unparsed = text.unparsed
            matched += concerned.matching(text, given)
        if not matched:
            return _unread(unparsed) if unparsed else _NOTHING
        matched.sort(key=self.rules.index)
        answer = strictest(rule.decision for rule in matched)
        if unparsed and answer == "allow":
            return msgspec.structs.replace(_unread(unparsed), matched=tuple(rule.name for rule in matched))
        rule = next(rule for rule in matched if rule.decision == answer)
        return RuleDecision(answer, rule.name, rule.reason, tuple(rule.name for rule in matched), unparsed)


_NOTHING: Final = RuleDecision("allow")

UNREAD: Final = "unread"
"""What decides where shell text is not understood: no rule can judge what it cannot read (docs/adr/0026)."""


def _unread(why: str) -> RuleDecision:
    return RuleDecision("ask", UNREAD, f"the shell text cannot be judged: {why}", unparsed=why)


def _folder(cwd: object) -> str:
    return cwd if isinstance(cwd, str) and cwd.startswith("/") else "/workspace"


class _Concerned:
    """The rules that speak about calls of one operation, tool and level, sorted for looking up."""

    def __init__(self, rules: Any) -> None:
        self.plain: list[Rule] = []
        self._by_program: dict[str, list[Rule]] = {}
        self._any_program: list[Rule] = []
        self._bombs: list[Rule] = []
        for rule in rules:
            if not rule.is_about_shell:
                self.plain.append(rule)
            elif rule.text.is_fork_bomb:
                self._bombs.append(rule)
            elif rule.programs is None:
                self._any_program.append(rule)
            else:
                for program in rule.programs:
                    self._by_program.setdefault(program, []).append(rule)

    def matching(self, text: ShellText, arguments: Mapping[str, Any]) -> list[Rule]:
        found = list(self._bombs) if text.is_fork_bomb else []
        for command in text.commands:
            for rule in (*self._by_program.get(command.name, ()), *self._any_program):
                if rule not in found and rule.matches_command(command):
                    found.append(rule)
        return [rule for rule in found if rule.matches_arguments(arguments)]


def _tried(text: RuleText, file: Path) -> Rule:
    """The rule, after its examples were tried on it alone."""
    where = f"rule file `{file}`, rule `{text.name}`"
    try:
        rule = Rule(text)
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{where}: {error}") from error
    alone = RuleSet([rule])
    level = Level(rule.below - 1) if rule.below else Level.SANDBOX_ONLY
    for examples, expected in ((text.match, True), (text.not_match, False)):
        for example in examples:
            call = example_call(example, text, where)
            said = alone.decide(call.operation, call.tool, call.arguments, level)
            if bool(said.matched) is not expected:
                does = "does not match" if expected else "matches"
                key = "match" if expected else "not_match"
                raise ConfigError(
                    f"{where}: it {does} {example!r}, an example under `{key}`; mend the rule or the example"
                )
    return rule
