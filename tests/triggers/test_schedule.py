"""Cron slots in a zone, against a walk along the clock minute by minute (SPEC 13.2)."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.trigger import cron_fault
from awm_loop.triggers import schedule
from awm_loop.triggers.schedule import Slot

NEW_YORK = ZoneInfo("America/New_York")
ZONES = (
    *("America/New_York", "Europe/Berlin", "Europe/Dublin", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"),
    *("America/St_Johns", "Pacific/Apia", "Antarctica/Troll", "Asia/Kathmandu", "America/Sao_Paulo", "Asia/Gaza"),
)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
WALKED_MINUTES = 2000
LOWEST = (0, 0, 1, 1, 0)
HIGHEST = (59, 23, 31, 12, 6)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@cache
def changes(zone: str, year: int) -> tuple[datetime, ...]:
    """The days of a year on which the zone's offset changes; its first where none does."""
    where = ZoneInfo(zone)
    days = [utc(year, 1, 1) + DAY * day for day in range(365)]
    offsets = [day.astimezone(where).utcoffset() for day in days]
    found = [days[number] for number in range(364) if offsets[number] != offsets[number + 1]]
    return tuple(found) or (days[0],)


@st.composite
def crons(draw: st.DrawFn) -> tuple[str, tuple[frozenset[int], ...]]:
    """A cron line, and the numbers that each field of it means, from the same draw."""
    texts, numbers = [], []
    for low, high in zip(LOWEST, HIGHEST, strict=True):
        kind = draw(st.sampled_from(["any", "any", "one", "range", "step", "list"]))
        first = draw(st.integers(low, high))
        last = draw(st.integers(first, high)) if kind == "list" or first == high else draw(st.integers(first + 1, high))
        kind = "one" if first == last else kind
        step = draw(st.integers(1, 20))
        match kind:
            case "any":
                text, meant = "*", range(low, high + 1)
            case "one":
                text, meant = f"{first}", range(first, first + 1)
            case "range":
                text, meant = f"{first}-{last}", range(first, last + 1)
            case "step":
                text, meant = f"{first}-{last}/{step}", range(first, last + 1, step)
            case _:
                text, meant = f"{first},{last}", [first, last]
        texts.append(text)
        numbers.append(frozenset(meant))
    return " ".join(texts), tuple(numbers)


def is_slot(local: datetime, cron: str, numbers: tuple[frozenset[int], ...]) -> bool:
    """As crontab(5) has it: where both days are restricted, either will do."""
    minute, hour, day, month, weekday = numbers
    by_day, by_weekday = local.day in day, local.isoweekday() % 7 in weekday
    _, _, day_text, _, weekday_text = cron.split()
    is_day = (by_day or by_weekday) if "*" not in (day_text, weekday_text) else (by_day and by_weekday)
    return local.minute in minute and local.hour in hour and local.month in month and is_day


@cache
def walk(zone: str, start: datetime) -> list[list[datetime]]:
    """For each minute from `start`, the local minutes that the clock shows or skips for the first time in it."""
    latest = start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    found: list[list[datetime]] = [[]]
    for number in range(1, WALKED_MINUTES + 1):
        local = (start + MINUTE * number).astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
        found.append([latest + MINUTE * number for number in range(1, (local - latest) // MINUTE + 1)])
        latest = max(latest, local)
    return found


@settings(max_examples=25, deadline=None)
@given(crons(), st.sampled_from(ZONES), st.data())
def test_the_newest_and_the_next_slot_are_those_of_a_walk_along_the_clock(
    line: tuple[str, tuple[frozenset[int], ...]], zone: str, data: st.DataObject
) -> None:
    """A slot is reached when the local clock first shows or skips it, and never again (SPEC 13.2)."""
    cron, numbers = line
    start = data.draw(st.sampled_from(changes(zone, data.draw(st.sampled_from([2011, 2026]))))) - DAY / 4
    minutes = walk(zone, start)
    slots = [
        Slot(local, start + MINUTE * number)
        for number, new in enumerate(minutes)
        for local in new
        if is_slot(local, cron, numbers)
    ]
    where = ZoneInfo(zone)
    looked_at = data.draw(st.lists(st.integers(0, WALKED_MINUTES), min_size=5, max_size=10)) + [
        (slot.at - start) // MINUTE + beside for slot in slots[:3] + slots[-3:] for beside in (-1, 0)
    ]

    odd = [number for number, new in enumerate(minutes) if len(new) != 1][1:]  # where the clock skips or repeats

    for number in looked_at + odd[:: max(1, len(odd) // 5)]:
        now = start + MINUTE * number
        count = sum(slot.at <= now for slot in slots)
        now += data.draw(st.sampled_from([timedelta(), timedelta(seconds=59, microseconds=999_999)]))
        if count:
            assert schedule.newest(cron, where, now) == slots[count - 1]
        if count < len(slots):
            assert schedule.following(cron, where, now) == slots[count]


@settings(max_examples=60, deadline=None)
@given(crons(), st.sampled_from(ZONES), st.integers(1990, 2036), st.data())
def test_no_slot_fires_twice_whatever_the_clock_does(
    line: tuple[str, tuple[frozenset[int], ...]], zone: str, year: int, data: st.DataObject
) -> None:
    """Beats at any moments, leaps of up to a day back and forth: each local slot fires at most once (SPEC 13.2)."""
    cron, where = line[0], ZoneInfo(zone)
    now = data.draw(st.sampled_from(changes(zone, year)))
    fired_at: datetime | None = None
    fired: list[datetime] = []
    for leap in data.draw(st.lists(st.integers(-1440, 1440), max_size=20)):
        # Back from the farthest it has been: not more than the day by which a right clock can be off.
        now = max(now + MINUTE * leap, (fired_at or now) - DAY)
        slot = schedule.newest(cron, where, now)
        if slot is not None and slot.local > schedule.after(where, now, fired_at):
            fired.append(slot.local)
            fired_at = now

    assert fired == sorted(set(fired))


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_slot_in_the_night_comes_once_a_day_over_each_change(zone: str) -> None:
    """Beats each ten minutes about each change: 02:30 of every date, exactly once, where it is skipped or repeated."""
    for change in changes(zone, 2026):
        where, now, found = ZoneInfo(zone), change - DAY, list[datetime]()
        bound: datetime | None = now
        while now < change + DAY * 3:
            slot = schedule.newest("30 2 * * *", where, now)
            if slot is not None and slot.local > schedule.after(where, now, bound):
                found.append(slot.local)
                bound = now
            now += MINUTE * 10

        assert found == [found[0] + DAY * number for number in range(max(3, len(found)))]


def test_a_skipped_slot_comes_when_the_skip_is_over() -> None:
    """02:30 on 8 March 2026 in New York, where 03:00 follows 01:59, is reached at 03:00 EDT, under its own name."""
    before = Slot(datetime(2026, 3, 7, 2, 30), utc(2026, 3, 7, 7, 30))
    slot = Slot(datetime(2026, 3, 8, 2, 30), utc(2026, 3, 8, 7, 0))

    assert schedule.newest("30 2 * * *", NEW_YORK, utc(2026, 3, 8, 6, 59, 59)) == before
    assert schedule.newest("30 2 * * *", NEW_YORK, utc(2026, 3, 8, 7)) == slot
    assert schedule.following("30 2 * * *", NEW_YORK, utc(2026, 3, 8, 6, 59, 59)) == slot
    assert slot.key == "20260308T0230"


def test_a_repeated_slot_comes_the_first_time_only() -> None:
    """01:30 on 1 November 2026 in New York is at 05:30 UTC; at 06:30, when it is 01:30 again, it is no new slot."""
    slot = Slot(datetime(2026, 11, 1, 1, 30), utc(2026, 11, 1, 5, 30))

    assert [schedule.newest("30 1 * * *", NEW_YORK, utc(2026, 11, 1, hour, 30)) for hour in (5, 6, 7)] == [slot] * 3
    assert schedule.following("30 1 * * *", NEW_YORK, utc(2026, 11, 1, 5, 30)) == Slot(
        datetime(2026, 11, 2, 1, 30), utc(2026, 11, 2, 6, 30)
    )


def test_nothing_comes_while_the_clock_repeats_an_hour() -> None:
    """Each quarter of an hour: at the second 01:10 all up to 01:45 have been, and 02:00 is next."""
    last, ahead = Slot(datetime(2026, 11, 1, 1, 45), utc(2026, 11, 1, 5, 45)), utc(2026, 11, 1, 7)

    assert schedule.newest("*/15 * * * *", NEW_YORK, utc(2026, 11, 1, 6, 10)) == last
    assert schedule.following("*/15 * * * *", NEW_YORK, utc(2026, 11, 1, 6, 10)) == Slot(
        datetime(2026, 11, 1, 2), ahead
    )


def test_a_clock_that_was_years_ahead_does_not_silence_a_trigger_for_years() -> None:
    """What fired more than a day from now was fired by a wrong clock, and bounds nothing; a day ahead it does."""
    now = utc(2026, 11, 21, 10)

    assert schedule.after(NEW_YORK, now, utc(2030, 1, 1)) == datetime.min  # noqa: DTZ901
    assert schedule.after(NEW_YORK, now, utc(2030, 1, 1), utc(2026, 11, 20, 7)) == datetime(2026, 11, 20, 2)
    assert schedule.after(NEW_YORK, now, now + DAY) == datetime(2026, 11, 22, 5)


def test_a_day_that_never_comes_has_no_slot() -> None:
    """31 February (SPEC 13.2)."""
    assert schedule.newest("0 0 31 2 *", NEW_YORK, utc(2026, 1, 1)) is None
    assert schedule.following("0 0 31 2 *", NEW_YORK, utc(2026, 1, 1)) is None


@pytest.mark.parametrize("name", ["Nowhere/Town", "America", "../etc/passwd", "", "a\0b", "x" * 5000, "Europe/berlin/"])
def test_a_name_that_is_no_zone_is_none(name: str) -> None:
    """Whatever the name: an answer, never an error."""
    assert schedule.zone(name) is None


@pytest.mark.parametrize(
    ("cron", "fault"),
    [
        ("0 2 * *", "4 fields, but a cron line has five: minute, hour, day of the month, month, day of the week"),
        ("0 0 2 * * *", "6 fields, but a cron line has five: minute, hour, day of the month, month, day of the week"),
        ("@daily", "1 fields, but a cron line has five: minute, hour, day of the month, month, day of the week"),
        ("", "0 fields, but a cron line has five: minute, hour, day of the month, month, day of the week"),
        ("60 * * * *", "minute '60' is not within 0 to 59"),
        ("* 24 * * *", "hour '24' is not within 0 to 23"),
        ("* * 0 * *", "day of the month '0' is not within 1 to 31"),
        ("* * * 13 *", "month '13' is not within 1 to 12, or jan feb mar apr may jun jul aug sep oct nov dec"),
        ("* * * * 8", "day of the week '8' is not within 0 to 7, or sun mon tue wed thu fri sat"),
        ("* * L * *", "day of the month 'L' is not within 1 to 31"),
        ("* * * * 5#2", "day of the week '5#2' is none of 5, 1-5, */15, 1-5/2 or a list of them"),
        ("*/0 * * * *", "minute '*/0': a step wants a range before it, and is not 0: */15, 5-59/15"),
        ("5/15 * * * *", "minute '5/15': a step wants a range before it, and is not 0: */15, 5-59/15"),
        ("30-10 * * * *", "minute '30-10' does not run from a smaller to a larger one"),
        ("30-30 * * * *", "minute '30-30' does not run from a smaller to a larger one"),  # all minutes, for croniter
        ("1,,2 * * * *", "minute '' is none of 5, 1-5, */15, 1-5/2 or a list of them"),
        ("\u0663 * * * *", "minute '\u0663' is none of 5, 1-5, */15, 1-5/2 or a list of them"),
        ("1" * 5000 + " * * * *", f"minute '{'1' * 5000}' is not within 0 to 59"),
    ],
)
def test_a_wrong_cron_line_is_told_by_its_field(cron: str, fault: str) -> None:
    """Five fields, as in crontab(5), and nothing that other programs mean otherwise (SPEC 13.2)."""
    assert cron_fault(cron) == fault


@given(st.text("0123456789*/,- monjanSUNLH#@?", max_size=30) | crons().map(lambda line: line[0]))
@settings(max_examples=300, deadline=None)
def test_what_passes_for_a_cron_line_can_be_counted(cron: str) -> None:
    """Whatever the check lets pass, croniter reads: slots on both sides of now, or none at all."""
    if not cron_fault(cron):
        now = utc(2026, 11, 21, 10)
        newest, following = (step(cron, NEW_YORK, now) for step in (schedule.newest, schedule.following))

        assert (newest is None) is (following is None)
        assert newest is None or following is None or newest.at <= now < following.at


@given(
    crons(),
    st.sampled_from(["mon-fri", "sun", "SAT,sun", "fri-7", "0-7", "mon-sat/2"]),
    st.sampled_from(["jan", "FEB-dec"]),
)
@settings(max_examples=50, deadline=None)
def test_names_of_days_and_months_are_read(line: tuple[str, object], days: str, months: str) -> None:
    """`mon-fri` and `jan`, in either case; Sunday is 0 and 7 (crontab(5))."""
    minute, hour, *_ = line[0].split()
    cron = f"{minute} {hour} * {months} {days}"

    assert cron_fault(cron) == ""
    assert schedule.following(cron, NEW_YORK, utc(2026, 11, 21)) is not None


def test_croniter_is_not_loaded_before_something_is_counted() -> None:
    """An idle beat pays for no calendar (docs/decisions/0004-dependencies.md)."""
    code = "import sys, awm_loop.triggers.schedule, awm_loop.triggers.calls; print('croniter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
