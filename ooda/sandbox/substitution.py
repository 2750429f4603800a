"""Placeholders for secrets in the headers of a request, and back again in what comes back. Pure, bytes only."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from ooda.errors import ConfigError
from ooda.sandbox.protocol import Credential

__all__ = ["Headers", "Masker", "check_credentials", "reveal_headers"]

Headers = Sequence[tuple[bytes, bytes]]

_SHORTEST = 8
_BASIC = b"basic "


def check_credentials(credentials: tuple[Credential, ...]) -> None:
    """Raise ConfigError for a placeholder that could be met by accident or is part of another one."""
    for index, one in enumerate(credentials):
        if len(one.placeholder) < _SHORTEST or not one.placeholder.isascii() or not one.placeholder.isprintable():
            raise ConfigError(
                f"the placeholder for {one.host!r} must have at least {_SHORTEST} printable ASCII characters, "
                "so that nothing else is taken for it"
            )
        for other in credentials[index + 1 :]:
            if one.placeholder == other.placeholder and one.host != other.host:
                continue  # one secret for two hosts
            if one.placeholder in other.placeholder or other.placeholder in one.placeholder:
                raise ConfigError(
                    f"the placeholders for {one.host!r} and {other.host!r} contain each other; make them differ"
                )


def reveal_headers(headers: Headers, secrets: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with each placeholder replaced; `secrets` are (placeholder, secret). Basic authentication is
    looked into, since its user and password stand there as base64."""
    return [(name, _reveal(value, secrets)) for name, value in headers]


def _reveal(value: bytes, secrets: Sequence[tuple[bytes, bytes]]) -> bytes:
    if value[: len(_BASIC)].lower() == _BASIC:
        try:
            decoded = base64.b64decode(value[len(_BASIC) :], validate=True)
        except binascii.Error:
            return value
        return value[: len(_BASIC)] + base64.b64encode(_replace(decoded, secrets))
    return _replace(value, secrets)


def _replace(value: bytes, secrets: Sequence[tuple[bytes, bytes]]) -> bytes:
    for placeholder, secret in secrets:
        value = value.replace(placeholder, secret)
    return value


class Masker:
    """Takes secrets out of a stream: each becomes its placeholder, also when it comes in pieces."""

    def __init__(self, secrets: Sequence[tuple[bytes, bytes]]) -> None:
        self._secrets = [(secret, placeholder) for placeholder, secret in secrets if secret]
        self._longest = max((len(secret) for secret, _ in self._secrets), default=0)
        self._rest = b""

    def mask(self, data: bytes, *, last: bool = False) -> bytes:
        """What of the stream so far is certain; at the `last` piece all of it."""
        data = _replace(self._rest + data, self._secrets)
        keep = 0 if last else self._overlap(data)
        self._rest = data[len(data) - keep :]
        return data[: len(data) - keep]

    def _overlap(self, data: bytes) -> int:
        """How many bytes at the end could be the beginning of a secret."""
        for length in range(min(self._longest - 1, len(data)), 0, -1):
            if any(secret.startswith(data[len(data) - length :]) for secret, _ in self._secrets):
                return length
        return 0
