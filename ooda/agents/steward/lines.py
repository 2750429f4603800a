"""Decisions as JSON lines: one record in, one decision out, for `ooda steward decide` and for tests of a policy.

    {"id", "now", "server_now"?, "policy", "workspace"}  ->  {"id", "decision", "reason", "next_change"}

A line that cannot be read is answered in its place with `{"id", "line", "error"}` and stops nothing. Fields the
decision does not take are passed over, but for slips of the pen: a `last_usd_at` that was passed over would be a
workspace nobody uses. Policies are kept by their text, so a file of many records under one policy costs one reading
of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated

import msgspec

from ooda.agents.steward.decision import Planner
from ooda.agents.steward.instants import ns_of, set_ns, spelled
from ooda.agents.steward.policy import AllDay, Policy
from ooda.agents.steward.records import Workspace
from ooda.errors import nearest

__all__ = ["decide_lines"]

_At = Annotated[datetime, msgspec.Meta(tz=True)]
_Id = str | int | float | None
_KEPT_POLICIES = 256
_YEARS = range(1970, 2200)


class _Given(msgspec.Struct, frozen=True, kw_only=True):
    """The workspace of a line."""

    owner: str
    owner_tz: str | None = None
    template: str
    status: str
    started_at: _At | None = None
    last_used_at: _At | None = None
    active_connections: int | None = None
    ttl_ms: int | None = None
    deadline: _At | None = None
    max_deadline: _At | None = None
    dormant_at: _At | None = None

    def workspace(self) -> Workspace:
        return Workspace(
            owner=self.owner,
            owner_tz=self.owner_tz,
            template=self.template,
            status=self.status,
            started_ns=set_ns(self.started_at),
            last_used_ns=set_ns(self.last_used_at),
            active_connections=self.active_connections,
            ttl_ms=self.ttl_ms,
            deadline_ns=set_ns(self.deadline),
            max_deadline_ns=set_ns(self.max_deadline),
            dormant_ns=set_ns(self.dormant_at),
        )


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    id: _Id = None
    now: _At
    server_now: _At | None = None
    policy: msgspec.Raw = msgspec.Raw(b"{}")
    workspace: _Given


class _OnlyId(msgspec.Struct, frozen=True):
    id: _Id = None


class _Answer(msgspec.Struct, frozen=True):
    id: _Id
    decision: str
    reason: str
    next_change: str | None


class _Complaint(msgspec.Struct, frozen=True):
    id: _Id
    line: int
    """Number of the line, from 1."""
    error: str


_LINES = msgspec.json.Decoder(_Line)
_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_IDS = msgspec.json.Decoder(_OnlyId)
_POLICIES = msgspec.json.Decoder(Policy)
_ENCODER = msgspec.json.Encoder()
_UNKNOWN = re.compile(r"unknown field `(.+?)`(?: - at `\$\.?(.*?)`)?")


def decide_lines(lines: Iterable[str]) -> Iterator[str]:
    """The answer to each line, in order, without line ends; blank lines have none. Reads no clock."""
    planners: dict[bytes, Planner] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text:
            yield _ENCODER.encode(_answer(text, number, planners)).decode()


def _answer(text: str, number: int, planners: dict[bytes, Planner]) -> _Answer | _Complaint:
    try:
        record = _LINES.decode(text)
        _check_names(text)
        for name, at in (("now", record.now), ("server_now", record.server_now)):
            if at is not None and at.year not in _YEARS:
                raise msgspec.ValidationError(f"Expected a year from {_YEARS[0]} to {_YEARS[-1]} - at `$.{name}`")
        said = _planner(bytes(record.policy), planners).plan(
            ns_of(record.now),
            (record.workspace.workspace(),),
            ns_of(record.server_now) if record.server_now is not None else None,
        )[0]
        next_change = spelled(said.next_ns) if said.next_ns is not None else None
    except (msgspec.DecodeError, UnicodeEncodeError, OverflowError) as error:
        return _Complaint(_id(text), number, _words(error))
    return _Answer(record.id, said.decision, said.reason, next_change)


def _check_names(text: str) -> None:
    """Raise where a field that is missing stands there under a name that is nearly its own."""
    record = _NAMES.decode(text)
    seen = _NAMES.decode(record["workspace"])
    for place, given, known in (("", record, _Line.__struct_fields__), ("workspace.", seen, _Given.__struct_fields__)):
        if given.keys() <= set(known):
            continue
        missing = [field for field in known if field not in given]
        for name in given:
            if name not in known and (meant := _meant(name, missing)):
                raise msgspec.ValidationError(f"unknown field `{place}{name}`; did you mean `{place}{meant}`?")


def _meant(name: str, fields: Collection[str]) -> str | None:
    plain = {field.replace("_", ""): field for field in fields}
    near = get_close_matches(name.replace("_", "").replace("-", "").lower(), plain, n=1, cutoff=0.9)
    return plain[near[0]] if near else None


def _planner(policy: bytes, planners: dict[bytes, Planner]) -> Planner:
    planner = planners.get(policy)
    if planner is None:
        if len(planners) >= _KEPT_POLICIES:
            planners.clear()
        try:
            planner = planners[policy] = Planner(_POLICIES.decode(policy))
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(f"in its policy: {error}") from error
    return planner


def _id(text: str) -> _Id:
    try:
        return _IDS.decode(text).id
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def _words(error: Exception) -> str:
    said = str(error)
    if isinstance(error, UnicodeEncodeError):
        return "the line holds half a surrogate pair, which is no character; write it as UTF-8"
    if isinstance(error, OverflowError):
        return "a time of the record lies beyond the year 9999"
    if not isinstance(error, msgspec.ValidationError):
        return f"the line is not JSON: {said}"
    if (match := _UNKNOWN.search(said)) and "in its policy" in said:
        fields = AllDay.__struct_fields__ if match[2] else Policy.__struct_fields__
        near = nearest(match[1], fields)
        hint = f"did you mean `{near}`?" if near else "a policy has " + ", ".join(f"`{name}`" for name in fields)
        return f"the policy has no `{match[1]}`; {hint}"
    return f"the record is not one the decision takes: {said}"
