"""Several projects, and triggers that call for work: what the fake world has of them, and what must hold (SPEC 13).

A call is offered at each beat, as a real trigger does, until the beat says that it was taken. Projects are paused and
resumed by people, have budgets and a window, and their directories come and go.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from truth import Truth

from awm_loop.core.model import (
    Instant,
    Policy,
    Work,
)
from awm_loop.core.observation import Call, Site
from awm_loop.core.project import DEFAULT_PROJECT, Bounds, Priority, Project, ProjectStatus, Use
from awm_loop.errors import ConfigError

OPENS_HOUR, SHUTS_HOUR = 6, 22
DAY = timedelta(days=1)


class Surroundings(Protocol):
    """What the estate needs of the world."""

    chance: random.Random
    truth: Truth
    root: Path

    def aside(self) -> AbstractContextManager[None]:
        """What is done in it is another program's."""

    def now(self) -> Instant:
        """The time as the machine tells it."""

    def does(self, kind: str, what: str, deed: Any) -> None:
        """Do it as an operation of the process that runs: it may be killed before or after."""

    def says(self, *words: object) -> None:
        """For the narration."""


class Estate:
    """The projects beside the default one (none, in half of the worlds), and what calls."""

    def __init__(self, world: Surroundings) -> None:
        self.world = world
        draw = world.chance.choice
        self.names: tuple[str, ...] = draw(((), (), ("web",), ("web", "api")))
        self.projects = {name: self._project(name) for name in self.names}
        self.of_all = self._bounds() if self.names else Bounds()
        self.has_window = bool(self.names) and draw((True, False))
        self.gone: set[str] = set()
        self.offered: dict[str, Call] = {}  # all there ever were, by task
        self.waiting: list[Call] = []  # those that nobody took
        self.passed: Counter[str] = Counter()  # by project: launches of others since it could have had its turn

    def _project(self, name: str) -> Project:
        draw = self.world.chance.choice
        return Project(
            id=name,
            max_parallel=draw((0, 0, 1)),
            bounds=self._bounds(),
        )

    def _bounds(self) -> Bounds:
        draw = self.world.chance.choice
        use = Use(attempts=draw((None, None, 2, 5)), minutes=draw((None, None, 60.0)))
        return Bounds(by_day=use, is_hard=draw((True, False)))

    # What happens to it.

    def changes(self) -> None:
        """A person pauses a project or takes it up again, or its disk goes or comes back."""
        draw = self.world.chance.choice
        if not self.names:
            return
        name = draw(self.names)
        if draw((True, False)):
            status = draw((ProjectStatus.ACTIVE, ProjectStatus.PAUSED))
            self.projects[name] = replace(self.projects[name], status=status)
            self.world.says("PROJECT", name, "is", status)
        else:
            self.gone ^= {name}
            self.world.says("GONE are", self.gone)

    def calls_out(self) -> None:
        """A trigger is due, or somebody posts a request."""
        draw, number = self.world.chance.choice, len(self.offered) + 1
        trigger = draw(("", "nightly", "docs"))
        task = f"{trigger or 'hook'}-{number}"
        why = draw(("", "", "", "", "missed", "problem"))
        with self.world.aside():
            (self.world.root / "specs" / f"{task}.md").write_text(f"# Sprint {task}: Called\n")
        call = Call(
            trigger=trigger,
            key=f"k{number}",
            task=task,
            project=draw((DEFAULT_PROJECT, *self.names)),
            spec_path=f"specs/{task}.md",
            may_overlap=draw((True, False)),
            missed="too late" if why == "missed" else "",
            problem="its spec is gone" if why == "problem" else "",
        )
        self.offered[task] = call
        self.waiting.append(call)
        self.world.says("CALL", call.trigger, call.key)

    def mends(self) -> None:
        """The calm: no project is paused or gone; budgets and windows stand."""
        self.gone.clear()
        self.projects = {name: replace(one, status=ProjectStatus.ACTIVE) for name, one in self.projects.items()}

    # Ports.

    def policy(self, usual: Policy, now: Instant) -> Policy:
        today = now.wall.date()
        ends_at = datetime(today.year, today.month, today.day, tzinfo=UTC) + DAY
        bounds = replace(self.of_all, **self._window(now.wall)) if self.has_window else self.of_all
        return replace(usual, projects=dict(self.projects), bounds=bounds, today=str(today), day_ends_at=ends_at)

    @staticmethod
    def _window(now: datetime) -> dict[str, datetime]:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        opens, shuts = midnight + timedelta(hours=OPENS_HOUR), midnight + timedelta(hours=SHUTS_HOUR)
        if opens <= now < shuts:
            return {"opened_at": opens, "closes_at": shuts}
        return {"opens_at": opens if now < opens else opens + DAY}

    def head(self, _: Work, project: str) -> Site:
        if project in self.gone:
            raise ConfigError(f"project {project} has no directory", f"awm projects edit {project} --path DIR")
        return Site(f"/project-{project}", "c0ffee", "main")

    def calls(self, _: Work, __: Instant) -> Sequence[Call]:
        return list(self.waiting)

    def taken(self, calls: Sequence[Call], _: Work) -> None:
        for call in calls:
            fired = [doc.get("fired", {}).get(call.trigger, {}).get("key") for doc in self.world.truth.on_disk()]
            self.world.truth.expect(call.key in fired, "13.2", call.key, "is told as taken and is not saved:", fired)
            self.world.does("take", call.key, lambda call=call: self._gone(call))

    def _gone(self, call: Call) -> None:
        self.world.truth.unsynced.discard(call.task)  # it was told that it was heard: that must last
        self.waiting = [one for one in self.waiting if one != call]

    # What must hold.

    def look(self, doc: Mapping[str, Any], started: Collection[Mapping[str, Any]], now: Instant) -> None:
        """Of each attempt that is new in a state that AWM wrote.

        One that an earlier process promised and died of, and that came back from history, was judged as things were then.
        """
        expect, policy = self.world.truth.expect, self.policy_bounds(now)
        now_given = [one for one in started if datetime.fromisoformat(one["promisedAt"]) in self.world.told]
        for one in now_given:
            name, task = one["projectId"], one["task"]
            project = self.projects.get(name)
            expect(name == DEFAULT_PROJECT or project is not None, "13", task, "is of no project")
            expect(project is None or project.status is ProjectStatus.ACTIVE, "13", task, "is of a paused project")
            expect(name not in self.gone, "13", task, "starts in a directory that is gone")
            expect("opens_at" not in policy, "13", task, "starts outside of the window")
            depends = doc["tasks"].get(task, {}).get("depends", ())
            expect({*depends} <= {*doc["completed"]}, "7.5", task, "starts before", depends)
            live = [other for other in doc["attempts"] if other["projectId"] == name]
            expect(project is None or len(live) <= (project.max_parallel or 99), "7.5", "live in", name, len(live))
        self._take_turns(doc, started)
        self._count(doc)

    def policy_bounds(self, now: Instant) -> dict[str, datetime]:
        return self._window(now.wall) if self.has_window else {}

    def _take_turns(self, doc: Mapping[str, Any], started: Collection[Mapping[str, Any]]) -> None:
        """Of one priority, each project that can start something does before another one starts twice (SPEC 7.5)."""
        eager = {name: rank for name in (DEFAULT_PROJECT, *self.names) if (rank := self._eager(doc, name)) is not None}
        for one in started:
            rank = _rank(doc, one["task"])
            self.passed.update(name for name in eager if eager[name] == rank and name != one["projectId"])
            del self.passed[one["projectId"]]
        for name in {*self.passed} - {*eager}:
            del self.passed[name]
        worst = max(self.passed.values(), default=0)
        self.world.truth.expect(worst <= len(self.names), "7.5", "no turn for", self.passed, eager)

    def _eager(self, doc: Mapping[str, Any], name: str) -> int | None:
        """The priority of what a project would start now; None where anything might keep it from that."""
        tasks = [task for task in doc["queue"] if doc.get("projectOf", {}).get(task, DEFAULT_PROJECT) == name]
        is_shut = name in self.gone or {name, ""} & doc.get("closed", {}).keys() or self.has_window
        is_shut = is_shut or (name in self.projects and self.projects[name].status is not ProjectStatus.ACTIVE)
        is_limited = doc.get("agentsOff") or any(one.get("deadline") for one in doc["accounts"].values())
        is_at_work = any(one["projectId"] == name for one in doc["attempts"])
        waits = any({"notBefore", "depends"} & doc["tasks"].get(task, {}).keys() for task in tasks)
        is_kept = is_shut or is_limited or is_at_work or waits
        return None if is_kept or not tasks else min(_rank(doc, task) for task in tasks)

    def _count(self, doc: Mapping[str, Any]) -> None:
        """Of a day's budget of attempts none is exceeded, in the ledger that AWM keeps and in truth."""
        spent = doc.get("spent", {})
        total: Counter[str] = Counter()
        for name, ledger in spent.items():
            attempts = ledger.get("today", {}).get("attempts", 0)
            total[ledger.get("day", "")] += attempts
            most = self.projects[name].bounds.by_day.attempts if name in self.projects else None
            self.world.truth.expect(
                most is None or attempts <= most, "13.3", name, "had", attempts, "attempts of", most
            )
        most = self.of_all.by_day.attempts
        worst = max(total.values(), default=0)
        self.world.truth.expect(most is None or worst <= most, "13.3", "all had", worst, "attempts of", most)
        in_all = sum(ledger.get("inAll", {}).get("attempts", 0) for ledger in spent.values())
        self.world.truth.expect(in_all == doc["nextAttempt"] - 1, "13.3", in_all, "attempts of", doc["nextAttempt"] - 1)

    def drained(self, journal: Path) -> None:
        """Each call was queued by one row, or let pass by one, and nobody waits."""
        self.world.truth.expect(not self.waiting, "13.2", "nobody took", self.waiting)
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        rows = Counter(line["task"] for line in lines if line["what"].startswith("armed "))
        self.world.truth.expect(
            rows == Counter({*self.offered}), "13.2", "calls and their rows:", rows, [*self.offered]
        )


def _rank(doc: Mapping[str, Any], task: str) -> int:
    return list(Priority).index(Priority(doc["tasks"].get(task, {}).get("priority", Priority.MEDIUM)))
