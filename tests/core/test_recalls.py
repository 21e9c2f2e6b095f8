"""A live task that a person re-queued or removed in the state file: a request to stop it, then the edit (SPEC 4.6, 7.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from build import (
    CANNOT_LOOK,
    HEALTHY,
    STUCK,
    TASK,
    attempt,
    by_hand,
    earlier,
    entry,
    exited,
    live,
    seen_live,
    settled,
    spent,
)

from awm_loop.core.model import Launch, Outcome, Phase, Stop, StopReason, Task, Work
from awm_loop.core.observation import AttemptSeen, NotStarted, Starting
from awm_loop.store import guarantee

BY_HAND = [StopReason.REQUEUED, StopReason.REMOVED]


def stopping(*queue: str, stop: StopReason, before: str = "", task: Task = TASK) -> Work:
    return live(*queue, phase=Phase.STOPPING, stop=stop, before=before, task=task)


@pytest.mark.parametrize("reason", BY_HAND)
@pytest.mark.parametrize("seen", [HEALTHY, STUCK, Starting()])
def test_it_is_asked_to_end_first(reason: StopReason, seen: AttemptSeen) -> None:
    """Whatever it does just now, with the person's reason (SPEC 4.6)."""
    step = seen_live(by_hand(live(phase=Phase.LAUNCHING), reason), seen)

    assert step.work.pending == Stop(key=attempt().key, why=reason.value)
    assert step.work.log == (entry(1, "launching unwanted -> stopping, stop", note=reason.value),)


@pytest.mark.parametrize("reason", BY_HAND)
def test_one_that_has_not_begun_is_fenced_and_not_launched_again(reason: StopReason) -> None:
    """It must not start late (SPEC 7.3, 8.1)."""
    step = seen_live(by_hand(live(phase=Phase.LAUNCHING), reason), NotStarted())

    assert not isinstance(step.work.pending, Launch)
    assert step.work.attempts[0].phase is Phase.STOPPING


@pytest.mark.parametrize("reason", BY_HAND)
def test_until_its_end_is_proved_it_stays_live(reason: StopReason) -> None:
    """Nothing is done twice, and no other attempt may stand in its place (SPEC 8.3, 15.1)."""
    before = stopping("S2", stop=reason)

    assert [seen_live(before, seen).work for seen in (HEALTHY, CANNOT_LOOK)] == [before, before]


@pytest.mark.parametrize(
    ("before", "queue"),
    [
        ("S2", ("S1", "S2", "S3", "S4")),
        ("S3", ("S2", "S1", "S3", "S4")),
        ("S4", ("S2", "S3", "S1", "S4")),
        ("", ("S2", "S3", "S4", "S1")),
        ("S9", ("S2", "S3", "S4", "S1")),
    ],
    ids=["first", "second", "third", "last", "before one that left meanwhile"],
)
def test_a_requeued_task_gets_the_place_the_person_gave_it(before: str, queue: tuple[str, ...]) -> None:
    """Before the task it stood before in the file; no pause, no wait, nothing counted or told (SPEC 4.6)."""
    counted = replace(TASK, strikes=1, tries=2)
    work = stopping("S2", "S3", "S4", stop=StopReason.REQUEUED, before=before, task=counted)

    after = settled(work, exited(Outcome.STOPPED)).work

    why = "put back into the queue by hand"
    task = replace(counted, seconds=480.0, earlier=earlier(Outcome.STOPPED, why))
    assert after == replace(
        work,
        queue=queue,
        attempts=(),
        tasks={"S1": task},
        spent=spent(minutes=8.0),
        seq=2,
        log=(entry(1, "stopping ended -> ended"), entry(2, "ended recalled -> queued", note=why)),
    )
    assert after.active


def test_a_removed_task_is_forgotten() -> None:
    """No list has it, nothing is reported or told, and no guarantee is broken by its leaving (SPEC 4.6, 15.3)."""
    work = stopping("S2", stop=StopReason.REMOVED, task=replace(TASK, tries=2))

    after = settled(work, exited(Outcome.STOPPED)).work

    assert after == replace(
        work,
        attempts=(),
        tasks={},
        spent=spent(minutes=8.0),
        seq=2,
        log=(
            entry(1, "stopping ended -> ended"),
            entry(2, "ended withdrawn -> removed", note="removed by hand"),
        ),
    )
    assert guarantee.broken(work, after) is None


@pytest.mark.parametrize(("reason", "phase"), list(zip(BY_HAND, (Phase.QUEUED, Phase.REMOVED), strict=True)))
@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED])
def test_however_it_ended_but_well_the_edit_applies(reason: StopReason, phase: Phase, outcome: Outcome) -> None:
    """A kill may look like a failure, a stall, a limit: the person's word is what counts (SPEC 4.6)."""
    step = settled(stopping(stop=reason), exited(outcome, error="killed"))

    assert (step.row.then, step.work.paused, step.work.accounts) == (phase, False, {})
    task = step.work.task("S1")
    assert (task.tries, task.strikes, task.reboots, task.not_before) == (0, 0, 0, None)


@pytest.mark.parametrize("reason", BY_HAND)
def test_a_success_meanwhile_wins(reason: StopReason) -> None:
    """A durable success is never thrown away, nor followed by another attempt (SPEC 4.6, 8.1, 15.8)."""
    after = settled(stopping("S2", stop=reason, before="S2"), exited(Outcome.SUCCEEDED)).work

    assert (after.completed, after.queue, after.tasks) == (("S1",), ("S2",), {})
