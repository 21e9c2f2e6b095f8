"""Signals that land where it hurts: at the n-th thing that happens to the files of a home, by the kernel's inotify.

A random delay after the start of a beat falls almost always into its imports. Here a process is shot at an event: a lock
opened, a temporary file renamed, a directory made. A few random microseconds more put the shot between two events.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import struct
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from home import PATIENCE_SECONDS, Home, kill, lock_holder

_LIBC = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("iIII")
ALL_EVENTS = 0xFFF
MOVED_TO = 0x80
CREATED_DIRECTORY = 0x40000100
JITTER_SECONDS = 0.002


class Ambush:
    """Sees everything that happens to the files in `state/`, `state/history` and the attempts' directories."""

    def __init__(self, home: Home) -> None:
        self._fd = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths: dict[int, Path] = {}
        state = home.path / "state"
        for path in (state, state / "history", *home.attempts()):
            self._add(path)
        self._add(state / "attempts")

    def __enter__(self) -> Ambush:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def wait_for(self, count: int, pid: int, name: str = "") -> bool:
        """Until `count` events have been seen, or so many renames to `name`; False when `pid` ended before."""
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            while count > 0:
                ready = select.select([self._fd, pidfd], [], [], PATIENCE_SECONDS)[0]
                assert ready, f"{pid} does nothing and does not end"
                if pidfd in ready:
                    return False
                count -= self._read(name)
        finally:
            os.close(pidfd)
        return True

    def _read(self, wanted: str) -> int:
        data, at, count = b"", 0, 0
        with suppress(BlockingIOError):
            data = os.read(self._fd, 4096)  # a few at a time: the one that counts shall not hide behind others
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0").decode()
            at += _HEADER.size + length
            count += not wanted or (mask, name) == (MOVED_TO, wanted)
            if mask == CREATED_DIRECTORY:
                self._add(self._paths[watch] / name)
        return count

    def _add(self, path: Path) -> None:
        watch = _LIBC.inotify_add_watch(self._fd, os.fsencode(path), ALL_EVENTS)
        if watch >= 0:
            self._paths[watch] = path


def wait_a_moment(chance: random.Random) -> None:
    """Some microseconds, or none."""
    until = time.monotonic() + chance.choice((0, 0, JITTER_SECONDS)) * chance.random()
    while time.monotonic() < until:
        pass


def shoot(home: Home, pid: int, number: signal.Signals) -> bool:
    return kill(pid, number, str(home.root))


def where(home: Home) -> str:
    """How far the promise and the attempt have come, by what is on disk."""
    state = home.state()
    pending, live = state.get("pending"), state.get("attempts")
    if not live:
        return "nothing promised"
    path = home.path / "state" / "attempts" / (pending["key"] if pending else Path(_newest(home)).name)
    steps = (
        ("result written", (path / "result.json").exists()),
        ("agent started", (path / "started").exists()),
        ("supervisor holds the lock", lock_holder(path / "sup.lock") is not None),
        ("order written", (path / "order.json").exists()),
        ("directory made", path.exists()),
        ("nothing done", True),
    )
    how_far = next(name for name, reached in steps if reached)
    return f"{pending['effect']} promised, {how_far}" if pending else f"proved, {how_far}"


def assert_promised(home: Home) -> None:
    """SPEC 15.4: nothing was begun that the state does not know of."""
    state = home.state()
    numbers = [int(path.name.partition(".")[2]) for path in home.attempts()]
    assert [number for number in numbers if number >= state.get("nextAttempt", 1)] == [], home.story()


def _newest(home: Home) -> Path:
    return home.attempts()[-1] if home.attempts() else Path("none")


def assert_truth(home: Home, tasks: list[str]) -> None:
    """SPEC 15 by the agents' own words: no number began twice, no two lived at once, no success was ignored, all ended."""
    truth, state = home.truth(), home.state()
    begun = Counter(line[2] for line in truth if line[0] == "begin")
    assert [key for key, count in begun.items() if count > 1] == [], home.story()
    assert [line for line in truth if line[0] == "double"] == [], home.story()
    assert sorted(state["completed"]) == sorted(tasks), home.story()
    assert (state["queue"], state["attempts"], state["pending"]) == ([], [], None), home.story()
    good = {path.name.partition(".")[0]: path.name for path in home.attempts() if _succeeded(home, path)}
    last = {path.name.partition(".")[0]: path.name for path in home.attempts()}
    assert good == last, home.story()
    assert [line["seq"] for line in home.journal()] == list(range(1, state["seq"] + 1)), home.story()
    assert not home.processes(), home.processes()


def _succeeded(home: Home, path: Path) -> bool:
    return any(
        line.get("attempt") == int(path.name.partition(".")[2]) and line["what"] == "ended succeeded -> completed"
        for line in home.journal()
    )
