"""Shell text as the simple commands it would run, so that rules judge commands and not strings.

A small recursive-descent parser for the language of `sh` with what people use of bash: lists, pipelines, subshells
and brace groups, if, while, until, for, case, functions, here-documents, command and process substitution, quotes
of all kinds, brace expansion, and variables whose value stands in the same text. `shell_commands` then takes the
wrappers off (`sudo`, `env`, `xargs`, `sh -c`, `eval` …). It runs nothing and reads no file.

What it does not understand it says (`ShellText.unparsed`) and still gives what it found up to there. It is a
courtesy for people and models, not a wall: a program can always be written to a file and run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from ooda.governance.shell_commands import (
    NotUnderstoodError,
    Pipe,
    Redirect,
    Script,
    ShellText,
    SimpleCommand,
    Word,
)
from ooda.governance.shell_words import MAX_DEPTH, WordReader, words_of

__all__ = ["Redirect", "ShellText", "SimpleCommand", "parse_shell"]

_MAX_LENGTH: Final = 100_000

_FUNCTION: Final = re.compile(
    r"function[ \t]+(?P<a>[^\s(){};&|<>]+)[ \t]*(?:\([ \t]*\))?|(?P<b>[^\s(){};&|<>=\"'$`\\]+)[ \t]*\([ \t]*\)"
)
_REDIRECT: Final = re.compile(r"(?:\d+|\{\w+\})?(?:(?P<a><<<|<<-?|<>|<&|>&|>>|>\||<(?!\()|>(?!\())|(?P<b>&>>?))")
_RESERVED: Final = re.compile(
    r"(?:if|then|elif|else|fi|while|until|do|done|for|select|case|esac|in|coproc|time|\{|\}|!|\[\[)"
    r"(?=[\s;&|()<>]|\Z)"
)
_CLOSERS: Final = frozenset({"then", "elif", "else", "fi", "do", "done", "esac", "}"})
_ASSIGNS: Final = re.compile(r"[A-Za-z_]\w*(?:\[[^\]\s]*\])?\+?=")
_ENDLESS: Final = re.compile(r"\s*(?:true|:|/bin/true|\[\s*1\s*\]|\(\(\s*1?\s*\)\))\s*;?\s*")


@lru_cache(maxsize=512)
def parse_shell(text: str, cwd: str = "") -> ShellText:
    """The simple commands of a shell text, in order; every text is accepted.

    Args:
        cwd: Where it would run, absolute; empty when unknown. `cd` inside the text is followed.
    """
    if len(text) > _MAX_LENGTH:
        return ShellText((), f"it is longer than {_MAX_LENGTH} characters")
    script = Script(_read_script, cwd)
    _read_script(script, text)
    return script.finished()


def _read_script(script: Script, text: str) -> None:
    """Add the commands of a text to a script; what is not understood is noted there."""
    if script.depth >= MAX_DEPTH:
        script.note("it is nested too deeply")
        return
    script.depth += 1
    reader = _Reader(script, text)
    try:
        reader.read_list()
        if reader.at < len(text):
            script.note(f"`{text[reader.at]}` at character {reader.at + 1} closes nothing")
    except NotUnderstoodError as problem:
        script.note(str(problem))
    finally:
        script.depth -= 1


class _Reader(WordReader):
    """Reads one text from left to right, adding what it finds to its script."""

    def __init__(self, script: Script, text: str) -> None:
        super().__init__(text)
        self.script = script

    # -- lists and pipelines ----------------------------------------------------------------------------

    def read_list(self) -> None:
        """Commands up to a closing word or bracket, which is left for the caller, or to the end."""
        while True:
            self.skip_space()
            if self.at >= len(self.text) or self.text[self.at] == ")" or self._peek() in _CLOSERS:
                return
            if self.text.startswith(";;", self.at):
                return
            first = len(self.script.found)
            self._read_and_or()
            self.skip_blanks()
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "&":
                self.at += 1
                for command in self.script.found[first:]:
                    command.is_background = True
            elif self.text[self.at] == ";" and not self.text.startswith(";;", self.at):
                self.at += 1
            elif self.text[self.at] not in "\n#);":
                raise NotUnderstoodError(f"`{self.text[self.at]}` at character {self.at + 1} is not expected there")

    def _read_and_or(self) -> None:
        while True:
            self._read_pipeline()
            self.skip_blanks()
            if not self.text.startswith(("&&", "||"), self.at):
                return
            self.at += 2
            self.skip_space()

    def _read_pipeline(self) -> None:
        inherited, first, is_pipeline = self.script.stdin, len(self.script.found), False
        while self._peek() in ("!", "time"):
            self.at += len(self._peek())
            self.skip_blanks()
            if self.text.startswith("-p ", self.at):
                self.at += 3
        while True:
            self.script.output = None
            self._read_command()
            self.skip_blanks()
            if not self.text.startswith("|", self.at) or self.text.startswith("||", self.at):
                break
            is_pipeline = True
            self.at += 2 if self.text.startswith("|&", self.at) else 1
            self.script.stdin = Pipe(self.script.output)
            self.skip_space()
        self.script.stdin = inherited
        if is_pipeline:
            for command in self.script.found[first:]:
                command.is_piped = True

    # -- commands ---------------------------------------------------------------------------------------

    def _read_command(self) -> None:
        self.deepen()
        if self.text.startswith("((", self.at):
            self._read_arithmetic()
            self._read_redirects_behind()
        elif self.text.startswith("(", self.at):
            self.at += 1
            with self.script.scope():
                self.read_list()
            self._expect(")")
            self._read_redirects_behind()
        elif (word := self._peek()) and word not in ("time", "!", "in"):
            self.at += len(word)
            self._read_compound(word)
            self._read_redirects_behind()
        elif function := _FUNCTION.match(self.text, self.at):
            self._read_function(function)
        else:
            self._read_simple()
        self.depth -= 1

    def _read_compound(self, word: str) -> None:
        match word:
            case "{":
                self.read_list()
                self._expect("}")
            case "if":
                self.read_list()
                self._expect("then")
                self.read_list()
                while self._take("elif"):
                    self.read_list()
                    self._expect("then")
                    self.read_list()
                if self._take("else"):
                    self.read_list()
                self._expect("fi")
            case "while" | "until":
                start = self.at
                self.read_list()
                is_endless = word == "while" and bool(_ENDLESS.fullmatch(self.text[start : self.at]))
                self._read_body(is_endless)
            case "for" | "select":
                self._read_for()
            case "case":
                self._read_case()
            case "[[":
                self._read_test()
            case "coproc":
                self.skip_blanks()
                self._read_command()
            case _:
                raise NotUnderstoodError(f"`{word}` at character {self.at - len(word) + 1} is not expected there")

    def _read_body(self, is_endless: bool) -> None:
        """`do … done`; an endless loop that starts jobs without ever waiting is a fork bomb."""
        self._expect("do")
        first = len(self.script.found)
        self.read_list()
        self._expect("done")
        body = self.script.found[first:]
        if (
            is_endless
            and any(c.is_background for c in body)
            and not any(c.name in ("wait", "sleep", "read") for c in body)
        ):
            self.script.is_fork_bomb = True

    def _read_for(self) -> None:
        self.skip_blanks()
        if self.text.startswith("((", self.at):
            start = self.at
            self._read_arithmetic()
            is_endless = self.text[start : self.at].replace(" ", "") == "((;;))"
        else:
            is_endless = False
            name, values = self._read_plain_word(), []
            self.skip_space()
            if self._take("in"):
                values = self._read_words()
            # In the body the variable is each of its values in turn; one known value is a known variable.
            if len(values) == 1 and values[0].is_literal and not values[0].is_pattern:
                self.script.variables[name] = values[0].text
            else:
                self.script.variables.pop(name, None)
        self.skip_space()
        if self.text.startswith(";", self.at):
            self.at += 1
        if self._take("{"):
            self.read_list()
            self._expect("}")
        else:
            self._read_body(is_endless)

    def _read_case(self) -> None:
        self.skip_blanks()
        self._words_here()
        self._expect("in")
        while not self._take("esac"):
            self.skip_space()
            if self.at >= len(self.text):
                raise NotUnderstoodError("`esac` is missing")
            if self.text.startswith("(", self.at):
                self.at += 1
            while not self.text.startswith(")", self.at):
                self.skip_blanks()
                if self.text.startswith("|", self.at):
                    self.at += 1
                elif self.text.startswith(")", self.at):
                    break
                elif not self._words_here():
                    raise NotUnderstoodError(f"a pattern is missing at character {self.at + 1}")
            self.at += 1
            self.read_list()
            for end in (";;&", ";;", ";&"):
                if self.text.startswith(end, self.at):
                    self.at += len(end)
                    break

    def _read_test(self) -> None:
        """`[[ … ]]`: nothing runs in it but its substitutions."""
        while True:
            self.skip_space()
            if self.at >= len(self.text):
                raise NotUnderstoodError("`]]` is missing")
            if self.text.startswith("]]", self.at):
                self.at += 2
                return
            if self.text[self.at] in "()<>&|;":
                self.at += 1
            else:
                self._words_here()

    def _read_function(self, match: re.Match[str]) -> None:
        self.at = match.end()
        self.skip_space()
        outside = self.script.functions
        self.script.functions = (*outside, match.group("a") or match.group("b"))
        with self.script.scope():
            self._read_command()
        self.script.functions = outside

    def _read_simple(self) -> None:
        words: list[Word] = []
        assigned: list[Word] = []
        redirects: list[Redirect] = []
        here: str | None = None
        start = self.at
        while True:
            self.skip_blanks()
            redirect = _REDIRECT.match(self.text, self.at)
            if redirect:
                here = self._read_redirect(redirect, redirects, here)
            elif self.is_at_end_of_words() or self.text[self.at] == "#":
                break
            elif not words and _ASSIGNS.match(self.text, self.at):
                assigned += self._read_assignment()
            else:
                words += self._words_here()
        if self.at == start:
            found = self.text[self.at : self.at + 1]
            raise NotUnderstoodError(
                f"`{found}` at character {self.at + 1} is no command" if found else "it ends too early"
            )
        self.script.add(words, assigned, redirects, here)

    def _read_assignment(self) -> list[Word]:
        match = _ASSIGNS.match(self.text, self.at)
        if match and self.text.startswith("(", match.end()):
            self.at = match.end() + 1
            values = self._read_words(closer=")")
            self._expect(")")
            return [Word(match.group() + " ".join(value.text for value in values), is_literal=False)]
        return self._words_here(expands_braces=False)

    # -- redirections and here-documents -----------------------------------------------------------------

    def _read_redirects_behind(self) -> None:
        """Redirections of a compound command count as a command without a name."""
        redirects: list[Redirect] = []
        while True:
            self.skip_blanks()
            match = _REDIRECT.match(self.text, self.at)
            if not match:
                break
            self._read_redirect(match, redirects, None)
        if redirects:
            output = self.script.output
            self.script.add([], [], redirects, None)
            self.script.output = output

    def _read_redirect(self, match: re.Match[str], redirects: list[Redirect], here: str | None) -> str | None:
        operator = match.group("a") or match.group("b")
        self.at = match.end()
        self.skip_blanks()
        if operator in ("<<", "<<-"):
            return self._read_here_document(is_indented=operator == "<<-")
        words = self._words_here()
        if not words:
            raise NotUnderstoodError(f"a file is missing behind `{operator}`")
        target = words[0]
        if operator == "<<<":
            return target.text if target.is_literal else None
        if not (operator in ("<&", ">&") and re.fullmatch(r"\d*-?", target.text)):
            redirects.append(Redirect(operator, target.text))
        return here

    def _read_here_document(self, is_indented: bool) -> str | None:
        """The body, which begins on the next line; None when substitutions in it are resolved only at run time."""
        start = self.at
        words = self._words_here(expands_braces=False)
        if not words:
            raise NotUnderstoodError("a here-document has no delimiter")
        is_quoted = any(mark in self.text[start : self.at] for mark in "'\"\\")
        line_end = self.text.find("\n", self.at)
        if line_end < 0:
            return ""
        begin = self.jumps.get(line_end, line_end + 1)
        body: list[str] = []
        at = begin
        while at < len(self.text):
            end = self.text.find("\n", at)
            end = len(self.text) if end < 0 else end
            line = self.text[at:end].lstrip("\t") if is_indented else self.text[at:end]
            at = min(end + 1, len(self.text))
            if line == words[0].text:
                break
            body.append(line)
        self.jumps[line_end] = at
        text = "\n".join(body) + "\n"
        if is_quoted or not re.search(r"[$`\\]", text):
            return text
        inner = _Reader(self.script, text)
        inner.depth = self.depth
        pieces = inner.read_here_body()
        return None if any(how == "unknown" for _, how in pieces) else "".join(part for part, _ in pieces)

    # -- small steps ------------------------------------------------------------------------------------

    def _words_here(self, *, expands_braces: bool = True) -> list[Word]:
        return words_of(self.read_word(), expands_braces=expands_braces)

    def _read_words(self, closer: str = "") -> list[Word]:
        words: list[Word] = []
        while True:
            if closer:
                self.skip_space()
            else:
                self.skip_blanks()
            if self.is_at_end_of_words():
                return words
            words += self._words_here()

    def _read_plain_word(self) -> str:
        words = self._words_here()
        if not words:
            raise NotUnderstoodError(f"a name is missing at character {self.at + 1}")
        return words[0].text

    def _read_arithmetic(self) -> None:
        self.at += 2
        self.read_arithmetic_rest()

    def _peek(self) -> str:
        match = _RESERVED.match(self.text, self.at)
        return match.group() if match else ""

    def _take(self, word: str) -> bool:
        self.skip_space()
        if self._peek() != word:
            return False
        self.at += len(word)
        return True

    def _expect(self, word: str) -> None:
        self.skip_space()
        is_there = self.text.startswith(")", self.at) if word == ")" else self._peek() == word
        if not is_there:
            raise NotUnderstoodError(f"`{word}` is missing at character {self.at + 1}")
        self.at += len(word)

    # -- what words need to know ------------------------------------------------------------------------

    def value_of(self, name: str) -> str | None:
        return self.script.variables.get(name)

    def read_substitution(self) -> None:
        with self._substituted():
            self.read_list()
            self._expect(")")

    def read_inner_text(self, text: str) -> None:
        with self._substituted():
            _read_script(self.script, text)

    @contextmanager
    def _substituted(self) -> Iterator[None]:
        """A substitution runs in a subshell, and what it prints goes into the word."""
        stdin, output = self.script.stdin, self.script.output
        self.script.stdin = None
        with self.script.scope():
            yield
        self.script.stdin, self.script.output = stdin, output
