"""Environment names other than our own: one table, from the documents this program was asked for and common use.

Data only. `OODA_<ROOM>__<FIELD>` stands for every setting and comes before an alias; of two aliases of one setting
the earlier in the table wins.
"""

import msgspec

__all__ = ["ALIASES", "QUIET_HOURS_KEYS", "RESERVED", "Alias", "environ_name"]


class Alias(msgspec.Struct, frozen=True):
    """What an environment name stands for."""

    setting: str
    """Dotted name."""
    unit_s: int = 0
    """Seconds in the unit of a bare number: `GRACE_PERIOD_HOURS=1` is 3600; 0 where the value is no such number."""


ALIASES: dict[str, Alias] = {
    "OPENROUTER_API_KEY": Alias("providers.openrouter_api_key"),
    "OPENAI_API_KEY": Alias("providers.openai_api_key"),
    "OPENAI_BASE_URL": Alias("providers.openai_base_url"),
    "OPENAI_API_BASE": Alias("providers.openai_base_url"),
    "ANTHROPIC_API_KEY": Alias("providers.anthropic_api_key"),
    "CLAUDE_API_KEY": Alias("providers.anthropic_api_key"),
    "GEMINI_API_KEY": Alias("providers.google_api_key"),
    "GOOGLE_API_KEY": Alias("providers.google_api_key"),
    "DATABASE_URL": Alias("store.url"),
    "REDIS_URL": Alias("governance.redis_url"),
    "SUPABASE_URL": Alias("governance.supabase_url"),
    "SUPABASE_SERVICE_ROLE_KEY": Alias("governance.supabase_service_role_key"),
    "NATS_URL": Alias("telemetry.nats_url"),
    "NATS_HTTP_URL": Alias("telemetry.nats_http_url"),
    "NATS_SUBJECT_PREFIX": Alias("telemetry.nats_subject_prefix"),
    "ELIXIR_WEBHOOK_URL": Alias("notify.webhook_url"),
    "ELIXIR_WEBHOOK_SECRET": Alias("notify.webhook_secret"),
    "Mailtrap_API_TOKEN": Alias("notify.mailtrap_token"),
    "MAILTRAP_API_TOKEN": Alias("notify.mailtrap_token"),
    "SLACK_WEBHOOK_URL": Alias("notify.slack_webhook_url"),
    "SLACK_WEBHOOK": Alias("notify.slack_webhook_url"),
    "TEAMS_WEBHOOK_URL": Alias("notify.teams_webhook_url"),
    "TEAMS_WEBHOOK": Alias("notify.teams_webhook_url"),
    "TEMPORAL_HOST": Alias("temporal.host"),
    "TEMPORAL_NAMESPACE": Alias("temporal.namespace"),
    "TEMPORAL_TASK_QUEUE_CODING_AGENT": Alias("temporal.task_queue_coding_agent"),
    "VERCEL_TOKEN": Alias("vercel.token"),
    "VERCEL_TEAM_ID": Alias("vercel.team_id"),
    "CODER_URL": Alias("coder.url"),
    "CODER_TOKEN": Alias("coder.token"),
    "CODER_SESSION_TOKEN": Alias("coder.token"),
    "DRY_RUN": Alias("steward.dry_run"),
    "QUIET_HOURS_START": Alias("steward.quiet_hours.start"),
    "QUIET_HOURS_END": Alias("steward.quiet_hours.end"),
    "QUIET_HOURS_TIMEZONE": Alias("steward.quiet_hours.timezone"),
    "GRACE_PERIOD_HOURS": Alias("steward.quiet_hours.grace", 3_600),
    "AGENT_SCRIPT_PATH": Alias("triage.agent_command"),
    "AGENT_MODEL": Alias("triage.model"),
    "AGENT_ALLOWED_TOOLS": Alias("triage.allowed_tools"),
    "AGENT_TIMEOUT": Alias("triage.timeout"),
    "OODA_USER": Alias("governance.user"),
    "FLEET_MCP_AUTH_TOKEN": Alias("mcp.auth_token"),
    "FLEET_MCP_AUTH_ENABLED": Alias("mcp.auth_enabled"),
}

QUIET_HOURS_KEYS: dict[str, Alias] = {
    "start_time": Alias("steward.quiet_hours.start"),
    "end_time": Alias("steward.quiet_hours.end"),
    "timezone": Alias("steward.quiet_hours.timezone"),
    "grace_period_hours": Alias("steward.quiet_hours.grace", 3_600),
    "excluded_users": Alias("steward.quiet_hours.excluded_users"),
    "excluded_templates": Alias("steward.quiet_hours.excluded_templates"),
    "enabled": Alias("steward.quiet_hours.enabled"),
    "dry_run": Alias("steward.dry_run"),
}
"""Keys of the JSON object in `QUIET_HOURS_CONFIG`. The single variables above come before it."""

RESERVED = ("OODA_SPECS", "OODA_ASKPASS_", "OODA_USER")
"""Beginnings of `OODA_` names that are no settings: they belong to tests and to git's child processes, or say who
sits here."""


def environ_name(setting: str) -> str:
    """`model.base_url` as `OODA_MODEL__BASE_URL`."""
    return "OODA_" + setting.upper().replace(".", "__")
