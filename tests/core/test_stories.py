"""Short stories of the loop, beat by beat: what is seen, the rows taken, what comes of it (SPEC 4.6, 7, 9, 10.3, 11).

What one row leaves behind, to the last value, is in test_consequences.py and its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from build import (
    CANNOT_LOOK,
    HEALTHY,
    NOW,
    POLICY,
    SPEC,
    STUCK,
    advised,
    by_hand,
    exited,
    later,
    working,
)
from loop import Killed, Loop
from project_stories import STORIES as OF_PROJECTS

from awm_loop.core import machine
from awm_loop.core.machine import TABLE, Row
from awm_loop.core.model import Advised, Outcome, Phase, StopReason
from awm_loop.core.observation import Limit, NotStarted, SpecBad, Starting, Unattended

STORIES: list[Callable[[], None]] = [*OF_PROJECTS]
READY = "queued ready -> launching, launch"
ALIVE = "launching alive -> running"
STALLED = "running stalled -> stopping, stop"
ENDED = "running ended -> ended"
STOPPED = "stopping ended -> ended"
SUCCESS = exited(Outcome.SUCCEEDED)
WISE = replace(POLICY, analysis_agent="opus")


def story(tell: Callable[[], None]) -> Callable[[], None]:
    STORIES.append(tell)
    return tell


def running(loop: Loop) -> Loop:
    """The first task launched and seen to run."""
    assert loop.beat() == [READY]
    assert loop.beat(Starting()) == []
    assert loop.beat(HEALTHY) == [ALIVE]
    return loop


def stalls(loop: Loop) -> list[str]:
    """The live attempt is seen to run, stalls, is stopped; the rows of its end."""
    loop.beat(HEALTHY)
    assert loop.beat(STUCK) == [STALLED]
    assert loop.beat(CANNOT_LOOK) == []
    assert loop.beat(STUCK) == []
    rows = loop.beat(exited(Outcome.STALLED, error="pid 7 sleeps"))
    assert rows[0] == STOPPED
    return rows[1:]


@story
def success_then_the_next_then_rest() -> None:
    """SPEC 6.2, 7.2, 4.4: "S1 succeeded, launch S2" is one beat; at the end one report and `active: false`."""
    loop = running(Loop(working("S1", "S2")))
    assert loop.beat(HEALTHY) == []
    assert loop.beat(SUCCESS) == [ENDED, "ended succeeded -> completed", READY]
    assert loop.beat(SUCCESS) == [
        "launching ended -> ended",
        "ended succeeded -> completed",
        "working drained -> idle",
    ]
    assert (loop.work.completed, loop.work.active, loop.work.idle_since) == (("S1", "S2"), False, NOW.wall)
    assert loop.beat() == []
    loop.work = replace(loop.work, queue=("S3",))
    assert loop.beat() == ["idle fed -> working", READY]
    assert loop.started == ["S1.1", "S2.2", "S3.3"]


@story
def a_failure_is_retried_with_backoff_until_the_tries_are_used_up() -> None:
    """SPEC 7.2: `maxRetries: 3` allows four tries; 30 s, 1, 2 min between; then failed, and the next task."""
    loop, now = running(Loop(working("S1", "S2"))), NOW
    for wait_seconds in (30.0, 60.0, 120.0):
        assert loop.beat(exited(Outcome.FAILED, error="it broke"), now)[-1] == "ended worth_retry -> queued"
        assert loop.beat(now=later(wait_seconds - 0.001, now)) == []
        now = later(wait_seconds, now)
        assert loop.beat(now=now) == [READY]
    rows = loop.beat(exited(Outcome.HOLLOW, error="no commit"), now)
    assert rows == ["launching ended -> ended", "ended out_of_tries -> failed", READY]
    assert (loop.work.failed, loop.live) == (("S1",), ["S2"])


@story
def three_stalls_are_the_end_where_nobody_can_analyse_them() -> None:
    """SPEC 7.2, 7.4: stop, relaunch without backoff, twice; the third skips."""
    loop = Loop(working("S1"))
    loop.beat()
    assert stalls(loop) == ["ended struck -> queued", READY]
    assert stalls(loop) == ["ended struck -> queued", READY]
    assert stalls(loop) == ["ended struck_out -> skipped", "working drained -> idle"]
    assert (loop.work.task("S1").strikes, loop.work.task("S1").tries) == (3, 0)


@story
def an_analysis_advises_and_a_fourth_stall_is_the_last() -> None:
    """SPEC 7.4: after strike 3 one analysis by its agent, then the task's own again; there is no second analysis."""
    loop = Loop(working("S1"), WISE)
    loop.beat()
    assert stalls(loop) == stalls(loop) == ["ended struck -> queued", READY]
    assert stalls(loop) == ["ended puzzling -> queued", READY]
    assert [(one.agent, one.is_analysis) for one in loop.work.attempts] == [("opus", True)]
    assert loop.beat(advised(Advised.RELAUNCH))[1:] == ["ended advised -> queued", READY]
    assert [(one.agent, one.is_analysis) for one in loop.work.attempts] == [("codex", False)]
    assert stalls(loop) == ["ended struck_out -> skipped", "working drained -> idle"]
    assert loop.started == [f"S1.{number}" for number in range(1, 6)]


@story
def an_analysis_gives_up_and_the_next_task_goes_on() -> None:
    """SPEC 7.4: skip with an explanation."""
    loop = Loop(working("S1", "S2"), replace(WISE, strikes_max=1))
    loop.beat()
    assert stalls(loop) == ["ended puzzling -> queued", READY]
    assert loop.beat(advised(Advised.SKIP))[1:] == ["ended given_up -> skipped", READY]
    assert (loop.work.skipped, loop.live) == (("S1",), ["S2"])


@story
def a_limit_closes_the_account_and_the_fallback_goes_on_at_once() -> None:
    """SPEC 7.2, 7.5, 9.1, 9.4: where all are closed the task waits; one notice when an account opens again."""
    limit = Limit(resets_at=later(7_200).wall, source="result file")
    loop = running(Loop(working("S1")))
    assert loop.beat(exited(Outcome.LIMITED, limit=limit)) == [ENDED, "ended limited -> queued", READY]
    assert loop.work.attempts[0].agent == "opus"
    assert loop.beat(exited(Outcome.LIMITED)) == ["launching ended -> ended", "ended limited -> queued"]
    assert loop.beat(now=later(959.9)) == []
    assert loop.beat(now=later(960)) == ["closed due -> open", READY]
    assert "⚡ Opus is available again." in loop.told
    assert (loop.work.task("S1").tries, loop.work.task("S1").strikes) == (0, 0)


@story
def an_agent_whose_login_is_refused_is_off_until_a_person_says() -> None:
    """SPEC 7.2: no try, no strike; the fallback goes on at once, one notice; with nobody left the task waits."""
    loop = running(Loop(working("S1")))
    assert loop.beat(exited(Outcome.AUTH, error="Not logged in")) == [ENDED, "ended refused -> queued", READY]
    assert loop.work.attempts[0].agent == "opus"
    assert loop.told[-2].startswith("🔑 Codex is turned off — Not logged in. Falling back to Opus.")
    assert loop.beat(exited(Outcome.BILLING)) == ["launching ended -> ended", "ended refused -> queued"]
    assert loop.beat(now=later(90_000)) == []
    loop.work = replace(loop.work, agents_off={"codex": "Not logged in"})
    assert loop.beat(now=later(90_000)) == [READY]
    assert (loop.work.attempts[0].agent, loop.work.task("S1").tries, loop.work.task("S1").strikes) == ("opus", 0, 0)


@story
def a_run_that_a_limit_cut_short_is_gone_on_with_in_its_session() -> None:
    """SPEC 9, 11.2: by the same agent, once; another agent, and another end, begin anew."""
    opus = replace(POLICY.agents["opus"], has_sessions=True)
    loop = running(Loop(working("S1"), replace(POLICY, default_agent="opus", agents={"opus": opus})))
    loop.beat(exited(Outcome.LIMITED, session_id="s-1"))
    loop.beat(now=later(960))
    assert loop.work.attempts[0].session == "s-1"
    loop.beat(exited(Outcome.FAILED, session_id="s-1"), now=later(961))
    loop.beat(now=later(1_200))
    assert loop.work.attempts[0].session == ""


@story
def two_agents_that_limits_cut_short_each_go_on_in_their_own_session() -> None:
    """SPEC 9: whichever account opens first; a refused login in between has done no work that would part them."""
    codex, opus = (replace(POLICY.agents[name], has_sessions=True) for name in ("codex", "opus"))
    loop = running(Loop(working("S1"), replace(POLICY, agents={"codex": codex, "opus": opus})))
    loop.beat(exited(Outcome.LIMITED, session_id="c-1"))
    loop.beat(exited(Outcome.LIMITED, session_id="o-1"))
    assert loop.work.task("S1").sessions == {"codex": "c-1", "opus": "o-1"}
    loop.beat(now=later(960))
    assert (loop.work.attempts[0].agent, loop.work.attempts[0].session) == ("codex", "c-1")
    loop.beat(exited(Outcome.AUTH), now=later(961))
    assert (loop.work.attempts[0].agent, loop.work.attempts[0].session) == ("opus", "o-1")
    loop.beat(exited(Outcome.FAILED), now=later(962))
    assert loop.work.task("S1").sessions == {}


@story
def a_program_that_knows_no_sessions_is_told_all_again() -> None:
    """SPEC 8.6: a command has no place for a session, so it would be told to go on with nothing."""
    loop = running(Loop(working("S1"), replace(POLICY, default_agent="opus")))
    loop.beat(exited(Outcome.LIMITED, session_id="s-1"))
    loop.beat(now=later(960))
    assert loop.work.attempts[0].session == ""


@story
def a_reset_forgets_the_sessions_of_tasks_that_wait() -> None:
    """SPEC 11.1: all stored session ids of agents are dropped."""
    opus = replace(POLICY.agents["opus"], has_sessions=True)
    loop = running(Loop(working("S1"), replace(POLICY, default_agent="opus", agents={"opus": opus})))
    loop.beat(exited(Outcome.LIMITED, session_id="s-1", context_share=0.9))
    loop.beat(now=later(1))
    assert loop.work.task("S1").sessions == {}


@story
def a_limit_without_retry_and_without_fallback_fails_the_task() -> None:
    """SPEC 7.2: `retryOnRateLimit: false`."""
    loop = running(Loop(working("S1"), replace(POLICY, retry_on_limit=False, default_agent="opus")))
    rows = loop.beat(exited(Outcome.LIMITED))
    assert rows == [ENDED, "ended limited_for_good -> failed", "working drained -> idle"]


@story
def nothing_starts_before_the_promise_is_kept() -> None:
    """SPEC 7.3: the same number again, five times; then it is fenced, swept and counted as lost."""
    loop = Loop(working("S1"))
    loop.beat()
    for _ in range(4):
        assert loop.beat(NotStarted()) == ["launching never_began -> launching, launch"]
    assert loop.beat(CANNOT_LOOK) == []
    assert loop.beat(NotStarted()) == ["launching cannot_begin -> stopping, stop"]
    assert (loop.started, loop.work.next_attempt) == (["S1.1"] * 5, 2)
    assert loop.beat(exited(Outcome.LOST))[1] == "ended worth_retry -> queued"


@story
def nothing_starts_in_a_pause_that_came_before_the_start() -> None:
    """SPEC 4.4, 15.6: a promise that a killed beat left is held while a person pauses, and kept after that."""
    loop = Loop(working("S1"))
    loop.kill_in = 2
    with pytest.raises(Killed):
        loop.beat()
    assert (loop.started, loop.work.attempts[0].phase) == ([], Phase.LAUNCHING)
    loop.work = replace(loop.work, active=False)
    assert loop.beat(NotStarted()) == loop.beat(NotStarted()) == []
    assert loop.started == []
    loop.work = replace(loop.work, active=True)
    assert loop.beat(NotStarted()) == ["launching never_began -> launching, launch"]
    assert loop.started == ["S1.1"]


@story
def an_attempt_whose_supervisor_died_is_swept_before_it_is_lost() -> None:
    """SPEC 8.3: in every phase; and a look that fails changes nothing (7.3)."""
    loop = running(Loop(working("S1")))
    assert loop.beat(CANNOT_LOOK) == []
    assert loop.beat(Unattended()) == ["running unattended -> stopping, stop"]
    assert loop.beat(Unattended()) == ["stopping unattended -> stopping, stop"]
    assert loop.beat(exited(Outcome.LOST))[1] == "ended worth_retry -> queued"
    loop.beat(now=later(30))
    assert loop.beat(Unattended()) == ["launching unattended -> stopping, stop"]


@story
def a_person_stops_and_skips() -> None:
    """SPEC 7.2: stopped: back to the head, loop paused; skipped: given up, no pause."""
    loop = running(Loop(working("S1", "S2")))
    loop.work = by_hand(loop.work, StopReason.OPERATOR)
    assert loop.beat(HEALTHY) == ["running unwanted -> stopping, stop"]
    assert loop.beat(exited(Outcome.STOPPED)) == [STOPPED, "ended called_off -> queued"]
    assert (loop.work.queue, loop.work.paused) == (("S1", "S2"), True)
    assert loop.beat() == []
    loop.work = replace(loop.work, active=True)
    assert loop.beat() == [READY]
    loop.work = by_hand(loop.work, StopReason.SKIP)
    assert loop.beat(NotStarted()) == ["launching unwanted -> stopping, stop"]
    assert loop.beat(exited(Outcome.STOPPED)) == [STOPPED, "ended dismissed -> skipped", READY]


@story
def a_person_takes_a_live_task_back_and_removes_another() -> None:
    """SPEC 4.6, 7.2: a request to stop it, then the edit applies; no pause, and the next starts in the same beat."""
    loop = running(Loop(working("S1", "S2", "S3")))
    loop.work = by_hand(loop.work, StopReason.REQUEUED, before="S3")
    assert loop.beat(HEALTHY) == ["running unwanted -> stopping, stop"]
    assert loop.beat(exited(Outcome.STOPPED)) == [STOPPED, "ended recalled -> queued", READY]
    assert (loop.live, loop.work.queue) == (["S2"], ("S1", "S3"))
    loop.work = by_hand(loop.work, StopReason.REMOVED, task="S2")
    assert loop.beat(HEALTHY) == ["launching unwanted -> stopping, stop"]
    assert loop.beat(exited(Outcome.STOPPED)) == [STOPPED, "ended withdrawn -> removed", READY]
    assert (loop.live, loop.work.queue, loop.work.skipped) == (["S1"], ("S3",), ())


@story
def a_task_that_asks_or_cannot_be_done_is_blocked_alone() -> None:
    """SPEC 5.1, 7.2: the next goes on."""
    loop = Loop(working("S1", "S2", "S3"))
    loop.specs["S1"] = SpecBad(reason="spec file /S1.md is empty")
    assert loop.beat() == ["queued unfit -> blocked", READY]
    assert loop.beat(exited(Outcome.BLOCKED, question="Which colour?"))[1] == "ended asked -> blocked"
    assert (loop.work.blocked, loop.live) == (("S1", "S2"), ["S3"])


@story
def a_reboot_costs_nothing_five_times() -> None:
    """SPEC 7.2: relaunch; at most 5 times."""
    loop = Loop(working("S1"))
    loop.beat()
    for _ in range(5):
        assert loop.beat(exited(Outcome.REBOOTED))[1:] == ["ended rebooted -> queued", READY]
    assert loop.beat(exited(Outcome.REBOOTED))[1] == "ended rebooted_too_often -> failed"
    assert (loop.work.task("S1").strikes, loop.work.task("S1").tries) == (0, 0)


@story
def one_notice_when_it_takes_twice_its_time() -> None:
    """SPEC 8.4: at twice the ETA, once."""
    loop = Loop(working("S1"))
    loop.specs["S1"] = replace(SPEC, estimate_minutes=10.0)
    running(loop)
    assert loop.beat(replace(HEALTHY, running_seconds=1_199.0)) == []
    assert loop.beat(replace(HEALTHY, running_seconds=1_200.0)) == ["running late -> running"]
    assert loop.beat(replace(HEALTHY, running_seconds=1_300.0)) == []


@story
def one_who_would_work_where_another_works_waits() -> None:
    """SPEC 7.5: one attempt per workspace, whatever `max_parallel` is; nobody overtakes."""
    loop = running(Loop(working("S1", "S2", "S3"), replace(POLICY, max_parallel=3, isolation="in-place")))
    assert loop.beat(HEALTHY) == []
    assert loop.live == ["S1"]
    assert loop.beat(SUCCESS)[-1] == READY
    assert (loop.live, loop.work.queue) == (["S2"], ("S3",))


@story
def worktrees_stand_side_by_side() -> None:
    """SPEC 7.5, 10.3: up to `max_parallel`, one launch a beat; each ends on its own, and the next takes its place."""
    loop = Loop(working("S1", "S2", "S3", "S4"), replace(POLICY, max_parallel=2))
    assert loop.beat() == loop.beat() == [READY]
    assert loop.beat() == []
    assert loop.beat({"S1": HEALTHY, "S2": SUCCESS}) == [
        ALIVE,
        "launching ended -> ended",
        "ended succeeded -> completed",
        READY,
    ]
    assert (loop.live, loop.work.queue, loop.work.completed) == (["S1", "S3"], ("S4",), ("S2",))
    assert loop.beat({"S1": STUCK, "S3": STUCK}) == [STALLED]  # one effect a beat: S3 has its turn
    assert loop.beat({"S1": STUCK, "S3": STUCK}) == [ALIVE, STALLED]


@story
def a_session_is_reset_between_two_tasks() -> None:
    """SPEC 11.1: promised and done in one beat, told and on with the work in the next."""
    loop = running(Loop(working("S1", "S2"), replace(POLICY, reset_after=1)))
    assert loop.beat(SUCCESS) == [ENDED, "ended succeeded -> completed", "working full -> resetting, reset"]
    assert loop.beat() == ["resetting saved -> resuming", "resuming told -> working", READY]
    assert loop.beat(SUCCESS)[-1] == "working full -> resetting, reset"
    assert loop.beat() == [
        "resetting saved -> resuming",
        "resuming told -> working",
        "working drained -> idle",
    ]
    assert (len(loop.remembered), len(set(loop.remembered))) == (2, 2)


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_a_story_holds(tell: Callable[[], None]) -> None:
    """Each story cites the rules it tells (SPEC 7)."""
    tell()


def breaks(tell: Callable[[], None]) -> bool:
    try:
        tell()
    except (AssertionError, KeyError):
        return True
    return False


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_no_row_can_be_missed(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting any one row breaks a story: none is a decoration, and the stories take every one (SPEC 7.1)."""
    monkeypatch.delitem(machine.ROWS, (row.phase, row.signal))

    assert any(breaks(tell) for tell in STORIES)
