"""The shared types cost nothing to name."""

from __future__ import annotations

import subprocess
import sys


def test_naming_the_types_loads_no_transport() -> None:
    """The core's neighbours import them; `ssl` and `asyncio` cost more than all of the core."""
    code = "import sys, ooda.models.request; print([m for m in ('ssl', 'asyncio', 'h11', 'http') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_opening_the_default_back_end_loads_no_optional_one() -> None:
    """The clients of others cost seconds to import."""
    code = (
        "import sys; from ooda.models.select import open_model;"
        "open_model('m', base_url='http://127.0.0.1:1/v1', environ={});"
        "print([m for m in ('openai', 'litellm', 'httpx', 'httpx2', 'tenacity', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
