"""The parts every kind of task shares: agent, environment, validation, limits, grants, model overrides, secrets.

Values only, frozen, parsed at the door; what they mean is carried out elsewhere. The names in `grants` repeat the
closed list of operations that governance holds (it stands above this room); a test compares the two.
"""

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from ooda.amounts import usd_to_nano
from ooda.errors import nearest
from ooda.events import Limits
from ooda.fields import BaseUrl, Bytes, Command, Host, Line, Says, Seconds, Text, Usd
from ooda.problems import sentence, show

__all__ = [
    "GRANTABLE",
    "Agent",
    "Bind",
    "Environment",
    "JsonObject",
    "LentSecret",
    "LimitsSpec",
    "ModelOverrides",
    "Operation",
    "SecretRef",
    "TaskBase",
    "TaskModel",
    "Validation",
]


class TaskModel(BaseModel):
    """Base of everything in a task: frozen, unknown fields refused, no value in pydantic's own error text."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True, allow_inf_nan=False
    )


_SECRET_SCHEMA = {
    "description": "The secret itself (moved out of the task when it is read), `${NAME}` for an environment "
    "variable, or a reference.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {"secret_ref": {"type": "string", "minLength": 1}},
            "required": ["secret_ref"],
            "additionalProperties": False,
        },
    ],
}


class SecretRef(TaskModel):
    """The name of a secret that is kept elsewhere. Secrets themselves never stand in a task."""

    secret_ref: Annotated[str, Field(min_length=1, max_length=300)]
    """The field it came from (`repository.credentials.password`), or `env:NAME` for an environment variable."""

    @property
    def environ_name(self) -> str:
        """The environment variable that holds it; empty when it was given inline."""
        return self.secret_ref.removeprefix("env:") if self.secret_ref.startswith("env:") else ""


Secret = Annotated[SecretRef, Says("a text, `${NAME}` or `{secret_ref: name}`", _SECRET_SCHEMA)]


def _env_value(value: object, handler: ValidatorFunctionWrapHandler) -> Any:
    # One sentence instead of one per alternative of the union.
    if isinstance(value, str | dict | SecretRef):
        return handler(value)
    raise ValueError("text (numbers and true/false in quotes), `${NAME}` or `{secret_ref: name}`")


EnvName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200),
    Says("a variable name (letters, digits and `_`, no digit first)"),
]
EnvValue = Annotated[
    str | SecretRef,
    WrapValidator(_env_value),
    Says("text, `${NAME}` or `{secret_ref: name}`", _SECRET_SCHEMA),
]

_MAX_JSON_INT = 2**63 - 1


def _json(value: object, depth: int = 0) -> object:
    match value:
        case None | bool() | str():
            return value
        case int() if abs(value) <= _MAX_JSON_INT:
            return value
        case float() if value == value and abs(value) != float("inf"):
            return value
        case list() | tuple() if depth < 32:
            return [_json(item, depth + 1) for item in value]
        case dict() if depth < 32 and all(isinstance(key, str) for key in value):
            return {key: _json(item, depth + 1) for key, item in value.items()}
    raise ValueError("JSON values: text, 64-bit numbers, true, false, null, lists and mappings with text keys")


JsonObject = Annotated[dict[str, Any], BeforeValidator(_json), Says("a mapping of JSON values", {"type": "object"})]
"""Free JSON, for example a task's `context`; it is data for the agent and decides nothing."""


class Agent(TaskModel):
    """Who does the task: the model and what it is told besides the task."""

    model: Line | None = Field(
        None,
        description="Language model, passed to the provider untouched; the setting `model.name` when left out "
        "(`z-ai/glm-4.6:exacto` unless configured).",
    )
    instructions: Text | None = Field(None, description="Instructions added to the agent's own rules.")


_TARGET = re.compile(r"(/[A-Za-z0-9._@+-]+)+")
_RESERVED_TARGETS = ("/workspace", "/proc", "/sys", "/dev")


def _target(value: str) -> str:
    path = value.rstrip("/")
    taken = any(path == root or path.startswith(root + "/") for root in _RESERVED_TARGETS)
    if not _TARGET.fullmatch(path) or "/.." in path or "/./" in path or taken:
        raise ValueError(
            f"an absolute path inside the sandbox, such as `/opt/venv`, not below {', '.join(_RESERVED_TARGETS)}"
        )
    return path


class Bind(TaskModel):
    """A host folder shown read-only inside the sandbox."""

    source: Line = Field(description="Folder on this machine; relative to the task file's folder, or `~/…`.")
    target: Annotated[str, AfterValidator(_target), Says("an absolute path inside the sandbox")] = Field(
        description="Where it is shown inside."
    )


def _exact(value: str) -> str:
    if value.startswith("*"):
        raise ValueError("the name of one host: a secret is not lent to every name below another")
    return value


class LentSecret(TaskModel):
    """A secret that commands use without ever seeing it."""

    variable: EnvName = Field(description="Environment variable in which commands find a placeholder for the secret.")
    hosts: tuple[Annotated[Host, AfterValidator(_exact)], ...] = Field(
        min_length=1,
        max_length=20,
        description="Hosts whose HTTPS requests get the secret in place of the placeholder (port 443 if none is "
        "given); they need not stand in `hosts` as well.",
    )
    secret: Secret = Field(description="The secret; best `${NAME}`.")


class Environment(TaskModel):
    """What the commands of the task find around them."""

    image: Line | None = Field(
        None,
        description="Sandbox image by name or digest, used if present, never pulled; the default root if left out.",
    )
    setup: tuple[Command, ...] = Field(
        (), max_length=50, description="Commands run once before the task, with network to `hosts` only."
    )
    env: dict[EnvName, EnvValue] = Field(
        {},
        max_length=200,
        description="Environment variables of every command; nothing is inherited from the host.",
    )
    hosts: tuple[Host, ...] = Field(
        (), max_length=100, description="Hosts the sandbox may reach through the proxy; none by default."
    )
    credentials: tuple[LentSecret, ...] = Field(
        (),
        max_length=20,
        description="Secrets that the proxy puts into requests to named hosts; no command ever sees them.",
    )
    venv: Line | None = Field(
        None,
        description="Virtual environment of this machine, shown read-only and put on PATH; relative to the task file.",
    )
    binds: tuple[Bind, ...] = Field((), max_length=20, description="Further host folders shown read-only.")

    @model_validator(mode="after")
    def _variables_differ(self) -> Self:
        taken = set(self.env)
        for lent in self.credentials:
            if lent.variable in taken:
                raise sentence(
                    f"`credentials` sets the variable `{lent.variable}`, which is set already; give it another name"
                )
            taken.add(lent.variable)
        return self


def _validation(value: object) -> object:
    if value in ("auto", "none"):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(item, str) and item.strip() for item in value):
        return tuple(value)
    near = nearest(value, ("auto", "none")) if isinstance(value, str) else None
    found = "an empty list" if value in ([], ()) else show(value)
    raise sentence(
        f"found {found}; expected `auto`, `none` or a list of shell commands"
        + (f"; did you mean `{near}`?" if near else "")
    )


Validation = Annotated[
    Literal["auto", "none"] | tuple[Command, ...],
    BeforeValidator(_validation),
    Says(
        "`auto`, `none` or a list of shell commands",
        {
            "anyOf": [
                {"enum": ["auto", "none"]},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 50,
                    "items": {"type": "string", "pattern": r"\S"},
                },
            ]
        },
    ),
    Field(max_length=50),
]


class LimitsSpec(TaskModel):
    """Ceilings of the run. What is left out is taken from the settings; nothing means "unlimited"."""

    # Bounds stand inside the optional, where the JSON Schema keeps them; strict, so that `true` is not 1.
    steps: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = Field(
        None, description="Passes from observe to act."
    )
    rounds: Annotated[int, Field(strict=True, ge=1, le=1_000)] | None = Field(
        None, description="Implement-validate cycles."
    )
    wall_clock: Annotated[Seconds, Field(ge=1, le=31_622_400)] | None = Field(
        None, description="Active time, waiting for people not counted; at most 366 days."
    )
    tokens: Annotated[int, Field(strict=True, ge=1, le=10**12)] | None = Field(
        None, description="Tokens sent and received over the whole run."
    )
    usd: Annotated[Usd, Field(gt=0, le=1_000_000)] | None = Field(None, description="Money for the whole run, in USD.")
    reply_tokens: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        None, description="Longest reply of the model, in tokens."
    )
    context_tokens: Annotated[int, Field(strict=True, ge=1_000, le=100_000_000)] | None = Field(
        None, description="The model's window, in tokens; compaction starts at three quarters."
    )
    output_bytes: Annotated[Bytes, Field(ge=256, le=1 << 20)] | None = Field(
        None, description="Tool output shown to the model per call."
    )

    @model_validator(mode="after")
    def _reply_fits(self) -> Self:
        if self.reply_tokens and self.context_tokens and self.reply_tokens >= self.context_tokens:
            raise sentence(
                f"`reply_tokens` {self.reply_tokens} leaves no room in `context_tokens` {self.context_tokens}; "
                "make it at most half of the window"
            )
        return self

    def to_limits(self, defaults: Limits) -> Limits:
        """These ceilings over `defaults`. A default reply length is shortened to a quarter of a small window."""
        context_tokens = self.context_tokens or defaults.context_tokens
        return Limits(
            steps=self.steps or defaults.steps,
            rounds=self.rounds or defaults.rounds,
            wall_s=self.wall_clock or defaults.wall_s,
            tokens=self.tokens or defaults.tokens,
            cost_nano=usd_to_nano(self.usd) if self.usd else defaults.cost_nano,
            reply_tokens=self.reply_tokens or min(defaults.reply_tokens, context_tokens // 4),
            context_tokens=context_tokens,
            output_bytes=self.output_bytes or defaults.output_bytes,
        )


class ModelOverrides(TaskModel):
    """Where and how the model is asked, for this task only."""

    base_url: BaseUrl | None = Field(None, description="OpenAI-compatible endpoint; before every setting.")
    fallbacks: tuple[Line, ...] | None = Field(
        None, max_length=8, description="Models asked in turn when the first is unavailable."
    )
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = Field(
        None, description="Sampling temperature."
    )


Operation = Literal[
    "read_workspace",
    "write_workspace",
    "run_in_sandbox",
    "use_network",
    "push_feature_branch",
    "push_protected_branch",
    "open_pull_request",
    "deploy_preview",
    "deploy_staging",
    "deploy_production",
    "rollback",
    "read_cluster",
    "stop_workspace",
    "start_workspace",
    "notify",
    "spawn",
]
"""Operations a task may grant by name: all but `change_governance`, which is for people."""

GRANTABLE: tuple[str, ...] = get_args(Operation)


def _grants(value: object) -> object:
    if isinstance(value, list | tuple):
        if "change_governance" in value:
            raise sentence("`change_governance` is for people only; no task can grant it")
        twice = next((word for word in GRANTABLE if value.count(word) > 1), None)
        if twice:
            raise sentence(f"names `{twice}` twice; name each operation once")
    return value


Grants = Annotated[tuple[Operation, ...], BeforeValidator(_grants)]
"""Operations a task grants by name; each at most once."""


class TaskBase(TaskModel):
    """What every kind of task may say besides its own request."""

    agent: Agent = Field(default_factory=Agent, description="Model and instructions.")
    environment: Environment = Field(
        default_factory=Environment, description="What the commands of the task find around them."
    )
    validation: Validation = Field(
        "auto",
        description="How the result is checked: `auto` finds the project's own tests, `none` means nothing can, "
        "or commands that all have to exit with 0.",
    )
    limits: LimitsSpec = Field(default_factory=LimitsSpec, description="Ceilings of the run.")
    grants: Grants = Field((), description="Operations this task grants by name, within the agent's level.")
    model: ModelOverrides = Field(
        default_factory=ModelOverrides, description="Where and how the model is asked, for this task only."
    )

    def secret_refs(self) -> tuple[SecretRef, ...]:
        """Every secret this task needs, in the order of its fields."""
        own = tuple(value for value in self.environment.env.values() if isinstance(value, SecretRef))
        return own + tuple(lent.secret for lent in self.environment.credentials)
