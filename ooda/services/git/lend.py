"""Credentials lent to one git process and gone with it.

Secrets lie in memory files of this process (memfd), readable by the same user through /proc while the operation
runs: never on a disk, in an argument, an environment variable or a URL, and nothing is left after a kill. git and ssh
get them from a tiny askpass program that answers only for the host the task names, so a redirect learns nothing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ooda.errors import CredentialError
from ooda.services.git.remote import KeyCert, Remote

__all__ = ["ASKPASS", "lend"]

ASKPASS = """#!/bin/sh
# Answers git's and ssh's prompts from memory files of the process that started them. Holds no secret.
case "$1" in
  *"//$OODA_ASKPASS_FOR'"* | *"@$OODA_ASKPASS_FOR'"* | "Enter passphrase for key"*) ;;
  *) exit 1 ;;
esac
case "$1" in
  Username*) exec cat "$OODA_ASKPASS_USER" ;;
  *) exec cat "$OODA_ASKPASS_SECRET" ;;
esac
"""

_SSH = (
    "ssh -o StrictHostKeyChecking={check} -o ConnectTimeout=20 -o ControlMaster=no -o ControlPath=none "
    "-o ForwardAgent=no -o PermitLocalCommand=no -o UserKnownHostsFile={known}"
)
_SSH_KEY = (
    " -F /dev/null -o IdentitiesOnly=yes -o IdentityAgent=none -o PreferredAuthentications=publickey "
    "-o NumberOfPasswordPrompts=1 -o BatchMode={batch} -i {key}"
)


@contextmanager
def lend(remote: Remote, askpass: Path, known_hosts: Path, *, strict_host_keys: bool) -> Iterator[dict[str, str]]:
    """Environment variables for one operation on `remote`; what they point to ends with the context.

    Raises:
        CredentialError: a private key cannot be read.
    """
    variables: dict[str, str] = {"GIT_ALLOW_PROTOCOL": remote.protocol}
    with ExitStack() as stack:
        if remote.protocol == "ssh":
            known = shlex.quote(f'"{known_hosts}" ~/.ssh/known_hosts')
            command = _SSH.format(check="yes" if strict_host_keys else "accept-new", known=known)
            if isinstance(remote.credentials, KeyCert):
                key = _memory_file(stack, _private_key(remote.credentials))
                passphrase = remote.credentials.key_password
                command += _SSH_KEY.format(batch="no" if passphrase else "yes", key=key)
                if passphrase is not None:
                    variables["OODA_ASKPASS_FOR"] = "\x01"  # no host: ssh asks for the key's passphrase only
                    variables["OODA_ASKPASS_SECRET"] = _memory_file(stack, passphrase.get_secret_value().encode())
                    variables["SSH_ASKPASS"] = str(askpass)
                    variables["SSH_ASKPASS_REQUIRE"] = "force"
            else:
                command += " -o BatchMode=yes"
            variables["GIT_SSH_COMMAND"] = command
        elif (login := remote.login()) is not None:
            user, secret = login
            variables["GIT_ASKPASS"] = str(askpass)
            variables["OODA_ASKPASS_FOR"] = remote.host
            variables["OODA_ASKPASS_USER"] = _memory_file(stack, user.encode())
            variables["OODA_ASKPASS_SECRET"] = _memory_file(stack, secret.get_secret_value().encode())
        yield variables


def _memory_file(stack: ExitStack, content: bytes) -> str:
    """A path under /proc that reads as `content` until the stack closes."""
    descriptor = os.memfd_create("ooda-credential")
    stack.callback(os.close, descriptor)
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, content)
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _private_key(credentials: KeyCert) -> bytes:
    if credentials.private_key is not None:
        text = credentials.private_key.get_secret_value()
    else:
        path = Path(os.path.expanduser(credentials.private_key_path))
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise CredentialError(
                f"the private key {credentials.private_key_path!r} cannot be read: {reason}; "
                "set repository.credentials.private_key_path to a readable key file"
            ) from error
    if "PRIVATE KEY" not in text:
        raise CredentialError(
            "repository.credentials holds no private key (no `BEGIN … PRIVATE KEY` line); give the private half"
        )
    return (text.replace("\r\n", "\n").strip() + "\n").encode()
