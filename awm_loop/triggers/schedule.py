"""When a time trigger is due: cron slots in a zone, each local one at most once, whatever the clock does (SPEC 13.2).

A slot is a time on the local clock, as the cron line says it, without an hour's second name: it is reached when the
local clock first shows it. So, over the two nights of the year:

- 02:30 where the clock skips from 02:00 to 03:00 is reached at 03:00, once, as its own slot; with `*/15` the skipped
  slots and 03:00 come at the same moment, and the newest of them stands for all.
- 02:30 where the clock goes back from 03:00 to 02:00 is reached at the first 02:30; the second is no slot. A trigger
  for each quarter of an hour is silent for that second hour.

croniter only counts on a calendar without zones; it is imported when something is due, not before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

WRONG_CLOCK = timedelta(days=1)  # what is further ahead of now was written by a clock that was wrong


class Slot(NamedTuple):
    """`local` has no zone; `at` is the moment, in UTC, at which the clock there first shows it or later."""

    local: datetime
    at: datetime

    @property
    def key(self) -> str:
        return f"{self.local:%Y%m%dT%H%M}"


def zone(name: str) -> ZoneInfo | None:
    """The zone of that name; None where this machine has none."""
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # no name of a zone; not known; a folder of zones, as America
        return None


def newest(cron: str, where: ZoneInfo, now: datetime) -> Slot | None:
    """The newest slot reached at `now`; None where the cron line never comes, as on 31 February."""
    minute = reached(where, now).replace(second=0, microsecond=0)
    local = _step(cron, minute + timedelta(seconds=1), forwards=False)
    return None if local is None else Slot(local, moment(where, local))


def following(cron: str, where: ZoneInfo, now: datetime) -> Slot | None:
    """The next slot, not reached yet at `now`; None where it never comes."""
    local = _step(cron, reached(where, now).replace(second=0, microsecond=0), forwards=True)
    return None if local is None else Slot(local, moment(where, local))


def after(where: ZoneInfo, now: datetime, *bounds: datetime | None) -> datetime:
    """The local time after which slots count: the latest of `bounds` that a right clock can have written.

    One more than a day ahead of `now` is disregarded, for else a clock that was wrong once would silence a trigger for
    years; the grace still holds.
    """
    heeded = [bound for bound in bounds if bound is not None and bound <= now + WRONG_CLOCK]
    return max((reached(where, bound) for bound in heeded), default=datetime.min)  # noqa: DTZ901  local, without a zone


def reached(where: ZoneInfo, at: datetime) -> datetime:
    """The latest time that the local clock has shown by `at`. In a repeated hour that stands still at its end."""
    local = at.astimezone(where)
    if not local.fold:
        return local.replace(tzinfo=None)
    first = local.replace(fold=0)
    change = _change(where, first.astimezone(UTC), at.astimezone(UTC))
    return (change + _offset(where, first.astimezone(UTC)) - timedelta(microseconds=1)).replace(tzinfo=None)


def moment(where: ZoneInfo, local: datetime) -> datetime:
    """When the local clock first shows `local`, in UTC; where it is skipped, when the skip is over."""
    at = local.replace(tzinfo=where, fold=0).astimezone(UTC)
    if at.astimezone(where).replace(tzinfo=None) == local:
        return at
    return _change(where, local.replace(tzinfo=where, fold=1).astimezone(UTC), at)


def _change(where: ZoneInfo, lower: datetime, upper: datetime) -> datetime:
    """The second at which the offset changes, after `lower` and not after `upper`, which have different ones."""
    low, high = int(lower.timestamp()), int(upper.timestamp())
    old = _offset(where, lower)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(where, datetime.fromtimestamp(middle, UTC)) == old:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _offset(where: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(where).utcoffset() or timedelta()


def _step(cron: str, start: datetime, *, forwards: bool) -> datetime | None:
    """The local time of the cron line that comes after `start`, or before it; None where there is none."""
    from croniter import CroniterBadDateError, croniter  # type: ignore[import-untyped]  # noqa: PLC0415  100 ms

    try:
        counter = croniter(cron, start.replace(tzinfo=UTC), ret_type=datetime)
        found: datetime = counter.get_next() if forwards else counter.get_prev()
    except CroniterBadDateError:
        return None
    return found.replace(tzinfo=None, fold=0)
