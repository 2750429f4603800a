"""`make bench-steward`: every figure of the steward beside its goal; exits 1 when one is missed.

    scripts/bench steward [--workspaces 100000] [--draws 1000000] [--json]

Decisions of random records are compared with a second reading of the rules on the `whenever` library
(`tests/agents/steward/oracle.py`), planning with a bare loop over the same records, and a pass over loopback is
timed. Both sides of a ratio run in this process, in turn. The bare loop answers the same question (is a stop due now?)
over the same records with the windows of each zone worked out once, and leaves out what a plan gives besides: warnings,
reasons, the next change.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from pydantic import SecretStr

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from ooda.agents.steward import Planner, Policy, StopDecision, Workspace, decide_lines  # noqa: E402
from ooda.agents.steward.fleet import plan_fleet, workspace_of  # noqa: E402
from ooda.agents.steward.instants import HOUR_NS, MINUTE_NS, SECOND_NS  # noqa: E402
from ooda.services.coder import CoderClient, Pace  # noqa: E402
from ooda.testing.fake_coder import FakeCoder, render  # noqa: E402
from ooda.testing.fake_coder.http import HttpServer, Request, Response  # noqa: E402

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Sydney",
    "America/Sao_Paulo",
)
NOW = 1_795_000_000 * SECOND_NS
POLICY = Policy(tz_source="owner")
PART = 10_000
"""Draws of one seed; a part that differs can be drawn again by itself."""

Row = tuple[str, str, str, bool]
"""Measure, value, goal, met."""


def fleet(count: int, seed: int = 7) -> list[Workspace]:
    """Running workspaces of many owners in eight zones; two fifths have a deadline."""
    rng = Random(seed)
    return [
        Workspace(
            id=str(number),
            name=f"w{number}",
            owner=f"user{number % 20_000}",
            owner_tz=rng.choice(ZONES),
            template=rng.choice(("docker", "kubernetes", "gpu", "production")),
            status="running",
            started_ns=NOW - rng.randrange(48 * 60) * MINUTE_NS,
            last_used_ns=NOW - rng.randrange(12 * 60) * MINUTE_NS,
            ttl_ms=28_800_000,
            deadline_ns=NOW + rng.randrange(-10, 600) * MINUTE_NS if rng.random() < 0.4 else None,
        )
        for number in range(count)
    ]


def bare_loop(workspaces: list[Workspace]) -> list[bool]:
    """Whether a stop is due, written out by hand."""
    calendars = Planner(POLICY)
    windows: dict[str | None, tuple[int, int]] = {}
    users, templates = {"admin", "on-call"}, {"production", "critical"}
    due = []
    for seen in workspaces:
        window = windows.get(seen.owner_tz)
        if window is None:
            calendar = calendars.calendar(seen.owner_tz)
            assert calendar is not None
            first = next(calendar.ahead(NOW))
            window = windows[seen.owner_tz] = first.start_ns, first.end_ns
        is_due = False
        if seen.dormant_ns is None and seen.status == "running":
            is_busy = seen.active_connections is not None and seen.active_connections > 0
            is_late = seen.max_deadline_ns is not None and seen.max_deadline_ns + 5 * MINUTE_NS <= NOW
            if not is_late and seen.deadline_ns is not None and not is_busy:
                is_late = seen.deadline_ns + 5 * MINUTE_NS <= NOW
            if is_late:
                is_due = True
            elif not is_busy and seen.owner.casefold() not in users and seen.template not in templates:
                start, end = window
                if start <= NOW < end and seen.started_ns is not None and seen.last_used_ns is not None:
                    stop = max(max(start, seen.started_ns) + HOUR_NS, seen.last_used_ns + 30 * MINUTE_NS)
                    is_due = stop <= NOW
        due.append(is_due)
    return due


def plan(workspaces: list[Workspace]) -> list[StopDecision]:
    """The real one, with warning, reason and next change."""
    return Planner(POLICY).plan(NOW, workspaces)


def best_of(run: Callable[[], object], rounds: int = 9) -> float:
    """Milliseconds of the quickest of some rounds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken) * 1_000


def measure_plan(count: int) -> dict[str, float]:
    """Planning against the bare loop; both must agree on what is due."""
    workspaces = fleet(count)
    assert [said.decision == "stop" for said in plan(workspaces)] == bare_loop(workspaces)
    bare_ms, plan_ms = best_of(lambda: bare_loop(workspaces)), best_of(lambda: plan(workspaces))
    return {"bare_ms": round(bare_ms, 1), "plan_ms": round(plan_ms, 1), "plan_ratio": round(plan_ms / bare_ms, 2)}


async def _serve(pipe: Connection, count: int) -> None:
    """Pages of a fake deployment, made before and served from memory: the server is not what is measured."""
    fake = FakeCoder(workspaces=count, requests_per_minute=0)
    rows = [json.loads(render.workspace(fake.world, seen, fake.admin)) for seen in fake.world.workspaces.values()]
    for row in rows:
        row["latest_build"]["resources"] = []  # about 2.5 kB a workspace, as a small template has it
    pages = {
        offset: json.dumps({"workspaces": rows[offset : offset + 1_000], "count": count}).encode()
        for offset in range(0, count, 1_000)
    }

    async def page(request: Request) -> Response:
        return Response(
            status=200, body=pages[int(request.query["offset"])], headers={"content-type": "application/json"}
        )

    server = HttpServer(page)
    await server.start()
    pipe.send((server.url, fake.token, sum(map(len, pages.values())) / 1e6))
    await asyncio.to_thread(pipe.recv)
    await server.close()


def serve(pipe: Connection, count: int) -> None:
    """The fake deployment, in a process of its own."""
    asyncio.run(_serve(pipe, count))


async def fetch_and_plan(url: str, token: str) -> int:
    """One pass: list, decode, plan; gives how many workspaces there were."""
    pace = Pace(calls_per_s=1e6, burst=10_000)
    async with CoderClient(url, SecretStr(token), pace=pace) as client:
        listing = await client.fleet(workspace_of)
        plan_fleet(time.time_ns(), POLICY, listing.rows)
        return len(listing.rows)


def _measured(pipe: Connection, url: str, token: str) -> None:
    taken = []
    fetched = 0
    for _ in range(3):
        began = time.perf_counter()
        fetched = asyncio.run(fetch_and_plan(url, token))
        taken.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send({"fetch_s": round(min(taken), 2), "memory_mb": round(peak, 1), "fetched": fetched})


def measure_fetch(count: int) -> dict[str, Any]:
    """Fetch + decode + plan over loopback, and the peak memory of the process that does it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, count))
    server.start()
    try:
        url, token, megabytes = ours.recv()
        mine, other = context.Pipe()
        client = context.Process(target=_measured, args=(other, url, token))
        client.start()
        result: dict[str, Any] = mine.recv()
        client.join()
        return {**result, "megabytes": round(megabytes, 1)}
    finally:
        ours.send(None)
        server.join()


def differing(seed: int, draws: int) -> list[str]:
    """Records whose decision, reason or next change is not what the second reading says."""
    from whenever import Instant

    from tests.agents.steward.oracle import draw, expected

    rng = Random(seed)
    found = []
    for _ in range(draws):
        record = draw(rng)
        (line,) = decide_lines([json.dumps(record)])
        answer = json.loads(line)
        at = answer.get("next_change")
        said = (answer.get("decision"), answer.get("reason"), None if at is None else Instant.parse_iso(at).timestamp())
        if said != expected(record):
            found.append(f"{line} instead of {expected(record)} for {json.dumps(record)}")
    return found


def measure_decisions(draws: int, first_seed: int) -> dict[str, Any]:
    """All draws, in parts, on every core."""
    parts = [min(PART, draws - at) for at in range(0, draws, PART)]
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        work = [pool.apply_async(differing, (first_seed + number, size)) for number, size in enumerate(parts)]
        found = [line for part in work for line in part.get()]
    return {
        "draws": draws,
        "differences": len(found),
        "draws_s": round(time.perf_counter() - began, 1),
        "shown": found[:5],
    }


def rows_of(count: int, decisions: dict[str, Any], plans: dict[str, float], fetch: dict[str, Any]) -> list[Row]:
    """The figures beside the goals of issue 6."""
    return [
        (
            f"decisions that differ from a reading with `whenever`, {decisions['draws']:,} draws",
            str(decisions["differences"]),
            "0",
            decisions["differences"] == 0,
        ),
        (
            f"plan for {count:,} workspaces, against a bare loop",
            f"{plans['plan_ratio']:.2f}x ({plans['plan_ms']:.0f} ms)",
            "<= 1.5x",
            plans["plan_ratio"] <= 1.5,
        ),
        (
            f"fetch + decode + plan of {count:,} over loopback ({fetch['megabytes']:.0f} MB)",
            f"{fetch['fetch_s']:.2f} s",
            "<= 2.5 s",
            fetch["fetch_s"] <= 2.5 and fetch["fetched"] == count,
        ),
        (
            "peak memory of the process that does it",
            f"{fetch['memory_mb']:.0f} MB",
            "< 300 MB",
            fetch["memory_mb"] < 300,
        ),
    ]


def main() -> int:
    """Measure everything, print it beside its goal, and say by the exit code whether all were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspaces", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=1_000_000, help="records to be decided twice")
    parser.add_argument("--seed", type=int, default=0, help="of the first 10,000 draws; the next have the next one")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    args = parser.parse_args()
    plans, fetch = measure_plan(args.workspaces), measure_fetch(args.workspaces)
    decisions = measure_decisions(args.draws, args.seed)
    rows = rows_of(args.workspaces, decisions, plans, fetch)
    if args.json:
        print(json.dumps({"workspaces": args.workspaces, **plans, **fetch, **decisions}, indent=1))
    else:
        for measure, value, goal, is_met in rows:
            print(f"{'ok  ' if is_met else 'MISS'} {measure}: {value} (goal {goal})")
        print("\n".join(decisions["shown"]))
    return 0 if all(row[3] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
