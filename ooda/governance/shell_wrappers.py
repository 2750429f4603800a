"""Programs that run another program given in their words, as a table: `sudo`, `env`, `xargs`, `uv run` …

Knows which of their options take a value and how many words are their own. Must not know how commands are read
(`shell_commands`) or judged (`rules`).
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["RUNNERS", "WRAPPERS", "Wrapper"]


class Wrapper(msgspec.Struct, frozen=True):
    """A program that runs another one given in its words."""

    values: frozenset[str] = frozenset()
    """Options that take the next word as their value."""
    operands: int = 0
    """Words of its own before the other program (a duration, a lock file, a host)."""
    assigns: bool = False
    """`NAME=value` words may stand before the other program."""


def _wrapper(values: str = "", operands: int = 0, *, assigns: bool = False) -> Wrapper:
    return Wrapper(frozenset(values.split()), operands, assigns)


WRAPPERS: Final[dict[str, Wrapper]] = {
    "sudo": _wrapper("-u --user -g --group -h --host -p --prompt -C -r -t -T -U -D --chdir -R --chroot", assigns=True),
    "doas": _wrapper("-u -C"),
    "env": _wrapper("-u --unset -C --chdir", assigns=True),
    "nice": _wrapper("-n --adjustment"),
    "ionice": _wrapper("-c --class -n --classdata -p -P -u"),
    "chrt": _wrapper("-T -P -D", 1),
    "taskset": _wrapper("", 1),
    "nohup": _wrapper(),
    "noglob": _wrapper(),
    "nocorrect": _wrapper(),
    "pkexec": _wrapper("--user"),
    "systemd-run": _wrapper("-p --property -u --unit --slice -E --setenv --uid --gid"),
    "systemd-inhibit": _wrapper("--what --who --why --mode"),
    "xvfb-run": _wrapper("-n -s --server-args -f -e"),
    "firejail": _wrapper(),
    "entr": _wrapper(),
    "setsid": _wrapper(),
    "stdbuf": _wrapper("-i -o -e --input --output --error"),
    "timeout": _wrapper("-k --kill-after -s --signal", 1),
    "gtimeout": _wrapper("-k --kill-after -s --signal", 1),
    "time": _wrapper("-f --format -o --output"),
    "watch": _wrapper("-n --interval"),
    "strace": _wrapper("-e -o -p -s -u -E -a -b -I -O -P -S -U -X"),
    "ltrace": _wrapper("-e -o -p -s -u"),
    "command": _wrapper(),
    "builtin": _wrapper(),
    "exec": _wrapper("-a"),
    "busybox": _wrapper(),
    "toybox": _wrapper(),
    "chronic": _wrapper(),
    "ifne": _wrapper(),
    "unbuffer": _wrapper(),
    "flock": _wrapper("-w --wait --timeout -E", 1),
    "unshare": _wrapper(),
    "nsenter": _wrapper("-t --target"),
    "setpriv": _wrapper("--reuid --regid --groups"),
    "runuser": _wrapper("-u --user -g --group"),
    "proot": _wrapper("-r -b -w"),
    "fakeroot": _wrapper("-l -s -i -b"),
    "xargs": _wrapper(
        "-a --arg-file -d --delimiter -E -I --replace -L --max-lines -n --max-args -P --max-procs -s --max-chars"
    ),
    "parallel": _wrapper("-j --jobs -a -n -N -L -I --colsep --delay --timeout"),
    "faketime": _wrapper("", 1),
    "setarch": _wrapper("", 1),
    "choom": _wrapper("-n --adjust -p"),
    "cgexec": _wrapper("-g"),
    "numactl": _wrapper("-N -m -C -i -p --cpunodebind --membind --physcpubind"),
} | dict.fromkeys(
    (
        "caffeinate",
        "catchsegv",
        "daemonize",
        "dbus-run-session",
        "eatmydata",
        "linux32",
        "linux64",
        "prlimit",
        "proxychains",
        "proxychains4",
        "torify",
        "torsocks",
        "valgrind",
    ),
    _wrapper(),
)
RUNNERS: Final = {
    "uv": "run",
    "poetry": "run",
    "pipenv": "run",
    "pdm": "run",
    "hatch": "run",
    "rye": "run",
    "conda": "run",
    "mamba": "run",
    "micromamba": "run",
    "dotenv": "run",
    "doppler": "run",
    "op": "run",
    "bundle": "exec",
    "mise": "exec",
    "asdf": "exec",
    "aws-vault": "exec",
    "direnv": "exec",
}
"""Programs that run another one behind their own word: `uv run pytest`."""
