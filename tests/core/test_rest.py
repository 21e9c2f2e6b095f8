"""When the loop rests although something is queued: nothing starts before a person acts (SPEC 4.4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from build import NOW, POLICY, SPEC, attempt, exited, project, spent, working
from loop import Loop

from awm_loop.core.machine import Signal, classify_loop
from awm_loop.core.model import Deadline, Outcome, Policy, Task, Work
from awm_loop.core.project import Bounds, ProjectStatus, Use
from awm_loop.core.projects import ALL

PAUSED = project("web", status=ProjectStatus.PAUSED)
DAILY = Bounds(by_day=Use(attempts=2))
IN_ALL = Bounds(in_all=Use(attempts=2))
OPENS = Bounds(opens_at=NOW.wall + timedelta(hours=1))
LEDGER = spent("web", attempts=2)


def known(*found: Any, **rules: Any) -> Policy:
    return replace(POLICY, projects={one.id: one for one in found}, **rules)


def web(*tasks: str, **changes: Any) -> Work:
    """Tasks of project web alone."""
    return working(*tasks, project_of=dict.fromkeys(tasks, "web"), **changes)


def after(other: str, *tasks: str) -> dict[str, Task]:
    return {task: Task(id=task, depends=(other,)) for task in tasks}


@pytest.mark.parametrize(
    ("work", "policy", "why"),
    [
        (web("S1", "S2"), known(PAUSED), "project web is paused"),
        (web("S1"), known(replace(PAUSED, status=ProjectStatus.COMPLETED)), "project web is completed"),
        (web("S1"), known(), "project web is in no projects.json"),
        (web("S1"), known(project("web", depends=("api",)), project("api")), "project web comes after api"),
        (web("S1", closed={"web": "it is gone"}), known(project("web")), "it is gone"),
        (web("S1", closed={ALL: "spent"}, spent=LEDGER), known(project("web"), bounds=IN_ALL), "spent"),
        (web("S1", closed={"web": "spent"}, spent=LEDGER), known(project("web", bounds=IN_ALL)), "spent"),
        (
            web("S1", closed={"web": "spent"}, spent=LEDGER),
            known(project("web", bounds=replace(DAILY, in_all=Use(attempts=2)))),
            "spent",
        ),
        (working("S2", blocked=("S1",), tasks=after("S1", "S2")), POLICY, "S2 depends on S1"),
        (
            working("S1", "S2", project_of={"S1": "web"}, tasks=after("S1", "S2")),
            known(PAUSED),
            "project web is paused; S2 depends on S1",
        ),
        (web("S1", tasks={"S1": Task(id="S1", not_before=Deadline.after(9, NOW))}), known(PAUSED), "project web is paused"),
    ],
    ids=[
        "paused", "completed", "unknown", "after an active one", "its directory is gone", "the budget of all",
        "its budget", "both budgets", "after a blocked one", "after one of a paused project", "and its pause",
    ],
)  # fmt: skip
def test_the_loop_rests_where_nothing_starts_before_a_person_acts(work: Work, policy: Policy, why: str) -> None:
    """The journal and the report say why."""
    judged = classify_loop(work, policy)

    assert (judged.signal, judged.reason) == (Signal.DRAINED, why)


@pytest.mark.parametrize(
    ("work", "policy"),
    [
        (working("S1", "S2", project_of={"S1": "web"}), known(PAUSED)),
        (web("S1", attempts=(attempt(task="S9"),)), known(PAUSED)),
        (web("S1"), known(project("web", bounds=OPENS))),
        (web("S1"), known(project("web"), bounds=OPENS)),
        (web("S1", closed={"web": "spent"}, spent=LEDGER), known(project("web", bounds=DAILY))),
        (web("S1", closed={ALL: "spent"}, spent=LEDGER), known(project("web"), bounds=DAILY)),
        (working("S1", "S2", tasks=after("S1", "S2")), POLICY),
        (working("S1", tasks={"S1": Task(id="S1", not_before=Deadline.after(9, NOW))}), POLICY),
        (working("S2", failed=("S1",), tasks=after("S1", "S2")), POLICY),
    ],
    ids=[
        "another can start", "one is live", "its window opens", "the window opens", "its day's budget", "the day's budget",
        "after one that can start", "a pause", "after a failed one: it is to be blocked",
    ],
)  # fmt: skip
def test_it_does_not_rest_while_something_can_start_or_will_in_time(work: Work, policy: Policy) -> None:
    """A window, a new day and a wait need nobody (SPEC 4.4)."""
    assert classify_loop(work, policy).signal is Signal.FED


def test_what_can_run_is_done_and_told_once_and_a_person_wakes_the_loop() -> None:
    """One report, though a task of a paused project is queued; resumed, it goes on and the next report is its own."""
    loop = Loop(working("S1", "S2", project_of={"S1": "web"}), known(PAUSED))

    rows = [*loop.beat(), *loop.beat(exited(Outcome.SUCCEEDED)), *loop.beat(), *loop.beat()]

    report = "🏁 All that can start is done — 1 of 1 sprints completed\n✅ S2 completed — 8 min, 1 attempt\n"
    assert rows[-2:] == ["ended succeeded -> completed", "working drained -> idle"]
    assert loop.told[-1] == f"{report}⏸️ Still queued: 1 sprint — project web is paused"
    loop.policy = known(project("web"))
    assert loop.beat() == ["idle fed -> working", "queued ready -> launching, launch"]
    assert loop.beat(exited(Outcome.SUCCEEDED))[-1] == "working drained -> idle"
    assert loop.told[-1] == "🏁 Queue finished — 1 of 1 sprints completed\n✅ S1 completed — 8 min, 1 attempt"


def test_what_depends_on_a_question_waits_for_its_answer_and_is_told() -> None:
    """The one who asks is blocked; those after it stay queued, as an answer lets all of them go on (SPEC 7.2, 7.5)."""
    loop = Loop(working("S1", "S2"))
    loop.specs = {"S2": replace(SPEC, depends=("S1",))}
    loop.work = replace(loop.work, tasks=after("S1", "S2"))

    loop.beat()
    rows = loop.beat(exited(Outcome.BLOCKED, question="Blue or red?"))

    assert rows[-1] == "working drained -> idle"
    assert (loop.work.blocked, loop.work.queue) == (("S1",), ("S2",))
    assert loop.told[-1].splitlines()[-2:] == [
        "✋ Waiting for you: S1",
        "⏸️ Still queued: 1 sprint — S2 depends on S1",
    ]
    assert loop.beat() == []


def test_a_budget_of_both_kinds_that_is_reached_is_told_by_the_one_that_lasts() -> None:
    """What is spent in all does not come back tomorrow (SPEC 13.3)."""
    bounds = replace(DAILY, in_all=Use(attempts=2))
    loop = Loop(web("S1", spent=LEDGER), known(project("web", bounds=bounds)))

    loop.beat()

    assert loop.told[0].startswith("💰 Nothing new starts — the budget of project web is reached: 2 attempts in all.")
