"""What a row changes: lists, counts, deadlines, notices and the journal. It decides nothing; the row has decided."""

from dataclasses import replace
from typing import Any, NamedTuple

from awm_loop.core import model, notice, projects
from awm_loop.core.estimate import estimate
from awm_loop.core.machine import ROWS, Count, Do, Judged, Row, Signal, Tell
from awm_loop.core.model import (
    Account,
    Attempt,
    Effect,
    Ended,
    Instant,
    Launch,
    Phase,
    Policy,
    Stop,
    StopReason,
    Task,
    Work,
)
from awm_loop.core.observation import Advice, Call, Result, SpecRead
from awm_loop.core.project import DEFAULT_PROJECT, NEVER, Fired, Proposal, Use

EARLIER_MAX = 5  # ended attempts remembered for the next prompt
PROPOSALS_MAX = 50  # kept until a person has looked


class Moment(NamedTuple):
    """What every row is taken under: the time and the rules."""

    now: Instant
    policy: Policy


class Step(NamedTuple):
    """One row taken. `work is` the work given when nothing changed."""

    work: Work
    row: Row
    task: str = ""
    attempt: int | None = None
    reason: str = ""


def take_queued(work: Work, task_id: str, judged: Judged, moment: Moment) -> Step:
    """A row of the next queued task: launch it, leave it, or block it."""
    step = Step(work=work, row=ROWS[Phase.QUEUED, judged.signal], task=task_id, reason=judged.reason)
    project_id = projects.project_of(work, task_id)
    if judged.signal is Signal.READY:
        return _launched(step, judged, moment)
    if judged.signal is Signal.HOMELESS:
        changed = replace(work, closed={**work.closed, project_id: notice.one_line(judged.reason)})
        return _written(step, changed, notice.HOMELESS.format(project=project_id, why=judged.reason), moment)
    if step.row.then is Phase.QUEUED:
        return step
    text, named = notice.blocked(work, task_id, judged)
    tasks = {**work.tasks, **{other: replace(work.task(other), reason=judged.reason) for other in named}}
    changed = replace(work, queue=tuple(other for other in work.queue if other != task_id), tasks=tasks)
    line = Ended(task=task_id, outcome=step.row.then, at=moment.now.wall, project=project_id)
    return _written(step, _parted(changed, work.task(task_id), step, line), text, moment)


def take_live(work: Work, attempt: Attempt, judged: Judged, moment: Moment) -> Step:
    """A row of a live attempt: go on, stop it, or settle what its result means for the task."""
    row = ROWS[attempt.phase, judged.signal]
    step = Step(work=work, row=row, task=attempt.task, attempt=attempt.number, reason=judged.reason)
    if judged.result:
        return _settled(step, attempt, judged.result, judged, moment)
    stop = attempt.stop or (StopReason(judged.signal.value) if row.do is Do.STOP else None)
    told_late = attempt.told_late or row.tell is Tell.STILL_RUNNING
    launches = attempt.launches + (row.do is Do.LAUNCH)
    moved = replace(attempt, phase=row.then, launches=launches, stop=stop, told_late=told_late)
    attempts = tuple(moved if other is attempt else other for other in work.attempts)
    effects: dict[Do, Effect] = {Do.LAUNCH: Launch(key=moved.key), Do.STOP: Stop(key=moved.key, why=str(stop))}
    changed = replace(work, attempts=attempts, pending=effects.get(row.do, work.pending))
    text = notice.of_attempt(work.task(attempt.task), attempt, judged, moment.policy)
    return _written(step, changed, text, moment)


def take_account(work: Work, account: Account, judged: Judged, moment: Moment) -> Step:
    """A row of an account with a deadline."""
    step = Step(work=work, row=ROWS[Phase.CLOSED, judged.signal], reason=f"account {account.name}")
    changed = replace(work, accounts={**work.accounts, account.name: replace(account, deadline=None)})
    return _written(step, changed, notice.OPENED.format(agent=notice.display(account.agent, moment.policy)), moment)


def take_project(work: Work, project_id: str, judged: Judged, moment: Moment) -> Step:
    """A row of a project, or of ALL together: its budget is reached, or what closed it is over."""
    phase = Phase.CLOSED if project_id in work.closed else Phase.OPEN
    step = Step(work=work, row=ROWS[phase, judged.signal], reason=judged.reason or f"project {project_id or 'all'}")
    closed = {name: why for name, why in work.closed.items() if name != project_id}
    if step.row.then is Phase.CLOSED:
        closed[project_id] = judged.reason
    text = notice.budget(project_id, judged.reason, work, moment.policy)
    return _written(step, replace(work, closed=closed), text, moment)


def take_call(work: Work, call: Call, judged: Judged, moment: Moment) -> Step:
    """A row of a trigger that is due, or of a request: its task is queued, or let pass. Taken once (SPEC 13.2)."""
    step = Step(work=work, row=ROWS[Phase.ARMED, judged.signal], task=call.task, reason=judged.reason)
    known = work.fired.get(call.trigger)
    task_id = call.task if step.row.then is Phase.FIRED else known.task if known else ""
    at = moment.now.wall
    if judged.signal is Signal.BROKEN:  # its slot is still to come, once that is mended
        at = known.at if known else NEVER
    fired = {**work.fired, call.trigger: Fired(key=call.key, task=task_id, at=at)}
    changed = replace(work, fired=fired)
    if step.row.then is Phase.FIRED:
        queue, spec_files = (*work.queue, call.task), {**work.spec_files, call.task: call.spec_path}
        project = {} if call.project == DEFAULT_PROJECT else {call.task: call.project}
        of = {name: one for name, one in work.project_of.items() if name != call.task} | project
        task = Task(id=call.task, priority=call.priority)
        tasks = work.tasks if task == Task(id=call.task) else {**work.tasks, call.task: task}
        left = tuple(one for one in work.proposals if call.trigger or one.id != call.key)
        changed = replace(changed, queue=queue, spec_files=spec_files, project_of=of, tasks=tasks, proposals=left)
    return _written(step, changed, notice.TRIGGER.format(trigger=call.trigger or call.task, why=judged.reason), moment)


def take_loop(work: Work, judged: Judged, moment: Moment) -> Step:
    """A row of the loop: to rest with a report, back to work, or a step of a session reset (SPEC 11.1)."""
    step = Step(work=work, row=ROWS[work.phase, judged.signal], reason=judged.reason)
    match step.row.then:
        case Phase.IDLE:
            return _written(step, replace(work, active=False, idle_since=moment.now.wall), notice.report(work), moment)
        case Phase.RESETTING:
            begun = replace(work, reset=step.row.then, pending=model.Reset(key=f"reset.{work.seq}"))
            return _written(step, begun, judged.reason, moment)
        case Phase.RESUMING:
            tasks = {key: replace(task, sessions={}) for key, task in work.tasks.items()}
            fresh = replace(work, reset=step.row.then, since_reset=0, context_share=0.0, sessions={}, tasks=tasks)
            return _written(step, fresh, judged.reason or notice.RESET_DONE, moment)
        case _ if step.row.phase is Phase.RESUMING:
            return _written(step, replace(work, reset=None), notice.standing(work), moment)
        case _:
            return _written(step, replace(work, active=True, idle_since=None, report=()), "", moment)


def note(work: Work, now: Instant, what: str, task: str = "", reason: str = "") -> Work:
    """Journal a thing done that is no row: a person's command, an undelivered notice, a swept lock."""
    entry = model.LogEntry(seq=work.seq + 1, at=now.wall, what=what, task=task, note=reason)
    return replace(work, seq=entry.seq, log=(*work.log, entry))


def _written(step: Step, changed: Work, text: str, moment: Moment) -> Step:
    """The step with what it changed: journalled, and told to every channel that wants its kind (SPEC 12.2)."""
    row, policy, at = step.row, moment.policy, moment.now.wall
    if row.is_quiet:
        return step
    seq, why = changed.seq + 1, notice.one_line(step.reason)
    entry = model.LogEntry(seq=seq, at=at, what=str(row), task=step.task, attempt=step.attempt, note=why)
    if text and (row.tell in notice.ALWAYS_SENT or (policy.notify_user and row.tell is not Tell.NOTHING)):
        name, kind = f"n{changed.next_notice}", row.tell.value
        told = model.Notice(id=name, kind=kind, task=step.task, at=at, text=text, channels=policy.channels)
        changed = replace(changed, outbox=(*changed.outbox, told), next_notice=changed.next_notice + 1)
    return step._replace(work=replace(changed, seq=seq, log=(*changed.log, entry)))


def _launched(step: Step, judged: Judged, moment: Moment) -> Step:
    """READY: a new attempt stands for the queued task, and its launch is promised."""
    work, policy, seen, agent = step.work, moment.policy, judged.seen, judged.agent
    if agent is None or not isinstance(seen, SpecRead):
        raise AssertionError("READY without an agent and a spec")
    project_id = projects.project_of(work, step.task)
    project = projects.found(work, project_id, policy)
    if judged.place is None or project is None:
        raise AssertionError("READY without a place or a project")
    spec, task, head = seen.spec, work.task(step.task), seen.head
    is_analysis = task.analysis == "due"
    session = work.sessions.get(agent.name, "") if policy.resume_sessions and not judged.place.is_worktree else ""
    if task.verify is None:  # its first attempt: the gate and the base are taken now, and stay (SPEC 10.1)
        task = replace(
            task, verify=spec.verify or project.verify, gate_number=work.next_attempt, branch=task.branch or seen.branch
        )
    guess = estimate(seen.past, agent.name, spec.type)
    eta_minutes = guess.minutes if guess else spec.estimate_minutes
    attempt = Attempt(
        task=task.id, number=work.next_attempt, phase=step.row.then, promised_at=moment.now.wall,
        agent=agent.name, account=agent.account, model=agent.model, chain=judged.chain,
        title=spec.title, spec_path=spec.path, type=spec.type,
        project_id=project_id, project=projects.path_of(work, project_id, policy), workspace=judged.place.workspace,
        is_worktree=judged.place.is_worktree, is_analysis=is_analysis,
        require_commit=policy.require_commit and spec.commit and head is not None and not is_analysis,
        verify="" if is_analysis else task.verify or "", gate_files=spec.gate_files, gate_first=policy.gate_first,
        session=task.sessions.get(agent.name) or session,
        limit_seconds=policy.attempt_max_seconds if spec.timeout_minutes is None else spec.timeout_minutes * 60,
        eta_seconds=None if eta_minutes is None else eta_minutes * 60,
    )  # fmt: skip
    task = replace(task, not_before=None, attempts=task.attempts + 1, base=head if task.base is None else task.base)
    queue = tuple(other for other in work.queue if other != task.id)
    changed = replace(work, queue=queue, attempts=(*work.attempts, attempt), tasks={**work.tasks, task.id: task})
    spent = projects.charged(work, project_id, Use(attempts=1), policy.today, attempt.number)
    changed = replace(changed, next_attempt=attempt.number + 1, pending=Launch(key=attempt.key), spent=spent)
    step = step._replace(attempt=attempt.number)
    return _written(step, changed, notice.started(changed, attempt, seen, policy), moment)


def _settled(step: Step, attempt: Attempt, result: Result, judged: Judged, moment: Moment) -> Step:
    """A verdict: the attempt leaves, its counts stay with the task, the account learns of a limit or a success."""
    work, row, now = step.work, step.row, moment.now
    agent = moment.policy.agents.get(attempt.agent)
    if agent is None or not agent.has_sessions:
        result = replace(result, session_id="")
    task = replace(_counted(work.task(attempt.task), attempt, result, step), not_before=judged.not_before)
    accounts, known = dict(work.accounts), work.accounts.get(attempt.account)
    if judged.limited:
        accounts[attempt.account] = judged.limited
    elif row.then is Phase.COMPLETED and known and known.deadline is None:
        del accounts[attempt.account]
    off = {**work.agents_off, attempt.agent: notice.one_line(judged.reason)}
    changed = replace(
        work,
        attempts=tuple(one for one in work.attempts if one is not attempt),
        accounts=accounts,
        agents_off=off if judged.signal is Signal.REFUSED else work.agents_off,
        sessions=_sessions(work, attempt, result, moment.policy),
        spent=projects.charged(work, attempt.project_id, _use(result), moment.policy.today),
        **_proposed(work, attempt, result),
    )
    if result.removed_locks:
        changed = note(changed, now, "removed git locks", task.id, ", ".join(result.removed_locks))
    share = max(work.context_share, result.context_share or 0.0)
    changed = replace(changed, context_share=share, since_reset=work.since_reset + (row.then is Phase.COMPLETED))
    if row.then is Phase.QUEUED:
        is_on = work.active and judged.signal is not Signal.CALLED_OFF
        at = _place_in(work.queue, attempt) if attempt.stop is StopReason.REQUEUED else 0
        queue = (*work.queue[:at], task.id, *work.queue[at:])
        changed = replace(changed, queue=queue, tasks={**work.tasks, task.id: task}, active=is_on)
    elif row.then is Phase.REMOVED:
        tasks = {key: value for key, value in work.tasks.items() if key != task.id}
        of = {key: value for key, value in work.project_of.items() if key != task.id}
        changed = replace(changed, tasks=tasks, project_of=of)
    else:
        stalled = work.task(task.id).earlier[-1:] if attempt.is_analysis else ()  # not the analyst's failure
        line = Ended(
            task=task.id, outcome=row.then, at=now.wall, number=attempt.number, type=attempt.type,
            project=attempt.project_id,
            agent=stalled[0].agent if stalled else attempt.agent, model="" if stalled else attempt.model,
            minutes=result.seconds / 60, tokens=result.tokens,
            eta_minutes=None if attempt.eta_seconds is None else attempt.eta_seconds / 60,
            error_type="" if row.then is Phase.COMPLETED else (stalled[0] if stalled else result).outcome.value,
            fallback_for="" if stalled or attempt.agent in attempt.chain[:1] else "".join(attempt.chain[:1]),
            commit=result.commits[-1] if row.then is Phase.COMPLETED and result.commits else "",
        )  # fmt: skip
        changed = _parted(changed, task, step, line)
    is_known = judged.signal is Signal.REFUSED and attempt.agent in work.agents_off  # told once
    text = "" if is_known else notice.of_attempt(task, attempt, judged, moment.policy)
    return _written(step, changed, text, moment)


def _use(result: Result) -> Use:
    tokens = [result.tokens.get(name, 0) for name in ("input", "output")] if result.tokens else []
    return Use(minutes=result.seconds / 60, tokens=sum(tokens) if tokens else None, cost_usd=result.cost_usd)


def _proposed(work: Work, attempt: Attempt, result: Result) -> dict[str, Any]:
    """What the agent would do next in its project, for a person to accept; the newest ones."""
    new = [
        Proposal(id=f"p{number}", project=attempt.project_id, task=attempt.task, text=notice.one_line(text))
        for number, text in enumerate(result.next_steps, start=work.next_proposal)
    ]
    kept = (*work.proposals, *new)[-PROPOSALS_MAX:]
    return {"proposals": kept, "next_proposal": work.next_proposal + len(new)}


def _sessions(work: Work, attempt: Attempt, result: Result, policy: Policy) -> dict[str, str]:
    """SPEC 11.2: what ended well can be gone on from; what did not is not gone back to."""
    others = {agent: session for agent, session in work.sessions.items() if agent != attempt.agent}
    is_good = policy.resume_sessions and result.outcome is model.Outcome.SUCCEEDED
    is_good = is_good and not attempt.is_analysis and not attempt.is_worktree
    return {**others, attempt.agent: result.session_id} if is_good and result.session_id else others


def _cut_short(task: Task, attempt: Attempt, result: Result) -> dict[str, str]:
    """The sessions that limits cut short: forgotten when somebody worked on the task and came to an end of his own."""
    outcomes = model.Outcome
    is_of_account = result.outcome in {outcomes.LIMITED, outcomes.AUTH, outcomes.BILLING}
    is_cut_short = result.outcome is outcomes.LIMITED and bool(result.session_id)
    kept = dict(task.sessions) if is_of_account else {}
    return kept | {attempt.agent: result.session_id} if is_cut_short else kept


def _place_in(queue: tuple[str, ...], attempt: Attempt) -> int:
    return queue.index(attempt.before) if attempt.before in queue else len(queue)


def _counted(task: Task, attempt: Attempt, result: Result, step: Step) -> Task:
    """The task with what an ended attempt adds to it."""
    count, why = step.row.count, notice.one_line(step.reason)
    earlier = model.Earlier(number=attempt.number, outcome=result.outcome, agent=attempt.agent, summary=why)
    costs = [cost for cost in (task.cost_usd, result.cost_usd) if cost is not None]
    if step.row.signal in {Signal.ADVISED, Signal.GIVEN_UP}:
        task = _advised(task, attempt, result.advice)
    return replace(
        task,
        analysis="due" if step.row.signal is Signal.PUZZLING else task.analysis,
        tries=task.tries + (count is Count.TRY),
        strikes=task.strikes + (count is Count.STRIKE),
        reboots=task.reboots + (count is Count.REBOOT),
        seconds=task.seconds + result.seconds,
        cost_usd=sum(costs) if costs else None,
        earlier=(*task.earlier, earlier)[-EARLIER_MAX:],
        work_may_exist=False,
        sessions=_cut_short(task, attempt, result),
    )


def _advised(task: Task, attempt: Attempt, advice: Advice | None) -> Task:
    """What an analysis changes for the next attempt: its instruction, and who works where it takes over."""
    task = replace(task, analysis="done")
    if advice is None:
        return task
    told = f"An analysis of the stalls found: {advice.cause}\n{advice.text}"
    agent = attempt.agent if advice.action is model.Advised.TAKEOVER else task.agent
    return replace(task, guidance=(*task.guidance, told), agent=agent)


def _parted(work: Work, task: Task, step: Step, line: Ended) -> Work:
    """The task in the list its phase names, and in the report; of a completed one nothing else is remembered."""
    seconds, notes = task.seconds, notice.one_line(step.reason)
    line = replace(line, minutes_in_all=seconds / 60, attempts=task.attempts, cost_usd=task.cost_usd, notes=notes)
    tasks = {**work.tasks, task.id: replace(task, reason=step.reason, not_before=None)}
    if line.outcome is Phase.COMPLETED:
        del tasks[task.id]
    lists: dict[str, Any] = {line.outcome.value: (*getattr(work, line.outcome.value), task.id)}
    return replace(work, tasks=tasks, report=(*work.report, line), **lists)
