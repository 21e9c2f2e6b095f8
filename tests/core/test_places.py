"""Where attempts work, how many at once, and the gate they are judged by (SPEC 7.5, 10.1, 10.2, 10.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from build import HEALTHY, NOW, POLICY, SPEC, TASK, attempt, closed, exited, live, read, seen_queued, settled, working
from loop import Loop

from awm_loop.core import choice
from awm_loop.core.choice import Place
from awm_loop.core.machine import Signal, classify_queued
from awm_loop.core.model import Attempt, Deadline, Launch, Outcome, Policy, Task, Work
from awm_loop.core.observation import GateSeen, SpecBad, SpecRead

IN_PLACE, WORKTREE = Place("/project", False), Place("/worktrees/S1", True)
NO_GIT = SpecBad(reason="it is to work in a worktree, and the project is not in git")
NO_BRANCH = SpecBad(reason="it is to work in a worktree, and the project has no commit on a branch")
PARALLEL = replace(POLICY, max_parallel=3)


@pytest.mark.parametrize(
    ("said", "configured", "max_parallel", "place"),
    [
        ("", "auto", 1, IN_PLACE),
        ("", "auto", 2, WORKTREE),
        ("", "in-place", 2, IN_PLACE),
        ("", "worktree", 1, WORKTREE),
        ("in-place", "worktree", 2, IN_PLACE),
        ("worktree", "in-place", 1, WORKTREE),
    ],
)
def test_the_workspace_is_the_specs_word_else_the_configurations(
    said: str, configured: str, max_parallel: int, place: Place
) -> None:
    """`auto` is in-place for one at a time, a worktree for more (SPEC 10.3, 16)."""
    policy = replace(POLICY, isolation=configured, max_parallel=max_parallel)

    assert choice.workspace(working("S1"), "S1", read(replace(SPEC, isolation=said)), policy) == place


@pytest.mark.parametrize(
    ("seen", "isolation", "place"),
    [
        (read(head=None, branch=""), "auto", IN_PLACE),
        (read(head=None, branch=""), "worktree", NO_GIT),
        (read(head="", branch="main"), "auto", IN_PLACE),
        (read(head="", branch="main"), "worktree", NO_BRANCH),
        (read(branch=""), "auto", IN_PLACE),
        (read(branch=""), "worktree", NO_BRANCH),
    ],
    ids=["no git", "no git, asked for", "no commit", "no commit, asked for", "no branch", "no branch, asked for"],
)
def test_a_worktree_needs_a_branch_to_go_back_to(seen: SpecRead, isolation: str, place: Place | SpecBad) -> None:
    """Where it was asked for and cannot be, the task is blocked and told why; `auto` does without (SPEC 10.3)."""
    policy = replace(PARALLEL, isolation=isolation)

    assert choice.workspace(working("S1"), "S1", seen, policy) == place
    assert classify_queued(working("S1"), "S1", seen, NOW, policy)[:2] == (
        (Signal.UNFIT, place.reason) if isinstance(place, SpecBad) else (Signal.READY, "codex")
    )


def test_a_branch_that_was_taken_serves_while_none_is_checked_out() -> None:
    """A person looks at an old commit in the project; the task knows where its work belongs (SPEC 10.3)."""
    work = working("S1", tasks={"S1": TASK})

    assert choice.workspace(work, "S1", read(branch=""), PARALLEL) == WORKTREE


OTHER_TREE = attempt(workspace="/worktrees/S0", is_worktree=True)


@pytest.mark.parametrize(
    ("attempts", "place", "is_occupied"),
    [
        ((), IN_PLACE, False),
        ((), WORKTREE, False),
        ((OTHER_TREE,), WORKTREE, False),
        ((OTHER_TREE, replace(OTHER_TREE, workspace="/worktrees/S1")), WORKTREE, True),
        ((OTHER_TREE,), IN_PLACE, True),
        ((attempt(),), IN_PLACE, True),
        ((attempt(),), WORKTREE, True),
    ],
    ids=["alone", "alone in a tree", "tree by tree", "same tree", "beside a tree", "same place", "a tree beside it"],
)
def test_one_attempt_per_workspace_and_none_beside_one_in_place(
    attempts: tuple[Attempt, ...], place: Place, is_occupied: bool
) -> None:
    """Beside one in the project's own directory nobody may move its branch (SPEC 7.5, 10.3)."""
    assert choice.is_occupied(working(attempts=attempts), place, "/project") is is_occupied


def test_who_would_work_where_another_works_is_left_alone() -> None:
    """Nothing is written, beat after beat, and its notBefore is nobody's business (SPEC 6.4, 7.5)."""
    work = live("S2")

    step = seen_queued(work, "S2", read(), policy=replace(PARALLEL, isolation="in-place"))

    assert (step.work, step.row.signal) == (work, Signal.OCCUPIED)


def test_a_spec_that_cannot_be_used_is_told_though_its_place_is_taken() -> None:
    """It need not wait for that (SPEC 5.1)."""
    step = seen_queued(live("S2"), "S2", read(replace(SPEC, model="nobody")), policy=PARALLEL)

    assert step.row.signal is Signal.UNFIT


@pytest.mark.parametrize(
    ("live_count", "max_parallel", "looked_at"),
    [(0, 1, ["S9"]), (1, 1, []), (1, 2, ["S9"]), (2, 2, []), (3, 2, [])],
)
def test_no_more_than_max_parallel_are_live(live_count: int, max_parallel: int, looked_at: list[str]) -> None:
    """Also where the number was made smaller meanwhile (SPEC 7.5, 15.1)."""
    attempts = tuple(attempt(task=f"S{n}", number=n + 1, workspace=f"/worktrees/S{n}") for n in range(live_count))
    work = working("S9", attempts=attempts)

    assert list(choice.candidates(work, NOW, replace(POLICY, max_parallel=max_parallel))) == looked_at


def beats(loop: Loop) -> Loop:
    """Until a beat has no row; all that live are healthy."""
    while loop.beat(HEALTHY):
        pass
    return loop


def test_as_many_as_may_are_started_one_in_a_beat() -> None:
    """Each in the worktree of its task; `inProgress` is the oldest (SPEC 4.2, 6.2, 7.5)."""
    loop = beats(Loop(working("S1", "S2", "S3", "S4"), PARALLEL))

    assert [(one.task, one.number, one.workspace, one.is_worktree) for one in loop.work.attempts] == [
        ("S1", 1, "/worktrees/S1", True),
        ("S2", 2, "/worktrees/S2", True),
        ("S3", 3, "/worktrees/S3", True),
    ]
    assert (loop.work.queue, loop.started) == (("S4",), ["S1.1", "S2.2", "S3.3"])


@pytest.mark.parametrize(
    ("work", "specs", "lives"),
    [
        (working("S1", "S2", "S3"), {"S1": "in-place"}, ["S1"]),
        (working("S1", "S2", "S3"), {"S2": "in-place"}, ["S1"]),
        (working("S1", "S2", "S3"), {"S3": "in-place"}, ["S1", "S2"]),
        (working("S1", "S2", tasks={"S1": Task(id="S1", not_before=Deadline.after(9, NOW))}), {}, []),
        (working("S1", "S2", accounts=closed(60)), {"S1": ""}, ["S1", "S2"]),
    ],
    ids=["in place first", "in place second", "in place last", "one that waits", "a fallback"],
)
def test_nobody_overtakes_one_that_cannot_start_yet(work: Work, specs: dict[str, str], lives: list[str]) -> None:
    """Room for three or not, the queue is taken in its order (SPEC 4.3, 7.5)."""
    loop = Loop(work, PARALLEL)
    loop.specs = {task: replace(SPEC, isolation=isolation) for task, isolation in specs.items()}

    assert beats(loop).live == lives


def test_the_end_of_one_leaves_the_others_alone() -> None:
    """A strike, a try, a limit are the task's and the account's own (SPEC 7.2, 7.5)."""
    loop = beats(Loop(working("S1", "S2"), PARALLEL))
    untouched = loop.work.attempts[0]

    loop.beat({"S1": HEALTHY, "S2": exited(Outcome.FAILED, error="tests fail")})

    assert (loop.work.attempts, loop.work.queue) == ((untouched,), ("S2",))
    assert (loop.work.task("S2").tries, loop.work.task("S1").tries) == (1, 0)


def launched(work: Work, seen: SpecRead, policy: Policy = POLICY) -> tuple[Attempt, Task]:
    after = seen_queued(work, "S1", seen, policy=policy).work
    (one,) = after.attempts
    assert after.pending == Launch(key=one.key)
    return one, after.task("S1")


@pytest.mark.parametrize(
    ("said", "configured", "verify"),
    [("pytest", "make", "pytest"), ("", "make", "make"), ("pytest", "", "pytest"), ("", "", "")],
)
def test_the_gate_is_the_specs_else_the_projects(said: str, configured: str, verify: str) -> None:
    """Taken at the first attempt, with the branch and the commit then (SPEC 10.1)."""
    spec, policy = replace(SPEC, verify=said, gate_files=("t.py",)), replace(POLICY, verify=configured, gate_first=True)

    one, task = launched(working("S1", next_attempt=3), read(spec), policy)

    assert (one.verify, one.gate_files, one.gate_first) == (verify, ("t.py",), True)
    assert (task.verify, task.gate_number, task.branch, task.base) == (verify, 3, "main", "base")


@pytest.mark.parametrize("taken", ["pytest", ""])
def test_the_gate_and_the_branch_stay_what_they_were(taken: str) -> None:
    """Whatever an attempt, or a person, wrote into spec, configuration and repository meanwhile (SPEC 10.1)."""
    known = replace(TASK, verify=taken, attempts=1)
    spec, policy = replace(SPEC, verify="true"), replace(POLICY, verify="true")

    one, task = launched(working("S1", tasks={"S1": known}), read(spec, head="newer", branch="other"), policy)

    assert one.verify == taken
    assert task == replace(known, attempts=2)


def test_a_project_without_a_commit_has_a_base_all_the_same() -> None:
    """The empty one: the first commit there ever is counts (SPEC 10.1)."""
    one, task = launched(working("S1"), read(head=""))
    again, same = launched(working("S1", tasks={"S1": task}), read(head="first"))

    assert (one.require_commit, again.require_commit, task.base, same.base) == (True, True, "", "")


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (
            {"gate": GateSeen(passed=True, before=True)},
            "✅ Sprint S1 COMPLETE — its gate was green already, no agent was started",
        ),
        (
            {"gate": GateSeen(passed=True, changed=("t.py",)), "remark": "it changed its own gate (t.py)"},
            (
                "✅ Sprint S1 COMPLETE — Search bar\n⏱️ Duration: 8 min (est was 12 min)\n"
                "⚠️ it changed its own gate (t.py)"
            ),
        ),
    ],
    ids=["green before", "a judge changed"],
)
def test_the_completion_says_what_the_gate_showed(seen: dict[str, Any], told: str) -> None:
    """Already green is reported as such; who changed the judge gained nothing, and it is told (SPEC 10.2)."""
    after = settled(live(), exited(Outcome.SUCCEEDED, **seen)).work

    assert ([one.text for one in after.outbox], after.completed) == ([told], ("S1",))
