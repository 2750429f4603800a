"""Secrets known by their key: `password: …`, `"token": "…"`, `--api-key …`, `?sig=…`, `<secret>…</secret>`.

A key counts when its name *ends* in a secret's word, so `token_count` and `secretName` do not. What stands behind it
is then judged, because source code and documentation are full of such keys with nothing secret behind them: types,
variables, placeholders, paths and prose are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from ooda.governance.redaction_shapes import is_base64_pair

__all__ = [
    "COLON_ANCHORS",
    "FLAG_LITERALS",
    "KEY_LITERALS",
    "KEY_NAMES",
    "PAIR_ANCHORS",
    "flag_spans",
    "key_spans",
    "manifest_spans",
    "pair_spans",
]

KEY_NAMES: Final = ("password", "secret", "token", "api-key", "credential", "kubernetes-secret")
"""The names that stand in the markers of this room."""

COLON_ANCHORS: Final = frozenset(
    b"word sswd rase pass cret oken auth tial ials ikey ekey skey tkey nkey hkey gkey rkey dkey _key -key .key "
    b"?sig &sig".split()
)
"""The last four bytes of the words below, as they stand before a colon or `=`, quotes and white space left out."""

PAIR_ANCHORS: Final = frozenset({b"alue"})
KEY_LITERALS: Final = (b"pwd", b"word>", b"oken>", b"cret>")

FLAG_LITERALS: Final = (b"-pass", b"-pwd ", b"-token ", b"-secret ", b"-key", b"-apikey ")

_WORD: Final = (
    r"(?P<word>passwords?|passwd|pass[-_ ]?phrase|secret|token|credentials?"
    r"|(?:api|access|secret|private|encryption|signing|auth|account|master|shared|storage|ssh|sas|subscription"
    r"|session|service[-_ ]?role|function|license|webhook)[-_ .]?key"
    r"|(?<![A-Za-z])(?:pass|pwd|auth)|(?<=[?&])sig)"
)
# The four patterns below are compiled by `re` (and kept there) when the first text needs them, not at import.
_VALUE: Final = (
    r'(?:"(?P<a>(?:\\.|[^"\\\n]){1,4096})'
    r"|'(?P<b>(?:\\.|[^'\\\n]){1,4096})"
    r"|`(?P<c>[^`\n]{1,4096})"
    r"|\\+[\"'](?P<d>(?:(?!\\+[\"'])[^\n]){1,4096})"
    r"|(?P<bare>[^\s\"'`,;&<>(){}\[\]|\\]{1,4096}))"
)
_PAIR: Final = _WORD + r"\\*[\"'`]?\]?[ \t]*(?P<sep>:=|=>|=(?!=)|:)[ \t]*" + _VALUE
_FLAG: Final = (
    r"(?<![\w-])--?(?:[a-z0-9]+-){0,5}(?P<word>pass(?:word|wd|phrase)?|pwd|token|secret|(?:api|access|secret|private|auth)-?key)"
    r" +" + _VALUE
)
_ELEMENT: Final = (
    r"<(?P<tag>[\w:.-]{0,40}?(?P<word>password|passwd|passphrase|secret|token|api-?key))>"
    r"(?P<a>[^<>\n]{3,4096})</(?P=tag)>"
)
_NAMED: Final = (
    r"\bname\\*[\"']?\s*[:=]\s*\\*[\"']?(?P<key>[\w.-]{0,80}?" + _WORD + r")\\*[\"']?\s*,?\s*"
    r"\\*[\"']?value\\*[\"']?[ \t]*[:=][ \t]*" + _VALUE
)

_PLACEHOLDER: Final = re.compile(
    r"""[*.x•\#_?:-]{2,} | \#[0-9a-f]{3,8} | [a-z]+(?:\|[a-z]+)+
    | <.*>? | \{.*\}? | %\(\w+\)s | %[A-Za-z_]*%? | %s:%s
    | \$\{.* | \$\(.* | \$\$?[A-Za-z_]\w* | \$env:\w+
    | \[?(?:redacted|filtered|masked|hidden|removed)\]? | «.*
    | (?:your|my|the|enter|insert|replace|put|add|some|an?)[-_ ].* | .*(?:example|placeholder|dummy).*
    | none | null | nil | true | false | undefined | yes | no | on | off
    | str(?:ing)? | int(?:eger)? | bool(?:ean)? | bytes | float | number | any | object | unknown | void | never
    | optional | required | missing | empty | unset | invalid | text | password | passwd | secret | token""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_REFERENCE: Final = re.compile(
    r"""(?:https?|file|op|sm|ref\+\w+|vault|arn|env|secretsmanager|keyvault|gcp|projects)[:/].* | projects/.*
    | [A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+ | (?:~|\.{0,2})/[\w.@-]*(?:/[\w.@-]*)* | [A-Za-z]:\\.*
    | [A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+""",
    re.VERBOSE | re.DOTALL,
)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*")
_NAME_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_CALL: Final = re.compile(r"[A-Za-z_][\w.]*[(\[]")
_TYPE_NAME: Final = re.compile(r"(?:[A-Z][a-z]+)+|[A-Z][A-Za-z]*(?:Str|Type|Bytes)")
_PROSE: Final = (
    "a an and are argument as at be but by can do does each environment env exists field file flag flags for from has "
    "have here if in instead into is it may must not of on only option options or parameter prompt required set should "
    "so stdin than that the then this to unless use used using value values variable via was when where which will "
    "with without you your"
)
_PROSE_AFTER_FLAG: Final = frozenset(_PROSE.split())

_Context = Literal["assignment", "query", "line", "loose"]


def key_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Values behind keys, and XML elements named like one."""
    for match in re.finditer(_PAIR, text, re.IGNORECASE):
        span = _judged(text, match)
        if span:
            yield (*span, _name(match.group("word")))
    if "</" in text:
        for match in re.finditer(_ELEMENT, text, re.IGNORECASE):
            if _is_secret_quoted(match.group("word").lower(), match.group("a")):
                yield (*match.span("a"), _name(match.group("word")))


def flag_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Values behind command line flags: `--token abc`."""
    for match in re.finditer(_FLAG, text, re.IGNORECASE):
        kind = match.lastgroup or "bare"
        value, word = match.group(kind), match.group("word").lower()
        if kind == "bare":
            is_plain = value.isalpha() and value.islower() and (value in _PROSE_AFTER_FLAG or not _is_pass(word))
            hidden = len(value) >= 3 and value[0] != "-" and not is_plain and not _is_kept(word, value)
        else:
            hidden = _is_secret_quoted(word, value)
        if hidden:
            yield (*match.span(kind), _name(word))


def pair_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Kubernetes environment entries: `name: DB_PASSWORD` with its `value:` on the next line or in one object."""
    for match in re.finditer(_NAMED, text, re.IGNORECASE):
        kind = match.lastgroup or "bare"
        value = match.group(kind)
        if len(value) >= 3 and not _is_kept(match.group("word").lower(), value):
            yield (*match.span(kind), _name(match.group("word")))


_YAML_BLOCK: Final = re.compile(r"^([ \t]*)(?:data|stringData):[ \t]*\n((?:\1[ \t]+[^\n]*\n?)+)", re.MULTILINE)
_YAML_ENTRY: Final = re.compile(
    r"^[ \t]+[\w.-]+:[ \t]*(?:[|>][+-]?[ \t]*\n[ \t]*)?[\"']?(?P<v>[^\s\"'|>«][^\n\"'«]*)", re.MULTILINE
)
_JSON_BLOCK: Final = re.compile(r"\"(?:data|stringData)\\*\"\s*:\s*\{([^{}]*)\}")
_JSON_ENTRY: Final = re.compile(r":\s*\\*\"(?P<v>[^\"\\«]+)")


def manifest_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Every value under `data` and `stringData`, for a text that holds a Kubernetes Secret."""
    for block, entry, group in ((_YAML_BLOCK, _YAML_ENTRY, 2), (_JSON_BLOCK, _JSON_ENTRY, 1)):
        for outer in block.finditer(text):
            for inner in entry.finditer(outer.group(group)):
                offset = outer.start(group)
                yield offset + inner.start("v"), offset + inner.end("v"), "kubernetes-secret"


def _name(word: str) -> str:
    low = word.lower()
    if low.startswith(("pass", "pwd")):
        return "password"
    if low.endswith("key") or low == "sig":
        return "api-key"
    return {"secret": "secret", "token": "token"}.get(low, "credential")


def _is_pass(word: str) -> bool:
    return word.startswith(("pass", "pwd"))


def _judged(text: str, match: re.Match[str]) -> tuple[int, int] | None:
    """The span to hide, or None when what stands there is not a secret."""
    word = match.group("word").lower()
    kind = match.lastgroup or "bare"
    start, end = match.span(kind)
    if kind != "bare":
        return (start, end) if _is_secret_quoted(word, match.group(kind)) else None
    context = _context(text, match)
    if context in ("assignment", "line"):
        # Nothing but white space and quotes ends a value there; the pattern stopped at the first bracket.
        while end < len(text) and end - start < 4096 and text[end] not in " \t\r\n\"'\\«":
            end += 1
    return (start, end) if _is_secret_bare(text, word, start, end, match.group("sep"), context) else None


def _context(text: str, match: re.Match[str]) -> _Context:
    key_start = match.start("word")
    while key_start > 0 and (text[key_start - 1].isalnum() or text[key_start - 1] in "_.-"):
        key_start -= 1
    if key_start > 0 and text[key_start - 1] in "?&;":
        return "query"
    key = text[key_start : match.end("word")]
    is_tight = match.group("sep") == "=" and text[match.end("word")] == "=" and match.end("sep") == match.start("bare")
    if is_tight and (key.isupper() or key.startswith("-")):
        return "assignment"
    before = text[text.rfind("\n", 0, key_start) + 1 : key_start].strip(" \t")
    if before in ("", "-", "export", "set", "ENV", "ARG") or before.endswith(("\\n", "\\n-")):
        return "assignment" if is_tight else "line"
    return "loose"


def _is_kept(word: str, value: str) -> bool:
    """Placeholders, references to a secret, and variables named like one."""
    if _PLACEHOLDER.fullmatch(value) or _REFERENCE.fullmatch(value):
        return True
    return bool(_IDENTIFIER.fullmatch(value)) and value.lower().rstrip("s").endswith(word.rstrip("s"))


def _is_secret_quoted(word: str, value: str) -> bool:
    if len(value) < 4 or value[0] in ",);]} " or _is_kept(word, value):
        return False  # what looked like the opening quote closed a prompt, as in `input("Password: ", x)`
    if _is_pass(word):
        return True
    if " " in value:
        return False
    if word == "auth" and len(value) < 20:
        return is_base64_pair(value)
    has_digit = any(c.isdigit() for c in value)
    return has_digit or len(value) >= 20 or (len(value) >= 8 and not (value.islower() or value.isupper()))


def _is_secret_bare(text: str, word: str, start: int, end: int, sep: str, context: _Context) -> bool:
    value = text[start:end].rstrip(",;.")
    if len(value) < 3 or _is_kept(word, value):
        return False
    has_digit = any(c.isdigit() for c in value)
    if value.isdigit() and not (_is_pass(word) and context != "loose"):
        return False
    if context == "assignment" and _is_expression(text, start, end):
        return False
    if context in ("query", "assignment"):
        return _is_pass(word) or (len(value) >= 6 and (has_digit or len(value) >= 8))
    if (end < len(text) and text[end] in "([") or _CALL.match(value):
        return False  # a call or an index, as in `token = tokens[0]`
    is_strong = has_digit and len(value) >= 8
    if context == "line" and _is_pass(word):
        rest = text[end : _line_end(text, end)].split(" #")[0].strip(" \t\r")
        if sep == ":" and not rest:
            return not _TYPE_NAME.fullmatch(value)
        return is_strong or (not rest and not _IDENTIFIER.fullmatch(value))
    return is_strong or (len(value) >= 20 and not _IDENTIFIER.fullmatch(value) and "/" not in value)


def _is_expression(text: str, start: int, end: int) -> bool:
    """Whether what follows a tight `=` is source code: a keyword argument, rather than a line of a settings file."""
    value = text[start:end]
    if _CALL.match(value) or text[end : end + 1] in ("(", "["):
        return True
    return value[-1] in ",)" and bool(_NAME_PATH.fullmatch(value.rstrip(",);:")))


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
