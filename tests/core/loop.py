"""Builders for the core's tests: whole values with short names, and one beat of the pure machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from awm_loop.core import choice
from awm_loop.core.consequence import Moment, Step, take_account, take_live, take_loop, take_queued
from awm_loop.core.estimate import Past
from awm_loop.core.machine import classify_account, classify_live, classify_loop, classify_queued
from awm_loop.core.model import Agent, Instant, Outcome, Policy, Spec, Work
from awm_loop.core.observation import Alive, AttemptSeen, Exited, Limit, Result, SpecBad, SpecRead

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
CODEX = Agent(name="codex", kind="command", model="gpt-5.2", account="plus", fallback=("opus",))
OPUS = Agent(name="opus", kind="command", model="", account="max")
LOCAL = Agent(name="local", kind="shell", model="", account="local")


def at(seconds: float = 0.0, boot: str = "boot") -> Instant:
    """The moment `seconds` after the start, in one boot."""
    return Instant(wall=START + timedelta(seconds=seconds), boottime=1000.0 + seconds, boot_id=boot)


def policy(**changes: Any) -> Policy:
    agents = {agent.name: agent for agent in (CODEX, OPUS, LOCAL)}
    usual = Policy(
        retries_max=3,
        strikes_max=3,
        reboots_max=5,
        launches_max=5,
        backoff_seconds=(30.0, 60.0, 120.0, 300.0, 900.0),
        stall_seconds=900.0,
        stall_busy_factor=4.0,
        attempt_max_seconds=7200.0,
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
        require_commit=True,
        default_agent="codex",
        agents=agents,
        notify_user=True,
        channels=("console",),
    )
    return replace(usual, **changes)


def work(*queue: str, **changes: Any) -> Work:
    return replace(Work(active=True, idle_since=None, project="/project", queue=queue, completed=()), **changes)


def spec(task: str, **changes: Any) -> Spec:
    return replace(Spec(path=f"/{task}.md", text="# Do it", title=f"Thing {task}"), **changes)


def alive(idle: float = 0.0, busy: float = 0.0, running: float = 1.0) -> Alive:
    return Alive(idle_seconds=idle, busy_seconds=busy, running_seconds=running)


def exited(outcome: Outcome, seconds: float = 480.0, **changes: Any) -> Exited:
    usual = Result(outcome=outcome, exit_code=0, started_at=START, ended_at=START, seconds=seconds)
    return Exited(result=replace(usual, **changes))


def limited(resets_at: datetime | None) -> Exited:
    return exited(Outcome.LIMITED, limit=Limit(resets_at=resets_at, source="result file"))


class Loop:
    """The pure machine with a world told to it: `beat` takes rows as a real beat does, and proves each effect."""

    def __init__(self, start: Work, rules: Policy | None = None) -> None:
        self.work = start
        self.policy = rules or policy()
        self.steps: list[Step] = []
        self.specs: dict[str, Spec | SpecBad] = {}
        self.past: tuple[Past, ...] = ()
        self.head: str | None = "base"

    def beat(self, seen: AttemptSeen | None = None, now: Instant | None = None) -> list[str]:
        """One beat; `seen` is what the live attempt's probe sees. Returns the rows taken that were not quiet."""
        moment = Moment(now=now or at(), policy=self.policy)
        self.work = replace(self.work, pending=None, log=())
        before = len(self.steps)
        if self.work.attempts and seen is not None:
            key = self.work.attempts[0].key
            while (attempt := self.work.attempt(key)) is not None:
                judged = classify_live(self.work, attempt, seen, moment.now, moment.policy)
                if not self._take(take_live(self.work, attempt, judged, moment)):
                    break
        for account in tuple(self.work.accounts.values()):
            if account.deadline is not None and not self.work.pending:
                self._take(take_account(self.work, account, classify_account(account, moment.now), moment))
        if not self.work.pending and not self.work.paused:
            self._take(take_loop(self.work, classify_loop(self.work, moment.policy), moment))
            while not self.work.attempts and self._queue(moment):
                pass
            if not self.work.pending:
                self._take(take_loop(self.work, classify_loop(self.work, moment.policy), moment))
        return [str(step.row) for step in self.steps[before:] if not step.row.is_quiet]

    @property
    def told(self) -> list[str]:
        return [notice.text for notice in self.work.outbox]

    def _queue(self, moment: Moment) -> bool:
        task = choice.candidate(self.work, moment.now, moment.policy)
        if task is None:
            return False
        seen = None if choice.is_waiting(self.work, task, moment.now) else self._read(task)
        judged = classify_queued(self.work, task, seen, moment.now, moment.policy)
        return self._take(take_queued(self.work, task, judged, moment)) and not self.work.pending

    def _read(self, task: str) -> SpecRead | SpecBad:
        found = self.specs.get(task, spec(task))
        following = next((other for other in choice.in_order(self.work) if other != task), None)
        next_up = (following, f"Thing {following}") if following else None
        if isinstance(found, SpecBad):
            return found
        return SpecRead(spec=found, head=self.head, past=self.past, next_up=next_up)

    def _take(self, step: Step) -> bool:
        """True where the row changed something and the subject may have a further one."""
        self.steps.append(step)
        changed = step.work is not self.work and step.work != self.work
        self.work = step.work
        return changed and not self.work.pending
