"""A fleet out of a seed: the same people, templates and workspaces every time."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from ooda.testing.fake_coder.entities import FakeUser
from ooda.testing.fake_coder.world import World

__all__ = ["ADMIN", "populate"]

ADMIN = "steward"
"""User name of the token the fake hands out: an owner of the deployment."""

_FIRST = ("ada", "alan", "barbara", "claude", "donald", "edsger", "frances", "grace", "john", "katherine", "ken",
          "leslie", "margaret", "niklaus", "radia", "robin", "shafi", "tony", "whitfield", "yukihiro")  # fmt: skip
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Asia/Kolkata", "Asia/Tokyo",
          "Australia/Sydney", "America/Sao_Paulo")  # fmt: skip
_HOUR_MS = 3_600_000


def populate(world: World, rng: Random, workspaces: int) -> FakeUser:
    """Fill a world: about three workspaces a person, two thirds of them running; gives the token's user."""
    admin = world.add_user(ADMIN, roles=("owner",))
    world.add_user("on-call", timezone="Europe/Berlin")
    templates = [
        world.add_template("docker", default_ttl_ms=8 * _HOUR_MS),
        world.add_template("kubernetes", default_ttl_ms=12 * _HOUR_MS, autostop_days=("saturday",)),
        world.add_template("gpu", default_ttl_ms=4 * _HOUR_MS, allow_user_autostop=False),
        world.add_template("production", activity_bump_ms=0),
    ]
    people = [
        _person(world, rng, f"{rng.choice(_FIRST)}.{number:05d}") for number in range(max(1, (workspaces + 2) // 3))
    ]
    now = world.settle()
    for number in range(workspaces):
        template = rng.choices(templates, (8, 5, 2, 1))[0]
        started = now - timedelta(minutes=rng.randrange(1, 60 * 20))
        ttl_ms = rng.choice((None, 4, 8, 8, 12))
        world.add_workspace(
            rng.choice(people),
            template,
            f"{rng.choice(('dev', 'api', 'web', 'data', 'ml', 'docs'))}-{number}",
            is_running=rng.random() < 0.66,
            started_at=started,
            last_used_at=min(now, started + timedelta(minutes=rng.randrange(1, 60 * 20))),
            ttl_ms=ttl_ms * _HOUR_MS if ttl_ms is not None else None,
            autostart="CRON_TZ=UTC 0 7 * * 1-5" if rng.random() < 0.1 else "",
            is_prebuild=rng.random() < 0.01,
        )
    return admin


def _person(world: World, rng: Random, username: str) -> FakeUser:
    zone = rng.choice(_ZONES)
    schedule = f"CRON_TZ={zone} 0 {rng.choice((18, 19, 20, 22))} * * *" if rng.random() < 0.7 else ""
    return world.add_user(username, timezone=zone, schedule=schedule)
