"""A beat under the state lock, and again while somebody asked for one meanwhile (SPEC 6.2, 6.5): no kick is lost.

Who finds the lock held leaves a mark, then waits for a moment. Whoever begins a beat takes the mark first, so a waiter
that finds its mark gone knows that a beat has begun since and has seen its news; a waiter that gives up leaves the mark
to the holder, who looks for one after letting go.
"""

from __future__ import annotations

import os

from awm_loop import beat, fault, idle
from awm_loop.config import LOCK_WAIT_SECONDS
from awm_loop.errors import BusyError
from awm_loop.ports import Ports
from awm_loop.store import recording
from awm_loop.store.statefile import StateFile

LOOKS_MAX = 20  # beats one process runs for marks alone, so that two that mark each other cannot spin


def pulse(store: StateFile, ports: Ports) -> list[beat.Beat]:
    """The beats run: none when another process is at it and will look again. Raises what a beat raises, BusyError."""
    if "AWM_ATTEMPT" in os.environ:
        store.leave_mark()  # inside an agent's tree: a supervisor started here would be swept with it
        return []
    beats: list[beat.Beat] = []
    for _ in range(LOOKS_MAX):
        if not _one(store, ports, beats) or not store.mark_path.exists():
            break
    idle.let_others_on()  # where no beat was run, the one who was at it looks again for them too
    return beats


def _one(store: StateFile, ports: Ports, beats: list[beat.Beat]) -> bool:
    """False when somebody else is at it."""
    with store.locked(0) as is_free:
        if is_free:
            fault.point("pulse.mark:before")
            store.take_mark()
            idle.let_others_on()
            fault.point("pulse.beat:before")
            beats.append(_whole(store, ports))
            return True
    fault.point("pulse.busy:before-mark")
    if not store.leave_mark():
        raise BusyError(f"the lock of {store.directory} is held, and no mark can be left there")
    fault.point("pulse.busy:marked")
    with store.locked(LOCK_WAIT_SECONDS) as is_free:
        if is_free and store.take_mark():
            idle.let_others_on()
            beats.append(_whole(store, ports))
        return is_free


def _whole(store: StateFile, ports: Ports) -> beat.Beat:
    """One beat; where there is more to do at once than one beat may, the next is asked for."""
    done = beat.run(recording.recorded(ports, store.directory))
    fault.point("pulse.beat:after")
    if done.wants_another:
        store.leave_mark()
    return done
