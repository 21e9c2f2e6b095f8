"""The nouns of AWM, as frozen values (SPEC 2). Nothing here reads a clock, a file or a process."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from awm_loop.core.project import DEFAULT_PROJECT, UNBOUNDED, Bounds, Fired, Priority, Project, Proposal, Spent

# Where a subject of the table stands. A task: LAUNCHING is promised and not yet seen to run, STOPPING was asked to end,
# ENDED has its result, BLOCKED waits for a person, REMOVED is a task no more. An account or project is CLOSED or OPEN,
# the loop WORKING, IDLE, or on its way through a session reset: RESETTING, then RESUMING. A call of a trigger is ARMED
# until it FIRED or was PASSED over.
Phase = StrEnum(
    "Phase",
    "QUEUED LAUNCHING RUNNING STOPPING ENDED COMPLETED FAILED SKIPPED BLOCKED REMOVED CLOSED OPEN "
    "WORKING RESETTING RESUMING IDLE ARMED FIRED PASSED",
)
# Why an attempt is asked to end: by a person (awm stop, awm skip, the task removed from the file or put back into its
# queue there), else by the signal of that name.
StopReason = StrEnum("StopReason", "OPERATOR SKIP REMOVED REQUEUED STALLED UNATTENDED CANNOT_BEGIN OVERSPENT")
# What an analysis advises (SPEC 7.4): try again with its instruction, let its agent do it, or skip.
Advised = StrEnum("Advised", "RELAUNCH TAKEOVER SKIP")
# How an attempt ended: the words of `result.json` (SPEC 8.2).
Outcome = StrEnum(
    "Outcome", "SUCCEEDED HOLLOW FAILED STALLED TIMED_OUT LIMITED AUTH BILLING BLOCKED STOPPED LOST REBOOTED"
)
REBOOT_SLACK_SECONDS = 2 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """An effect: start the attempt `key`; harmless when it has already begun."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """An effect: end the attempt `key` with its whole process tree; harmless when it has already ended."""

    key: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """An effect: write the memory file and drop the sessions (SPEC 11.1); harmless when done for this `key`."""

    key: str
    refused: tuple[str, datetime] | None = None  # why the world does not let it be done, and since when


Effect = Launch | Stop | Reset  # all that a beat may ask of the world, once, after it is promised on disk (SPEC 6.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One moment, on the wall and since boot. `boottime` counts suspend and means nothing in another boot."""

    wall: datetime
    boottime: float
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment before which nothing is done, safe against clock jumps, suspend and reboot (SPEC 9.2)."""

    until: datetime  # for people
    left_seconds: float  # what was left at `set_at`
    set_at: Instant

    @classmethod
    def after(cls, seconds: float, now: Instant) -> "Deadline":
        return cls(until=now.wall + timedelta(seconds=seconds), left_seconds=seconds, set_at=now)

    def remaining_seconds(self, now: Instant) -> float:
        """Seconds still to wait; zero or less when due. Within a boot only the boot clock counts, whatever the wall
        clock does. Over a reboot the wall clock is believed where it moved by at least the uptime and not absurdly far;
        else only the uptime counts, which is late but never stuck (docs/MEASURED.md 5)."""
        if now.boot_id == self.set_at.boot_id:
            return self.left_seconds - (now.boottime - self.set_at.boottime)
        moved = (now.wall - self.set_at.wall).total_seconds()
        believable = now.boottime <= moved <= self.left_seconds + REBOOT_SLACK_SECONDS
        return self.left_seconds - (moved if believable else now.boottime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A configured agent: who works. `account` is who pays; agents that share it share its limit."""

    name: str
    kind: str
    model: str
    account: str
    fallback: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()  # the types of tasks it is for; () for all
    has_sessions: bool = False  # can be told to go on in one


AUTO = "auto"  # the route that learns (SPEC 7.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every number and choice the core decides by, from `awm.toml` and the state file. Lengths are seconds."""

    retries_max: int
    strikes_max: int
    reboots_max: int
    launches_max: int
    backoff_seconds: tuple[float, ...]
    stall_seconds: float
    stall_busy_factor: float
    attempt_max_seconds: float
    late_factor: float
    retry_on_limit: bool
    limit_retry_seconds: float
    limit_retry_max_seconds: float
    limit_margin_seconds: float
    limit_max_seconds: float
    allow_overtake: bool
    max_parallel: int
    isolation: str  # auto, in-place or worktree
    require_commit: bool
    verify: str  # the project's gate, a shell line; "" for none
    gate_first: bool
    reset_after: int  # completions; 0 for never
    context_share_max: float
    default_agent: str
    analysis_agent: str  # "" for none
    resume_sessions: bool = False
    routes: Mapping[str, str] = field(default_factory=dict)  # by type of task, or "default": an agent, or AUTO
    agents: Mapping[str, Agent]
    projects: Mapping[str, Project] = field(default_factory=dict)  # but the default one
    own: Bounds = UNBOUNDED  # of the default one
    bounds: Bounds = UNBOUNDED  # of all projects together
    today: str = ""  # the date that daily budgets count by, as `2026-11-21` ...
    day_ends_at: datetime | None = None  # ... and until when
    notify_user: bool
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a task's spec file says (SPEC 5.1). `text` is the whole file."""

    path: str
    text: str
    title: str
    priority: Priority | None = None  # None where it does not say
    estimate_minutes: float | None = None
    files: tuple[str, ...] = ()
    missing_files: tuple[str, ...] = ()  # of `files`, those that do not exist in the project
    model: str = ""
    type: str = ""
    timeout_minutes: float | None = None
    depends: tuple[str, ...] = ()
    commit: bool = True
    verify: str = ""
    gate_files: tuple[str, ...] = ()
    isolation: str = ""  # in-place or worktree; "" where it does not say
    has_script: bool = False  # an `sh run` block, for agents of kind shell


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """One ended attempt, as the next prompt needs it."""

    number: int
    outcome: Outcome
    agent: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is known of a task beyond its place in a list; most tasks are all defaults and are not written down."""

    id: str
    priority: Priority = Priority.MEDIUM
    not_before: Deadline | None = None
    depends: tuple[str, ...] = ()  # tasks that are to be completed first
    tries: int = 0
    strikes: int = 0
    reboots: int = 0
    attempts: int = 0  # launches in all, for the report
    seconds: float = 0.0  # spent in all its attempts
    cost_usd: float | None = None
    reason: str = ""  # why it failed, was skipped or blocked
    base: str | None = None  # the workspace's commit at the first attempt; "" where it had none
    branch: str = ""  # the branch that was checked out then: accepted work is integrated there
    verify: str | None = None  # its gate, taken at the first attempt ...
    gate_number: int = 0  # ... which had this number
    guidance: tuple[str, ...] = ()  # what a person answered, what an analysis advised: for the next prompts
    analysis: str = ""  # "due" after the last strike, "done" when it was had
    agent: str = ""  # who took it over after the analysis
    sessions: Mapping[str, str] = field(default_factory=dict)  # which limits cut short, to be resumed: by agent
    earlier: tuple[Earlier, ...] = ()  # the newest few
    work_may_exist: bool = False  # found in progress without an attempt of ours (SPEC 4.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One launch of one agent at one task. The number is never used again."""

    task: str
    number: int
    phase: Phase
    agent: str
    account: str
    model: str
    title: str
    spec_path: str
    project_id: str = DEFAULT_PROJECT
    project: str = ""
    workspace: str
    type: str
    require_commit: bool
    verify: str = ""
    gate_files: tuple[str, ...] = ()
    gate_first: bool = False
    is_worktree: bool = False
    is_analysis: bool = False
    limit_seconds: float  # the hard time limit
    promised_at: datetime
    chain: tuple[str, ...] = ()  # the agents fit for the task, in the order they may be asked
    session: str = ""  # of an earlier run of the agent, to go on in; "" for a new one
    eta_seconds: float | None = None
    launches: int = 1
    told_late: bool = False
    stop: StopReason | None = None
    before: str = ""  # re-queued by hand while live: the task it is to stand before, "" for the end of the queue

    @property
    def key(self) -> str:
        return attempt_key(self.task, self.number)


def attempt_key(task: str, number: int) -> str:
    """The attempt's name on disk, in locks and in the agent's environment: no byte of it is the user's."""
    return f"{task_key(task)}.{number}"


def task_key(task: str) -> str:
    """The task's name on disk."""
    return hashlib.sha256(task.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account that met a limit (SPEC 9): closed while it has a deadline, then open until a success clears it."""

    name: str
    deadline: Deadline | None
    source: str
    agent: str  # who met the limit, for the notice when it opens again
    hits: int = 0  # limits in a row that named no time to come, for the doubling


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message of the outbox. `channels` are those that have not had it yet."""

    id: str
    kind: str
    task: str
    at: datetime
    text: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel that failed lately: not tried again before its deadline (SPEC 12.2)."""

    name: str
    failures: int
    not_before: Deadline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of the journal: a row taken or a thing done. `seq` has no gaps."""

    seq: int
    at: datetime
    what: str
    task: str = ""
    attempt: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One finished task: a line of the report and of `work_metrics.json` (SPEC 12.1, 12.3), with its last attempt."""

    task: str
    outcome: Phase  # completed, failed, skipped or blocked
    at: datetime
    number: int | None = None
    agent: str = ""
    model: str = ""
    type: str = ""
    minutes: float = 0.0
    minutes_in_all: float = 0.0
    attempts: int = 0
    eta_minutes: float | None = None
    error_type: str = ""
    notes: str = ""
    commit: str = ""
    project: str = DEFAULT_PROJECT
    fallback_for: str = ""  # the agent that was to do it, where another one did
    tokens: Mapping[str, int] | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The whole state of the loop. `document.py` turns it to and from `current_work.json`."""

    active: bool
    idle_since: datetime | None
    project: str
    queue: tuple[str, ...]
    completed: tuple[str, ...]
    failed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    spec_files: Mapping[str, str] = field(default_factory=dict)
    project_of: Mapping[str, str] = field(default_factory=dict)  # by task; those of the default one are left out
    spent: Mapping[str, Spent] = field(default_factory=dict)  # by project
    closed: Mapping[str, str] = field(default_factory=dict)  # projects whose budget or directory is gone, and why
    fired: Mapping[str, Fired] = field(default_factory=dict)  # by trigger
    proposals: tuple[Proposal, ...] = ()
    tasks: Mapping[str, Task] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    accounts: Mapping[str, Account] = field(default_factory=dict)
    sessions: Mapping[str, str] = field(default_factory=dict)  # since the last reset, to be resumed: by agent
    agents_off: Mapping[str, str] = field(default_factory=dict)  # whose login or bill was refused, and why: by name
    pending: Effect | None = None
    outbox: tuple[Notice, ...] = ()
    channels: Mapping[str, Channel] = field(default_factory=dict)
    report: tuple[Ended, ...] = ()  # since the loop last rested; metrics are recorded from it, each once
    log: tuple[LogEntry, ...] = ()
    seq: int = 0
    next_attempt: int = 1
    next_notice: int = 1
    next_proposal: int = 1
    since_reset: int = 0  # completions
    context_share: float = 0.0  # the fullest context a session reported since the last reset
    reset: Phase | None = None  # RESETTING or RESUMING while a reset is under way

    @property
    def phase(self) -> Phase:
        if self.reset is not None:
            return self.reset
        return Phase.IDLE if self.idle_since is not None else Phase.WORKING

    @property
    def paused(self) -> bool:
        """`active: false` without `idleSince` was written by a person (SPEC 4.4)."""
        return not self.active and self.idle_since is None

    def task(self, task_id: str) -> Task:
        return self.tasks.get(task_id) or Task(id=task_id)

    def attempt(self, key: str) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.key == key), None)
