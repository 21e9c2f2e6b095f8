"""End every process of an attempt, and none that is not proved to be of it (SPEC 8.3, 15.9).

Two who sweep, two proofs. The *supervisor* is the subreaper of all it started, so what still runs is its descendant.
A *reaper* comes after a dead supervisor, whose orphans went to init; it takes together every trace they carry. It
cannot find a process that has lost all of them at once: all inherited files closed, environment emptied, orphaned out
of the tree, in a session and group of its own making, and never seen by a sample. Nor a chain that forks and exits
faster than one look (about 10 ms): a held `agent.lock` may tell of such a one, but only a cgroup ends it.

A signal goes through a pidfd, after the start time behind that pidfd was verified, so it cannot hit a recycled pid.
Nothing is SIGSTOPped first: freezing a tree is a race of the same kind as killing it, it alarms parents that watch for
stopped children, and a sweep that dies half-way would leave a frozen tree for ever. Instead the kill is repeated until
two looks in a row find nothing.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from awm_loop import fault
from awm_loop.attempt import procfs
from awm_loop.attempt.procfs import Identity, Process

# Python's arguments; the first of their own is the home.
SUPERVISOR = ("-P", "-m", "awm_loop.cli.supervise")
DELIVERER = ("-P", "-m", "awm_loop.cli.delivery")
# In which a process has no command line, in the middle of its exec: 0.3 ms, and 76 where eight others want its CPU.
EXEC_SECONDS_MAX = 0.5
EXEC_POLL_SECONDS = 0.0005
STUCK_SECONDS = 30.0  # a killed process still in the kernel's uninterruptible sleep after that is not waited for


def own_descendants(home: Path, spared: Iterable[int] = ()) -> set[Identity]:
    """For a supervisor of `home`, which must be a subreaper: all below it that still runs, but `spared`, supervisors
    and deliverers of `home`, and all below those. Such a one was started by a beat that ran here, or by another
    supervisor, which may end at any moment of this look.

    Empty is a proof. Where there may be somebody who was too quick to be seen, those seen dead stand in for him.
    """
    children = procfs.own_children()
    if children is not None and children <= set(spared):
        return set()  # orphans become our children, and children leave that list when we collect them: free of races
    living, ended = _below_us(home, set(spared))
    if living:
        return living
    # Who forks and exits faster than a look is seen as dead in each, and its dead stay with us until we collect them.
    # So as long as a second look finds more dead than the first, somebody lived when it began.
    living, ended_now = _below_us(home, set(spared))
    return living or ended_now - ended


def left_behind(key: str, lock_path: Path, remembered: Iterable[Identity]) -> set[Identity]:
    """For a reaper: what still runs of the attempt `key`, whose supervisor is gone.

    `lock_path` is the `agent.lock` in its directory. Proved are the holders of that, those that bear the attempt's mark
    in their environment, those of `remembered` (from the last sample; the caller passes none of another boot) that
    still have the same start time, all descendants of these, and the sessions and groups that one of these leads.
    Never pid 1, this process or one above it, nor what hangs on those alone.
    """
    # The scan comes before the proofs: a pid recycled between the two then has the wrong start time and gets no signal.
    # The other way round a stranger on a recycled pid would inherit the proof.
    processes = procfs.scan()
    untouchable = {1, *_self_and_above(processes)}
    known = {who.pid for who in remembered if who.pid in processes and processes[who.pid].identity == who}
    ours: set[int] = set()
    grown = (known | procfs.holders(lock_path) | procfs.marked(key, lock_path.parent)) - untouchable
    while grown != ours:
        ours = grown
        led = {one.pid for one in processes.values() if one.sid in ours or one.pgid in ours}
        grown = (ours | led | procfs.descendants(processes, ours)) - untouchable
    return _living(processes, ours)


def wake(supervisor: Identity, lock_path: Path) -> None:
    """Let a supervisor go on that somebody stopped: it serves no stop request and no time limit, and looks alive.

    Proved is that very process by `lock_path`, the `sup.lock` of its attempt, which it has open.
    """
    process = procfs.read(supervisor.pid)
    if process is None or process.state != "T":
        return
    try:
        pidfd = os.pidfd_open(supervisor.pid)
    except ProcessLookupError:
        return
    try:
        process = procfs.read(supervisor.pid)
        is_it = process is not None and process.identity == supervisor
        if is_it and os.path.realpath(lock_path) in {target for _, target in procfs.open_files(supervisor.pid)}:
            signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


class Sweep:
    """Ends what `find` returns, one short step at a time: TERM, after `grace_seconds` KILL, until nothing is left.

    `signalled` are the processes it sent a signal to; `left` those it had to give up, normally none: another user's
    process, or one that was killed but hangs in the kernel (it will never run its program again).
    """

    def __init__(self, find: Callable[[], set[Identity]], grace_seconds: float) -> None:
        self._find = find
        self._grace_seconds = grace_seconds
        self._kill_at: float | None = None
        self._killed_at: dict[Identity, float] = {}
        self.signalled: set[Identity] = set()
        self.left: set[Identity] = set()

    def step(self, monotonic: float) -> bool:
        """Look and signal once, without waiting. True when two looks in a row found nothing; call again until then."""
        found = self._find() - self.left or self._find() - self.left
        if not found:
            return True
        if self._kill_at is None:
            self._kill_at = monotonic + self._grace_seconds
        if monotonic < self._kill_at:
            for identity in found - self.signalled:
                self._send(identity, signal.SIGTERM)
            return False
        for identity in sorted(found, reverse=True):  # the newest first: it is the one about to fork
            state = self._send(identity, signal.SIGKILL)
            killed_at = self._killed_at.setdefault(identity, monotonic)
            if state == "D" and monotonic >= killed_at + STUCK_SECONDS:
                self.left.add(identity)
        return False

    def _send(self, identity: Identity, number: signal.Signals) -> str:
        """Signal that very process or nobody. Returns its state letter, "" when it is gone."""
        try:
            pidfd = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return ""
        try:
            process = procfs.read(identity.pid)
            if process is None or process.identity != identity:
                return ""
            fault.point("reap.signal:before")
            signal.pidfd_send_signal(pidfd, number)
            fault.point("reap.signal:after")
            if process.state == "T":
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)  # a stopped process sees no TERM
        except ProcessLookupError:
            return ""
        except PermissionError:
            self.left.add(identity)
            return ""
        finally:
            os.close(pidfd)
        self.signalled.add(identity)
        return process.state


def _living(processes: Mapping[int, Process], pids: set[int]) -> set[Identity]:
    return {processes[pid].identity for pid in pids if pid in processes and not processes[pid].gone}


def _below_us(home: Path, spared: set[int]) -> tuple[set[Identity], set[Identity]]:
    """Those that run, and those that ended and were not collected yet."""
    processes = procfs.scan()
    below = procfs.descendants(processes, {os.getpid()})
    spared = spared | _of(home, below)
    below -= spared | procfs.descendants(processes, spared)
    living = _living(processes, below)
    return living, {processes[pid].identity for pid in below} - living


def _of(home: Path, pids: set[int]) -> set[int]:
    """The supervisors and deliverers of `home` among them."""
    found, unknown, until = set(), set(pids), time.monotonic() + EXEC_SECONDS_MAX
    the_home = os.fsencode(home).decode(errors="backslashreplace")  # as `argv` has it
    while True:
        for pid in tuple(unknown):
            words = procfs.argv(pid)
            if words[1:4] in {SUPERVISOR, DELIVERER} and words[4:5] == (the_home,):
                found.add(pid)
            process = None if words else procfs.read(pid)
            if process is None or process.state in "ZX":  # not in the middle of an exec
                unknown.remove(pid)
        if not unknown or time.monotonic() >= until:
            return found
        time.sleep(EXEC_POLL_SECONDS)


def _self_and_above(processes: Mapping[int, Process]) -> set[int]:
    above: set[int] = set()
    pid = os.getpid()
    while pid in processes and pid not in above:
        above.add(pid)
        pid = processes[pid].ppid
    return above
