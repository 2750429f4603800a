"""`@tool`: a typed async function becomes a tool with name, schema, parser, operation and effect class.

    @tool(operation=Operation.READ_WORKSPACE, effect="pure")
    async def read_file(room: ToolRoom, path: Annotated[str, Field(description="…")]) -> ToolOutcome:
        '''First sentence: what the model is told.'''

A declaration is a value shared by all runs and knows no sandbox, task or grant; `BoundToolbox` binds it to one run.
Schemas and parsers are built on first use.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from ooda.errors import ToolArgumentsError, nearest
from ooda.events import Effect, canonical
from ooda.governance.call import Parsed, ProbeAnswer, ToolOutcome
from ooda.governance.operations import Operation
from ooda.governance.sinks import SINKS
from ooda.runtime.agent import Traits
from ooda.tools.repair import Object, parse_object
from ooda.tools.room import ToolRoom

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

__all__ = ["Probe", "Targets", "ToolDeclaration", "tool"]

Targets = Callable[[ToolRoom, Any], tuple[str, ...]]
"""What in the outside world a call would touch, from the room's typed task and the validated arguments."""

Probe = Callable[[ToolRoom, Any, str], Awaitable[ProbeAnswer]]
"""For effect `once`: did the call with this idempotency key happen?"""

Replaces = Callable[["ToolRoom", Any], Awaitable[str]]
"""What a call with these arguments would take the place of; reads only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ToolDeclaration:
    """A tool, not yet bound to a run."""

    name: str
    description: str
    """What the model is told: the function's docstring."""
    operation: Operation
    effect: Effect
    timeout_s: float
    """Deadline of one call."""
    is_poll: bool
    is_terminal: bool
    pins_plan: bool
    function: Callable[..., Awaitable[ToolOutcome]]
    targets: Targets
    probe: Probe
    replaces: Replaces | None = None
    judges: tuple[str, ...] = ()
    """Deciding arguments of the sink that the tool itself holds against the typed task before it acts."""

    @property
    def traits(self) -> Traits:
        """What the loop needs to know."""
        return Traits(effect=self.effect, is_poll=self.is_poll, is_terminal=self.is_terminal, pins_plan=self.pins_plan)

    @cached_property
    def parameters(self) -> Object:
        """JSON Schema of the arguments: an object, closed, in the order of the function's parameters."""
        schema = self._model.model_json_schema()
        slim: Object = _slim(schema, schema.get("$defs", {}))
        return {
            "type": "object",
            "properties": slim.get("properties", {}),
            **({"required": slim["required"]} if "required" in slim else {}),
            "additionalProperties": False,
        }

    @cached_property
    def schema(self) -> bytes:
        """The tool as a chat-completions request carries it, encoded JSON, the same bytes every time."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return msgspec.json.encode({"type": "function", "function": function})

    @cached_property
    def definition(self) -> str:
        """SHA-256 of name, description, schema, operation and effect."""
        facts = [self.name, self.description, self.parameters, str(self.operation), self.effect]
        return hashlib.sha256(canonical(facts)).hexdigest()

    def parse(self, arguments: str) -> Parsed:
        """Validate `arguments`, repairing what can be meant in one way only (fence, trailing comma, "5" for 5).

        Raises:
            ToolArgumentsError: naming what was given, what is expected and the nearest field name.
        """
        given, repaired = parse_object(arguments)
        value, coerced = self._validate(given)
        try:
            encoded = canonical(value.model_dump(mode="json"))
        except UnicodeEncodeError as error:
            raise ToolArgumentsError(
                f"an argument of `{self.name}` holds half a surrogate pair, which is no character; "
                "send the text as UTF-8"
            ) from error
        return Parsed(value=value, canonical=encoded, repaired=repaired or coerced)

    def aims(self, room: ToolRoom, value: Any) -> tuple[str, ...]:
        """All a call is aimed at: what `targets` says, and its deciding arguments as `name=value`.

        The name belongs to it: `main` as the base of a pull request is not `main` as a branch to push to.
        """
        said = self.targets(room, value)
        decided = [name for name in SINKS[self.operation].deciding if name not in self.judges]
        more = (f"{name}={text}" for name in decided for text in _texts(getattr(value, name, None)) if text)
        return tuple(dict.fromkeys((*said, *more)))

    def _validate(self, given: Object) -> tuple[BaseModel, bool]:
        from pydantic import ValidationError

        try:
            return self._model.model_validate(given, strict=True), False
        except ValidationError as error:
            coerced = {name: _decoded(value, self._expects(name)) for name, value in given.items()}
            try:
                return self._model.model_validate(coerced, strict=False), True
            except ValidationError:
                raise ToolArgumentsError(self._complaint(given, error)) from error

    def _expects(self, name: str) -> str:
        return str(self.parameters["properties"].get(name, {}).get("type", ""))

    def _complaint(self, given: Object, error: ValidationError) -> str:
        known = list(self.parameters["properties"])
        problems = []
        for problem in error.errors(include_url=False):
            field = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                near = nearest(field, known)
                problems.append(f"it has no `{field}`" + (f" (did you mean `{near}`?)" if near else ""))
            elif problem["type"] == "missing":
                problems.append(f"`{field}` is missing")
            else:
                problems.append(f"`{field}`={_short(problem['input'])}: {problem['msg']}")
        takes = ", ".join(
            f"`{name}` ({_type_name(spec)}{', required' if name in self.parameters.get('required', ()) else ''})"
            for name, spec in self.parameters["properties"].items()
        )
        return (
            f"`{self.name}` was given {_short(given)}: {'; '.join(problems)}. "
            f"It takes {takes or 'no arguments'}. Call it again with these"
        )

    @cached_property
    def _model(self) -> type[BaseModel]:
        """The parser: a closed pydantic model with one field a parameter, after the room."""
        from pydantic import ConfigDict, create_model

        hints = get_type_hints(self.function, include_extras=True)
        fields: dict[str, Any] = {
            name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
            for name, parameter in list(inspect.signature(self.function).parameters.items())[1:]
        }
        return create_model(self.name, __config__=ConfigDict(extra="forbid", frozen=True), **fields)


def tool(
    *,
    operation: Operation,
    effect: Effect,
    timeout_s: float = 120.0,
    is_poll: bool = False,
    is_terminal: bool = False,
    pins_plan: bool = False,
    targets: Targets = lambda room, arguments: (),
    probe: Probe | None = None,
    judges: tuple[str, ...] = (),
    replaces: Replaces | None = None,
) -> Callable[[Callable[..., Awaitable[ToolOutcome]]], ToolDeclaration]:
    """Declare an async function `(room, …arguments)` as a tool; its docstring is what the model reads.

    Args:
        operation: What the permission matrix is asked for.
        effect: What happens to an interrupted call. `once` needs a `probe`.
        targets: What in the outside world a call touches; from the typed task, not from the model. Arguments that
            decide what the operation hits (`Sink.deciding`) are targets without being named here.
        replaces: What content a call would take the place of, in words with its hash; approvals are bound to it.
        judges: Those among them that the tool holds against the typed task itself, and refuses what it does not name.
    """

    def declare(function: Callable[..., Awaitable[ToolOutcome]]) -> ToolDeclaration:
        name = function.__name__
        if not function.__doc__:
            raise TypeError(f"tool `{name}` has no docstring; it is what the model is told")
        if effect == "once" and probe is None:
            raise TypeError(f"tool `{name}` acts once, so it needs a `probe` that tells whether a call happened")
        return ToolDeclaration(
            name=name,
            description=inspect.cleandoc(function.__doc__),
            operation=operation,
            effect=effect,
            timeout_s=timeout_s,
            is_poll=is_poll,
            is_terminal=is_terminal,
            pins_plan=pins_plan,
            function=function,
            targets=targets,
            probe=probe or _unknown,
            judges=judges,
            replaces=replaces,
        )

    return declare


def _texts(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    return tuple(map(str, given)) if isinstance(given, (list, tuple)) else (str(given),)


async def _unknown(room: ToolRoom, arguments: Any, key: str) -> ProbeAnswer:
    return "unknown"


def _decoded(value: Any, expected: str) -> Any:
    """A list or object that was sent as the JSON text of one."""
    if expected in ("array", "object") and isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def _slim(node: Any, definitions: Object) -> Any:
    """A schema without titles, null branches and references: what the model needs and no more."""
    if isinstance(node, list):
        return [_slim(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _slim({**definitions[node["$ref"].rsplit("/", 1)[1]], **_without(node, "$ref")}, definitions)
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        node = {**choices[0], **_without(node, "anyOf")}
    slim = {}
    for key, value in node.items():
        if key == "properties":
            slim[key] = {name: _slim(spec, definitions) for name, spec in value.items()}
        elif key not in ("title", "$defs") and not (key == "default" and value in (None, "", [])):
            slim[key] = _slim(value, definitions)
    return slim


def _without(node: Object, key: str) -> Object:
    return {name: value for name, value in node.items() if name != key}


def _type_name(spec: Object) -> str:
    if "enum" in spec:
        return " | ".join(map(str, spec["enum"]))
    return str(spec.get("type", "value"))


def _short(value: object, limit: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"
