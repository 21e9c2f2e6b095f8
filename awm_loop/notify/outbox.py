"""Deliver the outbox: at least once, in order per channel, one dead channel delaying no other (SPEC 12.2).

A notice leaves a channel only after its send was acknowledged and that was saved, so only a crash inside a send repeats
one. The state lock is not held while sending; a lock of its own keeps two processes from sending the same notice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from awm_loop import fault
from awm_loop.config import DELIVERY_BUDGET_SECONDS, NOTICE_BACKOFF_SECONDS, NOTICE_KEEP_SECONDS
from awm_loop.core.consequence import note
from awm_loop.core.model import Channel, Deadline, Instant, Notice, Work
from awm_loop.core.notice import counted
from awm_loop.ports import Send

FAILED = "channel {channel} failed, will try again"  # in the journal, with the reason
CONSOLE = "console"  # the stdout of a beat that has one; a beat without leaves its notices to the next


class Outbox(Protocol):
    """Where the outbox is kept: its lock is held for the short reads and writes around a send, not for the send."""

    def try_update(self, change: Callable[[Work, Instant], Work], now: Instant) -> Work | None:
        """Load, change and save under the lock; None where the lock was not to be had."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """What became of one channel's notices: those that arrived, and why the next one did not."""

    channel: str
    ids: frozenset[str]
    problem: str | None


def due(work: Work, channels: Sequence[str], now: Instant) -> dict[str, list[Notice]]:
    """For each channel that is not backing off, its notices, oldest first."""
    return {
        name: waiting
        for name in channels
        if not _is_backing_off(work.channels.get(name), now)
        and (waiting := [notice for notice in work.outbox if name in notice.channels])
    }


def deliver(
    store: Outbox, senders: Mapping[str, Send], configured: Collection[str], clock: Callable[[], Instant]
) -> None:
    """Send what is due, until nothing is or the time for it is used up. Never raises for a channel's trouble.

    `configured` are all channels there are: what waits for another one is dropped, and that journalled.
    """
    deadline = time.monotonic() + DELIVERY_BUDGET_SECONDS
    while time.monotonic() < deadline:
        now = clock()
        work = store.try_update(partial(_deliverable, configured), now)
        batches = due(work, tuple(senders), now) if work else {}
        if not batches:
            return
        sent = _send_to_all(batches, senders, deadline)
        store.try_update(partial(_settled, sent), clock())
        fault.point("outbox.sent:saved")


def _send_to_all(batches: Mapping[str, Sequence[Notice]], senders: Mapping[str, Send], deadline: float) -> list[_Sent]:
    """All channels at once. One alone, most often the console, needs no threads, nor the 5 ms they take to import."""
    if len(batches) == 1:
        return [_send_all(name, batch, senders[name], deadline) for name, batch in batches.items()]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(max_workers=len(batches)) as pool:
        jobs = [pool.submit(_send_all, name, batch, senders[name], deadline) for name, batch in batches.items()]
    return [job.result() for job in jobs]


def _send_all(name: str, notices: Sequence[Notice], send: Send, deadline: float) -> _Sent:
    """In order, up to the first that fails: a later one must not overtake it."""
    arrived: list[str] = []
    for notice in notices:
        fault.point("outbox.send:before")
        problem = send(notice)
        fault.point("outbox.send:after")
        if problem is not None:
            return _Sent(name, frozenset(arrived), problem)
        arrived.append(notice.id)
        if time.monotonic() >= deadline:
            break
    return _Sent(name, frozenset(arrived), None)


def _settled(sent: Sequence[_Sent], work: Work, now: Instant) -> Work:
    for one in sent:
        outbox = tuple(
            replace(notice, channels=tuple(name for name in notice.channels if name != one.channel))
            if notice.id in one.ids
            else notice
            for notice in work.outbox
        )
        work = replace(work, outbox=tuple(notice for notice in outbox if notice.channels))
        others = {name: channel for name, channel in work.channels.items() if name != one.channel}
        if one.problem is None:
            work = replace(work, channels=others)
            continue
        failures = (work.channels[one.channel].failures if one.channel in work.channels else 0) + 1
        wait_seconds = NOTICE_BACKOFF_SECONDS[min(failures, len(NOTICE_BACKOFF_SECONDS)) - 1]
        failed = Channel(name=one.channel, failures=failures, not_before=Deadline.after(wait_seconds, now))
        work = replace(work, channels={**others, one.channel: failed})
        if failures == 1:
            work = note(work, now, FAILED.format(channel=one.channel), reason=one.problem)
    return work


def _deliverable(configured: Collection[str], work: Work, now: Instant) -> Work:
    """Without what nobody can deliver any more."""
    return _without_stale(_without_gone(configured, work, now), now)


def _without_gone(configured: Collection[str], work: Work, now: Instant) -> Work:
    """Give up what waits for channels that are no longer configured, and say so in the journal."""
    waiting = Counter(name for notice in work.outbox for name in notice.channels)
    gone = sorted((waiting.keys() | work.channels.keys()) - set(configured))
    if not gone:
        return work
    left = (replace(one, channels=tuple(name for name in one.channels if name not in gone)) for one in work.outbox)
    channels = {name: channel for name, channel in work.channels.items() if name not in gone}
    work = replace(work, outbox=tuple(notice for notice in left if notice.channels), channels=channels)
    for name in gone:
        what = f"dropped {counted(waiting[name], 'notice')} for {name}, which is no longer configured"
        work = note(work, now, what)
    return work


def _without_stale(work: Work, now: Instant) -> Work:
    """Give up what could not be delivered for a day, and say so in the journal."""
    stale = [one for one in work.outbox if (now.wall - one.at).total_seconds() >= NOTICE_KEEP_SECONDS]
    if not stale:
        return work
    gone = {notice.id for notice in stale}
    work = replace(work, outbox=tuple(notice for notice in work.outbox if notice.id not in gone))
    for notice in stale:
        work = note(work, now, f"undelivered {notice.kind} to {', '.join(notice.channels)}", notice.task, notice.text)
    return work


def _is_backing_off(channel: Channel | None, now: Instant) -> bool:
    return channel is not None and channel.not_before is not None and channel.not_before.remaining_seconds(now) > 0
