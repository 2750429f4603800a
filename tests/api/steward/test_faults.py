"""Whatever fails, and whoever does what meanwhile: no double stop, no wrong stop, no lost record, no notice twice.

A thousand faults: `python -m pytest -m soak tests/api/steward/test_faults.py`. `OODA_SEED` repeats a storm.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.api.steward.storm import KINDS, storm


@pytest.mark.parametrize(
    ("faults", "storms"),
    [
        pytest.param(90, 1, id="some"),
        pytest.param(1_000, 2, id="thousand", marks=[pytest.mark.soak, pytest.mark.timeout(3_600)]),
    ],
)
@pytest.mark.timeout(300)
async def test_no_fault_stops_anything_wrongly_or_twice_or_loses_its_record(
    tmp_path: Path, faults: int, storms: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server itself counts and judges every build; every one of ours is on record with its id afterwards."""
    seed = int(os.environ.get("OODA_SEED") or (20261201 if storms == 1 else random.SystemRandom().randrange(10**9)))
    for number in range(storms):
        folder = tmp_path / str(number)
        folder.mkdir()
        went = await storm(folder, seed + number, faults)
        with capsys.disabled():
            print(
                f"\nseed {seed + number}: {went.passes} passes {went.endings}, {sum(went.faults.values())} faults, ",
                end="",
            )
            print(f"{went.stops} stops, {went.starts} starts, {len(went.objections)} objections")
        assert went.objections == [], f"OODA_SEED={seed + number}"
        assert sum(went.faults.values()) >= faults
        assert len(went.told) == len(set(went.told)), "somebody was told twice of one stop"
        told = [entry for entry in went.told if entry[0] == "workspace_stopped"]
        assert len(told) <= went.stops
        assert went.stops >= faults // 30, "hardly anything was stopped: the storm tries nothing"
        if storms > 1:
            assert set(went.faults) == set(KINDS)
