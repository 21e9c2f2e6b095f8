"""Stories of several projects, of budgets, dependencies, windows and calls; told in test_stories.py (SPEC 7.5, 13)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from build import HEALTHY, NOW, POLICY, SPEC, exited, later, project, working
from loop import Loop

from awm_loop.core.model import Outcome, Task
from awm_loop.core.observation import Call
from awm_loop.core.project import Bounds, Project, ProjectStatus, Use

STORIES: list[Callable[[], None]] = []
READY = "queued ready -> launching, launch"
SUCCESS = exited(Outcome.SUCCEEDED)
DONE = ["launching ended -> ended", "ended succeeded -> completed"]
ALIVE = "launching alive -> running"
IDLE = "working drained -> idle"


def story(tell: Callable[[], None]) -> Callable[[], None]:
    STORIES.append(tell)
    return tell


def with_projects(*projects: Project, **tasks: str) -> Loop:
    """A queue in the order of the names; each task is of the project it names."""
    of = {task: one for task, one in tasks.items() if one != "default"}
    policy = replace(POLICY, projects={one.id: one for one in projects})
    return Loop(working(*tasks, project_of=of), policy)


def call(key: str, trigger: str = "nightly", **changes: Any) -> Call:
    usual = Call(trigger=trigger, key=key, task=f"{trigger or 'ci'}-{key}", project="default", spec_path="/specs/n.md")
    return replace(usual, **changes)


@story
def projects_take_turns() -> None:
    """SPEC 7.5: within one priority, the project whose newest attempt is the oldest; within it, queue order."""
    loop = with_projects(project("web"), S1="default", S2="default", S3="web", S4="web")
    for _ in range(5):
        loop.beat(SUCCESS)
    assert loop.work.completed == ("S1", "S3", "S2", "S4")


@story
def a_project_that_cannot_go_on_holds_up_no_other() -> None:
    """SPEC 4.3, 13: one waits out a backoff, one is paused, the third goes on; the paused one when it is resumed."""
    paused = project("web", status=ProjectStatus.PAUSED)
    loop = with_projects(paused, project("api"), S1="default", S2="default", S3="web", S4="api")
    loop.beat()
    assert loop.beat(exited(Outcome.FAILED)) == [DONE[0], "ended worth_retry -> queued", READY]
    assert loop.live == ["S4"]
    assert loop.beat(SUCCESS) == DONE
    loop.policy = replace(loop.policy, projects={"web": project("web")})
    assert loop.beat() == [READY]
    assert loop.live == ["S3"]


@story
def a_task_that_would_not_end_in_its_window_is_not_started_late() -> None:
    """SPEC 13.3: half an hour is left, it takes an hour; the next window begins, and it starts."""
    shuts, opens = NOW.wall + timedelta(minutes=30), NOW.wall + timedelta(hours=9)
    bounds = Bounds(opened_at=NOW.wall - timedelta(hours=6), closes_at=shuts)
    loop = with_projects(project("web", bounds=bounds), project("api"), S1="web", S2="api")
    loop.specs["S1"] = replace(SPEC, estimate_minutes=60.0)
    assert loop.beat() == [READY]
    assert loop.beat(SUCCESS) == DONE
    assert loop.work.completed == ("S2",)
    loop.policy = replace(POLICY, projects={"web": project("web", bounds=Bounds(opens_at=opens))})
    assert loop.beat(now=later(1_801)) == []
    loop.policy = replace(POLICY, projects={"web": project("web", bounds=Bounds(opened_at=opens))})
    assert loop.beat(now=later(9 * 3_600)) == [READY]


@story
def a_project_whose_directory_is_gone_waits_alone() -> None:
    """Issue 6, error recovery: one notice, the others go on; it opens by itself when the directory is back."""
    loop = with_projects(project("web"), S1="web", S2="default")
    loop.gone = {"web": "project directory /web does not exist"}
    assert loop.beat() == ["queued homeless -> queued", READY]
    assert loop.beat(SUCCESS) == [*DONE, "working drained -> idle"]
    assert loop.beat() == []
    told = "✋ Project web waits — project directory /web does not exist: awm projects edit web --path DIR"
    assert [text for text in loop.told if text.startswith("✋")] == [f"{told}. The others go on now"]
    loop.gone = {}
    assert loop.beat() == ["closed available -> open", "idle fed -> working", READY]
    assert (loop.live, loop.work.closed) == (["S1"], {})


@story
def what_depends_on_a_failure_is_blocked_with_one_notice() -> None:
    """SPEC 7.5, 13.5: three wait for S1; it fails, one notice names all three, and what needs none of it goes on."""
    loop = Loop(working("S2", "S3", "S4", "S1", "S5"), replace(POLICY, retries_max=0))
    for task in ("S2", "S3", "S4"):
        loop.specs[task] = replace(SPEC, depends=("S1",))
    assert loop.beat() == [READY]
    assert loop.live == ["S1"]
    rows = loop.beat(exited(Outcome.FAILED))
    assert rows == [DONE[0], "ended out_of_tries -> failed", *["queued hindered -> blocked"] * 3, READY]
    assert (loop.work.blocked, loop.live) == (("S2", "S3", "S4"), ["S5"])
    (told,) = (text for text in loop.told if "is blocked" in text)
    assert told.startswith("✋ Sprint S2 is blocked — it depends on S1, which failed.")
    assert told.endswith("\nSo are: S3, S4")


@story
def a_dependency_goes_first_whatever_the_priorities_say() -> None:
    """SPEC 7.5: also one that is learnt only when the task is looked at, and one that is asked something."""
    loop = Loop(working("S1", "S2"))
    loop.specs |= {"S1": replace(SPEC, depends=("S2",)), "S2": SPEC}
    loop.work = replace(loop.work, tasks={"S1": Task(id="S1", priority=POLICY.projects.get("", project("")).priority)})
    assert loop.beat() == [READY]
    assert loop.live == ["S2"]
    assert loop.beat(exited(Outcome.BLOCKED, question="Which?")) == [
        DONE[0],
        "ended asked -> blocked",
        "working drained -> idle",
    ]
    assert loop.beat() == []
    loop.work = replace(loop.work, blocked=(), completed=("S2",))
    assert loop.beat() == ["idle fed -> working", READY]


@story
def a_budget_that_is_reached_lets_nothing_new_start() -> None:
    """SPEC 13.3: what runs is finished; one notice; another day opens it again, quietly."""
    loop = Loop(working("S1", "S2"), replace(POLICY, own=Bounds(by_day=Use(attempts=1)), today="2026-01-01"))
    assert loop.beat() == [READY]
    assert loop.beat(HEALTHY) == [ALIVE, "open overspent -> closed"]
    assert loop.beat(SUCCESS) == ["running ended -> ended", DONE[1]]
    assert loop.beat() == []
    why = "the budget of project default is reached: 1 attempt a day"
    assert loop.told[-2] == f"💰 Nothing new starts — {why}. What runs goes on to its end"
    loop.policy = replace(loop.policy, today="2026-01-02")
    assert loop.beat() == ["closed available -> open", READY]


@story
def a_hard_budget_stops_what_runs() -> None:
    """SPEC 13.3: back at the head of the queue: no pause, no strike, no try; and it goes on when it may."""
    bounds = Bounds(in_all=Use(minutes=10.0), is_hard=True)
    loop = Loop(working("S1", "S2"), replace(POLICY, own=bounds))
    loop.beat()
    assert loop.beat(replace(HEALTHY, running_seconds=599.0)) == [ALIVE]
    assert loop.beat(replace(HEALTHY, running_seconds=600.0)) == ["running overspent -> stopping, stop"]
    rows = loop.beat(exited(Outcome.STOPPED, seconds=601.0))
    assert rows[:2] == ["stopping ended -> ended", "ended recalled -> queued"]
    assert rows[2:] == ["open overspent -> closed", "working drained -> idle"]
    task = loop.work.task("S1")
    assert (loop.work.queue, loop.work.paused) == (("S1", "S2"), False)
    assert (task.tries, task.strikes, task.not_before) == (0, 0, None)
    loop.policy = POLICY
    assert loop.beat() == ["closed available -> open", "idle fed -> working", READY]


@story
def a_call_queues_its_task_once_and_wakes_the_loop() -> None:
    """SPEC 4.4, 13.2: by its key, however often it comes; while its task is not over the next one is let pass."""
    loop = Loop(working())
    assert loop.beat() == [IDLE]
    loop.calls = [call("1")]
    assert loop.beat() == ["armed called -> fired", "idle fed -> working", READY]
    assert [one.key for one in loop.taken] == ["1"]
    loop.calls = [call("1"), call("1")]
    assert loop.beat() == []
    loop.calls = [call("2")]
    assert loop.beat() == ["armed overlapping -> passed"]
    assert loop.beat(SUCCESS) == [*DONE, IDLE]
    loop.calls = [call("3", missed="its grace is over"), call("", problem="its spec is gone", trigger="audit")]
    assert loop.beat() == ["armed missed -> passed", "armed broken -> passed"]
    assert loop.told[-1] == "⚠️ Trigger audit could not queue its task — its spec is gone"
    loop.calls = [call("4")]
    assert loop.beat()[0] == "armed called -> fired"
    assert ([one.key for one in loop.taken], loop.started) == (
        ["1", "1", "1", "2", "3", "", "4"],
        ["nightly-1.1", "nightly-4.2"],
    )
