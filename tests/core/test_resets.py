"""A fresh session for the assistant: when it is due, its steps, each told once, whatever is killed where (SPEC 11.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from build import (
    HEALTHY,
    NOW,
    POLICY,
    attempt,
    entry,
    exited,
    line,
    live,
    seen_loop,
    settled,
    told,
    working,
)
from hypothesis import given
from hypothesis import strategies as st
from loop import Killed, Loop

from awm_loop.core import choice
from awm_loop.core.model import Deadline, Outcome, Phase, Reset, Task, Work

EVERY_THIRD = replace(POLICY, reset_after=3)
BEGIN = "3 sprints done — saving state and resetting."
DONE = "✅ Reset complete. Fresh session online."
SUCCESS = exited(Outcome.SUCCEEDED)
FULL, SAVED, TOLD = (
    "working full -> resetting, reset",
    "resetting saved -> resuming",
    "resuming told -> working",
)
READY = "queued ready -> launching, launch"


@pytest.mark.parametrize(
    ("reset_after", "since_reset", "why"),
    [
        (3, 2, ""),
        (3, 3, BEGIN),
        (3, 4, "4 sprints done — saving state and resetting."),
        (1, 1, "1 sprint done — saving state and resetting."),
        (0, 0, ""),
        (0, 99, ""),
    ],
)
def test_a_reset_is_due_after_so_many_completions(reset_after: int, since_reset: int, why: str) -> None:
    """`autoNewAfterSprints`, in exactly these words; 0 is never (SPEC 11.1)."""
    assert choice.reset_due(working(since_reset=since_reset), replace(POLICY, reset_after=reset_after)) == why


@pytest.mark.parametrize(
    ("share", "limit", "why"),
    [
        (0.0, 0.85, ""),
        (0.8499, 0.85, ""),
        (0.85, 0.85, "Context at ~85% — saving state and resetting."),
        (0.87, 0.85, "Context at ~87% — saving state and resetting."),
        (1.0, 1.0, "Context at ~100% — saving state and resetting."),
        (0.999, 1.0, ""),
        (0.5, 0.5, "Context at ~50% — saving state and resetting."),
    ],
)
def test_a_reset_is_due_at_a_share_of_the_context(share: float, limit: float, why: str) -> None:
    """85 % full, or as `context_reset_fraction` says, in exactly these words (SPEC 11.1, 16)."""
    assert choice.reset_due(working(context_share=share), replace(POLICY, context_share_max=limit)) == why


def test_a_full_context_is_named_before_the_number_of_sprints() -> None:
    """One reset, one reason (SPEC 11.1)."""
    work = working(since_reset=3, context_share=0.9)

    assert choice.reset_due(work, EVERY_THIRD) == "Context at ~90% — saving state and resetting."


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_completions_are_counted(outcome: Outcome) -> None:
    """A failure, a limit, a skip are no sprint done (SPEC 11.1)."""
    after = settled(replace(live(), since_reset=1), exited(outcome)).work

    assert after.since_reset == (2 if outcome is Outcome.SUCCEEDED else 1)


@pytest.mark.parametrize(("said", "kept"), [(None, 0.5), (0.2, 0.5), (0.5, 0.5), (0.9, 0.9)])
@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_the_fullest_context_since_the_last_reset_counts(said: float | None, kept: float, outcome: Outcome) -> None:
    """Whichever session reported it, however its attempt ended (SPEC 11.1)."""
    after = settled(replace(live(), context_share=0.5), exited(outcome, context_share=said)).work

    assert after.context_share == kept


def test_the_reset_is_promised_with_its_first_notice() -> None:
    """Under a key of its own, so that it is done once however often it is tried (SPEC 6.2, 11.1)."""
    before = working("S2", since_reset=3, seq=40)

    after = seen_loop(before, policy=EVERY_THIRD).work

    assert after == replace(
        before,
        reset=Phase.RESETTING,
        pending=Reset(key="reset.40"),
        outbox=(told("reset", BEGIN, task=""),),
        next_notice=2,
        seq=41,
        log=(entry(41, FULL, task="", attempt=None, note=BEGIN.removesuffix(".")),),
    )


def test_once_it_is_proved_the_counters_start_again() -> None:
    """And the fresh session is told (SPEC 11.1)."""
    before = working("S2", since_reset=3, context_share=0.9, reset=Phase.RESETTING)

    after = seen_loop(before, policy=EVERY_THIRD).work

    assert after == replace(
        before,
        since_reset=0,
        context_share=0.0,
        reset=Phase.RESUMING,
        outbox=(told("reset", DONE, task=""),),
        next_notice=2,
        seq=1,
        log=(entry(1, SAVED, task="", attempt=None),),
    )


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (("S3", "S4"), "📊 2 done, resuming with S3, 2 in the queue"),
        (("S3",), "📊 2 done, resuming with S3, 1 in the queue"),
        ((), "📊 2 done, nothing left in the queue"),
    ],
)
def test_then_it_is_told_where_the_work_stands(queue: tuple[str, ...], text: str) -> None:
    """Done, resuming, queue left (SPEC 11.1)."""
    before = working(*queue, completed=("S1", "S2"), reset=Phase.RESUMING)

    after = seen_loop(before, policy=EVERY_THIRD).work

    assert after == replace(
        before,
        reset=None,
        outbox=(told("reset", text, task=""),),
        next_notice=2,
        seq=1,
        log=(entry(1, TOLD, task="", attempt=None),),
    )


def test_while_it_is_due_nothing_launches_and_it_waits_for_rest() -> None:
    """What runs is finished first; then the reset, then the next start (SPEC 11.1, 15.13)."""
    trees = {"is_worktree": True, "workspace": "/worktrees/S1"}
    start = replace(live("S3", **trees), since_reset=2, next_attempt=3)
    second = attempt(task="S2", number=2, is_worktree=True, workspace="/worktrees/S2")
    loop = Loop(replace(start, attempts=(*start.attempts, second)), replace(EVERY_THIRD, max_parallel=2))

    assert loop.beat({"S1": SUCCESS, "S2": HEALTHY}) == ["running ended -> ended", "ended succeeded -> completed"]
    assert loop.beat({"S2": HEALTHY}) == []
    assert loop.beat({"S2": exited(Outcome.FAILED)}) == ["running ended -> ended", "ended worth_retry -> queued", FULL]
    assert loop.beat() == [SAVED, TOLD]  # S2 waits out its backoff at the head
    assert (loop.work.queue, loop.started) == (("S2", "S3"), [])


@pytest.mark.parametrize(
    ("work", "rows"),
    [
        (working(), [SAVED, TOLD, "working drained -> idle"]),
        (working("S2"), [SAVED, TOLD, READY]),
        (working("S2", tasks={"S2": Task(id="S2", not_before=Deadline.after(9, NOW))}), [SAVED, TOLD]),
    ],
    ids=["nothing left", "one more", "one that waits"],
)
def test_what_follows_a_reset_follows_at_once(work: Work, rows: list[str]) -> None:
    """The report after the last task, else the next start, in the beat that proves it (SPEC 11.1)."""
    loop = Loop(replace(work, since_reset=3), EVERY_THIRD)

    assert loop.beat() == [FULL]
    assert loop.beat() == rows


def test_one_that_falls_due_with_the_last_task_is_done_before_the_report() -> None:
    """And the report has the tasks of before it (SPEC 4.4, 11.1)."""
    loop = Loop(replace(live(), since_reset=2), EVERY_THIRD)

    assert loop.beat(SUCCESS) == ["running ended -> ended", "ended succeeded -> completed", FULL]
    assert loop.beat() == [SAVED, TOLD, "working drained -> idle"]
    report = "🏁 Queue finished — 1 of 1 sprints completed\n✅ S1 completed — 8 min, 1 attempt"
    assert loop.told[1:] == [BEGIN, DONE, "📊 1 done, nothing left in the queue", report]
    assert loop.work.report == (line(Phase.COMPLETED),)


def test_a_loop_at_rest_is_not_reset() -> None:
    """It has sent its report; what becomes due there is done once it works again (SPEC 4.4, 11.1)."""
    resting = working(active=False, idle_since=NOW.wall, since_reset=3)
    loop = Loop(resting, EVERY_THIRD)

    assert loop.beat() == []
    loop.work = replace(resting, queue=("S4",))
    assert loop.beat() == ["idle fed -> working", FULL]
    assert loop.beat() == [SAVED, TOLD, READY]


def test_a_pause_holds_it_at_its_step() -> None:
    """The person goes on first (SPEC 4.4)."""
    loop = Loop(working("S4", active=False, since_reset=3), EVERY_THIRD)
    assert loop.beat() == []
    loop.work = replace(loop.work, reset=Phase.RESETTING)
    assert loop.beat() == []

    loop.work = replace(loop.work, active=True)

    assert loop.beat() == [SAVED, TOLD, READY]


def test_one_that_is_no_longer_wanted_half_way_is_finished() -> None:
    """`autoNewAfterSprints` set to 0 while it runs: begun is begun, and every step is told (SPEC 11.1)."""
    loop = Loop(working("S4", since_reset=3), EVERY_THIRD)
    loop.beat()

    loop.policy = POLICY

    assert loop.beat() == [SAVED, TOLD, READY]


def deeds_of(loop: Loop) -> int:
    """How many places there are to be killed at until nothing is left to do."""
    loop.kill_in = 10_000
    finishes(loop)
    assert loop.kill_in is not None
    return 10_000 - loop.kill_in


def finishes(loop: Loop) -> None:
    for _ in range(50):
        if not loop.beat(SUCCESS):
            return
    raise AssertionError("it never comes to rest")


def nearly() -> Loop:
    """A session's third task is live; another and the report follow."""
    return Loop(replace(live("S2", phase=Phase.LAUNCHING), since_reset=2), EVERY_THIRD)


WHOLE = nearly()
DEEDS = deeds_of(WHOLE)


@pytest.mark.parametrize("kill_in", range(DEEDS))
def test_killed_at_any_step_it_resumes_there(kill_in: int) -> None:
    """Before or after each save and each deed: done under one key, each notice once, and nothing lost (SPEC 11.1)."""
    loop = nearly()
    loop.kill_in = kill_in
    with pytest.raises(Killed):
        finishes(loop)

    finishes(loop)

    assert loop.work == WHOLE.work
    assert set(loop.remembered) == set(WHOLE.remembered)
    assert [one.what for one in loop.journal] == [one.what for one in WHOLE.journal]


def test_the_whole_of_it_is_narrated_once() -> None:
    """What the sweep above is held to (SPEC 11.1)."""
    assert DEEDS > 10
    assert [(notice.kind, notice.text.splitlines()[0]) for notice in WHOLE.work.outbox] == [
        ("completed", "✅ Sprint S1 COMPLETE — Search bar"),
        ("reset", BEGIN),
        ("reset", DONE),
        ("reset", "📊 1 done, resuming with S2, 1 in the queue"),
        ("started", "🚀 Sprint S2 started — S2"),
        ("completed", "✅ Sprint S2 COMPLETE — S2"),
        ("report", "🏁 Queue finished — 2 of 2 sprints completed"),
    ]
    assert (WHOLE.started, len(WHOLE.remembered), WHOLE.work.since_reset) == (["S2.2"], 1, 1)


@given(st.integers(min_value=1, max_value=4), st.integers(min_value=0, max_value=12))
def test_there_are_as_many_resets_as_completions_make(reset_after: int, count: int) -> None:
    """Each after so many, none more, none lost (SPEC 11.1)."""
    loop = Loop(working(*(f"S{number}" for number in range(count))), replace(POLICY, reset_after=reset_after))

    finishes(loop)

    assert len(loop.work.completed) == count
    assert len(loop.remembered) == len(set(loop.remembered)) == count // reset_after
    assert loop.work.since_reset == count % reset_after
