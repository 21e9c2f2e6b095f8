"""After the last strike an analysis, and what its answer changes for the task (SPEC 7.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from build import (
    NOW,
    OPUS,
    POLICY,
    SPEC,
    TASK,
    advised,
    attempt,
    by_hand,
    closed,
    earlier,
    entry,
    exited,
    line,
    live,
    read,
    seen_queued,
    settled,
    spent,
    told,
    working,
)
from loop import Loop

from awm_loop.core.machine import Signal, classify_live
from awm_loop.core.model import Account, Advised, Deadline, Outcome, Phase, Policy, StopReason, Task, Work
from awm_loop.core.observation import Exited

WISE = replace(POLICY, analysis_agent="opus")
STALLS = (*earlier(Outcome.STALLED, "pid 7 sleeps"), *earlier(Outcome.STALLED, "pid 9 sleeps", 2))
STRUCK = replace(TASK, strikes=3, attempts=3, seconds=1_440.0, earlier=STALLS, analysis="due")
ANALYSIS: Mapping[str, Any] = {
    "number": 4, "agent": "opus", "account": "anthropic", "model": "", "chain": ("opus",), "is_analysis": True,
    "require_commit": False,
}  # fmt: skip


def analysed(*queue: str, task: Task = STRUCK, **changes: Any) -> Work:
    """The analysis of S1 is live, as the fourth attempt."""
    return replace(live(*queue, task=replace(task, attempts=4), **{**ANALYSIS, **changes}), next_attempt=5)


def after(seen: Exited, *queue: str, policy: Policy = WISE) -> Work:
    return settled(analysed(*queue), seen, policy=policy).work


def test_strike_three_asks_for_an_analysis() -> None:
    """The task stays at the head of the queue, the strike counts, and one notice says who looks into it (SPEC 7.4)."""
    before = live("S2", task=replace(TASK, strikes=2))

    work = settled(before, exited(Outcome.TIMED_OUT, error="over 120 min"), policy=WISE).work

    struck = {"strikes": 3, "seconds": 480.0, "earlier": earlier(Outcome.TIMED_OUT, "over 120 min")}
    assert work == replace(
        before,
        queue=("S1", "S2"),
        attempts=(),
        tasks={"S1": replace(TASK, analysis="due", **struck)},
        outbox=(told("stall", "⚠️ Sprint S1 stalled (strike 3 of 3) — over 120 min. Opus looks into it"),),
        spent=spent(minutes=8.0),
        next_notice=2,
        seq=2,
        log=(entry(1, "running ended -> ended"), entry(2, "ended puzzling -> queued", note="over 120 min")),
    )


@pytest.mark.parametrize("outcome", [Outcome.STALLED, Outcome.TIMED_OUT])
@pytest.mark.parametrize(
    ("analyst", "strikes", "analysis", "signal"),
    [
        ("opus", 1, "", Signal.STRUCK),
        ("opus", 2, "", Signal.PUZZLING),
        ("opus", 5, "", Signal.PUZZLING),
        ("opus", 2, "done", Signal.STRUCK_OUT),
        ("opus", 3, "done", Signal.STRUCK_OUT),
        ("", 2, "", Signal.STRUCK_OUT),
        ("gone", 2, "", Signal.STRUCK_OUT),
    ],
)
def test_one_analysis_for_each_task_by_an_agent_that_exists(
    outcome: Outcome, analyst: str, strikes: int, analysis: str, signal: Signal
) -> None:
    """A stall after it, or nobody to do it: struck out (SPEC 7.4)."""
    work = live(phase=Phase.ENDED, task=replace(TASK, strikes=strikes, analysis=analysis))
    rules = replace(POLICY, analysis_agent=analyst)

    assert classify_live(work, work.attempts[0], exited(outcome), NOW, rules).signal is signal


def test_the_analysis_is_an_attempt_of_its_own_kind() -> None:
    """By its agent alone, in the spec's stead; no commit, no gate is asked of it (SPEC 7.4)."""
    spec = replace(SPEC, model="codex", verify="pytest", commit=True)
    before = working("S1", tasks={"S1": replace(STRUCK, verify="pytest")}, next_attempt=4)

    work = seen_queued(before, "S1", read(spec), policy=WISE).work

    expected = attempt(phase=Phase.LAUNCHING, eta_seconds=None, **ANALYSIS)
    assert (work.attempts, work.tasks) == ((expected,), {"S1": replace(STRUCK, verify="pytest", attempts=4)})


def test_an_analysis_waits_for_the_account_of_its_agent() -> None:
    """Nobody else does it in the meantime (SPEC 7.4, 15.6)."""
    before = working("S1", tasks={"S1": STRUCK}, accounts=closed(600, OPUS))

    assert seen_queued(before, "S1", read(), policy=WISE).work is before


def test_a_relaunch_is_told_the_corrected_instruction() -> None:
    """It stands in the guidance of all later prompts; the task's own agent goes on, at once (SPEC 7.4)."""
    work = after(advised(Advised.RELAUNCH), "S2")

    found = "An analysis of the stalls found: It waits for input\nUse a timeout."
    log = (*STALLS, *earlier(Outcome.SUCCEEDED, "It waits for input", 4, "opus"))
    task = replace(STRUCK, attempts=4, seconds=1_920.0, analysis="done", guidance=(found,), earlier=log)
    assert (work.queue, work.attempts, work.tasks) == (("S1", "S2"), (), {"S1": task})
    text = "⚠️ Sprint S1 stalled 3 times. Root cause: It waits for input. Action: started again, told: Use a timeout"
    assert work.outbox == (told("stall", text),)
    assert work.log[1:] == (entry(2, "ended advised -> queued", attempt=4, note="It waits for input"),)
    (again,) = seen_queued(work, "S1", read(), policy=WISE).work.attempts
    assert (again.agent, again.chain, again.is_analysis) == ("codex", ("codex", "opus"), False)


def test_what_a_person_answered_stays_beside_the_advice() -> None:
    """Guidance is added to (SPEC 7.4)."""
    task = replace(STRUCK, guidance=("Blue.",))

    work = settled(analysed(task=task), advised(Advised.RELAUNCH, cause="C", text="T"), policy=WISE).work

    assert work.task("S1").guidance == ("Blue.", "An analysis of the stalls found: C\nT")


def test_in_a_takeover_the_analysis_agent_does_the_task_itself() -> None:
    """The next attempt uses it, alone, with gate and commit as for anybody (SPEC 7.4)."""
    work = after(advised(Advised.TAKEOVER))

    assert (work.task("S1").agent, work.task("S1").analysis) == ("opus", "done")
    text = "⚠️ Sprint S1 stalled 3 times. Root cause: It waits for input. Action: Opus does it itself: Use a timeout"
    assert work.outbox == (told("stall", text),)
    spec = replace(SPEC, model="codex")
    (taken,) = seen_queued(work, "S1", read(spec), policy=WISE).work.attempts
    assert (taken.agent, taken.chain, taken.is_analysis, taken.require_commit) == ("opus", ("opus",), False, True)


def test_who_took_over_and_left_the_configuration_is_forgotten() -> None:
    """The spec's own agent goes on (SPEC 7.6)."""
    work = working("S1", tasks={"S1": replace(STRUCK, analysis="done", agent="gone")})

    (taken,) = seen_queued(work, "S1", read()).work.attempts

    assert taken.agent == "codex"


def test_the_advice_to_skip_ends_the_task() -> None:
    """With the explanation in notice and report; no further strike is counted (SPEC 7.4)."""
    work = after(advised(Advised.SKIP, text="Ask Bob."), "S2")

    task = work.task("S1")
    assert (work.queue, work.skipped, task.strikes, task.analysis) == (("S2",), ("S1",), 3, "done")
    assert task.reason == "It waits for input"
    text = "⚠️ Sprint S1 stalled 3 times. Root cause: It waits for input. Action: skipped — Ask Bob"
    assert work.outbox == (told("struck_out", text),)
    assert work.log[-1] == entry(2, "ended given_up -> skipped", attempt=4, note="It waits for input")


def test_an_analysis_without_an_answer_is_the_end() -> None:
    """It babbled: skipped, and the evidence of the stalls is kept (SPEC 7.4)."""
    work = after(exited(Outcome.SUCCEEDED, summary="I think it is the weather"))

    assert (work.skipped, work.task("S1").guidance, work.task("S1").analysis) == (("S1",), (), "done")
    text = "⚠️ Sprint S1 stalled 3 times. Root cause: its analysis gave no answer. Action: skipped, evidence kept"
    assert work.outbox == (told("struck_out", text),)


@pytest.mark.parametrize(
    "outcome", [Outcome.FAILED, Outcome.HOLLOW, Outcome.LOST, Outcome.STALLED, Outcome.TIMED_OUT, Outcome.BLOCKED]
)
def test_an_analysis_that_did_not_end_well_is_the_end(outcome: Outcome) -> None:
    """Failed, stalled, timed out, lost, or asking back: no strike and no try of the task's (SPEC 7.4)."""
    work = after(exited(outcome, error="pid 8 sleeps"))

    task = work.task("S1")
    assert (work.skipped, task.strikes, task.tries, task.analysis) == (("S1",), 3, 0, "done")
    why = f"its analysis ended as {outcome}: pid 8 sleeps"
    assert task.reason == why
    text = f"⚠️ Sprint S1 stalled 3 times. Root cause: {why}. Action: skipped, evidence kept"
    assert work.outbox == (told("struck_out", text),)


def test_an_analysis_that_met_a_limit_stays_due() -> None:
    """It waits for its own agent's account; the fallbacks of the task's agents are not asked (SPEC 7.4, 9.1)."""
    work = after(exited(Outcome.LIMITED, error="no more"))

    deadline = Deadline.after(960, NOW)
    task = work.task("S1")
    assert (work.queue, task.analysis, task.not_before) == (("S1",), "due", deadline)
    limited = Account(name="anthropic", deadline=deadline, source="", agent="opus", hits=1)
    assert work.accounts == {"anthropic": limited}
    assert work.outbox == (told("limit", "⚡ Opus rate limited. Retry in ~15 minutes. Waiting."),)


@pytest.mark.parametrize(
    ("seen", "changes", "reboots"),
    [
        (exited(Outcome.REBOOTED, error="restarted"), {}, 1),
        (exited(Outcome.STOPPED), {"phase": Phase.STOPPING, "stop": "operator"}, 0),
    ],
    ids=["a reboot", "awm stop"],
)
def test_an_analysis_that_was_cut_off_stays_due(seen: Exited, changes: dict[str, Any], reboots: int) -> None:
    """The next attempt is an analysis again (SPEC 7.2, 7.4)."""
    work = settled(analysed(**changes), seen, policy=WISE).work

    task = work.task("S1")
    assert (work.queue, task.analysis, task.reboots, task.strikes) == (("S1",), "due", reboots, 3)
    (again,) = seen_queued(replace(work, active=True), "S1", read(), policy=WISE).work.attempts
    assert (again.agent, again.is_analysis) == ("opus", True)


def test_the_answer_of_an_analysis_completes_nothing() -> None:
    """Not its task, and it is no sign that the account of a limit is open for good (SPEC 7.4, 15.7)."""
    known = {"anthropic": Account(name="anthropic", deadline=None, source="", agent="opus", hits=2)}

    work = settled(replace(analysed(), accounts=known), advised(Advised.RELAUNCH), policy=WISE).work

    assert (work.completed, work.since_reset, work.report, work.accounts) == ((), 0, (), known)


def test_the_last_stall_of_all_is_told_with_its_own_evidence() -> None:
    """A fourth stall after the advice: the strike counts, and there is nothing more to try (SPEC 7.4)."""
    task = replace(STRUCK, analysis="done", guidance=("Do not wait.",))

    work = settled(live(task=task), exited(Outcome.STALLED, error="pid 11 sleeps"), policy=WISE).work

    assert (work.skipped, work.task("S1").strikes, work.task("S1").reason) == (("S1",), 4, "pid 11 sleeps")
    text = "⚠️ Sprint S1 stalled 4 times. Root cause: pid 11 sleeps. Action: skipped, evidence kept"
    assert work.outbox == (told("struck_out", text),)
    totals = {"minutes_in_all": 32.0, "attempts": 3, "error_type": "stalled", "notes": "pid 11 sleeps"}
    assert work.report == (line(Phase.SKIPPED, **totals),)


def test_other_outcomes_after_the_advice_are_what_they_always_are() -> None:
    """A failure is a try, with its backoff (SPEC 7.2)."""
    work = settled(live(task=replace(STRUCK, analysis="done")), exited(Outcome.FAILED), policy=WISE).work

    assert (work.queue, work.task("S1").tries, work.task("S1").not_before) == (("S1",), 1, Deadline.after(30, NOW))


def test_a_crash_between_the_strike_and_the_analysis_starts_it_once() -> None:
    """The analysis is due in the state, not in anybody's memory (SPEC 7.4, 15.2)."""
    loop = Loop(live(task=replace(TASK, strikes=2)), WISE)
    loop.beat(exited(Outcome.STALLED))
    loop.work = replace(loop.work, pending=None)

    assert [(one.number, one.is_analysis) for one in loop.work.attempts] == [(2, True)]
    assert loop.beat() == []
    assert loop.started == ["S1.2"]


@pytest.mark.parametrize(
    ("stop", "signal"),
    [
        (StopReason.SKIP, Signal.DISMISSED),
        (StopReason.REMOVED, Signal.WITHDRAWN),
        (StopReason.REQUEUED, Signal.RECALLED),
    ],
)
def test_a_persons_word_beats_an_analysis_that_ends_meanwhile(stop: StopReason, signal: Signal) -> None:
    """Only work that is done wins over it (SPEC 4.6, 7.2)."""
    work = by_hand(analysed(phase=Phase.STOPPING), stop)
    step = settled(work, advised(Advised.RELAUNCH), policy=WISE)

    assert step.row.signal is signal
