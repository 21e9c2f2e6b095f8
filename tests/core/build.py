"""Builders of the core's values, and single rows taken from them. Every default is plain and legal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from awm_loop.core.consequence import (
    Moment,
    Step,
    take_account,
    take_call,
    take_live,
    take_loop,
    take_project,
    take_queued,
)
from awm_loop.core.estimate import Past
from awm_loop.core.machine import (
    classify_account,
    classify_call,
    classify_live,
    classify_loop,
    classify_project,
    classify_queued,
)
from awm_loop.core.model import (
    Account,
    Advised,
    Agent,
    Attempt,
    Deadline,
    Earlier,
    Ended,
    Instant,
    LogEntry,
    Notice,
    Outcome,
    Phase,
    Policy,
    Spec,
    StopReason,
    Task,
    Work,
)
from awm_loop.core.observation import (
    Advice,
    Alive,
    AttemptSeen,
    Call,
    Exited,
    ProbeFailed,
    Result,
    Site,
    SpecRead,
    TaskSeen,
)
from awm_loop.core.project import Project, Spent, Use

NOW = Instant(wall=datetime(2026, 1, 1, 3, 0, tzinfo=UTC), boottime=1_000.0, boot_id="boot 1")
CODEX = Agent(name="codex", kind="command", model="gpt-5.2", account="openai", fallback=("opus",))
OPUS = Agent(name="opus", kind="command", model="", account="anthropic")
LOCAL = Agent(name="local", kind="shell", model="", account="local")
POLICY = Policy(
    retries_max=3,
    strikes_max=3,
    reboots_max=5,
    launches_max=5,
    backoff_seconds=(30.0, 60.0, 120.0, 300.0, 900.0),
    stall_seconds=900.0,
    stall_busy_factor=4.0,
    attempt_max_seconds=7_200.0,
    late_factor=2.0,
    retry_on_limit=True,
    limit_retry_seconds=900.0,
    limit_retry_max_seconds=21_600.0,
    limit_margin_seconds=60.0,
    limit_max_seconds=691_200.0,
    allow_overtake=False,
    max_parallel=1,
    isolation="auto",
    verify="",
    gate_first=False,
    reset_after=0,
    context_share_max=0.85,
    analysis_agent="",
    resume_sessions=False,
    require_commit=True,
    default_agent="codex",
    agents={agent.name: agent for agent in (LOCAL, CODEX, OPUS)},
    notify_user=True,
    channels=("console",),
)
SITE = Site(directory="/project", head="base", branch="main")
SPEC = Spec(path="/specs/S1.md", text="# Sprint S1: Search bar\n", title="Search bar", type="coding")
HEALTHY = Alive(idle_seconds=0.0, busy_seconds=0.0, running_seconds=60.0)
STUCK = Alive(idle_seconds=900.0, busy_seconds=0.0, running_seconds=1_000.0)
CANNOT_LOOK = ProbeFailed(reason="disk")
TASK = Task(
    id="S1", attempts=1, base="base", branch="main", verify="", gate_number=1
)  # as the launch of its first attempt leaves it


def later(seconds: float, now: Instant = NOW) -> Instant:
    return replace(now, wall=now.wall + timedelta(seconds=seconds), boottime=now.boottime + seconds)


def read(spec: Spec = SPEC, *, past: tuple[float, ...] = (), **changes: Any) -> SpecRead:
    """A spec in a git repository at commit `base` of `main`, with like tasks that took `past` minutes."""
    told = tuple(Past(agent="codex", type="coding", minutes=minutes) for minutes in past)
    site = SITE._replace(**{name: changes.pop(name) for name in Site._fields if name in changes})
    usual = SpecRead(spec=spec, site=site, worktree="/worktrees/S1", past=told, next_up=None)
    return replace(usual, **changes)


def working(*queue: str, **changes: Any) -> Work:
    """The loop at work, with nothing live."""
    return replace(Work(active=True, idle_since=None, project="/project", queue=queue, completed=()), **changes)


def attempt(**changes: Any) -> Attempt:
    """The first attempt of S1, by codex, seen to run."""
    usual = Attempt(
        task="S1",
        number=1,
        phase=Phase.RUNNING,
        agent="codex",
        account="openai",
        model="gpt-5.2",
        title="Search bar",
        spec_path="/specs/S1.md",
        project="/project",
        workspace="/project",
        type="coding",
        require_commit=True,
        limit_seconds=7_200.0,
        promised_at=NOW.wall,
        chain=("codex", "opus"),
        eta_seconds=720.0,
    )
    return replace(usual, **changes)


def live(*queue: str, phase: Phase = Phase.RUNNING, task: Task | None = None, **changes: Any) -> Work:
    """The loop with its first attempt live, at S1; `changes` are the attempt's."""
    tasks = {"S1": task or TASK}
    return working(*queue, attempts=(attempt(phase=phase, **changes),), tasks=tasks, next_attempt=2)


def result(outcome: Outcome, **changes: Any) -> Result:
    """Eight minutes of work that ended so."""
    ended_at = NOW.wall - timedelta(seconds=1)
    began_at = ended_at - timedelta(minutes=8)
    usual = Result(outcome=outcome, exit_code=1, started_at=began_at, ended_at=ended_at, seconds=480.0)
    return replace(usual, **changes)


def exited(outcome: Outcome, **changes: Any) -> Exited:
    return Exited(result=result(outcome, **changes))


def advised(action: Advised, text: str = "Use a timeout.", cause: str = "It waits for input") -> Exited:
    """An analysis that ended well, with its answer."""
    return exited(Outcome.SUCCEEDED, advice=Advice(cause=cause, action=action, text=text))


def earlier(outcome: Outcome, summary: str, number: int = 1, agent: str = "codex") -> tuple[Earlier, ...]:
    """What a task remembers of an attempt that ended so."""
    return (Earlier(number=number, outcome=outcome, agent=agent, summary=summary),)


def line(outcome: Phase, **changes: Any) -> Ended:
    """The report's line of S1 after its one attempt of eight minutes."""
    usual = Ended(
        task="S1",
        outcome=outcome,
        at=NOW.wall,
        number=1,
        agent="codex",
        model="gpt-5.2",
        type="coding",
        minutes=8.0,
        minutes_in_all=8.0,
        attempts=1,
        eta_minutes=12.0,
    )
    return replace(usual, **changes)


def spent(project: str = "default", last_attempt: int = 0, **use: Any) -> dict[str, Spent]:
    """The ledger of one project, which took that today."""
    return {project: Spent(today=Use(**use), in_all=Use(**use), last_attempt=last_attempt)}


def project(name: str, **changes: Any) -> Project:
    """An active project without bounds."""
    return replace(Project(id=name), **changes)


def changing(work: Work) -> dict[str, Any]:
    """The live attempt's fields that rows change."""
    (one,) = work.attempts
    return {"phase": one.phase, "launches": one.launches, "stop": one.stop, "told_late": one.told_late}


def by_hand(work: Work, stop: StopReason, before: str = "", task: str = "S1") -> Work:
    """The work in which a person asked for the end of the task's attempt."""
    asked = [replace(one, stop=stop, before=before) if one.task == task else one for one in work.attempts]
    return replace(work, attempts=tuple(asked))


def closed(seconds: float, agent: Agent = CODEX, *, hits: int = 0, now: Instant = NOW) -> dict[str, Account]:
    """The account of `agent`, closed for so long."""
    deadline = Deadline.after(seconds, now)
    account = Account(name=agent.account, deadline=deadline, source="result file", agent=agent.name, hits=hits)
    return {agent.account: account}


def entry(seq: int, what: str, task: str = "S1", attempt: int | None = 1, **changes: Any) -> LogEntry:
    return replace(LogEntry(seq=seq, at=NOW.wall, what=what, task=task, attempt=attempt), **changes)


def told(kind: str, text: str, task: str = "S1", number: int = 1) -> Notice:
    return Notice(id=f"n{number}", kind=kind, task=task, at=NOW.wall, text=text, channels=("console",))


def seen_queued(work: Work, task_id: str, seen: TaskSeen | None, now: Instant = NOW, policy: Policy = POLICY) -> Step:
    """One row of a queued task."""
    return take_queued(work, task_id, classify_queued(work, task_id, seen, now, policy), Moment(now=now, policy=policy))


def seen_live(work: Work, seen: AttemptSeen, now: Instant = NOW, policy: Policy = POLICY) -> Step:
    """One row of the live attempt."""
    (one,) = work.attempts
    return take_live(work, one, classify_live(work, one, seen, now, policy), Moment(now=now, policy=policy))


def settled(work: Work, seen: Exited, now: Instant = NOW, policy: Policy = POLICY) -> Step:
    """The two rows of an end: that it is there, and what it means."""
    return seen_live(seen_live(work, seen, now, policy).work, seen, now, policy)


def seen_account(work: Work, name: str, now: Instant = NOW, policy: Policy = POLICY) -> Step:
    account = work.accounts[name]
    return take_account(work, account, classify_account(account, now), Moment(now=now, policy=policy))


def seen_project(work: Work, project_id: str, gone: str = "", policy: Policy = POLICY) -> Step | None:
    judged = classify_project(work, project_id, gone, policy)
    return judged and take_project(work, project_id, judged, Moment(now=NOW, policy=policy))


def seen_call(work: Work, call: Call) -> Step | None:
    judged = classify_call(work, call)
    return judged and take_call(work, call, judged, Moment(now=NOW, policy=POLICY))


def seen_loop(work: Work, now: Instant = NOW, policy: Policy = POLICY) -> Step:
    return take_loop(work, classify_loop(work, policy), Moment(now=now, policy=policy))
