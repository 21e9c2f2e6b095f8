"""Short stories of the machine: what is seen, the rows taken, and the whole of what follows (SPEC 7, 9, 12.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from loop import START, Loop, alive, at, exited, limited, policy, spec, work

from awm_loop.core import consequence, machine
from awm_loop.core.estimate import Past
from awm_loop.core.machine import TABLE, Row
from awm_loop.core.model import Outcome, Phase, Priority, StopReason, Task
from awm_loop.core.observation import NotStarted, ProbeFailed, SpecBad, Starting, Unattended

STORIES: list[Callable[[], Loop]] = []
READY = "queued ready -> launching, launch"


def story(tell: Callable[[], Loop]) -> Callable[[], Loop]:
    STORIES.append(tell)
    return tell


def running(loop: Loop) -> Loop:
    """The first task launched and seen to run."""
    assert loop.beat() == [READY]
    assert loop.beat(Starting()) == []
    assert loop.beat(alive()) == ["launching alive -> running"]
    return loop


@story
def success_then_the_next_then_rest() -> Loop:
    """SPEC 6.2, 7.2, 4.4: "S1 succeeded, launch S2" is one beat; at the end one report and `active: false`."""
    loop = running(Loop(work("S1", "S2")))
    assert loop.beat(alive(running=60)) == []
    rows = loop.beat(exited(Outcome.SUCCEEDED, commits=("abc1234def",)))
    assert rows == ["running ended -> ended", "ended succeeded -> completed", READY]
    assert loop.beat(exited(Outcome.SUCCEEDED)) == [
        "launching ended -> ended",
        "ended succeeded -> completed",
        "working drained -> idle",
    ]
    assert (loop.work.completed, loop.work.active, loop.work.idle_since) == (("S1", "S2"), False, START)
    assert loop.beat() == []
    loop.work = replace(loop.work, queue=("S3",))
    assert loop.beat() == ["idle fed -> working", READY]
    assert loop.work.active
    return loop


@story
def a_failure_is_retried_with_backoff_until_the_tries_are_used_up() -> Loop:
    """SPEC 7.2: `maxRetries: 3` allows four tries; 30 s, 1, 2 min between; then failed, and the next task."""
    loop = running(Loop(work("S1", "S2")))
    now = 0.0
    for tries, wait in ((1, 30.0), (2, 60.0), (3, 120.0)):
        rows = loop.beat(exited(Outcome.FAILED, error="it broke"), at(now))
        assert rows[-1] == "ended worth_retry -> queued"
        assert (loop.work.queue, loop.work.task("S1").tries) == (("S1", "S2"), tries)
        assert loop.beat(now=at(now + wait - 0.001)) == []
        now += wait
        assert loop.beat(now=at(now)) == [READY]
    rows = loop.beat(exited(Outcome.HOLLOW, error="no commit"), at(now))
    assert rows == ["launching ended -> ended", "ended out_of_tries -> failed", READY]
    assert (loop.work.failed, loop.work.task("S1").reason) == (("S1",), "no commit")
    return loop


@story
def three_stalls_are_three_strikes() -> Loop:
    """SPEC 7.2, 7.4: stop, relaunch without backoff, twice; the third skips. No try is counted."""
    loop = Loop(work("S1"))
    for strikes in (1, 2, 3):
        running(loop) if strikes == 1 else loop.beat(alive())
        assert loop.beat(alive(idle=900)) == ["running stalled -> stopping, stop"]
        assert loop.beat(ProbeFailed(reason="busy")) == []
        assert loop.beat(alive(idle=901)) == []
        rows = loop.beat(exited(Outcome.STALLED, error="pid 7 sleeps"))
        assert rows[0] == "stopping ended -> ended"
        assert (loop.work.task("S1").strikes, loop.work.task("S1").tries) == (strikes, 0)
        assert rows[1:] == (["ended struck -> queued", READY] if strikes < 3 else [rows[1], "working drained -> idle"])
    assert rows[1] == "ended struck_out -> skipped"
    assert "⚠️ Sprint S1 stalled 3 times. Root cause: pid 7 sleeps. Action: skipped, evidence kept" in loop.told
    return loop


@story
def a_limit_closes_the_account_and_the_fallback_goes_on_at_once() -> Loop:
    """SPEC 7.2, 9.1, 9.4: no strike, no try; one notice then, one when the account opens again."""
    loop = running(Loop(work("S1")))
    rows = loop.beat(limited(START + timedelta(hours=2)))
    assert rows == ["running ended -> ended", "ended limited -> queued", READY]
    assert loop.work.attempts[0].agent == "opus"
    assert "⚡ Codex rate limited. Resets in ~2 hours. Falling back to Opus." in loop.told
    rows = loop.beat(limited(None))
    assert rows == ["launching ended -> ended", "ended limited -> queued"]
    assert loop.beat(now=at(959.9)) == []
    assert loop.beat(now=at(960)) == ["closed due -> open", READY]
    assert "⚡ Opus is available again." in loop.told
    assert (loop.work.task("S1").tries, loop.work.task("S1").strikes) == (0, 0)
    return loop


@story
def a_limit_without_retry_and_without_fallback_fails_the_task() -> Loop:
    """SPEC 7.2: `retryOnRateLimit: false`."""
    loop = running(Loop(work("S1"), policy(retry_on_limit=False, default_agent="opus")))
    rows = loop.beat(limited(None))
    assert rows[:2] == ["running ended -> ended", "ended limited_for_good -> failed"]
    assert loop.work.failed == ("S1",)
    return loop


@story
def nothing_starts_before_the_promise_is_kept() -> Loop:
    """SPEC 7.3: the same number again, five times; then it is fenced, swept and counted as lost."""
    loop = Loop(work("S1"))
    loop.beat()
    for _ in range(4):
        assert loop.beat(NotStarted()) == ["launching never_began -> launching, launch"]
    assert loop.beat(ProbeFailed(reason="no")) == []
    assert loop.beat(NotStarted()) == ["launching cannot_begin -> stopping, stop"]
    assert loop.work.next_attempt == 2
    assert loop.beat(exited(Outcome.LOST))[1] == "ended worth_retry -> queued"
    return loop


@story
def an_attempt_whose_supervisor_died_is_swept_before_it_is_lost() -> Loop:
    """SPEC 8.3: in every phase; and a look that fails changes nothing (7.3)."""
    loop = running(Loop(work("S1")))
    assert loop.beat(ProbeFailed(reason="no")) == []
    assert loop.beat(Unattended()) == ["running unattended -> stopping, stop"]
    assert loop.beat(Unattended()) == ["stopping unattended -> stopping, stop"]
    assert loop.beat(exited(Outcome.LOST))[1] == "ended worth_retry -> queued"
    loop.beat(now=at(30))
    assert loop.beat(Unattended(), at(30)) == ["launching unattended -> stopping, stop"]
    loop.work = replace(loop.work, attempts=(replace(loop.work.attempts[0], phase=Phase.ENDED),))
    assert loop.beat(ProbeFailed(reason="no"), at(31)) == []
    return loop


@story
def a_person_stops_and_skips() -> Loop:
    """SPEC 7.2: stopped: back to the head, loop paused; skipped: given up, no pause."""
    loop = running(Loop(work("S1", "S2")))
    loop.work = replace(loop.work, attempts=(replace(loop.work.attempts[0], stop=StopReason.OPERATOR),))
    assert loop.beat(alive()) == ["running unwanted -> stopping, stop"]
    assert loop.beat(exited(Outcome.STOPPED)) == ["stopping ended -> ended", "ended called_off -> queued"]
    assert (loop.work.queue, loop.work.paused) == (("S1", "S2"), True)
    loop.work = replace(loop.work, active=True)
    assert loop.beat() == [READY]
    loop.work = replace(loop.work, attempts=(replace(loop.work.attempts[0], stop=StopReason.SKIP),))
    assert loop.beat(NotStarted()) == ["launching unwanted -> stopping, stop"]
    assert loop.beat(exited(Outcome.STOPPED))[1] == "ended dismissed -> skipped"
    assert loop.work.skipped == ("S1",)
    return loop


@story
def a_task_that_asks_or_cannot_be_done_is_blocked_alone() -> Loop:
    """SPEC 5.1, 7.2: the next goes on."""
    loop = Loop(work("S1", "S2", "S3"))
    loop.specs["S1"] = SpecBad(reason="spec file /S1.md is empty")
    assert loop.beat() == ["queued unfit -> blocked", READY]
    assert loop.beat(exited(Outcome.BLOCKED, question="Which colour?"))[1] == "ended asked -> blocked"
    assert (loop.work.blocked, loop.work.task("S2").reason) == (("S1", "S2"), "Which colour?")
    return loop


@story
def a_reboot_costs_nothing_five_times() -> Loop:
    """SPEC 7.2: relaunch; at most 5 times."""
    loop = Loop(work("S1"))
    loop.beat()
    for _ in range(5):
        assert loop.beat(exited(Outcome.REBOOTED))[1:] == ["ended rebooted -> queued", READY]
    assert loop.beat(exited(Outcome.REBOOTED))[1] == "ended rebooted_too_often -> failed"
    assert (loop.work.task("S1").strikes, loop.work.task("S1").tries) == (0, 0)
    return loop


@story
def one_notice_when_it_takes_twice_its_time() -> Loop:
    """SPEC 8.4: at twice the ETA, once."""
    loop = Loop(work("S1"))
    loop.specs["S1"] = spec("S1", estimate_minutes=10.0)
    running(loop)
    assert loop.beat(alive(running=1199)) == []
    assert loop.beat(alive(running=1200)) == ["running late -> running"]
    assert loop.beat(alive(running=1300)) == []
    return loop


@story
def both_closed_waits() -> Loop:
    """SPEC 7.5: a fit agent whose account is open, or no start."""
    loop = running(Loop(work("S1"), policy(default_agent="opus")))
    loop.beat(limited(None))
    assert loop.beat(now=at(1)) == []
    return loop


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_a_story_holds(tell: Callable[[], Loop]) -> None:
    """Each story cites the rules it tells (SPEC 7)."""
    tell()


def test_the_stories_take_every_row() -> None:
    """No row is a decoration (SPEC 7.1)."""
    taken = {step.row for tell in STORIES for step in tell().steps}

    assert set(TABLE) - taken == set()


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_no_row_can_be_missed(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting any one row breaks a story (SPEC 7.1)."""
    without = {cell: other for cell, other in machine.ROWS.items() if other is not row}
    monkeypatch.setattr(machine, "ROWS", without)
    monkeypatch.setattr(consequence, "ROWS", without)

    def breaks(tell: Callable[[], Loop]) -> bool:
        try:
            tell()
        except (AssertionError, KeyError):
            return True
        return False

    assert any(breaks(tell) for tell in STORIES)


def test_the_start_notice_is_exact() -> None:
    """SPEC 12.1, first form, with the ETA from metrics and the next task."""
    loop = Loop(work("S3", "S4", completed=("S1", "S2"), failed=("S0",)))
    loop.past = (Past(agent="codex", type="", minutes=12.0),)
    loop.specs["S3"] = spec("S3", title="Search bar implementation")

    loop.beat()

    assert loop.told == [
        (
            "🚀 Sprint S3 started — Search bar implementation\n🤖 Model: Codex (gpt-5.2)\n"
            "⏱️ ETA: ~12 minutes (based on avg from metrics)\n📋 Next up: S4 — Thing S4\n📊 Progress: 2/5 sprints done"
        )
    ]


def test_the_start_notice_of_the_last_task_without_model_or_estimate() -> None:
    """SPEC 12.1's variants; an estimate of the spec says so."""
    loop = Loop(work("S3"), policy(default_agent="local"))
    loop.specs["S3"] = spec("S3", has_script=True)
    other = Loop(work("S3"))
    other.specs["S3"] = spec("S3", estimate_minutes=30.0)

    loop.beat()
    other.beat()

    assert loop.told[0].splitlines()[1:4] == [
        "🤖 Model: Shell",
        "⏱️ ETA: unknown",
        "📋 Next up: nothing, this is the last",
    ]
    assert "⏱️ ETA: ~30 minutes (from the spec)" in other.told[0]


@pytest.mark.parametrize(
    ("summary", "commits", "seconds", "estimate", "text"),
    [
        ("Search bar.", ("abc1234def",), 480, 12.0, "Search bar. Commit abc1234\n⏱️ Duration: 8 min (est was 12 min)"),
        ("", ("abc1234def",), 480, None, "Thing S1. Commit abc1234\n⏱️ Duration: 8 min"),
        ("Done\nmore", (), 20, None, "Done\n⏱️ Duration: under 1 min"),
    ],
)
def test_the_completion_notice_is_exact(
    summary: str, commits: tuple[str, ...], seconds: float, estimate: float | None, text: str
) -> None:
    """SPEC 12.1, second form: the agent's summary, else the title; no commit, no word of one."""
    loop = Loop(work("S1"))
    loop.specs["S1"] = spec("S1", estimate_minutes=estimate)
    loop.beat()

    loop.beat(exited(Outcome.SUCCEEDED, seconds=seconds, summary=summary, commits=commits))

    assert loop.told[1] == f"✅ Sprint S1 COMPLETE — {text}"


def test_higher_priorities_go_first_and_nobody_overtakes_one_who_waits() -> None:
    """SPEC 7.5, 4.3: priority, then queue order; `allow_overtake` lets the next by."""
    tasks = {"S3": Task(id="S3")}
    tasks["S3"] = replace(tasks["S3"], priority=Priority.HIGH)
    loop = Loop(work("S1", "S2", "S3", tasks=tasks))
    loop.beat()
    assert loop.work.attempts[0].task == "S3"
    loop.beat(exited(Outcome.FAILED))
    assert loop.beat(now=at(1)) == []
    loop.policy = policy(allow_overtake=True)

    assert loop.beat(now=at(1)) == [READY]
    assert loop.work.attempts[0].task == "S1"
