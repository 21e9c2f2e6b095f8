"""Work windows and quiet hours, against a walk along the wall clock of a zone (SPEC 13.3)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awm_loop import windows

MINUTE = timedelta(minutes=1)
AROUND_DAYS = 5
RECENT_MINUTES = 47 * 60
NIGHTS = [  # when the clocks change there, or not at all
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Antarctica/Troll", "2026-03-29"),  # by two hours
    ("Antarctica/Troll", "2026-10-25"),
    ("America/St_Johns", "2010-11-07"),  # back over midnight, a minute after it
    ("America/St_Johns", "2010-03-14"),
    ("Asia/Beirut", "2026-03-29"),  # there is no midnight
    ("Asia/Beirut", "2026-10-25"),
    ("Africa/Casablanca", "2026-02-15"),  # back for a month
    ("Pacific/Apia", "2011-12-30"),  # a whole day was left out
    ("Asia/Kathmandu", "2026-06-01"),
]


class Walk(NamedTuple):
    """Minutes around a night: the latest local time until each, and the earliest from each on."""

    start: datetime
    latest: list[datetime]
    earliest: list[datetime]


@cache
def walk(zone: str, night: str) -> Walk:
    start = datetime.fromisoformat(f"{night}T00:00:00+00:00") - timedelta(days=AROUND_DAYS)
    moments = (start + MINUTE * number for number in range(2 * AROUND_DAYS * 24 * 60))
    local = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) for moment in moments]
    return Walk(start, list(accumulate(local, max)), list(accumulate(reversed(local), min))[::-1])


def oracle(spans: Iterable[tuple[bool, int, int, int, int]], zone: str, night: str) -> list[bool]:
    """Whether each minute of the walk is open: a span goes on from when the clock first reached its start, to when it
    last was before its end."""
    walked = walk(zone, night)
    opened, quiet = [bytearray(len(walked.latest)) for _ in range(2)]
    days = range(-AROUND_DAYS - 3, AROUND_DAYS + 3)
    for is_quiet, first, last, start, length in spans:
        for midnight in (datetime.fromisoformat(night) + timedelta(days=day) for day in days):
            if (midnight.weekday() - first) % 7 <= (last - first) % 7:
                begin = bisect_left(walked.latest, midnight + MINUTE * start)
                end = bisect_left(walked.earliest, midnight + MINUTE * (start + length))
                (quiet if is_quiet else opened)[begin:end] = b"\1" * max(end - begin, 0)
    is_open_else = all(is_quiet for is_quiet, *_ in spans)
    return [bool(not shut and (one or is_open_else)) for one, shut in zip(opened, quiet, strict=True)]


def is_never_open(spans: Iterable[tuple[bool, int, int, int, int]]) -> bool:
    """In a week without any change of clocks."""
    week = 7 * 1440
    covered: dict[bool, set[int]] = {False: set(), True: set()}
    for is_quiet, first, last, start, length in spans:
        for day in range(first, first + (last - first) % 7 + 1):
            covered[is_quiet] |= {minute % week for minute in range(day * 1440 + start, day * 1440 + start + length)}
    opened = covered[False] if not all(is_quiet for is_quiet, *_ in spans) else set(range(week))
    return opened <= covered[True]


def clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def text_of(span: tuple[bool, int, int, int, int]) -> str:
    is_quiet, first, last, start, length = span
    end = start + length if start + length <= 1440 else start + length - 1440
    days = windows.DAYS[first] if first == last else f"{windows.DAYS[first]}-{windows.DAYS[last]}"
    return f"{'not ' if is_quiet else ''}{days} {clock(start)}-{clock(end)}"


NIGHTLY = st.integers(0, 300) | st.integers(0, 1439)
SPANS = st.tuples(
    st.booleans(), st.integers(0, 6), st.integers(0, 6), NIGHTLY, st.integers(1, 200) | st.integers(1, 1439)
)


@given(
    spans=st.lists(SPANS, min_size=1, max_size=4),
    night=st.sampled_from(NIGHTS),
    minutes=st.lists(st.integers(-26 * 60, 26 * 60), min_size=1, max_size=20),
)
def test_a_window_is_what_a_walk_along_the_wall_clock_says(
    spans: list[tuple[bool, int, int, int, int]], night: tuple[str, str], minutes: list[int]
) -> None:
    """Whether it is open, and when that changes, in each night (SPEC 13.3)."""
    text = f"{', '.join(map(text_of, spans))} {night[0]}"
    if is_never_open(spans):
        with pytest.raises(ValueError, match="is never open"):
            windows.parse(text)
        return
    window = windows.parse(text)
    states, start = oracle(spans, *night), walk(*night).start
    for minute in minutes:
        index = AROUND_DAYS * 24 * 60 + minute
        is_open, changes = window.at(start + MINUTE * index)
        later = next((other for other in range(index, len(states)) if states[other] is not states[index]), None)

        assert is_open is states[index]
        if later is None:
            assert changes is None or changes >= start + MINUTE * len(states)
        else:
            assert changes == start + MINUTE * later
        if is_open:
            began = next((other + 1 for other in range(index, -1, -1) if not states[other]), 0)
            is_recent = index - began < RECENT_MINUTES
            assert window.opened(start + MINUTE * index) in (
                {start + MINUTE * began} if is_recent else {None, start + MINUTE * began}
            )


def at(text: str, moment: str) -> tuple[bool, str | None]:
    """The window at a UTC time, as `2026-03-29T00:30`."""
    is_open, changes = windows.parse(text).at(datetime.fromisoformat(f"{moment}:00+00:00"))
    return is_open, changes and changes.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")


NIGHT = "22:00-07:00 Europe/Berlin"
WORKDAYS = "Mon-Fri 09:00-17:00 Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        (NIGHT, "2026-11-21T20:59", (False, "2026-11-21T21:00")),
        (NIGHT, "2026-11-21T21:00", (True, "2026-11-22T06:00")),
        (NIGHT, "2026-11-22T05:59", (True, "2026-11-22T06:00")),
        (NIGHT, "2026-11-22T06:00", (False, "2026-11-22T21:00")),
        (NIGHT, "2026-03-28T21:00", (True, "2026-03-29T05:00")),  # the short night
        (NIGHT, "2026-10-24T20:00", (True, "2026-10-25T06:00")),  # the long one
        ("02:30-05:00 Europe/Berlin", "2026-03-29T00:59", (False, "2026-03-29T01:00")),  # 02:30 is skipped
        ("22:00-02:30 Europe/Berlin", "2026-03-29T00:59", (True, "2026-03-29T01:00")),
        ("02:15-02:45 Europe/Berlin", "2026-03-29T01:00", (False, "2026-03-30T00:15")),
        ("02:30-05:00 Europe/Berlin", "2026-10-25T00:30", (True, "2026-10-25T04:00")),  # 02:30 comes twice
        ("02:30-05:00 Europe/Berlin", "2026-10-25T01:10", (True, "2026-10-25T04:00")),
        ("22:00-02:30 Europe/Berlin", "2026-10-25T00:45", (True, "2026-10-25T01:30")),
        ("Fri 23:31-23:30 America/St_Johns", "2010-11-07T02:30", (True, "2010-11-07T03:00")),  # Sunday, then Saturday
        (WORKDAYS, "2026-11-20T16:00", (False, "2026-11-23T08:00")),  # from Friday evening to Monday
        ("Fri 22:00-07:00 UTC", "2026-11-21T06:59", (True, "2026-11-21T07:00")),  # Friday's goes into Saturday
        ("Fri 22:00-07:00 UTC", "2026-11-21T22:30", (False, "2026-11-27T22:00")),
        ("Sat-Mon 10:00-11:00 UTC", "2026-11-22T12:00", (False, "2026-11-23T10:00")),
        ("not 12:00-13:00 UTC", "2026-11-21T12:30", (False, "2026-11-21T13:00")),
        ("not 12:00-13:00 UTC", "2026-11-21T13:00", (True, "2026-11-22T12:00")),
        ("Mon-Fri 09:00-17:00, not 12:00-13:00 UTC", "2026-11-23T11:00", (True, "2026-11-23T12:00")),
        ("09:00-12:00, 12:00-17:00 UTC", "2026-11-23T10:00", (True, "2026-11-23T17:00")),  # no shutting between
        ("mon-fri 9:00 - 17:00,sat 9:00-10:00 UTC", "2026-11-21T09:30", (True, "2026-11-21T10:00")),
        ("00:00-24:00 Europe/Berlin", "2026-11-21T12:00", (True, None)),
        ("Sun 02:00-02:30 Europe/Berlin", "2026-03-28T12:00", (False, "2026-04-05T00:00")),  # skipped, a week later
    ],
)
def test_a_window_opens_and_shuts_by_the_wall_clock_of_its_zone(
    text: str, moment: str, expected: tuple[bool, str | None]
) -> None:
    """Over midnight, over both nights on which clocks change, on its days, but for quiet hours (SPEC 13.3)."""
    assert at(text, moment) == expected


TWO_ZONES = "1:00-2:00 A/B, 3:00-4:00 UTC"
FORM = "write it as `22:00-07:00 Europe/Berlin`, `Mon-Fri 09:00-17:00 Europe/Berlin` or `not 12:00-13:00 Europe/Berlin`"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("22-7", f"'22-7' is no window: {FORM}"),
        ("", f"'' is no window: {FORM}"),
        ("22:00-07:00", f"'22:00-07:00' names no zone at its end: {FORM}"),
        ("22:00-07:00 UTC, 12:00-13:00", f"'22:00-07:00 UTC, 12:00-13:00' names no zone at its end: {FORM}"),
        ("nightly UTC", f"'nightly' in 'nightly UTC' is no part of a window: {FORM}"),
        (TWO_ZONES, f"'1:00-2:00 A/B' in {TWO_ZONES!r} is no part of a window: the zone stands once, at the end"),
        ("Foo 9:00-10:00 UTC", "'Foo' in 'Foo 9:00-10:00 UTC' is no day: Mon, Tue, Wed, Thu, Fri, Sat, Sun"),
        ("9:00-9:00 UTC", "'9:00-9:00' in '9:00-9:00 UTC' has no length: write 00:00-24:00 for a whole day"),
        ("24:00-9:00 UTC", "'24:00-9:00' in '24:00-9:00 UTC' has no length: write 00:00-24:00 for a whole day"),
        ("9:00-24:01 UTC", "24:01 in '9:00-24:01 UTC' is no time: 00:00 to 24:00"),
        ("9:60-10:00 UTC", "9:60 in '9:60-10:00 UTC' is no time: 00:00 to 24:00"),
        ("9:00-10:00, not 8:00-11:00 UTC", "'9:00-10:00, not 8:00-11:00 UTC' is never open: its quiet hours cover it"),
        ("not 00:00-24:00 UTC", "'not 00:00-24:00 UTC' is never open: its quiet hours cover it"),
        ("9:00-10:00 Europe/Berlyn", "this machine knows no time zone Europe/Berlyn: did you mean Europe/Berlin?"),
        (
            "9:00-10:00 Qqqqq",
            "this machine knows no time zone Qqqqq: a name such as Europe/Berlin, America/New_York, UTC",
        ),
        ("9:00-10:00 Europe", "this machine knows no time zone Europe: did you mean Europe/Rome?"),
        (f"{'9:00-10:00, ' * 32}9:00-10:00 UTC", "a window has 32 parts at most, this one has 33"),
    ],
)
def test_what_is_no_window_is_said_in_words(text: str, said: str) -> None:
    """The message names what is wrong, and how it is written (SPEC 14)."""
    with pytest.raises(ValueError) as raised:
        windows.parse(text)

    assert str(raised.value) == said


@given(st.text() | st.from_regex(r"(not )?(Mon-)?(Fri )?\d\d?:\d\d-\d\d?:\d\d [A-Za-z/._-]{1,12}", fullmatch=True))
def test_any_text_is_a_window_or_an_error_for_people(text: str) -> None:
    """A person wrote it into a file: never a traceback (SPEC 4.7)."""
    try:
        window = windows.parse(text)
    except ValueError as error:
        said = str(error)
    else:
        said = str(window.at(datetime(2026, 3, 29, tzinfo=UTC)))
    assert said


def test_an_unknown_zone_can_be_told_from_a_wrong_form() -> None:
    """The form is the file's, the zones are the machine's: one project waits, the others go on."""
    with pytest.raises(windows.UnknownZoneError):
        windows.parse("22:00-07:00 Mars/Olympus")
