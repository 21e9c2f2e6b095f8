"""An attempt whose supervisor is gone, or that is to be fenced: sweep what it left, and write the result (SPEC 8.3)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from awm_loop import clock, fault
from awm_loop.attempt import gitlocks, reap
from awm_loop.attempt.directory import AttemptDirectory, let_go, take_lock
from awm_loop.attempt.liveness import Liveness
from awm_loop.attempt.procfs import Identity
from awm_loop.attempt.stage import OUTCOME_OF_STOP, SWEEP_STEP_SECONDS, keep_evidence
from awm_loop.attempt.supervise import marker
from awm_loop.core.model import Instant, Outcome, StopReason
from awm_loop.core.observation import Result

UNSEEN_SECONDS_MAX = 30.0  # beyond the grace, a reaper looks for one who still holds `agent.lock`


def reap_attempt(
    directory: AttemptDirectory, lock_fd: int, elsewhere: Callable[[AttemptDirectory], None] = lambda _: None
) -> None:
    """Fence and sweep an attempt nobody tends, and write the result that proves its end; then let `sup.lock` go.

    `elsewhere` ends what it left outside of this machine's processes, after the sweep: nobody starts more of it then.
    Raises DiskError.
    """
    try:
        if directory.result() is None:
            fault.point("abandoned.fence:before")
            never_started = directory.pass_start(marker(fenced=True))
            fault.point("abandoned.fence:after")
            result = _swept(directory, never_started)
            elsewhere(directory)
            directory.write_result(result)
            fault.point("abandoned.result:written")
    finally:
        let_go(lock_fd)


def _swept(directory: AttemptDirectory, never_started: bool) -> Result:
    """What a reaper does and finds; it holds `sup.lock`."""
    order, marker, request = directory.order(), directory.marker(), directory.stop_request()
    now = clock.now()
    reason = StopReason(request.why) if request and request.why in set(StopReason) else StopReason.UNATTENDED
    began = marker.at if marker else now.wall
    same_boot = marker is None or marker.boot_id == now.boot_id
    error = "it never started" if never_started else "its supervisor died and left no result"
    outcome = OUTCOME_OF_STOP[reason]
    locks: list[str] = []
    if not same_boot:
        outcome, error = Outcome.REBOOTED, "the machine was restarted while it ran"
    else:
        # Also what seems never to have begun: somebody may have removed the directory of a running attempt.
        remembered = _remembered(directory, now)

        def find() -> set[Identity]:
            return reap.left_behind(directory.path.name, directory / "agent.lock", remembered)

        seen = find()
        if seen:
            text = Liveness(directory.path, (), 1.0).evidence({who.pid for who in seen}, now)
            keep_evidence(directory, text)
        fault.point("abandoned.sweep:before")
        sweep = reap.Sweep(find, order.stop_grace_seconds if order else 0.0)
        give_up_at = time.monotonic() + UNSEEN_SECONDS_MAX
        while not sweep.step(time.monotonic()) or (_is_held(directory) and time.monotonic() < give_up_at):
            time.sleep(SWEEP_STEP_SECONDS)
        if sweep.left or _is_held(directory):
            error += f"; could not be ended: {', '.join(str(who.pid) for who in sweep.left) or 'one that hides'}"
    fault.point("abandoned.sweep:after")
    if order is not None and not never_started:
        locks = gitlocks.remove_git_locks(Path(order.workspace), began)
    return Result(
        outcome=outcome,
        exit_code=None,
        started_at=began,
        ended_at=now.wall,
        seconds=max(now.boottime - marker.boottime, 0.0) if marker and same_boot and not never_started else 0.0,
        error=error,
        removed_locks=tuple(locks),
    )


def _is_held(directory: AttemptDirectory) -> bool:
    """Something unseen still holds `agent.lock`: a chain that forks faster than /proc can be read."""
    try:
        fd = take_lock(directory / "agent.lock")
    except OSError:  # the agent put something else in its place
        return False
    if fd is not None:
        os.close(fd)
    return fd is None


def _remembered(directory: AttemptDirectory, now: Instant) -> Iterable[Identity]:
    """The tree as the last sample saw it, if that was in this boot."""
    sample = directory.last_sample()
    processes = sample.get("processes")
    if sample.get("bootId") != now.boot_id or not isinstance(processes, list):
        return ()
    return [Identity(*who) for who in processes if isinstance(who, list) and [type(part) for part in who] == [int, int]]
