"""The operator's messages, letter by letter (SPEC 12.1), and which of them are sent (SPEC 12.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
from build import (
    HEALTHY,
    LOCAL,
    NOW,
    OPUS,
    POLICY,
    SPEC,
    closed,
    exited,
    later,
    live,
    read,
    seen_loop,
    seen_queued,
    settled,
    spent,
    working,
)
from hypothesis import given
from hypothesis import strategies as st
from loop import Loop

from awm_loop.core import notice
from awm_loop.core.machine import TABLE, Tell
from awm_loop.core.model import Ended, Outcome, Phase, Policy, StopReason, Task, Work
from awm_loop.core.observation import Call, Limit, SpecBad
from awm_loop.core.project import Bounds, Project, Use

S3 = replace(SPEC, title="Search bar implementation")


def text(work: Work) -> str:
    """The one notice in the outbox."""
    (only,) = work.outbox
    return only.text


def test_a_start_is_told_in_exactly_this_form() -> None:
    """SPEC 12.1, first form: progress counts completed of all accepted tasks."""
    before = working("S3", "S4", completed=("S1", "S2"), failed=("S0",), skipped=("S5",), blocked=("S6", "S7"))

    step = seen_queued(before, "S3", read(S3, past=(12.0,), next_up=("S4", "Deep dive linking")))

    assert text(step.work) == (
        "🚀 Sprint S3 started — Search bar implementation\n"
        "🤖 Model: Codex (gpt-5.2)\n"
        "⏱️ ETA: ~12 minutes (based on avg from metrics)\n"
        "📋 Next up: S4 — Deep dive linking\n"
        "📊 Progress: 2/8 sprints done"
    )


@pytest.mark.parametrize(
    ("past", "estimate_minutes", "eta"),
    [
        ((), None, "unknown"),
        ((), 30.0, "~30 minutes (from the spec)"),
        ((), 1.0, "~1 minute (from the spec)"),
        ((), 0.4, "under 1 min (from the spec)"),
        ((), 150.0, "~150 minutes (from the spec)"),
        ((8.0, 12.0), 30.0, "~10 minutes (based on avg from metrics)"),
        ((0.2,), None, "under 1 min (based on avg from metrics)"),
    ],
)
def test_the_eta_says_where_it_comes_from(past: tuple[float, ...], estimate_minutes: float | None, eta: str) -> None:
    """What was measured, else what the spec says, else nothing (SPEC 12.1, 12.4)."""
    spec = replace(S3, estimate_minutes=estimate_minutes)

    told = text(seen_queued(working("S3"), "S3", read(spec, past=past)).work)

    assert told.splitlines()[2] == f"⏱️ ETA: {eta}"


@pytest.mark.parametrize(
    ("model", "shown"),
    [("codex", "Codex (gpt-5.2)"), ("opus", "Opus"), ("local", "Shell")],
)
def test_the_agent_is_named_as_people_say_it(model: str, shown: str) -> None:
    """With its model where it has one; the embedded agent is the shell (SPEC 12.1)."""
    spec = replace(S3, model=model, has_script=True)

    assert text(seen_queued(working("S3"), "S3", read(spec)).work).splitlines()[1] == f"🤖 Model: {shown}"


def test_an_agent_of_ones_own_named_local_keeps_its_name() -> None:
    """Only the embedded one is called the shell (SPEC 8.7)."""
    own = replace(POLICY, agents={"local": replace(LOCAL, kind="command", model="m1")}, default_agent="local")

    told = text(seen_queued(working("S3"), "S3", read(S3), policy=own).work)

    assert told.splitlines()[1] == "🤖 Model: Local (m1)"


def test_the_last_task_says_so() -> None:
    """Nothing comes after it (SPEC 12.1)."""
    told = text(seen_queued(working("S3"), "S3", read(S3)).work)

    assert told.splitlines()[3:] == ["📋 Next up: nothing, this is the last", "📊 Progress: 0/1 sprints done"]


@pytest.mark.parametrize(
    ("summary", "commits", "seconds", "eta_seconds", "told"),
    [
        (
            "Search bar.",
            ("abc1234def",),
            480.0,
            720.0,
            "✅ Sprint S1 COMPLETE — Search bar. Commit abc1234\n⏱️ Duration: 8 min (est was 12 min)",
        ),
        ("", ("abc1234",), 480.0, None, "✅ Sprint S1 COMPLETE — Search bar. Commit abc1234\n⏱️ Duration: 8 min"),
        ("It works\n\nDetails", (), 29.0, 20.0, "✅ Sprint S1 COMPLETE — It works\n⏱️ Duration: under 1 min (est was under 1 min)"),
        (" \n", (), 5_400.0, 60.0, "✅ Sprint S1 COMPLETE — Search bar\n⏱️ Duration: 90 min (est was 1 min)"),
    ],
    ids=["in full", "the title, without an estimate", "no commit, under a minute", "blank summary, long"],
)  # fmt: skip
def test_a_success_is_told_in_exactly_this_form(
    summary: str, commits: tuple[str, ...], seconds: float, eta_seconds: float | None, told: str
) -> None:
    """SPEC 12.1, second form: the agent's summary, else the title; without a commit, no word of one."""
    seen = exited(Outcome.SUCCEEDED, summary=summary, commits=commits, seconds=seconds)

    assert text(settled(live(eta_seconds=eta_seconds), seen).work) == told


@pytest.mark.parametrize(
    ("resets_in_seconds", "fallback", "told"),
    [
        (7_200, True, "⚡ Codex rate limited. Resets in ~2 hours. Falling back to Opus."),
        (7_200, False, "⚡ Codex rate limited. Resets in ~2 hours. Waiting."),
        (300, False, "⚡ Codex rate limited. Resets in ~5 minutes. Waiting."),
        (4 * 86_400, False, "⚡ Codex rate limited. Resets in ~4 days. Waiting."),
        (-5, False, "⚡ Codex rate limited. Resets in ~1 second. Waiting."),
        (None, False, "⚡ Codex rate limited. Retry in ~15 minutes. Waiting."),
    ],
)
def test_a_limit_says_when_and_who_goes_on(resets_in_seconds: float | None, fallback: bool, told: str) -> None:
    """The time without our margin; "Resets" only where the agent said so (SPEC 9.4)."""
    resets_at = None if resets_in_seconds is None else later(resets_in_seconds).wall
    seen = exited(Outcome.LIMITED, limit=Limit(resets_at=resets_at, source="test"))
    work = replace(live(), accounts={} if fallback else closed(60, OPUS))

    assert text(settled(work, seen).work) == told


@pytest.mark.parametrize(
    ("fallback", "then"), [(True, "Falling back to Opus."), (False, "Sprint S1 waits.")], ids=["fallback", "nobody"]
)
def test_a_refused_login_says_what_to_type_and_who_goes_on(fallback: bool, then: str) -> None:
    """Once for an agent: what another attempt of it meets is known (SPEC 7.2, 12.2)."""
    work = replace(live(), accounts={} if fallback else closed(60, OPUS))
    seen = exited(Outcome.AUTH, error="Not logged in · Please run /login")

    told = text(settled(work, seen).work)
    again = settled(replace(work, agents_off={"codex": "before"}), seen).work

    assert told == (
        f"🔑 Codex is turned off — Not logged in · Please run /login. {then} When that is mended: awm agents on codex"
    )
    assert again.outbox == ()


def test_a_limit_of_an_agent_that_is_gone_is_told_by_its_name() -> None:
    """awm.toml changed while it ran (SPEC 9.4)."""
    policy = replace(POLICY, agents={"opus": OPUS}, default_agent="opus")

    told = text(settled(live(), exited(Outcome.LIMITED), policy=policy).work)

    assert told == "⚡ Codex rate limited. Retry in ~15 minutes. Falling back to Opus."


@pytest.mark.parametrize(
    ("backoff_seconds", "wait"),
    [(0.0, "a moment"), (0.2, "~1 second"), (30.0, "~30 seconds"), (60.0, "~1 minute"), (900.0, "~15 minutes")],
)
def test_a_retry_says_which_try_it_was_and_when_the_next_is(backoff_seconds: float, wait: str) -> None:
    """`maxRetries: 3` is four tries (SPEC 7.2)."""
    policy = replace(POLICY, backoff_seconds=(backoff_seconds,))

    told = text(settled(live(), exited(Outcome.HOLLOW, error="no commit."), policy=policy).work)

    assert told == f"🔁 Sprint S1: try 1 of 4 did not work — no commit. Next in {wait}"


@pytest.mark.parametrize(
    ("strikes_max", "told"),
    [
        (3, "⚠️ Sprint S1 stalled 3 times. Root cause: pid 7 sleeps. Action: skipped, evidence kept"),
        (2, "⚠️ Sprint S1 stalled 2 times. Root cause: pid 7 sleeps. Action: skipped, evidence kept"),
        (1, "⚠️ Sprint S1 stalled once. Root cause: pid 7 sleeps. Action: skipped, evidence kept"),
    ],
)
def test_the_last_strike_names_root_cause_and_action(strikes_max: int, told: str) -> None:
    """In the form of SPEC 7.4."""
    work = live(task=Task(id="S1", strikes=strikes_max - 1))
    policy = replace(POLICY, strikes_max=strikes_max)

    assert text(settled(work, exited(Outcome.STALLED, error="pid 7 sleeps"), policy=policy).work) == told


def test_a_failure_without_a_word_says_so() -> None:
    """The reason is never left empty (SPEC 12.1)."""
    work = live(task=Task(id="S1", tries=3))

    assert text(settled(work, exited(Outcome.FAILED)).work) == "❌ Sprint S1 failed — no reason given"


def test_the_report_has_a_line_for_each_task_and_names_who_waits_for_you() -> None:
    """Outcome, time and attempts in all, cost, commit or reason (SPEC 12.1)."""
    ended = Ended(task="", outcome=Phase.COMPLETED, at=NOW.wall, number=1)
    report = (
        replace(ended, task="S1", minutes_in_all=8.0, attempts=1, commit="abc1234def", notes="Search works"),
        replace(ended, task="S2", minutes_in_all=20.0, attempts=2, cost_usd=1.5),
        replace(ended, task="S3", outcome=Phase.FAILED, minutes_in_all=95.4, attempts=4, notes="tests fail"),
        replace(ended, task="S4", outcome=Phase.SKIPPED, minutes_in_all=45.0, attempts=3, cost_usd=0.0),
        replace(ended, task="S5", outcome=Phase.BLOCKED, number=None, notes="it is empty"),
    )
    work = working(completed=("S1", "S2"), failed=("S3",), skipped=("S4",), blocked=("S0", "S5"), report=report)

    assert text(seen_loop(work).work) == (
        "🏁 Queue finished — 2 of 5 sprints completed\n"
        "✅ S1 completed — 8 min, 1 attempt, commit abc1234\n"
        "✅ S2 completed — 20 min, 2 attempts, $1.50\n"
        "❌ S3 failed — 95 min, 4 attempts — tests fail\n"
        "⏭️ S4 skipped — 45 min, 3 attempts, $0.00\n"
        "✋ S5 blocked — under 1 min, 0 attempts — it is empty\n"
        "✋ Waiting for you: S0, S5"
    )


def test_a_loop_that_did_nothing_reports_nothing() -> None:
    """A new home with an empty queue (SPEC 4.4)."""
    assert seen_loop(working()).work.outbox == ()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("", ""),
        ("\n  \n\t\n", ""),
        ("  First line. \nsecond", "First line"),
        ("Wait...", "Wait..."),
        ("2.5", "2.5"),
        ("bell\x07 and \x1b[31mred\x1b[0m", "bell  and  [31mred [0m"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
    ],
)
def test_what_an_agent_said_becomes_one_printable_line(said: str, shown: str) -> None:
    """Its output is data: no second line, no control character, no length of its own (SPEC 12.1, 17)."""
    assert notice.one_line(said) == shown


@given(st.text())
def test_one_line_is_one_line(said: str) -> None:
    """Whatever was said: printable, short, and without a line break (SPEC 17)."""
    shown = notice.one_line(said)

    assert shown.isprintable()
    assert len(shown) <= 200
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [
        (0, "~1 second"),
        (1.4, "~1 second"),
        (59, "~59 seconds"),
        (60, "~1 minute"),
        (5_399, "~90 minutes"),
        (5_400, "~2 hours"),
        (129_599, "~36 hours"),
        (129_600, "~2 days"),
        (691_200, "~8 days"),
    ],
)
def test_a_wait_is_told_in_the_unit_people_would_use(seconds: float, wait: str) -> None:
    """One and a half of a unit is the least it is used for (SPEC 9.4)."""
    assert notice.roughly(seconds) == wait


@pytest.mark.parametrize(
    ("seconds", "length"), [(0, "under 1 min"), (30, "under 1 min"), (30.2, "1 min"), (89, "1 min"), (91, "2 min")]
)
def test_a_duration_is_told_in_whole_minutes(seconds: float, length: str) -> None:
    """Rounded; what rounds to none is under one (SPEC 12.1)."""
    eta = text(seen_queued(working("S3"), "S3", read(replace(S3, estimate_minutes=seconds / 60))).work).splitlines()[2]

    assert notice.minutes_text(seconds) == length
    assert eta.startswith(f"⏱️ ETA: {length}" if length.startswith("under") else f"⏱️ ETA: ~{length}")


BROKEN = Call(trigger="nightly", key="k", task="nightly-k", project="default", spec_path="", problem="no spec")


def kinds(policy: Policy) -> Iterator[str]:
    """The kinds told in the course of every start, end, wait, reset, budget and call there is."""
    late = replace(HEALTHY, running_seconds=9e9)
    loops = [Loop(working(accounts=closed(0)), policy), Loop(working(since_reset=3), policy)]
    loops.append(Loop(working("S1"), policy))
    loops[-1].specs["S1"] = SpecBad(reason="empty")
    loops.append(Loop(working(), policy))
    loops[-1].calls = [BROKEN]
    limited = replace(policy, own=Bounds(in_all=Use(attempts=3)), projects={"web": Project(id="web")})
    loops.append(Loop(working("S1"), limited))
    loops[-1].gone = {"default": "project directory /project does not exist"}
    loops.append(Loop(working(spent=spent(attempts=3)), limited))
    for loop in (*loops, Loop(live(), policy), Loop(working("S1"), policy)):
        loop.beat(late)
        yield from (one.kind for one in loop.work.outbox)
    for outcome, counts, stop in product(
        Outcome, ({}, {"tries": 3, "strikes": 2, "reboots": 5}), (None, StopReason.SKIP)
    ):
        loop = Loop(live(phase=Phase.STOPPING, stop=stop, task=Task(id="S1", **counts)), policy)
        loop.beat(exited(outcome))
        yield from (one.kind for one in loop.work.outbox)


def test_every_notice_is_told_by_default() -> None:
    """Each kind of the table (SPEC 12.1)."""
    assert set(kinds(replace(POLICY, reset_after=3))) == {row.tell.value for row in TABLE} - {Tell.NOTHING.value}


def test_with_notify_user_off_only_what_matters_is_told() -> None:
    """Blocked, failed, skipped, what keeps work from starting, and the report (SPEC 12.2)."""
    silent = replace(POLICY, reset_after=3, notify_user=False)

    unasked = {"auth", "blocked", "failed", "skipped", "struck_out", "report", "budget", "project", "trigger"}
    assert set(kinds(silent)) == unasked


def test_a_notice_that_is_not_told_uses_up_no_number() -> None:
    """The ids have no gaps (SPEC 12.2)."""
    silent = replace(POLICY, notify_user=False)

    assert settled(live(), exited(Outcome.FAILED), policy=silent).work.next_notice == 1


def test_a_notice_goes_to_every_channel_under_a_number_of_its_own() -> None:
    """An id in each, none used twice (SPEC 12.2)."""
    policy = replace(POLICY, channels=("console", "command"))

    after = settled(replace(live(), next_notice=41), exited(Outcome.FAILED), policy=policy).work

    assert [(one.id, one.channels) for one in after.outbox] == [("n41", ("console", "command"))]
    assert after.next_notice == 42
