"""The nouns of projects, of what calls for work in them, and of what they may take (SPEC 13), as frozen values."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

Priority = StrEnum("Priority", "CRITICAL HIGH MEDIUM LOW")  # SPEC 5.1: P0 to P3
NEVER = datetime(2000, 1, 1, tzinfo=UTC)  # before every time that a state has
DEFAULT_PROJECT = "default"  # the one of the state file's `project` (SPEC 4.2)
ProjectStatus = StrEnum("ProjectStatus", "ACTIVE PAUSED COMPLETED ARCHIVED")  # SPEC 13.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What attempts took, or may take: of a budget, None is no limit (SPEC 13.3)."""

    attempts: int | None = None
    minutes: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a project's attempts took, on the day of its newest one and in all."""

    day: str = ""
    today: Use = Use()
    in_all: Use = Use()
    last_attempt: int = 0  # the number of its newest one: projects take turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What a trigger did last (SPEC 13.2): for which slot, contents or request, and the task that was queued."""

    key: str
    task: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A next step that an agent proposed for its project; a person accepts it."""

    id: str
    project: str
    task: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """When and how much a project, or all of them, may work (SPEC 13.3). The window is as it stands at this beat."""

    opens_at: datetime | None = None  # closed until then
    closes_at: datetime | None = None  # open until then; None where it never closes
    by_day: Use = Use()
    in_all: Use = Use()
    opened_at: datetime | None = None
    is_hard: bool = False  # running work is stopped too, when a budget is reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What the core needs to know of a project (SPEC 13.1)."""

    id: str
    status: ProjectStatus = ProjectStatus.ACTIVE
    priority: Priority = Priority.MEDIUM  # of its tasks that name none
    agent: str = ""  # "" for the routes
    verify: str = ""  # the gate, a shell line
    isolation: str = ""  # "" for the loop's
    max_parallel: int = 0  # attempts at once; 0 for the loop's
    depends: tuple[str, ...] = ()  # projects that are to be completed first
    bounds: Bounds = Bounds()
