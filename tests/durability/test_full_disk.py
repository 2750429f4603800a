"""A disk that is full in the middle of a run: it ends with one sentence, and goes on when there is space again."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.durability.conftest import MakeLab
from tests.durability.lab import SCRIPT, until

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk; run as root, or look at CI"),
]

THINKING = [{**SCRIPT[0], "slow_s": 1.5}, *SCRIPT[1:]]
SmallDisk = Callable[[Path], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Puts a disk of 8 MB where a folder is to be made; gives the file that fills it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", str(disk)], check=True)

    def put(place: Path) -> Path:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(disk)
        return disk / "filler"

    yield put
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(filler: Path) -> None:
    """Take all the space there is."""
    end = os.open(filler, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        while os.write(end, b"\0" * 4096):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017 - filling it is the point, not the error
    finally:
        os.close(end)


def test_a_run_whose_record_cannot_grow_ends_and_goes_on_later(lab: MakeLab, small_disk: SmallDisk) -> None:
    """The answer that could not be recorded is charged; nothing else happened, and nothing is lost."""
    made = lab(script=THINKING)
    made.environ["OODA_SANDBOX__BACKEND"] = "none"
    filler = small_disk(made.database.parent)
    attempt = made.carry_on()
    until(lambda: len(made.provider.asked(made.case)) == 1)
    fill(filler)
    code = attempt.finish()
    said = made.stderr.read_text()

    assert code == 1, said
    assert "the disk is full; free some space" in said and "Traceback" not in said, said
    made.note(attempt)
    made.kills += 1

    again = made.ooda("runs", "resume", made.run)
    assert again.returncode == 1, again.stderr
    assert "the disk is full" in again.stderr and "Traceback" not in again.stderr
    assert len(made.provider.asked(made.case)) == 1

    filler.unlink()
    assert made.carry() == 0, made.stderr.read_text()
    made.examine()


def test_a_run_without_space_for_its_files_does_not_begin(lab: MakeLab, small_disk: SmallDisk) -> None:
    """It says where, asks no model, and runs when there is space."""
    made = lab()
    made.environ["OODA_SANDBOX__BACKEND"] = "none"
    filler = small_disk(made.home / ".local/state/ooda")
    fill(filler)

    done = made.ooda("run", str(made.task))

    assert done.returncode == 1, done.stderr
    assert str(made.home / ".local/state/ooda") in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert made.provider.asked(made.case) == []

    filler.unlink()
    assert made.carry() == 0, made.stderr.read_text()
    made.examine()
