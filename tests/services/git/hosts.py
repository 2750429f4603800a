"""Real git hosts on loopback: bare repositories served as files, over HTTP with basic auth, and over SSH."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
_ENVIRONMENT = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}


def git(folder: Path, *arguments: str) -> str:
    """Run git as an ordinary person would, for setting up and looking."""
    command = ["git", *_IDENTITY, *arguments]
    done = subprocess.run(command, cwd=folder, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_remote(folder: Path, files: dict[str, str], *, branches: tuple[str, ...] = ("main",)) -> Path:
    """A bare repository with one commit on each of `branches`; an empty one without files."""
    bare = folder / "remote.git"
    bare.mkdir(parents=True)
    git(bare, "init", "--quiet", "--bare")
    git(bare, "config", "http.receivepack", "true")
    if files:
        work = folder / "seed"
        work.mkdir()
        git(work, "init", "--quiet")
        for name, content in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "--message", "First")
        for branch in branches:
            git(work, "push", "--quiet", str(bare), f"HEAD:refs/heads/{branch}")
    return bare


@dataclass
class HttpHost:
    """`git http-backend` behind basic auth."""

    url: str
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Every request: path and Authorization header."""
    fail_next: list[int] = field(default_factory=list)
    """Status codes to answer the next requests with."""
    redirect_to: str = ""


@contextmanager
def http_host(root: Path, user: str, password: str) -> Iterator[HttpHost]:
    """Serve the repositories below `root` over HTTP on loopback."""
    expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Stay quiet."""

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            given = self.headers.get("Authorization", "")
            host.asked.append((self.path, given))
            if host.fail_next:
                self.send_error(host.fail_next.pop(0))
            elif host.redirect_to:
                self.send_response(302)
                self.send_header("Location", host.redirect_to + self.path)
                self.end_headers()
            elif given != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._backend()

        def _backend(self) -> None:
            path, _, query = self.path.partition("?")
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            environment = _ENVIRONMENT | {
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": user,
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200 OK").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = HttpHost(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_key(path: Path, passphrase: str = "") -> Path:
    """A fresh key pair; gives the private half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    return path


@contextmanager
def ssh_agent(key: Path) -> Iterator[str]:
    """An ssh-agent that holds the key; gives its socket."""
    socket = key.with_name("agent.sock")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, text=True)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()  # printed once the socket is there
        subprocess.run(["ssh-add", "-q", str(key)], env={"SSH_AUTH_SOCK": str(socket)}, check=True)
        yield str(socket)
    finally:
        agent.terminate()
        agent.communicate()


@dataclass
class SshHost:
    """An sshd on loopback that lets in whoever holds one of the keys."""

    port: int
    key: Path
    locked_key: Path
    """The same right, behind the passphrase `open sesame`."""


@contextmanager
def ssh_host(folder: Path) -> Iterator[SshHost]:
    """Start sshd with keys of its own. Needs openssh-server, /run/sshd, and to run as root."""
    import socket

    for name, passphrase in (("host", ""), ("user", ""), ("locked", "open sesame")):
        make_key(folder / name, passphrase)
    allowed = folder / "authorized_keys"
    allowed.write_text((folder / "user.pub").read_text() + (folder / "locked.pub").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Path("/run/sshd").mkdir(exist_ok=True)
    options = {
        "ListenAddress": "127.0.0.1",
        "AuthorizedKeysFile": allowed,
        "StrictModes": "no",
        "PidFile": "none",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
    }
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", str(folder / "host"), "-p", str(port)]
    command += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:  # says so once it listens
            if "Server listening" in line:
                break
        else:
            raise AssertionError("sshd did not start")
        yield SshHost(port, folder / "user", folder / "locked")
    finally:
        server.terminate()
        server.communicate()
