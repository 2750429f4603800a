"""`ooda budget`: windows as bars, the widest scope first; past ones; caps that cannot be meant are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ooda.api.budgets import run_scopes
from ooda.api.session import Session
from ooda.cli.budget import used
from ooda.cli.main import main
from ooda.engines.world import Topic
from ooda.errors import ConfigError
from ooda.events import Limits
from ooda.governance.budget import Alert, BudgetRow, Exceeded, Reservation, ReserveRequest, Scope
from ooda.testing.runs import RunBench
from tests.cli.home import Home

Make = Callable[..., Home]
TOPIC = Topic(company_id="acme", project_id="shop", task_id="T-1")


def reserve(session: Session, key: str, scopes: tuple[Scope, ...], nano: int) -> Reservation | Exceeded:
    now_ns = session.clock.now_ns()
    wanted = ReserveRequest(
        key=key, scopes=scopes, cost_nano=nano, tokens=1, now_ns=now_ns, expires_ns=now_ns + 10**12, is_sent=True
    )
    return session.store.write_now(lambda tx: session.ledger.reserve(tx, wanted))


def test_windows_are_drawn_the_widest_scope_first_and_past_ones_listed(home: Make) -> None:
    """A bar for each cap, a percentage, and what is left; an unknown scope names the nearest."""
    there = home()
    with there.bench.session() as session:
        scopes = run_scopes(session, "coding", TOPIC, "run-x", Limits(), "")
        assert isinstance(reserve(session, "k", scopes, 900_000_000), Reservation)
        session.store.write_now(lambda tx: session.ledger.settle(tx, "k", 900_000_000, 10))

    lines = there.ooda("budget", "show").out.splitlines()
    order = [line.split()[0].partition(":")[0] for line in lines[1:]]
    assert order == sorted(order, key=["global", "company", "project", "agent", "task", "run"].index)
    (task,) = [line for line in lines if line.startswith("task:acme/shop/T-1 ") and " life " in line]
    assert "█" * 18 in task
    assert " 90% " in task
    assert "$0.1000" in task
    assert "\x1b[33m" in there.ooda("budget", "show", "--color", "always").out
    (day,) = there.ooda("budget", "history", "--json").json()
    assert (day["scope"], day["spent_cost"]) == ("global", 900_000_000)
    wrong = there.ooda("budget", "history", "project:acme/shap")
    assert (wrong.code, "did you mean `project:acme/shop`?" in wrong.err) == (2, True)


CAPS = {
    "global": "global life 0.10 USD",
    "company": "company:acme day 0.10 USD",
    "each company": "company day 0.10 USD",
    "project": "project:acme/shop hour 0.10 USD",
    "agent": "agent:coding day 0.10 USD",
    "task": "task:acme/shop/T-1 life 0.10 USD",
    "run": "run:run-x life 0.10 USD",
}


@pytest.mark.parametrize("cap", CAPS.values(), ids=CAPS)
def test_every_scope_can_be_capped_by_a_setting_and_is_told_of_once(tmp_path: Path, cap: str) -> None:
    """Refused beyond the cap; at 80 and at 95 per cent one alert each."""
    with RunBench(tmp_path, settings={"budget.caps": (cap,)}).session() as session:
        scopes = run_scopes(session, "coding", TOPIC, "run-x", Limits(), "")
        assert isinstance(reserve(session, "big", scopes, 100_000_001), Exceeded)
        alerts: list[Alert] = []
        for number, nano in enumerate((81_000_000, 1_000_000, 14_000_000, 1_000_000)):
            assert isinstance(reserve(session, f"k{number}", scopes, nano), Reservation)
            alerts += session.store.write_now(
                lambda tx, n=number, c=nano: session.ledger.settle(tx, f"k{n}", c, 1)  # type: ignore[misc]
            ).alerts
        assert [(alert.percent, alert.limit) for alert in alerts] == [(80, 100_000_000), (95, 100_000_000)]
        assert isinstance(reserve(session, "last", scopes, 3_000_001), Exceeded)


@pytest.mark.parametrize(
    "value",
    [
        {"budget.day_usd": "-1"},
        {"budget.day_usd": "nan"},
        {"budget.day_usd": "inf"},
        {"budget.day_usd": "0"},
        {"budget.day_usd": "1e12"},
        {"budget.hour_tokens": "-5"},
        {"budget.hour_tokens": "9" * 30},
        {"budget.caps": ("global day -1 USD",)},
        {"budget.caps": ("global day nan USD",)},
        {"budget.caps": ("galaxy day 1 USD",)},
        {"budget.caps": ("global week 1 USD",)},
        {"budget.caps": ("global day 0 tokens",)},
        {"governance.degraded_usd": "-0.5"},
    ],
    ids=lambda value: " ".join(map(str, *value.items())),
)
def test_a_cap_that_cannot_be_meant_is_refused(tmp_path: Path, value: dict[str, object]) -> None:
    """Negative, not a number, endless, nothing, more than there is, unknown words: named, and nothing begins."""
    with pytest.raises(ConfigError, match=next(iter(value)).replace(".", r"\.")):
        RunBench(tmp_path, settings=value).session()


def test_the_nearer_cap_of_money_and_tokens_fills_the_bar() -> None:
    """A window without a cap is never full."""
    row = BudgetRow(
        scope="global", span="life", cap_cost=None, cap_tokens=None, spent_cost=5, spent_tokens=5, reserved_cost=1,
        reserved_tokens=1,
    )  # fmt: skip
    assert used(row) == 0.0
    assert used(msgspec.structs.replace(row, cap_cost=100, cap_tokens=10)) == 0.6


def test_books_that_do_not_agree_are_named_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 with every figure, then 0; mending twice finds nothing."""
    bench = RunBench(tmp_path)
    with bench.session() as session:
        asked = ReserveRequest(
            key="k", scopes=(Scope("global"),), cost_nano=70, tokens=7, now_ns=session.clock.now_ns(), expires_ns=2**62
        )
        session.store.write_now(lambda tx: session.ledger.reserve(tx, asked))
        session.store.write_now(lambda tx: tx.change("UPDATE budget_windows SET spent_cost = 5 WHERE span LIKE 'day%'"))
    for name, value in bench.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(bench.folder)

    ended = [(main(["budget", "check", *more]), capsys.readouterr().out) for more in ([], ["--mend"], [])]

    assert [code for code, _ in ended] == [1, 0, 0]
    assert "spent_cost is 5, and its reservations and charges come to 0" in ended[0][1]
    assert "next: ooda budget check --mend" in ended[0][1]
    assert "mended" in ended[1][1]
    assert "they agree" in ended[2][1]
