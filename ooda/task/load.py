"""The door: a task file, or plain data, becomes a typed task without secrets, or one error that lists every mistake.

Reads the file it is given and nothing else: no environment, no settings. Order: text → document with lines →
secrets taken out → model. Problems of all stages are reported together where the stage before them succeeded.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, BinaryIO

from pydantic import SecretStr, ValidationError

from ooda.errors import TaskSpecError, nearest
from ooda.events import canonical
from ooda.problems import Problem, problems_of, show
from ooda.task.coding import CodingTask
from ooda.task.document import MAX_BYTES, Document, MalformedError
from ooda.task.kinds import KINDS, Task
from ooda.task.secrets import extract_secrets, may_show, resolve_secrets

__all__ = ["LoadedTask", "canonical_task", "load_task", "load_task_text", "parse_task", "task_digest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTask:
    """A task as the rest of the program knows it."""

    task: Task
    source: str
    """File name as given, `<stdin>`, or what a caller of `parse_task` named."""
    secrets: Mapping[str, SecretStr] = field(default_factory=dict, repr=False)
    """Inline secrets by reference name. In memory only; hand them to redaction before anything is recorded."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user: what was understood in another way than it was written."""

    @property
    def canonical(self) -> bytes:
        """The task as canonical JSON, without secrets: what the journal keeps."""
        return canonical_task(self.task)

    @property
    def digest(self) -> str:
        """SHA-256 of `canonical`, in hexadecimal."""
        return task_digest(self.task)

    @property
    def folder(self) -> FilePath:
        """The folder that relative paths in the task start from."""
        return FilePath() if self.source == _STDIN else FilePath(self.source).parent

    def resolve_secrets(self, environ: Mapping[str, str]) -> dict[str, SecretStr]:
        """Every secret the task needs, by reference name; raises CredentialError naming what is missing."""
        return resolve_secrets(self.task.secret_refs(), self.secrets, environ)


_STDIN = "<stdin>"
_SHOWN = 50
"""Problems written out; all of them are in the error's facts."""


def canonical_task(task: Task) -> bytes:
    """Canonical JSON of a task: every field, defaults included, sorted keys. Loading it gives an equal task."""
    return canonical(task.model_dump(mode="json"))


def task_digest(task: Task) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_task(task)).hexdigest()


def load_task(source: FilePath | str, *, stdin: BinaryIO | None = None) -> LoadedTask:
    """Load a task file; `-` reads standard input (or `stdin`).

    Raises:
        TaskSpecError: the file cannot be read or understood; facts: `file`, `problems`.
    """
    if str(source) == "-":
        return load_task_text((stdin or sys.stdin.buffer).read(MAX_BYTES + 1), _STDIN)
    path = FilePath(source)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _refusal(str(source), [Problem((), _why_unreadable(path, error))]) from None
    return load_task_text(text, str(source))


def load_task_text(text: str | bytes, name: str = _STDIN) -> LoadedTask:
    """Load a task from the text of a file. The name decides the syntax: `.json`, `.yaml`, else by its first characters.

    Raises:
        TaskSpecError: the text cannot be understood; facts: `file`, `problems`.
    """
    try:
        document = _read(_decode(text), name)
    except MalformedError as error:
        raise _refusal(name, error.problems) from None
    return _parse(document, name)


def parse_task(data: Mapping[str, Any], name: str = "task") -> LoadedTask:
    """Load a task from plain data (an API caller's, or a stored canonical task decoded).

    Raises:
        TaskSpecError: as `load_task_text`, without lines.
    """
    return _parse(Document(dict(data), {}, ()), name)


def _decode(text: str | bytes) -> str:
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogatepass")
    if len(text) > MAX_BYTES:
        raise MalformedError(Problem((), f"is larger than {MAX_BYTES:,} bytes; a task spec is a page or two"))
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        message = f"holds the byte 0x{text[error.start]:02X}, which is not UTF-8; save the file as UTF-8"
        raise MalformedError(Problem((), message, line)) from None


def _read(text: str, name: str) -> Document:
    suffix = FilePath(name).suffix.lower() if "\0" not in name else ""
    start = "".join(text[:4096].split())[:2]
    if suffix == ".json" or (suffix not in (".yaml", ".yml") and start in ('{"', "{}")):
        from ooda.task.json_text import read_json

        return read_json(text)
    from ooda.task.yaml_text import read_yaml

    return read_yaml(text)


def _parse(document: Document, name: str) -> LoadedTask:
    problems = list(document.problems)
    if not isinstance(document.data, dict):
        message = f"found {show(document.data) if not isinstance(document.data, str) else 'a text'}"
        raise _refusal(name, [*problems, Problem((), f"{message}; expected a mapping with `kind` and its fields", 1)])
    data, secrets, warnings = extract_secrets(document.data)
    kind = data.get("kind")
    if "kind" not in data and "repository" in data:
        kind = "coding"
        warnings.append("`kind` is missing; the task has a `repository`, so it is read as `kind: coding`.")
    if not isinstance(kind, str) or kind not in KINDS:
        raise _refusal(name, [*problems, _kind_problem(data, document)])
    model = KINDS[kind]
    try:
        task = model.model_validate(data)
    except ValidationError as error:
        reported = {problem.path for problem in problems}
        found = _with_lines(problems_of(error, model, data, may_show=may_show), document)
        raise _refusal(name, [*problems, *(problem for problem in found if problem.path not in reported)]) from None
    if problems:
        raise _refusal(name, problems)
    warnings += _advice(task)
    return LoadedTask(task=task, source=name, secrets=secrets, warnings=tuple(warnings))


def _advice(task: Task) -> list[str]:
    """What is allowed and still worth a word."""
    repository = task.repository if isinstance(task, CodingTask) else None
    if repository and repository.credentials and repository.remote_url.lower().startswith("http://"):
        return ["`repository.remote_url` is http, so the credentials travel unencrypted; use https where you can."]
    return []


def _kind_problem(data: Mapping[str, Any], document: Document) -> Problem:
    kinds = ", ".join(f"`{kind}`" for kind in KINDS)
    mark = document.mark(("kind",))
    line = mark.line if mark else 0
    if "kind" not in data:
        return Problem(("kind",), f"is missing; expected one of {kinds}", line)
    kind = data["kind"]
    near = nearest(kind, KINDS) if isinstance(kind, str) else None
    hint = f"; did you mean `{near}`?" if near else ""
    return Problem(("kind",), f"found {show(kind)}; expected one of {kinds}{hint}", line)


def _with_lines(problems: Sequence[Problem], document: Document) -> list[Problem]:
    placed = []
    for problem in problems:
        mark = document.mark(problem.path)
        placed.append(Problem(problem.path, problem.message, mark.line if mark else 0))
    return placed


def _refusal(name: str, problems: Sequence[Problem]) -> TaskSpecError:
    """One error for all problems: a summary line, then one line each, in the order of the file."""
    problems = sorted(problems, key=lambda problem: (problem.line, problem.column))
    count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"Task spec `{name}` has {count}; nothing was started."]
    lines += [f"  {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  … and {len(problems) - _SHOWN} more")
    return TaskSpecError("\n".join(lines), file=name, problems=tuple(problems))


def _why_unreadable(path: FilePath, error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError():
            near = nearest(path.name, _names_beside(path))
            return "there is no such file" + (f"; did you mean `{path.with_name(near)}`?" if near else "")
        case IsADirectoryError():
            return "this is a folder; name the task file in it"
        case PermissionError():
            return "the file may not be read by this user"
        case OSError():
            return f"the file cannot be read: {error.strerror}"
    return "this is no file name"


def _names_beside(path: FilePath) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml", ".json")]
    except OSError:
        return []
