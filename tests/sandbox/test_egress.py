"""The way out: what the proxy lets through, what it refuses, and that there is no other way."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from ooda.errors import ConfigError
from ooda.sandbox import Network
from ooda.sandbox.authority import make_authority
from ooda.sandbox.egress import EgressProxy, _RefusedError, resolve
from ooda.sandbox.egress_rules import AllowList
from ooda.sandbox.protocol import Credential
from ooda.sandbox.substitution import Masker, check_credentials
from ooda.sandbox.tls_greeting import server_name


class Web:
    """A web server on loopback that remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            body = await reader.readexactly(length)
            self.requests.append(head + body)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def web(context: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    """A running web server."""
    served = Web()
    server = await asyncio.start_server(served.answer, "127.0.0.1", 0, ssl=context)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def proxy(tmp_path, hosts, names=None, tls_ports=(443,)):
    """A running proxy whose resolver knows `names`; gives (how to talk to it, its audit)."""
    decisions = []

    async def resolver(host, port):
        del port
        return (names or {}).get(host, [host])

    running = EgressProxy(
        AllowList(hosts),
        audit=lambda what, facts: decisions.append((what, facts["host"], facts["port"], facts["decision"])),
        facts={"run": "r"},
        resolver=resolver,
        tls_ports=tls_ports,
    )
    # A folder deeper than a socket's address may be long.
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    await running.start(folder / "egress.sock")
    fd = os.open(folder, os.O_PATH)

    async def ask(data: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{fd}/egress.sock")
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()
            await writer.wait_closed()

    try:
        yield ask, decisions
    finally:
        os.close(fd)
        await running.close()
        await running.close()


@asynccontextmanager
async def _site(tmp_path, context=None):
    """A web server under the name site.example, listed, and the proxy to it."""
    async with web(context) as served:
        hosts = (f"site.example:{served.port}", f"127.0.0.1:{served.port}")
        async with proxy(tmp_path, hosts, {"site.example": ["127.0.0.1"]}, (served.port,)) as (ask, decisions):
            yield served, ask, decisions


async def test_a_listed_host_is_fetched(tmp_path):
    """A plain request goes on in origin form, without what belongs to the proxy, and the answer comes back."""
    async with _site(tmp_path) as (served, ask, decisions):
        request = (
            f"POST http://site.example:{served.port}/a/b?c=d HTTP/1.1\r\nHost: other\r\nConnection: X-Drop\r\n"
            "Proxy-Authorization: Basic x\r\nX-Drop: 1\r\nX-Keep: 2\r\nContent-Length: 4\r\n\r\nbody"
        )
        answer = await ask(request.encode())
    assert answer.endswith(b"hello")
    head, body = served.requests[0].split(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /a/b?c=d HTTP/1.1"
    assert {line.lower() for line in lines[1:]} == {
        f"host: site.example:{served.port}".encode(), b"x-keep: 2", b"content-length: 4", b"connection: close",
    }  # fmt: skip
    assert body == b"body"
    assert decisions == [("sandbox.egress", "site.example", served.port, "allowed")]


async def test_a_tunnel_to_a_listed_host_opens(tmp_path):
    """CONNECT carries any protocol to the very address that was judged."""
    async with web() as served, proxy(tmp_path, (f"127.0.0.1:{served.port}",)) as (ask, decisions):
        answer = await ask(
            f"CONNECT 127.0.0.1:{served.port} HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n".encode()
        )
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"hello")
    assert [decision[-1] for decision in decisions] == ["allowed"]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET http://evil.example/ HTTP/1.1", 403),
        ("CONNECT evil.example:443 HTTP/1.1", 403),
        ("CONNECT pypi.example:22 HTTP/1.1", 403),
        ("CONNECT pypi.example:443 HTTP/1.1", 403),
        ("GET http://pypi.example/ HTTP/1.1", 403),
        ("GET http://meta.example/latest/ HTTP/1.1", 403),
        ("GET http://169.254.169.254/latest/meta-data/ HTTP/1.1", 403),
        ("CONNECT 127.0.0.1:22 HTTP/1.1", 403),
        ("CONNECT [::1]:443 HTTP/1.1", 403),
        ("CONNECT localhost:443 HTTP/1.1", 403),
        ("GET https://pypi.example/ HTTP/1.1", 400),
        ("GET /relative HTTP/1.1", 400),
        ("CONNECT pypi.example HTTP/1.1", 400),
        ("CONNECT pypi.example:99999 HTTP/1.1", 400),
        ("GET ftp://pypi.example/ HTTP/1.1", 400),
    ],
)
async def test_everything_else_is_refused_in_words(tmp_path, request_line, status):
    """Unlisted hosts and ports, names that lead to internal addresses, and requests that make no sense."""
    names = {"pypi.example": ["10.0.0.7"], "meta.example": ["169.254.169.254", "::ffff:127.0.0.1"]}
    async with proxy(tmp_path, ("pypi.example", "meta.example"), names) as (ask, decisions):
        answer = await ask(f"{request_line}\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status}".encode())
    assert b"refused by the sandbox's egress proxy" in answer
    assert [decision[-1] for decision in decisions] == ([] if status == 400 else ["refused"])


async def test_a_name_with_one_internal_address_leads_to_the_other(tmp_path):
    """Of several addresses only those that may be reached are used."""
    async with web() as served:
        names = {"two.example": ["10.0.0.1", "127.0.0.1"]}
        hosts = (f"two.example:{served.port}", f"127.0.0.1:{served.port}")
        async with proxy(tmp_path, hosts, names) as (ask, _):
            assert (await ask(f"GET http://two.example:{served.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())).endswith(
                b"hello"
            )


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0", "localhost."])
async def test_a_spelling_of_loopback_is_loopback(tmp_path, spelling):
    """Listed under another spelling, by mistake or by a trick, an internal address is still one: its own has to be."""
    async with web() as served:
        running = EgressProxy(
            AllowList((f"pypi.example:{served.port}",)),
            audit=lambda *_: None,
            facts={"run": "r"},
            resolver=resolve,
        )
        with pytest.raises(_RefusedError):
            await running._judge(spelling, served.port)
        running._allow.names_host = lambda host, port: True  # as if a list had named it
        with pytest.raises(_RefusedError, match=r"internal address|cannot be resolved"):
            await running._judge(spelling, served.port)
    assert served.requests == []


async def test_a_name_that_changes_its_address_gains_nothing(tmp_path):
    """DNS rebinding: what was judged is what is connected to, and every connection is judged anew."""
    async with web() as served, web() as internal:
        answers = [["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"]]
        asked = []

        async def changing(host, port):
            asked.append(host)
            return answers[len(asked) - 1]

        running = EgressProxy(
            AllowList((f"site.example:{served.port}", f"127.0.0.1:{served.port}")),
            audit=lambda *_: None,
            facts={"run": "r"},
            resolver=changing,
        )
        assert str(await running._judge("site.example", served.port)) == "127.0.0.1"
        for _ in range(2):
            with pytest.raises(_RefusedError, match="internal address"):
                await running._judge("site.example", served.port)
    assert len(asked) == 3
    assert internal.requests == []


async def test_a_redirect_is_handed_on_and_not_followed(tmp_path):
    """Where it leads is a request of its own, judged like any other."""

    async def elsewhere(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hosts = (f"site.example:{port}", f"127.0.0.1:{port}")
    async with proxy(tmp_path, hosts, {"site.example": ["127.0.0.1"]}) as (ask, decisions):
        answer = await ask(f"GET http://site.example:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        followed = await ask(b"GET http://169.254.169.254/latest/ HTTP/1.1\r\nHost: x\r\n\r\n")
    server.close()
    await server.wait_closed()
    assert answer.startswith(b"HTTP/1.1 302")
    assert followed.startswith(b"HTTP/1.1 403")
    assert [decision[-1] for decision in decisions] == ["allowed", "refused"]


def _greeting(authority: trustme.CA, name: str) -> bytes:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_the_name_in_a_greeting_is_read_however_it_is_cut():
    """Too few bytes are waited for; what is no greeting is known at its first byte."""
    hello = _greeting(trustme.CA(), "good.example")
    assert server_name(hello) == ("good.example", True)
    assert {server_name(hello[:cut]) for cut in range(len(hello))} == {(None, False)}
    assert server_name(b"GET / HTTP/1.1") == (None, True)
    assert server_name(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00") == (None, True)


@pytest.mark.parametrize(
    ("greeted", "expected"),
    [("site.example", ["allowed"]), ("evil.example", ["allowed", "refused"]), (None, ["allowed", "refused"])],
)
async def test_over_tls_the_greeting_must_name_the_host(tmp_path, greeted, expected):
    """A tunnel to one host cannot be used to greet another behind the same address, or to speak no TLS."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("site.example").configure_cert(context)
    async with _site(tmp_path, context) as (served, ask, decisions):
        first = b"SSH-2.0-x\r\n" if greeted is None else _greeting(authority, greeted)
        answer = await ask(f"CONNECT site.example:{served.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + first)
    assert answer.startswith(b"HTTP/1.1 200")
    assert (b"\x16\x03" in answer) is (expected == ["allowed"])
    assert [decision[-1] for decision in decisions] == expected


# -- credentials -------------------------------------------------------------------------------------------


@pytest.fixture
async def echo(tmp_path):
    """A TLS server under the name api.example that answers with what it was sent, and a proxy that holds a
    credential for it; gives (how to fetch through the proxy, its decisions)."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("api.example").configure_cert(context)
    outer_tls = ssl.create_default_context()
    authority.configure_trust(outer_tls)

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        pieces = [
            b"HTTP/1.1 200 OK\r\nX-Echo: sk-true-secret\r\nContent-Length: %d\r\n\r\n" % len(head),
            head[:40],
            head[40:],
        ]
        for piece in pieces:
            for at in range(0, len(piece), 7):
                writer.write(piece[at : at + 7])
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    inner_tls, bundle = await make_authority(tmp_path, ("api.example",))
    decisions = []

    async def resolver(host, port):
        del port
        return {"api.example": ["127.0.0.1"]}[host]

    running = EgressProxy(
        AllowList((f"api.example:{port}", f"127.0.0.1:{port}")),
        audit=lambda what, facts: decisions.append(str(facts)),
        facts={},
        resolver=resolver,
        tls_ports=(port,),
        credentials=(Credential(f"api.example:{port}", "PLACEHOLDER-1", lambda: "sk-true-secret"),),
        inner_tls=inner_tls,
        outer_tls=outer_tls,
    )
    await running.start(tmp_path / "e.sock")

    async def fetch(headers: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "e.sock"))
        writer.write(f"CONNECT api.example:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await writer.start_tls(ssl.create_default_context(cafile=bundle), server_hostname="api.example")
        writer.write(f"GET /path HTTP/1.1\r\nHost: api.example\r\n{headers}\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer

    async with server:
        yield fetch, decisions
        await running.close()


async def test_a_placeholder_becomes_the_secret_on_the_way_out_only(echo):
    """The host gets the secret; nothing that comes back, is audited or stands in a value shows it."""
    fetch, decisions = echo
    basic = base64.b64encode(b"user:PLACEHOLDER-1").decode()
    answer = await fetch(
        f"Authorization: Bearer PLACEHOLDER-1\r\nX-Other: a\r\nX-Basic: Basic {basic}\r\nAccept-Encoding: gzip\r\n"
    )
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"sk-true-secret" not in answer
    assert b"X-Echo: PLACEHOLDER-1" in head or b"x-echo: PLACEHOLDER-1" in head
    assert b"authorization: Bearer PLACEHOLDER-1" in body.replace(b"Authorization", b"authorization")
    assert base64.b64encode(b"user:sk-true-secret") in body
    assert b"gzip" not in body
    assert "sk-true-secret" not in "".join(decisions)


@given(
    st.lists(st.sampled_from([b"sk-secret", b"sk-", b"secret", b"s", b"other", b"\0"]), max_size=12),
    st.integers(1, 12),
)
def test_no_secret_comes_back_however_it_is_cut(pieces, width):
    """A secret is masked wherever a stream is cut, and nothing else changes."""
    stream = b"".join(pieces)
    masker = Masker([(b"PLACEHOLDER", b"sk-secret")])
    cuts = [stream[at : at + width] for at in range(0, len(stream), width)]
    masked = b"".join(masker.mask(cut) for cut in cuts) + masker.mask(b"", last=True)
    assert masked == stream.replace(b"sk-secret", b"PLACEHOLDER")


@pytest.mark.parametrize(
    "credentials",
    [
        (Credential("a.example", "short", str),),
        (Credential("a.example", "PLACEHOLDER", str), Credential("b.example", "PLACEHOLDER-2", str)),
        (Credential("a.example", "PLACEHOLDER\n", str),),
    ],
)
def test_a_placeholder_that_could_be_met_by_accident_is_refused(credentials):
    """Short ones, odd ones and ones that contain each other."""
    with pytest.raises(ConfigError, match="placeholder"):
        check_credentials(credentials)


# -- from inside -------------------------------------------------------------------------------------------

FETCH = """import os, sys, urllib.request
for name in list(os.environ):
    if "proxy" in name.lower() and "--naked" in sys.argv: del os.environ[name]
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
except Exception as error:
    print("failed:", error)
"""


async def test_a_sandbox_reaches_what_is_listed_and_nothing_else(backend, opener):
    """The variables lead programs to the proxy; without them there is no route at all."""
    decisions = []
    async with web() as served:
        audit = lambda what, facts: decisions.append((what, facts))  # noqa: E731
        network = Network((f"127.0.0.1:{served.port}",))
        async with opener(backend, network=network, audit=audit) as opened:
            await opened.sandbox.write("fetch.py", FETCH.encode())
            # Loopback inside is the sandbox's own, so the host's server is asked for through the proxy only.
            through = f"no_proxy= python3 fetch.py http://127.0.0.1:{served.port}/"
            assert await opened.sh(through) == "hello\n"
            assert "403" in await opened.sh("python3 fetch.py http://example.com/")
            assert "failed" in await opened.sh(f"python3 fetch.py http://127.0.0.1:{served.port}/ --naked")
            assert "failed" in await opened.sh("python3 fetch.py http://1.1.1.1/ --naked")
            assert await opened.sh("cat /proc/net/route | wc -l") == "1\n"
    assert len(served.requests) == 1
    assert [(facts["host"], facts["decision"]) for _, facts in decisions] == [
        ("127.0.0.1", "allowed"),
        ("example.com", "refused"),
    ]
    assert {facts["run"] for _, facts in decisions} == {"run-test"}


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_loopback_server_that_is_listed_needs_no_trick(backend, opener, name):
    """Programs keep their own loopback to themselves unless the host's was listed under that name."""
    async with web() as served, opener(backend, network=Network((f"{name}:{served.port}",))) as opened:
        await opened.sandbox.write("fetch.py", FETCH.encode())
        assert await opened.sh(f"python3 fetch.py http://{name}:{served.port}/") == "hello\n"
        assert name not in (await opened.sh("echo $no_proxy,$NO_PROXY")).split(",")


async def test_many_connections_at_once_pass(backend, opener):
    """The forwarder serves side by side, and large bodies come whole."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    script = f"""import urllib.request, concurrent.futures
def fetch(_): return len(urllib.request.urlopen("http://127.0.0.1:{port}/", timeout=20).read())
with concurrent.futures.ThreadPoolExecutor(12) as pool: print(set(pool.map(fetch, range(24))))
"""
    async with server, opener(backend, network=Network((f"127.0.0.1:{port}",))) as opened:
        await opened.sandbox.write("many.py", script.encode())
        assert await opened.sh("no_proxy= NO_PROXY= python3 many.py") == "{3000000}\n"


async def test_a_sandbox_with_a_credential_trusts_its_proxy_and_sees_no_key(backend, opener):
    """Programs find the certificates by their variables; the authority's key and the secret are not inside."""
    network = Network(credentials=(Credential("api.example", "PLACEHOLDER-1", lambda: "sk-true-secret"),))
    async with opener(backend, network=network) as opened:
        check = "import os, ssl; ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE']); print(True)"
        assert await opened.sh(f'python3 -c "{check}"') == "True\n"
        assert await opened.sh("grep -c 'BEGIN CERTIFICATE' $NODE_EXTRA_CA_CERTS") != "0\n"
        shown = await opened.sh("ls -a /.ooda; env; cat /.ooda/ca-bundle.pem")
    assert "PRIVATE KEY" not in shown
    assert "sk-true-secret" not in shown
    assert "ca.key" not in shown
