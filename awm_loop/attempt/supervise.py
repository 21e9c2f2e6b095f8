"""Tend one attempt: start it once, watch it, end it whole, write its result (SPEC 8.1-8.4).

It records what happened and decides nothing: what an outcome means is the table's business. A supervisor that finds a
stop request before the start, or the start passed by somebody who is gone, becomes a reaper: it fences, sweeps, and
writes the result that proves the end.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
import time
from array import array
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from awm_loop import clock, fault
from awm_loop.attempt import procfs
from awm_loop.attempt.directory import AttemptDirectory, Marker, Order, let_go, take_lock
from awm_loop.attempt.spawn import Child, Invocation, Spare, spawn
from awm_loop.attempt.stage import RUNS_ALREADY, End, Stage, Tended, Watch, outcome_of
from awm_loop.config import ATTEMPT_LOCK_WAIT_SECONDS
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Result
from awm_loop.durable import disk_trouble
from awm_loop.errors import AwmError, DiskError

DISK_POLL_SECONDS = 1.0  # how soon room on a full disk is seen
DISK_WAIT_SECONDS_MAX = 86_400.0
LINGER_POLL_SECONDS = 0.1
PIPE_BYTES_MAX = 16 * 1024  # unread: a quarter of what a pipe holds
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # what may be over by itself, or by a person's doing

Course = Generator[Stage, End, Result]
"""An attempt from its first stage to its result: yields what to run, is sent how that went."""


def tend(directory: AttemptDirectory) -> int | None:
    """Take `sup.lock`; None where somebody else keeps it. A beat that looks holds it for a moment: hence the wait."""
    with disk_trouble(directory / "sup.lock"):
        return take_lock(directory / "sup.lock", ATTEMPT_LOCK_WAIT_SECONDS)


def begin(
    directory: AttemptDirectory,
    lock_fd: int,
    prepare: Callable[[Order], Invocation | None],
    spare_of: Callable[[], Spare],
) -> Tended | None:
    """Pass the start and run the agent, holding `sup.lock`, in a spare of `spare_of`.

    None, and the lock let go, where it has started before, has ended, or is wanted stopped. Where `prepare` returns
    None, nothing is run yet: the course of the attempt begins with another stage, which is left to `Run`.

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
        spare = spare_of() if first else None
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
    started = _spawned(first, agent_fd, lambda: spare) if first and spare else ""
    if isinstance(started, Child):
        tended.child = started
    else:
        tended.problem = tended.problem or started


def _spawned(invocation: Invocation, agent_fd: int, spare_of: Callable[[], Spare]) -> Child | str:
    try:
        return spawn(invocation, agent_fd, spare_of())
    except AwmError as error:
        return error.message


@dataclass(slots=True)
class Run:
    """One attempt in this process: up to its agent, and on to its durable result. Between the two there is time.

    Where `tended` has a child or a problem already, that is of the first stage of `course`. `spared` are children of
    this process, not the agent's; those that end are taken out, as others may get their pids. Each stage is run in a
    spare of `spare_of`.
    """

    tended: Tended
    course: Course
    spared: set[int]
    spare_of: Callable[[], Spare]
    _started: Marker = field(init=False)
    _stage: Stage | None = field(init=False, default=None)
    _result: Result | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._started = self.tended.directory.marker() or marker()
        self._go_on(None)

    def reach_agent(self) -> bool:
        """Run what comes before the agent, and start it. False where the attempt ended without one that could run."""
        while self._stage is not None:
            end = self._start(self._stage)
            if end is None and self._stage.is_agent:
                return True
            self._go_on(end or self._watch(self._stage))
        return False

    def ends_within(self, seconds: float) -> bool:
        """Whether the agent that runs ends within so many `seconds`, or is asked to: then it will.

        What it says meanwhile stays in its pipes; False at once where that is so much that it would have to wait.
        """
        child = self.tended.child
        if child is None:
            return True
        until, pidfd = time.monotonic() + seconds, os.pidfd_open(child.pid)
        try:
            while (left := until - time.monotonic()) > 0 and not any(map(_is_filling, child.fds)):
                is_over = select.select([pidfd], [], [], min(left, LINGER_POLL_SECONDS))[0]
                if is_over or self.tended.directory.stop_request():
                    return True
            return False
        finally:
            os.close(pidfd)

    def finish(self) -> Result:
        """Until all stages and all they started are gone and the result is durable, however long a disk is full.

        Raises DiskError when the disk is full for a day, or refuses for another reason.
        """
        while self._stage is not None:
            self._go_on(self._start(self._stage) or self._watch(self._stage))
        if self._result is None:
            raise AssertionError(f"{self.tended.order.key}: its course ended without a result")
        _write(self.tended.directory, self._result)
        fault.point("supervise.release:before")
        let_go(self.tended.lock_fd)
        fault.point("supervise.release:after")
        return self._result

    def _go_on(self, end: End | None) -> None:
        """Tell the course how its last stage ended; None at its beginning."""
        tended = self.tended
        if end is not None:
            tended.child, tended.problem = None, ""
        try:
            self._stage = next(self.course) if end is None else self.course.send(end)
        except StopIteration as over:
            if tended.child is not None:  # the course broke off before it asked for the stage that runs already
                self._watch(Stage(invocation=RUNS_ALREADY, limit_seconds=0.0))
            self._stage, self._result = None, over.value

    def _start(self, stage: Stage) -> End | None:
        """Start a stage, unless it runs already; its end where it could not."""
        tended = self.tended
        if tended.child is None and not tended.problem:
            request = tended.directory.stop_request()
            if request is not None:
                return _not_run(self._started, outcome_of(request), "asked to end before it was run")
            try:
                agent_fd = take_lock(tended.directory / "agent.lock", ATTEMPT_LOCK_WAIT_SECONDS)
            except OSError as error:  # the agent put something else in its place
                why = f"{tended.directory / 'agent.lock'}: {error.strerror}"
                return _not_run(self._started, Outcome.FAILED, why)
            if agent_fd is None:
                why = "something that hides still holds the attempt's lock"
                return _not_run(self._started, Outcome.FAILED, why)
            fault.point("supervise.stage:before")
            started = _spawned(stage.invocation, agent_fd, self.spare_of)
            fault.point("supervise.stage:begun")
            os.close(agent_fd)
            tended.child, tended.problem = (started, "") if isinstance(started, Child) else (None, started)
        return None if tended.child else _not_run(self._started, Outcome.FAILED, tended.problem)

    def _watch(self, stage: Stage) -> End:
        if self.tended.child is None:
            raise AssertionError(f"{self.tended.order.key}: nothing runs")
        return Watch(self.tended, self.tended.child, self._started, stage, self.spared).run()


def _is_filling(fd: int) -> bool:
    unread = array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, unread)
    return unread[0] > PIPE_BYTES_MAX


def _write(directory: AttemptDirectory, result: Result) -> None:
    """Durably, however long the disk is full: without it a finished task would be done again.

    Who looks meanwhile finds the lock held: alive.
    """
    refused_at = time.monotonic()
    while True:
        try:
            fault.point("supervise.result:before")
            directory.write_result(result)
            fault.point("supervise.result:written")
            break
        except DiskError as error:
            is_full = isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM
            if not is_full or time.monotonic() > refused_at + DISK_WAIT_SECONDS_MAX:
                raise
            time.sleep(DISK_POLL_SECONDS)


def _not_run(marker: Marker, outcome: Outcome, error: str) -> End:
    return End(exit_code=127, cut_short=outcome, error=error, started=marker, removed_locks=())


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
