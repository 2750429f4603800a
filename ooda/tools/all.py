"""Every tool declared in this room, in the order of the reference page."""

from __future__ import annotations

from ooda.tools.coder import (
    coder_begin_builds,
    coder_due_builds,
    coder_extend_workspace,
    coder_follow_builds,
    coder_notify,
    coder_start_workspace,
    coder_stop_workspace,
    coder_survey,
)
from ooda.tools.declare import ToolDeclaration
from ooda.tools.environment import prepare_environment
from ooda.tools.files import edit_file, list_directory, read_file, search_files, write_file
from ooda.tools.fleet import (
    fleet_forecast,
    fleet_operations,
    fleet_plan,
    fleet_savings,
    fleet_schedule,
    fleet_ttl,
    fleet_workspace,
)
from ooda.tools.git import git_branch, git_clone, git_commit, git_diff, git_push
from ooda.tools.planning import finish, update_plan
from ooda.tools.shell import poll_process, read_output, run_shell_command, stop_process
from ooda.tools.validate import run_validation

__all__ = ["ALL", "BACKGROUND", "CODER", "FILES", "FLEET", "GIT", "SHELL"]

SHELL: tuple[ToolDeclaration, ...] = (run_shell_command, read_output)
BACKGROUND: tuple[ToolDeclaration, ...] = (poll_process, stop_process)
FILES: tuple[ToolDeclaration, ...] = (read_file, write_file, edit_file, list_directory, search_files)
GIT: tuple[ToolDeclaration, ...] = (git_clone, git_branch, git_diff, git_commit, git_push)
CODER: tuple[ToolDeclaration, ...] = (
    coder_survey,
    coder_due_builds,
    coder_begin_builds,
    coder_stop_workspace,
    coder_start_workspace,
    coder_extend_workspace,
    coder_follow_builds,
    coder_notify,
)
FLEET: tuple[ToolDeclaration, ...] = (
    fleet_plan,
    fleet_workspace,
    fleet_ttl,
    fleet_schedule,
    fleet_operations,
    fleet_savings,
    fleet_forecast,
)
ALL: tuple[ToolDeclaration, ...] = (
    *SHELL,
    *BACKGROUND,
    *FILES,
    update_plan,
    finish,
    prepare_environment,
    run_validation,
    *GIT,
    *CODER,
    *FLEET,
)
