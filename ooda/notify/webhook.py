"""A webhook for programs, signed as Standard Webhooks asks: every notice by itself, as JSON, under its id.

The body is `{"type", "timestamp", "data"}`; `data` is the notice with the fields of the requirement's payload. The
same message has the same id and the same body in every attempt, so a receiver that keeps ids takes it once. Every
answer but 2xx is tried again; 410 ends the address.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ooda.clock import to_rfc3339
from ooda.governance.grant import Grant
from ooda.notify.post import Poster
from ooda.notify.reading import posted
from ooda.notify.signing import signature_headers
from ooda.notify.values import Letter, Parcel, Receipt, binding

__all__ = ["WebhookChannel"]

_NANO = 1_000_000_000


class WebhookChannel:
    """Posts to one URL."""

    name = "webhook"
    knows_ids = True
    gathers = False
    per_second = 50.0
    lanes = 4

    def __init__(self, poster: Poster, keys: Sequence[bytes] = ()) -> None:
        """`keys` sign, the current one first; without any the request is not signed."""
        self._poster = poster
        self._keys = tuple(keys)
        self.host = poster.url.host
        self.endpoint = poster.digest

    def render(self, letter: Letter, recipient: str) -> bytes:
        """One notice as JSON; a letter here never holds more."""
        entry = letter.entries[0]
        body = {
            "type": entry.kind,
            "timestamp": to_rfc3339(entry.at_ns),
            "data": {**entry.data, "severity": letter.severity},
        }
        return msgspec.json.encode(body)

    async def send(self, parcel: Parcel, grant: Grant) -> Receipt:
        """See `ooda.notify.values.Channel`."""
        grant.spend(self.name, kind="channel", arguments=binding(parcel.recipient, parcel.body))
        headers = signature_headers(self._keys, parcel.id, parcel.at_ns // _NANO, parcel.body)
        headers["Content-Type"] = "application/json"
        # Receivers that know this header and not the other tell a repetition by it too.
        headers["Idempotency-Key"] = parcel.id
        return await posted(self._poster, parcel, headers)
