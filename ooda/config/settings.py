"""Every setting there is: one frozen model, nested by room, with type, range, default and description.

Values only. Where they come from is `sources`; which environment names stand for them is `aliases`. Each field says
how a project's own file may set it: a project may tighten what its user allows, never loosen it.
"""

import json
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from ooda.amounts import usd_to_nano
from ooda.events import Limits
from ooda.fields import BaseUrl, Bytes, Count, Host, Line, Number, Says, Seconds, Usd
from ooda.problems import sentence

__all__ = ["Level", "Project", "Room", "Settings"]

Level = Literal["sandbox_only", "staging_access", "prod_low_risk", "prod_full_access"]
"""Permission levels, lowest first."""

Project = Literal["lower", "subset", "true", "free", "never"]
"""How a project file may set a field: to a lower value, to fewer entries, to true only, freely, not at all."""


class Room(BaseModel):
    """Base of the rooms: frozen, unknown keys refused, no value in pydantic's own error text."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True, allow_inf_nan=False
    )


def _setting(default: Any, description: str, project: Project = "never", **bounds: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"project": project}, **bounds)


def _secret(description: str) -> Any:
    return Field(None, description=description, json_schema_extra={"project": "never"})


def _split(value: object) -> object:
    """A list from the environment: comma-separated, or a JSON array."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("a list: comma-separated, or a JSON array") from None
    return [part.strip() for part in value.split(",") if part.strip()]


Names = Annotated[tuple[Line, ...], BeforeValidator(_split), Says("a list of names")]
Hosts = Annotated[tuple[Host, ...], BeforeValidator(_split), Says("a list of host names")]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_split), Says("a list of secret texts")]
CapText = Annotated[
    str,
    Field(
        pattern=r"^(global|(company|project|agent|task|run)(:\S+)?) (hour|day|life) "
        r"([0-9]{1,6}(\.[0-9]{1,9})? USD|[1-9][0-9]{0,12} tokens)$"
    ),
    Says("a cap such as `project:acme/shop day 2.50 USD`"),
]
LentText = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*( [A-Za-z0-9_][A-Za-z0-9_.-]*(:[0-9]{1,5})?)+$"),
    Says("a variable and the hosts it is lent to, such as `NPM_TOKEN registry.npmjs.org`"),
]
LentTexts = Annotated[tuple[LentText, ...], BeforeValidator(_split), Says("a list of variables with hosts")]
CapTexts = Annotated[tuple[CapText, ...], BeforeValidator(_split), Says("a list of caps")]
RouteText = Annotated[
    str,
    Field(pattern=r"^[a-z0-9_*]{1,64}( (owner|admins|slack|teams|webhook)){1,5}$|^[a-z0-9_*]{1,64} none$"),
    Says("a route such as `workflow_* slack admins`; places are owner, admins, slack, teams, webhook, or none"),
]
Routes = Annotated[tuple[RouteText, ...], BeforeValidator(_split), Says("a list of routes")]
TimeOfDay = Annotated[
    str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"), Says("a time of day such as `18:00`")
]
Key = SecretStr | None


class ModelSettings(Room):
    """Which language model is asked, where, and how patiently."""

    name: Line = _setting("z-ai/glm-4.6:exacto", "Model, passed to the provider untouched.", "free")
    backend: Literal["http", "openai", "litellm"] = _setting(
        "http", "Our own transport, or the `openai` or `litellm` package (extras)."
    )
    base_url: BaseUrl | None = _setting(None, "OpenAI-compatible endpoint; a task's own comes before it.")
    api_key: Key = _secret("Key for `base_url`. It goes to no other host.")
    fallbacks: Names = _setting((), "Models asked in turn when the first is unavailable.", "free", max_length=8)
    temperature: Number | None = _setting(
        None, "Sampling temperature; the provider's own if unset.", "free", ge=0, le=2
    )
    connect_timeout: Seconds = _setting(5, "Connecting to the provider, TLS included.", "lower", ge=1, le=120)
    first_byte_timeout: Seconds = _setting(300, "From the request to the start of the reply.", "lower", ge=1, le=3_600)
    stall_timeout: Seconds = _setting(120, "Between two pieces of a reply.", "lower", ge=1, le=3_600)
    attempts: Count = _setting(5, "Attempts while the provider is busy.", "lower", ge=1, le=20)


class ProviderSettings(Room):
    """Keys of providers, each sent to that provider's own host only."""

    openrouter_api_key: Key = _secret("OpenRouter; with it set and no URL, models are asked there.")
    openai_api_key: Key = _secret("OpenAI, or whoever stands at `openai_base_url`.")
    openai_base_url: BaseUrl | None = _setting(None, "Endpoint `openai_api_key` is meant for, when it is not OpenAI.")
    anthropic_api_key: Key = _secret("Anthropic; also handed to the `claude` command line when that does the work.")
    google_api_key: Key = _secret("Google Gemini.")


class LimitSettings(Room):
    """Ceilings of a run that its task does not set itself."""

    steps: Count = _setting(200, "Passes from observe to act.", "lower", ge=1, le=100_000)
    rounds: Count = _setting(10, "Implement-validate cycles.", "lower", ge=1, le=1_000)
    wall_clock: Seconds = _setting(86_400, "Active time of a run.", "lower", ge=1, le=31_622_400)
    tokens: Count = _setting(20_000_000, "Tokens sent and received in a run.", "lower", ge=1, le=10**12)
    reply_tokens: Count = _setting(8_192, "Longest reply of the model.", "lower", ge=1, le=1_000_000)
    context_tokens: Count = _setting(200_000, "The model's window.", "lower", ge=1_000, le=100_000_000)
    output_bytes: Bytes = _setting(16_384, "Tool output shown to the model per call.", "lower", ge=256, le=1 << 20)


class BudgetSettings(Room):
    """What may be spent. Windows are UTC hours and days; the caps hold over all runs together."""

    task_usd: Usd = _setting(Decimal(1), "Each task that does not say itself.", "lower", gt=0, le=1_000_000)
    hour_usd: Usd = _setting(Decimal(2), "All runs in an hour.", "lower", gt=0, le=1_000_000)
    day_usd: Usd = _setting(Decimal(10), "All runs in a day.", "lower", gt=0, le=1_000_000)
    total_usd: Usd = _setting(Decimal(100), "All runs, ever.", "lower", gt=0, le=1_000_000)
    hour_tokens: Count = _setting(50_000_000, "Tokens of all runs in an hour.", "lower", ge=1, le=10**12)
    day_tokens: Count = _setting(200_000_000, "Tokens of all runs in a day.", "lower", ge=1, le=10**12)
    company_hour_usd: Usd | None = _setting(None, "All runs of a company in an hour.", "lower", gt=0, le=1_000_000)
    company_day_usd: Usd | None = _setting(None, "All runs of a company in a day.", "lower", gt=0, le=1_000_000)
    project_hour_usd: Usd | None = _setting(None, "All runs of a project in an hour.", "lower", gt=0, le=1_000_000)
    project_day_usd: Usd | None = _setting(None, "All runs of a project in a day.", "lower", gt=0, le=1_000_000)
    agent_hour_usd: Usd | None = _setting(None, "All runs of a kind of agent in an hour.", "lower", gt=0, le=1_000_000)
    agent_day_usd: Usd | None = _setting(None, "All runs of a kind of agent in a day.", "lower", gt=0, le=1_000_000)
    caps: CapTexts = _setting(
        (), "Further caps, such as `project:acme/shop day 2.50 USD` or `agent hour 200000 tokens`.", max_length=1_000
    )
    day_zone: Line = _setting("UTC", "IANA time zone in which a day begins; hours are those of UTC.")
    price_file: Line | None = _setting(None, "File of model prices that override the bundled table.")

    def nano(self, window: Literal["task", "hour", "day", "total"]) -> int:
        """The cap of a window in nano-USD."""
        return usd_to_nano(getattr(self, f"{window}_usd"))


class GovernanceSettings(Room):
    """What agents may do without asking."""

    level: Level | None = _setting(
        None,
        "Level of every agent as far as its score carries it: your review, and a ceiling. Unset, each agent has the "
        "level it was promoted to (`ooda reputation`), `sandbox_only` at first.",
        "lower",
    )
    degraded: Literal["fail_closed", "sandbox_only", "unconstrained"] = _setting(
        "fail_closed", "What runs while governance (Redis, Supabase) cannot be reached."
    )
    degraded_unconstrained: bool = _setting(
        False, "Confirms `degraded = unconstrained`; refused where a production credential is set."
    )
    degraded_usd: Usd = _setting(
        Decimal("0.50"), "Money for a day of `degraded = sandbox_only`.", "lower", gt=0, le=1_000_000
    )
    approval_timeout: Seconds = _setting(
        900, "How long a question to a person stands; then it is refused.", "lower", ge=1, le=604_800
    )
    user: Line | None = _setting(None, "Who runs this, as audit log and approvals name it; the login name if unset.")
    rules_file: Line | None = _setting(None, "File of allow, ask and deny rules.")
    hooks_file: Line | None = _setting(
        None, "File of your own programs that are asked before calls; they may only tighten."
    )
    redis_url: Key = _secret("Redis for budgets shared by many machines; off if unset.")
    redis_prefix: Line = _setting("ooda", "Start of all keys on that server; with another one nothing is shared.")
    supabase_url: BaseUrl | None = _setting(None, "Supabase project for reputation; off if unset.")
    supabase_service_role_key: Key = _secret("Service role key of that project.")

    @property
    def degraded_nano(self) -> int:
        """`degraded_usd` in nano-USD."""
        return usd_to_nano(self.degraded_usd)


class RedactionSettings(Room):
    """What is blotted out of everything recorded, besides known keys and the shapes of secrets."""

    extra_values: Secrets = _setting((), "Texts that must never be recorded.", max_length=1_000)


class SandboxSettings(Room):
    """The enclosure in which commands run."""

    backend: Literal["auto", "docker", "bubblewrap", "none"] = _setting(
        "auto", "`auto` takes the first that passes its self-test and refuses otherwise; `none` is no enclosure at all."
    )
    image: Line | None = _setting(None, "Image by name or digest, used if present; our own small root if unset.")
    runtime: Line | None = _setting(None, "OCI runtime of the engine, such as `runsc`.")
    memory: Bytes = _setting(2 << 30, "Memory of all its processes.", "lower", ge=64 << 20, le=1 << 44)
    cpus: Count = _setting(1, "Processors.", "lower", ge=1, le=256)
    pids: Count = _setting(192, "Processes at once.", "lower", ge=16, le=32_768)
    disk: Bytes = _setting(2 << 30, "Size of the workspace.", "lower", ge=16 << 20, le=1 << 44)
    tmp: Bytes = _setting(512 << 20, "Size of /tmp.", "lower", ge=1 << 20, le=1 << 44)
    open_files: Count = _setting(1_024, "Open files per process.", "lower", ge=64, le=1 << 20)
    command_timeout: Seconds = _setting(120, "Longest run of one command.", "lower", ge=1, le=86_400)
    hosts: Hosts = _setting((), "Hosts every sandbox may reach, besides a task's own.", "subset", max_length=100)
    credentials: LentTexts = _setting(
        (),
        "Environment variables of yours lent to hosts: commands find a placeholder, and the proxy puts the value into "
        "HTTPS requests to those hosts.",
        "subset",
        max_length=20,
    )


class StoreSettings(Room):
    """Where journals, budgets, approvals and audit are kept."""

    url: Key = _secret("PostgreSQL URL; SQLite in the data folder if unset.")


class ChatSettings(Room):
    """`ooda chat`."""

    session_usd: Usd = _setting(Decimal(1), "Money for one session.", "lower", gt=0, le=1_000_000)
    steps_per_turn: Count = _setting(50, "Steps before the agent hands back.", "lower", ge=1, le=10_000)
    stream: bool = _setting(True, "Show replies while they are written.", "free")


class NotifySettings(Room):
    """Channels for notices; each is off until configured."""

    webhook_url: Key = _secret("Receives the end of every run, signed.")
    webhook_secret: Key = _secret("Signs it: `whsec_` and base64 as in Standard Webhooks, or any other text.")
    webhook_old_secrets: Secrets = _setting((), "Sign it too, while a secret is being replaced.", max_length=4)
    mail_to: Names = _setting((), "Administrators: recipients of e-mail that is not for an owner.", max_length=50)
    mail_from: Line | None = _setting(None, "Sender of e-mail notices.")
    mail_owners: bool = _setting(True, "Whether owners of workspaces are told by e-mail.")
    mailtrap_token: Key = _secret("Mailtrap API token; e-mail goes there when no SMTP server is set.")
    mailtrap_url: BaseUrl = _setting(
        "https://send.api.mailtrap.io",
        "Mailtrap's sending API; `https://sandbox.api.mailtrap.io/api/send/INBOX` to try.",
    )
    smtp_host: Line | None = _setting(None, "SMTP server.")
    smtp_port: Count = _setting(587, "Its port.", ge=1, le=65_535)
    smtp_security: Literal["starttls", "tls", "none"] = _setting(
        "starttls", "How the connection is encrypted; `none` is for a server on this machine only."
    )
    smtp_user: Line | None = _setting(None, "User at the SMTP server.")
    smtp_password: Key = _secret("Password at the SMTP server.")
    slack_webhook_url: Key = _secret("Slack incoming webhook.")
    slack_channel: Line | None = _setting(
        None, "Slack channel named in notices; the webhook's URL decides where they go."
    )
    teams_webhook_url: Key = _secret("Teams Workflows URL.")
    private_hosts: Hosts = _setting(
        (),
        "Receivers by name that may have a private address; all others must not lead into your network.",
        max_length=50,
    )
    ca_file: Line | None = _setting(None, "Certificate authorities of receivers, instead of the usual ones.")
    routes: Routes = _setting(
        (),
        "Who is told what, before the built-in routes: `KIND WHERE …`, such as `workflow_* slack admins`.",
        max_length=200,
    )
    digest: Seconds = _setting(0, "How long notices to one person are gathered into one message.", ge=0, le=86_400)
    timeout: Seconds = _setting(20, "Longest attempt to send.", ge=1, le=120)
    keep_trying: Seconds = _setting(
        86_400, "How long a message is tried before it is a dead letter.", ge=1, le=2_592_000
    )
    unsure: Literal["repeat", "hold"] = _setting(
        "repeat",
        "After an attempt that may have arrived, where the receiver does not know ids: Slack, Teams, Mailtrap.",
    )
    end_wait: Seconds = _setting(10, "How long `ooda run` delivers at its end; the rest stays queued.", ge=0, le=300)


class TelemetrySettings(Room):
    """What follows the journal outwards."""

    log_level: Literal["debug", "info", "warning", "error"] = _setting("warning", "Least log level shown.", "free")
    nats_url: Key = _secret("NATS server for notifications; off if unset.")
    nats_http_url: BaseUrl | None = _setting(None, "HTTP bridge used when NATS itself cannot be reached.")
    nats_subject_prefix: Line = _setting("automata.workflows", "Start of every NATS subject.")


class TemporalSettings(Room):
    """Runs on many machines."""

    host: Line | None = _setting(None, "Temporal server, `host:port`; runs are local if unset.")
    namespace: Line = _setting("default", "Temporal namespace.")
    task_queue_coding_agent: Line = _setting("coding-agent", "Task queue of the coding agent's workers.")


class CoderSettings(Room):
    """The Coder deployment the steward looks after."""

    url: BaseUrl | None = _setting(None, "Address of the deployment.")
    token: Key = _secret("Session token.")


class VercelSettings(Room):
    """Deployments of the ops agent."""

    token: Key = _secret("Vercel token.")
    team_id: Line | None = _setting(None, "Vercel team.")


class QuietHours(Room):
    """When workspaces are stopped."""

    enabled: bool = _setting(True, "Whether quiet hours are looked at.")
    start: TimeOfDay = _setting("18:00", "Start of the window.")
    end: TimeOfDay = _setting("08:00", "Its end; the next day when not later than the start.")
    timezone: Line = _setting("UTC", "IANA time zone of the window.")
    grace: Seconds = _setting(3_600, "From the start of the window to the first stop.", ge=0, le=86_400)
    excluded_users: Names = _setting(("admin", "on-call"), "Users whose workspaces are left alone.", max_length=10_000)
    excluded_templates: Names = _setting(
        ("production", "critical"), "Templates whose workspaces are left alone.", max_length=10_000
    )


class StewardPolicy(Room):
    """What decides about a stop besides the hours."""

    tz_source: Literal["policy", "owner"] = _setting(
        "policy", "Whose time zone counts: the policy's, or the owner's where their own quiet hours name one."
    )
    days: Names = _setting(
        ("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "Weekdays on which a window starts.", max_length=7
    )
    all_day_weekdays: Names = _setting((), "Weekdays that are quiet from midnight to midnight.", max_length=7)
    all_day_dates: Names = _setting((), "Dates that are quiet from midnight to midnight.", max_length=1_000)
    skip_dates: Names = _setting((), "Dates on which no window starts.", max_length=1_000)
    warn: Seconds = _setting(1_800, "How long before a stop its owner is told.", ge=0, le=86_400)
    idle: Seconds = _setting(1_800, "Unused for at least this long before a quiet stop.", ge=0, le=604_800)
    respect_activity: bool = _setting(True, "Whether recent use and open connections hold off a stop.")
    overdue_grace: Seconds = _setting(300, "What Coder itself gets to act on a deadline.", ge=0, le=86_400)
    max_clock_skew: Seconds = _setting(120, "Most that Coder's clock and ours may differ.", ge=0, le=86_400)
    excluded_roles: Names = _setting((), "Roles whose holders' workspaces are left alone.", max_length=100)
    rules_file: Line | None = _setting(None, "JSON file of rules that choose a policy by several criteria.")
    holidays: Names = _setting((), "iCalendar files or https URLs whose whole days are quiet.", max_length=50)


class TtlMonitor(Room):
    """Reports on workspaces past their time to live."""

    enabled: bool = _setting(True, "Whether it is looked at.")
    warning_threshold: Seconds = _setting(3_600, "How soon counts as stopping soon.", ge=1, le=31_622_400)
    check_interval: Seconds = _setting(900, "Between two passes.", ge=60, le=86_400)
    require_deadline: bool = _setting(False, "Whether running without a deadline is a violation.")
    longest_ttl: Seconds | None = _setting(None, "Longest time to live that is no violation.", ge=60, le=31_622_400)


class Autostop(Room):
    """Stops that policy has scheduled."""

    enabled: bool = _setting(True, "Whether it is carried out.")
    batch_size: Count = _setting(10, "Workspaces per batch.", ge=1, le=1_000)
    notification_enabled: bool = _setting(True, "Whether owners are told before.")


class StewardSettings(Room):
    """Care for a fleet of workspaces."""

    dry_run: bool = _setting(False, "Stop nothing, whatever a command or task says.", "true")
    stops_per_minute: Count = _setting(10, "Stops in a minute.", "lower", ge=1, le=10_000)
    blast_count: Count = _setting(5, "Stops in one pass that need no approval, at least.", "lower", ge=0, le=100_000)
    blast_percent: Count = _setting(20, "Share of the fleet in one pass that needs no approval.", "lower", ge=0, le=100)
    concurrency: Count = _setting(4, "Requests at once while workspaces are looked at.", "lower", ge=1, le=64)
    quiet_hours_interval: Seconds = _setting(900, "Between two passes for quiet hours.", ge=60, le=86_400)
    autostop_interval: Seconds = _setting(1_800, "Between two passes for autostop.", ge=60, le=86_400)
    config_file: Line | None = _setting(None, "An `agents_config.json`; the one in the current folder if unset.")
    prices_file: Line | None = _setting(None, "JSON file of USD per hour by template, for reports of what was saved.")
    quiet_hours: QuietHours = Field(default_factory=QuietHours, description="Quiet hours.")
    policy: StewardPolicy = Field(default_factory=StewardPolicy, description="What decides about a stop.")
    ttl_monitor: TtlMonitor = Field(default_factory=TtlMonitor, description="Time to live.")
    autostop: Autostop = Field(default_factory=Autostop, description="Autostop.")


class TriageSettings(Room):
    """Investigation of Kubernetes incidents."""

    agent_command: Line | None = _setting(None, "External agent command line; our own loop if unset.")
    model: Line | None = _setting(None, "Model for triage; `model.name` if unset.")
    allowed_tools: Names = _setting((), "Tools of the external agent; its read-only ones if empty.", max_length=200)
    timeout: Seconds = _setting(600, "Longest investigation.", "lower", ge=1, le=86_400)
    kubeconfig: Line | None = _setting(None, "Kubeconfig of a read-only service account.")


class McpSettings(Room):
    """`ooda mcp` over HTTP."""

    auth_enabled: bool = _setting(True, "Whether a bearer token is asked for.", "true")
    auth_token: Key = _secret("That token.")


class Settings(Room):
    """All settings of this program, read once at the entry point and passed down."""

    model: ModelSettings = Field(default_factory=ModelSettings)
    providers: ProviderSettings = Field(default_factory=ProviderSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    governance: GovernanceSettings = Field(default_factory=GovernanceSettings)
    redaction: RedactionSettings = Field(default_factory=RedactionSettings)
    sandbox: SandboxSettings = Field(default_factory=SandboxSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    chat: ChatSettings = Field(default_factory=ChatSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    temporal: TemporalSettings = Field(default_factory=TemporalSettings)
    coder: CoderSettings = Field(default_factory=CoderSettings)
    vercel: VercelSettings = Field(default_factory=VercelSettings)
    steward: StewardSettings = Field(default_factory=StewardSettings)
    triage: TriageSettings = Field(default_factory=TriageSettings)
    mcp: McpSettings = Field(default_factory=McpSettings)

    @model_validator(mode="after")
    def _reply_fits(self) -> "Settings":
        if self.limits.reply_tokens >= self.limits.context_tokens:
            raise sentence(
                f"`limits.reply_tokens` {self.limits.reply_tokens} leaves no room in "
                f"`limits.context_tokens` {self.limits.context_tokens}"
            )
        return self

    def limit_defaults(self) -> Limits:
        """What a task's own limits stand over (`LimitsSpec.to_limits`)."""
        return Limits(
            steps=self.limits.steps,
            rounds=self.limits.rounds,
            wall_s=self.limits.wall_clock,
            tokens=self.limits.tokens,
            cost_nano=self.budget.nano("task"),
            reply_tokens=self.limits.reply_tokens,
            context_tokens=self.limits.context_tokens,
            output_bytes=self.limits.output_bytes,
        )
