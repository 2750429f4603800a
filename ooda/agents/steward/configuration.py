"""The steward's policies from settings, and `agents_config.json` as settings.

Which source wins, from the strongest: command line, environment, `agents_config.json`, the user's configuration
file, defaults. The file's keys are the requirement's; every one is a setting, so that `ooda config show` and the
file speak of the same things. Pure: others read files and the environment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from ooda.agents.steward.policy import AllDay, Policy
from ooda.agents.steward.ttl import TtlPolicy
from ooda.config import Settings
from ooda.config.aliases import QUIET_HOURS_KEYS
from ooda.errors import ConfigError, nearest

__all__ = ["AgentsConfig", "agents_config", "policy_of", "ttl_policy_of"]

_HOUR_S = 3_600
_MINUTE_S = 60

# Dotted setting and seconds in the unit of a number, by the requirement's key.
_SECTIONS: dict[str, dict[str, tuple[str, int]]] = {
    "quiet_hours": {key: (alias.setting, alias.unit_s) for key, alias in QUIET_HOURS_KEYS.items()},
    "ttl_monitor": {
        "enabled": ("steward.ttl_monitor.enabled", 0),
        "warning_threshold_hours": ("steward.ttl_monitor.warning_threshold", _HOUR_S),
        "check_interval_minutes": ("steward.ttl_monitor.check_interval", _MINUTE_S),
    },
    "autostop": {
        "enabled": ("steward.autostop.enabled", 0),
        "batch_size": ("steward.autostop.batch_size", 0),
        "notification_enabled": ("steward.autostop.notification_enabled", 0),
    },
    "notifications": {
        "slack_webhook": ("notify.slack_webhook_url", 0),
        "teams_webhook": ("notify.teams_webhook_url", 0),
    },
}


class AgentsConfig(msgspec.Struct, frozen=True):
    """What an `agents_config.json` says."""

    settings: Mapping[str, object]
    """Values by dotted setting; numbers of hours and minutes are seconds."""
    mail: bool | None = None
    """`notifications.email_enabled`: whether owners are told by e-mail; None when it is not said."""

    def over(self, given: Mapping[str, object], stronger: frozenset[str]) -> dict[str, object]:
        """Overrides for `load_settings`: those of the command line, and the file's where nothing stronger speaks.

        Args:
            given: settings from the command line.
            stronger: settings that the environment has set.
        """
        return {**{name: value for name, value in self.settings.items() if name not in stronger}, **given}


def agents_config(text: str, where: str = "agents_config.json") -> AgentsConfig:
    """Read an `agents_config.json`; an empty text is not a value, as in the requirement's sample.

    Raises:
        ConfigError: with every mistake of the file.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: is no JSON ({error})") from error
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: expected an object with {_names(_SECTIONS)}")
    settings: dict[str, object] = {}
    mistakes: list[str] = []
    mail: bool | None = None
    for section, values in given.items():
        if section not in _SECTIONS:
            mistakes.append(_unknown(section, _SECTIONS, "section"))
        elif not isinstance(values, dict):
            mistakes.append(f"`{section}` is {values!r}; expected an object")
        else:
            if section == "notifications" and "email_enabled" in values:
                mail = values["email_enabled"]
                if isinstance(mail, bool):
                    settings["notify.mail_owners"] = mail
                else:
                    mistakes.append(f"`notifications.email_enabled` is {mail!r}; expected true or false")
            for key, value in values.items():
                if (section, key) != ("notifications", "email_enabled"):
                    _take(section, key, value, settings, mistakes)
    if mistakes:
        raise ConfigError("\n".join([f"{where} has mistakes:", *(f"  {mistake}" for mistake in mistakes)]))
    return AgentsConfig(settings, mail)


def _take(section: str, key: str, value: Any, settings: dict[str, object], mistakes: list[str]) -> None:
    known = _SECTIONS[section]
    if key not in known:
        mistakes.append(_unknown(key, known, f"key of `{section}`"))
        return
    setting, unit_s = known[key]
    if unit_s and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = round(value * unit_s)
    if value != "":
        settings[setting] = value


def _unknown(word: str, known: Any, what: str) -> str:
    near = nearest(word, known)
    return f"unknown {what} `{word}`; " + (f"did you mean `{near}`?" if near else f"known are {_names(known)}")


def _names(words: Any) -> str:
    return ", ".join(f"`{word}`" for word in words)


def policy_of(settings: Settings, *, timezone: str | None = None, excluded: tuple[str, ...] = ()) -> Policy:
    """The fleet's policy.

    Args:
        timezone: instead of the configured one.
        excluded: further owners without quiet hours: holders of an excluded role.
    """
    hours, more = settings.steward.quiet_hours, settings.steward.policy
    return Policy(
        enabled=hours.enabled,
        start=hours.start,
        end=hours.end,
        timezone=timezone or hours.timezone,
        tz_source="policy" if timezone else more.tz_source,
        days=more.days,
        all_day=AllDay(weekdays=more.all_day_weekdays, dates=more.all_day_dates),
        skip_dates=more.skip_dates,
        grace_minutes=hours.grace / _MINUTE_S,
        warn_minutes=more.warn / _MINUTE_S,
        idle_minutes=more.idle / _MINUTE_S,
        respect_activity=more.respect_activity,
        overdue_grace_minutes=more.overdue_grace / _MINUTE_S,
        max_clock_skew_s=more.max_clock_skew,
        excluded_users=tuple(dict.fromkeys((*hours.excluded_users, *excluded))),
        excluded_templates=hours.excluded_templates,
    )


def ttl_policy_of(settings: Settings, *, soon_s: int | None = None) -> TtlPolicy:
    """What is asked of times to live; `soon_s` instead of the configured threshold."""
    monitor = settings.steward.ttl_monitor
    return TtlPolicy(
        soon_s=soon_s if soon_s is not None else monitor.warning_threshold,
        is_required=monitor.require_deadline,
        longest_s=monitor.longest_ttl,
    )
