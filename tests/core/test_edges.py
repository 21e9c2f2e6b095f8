"""Every number at, just below and just above its limit (SPEC 7.2, 8.4, 9.1, 9.2). Simulation misses these; nothing else has them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from build import CODEX, HEALTHY, NOW, OPUS, POLICY, attempt, closed, exited, later, live, read, result, working
from hypothesis import given
from hypothesis import strategies as st

from awm_loop.core import choice
from awm_loop.core.machine import Judged, Signal, classify_account, classify_live, classify_queued
from awm_loop.core.model import Deadline, Instant, Outcome, Phase, Task
from awm_loop.core.observation import Alive, Exited, Limit, NotStarted

YEAR_SECONDS = 365 * 86_400.0
HOUR = timedelta(hours=1)


def below(seconds: float) -> float:
    return math.nextafter(seconds, 0)


def above(seconds: float) -> float:
    return math.nextafter(seconds, math.inf)


def verdict(outcome: Outcome, task: Task, **rules: int) -> Judged:
    """What an end means for a task with these counts."""
    work = live(phase=Phase.ENDED, task=task)
    return classify_live(work, work.attempts[0], exited(outcome), NOW, replace(POLICY, **rules))  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.HOLLOW, Outcome.LOST])
@pytest.mark.parametrize(
    ("retries_max", "tries", "signal"),
    [
        (3, 0, Signal.WORTH_RETRY),
        (3, 2, Signal.WORTH_RETRY),
        (3, 3, Signal.OUT_OF_TRIES),
        (3, 4, Signal.OUT_OF_TRIES),
        (0, 0, Signal.OUT_OF_TRIES),
        (1, 0, Signal.WORTH_RETRY),
        (1, 1, Signal.OUT_OF_TRIES),
    ],
)
def test_max_retries_three_allows_four_tries(outcome: Outcome, retries_max: int, tries: int, signal: Signal) -> None:
    """`tries` are those before this one; retries are tries less one (SPEC 7.2)."""
    assert verdict(outcome, Task(id="S1", tries=tries), retries_max=retries_max).signal is signal


@pytest.mark.parametrize("outcome", [Outcome.STALLED, Outcome.TIMED_OUT])
@pytest.mark.parametrize(
    ("strikes_max", "strikes", "signal"),
    [
        (3, 0, Signal.STRUCK),
        (3, 1, Signal.STRUCK),
        (3, 2, Signal.STRUCK_OUT),
        (3, 3, Signal.STRUCK_OUT),
        (1, 0, Signal.STRUCK_OUT),
    ],
)
def test_the_third_strike_is_the_last(outcome: Outcome, strikes_max: int, strikes: int, signal: Signal) -> None:
    """`strikes` are those before this one (SPEC 7.2, 7.4)."""
    assert verdict(outcome, Task(id="S1", strikes=strikes), strikes_max=strikes_max).signal is signal


@pytest.mark.parametrize(
    ("reboots", "signal"), [(4, Signal.REBOOTED), (5, Signal.REBOOTED_TOO_OFTEN), (6, Signal.REBOOTED_TOO_OFTEN)]
)
def test_five_reboots_are_started_again(reboots: int, signal: Signal) -> None:
    """The sixth is not (SPEC 7.2)."""
    assert verdict(Outcome.REBOOTED, Task(id="S1", reboots=reboots)).signal is signal


@pytest.mark.parametrize(
    ("launches", "signal"), [(4, Signal.NEVER_BEGAN), (5, Signal.CANNOT_BEGIN), (6, Signal.CANNOT_BEGIN)]
)
def test_one_number_is_launched_five_times(launches: int, signal: Signal) -> None:
    """Then it cannot begin (SPEC 7.3)."""
    work = live(phase=Phase.LAUNCHING, launches=launches)

    assert classify_live(work, work.attempts[0], NotStarted(), NOW, POLICY).signal is signal


@pytest.mark.parametrize(
    ("tries", "wait_seconds"),
    [(0, 30.0), (1, 60.0), (2, 120.0), (3, 300.0), (4, 900.0), (5, 900.0), (50, 900.0)],
)
def test_the_backoff_grows_and_repeats_its_last(tries: int, wait_seconds: float) -> None:
    """30 s, 1, 2, 5, 15 min, and 15 from then on (SPEC 7.2)."""
    judged = verdict(Outcome.FAILED, Task(id="S1", tries=tries), retries_max=99)

    assert judged.not_before == Deadline.after(wait_seconds, NOW)


def test_a_backoff_of_nothing_is_no_wait() -> None:
    """The task is due at once (SPEC 7.2)."""
    rules = replace(POLICY, backoff_seconds=(0.0,))
    work = live(phase=Phase.ENDED)

    judged = classify_live(work, work.attempts[0], exited(Outcome.FAILED), NOW, rules)

    assert (judged.signal, judged.not_before) == (Signal.WORTH_RETRY, None)


@pytest.mark.parametrize(
    ("idle_seconds", "busy_seconds", "signal"),
    [
        (below(900), 0, Signal.ALIVE),
        (900, 0, Signal.STALLED),
        (above(900), 0, Signal.STALLED),
        (0, below(3_600), Signal.ALIVE),
        (0, 3_600, Signal.STALLED),
        (0, above(3_600), Signal.STALLED),
        (450, 1_799.999, Signal.ALIVE),
        (450, 1_800, Signal.STALLED),
    ],
)
def test_busy_without_progress_counts_a_quarter(idle_seconds: float, busy_seconds: float, signal: Signal) -> None:
    """Idle for `stall_minutes` is a stall, busy for four times that, and both add up (SPEC 8.4)."""
    seen = Alive(idle_seconds=idle_seconds, busy_seconds=busy_seconds, running_seconds=60)
    work = live()

    assert classify_live(work, work.attempts[0], seen, NOW, POLICY).signal is signal


@pytest.mark.parametrize(
    ("idle_seconds", "busy_seconds", "reason"),
    [
        (900, 60, "no progress for 16.0 min, mostly idle"),
        (750, 750, "no progress for 25.0 min, mostly idle"),
        (1, 3_599, "no progress for 60.0 min, mostly busy"),
    ],
)
def test_a_stall_says_how_long_and_of_what_kind(idle_seconds: float, busy_seconds: float, reason: str) -> None:
    """For the journal (SPEC 8.4)."""
    seen = Alive(idle_seconds=idle_seconds, busy_seconds=busy_seconds, running_seconds=60)
    work = live()

    assert classify_live(work, work.attempts[0], seen, NOW, POLICY) == Judged(Signal.STALLED, reason)


@pytest.mark.parametrize(
    ("running_seconds", "told_late", "signal"),
    [
        (below(1_440), False, Signal.ALIVE),
        (1_440, False, Signal.LATE),
        (above(1_440), False, Signal.LATE),
        (1_440, True, Signal.ALIVE),
        (YEAR_SECONDS, True, Signal.ALIVE),
    ],
)
def test_late_is_twice_the_eta_and_told_once(running_seconds: float, told_late: bool, signal: Signal) -> None:
    """The ETA of this attempt is 12 minutes (SPEC 8.4)."""
    work = live(told_late=told_late)
    seen = replace(HEALTHY, running_seconds=running_seconds)

    assert classify_live(work, work.attempts[0], seen, NOW, POLICY).signal is signal


def test_without_an_eta_nothing_is_late() -> None:
    """There is nothing to be twice of (SPEC 8.4)."""
    work = live(eta_seconds=None)
    seen = replace(HEALTHY, running_seconds=YEAR_SECONDS)

    assert classify_live(work, work.attempts[0], seen, NOW, POLICY).signal is Signal.ALIVE


@pytest.mark.parametrize(
    ("boottime", "looked_at"),
    [(1_000, []), (below(1_030), []), (1_030, ["S1"]), (above(1_030), ["S1"])],
)
def test_a_task_is_due_at_its_time(boottime: float, looked_at: list[str]) -> None:
    """Not before, and not after; until then its spec is not even read (SPEC 4.3)."""
    work = working("S1", tasks={"S1": Task(id="S1", not_before=Deadline.after(30, NOW))})

    assert list(choice.candidates(work, replace(NOW, boottime=boottime), POLICY)) == looked_at


@pytest.mark.parametrize(
    ("boottime", "account_signal", "task_signal"),
    [
        (below(1_060), Signal.TOO_EARLY, Signal.ACCOUNT_CLOSED),
        (1_060, Signal.DUE, Signal.READY),
        (above(1_060), Signal.DUE, Signal.READY),
    ],
)
def test_an_account_opens_at_its_deadline(boottime: float, account_signal: Signal, task_signal: Signal) -> None:
    """For the account's own row and for the choice of an agent alike (SPEC 9.1, 15.6)."""
    work = working("S1", accounts=closed(60) | closed(7_200, OPUS))
    now = replace(NOW, boottime=boottime)

    assert classify_account(work.accounts["openai"], now).signal is account_signal
    assert classify_queued(work, "S1", read(), now, POLICY).signal is task_signal


def limited(resets_at_seconds: float | None, *, hits: int = 0) -> Judged:
    """A limit met by an account that met `hits` before without a time; its reset so many seconds from now."""
    resets_at = None if resets_at_seconds is None else NOW.wall + timedelta(seconds=resets_at_seconds)
    seen = Exited(result=result(Outcome.LIMITED, limit=Limit(resets_at=resets_at, source="test")))
    accounts = {"openai": replace(closed(0, hits=hits)["openai"], deadline=None)} if hits else {}
    work = replace(live(phase=Phase.ENDED, chain=("codex",)), accounts=accounts)
    return classify_live(work, work.attempts[0], seen, NOW, POLICY)


def left_seconds(judged: Judged) -> float:
    assert judged.limited is not None
    assert judged.limited.deadline is not None
    assert judged.not_before == judged.limited.deadline
    return judged.limited.deadline.left_seconds


@pytest.mark.parametrize(
    ("hits", "minutes"),
    [(0, 15), (1, 30), (2, 60), (3, 120), (4, 240), (5, 360), (6, 360), (16, 360), (17, 360), (10_000, 360)],
)
def test_a_limit_without_a_time_doubles_to_six_hours(hits: int, minutes: int) -> None:
    """`rateLimitRetryMinutes` is 15; the margin comes on top (SPEC 9.1)."""
    judged = limited(None, hits=hits)

    assert left_seconds(judged) == minutes * 60 + 60
    assert judged.limited is not None
    assert judged.limited.hits == hits + 1


@pytest.mark.parametrize(
    ("resets_at_seconds", "wait_seconds"),
    [
        (7_200, 7_260),
        (1, 61),
        (0, 60),
        (-1, 60),
        (-YEAR_SECONDS, 60),
        (691_139, 691_199),
        (691_140, 691_200),
        (691_141, 691_200),
        (900 * YEAR_SECONDS, 691_200),
    ],
)
def test_a_stated_reset_gets_the_margin_and_at_most_eight_days(resets_at_seconds: float, wait_seconds: float) -> None:
    """The past means the margin alone; a stated time ends the doubling (SPEC 9.1)."""
    judged = limited(resets_at_seconds, hits=4)

    assert left_seconds(judged) == wait_seconds
    assert judged.limited is not None
    assert (judged.limited.hits, judged.limited.source, judged.limited.agent) == (0, "test", "codex")


def test_a_limited_task_waits_for_the_first_account_to_open() -> None:
    """Its `notBefore` is the earliest deadline among its agents (SPEC 4.3, 9.1)."""
    work = replace(live(phase=Phase.ENDED), accounts=closed(300, OPUS))

    judged = classify_live(work, work.attempts[0], exited(Outcome.LIMITED), NOW, POLICY)

    assert (judged.signal, judged.agent, judged.not_before) == (Signal.LIMITED, None, Deadline.after(300, NOW))


@pytest.mark.parametrize(
    ("retry", "is_open", "signal"),
    [
        (True, True, Signal.LIMITED),
        (True, False, Signal.LIMITED),
        (False, True, Signal.LIMITED),
        (False, False, Signal.LIMITED_FOR_GOOD),
    ],
)
def test_a_limit_is_the_end_only_without_retry_and_fallback(retry: bool, is_open: bool, signal: Signal) -> None:
    """`retryOnRateLimit: false` and no fallback that is open (SPEC 7.2)."""
    work = replace(live(phase=Phase.ENDED), accounts={} if is_open else closed(300, OPUS))
    rules = replace(POLICY, retry_on_limit=retry)

    judged = classify_live(work, work.attempts[0], exited(Outcome.LIMITED), NOW, rules)

    assert (judged.signal, judged.agent) == (signal, OPUS if is_open else None)


def test_a_fallback_on_the_same_account_is_none() -> None:
    """Agents that share an account share its limit (SPEC 9.1)."""
    shared = replace(OPUS, account="openai")
    rules = replace(POLICY, agents={"codex": CODEX, "opus": shared}, retry_on_limit=False)
    work = live(phase=Phase.ENDED)

    judged = classify_live(work, work.attempts[0], exited(Outcome.LIMITED), NOW, rules)

    assert judged.signal is Signal.LIMITED_FOR_GOOD


def test_a_fallback_that_left_the_configuration_is_none() -> None:
    """awm.toml may change while an attempt runs (SPEC 7.6)."""
    rules = replace(POLICY, agents={"codex": CODEX}, retry_on_limit=False)
    work = live(phase=Phase.ENDED)

    judged = classify_live(work, work.attempts[0], exited(Outcome.LIMITED), NOW, rules)

    assert judged.signal is Signal.LIMITED_FOR_GOOD


def test_a_deadline_names_the_time_it_ends() -> None:
    """For people, who may change it (SPEC 9.1)."""
    assert Deadline.after(90, NOW) == Deadline(until=NOW.wall + timedelta(seconds=90), left_seconds=90, set_at=NOW)


JUMPS = [HOUR, -HOUR, timedelta(days=30), -timedelta(days=365)]


@pytest.mark.parametrize("jump", JUMPS, ids=str)
@pytest.mark.parametrize("waited_seconds", [0, 299, 300, 301])
def test_within_a_boot_no_jump_of_the_wall_clock_counts(jump: timedelta, waited_seconds: float) -> None:
    """Never early, never late (SPEC 9.2)."""
    moved = later(waited_seconds)

    left = Deadline.after(300, NOW).remaining_seconds(replace(moved, wall=moved.wall + jump))

    assert left == 300 - waited_seconds


def test_a_suspend_counts() -> None:
    """The boot clock goes on while the machine sleeps (SPEC 9.2)."""
    asleep = later(8 * 3_600)

    assert Deadline.after(4 * 3_600, NOW).remaining_seconds(asleep) == -4 * 3_600


def rebooted(uptime_seconds: float, moved_seconds: float) -> Instant:
    """Another boot, up for so long, whose wall clock stands so far from NOW's."""
    return Instant(wall=NOW.wall + timedelta(seconds=moved_seconds), boottime=uptime_seconds, boot_id="boot 2")


@pytest.mark.parametrize(
    ("uptime_seconds", "moved_seconds", "left"),
    [
        (60, 600, 3_000),  # off for nine minutes
        (60, 60, 3_540),  # the least that can be: rebooted in no time
        (60, 59, 3_540),  # less than the uptime cannot be: the clock was set back
        (60, -3_600, 3_540),
        (60, -YEAR_SECONDS, 3_540),
        (60, 3_600, 0),
        (60, 3_600 + 2 * 86_400, -2 * 86_400),  # off for two days beyond the wait
        (60, 3_600 + 2 * 86_400 + 1, 3_540),  # further than is believed
        (60, YEAR_SECONDS, 3_540),
        (3_600, -YEAR_SECONDS, 0),  # never stuck: the uptime alone ends it
    ],
)
def test_over_a_reboot_a_believable_wall_clock_counts_else_the_uptime(
    uptime_seconds: float, moved_seconds: float, left: float
) -> None:
    """A wait of one hour, seen from the next boot (SPEC 9.2, facts of docs/MEASURED.md)."""
    assert Deadline.after(3_600, NOW).remaining_seconds(rebooted(uptime_seconds, moved_seconds)) == left


def test_a_long_wait_believes_a_long_way() -> None:
    """Eight days off, eight days to wait: that is no jump (SPEC 9.2)."""
    assert Deadline.after(8 * 86_400, NOW).remaining_seconds(rebooted(60, 8 * 86_400)) == 0


def test_a_deadline_that_passed_before_the_reboot_is_due_after_it() -> None:
    """Set by hand into the past, it stays there (SPEC 9.2)."""
    assert Deadline.after(-10, NOW).remaining_seconds(rebooted(5, -YEAR_SECONDS)) == -15


SECONDS = st.floats(min_value=0, max_value=691_200)
WALLS = st.floats(min_value=-3 * YEAR_SECONDS, max_value=3 * YEAR_SECONDS)


@given(SECONDS, SECONDS, WALLS)
def test_a_deadline_is_never_early_within_a_boot(wait_seconds: float, gone_seconds: float, jump: float) -> None:
    """Whatever the wall clock does (SPEC 9.2)."""
    now = later(gone_seconds)
    now = replace(now, wall=now.wall + timedelta(seconds=jump))

    left = Deadline.after(wait_seconds, NOW).remaining_seconds(now)

    assert left == pytest.approx(wait_seconds - gone_seconds, abs=1e-6)


@given(SECONDS, WALLS)
def test_a_deadline_is_never_stuck(wait_seconds: float, jump: float) -> None:
    """An uptime as long as the wait ends it, whatever the wall clock says (SPEC 9.2)."""
    deadline = Deadline.after(wait_seconds, NOW)

    assert deadline.remaining_seconds(rebooted(wait_seconds, jump)) <= 0


def test_the_attempts_name_holds_no_byte_of_the_users() -> None:
    """Twelve hex digits of a hash, and the number (SPEC 17)."""
    assert attempt(task="../../etc/passwd", number=7).key == "3754d6cb3a38.7"
    assert attempt(task="S1").key != attempt(task="s1").key
