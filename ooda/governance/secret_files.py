"""Files whose content is secret by what they are for: what is read from them makes a run one that has seen secrets.

Redaction masks the values it knows; the rest of a key file, a `.env` or a kubeconfig may be as telling. So a result
that shows such a file carries the label `secret`, and what leaves afterwards meets the Rule of Two (`sinks`). Names
only, of paths and of the words of shell text; what a glob hides (`cat .e*`) stays with redaction and the sandbox.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from typing import Final

from ooda.governance.globs import compile_globs
from ooda.governance.shell_text import SimpleCommand, parse_shell
from ooda.labels import UNTRUSTED, Confidentiality, Label

__all__ = ["SECRET_FILES", "is_secret_file", "label_of_file", "label_of_shell"]

SECRET_FILES: Final = (
    ".env", ".env.*", "*.env", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf",
    ".git-credentials", ".htpasswd", ".vault-token", ".dockercfg", "kubeconfig", "*.kubeconfig", "credentials.json",
    "service-account*.json", "service_account*.json", "secrets.{yml,yaml,json,toml}", "*.tfstate", "*.tfvars",
    "master.key",
)  # fmt: skip
"""Globs for the last part of a path."""

_PATHS: Final = (
    "etc/shadow",
    "proc/*/environ",
    ".aws/credentials",
    ".kube/config",
    ".docker/config.json",
    ".ssh/*",
    ".gnupg/*",
    ".config/gcloud/*",
)
_EXAMPLES: Final = ("*.example", "*.sample", "*.template", "*.dist", "*.pub", "*.example.*")

_is_name = compile_globs(list(SECRET_FILES))
_is_path = compile_globs([*_PATHS, *(f"**/{path}" for path in _PATHS)])
_is_example = compile_globs(list(_EXAMPLES))

_NAMES_ONLY: Final = frozenset(
    {
        *("echo", "printf", "ls", "test", "[", "[[", "rm", "touch", "stat", "chmod", "chown", "mkdir", "which"),
        *("export", "cd", "pushd", "basename", "dirname", "realpath"),
    }
)
"""Programs that name a file and do not show what is in it."""
_GIT_NAMES_ONLY: Final = frozenset(
    {"add", "rm", "mv", "check-ignore", "status", "ls-files", "restore", "checkout", "update-index"}
)
_LIKELY: Final = (".env", ".env.local", "id_rsa", "id_ed25519", ".netrc", ".npmrc", ".git-credentials", "server.pem")
"""What an unquoted pattern is tried on: `cat .e*` is `cat .env`."""

_SECRET: Final = Label(UNTRUSTED.integrity, Confidentiality.SECRET)


def is_secret_file(path: str) -> bool:
    """Whether a path names such a file. Examples and public halves of key pairs are none."""
    name = posixpath.basename(path).lower()
    return bool(name) and not _is_example(name) and (_is_name(name) or _is_path(path.lower()))


def label_of_file(path: str) -> Label:
    """The label of what is read from a file of the workspace."""
    return _SECRET if is_secret_file(path) else UNTRUSTED


def label_of_shell(command: str, cwd: str = "") -> Label:
    """The label of what a shell text prints: secret when a command that shows content names such a file."""
    return _SECRET if any(map(_shows_secret, parse_shell(command, cwd).commands)) else UNTRUSTED


def _shows_secret(command: SimpleCommand) -> bool:
    if any(not redirect.is_write and is_secret_file(redirect.target) for redirect in command.redirects):
        return True
    if command.name in _NAMES_ONLY or (command.name == "git" and set(command.operands[:1]) & _GIT_NAMES_ONLY):
        return False
    # `git show HEAD:.env`, `tar --file=x`, `curl -d @.env`: the name is the end of a word.
    parts = (part for word in (*command.paths, *command.words[1:]) for part in (word, *re.split("[:=@,]", word)[1:]))
    return any(is_secret_file(part) or _may_be(part) for part in parts)


def _may_be(pattern: str) -> bool:
    name = posixpath.basename(pattern)
    is_pattern = any(mark in name for mark in "*?[") and sum(letter not in "*?[]" for letter in name) >= 2
    return is_pattern and any(fnmatch.fnmatchcase(likely, name) for likely in _LIKELY)
