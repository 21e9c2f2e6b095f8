"""Agents, their supervisors and the launcher, as the protocol of decision 0001 shows them to a beat; nothing runs.

An attempt is what its directory and its locks would say: ordered, started once, tended or not, asked to end, ended. The
world's clock moves it on. A supervisor may be slow, or die at any step; what its agent then leaves running is swept by
the next one, a reaper.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from awm_loop.core.model import Advised, Attempt, Instant, Outcome, StopReason, Task
from awm_loop.core.observation import (
    Advice,
    Alive,
    AttemptSeen,
    Exited,
    GateSeen,
    Limit,
    NotStarted,
    ProbeFailed,
    Result,
    Starting,
    Unattended,
)

NEVER = math.inf
SAMPLE_SECONDS = 20.0
OF_STOP = {  # SPEC 7.2, 8.3: what an attempt that was asked to end is said to be
    StopReason.STALLED: Outcome.STALLED,
    StopReason.UNATTENDED: Outcome.LOST,
    StopReason.CANNOT_BEGIN: Outcome.LOST,
}
# How an agent behaves, and how often. The last four of the first have no end of their own; `vanishes` is its supervisor's death.
WILD = {
    "succeeded": 40, "hollow": 7, "failed": 12, "limited": 9, "blocked": 3, "auth": 2,
    "vanishes": 7, "hangs": 9, "spins": 4, "slow": 2,
}  # fmt: skip
INEPT = {"succeeded": 8, "hollow": 12, "failed": 50, "limited": 5, "vanishes": 5, "hangs": 20}
TAME = {"succeeded": 80, "hollow": 5, "failed": 7, "limited": 3, "blocked": 1, "vanishes": 1, "hangs": 3}
RESETS_SECONDS = (None, None, -3_600.0, 0.0, 300.0, 5_400.0, 40_000.0, 3_000_000.0)


class Surroundings(Protocol):
    """What the attempts need of the world."""

    chance: random.Random
    is_calm: bool
    is_unreachable: bool  # nobody can look at the attempts
    temper: Mapping[str, int]  # how agents behave, and how often
    stillborn: float  # the share of supervisors that die before the start

    @property
    def is_stormy(self) -> bool:
        """It reboots all the time, and agents are slow."""

    @property
    def awake(self) -> float:
        """Seconds that the machine was not suspended."""

    def now(self) -> Instant:
        """The time as the machine tells it."""

    def does(self, kind: str, what: str, deed: Callable[[], None]) -> None:
        """Do it as an operation of the process that runs: it may be killed before or after."""

    def makes_directory(self, key: str) -> None:
        """The attempt's directory, on the real disk."""

    def kicks(self) -> None:
        """A supervisor that has ended its attempt runs the next beat."""

    def says(self, *words: object) -> None:
        """For the narration."""


@dataclass(slots=True, eq=False)
class Run:
    """One attempt number as it really is. Times are awake seconds."""

    key: str
    attempt: Attempt | None  # None where only a stop was ever asked
    holder: str = ""  # of sup.lock: "supervisor", "reaper", or nobody
    due_at: float = NEVER  # when the holder does its next step
    dies: bool = False  # at that step
    started: bool = False
    is_working: bool = False  # the agent, or what it left running
    began_at: float = 0.0
    began: Instant | None = None
    ends_at: float = NEVER
    silent_at: float = NEVER  # no progress from then on ...
    is_busy: bool = False  # ... but processor time
    ends: str = ""
    stop: str = ""
    result: Result | None = None
    ended_tick: int = 0

    @property
    def attempt_is_analysis(self) -> bool:
        return self.attempt is not None and self.attempt.is_analysis


class Witness(Protocol):
    """Who sees what really happens, and holds the guarantees against it."""

    tick: int

    def ordered(self, attempt: Attempt) -> None:
        """A beat asks for a start."""

    def began(self, run: Run) -> None:
        """An agent is running from now on."""

    def asked_to_end(self, key: str, why: str) -> None:
        """A beat asks for an end."""


class Attempts:
    """All attempts there ever were; the Launcher port of the beat."""

    def __init__(self, world: Surroundings, witness: Witness) -> None:
        self.world, self.witness = world, witness
        self.runs: dict[str, Run] = {}

    def start(self, attempt: Attempt, _: Task) -> bool:
        self.witness.ordered(attempt)
        run = self.runs.get(attempt.key)
        if run is not None and not isinstance(self._look(run), NotStarted):
            return False
        self.world.makes_directory(attempt.key)

        def deed() -> None:
            run = self.runs.setdefault(attempt.key, Run(attempt.key, attempt))
            run.attempt = run.attempt or attempt
            chance, is_wild = self.world.chance, not self.world.is_calm
            delay_seconds = chance.choice((0, 0, 0, 5, 90, 400)) if is_wild else 0
            run.holder, run.due_at = "supervisor", self.world.awake + delay_seconds
            run.dies = is_wild and chance.random() < self.world.stillborn
            if not delay_seconds and not run.dies:
                self._begins(run)

        self.world.does("spawn", attempt.key, deed)
        return True

    def probe(self, attempts: Sequence[Attempt]) -> Mapping[str, AttemptSeen]:
        self.world.does("probe", " ".join(one.key for one in attempts), lambda: None)
        seen: dict[str, AttemptSeen] = {}
        for one in attempts:
            is_hidden = not self.world.is_calm and self.world.chance.random() < 0.02
            run = self.runs.get(one.key)
            if self.world.is_unreachable or is_hidden:
                seen[one.key] = ProbeFailed(reason="unreachable")
            else:
                seen[one.key] = NotStarted() if run is None else self._look(run)
        return seen

    def stop(self, key: str, why: str) -> None:
        self.witness.asked_to_end(key, why)

        def asked() -> None:
            run = self.runs.setdefault(key, Run(key, None))
            run.stop = why
            if run.holder == "supervisor" and run.started:
                run.ends_at = min(run.ends_at, self.world.awake + self.world.chance.choice((0.2, 3.0, 12.0)))
                run.due_at = min(run.due_at, run.ends_at)

        self.world.does("stop request", key, asked)
        run = self.runs[key]
        if isinstance(self._look(run), NotStarted | Unattended):

            def reaped() -> None:
                chance, is_wild = self.world.chance, not self.world.is_calm
                run.holder, run.due_at = "reaper", self.world.awake + chance.choice((0.1, 2.0, 15.0))
                run.dies = is_wild and chance.random() < 0.15

            self.world.does("reaper", key, reaped)

    def _look(self, run: Run) -> AttemptSeen:
        if not run.holder:
            if run.result is not None:
                return Exited(result=run.result)
            return Unattended() if run.started else NotStarted()
        if not run.started:
            return Starting()
        now, awake = self.world.now(), self.world.awake
        is_this_boot = run.began is not None and run.began.boot_id == now.boot_id
        silent = max(awake - run.silent_at, 0.0) // SAMPLE_SECONDS * SAMPLE_SECONDS
        return Alive(
            idle_seconds=0.0 if run.is_busy else silent,
            busy_seconds=silent if run.is_busy else 0.0,
            running_seconds=now.boottime - run.began.boottime if run.began and is_this_boot else 0.0,
        )

    def next_at(self) -> float:
        """When, in awake seconds, something happens by itself; `NEVER` when nothing will."""
        return min((run.due_at for run in self.runs.values() if run.holder), default=NEVER)

    def step(self) -> None:
        """What is due first happens."""
        run = min((run for run in self.runs.values() if run.holder), key=lambda one: one.due_at)
        if run.dies:
            self._dies(run)
        elif run.holder == "reaper" or (run.stop and not run.started):
            self._reaps(run)
        elif not run.started:
            self._begins(run)
        else:
            self._ends(run)

    def _begins(self, run: Run) -> None:
        """The supervisor passes the start: O_EXCL lets it, once."""
        attempt = run.attempt
        if attempt is None or run.started or run.result is not None:
            run.holder, run.due_at = "", NEVER
            return
        chance, awake = self.world.chance, self.world.awake
        kinds = TAME if self.world.is_calm else self.world.temper
        run.ends = chance.choices(list(kinds), list(kinds.values()))[0]
        run.started = run.is_working = True
        run.began, run.began_at = self.world.now(), awake
        seconds = 2_400.0 if self.world.is_stormy else chance.choice((0.0, 0.5, 40.0, 300.0, 900.0, 2_400.0))
        if run.ends in {"hangs", "spins", "slow"}:
            run.silent_at = NEVER if run.ends == "slow" else awake + seconds
            run.is_busy = run.ends == "spins"
            seconds = attempt.limit_seconds
        run.ends_at = run.due_at = awake + min(seconds, attempt.limit_seconds)
        run.dies = run.ends == "vanishes" or (not self.world.is_calm and chance.random() < 0.03)
        self.world.says("AGENT", attempt.task, run.key, "begins;", run.ends, f"after {seconds:g} s")
        self.witness.began(run)

    def _ends(self, run: Run) -> None:
        """The supervisor sees the end of the agent's tree, writes the result, lets go, and runs the next beat."""
        run.is_working = False
        outcome = self._outcome(run)
        self._finishes(run, outcome)

    def _outcome(self, run: Run) -> Outcome:
        if run.stop and run.ends_at < run.began_at + (run.attempt.limit_seconds if run.attempt else 0):
            return OF_STOP.get(StopReason(run.stop), Outcome.STOPPED)
        if run.ends in {"hangs", "spins", "slow"}:
            return Outcome.TIMED_OUT
        return Outcome.FAILED if run.ends == "vanishes" else Outcome(run.ends)

    def _reaps(self, run: Run) -> None:
        """Fence, sweep, and say how it ended."""
        if run.result is None:
            is_rebooted = run.began is not None and run.began.boot_id != self.world.now().boot_id
            run.started, run.is_working = True, False
            reason = StopReason(run.stop)
            self._finishes(run, Outcome.REBOOTED if is_rebooted else OF_STOP.get(reason, Outcome.STOPPED))
        else:
            run.holder, run.due_at = "", NEVER

    def _dies(self, run: Run) -> None:
        """The one who holds the lock is killed; what the agent started may live on."""
        run.holder, run.due_at, run.dies = "", NEVER, False
        run.is_working = run.is_working and self.world.chance.random() < 0.5
        self.world.says("DEATH of the supervisor of", run.key, "leaving orphans" if run.is_working else "")

    def _finishes(self, run: Run, outcome: Outcome) -> None:
        run.result = self._result(run, outcome)
        run.ended_tick = self.witness.tick
        run.holder, run.due_at = "", NEVER
        self.world.says("RESULT", run.key, outcome)
        self.world.kicks()

    def _result(self, run: Run, outcome: Outcome) -> Result:
        chance, now = self.world.chance, self.world.now()
        seconds = self.world.awake - run.began_at if run.began else 0.0
        advice = limit = None
        if run.attempt_is_analysis and outcome is Outcome.SUCCEEDED and chance.random() < 0.85:
            advice = Advice(cause="it waits", action=chance.choice(list(Advised)), text="use a timeout")
        if outcome is Outcome.LIMITED:
            left = chance.choice(RESETS_SECONDS)
            limit = Limit(resets_at=None if left is None else now.wall + timedelta(seconds=left), source="fake")
        return Result(
            outcome=outcome,
            exit_code=0 if outcome is Outcome.SUCCEEDED else 1,
            started_at=run.began.wall if run.began else now.wall,
            ended_at=now.wall,
            seconds=seconds,
            summary=f"{outcome} of {run.key}",
            question="which one?" if outcome is Outcome.BLOCKED else "",
            commits=("c0ffee5",) if outcome is Outcome.SUCCEEDED and chance.random() < 0.8 else (),
            gate=GateSeen(passed=outcome is Outcome.SUCCEEDED) if chance.random() < 0.3 else None,
            limit=limit,
            advice=advice,
            context_share=chance.choice((None, None, None, 0.5, 0.9)),
            removed_locks=("index.lock",) if outcome is Outcome.LOST and chance.random() < 0.3 else (),
        )

    def reboot(self) -> None:
        """The kernel drops the locks, and everybody is dead."""
        for run in self.runs.values():
            run.holder, run.due_at, run.dies, run.is_working = "", NEVER, False, False
