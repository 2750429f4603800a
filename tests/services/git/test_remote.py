"""Remotes as values: what is kept of a URL, what is refused."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from ooda.errors import CredentialError, TaskSpecError
from ooda.services.git import AccessToken, KeyCert, Remote, UsernamePassword

_LOGIN = UsernamePassword("ada", SecretStr("s3cret"))
_TOKEN = AccessToken(SecretStr("t0ken"))
_KEY = KeyCert(private_key_path="/keys/id")


@pytest.mark.parametrize(
    ("url", "credentials", "expected"),
    [
        pytest.param(
            "https://github.com/a/b.git",
            _TOKEN,
            Remote("https://github.com/a/b.git", "https", "github.com", _TOKEN),
            id="https with token",
        ),
        pytest.param(
            "https://ada:s3cret@host:8443/a/b",
            None,
            Remote("https://host:8443/a/b", "https", "host:8443", _LOGIN),
            id="userinfo becomes credentials",
        ),
        pytest.param(
            "https://t0ken@host/a/b",
            None,
            Remote("https://host/a/b", "https", "host", _TOKEN),
            id="a token as userinfo",
        ),
        pytest.param(
            "https://other:word@host/a?token=x",
            _LOGIN,
            Remote("https://host/a", "https", "host", _LOGIN),
            id="given credentials win over userinfo, a query goes",
        ),
        pytest.param(
            "git@github.com:a/b.git",
            _KEY,
            Remote("git@github.com:a/b.git", "ssh", "github.com", _KEY),
            id="scp-like",
        ),
        pytest.param(
            "ssh://git:word@host:2222/a/b",
            _KEY,
            Remote("ssh://git@host:2222/a/b", "ssh", "host:2222", _KEY),
            id="ssh keeps its user, not a password",
        ),
        pytest.param("/srv/a b.git", None, Remote("/srv/a b.git", "file"), id="path"),
        pytest.param("file:///srv/a%20b.git", None, Remote("/srv/a b.git", "file"), id="file URL"),
        pytest.param("/srv/b.git", _TOKEN, Remote("/srv/b.git", "file"), id="a path needs no credentials"),
        pytest.param(
            "http://127.0.0.1:1/a", _LOGIN, Remote("http://127.0.0.1:1/a", "http", "127.0.0.1:1", _LOGIN), id="loopback"
        ),
    ],
)
def test_a_url_is_kept_without_its_secrets(url: str, credentials: object, expected: Remote) -> None:
    """What is stored and shown holds no userinfo but the user name ssh needs."""
    assert Remote.parse(url, credentials) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ext::sh -c evil",
        "--upload-pack=evil",
        "-oProxyCommand=evil:x",
        "ftp://host/a",
        "git://host/a",
        "https://",
        "fd::17",
        "relative/path",
        "-u@host:path",
    ],
)
def test_what_would_make_git_run_something_else_is_refused(url: str) -> None:
    """Only https, ssh, a local path, and http; the message lists the forms."""
    with pytest.raises(TaskSpecError, match="give https://host/path"):
        Remote.parse(url)


def test_a_refused_url_is_shown_without_userinfo() -> None:
    """Also in the error."""
    with pytest.raises(TaskSpecError) as caught:
        Remote.parse("ftp://ada:s3cret@host/a")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "credentials", "message"),
    [
        ("git@host:a/b", _TOKEN, "give credential_type key_cert"),
        ("https://host/a", _KEY, "give credential_type username_password or access_token"),
        ("http://example.org/a", _LOGIN, "clear text"),
    ],
)
def test_credentials_must_fit_the_protocol(url: str, credentials: object, message: str) -> None:
    """And never travel in clear text."""
    with pytest.raises(CredentialError, match=message):
        Remote.parse(url, credentials)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "user"),
    [("github.com", "x-access-token"), ("gitlab.example.org", "oauth2"), ("bitbucket.org", "x-token-auth")],
)
def test_a_token_goes_with_the_user_name_its_host_wants(host: str, user: str) -> None:
    """GitHub, GitLab and Bitbucket differ."""
    assert Remote.parse(f"https://{host}/a/b", _TOKEN).login() == (user, SecretStr("t0ken"))


def test_secrets_do_not_show() -> None:
    """A remote may be printed."""
    assert "s3cret" not in repr(Remote.parse("https://ada:s3cret@host/a"))
