"""Homes for the tests of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from ooda.testing.provider import Behaviour
from tests.cli.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    """Makes the machine of a test: `home([replies], files=…)`."""
    with ExitStack() as stack:

        def make(script: Iterable[Behaviour] = (), files: Mapping[str, str] | None = None) -> Home:
            return stack.enter_context(Home(tmp_path, script, files))

        yield make
