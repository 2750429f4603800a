"""What the steward's record teaches, from the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ooda.agents.steward.instants import ns_of
from ooda.store import steward as rows
from tests.cli.steward.fleet_home import FleetHome


def seen(fleet: FleetHome, owner: str, ends: list[str]) -> None:
    """Use of one owner that ended at these times on the last working days."""
    day = datetime.now(UTC).replace(second=0, microsecond=0)
    with fleet.session() as session:
        for end in ends:
            day -= timedelta(days=1)
            while day.weekday() >= 5:
                day -= timedelta(days=1)
            hour, minute = map(int, end.split(":"))
            for at in (day.replace(hour=9, minute=0), day.replace(hour=hour, minute=minute)):
                session.store.write_now(
                    lambda tx, at=at: rows.add_use(tx, fleet.fake.url, f"id-{owner}", owner, ns_of(at))
                )


def test_stop_times_are_learnt_by_owner_and_show_their_error(fleet: FleetHome) -> None:
    """Half an hour behind the time that nine of ten days do not pass; too few days teach nothing."""
    seen(fleet, "ada", ["17:00", "17:10", "16:50", "17:00", "17:20", "17:00"])
    seen(fleet, "bob", ["12:00"])

    found = fleet.ooda("steward", "predict", "--json").json()
    assert [(one["owner"], one["stop"], one["days"], one["is_weekend"]) for one in found] == [
        ("ada", "17:50", 6, False)
    ]
    assert (found[0]["error_minutes"], found[0]["too_early_percent"]) == (5, 0.0)
    text = fleet.ooda("steward", "predict").out
    assert re.search(r"ada +working day +17:50 +5 min +0 % +6", text), text
    assert "bob" not in text
    assert "nobody has been seen" in fleet.ooda("steward", "predict", "--user", "bob").out


def test_savings_count_until_the_next_start_and_price_by_template(fleet: FleetHome) -> None:
    """A started workspace counts no longer, a deleted one not at all; hours without a price are said to be so."""
    spaces = fleet.person("ada", 3)
    assert fleet.ooda("steward", "quiet-hours", "--execute").code == 0
    template = fleet.builds()[0].template
    ago = 10 * 3_600 * 10**9
    with fleet.session() as session:
        session.store.write_now(
            lambda tx: tx.change(
                "UPDATE steward_builds SET asked_ns = asked_ns - ?, ended_ns = ended_ns - ?", (ago, ago)
            )
        )
    world = fleet.fake.world
    fleet.do(lambda: world.workspaces.pop(spaces[2].id))

    unpriced = fleet.ooda("steward", "savings", "--json").json()
    assert (unpriced["usd"], unpriced["unpriced"]) == ("0", [template])
    assert [row["stops"] for row in unpriced["rows"]] == [3]
    assert Decimal("19.9") < Decimal(unpriced["hours"]) < Decimal("20.1")

    prices = fleet.write("prices.json", {template: "0.50"})
    there = {"OODA_STEWARD__PRICES_FILE": str(prices)}
    assert fleet.ooda("steward", "start-all").code == 0
    with fleet.session() as session:
        starts = [row for row in fleet.builds() if row.transition == "start"]
        assert {row.workspace for row in starts} == {spaces[0].id, spaces[1].id}
    priced = fleet.ooda("steward", "savings", "--json", environ=there).json()
    assert Decimal("9.9") < Decimal(priced["usd"]) < Decimal("10.1")
    assert fleet.ooda("steward", "savings", "--since", "1h", "--json", environ=there).json()["rows"] == []
    assert "USD" in fleet.ooda("steward", "savings", environ=there).out


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "cannot be read"), ('["a"]', "mapping of template names"), ('{"a": "NaN"}', "USD per hour such as 0.12")],
)
def test_prices_that_are_none_are_refused(fleet: FleetHome, content: str, said: str) -> None:
    """Exit code 2, naming what is expected."""
    prices = fleet.write("prices.json", content)
    done = fleet.ooda("steward", "savings", environ={"OODA_STEWARD__PRICES_FILE": str(prices)})
    assert (done.code, done.out) == (2, "")
    assert said in done.err
