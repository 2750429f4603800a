"""Signatures of Standard Webhooks (standardwebhooks.com, specification 1.0): made here, checked by the receiver.

`webhook-signature` holds `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; several, separated by spaces,
while a secret is being replaced. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

from ooda.errors import ConfigError

__all__ = ["key_of", "signature_headers"]

_PREFIX = "whsec_"
_FEWEST, _MOST = 24, 64


def key_of(secret: SecretStr, setting: str) -> bytes:
    """The key in a secret: after `whsec_` base64 of 24 to 64 bytes; any other text is the key itself.

    Raises:
        ConfigError: it is not base64, or too short to protect anything; the message does not show it.
    """
    text = secret.get_secret_value().strip()
    if not text.startswith(_PREFIX):
        key = text.encode()
        if not key:
            raise ConfigError(f"`{setting}` is empty; set a secret, such as one from `openssl rand -hex 32`")
        return key
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"`{setting}` begins with `{_PREFIX}` but does not go on in base64") from None
    if not _FEWEST <= len(key) <= _MOST:
        raise ConfigError(
            f"`{setting}` holds {len(key)} bytes; Standard Webhooks wants {_FEWEST} to {_MOST}. Make one with "
            f'`echo "{_PREFIX}$(openssl rand -base64 32)"`'
        )
    return key


def signature_headers(keys: Sequence[bytes], id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of a signed webhook; without a key only id and time."""
    signed = f"{id}.{timestamp_s}.".encode() + body
    made = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
    headers = {"webhook-id": id, "webhook-timestamp": str(timestamp_s)}
    if made:
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in made)
    return headers
