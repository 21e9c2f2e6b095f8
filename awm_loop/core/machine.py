"""The loop as a table: every decision of AWM is a row here (SPEC 7). Read this first.

    world --probe--> observation --classify--> signal --TABLE--> row --take--> (work', effect)

`classify_*` own every comparison of numbers and name one signal; the table owns every decision; `consequence.py` writes
a row down. A missing cell is not a default: it raises `KeyError` with the cell, and nothing is changed.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, assert_never

from awm_loop.core import choice, model, observation, projects
from awm_loop.core.model import Account, Agent, Attempt, Deadline, Instant, Outcome, Phase, Policy, StopReason, Work
from awm_loop.core.observation import AttemptSeen, Call, Limit, Result, SpecBad, TaskSeen
from awm_loop.core.project import Use

# An observation, judged against the limits.
Signal = StrEnum(
    "Signal",
    "READY TOO_EARLY TOO_LATE ACCOUNT_CLOSED OCCUPIED UNFIT HINDERED HOMELESS OVERSPENT AVAILABLE "
    "CALLED OVERLAPPING MISSED BROKEN "
    "UNSEEN NEVER_BEGAN HELD CANNOT_BEGIN STARTING ALIVE LATE STALLED UNWANTED UNATTENDED ENDED "
    "SUCCEEDED WORTH_RETRY OUT_OF_TRIES STRUCK PUZZLING ADVISED STRUCK_OUT GIVEN_UP LIMITED LIMITED_FOR_GOOD REFUSED "
    "ASKED REBOOTED REBOOTED_TOO_OFTEN CALLED_OFF DISMISSED RECALLED WITHDRAWN DUE FED DRAINED FULL SAVED TOLD",
)
Do = StrEnum("Do", "NOTHING LAUNCH STOP RESET")  # the effect a row asks for
Count = StrEnum("Count", "NOTHING TRY STRIKE REBOOT")  # what it adds to the task
Tell = StrEnum(  # the notice, by the kinds of SPEC 12.1
    "Tell",
    "NOTHING STARTED COMPLETED RETRY STALL STRUCK_OUT LIMIT OPENED AUTH BLOCKED FAILED SKIPPED STILL_RUNNING RESET "
    "BUDGET PROJECT TRIGGER REPORT",
)


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
    Row(P.QUEUED,     S.ACCOUNT_CLOSED,     P.QUEUED),
    Row(P.QUEUED,     S.OCCUPIED,           P.QUEUED),                # somebody works where it would
    Row(P.QUEUED,     S.TOO_LATE,           P.QUEUED),                # it would not end within its window
    Row(P.QUEUED,     S.HOMELESS,           P.QUEUED,    tell=Tell.PROJECT),  # closes its project, not the loop
    Row(P.QUEUED,     S.UNFIT,              P.BLOCKED,   tell=Tell.BLOCKED),
    Row(P.QUEUED,     S.HINDERED,           P.BLOCKED,   tell=Tell.BLOCKED),  # told once for all that wait for one task
    Row(P.LAUNCHING,  S.UNSEEN,             P.LAUNCHING),
    Row(P.LAUNCHING,  S.STARTING,           P.LAUNCHING),
    Row(P.LAUNCHING,  S.NEVER_BEGAN,        P.LAUNCHING, Do.LAUNCH),  # died between promise and start: same number
    Row(P.LAUNCHING,  S.HELD,               P.LAUNCHING),             # paused between promise and start
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
    Row(P.RUNNING,    S.OVERSPENT,          P.STOPPING,  Do.STOP),    # a hard budget
    Row(P.RUNNING,    S.UNATTENDED,         P.STOPPING,  Do.STOP),    # sweep what it left before it is called lost
    Row(P.RUNNING,    S.ENDED,              P.ENDED),
    Row(P.STOPPING,   S.UNSEEN,             P.STOPPING),
    Row(P.STOPPING,   S.ALIVE,              P.STOPPING),              # TERM, grace, KILL take their time
    Row(P.STOPPING,   S.UNATTENDED,         P.STOPPING,  Do.STOP),
    Row(P.STOPPING,   S.ENDED,              P.ENDED),
    Row(P.ENDED,      S.SUCCEEDED,          P.COMPLETED, tell=Tell.COMPLETED),
    Row(P.ENDED,      S.WORTH_RETRY,        P.QUEUED,    count=Count.TRY, tell=Tell.RETRY),
    Row(P.ENDED,      S.OUT_OF_TRIES,       P.FAILED,    count=Count.TRY, tell=Tell.FAILED),
    Row(P.ENDED,      S.STRUCK,             P.QUEUED,    count=Count.STRIKE, tell=Tell.STALL),
    Row(P.ENDED,      S.PUZZLING,           P.QUEUED,    count=Count.STRIKE, tell=Tell.STALL),  # next: an analysis
    Row(P.ENDED,      S.ADVISED,            P.QUEUED,    tell=Tell.STALL),
    Row(P.ENDED,      S.STRUCK_OUT,         P.SKIPPED,   count=Count.STRIKE, tell=Tell.STRUCK_OUT),
    Row(P.ENDED,      S.GIVEN_UP,           P.SKIPPED,   tell=Tell.STRUCK_OUT),  # the analysis said so, or nothing
    Row(P.ENDED,      S.LIMITED,            P.QUEUED,    tell=Tell.LIMIT),
    Row(P.ENDED,      S.LIMITED_FOR_GOOD,   P.FAILED,    tell=Tell.FAILED),
    Row(P.ENDED,      S.REFUSED,            P.QUEUED,    tell=Tell.AUTH),  # its agent is off until a person says
    Row(P.ENDED,      S.ASKED,              P.BLOCKED,   tell=Tell.BLOCKED),
    Row(P.ENDED,      S.REBOOTED,           P.QUEUED,    count=Count.REBOOT),
    Row(P.ENDED,      S.REBOOTED_TOO_OFTEN, P.FAILED,    count=Count.REBOOT, tell=Tell.FAILED),
    Row(P.ENDED,      S.CALLED_OFF,         P.QUEUED),                # awm stop: head of the queue, loop paused
    Row(P.ENDED,      S.DISMISSED,          P.SKIPPED,   tell=Tell.SKIPPED),
    Row(P.ENDED,      S.RECALLED,           P.QUEUED),                # by hand edit: no pause, to its new place
    Row(P.ENDED,      S.WITHDRAWN,          P.REMOVED),
    Row(P.CLOSED,     S.TOO_EARLY,          P.CLOSED),
    Row(P.CLOSED,     S.DUE,                P.OPEN,      tell=Tell.OPENED),
    Row(P.OPEN,       S.OVERSPENT,          P.CLOSED,    tell=Tell.BUDGET),
    Row(P.CLOSED,     S.AVAILABLE,          P.OPEN),                  # another day, another limit, the disk is back
    Row(P.ARMED,      S.CALLED,             P.FIRED),                 # its task is in the queue
    Row(P.ARMED,      S.OVERLAPPING,        P.PASSED),                # its last task is not over
    Row(P.ARMED,      S.MISSED,             P.PASSED),                # older than its grace
    Row(P.ARMED,      S.BROKEN,             P.PASSED,    tell=Tell.TRIGGER),
    Row(P.WORKING,    S.FED,                P.WORKING),
    Row(P.WORKING,    S.DRAINED,            P.IDLE,      tell=Tell.REPORT),
    Row(P.WORKING,    S.FULL,               P.RESETTING, Do.RESET, tell=Tell.RESET),  # at rest, before the report
    Row(P.RESETTING,  S.SAVED,              P.RESUMING,  tell=Tell.RESET),
    Row(P.RESUMING,   S.TOLD,               P.WORKING,   tell=Tell.RESET),
    Row(P.IDLE,       S.FED,                P.WORKING),
    Row(P.IDLE,       S.DRAINED,            P.IDLE),
)  # fmt: skip
ROWS = {(row.phase, row.signal): row for row in TABLE}
if len(ROWS) != len(TABLE):
    raise AssertionError("two rows of TABLE answer one question")


class Judged(NamedTuple):
    """A signal with what made it: `reason` for people, the rest for the row's consequences."""

    signal: Signal
    reason: str = ""
    seen: TaskSeen | None = None
    agent: Agent | None = None  # who is to be launched, or can go on where a limit ended the attempt
    chain: tuple[str, ...] = ()  # all that are fit, in the order they may be asked
    place: choice.Place | None = None  # where it is to work
    not_before: Deadline | None = None  # of the task
    result: Result | None = None
    limited: Account | None = None  # the account as the limit leaves it


def classify_queued(work: Work, task_id: str, seen: TaskSeen, now: Instant, policy: Policy) -> Judged:
    """The queued task that `choice.candidate` named: it is due."""
    has_unmet = any(other not in work.completed for other in work.task(task_id).depends)
    if has_unmet and (why := projects.waits(work).get(task_id, "")):
        return Judged(Signal.HINDERED, why)
    match seen:
        case SpecBad(reason=why):
            return Judged(Signal.UNFIT, why)
        case observation.ProjectGone(reason=why):
            return Judged(Signal.HOMELESS, why)
    project_id = projects.project_of(work, task_id)
    project = projects.found(project_id, policy)
    preferred = project.agent if project else ""
    agents = choice.fit_agents(seen.spec, work.task(task_id), policy, seen.past, preferred)
    if isinstance(agents, SpecBad):
        return Judged(Signal.UNFIT, agents.reason)
    place = choice.workspace(work, task_id, seen, policy)
    if isinstance(place, SpecBad):
        return Judged(Signal.UNFIT, place.reason)
    if choice.is_occupied(work, place, seen.site.directory):
        return Judged(Signal.OCCUPIED)
    agent = next((one for one in agents if choice.is_open(work, one, now)), None)
    if agent is None:
        return Judged(Signal.ACCOUNT_CLOSED)
    windows = [policy.bounds, *([project.bounds] if project else [])]
    is_late, never = choice.misfit(seen, agent, windows, now)
    if is_late:
        return Judged(Signal.UNFIT, never) if never else Judged(Signal.TOO_LATE)
    chain = tuple(one.name for one in agents)
    return Judged(Signal.READY, agent.name, seen=seen, agent=agent, chain=chain, place=place)


def classify_live(work: Work, attempt: Attempt, seen: AttemptSeen, now: Instant, policy: Policy) -> Judged:
    """A live attempt, by what its probe saw."""
    match seen:
        case observation.ProbeFailed(reason=reason):
            return Judged(Signal.UNSEEN, reason)
        case observation.Exited(result=result) if attempt.phase is Phase.ENDED:
            return _verdict(work, attempt, result, now, policy)
        case observation.Exited():
            return Judged(Signal.ENDED)
        case observation.Unattended():
            return Judged(Signal.UNATTENDED, "its supervisor is gone and left no result")
        case observation.NotStarted() if attempt.phase is not Phase.LAUNCHING:
            return Judged(Signal.UNATTENDED, "its directory is gone")
        case _ if attempt.stop and attempt.phase is not Phase.STOPPING:
            return Judged(Signal.UNWANTED, attempt.stop.value)
        case observation.NotStarted() if work.paused or projects.barred(attempt.project_id, now, policy):
            return Judged(Signal.HELD)
        case observation.NotStarted():
            signal = Signal.NEVER_BEGAN if attempt.launches < policy.launches_max else Signal.CANNOT_BEGIN
            return Judged(signal, f"not started after {attempt.launches} launches")
        case observation.Starting():
            return Judged(Signal.STARTING if attempt.phase is Phase.LAUNCHING else Signal.ALIVE)
        case observation.Alive():
            return (
                Judged(Signal.ALIVE) if attempt.phase is not Phase.RUNNING else _liveness(work, attempt, seen, policy)
            )
        case other:
            assert_never(other)


def _liveness(work: Work, attempt: Attempt, seen: observation.Alive, policy: Policy) -> Judged:
    """SPEC 8.4, and a hard budget (13.3). Busy time without progress counts a quarter; a stall is at the limit."""
    if seen.idle_seconds + seen.busy_seconds / policy.stall_busy_factor >= policy.stall_seconds:
        minutes, is_idle = (seen.idle_seconds + seen.busy_seconds) / 60, seen.idle_seconds >= seen.busy_seconds
        return Judged(Signal.STALLED, f"no progress for {minutes:.1f} min, mostly {'idle' if is_idle else 'busy'}")
    running = Use(minutes=seen.running_seconds / 60)
    for project_id in (attempt.project_id, projects.ALL):
        if why := projects.overspent(work, project_id, policy, running):
            return Judged(Signal.OVERSPENT, why)
    is_late = attempt.eta_seconds is not None and seen.running_seconds >= policy.late_factor * attempt.eta_seconds
    return Judged(Signal.LATE if is_late and not attempt.told_late else Signal.ALIVE)


def _verdict(work: Work, attempt: Attempt, result: Result, now: Instant, policy: Policy) -> Judged:
    """SPEC 7.2: what an outcome means for its task, by the counts it has so far."""
    task, why = work.task(attempt.task), result.error or result.summary
    match result.outcome:
        case Outcome.SUCCEEDED if not attempt.is_analysis:
            signal = Signal.SUCCEEDED
        case _ if attempt.stop in BY_HAND:
            signal, why = BY_HAND[attempt.stop]
        case Outcome.SUCCEEDED:
            is_given_up = result.advice is None or result.advice.action is model.Advised.SKIP
            signal = Signal.GIVEN_UP if is_given_up else Signal.ADVISED
            why = result.advice.cause if result.advice else "its analysis gave no answer"
        case Outcome.REBOOTED:
            signal = Signal.REBOOTED if task.reboots < policy.reboots_max else Signal.REBOOTED_TOO_OFTEN
        case Outcome.LIMITED:
            return _limited(work, attempt, result, now, policy)
        case Outcome.AUTH | Outcome.BILLING:
            return Judged(Signal.REFUSED, why, agent=_fallback(work, attempt, now, policy), result=result)
        case Outcome.STOPPED:
            signal, why = Signal.CALLED_OFF, "stopped by hand"
        case _ if attempt.is_analysis:
            return Judged(Signal.GIVEN_UP, f"its analysis ended as {result.outcome}: {why}", result=result)
        case Outcome.HOLLOW | Outcome.FAILED | Outcome.LOST:
            signal = Signal.WORTH_RETRY if task.tries < policy.retries_max else Signal.OUT_OF_TRIES
        case Outcome.STALLED | Outcome.TIMED_OUT:
            can_be_analysed = not task.analysis and policy.analysis_agent in policy.agents
            last = Signal.PUZZLING if can_be_analysed else Signal.STRUCK_OUT
            signal = Signal.STRUCK if task.strikes + 1 < policy.strikes_max else last
        case Outcome.BLOCKED:
            signal, why = Signal.ASKED, result.question or why
        case other:
            assert_never(other)
    wait_seconds = policy.backoff_seconds[: task.tries + 1][-1] if signal is Signal.WORTH_RETRY else 0
    return Judged(signal, why, not_before=Deadline.after(wait_seconds, now) if wait_seconds else None, result=result)


BY_HAND = {
    StopReason.SKIP: (Signal.DISMISSED, "skipped by hand"),
    StopReason.REMOVED: (Signal.WITHDRAWN, "removed by hand"),
    StopReason.REQUEUED: (Signal.RECALLED, "put back into the queue by hand"),
    StopReason.OVERSPENT: (Signal.RECALLED, "stopped: a budget is reached"),
}


def _limited(work: Work, attempt: Attempt, result: Result, now: Instant, policy: Policy) -> Judged:
    """SPEC 9.1: the stated reset, else the configured wait doubled for each limit in a row; margin, then clamp."""
    known = work.accounts.get(attempt.account) or Account(name=attempt.account, deadline=None, source="", agent="")
    limit = result.limit or Limit(resets_at=None, source="")
    wait_seconds = min(policy.limit_retry_seconds * 2 ** min(known.hits, 16), policy.limit_retry_max_seconds)
    if limit.resets_at is not None:
        wait_seconds = max((limit.resets_at - now.wall).total_seconds(), 0)
    until = Deadline.after(min(wait_seconds + policy.limit_margin_seconds, policy.limit_max_seconds), now)
    hits = known.hits + 1 if limit.resets_at is None else 0
    limited = replace(known, deadline=until, source=limit.source, agent=attempt.agent, hits=hits)
    fallback = _fallback(work, attempt, now, policy)
    chain = [one for name in attempt.chain if (one := policy.agents.get(name)) and name not in work.agents_off]
    waits = [until, *(closed for one in chain if (closed := choice.closed_until(work, one.account, now)))]
    first = None if fallback else min(waits, key=lambda one: one.remaining_seconds(now))
    signal = Signal.LIMITED if policy.retry_on_limit or fallback else Signal.LIMITED_FOR_GOOD
    why = result.error or "its account met a limit"
    return Judged(signal, why, agent=fallback, not_before=first, result=result, limited=limited)


def _fallback(work: Work, attempt: Attempt, now: Instant, policy: Policy) -> Agent | None:
    """Who of those it may ask can go on at once, where its own account cannot."""
    chain = [one for name in attempt.chain if (one := policy.agents.get(name)) and one.account != attempt.account]
    return next((one for one in chain if choice.is_open(work, one, now)), None)


def classify_account(account: Account, now: Instant) -> Judged:
    """An account that has a deadline; at the deadline it opens."""
    return Judged(Signal.TOO_EARLY if choice.is_before(account.deadline, now) else Signal.DUE)


def classify_project(work: Work, project_id: str, gone: str, policy: Policy) -> Judged | None:
    """A project, or ALL together: its budget, and why its directory is `gone`. None: nothing is the matter."""
    why = projects.overspent(work, project_id, policy)
    if project_id in work.closed:
        return Judged(Signal.TOO_EARLY if why or gone else Signal.AVAILABLE)
    return Judged(Signal.OVERSPENT, why) if why else None


def classify_call(work: Work, call: Call) -> Judged | None:
    """A trigger that is due, or a request (SPEC 13.2). None where it was taken: by what its trigger did last."""
    fired = work.fired.get(call.trigger)
    if fired and fired.key == call.key:
        return None
    if call.missed:
        return Judged(Signal.MISSED, call.missed)
    if call.problem:
        return Judged(Signal.BROKEN, call.problem)
    waiting = {*work.queue, *(attempt.task for attempt in work.attempts)}
    if any(call.task in place for place in (waiting, work.completed, work.failed, work.skipped, work.blocked)):
        return Judged(Signal.OVERLAPPING, f"{call.task} is there already")
    if fired and call.trigger and not call.may_overlap and fired.task in waiting:
        return Judged(Signal.OVERLAPPING, f"{fired.task} is not over")
    return Judged(Signal.CALLED, call.task)


def classify_loop(work: Work, policy: Policy) -> Judged:
    """The loop itself: work to do, or none left that starts; a reset that is due at rest, or under way (SPEC 11.1)."""
    if work.reset is not None:
        return Judged(Signal.SAVED if work.reset is Phase.RESETTING else Signal.TOLD)
    why = choice.reset_due(work, policy)
    if why and not work.attempts and work.phase is Phase.WORKING:
        return Judged(Signal.FULL, why)
    stuck = [] if work.attempts else projects.stuck(work, policy)
    is_fed = work.attempts or (work.queue and not stuck)
    return Judged(Signal.FED) if is_fed else Judged(Signal.DRAINED, "; ".join(stuck))
