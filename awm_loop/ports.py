"""What a beat needs of the world, as protocols. Adapters are chosen in `wiring.py`; tests bring fakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from awm_loop.core.estimate import Past
from awm_loop.core.model import Attempt, Ended, Instant, Notice, Policy, Spec, Task, Work
from awm_loop.core.observation import AttemptSeen, Call, Site, SpecBad


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The published fields of the state file that are rules rather than state."""

    max_retries: int | None = None  # None: as awm.toml says
    retry_on_limit: bool = True
    limit_retry_minutes: float = 15.0
    notify_user: bool = True
    reset_after: int = 0  # completions; 0: never


@dataclass(frozen=True, slots=True)
class Loaded:
    """The state as it was read, with what the store needs to write it back."""

    work: Work
    settings: Settings
    raw: Mapping[str, object]
    data: bytes
    rev: int
    token: object  # tells a later write whether somebody has edited the file since


class Changed(Exception):  # noqa: N818  not an error: somebody edited the file, look again
    """The state file was edited between load and save; nothing was written."""


class Store(Protocol):
    """The state file. Callers hold its lock."""

    def load(self, now: Instant) -> Loaded | None:
        """The state, or None in a home that never had one. Raises BadFileError."""

    def catch_up(self, loaded: Loaded) -> None:
        """Journal what a crash kept from it, save a hand edit (SPEC 4.3, 4.6). Raises Changed, DiskError."""

    def unread_specs(self, loaded: Loaded) -> Sequence[str]:
        """Where somebody else wrote this state, the queued tasks of which no beat has read the spec since."""

    def specs_read(self, loaded: Loaded, bad: Sequence[str]) -> None:
        """They are read now, but for the `bad` ones; to forget it costs time and no more."""

    def save(self, loaded: Loaded, work: Work, now: Instant) -> Loaded:
        """Write durably. Raises Changed, DiskError."""


class Launcher(Protocol):
    """Starts, probes and stops attempts somewhere (SPEC 8.8). Each verb may be repeated."""

    def start(self, attempt: Attempt, task: Task) -> bool:
        """True when this call began it, False when it was there already."""

    def probe(self, attempts: Sequence[Attempt]) -> Mapping[str, AttemptSeen]:
        """What is seen of each, by key."""

    def stop(self, key: str, why: str) -> None:
        """Ask for its end; the result proves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything impure that one beat touches."""

    store: Store
    launcher: Launcher
    clock: Callable[[], Instant]
    policy: Callable[[Settings, Instant], Policy]
    read_spec: Callable[[Work, str], Spec | SpecBad]
    head: Callable[[Work, str], Site]  # a project by its id; raises ConfigError where its directory is not there
    worktree: Callable[[str], str]  # the path of a task's own
    past: Callable[[], Sequence[Past]]
    # Do a reset, harmless to repeat for its key. None: done; else why not yet, "" where that is no news.
    remember: Callable[[Work, str], str | None]
    record: Callable[[Sequence[Ended], Instant], str | None]  # metrics; a text when an old file was set aside
    calls: Callable[[Work, Instant], Sequence[Call]]  # the triggers that are due, and requests from outside
    taken: Callable[[Sequence[Call], Work], None]  # these are saved in that; harmless when it is not told of one


Send = Callable[[Notice], str | None]  # None: delivered; else the reason why not
