"""File tools: read, write, edit, list, search. They act inside the sandbox, never on the host's paths.

Limits as required: a file of at most 5 MB, at most 1 MB of it per read. Text is UTF-8 and says where it is not; line
ends and modes of existing files are kept; an edit is written only over the content it was matched against.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ooda.errors import ToolArgumentsError, ToolError
from ooda.governance.call import ToolOutcome
from ooda.governance.operations import Operation
from ooda.governance.secret_files import label_of_file
from ooda.labels import join
from ooda.sandbox.protocol import Entry, FileInfo, Sandbox
from ooda.tools.declare import tool
from ooda.tools.edit_match import Edit, apply_edit, is_crlf, to_crlf
from ooda.tools.room import ToolRoom
from ooda.tools.text import decode, lines_of, plural, size

__all__ = ["FILE_BYTES", "READ_BYTES", "edit_file", "list_directory", "read_file", "search_files", "write_file"]

FILE_BYTES = 5 * 1024 * 1024
"""Largest file read, written or edited (requirement 001: 5 MB)."""
READ_BYTES = 1024 * 1024
"""Most text one read shows (requirement 001: 1 MB); the run's cap on output is usually lower."""
_BOM = "\ufeff"
_FRAME_BYTES = 400
_MAX_HITS = 200

Path_ = Annotated[str, Field(min_length=1, description="Relative to /workspace.")]


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=30)
async def read_file(
    room: ToolRoom,
    path: Path_,
    start_line: Annotated[int | None, Field(ge=1, description="First line, from 1.")] = None,
    end_line: Annotated[int | None, Field(ge=1, description="Last line, included.")] = None,
    line_numbers: Annotated[bool, Field(description="Put its number before each line.")] = False,
) -> ToolOutcome:
    """Read a text file, whole or some lines of it."""
    file = await room.the_sandbox().read(path, max_bytes=FILE_BYTES)
    text = decode(file.data, path).removeprefix(_BOM)
    lines, end = lines_of(text)
    first = start_line or 1
    last = min(end_line or len(lines), len(lines))
    if first > max(1, len(lines)) or (end_line is not None and end_line < first):
        raise ToolArgumentsError(
            f"`{path}` has {plural(len(lines), 'line')}; lines {first} to {end_line or 'the end'} are not in it"
        )
    shown, reached = _within(lines, first, last, min(READ_BYTES, room.output_bytes - _FRAME_BYTES), line_numbers)
    facts = [plural(len(lines), "line"), size(file.info.size_bytes)]
    if is_crlf(text):
        facts.append("CRLF line ends")
    if file.data.startswith(_BOM.encode()):
        facts.append("byte order mark")
    if text and not text.endswith(end):
        facts.append("no line end at the end of the file")
    if (first, reached) != (1, len(lines)):
        facts.append(f"lines {first} to {reached} shown")
    if reached < last:
        facts.append(f"continue with start_line={reached + 1}")
    return ToolOutcome(
        text=f"[{path}: {'; '.join(facts)}]\n{shown}" if text else f"[{path} is empty]",
        data={
            "path": path,
            "sha256": file.info.sha256,
            "size_bytes": file.info.size_bytes,
            "lines": len(lines),
            "first": first,
            "last": reached,
        },
        label=label_of_file(path),
    )


async def _replaced(room: ToolRoom, arguments: Any) -> str:
    path: str = arguments.path
    try:
        file = await room.the_sandbox().read(path, max_bytes=FILE_BYTES)
    except ToolError:  # not there, no file, too large: then the call itself says so
        return f"{path}: no file that can be read"
    return f"{path}: takes the place of {size(file.info.size_bytes)}, SHA-256 {file.info.sha256}"


@tool(operation=Operation.WRITE_WORKSPACE, effect="local", timeout_s=30, replaces=_replaced)
async def write_file(
    room: ToolRoom,
    path: Path_,
    content: Annotated[str, Field(description="The whole new content.")],
) -> ToolOutcome:
    """Create a file or replace all of it. Folders on the way are made. Use edit_file to change part of a file."""
    sandbox = room.the_sandbox()
    before = await _what_is_there(sandbox, path)
    note = ""
    if (
        b"\r\n" in before
        and is_crlf(before.decode("utf-8", errors="replace"))
        and (kept := to_crlf(content)) != content
    ):
        content, note = kept, "; its CRLF line ends were kept"
    if before.startswith(_BOM.encode()) and not content.startswith(_BOM):
        content, note = _BOM + content, f"{note}; its byte order mark was kept"
    data = content.encode()
    if len(data) > FILE_BYTES:
        raise ToolArgumentsError(
            f"the content for `{path}` is {size(len(data))}; a file may have {size(FILE_BYTES)}. Write it in parts"
        )
    info = await sandbox.write(path, data)
    return ToolOutcome(
        text=f"{'Created' if info.created else 'Replaced'} `{path}`, {size(info.size_bytes)}{note}.",
        data=_facts(info),
    )


@tool(operation=Operation.WRITE_WORKSPACE, effect="local", timeout_s=30, replaces=_replaced)
async def edit_file(
    room: ToolRoom,
    path: Path_,
    old: Annotated[str, Field(description="Text to replace, exactly as in the file, unique in it.")],
    new: Annotated[str, Field(description="Text to put in its place.")],
    replace_all: Annotated[bool, Field(description="Replace every occurrence.")] = False,
) -> ToolOutcome:
    """Replace one piece of text in a file. When `old` differs from the file only in spacing and fits one place, that
    place is taken; otherwise nothing is changed and the nearest lines are shown."""
    sandbox = room.the_sandbox()
    file = await sandbox.read(path, max_bytes=FILE_BYTES)
    edit = apply_edit(decode(file.data, path), old, new, replace_all=replace_all)
    data = edit.text.encode()
    if len(data) > FILE_BYTES:
        raise ToolArgumentsError(f"`{path}` would grow to {size(len(data))}; a file may have {size(FILE_BYTES)}")
    info = await sandbox.write(path, data, sha256=file.info.sha256)
    return ToolOutcome(
        text=_edited(path, edit, new),
        data={**_facts(info), "replaced": len(edit.lines), "how": edit.how},
    )


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=30)
async def list_directory(
    room: ToolRoom,
    path: Annotated[str, Field(description="Folder, relative to /workspace.")] = ".",
    depth: Annotated[int, Field(ge=1, le=10, description="Levels to go down.")] = 1,
) -> ToolOutcome:
    """List a folder: directories end with /, links with @, files show their size; `.git` is left out."""
    most = 1000
    found = await room.the_sandbox().list(path, depth=depth, max_entries=most)
    # What git keeps there differs with its version and tells nothing about the project; by its own name it is listed.
    entries = [entry for entry in found if not _is_of_git(entry.path)] if not _is_of_git(path) else found
    if not entries:
        return ToolOutcome(text=f"`{path}` is an empty folder.", data={"entries": 0})
    lines = [_entry(entry) for entry in entries]
    shown, reached = _within(lines, 1, len(lines), room.output_bytes - _FRAME_BYTES, numbered=False)
    cut = reached < len(lines) or len(found) >= most
    more = f"\n[{reached} entries shown; list a deeper folder for the rest]" if cut else ""
    return ToolOutcome(text=shown + more, data={"entries": len(entries), "truncated": cut})


@tool(operation=Operation.READ_WORKSPACE, effect="pure", timeout_s=60)
async def search_files(
    room: ToolRoom,
    pattern: Annotated[str, Field(min_length=1, description="Regular expression, or plain text if regex is false.")],
    path: Annotated[str, Field(description="File or folder to search.")] = ".",
    glob: Annotated[str | None, Field(description="Only files like this, for example *.py.")] = None,
    regex: Annotated[bool, Field(description="Read pattern as a regular expression.")] = True,
) -> ToolOutcome:
    """Search file contents; shows matching lines as path:line: text."""
    found = await room.the_sandbox().search(pattern, path=path, glob=glob, regex=regex, max_hits=_MAX_HITS)
    searched = plural(found.files_searched, "file")
    if not found.hits:
        return ToolOutcome(
            status="no_data",
            text=f"No line matches {pattern!r} in {searched}.",
            data={"hits": 0, "files_searched": found.files_searched},
        )
    lines = [f"{hit.path}:{hit.line}: {hit.text[:300]}" for hit in found.hits]
    shown, reached = _within(lines, 1, len(lines), room.output_bytes - _FRAME_BYTES, numbered=False)
    cut = found.truncated or reached < len(lines)
    more = "; there are more, narrow the search" if cut else ""
    return ToolOutcome(
        text=f"{shown}\n[{plural(reached, 'line')} in {searched}{more}]",
        data={"hits": len(found.hits), "files_searched": found.files_searched, "truncated": cut},
        label=join(label_of_file(hit.path) for hit in found.hits),
    )


def _is_of_git(path: str) -> bool:
    return ".git" in path.split("/")


async def _what_is_there(sandbox: Sandbox, path: str) -> bytes:
    """The file that is about to be replaced; nothing where none can be read, and `write` says itself what is there."""
    try:
        return (await sandbox.read(path, max_bytes=FILE_BYTES)).data
    except ToolArgumentsError:
        return b""


def _within(lines: list[str], first: int, last: int, limit_bytes: int, numbered: bool) -> tuple[str, int]:
    """Lines `first` to `last` as far as they fit, and the last one shown; a single long line is cut."""
    width = len(str(last))
    shown: list[str] = []
    used = 0
    for number in range(first, last + 1):
        line = lines[number - 1].removesuffix("\r")
        line = f"{number:>{width}}  {line}" if numbered else line
        used += len(line.encode()) + 1
        if used > limit_bytes:
            if not shown:
                cut = line.encode()[:limit_bytes].decode(errors="ignore")
                shown.append(f"{cut}… [line {number} has {len(line)} characters]")
                return "\n".join(shown), number
            return "\n".join(shown), number - 1
        shown.append(line)
    return "\n".join(shown), max(first, last)


def _edited(path: str, edit: Edit, new: str) -> str:
    places = ", ".join(str(line) for line in edit.lines[:10]) + (" and more" if len(edit.lines) > 10 else "")
    parts = [f"Edited `{path}` at line{'' if len(edit.lines) == 1 else 's'} {places}."]
    if edit.how == "spacing":
        parts.append("`old` was matched although its spacing differs from the file's.")
    if edit.indent:
        parts.append(f"The new lines were indented by {len(edit.indent)} more, like the lines they replace.")
    if len(edit.lines) == 1 and edit.how == "spacing":
        start = edit.lines[0]
        count = min(new.count("\n") + 1, 12)
        after = edit.text.split("\n")[start - 1 : start - 1 + count]
        parts.append("It now reads:\n" + "\n".join(line.removesuffix("\r") for line in after))
    return " ".join(parts)


def _facts(info: FileInfo) -> dict[str, object]:
    return {"path": info.path, "size_bytes": info.size_bytes, "sha256": info.sha256, "created": info.created}


def _entry(entry: Entry) -> str:
    match entry.kind:
        case "directory":
            return f"{entry.path}/"
        case "link":
            return f"{entry.path}@"
        case "other":
            return f"{entry.path} (neither file nor folder)"
        case "file":
            return f"{entry.path}  {size(entry.size_bytes)}"
