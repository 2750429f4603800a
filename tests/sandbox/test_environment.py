"""Environments prepared once, and images made without a registry."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


async def test_a_hostile_workspace_is_set_up_in_like_any_other(spec, tmp_path):
    """On resume the files are the agent's: FIFOs, sockets, links, a lock file that never ends or leads outside."""
    workspace = spec.workspace
    os.mkfifo(workspace / "fifo")
    os.mkfifo(workspace / "setup.py")
    (workspace / "pyproject.toml").symlink_to("/etc/shadow")
    (workspace / "requirements.txt").symlink_to("/dev/zero")
    (workspace / "dangling").symlink_to("/nowhere")
    (workspace / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(workspace, os.O_PATH)
        listener.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    setup = ["ls -A > /environment/seen"]
    made = await asyncio.wait_for(prepare_environment(spec, setup, cache_dir=tmp_path / "cache"), 60)
    seen = (made.folder / "environment" / "seen").read_text().split()
    assert sorted(seen) == ["dangling", "loop", "pyproject.toml", "requirements.txt"]


async def test_a_workspace_too_deep_to_copy_is_said(spec, tmp_path):
    """Folders nested deeper than the host can walk end the setup in words, and leave nothing."""
    here = os.open(spec.workspace, os.O_PATH)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_PATH, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(ToolFailedError, match="cannot be copied"):
        await prepare_environment(spec, ["true"], cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache" / "environments").iterdir()) == []
    subprocess.run(["rm", "-rf", str(spec.workspace / "d")], check=True)


def _wheel() -> bytes:
    """A package of one module, as pip takes it."""
    info = "tinything-1.2.dist-info"
    files = {
        "tinything.py": "version = '1.2'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tinything\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def _tarball() -> bytes:
    """A package of one module, as npm takes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in {
            "package.json": '{"name": "tiny-odd", "version": "1.0.0", "main": "odd.js"}',
            "odd.js": "module.exports = n => n % 2 === 1\n",
        }.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def registry():
    """A registry on loopback with one package for pip and one for npm; gives its port and what was fetched."""
    wheel, tarball, fetched = _wheel(), _tarball(), []
    pages = {
        "/simple/tinything/": ("text/html", b'<a href="../../files/tinything-1.2-py3-none-any.whl">wheel</a>'),
        "/files/tinything-1.2-py3-none-any.whl": ("application/zip", wheel),
        "/tiny-odd/-/tiny-odd-1.0.0.tgz": ("application/octet-stream", tarball),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = pages.get(self.path, ("", b""))
            if body:
                fetched.append(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], fetched, tarball
    server.shutdown()
    server.server_close()


async def test_packages_are_installed_from_a_listed_registry(spec, cache_dir, tmp_path, registry):
    """`pip install` and `npm ci` through the allow-list, with nothing listed but one registry on loopback, and used by
    a run without any network. (`test_real_registries_are_installed_from` does it with the public ones.)"""
    port, fetched, tarball = registry
    here, npm = f"http://127.0.0.1:{port}", shutil.which("npm") is not None
    (spec.workspace / "requirements.txt").write_text("tinything==1.2\n")
    setup = [
        "python3 -m venv /environment",
        f"pip install -q --no-cache-dir --index-url {here}/simple -r requirements.txt",
        "! pip download -q --no-deps --retries 0 --index-url https://pypi.invalid/simple tinything",
    ]
    if npm:
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        locked = {"version": "1.0.0", "resolved": f"{here}/tiny-odd/-/tiny-odd-1.0.0.tgz", "integrity": integrity}
        package = {"name": "x", "version": "1.0.0", "dependencies": {"tiny-odd": "1.0.0"}}
        lock = {**package, "lockfileVersion": 3, "packages": {"": package, "node_modules/tiny-odd": locked}}
        (spec.workspace / "package.json").write_text(json.dumps(package))
        (spec.workspace / "package-lock.json").write_text(json.dumps(lock))
        (spec.workspace / ".npmrc").write_text(f"registry={here}/\naudit=false\nfund=false\n")
        setup.append("npm ci --silent")
    online = msgspec.structs.replace(spec, network=Network((f"127.0.0.1:{port}",)))
    decisions = []
    environment = await prepare_environment(
        online, setup, cache_dir=tmp_path / "cache", audit=lambda what, facts: decisions.append((what, facts))
    )
    later = msgspec.structs.replace(spec, binds=environment.binds, env=dict(environment.env))
    async with await open_sandbox(later, cache_dir=cache_dir) as sandbox:
        result = await sandbox.exec("python -c 'import tinything; print(tinything.version)'")
        assert result.output.head == "1.2\n", result
        if npm:
            result = await sandbox.exec("mkdir -p src; cd src; node -e 'console.log(require(\"tiny-odd\")(3))'")
            assert result.output.head == "true\n", result
    assert len(set(fetched)) == (3 if npm else 2)
    asked = {(facts["host"], facts["decision"]) for what, facts in decisions if what == "sandbox.egress"}
    assert asked >= {("127.0.0.1", "allowed"), ("pypi.invalid", "refused")}
    assert {host for host, decision in asked if decision == "allowed"} == {"127.0.0.1"}


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
