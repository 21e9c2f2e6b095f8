"""The note of a beat that found nothing to do, by which the next ones know that before they import much: `idle`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pydantic

from awm_loop import clock, durable, idle
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.beat import Beat
from awm_loop.config import PLAN_HELD_SECONDS
from awm_loop.core import choice, projects
from awm_loop.core.model import Instant, Phase, Policy, Work
from awm_loop.errors import DiskError
from awm_loop.ports import Settings
from awm_loop.store import projects as projects_file
from awm_loop.store import triggers
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
            state / projects_file.NAME,
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
    if not before or not is_certain or idle.wants_whole_beats() or idle.is_idle(str(home.path)):
        return
    now = clock.now()
    policy, work = home.policy(Settings(), now), beats[0].work
    until = None if work is None else _until(home, beats[0], work, policy)
    running = None if work is None or until is None else _running(home, work, policy, now)
    if until is None or running is None or look(home) != before:
        return
    looks, late_at = [*before, *running[0]], min([until, *running[1]])
    if idle.is_settled(looks, now.wall.timestamp()):
        rest = idle.Rest(looks, late_at, now.boottime + late_at - now.wall.timestamp())
        with suppress(DiskError):  # then each beat is a whole one
            durable.write_unsynced(home.store.directory / "cache" / "idle", idle.text_of(rest, now.wall.timestamp()))


def _until(home: Home, beat: Beat, work: Work, policy: Policy) -> float | None:
    """When something falls due by itself, in seconds since 1970; None where it may at any time, or has.

    No queued task may be looked at: one that waits for its account depends on its spec and its project too.
    """
    now = clock.now()
    has_more = beat.steps or beat.redone or beat.lines or beat.wants_another or beat.misses_specs
    is_open = work.pending or work.outbox or work.closed or work.reset
    if has_more or is_open or (not work.paused and any(True for _ in choice.candidates(work, now, policy))):
        return None
    if not plan.is_idle(home.path, now.wall):
        return None
    held = plan.read(home.path) if plan.identity(home.path) else None
    times = [*held.due.values(), held.made_at + PLAN_HELD_SECONDS] if held else []
    first = choice.next_due(work, now, policy)
    times += [one.timestamp() for one in (first, policy.day_ends_at) if one is not None]
    return min(times, default=None)


def _running(home: Home, work: Work, policy: Policy, now: Instant) -> tuple[Looks, list[float]] | None:
    """What tells that each live attempt goes on well, and when it will be late; None where one does not."""
    looks: Looks = []
    times: list[float] = []
    for attempt in work.attempts:
        directory = AttemptDirectory(home.store.directory / "attempts" / attempt.key)
        marker, project = directory.marker(), projects.found(attempt.project_id, policy)
        is_hard = policy.bounds.is_hard or project is None or project.bounds.is_hard  # its minutes are counted
        if marker is None or marker.boot_id != now.boot_id or attempt.phase is not Phase.RUNNING or is_hard:
            return None
        if attempt.eta_seconds is not None and not attempt.told_late:
            late_seconds = marker.boottime + policy.late_factor * attempt.eta_seconds - now.boottime
            times.append(now.wall.timestamp() + late_seconds)
        lively = f"{idle.SAMPLE} {policy.stall_seconds!r} {policy.stall_busy_factor!r}"
        expected = [
            (idle.HELD, directory / "sup.lock", idle.HELD),
            (idle.AWAKE, Path(f"/proc/{marker.supervisor[0]}/stat"), str(True)),
            (lively, directory / "samples.jsonl", str(True)),
            (idle.FILE, directory / "stop", idle.NOTHING),
            (idle.FILE, directory / "result.json", idle.NOTHING),
        ]
        looks += [(how, str(path), seen) for how, path, seen in expected]
    return looks, times
