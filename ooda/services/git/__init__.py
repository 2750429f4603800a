"""Git on the host's side: one hardened repository per run, typed remotes, lent credentials."""

from ooda.services.git.branch import branch_name, is_valid_branch, slug, unique_branch
from ooda.services.git.command import GitSettings
from ooda.services.git.fork import ForkPoint, fork_repository, snapshots_in
from ooda.services.git.remote import AccessToken, Credentials, KeyCert, Remote, UsernamePassword
from ooda.services.git.repo import WorkRepo
from ooda.services.git.snapshots import Restoration, Snapshot
from ooda.services.git.values import Author, Change, Cloned, Commit, Diff, Pushed

__all__ = [
    "AccessToken",
    "Author",
    "Change",
    "Cloned",
    "Commit",
    "Credentials",
    "Diff",
    "ForkPoint",
    "GitSettings",
    "KeyCert",
    "Pushed",
    "Remote",
    "Restoration",
    "Snapshot",
    "UsernamePassword",
    "WorkRepo",
    "branch_name",
    "fork_repository",
    "is_valid_branch",
    "slug",
    "snapshots_in",
    "unique_branch",
]
