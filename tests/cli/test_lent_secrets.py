"""Secrets lent to a host through `ooda run`: commands use them and never see them; nothing recorded has them."""

from __future__ import annotations

import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from ooda.models.scripted import say
from tests.cli.home import FINISH, MEND, PLAN, Home

Make = Callable[..., Home]

SECRET = "sk-lent-4711-to-one-host"
SHOW = 'env | grep TOKEN; curl {option} -sS -H "Authorization: Bearer $API_TOKEN" https://localhost:{port}/whoami'


@pytest.fixture(params=["bubblewrap", pytest.param("docker", marks=pytest.mark.docker)])
def wall(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """Options that choose a backend; `auto` would take the same one twice."""
    if request.param == "docker" and "DOCKER_HOST" not in os.environ:
        pytest.skip("no Docker Engine is named; start one with `scripts/services/docker up`")
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed; as root on Debian: apt-get install -y bubblewrap")
    return ("--set", f"sandbox.backend={request.param}")


class Api:
    """An HTTPS server on loopback that answers with the authorization it was sent."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked.append(self.headers.get("Authorization", ""))
                body = f"you are <{api.asked[-1].removeprefix('Bearer ')}>\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        authority = trustme.CA()
        self.trust = folder / "trusted.pem"
        authority.cert_pem.write_to_path(str(self.trust))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    running = Api(tmp_path)
    yield running
    running.server.shutdown()
    running.server.server_close()


def _recorded(folder: Path) -> str:
    """Everything in the home's files, as text."""
    return "".join(
        path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file() and path.name != "task.yaml"
    )


def _script(port: int, option: str = "") -> list[Any]:
    ask = say("Who am I?", ("run_shell_command", {"command": SHOW.format(port=port, option=option)}))
    return [PLAN, ask, MEND, FINISH]


def test_a_task_lends_a_secret_to_the_host_it_names(home: Make, api: Api, wall: tuple[str, ...]) -> None:
    """The host gets the secret, the command a placeholder, before and after; journal, spool and output have neither."""
    there = home(_script(api.port))
    lent = {"variable": "API_TOKEN", "hosts": [f"localhost:{api.port}"], "secret": "${MY_TOKEN}"}
    task = there.task(environment={"hosts": [f"localhost:{api.port}"], "credentials": [lent]})
    trust = {"MY_TOKEN": SECRET, "SSL_CERT_FILE": str(api.trust)}
    trust |= {"DOCKER_HOST": os.environ["DOCKER_HOST"]} if "docker" in wall[1] else {}

    done = there.ooda("run", task, "--json", *wall, environ=trust)

    assert done.code == 0, done.err
    assert api.asked == [f"Bearer {SECRET}"]
    told = str(there.provider.requests[2])
    assert "API_TOKEN=ooda-placeholder-" in told
    assert "you are <ooda-placeholder-" in told
    assert SECRET not in done.out + done.err + told + _recorded(there.folder)


def test_a_setting_lends_a_variable_of_this_machine(home: Make, api: Api) -> None:
    """`sandbox.credentials` names the variable and the host; a task need not know; one that is not set is said."""
    there = home(_script(api.port))
    task = there.task(environment={"hosts": [f"localhost:{api.port}"]})
    options = ("--set", "sandbox.backend=bubblewrap", "--set", f"sandbox.credentials=API_TOKEN localhost:{api.port}")
    trust = {"SSL_CERT_FILE": str(api.trust)}

    refused = there.ooda("run", task, *options, environ=trust)
    done = there.ooda("run", task, *options, environ=trust | {"API_TOKEN": SECRET})

    assert refused.code == 2
    assert "`sandbox.credentials` lends the variable `API_TOKEN`" in refused.err
    assert done.code == 0, done.err
    assert api.asked == [f"Bearer {SECRET}"]
    assert SECRET not in done.out + done.err + _recorded(there.folder)


def test_another_host_gets_the_placeholder_only(home: Make, api: Api) -> None:
    """A command that sends the variable elsewhere gives nothing away: there the placeholder stays what it is."""
    there = home(_script(api.port, "-k"))
    lent = {"variable": "API_TOKEN", "hosts": ["api.example.com"], "secret": "${MY_TOKEN}"}
    task = there.task(environment={"hosts": [f"localhost:{api.port}"], "credentials": [lent]})

    done = there.ooda("run", task, "--set", "sandbox.backend=bubblewrap", environ={"MY_TOKEN": SECRET})

    assert done.code == 0, done.err
    assert [asked.startswith("Bearer ooda-placeholder-") for asked in api.asked] == [True]
