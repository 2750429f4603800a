"""Environments prepared once, and images made without a registry."""

from __future__ import annotations

import json
import os
import shutil

import msgspec
import pytest

from ooda.errors import SandboxError, ToolFailedError
from ooda.sandbox import Network, SandboxSpec, build_image, open_sandbox, prepare_environment
from ooda.sandbox.images import rootfs_of

REGISTRIES = Network(("pypi.org", "files.pythonhosted.org", "registry.npmjs.org"))


@pytest.fixture
def spec(tmp_path, backend):
    """A specification for a fresh workspace."""
    (tmp_path / "workspace").mkdir()
    return SandboxSpec(run="r", workspace=tmp_path / "workspace", spool=tmp_path / "spool", backend=backend)


async def test_setup_runs_once_per_lock_file(spec, cache_dir, tmp_path):
    """The same lock files find the same environment; a changed one makes another."""
    lock = spec.workspace / "requirements.txt"
    lock.write_text("one\n")
    setup = [
        "mkdir -p /environment/bin",
        "printf '#!/bin/sh\\necho made' > /environment/bin/tool; chmod +x /environment/bin/tool; tool",
    ]
    first = await prepare_environment(spec, setup, cache_dir=tmp_path / "cache")
    again = await prepare_environment(spec, setup, cache_dir=tmp_path / "cache")
    assert (first.reused, again.reused) == (False, True)
    assert again.folder == first.folder
    lock.write_text("two\n")
    assert (await prepare_environment(spec, setup, cache_dir=tmp_path / "cache")).reused is False
    assert sorted(path.name for path in spec.workspace.iterdir()) == ["requirements.txt"]
    later = msgspec.structs.replace(spec, binds=first.binds, env=dict(first.env))
    async with await open_sandbox(later, cache_dir=cache_dir) as sandbox:
        assert (await sandbox.exec("tool")).output.head == "made\n"
        assert (await sandbox.exec("touch /environment/x")).exit_code != 0


async def test_a_failing_setup_leaves_nothing_and_says_why(spec, tmp_path):
    """The command, its exit code and its last words; no half-made environment is kept."""
    with pytest.raises(ToolFailedError, match=r"(?s)exit code 3; it said: almost") as caught:
        await prepare_environment(spec, ["true", "echo almost; exit 3", "echo never"], cache_dir=tmp_path / "cache")
    assert caught.value.exit_code == 3
    assert list((tmp_path / "cache" / "environments").iterdir()) == []


@pytest.mark.soak
async def test_real_registries_are_installed_from(spec, cache_dir, tmp_path):
    """`pip install` and `npm ci` through the allow-list, then used by a run without any network."""
    (spec.workspace / "requirements.txt").write_text("tinydb==4.8.0\n")
    (spec.workspace / "package.json").write_text(
        json.dumps({"name": "x", "version": "1.0.0", "dependencies": {"is-odd": "3.0.1"}})
    )
    setup = ["python3 -m venv /environment", "pip install -q -r requirements.txt"]
    if shutil.which("npm"):
        setup += ["npm install --package-lock-only --silent", "npm ci --silent"]
    online = msgspec.structs.replace(spec, network=REGISTRIES)
    environment = await prepare_environment(online, setup, cache_dir=tmp_path / "cache")
    later = msgspec.structs.replace(spec, binds=environment.binds, env=dict(environment.env))
    async with await open_sandbox(later, cache_dir=cache_dir) as sandbox:
        result = await sandbox.exec("python -c 'import tinydb; print(tinydb.__version__)'")
        assert result.output.head == "4.8.0\n", result
        if shutil.which("npm"):
            result = await sandbox.exec("mkdir -p src; cd src; node -e 'console.log(require(\"is-odd\")(3))'")
            assert result.output.head == "true\n", result


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_an_image_is_built_without_a_registry(spec, cache_dir, backend):
    """debootstrap, import, and a sandbox in it: on both backends, found again the second time."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap; as root on Debian: apt-get install -y debootstrap")
    image = await build_image(cache_dir=cache_dir, packages=("git", "procps"))
    assert await build_image(cache_dir=cache_dir, packages=("git", "procps")) == image
    named = msgspec.structs.replace(spec, image=image.name)
    async with await open_sandbox(named, cache_dir=cache_dir) as sandbox:
        assert sandbox.report.image == image.name
        assert all(probe.ok for probe in sandbox.report.probes)
        result = await sandbox.exec(
            "cat /etc/debian_version; git --version; python3 -c 'print(1)'; id -u; touch /usr/x || echo no"
        )
        assert result.output.head.splitlines()[2:4] == ["1", "1000"], result
        assert result.output.head.endswith("no\n")
        await sandbox.write("x", b"1")


def test_an_image_that_is_no_folder_is_explained(tmp_path):
    """bubblewrap cannot show what only an engine has."""
    with pytest.raises(SandboxError, match="build-image"):
        rootfs_of("debian:12", tmp_path)
    with pytest.raises(SandboxError, match="no root file system"):
        rootfs_of(str(tmp_path), tmp_path)
