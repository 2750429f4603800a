"""Which hosts are listed, and which addresses a name may never lead to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import ConfigError
from ooda.sandbox.egress_rules import AllowList, is_internal


@pytest.mark.parametrize(
    ("listed", "host", "port", "expected"),
    [
        ("pypi.org", "pypi.org", 443, True),
        ("pypi.org", "PyPI.org.", 80, True),
        ("pypi.org", "pypi.org", 22, False),
        ("pypi.org:22", "pypi.org", 22, True),
        ("pypi.org:22", "pypi.org", 443, False),
        ("pypi.org", "evilpypi.org", 443, False),
        ("pypi.org", "pypi.org.evil.com", 443, False),
        ("pypi.org", "files.pypi.org", 443, False),
        ("*.example.com", "a.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evilexample.com", 443, False),
        ("*.example.com", ".example.com", 443, False),
        ("10.1.0.0/16", "10.1.2.3", 443, True),
        ("10.1.0.0/16", "10.2.2.3", 443, False),
        ("10.1.2.3:8080", "10.1.2.3", 8080, True),
        ("10.1.2.3:8080", "10.1.2.3", 443, False),
        ("[::1]:8080", "[::1]", 8080, True),
        ("fd00::/8", "fd00::1", 443, True),
        ("localhost:9", "localhost", 9, True),
        ("localhost:9", "127.0.0.1", 9, True),
    ],
)
def test_a_host_is_allowed_exactly_when_it_is_listed(listed, host, port, expected):
    """Names match whole labels, ports are part of the entry, 443 and 80 are the default."""
    assert AllowList((listed,)).names_host(host, port) is expected


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_internal_addresses_are_known_in_every_dress(text):
    """Loopback, link-local, private and metadata addresses, also when an IPv6 address carries them."""
    address = ipaddress.ip_address(text)
    assert is_internal(address)
    assert not AllowList(("example.com", "*.org")).permits_address(address, 443)
    assert AllowList((text,) if address.version == 4 else (f"[{text}]:443",)).permits_address(address, 443)


@pytest.mark.parametrize("text", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "172.32.0.1", "11.0.0.1"])
def test_public_addresses_are_not_internal(text):
    """What everybody can reach, a listed name may lead to."""
    assert not is_internal(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_a_carried_address_is_as_internal_as_itself(address):
    """No dress hides an internal IPv4 address: mapped, 6to4 and NAT64 forms are judged like the address."""
    number = int(address)
    forms = [0xFFFF00000000 | number, 0x2002 << 112 | number << 80, 0x64FF9B << 96 | number]
    for form in forms:
        assert is_internal(ipaddress.IPv6Address(form)) or not is_internal(address)


@given(st.text(max_size=30))
def test_a_list_is_parsed_or_refused(text):
    """No entry raises anything but the error that explains it, and none allows a host it does not spell."""
    try:
        allow = AllowList((text,))
    except ConfigError:
        return
    assert not allow.names_host("something.completely.different", 443)


@pytest.mark.parametrize(
    "text", ["*", "*.*", "", " ", "a/b", "http://a", "a:b", "a:0", "a:70000", "ä ö", "10.0.0.0/33"]
)
def test_what_is_no_host_is_refused_with_an_example(text):
    """The refusal shows what an entry looks like."""
    with pytest.raises(ConfigError, match="network hosts"):
        AllowList((text,))
