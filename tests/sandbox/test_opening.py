"""Which wall is chosen, what is said when there is none, and that nothing runs without one by accident."""

from __future__ import annotations

import os
import time

import pytest

from ooda.errors import ConfigError, SandboxError
from ooda.sandbox import Network, SandboxSpec, open_sandbox, probe_backends
from ooda.sandbox.docker import connect
from ooda.sandbox.protocol import SandboxReport


@pytest.fixture
def spec(tmp_path):
    """A specification for a fresh workspace."""
    (tmp_path / "workspace").mkdir()

    def make(**more):
        facts = {"run": "run-test", "workspace": tmp_path / "workspace", "spool": tmp_path / "spool", **more}
        return SandboxSpec(**facts)

    return make


SELFTEST = ["outside-write", "network", "user", "capabilities", "no-new-privileges", "seccomp", "tree-kill"]


async def test_the_report_says_what_was_tested_and_what_is_missing(backend, spec, cache_dir):
    """Every sandbox carries its self-test and the protections this machine could not give."""
    async with await open_sandbox(spec(backend=backend), cache_dir=cache_dir) as sandbox:
        report = sandbox.report
    assert isinstance(report, SandboxReport)
    assert report.backend == backend
    assert [probe.name for probe in report.probes] == SELFTEST
    assert all(probe.ok for probe in report.probes)
    assert report.digest
    assert "disk-quota" in report.missing


async def test_the_self_test_is_run_once_and_kept(backend, spec, tmp_path):
    """The second sandbox of the same kind opens without it, and in less time."""
    cache = tmp_path / "cache"
    kept = []
    for _ in range(2):
        async with await open_sandbox(spec(backend=backend), cache_dir=cache) as sandbox:
            kept.append(sandbox.report.probes)
    assert kept[0] == kept[1]
    assert len(list((cache / "selftest").iterdir())) == 1


async def test_a_damaged_cache_is_tested_again(backend, spec, tmp_path):
    """A kept result that cannot be read counts for nothing."""
    cache = tmp_path / "cache"
    for _ in range(2):
        async with await open_sandbox(spec(backend=backend), cache_dir=cache) as sandbox:
            assert all(probe.ok for probe in sandbox.report.probes)
        for kept in (cache / "selftest").iterdir():
            kept.write_text("{")


async def test_auto_prefers_docker_and_falls_back_to_bubblewrap(spec, tmp_path, available, monkeypatch):
    """Without an engine the next wall is taken, and the audit says why."""
    if not available["bubblewrap"]:
        pytest.skip("bubblewrap is not installed; as root on Debian: apt-get install -y bubblewrap")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    seen = []
    opened = await open_sandbox(
        spec(), cache_dir=tmp_path / "cache", audit=lambda what, facts: seen.append((what, facts))
    )
    async with opened as sandbox:
        assert sandbox.report.backend == "bubblewrap"
    assert [what for what, _ in seen] == ["sandbox.fallback"]
    assert "no Docker Engine answers" in seen[0][1]["because"]


async def test_without_any_wall_the_refusal_names_each_probe_and_its_cure(spec, tmp_path, monkeypatch):
    """Nothing runs; the message says what failed and what to do."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError) as caught:
        await open_sandbox(spec(), cache_dir=tmp_path / "cache")
    text = str(caught.value)
    assert "docker engine: no Docker Engine answers" in text
    assert "systemctl start docker" in text
    assert "bubblewrap program" in text
    assert "apt-get install -y bubblewrap" in text
    assert [probe.ok for probe in caught.value.probes] == [False, False]


async def test_a_named_backend_is_never_replaced(spec, tmp_path, monkeypatch):
    """Who asks for docker gets docker or a refusal, although bubblewrap would work."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(SandboxError, match="docker engine"):
        await open_sandbox(spec(backend="docker"), cache_dir=tmp_path / "cache")


@pytest.mark.docker
async def test_a_runtime_is_the_engines_and_is_never_replaced(spec, tmp_path, available):
    """One that it has is used; one that it lacks is refused with what mends it, and bubblewrap is no stand-in."""
    if not available["docker"]:
        pytest.skip("no Docker Engine answers; start one with `scripts/services/docker up`")
    named = spec(backend="docker", runtime="runc")
    async with await open_sandbox(named, cache_dir=tmp_path) as sandbox:
        facts = await connect().inspect(sandbox.id)
        assert facts is not None
        assert facts["HostConfig"]["Runtime"] == "runc"
        assert (await sandbox.exec("echo runs")).output.head == "runs\n"
    for backend in ("docker", "auto"):
        lacking = spec(backend=backend, runtime="runsc-absent")
        with pytest.raises(SandboxError) as caught:
            await open_sandbox(lacking, cache_dir=tmp_path)
        assert "knows no runtime 'runsc-absent'; it has" in str(caught.value)
        assert "install runsc-absent and name it in the engine's daemon.json" in str(caught.value)
        assert "bubblewrap" not in str(caught.value)
    with pytest.raises(SandboxError, match="bubblewrap has no runtimes"):
        await open_sandbox(spec(backend="bubblewrap", runtime="runsc"), cache_dir=tmp_path)


async def test_an_engine_elsewhere_is_refused(spec, tmp_path, monkeypatch):
    """The sandbox binds local folders: an engine over TCP is another machine."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    with pytest.raises(SandboxError, match="an engine on this machine"):
        await open_sandbox(spec(backend="docker"), cache_dir=tmp_path / "cache")


async def test_none_runs_without_a_wall_only_when_asked_for_and_is_audited(spec, tmp_path):
    """The one way to run unprotected leaves a trace and says what it lacks."""
    seen = []
    opened = await open_sandbox(
        spec(backend="none"), cache_dir=tmp_path / "cache", audit=lambda what, facts: seen.append((what, facts["run"]))
    )
    async with opened as sandbox:
        assert seen == [("sandbox.none", "run-test")]
        assert {"filesystem", "network", "user"} <= set(sandbox.report.missing)
        await sandbox.write("a/b.txt", b"1\n")
        result = await sandbox.exec("cat a/b.txt; cd a; export X=1; sleep 30 &")
        assert (result.output.head, result.cwd, result.killed) == ("1\n", "/workspace/a", 1)
        assert (await sandbox.exec("echo $X; sleep 30", timeout_s=0.3)).timed_out
    assert list((tmp_path / "cache" / "sandboxes").iterdir()) == []


async def test_a_missing_workspace_is_said_before_anything_is_made(tmp_path):
    """The folder has to exist."""
    spec = SandboxSpec(run="r", workspace=tmp_path / "absent", spool=tmp_path / "spool")
    with pytest.raises(SandboxError, match="not a folder"):
        await open_sandbox(spec, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("host", ["*", "", "http://pypi.org", "a b", "pypi.org:0", "pypi.org:99999", "*.", "-x"])
async def test_a_network_host_that_is_none_is_refused(spec, tmp_path, host):
    """A typing slip in the list of hosts does not become an open door."""
    with pytest.raises(ConfigError, match="network hosts"):
        await open_sandbox(spec(network=Network((host,))), cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache").glob("sandboxes/*")) == []


@pytest.mark.docker
async def test_an_absent_image_is_never_pulled(spec, tmp_path, available):
    """A named image is used if present; the refusal says how to get it."""
    if not available["docker"]:
        pytest.skip("no Docker Engine answers; start one with `scripts/services/docker up`")
    with pytest.raises(SandboxError, match="never pulled silently"):
        await open_sandbox(spec(backend="docker", image="absent.example/image:1"), cache_dir=tmp_path / "cache")


async def test_doctor_sees_both_backends(tmp_path, available):
    """The probes are tried now, one line per protection, and leave nothing behind."""
    probes = await probe_backends(tmp_path / "cache")
    named = {probe.name: probe for probe in probes}
    for backend, works in available.items():
        if works:
            assert named[backend].ok
            assert named[f"{backend}: tree-kill"].ok
        else:
            assert any(name.startswith(backend) and not probe.ok and probe.fix for name, probe in named.items())
    assert list((tmp_path / "cache").glob("probe-*")) == []


async def test_a_warm_sandbox_is_ready_soon(backend, spec, cache_dir):
    """With the image present and the self-test kept, opening takes well under two seconds even on a busy machine."""
    async with await open_sandbox(spec(backend=backend), cache_dir=cache_dir):
        pass
    began = time.monotonic()
    async with await open_sandbox(spec(backend=backend), cache_dir=cache_dir) as sandbox:
        assert sandbox.report.ready_ms < 2000
    assert time.monotonic() - began < 4


async def test_a_bound_folder_is_read_only(backend, spec, cache_dir, tmp_path):
    """A virtual environment or a cache can be shown inside, and not be written."""
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "tool").write_text("#!/bin/sh\necho tool\n")
    (shown / "tool").chmod(0o755)
    from ooda.sandbox import Bind

    opened = await open_sandbox(spec(backend=backend, binds=(Bind(shown, "/opt/tools"),)), cache_dir=cache_dir)
    async with opened as sandbox:
        assert (await sandbox.exec("/opt/tools/tool")).output.head == "tool\n"
        assert (await sandbox.exec("echo x > /opt/tools/tool || touch /opt/tools/new")).exit_code != 0
    assert sorted(path.name for path in shown.iterdir()) == ["tool"]


async def test_a_link_as_workspace_is_its_target(backend, cache_dir, tmp_path):
    """Symbolic links on the way to the workspace are the host's business and resolved there."""
    (tmp_path / "real").mkdir()
    os.symlink("real", tmp_path / "link")
    spec = SandboxSpec(run="r", workspace=tmp_path / "link", spool=tmp_path / "spool", backend=backend)
    async with await open_sandbox(spec, cache_dir=cache_dir) as sandbox:
        await sandbox.write("x", b"1")
    assert (tmp_path / "real" / "x").read_bytes() == b"1"
