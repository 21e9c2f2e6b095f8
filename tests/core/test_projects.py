"""Every edge of projects: turns, windows, budgets, dependencies (SPEC 7.5, 13). Rows are in test_project_rows.py."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from build import CODEX, HEALTHY, NOW, POLICY, SPEC, attempt, exited, later, live, project, read, spent, working
from hypothesis import given
from hypothesis import strategies as st
from loop import Loop

from awm_loop.cli import steering, waiting
from awm_loop.core import choice, projects
from awm_loop.core.machine import Signal, classify_live, classify_project, classify_queued
from awm_loop.core.model import Deadline, Outcome, Policy, Task, Work
from awm_loop.core.project import Bounds, Priority, Project, ProjectStatus, Spent, Use
from awm_loop.core.projects import ALL

HOUR = timedelta(hours=1)


def below(number: float) -> float:
    return math.nextafter(number, 0)


def above(number: float) -> float:
    return math.nextafter(number, math.inf)


def known(*found: Project, **rules: Any) -> Policy:
    return replace(POLICY, projects={one.id: one for one in found}, **rules)


def of(**tasks: str) -> Work:
    """A queue in the order of the names; each task is of the project it names."""
    return working(*tasks, project_of={task: one for task, one in tasks.items() if one != "default"})


# Turns


@pytest.mark.parametrize(
    ("newest", "order"),
    [
        ({}, ["S1", "S3", "S2", "S4"]),
        ({"default": 3}, ["S3", "S1", "S4", "S2"]),
        ({"default": 3, "web": 2}, ["S3", "S1", "S4", "S2"]),
        ({"default": 3, "web": 4}, ["S1", "S3", "S2", "S4"]),
    ],
)
def test_the_project_that_started_longest_ago_is_next(newest: dict[str, int], order: list[str]) -> None:
    """Then each other one in turn; within a project queue order (SPEC 7.5)."""
    work = of(S1="default", S2="default", S3="web", S4="web")
    ledgers = {name: Spent(last_attempt=number) for name, number in newest.items()}

    assert list(choice.in_order(replace(work, spent=ledgers))) == order


def test_a_priority_goes_before_turns() -> None:
    """Turns are taken within one priority (SPEC 7.5)."""
    work = replace(of(S1="web", S2="default", S3="web"), tasks={"S3": Task(id="S3", priority=Priority.HIGH)})
    work = replace(work, spent={"web": Spent(last_attempt=9)})

    assert list(choice.in_order(work)) == ["S3", "S2", "S1"]


@given(st.lists(st.tuples(st.sampled_from(list(Priority)), st.sampled_from(["a", "b", "default"])), max_size=30))
def test_the_order_of_many_projects_loses_and_doubles_nobody(tasks: list[tuple[Priority, str]]) -> None:
    """Priorities in order; of one project and priority, queue order; no project twice before another one's turn (7.5)."""
    names = [f"S{index}" for index in range(len(tasks))]
    work = working(
        *names,
        tasks={name: Task(id=name, priority=one) for name, (one, _) in zip(names, tasks, strict=True)},
        project_of={name: one for name, (_, one) in zip(names, tasks, strict=True) if one != "default"},
    )

    order = list(choice.in_order(work))

    kind = dict(zip(names, tasks, strict=True))
    assert sorted(order) == sorted(names)
    for one in {*tasks}:
        mine = [name for name in order if kind[name] == one]
        assert mine == [name for name in names if kind[name] == one]
    assert [list(Priority).index(kind[name][0]) for name in order] == sorted(
        list(Priority).index(one) for one, _ in tasks
    )


# What is shut


def reason(project_id: str, policy: Policy, work: Work | None = None) -> str:
    return projects.shut(work or working("S1", project_of={"S1": "web"}), project_id, NOW, policy)


DONE = project("api", status=ProjectStatus.COMPLETED)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (known(project("web")), ""),
        (known(), "project web is in no projects.json"),
        (known(project("web", status=ProjectStatus.PAUSED)), "project web is paused"),
        (known(project("web", status=ProjectStatus.COMPLETED)), "project web is completed"),
        (known(project("web", status=ProjectStatus.ARCHIVED)), "project web is archived"),
        (known(project("web", depends=("api",)), DONE), ""),
        (
            known(project("web", depends=("api",)), replace(DONE, status=ProjectStatus.ACTIVE)),
            "project web comes after api",
        ),
        (known(project("web", depends=("api", "gone")), DONE), "project web comes after gone"),
    ],
    ids=["open", "unknown", "paused", "completed", "archived", "after one done", "after one active", "after nobody"],
)
def test_a_project_starts_nothing_unless_it_is_active_and_those_before_it_are_completed(
    policy: Policy, why: str
) -> None:
    """One that nobody knows is not completed: nothing starts by a mistake (SPEC 13.1)."""
    assert reason("web", policy) == why
    assert bool(list(choice.candidates(of(S1="web"), NOW, policy))) is not bool(why)


@pytest.mark.parametrize(
    ("live_count", "most", "is_shut"), [(0, 1, False), (1, 2, False), (2, 2, True), (3, 2, True), (9, 0, False)]
)
def test_no_more_than_a_projects_own_max_parallel_are_live(live_count: int, most: int, is_shut: bool) -> None:
    """Of its own attempts; 0 is the loop's (SPEC 7.5)."""
    attempts = tuple(attempt(task=f"T{n}", number=n + 1, project_id="web") for n in range(live_count))
    work = working("S1", attempts=(*attempts, attempt(task="T", number=99)))

    assert bool(reason("web", known(project("web", max_parallel=most)), work)) is is_shut


@pytest.mark.parametrize(("seconds", "is_shut"), [(1e-6, True), (0, False), (-1e-6, False)])
def test_a_window_opens_at_its_time(seconds: float, is_shut: bool) -> None:
    """Its own and that of all, to the microsecond (SPEC 13.3)."""
    bounds = Bounds(opens_at=NOW.wall + timedelta(seconds=seconds))

    assert bool(reason("web", known(project("web", bounds=bounds)))) is is_shut
    assert bool(reason("web", known(project("web"), bounds=bounds))) is is_shut
    assert bool(reason("default", known(own=bounds))) is is_shut


@pytest.mark.parametrize(
    ("own", "of_all", "due_hours"),
    [(None, None, None), (2, None, 2), (None, 3, 3), (2, 3, 2), (-1, None, None)],
)
def test_the_next_opening_is_named(own: float | None, of_all: float | None, due_hours: float | None) -> None:
    """Of projects that have something in the queue (SPEC 6.3, 13.3)."""
    at = [None if one is None else NOW.wall + one * HOUR for one in (own, of_all)]
    web = project("web", bounds=Bounds(opens_at=at[0]))
    policy = known(web, project("idle", bounds=Bounds(opens_at=NOW.wall + HOUR)), bounds=Bounds(opens_at=at[1]))

    due = choice.next_due(of(S1="web"), NOW, policy)

    assert due == (None if due_hours is None else NOW.wall + due_hours * HOUR)
    assert choice.next_due(working(), NOW, policy) is None
    assert choice.next_due(working("S1"), NOW, replace(POLICY, own=Bounds(opens_at=at[0]), bounds=policy.bounds)) == due


def test_the_next_day_of_a_budget_is_named() -> None:
    """While something is closed (SPEC 6.3, 13.3)."""
    policy = known(day_ends_at=NOW.wall + HOUR)

    assert choice.next_due(working("S1", closed={"web": "its budget"}), NOW, policy) == NOW.wall + HOUR
    assert choice.next_due(working("S1"), NOW, policy) is None


WINDOW = Bounds(opened_at=NOW.wall - HOUR, closes_at=NOW.wall + HOUR)
NEVER = "it takes about 121 minutes, and its window is open for 120"


@pytest.mark.parametrize(
    ("minutes", "signal", "why"),
    [
        (None, Signal.READY, "codex"),
        (below(60), Signal.READY, "codex"),
        (60, Signal.READY, "codex"),
        (above(60), Signal.TOO_LATE, ""),
        (120, Signal.TOO_LATE, ""),
        (120.6, Signal.UNFIT, NEVER),
    ],
)
@pytest.mark.parametrize("whose", ["web", "all", "default"])
def test_what_would_not_end_within_the_window_is_not_started(
    whose: str, minutes: float | None, signal: Signal, why: str
) -> None:
    """An hour is left of two: by its estimate (SPEC 13.3); what can never fit is blocked and told why."""
    web = project("web", bounds=WINDOW if whose == "web" else Bounds())
    policy = known(web, bounds=WINDOW if whose == "all" else Bounds(), own=WINDOW if whose == "default" else Bounds())
    work = of(S1="default" if whose == "default" else "web")

    judged = classify_queued(work, "S1", read(replace(SPEC, estimate_minutes=minutes)), NOW, policy)

    assert judged[:2] == (signal, why)


def test_what_its_like_took_counts_before_its_own_estimate() -> None:
    """The median (SPEC 12.4, 13.3); and a window that never shuts holds nobody up."""
    short = read(replace(SPEC, estimate_minutes=500.0), past=(10.0, 12.0, 300.0))

    assert choice.misfit(short, CODEX, [WINDOW], NOW) == (False, "")
    assert choice.misfit(read(past=(70.0,)), CODEX, [Bounds(), WINDOW], NOW) == (True, "")
    assert choice.misfit(read(past=(7e9,)), CODEX, [Bounds()], NOW) == (False, "")


def test_a_window_that_has_been_open_for_days_is_not_too_short_for_anything() -> None:
    """Where nobody knows since when it is open, nothing is blocked for ever (SPEC 13.3)."""
    assert choice.misfit(read(past=(900.0,)), CODEX, [replace(WINDOW, opened_at=None)], NOW) == (True, "")


# Who holds up whom


@pytest.mark.parametrize(
    ("overtake", "looked_at"), [(False, ["S3", "S4"]), (True, ["S3", "S4", "S2"])], ids=["in line", "overtaking"]
)
def test_one_that_waits_holds_up_its_own_project_only(overtake: bool, looked_at: list[str]) -> None:
    """With `allow_overtake` not even that (SPEC 4.3, 7.5)."""
    work = of(S1="web", S2="web", S3="default", S4="api")
    work = replace(work, tasks={"S1": Task(id="S1", not_before=Deadline.after(9, NOW))})
    policy = known(project("web"), project("api"), allow_overtake=overtake)

    assert list(choice.candidates(work, NOW, policy)) == looked_at


def test_one_whose_agent_is_off_holds_up_its_own_project_only() -> None:
    """It is looked at, waits, and another project's task is launched in the same beat (SPEC 7.2, 7.5)."""
    loop = Loop(replace(of(S1="web", S2="web", S3="default"), agents_off={"opus": "no login"}), known(project("web")))
    loop.specs = {
        name: replace(SPEC, model=model) for name, model in (("S1", "opus"), ("S2", "codex"), ("S3", "codex"))
    }

    loop.beat()

    assert loop.live == ["S3"]


# Budgets


@pytest.mark.parametrize("unit", list(projects.UNITS))
@pytest.mark.parametrize(("part", "is_reached"), [(-1, False), (0, True), (1, True)])
@pytest.mark.parametrize("span", ["by_day", "in_all"])
@pytest.mark.parametrize("whose", ["web", "default", ALL])
def test_a_budget_is_reached_at_its_limit(unit: str, part: int, is_reached: bool, span: str, whose: str) -> None:
    """Attempts, minutes, tokens, money; a day and in all; of one project, the default one and all (SPEC 13.3)."""
    bounds = Bounds(**{span: Use(**{unit: 5})})
    policy = known(project("web", bounds=bounds if whose == "web" else Bounds()))
    policy = replace(
        policy, own=bounds if whose == "default" else Bounds(), bounds=bounds if whose == ALL else Bounds()
    )
    ledger = (
        spent("api", **{unit: 2}) | spent("web", **{unit: 3 + part})
        if whose == ALL
        else spent(whose, **{unit: 5 + part})
    )

    assert bool(projects.overspent(working(spent=ledger), whose, policy)) is is_reached


def test_a_budget_of_nothing_lets_nothing_start() -> None:
    """It is reached before the first attempt (SPEC 13.3)."""
    loop = Loop(of(S1="web", S2="default"), known(project("web", bounds=Bounds(in_all=Use(attempts=0)))))

    assert loop.beat() == ["open overspent -> closed", "queued ready -> launching, launch"]
    assert loop.live == ["S2"]


def test_what_nobody_measured_spends_nothing() -> None:
    """An agent that tells no tokens and no money is not stopped for them (SPEC 13.3)."""
    policy = replace(POLICY, own=Bounds(in_all=Use(tokens=1, cost_usd=0.1)))

    assert projects.overspent(working(spent=spent(attempts=99, minutes=1e6)), "default", policy) == ""


@pytest.mark.parametrize(
    ("running_seconds", "is_hard", "stopped"), [(299, True, False), (300, True, True), (300, False, False)]
)
@pytest.mark.parametrize("whose", ["own", "bounds"])
def test_a_hard_budget_counts_what_runs(running_seconds: float, is_hard: bool, stopped: bool, whose: str) -> None:
    """Five of ten minutes are in the ledger, and the live attempt takes the rest (SPEC 13.3)."""
    policy = replace(POLICY, **{whose: Bounds(in_all=Use(minutes=10.0), is_hard=is_hard)})
    work = replace(live(), spent=spent(minutes=5.0))
    seen = replace(HEALTHY, running_seconds=running_seconds)

    judged = classify_live(work, work.attempts[0], seen, NOW, policy)

    assert (judged.signal is Signal.OVERSPENT) is stopped


def test_the_number_of_attempts_stops_none() -> None:
    """The last one that may start may end (SPEC 13.3)."""
    work = replace(live(), spent=spent(attempts=1))
    policy = replace(POLICY, own=Bounds(in_all=Use(attempts=1), is_hard=True))

    assert classify_live(work, work.attempts[0], HEALTHY, NOW, policy).signal is Signal.ALIVE


@pytest.mark.parametrize("today", ["2026-01-02", "2025-12-31", "1970-01-01", "9998-12-31"])
def test_a_clock_that_leaps_never_sticks(today: str) -> None:
    """Another day is another day, before or after (SPEC 9.2, 13.3)."""
    bounds = Bounds(by_day=Use(attempts=1))
    loop = Loop(working("S1", "S2", "S3"), replace(POLICY, own=bounds, today="2026-01-01"))
    loop.beat()
    loop.beat(exited(Outcome.SUCCEEDED))
    assert loop.work.closed != {}

    loop.policy = replace(loop.policy, today=today)
    assert loop.beat()[0] == "closed available -> open"
    loop.beat(exited(Outcome.SUCCEEDED))
    loop.policy = replace(loop.policy, today="2026-01-01")
    loop.beat()

    assert (loop.live, loop.work.spent["default"].in_all.attempts) == (["S3"], 3)


def test_what_is_reached_is_told_once_however_many_beats_follow() -> None:
    """One notice for each time it closes (SPEC 13.3)."""
    loop = Loop(working("S1", spent=spent(attempts=1)), replace(POLICY, own=Bounds(in_all=Use(attempts=1))))

    for _ in range(3):
        loop.beat()

    assert [one.kind for one in loop.work.outbox] == ["budget"]


def test_a_project_that_nobody_knows_any_more_opens() -> None:
    """It starts nothing all the same (SPEC 13.1)."""
    judged = classify_project(working(closed={"web": "its budget"}), "web", "", POLICY)

    assert judged is not None
    assert judged.signal is Signal.AVAILABLE
    assert reason("web", POLICY) == "project web is in no projects.json"


# Dependencies


def depending(**tasks: tuple[str, ...]) -> dict[str, Task]:
    return {name: Task(id=name, depends=others) for name, others in tasks.items()}


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ({"completed": ("S0",)}, None),
        ({"queue": ("S1", "S0")}, ""),
        ({"blocked": ("S0",)}, ""),
        ({"attempts": (attempt(task="S0"),)}, ""),
        ({"failed": ("S0",)}, "it depends on S0, which failed"),
        ({"skipped": ("S0",)}, "it depends on S0, which was skipped"),
        ({}, "it depends on S0, which is not there"),
    ],
    ids=["completed", "queued", "blocked", "running", "failed", "skipped", "nowhere"],
)
def test_a_task_waits_for_what_may_still_be_completed(place: dict[str, Any], why: str | None) -> None:
    """And not for what cannot; a completed one is no reason to wait (SPEC 7.5, 13.5)."""
    work = replace(working("S1", tasks=depending(S1=("S0",))), **place)

    assert projects.waits(work) == ({} if why is None else {"S1": why})
    assert ("S1" in choice.candidates(work, NOW, replace(POLICY, max_parallel=2))) is (why != "")


def test_the_first_of_several_reasons_is_told() -> None:
    """In the order of the spec; one that can be completed is none (SPEC 7.5)."""
    work = working("S1", "S2", failed=("S4",), tasks=depending(S1=("S2", "S3", "S4")))

    assert projects.waits(work)["S1"] == "it depends on S3, which is not there"
    assert waiting.unmet(work, "S1") == ["S2", "S3", "S4"]


CIRCLE = "its dependencies go round in a circle: "


@pytest.mark.parametrize(
    ("tasks", "waits"),
    [
        ({"S1": ("S1",)}, {"S1": CIRCLE + "S1 -> S1"}),
        ({"S2": ("S1",), "S1": ("S2",)}, dict.fromkeys(("S2", "S1"), CIRCLE + "S1 -> S2 -> S1")),
        (
            {"S1": ("S2",), "S2": ("S3",), "S3": ("S1",)},
            dict.fromkeys(("S1", "S2", "S3"), CIRCLE + "S1 -> S2 -> S3 -> S1"),
        ),
        (
            {"S1": ("S2",), "S2": ("S3",), "S3": ("S2",)},
            {"S1": ""} | dict.fromkeys(("S2", "S3"), CIRCLE + "S2 -> S3 -> S2"),
        ),
    ],
    ids=["itself", "two", "three", "one before a circle"],
)
def test_a_circle_is_named_in_one_way(tasks: dict[str, tuple[str, ...]], waits: dict[str, str]) -> None:
    """All in it wait for the same reason; who only waits for one of them just waits (SPEC 13.5)."""
    assert projects.waits(working(*tasks, tasks=depending(**tasks))) == waits


def test_a_circle_is_blocked_with_one_notice() -> None:
    """All of it; mended and tried again, all are done (SPEC 13.5)."""
    loop = Loop(working("S1", "S2", "S3"))
    loop.specs = {name: replace(SPEC, depends=(other,)) for name, other in (("S1", "S2"), ("S2", "S1"))}

    assert loop.beat() == [*["queued hindered -> blocked"] * 2, "queued ready -> launching, launch"]
    assert (loop.work.blocked, loop.live) == (("S1", "S2"), ["S3"])
    (told,) = (text for text in loop.told if text.startswith("✋"))
    assert told == f"✋ Sprint S1 is blocked — {CIRCLE}S1 -> S2 -> S1. When that is mended: awm retry S1\nSo are: S2"
    loop.specs["S1"] = SPEC
    for task in ("S1", "S2"):
        loop.work = replace(steering.retry(loop.work, task, NOW), log=())
    for _ in range(4):
        loop.beat(exited(Outcome.SUCCEEDED))
    assert loop.work.completed == ("S3", "S1", "S2")


def test_a_circle_that_is_blocked_hides_no_other() -> None:
    """Each is found, whatever became of the one before it (SPEC 13.5)."""
    work = working("S3", "S4", blocked=("S1", "S2"), tasks=depending(S1=("S2",), S2=("S1",), S3=("S4",), S4=("S3",)))

    assert projects.waits(work)["S4"] == f"{CIRCLE}S3 -> S4 -> S3"
    half = replace(work, queue=("S4",), blocked=("S1", "S2", "S3"))
    assert projects.waits(half)["S4"] == f"{CIRCLE}S3 -> S4 -> S3"


@pytest.mark.parametrize(
    ("spec", "state", "after"), [((), (), ()), (("A",), (), ("A",)), (("A",), ("B",), ("A",)), ((), ("B",), ("B",))]
)
def test_the_spec_says_what_a_task_depends_on_else_the_state(
    spec: tuple[str, ...], state: tuple[str, ...], after: tuple[str, ...]
) -> None:
    """What a person wrote into the state stands where the spec is silent (SPEC 4.6, 5.1)."""
    work = working("S1", tasks=depending(S1=state) if state else {})

    assert choice.learnt(work, {"S1": replace(SPEC, depends=spec)}, POLICY).task("S1").depends == after


@pytest.mark.parametrize(
    ("said", "of_project", "by_hand", "after"),
    [
        (None, Priority.MEDIUM, None, None),
        (None, Priority.HIGH, None, Priority.HIGH),
        (Priority.LOW, Priority.HIGH, None, Priority.LOW),
        (Priority.MEDIUM, Priority.HIGH, None, None),
        (Priority.LOW, Priority.HIGH, Priority.MEDIUM, Priority.MEDIUM),
        (None, Priority.HIGH, Priority.LOW, Priority.LOW),
    ],
)
def test_the_priority_is_the_specs_else_the_projects(
    said: Priority | None, of_project: Priority, by_hand: Priority | None, after: Priority | None
) -> None:
    """Until a person sets another; medium is not written down but by a person (SPEC 5.1, 13.1)."""
    work = replace(of(S1="web"), tasks={"S1": Task(id="S1", tries=1, priority=by_hand)})
    policy = known(project("web", priority=of_project))

    assert choice.learnt(work, {"S1": replace(SPEC, priority=said)}, policy).task("S1").priority is after


def test_a_dependency_that_is_learnt_at_the_last_look_holds() -> None:
    """The spec was changed since the task was queued (SPEC 5.1, 7.5)."""
    loop = Loop(working("S1", "S2"))
    loop.specs = {"S1": replace(SPEC, depends=("S2",))}

    assert loop.beat() == ["queued ready -> launching, launch"]
    assert loop.live == ["S2"]
    assert loop.beat(exited(Outcome.FAILED))[-1] == "ended worth_retry -> queued"
    assert loop.beat(now=later(29)) == []


def test_a_thousand_tasks_in_a_chain_are_no_trouble() -> None:
    """Nor a circle of them, nor ten thousand that wait for one of ten thousand: no look takes long (issue 6)."""
    names = [f"S{number}" for number in range(10_000)]
    chain = {one: Task(id=one, depends=(other,)) for one, other in pairwise(names)}
    began = time.process_time()

    assert list(choice.candidates(working(*names, tasks=chain), NOW, POLICY)) == names[-1:]
    ring = chain | {names[-1]: Task(id=names[-1], depends=(names[0],))}
    found = projects.waits(working(*names, tasks=ring))
    assert ({*found}, {*found.values()}) == ({*names}, {CIRCLE + " -> ".join(names[:8])})
    late = {one: Task(id=one, depends=("T9999",)) for one in names}
    done = tuple(f"T{number}" for number in range(10_000))
    assert next(choice.candidates(working(*names, tasks=late, completed=done), NOW, POLICY)) == "S0"
    assert time.process_time() - began < 5
