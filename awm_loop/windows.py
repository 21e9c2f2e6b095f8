"""Work windows and quiet hours in a zone (SPEC 13.3): when work may start. Standard library only, and no clock.

    22:00-07:00 Europe/Berlin                                   each night; the end is of the next day
    Mon-Fri 09:00-17:00, Sat 10:00-12:00 Europe/Berlin          several, of which each may name days: those it begins on
    not 12:00-13:00 Europe/Berlin                               quiet hours: open but then
    Mon-Fri 09:00-17:00, not 12:00-13:00 Europe/Berlin          both: quiet hours win

The zone stands once, at the end. `00:00-24:00` is a whole day. Where the clocks change at night, a time that is skipped
is the first moment after the gap; of a time that comes twice, the first begins and the second ends. So nothing is shut
early, and nothing opens twice.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
FORM = "write it as `22:00-07:00 Europe/Berlin`, `Mon-Fri 09:00-17:00 Europe/Berlin` or `not 12:00-13:00 Europe/Berlin`"
PARTS_MAX = 32  # each is looked at in each beat
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
BEFORE_DAYS = 2  # a part that began then may go on: it lasts a day, and an hour more where clocks go back
AHEAD_DAYS = 15  # a change comes within the week, or in the one after where a gap takes it out of the first

_PART = re.compile(
    r"(?P<quiet>not\s+)?(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?"
    r"(?P<start>\d{1,2}:\d\d)\s*-\s*(?P<end>\d{1,2}:\d\d)",
    re.I | re.A,
)
_ZONE = re.compile(r"[A-Za-z][\w+-]*(?:/[\w+-]+)*", re.A)


class UnknownZoneError(ValueError):
    """A window in the right form, whose zone this machine does not know."""


@dataclass(frozen=True, slots=True)
class Part:
    """One span of each of its days, in minutes from midnight; the end is greater than the start."""

    is_quiet: bool
    days: frozenset[int]  # on which it begins, 0 for Monday
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """When work may start."""

    parts: tuple[Part, ...]
    zone: zoneinfo.ZoneInfo

    def at(self, now: datetime) -> tuple[bool, datetime | None]:
        """Whether it is open at `now` (aware), and when that changes, in UTC; None where it never shuts.

        One that is shut has a time always: to look again then, where it does not open in two weeks.
        """
        second, today = int(now.timestamp()), now.astimezone(self.zone).date()
        spans = [span for day in range(-BEFORE_DAYS, 0) for span in self._spans(today + timedelta(days=day))]
        known, is_open = second, True
        for ahead in range(AHEAD_DAYS):
            spans += self._spans(today + timedelta(days=ahead))
            horizon = self._second(today + timedelta(days=ahead + 1), 0, 0)  # what begins later is not in `spans` yet
            is_open = self._is_open(spans, second)
            for edge in sorted({edge for _, *edges in spans for edge in edges if known < edge < horizon}):
                if self._is_open(spans, edge) is not is_open:
                    return is_open, datetime.fromtimestamp(edge, UTC)
            known = max(known, horizon - 1)
        return is_open, None if is_open else datetime.fromtimestamp(known, UTC)

    def opened(self, now: datetime) -> datetime | None:
        """When it opened, of one that is open at `now`, in UTC; None where it has been open for two days and more."""
        second, today = int(now.timestamp()), now.astimezone(self.zone).date()
        spans = [span for day in range(-2 * BEFORE_DAYS, 2) for span in self._spans(today + timedelta(days=day))]
        first, opened = self._second(today - timedelta(days=BEFORE_DAYS), 0, 0), second
        for edge in sorted({edge for _, *edges in spans for edge in edges if first <= edge <= second}, reverse=True):
            if not self._is_open(spans, edge):
                return datetime.fromtimestamp(opened, UTC)
            opened = edge
        return None

    def _is_open(self, spans: Sequence[tuple[bool, int, int]], second: int) -> bool:
        inside = {is_quiet for is_quiet, start, end in spans if start <= second < end}
        return True not in inside and (False in inside or all(part.is_quiet for part in self.parts))

    def _spans(self, day: date) -> Iterator[tuple[bool, int, int]]:
        """Of each part that begins on this day: whether it is quiet, its start and its end."""
        weekday = day.weekday()
        for part in self.parts:
            if weekday in part.days:
                yield part.is_quiet, self._second(day, part.start, 0), self._second(day, part.end, 1)

    def _second(self, day: date, minutes: int, fold: int) -> int:
        """The Unix time of a local time, of one that comes twice by `fold`, of one that is skipped after the gap."""
        wanted = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)  # noqa: DTZ001  as wall clocks show
        found = [int(wanted.replace(tzinfo=self.zone, fold=side).timestamp()) for side in (0, 1)]
        after, before = found  # of a gap: what the clocks after it, and before it, make of the skipped time
        if after <= before:
            return found[fold]
        while after - before > 1:
            middle = (before + after) // 2
            is_before = datetime.fromtimestamp(middle, self.zone).replace(tzinfo=None) < wanted
            before, after = (middle, after) if is_before else (before, middle)
        return after


@cache
def parse(text: str) -> Window:
    """The window that a text names. Raises ValueError, with a text for people; UnknownZoneError is one."""
    spans, _, zone_name = text.strip().rpartition(" ")
    if not _ZONE.fullmatch(zone_name):
        where = (
            "names no zone at its end" if _PART.fullmatch(text.strip().rpartition(",")[2].strip()) else "is no window"
        )
        raise ValueError(f"{text!r} {where}: {FORM}")
    parts = [_part(span.strip(), text) for span in spans.split(",")]
    if len(parts) > PARTS_MAX:
        raise ValueError(f"a window has {PARTS_MAX} parts at most, this one has {len(parts)}")
    if not _week(parts, is_quiet=False) & ~_week(parts, is_quiet=True):
        raise ValueError(f"{text!r} is never open: its quiet hours cover it")
    return Window(tuple(parts), _zone(zone_name))


def _part(span: str, text: str) -> Part:
    found = _PART.fullmatch(span)
    if found is None:
        hint = "the zone stands once, at the end" if "/" in span else FORM
        raise ValueError(f"{span!r} in {text!r} is no part of a window: {hint}")
    names = [name.capitalize() for name in (found["first"], found["last"]) if name]
    for name in names:
        if name not in DAYS:
            raise ValueError(f"{name!r} in {text!r} is no day: {', '.join(DAYS)}")
    first, last = (DAYS.index(name) for name in (names[0], names[-1])) if names else (0, 6)
    start, end = _minutes(found["start"], text), _minutes(found["end"], text)
    if start in {end, DAY_MINUTES}:
        raise ValueError(f"{span!r} in {text!r} has no length: write 00:00-24:00 for a whole day")
    days = frozenset((first + day) % 7 for day in range((last - first) % 7 + 1))
    return Part(found["quiet"] is not None, days, start, end if start < end else end + DAY_MINUTES)


def _minutes(clock: str, text: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    if minutes > 59 or hours * 60 + minutes > DAY_MINUTES:
        raise ValueError(f"{clock} in {text!r} is no time: 00:00 to 24:00")
    return hours * 60 + minutes


def _week(parts: Sequence[Part], *, is_quiet: bool) -> int:
    """The minutes of a week that such parts cover, as bits; all, where there is no part that opens."""
    chosen = [part for part in parts if part.is_quiet is is_quiet]
    if not chosen and not is_quiet:
        return (1 << WEEK_MINUTES) - 1
    covered = 0
    for part in chosen:
        for day in part.days:
            covered |= ((1 << part.end - part.start) - 1) << day * DAY_MINUTES + part.start
    return (covered | covered >> WEEK_MINUTES) & ((1 << WEEK_MINUTES) - 1)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # not there; some other file; a directory
        near = difflib.get_close_matches(name, sorted(zoneinfo.available_timezones()), n=1)
        hint = f"did you mean {near[0]}?" if near else "a name such as Europe/Berlin, America/New_York, UTC"
        raise UnknownZoneError(f"this machine knows no time zone {name}: {hint}") from error
