"""A certificate authority for one sandbox, so that the egress proxy can read the requests to a few named hosts.

Made with the `openssl` program at opening, valid for days, its key in the sandbox's own folder on the host and
gone with it. Only the sandbox trusts it, and only hosts with a credential are answered by it.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from ooda.errors import SandboxError
from ooda.sandbox.root import host_certificates

__all__ = ["make_authority"]

_DAYS = "7"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


async def make_authority(folder: Path, hosts: tuple[str, ...]) -> tuple[ssl.SSLContext, Path]:
    """The server side's TLS context for `hosts`, and a bundle of the host's certificates plus the new authority.

    Raises SandboxError when `openssl` is missing or fails.
    """
    names = ",".join(f"DNS:{host}" for host in hosts)
    await asyncio.to_thread((folder / "names.cnf").write_text, f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
    await _openssl(
        folder,
        *("req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", _DAYS),
        *("-subj", "/CN=ooda sandbox egress", "-addext", "keyUsage=critical,keyCertSign"),
    )
    await _openssl(
        folder, "req", *_NEW_KEY, "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=ooda sandbox host"
    )
    await _openssl(
        folder,
        *("x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
        *("-out", "host.pem", "-days", _DAYS, "-extfile", "names.cnf"),
    )
    return await asyncio.to_thread(_load, folder)


def _load(folder: Path) -> tuple[ssl.SSLContext, Path]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "host.pem", folder / "host.key")
    context.set_alpn_protocols(["http/1.1"])  # what the proxy reads
    bundle = folder / "ca-bundle.pem"
    known = host_certificates()
    bundle.write_bytes((b"" if known is None else known.read_bytes()) + (folder / "ca.pem").read_bytes())
    bundle.chmod(0o644)
    return context, bundle


async def _openssl(folder: Path, *arguments: str) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            "openssl",
            *arguments,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise SandboxError(
            "credentials at the egress proxy need the `openssl` program to make a certificate",
            probe="openssl",
            fix="as root on Debian: apt-get install -y openssl",
        ) from error
    _, errors = await process.communicate()
    if process.returncode != 0:
        said = errors.decode("utf-8", "replace").strip()[-500:]
        raise SandboxError(f"openssl could not make the egress proxy's certificate: {said}", probe="openssl")
