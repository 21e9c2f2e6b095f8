"""Tend one attempt: start it once, watch it, end it whole, write its result (SPEC 8.1-8.4).

One single-threaded loop over two descriptors, the agent's output and its pidfd. It records what happened and decides
nothing: what an outcome means is the table's business. A supervisor that finds a stop request before the start, or the
start passed by somebody who is gone, becomes a reaper: it fences, sweeps, and writes the result that proves the end.
"""

from __future__ import annotations

import errno
import json
import math
import os
import select
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from awm_loop import clock, fault
from awm_loop.attempt import gitlocks, procfs, reap
from awm_loop.attempt.directory import AttemptDirectory, Marker, Order, StopRequest, let_go, put, take_lock
from awm_loop.attempt.liveness import Liveness
from awm_loop.attempt.output import CHUNK_BYTES, OutputLog
from awm_loop.attempt.procfs import Identity
from awm_loop.attempt.spawn import Child, Invocation, Spare, spawn
from awm_loop.config import ATTEMPT_LOCK_WAIT_SECONDS
from awm_loop.core.model import Outcome, StopReason
from awm_loop.core.observation import Result
from awm_loop.durable import disk_trouble
from awm_loop.errors import AwmError, DiskError
from awm_loop.regular import open_regular

STOP_POLL_SECONDS = 0.25  # how soon a stop request is seen
SWEEP_STEP_SECONDS = 0.02
DISK_POLL_SECONDS = 1.0  # how soon room on a full disk is seen
DISK_WAIT_SECONDS_MAX = 86_400.0
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # what may be over by itself, or by a person's doing
DRAIN_BYTES_MAX = 1024 * 1024  # of output left in the pipe when the tree is gone: more than any pipe holds

OUTCOME_OF_STOP = {
    StopReason.STALLED: Outcome.STALLED,
    StopReason.OPERATOR: Outcome.STOPPED,
    StopReason.SKIP: Outcome.STOPPED,
    StopReason.REMOVED: Outcome.STOPPED,
    StopReason.REQUEUED: Outcome.STOPPED,
    StopReason.UNATTENDED: Outcome.LOST,
    StopReason.CANNOT_BEGIN: Outcome.LOST,
}


@dataclass(slots=True)
class Tended:
    """An attempt this process holds: the locks, and the agent once it runs. Survives exec as numbers."""

    directory: AttemptDirectory
    order: Order
    lock_fd: int
    child: Child | None = None
    problem: str = ""  # why the agent could not be run


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One process of an attempt: the agent itself, or what is run before and after it. Its output goes to `<name>.log`.

    Without `limit_seconds` the attempt's hard time limit holds and liveness is sampled for the stall rule.
    """

    invocation: Invocation
    name: str = "out"
    limit_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How the main process of a stage went, and its tree with it. `cut_short` is set where somebody ended it."""

    exit_code: int
    cut_short: Outcome | None
    error: str
    started: Marker
    removed_locks: tuple[str, ...]


Course = Generator[Stage, End, Result]
"""An attempt from its first stage to its result: yields what to run, is sent how that went."""


def tend(directory: AttemptDirectory) -> int | None:
    """Take `sup.lock`; None where somebody else keeps it. A beat that looks holds it for a moment: hence the wait."""
    with disk_trouble(directory / "sup.lock"):
        return take_lock(directory / "sup.lock", ATTEMPT_LOCK_WAIT_SECONDS)


def begin(
    directory: AttemptDirectory, lock_fd: int, prepare: Callable[[Order], Invocation | None], spare: Spare | None = None
) -> Tended | None:
    """Pass the start and run the agent, holding `sup.lock`; by `spare`, where one was forked in time.

    None, and the lock let go, where it has started before, has ended, or is wanted stopped. Where `prepare` returns
    None, nothing is run yet: the course of the attempt begins with another stage, which is left to `watch`.

    All that the world may refuse comes before the start is passed: AwmError then lets the same number start later.
    """
    order = directory.order()
    tended: Tended | None = None
    agent_fd: int | None = None
    try:
        if order is None or not _may_start(directory):
            return None
        with disk_trouble(directory / "agent.lock"):
            agent_fd = take_lock(directory / "agent.lock")
        if agent_fd is None:
            return None
        fault.point("supervise.begin:locked")
        first = None if order.problem else prepare(order)
        spare = spare or (Spare.fork() if first else None)
        fault.point("supervise.start:before")
        if directory.pass_start(marker()):
            tended = Tended(directory, order, lock_fd, None, order.problem)
            fault.point("supervise.start:passed")
            _run_first(tended, first, agent_fd, spare)
            fault.point("supervise.agent:begun")
        return tended
    finally:
        if agent_fd is not None:
            os.close(agent_fd)
        if tended is None:
            let_go(lock_fd)


def _run_first(tended: Tended, first: Invocation | None, agent_fd: int, spare: Spare | None) -> None:
    started = _spawned(first, agent_fd, spare) if first else ""
    if isinstance(started, Child):
        tended.child = started
    else:
        tended.problem = tended.problem or started


def _spawned(invocation: Invocation, agent_fd: int, spare: Spare | None = None) -> Child | str:
    try:
        return spawn(invocation, agent_fd, spare)
    except AwmError as error:
        return error.message


def watch(tended: Tended, course: Course, spared: set[int]) -> Result:
    """Until all stages and all they started are gone and the result is durable, however long a disk is full.

    Where `tended` has a child or a problem already, that is of the first stage of `course`.

    `spared` are children of this process, not the agent's; those that end are taken out, as others may get their pids.
    Raises DiskError when the disk is full for a day, or refuses for another reason.
    """
    result = _result(tended, course, spared)
    refused_at = time.monotonic()
    while True:
        try:
            fault.point("supervise.result:before")
            tended.directory.write_result(result)
            fault.point("supervise.result:written")
            break
        except DiskError as error:
            # Without the result a finished task would be done again; who looks meanwhile finds the lock held: alive.
            is_full = isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM
            if not is_full or time.monotonic() > refused_at + DISK_WAIT_SECONDS_MAX:
                raise
            time.sleep(DISK_POLL_SECONDS)
    fault.point("supervise.release:before")
    let_go(tended.lock_fd)
    fault.point("supervise.release:after")
    return result


def _result(tended: Tended, course: Course, spared: set[int]) -> Result:
    started = tended.directory.marker() or marker()
    try:
        stage = next(course)
        while True:
            end = _run(tended, stage, started, spared)
            tended.child, tended.problem = None, ""
            stage = course.send(end)
    except StopIteration as over:
        result: Result = over.value
        return result


def _run(tended: Tended, stage: Stage, marker: Marker, spared: set[int]) -> End:
    """One stage from its start, unless it has begun already, to the end of its tree."""
    if tended.child is None and not tended.problem:
        request = tended.directory.stop_request()
        if request is not None:
            return _not_run(marker, outcome_of(request), "asked to end before it was run")
        try:
            agent_fd = take_lock(tended.directory / "agent.lock", ATTEMPT_LOCK_WAIT_SECONDS)
        except OSError as error:  # the agent put something else in its place
            return _not_run(marker, Outcome.FAILED, f"{tended.directory / 'agent.lock'}: {error.strerror}")
        if agent_fd is None:
            return _not_run(marker, Outcome.FAILED, "something that hides still holds the attempt's lock")
        fault.point("supervise.stage:before")
        started = _spawned(stage.invocation, agent_fd)
        fault.point("supervise.stage:begun")
        os.close(agent_fd)
        tended.child, tended.problem = (started, "") if isinstance(started, Child) else (None, started)
    if tended.child is None:
        return _not_run(marker, Outcome.FAILED, tended.problem)
    return _Watch(tended, tended.child, marker, stage, spared).run()


def _not_run(marker: Marker, outcome: Outcome, error: str) -> End:
    return End(exit_code=127, cut_short=outcome, error=error, started=marker, removed_locks=())


def outcome_of(request: StopRequest) -> Outcome:
    reason = StopReason(request.why) if request.why in set(StopReason) else StopReason.OPERATOR
    return OUTCOME_OF_STOP[reason]


def keep_evidence(directory: AttemptDirectory, text: str) -> None:
    """Best effort: a full disk must not keep an attempt from being ended."""
    with suppress(OSError):
        put(directory / "evidence.txt", text)


def _may_start(directory: AttemptDirectory) -> bool:
    return directory.result() is None and directory.stop_request() is None


def marker(*, fenced: bool = False) -> Marker:
    now = clock.now()
    me = procfs.read(os.getpid())
    return Marker(
        boot_id=now.boot_id,
        boottime=now.boottime,
        at=now.wall,
        supervisor=tuple(me.identity) if me else (os.getpid(), 0),  # type: ignore[arg-type]
        fenced=fenced,
    )


@dataclass(slots=True)
class _Watch:
    """The loop of one stage."""

    tended: Tended
    child: Child
    marker: Marker
    stage: Stage
    spared: set[int]
    exit_code: int | None = None
    cut_short: Outcome | None = None
    error: str = ""
    sweep: reap.Sweep | None = None

    def run(self) -> End:
        order, directory = self.tended.order, self.tended.directory
        log = OutputLog(directory / f"{self.stage.name}.log")
        ignored = (Path(order.home) / "state", Path(order.home) / "memory")
        liveness = Liveness(Path(order.workspace), ignored, order.sample_seconds)
        pidfd = os.pidfd_open(self.child.pid)
        poll = select.poll()
        poll.register(self.child.output_fd, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        sample_at = self._sample(liveness)
        stop_at = self._seconds_left()
        while True:
            ready = {fd for fd, _ in poll.poll(max(self._timeout(sample_at), 0) * 1000)}
            if self.child.output_fd in ready and not self._pump(log, liveness):
                poll.unregister(self.child.output_fd)
            # Each time: orphans of a tree that forks without end would else fill the process table, and in a sweep its
            # dead would make each look slower.
            if self._reap() and pidfd in ready:
                poll.unregister(pidfd)
            now = time.monotonic()
            if self.sweep is None:
                self._look_for_an_end(liveness, is_over=now >= stop_at)
            if self.sweep is not None and self.sweep.step(now) and self._reap():
                break
            if now >= sample_at and self.sweep is None:
                sample_at = self._sample(liveness)
        fault.point("supervise.tree:gone")
        self._drain(log, liveness)
        log.close()
        if self.sweep.left:
            self.error += f"; could not be ended: {', '.join(str(who.pid) for who in self.sweep.left)}"
        os.close(pidfd)
        os.close(self.child.output_fd)
        since = self.marker.at
        locks = gitlocks.remove_git_locks(Path(order.workspace), since) if self.cut_short or self.exit_code else []
        return End(
            exit_code=self.exit_code or 0,
            cut_short=self.cut_short,
            error=self.error,
            started=self.marker,
            removed_locks=tuple(locks),
        )

    def _seconds_left(self) -> float:
        """When the hard time limit falls, on the monotonic clock: a suspended machine does not use it up."""
        if self.stage.limit_seconds is not None:
            return time.monotonic() + self.stage.limit_seconds
        gone = max(clock.now().boottime - self.marker.boottime, 0.0)
        return time.monotonic() + max(self.tended.order.limit_seconds - gone, 0.0)

    def _timeout(self, sample_at: float) -> float:
        if self.sweep is not None:
            return SWEEP_STEP_SECONDS
        return min(sample_at - time.monotonic(), STOP_POLL_SECONDS)

    def _look_for_an_end(self, liveness: Liveness, *, is_over: bool) -> None:
        """Begin the sweep when the agent ended by itself, was asked to end, or passed its hard limit."""
        request = self.tended.directory.stop_request()
        if self.exit_code is None and request is not None:
            self.cut_short = outcome_of(request)
        elif self.exit_code is None and is_over:
            self.cut_short = Outcome.TIMED_OUT
            seconds = self.stage.limit_seconds or self.tended.order.limit_seconds
            self.error = f"over its hard time limit of {seconds / 60:g} min"
        if self.exit_code is None and self.cut_short is None:
            return
        if self.cut_short is not None:
            seen = liveness.evidence({who.pid for who in self._tree()}, clock.now())
            keep_evidence(self.tended.directory, seen)
            self.error = self.error or _first_line(seen).removeprefix("Likely cause: ")
        fault.point("supervise.sweep:before")
        self.sweep = reap.Sweep(self._tree, self.tended.order.stop_grace_seconds)

    def _tree(self) -> set[Identity]:
        return reap.own_descendants(self.spared)

    def _sample(self, liveness: Liveness) -> float:
        """Append one sample; returns when the next is due. A stage with a limit of its own can not stall."""
        if self.stage.limit_seconds is not None:
            return math.inf
        sample = liveness.sample({who.pid for who in self._tree()}, clock.now(), time.monotonic())
        line = json.dumps(sample.to_json(), separators=(",", ":")).encode() + b"\n"
        try:
            fd = open_regular(self.tended.directory / "samples.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
        except OSError:
            pass  # a full disk: without samples nothing is called a stall, and the hard limit still holds
        return time.monotonic() + self.tended.order.sample_seconds

    def _pump(self, log: OutputLog, liveness: Liveness) -> bool:
        """Take what the pipe has now; False once every writer has closed it."""
        try:
            chunk = os.read(self.child.output_fd, CHUNK_BYTES)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        log.append(chunk)
        liveness.feed(chunk)
        return True

    def _drain(self, log: OutputLog, liveness: Liveness) -> None:
        """What the pipe still holds when the tree is gone; bounded, should a writer have escaped."""
        for _ in range(DRAIN_BYTES_MAX // CHUNK_BYTES):
            readable, _, _ = select.select([self.child.output_fd], [], [], 0)
            if not readable or not self._pump(log, liveness):
                return

    def _reap(self) -> bool:
        """Collect every dead child; True once the agent's main process is among the collected."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return self.exit_code is not None
            if pid == 0:
                return self.exit_code is not None
            self.spared.discard(pid)
            if pid == self.child.pid:
                self.exit_code = os.waitstatus_to_exitcode(status)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
