"""The shell's side of a command: its text with the part that saves directory and exported variables, and
the reading of what was saved. State is explicit: no living shell, no marker in the output to forge.

Pure but for reading one small file that the command itself could have written: its content decides only
where the next command of the same agent starts.
"""

from __future__ import annotations

import os
import re
import stat

__all__ = ["ShellState", "base_environment", "read_state", "shell_text", "split_loader"]

MAX_ARGUMENT_BYTES = 100_000
"""Below the kernel's 128 KiB for one argument; longer commands are handed over as a file."""
_MAX_STATE_BYTES = 256 << 10
_MAX_VARIABLE_BYTES = 120_000
"""Below the kernel's 128 KiB for one string of an environment: with a longer one no command could start."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_TRANSIENT = {"PWD", "OLDPWD", "SHLVL", "_", "PPID"}


def base_environment(home: str) -> dict[str, str]:
    """What every command sees besides the variables of the sandbox's specification."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": home,
        "USER": "agent",
        "LOGNAME": "agent",
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "TMPDIR": "/tmp",  # noqa: S108 - inside the sandbox
        "PAGER": "cat",
        "GIT_PAGER": "cat",
    }


class ShellState:
    """What lasts from one command to the next: working directory and exported variables."""

    def __init__(self, cwd: str, env: dict[str, str]) -> None:
        self.cwd = cwd
        self.env = env


def split_loader(env: dict[str, str]) -> tuple[dict[str, str], str]:
    """The environment to start the shell with, and the text by which it exports the rest to its children.

    What the loader reads (`LD_PRELOAD` and its like) held for a shell's children and not for itself when it was
    exported there; given to the next shell at its start, a library that does not load would end every command.
    """
    rest = {name: value for name, value in env.items() if name.startswith("LD_") or name == "GLIBC_TUNABLES"}
    text = "".join(f"export {name}='{escaped}'; " for name, escaped in _quoted(rest))
    return {name: value for name, value in env.items() if name not in rest}, text


def _quoted(env: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, value.replace("'", "'\\''")) for name, value in env.items() if _NAME.match(name)]


def shell_text(command: str, state_file: str | None, script: str | None) -> str:
    """What `sh -c` gets: the command, after a trap that saves the state when there is a file for it.

    The trap stands on the command's first line, so that the shell's messages keep their line numbers. A
    command that sets its own EXIT trap, replaces the shell or dies by a signal leaves the state as it was.
    """
    text = command if script is None else f". {script}"
    if state_file is None:
        return text
    return "trap '{ pwd -P; export -p; } 2>/dev/null >" + state_file + "' 0; " + text


def read_state(path: str, before: ShellState, call_env: dict[str, str]) -> ShellState | None:
    """The state that a command saved, None when it saved none; the file is removed.

    Variables given for one call only do not become part of the state.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or not 0 < facts.st_size <= _MAX_STATE_BYTES:
            return None
        text = os.read(fd, _MAX_STATE_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    finally:
        os.close(fd)
        _remove(path)
    cwd, _, exports = text.partition("\n")
    if not cwd.startswith("/") or "\0" in text:
        return None
    env = {
        name: value
        for name, value in parse_exports(exports).items()
        if name not in _TRANSIENT and len(value.encode("utf-8", "surrogateescape")) <= _MAX_VARIABLE_BYTES
    }
    for name, value in call_env.items():
        if env.get(name) == value:
            if name in before.env:
                env[name] = before.env[name]
            else:
                del env[name]
    return ShellState(cwd, env)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return  # the command removed it or made it something else; the next one has another name


def parse_exports(text: str) -> dict[str, str]:
    r"""The variables in the output of `export -p`, as dash (`export A='b'`), bash (`declare -x A="b"`) and
    busybox print it. Names without a value are left out."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        start = re.compile(r"(?:export|declare -[A-Za-z]+) ").match(text, at)
        if start is None:
            at = text.find("\n", at) + 1 or len(text)
            continue
        name, at = _take_name(text, start.end())
        if at < len(text) and text[at] == "=":
            value, at = _take_value(text, at + 1)
            if _NAME.match(name):
                found[name] = value
        at = text.find("\n", at) + 1 or len(text)
    return found


def _take_name(text: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] not in "=\n":
        end += 1
    return text[at:end], end


def _take_value(text: str, at: int) -> tuple[str, int]:
    """A shell word: pieces in single quotes, double quotes, `$'…'` or bare, up to an unquoted line break."""
    value = []
    while at < len(text) and text[at] != "\n":
        char = text[at]
        if char == "'":
            end = text.find("'", at + 1)
            if end < 0:
                break
            value.append(text[at + 1 : end])
            at = end + 1
        elif char == '"':
            piece, at = _take_double_quoted(text, at + 1)
            value.append(piece)
        elif char == "$" and text[at + 1 : at + 2] == "'":
            piece, at = _take_ansi_quoted(text, at + 2)
            value.append(piece)
        elif char == "\\":
            value.append(text[at + 1 : at + 2])
            at += 2
        else:
            value.append(char)
            at += 1
    # bash writes bytes of one character as octal escapes each: put them together again.
    return "".join(value).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), at


def _take_double_quoted(text: str, at: int) -> tuple[str, int]:
    piece = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in ("$", "`", '"', "\\"):
            at += 1
        piece.append(text[at])
        at += 1
    return "".join(piece), at + 1


_ANSI = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "v": "\v",
}


def _take_ansi_quoted(text: str, at: int) -> tuple[str, int]:
    piece = []
    while at < len(text) and text[at] != "'":
        if text[at] != "\\":
            piece.append(text[at])
            at += 1
            continue
        octal = re.compile(r"[0-7]{1,3}").match(text, at + 1)
        if octal:
            piece.append(bytes([int(octal.group(), 8) & 255]).decode("utf-8", "surrogateescape"))
            at = octal.end()
        else:
            letter = text[at + 1 : at + 2]
            piece.append(_ANSI.get(letter, letter))
            at += 2
    return "".join(piece), at + 1
