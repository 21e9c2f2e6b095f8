"""The note of a beat that found nothing to do, by which the next ones know that before they import much: `idle`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pydantic

from awm_loop import clock, durable, idle
from awm_loop.beat import Beat
from awm_loop.core import choice
from awm_loop.core.model import Instant, Policy, Work
from awm_loop.errors import DiskError
from awm_loop.ports import Settings
from awm_loop.store import projects, triggers
from awm_loop.triggers import plan
from awm_loop.wiring import Home

Looks = list[tuple[str, str, str]]


def look(home: Home) -> Looks:
    """Everything that a beat of a home at rest looks at; [] where it could not be seen."""
    state = home.store.directory
    with suppress(OSError, DiskError):
        newest = max(durable.history_revs(home.store.history_path), default=0)
        files = [
            home.path / "awm.toml",
            home.store.path,
            home.store.history_path,
            home.store.history_path / f"{newest}.json",
            home.store.journal_path,
            state / projects.NAME,
            state / triggers.NAME,
            state / "triggers" / "next.json",
            state / "cache" / "unread.json",
            Path("/etc/localtime"),
            Path(pydantic.__file__).parent.parent,  # where the dependencies are
        ]
        return idle.look(
            [
                (idle.MODE, str(home.path)),
                (idle.MODE, str(state)),
                (idle.FOLDER, str(state)),
                (idle.FOLDER, str(state / "inbox")),
                *((idle.FILE, str(path)) for path in files),
            ]
        )
    return []


def keep(home: Home, before: Looks, beats: Sequence[Beat]) -> None:
    """Leave the note, where the beat that looked at `before` found nothing to do and the next would not either.

    What is known already is not written again.
    """
    is_certain = len(beats) == 1 and not home.bad and not home.config.notify.ping_url
    if not before or not is_certain or idle.is_idle(str(home.path)):
        return
    now = clock.now()
    until = _until(home, beats[0], now)
    if until is None or look(home) != before or not idle.is_settled(before, now.wall.timestamp()):
        return
    rest = idle.Rest(before, until, now.boottime + until - now.wall.timestamp())
    with suppress(DiskError):  # then each beat is a whole one
        durable.write_unsynced(home.store.directory / "cache" / "idle", idle.text_of(rest, now.wall.timestamp()))


def _until(home: Home, beat: Beat, now: Instant) -> float | None:
    """When something falls due by itself, in seconds since 1970; None where it may at any time, or has."""
    work, policy = beat.work, home.policy(Settings(), now)
    has_more = beat.steps or beat.redone or beat.lines or beat.wants_another or beat.misses_specs
    if work is None or has_more or not _is_at_rest(work, now, policy) or not plan.is_idle(home.path, now.wall):
        return None
    held = plan.read(home.path) if plan.identity(home.path) else None
    times = [*held.due.values(), held.made_at + plan.HELD_SECONDS] if held else []
    first = choice.next_due(work, now, policy)
    times += [one.timestamp() for one in (first, policy.day_ends_at) if one is not None]
    return min(times, default=None)


def _is_at_rest(work: Work, now: Instant, policy: Policy) -> bool:
    """Nothing lives, nothing is to be delivered, and no queued task is to be looked at before its time.

    One that is looked at, and waits for its account, depends on its spec, its project and others' attempts too.
    """
    is_asleep = not (work.attempts or work.pending or work.outbox or work.closed or work.reset)
    return is_asleep and (work.paused or next(choice.candidates(work, now, policy), None) is None)
