"""Beats over a world in memory: the real beat of `awm_loop.beat`, and ports that see what a test tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from build import CANNOT_LOOK, NOW, POLICY, SPEC

from awm_loop import beat
from awm_loop.core.consequence import Step
from awm_loop.core.estimate import Past
from awm_loop.core.model import Attempt, Instant, LogEntry, Policy, Spec, Task, Work
from awm_loop.core.observation import AttemptSeen, Call, SpecBad
from awm_loop.errors import ConfigError
from awm_loop.ports import Loaded, Ports, Settings
from awm_loop.store import guarantee

Seen = AttemptSeen | Mapping[str, AttemptSeen]  # of every live attempt, or by task


class Killed(BaseException):
    """The beat was killed: what it saved and did until then is all there is."""


class Loop:
    """The state and the world around it. A beat may be killed before or after each thing it does to them."""

    def __init__(self, work: Work, policy: Policy = POLICY) -> None:
        self.work, self.policy, self.now = work, policy, NOW
        self.specs: dict[str, Spec | SpecBad] = {}
        self.seen: Seen = CANNOT_LOOK
        self.branch = "main"
        self.gone: dict[str, str] = {}  # directories that are not there, and why
        self.journal: list[LogEntry] = []
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.remembered: list[str] = []
        self.refusal: str | None = None  # of a reset
        self.calls: list[Call] = []
        self.taken: list[Call] = []
        self.wants_another = False
        self.kill_in: int | None = None  # so many deeds from now, counting both sides of each
        self.states: list[Work] = []  # each that was saved
        launcher, store = _Launcher(self), _Store(self)
        self.ports = Ports(
            store=store,
            launcher=launcher,
            clock=lambda: self.now,
            policy=lambda *_: self.policy,
            read_spec=lambda _, task: self.specs.get(task, replace(SPEC, path=f"/specs/{task}.md", title=task)),
            head=self._head,
            worktree=lambda task: f"/worktrees/{task}",
            past=tuple[Past, ...],
            remember=self._remember,
            record=lambda _, __: None,
            calls=lambda *_: self.calls,
            taken=lambda calls, _: self.does(lambda: self._take(calls)),
        )

    def _remember(self, _: Work, key: str) -> str | None:
        self.does(lambda: self.remembered.append(key))
        return self.refusal

    def _head(self, project: str) -> tuple[str, str]:
        if project in self.gone:
            raise ConfigError(self.gone[project])
        return "base", self.branch

    def _take(self, calls: Sequence[Call]) -> None:
        self.taken += calls
        self.calls = [call for call in self.calls if call not in calls]

    def beat(self, seen: Seen = CANNOT_LOOK, now: Instant | None = None) -> list[str]:
        """One beat; returns the rows taken that were not quiet."""
        return [str(step.row) for step in self.steps(seen, now)]

    def steps(self, seen: Seen = CANNOT_LOOK, now: Instant | None = None) -> tuple[Step, ...]:
        self.seen, self.now = seen, now or self.now
        done = beat.run(self.ports)
        self.wants_another = done.wants_another
        return done.steps

    def foreseen(self) -> list[str]:
        """The rows of a dry run."""
        return [str(step.row) for step in beat.run(self.ports, dry_run=True).steps]

    def does(self, deed: Callable[[], None]) -> None:
        """Do it, unless the beat is killed before; it may be killed after, too."""
        self._may_be_killed()
        deed()
        self._may_be_killed()

    def _may_be_killed(self) -> None:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                self.kill_in = None
                raise Killed

    @property
    def told(self) -> list[str]:
        return [notice.text for notice in self.work.outbox]

    @property
    def live(self) -> list[str]:
        return [attempt.task for attempt in self.work.attempts]


class _Store:
    """The state in memory, held to the guarantees of every save."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def load(self, _: Instant) -> Loaded:
        return Loaded(self.loop.work, Settings(), {}, b"", 0, None)

    def catch_up(self, _: Loaded) -> None:
        """The journal is in memory with the state."""

    def is_edited(self, _: Loaded) -> bool:
        return False

    def save(self, loaded: Loaded, work: Work, _: Instant) -> Loaded:
        assert guarantee.broken(loaded.work, work) is None

        def saved() -> None:
            self.loop.journal += work.log
            self.loop.work = replace(work, log=())
            self.loop.states.append(self.loop.work)

        self.loop.does(saved)
        return replace(loaded, work=self.loop.work)


class _Launcher:
    """Attempts begin and end by a test's word."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def start(self, attempt: Attempt, _: Task) -> bool:
        self.loop.does(lambda: self.loop.started.append(f"{attempt.task}.{attempt.number}"))
        return True

    def probe(self, attempts: Sequence[Attempt]) -> dict[str, AttemptSeen]:
        seen = self.loop.seen
        if not isinstance(seen, Mapping):
            return {attempt.key: seen for attempt in attempts}
        return {attempt.key: seen.get(attempt.task, CANNOT_LOOK) for attempt in attempts}

    def stop(self, key: str, _: str) -> None:
        self.loop.does(lambda: self.loop.stopped.append(key))
