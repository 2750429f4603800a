"""Who is told what: own routes first, each receiver once, and no run chooses whom."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooda.notify.address import checked_url, is_allowed, is_private, mail_address
from ooda.notify.compose import Told
from ooda.notify.routes import Receiver, Router

ALL = ("mail", "slack", "teams", "webhook")
OWNER = "steward.owner"


def notice(kind: str, email: str = "ada@example.com") -> Told:
    payload = {"notification_type": kind, "to": {"username": "ada", "email": email}}
    return msgspec.json.decode(msgspec.json.encode(payload), type=Told)


@pytest.mark.parametrize(
    ("kind", "channel", "told"),
    [
        ("workflow_failed", "a.b.c.workflow_failed", ["webhook", "slack", "teams", "mail ops@example.com"]),
        ("workflow_started", "a.b.c.workflow_started", []),
        ("workspace_stopped", OWNER, ["mail ada@example.com"]),
        ("workspace_stopped", "a.b.c.workspace_stopped", []),
        ("steward_trouble", "steward.admins", ["mail ops@example.com", "slack", "teams", "webhook"]),
        ("unheard_of", "x", []),
    ],
)
def test_built_in_routes(kind: str, channel: str, told: list[str]) -> None:
    """A run's notice that names an address in its payload reaches nobody by that."""
    routed = Router((), ALL, ["ops@example.com"]).receivers(channel, notice(kind))
    assert [f"{to.channel} {to.recipient}".strip() for to in routed.receivers] == told


def test_own_routes_come_first_and_each_receiver_once() -> None:
    """`none` silences, `*` stands for anything, and an administrator who is the owner too gets one message."""
    router = Router(["workflow_* none", "workspace_* owner admins slack slack"], ALL, ["ada@example.com"])
    assert router.receivers("x", notice("workflow_failed")).receivers == ()
    assert router.receivers(OWNER, notice("workspace_stopped")).receivers == (
        Receiver("mail", "ada@example.com"),
        Receiver("slack"),
    )


@pytest.mark.parametrize(
    ("channels", "email", "receiver"),
    [
        (ALL, "ada@example.com", Receiver("mail", "ada@example.com")),
        (ALL, "no address", Receiver("slack")),
        (("teams", "webhook"), "ada@example.com", Receiver("teams")),
        (("webhook",), "ada@example.com", None),
        (("mail",), "", None),
    ],
)
def test_an_owner_is_told_by_the_first_way_there_is(
    channels: tuple[str, ...], email: str, receiver: Receiver | None
) -> None:
    """Mail, Slack, Teams; without any it is said who was missed."""
    routed = Router((), channels, []).receivers(OWNER, notice("workspace_stopped", email))
    assert routed.receivers == ((receiver,) if receiver else ())
    assert bool(routed.missing) == (receiver is None) and (receiver or "ada" in routed.missing)


@given(st.text(max_size=80))
def test_a_mail_address_holds_nothing_but_one(text: str) -> None:
    """No line end, no space, no second address, no name."""
    found = mail_address(text)
    if found is not None:
        assert found.count("@") == 1 and found.isascii() and found.isprintable() and not set(found) & set(' ,;<>"()\\')


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "255.255.255.255"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    """Also in the coats of IPv6."""
    assert is_private(address)


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_in_a_coat_is_judged_as_itself(number: int) -> None:
    """Mapped and translated."""
    plain = ipaddress.IPv4Address(number)
    assert (
        is_private(f"::ffff:{plain}")
        == is_private(str(plain))
        == is_private(str(ipaddress.IPv6Address((0x64FF9B << 96) + number)))
    )


def test_a_listed_or_written_private_receiver_is_meant() -> None:
    """By name in `notify.private_hosts`, or as an address in the URL itself."""
    listed = checked_url("https://hooks.corp/x", "x", ("hooks.corp",))
    written = checked_url("http://10.0.0.5:8080/x", "x")
    public = checked_url("https://hooks.slack.com/x", "x")
    assert [is_allowed(url, "10.0.0.5") for url in (listed, written, public)] == [True, True, False]
    assert is_allowed(public, "93.184.216.34")
