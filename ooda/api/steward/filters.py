"""Which running workspaces a person means: filters by owner, template, name, idleness and condition. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from ooda.agents.steward.instants import SECOND_NS
from ooda.agents.steward.records import Workspace

__all__ = ["WorkspaceFilter", "picked"]


class WorkspaceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that must all hold; globs and names are compared without case."""

    workspaces: tuple[str, ...] = ()
    """Ids or `owner/name`; any when empty."""
    owner: str | None = None
    template: str | None = None
    name: str | None = None
    organization: str | None = None
    idle_s: int | None = None
    """Not used for at least so long."""
    up_s: int | None = None
    """Started at least so long ago."""
    no_deadline: bool = False
    unhealthy: bool = False
    outdated: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return self == WorkspaceFilter()

    def fits(self, seen: Workspace, now_ns: int) -> bool:
        """Whether a workspace passes."""
        return (
            (not self.workspaces or seen.id in self.workspaces or _named(seen, self.workspaces))
            and (self.owner is None or seen.owner.casefold() == self.owner.casefold())
            and _like(seen.template, self.template)
            and _like(seen.name, self.name)
            and _like(seen.organization, self.organization)
            and _long_ago(seen.last_used_ns, self.idle_s, now_ns)
            and _long_ago(seen.started_ns, self.up_s, now_ns)
            and not (self.no_deadline and (seen.deadline_ns is not None or seen.max_deadline_ns is not None))
            and not (self.unhealthy and seen.is_healthy)
            and not (self.outdated and not seen.is_outdated)
        )


def picked(workspaces: Iterable[Workspace], wanted: WorkspaceFilter, now_ns: int) -> list[Workspace]:
    """The running ones that pass, in order; prebuilt ones are nobody's."""
    return [
        seen for seen in workspaces if seen.status == "running" and not seen.is_prebuild and wanted.fits(seen, now_ns)
    ]


def _named(seen: Workspace, names: tuple[str, ...]) -> bool:
    title = seen.title.casefold()
    return any(name.casefold() == title for name in names)


def _like(text: str, pattern: str | None) -> bool:
    return pattern is None or fnmatchcase(text.casefold(), pattern.casefold())


def _long_ago(at_ns: int | None, least_s: int | None, now_ns: int) -> bool:
    return least_s is None or (at_ns is not None and now_ns - at_ns >= least_s * SECOND_NS)
