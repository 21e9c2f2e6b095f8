"""What the rows of projects, dependencies, budgets and calls leave behind, as whole values (SPEC 7.5, 13)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from build import (
    HEALTHY,
    NOW,
    POLICY,
    TASK,
    attempt,
    changing,
    earlier,
    entry,
    exited,
    later,
    line,
    live,
    project,
    read,
    result,
    seen_call,
    seen_live,
    seen_project,
    seen_queued,
    settled,
    spent,
    told,
    working,
)
from loop import Loop

from awm_loop.core import consequence
from awm_loop.core.model import Launch, Outcome, Phase, Stop, StopReason, Task
from awm_loop.core.observation import Call, NotStarted, ProjectGone
from awm_loop.core.project import Bounds, Fired, Priority, ProjectStatus, Proposal, Spent, Use
from awm_loop.core.projects import ALL

GONE = ProjectGone(reason="project directory /web does not exist")
HARD = replace(POLICY, own=Bounds(in_all=Use(minutes=10.0), is_hard=True))
WHY = "the budget of project default is reached: 10 minutes in all"
NOTHING_RUN = {"number": None, "agent": "", "model": "", "type": "", "minutes": 0.0, "minutes_in_all": 0.0} | {
    "attempts": 0,
    "eta_minutes": None,
}
CALL = Call(trigger="nightly", key="1", task="nightly-1", project="web", spec_path="/specs/n.md")


def test_a_directory_that_is_gone_closes_its_project() -> None:
    """The task stays where it is; one notice, which says that the others go on (issue 6, SPEC 4.7)."""
    before = working("S1", "S2", project_of={"S1": "web"}, closed={"api": "its budget"})

    step = seen_queued(before, "S1", GONE, policy=replace(POLICY, projects={"web": project("web")}))

    text = f"✋ Project web waits — {GONE.reason}. The others go on now"
    assert step.work == replace(
        before,
        closed={"api": "its budget", "web": GONE.reason},
        outbox=(told("project", text),),
        next_notice=2,
        seq=1,
        log=(entry(1, "queued homeless -> queued", attempt=None, note=GONE.reason),),
    )


def test_what_can_never_begin_is_blocked_and_the_others_are_named() -> None:
    """All that wait for the same task stand in one notice; each is blocked by a row of its own (SPEC 7.5)."""
    tasks = {name: Task(id=name, depends=("S0",)) for name in ("S1", "S2")} | {"S3": Task(id="S3", depends=("S9",))}
    before = working("S1", "S2", "S3", failed=("S0",), tasks=tasks)
    why = "it depends on S0, which failed"

    first = seen_queued(before, "S1", read()).work

    text = f"✋ Sprint S1 is blocked — {why}. When that is mended: awm retry S1\nSo are: S2"
    assert first == replace(
        before,
        queue=("S2", "S3"),
        blocked=("S1",),
        tasks={**tasks, "S1": replace(tasks["S1"], reason=why), "S2": replace(tasks["S2"], reason=why)},
        outbox=(told("blocked", text),),
        next_notice=2,
        report=(line(Phase.BLOCKED, notes=why, **NOTHING_RUN),),
        seq=1,
        log=(entry(1, "queued hindered -> blocked", attempt=None, note=why),),
    )
    second = seen_queued(first, "S2", read()).work
    assert (second.blocked, second.outbox) == (("S1", "S2"), first.outbox)


def test_one_that_comes_later_is_told_of_anew() -> None:
    """Nobody named it yet, though others are blocked for the same reason (SPEC 7.5)."""
    why = "it depends on S0, which failed"
    tasks = {"S1": Task(id="S1", depends=("S0",), reason=why), "S2": Task(id="S2", depends=("S0",))}
    before = working("S2", failed=("S0",), blocked=("S1",), tasks=tasks)

    assert [one.text for one in seen_queued(before, "S2", read()).work.outbox] == [
        f"✋ Sprint S2 is blocked — {why}. When that is mended: awm retry S2"
    ]


def test_a_hard_budget_asks_what_runs_to_end() -> None:
    """And nothing is told of that: the notice is of the budget (SPEC 13.3)."""
    before = live("S2")

    step = seen_live(before, replace(HEALTHY, running_seconds=600.0), policy=HARD)

    assert changing(step.work) == {
        "phase": Phase.STOPPING,
        "launches": 1,
        "stop": StopReason.OVERSPENT,
        "told_late": False,
    }
    assert step.work.pending == Stop(key=attempt().key, why="overspent")
    assert (step.work.log, step.work.outbox) == ((entry(1, "running overspent -> stopping, stop", note=WHY),), ())


def test_who_was_stopped_for_a_budget_is_first_again() -> None:
    """No pause, no strike, no try, no wait; what it took is in the ledger (SPEC 13.3)."""
    before = replace(
        live("S2", phase=Phase.STOPPING, stop=StopReason.OVERSPENT), spent=spent(attempts=1, last_attempt=1)
    )

    after = settled(before, exited(Outcome.STOPPED)).work

    why = "stopped: a budget is reached"
    assert after == replace(
        before,
        queue=("S1", "S2"),
        attempts=(),
        tasks={"S1": replace(TASK, seconds=480.0, earlier=earlier(Outcome.STOPPED, why))},
        spent=spent(attempts=1, minutes=8.0, last_attempt=1),
        seq=2,
        log=(entry(1, "stopping ended -> ended"), entry(2, "ended recalled -> queued", note=why)),
    )


@pytest.mark.parametrize(
    ("bounds", "then"),
    [({"own": HARD.own}, "is stopped"), ({"own": replace(HARD.own, is_hard=False)}, "goes on to its end")],
)
def test_a_budget_that_is_reached_closes_its_project(bounds: dict[str, Bounds], then: str) -> None:
    """One notice, which says what becomes of what runs (SPEC 13.3)."""
    before = working("S1", spent=spent(minutes=10.0))

    step = seen_project(before, "default", policy=replace(POLICY, **bounds))

    text = f"💰 Nothing new starts — {WHY}. What runs {then}"
    assert step is not None
    assert step.work == replace(
        before,
        closed={"default": WHY},
        outbox=(told("budget", text, task=""),),
        next_notice=2,
        seq=1,
        log=(entry(1, "open overspent -> closed", task="", attempt=None, note=WHY),),
    )


@pytest.mark.parametrize("hard", [True, False])
def test_the_budget_of_all_is_told_as_that(hard: bool) -> None:
    """It is the sum of all ledgers, and closes them all (SPEC 13.3)."""
    ledgers = spent("web", cost_usd=3.0) | spent(cost_usd=2.0)
    policy = replace(POLICY, bounds=Bounds(in_all=Use(cost_usd=5.0), is_hard=hard))

    step = seen_project(working("S1", spent=ledgers), ALL, policy=policy)

    assert step is not None
    why = "the budget of all projects is reached: 5 dollars in all"
    assert step.work.closed == {ALL: why}
    then = "is stopped" if hard else "goes on to its end"
    assert step.work.outbox[0].text == f"💰 Nothing new starts — {why}. What runs {then}"


def test_it_opens_again_quietly() -> None:
    """A higher limit, another day, the disk that is back: no notice (SPEC 13.3)."""
    before = working("S1", closed={"default": WHY, "web": GONE.reason})

    step = seen_project(before, "default")

    assert step is not None
    assert step.work == replace(
        before,
        closed={"web": GONE.reason},
        seq=1,
        log=(entry(1, "closed available -> open", task="", attempt=None, note="project default"),),
    )


@pytest.mark.parametrize(("gone", "minutes"), [("it is gone", 0.0), ("", 10.0), ("it is gone", 10.0)])
def test_it_stays_closed_while_one_of_both_is_so(gone: str, minutes: float) -> None:
    """The directory, or the budget; nothing is written (SPEC 6.4)."""
    before = working("S1", closed={"default": "why"}, spent=spent(minutes=minutes))

    step = seen_project(before, "default", gone=gone, policy=HARD)

    assert step is not None
    assert step.work is before


def test_a_call_queues_its_task_at_the_end() -> None:
    """With its spec, project and priority, in the same write as what its trigger did last (SPEC 13.2)."""
    before = working("S1", active=False, idle_since=NOW.wall)

    step = seen_call(before, replace(CALL, priority=Priority.HIGH))

    assert step is not None
    assert step.work == replace(
        before,
        queue=("S1", "nightly-1"),
        spec_files={"nightly-1": "/specs/n.md"},
        project_of={"nightly-1": "web"},
        tasks={"nightly-1": Task(id="nightly-1", priority=Priority.HIGH)},
        fired={"nightly": Fired(key="1", task="nightly-1", at=NOW.wall)},
        seq=1,
        log=(entry(1, "armed called -> fired", task="nightly-1", attempt=None, note="nightly-1"),),
    )


def test_a_plain_task_of_the_default_project_is_not_written_down() -> None:
    """All defaults, as of a task that a person adds; whose id an older one had does not inherit its project (4.2)."""
    step = seen_call(working(project_of={"nightly-1": "web"}), replace(CALL, project="default"))

    assert step is not None
    assert (step.work.tasks, step.work.project_of) == ({}, {})


LAST = {"nightly": Fired(key="0", task="nightly-0", at=later(-60).wall)}


@pytest.mark.parametrize(
    ("call", "row", "note", "notices"),
    [
        (CALL, "armed overlapping -> passed", "nightly-0 is not over", []),
        (replace(CALL, missed="its grace is over"), "armed missed -> passed", "its grace is over", []),
        (
            replace(CALL, problem="its spec is gone"),
            "armed broken -> passed",
            "its spec is gone",
            [told("trigger", "⚠️ Trigger nightly could not queue its task — its spec is gone", task="nightly-1")],
        ),
    ],
)
def test_a_call_that_is_let_pass_is_journalled_and_not_asked_again(
    call: Call, row: str, note: str, notices: list[Any]
) -> None:
    """Its key is remembered with the task that the trigger queued last; trouble passes no slot over (SPEC 13.2)."""
    before = working("nightly-0", fired=LAST)
    at = LAST["nightly"].at if call.problem else NOW.wall

    step = seen_call(before, call)

    assert step is not None
    assert step.work == replace(
        before,
        fired={"nightly": Fired(key="1", task="nightly-0", at=at)},
        outbox=tuple(notices),
        next_notice=1 + len(notices),
        seq=1,
        log=(entry(1, row, task="nightly-1", attempt=None, note=note),),
    )
    assert seen_call(step.work, call) is None


def test_what_an_attempt_took_is_charged_to_the_project_it_was_launched_for() -> None:
    """Though its task is of another one now; tokens are those read and made (SPEC 13.3)."""
    before = replace(live(project_id="web"), spent=spent("web", attempts=1, last_attempt=1))
    seen = exited(Outcome.SUCCEEDED, tokens={"input": 5, "output": 4, "cached": 100}, cost_usd=0.25)

    after = settled(before, seen).work

    assert after.spent == spent("web", attempts=1, minutes=8.0, tokens=9, cost_usd=0.25, last_attempt=1)
    assert after.report[0].project == "web"


def test_another_day_begins_anew_and_the_whole_goes_on() -> None:
    """SPEC 13.3."""
    before = replace(live(), spent=spent(attempts=1, minutes=30.0, last_attempt=1))

    after = settled(before, exited(Outcome.FAILED), policy=replace(POLICY, today="2026-01-02")).work

    assert after.spent == {
        "default": Spent(day="2026-01-02", today=Use(minutes=8.0), in_all=Use(attempts=1, minutes=38.0), last_attempt=1)
    }


def test_a_project_gives_its_tasks_their_directory_gate_and_agent() -> None:
    """Where the spec names none (SPEC 7.6, 10.1, 13.1)."""
    web = project("web", verify="make", agent="opus", isolation="in-place")
    policy = replace(POLICY, projects={"web": web}, max_parallel=2)

    work, seen = working("S1", project_of={"S1": "web"}), read(directory="/web")

    (one,) = seen_queued(work, "S1", seen, policy=policy).work.attempts

    assert (one.project_id, one.project, one.workspace, one.is_worktree) == ("web", "/web", "/web", False)
    assert (one.verify, one.agent) == ("make", "opus")


def test_an_agent_that_its_project_prefers_and_nobody_configured_blocks_the_task() -> None:
    """Told as what it is (SPEC 7.6)."""
    policy = replace(POLICY, projects={"web": project("web", agent="nobody")})

    step = seen_queued(working("S1", project_of={"S1": "web"}), "S1", read(), policy=policy)

    assert step.work.task("S1").reason == (
        "`agent` of its project, nobody, names no agent and no model of one; agents: codex, local, opus"
    )


def test_what_an_agent_proposes_is_kept_with_a_number_of_its_own() -> None:
    """One line each, for a person to accept; it queues nothing (issue 6, point 1)."""
    known = (Proposal(id="p1", project="default", task="S0", text="Test it"),)
    before = replace(live(project_id="web"), proposals=known, next_proposal=2)

    after = settled(before, exited(Outcome.SUCCEEDED, next_steps=("Write docs.\nAnd more", "Ship"))).work

    assert after.proposals == (
        *known,
        Proposal(id="p2", project="web", task="S1", text="Write docs"),
        Proposal(id="p3", project="web", task="S1", text="Ship"),
    )
    assert (after.next_proposal, after.queue) == (4, ())


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_only_the_newest_proposals_are_kept(extra: int) -> None:
    """Fifty; no number comes again (SPEC 15.2)."""
    said = tuple(f"step {number}" for number in range(consequence.PROPOSALS_MAX + extra))

    after = settled(live(), exited(Outcome.FAILED, next_steps=said)).work

    assert [one.text for one in after.proposals] == list(said[-consequence.PROPOSALS_MAX :])
    assert after.next_proposal == len(said) + 1


def test_what_is_counted_stays_within_what_the_file_can_hold() -> None:
    """An agent may say that it used 10^15 tokens, twice (SPEC 4.1, 17)."""
    most = result(Outcome.SUCCEEDED, tokens={"input": 10**15, "output": 10**15}, cost_usd=1e15)

    after = settled(replace(live(), spent=spent(tokens=10**15, cost_usd=1e15)), exited(Outcome.SUCCEEDED)).work
    again = settled(
        replace(live(), spent=after.spent), exited(Outcome.SUCCEEDED, tokens=most.tokens, cost_usd=most.cost_usd)
    ).work

    assert again.spent == spent(minutes=16.0, tokens=10**15, cost_usd=1e15)


@pytest.mark.parametrize(
    "changed",
    [
        {"projects": {"web": project("web", status=ProjectStatus.PAUSED)}},
        {"projects": {}},
        {"projects": {"web": project("web", bounds=Bounds(opens_at=later(60.0).wall))}},
        {"projects": {"web": project("web")}, "bounds": Bounds(opens_at=later(60.0).wall)},
    ],
    ids=["paused", "not known", "its window closed", "the window of all closed"],
)
def test_a_promised_launch_waits_until_its_project_may_start_again(changed: dict[str, Any]) -> None:
    """A beat died between promise and deed, and a person paused the project since (SPEC 6.2, 15.6)."""
    work = live(phase=Phase.LAUNCHING, project_id="web")
    loop = Loop(replace(work, pending=Launch(key=work.attempts[0].key)), replace(POLICY, **changed))

    assert (loop.beat(NotStarted()), loop.started) == ([], [])
    loop.policy = replace(POLICY, projects={"web": project("web")})
    assert loop.beat(NotStarted()) == ["launching never_began -> launching, launch"]
