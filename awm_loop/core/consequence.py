"""What a row changes: lists, counts, deadlines, notices and the journal. It decides nothing; the row has decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from awm_loop.core import choice, notice
from awm_loop.core.effect import Launch, Stop
from awm_loop.core.estimate import estimate
from awm_loop.core.machine import Count, Do, Judged, Row, Signal, Tell, row_for
from awm_loop.core.model import (
    Account,
    Attempt,
    Deadline,
    Earlier,
    Ended,
    Instant,
    LogEntry,
    Notice,
    Phase,
    Policy,
    StopReason,
    Task,
    Work,
)
from awm_loop.core.observation import Result

EARLIER_MAX = 5  # ended attempts remembered for the next prompt and for `awm status`


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What every row is taken under: the time and the rules."""

    now: Instant
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row taken. `work is` the work given when nothing changed."""

    work: Work
    row: Row
    task: str = ""
    attempt: int | None = None
    reason: str = ""


def take_queued(work: Work, task_id: str, judged: Judged, moment: Moment) -> Step:
    """A row of the next queued task: launch it, leave it, or block it."""
    row = row_for(Phase.QUEUED, judged.signal)
    if row.is_quiet:
        return Step(work=work, row=row, task=task_id, reason=judged.reason)
    without = replace(work, queue=tuple(other for other in work.queue if other != task_id))
    if row.then is Phase.LAUNCHING:
        return _launch(without, task_id, judged, row, moment)
    task = replace(work.task(task_id), reason=judged.reason)
    changed = _told(_place(without, task, row.then, None, moment), row, _blocked_text(task_id, judged.reason), moment)
    return Step(work=_noted(changed, row, (task_id, None), judged.reason, moment), row=row, task=task_id)


def take_live(work: Work, attempt: Attempt, judged: Judged, moment: Moment) -> Step:
    """A row of a live attempt: go on, stop it, or settle what its result means for the task."""
    row = row_for(attempt.phase, judged.signal)
    if row.is_quiet:
        return Step(work=work, row=row, task=attempt.task, attempt=attempt.number, reason=judged.reason)
    if attempt.phase is Phase.ENDED:
        changed = _settle(work, attempt, judged, row, moment)
    else:
        changed = _move(work, attempt, judged, row)
        if row.tell is Tell.STILL_RUNNING:
            text = f"⏳ Sprint {attempt.task} is still running — past twice its ETA of " + notice.minutes_text(
                attempt.eta_seconds or 0
            )
            changed = _told(changed, row, (attempt.task, text), moment)
    changed = _noted(changed, row, (attempt.task, attempt.number), judged.reason, moment)
    return Step(work=changed, row=row, task=attempt.task, attempt=attempt.number, reason=judged.reason)


def take_account(work: Work, account: Account, judged: Judged, moment: Moment) -> Step:
    """A row of an account with a deadline."""
    row = row_for(Phase.CLOSED, judged.signal)
    if row.is_quiet:
        return Step(work=work, row=row)
    changed = replace(work, accounts={**work.accounts, account.name: replace(account, deadline=None)})
    agent = moment.policy.agents.get(account.agent)
    name = notice.display(agent) if agent else account.name
    changed = _told(changed, row, ("", f"⚡ {name} is available again."), moment)
    return Step(work=_noted(changed, row, ("", None), f"account {account.name}", moment), row=row)


def take_loop(work: Work, judged: Judged, moment: Moment) -> Step:
    """A row of the loop: to rest with a report, or back to work."""
    row = row_for(work.phase, judged.signal)
    if row.is_quiet:
        return Step(work=work, row=row)
    if row.then is Phase.WORKING:
        changed = replace(work, active=True, idle_since=None, report=())
    else:
        changed = replace(work, active=False, idle_since=moment.now.wall)
        if work.report:
            changed = _told(changed, row, ("", notice.report(work.report, work)), moment)
    return Step(work=_noted(changed, row, ("", None), "", moment), row=row)


def note(work: Work, now: Instant, what: str, task: str = "", reason: str = "") -> Work:
    """Journal a thing done that is no row: a person's command, an undelivered notice, a swept lock."""
    entry = LogEntry(seq=work.seq + 1, at=now.wall, what=what, task=task, note=reason)
    return replace(work, seq=entry.seq, log=(*work.log, entry))


def _launch(work: Work, task_id: str, judged: Judged, row: Row, moment: Moment) -> Step:
    if judged.chosen is None or judged.spec is None:
        raise AssertionError("READY without an agent and a spec")
    seen, agent, policy = judged.spec, judged.chosen.agent, moment.policy
    spec, task = seen.spec, work.task(task_id)
    guess = estimate(seen.past, agent.name, spec.type)
    eta_minutes = guess.minutes if guess else spec.estimate_minutes
    minutes_max = spec.timeout_minutes
    attempt = Attempt(
        task=task_id,
        number=work.next_attempt,
        phase=row.then,
        agent=agent.name,
        account=agent.account,
        model=agent.model,
        title=spec.title,
        spec_path=spec.path,
        workspace=work.project,
        type=spec.type,
        require_commit=policy.require_commit and spec.commit and seen.head is not None,
        limit_seconds=policy.attempt_max_seconds if minutes_max is None else minutes_max * 60,
        promised_at=moment.now.wall,
        chain=judged.chosen.chain,
        eta_seconds=None if eta_minutes is None else eta_minutes * 60,
    )
    started = replace(
        task,
        not_before=None,
        reason="",
        attempts=task.attempts + 1,
        base=seen.head if task.base is None else task.base,
    )
    changed = replace(
        work,
        attempts=(*work.attempts, attempt),
        tasks={**work.tasks, task_id: started},
        next_attempt=work.next_attempt + 1,
        pending=Launch(key=attempt.key),
    )
    eta = notice.eta_text(attempt.eta_seconds, guess is not None)
    text = notice.started(changed, attempt, agent, eta, seen.next_up)
    changed = _told(changed, row, (task_id, text), moment)
    changed = _noted(changed, row, (task_id, attempt.number), agent.name, moment)
    return Step(work=changed, row=row, task=task_id, attempt=attempt.number)


def _move(work: Work, attempt: Attempt, judged: Judged, row: Row) -> Work:
    """A row between the phases of a live attempt, with its effect promised."""
    why = _STOP_REASONS.get(judged.signal, StopReason.UNATTENDED) if row.do is Do.STOP else None
    moved = replace(
        attempt,
        phase=row.then,
        launches=attempt.launches + (row.do is Do.LAUNCH),
        stop=attempt.stop or why,
        told_late=attempt.told_late or row.tell is Tell.STILL_RUNNING,
    )
    changed = replace(work, attempts=tuple(moved if other.key == moved.key else other for other in work.attempts))
    if row.do is Do.LAUNCH:
        return replace(changed, pending=Launch(key=moved.key))
    if row.do is Do.STOP and moved.stop is not None:
        return replace(changed, pending=Stop(key=moved.key, why=moved.stop.value))
    return changed


_STOP_REASONS: Mapping[Signal, StopReason] = {
    Signal.STALLED: StopReason.STALLED,
    Signal.CANNOT_BEGIN: StopReason.CANNOT_BEGIN,
}


def _settle(work: Work, attempt: Attempt, judged: Judged, row: Row, moment: Moment) -> Work:
    """A row from ENDED: the attempt leaves, its counts stay with the task, the account learns of a limit."""
    result = judged.result
    if result is None:
        raise AssertionError("a verdict without a result")
    task = _counted(work.task(attempt.task), attempt, result, row)
    if row.count is Count.TRY and row.then is Phase.QUEUED:
        backoff = moment.policy.backoff_seconds
        wait_seconds = backoff[min(task.tries, len(backoff)) - 1]
        task = replace(task, not_before=Deadline.after(wait_seconds, moment.now) if wait_seconds > 0 else None)
    if row.then is not Phase.QUEUED:
        task = replace(task, reason="" if row.then is Phase.COMPLETED else judged.reason)
    changed = replace(work, attempts=tuple(other for other in work.attempts if other.key != attempt.key))
    if result.removed_locks:
        changed = note(changed, moment.now, "removed git locks", task.id, ", ".join(result.removed_locks))
    changed = _with_account(changed, attempt, judged, result)
    changed = _place(changed, task, row.then, (attempt, result), moment)
    if judged.signal is Signal.CALLED_OFF:
        changed = replace(changed, active=False, idle_since=None)
    return _told(changed, row, (task.id, _verdict_text(changed, attempt, task, judged, moment)), moment)


def _counted(task: Task, attempt: Attempt, result: Result, row: Row) -> Task:
    ended = Earlier(
        number=attempt.number,
        outcome=result.outcome,
        agent=attempt.agent,
        summary=notice.one_line(result.error or result.summary),
        seconds=result.seconds,
    )
    cost = None if (task.cost_usd, result.cost_usd) == (None, None) else (task.cost_usd or 0) + (result.cost_usd or 0)
    return replace(
        task,
        tries=task.tries + (row.count is Count.TRY),
        strikes=task.strikes + (row.count is Count.STRIKE),
        reboots=task.reboots + (row.count is Count.REBOOT),
        seconds=task.seconds + result.seconds,
        cost_usd=cost,
        earlier=(*task.earlier, ended)[-EARLIER_MAX:],
        work_may_exist=False,
    )


def _place(work: Work, task: Task, then: Phase, ended: tuple[Attempt, Result] | None, moment: Moment) -> Work:
    """Put the task into the list its phase names; one that left the queue goes to the report and the metrics."""
    tasks = {**work.tasks, task.id: task}
    if then is Phase.QUEUED:
        return replace(work, queue=(task.id, *work.queue), tasks=tasks)
    if then is Phase.COMPLETED:
        del tasks[task.id]
    changed = replace(work, tasks=tasks, report=(*work.report, _ended(task, then, ended, moment.now)))
    match then:
        case Phase.COMPLETED:
            return replace(changed, completed=(*work.completed, task.id))
        case Phase.FAILED:
            return replace(changed, failed=(*work.failed, task.id))
        case Phase.SKIPPED:
            return replace(changed, skipped=(*work.skipped, task.id))
        case Phase.BLOCKED:
            return replace(changed, blocked=(*work.blocked, task.id))
        case _:
            raise AssertionError(f"a task cannot be placed in {then}")


def _ended(task: Task, then: Phase, ended: tuple[Attempt, Result] | None, now: Instant) -> Ended:
    attempt, result = ended or (None, None)
    is_done = then is Phase.COMPLETED
    return Ended(
        task=task.id,
        number=attempt.number if attempt else None,
        outcome=then,
        agent=attempt.agent if attempt else "",
        model=attempt.model if attempt else "",
        type=attempt.type if attempt else "",
        at=now.wall,
        minutes=result.seconds / 60 if result else 0.0,
        minutes_in_all=task.seconds / 60,
        attempts=task.attempts,
        eta_minutes=attempt.eta_seconds / 60 if attempt and attempt.eta_seconds is not None else None,
        error_type="" if is_done or not result else result.outcome.value,
        notes=notice.one_line(result.error or result.summary) if result else notice.one_line(task.reason),
        commit=result.commits[-1] if is_done and result and result.commits else "",
        tokens=result.tokens if result else None,
        cost_usd=task.cost_usd,
    )


def _with_account(work: Work, attempt: Attempt, judged: Judged, result: Result) -> Work:
    """A limit closes the account; a success forgets its limits."""
    accounts = dict(work.accounts)
    if judged.closes is not None:
        known = accounts.get(attempt.account)
        stated = result.limit is not None and result.limit.resets_at is not None
        accounts[attempt.account] = Account(
            name=attempt.account,
            deadline=judged.closes,
            source=result.limit.source if result.limit else "",
            agent=attempt.agent,
            hits=0 if stated else (known.hits if known else 0) + 1,
        )
    elif judged.signal is Signal.SUCCEEDED:
        accounts.pop(attempt.account, None)
    return replace(work, accounts=accounts)


def _verdict_text(work: Work, attempt: Attempt, task: Task, judged: Judged, moment: Moment) -> str:
    policy, result = moment.policy, judged.result
    why = notice.one_line(judged.reason) or "no reason given"
    match judged.signal:
        case Signal.SUCCEEDED if result is not None:
            commit = result.commits[-1] if result.commits else ""
            return notice.completed(attempt, result.summary, result.seconds, commit)
        case Signal.WORTH_RETRY:
            wait = notice.roughly(task.not_before.remaining_seconds(moment.now)) if task.not_before else "a moment"
            tries = f"try {task.tries} of {policy.retries_max + 1}"
            return f"🔁 Sprint {task.id}: {tries} did not work — {why}. Next in {wait}"
        case Signal.STRUCK:
            return f"⚠️ Sprint {task.id} stalled (strike {task.strikes} of {policy.strikes_max}) — {why}. Starting again"
        case Signal.STRUCK_OUT:
            times = f"{task.strikes} times" if task.strikes != 1 else "once"
            return f"⚠️ Sprint {task.id} stalled {times}. Root cause: {why}. Action: skipped, evidence kept"
        case Signal.LIMITED:
            return _limit_text(work, attempt, judged, moment)
        case Signal.ASKED:
            return _blocked_text(task.id, judged.reason)[1]
        case Signal.DISMISSED:
            return f"⏭️ Sprint {task.id} skipped — {why}"
        case _:
            return f"❌ Sprint {task.id} failed — {why}"


def _limit_text(work: Work, attempt: Attempt, judged: Judged, moment: Moment) -> str:
    agent = moment.policy.agents.get(attempt.agent)
    name = notice.display(agent) if agent else attempt.agent
    wait_seconds = judged.closes.left_seconds - moment.policy.limit_margin_seconds if judged.closes else 0.0
    stated = judged.result is not None and judged.result.limit is not None and judged.result.limit.resets_at
    resets = f"Resets in {notice.roughly(wait_seconds)}" if stated else f"Retry in {notice.roughly(wait_seconds)}"
    other = choice.fallback(attempt, work, moment.now, moment.policy)
    then = f"Falling back to {notice.display(other)}." if other else "Waiting."
    return f"⚡ {name} rate limited. {resets}. {then}"


def _blocked_text(task_id: str, reason: str) -> tuple[str, str]:
    why = notice.one_line(reason) or "no reason given"
    return task_id, f"✋ Sprint {task_id} is blocked — {why}. When that is mended: awm retry {task_id}"


def _told(work: Work, row: Row, message: tuple[str, str], moment: Moment) -> Work:
    """Put the row's notice into the outbox, for every channel that wants its kind (SPEC 12.2)."""
    policy = moment.policy
    if row.tell is Tell.NOTHING or not (policy.notify_user or row.tell.value in notice.ALWAYS_SENT):
        return work
    told = Notice(
        id=f"n{work.next_notice}",
        kind=row.tell.value,
        task=message[0],
        at=moment.now.wall,
        text=message[1],
        channels=policy.channels,
    )
    return replace(work, outbox=(*work.outbox, told), next_notice=work.next_notice + 1)


def _noted(work: Work, row: Row, subject: tuple[str, int | None], reason: str, moment: Moment) -> Work:
    """Journal the row taken, for a task, one of its attempts, or neither."""
    seq, text = work.seq + 1, notice.one_line(reason)
    entry = LogEntry(seq=seq, at=moment.now.wall, what=str(row), task=subject[0], attempt=subject[1], note=text)
    return replace(work, seq=seq, log=(*work.log, entry))
