"""A run that is interrupted while its sandbox is being made leaves no record and keeps its workspace."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from ooda.sandbox import SandboxSpec, open_sandbox, site

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root lends a workspace"),
]


@pytest.mark.parametrize("step", ["register", "hand_over"])
async def test_an_interrupted_opening_leaves_nothing(tmp_path, monkeypatch, step):
    """Cancelled while a thread is at work: what it goes on to do is undone too."""
    real = getattr(site, step)
    begun, go = threading.Event(), threading.Event()

    def held_up(*arguments):
        begun.set()
        assert go.wait(10)
        return real(*arguments)

    monkeypatch.setattr(site, step, held_up)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    spec = SandboxSpec(run="run", workspace=workspace, spool=tmp_path / "spool", backend="bubblewrap")
    task = asyncio.create_task(open_sandbox(spec, cache_dir=tmp_path / "cache"))
    assert await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0.1, go.set)  # behind the cancellation
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.get_running_loop().shutdown_default_executor()

    assert not list((tmp_path / "cache/sandboxes").glob("*"))
    assert workspace.stat().st_uid == 0
