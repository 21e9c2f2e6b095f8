"""What one run of the bombardment is like."""

from __future__ import annotations

from dataclasses import dataclass

from awm_loop.config import LINGER_SECONDS

FAILING = 0.15
OUTLASTING = LINGER_SECONDS + 0.2  # the image that started it
STRAGGLING = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is like. `retries` is the number of tries after the first; `recalls` a person who re-queues live tasks."""

    seed: int
    tasks: int = 2
    kill: float = 0.0
    pause: float = 0.0
    retries: int = 1000
    worktrees: bool = False
    eager: bool = False  # beats come all the time, so that many meet what goes on
    told: bool = False  # notices by a command
    resets: bool = False
    cold: bool = False  # beats are `python heartbeat.py`, not forked off a process that has imported it
    recalls: bool = False
    rival: bool = False  # somebody commits to the project while an agent works
    among: str = ""  # the points that may strike, by the beginning of their names
    failing: float = FAILING
    straggling: float = STRAGGLING
    sleeps: tuple[float, ...] = (0, 0, 0.02, 0.1, 0.3, OUTLASTING)  # how long an agent may work
