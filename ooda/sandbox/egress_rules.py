"""Which hosts a sandbox may reach, and which addresses never by name alone. Pure."""

from __future__ import annotations

import ipaddress
import re

from ooda.errors import ConfigError

__all__ = ["Address", "AllowList", "is_internal"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Net = ipaddress.IPv4Network | ipaddress.IPv6Network

_DEFAULT_PORTS = (443, 80)
_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")

# Loopback, link-local (where clouds serve instance credentials), private use, shared and benchmarking space,
# multicast, reserved; IANA special-purpose registries. 168.63.129.16 is Azure's host channel, on a public address.
_INTERNAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "::/127",
        "fc00::/7",
        "fe80::/9",
        "ff00::/8",
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_internal(address: Address) -> bool:
    """Whether an address is one that a name may not lead to: the machine itself, its network, its cloud.

    IPv6 addresses that carry an IPv4 one (mapped, 6to4, Teredo, NAT64) are judged by that one as well.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if any(is_internal(carried) for carried in inner if carried is not None):
            return True
    return any(address.version == net.version and address in net for net in _INTERNAL)


class AllowList:
    """The hosts of `Network.hosts`, parsed: `name`, `*.suffix`, an address or a CIDR range, each with `:port` or
    with 443 and 80.

    Raises ConfigError for an entry that is none of these.
    """

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._names: list[tuple[str, tuple[int, ...]]] = []
        self._nets: list[tuple[_Net, tuple[int, ...]]] = []
        for entry in hosts:
            name, ports = _split(entry.strip().lower())
            try:
                self._nets.append((ipaddress.ip_network(name, strict=False), ports))
                continue
            except ValueError:
                pass
            name = name.rstrip(".")
            if not _NAME.match(name) or name in ("*", "*."):
                raise ConfigError(
                    f"{entry!r} in the sandbox's network hosts is not a host; expected a name like `pypi.org`, "
                    "`*.example.com`, an address or a range like `10.1.0.0/16`, optionally with `:port`"
                )
            self._names.append((name, ports))
            if name == "localhost":  # whoever lists it by name means these addresses
                self._nets += [(ipaddress.ip_network(net), ports) for net in ("127.0.0.0/8", "::1/128")]

    def names_host(self, host: str, port: int) -> bool:
        """Whether `host` (a name or an address, as the client wrote it) is listed for `port`."""
        host = host.lower().rstrip(".").strip("[]")
        try:
            return self.names_address(ipaddress.ip_address(host), port)
        except ValueError:
            pass
        for name, ports in self._names:
            matches = host.endswith(name[1:]) and len(host) >= len(name) if name.startswith("*.") else host == name
            if matches and port in ports:
                return True
        return False

    def reaches(self, host: str) -> bool:
        """Whether `host` is listed for any port."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return any(name == host for name, _ in self._names)
        return any(address.version == net.version and address in net for net, _ in self._nets)

    def names_address(self, address: Address, port: int) -> bool:
        """Whether the address itself is listed for `port`."""
        return any(port in ports and address.version == net.version and address in net for net, ports in self._nets)

    def permits_address(self, address: Address, port: int) -> bool:
        """Whether a listed name may lead to `address`: it is no internal one, or it is listed itself."""
        return not is_internal(address) or self.names_address(address, port)


def _split(entry: str) -> tuple[str, tuple[int, ...]]:
    """An entry without its port, and its ports."""
    found = re.fullmatch(r"\[([0-9a-f:.]+)\](?::(\d+))?", entry) or re.fullmatch(r"([^:]+):(\d+)", entry)
    if found is None:
        return entry, _DEFAULT_PORTS
    name, port = found.groups()
    if port is None:
        return name, _DEFAULT_PORTS
    if not 0 < int(port) < 65536:
        raise ConfigError(f"{entry!r} in the sandbox's network hosts names port {port}; ports are 1 to 65535")
    return name, (int(port),)
