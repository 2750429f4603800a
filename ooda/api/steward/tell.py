"""Telling people: owners before and after a stop, grouped and once; administrators when something is wrong.

Notices go into the outbox, in one transaction with the mark that they were told; who delivers them is another's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ooda.agents.steward.fleet import Seat
from ooda.agents.steward.instants import DAY_NS, HOUR_NS, MINUTE_NS, minute_of, spelled
from ooda.agents.steward.reports import reason_words
from ooda.clock import Clock
from ooda.errors import IntegrationError
from ooda.services.coder import CoderClient, User
from ooda.store import Store, Tx, outbox
from ooda.store import steward as rows

__all__ = ["ADMINS", "OWNER", "Teller"]

OWNER = "steward.owner"
"""Outbox channel of notices to the owner of workspaces; `to` in the payload says who that is."""
ADMINS = "steward.admins"
"""Outbox channel of notices to administrators."""

_WARN_AGAIN_NS = 12 * HOUR_NS
_NANO = 1_000_000_000


class Teller:
    """Puts the notices of one run into the outbox."""

    def __init__(self, client: CoderClient, store: Store, clock: Clock, run: str) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._run = run

    async def warn(self, seats: Iterable[Seat], users: Mapping[str, User]) -> int:
        """Tell owners of the stops that are coming, each build's stop once; gives how many notices were put."""
        coming = [seat for seat in seats if seat.said.decision == "warn" and seat.said.next_ns is not None]

        def put(tx: Tx) -> int:
            now_ns = self._clock.now_ns()
            fresh: dict[str, list[Seat]] = {}
            for seat in coming:
                seen, stop_ns = seat.workspace, seat.said.next_ns
                assert stop_ns is not None
                if rows.warn_once(
                    tx, self._client.url, seen.id, seen.build_id, seat.said.reason, stop_ns, now_ns, _WARN_AGAIN_NS
                ):
                    fresh.setdefault(seen.owner, []).append(seat)
            for owner, group in fresh.items():
                listed = [self._shown(seat, seat.said.next_ns) for seat in group]
                lines = [f"{entry['workspace']} at {entry['at_text']} ({entry['why']})" for entry in listed]
                text = "Your workspaces will be stopped: " + "; ".join(lines) + ". Use them to put the stop off."
                self._put(tx, OWNER, "workspace_stop_warning", text, listed, _to(owner, users))
            return len(fresh)

        return await self._store.write(put)

    async def message(self, seats: Iterable[Seat], users: Mapping[str, User], text: str) -> int:
        """Tell the owners of these workspaces something; gives how many notices were put."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for seat in seats:
            entry = {"workspace": seat.workspace.title, "id": seat.workspace.id}
            groups.setdefault(seat.workspace.owner, []).append(entry)

        def put(tx: Tx) -> int:
            told = [
                self._put(tx, OWNER, "workspace_message", text, [*listed, {"run": self._run}], _to(owner, users))
                for owner, listed in groups.items()
            ]
            return sum(told)

        return await self._store.write(put)

    async def stopped(self, users: Mapping[str, User]) -> int:
        """Tell owners which of their workspaces this run has stopped."""

        def put(tx: Tx) -> int:
            made = [row for row in rows.of_run(tx, self._run) if row.transition == "stop" and row.build]
            groups: dict[str, list[rows.BuildRow]] = {}
            for row in made:
                groups.setdefault(row.owner, []).append(row)
            for owner, group in groups.items():
                listed = [
                    {
                        "workspace": row.title,
                        "id": row.workspace,
                        "at": spelled(row.asked_ns // _NANO * _NANO),
                        "at_text": minute_of(row.asked_ns),
                        "why": reason_words(row.cause),
                    }
                    for row in group
                ]
                names = "; ".join(f"{entry['workspace']} ({entry['why']})" for entry in listed)
                text = f"Your workspaces were stopped: {names}. Start them again whenever you need them."
                self._put(tx, OWNER, "workspace_stopped", text, listed, _to(owner, users))
            return len(groups)

        return await self._store.write(put)

    async def admins(self, text: str) -> int:
        """Tell administrators, and the token's own user in Coder; the same text on one day is told once."""
        is_new = await self.put_for_admins(text)
        if is_new:
            try:
                await self._client.notify_self("Workspace steward", text)
            except IntegrationError:
                # The outbox has it; Coder's own bell is a second way that not every token may use.
                return 1
        return int(is_new)

    async def put_for_admins(self, text: str) -> bool:
        """Tell administrators by the outbox alone; False when they were told the same on this day (UTC)."""
        day = self._clock.now_ns() // DAY_NS

        def put(tx: Tx) -> bool:
            return self._put(tx, ADMINS, "steward_trouble", text, [{"day": day}], {})

        return await self._store.write(put)

    def _shown(self, seat: Seat, at_ns: int | None) -> dict[str, Any]:
        at_ns = (at_ns or 0) // MINUTE_NS * MINUTE_NS
        return {
            "workspace": seat.workspace.title,
            "id": seat.workspace.id,
            "at": spelled(at_ns),
            "at_text": minute_of(at_ns),
            "why": reason_words(seat.said.reason),
        }

    def _put(
        self, tx: Tx, channel: str, kind: str, text: str, listed: list[dict[str, Any]], to: Mapping[str, str]
    ) -> bool:
        """One notice under an id made of what it says, so that saying it again puts nothing."""
        now_ns = self._clock.now_ns()
        about = msgspec.json.encode([self._client.url, channel, kind, text, listed, to])
        id = "steward-" + hashlib.sha256(about).hexdigest()[:32]
        payload = {
            "workflow_id": self._run,
            "notification_type": kind,
            "message": text,
            "to": to,
            "details": {"workspaces": listed},
            "timestamp_ns": now_ns,
        }
        return outbox.enqueue(tx, id, channel, msgspec.json.encode(payload).decode(), now_ns, run=self._run)


def _to(owner: str, users: Mapping[str, User]) -> dict[str, str]:
    user = users.get(owner)
    return {"username": owner, "email": user.email if user else "", "name": user.name if user else ""}
