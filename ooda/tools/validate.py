"""`run_validation`: the task's own commands, or the repository's tests as they are found, run in the sandbox.

The answer is the requirement's validation_result, read from exit codes and the runners' own summaries. Success needs
every command to exit 0 and, where tests were counted, at least one to have run: nothing to run is `no_data`.
"""

from __future__ import annotations

import shlex
from typing import Annotated

import msgspec
from pydantic import Field

from ooda.errors import ToolArgumentsError
from ooda.governance.call import ToolOutcome
from ooda.governance.cap import capped
from ooda.governance.operations import Operation
from ooda.sandbox.protocol import ExecResult, Sandbox
from ooda.tools.declare import tool
from ooda.tools.reports import Counts, read_report
from ooda.tools.room import ToolRoom
from ooda.tools.text import plural

__all__ = ["ValidationResult", "detect", "run_validation"]

_TIMEOUT_S = 900
_MOST_ISSUES = 20
_FRAME_BYTES = 2_000
_CONFIGURED = (("pyproject.toml", "[tool.pytest"), ("setup.cfg", "[tool:pytest]"), ("tox.ini", "[pytest]"))
_PYTEST = "python3 -m pytest -q -rfE --color=no"
_NO_TESTS = 5
_GIVE_PYTEST = (
    "let the task install it: `environment: {setup: [python3 -m venv /environment, pip install pytest], "
    "hosts: [pypi.org, files.pythonhosted.org]}`"
)
"""Exit code of pytest, and of unittest since Python 3.12, when nothing was collected."""


class ValidationResult(msgspec.Struct, frozen=True, kw_only=True):
    """The requirement's validation_result, with what was run."""

    success: bool
    issues: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    tests_passed: int = 0
    tests_failed: int = 0
    commands: tuple[str, ...] = ()


class _Ran(msgspec.Struct, frozen=True):
    command: str
    result: ExecResult
    counts: Counts | None


@tool(operation=Operation.RUN_IN_SANDBOX, effect="local", timeout_s=3600)
async def run_validation(
    room: ToolRoom,
    commands: Annotated[
        list[str], Field(max_length=20, description="Commands to run; empty: the task's own, else the tests found.")
    ] = [],  # noqa: B006 - pydantic copies defaults
) -> ToolOutcome:
    """Check the work: run the validation commands or the repository's tests and count what passed."""
    sandbox = room.the_sandbox()
    chosen = tuple(commands) or room.validation or await detect(sandbox)
    if not chosen:
        return _nothing("no tests were found (pytest or unittest) and the task names no validation commands")
    ran = []
    for command in chosen:
        result = await sandbox.exec(command, timeout_s=room.remaining_s(_TIMEOUT_S), cwd="/workspace", persist=False)
        ran.append(_Ran(command, result, read_report(result.output.head + "\n" + result.output.tail)))
    if all(_found_nothing(one) for one in ran):
        return _nothing("the commands ran, but they found no tests", chosen)
    if all(_lacks_pytest(one) for one in ran) and not (commands or room.validation):
        # Found here and not named by the task: no round of changes makes it run, and it says nothing of the work.
        return _nothing("the tests need pytest, which is not installed in the sandbox", chosen, _GIVE_PYTEST)
    verdict = _judge(ran)
    return ToolOutcome(text=_render(verdict, ran, room.output_bytes), data=msgspec.to_builtins(verdict))


async def detect(sandbox: Sandbox) -> tuple[str, ...]:
    """The command that runs the repository's tests: pytest where it is configured, used and installed, else unittest.

    Packages under src/ are put on the path, as an installed project would have them.
    """
    entries = {entry.path: entry for entry in await sandbox.list(".", depth=4, max_entries=20_000)}
    names = [path for path, entry in entries.items() if entry.kind == "file"]
    tests = [path for path in names if _is_test(path) and not _is_hidden(path)]
    configured = "pytest.ini" in names or any(path.rpartition("/")[2] == "conftest.py" for path in names)
    for name, mark in _CONFIGURED:
        configured = configured or (name in names and mark in await _text(sandbox, name))
    if not tests and not configured:
        return ()
    path = "PYTHONPATH=src${PYTHONPATH:+:$PYTHONPATH} " if "src" in entries else ""
    texts = [await _text(sandbox, test) for test in tests[:20]]
    for_unittest = bool(texts) and all("unittest" in text for text in texts)
    if configured or not for_unittest or await _has_pytest(sandbox):
        return (path + _PYTEST,)
    # unittest discovers below a start folder only through packages; a plain tests/ folder is named itself.
    folders = sorted({test.rpartition("/")[0] for test in tests})
    plain = [folder for folder in folders if folder and f"{folder}/__init__.py" not in names]
    starts = plain or [""]
    return tuple(
        path + "python3 -m unittest discover" + (f" -s {shlex.quote(start)}" if start else "") for start in starts
    )


def _is_test(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith(".py") and (name.startswith("test") or name.endswith("_test.py"))


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") or part in ("node_modules", "site-packages", "venv") for part in path.split("/"))


async def _text(sandbox: Sandbox, path: str) -> str:
    try:
        return (await sandbox.read(path, max_bytes=1 << 20)).data.decode(errors="replace")
    except ToolArgumentsError:
        return ""


async def _has_pytest(sandbox: Sandbox) -> bool:
    result = await sandbox.exec("python3 -c 'import pytest'", timeout_s=30, cwd="/workspace", persist=False)
    return result.exit_code == 0


def _found_nothing(one: _Ran) -> bool:
    return one.counts is not None and one.counts.ran == 0 and one.result.exit_code in (0, _NO_TESTS)


def _lacks_pytest(one: _Ran) -> bool:
    return one.counts is None and "No module named pytest" in one.result.output.head + one.result.output.tail


def _judge(ran: list[_Ran]) -> ValidationResult:
    issues: list[str] = []
    suggestions: list[str] = []
    for one in ran:
        ended = _ended(one.result)
        failures = one.counts.failures if one.counts else ()
        if ended and not _found_nothing(one):
            issues.append(f"`{one.command}` {ended}")
            issues += failures
        if _lacks_pytest(one):
            suggestions.append(f"pytest is not installed in the sandbox; {_GIVE_PYTEST}")
        if one.result.timed_out:
            suggestions.append("the tests did not end; look for a loop, or name a narrower validation command")
    return ValidationResult(
        success=not issues,
        issues=tuple(issue[:300] for issue in issues[:_MOST_ISSUES]),
        suggestions=tuple(suggestions),
        tests_passed=sum(one.counts.passed for one in ran if one.counts),
        tests_failed=sum(one.counts.failed for one in ran if one.counts),
        commands=tuple(one.command for one in ran),
    )


def _ended(result: ExecResult) -> str:
    """Why a command did not succeed; empty when it did."""
    if result.timed_out:
        return f"timed out after {result.duration_ms // 1000} s"
    if result.exit_code is None:
        return f"was killed by signal {result.signal}"
    return f"exited with code {result.exit_code}" if result.exit_code else ""


def _nothing(
    reason: str,
    commands: tuple[str, ...] = (),
    advice: str = "write tests, or name the commands under `validation:` in the task (or `validation: none`)",
) -> ToolOutcome:
    result = ValidationResult(success=False, issues=(reason,), suggestions=(advice,), commands=commands)
    return ToolOutcome(status="no_data", text=f"Nothing could be checked: {reason}.", data=msgspec.to_builtins(result))


def _render(verdict: ValidationResult, ran: list[_Ran], limit_bytes: int) -> str:
    head = "Validation passed" if verdict.success else "Validation failed"
    counts = f"{plural(verdict.tests_passed, 'test')} passed, {verdict.tests_failed} failed"
    has_counts = verdict.success or verdict.tests_passed or verdict.tests_failed
    parts = [f"{head}: {counts if has_counts else (verdict.suggestions or verdict.issues)[0]}."]
    parts += [f"- {issue}" for issue in verdict.issues] + [f"Suggestion: {text}" for text in verdict.suggestions]
    share = max(1_000, (limit_bytes - _FRAME_BYTES) // len(ran))
    for one in ran:
        output = one.result.output
        gap = f"\n… {output.dropped_bytes} bytes left out …\n" if output.dropped_bytes else ""
        shown = capped((output.head + gap + output.tail).strip(), 400 if verdict.success else share)
        parts.append(f"$ {one.command}\n{shown or '[no output]'}")
    return "\n".join(parts)
