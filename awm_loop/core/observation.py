"""Everything a look at the world may say. Trouble in the world is one of these, never an exception."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from awm_loop.core.estimate import Past
from awm_loop.core.model import Advised, Outcome, Spec
from awm_loop.core.project import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """An account's limit as the agent reported it. `resets_at` is None where it did not say."""

    resets_at: datetime | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What an analysis attempt answered (SPEC 7.4)."""

    cause: str
    action: Advised
    text: str  # the corrected instruction, or why to skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSeen:
    """How the gate went, the last time the attempt's supervisor ran it (SPEC 10.1)."""

    passed: bool
    before: bool = False  # green before the agent: it was not started
    seconds: float = 0.0
    changed: tuple[str, ...] = ()  # gate files the attempt had changed: it was judged by the version at the base


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`result.json`: how an attempt ended (SPEC 8.2)."""

    outcome: Outcome
    exit_code: int | None
    started_at: datetime
    ended_at: datetime
    seconds: float  # by the boot clock
    summary: str = ""
    error: str = ""
    question: str = ""
    session_id: str = ""
    tokens: Mapping[str, int] | None = None
    cost_usd: float | None = None
    commits: tuple[str, ...] = ()
    gate: GateSeen | None = None  # None where none was run
    limit: Limit | None = None
    advice: Advice | None = None
    context_share: float | None = None  # of the agent's context that is used, where it says
    remark: str = ""  # what a person should know beside the outcome: a judge changed, work salvaged
    next_steps: tuple[str, ...] = ()  # what it proposes for its project
    removed_locks: tuple[str, ...] = ()  # git locks its killed processes left, removed (SPEC 8.3)


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Nobody holds the attempt and it never passed its start: the same number may start (SPEC 7.3)."""


@dataclass(frozen=True, slots=True)
class Starting:
    """A supervisor holds the attempt; the agent has not begun yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """The supervisor holds the attempt. Seconds since the last progress, split into idle and busy (SPEC 8.4)."""

    idle_seconds: float
    busy_seconds: float
    running_seconds: float


@dataclass(frozen=True, slots=True)
class Unattended:
    """It started, its supervisor is gone, and there is no result: sweep before anything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The result is durable."""

    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFailed:
    """Could not look. That is not "not there" (SPEC 7.3)."""

    reason: str


class Site(NamedTuple):
    """A project's directory, as it is found: absolute, by the one name it has after symlinks."""

    directory: str
    head: str | None  # its commit; "" where there is none yet, None outside git
    branch: str  # checked out there; "" where none is


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecRead:
    """The next task's spec and what is known beside it."""

    spec: Spec
    site: Site  # of its project
    worktree: str = ""  # where the task's worktree lies, or would
    past: tuple[Past, ...]  # finished tasks, for the ETA
    next_up: tuple[str, str] | None = None  # id and title of the task after this one, where this one is to start


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecBad:
    """A spec that cannot be used; `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectGone:
    """The directory of a task's project is not there; `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A trigger that is due, or a request from the inbox: a task that is to be queued (SPEC 13.2)."""

    trigger: str  # its id; "" for a request that is of none
    key: str  # the slot, the contents or the request: taken once
    task: str  # the id it gets
    project: str
    priority: Priority = Priority.MEDIUM
    spec_path: str  # written already
    may_overlap: bool = False  # queue it though the trigger's last task is not over
    problem: str = ""  # why it cannot be queued, for people
    missed: str = ""  # why it is let pass: its slot is older than the grace


AttemptSeen = NotStarted | Starting | Alive | Unattended | Exited | ProbeFailed
TaskSeen = SpecRead | SpecBad | ProjectGone
