"""Commands that look for a way to the host: its files, secrets, network, kernel; and `rm -rf /` in disguise."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from ooda.sandbox.launch import guest_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYSCALLS = """import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    return "refused" if result < 0 else "ALLOWED"
page = ctypes.create_string_buffer(4096)
print({
    "ptrace": call(101, 16, os.getppid(), 0, 0),
    "process_vm_readv": call(310, os.getppid(), page, 1, page, 1, 0),
    "io_uring_setup": call(425, 8, page),
    "keyctl": call(250, 0, -3, 1),
    "add_key": call(248, b"user", b"x", b"y", 1, -3),
    "bpf": call(321, 0, page, 48),
    "perf_event_open": call(298, page, 0, -1, -1, 0),
    "userfaultfd": call(323, 0),
    "unshare-user": call(272, 0x10000000),
    "unshare-mount": call(272, 0x20000),
    "setns": call(308, os.open("/proc/self/ns/user", 0), 0),
    "clone-user": call(56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": call(435, page, 88),
    "mount": call(165, b"none", b"/tmp", b"tmpfs", 0, None),
    "umount": call(166, b"/proc", 2),
    "pivot_root": call(155, b"/tmp", b"/tmp"),
    "chroot": call(161, b"/tmp"),
    "open_by_handle_at": call(304, -100, page, 0),
    "init_module": call(175, page, 10, b""),
    "kexec_load": call(246, 0, 0, 0, 0),
    "reboot": call(169, 0xFEE1DEAD, 672274793, 0, 0),
    "settimeofday": call(164, page, None),
    "sethostname": call(170, b"evil", 4),
    "swapon": call(167, b"/x", 0),
    "iopl": call(172, 3),
    "syslog": call(103, 3, page, 100),
    "setuid": call(105, 0),
    "setgid": call(106, 0),
    "setgroups": call(116, 1, page),
    "capset": call(126, b"\\x22\\x05\\x08\\x20" + bytes(4), b"\\xff" * 24),
    "mknod": call(133, b"node", 0o20666, 0x103),
    "memory-of-1": "refused" if not os.access("/proc/1/mem", os.W_OK) else "ALLOWED",
})
"""

SOCKETS = """import socket
outcomes = {}
for name, family, kind, proto in (
    ("packet", 17, socket.SOCK_RAW, 3), ("raw", 2, socket.SOCK_RAW, 1), ("raw6", 10, socket.SOCK_RAW, 58),
    ("vsock", 40, socket.SOCK_STREAM, 0), ("alg", 38, socket.SOCK_SEQPACKET, 0), ("audit", 16, socket.SOCK_RAW, 9),
    ("bluetooth", 31, socket.SOCK_RAW, 1), ("can", 29, socket.SOCK_RAW, 1), ("rds", 21, socket.SOCK_SEQPACKET, 0),
    ("tipc", 30, socket.SOCK_STREAM, 0), ("xdp", 44, socket.SOCK_RAW, 0), ("key", 15, socket.SOCK_RAW, 2),
):
    try:
        socket.socket(family, kind, proto)
        outcomes[name] = "ALLOWED"
    except OSError:
        outcomes[name] = "refused"
for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6), ("unix", socket.AF_UNIX)):
    socket.socket(family).close()
print(outcomes)
"""


@pytest.mark.parametrize("script", [SYSCALLS, SOCKETS], ids=["system-calls", "sockets"])
async def test_the_kernels_dangerous_doors_are_shut(box, script):
    """What kernel exploits and escapes are made of is refused; ordinary sockets are not."""
    await box.sandbox.write("doors.py", script.encode())
    outcomes = eval(await box.sh("python3 doors.py"))
    assert {name for name, outcome in outcomes.items() if outcome != "refused"} == set()


async def test_privileges_are_none(box):
    """No capability of any kind can be used, nothing can be gained, and the filter stands."""
    status = dict(line.split(":", 1) for line in (await box.sh("cat /proc/self/status")).splitlines())
    facts = {name: status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp")}
    none = "0" * 16
    assert facts == {"CapInh": none, "CapPrm": none, "CapEff": none, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2"}
    assert status["Uid"].split() == status["Gid"].split() == ["1000"] * 4
    assert await box.sh("id -G") == "1000\n"


REFUSED = [
    "echo x > /etc/passwd",
    "echo x > /usr/bin/env",
    "echo x > /.ooda/guest/main.py",
    "echo x > /proc/sys/kernel/core_pattern",
    "echo x > /proc/sys/kernel/hostname",
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "echo b > /proc/sysrq-trigger",
    "echo x > /sys/kernel/uevent_helper",
    "echo x > /sys/fs/cgroup/release_agent",
    "echo 1 > /sys/fs/cgroup/cgroup.procs",
    "mkdir /sys/fs/cgroup/memory/x",
    "cat /proc/kcore | head -c 1 | grep -q .",
    "cat /proc/kmsg",
    "cat /dev/mem",
    "cat /dev/sda /dev/vda /dev/nvme0n1",
    "cat /etc/shadow",
    "ls /root/.ssh",
    "ls /proc/1/root/etc",
    "cat /proc/1/environ",
    "su root -c id",
    "sudo -n id",
    "mount -t tmpfs none /mnt",
    "umount /workspace",
    "unshare -r id",
    "unshare -m true",
    "nsenter -t 1 -m id",
    "chroot /tmp /bin/true",
    "modprobe dummy",
    "hostname evil",
    "date -s 2001-01-01",
    "ip link add dummy0 type dummy",
    "ip link set lo down",
    "renice -n -5 -p $$",
    "chrt -f 1 true",
    "ulimit -n 100000",
    "ulimit -c unlimited",
    "chown root:root owned",
    "chown 0 /workspace",
    "setpriv --reuid 0 id",
    "mknod /tmp/disk b 254 0",
    "mknod /tmp/null c 1 3",
    "ls /var/run/docker.sock /run/docker.sock",
    "ls /run/containerd /run/user",
    "test -w /usr -o -w /etc -o -w /lib -o -w /bin",
    "touch /workspace/../outside",
    "printf '0 0 1' > /proc/self/uid_map",
    "python3 -c 'import fcntl; fcntl.ioctl(0, 0x5412, b\"x\")'",
    "ping -c 1 -W 1 8.8.8.8",
    "getent hosts example.com",
    "curl -s -m 2 http://169.254.169.254/latest/meta-data/",
    "curl -s -m 2 http://1.1.1.1/",
    "python3 -c 'import socket; socket.create_connection((\"1.1.1.1\", 53), 2)'",
    "python3 -c 'import socket; socket.create_connection((\"10.255.255.53\", 53), 2)'",
    'python3 -c \'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("8.8.8.8", 53))\'',
]


@pytest.mark.parametrize("command", REFUSED)
async def test_what_must_not_work_does_not(box, command):
    """Each of these fails, within seconds, and the sandbox stands."""
    result = await box.sandbox.exec(f"touch owned; {command}", timeout_s=10, persist=False)
    assert result.exit_code not in (0, None), result


async def test_nothing_of_the_hosts_secrets_is_in_sight(box, monkeypatch):
    """Home folders, keys, temporary files, environment and processes of the host are not there."""
    monkeypatch.setenv("OODA_TEST_SECRET", "sesame-4711")
    marker = Path("/tmp/ooda-host-marker")
    marker.write_text("host")
    try:
        shown = await box.sh(
            "ls /tmp /home /root /var /opt /srv /mnt /media /run 2>/dev/null; env; "
            "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; ls /proc | grep -c '^[0-9]'"
        )
    finally:
        marker.unlink()
    assert "sesame-4711" not in shown
    assert "ooda-host-marker" not in shown
    assert int(shown.split()[-1]) < 12
    assert await box.sh("hostname; cat /etc/hostname") == "sandbox\nsandbox\n"
    assert "nameserver" not in (await box.sh("cat /etc/resolv.conf")).replace("nameserver 127.0.0.1", "")


async def test_the_hosts_sockets_are_out_of_reach(box):
    """Neither a listening port of the host nor an abstract unix socket can be connected to."""
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0ooda-abstract-test")
        abstract.listen()
        tries = f"""import socket
for family, address in ((2, ("127.0.0.1", {port.getsockname()[1]})), (1, "\\0ooda-abstract-test")):
    try:
        socket.socket(family).connect(address)
        print("CONNECTED")
    except OSError:
        print("refused")
"""
        await box.sandbox.write("tries.py", tries.encode())
        assert await box.sh("python3 tries.py") == "refused\nrefused\n"


CANARIES = tuple(map(Path, ("/", "/usr", "/usr/bin", "/etc", "/etc/passwd", "/usr/bin/env", "/usr/lib")))
DISGUISES = {
    "plain": "rm -rf --no-preserve-root /",
    "glob": "cd / && rm -rf *",
    "find": "find / -xdev -delete",
    "find-exec": "find / -mindepth 1 -maxdepth 1 -exec rm -rf {} +",
    "python": "python3 -c 'import shutil; shutil.rmtree(\"/\", ignore_errors=True)'",
    "perl": 'perl -e \'use File::Path; File::Path::remove_tree("/usr", "/etc", "/workspace")\'',
    "encoded": "echo cm0gLXJmIC0tbm8tcHJlc2VydmUtcm9vdCAv | base64 -d | sh",
    "variable": 'r=rm; f=-rf; $r $f --no-preserve-root "${HOME%%/home*}/"',
    "xargs": "ls -d /* | xargs rm -rf",
    "eval": "eval \"$(printf '\\162\\155 -rf /usr /etc /lib /workspace/*')\"",
    "move": "mv /usr /tmp/usr; mv /etc /tmp; mv /workspace /tmp",
    "overwrite": "for f in /usr/bin/* /etc/*; do : > $f; done 2>/dev/null",
    "chmod": "chmod -R 000 / 2>/dev/null",
    "chown": "chown -R nobody / 2>/dev/null",
    "dd": "dd if=/dev/zero of=/dev/sda bs=1M count=1; dd if=/dev/zero of=/dev/vda count=1",
    "mkfs": "mkfs.ext4 -F /dev/vda; wipefs -a /dev/vda",
    "shred": "shred -u /usr/bin/python3 /etc/passwd",
    "tar": "tar -C / -xf /dev/null; tar --remove-files -cf /dev/null /usr/bin 2>/dev/null",
    "rsync": "mkdir -p empty; rsync -a --delete empty/ / 2>/dev/null",
    "git": "git init -q . ; git clean -xdff /; git --git-dir=/tmp/x --work-tree=/ clean -xdff",
}


@pytest.mark.parametrize("seconds", [0.2, pytest.param(60, marks=pytest.mark.soak)], ids=["begun", "finished"])
@pytest.mark.parametrize("how", DISGUISES)
async def test_deleting_everything_deletes_nothing_of_the_host(box, how, seconds):
    """However it is written, it reaches the workspace and the sandbox's own temporary files at most."""
    before = {path: path.stat().st_mtime_ns for path in CANARIES}
    await box.sandbox.exec(DISGUISES[how], timeout_s=seconds)
    assert {path: path.stat().st_mtime_ns for path in CANARIES} == before
    assert await box.sh("cd /workspace; echo still here > note; cat note") == "still here\n"
    assert (await box.sandbox.read("note", max_bytes=100)).data == b"still here\n"


async def test_the_helpers_code_is_read_only_and_not_writable_through_proc(box):
    """The helper's own source cannot be changed by any name of it."""
    source = Path(guest_folder(), "main.py")
    before = source.read_bytes()
    result = await box.sandbox.exec(
        "for f in /.ooda/guest/main.py /proc/self/root/.ooda/guest/main.py; do echo x >> $f; done; "
        "mv /.ooda /tmp; rm -rf /.ooda; ls /.ooda/guest"
    )
    assert "main.py" in result.output.head
    assert source.read_bytes() == before


async def test_planted_startup_files_run_nothing_outside(box):
    """Files that shells, Python, git and loaders read at start have no effect on the helper."""
    plant = """mkdir -p .git/hooks
for name in sitecustomize.py usercustomize.py json.py socket.py os.py; do echo 'open("/tmp/ran", "w")' > $name; done
echo 'touch /tmp/ran' > .profile; cp .profile .bashrc; cp *.py .profile .bashrc $HOME/
export PYTHONPATH=/workspace PYTHONSTARTUP=/workspace/os.py ENV=/workspace/.profile BASH_ENV=/workspace/.profile
"""
    await box.sandbox.exec(plant)
    await box.sandbox.write("x", b"1")
    await box.sandbox.search("1")
    assert await box.sh("unset PYTHONPATH PYTHONSTARTUP ENV BASH_ENV; ls /tmp/ran 2>/dev/null || echo none") == "none\n"


async def test_the_host_owner_is_not_root_behind_the_wall(backend, opener):
    """Seen from the host, no process of a command runs as root."""
    async with opener(backend) as opened:
        handle = await opened.sandbox.start("exec sleep 4711")
        for _ in range(100):
            found = [path for path in Path("/proc").glob("[0-9]*") if b"sleep\x004711" in _read(path / "cmdline")]
            if found:
                break
            await asyncio.sleep(0.02)
        owners = {path.stat().st_uid for path in found}
        await opened.sandbox.stop(handle)
    assert owners
    assert owners <= {1000, os.geteuid() or 1000}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
