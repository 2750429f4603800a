"""Credentials on real hosts: HTTP basic auth and SSH keys; where the secrets are while git runs, and where not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from ooda.errors import CredentialError, IntegrationError
from ooda.services.git import AccessToken, GitSettings, KeyCert, Remote, UsernamePassword, WorkRepo
from ooda.services.git.lend import lend
from ooda.services.git.values import Author
from tests.services.git.hosts import HttpHost, SshHost, git, http_host, make_key, ssh_agent, ssh_host

_PASSWORD = "pa ss'w\"ord$(id)"
_DAY = date(2026, 11, 21)


@pytest.fixture
def web(bare: Path) -> Iterator[HttpHost]:
    with http_host(bare.parent, "ada", _PASSWORD) as host:
        yield host


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHost]:
    if os.geteuid() != 0 or not shutil.which("sshd", path="/usr/sbin:/sbin"):
        pytest.skip("needs root and sshd: apt-get install openssh-server")
    with ssh_host(tmp_path_factory.mktemp("ssh")) as host:
        yield host


async def _round(repo: WorkRepo, remote: Remote, bare: Path) -> None:
    """Clone, branch, commit, push."""
    await repo.clone(remote, "main")
    branch = await repo.create_branch(remote, "main", "Fix", _DAY)
    (repo.workspace / "app.py").write_text("print('two')\n")
    done = await repo.commit("Fix", author=Author(), run="run-1", task="t", at_ns=10**18)
    assert done is not None
    await repo.push(remote, branch)
    assert await repo.probe_push(remote, branch) == "happened"
    assert git(bare, "rev-parse", branch) == done.hash


async def test_a_user_with_password_works_over_http(
    open_repo: Callable[..., WorkRepo], web: HttpHost, bare: Path
) -> None:
    """Also one with spaces, quotes and shell characters in it; nothing of it stays in the repository."""
    remote = Remote.parse(f"{web.url}/remote.git", UsernamePassword("ada", SecretStr(_PASSWORD)))
    repo = open_repo()
    await _round(repo, remote, bare)
    assert _holders(repo.git_dir.parent, _PASSWORD) == []


async def test_a_token_works_over_http(open_repo: Callable[..., WorkRepo], bare: Path) -> None:
    """As the password of the user its host wants."""
    with http_host(bare.parent, "x-access-token", "t0ken") as host:
        await _round(open_repo(), Remote.parse(f"{host.url}/remote.git", AccessToken(SecretStr("t0ken"))), bare)


async def test_a_wrong_password_is_said_and_not_retried(open_repo: Callable[..., WorkRepo], web: HttpHost) -> None:
    """One try; the message names the task's field and not the password."""
    remote = Remote.parse(f"{web.url}/remote.git", UsernamePassword("ada", SecretStr("wr0ng")))
    with pytest.raises(CredentialError, match=r"Check repository\.credentials") as caught:
        await open_repo().clone(remote, "main")
    assert "wr0ng" not in str(caught.value)
    assert len([path for path, _ in web.asked if "info/refs" in path]) <= 3


async def test_a_host_that_wants_credentials_says_so(open_repo: Callable[..., WorkRepo], web: HttpHost) -> None:
    """git never asks a terminal."""
    with pytest.raises(CredentialError, match="no credentials were given"):
        await open_repo().clone(Remote.parse(f"{web.url}/remote.git"), "main")


async def test_a_redirect_to_another_host_learns_nothing(
    open_repo: Callable[..., WorkRepo], bare: Path, web: HttpHost
) -> None:
    """The helper answers for the host the task names only."""
    with http_host(bare.parent, "ada", _PASSWORD) as thief:
        web.redirect_to = thief.url
        remote = Remote.parse(f"{web.url}/remote.git", UsernamePassword("ada", SecretStr(_PASSWORD)))
        with pytest.raises(CredentialError):
            await open_repo().clone(remote, "main")
        assert thief.asked
        assert {authorization for _, authorization in thief.asked} == {""}


async def test_a_host_that_fails_for_a_moment_is_tried_again(
    open_repo: Callable[..., WorkRepo], bare: Path, web: HttpHost
) -> None:
    """500, 503 and 429 are passing; back-off lies between the tries."""
    web.fail_next = [503, 429, 500]
    remote = Remote.parse(f"{web.url}/remote.git", UsernamePassword("ada", SecretStr(_PASSWORD)))
    done = await open_repo().clone(remote, "main")
    assert done.files == 3


async def test_a_host_that_stays_away_is_an_integration_error(open_repo: Callable[..., WorkRepo]) -> None:
    """After the bounded number of tries; the run can be resumed."""
    remote = Remote.parse("http://127.0.0.1:9/remote.git")
    with pytest.raises(IntegrationError, match="Check the address and the network") as caught:
        await open_repo(settings=GitSettings(attempts=2)).clone(remote, "main")
    assert (caught.value.facts["service"], caught.value.facts["retryable"]) == ("git", True)


@pytest.mark.parametrize("form", ["path", "inline", "locked"])
async def test_a_key_opens_a_host_over_ssh(
    open_repo: Callable[..., WorkRepo], shell: SshHost, bare: Path, form: str
) -> None:
    """As a file, inline with CRLF line ends, behind a passphrase; it is on no disk of ours."""
    credentials = {
        "path": KeyCert(private_key_path=str(shell.key)),
        "inline": KeyCert(private_key=SecretStr(shell.key.read_text().replace("\n", "\r\n"))),
        "locked": KeyCert(private_key_path=str(shell.locked_key), key_password=SecretStr("open sesame")),
    }[form]
    remote = Remote.parse(f"ssh://root@127.0.0.1:{shell.port}{bare}", credentials)
    repo = open_repo()
    assert (await repo.clone(remote, "main")).files == 3
    assert _holders(repo.git_dir.parent, "PRIVATE KEY") == []
    assert "127.0.0.1" in (repo.git_dir / "known_hosts").read_text()


async def test_a_push_works_over_ssh(open_repo: Callable[..., WorkRepo], shell: SshHost, bare: Path) -> None:
    """Every operation of a run: clone, list, push, probe."""
    remote = Remote.parse(f"ssh://root@127.0.0.1:{shell.port}{bare}", KeyCert(private_key_path=str(shell.key)))
    await _round(open_repo(), remote, bare)


async def test_the_ssh_agent_of_the_person_works_without_credentials(
    open_repo: Callable[..., WorkRepo], shell: SshHost, bare: Path
) -> None:
    """A task without credentials goes with what its person uses, when settings hand the agent on."""
    with ssh_agent(shell.key) as socket:
        repo = open_repo(settings=GitSettings(env={"SSH_AUTH_SOCK": socket}))
        remote = Remote.parse(f"ssh://root@127.0.0.1:{shell.port}{bare}")
        assert (await repo.clone(remote, "main")).files == 3


async def test_a_wrong_passphrase_is_said(open_repo: Callable[..., WorkRepo], shell: SshHost, bare: Path) -> None:
    """Without a hang: ssh has nobody else to ask."""
    credentials = KeyCert(private_key_path=str(shell.locked_key), key_password=SecretStr("close sesame"))
    remote = Remote.parse(f"ssh://root@127.0.0.1:{shell.port}{bare}", credentials)
    with pytest.raises(CredentialError, match="KeyCert was rejected"):
        await open_repo().clone(remote, "main")


async def test_an_unknown_key_is_rejected(
    open_repo: Callable[..., WorkRepo], shell: SshHost, bare: Path, tmp_path: Path
) -> None:
    """The keys of the person who runs us are not tried instead."""
    other = make_key(tmp_path / "other")
    remote = Remote.parse(f"ssh://root@127.0.0.1:{shell.port}{bare}", KeyCert(private_key_path=str(other)))
    with pytest.raises(CredentialError, match="KeyCert was rejected"):
        await open_repo().clone(remote, "main")


async def test_a_changed_host_key_is_refused(open_repo: Callable[..., WorkRepo], shell: SshHost, bare: Path) -> None:
    """A new host is taken; one that has another key than before is not."""
    remote = Remote.parse(f"ssh://root@127.0.0.1:{shell.port}{bare}", KeyCert(private_key_path=str(shell.key)))
    repo = open_repo()
    await repo.clone(remote, "main")
    known = repo.git_dir / "known_hosts"
    other = shell.key.with_suffix(".pub").read_text().split()[1]
    known.write_text("".join(f"{line.split()[0]} ssh-ed25519 {other}\n" for line in known.read_text().splitlines()))
    with pytest.raises(CredentialError, match="host's ssh key is unknown or has changed"):
        await repo.clone(remote, "main")


async def test_strict_host_keys_refuse_a_new_host(
    open_repo: Callable[..., WorkRepo], shell: SshHost, bare: Path
) -> None:
    """For those who want to add hosts by hand."""
    remote = Remote.parse(f"ssh://root@127.0.0.1:{shell.port}{bare}", KeyCert(private_key_path=str(shell.key)))
    with pytest.raises(CredentialError, match="unknown or has changed"):
        await open_repo(settings=GitSettings(strict_host_keys=True)).clone(remote, "main")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file"), (b"ssh-ed25519 AAAA", "holds no private key"), (b"\xff", "no")],
    ids=["no file", "the public half", "binary"],
)
async def test_a_key_that_is_none_is_said(
    open_repo: Callable[..., WorkRepo], tmp_path: Path, content: bytes | None, message: str
) -> None:
    """Before any connection is made."""
    key = tmp_path / "id"
    if content is not None:
        key.write_bytes(content)
    remote = Remote.parse("ssh://git@127.0.0.1:9/a", KeyCert(private_key_path=str(key)))
    with pytest.raises(CredentialError, match=message):
        await open_repo().clone(remote, "main")


async def test_secrets_stand_in_no_argument_and_no_variable(
    open_repo: Callable[..., WorkRepo], web: HttpHost, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen from the process list: a git in our place that writes down how it was called. Nor does it get our own
    environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
    spy, seen = tmp_path / "spy", tmp_path / "seen"
    spy.write_text(f'#!/bin/sh\n{{ printf "%s\\n" "$0" "$@"; env; }} >>{seen}\nexec /usr/bin/git "$@"\n')
    spy.chmod(0o755)
    remote = Remote.parse(f"{web.url}/remote.git", UsernamePassword("ada", SecretStr(_PASSWORD)))
    await _round(open_repo(settings=GitSettings(git=str(spy))), remote, bare)
    text = seen.read_text()
    assert "GIT_CONFIG_NOSYSTEM=1" in text
    assert "OODA_ASKPASS_SECRET=/proc/" in text
    assert _PASSWORD not in text
    assert "sk-ours" not in text


def test_secrets_are_lent_in_memory_and_taken_back(tmp_path: Path) -> None:
    """What git gets are names under /proc; they are gone with the context, and hold no secret themselves."""
    remote = Remote.parse("https://host/a", UsernamePassword("ada", SecretStr("s3cret")))
    with lend(remote, tmp_path / "askpass", tmp_path / "known", strict_host_keys=False) as env:
        secret = Path(env["OODA_ASKPASS_SECRET"])
        assert secret.read_text() == "s3cret"
        assert "s3cret" not in repr(env)
        assert env["GIT_ALLOW_PROTOCOL"] == "https"
    assert not secret.exists()
    assert list(tmp_path.iterdir()) == []


def _holders(folder: Path, secret: str) -> list[Path]:
    """Files below `folder` that hold the secret."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
