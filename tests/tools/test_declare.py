"""Declarations: schema, definition hash, parsing, complaints."""

from __future__ import annotations

import json
from typing import Annotated

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from ooda.errors import ToolArgumentsError
from ooda.governance.call import ToolOutcome
from ooda.governance.operations import Operation
from ooda.tools.all import ALL
from ooda.tools.declare import ToolDeclaration, tool
from ooda.tools.room import ToolRoom


@tool(operation=Operation.READ_WORKSPACE, effect="pure")
async def look(
    room: ToolRoom,
    path: Annotated[str, Field(description="Where.")],
    depth: Annotated[int, Field(ge=1)] = 1,
    hidden: bool = False,
    names: list[str] = [],  # noqa: B006 - pydantic copies defaults
    note: str | None = None,
) -> ToolOutcome:
    """Look somewhere."""
    return ToolOutcome(text=path)


def test_a_declaration_gives_the_schema_a_model_reads() -> None:
    """Closed object, no titles, no null branches, parameters in the function's order."""
    assert json.loads(look.schema) == {
        "type": "function",
        "function": {
            "name": "look",
            "description": "Look somewhere.",
            "parameters": {
                "type": "object",
                "properties": {
                    "path": {"description": "Where.", "type": "string"},
                    "depth": {"default": 1, "minimum": 1, "type": "integer"},
                    "hidden": {"default": False, "type": "boolean"},
                    "names": {"items": {"type": "string"}, "type": "array"},
                    "note": {"type": "string"},
                },
                "required": ["path"],
                "additionalProperties": False,
            },
        },
    }
    assert list(look.parameters["properties"]) == ["path", "depth", "hidden", "names", "note"]


@pytest.mark.parametrize("declaration", ALL, ids=lambda declaration: declaration.name)
def test_every_schema_is_valid_closed_and_small(declaration: ToolDeclaration) -> None:
    """What is sent with every request stays short: under 1,300 bytes a tool."""
    jsonschema.Draft202012Validator.check_schema(declaration.parameters)
    assert declaration.parameters["additionalProperties"] is False
    assert "$" not in declaration.schema.decode()
    assert len(declaration.schema) < 1_300


def test_the_definition_changes_with_what_a_tool_may_do() -> None:
    """A changed tool needs new approvals; the same one keeps its hash."""

    def declared(effect: str, operation: Operation) -> str:
        async def act(room: ToolRoom) -> ToolOutcome:
            """Act."""
            return ToolOutcome(text="")

        return tool(operation=operation, effect=effect)(act).definition  # type: ignore[arg-type]

    same = declared("pure", Operation.READ_WORKSPACE)
    others = {declared("local", Operation.READ_WORKSPACE), declared("pure", Operation.WRITE_WORKSPACE)}
    assert declared("pure", Operation.READ_WORKSPACE) == same
    assert same not in others
    assert len(others) == 2


def test_a_tool_that_acts_once_needs_a_probe() -> None:
    """Without one, an interrupted call could never be resolved."""

    async def fire(room: ToolRoom) -> ToolOutcome:
        """Fire."""
        return ToolOutcome(text="")

    with pytest.raises(TypeError, match="probe"):
        tool(operation=Operation.NOTIFY, effect="once")(fire)


def test_canonical_arguments_are_the_same_for_equal_calls() -> None:
    """Key order and defaults left out make no other call."""
    first = look.parse('{"path": "a", "depth": 1}')
    second = look.parse('{"depth": 1, "hidden": false, "path": "a"}')
    assert first.canonical == second.canonical == b'{"depth":1,"hidden":false,"names":[],"note":null,"path":"a"}'


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        pytest.param({"path": "a", "depth": "5"}, "depth", 5, id="number as text"),
        pytest.param({"path": "a", "hidden": "true"}, "hidden", True, id="boolean as text"),
        pytest.param({"path": "a", "names": '["x", "y"]'}, "names", ["x", "y"], id="list as text"),
    ],
)
def test_a_value_of_the_wrong_type_is_read_when_it_can_mean_one_thing(
    given: dict[str, object], field: str, expected: object
) -> None:
    """And the call is marked as repaired."""
    parsed = look.parse(json.dumps(given))
    assert (getattr(parsed.value, field), parsed.repaired) == (expected, True)


def test_a_string_that_looks_like_a_number_stays_a_string() -> None:
    """Repair follows the schema, not the look of a value."""
    parsed = look.parse('{"path": "5"}')
    assert (parsed.value.path, parsed.repaired) == ("5", False)


def test_a_complaint_names_what_was_given_expected_and_nearest() -> None:
    """One message with every problem, so that one more try is enough."""
    with pytest.raises(ToolArgumentsError) as caught:
        look.parse('{"pth": "a", "depth": 0}')
    assert str(caught.value) == (
        "`look` was given {'pth': 'a', 'depth': 0}: `path` is missing; `depth`=0: Input should be greater than or "
        "equal to 1; it has no `pth` (did you mean `path`?). It takes `path` (string, required), `depth` (integer), "
        "`hidden` (boolean), `names` (array), `note` (string). Call it again with these"
    )


def test_half_a_surrogate_pair_is_a_tool_error() -> None:
    """It has no UTF-8, so it can be neither hashed nor written."""
    with pytest.raises(ToolArgumentsError, match="surrogate"):
        look.parse('{"path": "\\ud800"}')


@given(st.dictionaries(st.sampled_from(["path", "depth", "hidden", "x"]), st.none() | st.integers() | st.text()))
def test_any_object_parses_or_raises_a_tool_error(given_: dict[str, object]) -> None:
    """And what parses, parses to the same thing again from its canonical form."""
    try:
        parsed = look.parse(json.dumps(given_))
    except ToolArgumentsError:
        return
    assert look.parse(parsed.canonical.decode()).canonical == parsed.canonical
