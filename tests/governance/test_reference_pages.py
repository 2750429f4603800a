"""The reference pages of this room name everything there is."""

import json
import re
import tomllib
from pathlib import Path

from ooda.governance.prices import PriceBook
from ooda.governance.redaction_keys import KEY_NAMES
from ooda.governance.redaction_shapes import SHAPES
from ooda.governance.rules import RuleSet
from ooda.governance.rules_file import RuleText

PAGES = Path(__file__).parents[2] / "docs/reference"


def words(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", (PAGES / page).read_text()))


def blocks(page: str) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)


def test_every_kind_of_secret_stands_on_the_page() -> None:
    """A marker in a record can be looked up."""
    assert {shape.name for shape in SHAPES} | set(KEY_NAMES) <= words("redaction.md")


def test_every_bundled_rule_and_every_key_of_a_rule_stands_on_the_page() -> None:
    """With its answer."""
    text = (PAGES / "rules.md").read_text()
    for rule in RuleSet.load().rules:
        assert f"| `{rule.name}` | {rule.decision} |" in text
    assert set(RuleText.__struct_fields__) - {"name", "decision", "reason"} <= words("rules.md")


def test_the_examples_on_the_pages_work(tmp_path: Path) -> None:
    """What people copy is loaded here as it stands."""
    (rules,) = blocks("rules.md")
    (tmp_path / "rules.toml").write_text(rules)
    assert len(RuleSet.load(tmp_path / "rules.toml").rules) == len(RuleSet.load().rules) + 2
    (prices,) = blocks("prices.md")
    (tmp_path / "prices.toml").write_text(prices)
    book = PriceBook.load(tmp_path / "prices.toml")
    for name in (*tomllib.loads(prices)["models"], "our-coder"):
        found = book.find(name)
        assert found is not None
        assert found.source.startswith("price file")


def test_the_date_and_the_vendors_of_the_table_stand_on_the_page() -> None:
    """A reader sees how old the figures are."""
    table = json.loads((PAGES.parents[1] / "ooda/governance/prices.json").read_text())
    assert f"as of {table['as_of']}" in (PAGES / "prices.md").read_text()
    assert len({row[0].partition("/")[0] for row in table["rows"]}) == 14
