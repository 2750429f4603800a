"""The audit log: every kind of tampering is found, and what cannot be proved is said."""

import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ooda.errors import ConfigError, IntegrationError, JournalError
from ooda.governance import anchors, audit
from ooda.governance.audit import AuditFact, AuditRow
from ooda.governance.audit_chain import append_after, head
from ooda.store import Store, Tx

KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000_000_000_000
ROWS = 12


@pytest.fixture
def store(tmp_path: Path, store_url: str) -> Iterator[Store]:
    with Store.open(tmp_path / "ooda.db", url=store_url) as opened:
        yield opened


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere.jsonl"


def fact(number: int) -> AuditFact:
    return AuditFact(
        at_ns=NOW + number,
        actor="agent coding",
        action="allow",
        run="run-a",
        subject="push",
        decision="refuse" if number % 2 else "allow",
        reason=f"rule {number}",
        details={"n": number, "targets": ["git@host:ü"]},
    )


def fill(store: Store, first: int = 1, last: int = ROWS) -> list[str]:
    return store.write_now(lambda tx: [audit.append(tx, fact(number)) for number in range(first, last + 1)])


def kinds(store: Store, anchor: Path | None = None, key: bytes | None = KEY) -> list[tuple[str, int]]:
    return [(item.kind, item.seq) for item in audit.verify(store, anchor, key).findings]


def rows_of(tx: Tx) -> list[AuditRow]:
    names = ", ".join(AuditRow.__struct_fields__)
    return [AuditRow(*found) for found in tx.execute(f"SELECT {names} FROM audit ORDER BY seq")]


def put(tx: Tx, row: AuditRow) -> None:
    names = AuditRow.__struct_fields__
    marks = ", ".join("?" * len(names))
    tx.change(f"INSERT INTO audit ({', '.join(names)}) VALUES ({marks})", [getattr(row, name) for name in names])


def rewrite(tx: Tx) -> None:
    """What somebody does who can write the database and knows the format: all hashes and the head anew."""
    rows, prev_hash = rows_of(tx), audit.GENESIS
    tx.change("DELETE FROM audit")
    tx.change("DELETE FROM meta WHERE key = 'audit.head'")
    for row in rows:
        again = AuditRow(
            row.seq, row.at_ns, row.actor, row.action, row.run, row.subject, row.decision, row.reason, row.details,
            prev_hash, "",
        )  # fmt: skip
        sealed = AuditRow(*[getattr(again, name) for name in AuditRow.__struct_fields__[:-1]], again.hash_at(row.seq))
        put(tx, sealed)
        prev_hash = sealed.hash
    tx.change("INSERT INTO meta (key, value) VALUES ('audit.head', ?)", (f"{rows[-1].seq} {prev_hash}",))


def test_the_chain_of_what_was_appended_is_clean(store: Store, anchor: Path) -> None:
    """And the report says how far the anchors reach."""
    hashes = fill(store)
    made = audit.write_anchor(store, anchor, KEY, NOW)
    fill(store, ROWS + 1, ROWS + 3)

    report = audit.verify(store, anchor, KEY)

    assert report.is_clean
    assert (report.rows, report.anchors, report.anchored_to) == (ROWS + 3, 1, ROWS)
    assert (made.seq, made.hash) == (ROWS, hashes[-1])
    assert store.read(audit.head)[0] == ROWS + 3
    assert len(set(hashes)) == ROWS


def test_a_nul_in_a_fact_is_kept_as_the_sign_for_it(store: Store) -> None:
    """No database has to keep it in a text, and the chain is whole on each."""
    odd = AuditFact(at_ns=1, actor="a", action="refuse", subject="t\0", decision="x", reason="\0", details={"k": "\0"})
    store.write_now(lambda tx: audit.append(tx, odd))

    assert kinds(store) == []
    assert [(row.subject, row.reason) for row in store.read(rows_of)] == [("t␀", "␀")]


def test_an_empty_log_is_clean(store: Store, anchor: Path) -> None:
    """Anchored or not."""
    audit.write_anchor(store, anchor, KEY, NOW)

    assert kinds(store, anchor) == []
    assert store.read(audit.head) == (0, audit.GENESIS)


def test_a_fact_goes_with_the_transaction_of_what_it_tells(store: Store) -> None:
    """Rolled back together; the chain continues where it stood."""

    def work(tx: Tx) -> None:
        audit.append(tx, fact(1))
        raise JournalError("no")

    with pytest.raises(JournalError):
        store.write_now(work)
    fill(store, 1, 2)

    assert kinds(store) == []
    assert audit.verify(store).rows == 2


def swap_rows(tx: Tx) -> None:
    tx.change("UPDATE audit SET seq = -1 WHERE seq = 4")
    tx.change("UPDATE audit SET seq = 4 WHERE seq = 7")
    tx.change("UPDATE audit SET seq = 7 WHERE seq = -1")


def insert_row(tx: Tx) -> None:
    for seq in range(ROWS, 4, -1):
        tx.change("UPDATE audit SET seq = seq + 1 WHERE seq = ?", (seq,))
    before = rows_of(tx)[3]
    forged = AuditRow(5, NOW, "mallory", "allow", "", "push", "allow", "", "{}", before.hash, "")
    put(tx, AuditRow(*[getattr(forged, name) for name in AuditRow.__struct_fields__[:-1]], forged.hash_at(5)))


def replay_row(tx: Tx) -> None:
    tx.change("DELETE FROM audit WHERE seq = 9")
    row = rows_of(tx)[3]
    put(tx, AuditRow(9, *[getattr(row, name) for name in AuditRow.__struct_fields__[1:]]))


def edit_and_seal(tx: Tx) -> None:
    tx.change("UPDATE audit SET decision = 'allow' WHERE seq = 5")
    row = rows_of(tx)[4]
    tx.change("UPDATE audit SET hash = ? WHERE seq = 5", (row.hash_at(5),))


def edit_last_and_seal(tx: Tx) -> None:
    tx.change("UPDATE audit SET decision = 'reject' WHERE seq = ?", (ROWS,))
    row = rows_of(tx)[-1]
    tx.change("UPDATE audit SET hash = ? WHERE seq = ?", (row.hash_at(ROWS), ROWS))


def append_behind_the_head(tx: Tx) -> None:
    head = tx.execute("SELECT value FROM meta WHERE key = 'audit.head'")
    audit.append(tx, fact(99))
    tx.change("UPDATE meta SET value = ? WHERE key = 'audit.head'", head[0])


@pytest.mark.parametrize(
    ("bend", "found"),
    [
        (lambda tx: tx.change("UPDATE audit SET decision = 'allow' WHERE seq = 5"), ("edit", 5)),
        (lambda tx: tx.change("UPDATE audit SET details = 'no json' WHERE seq = 5"), ("edit", 5)),
        (lambda tx: tx.change("UPDATE audit SET prev_hash = 'xyz' WHERE seq = 5"), ("edit", 5)),
        (edit_and_seal, ("edit", 5)),
        (edit_last_and_seal, ("edit", ROWS)),
        (lambda tx: tx.change("DELETE FROM audit WHERE seq = 5"), ("delete", 5)),
        (lambda tx: tx.change("DELETE FROM audit WHERE seq = 1"), ("delete", 1)),
        (insert_row, ("insert", 5)),
        (append_behind_the_head, ("insert", ROWS + 1)),
        (swap_rows, ("reorder", 4)),
        (replay_row, ("replay", 9)),
        (lambda tx: tx.change("DELETE FROM audit WHERE seq > 9"), ("truncate", 10)),
        (lambda tx: tx.change("DELETE FROM audit"), ("truncate", 1)),
        (lambda tx: tx.change("UPDATE meta SET value = 'x' WHERE key = 'audit.head'"), ("edit", ROWS)),
        (lambda tx: tx.change("DELETE FROM meta WHERE key = 'audit.head'"), ("insert", 1)),
    ],
    ids=[
        "edit", "edit details", "edit hash", "edit and seal", "edit the last and seal", "delete", "delete the first",
        "insert", "append behind the head", "reorder", "replay a row", "truncate", "empty", "edit the head",
        "delete the head",
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_anchored", [True, False])
def test_tampering_is_found_and_named(
    store: Store, anchor: Path, bend: Callable[[Tx], object], found: tuple[str, int], is_anchored: bool
) -> None:
    """The first finding says what was done and where; no anchor is needed for any of these."""
    fill(store)
    if is_anchored:
        audit.write_anchor(store, anchor, KEY, NOW)
    store.write_now(bend)

    assert kinds(store, anchor if is_anchored else None)[0] == found


def test_a_writer_that_knows_the_head_adds_the_same_rows(store: Store, anchor: Path) -> None:
    """What it believes is only ever a short cut: another writer's rows, or none that were kept, make it look."""
    end = store.write_now(lambda tx: append_after(tx, None, fact(1)))
    end = store.write_now(lambda tx: append_after(tx, end, fact(2), fact(3)))
    fill(store, 4, 4)
    late = store.write_now(lambda tx: append_after(tx, end, fact(5)))
    ahead = store.write_now(lambda tx: append_after(tx, (99, "f" * 64), fact(6)))

    assert (end[0], late[0], ahead[0]) == (3, 5, 6)
    assert ahead == store.read(head)
    assert [row.reason for row in store.read(rows_of)] == [f"rule {number}" for number in range(1, 7)]
    assert kinds(store, anchor) == []


def test_a_broken_head_is_not_built_upon(store: Store) -> None:
    """Facts appended to it would hide what happened before."""
    fill(store)
    store.write_now(lambda tx: tx.change("UPDATE meta SET value = 'x' WHERE key = 'audit.head'"))

    with pytest.raises(JournalError, match="ooda audit verify"):
        fill(store)


def test_a_chain_written_anew_is_found_by_its_anchor_only(store: Store, anchor: Path) -> None:
    """Without one the report is clean and says what that does not mean."""
    fill(store)
    audit.write_anchor(store, anchor, KEY, NOW)

    def forge(tx: Tx) -> None:
        tx.change("UPDATE audit SET decision = 'allow' WHERE seq = 5")
        rewrite(tx)

    store.write_now(forge)

    assert kinds(store, anchor) == [("swap", ROWS)]
    report = audit.verify(store)
    assert report.is_clean
    assert "wrote the whole chain anew" in report.cannot_prove[0]


def test_rows_cut_off_together_with_the_head_are_found_by_the_anchor(store: Store, anchor: Path) -> None:
    """It remembers more rows than there are."""
    fill(store)
    audit.write_anchor(store, anchor, KEY, NOW)

    def cut(tx: Tx) -> None:
        tx.change("DELETE FROM audit WHERE seq > 9")
        rewrite(tx)

    store.write_now(cut)

    assert kinds(store, anchor) == [("replay", 10)]
    assert kinds(store) == []


def test_an_older_copy_put_back_is_found_by_the_anchor(tmp_path: Path, anchor: Path) -> None:
    """A replay of the whole database."""
    path, copy = tmp_path / "ooda.db", tmp_path / "copy.db"
    with Store.open(path) as store:
        fill(store)
    shutil.copy(path, copy)
    with Store.open(path) as store:
        fill(store, ROWS + 1, ROWS + 4)
        audit.write_anchor(store, anchor, KEY, NOW)
    shutil.copy(copy, path)

    with Store.open(path) as store:
        assert kinds(store, anchor) == [("replay", ROWS + 1)]


def test_another_store_put_in_its_place_is_found(store: Store, anchor: Path, tmp_path: Path) -> None:
    """Even one whose log reads the same."""
    fill(store)
    audit.write_anchor(store, anchor, KEY, NOW)
    with Store.open(tmp_path / "other" / "ooda.db") as other:
        fill(other)

        assert kinds(other, anchor) == [("swap", 0)]


def drop_line(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[:1] + lines[2:])


@pytest.mark.parametrize(
    "bend",
    [
        lambda text: text.replace(f'"seq":{ROWS},', '"seq":3,'),
        drop_line,
        lambda text: "".join(reversed(text.splitlines(keepends=True))),
        lambda text: text + "{}\n",
        lambda text: "not an anchor\n" + text,
    ],
    ids=["edit", "drop a line", "reorder", "add", "prepend"],
)
def test_an_anchor_file_that_was_changed_is_found(store: Store, anchor: Path, bend: Callable[[str], str]) -> None:
    """Lines cannot be changed, dropped or moved without the key."""
    for number in range(3):
        fill(store, number * ROWS + 1, (number + 1) * ROWS)
        audit.write_anchor(store, anchor, KEY, NOW)
    anchor.write_text(bend(anchor.read_text()))

    assert kinds(store, anchor)[0] == ("swap", 0)


def test_another_key_neither_verifies_nor_continues_an_anchor_file(store: Store, anchor: Path) -> None:
    """And a key that could be guessed is refused."""
    fill(store)
    audit.write_anchor(store, anchor, KEY, NOW)

    assert kinds(store, anchor, b"another key of some length") == [("swap", 0)]
    with pytest.raises(ConfigError, match="not signed with this key"):
        audit.write_anchor(store, anchor, b"another key of some length", NOW)
    with pytest.raises(ConfigError, match="at least 16"):
        audit.write_anchor(store, anchor, b"short", NOW)


@pytest.mark.parametrize(
    ("key", "has_anchor", "more_rows", "said"),
    [
        (None, False, 0, "Without an anchor"),
        (None, True, 0, "Without the key"),
        (KEY, True, 2, "Rows 13 to 14"),
        (KEY, True, 0, "put back to an older state"),
    ],
)
def test_the_report_says_what_it_cannot_prove(
    store: Store, anchor: Path, key: bytes | None, has_anchor: bool, more_rows: int, said: str
) -> None:
    """A clean report is no more than it is."""
    fill(store)
    audit.write_anchor(store, anchor, KEY, NOW)
    if more_rows:
        fill(store, ROWS + 1, ROWS + more_rows)

    report = audit.verify(store, anchor if has_anchor else None, key)

    assert report.is_clean
    assert any(said in sentence for sentence in report.cannot_prove)


def test_an_anchor_cut_off_by_a_crash_costs_that_anchor_only(store: Store, anchor: Path) -> None:
    """The next one stands on a line of its own, and the file verifies."""
    fill(store)
    audit.write_anchor(store, anchor, KEY, NOW)
    whole = anchor.read_text()
    anchor.write_text(whole + whole[:40])

    torn = audit.verify(store, anchor, KEY)
    fill(store, ROWS + 1, ROWS + 2)
    audit.write_anchor(store, anchor, KEY, NOW)
    after = audit.verify(store, anchor, KEY)

    assert torn.is_clean
    assert any("cut off" in sentence for sentence in torn.cannot_prove)
    assert after.is_clean
    assert (after.anchors, after.anchored_to) == (2, ROWS + 2)


def test_anchors_are_due_by_rows_and_by_time(store: Store, anchor: Path) -> None:
    """Every hundred rows, or a minute after the last one if anything was added."""

    def is_due(now_ns: int) -> bool:
        return audit.is_anchor_due(store, anchor, now_ns)

    empty = is_due(NOW)
    fill(store)
    first = is_due(NOW)
    audit.write_anchor(store, anchor, KEY, NOW)
    minute = NOW + 60 * 10**9
    unchanged = is_due(minute)
    fill(store, 1, 99)
    few = is_due(minute - 1)
    late = is_due(minute)
    fill(store, 1, 1)

    assert [empty, first, unchanged, few, late, is_due(NOW)] == [False, True, False, False, True, True]


def test_a_clock_that_goes_back_breaks_nothing_and_holds_no_anchor_up(store: Store, anchor: Path) -> None:
    """Order is the chain's, not the clock's; after a jump back the next anchor is due at once."""
    fill(store)
    audit.write_anchor(store, anchor, KEY, NOW)
    earlier = NOW - 86_400 * 10**9
    late = msgspec.structs.replace(fact(1), at_ns=earlier)
    store.write_now(lambda tx: audit.append(tx, late))

    assert audit.is_anchor_due(store, anchor, earlier)
    audit.write_anchor(store, anchor, KEY, earlier)
    assert not audit.is_anchor_due(store, anchor, earlier + 10**9)
    report = audit.verify(store, anchor, KEY)
    assert (report.is_clean, report.anchored_to, report.anchors) == (True, ROWS + 1, 2)


def test_a_long_anchor_file_is_continued_from_its_end(store: Store, anchor: Path) -> None:
    """Adding to it does not read all of it, and the whole still verifies."""
    for number in range(40):
        fill(store, number, number)
        audit.write_anchor(store, anchor, KEY, NOW + number)

    assert len(anchors.latest(anchor, KEY).lines) < 10
    assert audit.verify(store, anchor, KEY).anchors == 40
    assert kinds(store, anchor) == []


def add_anchors(path: Path, anchor: Path) -> None:
    with Store.open(path) as store:
        for number in range(10):
            fill(store, number, number)
            audit.write_anchor(store, anchor, KEY, NOW)


def test_processes_that_anchor_at_once_keep_one_file_of_anchors(tmp_path: Path, anchor: Path) -> None:
    """Each line is signed together with the one before, whoever wrote that."""
    path = tmp_path / "ooda.db"
    Store.open(path).close()
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=add_anchors, args=(path, anchor)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()

    with Store.open(path) as store:
        report = audit.verify(store, anchor, KEY)
    assert [child.exitcode for child in children] == [0] * 4
    assert (report.findings, report.anchors, report.rows) == ((), 40, 40)


def test_an_anchor_that_cannot_be_written_says_so(store: Store, tmp_path: Path) -> None:
    """The log itself goes on."""
    with pytest.raises(IntegrationError, match="unanchored"):
        audit.write_anchor(store, tmp_path / "no folder" / "anchors", KEY, NOW)
    with pytest.raises(ConfigError, match="cannot read"):
        audit.verify(store, tmp_path, KEY)


COLUMNS = [name for name in AuditRow.__struct_fields__ if name != "seq"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    seq=st.integers(1, ROWS),
    column=st.sampled_from(COLUMNS),
    value=st.one_of(st.none(), st.integers(0, 10**6), st.text(st.characters(exclude_categories=("Cs",)), max_size=8)),
)
def test_no_single_value_can_be_changed_unseen(store: Store, seq: int, column: str, value: object) -> None:
    """Any column of any row, to any value of any type the database takes."""

    class Undo(Exception):
        pass

    def work(tx: Tx) -> None:
        [audit.append(tx, fact(number)) for number in range(1, ROWS + 1)]
        before = tx.execute(f"SELECT {column} FROM audit WHERE seq = ?", (seq,))
        if value is None:
            value_sql: tuple[object, ...] = (b"\xff", seq)  # the columns take no NULL, but bytes
        else:
            value_sql = (value, seq)
        tx.change(f"UPDATE audit SET {column} = ? WHERE seq = ?", value_sql)
        if tx.execute(f"SELECT {column} FROM audit WHERE seq = ?", (seq,)) != before:
            found.extend(audit._verified(tx, anchors.Anchors(()), has_file=False, has_key=False).findings)
        else:
            found.append(None)
        raise Undo

    found: list[object] = []
    # PostgreSQL takes no value of another type, so there is nothing to find.
    with pytest.raises((Undo, IntegrationError) if store.database.is_remote else Undo) as ended:
        store.write_now(work)

    assert found or ended.type is IntegrationError
