"""Binding to one run: grants are spent first, schemas are the same bytes, traits are what the loop reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ooda.clock import ManualClock
from ooda.errors import ConfigError, RefusedError
from ooda.governance.call import Parsed, Toolbox
from ooda.runtime.agent import Traits
from ooda.tools.all import ALL
from ooda.tools.planning import finish
from ooda.tools.room import ToolRoom
from ooda.tools.toolbox import BoundTool, BoundToolbox
from tests.tools.bench import granted

_ROOM = ToolRoom(run="run-1", clock=ManualClock())


def _finish() -> tuple[BoundTool, Parsed]:
    bound = BoundToolbox(ALL, _ROOM).find("finish")
    assert bound is not None
    return bound, bound.parse('{"summary": "done"}')


async def test_a_grant_runs_its_call_once() -> None:
    """The second use of the same grant is refused, whatever the tool."""
    tool, parsed = _finish()
    grant = granted(tool, parsed.canonical)
    assert (await tool.run(grant, parsed)).text == "done"
    with pytest.raises(RefusedError, match="already spent"):
        await tool.run(grant, parsed)


@pytest.mark.parametrize(
    "changed",
    [{"tool": "read_file"}, {"arguments": "0" * 64}, {"definition": "0" * 64}, {"kind": "model"}],
    ids=["other tool", "other arguments", "other definition", "other kind"],
)
async def test_a_grant_for_something_else_runs_nothing(changed: dict[str, str]) -> None:
    """A grant is bound to tool, definition and arguments."""
    tool, parsed = _finish()
    with pytest.raises(RefusedError):
        await tool.run(granted(tool, parsed.canonical, **changed), parsed)


def test_the_toolbox_is_what_the_gate_asks_for(tmp_path: Path) -> None:
    """It finds tools by name, in the order of declaration, and knows no other."""
    box: Toolbox = BoundToolbox(ALL, _ROOM)
    assert box.names() == tuple(declaration.name for declaration in ALL)
    assert box.find("kubctl") is None
    assert box.sandbox_id == ""


def test_schemas_of_one_selection_are_the_same_bytes() -> None:
    """A request's prefix must not change between steps."""
    box = BoundToolbox(ALL, _ROOM)
    names = ("read_file", "finish")
    first = box.schemas(names)
    assert box.schemas(names) is first
    assert [entry["function"]["name"] for entry in json.loads(first)] == list(names)


def test_an_unknown_name_is_told_the_nearest() -> None:
    """Phases name their tools; a slip there is found at the first request."""
    with pytest.raises(ConfigError, match="Did you mean `read_file`"):
        BoundToolbox(ALL, _ROOM).schemas(("read_fle",))


def test_two_tools_of_one_name_are_refused() -> None:
    """A name is what a grant is bound to."""
    with pytest.raises(ConfigError, match="two tools are called `finish`"):
        BoundToolbox((finish, finish), _ROOM)


def test_traits_tell_the_loop_what_each_tool_is() -> None:
    """Effect, polling, ending a phase, pinning the plan."""
    traits = BoundToolbox(ALL, _ROOM).traits()
    assert traits["finish"] == Traits(effect="pure", is_terminal=True)
    assert traits["poll_process"] == Traits(effect="pure", is_poll=True)
    assert traits["update_plan"] == Traits(effect="pure", pins_plan=True)
    assert traits["git_push"] == Traits(effect="once")
    assert {name for name, trait in traits.items() if trait.effect == "local"} == {
        "run_shell_command",
        "stop_process",
        "write_file",
        "edit_file",
        "run_validation",
        "prepare_environment",
        "git_clone",
        "git_branch",
        "git_commit",
    }
