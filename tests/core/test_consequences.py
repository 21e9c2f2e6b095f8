"""What each row of a task, an account and the loop leaves behind, as whole values (SPEC 7, 9).

Lists, counts, deadlines, promises, notices and the journal. Analyses, hand edits, worktrees and resets have files of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from build import (
    CANNOT_LOOK,
    HEALTHY,
    NOW,
    OPUS,
    POLICY,
    SPEC,
    STUCK,
    TASK,
    attempt,
    changing,
    closed,
    earlier,
    entry,
    exited,
    later,
    line,
    live,
    read,
    seen_account,
    seen_live,
    seen_loop,
    seen_queued,
    settled,
    spent,
    told,
    working,
)
from loop import Loop

from awm_loop.core.consequence import Moment, take_queued
from awm_loop.core.machine import Judged, Signal
from awm_loop.core.model import (
    Account,
    Deadline,
    Launch,
    LogEntry,
    Outcome,
    Phase,
    Stop,
    StopReason,
    Task,
)
from awm_loop.core.observation import Limit, NotStarted, SpecBad, Starting, Unattended

NO_ATTEMPT = {"number": None, "agent": "", "model": "", "type": "", "minutes": 0.0, "minutes_in_all": 0.0} | {
    "attempts": 0,
    "eta_minutes": None,
}


def test_a_due_task_is_launched() -> None:
    """It leaves the queue, has an attempt with the next number, and its launch is promised (SPEC 6.2, 7.5)."""
    before = working("S1", "S2", seq=4, next_attempt=7, tasks={"S1": Task(id="S1", not_before=Deadline.after(0, NOW))})

    step = seen_queued(before, "S1", read(past=(12.0,)))

    new = attempt(number=7, phase=Phase.LAUNCHING)
    assert replace(step.work, outbox=()) == replace(
        before,
        queue=("S2",),
        attempts=(new,),
        tasks={"S1": replace(TASK, gate_number=7)},
        pending=Launch(key=new.key),
        next_attempt=8,
        next_notice=2,
        spent=spent(attempts=1, last_attempt=7),
        seq=5,
        log=(entry(5, "queued ready -> launching, launch", attempt=7, note="codex"),),
    )
    assert [notice.kind for notice in step.work.outbox] == ["started"]
    assert (step.task, step.attempt, step.reason) == ("S1", 7, "codex")


def test_what_the_spec_says_is_asked_of_the_attempt() -> None:
    """Its own agent, time limit, gate files and `Commit: no`; the first commit seen stays the base (SPEC 5.1, 10.1)."""
    spec = replace(SPEC, model="Opus", timeout_minutes=45.0, commit=False, estimate_minutes=30.0, gate_files=("t.py",))
    before = working("S1", tasks={"S1": replace(TASK, base="older", attempts=2)})

    after = seen_queued(before, "S1", read(spec)).work

    asked = attempt(
        phase=Phase.LAUNCHING,
        agent="opus",
        account="anthropic",
        model="",
        chain=("opus",),
        limit_seconds=2_700.0,
        require_commit=False,
        gate_files=("t.py",),
        eta_seconds=1_800.0,
    )
    assert (after.attempts, after.tasks) == ((asked,), {"S1": replace(TASK, base="older", attempts=3)})


@pytest.mark.parametrize(("wanted", "head"), [(False, "base"), (True, None)])
def test_no_commit_is_asked_where_none_can_be(wanted: bool, head: str | None) -> None:
    """With `require_commit = false`, or outside git (SPEC 10.1)."""
    seen = read(head=head)

    (new,) = seen_queued(working("S1"), "S1", seen, policy=replace(POLICY, require_commit=wanted)).work.attempts

    assert new.require_commit is False


@pytest.mark.parametrize(
    ("judged", "words"),
    [
        (Judged(Signal.READY, seen=read()), "READY without an agent and a spec"),
        (Judged(Signal.READY, agent=OPUS), "READY without an agent and a spec"),
        (Judged(Signal.READY, seen=read(), agent=OPUS), "READY without a place"),
    ],
)
def test_a_launch_without_agent_spec_and_place_is_a_bug_of_ours(judged: Judged, words: str) -> None:
    """READY comes with all of them; without one nothing is changed (SPEC 7.1)."""
    with pytest.raises(AssertionError, match=words):
        take_queued(working("S1"), "S1", judged, Moment(now=NOW, policy=POLICY))


def test_a_task_whose_agents_are_all_closed_is_left_alone() -> None:
    """No agent starts before its account's deadline (SPEC 9.1, 15.6)."""
    before = working("S1", accounts=closed(60) | closed(600, OPUS))

    assert seen_queued(before, "S1", read()).work is before


def test_a_spec_that_cannot_be_used_blocks_its_task_only() -> None:
    """With the reason; it had no attempt (SPEC 5.1)."""
    before = working("S1", "S2", tasks={"S1": Task(id="S1", not_before=Deadline.after(0, NOW))})

    step = seen_queued(before, "S1", SpecBad(reason="it is empty"))

    assert step.work == replace(
        before,
        queue=("S2",),
        blocked=("S1",),
        tasks={"S1": Task(id="S1", reason="it is empty")},
        report=(line(Phase.BLOCKED, notes="it is empty", **NO_ATTEMPT),),
        outbox=(told("blocked", "✋ Sprint S1 is blocked — it is empty. When that is mended: awm retry S1"),),
        next_notice=2,
        seq=1,
        log=(entry(1, "queued unfit -> blocked", attempt=None, note="it is empty"),),
    )


@pytest.mark.parametrize("phase", [Phase.LAUNCHING, Phase.RUNNING, Phase.STOPPING])
def test_could_not_look_changes_nothing(phase: Phase) -> None:
    """It is not "not there": nothing is done about that attempt in this beat (SPEC 7.3)."""
    before = live(phase=phase)

    assert seen_live(before, CANNOT_LOOK).work is before


def test_a_supervisor_that_starts_the_agent_is_given_time() -> None:
    """It holds the attempt; the agent has not begun (SPEC 8.1)."""
    before = live(phase=Phase.LAUNCHING)

    assert seen_live(before, Starting()).work is before


def test_an_attempt_that_never_began_starts_with_the_same_number() -> None:
    """The beat died between promise and start; locally the number starts again at once (SPEC 7.3)."""
    step = seen_live(live(phase=Phase.LAUNCHING, launches=4), NotStarted())

    assert changing(step.work) == {"phase": Phase.LAUNCHING, "launches": 5, "stop": None, "told_late": False}
    assert (step.work.pending, step.work.next_attempt) == (Launch(key=attempt().key), 2)
    assert step.work.log == (
        entry(1, "launching never_began -> launching, launch", note="not started after 4 launches"),
    )


@pytest.mark.parametrize("launches", [1, 5])
def test_an_attempt_that_never_began_is_left_alone_in_a_pause(launches: int) -> None:
    """Nothing new starts, and nothing is written (SPEC 4.4, 6.4)."""
    before = replace(live(phase=Phase.LAUNCHING, launches=launches), active=False)

    assert seen_live(before, NotStarted()).work is before


def test_an_attempt_that_never_starts_is_fenced_and_counts_as_lost() -> None:
    """Its number is fenced, so that it cannot start late, and the task is tried again (SPEC 7.2, 8.1)."""
    step = seen_live(live(phase=Phase.LAUNCHING, launches=5), NotStarted())

    reason = StopReason.CANNOT_BEGIN
    assert changing(step.work) == {"phase": Phase.STOPPING, "launches": 5, "stop": reason, "told_late": False}
    assert step.work.pending == Stop(key=attempt().key, why="cannot_begin")
    after = settled(replace(step.work, pending=None), exited(Outcome.LOST, error="it never started", seconds=0.0)).work
    assert (after.queue, after.task("S1").tries) == (("S1",), 1)


def test_an_attempt_seen_at_work_is_running() -> None:
    """From then on stalls and lateness count (SPEC 8.4)."""
    step = seen_live(live(phase=Phase.LAUNCHING), STUCK)

    assert changing(step.work) == {"phase": Phase.RUNNING, "launches": 1, "stop": None, "told_late": False}
    assert step.work.log == (entry(1, "launching alive -> running"),)


@pytest.mark.parametrize("seen", [NotStarted(), Starting(), HEALTHY])
@pytest.mark.parametrize("reason", [StopReason.OPERATOR, StopReason.SKIP])
def test_what_a_person_does_not_want_is_stopped_before_it_was_seen_to_run(reason: StopReason, seen: Any) -> None:
    """awm stop and awm skip, whatever the launch has come to; an attempt not begun is fenced (SPEC 7.2)."""
    step = seen_live(live(phase=Phase.LAUNCHING, stop=reason), seen)

    assert changing(step.work) == {"phase": Phase.STOPPING, "launches": 1, "stop": reason, "told_late": False}
    assert step.work.pending == Stop(key=attempt().key, why=reason.value)


def test_a_running_attempt_that_a_person_does_not_want_is_stopped() -> None:
    """Even while it stalls, the person's word is the reason (SPEC 7.2)."""
    step = seen_live(live(stop=StopReason.OPERATOR), STUCK)

    assert step.work.pending == Stop(key=attempt().key, why="operator")
    assert step.work.log == (entry(1, "running unwanted -> stopping, stop", note="operator"),)


@pytest.mark.parametrize("phase", [Phase.LAUNCHING, Phase.RUNNING, Phase.STOPPING])
def test_what_a_dead_supervisor_left_is_swept_before_anything_else(phase: Phase) -> None:
    """Only then is the attempt called lost (SPEC 8.3)."""
    step = seen_live(live(phase=phase), Unattended())

    reason = StopReason.UNATTENDED
    assert changing(step.work) == {"phase": Phase.STOPPING, "launches": 1, "stop": reason, "told_late": False}
    assert step.work.pending == Stop(key=attempt().key, why="unattended")


def test_a_sweep_keeps_the_reason_of_the_stop_it_finishes() -> None:
    """The supervisor died while it stopped a stalled agent: that is still a stall (SPEC 7.2)."""
    step = seen_live(live(phase=Phase.STOPPING, stop=StopReason.STALLED), Unattended())

    assert step.work.pending == Stop(key=attempt().key, why="stalled")


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPING])
def test_an_attempt_whose_directory_is_gone_is_swept(phase: Phase) -> None:
    """It ran, so the number must not start again, whoever removed its files (SPEC 15.2)."""
    step = seen_live(live(phase=phase), NotStarted())

    assert (step.work.pending, step.reason) == (Stop(key=attempt().key, why="unattended"), "its directory is gone")


@pytest.mark.parametrize("seen", [HEALTHY, Starting()])
@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPING])
def test_who_is_at_work_or_being_stopped_is_left_alone(phase: Phase, seen: Any) -> None:
    """TERM, grace, KILL take their time; nothing is written meanwhile, and a stop is not asked twice (SPEC 6.4, 8.3)."""
    before = live(phase=phase, stop=StopReason.STALLED if phase is Phase.STOPPING else None)

    assert seen_live(before, seen).work is before


def test_an_attempt_past_twice_its_eta_is_told_once() -> None:
    """One notice, and it runs on (SPEC 8.4)."""
    late = replace(HEALTHY, running_seconds=1_440.0)

    step = seen_live(live(), late)

    assert changing(step.work) == {"phase": Phase.RUNNING, "launches": 1, "stop": None, "told_late": True}
    text = "⏳ Sprint S1 is still running — past twice its ETA of 12 min"
    assert (step.work.outbox, step.work.pending) == ((told("still_running", text),), None)
    assert seen_live(step.work, late).work is step.work


def test_a_stalled_agent_is_stopped_and_the_strike_waits_for_the_proof() -> None:
    """It counts when the end is there (SPEC 7.2, 8.4)."""
    step = seen_live(live(), STUCK)

    reason = StopReason.STALLED
    assert changing(step.work) == {"phase": Phase.STOPPING, "launches": 1, "stop": reason, "told_late": False}
    assert (step.work.pending, step.work.task("S1")) == (Stop(key=attempt().key, why="stalled"), TASK)
    assert seen_live(replace(step.work, pending=None), STUCK).row.is_quiet


@pytest.mark.parametrize("phase", [Phase.LAUNCHING, Phase.RUNNING, Phase.STOPPING])
def test_a_result_is_seen_from_every_phase(phase: Phase) -> None:
    """Also when it came quicker than a heartbeat (SPEC 8.1)."""
    step = seen_live(live(phase=phase), exited(Outcome.SUCCEEDED))

    assert changing(step.work)["phase"] is Phase.ENDED
    assert step.work.log == (entry(1, f"{phase} ended -> ended"),)


def test_a_success_completes_the_task() -> None:
    """It is reported and told, its account forgets its limits, and nothing else is remembered (SPEC 7.2, 9.1)."""
    known = {"openai": Account(name="openai", deadline=None, source="", agent="codex", hits=2)}
    before = replace(live("S2"), accounts=known)
    seen = exited(Outcome.SUCCEEDED, summary="Search works.", commits=("0" * 40, "abc1234def"), tokens={"input": 9})

    after = settled(before, seen).work

    text = "✅ Sprint S1 COMPLETE — Search works. Commit abc1234\n⏱️ Duration: 8 min (est was 12 min)"
    assert after == replace(
        before,
        attempts=(),
        completed=("S1",),
        tasks={},
        accounts={},
        since_reset=1,
        report=(line(Phase.COMPLETED, notes="Search works", commit="abc1234def", tokens={"input": 9}),),
        outbox=(told("completed", text),),
        spent=spent(minutes=8.0, tokens=9),
        next_notice=2,
        seq=2,
        log=(entry(1, "running ended -> ended"), entry(2, "ended succeeded -> completed", note="Search works")),
    )


def test_a_success_does_not_open_a_closed_account() -> None:
    """A deadline set meanwhile, by hand or by another agent's limit, stands (SPEC 9.1)."""
    before = replace(live(), accounts=closed(600))

    assert settled(before, exited(Outcome.SUCCEEDED)).work.accounts == before.accounts


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.HOLLOW, Outcome.LOST])
def test_a_failure_is_tried_again_after_a_wait(outcome: Outcome) -> None:
    """Failed, hollow and lost wait the same backoff and count a try; the task returns to the head (SPEC 4.3, 7.2)."""
    after = settled(live("S2", task=replace(TASK, work_may_exist=True)), exited(outcome, error="tests fail")).work

    not_before = Deadline.after(30, NOW)
    tried = replace(TASK, tries=1, seconds=480.0, not_before=not_before, earlier=earlier(outcome, "tests fail"))
    assert (after.queue, after.attempts, after.tasks, after.report) == (("S1", "S2"), (), {"S1": tried}, ())
    text = "🔁 Sprint S1: try 1 of 4 did not work — tests fail. Next in ~30 seconds"
    assert after.outbox == (told("retry", text),)
    assert after.log[1:] == (entry(2, "ended worth_retry -> queued", note="tests fail"),)


def test_the_last_try_fails_the_task() -> None:
    """With notice and report, its totals over all attempts (SPEC 7.2, 12.1)."""
    before = live("S2", task=replace(TASK, tries=3, attempts=4, cost_usd=0.5, seconds=120.0))

    after = settled(before, exited(Outcome.FAILED, error="tests fail", cost_usd=0.25, commits=("c",))).work

    totals = {"attempts": 4, "cost_usd": 0.75}
    why = {"reason": "tests fail", "earlier": earlier(Outcome.FAILED, "tests fail")}
    assert (after.queue, after.failed) == (("S2",), ("S1",))
    assert after.task("S1") == replace(TASK, tries=4, seconds=600.0, **totals, **why)
    assert after.report == (line(Phase.FAILED, error_type="failed", notes="tests fail", minutes_in_all=10.0, **totals),)
    assert after.outbox == (told("failed", "❌ Sprint S1 failed — tests fail"),)


@pytest.mark.parametrize("outcome", [Outcome.STALLED, Outcome.TIMED_OUT])
def test_strikes_one_and_two_start_again_at_once(outcome: Outcome) -> None:
    """A stall, or the hard time limit: a strike, no try, no backoff (SPEC 7.2)."""
    after = settled(live(task=replace(TASK, strikes=1)), exited(outcome, error="pid 7 sleeps")).work

    struck = replace(TASK, strikes=2, seconds=480.0, earlier=earlier(outcome, "pid 7 sleeps"))
    assert (after.queue, after.tasks) == (("S1",), {"S1": struck})
    assert after.outbox == (told("stall", "⚠️ Sprint S1 stalled (strike 2 of 3) — pid 7 sleeps. Starting again"),)


def test_strike_three_gives_the_task_up() -> None:
    """Where nobody is to analyse it: skipped, with the evidence as explanation (SPEC 7.4)."""
    after = settled(live(task=replace(TASK, strikes=2)), exited(Outcome.STALLED, error="pid 7 sleeps")).work

    task = after.task("S1")
    assert (after.queue, after.skipped, task.strikes, task.reason) == ((), ("S1",), 3, "pid 7 sleeps")
    text = "⚠️ Sprint S1 stalled 3 times. Root cause: pid 7 sleeps. Action: skipped, evidence kept"
    assert after.outbox == (told("struck_out", text),)
    assert after.report == (line(Phase.SKIPPED, error_type="stalled", notes="pid 7 sleeps"),)


@pytest.mark.parametrize("outcome", [Outcome.AUTH, Outcome.BILLING])
def test_a_refused_login_or_bill_turns_the_agent_off(outcome: Outcome) -> None:
    """It burns no try; its task is at the head of the queue again, for another agent or a person (SPEC 7.2)."""
    after = settled(live(), exited(outcome, error="Not logged in"))

    assert (after.row.then, after.work.queue, after.work.agents_off) == (
        Phase.QUEUED,
        ("S1",),
        {"codex": "Not logged in"},
    )
    assert (after.work.task("S1").tries, [one.kind for one in after.work.outbox]) == (0, ["auth"])


def test_a_limit_closes_the_account_and_the_fallback_goes_on_at_once() -> None:
    """No try, no strike; in the same beat the next agent starts (SPEC 7.2, 9.4)."""
    seen = exited(Outcome.LIMITED, limit=Limit(resets_at=later(7_200).wall, source="result file"), error="no more")

    *_, limited, launched = Loop(live()).steps(seen)

    task = replace(TASK, seconds=480.0, earlier=earlier(Outcome.LIMITED, "no more"))
    assert (limited.work.queue, limited.work.tasks, limited.work.accounts) == (("S1",), {"S1": task}, closed(7_260))
    text = "⚡ Codex rate limited. Resets in ~2 hours. Falling back to Opus."
    assert limited.work.outbox == (told("limit", text),)
    assert [(one.number, one.agent, one.chain) for one in launched.work.attempts] == [(2, "opus", ("codex", "opus"))]


def test_a_limit_without_a_fallback_waits_with_its_time() -> None:
    """The task stands at its place with a `notBefore`: when the first account opens (SPEC 4.3, 9.1)."""
    before = replace(live("S2"), accounts=closed(600, OPUS))

    *_, limited = Loop(before).steps(exited(Outcome.LIMITED))

    openai = Account(name="openai", deadline=Deadline.after(960, NOW), source="", agent="codex", hits=1)
    assert limited.work.queue == ("S1", "S2")
    assert limited.work.accounts == closed(600, OPUS) | {"openai": openai}
    assert limited.work.task("S1").not_before == Deadline.after(600, NOW)
    assert limited.work.outbox == (told("limit", "⚡ Codex rate limited. Retry in ~15 minutes. Waiting."),)


def test_an_account_opened_by_hand_ends_the_wait() -> None:
    """Whatever `notBefore` the limit left: a person's word about the account wins (SPEC 9.1)."""
    *_, limited = Loop(replace(live(), accounts=closed(600, OPUS))).steps(exited(Outcome.LIMITED))
    opened = {name: replace(account, deadline=None) for name, account in limited.work.accounts.items()}

    *_, launched = Loop(replace(limited.work, accounts=opened)).steps()

    assert launched.work.pending == Launch(key=attempt(number=2).key)
    assert launched.work.task("S1").not_before is None


def test_without_retry_and_fallback_a_limit_is_the_end() -> None:
    """`retryOnRateLimit: false`: the task fails, and the account is closed all the same (SPEC 7.2)."""
    policy = replace(POLICY, retry_on_limit=False)

    after = settled(live(chain=("codex",)), exited(Outcome.LIMITED), policy=policy).work

    assert (after.failed, after.accounts["openai"].deadline) == (("S1",), Deadline.after(960, NOW))
    assert after.task("S1").not_before is None
    assert after.outbox == (told("failed", "❌ Sprint S1 failed — its account met a limit"),)


def test_who_asks_waits_for_a_person() -> None:
    """The question is the reason, in state, notice, report and the next prompt; other tasks go on (SPEC 7.2)."""
    after = settled(live("S2"), exited(Outcome.BLOCKED, question="Which one", summary="half done")).work

    assert (after.queue, after.blocked, after.task("S1").reason) == (("S2",), ("S1",), "Which one")
    assert after.task("S1").earlier == earlier(Outcome.BLOCKED, "Which one")
    text = "✋ Sprint S1 is blocked — Which one\nAnswer it: awm answer S1 …    or, when it is mended: awm retry S1"
    assert after.outbox == (told("blocked", text),)
    assert after.report == (line(Phase.BLOCKED, error_type="blocked", notes="Which one"),)


def test_a_reboot_starts_again_without_a_word() -> None:
    """No strike, no try, no wait; it has a count of its own (SPEC 7.2)."""
    after = settled(live(task=replace(TASK, reboots=4)), exited(Outcome.REBOOTED, error="restarted")).work

    task = replace(TASK, reboots=5, seconds=480.0, earlier=earlier(Outcome.REBOOTED, "restarted"))
    assert (after.queue, after.tasks, after.outbox) == (("S1",), {"S1": task}, ())


def test_the_sixth_reboot_fails_the_task() -> None:
    """At most five relaunches (SPEC 7.2)."""
    after = settled(live(task=replace(TASK, reboots=5)), exited(Outcome.REBOOTED, error="restarted")).work

    assert (after.failed, after.task("S1").reboots) == (("S1",), 6)
    assert after.outbox == (told("failed", "❌ Sprint S1 failed — restarted"),)


def test_awm_stop_returns_the_task_and_pauses() -> None:
    """Head of the queue, nothing counted, nothing told (SPEC 7.2)."""
    after = settled(live("S2", phase=Phase.STOPPING, stop=StopReason.OPERATOR), exited(Outcome.STOPPED)).work

    task = replace(TASK, seconds=480.0, earlier=earlier(Outcome.STOPPED, "stopped by hand"))
    assert (after.queue, after.tasks, after.outbox) == (("S1", "S2"), {"S1": task}, ())
    assert (after.active, after.paused, after.attempts) == (False, True, ())
    assert after.log[-1] == entry(2, "ended called_off -> queued", note="stopped by hand")


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.STALLED, Outcome.FAILED, Outcome.LIMITED])
def test_awm_skip_gives_the_task_up(outcome: Outcome) -> None:
    """However it ended but well, it is skipped, without a pause (SPEC 7.2)."""
    after = settled(live(phase=Phase.STOPPING, stop=StopReason.SKIP), exited(outcome, error="killed")).work

    why = {"reason": "skipped by hand", "earlier": earlier(outcome, "skipped by hand")}
    assert (after.skipped, after.active, after.accounts) == (("S1",), True, {})
    assert after.tasks == {"S1": replace(TASK, seconds=480.0, **why)}
    assert after.outbox == (told("skipped", "⏭️ Sprint S1 skipped — skipped by hand"),)


@pytest.mark.parametrize("reason", StopReason)
def test_a_success_beats_every_reason_to_stop(reason: StopReason) -> None:
    """A durable success is never thrown away (SPEC 8.1, 15.8)."""
    after = settled(live(phase=Phase.STOPPING, stop=reason), exited(Outcome.SUCCEEDED)).work

    assert after.completed == ("S1",)


def test_git_locks_that_were_removed_are_journalled() -> None:
    """Before the row that follows from the end (SPEC 8.3)."""
    after = settled(live(), exited(Outcome.REBOOTED, removed_locks=(".git/index.lock", ".git/HEAD.lock"))).work

    note = ".git/index.lock, .git/HEAD.lock"
    assert after.log[1] == entry(2, "removed git locks", attempt=None, note=note)
    assert after.log[2] == entry(3, "ended rebooted -> queued")


def test_only_the_newest_attempts_are_remembered() -> None:
    """Five, for the next prompt (SPEC 5.2)."""
    old = tuple(replace(earlier(Outcome.REBOOTED, "")[0], number=number) for number in range(10, 15))

    after = settled(live(task=replace(TASK, earlier=old)), exited(Outcome.REBOOTED)).work

    assert after.task("S1").earlier == (*old[1:], *earlier(Outcome.REBOOTED, ""))


def test_a_closed_account_waits_for_its_deadline() -> None:
    """Nothing is written before (SPEC 6.4, 9.1)."""
    before = working(accounts=closed(60))

    assert seen_account(before, "openai").work is before


def test_an_account_opens_at_its_deadline_and_is_told() -> None:
    """It keeps the count of its limits until a success (SPEC 9.1, 9.4)."""
    before, now = working(accounts=closed(60, hits=3)), later(60)

    after = seen_account(before, "openai", now).work

    assert after.accounts == {"openai": replace(before.accounts["openai"], deadline=None)}
    assert [(one.kind, one.task, one.text) for one in after.outbox] == [("opened", "", "⚡ Codex is available again.")]
    assert after.log == (LogEntry(seq=1, at=now.wall, what="closed due -> open", note="account openai"),)


def test_a_loop_with_tasks_is_left_at_work() -> None:
    """In the queue, or live (SPEC 4.4)."""
    for before in (working("S1"), live()):
        assert seen_loop(before).work is before


def test_a_drained_queue_ends_with_one_report() -> None:
    """`active: false` with `idleSince` (SPEC 4.4)."""
    before = working(completed=("S1",), report=(line(Phase.COMPLETED),))

    after = seen_loop(before).work

    text = "🏁 Queue finished — 1 of 1 sprints completed\n✅ S1 completed — 8 min, 1 attempt"
    assert after == replace(
        before,
        active=False,
        idle_since=NOW.wall,
        outbox=(told("report", text, task=""),),
        next_notice=2,
        seq=1,
        log=(entry(1, "working drained -> idle", task="", attempt=None),),
    )


def test_a_resting_loop_stays_so() -> None:
    """Nothing is written, beat after beat (SPEC 6.4)."""
    before = working(active=False, idle_since=NOW.wall)

    assert seen_loop(before).work is before


def test_a_task_added_to_a_resting_loop_turns_it_on() -> None:
    """A queue with items is work mode on; the next report begins anew (SPEC 4.4)."""
    before = working("S2", active=False, idle_since=NOW.wall, report=(line(Phase.COMPLETED),))

    after = seen_loop(before).work

    log = (entry(1, "idle fed -> working", task="", attempt=None),)
    assert after == replace(before, active=True, idle_since=None, report=(), seq=1, log=log)
