"""The loop as a table: every decision of AWM is a row here (SPEC 7). Read this first.

    world --probe--> observation --classify--> signal --TABLE--> row --take--> (work', effect)

`classify_*` own every comparison of numbers and name one signal; the table owns every decision; `consequence.py` writes
a row down. A missing cell is not a default: it raises `ImpossibleStep` and nothing is changed. The subject of a row is
a task (queued or live), an account, or the loop itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from awm_loop.core import choice
from awm_loop.core.model import Account, Attempt, Deadline, Instant, Outcome, Phase, Policy, StopReason, Work
from awm_loop.core.observation import (
    Alive,
    AttemptSeen,
    Exited,
    NotStarted,
    ProbeFailed,
    Result,
    SpecBad,
    SpecRead,
    Starting,
    TaskSeen,
    Unattended,
)


class Signal(StrEnum):
    """An observation, judged against the limits."""

    READY = "ready"
    TOO_EARLY = "too_early"
    ACCOUNT_CLOSED = "account_closed"
    UNFIT = "unfit"

    UNSEEN = "unseen"
    NEVER_BEGAN = "never_began"
    CANNOT_BEGIN = "cannot_begin"
    STARTING = "starting"
    ALIVE = "alive"
    LATE = "late"
    STALLED = "stalled"
    UNWANTED = "unwanted"
    UNATTENDED = "unattended"
    ENDED = "ended"

    SUCCEEDED = "succeeded"
    WORTH_RETRY = "worth_retry"
    OUT_OF_TRIES = "out_of_tries"
    STRUCK = "struck"
    STRUCK_OUT = "struck_out"
    LIMITED = "limited"
    LIMITED_FOR_GOOD = "limited_for_good"
    ASKED = "asked"
    REBOOTED = "rebooted"
    REBOOTED_TOO_OFTEN = "rebooted_too_often"
    CALLED_OFF = "called_off"
    DISMISSED = "dismissed"

    DUE = "due"
    DRAINED = "drained"
    FED = "fed"


class Do(StrEnum):
    """The effect a row asks for."""

    NOTHING = "nothing"
    LAUNCH = "launch"
    STOP = "stop"


class Count(StrEnum):
    """What a row adds to the task."""

    NOTHING = "nothing"
    TRY = "try"
    STRIKE = "strike"
    REBOOT = "reboot"


class Tell(StrEnum):
    """The notice a row sends: the kinds of SPEC 12.1 that this version has."""

    NOTHING = "nothing"
    STARTED = "started"
    COMPLETED = "completed"
    RETRY = "retry"
    STALL = "stall"
    LIMIT = "limit"
    OPENED = "opened"
    BLOCKED = "blocked"
    FAILED = "failed"
    SKIPPED = "skipped"
    STRUCK_OUT = "struck_out"
    STILL_RUNNING = "still_running"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Row:
    """One decision. A row that stays, does, counts and tells nothing writes nothing (SPEC 6.4)."""

    phase: Phase
    signal: Signal
    then: Phase
    do: Do = Do.NOTHING
    count: Count = Count.NOTHING
    tell: Tell = Tell.NOTHING

    @property
    def is_quiet(self) -> bool:
        return self.phase is self.then and (self.do, self.count, self.tell) == (Do.NOTHING, Count.NOTHING, Tell.NOTHING)

    def __str__(self) -> str:
        return f"{self.phase} {self.signal} -> {self.then}" + (f", {self.do}" if self.do is not Do.NOTHING else "")


P, S = Phase, Signal
TABLE = (
    #   phase         signal                then         effect     counts        notice
    Row(P.QUEUED,     S.READY,              P.LAUNCHING, Do.LAUNCH, tell=Tell.STARTED),
    Row(P.QUEUED,     S.TOO_EARLY,          P.QUEUED),
    Row(P.QUEUED,     S.ACCOUNT_CLOSED,     P.QUEUED),
    Row(P.QUEUED,     S.UNFIT,              P.BLOCKED,   tell=Tell.BLOCKED),

    Row(P.LAUNCHING,  S.UNSEEN,             P.LAUNCHING),
    Row(P.LAUNCHING,  S.STARTING,           P.LAUNCHING),
    Row(P.LAUNCHING,  S.NEVER_BEGAN,        P.LAUNCHING, Do.LAUNCH),  # died between promise and start: same number
    Row(P.LAUNCHING,  S.CANNOT_BEGIN,       P.STOPPING,  Do.STOP),    # fences the number, so that it never starts late
    Row(P.LAUNCHING,  S.ALIVE,              P.RUNNING),
    Row(P.LAUNCHING,  S.UNWANTED,           P.STOPPING,  Do.STOP),
    Row(P.LAUNCHING,  S.UNATTENDED,         P.STOPPING,  Do.STOP),
    Row(P.LAUNCHING,  S.ENDED,              P.ENDED),                 # quicker than a heartbeat

    Row(P.RUNNING,    S.UNSEEN,             P.RUNNING),               # could not look is not "not there"
    Row(P.RUNNING,    S.ALIVE,              P.RUNNING),
    Row(P.RUNNING,    S.LATE,               P.RUNNING,   tell=Tell.STILL_RUNNING),
    Row(P.RUNNING,    S.STALLED,            P.STOPPING,  Do.STOP),    # the strike counts when the end is proved
    Row(P.RUNNING,    S.UNWANTED,           P.STOPPING,  Do.STOP),
    Row(P.RUNNING,    S.UNATTENDED,         P.STOPPING,  Do.STOP),    # sweep what it left before it is called lost
    Row(P.RUNNING,    S.NEVER_BEGAN,        P.STOPPING,  Do.STOP),    # somebody removed its directory
    Row(P.RUNNING,    S.ENDED,              P.ENDED),

    Row(P.STOPPING,   S.UNSEEN,             P.STOPPING),
    Row(P.STOPPING,   S.STARTING,           P.STOPPING),
    Row(P.STOPPING,   S.ALIVE,              P.STOPPING),              # TERM, grace, KILL take their time
    Row(P.STOPPING,   S.UNATTENDED,         P.STOPPING,  Do.STOP),
    Row(P.STOPPING,   S.NEVER_BEGAN,        P.STOPPING,  Do.STOP),
    Row(P.STOPPING,   S.ENDED,              P.ENDED),

    Row(P.ENDED,      S.SUCCEEDED,          P.COMPLETED, tell=Tell.COMPLETED),
    Row(P.ENDED,      S.WORTH_RETRY,        P.QUEUED,    count=Count.TRY, tell=Tell.RETRY),
    Row(P.ENDED,      S.OUT_OF_TRIES,       P.FAILED,    count=Count.TRY, tell=Tell.FAILED),
    Row(P.ENDED,      S.STRUCK,             P.QUEUED,    count=Count.STRIKE, tell=Tell.STALL),
    Row(P.ENDED,      S.STRUCK_OUT,         P.SKIPPED,   count=Count.STRIKE, tell=Tell.STRUCK_OUT),
    Row(P.ENDED,      S.LIMITED,            P.QUEUED,    tell=Tell.LIMIT),
    Row(P.ENDED,      S.LIMITED_FOR_GOOD,   P.FAILED,    tell=Tell.FAILED),
    Row(P.ENDED,      S.ASKED,              P.BLOCKED,   tell=Tell.BLOCKED),
    Row(P.ENDED,      S.REBOOTED,           P.QUEUED,    count=Count.REBOOT),
    Row(P.ENDED,      S.REBOOTED_TOO_OFTEN, P.FAILED,    count=Count.REBOOT, tell=Tell.FAILED),
    Row(P.ENDED,      S.CALLED_OFF,         P.QUEUED),                # awm stop: head of the queue, loop paused
    Row(P.ENDED,      S.DISMISSED,          P.SKIPPED,   tell=Tell.SKIPPED),

    Row(P.CLOSED,     S.TOO_EARLY,          P.CLOSED),
    Row(P.CLOSED,     S.DUE,                P.OPEN,      tell=Tell.OPENED),

    Row(P.WORKING,    S.FED,                P.WORKING),
    Row(P.WORKING,    S.DRAINED,            P.IDLE,      tell=Tell.REPORT),
    Row(P.IDLE,       S.FED,                P.WORKING),
    Row(P.IDLE,       S.DRAINED,            P.IDLE),
)  # fmt: skip
ROWS = {(row.phase, row.signal): row for row in TABLE}
if len(ROWS) != len(TABLE):
    raise AssertionError("two rows of TABLE answer one question")


class ImpossibleStep(Exception):  # noqa: N818  a bug of ours, named for what happened
    """The table has no row for what was seen. A bug of ours: nothing was changed."""

    def __init__(self, phase: Phase, signal: Signal) -> None:
        super().__init__(f"no row for ({phase}, {signal})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A signal with what made it: `reason` for people, the rest for the row's consequences."""

    signal: Signal
    reason: str = ""
    chosen: choice.Chosen | None = None
    spec: SpecRead | None = None
    result: Result | None = None
    closes: Deadline | None = None  # the account, until then


def row_for(phase: Phase, signal: Signal) -> Row:
    """The one row that answers; raises ImpossibleStep where there is none."""
    row = ROWS.get((phase, signal))
    if row is None:
        raise ImpossibleStep(phase, signal)
    return row


def classify_queued(work: Work, task_id: str, seen: TaskSeen | None, now: Instant, policy: Policy) -> Judged:
    """A queued task that is next in order. `seen` is None while it is not due: then its spec is not even read."""
    if choice.is_waiting(work, task_id, now):
        return Judged(signal=Signal.TOO_EARLY)
    match seen:
        case None:
            raise AssertionError(f"{task_id} is due and its spec was not read")
        case SpecBad(reason=reason):
            return Judged(signal=Signal.UNFIT, reason=reason)
        case SpecRead(spec=spec):
            if spec.unbuilt:
                lines = ", ".join(f"`{line}`" for line in spec.unbuilt)
                return Judged(signal=Signal.UNFIT, reason=f"the spec asks for what this version cannot do: {lines}")
            match choice.pick_agent(spec, work, now, policy):
                case choice.Unfit(reason=reason):
                    return Judged(signal=Signal.UNFIT, reason=reason)
                case choice.AllClosed(accounts=accounts):
                    return Judged(signal=Signal.ACCOUNT_CLOSED, reason=", ".join(accounts))
                case choice.Chosen() as chosen:
                    return Judged(signal=Signal.READY, chosen=chosen, spec=seen)
                case other:
                    assert_never(other)
        case other_seen:
            assert_never(other_seen)


def classify_live(work: Work, attempt: Attempt, seen: AttemptSeen, now: Instant, policy: Policy) -> Judged:
    """A live attempt, by what its probe saw."""
    match seen:
        case ProbeFailed(reason=reason):
            return Judged(signal=Signal.UNSEEN, reason=reason)
        case Exited(result=result) if attempt.phase is Phase.ENDED:
            return _verdict(work, attempt, result, now, policy)
        case Exited(result=result):
            return Judged(signal=Signal.ENDED, result=result)
        case Unattended():
            return Judged(signal=Signal.UNATTENDED, reason="its supervisor is gone and left no result")
        case NotStarted() if attempt.phase is Phase.LAUNCHING and attempt.stop is not None:
            return Judged(signal=Signal.UNWANTED, reason=attempt.stop.value)
        case NotStarted() if attempt.phase is Phase.LAUNCHING and attempt.launches >= policy.launches_max:
            return Judged(signal=Signal.CANNOT_BEGIN, reason=f"it did not start in {attempt.launches} launches")
        case NotStarted():
            return Judged(signal=Signal.NEVER_BEGAN)
        case Starting() | Alive() if attempt.stop is not None and attempt.phase is not Phase.STOPPING:
            return Judged(signal=Signal.UNWANTED, reason=attempt.stop.value)
        case Starting():
            return Judged(signal=Signal.STARTING)
        case Alive():
            return _liveness(attempt, seen, policy)
        case other:
            assert_never(other)


def _liveness(attempt: Attempt, seen: Alive, policy: Policy) -> Judged:
    """SPEC 8.4. Busy time without progress counts a quarter; at the limit it is a stall, just below it is not."""
    quiet_seconds = seen.idle_seconds + seen.busy_seconds / policy.stall_busy_factor
    if attempt.phase is Phase.RUNNING and quiet_seconds >= policy.stall_seconds:
        kind = "idle" if seen.idle_seconds >= seen.busy_seconds else "busy"
        minutes = (seen.idle_seconds + seen.busy_seconds) / 60
        return Judged(signal=Signal.STALLED, reason=f"no progress for {minutes:.1f} min, mostly {kind}")
    eta = attempt.eta_seconds
    is_late = eta is not None and seen.running_seconds >= policy.late_factor * eta
    if attempt.phase is Phase.RUNNING and is_late and not attempt.told_late:
        return Judged(signal=Signal.LATE)
    return Judged(signal=Signal.ALIVE)


def _verdict(work: Work, attempt: Attempt, result: Result, now: Instant, policy: Policy) -> Judged:
    """SPEC 7.2: what an outcome means for its task, by the counts it has so far."""
    task = work.task(attempt.task)

    def judged(signal: Signal, reason: str = "") -> Judged:
        return Judged(signal=signal, reason=reason or result.error or result.summary, result=result)

    if result.outcome is Outcome.SUCCEEDED:
        return judged(Signal.SUCCEEDED)
    if attempt.stop is StopReason.SKIP:
        return judged(Signal.DISMISSED, "skipped by hand")
    match result.outcome:
        case Outcome.HOLLOW | Outcome.FAILED | Outcome.LOST:
            return judged(Signal.WORTH_RETRY if task.tries < policy.retries_max else Signal.OUT_OF_TRIES)
        case Outcome.STALLED | Outcome.TIMED_OUT:
            return judged(Signal.STRUCK if task.strikes + 1 < policy.strikes_max else Signal.STRUCK_OUT)
        case Outcome.LIMITED:
            return _limited(work, attempt, result, now, policy)
        case Outcome.BLOCKED:
            return judged(Signal.ASKED, result.question)
        case Outcome.REBOOTED:
            return judged(Signal.REBOOTED if task.reboots < policy.reboots_max else Signal.REBOOTED_TOO_OFTEN)
        case Outcome.STOPPED:
            return judged(Signal.CALLED_OFF, "stopped by hand")
        case other:
            assert_never(other)


def _limited(work: Work, attempt: Attempt, result: Result, now: Instant, policy: Policy) -> Judged:
    """SPEC 9.1: the stated reset, else the configured wait doubled for each limit in a row; margin, then clamp."""
    resets_at = result.limit.resets_at if result.limit else None
    if resets_at is not None:
        wait_seconds = max((resets_at - now.wall).total_seconds(), 0.0)
    else:
        hits = work.accounts[attempt.account].hits if attempt.account in work.accounts else 0
        wait_seconds = min(policy.limit_retry_seconds * 2 ** min(hits, 16), policy.limit_retry_max_seconds)
    closes = Deadline.after(min(wait_seconds + policy.limit_margin_seconds, policy.limit_max_seconds), now)
    if policy.retry_on_limit or choice.fallback(attempt, work, now, policy) is not None:
        return Judged(signal=Signal.LIMITED, reason=result.error, result=result, closes=closes)
    reason = result.error or "limited, with `retryOnRateLimit` off and no fallback open"
    return Judged(signal=Signal.LIMITED_FOR_GOOD, reason=reason, result=result, closes=closes)


def classify_account(account: Account, now: Instant) -> Judged:
    """An account that has a deadline; at the deadline it opens."""
    return Judged(signal=Signal.TOO_EARLY if choice.is_closed(account, now) else Signal.DUE)


def classify_loop(work: Work) -> Judged:
    """The loop itself: work to do, or none left."""
    return Judged(signal=Signal.FED if work.queue or work.attempts else Signal.DRAINED)
