"""The helper's pure parts: frames, kept output, the shell's exports, the system-call filter."""

from __future__ import annotations

import ast
import platform
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooda.sandbox.guest.frames import MAX_FRAME_BYTES, Decoder, FrameError, GuestError, encode, failure, reply
from ooda.sandbox.guest.output import Keeper, clean
from ooda.sandbox.guest.seccomp import _AARCH64, _COMMON_ABSENT, _COMMON_DENIED, _MACHINES, _X86_64, build_filter
from ooda.sandbox.guest.shell import ShellState, parse_exports, read_state, shell_text
from ooda.sandbox.launch import guest_folder

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=5), st.integers(1, 50))
def test_frames_come_back_however_they_are_cut(messages, width):
    """A stream of frames gives the same messages, whatever pieces it arrives in."""
    stream = b"".join(map(encode, messages))
    decoder = Decoder()
    found = [message for at in range(0, len(stream), width) for message in decoder.feed(stream[at : at + width])]
    assert found == messages


@pytest.mark.parametrize(
    "data",
    [struct.pack(">I", MAX_FRAME_BYTES + 1), struct.pack(">I", 1) + b"x", struct.pack(">I", 2) + b"[]"],
    ids=["too long", "no json", "no object"],
)
def test_what_is_no_frame_ends_the_connection(data):
    """A peer that speaks something else is not tolerated."""
    with pytest.raises(FrameError):
        Decoder().feed(data)


def test_replies_and_refusals_carry_the_request():
    """Both name the request they answer."""
    assert Decoder().feed(reply(7, {"a": 1})) == [{"v": 1, "id": 7, "ok": {"a": 1}}]
    refusal = failure(8, GuestError("missing", "not there"))
    assert Decoder().feed(refusal) == [{"v": 1, "id": 8, "error": {"code": "missing", "message": "not there"}}]


@given(st.lists(st.binary(max_size=200), max_size=20), st.integers(1, 64))
def test_kept_output_is_head_and_tail_and_the_sum_agrees(pieces, keep):
    """However it arrives: what is kept and what is dropped add up to what was written."""
    stream = b"".join(pieces)
    keeper = Keeper(keep)
    for piece in pieces:
        keeper.add(piece)
    kept = keeper.render()
    assert kept["total_bytes"] == len(stream)
    if len(stream) <= 2 * keep:
        assert kept["head"] == clean(stream.decode("utf-8", "replace"))
        assert (kept["tail"], kept["dropped_bytes"]) == ("", 0)
    else:
        assert len(stream) - 2 * keep <= kept["dropped_bytes"] <= len(stream) - 2 * keep + 6


@given(st.text())
def test_cleaning_twice_is_cleaning_once_and_leaves_no_control(text):
    """Only line breaks and tabs are left of what is not to be seen."""
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert not [char for char in cleaned if ord(char) < 32 and char not in "\n\t"]
    assert "\x7f" not in cleaned


VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["'", '"', "\\", "a\nb", "$(id)", "`x`", "export A='b'", "\\'", "'\"'\"'", "a b\t c", "=", "ü"]
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.from_regex(r"V[A-Za-z0-9_]{0,8}", fullmatch=True), VALUES, max_size=4),
    st.sampled_from(["sh", "bash"]),
)
def test_exported_variables_are_read_back_from_any_shell(variables, shell):
    """What `export -p` prints is understood, whatever the values hold."""
    said = subprocess.run([shell, "-c", "export -p"], env=variables, capture_output=True, check=True).stdout
    found = parse_exports(said.decode("utf-8", "surrogateescape"))
    assert {name: value for name, value in found.items() if name in variables} == variables


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading_of_exports(text):
    """What a command writes there on purpose gives variables or nothing, never an exception."""
    assert isinstance(parse_exports(text), dict)


def test_saved_state_is_read_once_and_only_from_a_small_regular_file(tmp_path):
    """Links, giants and half-written files change nothing."""
    before = ShellState("/workspace", {"KEEP": "1"})
    good = tmp_path / "good"
    good.write_text("/workspace/a\nexport KEEP='2'\nexport CALL='x'\nexport PWD='/y'\n")
    state = read_state(str(good), before, {"CALL": "x"})
    assert state is not None
    assert (state.cwd, state.env) == ("/workspace/a", {"KEEP": "2"})
    assert not good.exists()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "large").write_text("/x\n" + "a" * (300 << 10))
    (tmp_path / "empty").write_text("")
    (tmp_path / "odd").write_text("relative\n")
    (tmp_path / "folder").mkdir()
    for name in ("link", "large", "empty", "odd", "folder", "absent"):
        assert read_state(str(tmp_path / name), before, {}) is None


def test_the_trap_stands_on_the_first_line():
    """Line numbers in the shell's messages are the command's own."""
    assert shell_text("a\nb", None, None) == "a\nb"
    assert shell_text("a\nb", "/s", None).count("\n") == 1
    assert shell_text("long", None, "/f") == ". /f"


class Machine:
    """Runs a seccomp program as the kernel would, on one call."""

    def __init__(self, program: bytes) -> None:
        self._steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]

    def run(self, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
        """What the filter returns."""
        words = list(arguments) + [0] * (6 - len(arguments))
        data = struct.pack("=iIQ6Q", number if number < 2**31 else number - 2**32, arch, 0, *words)
        at, accumulator = 0, 0
        while True:
            code, yes, no, value = self._steps[at]
            at += 1
            if code == 0x06:
                return value
            if code == 0x20:
                accumulator = struct.unpack_from("=I", data, value)[0]
            else:
                holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
                at += yes if holds else no


ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS, NO_FAMILY = 0x50001, 0x50026, 0x50061
X86, ARM = 0xC000003E, 0xC00000B7


@pytest.mark.parametrize(
    ("machine", "arch", "number", "arguments", "expected"),
    [
        ("x86_64", X86, 0, (), ALLOW),  # read
        ("x86_64", ARM, 0, (), KILL),  # another architecture's numbers
        ("x86_64", X86, 0x40000000, (), ENOSYS),  # x32
        ("x86_64", X86, 101, (), EPERM),  # ptrace
        ("x86_64", X86, 425, (), EPERM),  # io_uring_setup
        ("x86_64", X86, 435, (), ENOSYS),  # clone3
        ("x86_64", X86, 56, (0x11,), ALLOW),  # clone: fork
        ("x86_64", X86, 56, (0x3D0F00,), ALLOW),  # clone: a thread
        ("x86_64", X86, 56, (0x10000011,), EPERM),  # clone: a user namespace
        ("x86_64", X86, 41, (1, 1, 0), ALLOW),  # unix socket
        ("x86_64", X86, 41, (2, 1, 0), ALLOW),
        ("x86_64", X86, 41, (10, 2, 0), ALLOW),
        ("x86_64", X86, 41, (16, 3, 0), ALLOW),  # netlink route
        ("x86_64", X86, 41, (16, 3, 9), NO_FAMILY),  # netlink audit
        ("x86_64", X86, 41, (40, 1, 0), NO_FAMILY),  # vsock
        ("x86_64", X86, 16, (0, 0x5412), EPERM),  # TIOCSTI
        ("x86_64", X86, 16, (0, 0x5413), ALLOW),  # TIOCGWINSZ
        ("x86_64", X86, 90, (0, 0o755), ALLOW),  # chmod
        ("x86_64", X86, 90, (0, 0o4755), EPERM),
        ("x86_64", X86, 268, (0, 0, 0o2755), EPERM),  # fchmodat
        ("x86_64", X86, 257, (0, 0, 0x41, 0o4755), EPERM),  # openat O_CREAT
        ("x86_64", X86, 257, (0, 0, 0, 0o7777), ALLOW),  # openat without O_CREAT: the mode means nothing
        ("x86_64", X86, 2, (0, 0x41, 0o644), ALLOW),
        ("x86_64", X86, 203, (), ALLOW),  # sched_setaffinity, unpinned
        ("aarch64", ARM, 117, (), EPERM),
        ("aarch64", ARM, 63, (), ALLOW),
        ("aarch64", ARM, 198, (40, 1, 0), NO_FAMILY),
        ("aarch64", ARM, 53, (0, 0, 0o6000), EPERM),
    ],
)  # fmt: skip
def test_the_filter_decides_as_its_table_says(machine, arch, number, arguments, expected):
    """Each kind of rule, on both architectures, judged by an interpreter of our own."""
    assert Machine(build_filter(machine, pin_cpus=False)).run(arch, number, arguments) == expected


def test_pinning_refuses_another_affinity():
    """Where the CPU cap is an affinity mask, a command may not change it."""
    assert Machine(build_filter("x86_64", pin_cpus=True)).run(X86, 203) == EPERM
    assert Machine(build_filter("aarch64", pin_cpus=True)).run(ARM, 122) == EPERM


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers below are those of x86_64")
def test_the_filters_numbers_are_this_kernels():
    """The table agrees with the C library's own, where its header is installed."""
    source = "#include <sys/syscall.h>\n" + "".join(f"v_{name} SYS_{name}\n" for name in _X86_64)
    try:
        said = subprocess.run(["cc", "-E", "-P", "-"], input=source, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C preprocessor here")
    pairs = [line.split() for line in said.splitlines() if line.startswith("v_")]
    assert {name[2:]: number for name, number in pairs} == {name: str(number) for name, number in _X86_64.items()}


def test_the_filters_numbers_for_aarch64_are_the_kernels():
    """aarch64 uses the kernel's generic table, whose header is the same on every machine."""
    header = Path("/usr/include/asm-generic/unistd.h")
    if not header.exists():
        pytest.skip("the kernel's headers are not installed; as root on Debian: apt-get install -y linux-libc-dev")
    defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    new = set(_COMMON_DENIED) - set(defined)  # newer than the headers: numbers since 403 are the same everywhere
    assert new <= {"open_tree_attr"}
    wanted = {**_AARCH64, **_COMMON_DENIED, **_COMMON_ABSENT}
    assert {name: int(defined[name]) for name in wanted if name not in new} == {
        name: number for name, number in wanted.items() if name not in new
    }
    # Those the table names by number alone: clone, socket, ioctl, sched_setaffinity, and the calls with a mode.
    by_number = {int(number): name for name, number in defined.items()}
    _, _, clone, socket_, ioctl, affinity, modes, opens = _MACHINES["aarch64"]
    assert [by_number[number] for number in (clone, socket_, ioctl, affinity)] == [
        "clone", "socket", "ioctl", "sched_setaffinity"
    ]  # fmt: skip
    known = {number: by_number.get(number) for number in (*modes, *opens)}
    assert known == {52: "fchmod", 53: "fchmodat", 452: by_number.get(452), 33: "mknodat", 56: "openat"}
    assert by_number.get(452, "fchmodat2") == "fchmodat2"


async def test_an_unknown_operation_is_a_typed_refusal(backend, opener):
    """The helper names what it knows; the sandbox goes on."""
    from ooda.errors import SandboxError, ToolArgumentsError

    async with opener(backend) as opened:
        client = opened.sandbox._client
        with pytest.raises(SandboxError, match=r"'reboot' is not an operation; known are hello, exec") as caught:
            await client.request("reboot", {}, deadline_s=5)
        assert caught.value.code == "unknown_op"
        with pytest.raises(ToolArgumentsError, match="malformed"):
            await client.request("read", {"path": 7}, deadline_s=5)
        with pytest.raises(ToolArgumentsError, match="malformed"):
            await client.request("exec", {}, deadline_s=5)
        with pytest.raises(ToolArgumentsError, match="malformed"):
            await client.request("write", {"path": "x", "data": "eA==!"}, deadline_s=5)
        with pytest.raises(ToolArgumentsError, match="comes first, and once"):
            await client.request("hello", {"settings": {}}, deadline_s=5)
        assert await opened.sh("echo fine") == "fine\n"


@pytest.mark.parametrize("source", sorted(Path(guest_folder()).glob("*.py")), ids=lambda path: path.name)
def test_the_helper_is_old_enough_and_stands_alone(source):
    """Its syntax is Python 3.9's, and it imports the standard library and its siblings, nothing else."""
    tree = ast.parse(source.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {name.name.split(".")[0] for name in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.module or "").split(".")[0] in sys.stdlib_module_names
        assert not isinstance(node, ast.Match)
