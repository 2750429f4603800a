"""An owner that has ended can be told from one that has not."""

import os
import re
import subprocess
import sys
import time
from datetime import datetime

from ooda.store import is_alive, process_owner
from ooda.store.owner import described


def test_this_process_is_alive_and_its_owners_are_told_apart() -> None:
    """Two runners of one process are two owners."""
    assert is_alive(process_owner("a"))
    assert process_owner("a") != process_owner("b")


def test_a_killed_process_is_known_to_be_gone() -> None:
    """Even while nobody has collected it, and even when its number is used again."""
    child = subprocess.Popen(
        [sys.executable, "-c", "from ooda.store import process_owner; print(process_owner('x'), flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    owner = child.stdout.readline().strip()
    was_alive = is_alive(owner)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie

    assert was_alive
    assert not is_alive(owner)
    child.communicate()
    assert not is_alive(owner)
    reused = owner.split("/")
    reused[2] = str(os.getpid())
    assert not is_alive("/".join(reused))


def test_an_owner_elsewhere_counts_as_alive() -> None:
    """Of another machine, another boot or another container nothing can be said from here."""
    host, place, pid, start, token = process_owner("a").split("/")

    assert is_alive(f"elsewhere/{place}/1/0/{token}")
    assert is_alive(f"{host}/other/{pid}/{start}0/{token}")
    assert is_alive("some words")


def test_an_owner_is_described_by_process_machine_and_start() -> None:
    """The start only where it can be known: on this machine, since it was switched on."""
    child = subprocess.Popen(
        [sys.executable, "-c", "from ooda.store import process_owner; print(process_owner('x'), flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    owner = child.stdout.readline().strip()
    told = re.fullmatch(rf"process {child.pid} on {os.uname().nodename}, there since (\S+)", described(owner))
    child.communicate("")
    place = owner.split("/")[1]

    assert told, described(owner)
    assert abs(datetime.fromisoformat(told[1]).timestamp() - time.time()) < 60
    assert described(owner.replace(place, "another-boot")) == f"process {child.pid} on {os.uname().nodename}"
    assert described("some words") == "some words"
