"""File bytes as text for a model, and counts as words.

Pure. Refusals are sentences: a binary file is named as one, invalid UTF-8 with its byte offset.
"""

from __future__ import annotations

from ooda.errors import ToolArgumentsError

__all__ = ["decode", "lines_of", "plural", "size"]

_SNIFFED_BYTES = 8_192
_KIB = 1024


def decode(data: bytes, path: str) -> str:
    """The bytes as text, line ends untouched.

    Raises:
        ToolArgumentsError: the file is binary, or is not UTF-8 (the message names the byte offset).
    """
    if b"\0" in data[:_SNIFFED_BYTES]:
        raise ToolArgumentsError(
            f"`{path}` is a binary file ({size(len(data))}) and cannot be shown or edited as text; "
            "look at it with run_shell_command, for example `file` or `xxd`"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolArgumentsError(
            f"`{path}` is not valid UTF-8: byte 0x{data[error.start]:02x} at offset {error.start} "
            f"(line {data.count(10, 0, error.start) + 1}); convert it with run_shell_command, "
            "for example `iconv -f latin1 -t utf-8`"
        ) from error


def lines_of(text: str) -> tuple[list[str], str]:
    """The lines of a text without their end, and that end: LF, or CR where no LF stands in it; no line in no text.

    Nothing else ends a line, whatever `str.splitlines` takes for one. The CR of a CRLF stays with its line.
    """
    end = "\n" if "\n" in text else "\r"
    return text.removesuffix(end).split(end) if text else [], end


def size(count: int) -> str:
    """A number of bytes for a reader: `812 bytes`, `14.2 KiB`, `3.0 MiB`."""
    if count < _KIB:
        return plural(count, "byte")
    if count < _KIB * _KIB:
        return f"{count / _KIB:.1f} KiB"
    return f"{count / _KIB / _KIB:.1f} MiB"


def plural(count: int, word: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
