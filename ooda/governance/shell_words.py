"""Words of shell text: quotes, escapes, expansions and braces, read character by character.

A word comes as pieces that remember how they stood in the text, because quoting decides everything after: whether a
brace expands, a star is a pattern, a value is split. What an expansion gives is known only when the variable was set
in the same text; otherwise the piece stays as written and the word is no literal.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, Literal

from ooda.governance.shell_commands import NotUnderstoodError, Word

__all__ = ["MAX_DEPTH", "Piece", "WordReader", "words_of"]

Piece = tuple[str, Literal["plain", "quoted", "unknown", "gap"]]
"""Text and how it stood there; a gap is where the value of a variable is split into words."""

_BLANKS: Final = re.compile(r"(?:[ \t]|\\\r?\n)*")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_SPECIAL: Final = re.compile(r"[0-9?$!@*#-]")
_PLAIN: Final = re.compile(r"[^\s;&|()<>'\"\\$`]+")
_ENDS_WORD: Final = frozenset(" \t\r\n;&|()<>")
_ANSI: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "E": "\x1b"}
_ANSI_CODE: Final = re.compile(r"x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})")
_MAX_WORDS: Final = 64
"""Words one brace expansion may give."""
MAX_DEPTH: Final = 24


class WordReader:
    """Reads words at `at`; what runs inside them (substitutions) is read by the class built on this one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.jumps: dict[int, int] = {}
        """From a line end to behind the here-documents that follow it."""

    # -- what the class built on this one knows -----------------------------------------------------------

    def value_of(self, name: str) -> str | None:
        """The value of a variable set in the same text, None when it is not known."""
        raise NotImplementedError

    def read_substitution(self) -> None:
        """Read the commands of `$(`, `<(` or `>(` up to and with the closing bracket."""
        raise NotImplementedError

    def read_inner_text(self, text: str) -> None:
        """Read the commands of a backquoted text."""
        raise NotImplementedError

    def deepen(self) -> None:
        """One level further in; too many are not followed.

        Raises:
            NotUnderstoodError: the text is nested more than `MAX_DEPTH` deep.
        """
        if self.depth >= MAX_DEPTH:
            raise NotUnderstoodError("it is nested too deeply")
        self.depth += 1

    # -- steps ----------------------------------------------------------------------------------------------

    def skip_blanks(self) -> None:
        """Over spaces, tabs and continued lines."""
        match = _BLANKS.match(self.text, self.at)
        if match:
            self.at = match.end()

    def skip_space(self) -> None:
        """Over blanks, line ends with the here-documents behind them, and comments."""
        while True:
            self.skip_blanks()
            if self.text.startswith(("\n", "\r\n"), self.at):
                line_end = self.text.index("\n", self.at)
                self.at = self.jumps.get(line_end, line_end + 1)
            elif self.text.startswith("#", self.at):
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def is_at_end_of_words(self) -> bool:
        """Whether what stands here ends a simple command (`<(` and `>(` do not)."""
        if self.at >= len(self.text):
            return True
        return self.text[self.at] in _ENDS_WORD and not self.text.startswith(("<(", ">("), self.at)

    # -- words ----------------------------------------------------------------------------------------------

    def read_word(self) -> list[Piece]:
        """The pieces of the word that begins here; none when there is no word."""
        pieces: list[Piece] = []
        text = self.text
        while self.at < len(text):
            letter = text[self.at]
            if letter in _ENDS_WORD:
                if not text.startswith(("<(", ">("), self.at):
                    break
                start = self.at
                self.at += 2
                self.read_substitution()
                pieces.append((text[start : self.at], "unknown"))
            elif letter == "\\":
                self._read_escape(pieces)
            elif letter == "'":
                end = text.find("'", self.at + 1)
                if end < 0:
                    raise NotUnderstoodError("a ' is never closed")
                pieces.append((text[self.at + 1 : end], "quoted"))
                self.at = end + 1
            elif letter == '"':
                self.at += 1
                self._read_double_quoted(pieces)
            elif letter == "$":
                self._read_dollar(pieces, is_quoted=False)
            elif letter == "`":
                self._read_backquoted(pieces)
            else:
                match = _PLAIN.match(text, self.at)
                end = match.end() if match else self.at + 1
                pieces.append((text[self.at : end], "plain"))
                self.at = end
        return pieces

    def read_here_body(self) -> list[Piece]:
        """The whole text as the body of a here-document: quotes mean nothing, expansions do."""
        pieces: list[Piece] = []
        while self.at < len(self.text):
            self._read_in_double_quotes(pieces)
        return pieces

    def read_arithmetic_rest(self) -> None:
        """To behind the `))` of an arithmetic expression whose `((` was read; substitutions in it are read."""
        level = 2
        ignored: list[Piece] = []
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter in "()":
                level += 1 if letter == "(" else -1
                self.at += 1
                if level == 0:
                    return
            elif letter in "$`\\":
                self._read_in_double_quotes(ignored)
            else:
                self.at += 1
        raise NotUnderstoodError("a `((` is never closed")

    def _read_escape(self, pieces: list[Piece]) -> None:
        if self.text.startswith(("\\\n", "\\\r\n"), self.at):
            self.at = self.text.index("\n", self.at) + 1
        else:
            pieces.append((self.text[self.at + 1 : self.at + 2] or "\\", "quoted"))
            self.at += 2

    def _read_double_quoted(self, pieces: list[Piece]) -> None:
        pieces.append(("", "quoted"))
        while self.at < len(self.text):
            if self.text[self.at] == '"':
                self.at += 1
                return
            self._read_in_double_quotes(pieces)
        raise NotUnderstoodError('a " is never closed')

    def _read_in_double_quotes(self, pieces: list[Piece]) -> None:
        """One character or expansion as it means between double quotes."""
        letter = self.text[self.at]
        if letter == "$":
            self._read_dollar(pieces, is_quoted=True)
        elif letter == "`":
            self._read_backquoted(pieces)
        elif letter == "\\" and self.text[self.at + 1 : self.at + 2] in ("$", "`", '"', "\\", "\n"):
            following = self.text[self.at + 1]
            pieces.append(("" if following == "\n" else following, "quoted"))
            self.at += 2
        else:
            pieces.append((letter, "quoted"))
            self.at += 1

    def _read_backquoted(self, pieces: list[Piece]) -> None:
        start = self.at
        inner: list[str] = []
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != "`":
            if self.text[self.at] == "\\" and self.text[self.at + 1 : self.at + 2] in ("`", "\\", "$"):
                self.at += 1
            inner.append(self.text[self.at])
            self.at += 1
        if self.at >= len(self.text):
            raise NotUnderstoodError("a ` is never closed")
        self.at += 1
        self.read_inner_text("".join(inner))
        pieces.append((self.text[start : self.at], "unknown"))

    def _read_dollar(self, pieces: list[Piece], *, is_quoted: bool) -> None:
        start, text = self.at, self.text
        following = text[start + 1 : start + 2]
        if text.startswith("$((", start) and self._is_arithmetic():
            self.at = start + 3
            self.read_arithmetic_rest()
        elif following == "(":
            self.at = start + 2
            self.read_substitution()
        elif following == "{":
            self._read_braced(pieces, is_quoted=is_quoted)
            return
        elif following == "'" and not is_quoted:
            self._read_ansi(pieces)
            return
        elif following == '"' and not is_quoted:
            self.at = start + 2
            self._read_double_quoted(pieces)
            return
        elif name := _NAME.match(text, start + 1):
            self.at = name.end()
            self._put_value(pieces, name.group(), is_quoted=is_quoted)
            return
        elif _SPECIAL.match(text, start + 1):
            self.at = start + 2
        else:
            pieces.append(("$", "quoted"))
            self.at = start + 1
            return
        pieces.append((text[start : self.at], "unknown"))

    def _is_arithmetic(self) -> bool:
        """`$((1+2))` against `$((cmd); cmd)`: the two closing brackets stand together."""
        level = 0
        for place in range(self.at + 1, min(len(self.text), self.at + 2000)):
            level += {"(": 1, ")": -1}.get(self.text[place], 0)
            if level == 1 and self.text[place] == ")":
                return self.text.startswith("))", place)
        return False

    def _put_value(self, pieces: list[Piece], name: str, *, is_quoted: bool) -> None:
        value = " " if name == "IFS" else self.value_of(name)
        if value is None:
            pieces.append((f"${name}", "unknown"))
        elif is_quoted:
            pieces.append((value, "quoted"))
        else:
            for place, part in enumerate(re.split(r"[ \t\n]+", value)):
                if place:
                    pieces.append(("", "gap"))
                if part:
                    pieces.append((part, "plain"))

    def _read_braced(self, pieces: list[Piece], *, is_quoted: bool) -> None:
        """`${…}`: a known plain variable is its value; every other form is read for what runs in it."""
        start = self.at
        simple = re.compile(r"\$\{([A-Za-z_]\w*)\}").match(self.text, start)
        if simple:
            self.at = simple.end()
            self._put_value(pieces, simple.group(1), is_quoted=is_quoted)
            return
        self.at += 2
        self.deepen()
        ignored: list[Piece] = []
        while self.at < len(self.text) and self.text[self.at] != "}":
            letter = self.text[self.at]
            if letter == "'" and not is_quoted:
                end = self.text.find("'", self.at + 1)
                if end < 0:
                    raise NotUnderstoodError("a ' is never closed")
                self.at = end + 1
            elif letter == '"':
                self.at += 1
                self._read_double_quoted(ignored)
            else:
                self._read_in_double_quotes(ignored)
        if self.at >= len(self.text):
            raise NotUnderstoodError("a `${` is never closed")
        self.at += 1
        self.depth -= 1
        pieces.append((self.text[start : self.at], "unknown"))

    def _read_ansi(self, pieces: list[Piece]) -> None:
        """`$'…'` with the escapes of C."""
        self.at += 2
        out: list[str] = []
        while self.at < len(self.text) and self.text[self.at] != "'":
            letter = self.text[self.at]
            self.at += 1
            if letter != "\\":
                out.append(letter)
                continue
            code = _ANSI_CODE.match(self.text, self.at)
            if code:
                digits, base = (code.group(4), 8) if code.group(4) else (code.group()[1:], 16)
                number = int(digits, base)
                out.append(chr(number) if number < 0x110000 else "\ufffd")
                self.at = code.end()
            else:
                following = self.text[self.at : self.at + 1]
                out.append(_ANSI.get(following, following))
                self.at += 1
        if self.at >= len(self.text):
            raise NotUnderstoodError("a $' is never closed")
        self.at += 1
        pieces.append(("".join(out), "quoted"))


def words_of(pieces: list[Piece], *, expands_braces: bool = True) -> list[Word]:
    """The words that pieces give: split at gaps, braces expanded."""
    words: list[Word] = []
    part: list[Piece] = []
    for piece in [*pieces, ("", "gap")]:
        if piece[1] != "gap":
            part.append(piece)
        elif part:
            for alternative in _braced(part) if expands_braces else [part]:
                words.append(_word(alternative))
            part = []
    return words


def _word(pieces: list[Piece]) -> Word:
    return Word(
        "".join(text for text, _ in pieces),
        is_literal=all(how != "unknown" for _, how in pieces),
        is_pattern=any(how == "plain" and any(mark in text for mark in "*?[") for text, how in pieces),
    )


def _braced(pieces: list[Piece]) -> list[list[Piece]]:
    """`a{b,c}d` as `abd` and `acd`; only unquoted braces with an unquoted comma count."""
    if not any(how == "plain" and "{" in text for text, how in pieces):
        return [pieces]
    letters: list[Piece] = [
        piece
        for text, how in pieces
        for piece in ([(letter, how) for letter in text] if how == "plain" else [(text, how)])
    ]
    return [_joined(alternative) for alternative in _expanded(letters)[:_MAX_WORDS]]


def _expanded(letters: list[Piece], depth: int = 0) -> list[list[Piece]]:
    if depth > MAX_DEPTH:
        raise NotUnderstoodError("its braces are nested too deeply")
    for start, piece in enumerate(letters):
        if piece != ("{", "plain"):
            continue
        level, commas = 0, [start]
        for place in range(start, len(letters)):
            if letters[place] == ("{", "plain"):
                level += 1
            elif letters[place] == (",", "plain") and level == 1:
                commas.append(place)
            elif letters[place] == ("}", "plain"):
                level -= 1
                if level == 0:
                    break
        else:
            return [letters]
        if len(commas) == 1:
            continue
        bounds = [*commas, place]
        rests = _expanded(letters[place + 1 :], depth + 1)
        found = [
            letters[:start] + middle + rest
            for left, right in pairwise(bounds)
            for middle in _expanded(letters[left + 1 : right], depth + 1)
            for rest in rests
        ]
        if len(found) > _MAX_WORDS:
            raise NotUnderstoodError("its braces expand to too many words")
        return found
    return [letters]


def _joined(letters: list[Piece]) -> list[Piece]:
    pieces: list[Piece] = []
    for text, how in letters:
        if pieces and pieces[-1][1] == how == "plain":
            pieces[-1] = (pieces[-1][0] + text, how)
        else:
            pieces.append((text, how))
    return pieces
