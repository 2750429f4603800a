"""A killed run whose record was damaged meanwhile: nothing begins, the message names the place, and mended it goes on.

The run is killed in its middle, something is done to its files, and `ooda runs resume` must refuse: with a documented
exit code, without a trace, without asking the model, pushing, or writing to what it found. Then the damage is undone,
and the run goes to its end as if nothing had been.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from tests.durability.conftest import MakeLab
from tests.durability.lab import SCRIPT, Lab, at_event

pytestmark = pytest.mark.bubblewrap

LONG = "".join(f"# line {number} of a file that is read as a whole\n" for number in range(200))
READING = [
    SCRIPT[0],
    {"tool": "write_file", "arguments": {"path": "notes.md", "content": LONG}},
    {"tool": "read_file", "arguments": {"path": "notes.md"}},
    *SCRIPT[1:],
]
"""A text above 4 KiB, so that the journal names a blob."""


class Damaged(NamedTuple):
    """What became of a lab."""

    says: str
    """What the message has to name."""
    code: int
    mend: Callable[[], object]
    kept: Literal["rows", "file", "blobs"] = "rows"
    """What can be compared: the journal (leases come and go beside it), a file nobody can open, or neither."""


@pytest.fixture
def killed(lab: MakeLab) -> Lab:
    """A run that was killed after its edit, with everything on disk."""
    made = lab(script=READING)
    made.environ["OODA_SANDBOX__BACKEND"] = "none"  # the enclosure is not the point here
    attempt = made.carry_on()
    at_event(lambda event: event["kind"] == "ToolReturned" and event["tool"] == "edit_file")(made, attempt)
    made.note(attempt)
    made.kills += 1
    assert made.run
    return made


def changed_row(lab: Lab, column: str, value: object, seq: int = 3) -> Damaged:
    (before,) = lab.sql(f"SELECT {column} FROM events WHERE seq = {seq}")[0]
    _update(lab, column, value if not callable(value) else value(before), seq)
    return Damaged(f"row {seq}", 1, lambda: _update(lab, column, before, seq))


def _update(lab: Lab, column: str, value: object, seq: int) -> None:
    with closing(sqlite3.connect(lab.database)) as connection, connection:
        connection.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (value, seq))


def flipped_byte(lab: Lab) -> Damaged:
    """One letter of one event, which is still JSON."""
    return changed_row(lab, "body", lambda body: _text(body).replace("k", "K", 1), seq=4)


def _text(body: str | bytes) -> str:
    return body.decode() if isinstance(body, bytes) else body


def missing_row(lab: Lab) -> Damaged:
    """An event that is gone from the middle."""
    with closing(sqlite3.connect(lab.database)) as connection, connection:
        row = connection.execute("SELECT * FROM events WHERE seq = 5").fetchone()
        connection.execute("DELETE FROM events WHERE seq = 5")

    def mend() -> None:
        with closing(sqlite3.connect(lab.database)) as connection, connection:
            connection.execute(f"INSERT INTO events VALUES ({', '.join('?' * len(row))})", row)

    return Damaged(f"run `{lab.run}`", 1, mend)


def newer_event(lab: Lab) -> Damaged:
    """A row of a journal format that this program does not know."""
    return changed_row(lab, "schema_version", lambda before: before + 1_000)


def newer_database(lab: Lab) -> Damaged:
    """A schema that this program does not know."""
    lab.sql("INSERT INTO migrations (number, name) VALUES (9999, '9999_later')")
    return Damaged("has schema version 9999", 1, lambda: lab.sql("DELETE FROM migrations WHERE number = 9999"))


def half_a_database(lab: Lab) -> Damaged:
    """The file ends in its middle."""
    return _damaged_file(lab, lambda data: data[: len(data) // 2])


def garbled_page(lab: Lab) -> Damaged:
    """A page in the middle holds noise."""
    return _damaged_file(lab, lambda data: data[:8192] + b"\xa5" * 4096 + data[12288:], "blobs")


def garbled_header(lab: Lab) -> Damaged:
    return _damaged_file(lab, lambda data: b"not a database at all".ljust(100, b"!") + data[100:])


def _damaged_file(lab: Lab, damage: Callable[[bytes], bytes], kept: Literal["file", "blobs"] = "file") -> Damaged:
    with closing(sqlite3.connect(lab.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = lab.database.read_bytes()
    lab.database.write_bytes(damage(whole))

    def mend() -> None:
        for left in ("-wal", "-shm"):
            lab.database.with_name(lab.database.name + left).unlink(missing_ok=True)
        lab.database.write_bytes(whole)

    return Damaged(str(lab.database), 1, mend, kept)


def _blob(lab: Lab) -> Path:
    """A blob that the conversation needs."""
    found = [place for place in (lab.database.parent / "blobs").rglob("*") if place.is_file()]
    return next(
        place for place in found if "line 199 of a file" in place.read_text() and "# line 0" in place.read_text()
    )


def missing_blob(lab: Lab) -> Damaged:
    place = _blob(lab)
    aside = lab.folder / "aside"
    shutil.move(place, aside)
    return Damaged(place.name, 1, lambda: shutil.move(aside, place))


def half_a_blob(lab: Lab) -> Damaged:
    place = _blob(lab)
    whole = place.read_bytes()
    _write(place, whole[: len(whole) // 2])
    return Damaged(place.name, 1, lambda: _write(place, whole))


def flipped_blob(lab: Lab) -> Damaged:
    place = _blob(lab)
    whole = place.read_bytes()
    _write(place, whole.replace(b"line", b"lime", 1))
    return Damaged(place.name, 1, lambda: _write(place, whole))


def _write(place: Path, content: bytes) -> None:
    place.chmod(0o600)
    place.write_bytes(content)


DAMAGES = [
    flipped_byte,
    missing_row,
    newer_event,
    newer_database,
    half_a_database,
    garbled_page,
    garbled_header,
    missing_blob,
    half_a_blob,
    flipped_blob,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_record_is_refused_untouched_and_goes_on_when_it_is_mended(
    killed: Lab, damage: Callable[[Lab], Damaged]
) -> None:
    """Nothing is asked, pushed or changed; the message is one for people."""
    asked = len(killed.provider.asked(killed.case))
    damaged = damage(killed)
    found = record(killed, damaged)

    done = killed.ooda("runs", "resume", killed.run)

    assert damaged.says in done.stderr, done.stderr
    assert (done.returncode, done.stdout) == (damaged.code, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert len(killed.provider.asked(killed.case)) == asked
    assert killed.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split() == ["main"]
    assert record(killed, damaged) == found

    damaged.mend()
    assert killed.carry() == 0, killed.stderr.read_text()
    killed.examine()


def record(lab: Lab, damaged: Damaged) -> tuple[object, dict[str, str]]:
    """What must stay as it was found."""
    places = {place for place in (lab.database.parent / "blobs").rglob("*") if place.is_file()}
    blobs = {place.name: sha256(place.read_bytes()).hexdigest() for place in places}
    match damaged.kept:
        case "rows":
            return lab.sql("SELECT * FROM events ORDER BY run, seq"), blobs
        case "file":
            return sha256(lab.database.read_bytes()).hexdigest(), blobs
        case "blobs":
            return None, blobs


def test_noise_behind_the_log_of_a_power_cut_costs_nothing(killed: Lab) -> None:
    """What SQLite had not finished writing was never acknowledged."""
    log = killed.database.with_name(killed.database.name + "-wal")
    assert log.stat().st_size, "a killed process leaves its log behind"
    with log.open("ab") as end:
        end.write(b"\x00\x17torn" * 500)

    assert killed.carry() == 0, killed.stderr.read_text()
    killed.examine()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Mounts something over a folder until the test ends, or it is told to let go."""
    places: list[Path] = []

    def mount(place: Path, *words: str) -> None:
        subprocess.run(["mount", *words, str(place)], check=True, capture_output=True, text=True)
        places.append(place)

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", str(place)], check=False, capture_output=True)


def test_a_record_that_cannot_be_written_is_named_before_anything_begins(killed: Lab, mounted: Any) -> None:
    """A file system that went read-only: exit code 2, for the caller has to change something."""
    data = killed.database.parent
    mounted(data, "--bind", str(data))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(data)], check=True, capture_output=True)
    asked = len(killed.provider.asked(killed.case))

    done = killed.ooda("runs", "resume", killed.run)

    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert str(data) in done.stderr and "Traceback" not in done.stderr
    assert len(killed.provider.asked(killed.case)) == asked

    subprocess.run(["umount", str(data)], check=True)
    assert killed.carry() == 0, killed.stderr.read_text()
    killed.examine()
