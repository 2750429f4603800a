"""The root that commands see when no image is named: empty folders of our own over the host's /usr, read-only.

One description serves both backends, so that a command finds the same files behind either wall. Nothing of
the host's /etc is shown but what programs in /usr cannot do without, and no file there that may hold a
secret. Pure but for looking which of those paths exist.
"""

from __future__ import annotations

import hashlib
import io
import re
import ssl
import sys
import tarfile
from pathlib import Path

import msgspec

from ooda.errors import SandboxError
from ooda.sandbox.protocol import Bind

__all__ = [
    "CA_BUNDLE",
    "EGRESS_SOCKET",
    "GUEST",
    "HOME",
    "INTERPRETERS",
    "STATE_DIR",
    "Interpreter",
    "find_interpreter",
    "host_binds",
    "host_certificates",
    "tiny_root",
]

HOME = "/home/agent"
STATE_DIR = "/run/ooda"
GUEST = "/.ooda/guest"
"""Where the helper's folder is bound."""
EGRESS_SOCKET = "/.ooda/egress.sock"
"""Where the egress proxy's socket is bound, in a sandbox that has one."""

CA_BUNDLE = "/.ooda/ca-bundle.pem"
"""Where the certificates are bound that a sandbox with credentials must trust."""

INTERPRETERS = ("/usr/bin/python3", "/usr/local/bin/python3")
_OLDEST_MINOR = 9

_FOLDERS = {
    "etc": 0o755,
    "proc": 0o555,
    "sys": 0o555,
    "dev": 0o755,
    "usr": 0o755,
    "tmp": 0o1777,
    "run/ooda": 0o755,
    "workspace": 0o755,
    "home/agent": 0o755,
    "root": 0o755,
    "var/tmp": 0o1777,
    "var/lib": 0o755,
    "opt": 0o755,
    ".ooda/guest": 0o755,
}
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}

# What programs below /usr look for in /etc, and that is the same for everybody: alternatives (awk, editor …),
# the loader's cache, certificates, Debian's site customisation of Python, Java's and Perl's settings.
_HOST_ETC = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/ca-certificates",
    "/etc/mime.types",
    "/etc/magic",
    "/etc/perl",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/debian_version",
    *(f"/etc/python3.{minor}" for minor in range(9, 16)),
    "/etc/python3",
)


class Interpreter(msgspec.Struct, frozen=True):
    """The Python that runs the helper, and the bind that shows it when it does not lie in /usr."""

    path: str
    bind: Bind | None = None


def host_certificates() -> Path | None:
    """The file of certificates that this machine trusts, None where there is none."""
    usual = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
    for name in (ssl.get_default_verify_paths().cafile, *usual):
        if name is not None and Path(name).is_file():
            return Path(name)
    return None


def find_interpreter() -> Interpreter:
    """A Python of the host for the helper: one in /usr, else the one that runs us, bound where it lies."""
    for path in INTERPRETERS:
        version = re.match(r"python3\.(\d+)", Path(path).resolve().name)
        too_old = version is not None and int(version[1]) < _OLDEST_MINOR
        if Path(path).exists() and not too_old:
            return Interpreter(path)
    prefix = Path(sys.base_prefix).resolve()
    executable = prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not executable.exists():
        raise SandboxError("no Python was found in /usr for the sandbox's helper; install python3 on this machine")
    return Interpreter(str(executable), Bind(prefix, str(prefix)))


def host_binds() -> tuple[Bind, ...]:
    """The read-only binds of the default root: /usr and the harmless parts of /etc that exist here."""
    found = [Bind(Path("/usr"), "/usr")]
    for folder in _LINKS:
        # On a machine without merged /usr these are folders of their own.
        if Path("/", folder).is_dir() and not Path("/", folder).is_symlink():
            found.append(Bind(Path("/", folder), f"/{folder}"))
    found += [Bind(Path(path), path) for path in _HOST_ETC if Path(path).exists()]
    return tuple(found)


def root_files(uid: int, gid: int) -> dict[str, str]:
    """The small files of the root's /etc. No resolver is configured: names are the egress proxy's business."""
    return {
        "etc/passwd": (
            "root:x:0:0:root:/root:/usr/sbin/nologin\n"
            f"agent:x:{uid}:{gid}:agent:{HOME}:/bin/sh\n"
            "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
        ),
        "etc/group": f"root:x:0:\nagent:x:{gid}:\nnogroup:x:65534:\n",
        "etc/hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
        "etc/hostname": "sandbox\n",
        "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
        "etc/resolv.conf": "",
        "etc/host.conf": "multi on\n",
        "etc/shells": "/bin/sh\n/bin/bash\n",
    }


def root_links() -> dict[str, str]:
    """Links of the root: the merged-/usr ones that the host has, and mtab."""
    links = {name: target for name, target in _LINKS.items() if Path("/", name).is_symlink()}
    return links | {"etc/mtab": "/proc/mounts", "var/run": "/run", "etc/os-release": "/usr/lib/os-release"}


def root_folders() -> dict[str, int]:
    """Empty folders of the root and their modes; those that are bound from the host stay empty in the image."""
    plain = {name: 0o755 for name in _LINKS if not Path("/", name).is_symlink() and Path("/", name).is_dir()}
    return _FOLDERS | plain


def tiny_root(uid: int, gid: int) -> tuple[bytes, str]:
    """The root as a tar archive, byte for byte the same for the same host layout, and the hash that names it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, mode in sorted(root_folders().items()):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for name, target in sorted(root_links().items()):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        for name, text in sorted(root_files(uid, gid).items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()[:16]
