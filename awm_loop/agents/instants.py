"""When something ends, as a person would be told: "resets 3pm (Europe/Berlin)", "try again in 2 hours" (SPEC 9.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

JUST_PAST = timedelta(minutes=10)  # a clock seen so soon after the time it tells is that time, not tomorrow's

_LEAD = re.compile(
    r"(?:limit reached\||\[retrying in |retrying in (?=[^.]{1,40}attempt #)"
    r"|(?:resets?|resetting|try(?:ing)? again|retry(?!ing)|wait|available(?: again)?|renews?|regain access|back"
    r"|use it again|restored|redefin\w{1,9}|reinicia\w{0,4}|renova\w{0,4})"
    r"(?:[-_ ]?(?:at|on|in|after|until|by|around|about|approximately|for|delay|time(?:stamp)?|date|seconds|ms|requests"
    r"|tokens|em|[àa]s)(?![a-z]))*)[\"':=~ ]*",
    re.I,
)
_ANY_CLOCK = (
    r"(?:(?P<word>noon|midnight)|(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.\d{1,9})?)?)?"
    r"(?:\s?(?P<half>[ap])\.?m\b\.?)?)(?!\d|:|[^\W\dZ])"
    r"(?:\s?(?:\((?P<zone>[^()]{1,40})\)|(?P<bare>[+-]\d\d:?\d\d|(?-i:Z|(?:UTC|GMT)(?:[+-]\d{1,2})?|[A-Z]{2,4}"
    r"|[A-Z][a-z]+/[A-Z]\w+(?:/[A-Z]\w+)?))(?![\w/])))?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,? (?:de )?(?P<year>\d{4})(?!\d))?"
# English; where they differ, Portuguese, as Claude's desktop app prints.
_MONTH_NAMES = (
    *("jan", "feb fev", "mar", "apr abr", "may mai", "jun", "jul"),
    *("aug ago", "sep set", "oct out", "nov", "dec dez"),
)
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, start=1) for name in names.split()}
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})[a-zç]*\.?"
_WEEKDAY = r"(?P<weekday>mon|tue|wed|thu|fri|sat|sun)(?:s|rs?|nes|ur)?(?:day)?\b\.?"
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ANY_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun|seg|ter|qua|qui|sex|s[áa]b|dom)[a-z]*\.?,? )?"
_AT = rf"(?:(?:,? (?:at |[àa]s )?|T){_ANY_CLOCK})?"
_PART = (
    r"(?:(\d{1,9}(?:\.\d{1,12})?)\s?|(?:an?|one)\s)"
    r"(ms|milli\w*|[wdhms]|(?:week|day|hour|hora|dia|hr|min(?:ute|uto)?|sec(?:ond)?|segundo)s?)"
)
_SECONDS = {"ms": 0.001, "mi": 60.0, "w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_ZONES: Mapping[str, tzinfo] = {
    **{name: timezone(timedelta(hours=hours), name) for name, hours in (
        ("Z", 0), ("UTC", 0), ("GMT", 0), ("EST", -5), ("EDT", -4), ("CDT", -5), ("MDT", -6), ("PST", -8), ("PDT", -7),
        ("CET", 1), ("CEST", 2), ("JST", 9), ("KST", 9), ("AEST", 10), ("AEDT", 11),
    )},
    "PT": ZoneInfo("America/Los_Angeles"),
    "ET": ZoneInfo("America/New_York"),
}  # fmt: skip


def stated(text: str, seen_at: datetime, zone: tzinfo) -> tuple[datetime, str] | None:
    """The instant (UTC) at which a text says that something ends, and how it says so, in a few words; None without one.

    `text` has single spaces only. Of several times it is the surest kind, and of that kind the first. `seen_at` is when
    the text was seen, aware, and `zone` that of the process that printed it.
    """
    leads = list(_LEAD.finditer(text))
    for pattern, kind in KINDS:
        for lead in leads:
            found = pattern.match(text, lead.end())
            if not found:
                continue
            try:
                told = kind(found, lead[0], seen_at, zone)
                if told:
                    return told[0].astimezone(UTC), told[1]
            except (ValueError, OverflowError):  # no such day, or none that a datetime can hold
                continue
    return None


def midnight(seen_at: datetime, zone: tzinfo) -> datetime | None:
    """The next 00:00 of a zone (UTC); None where a datetime cannot hold it."""
    try:
        day = seen_at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        return (day + timedelta(days=1)).astimezone(UTC)
    except OverflowError:
        return None


def _epoch(found: re.Match[str], _lead: str, _seen_at: datetime, _zone: tzinfo) -> tuple[datetime, str]:
    seconds = int(found[1]) / (1000 if len(found[1]) == 13 else 1)
    return datetime.fromtimestamp(seconds, UTC), "epoch in the text"


def _dated(found: re.Match[str], _lead: str, seen_at: datetime, zone: tzinfo) -> tuple[datetime, str]:
    """A date without a clock is the end of that day; one without a year is the nearest such day."""
    its_zone = _zone_of(found)
    here = seen_at.astimezone(its_zone or zone)
    month = int(found["month"]) if found["month"].isdigit() else _MONTHS[found["month"].lower()]
    clock = _clock(found)
    days = []
    for year in [int(found["year"])] if found["year"] else [here.year, here.year + 1, here.year - 1]:
        with suppress(ValueError):  # 29 February
            days.append(datetime(year, month, int(found["day"]), *(clock or (0, 0, 0)), tzinfo=here.tzinfo))
    at = min(days, key=lambda day: abs(day - here))
    if clock is None:
        return at + timedelta(days=1), "date"
    return at, "date and clock with zone" if its_zone else "date and clock without a zone"


def _upcoming(found: re.Match[str], _lead: str, seen_at: datetime, zone: tzinfo) -> tuple[datetime, str] | None:
    """The next such clock, on the next such weekday where one is named; a weekday without a clock is its end."""
    its_zone = _zone_of(found)
    here = seen_at.astimezone(its_zone or zone)
    named = (found.groupdict().get("weekday") or "").lower()
    clock = _clock(found)
    if clock is None and not named:
        return None
    source = "date" if clock is None else "clock with zone" if its_zone else "clock without a zone"
    hour, minute, second = clock or (0, 0, 0)
    midnight = here.replace(hour=hour, minute=minute, second=second, microsecond=0, fold=0)
    if named in {"today", "tomorrow"}:
        return midnight + timedelta(days=named == "tomorrow"), source
    for days in range(-1, 9):
        at = midnight + timedelta(days=days)
        is_day = not named or at.weekday() == _WEEKDAYS.index(named)
        at += timedelta(days=clock is None)
        if is_day and at.astimezone(UTC) >= seen_at - JUST_PAST:
            return at, source
    return None


def _relative(found: re.Match[str], _lead: str, seen_at: datetime, _zone: tzinfo) -> tuple[datetime, str]:
    seconds = 0.0
    for number, unit in re.findall(_PART, found[0], re.I):
        scale = next(scale for name, scale in _SECONDS.items() if unit.lower().startswith(name))
        seconds += scale * float(number or 1)
    return seen_at + timedelta(seconds=seconds), "relative time"


def _seconds(found: re.Match[str], lead: str, seen_at: datetime, _zone: tzinfo) -> tuple[datetime, str] | None:
    """A bare number counts as a time only in a field, as of a header: "Retry-After: 30"."""
    if not re.search(r"[:=]", lead):
        return None
    scale = 0.001 if re.search(r"[-_]ms\b|Ms\b", lead) else 1
    return seen_at + timedelta(seconds=float(found[0]) * scale), "relative time"


def _clock(found: re.Match[str]) -> tuple[int, int, int] | None:
    if found["word"]:
        return (12 if found["word"].lower() == "noon" else 0), 0, 0
    if not found["hour"] or not (found["minute"] or found["half"]):
        return None
    hour = int(found["hour"])
    if found["half"]:
        hour = hour % 12 + (12 if found["half"].lower() == "p" else 0)
    return hour, int(found["minute"] or 0), int(found["second"] or 0)


def _zone_of(found: re.Match[str]) -> tzinfo | None:
    """The zone that is named after a clock; None where there is none, or none that is known."""
    name = found["zone"] or found["bare"] or ""
    if offset := re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d\d))?", name):
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes)) if minutes < 24 * 60 else None
    if name in _ZONES:
        return _ZONES[name]
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


# (how a time is written after words such as "resets at", what it means), the surest kind first (SPEC 9.1).
_Kind = Callable[[re.Match[str], str, datetime, tzinfo], "tuple[datetime, str] | None"]
KINDS: tuple[tuple[re.Pattern[str], _Kind], ...] = tuple(
    (re.compile(pattern, re.I), kind)
    for pattern, kind in (
        (r"(\d{13}|\d{10})(?:\.\d{1,9})?(?!\w)", _epoch),
        (rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)(?!\d){_AT}", _dated),
        (rf"{_ANY_WEEKDAY}{_MONTH} {_DAY}(?![\w:]){_YEAR}{_AT}", _dated),
        (rf"{_ANY_WEEKDAY}{_DAY}(?: of| de)? {_MONTH}{_YEAR}{_AT}", _dated),
        (rf"(?P<weekday>tomorrow|today)\b{_AT}", _upcoming),
        (rf"{_WEEKDAY}{_AT}", _upcoming),
        (_ANY_CLOCK, _upcoming),
        (rf"{_PART}(?![a-z])(?:(?:[\s,]*|,? and ){_PART}(?![a-z])){{0,6}}", _relative),
        (r"\d{1,9}(?:\.\d{1,9})?(?!\s?[\w%])", _seconds),
    )
)
