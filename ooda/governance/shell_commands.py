"""Simple commands found in shell text, with the wrappers taken off: what would really run, on what, with which flags.

`sudo -u x env A=1 nice rm -rf /` is `rm`; so are `xargs rm`, `find / -exec rm`, `sh -c 'rm …'`, `eval`, `busybox rm`
and `echo 'rm …' | sh`. Order and clustering of flags do not matter here: `-rf`, `-f -r` and `--recursive --force`
give the same set to look in. Knows words; how words are read from text is in `shell_text`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from ooda.governance.shell_wrappers import RUNNERS, WRAPPERS, Wrapper

__all__ = ["Found", "NotUnderstoodError", "Pipe", "Redirect", "Script", "ShellText", "SimpleCommand", "Word"]


class NotUnderstoodError(Exception):
    """The rest of a text cannot be read; the message completes "not understood because …"."""


class Word(msgspec.Struct, frozen=True):
    """One word after quotes and known variables are resolved."""

    text: str
    is_literal: bool = True
    """False when an expansion in it gets its value only at run time; the text then shows the expansion."""
    is_pattern: bool = False
    """It holds unquoted `*`, `?` or `[`: file names decide what it is."""


class Redirect(msgspec.Struct, frozen=True):
    """One redirection to or from a file."""

    operator: str
    target: str
    """Placed like an operand; `$…` stands for what is not known."""

    @property
    def is_write(self) -> bool:
        return ">" in self.operator


class SimpleCommand(msgspec.Struct, frozen=True):
    """One program run with its words."""

    name: str
    """The program without its folder; empty when only redirections stand there (`> file`)."""
    words: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    """Options, each as given and clusters also one by one: `-rf` gives `-rf`, `-r` and `-f`; without values."""
    operands: tuple[str, ...] = ()
    """What is neither an option nor the value of a known one."""
    paths: tuple[str, ...] = ()
    """The operands as paths: without `.` and `..`, absolute where the folder is known."""
    redirects: tuple[Redirect, ...] = ()
    code: str = ""
    """Program text for an interpreter that is no shell: `python -c`, `perl -e`, `awk`."""
    wrappers: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    """The shell functions in whose bodies it stands."""
    is_piped: bool = False
    is_background: bool = False


class ShellText(msgspec.Struct, frozen=True):
    """What a text would run."""

    commands: tuple[SimpleCommand, ...]
    """In order of appearance, those of substitutions and of function bodies included."""
    unparsed: str = ""
    """Why the text, or a part of it, is not understood; empty when all of it is."""
    is_fork_bomb: bool = False
    """A function that starts itself twice over, or an endless loop that only starts background jobs."""


class Pipe(msgspec.Struct, frozen=True):
    """What arrives on standard input through a pipe."""

    text: str | None
    """The text when it stands in the script (`echo … |`), None when it is not known."""


class Found(msgspec.Struct):
    """A command while its text is still being read."""

    name: str
    words: list[Word]
    redirects: list[Redirect]
    cwd: str
    code: str
    wrappers: tuple[str, ...]
    functions: tuple[str, ...]
    is_piped: bool = False
    is_background: bool = False

    def finished(self) -> SimpleCommand:
        texts = tuple(word.text for word in self.words)
        flags, operands = _sorted_out(self.name, texts[1:])
        return SimpleCommand(
            self.name,
            texts,
            flags,
            tuple(operands),
            tuple(placed(operand, self.cwd) for operand in operands),
            tuple(Redirect(r.operator, placed(r.target, self.cwd)) for r in self.redirects),
            self.code,
            self.wrappers,
            self.functions,
            self.is_piped,
            self.is_background,
        )


def placed(path: str, cwd: str) -> str:
    """A path without `.` and `..` and doubled slashes, absolute when the folder is known; other words as they are."""
    if path.startswith("/"):
        return posixpath.normpath("/" + path.lstrip("/"))
    if not cwd or path.startswith(("~", "$", "-")) or "=" in path or "://" in path:
        return path.rstrip("/") or path
    return posixpath.normpath(posixpath.join(cwd, path))


def _options(words: str) -> frozenset[str]:
    return frozenset(words.split())


_OPTIONS_WITH_VALUES: Final[dict[str, frozenset[str]]] = {
    "git": _options("-C -c --git-dir --work-tree --namespace --exec-path --super-prefix"),
    "kubectl": _options("-n --namespace --context --cluster --user --kubeconfig -s --server --token"),
    "docker": _options("-H --host -c --context -l --log-level --config"),
    "make": _options("-C -f --directory --file -I"),
    "tar": _options("-C --directory"),
}
_LONG_WITH_ONE_DASH: Final = frozenset({"find", "java", "terraform", "openssl"})


def _sorted_out(name: str, words: Sequence[str]) -> tuple[frozenset[str], list[str]]:
    """Flags and operands of a command, in any order and clustering."""
    with_values = _OPTIONS_WITH_VALUES.get(name, frozenset())
    flags: set[str] = set()
    operands: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            operands.extend(rest)
        elif word.startswith("--"):
            option = word.partition("=")[0]
            flags.add(option)
            if option in with_values and "=" not in word:
                next(rest, None)
        elif word.startswith("-") and word != "-":
            flags.add(word)
            if name not in _LONG_WITH_ONE_DASH:
                flags.update(f"-{letter}" for letter in word[1:])
            if word in with_values:
                next(rest, None)
        else:
            operands.append(word)
    return frozenset(flags), operands


# -- wrappers ------------------------------------------------------------------------------------------------


_CONTAINERS: Final = frozenset({"docker", "podman", "nerdctl", "kubectl", "oc", "docker-compose"})
_CONTAINER_VALUES: Final = _options("-v -e -u -w -p -c -n --volume --env --user --workdir --name --network --mount")
_OWN_OPERAND: Final = frozenset({"direnv", "aws-vault"})
_CHROOT: Final = "chroot"
_SSH_VALUES: Final = _options("-b -c -D -E -e -F -I -i -J -L -l -m -O -o -p -Q -R -S -W -w")
_SHELLS: Final = frozenset({"sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "rbash"})
_TAKES_TEXT: Final = {
    "su": ("-c", "--command"),
    "script": ("-c", "--command"),
    "runuser": ("-c", "--command"),
    "flock": ("-c",),
}
_CODE_FLAGS: Final[dict[str, tuple[str, ...]]] = {
    "python": ("-c",),
    "perl": ("-e", "-E", "-ne", "-pe", "-le"),
    "ruby": ("-e", "-ne", "-pe"),
    "node": ("-e", "--eval", "-p", "--print", "-pe"),
    "deno": ("eval",),
    "bun": ("-e",),
    "php": ("-r",),
    "lua": ("-e",),
}
_FIND_RUNS: Final = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)(?:\[[^\]]*\])?\+?=(.*)", re.DOTALL)
_SPLITS: Final = re.compile(r"-[0iv]*S|--split-string=?")
_RUN_BY_SHELLS: Final = frozenset({"BASH_ENV", "PS4", "PROMPT_COMMAND"})
_SED_RUNS: Final = re.compile(r"(?:^|[;{}\n\d$,/!])\s*e(?:[\s;}]|$)|s([^\w\s]).*?\1.*?\1[gpiImM\d]*e", re.DOTALL)
"""`e` of GNU sed, alone and as a flag of `s`."""
_DECLARES: Final = frozenset({"export", "readonly", "declare", "typeset", "local"})
_VERSION: Final = re.compile(r"(?<=[a-z])[\d.]+$")
_RENAMES: Final[dict[str, Callable[[list[Word]], bool]]] = {
    "alias": lambda given: any("=" in word.text for word in given),
    "hash": lambda given: any(word.text.startswith("-p") for word in given),
    "enable": lambda given: any(word.text.startswith("-f") for word in given),
}
"""Builtins behind which a word may be another program, by what they are given."""
_UNKNOWN: Final = Word("$stdin", is_literal=False)


class Script:
    """What is found while shell text is read: the commands, and what is known about folder and variables."""

    def __init__(self, read: Callable[[Script, str], None], cwd: str) -> None:
        self._read = read
        self.cwd = cwd
        self.found: list[Found] = []
        self.variables: dict[str, str] = {}
        self.functions: tuple[str, ...] = ()
        self.stdin: Pipe | None = None
        """The pipe into the command that is read now."""
        self.output: str | None = None
        """What the last command prints, when its words say so."""
        self.depth = 0
        self.is_fork_bomb = False
        self._unparsed = ""

    def note(self, why: str) -> None:
        """Something is not understood; the first reason is kept."""
        self._unparsed = self._unparsed or why

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A subshell: folder and variables are as before when it ends."""
        cwd, variables = self.cwd, dict(self.variables)
        try:
            yield
        finally:
            self.cwd, self.variables = cwd, variables

    def finished(self) -> ShellText:
        """All that was found."""
        commands = tuple(found.finished() for found in self.found)
        starts_itself = any(
            command.name in command.functions and (command.is_piped or command.is_background) for command in commands
        )
        return ShellText(commands, self._unparsed, self.is_fork_bomb or starts_itself)

    def add(self, words: list[Word], assigned: list[Word], redirects: list[Redirect], here: str | None) -> None:
        """One simple command as it was written; `here` is the text of its here-document or here-string."""
        self.output = None
        for word in assigned:
            self._heed(word)
        if here is not None:
            self.stdin = Pipe(here)
        if words:
            self._unwrap(words, redirects, ())
            return
        for word in assigned:
            self._assign(word)
        if redirects:
            self._keep("", [], redirects, ())

    def _heed(self, word: Word) -> None:
        """Variables that change what a shell makes of the text behind them, or are run by it."""
        name, _, value = word.text.partition("=")
        if name in _RUN_BY_SHELLS and (name == "BASH_ENV" or any(mark in value for mark in "$`")):
            self.note(f"`{name}` is run by the shell itself")
        elif name == "IFS" and value.strip():
            self.note("`IFS` changes where words end")

    def _assign(self, word: Word) -> None:
        match = _ASSIGNMENT.fullmatch(word.text)
        if match and word.is_literal and "+=" not in word.text.partition("=")[0] + "=":
            self.variables[match.group(1)] = match.group(2)
        elif match:
            self.variables.pop(match.group(1), None)

    def _keep(
        self, name: str, words: list[Word], redirects: list[Redirect], wrappers: tuple[str, ...], code: str = ""
    ) -> None:
        self.found.append(Found(name, words, redirects, self.cwd, code, wrappers, self.functions))

    def _read_text(self, text: str) -> None:
        """Shell text given to a shell, or to what starts one; it runs in a shell of its own."""
        with self.scope():
            self._read(self, text)

    def _unwrap(self, words: list[Word], redirects: list[Redirect], wrappers: tuple[str, ...]) -> None:
        while True:
            first = words[0]
            if (not first.is_literal or first.is_pattern) and first.text not in ("[", "[["):
                self.note(f"the program's name {first.text!r} is known only at run time")
                self._keep(first.text, words, redirects, wrappers)
                return
            name = posixpath.basename(first.text) or first.text
            wrapper = WRAPPERS.get(name)
            if name in _TAKES_TEXT and self._read_option(words, _TAKES_TEXT[name]):
                return
            if wrapper is None:
                break
            inner = self._inside(name, wrapper, words)
            if not inner:
                self._keep(name, words, redirects, wrappers)
                return
            words, wrappers = inner, (*wrappers, name)
        self._judge_one(name, words, redirects, wrappers)

    def _inside(self, name: str, wrapper: Wrapper, words: list[Word]) -> list[Word]:
        """The words of the program a wrapper runs; empty when it runs none."""
        at, replaced = 1, ""
        while at < len(words) and words[at].text.startswith("-") and len(words[at].text) > 1:
            option = words[at]
            if not option.is_literal:
                self.note(f"an option of `{name}`, {option.text!r}, is known only at run time")
            at += 1
            if option.text == "--":
                break
            if name == "env" and (split := _SPLITS.match(option.text)):
                text = option.text[split.end() :]
                self._read_text(" ".join([text, *(word.text for word in words[at:])]))
                return []
            if name == "command" and option.text in ("-v", "-V"):
                return []
            if option.text in wrapper.values and at < len(words):
                if name in ("xargs", "parallel") and option.text in ("-I", "--replace"):
                    replaced = words[at].text
                at += 1
            elif name in ("xargs", "parallel") and option.text.startswith("-I"):
                replaced = option.text[2:]
        if name == "env" and at < len(words) and words[at].text == "-":
            at += 1
        while wrapper.assigns and at < len(words) and _ASSIGNMENT.fullmatch(words[at].text):
            self._heed(words[at])
            at += 1
        inner = words[at + wrapper.operands :]
        if name == "watch" and inner:
            self._read_word(Word(" ".join(word.text for word in inner), all(word.is_literal for word in inner)))
            return []
        if name in ("xargs", "parallel") and inner:
            return self._with_input(inner, replaced)
        return inner

    def _with_input(self, words: list[Word], replaced: str) -> list[Word]:
        """What `xargs` makes of its words and its standard input."""
        text = self.stdin.text if self.stdin is not None else None
        items = [Word(item) for item in text.split()] if text is not None else [_UNKNOWN]
        if not replaced:
            return [*words, *items]
        put = " ".join(item.text for item in items)
        return [
            Word(word.text.replace(replaced, put), word.is_literal and text is not None)
            if replaced in word.text
            else word
            for word in words
        ]

    def _read_option(self, words: list[Word], options: tuple[str, ...]) -> bool:
        """Read the shell text that is the value of an option; False when the option is not there."""
        for place, word in enumerate(words[1:], 1):
            is_clustered = "-c" in options and re.fullmatch(r"-[a-z]*c", word.text)
            if (word.text in options or is_clustered) and place + 1 < len(words):
                self._read_word(words[place + 1])
                return True
            if place == 1 and "-c" in options and re.match(r"-c.", word.text, re.DOTALL):
                self._read_word(Word(word.text[2:], word.is_literal))
                return True
        return False

    def _read_word(self, word: Word) -> None:
        if not word.is_literal:
            self.note(f"the shell text {word.text!r} is known only at run time")
        self._read_text(word.text)

    def _judge_one(self, name: str, words: list[Word], redirects: list[Redirect], wrappers: tuple[str, ...]) -> None:
        """A program that is no plain wrapper; some of these run shell text or other programs too."""
        program = _VERSION.sub("", name)
        if name in ("cd", "pushd"):
            self._change_folder(words)
        elif name in _DECLARES:
            if any(re.fullmatch(r"-[A-Za-z]*n[A-Za-z]*", word.text) for word in words[1:]) and name != "export":
                self.note(f"`{name} -n` makes one name stand for another")
            for word in words[1:]:
                self._heed(word)
                self._assign(word)
        elif name in ("echo", "printf", "cat"):
            self.output = self._printed(name, words)
        code = self._code(program, words)
        self._keep(name, words, redirects, wrappers, code)
        if name in _SHELLS:
            self._run_shell(words)
        elif name == "eval":
            self._read_word(Word(" ".join(w.text for w in words[1:]), all(w.is_literal for w in words[1:])))
        elif name == "trap" and len(given := [word for word in words[1:] if word.text != "--"]) > 0:
            self._read_word(given[0])
        elif name in _RENAMES and _RENAMES[name](words[1:]):
            self.note(f"`{name}` changes what names mean")
        elif name in ("compgen", "complete"):
            self._read_option(words, ("-C",))
        elif name == "sed" and any(map(_SED_RUNS.search, (word.text for word in words[1:]))):
            self.note("`sed` runs commands by its `e`")
        elif name in (".", "source") and any(not word.is_literal or "/dev/" in word.text for word in words[1:2]):
            self.note("the script that is sourced is known only at run time")
        elif name == "find":
            self._run_found(words, wrappers)
        elif program in _CODE_FLAGS and not code and self._reads_program(words):
            self.note(f"`{name}` reads its program from a pipe")
        elif name in _CONTAINERS:
            self._run_contained(words, wrappers)
        elif name == "ssh":
            self._run_remote(words)
        elif name == _CHROOT and len(words) > 2:
            self._unwrap(words[2:], [], (*wrappers, name))
        elif len(words) > 2 and words[1].text == RUNNERS.get(name):
            self._run_by_runner(name, words[2:], wrappers)

    def _change_folder(self, words: list[Word]) -> None:
        folders = [word for word in words[1:] if not word.text.startswith("-")]
        if not words[1:]:
            self.cwd = "~"
        elif not folders or not folders[0].is_literal or folders[0].is_pattern:
            self.cwd = ""
        elif folders[0].text.startswith(("/", "~")):
            self.cwd = placed(folders[0].text, "")
        else:
            self.cwd = placed(folders[0].text, self.cwd) if self.cwd else ""

    def _printed(self, name: str, words: list[Word]) -> str | None:
        if name == "cat":
            return self.stdin.text if self.stdin is not None and len(words) == 1 else None
        given = [word for word in words[1:] if not re.fullmatch(r"-[neE]+|--", word.text)]
        if not all(word.is_literal for word in given):
            return None
        if name == "printf" and given and "%" in given[0].text:
            given = given[1:]
        text = " ".join(word.text for word in given)
        return text.replace("\\n", "\n") if name == "printf" or "-e" in (word.text for word in words) else text

    def _code(self, program: str, words: list[Word]) -> str:
        if program in ("awk", "gawk", "mawk", "nawk"):
            plain = [word.text for word in words[1:] if not word.text.startswith("-")]
            return plain[0] if plain else ""
        flags = _CODE_FLAGS.get(program.removesuffix("js") if program == "nodejs" else program, ())
        for place, word in enumerate(words[:-1]):
            if word.text in flags:
                return words[place + 1].text
        if flags and self.stdin is not None and self.stdin.text is not None and len(words) < 3:
            return self.stdin.text
        return ""

    def _run_shell(self, words: list[Word]) -> None:
        for place, word in enumerate(words[1:], 1):
            if re.fullmatch(r"-[a-zA-Z]*c", word.text):
                text = next((w for w in words[place + 1 :] if not re.fullmatch(r"--|[-+][A-Za-z]+", w.text)), None)
                if text is not None:
                    self._read_word(text)
                return
            if word.text in ("-o", "+o", "-O", "+O"):
                continue
            if not word.text.startswith(("-", "+")) and words[place - 1].text not in ("-o", "+o", "-O", "+O"):
                if not word.is_literal or word.text.startswith("/dev/"):
                    self.note("the script a shell runs is known only at run time")
                return  # a script file, which is judged as the command it is
        if self.stdin is None:
            return
        if self.stdin.text is None:
            self.note("a shell reads its commands from a pipe")
        else:
            self._read_text(self.stdin.text)

    def _run_found(self, words: list[Word], wrappers: tuple[str, ...]) -> None:
        starts = []
        for word in words[1:]:
            if word.text.startswith(("-", "(", "!")):
                break
            starts.append(word)
        at = 1
        while at < len(words):
            if words[at].text not in _FIND_RUNS:
                at += 1
                continue
            end = at + 1
            while end < len(words) and words[end].text not in (";", "+"):
                end += 1
            inner: list[Word] = []
            for word in words[at + 1 : end]:
                inner += starts if word.text == "{}" else [word]
            if inner:
                self._unwrap(inner, [], (*wrappers, "find"))
            at = end + 1

    def _run_by_runner(self, name: str, words: list[Word], wrappers: tuple[str, ...]) -> None:
        at = 0
        while at < len(words) and words[at].text.startswith("-"):
            at += 1
            if words[at - 1].text == "--":
                break
        inner = words[at + (name in _OWN_OPERAND) :]
        if inner:
            self._unwrap(inner, [], (*wrappers, name))

    def _reads_program(self, words: list[Word]) -> bool:
        return self.stdin is not None and self.stdin.text is None and [word.text for word in words[1:]] in ([], ["-"])

    def _run_contained(self, words: list[Word], wrappers: tuple[str, ...]) -> None:
        """`docker exec BOX rm`, `kubectl exec POD -- rm`: the program behind the container's name."""
        at = next((place for place, word in enumerate(words) if word.text in ("exec", "run")), len(words)) + 1
        for part in range(2):  # options, the container, and options or `--` behind it
            while at < len(words) and words[at].text.startswith("-"):
                at += 2 if words[at].text in _CONTAINER_VALUES else 1
            at += part == 0
        if words[at:]:
            self._unwrap(words[at:], [], (*wrappers, words[0].text))

    def _run_remote(self, words: list[Word]) -> None:
        at = 1
        while at < len(words) and words[at].text.startswith("-"):
            at += 2 if words[at].text in _SSH_VALUES else 1
        remote = words[at + 1 :]
        if remote and remote[0].text == "--":
            remote = remote[1:]
        if remote:
            self._read_word(Word(" ".join(word.text for word in remote), all(word.is_literal for word in remote)))
