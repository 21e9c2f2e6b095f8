"""Tend one attempt: start it once, watch it, end it whole, write its result (SPEC 8.1-8.4).

It records what happened and decides nothing: what an outcome means is the table's business. A supervisor that finds a
stop request before the start, or the start passed by somebody who is gone, becomes a reaper: it fences, sweeps, and
writes the result that proves the end.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator

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
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # what may be over by itself, or by a person's doing

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
        if tended.child is not None:  # the course broke off before it asked for the stage that runs already
            Watch(tended, tended.child, started, Stage(invocation=RUNS_ALREADY, limit_seconds=0.0), spared).run()
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
    return Watch(tended, tended.child, marker, stage, spared).run()


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
