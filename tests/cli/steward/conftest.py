"""A machine and a deployment for the tests of `ooda steward`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.steward.fleet_home import FleetHome, fleet_home


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetHome]:
    with fleet_home(tmp_path) as made:
        yield made
