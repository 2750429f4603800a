"""A remote repository as a value: its URL without userinfo, the one protocol it may use, its credentials.

Pure. A URL that would make git run something else (`ext::…`, a leading dash) is refused here, once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from ooda.errors import CredentialError, TaskSpecError

__all__ = ["AccessToken", "Credentials", "KeyCert", "Protocol", "Remote", "UsernamePassword"]

Protocol = Literal["https", "http", "ssh", "file"]

_SCP = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):(?P<path>[^:].*)")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TOKEN_USERS = (("gitlab", "oauth2"), ("bitbucket", "x-token-auth"))
"""What the hosts want as user name beside a token; GitHub's is the default, Gitea and Azure take any."""


@dataclass(frozen=True)
class UsernamePassword:
    """`credential_type: username_password`."""

    username: str
    password: SecretStr


@dataclass(frozen=True)
class AccessToken:
    """`credential_type: access_token`."""

    token: SecretStr


@dataclass(frozen=True)
class KeyCert:
    """`credential_type: key_cert`: a private key inline or as a file, perhaps with a passphrase."""

    private_key: SecretStr | None = None
    private_key_path: str = ""
    key_password: SecretStr | None = None


Credentials = UsernamePassword | AccessToken | KeyCert


@dataclass(frozen=True)
class Remote:
    """Where to clone from and push to. `url` never holds userinfo, except the user name ssh needs."""

    url: str
    protocol: Protocol
    host: str = ""
    """Host and port as git names them when it asks for a password; empty for a local path."""
    credentials: Credentials | None = None

    @classmethod
    def parse(cls, url: str, credentials: Credentials | None = None) -> Remote:
        """Read a URL, an scp-like `user@host:path` or an absolute path; userinfo becomes credentials.

        Raises:
            TaskSpecError: the URL is none of these.
            CredentialError: the credentials do not fit the protocol, or would travel in clear text.
        """
        text = url.strip()
        if text.startswith(("/", "file://")):
            path = text if text.startswith("/") else unquote(urlsplit(text).path)
            return cls(url=path, protocol="file")
        if "://" not in text:
            return cls._scp(text, credentials)
        parts = urlsplit(text)
        if parts.scheme not in ("https", "http", "ssh") or not parts.hostname:
            raise _unknown(text)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "ssh":
            user = f"{parts.username}@" if parts.username else ""
            clean = urlunsplit(("ssh", user + host, parts.path, "", ""))
            return cls(clean, "ssh", host, _fitting(credentials, "ssh", text))
        if credentials is None and parts.username:
            credentials = _from_userinfo(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "http" and credentials is not None and parts.hostname not in _LOOPBACK:
            raise CredentialError(
                f"the credentials for http://{host} would travel in clear text; use an https:// or ssh:// URL"
            )
        clean = urlunsplit((parts.scheme, host, parts.path, "", ""))
        protocol: Protocol = "https" if parts.scheme == "https" else "http"
        return cls(clean, protocol, host, _fitting(credentials, protocol, text))

    @classmethod
    def _scp(cls, text: str, credentials: Credentials | None) -> Remote:
        found = _SCP.fullmatch(text)
        if not found or text.startswith("-"):
            raise _unknown(text)
        return cls(text, "ssh", found["host"], _fitting(credentials, "ssh", text))

    @property
    def is_local(self) -> bool:
        return self.protocol == "file"

    def login(self) -> tuple[str, SecretStr] | None:
        """User name and password for HTTP; None without credentials."""
        match self.credentials:
            case UsernamePassword(username=username, password=password):
                return username, password
            case AccessToken(token=token):
                user = next((user for word, user in _TOKEN_USERS if word in self.host), "x-access-token")
                return user, token
            case _:
                return None

    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for masking what git prints."""
        match self.credentials:
            case UsernamePassword(password=password):
                values = [password.get_secret_value()]
            case AccessToken(token=token):
                values = [token.get_secret_value()]
            case KeyCert(key_password=password) if password is not None:
                values = [password.get_secret_value()]
            case _:
                values = []
        return tuple(value for value in values if value)

    def folder(self) -> Path:
        """The path of a local remote."""
        return Path(self.url)


def _fitting(credentials: Credentials | None, protocol: Protocol, url: str) -> Credentials | None:
    if credentials is not None and isinstance(credentials, KeyCert) != (protocol == "ssh"):
        shown = url.rpartition("@")[2]
        wanted = "key_cert" if protocol == "ssh" else "username_password or access_token"
        raise CredentialError(
            f"credentials of kind {type(credentials).__name__} do not fit the {protocol} remote {shown!r}; "
            f"give credential_type {wanted}, or change remote_url"
        )
    return credentials


def _from_userinfo(user: str, password: str) -> Credentials:
    return UsernamePassword(user, SecretStr(password)) if password else AccessToken(SecretStr(user))


def _unknown(text: str) -> TaskSpecError:
    shown = re.sub(r"//[^/@]*@", "//", text)
    return TaskSpecError(
        f"remote_url {shown!r} is not a repository address; give https://host/path, ssh://user@host/path, "
        "user@host:path or an absolute path"
    )
