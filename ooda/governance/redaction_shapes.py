"""The shapes of secrets: what keys and tokens of well-known providers look like, as data.

Each shape has a pattern for the whole secret and *anchors*, the few bytes of it that a cheap look at the text can
find; a pattern runs only where one of its anchors was seen. Facts come from the providers' own documentation of
their token formats. Shapes with no fixed part (32 hex digits, say) are not here: those are caught by their key's
name (`redaction_keys`) or because the value was registered (`redaction_values`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, Literal

import msgspec

__all__ = ["SHAPES", "Lens", "Shape", "is_base64_pair"]

Lens = Literal["before_underscore", "before_dash", "before_dot", "literal", "userinfo"]
"""How an anchor is looked for in the lower-cased text: the three bytes in front of a separator, or (`literal`)
anywhere; `userinfo` wants a `://` and an `@`."""


class Shape(msgspec.Struct, frozen=True):
    """One kind of secret."""

    name: str
    """Stands in the marker that replaces the secret."""
    lens: Lens
    anchors: tuple[bytes, ...]
    pattern: str
    """Matches the secret; a group named `v` narrows it to the part that is replaced."""
    check: Callable[[re.Match[str]], bool] | None = None
    """A second look at a match, for what a pattern cannot say."""
    is_multiline: bool = False


# A weak prefix must begin a word. Escapes of JSON (`\n`), of URLs (`%3D`) and of terminals (`ESC[32m`) end in a
# letter and still leave the next character at the beginning of one.
_BEFORE_WORD: Final = (
    ("!", "[A-Za-z0-9]"),
    ("=", r"\\[nrtbf]"),
    ("=", "%[0-7][0-9A-Fa-f]"),
    ("=", r"[\[;0-9]m"),
)
_BEGIN: Final = "(?:" + "|".join(f"(?<{sign}{before})" for sign, before in _BEFORE_WORD) + ")"


def _word(prefix: str) -> str:
    """A prefix that begins a word. Looking back from behind it keeps the pattern's beginning a literal, which `re`
    finds many times faster."""
    return prefix + "(?:" + "|".join(f"(?<{sign}{before}{prefix})" for sign, before in _BEFORE_WORD) + ")"


def _weak(word: bytes) -> tuple[bytes, ...]:
    """Anchors for a prefix of two letters: the word itself, and behind all that may stand before a word."""
    before = [byte for byte in range(256) if not chr(byte).isalnum() or byte > 127 or byte in b"nrtbfm0123456789abcde"]
    return (word, *(bytes([byte]) + word for byte in before))


def _is_mixed(match: re.Match[str]) -> bool:
    """Digits and letters both: a generated key, not a name in kebab case."""
    secret = match.group()
    return any(c.isdigit() for c in secret) and any(c.isalpha() for c in secret[3:])


def _is_generated(match: re.Match[str]) -> bool:
    """For `sk-`, which CSS classes and package names use too: a digit, and either capitals or one long part."""
    secret = match.group()[3:]
    longest = max(secret.replace("_", "-").split("-"), key=len)
    return any(c.isdigit() for c in secret) and (any(c.isupper() for c in secret) or len(longest) >= 24)


def _has_digit(match: re.Match[str]) -> bool:
    """Generated values have digits; the words of a manual do not."""
    return any(c.isdigit() for c in match.group("v"))


def _has_body(match: re.Match[str]) -> bool:
    return bool(re.search(r"[A-Za-z0-9+/=]{24}", match.group()))


def _is_no_example(match: re.Match[str]) -> bool:
    return match.group("v").lower() not in {
        "pass",
        "passwd",
        "password",
        "pwd",
        "secret",
        "token",
        "xxx",
        "xxxx",
        "***",
    }


def is_base64_pair(text: str) -> bool:
    """Whether base64 holds `user:password`."""
    try:
        return b":" in base64.b64decode(text + "==", validate=False)
    except (binascii.Error, ValueError):
        return False


def _s(name: str, lens: Lens, anchors: str, pattern: str) -> Shape:
    return Shape(name, lens, tuple(anchor.encode() for anchor in anchors.split()), pattern)


_KEY_BLOCK: Final = r"[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"

SHAPES: Final[tuple[Shape, ...]] = (
    # -- language models
    Shape("anthropic-key", "before_dash", _weak(b"sk"), _word("sk-") + r"ant-[\w-]{20,}"),
    Shape("openrouter-key", "before_dash", _weak(b"sk"), _word("sk-") + r"or-[\w-]{20,}"),
    Shape(
        "openai-key", "before_dash", _weak(b"sk"), _word("sk-") + r"(?:proj|svcacct|admin)-[\w-]{20,}", _is_generated
    ),
    Shape("secret-key", "before_dash", _weak(b"sk"), _word("sk-") + r"[\w-]{20,}", _is_generated),
    _s("google-api-key", "literal", "aiza", r"AIza[\w-]{35,}"),
    Shape("huggingface-token", "before_underscore", _weak(b"hf"), _word("hf_") + r"[A-Za-z0-9]{30,}"),
    _s("huggingface-token", "before_underscore", "org", r"api_org_[A-Za-z0-9]{30,}"),
    _s("groq-key", "before_underscore", "gsk", r"gsk_[A-Za-z0-9]{40,}"),
    Shape("replicate-token", "before_underscore", _weak(b"r8"), _word("r8_") + r"[A-Za-z0-9]{30,}"),
    Shape("fireworks-key", "before_underscore", _weak(b"fw"), _word("fw_") + r"[A-Za-z0-9]{20,}", _is_mixed),
    _s("together-key", "before_underscore", "tgp", r"tgp_v\d_[\w-]{30,}"),
    _s("xai-key", "before_dash", "xai", r"xai-[A-Za-z0-9]{40,}"),
    _s("perplexity-key", "before_dash", "plx", r"pplx-[A-Za-z0-9]{40,}"),
    _s("nvidia-key", "before_dash", "api", r"nvapi-[\w-]{40,}"),
    _s("cerebras-key", "before_dash", "csk", r"csk-[a-z0-9]{40,}"),
    _s("langsmith-key", "before_underscore", "sv2", r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}"),
    _s("pinecone-key", "before_underscore", "csk", r"pcsk_[A-Za-z0-9_]{40,}"),
    _s("wandb-key", "before_underscore", "ndb", r"wandb_v\d_[\w-]{40,}"),
    # -- source hosts, registries, CI
    _s("github-token", "before_underscore", "ghp gho ghu ghs ghr", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    _s("github-fine-grained-token", "before_underscore", "pat", r"github_pat_\w{40,}"),
    _s(
        "gitlab-token",
        "before_dash",
        "pat ldt lrt ptt cbt lft imt ent oas oat fct",
        r"gl(?:pat|dt|rt|rtr|ptt|cbt|ft|imt|agent|oas|soat|ffct)-[\w.-]{20,}",
    ),
    _s("npm-token", "before_underscore", "npm", r"npm_[A-Za-z0-9]{36,}"),
    _s("pypi-token", "before_dash", "ypi", r"pypi-Ag[\w-]{50,}"),
    _s("rubygems-key", "before_underscore", "ems", r"rubygems_[0-9a-f]{48}"),
    _s("dockerhub-token", "before_underscore", "pat oat", r"dckr_(?:pat|oat)_[\w-]{20,}"),
    _s("circleci-token", "before_underscore", "pat", r"CCIPAT_[A-Za-z0-9]{22}_[0-9a-f]{40}"),
    _s("buildkite-token", "before_underscore", "kua", r"bkua_[0-9a-f]{40}"),
    _s("sourcegraph-token", "before_underscore", "sgp", r"sgp_\w{40,}"),
    _s("atlassian-token", "literal", "tt3xff", r"AT[AC]TT3[\w=-]{50,}"),
    # -- clouds and infrastructure
    Shape("aws-access-key", "literal", (b"akia",), _word("AKIA") + r"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _s("google-oauth-token", "before_dot", "a29", r"ya29\.[\w-]{20,}"),
    _s("google-oauth-secret", "before_dash", "spx", r"GOCSPX-[\w-]{20,}"),
    Shape("azure-client-secret", "literal", (b"q~",), _BEGIN + r"[\w~.-]{3}\dQ~[\w~.-]{31,}"),
    _s("digitalocean-token", "before_underscore", "dop doo dor", r"do[opr]_v1_[0-9a-f]{64}"),
    _s("cloudflare-token", "before_underscore", "cfk fut fat", r"cf(?:k|ut|at)_[A-Za-z0-9]{40,}"),
    _s("vercel-token", "before_underscore", "vcp vci vca vcr vck", r"vc[piark]_[A-Za-z0-9]{24,}"),
    _s("vercel-blob-token", "before_underscore", "lob", r"vercel_blob_rw_\w{30,}"),
    _s("netlify-token", "before_underscore", "nfp nfc nfo nfu nfb", r"nf[pcoub]_[A-Za-z0-9]{36,}"),
    _s("heroku-key", "before_dash", "rku", r"HRKU-[\w-]{30,}"),
    _s("flyio-token", "before_underscore", "fm1 fm2 fo1", r"f(?:m[12]_[A-Za-z0-9+/=]{40,}|o1_[\w-]{40,})"),
    _s("render-key", "before_underscore", "rnd", r"rnd_[A-Za-z0-9]{28,}"),
    _s("databricks-token", "literal", "dapi", r"dapi[0-9a-f]{32}(?:-\d)?"),
    _s("vault-token", "before_dot", "hvs hvb hvr", r"hv[sbr]\.[\w-]{20,}"),
    _s("terraform-token", "before_dot", "sv1", r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{50,}"),
    _s("doppler-token", "before_dot", "pt st ct sa", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{40,}"),
    _s("pulumi-token", "before_dash", "pul", r"pul-[0-9a-f]{40}"),
    _s("tailscale-key", "before_dash", "key", r"tskey-(?:[a-z]+-)?[\w-]{20,}"),
    _s("planetscale-token", "before_underscore", "ale", r"pscale_(?:tkn|pw|oauth)_[\w.=-]{32,}"),
    _s("supabase-token", "before_underscore", "sbp ret", r"sb(?:p_[0-9a-f]{40}|_secret_[\w-]{20,})"),
    _s("neon-key", "before_underscore", "api", r"napi_[a-z0-9]{40,}"),
    _s("prefect-key", "before_underscore", "pnu", r"pnu_[A-Za-z0-9]{30,}"),
    # -- observation and communication
    _s("slack-token", "before_dash", "oxa oxb oxc oxd oxe oxo oxp oxr oxs app", r"(?:xox[a-z]|xapp)-[\w%-]{10,}"),
    Shape(
        "webhook-url",
        "literal",
        (b"hook",),
        r"(?:hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/"
        r"|\.webhook\.office\.com/webhookb2/)(?P<v>[\w@/%+.-]{16,})",
        _has_digit,
    ),
    Shape("telegram-token", "literal", (b":aa",), _BEGIN + r"\d{8,10}:AA[\w-]{33}"),
    Shape("sendgrid-key", "before_dot", _weak(b"sg"), _word(r"SG\.") + r"[\w-]{16,}\.[\w-]{16,}"),
    _s("mailgun-key", "before_dash", "key", _word("key-") + r"(?<![-_]key-)[0-9a-f]{32}(?![0-9a-f])"),
    _s("brevo-key", "before_dash", "sib", r"xkeysib-[0-9a-f]{64}-[A-Za-z0-9]{16}"),
    _s("sentry-token", "before_underscore", "rys ryu", r"sntry[su]_[\w+/=-]{40,}"),
    _s("grafana-token", "before_underscore", "lsa glc", r"gl(?:sa_[A-Za-z0-9]{32}_[0-9a-f]{8}|c_[\w+/=-]{32,})"),
    _s("newrelic-key", "before_dash", "rak rii rjs", r"NR(?:AK|II|JS)-[\w-]{19,}"),
    _s("dynatrace-token", "before_dot", "c01 s16", r"dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _s("postman-key", "before_dash", "mak", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    _s("linear-key", "before_underscore", "lin", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,}"),
    _s("notion-token", "before_underscore", "ntn ret", r"(?:ntn_|(?<![A-Za-z_])secret_)[A-Za-z0-9]{40,}"),
    _s("figma-token", "before_underscore", "igd", r"figd_[\w-]{30,}"),
    _s("contentful-token", "before_dash", "pat", r"CFPAT-[\w-]{40,}"),
    # -- money
    Shape("stripe-key", "before_underscore", _weak(b"sk"), _word("sk_") + r"(?:live|test)_[A-Za-z0-9]{10,}"),
    Shape("stripe-key", "before_underscore", _weak(b"rk"), _word("rk_") + r"(?:live|test)_[A-Za-z0-9]{10,}"),
    _s("webhook-secret", "before_underscore", "sec", r"whsec_[A-Za-z0-9+/=]{20,}"),
    _s("square-token", "before_dash", "atp csp", r"sq0(?:atp|csp)-[\w-]{22,}"),
    _s("shopify-token", "before_underscore", "pat pca ppa pss", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    # -- formats
    Shape(
        "jwt",
        # Its first two parts are JSON objects, so both begin with the base64 of `{"`.
        "literal",
        (b".eyj",),
        _word("eyJ") + r"[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?",
    ),
    Shape(
        "private-key",
        "literal",
        (b"-----begin",),
        rf"-----BEGIN {_KEY_BLOCK}(?:(?!-----BEGIN)[\s\S]){{0,20000}}?-----END {_KEY_BLOCK}",
        _has_body,
        is_multiline=True,
    ),
    Shape(
        # The head of a block whose end was cut off.
        "private-key",
        "literal",
        (b"-----begin",),
        rf"-----BEGIN {_KEY_BLOCK}(?:(?:\s|\\[nr]|[\"'])*[A-Za-z0-9+/=]{{24,}})+",
        is_multiline=True,
    ),
    Shape(
        "private-key",
        "literal",
        (b"private-lines",),
        r"Private-Lines: \d{1,3}\r?\n(?P<v>(?:[A-Za-z0-9+/=]+\r?\n?)+)",
        is_multiline=True,
    ),
    _s("age-key", "before_dash", "key", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    Shape(
        "private-key",
        "literal",
        (b"-key",),
        r"client-key-data[\"']?\s*:\s*[\"']?(?P<v>[A-Za-z0-9+/=]{40,})",
    ),
    # -- authentication written out
    Shape(
        "bearer",
        "literal",
        (b"bearer",),
        r"(?i:bearer)(?:\s+|%20|\+)(?P<v>[\w.~+/=-]{16,})",
        _has_digit,
    ),
    Shape(
        "basic",
        "literal",
        (b"basic",),
        r"(?i:basic)(?:\s+|%20|\+)(?P<v>[A-Za-z0-9+/_-]{8,}={0,2})",
        lambda match: is_base64_pair(match.group("v")),
    ),
    Shape(
        # Behind `=` only in quotes: unquoted it is an expression of a program.
        "authorization",
        "literal",
        (b"authoriz",),
        r"(?i:authorization)[\"'\\\]]*(?:\s*:\s*|\s*=\s*(?=[\"'\\]))[\"'\\]*"
        r"(?:(?i:bearer|basic|token|bot|apikey|digest|aws4-hmac-sha256)\s+)?(?P<v>[^\s\"'\\$<{«][^\r\n\"'\\«]{5,})",
        _has_digit,
    ),
    _s(
        "cookie",
        "literal",
        "cookie",
        r"(?<![A-Za-z_])(?i:(?:set-)?cookie)[\"'\\]*\s*:\s*[\"'\\]*(?P<v>[\w!#$%&*.^`|~+-]+=[^\s;\"'\\«][^\r\n\"'\\«]*)",
    ),
    Shape(
        "url-password",
        "userinfo",
        (b"@",),
        r"://[^\s/@:\"'<>«]{0,256}:(?P<v>[^\s/@\"'<>${«][^\s/@\"'<>«]{0,511})@",
        _is_no_example,
    ),
    Shape(
        "url-password",
        "userinfo",
        (b"@",),
        r"://(?P<v>[^\s/@:\"'<>${«]{12,256})@",
        _has_digit,
    ),
    # -- commands that take a password as an argument
    _s(
        "password",
        "literal",
        "curl",
        r"curl\b[^\n]{0,400}?\s(?:-u|--user|-U|--proxy-user)[ =]?[\"']?[^\s:\"']{1,100}:(?P<v>[^\s\"'$«][^\s\"'«]{2,})",
    ),
    _s("cookie", "literal", "curl", r"curl\b[^\n]{0,400}?\s(?:-b|--cookie)[ =]?[\"']?(?P<v>[\w.-]+=[^\s\"'«]{3,})"),
    _s("password", "literal", "mysql", r"mysql\w*\b[^\n]{0,400}?\s-p(?P<v>[^\s\"'$«-][^\s\"'«]{2,})"),
    _s("password", "literal", "sshpass", r"sshpass\s+-p\s*[\"']?(?P<v>[^\s\"'$«][^\s\"'«]{2,})"),
)
