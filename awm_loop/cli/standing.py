"""Where the work stands, as one value: what `awm status` prints, `--json` gives, and `awm run` shows live."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from awm_loop import clock
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.attempt.output import tail
from awm_loop.core import choice
from awm_loop.core.model import Instant, Priority, Work
from awm_loop.core.observation import Alive
from awm_loop.store import journal
from awm_loop.store.document import iso
from awm_loop.wiring import Home

QUEUE_SHOWN_MAX = 20
# CSI, OSC, DCS and other escapes, then every other control character: an agent's output must not drive the terminal.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^X].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])", re.S)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One live attempt, as people want to see it. Lengths are seconds."""

    task: str
    title: str
    attempt: int
    agent: str
    phase: str
    seen: str
    running_seconds: float
    eta_seconds: float | None
    quiet_seconds: float
    last_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The whole of it. `loop` is working, idle or paused; `queue` the next few, in the order they will run."""

    home: str
    loop: str
    running: tuple[Running, ...]
    queued_count: int
    queue: tuple[dict[str, object], ...]
    completed: tuple[str, ...]
    failed: dict[str, str]
    skipped: dict[str, str]
    blocked: dict[str, str]
    limits: dict[str, str]
    undelivered_count: int
    next_due: str | None
    last: dict[str, object] | None

    def to_json(self) -> dict[str, object]:
        """camelCase keys, for programs."""
        return {re.sub(r"_(\w)", lambda found: found[1].upper(), key): value for key, value in asdict(self).items()}


def standing(home: Home, work: Work) -> Standing:
    """Look at the state and, through the launcher, at what runs. Takes no lock and writes nothing."""
    now = clock.now()
    due = choice.next_due(work, now)
    newest = journal.tail(home.store.journal_path, 1)
    return Standing(
        home=str(home.path),
        loop="paused" if work.paused else str(work.phase),
        running=_running(home, work),
        queued_count=len(work.queue),
        queue=tuple(_queued(work, task_id, now) for task_id in islice(choice.in_order(work), QUEUE_SHOWN_MAX)),
        completed=work.completed,
        failed=_reasons(work, work.failed),
        skipped=_reasons(work, work.skipped),
        blocked=_reasons(work, work.blocked),
        limits={
            account.name: iso(account.deadline.until) or ""
            for account in work.accounts.values()
            if account.deadline is not None
        },
        undelivered_count=len(work.outbox),
        next_due=iso(due),
        last=newest[0] if newest else None,
    )


def plain(text: str) -> str:
    """Text without terminal escapes and control characters (SPEC 17): tabs and line ends stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def wait_text(until: datetime | str | None, now: datetime) -> str:
    """`in 4 s`, `in 23 min`, `now`: how far away a time is."""
    if until is None:
        return ""
    moment = datetime.fromisoformat(until) if isinstance(until, str) else until
    return "now" if moment <= now else f"in {length_text((moment - now).total_seconds())}"


def length_text(seconds: float) -> str:
    """`4 s`, `12 min`, `2 h 05 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02} s" if whole < 600 else "")
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def _running(home: Home, work: Work) -> tuple[Running, ...]:
    seen = home.ports().launcher.probe(work.attempts)
    result = []
    for attempt in work.attempts:
        look = seen[attempt.key]
        alive = look if isinstance(look, Alive) else Alive(idle_seconds=0, busy_seconds=0, running_seconds=0)
        lines = plain(tail(attempt_directory(home, attempt.key) / "out.log", 2048)).split("\n")
        result.append(
            Running(
                task=attempt.task,
                title=attempt.title,
                attempt=attempt.number,
                agent=attempt.agent,
                phase=str(attempt.phase),
                seen=re.sub(r"(?<=.)([A-Z])", r" \1", type(look).__name__).lower(),
                running_seconds=round(alive.running_seconds, 1),
                eta_seconds=attempt.eta_seconds,
                quiet_seconds=round(alive.idle_seconds + alive.busy_seconds, 1),
                last_line=next((line.strip() for line in reversed(lines) if line.strip()), ""),
            )
        )
    return tuple(result)


def attempt_directory(home: Home, key: str) -> AttemptDirectory:
    return AttemptDirectory(home.path / "state" / "attempts" / key)


def _queued(work: Work, task_id: str, now: Instant) -> dict[str, object]:
    task = work.task(task_id)
    entry: dict[str, object] = {"task": task_id, "spec": Path(work.spec_files.get(task_id, "")).name}
    if task.priority is not Priority.MEDIUM:
        entry["priority"] = task.priority.value
    if task.not_before is not None and task.not_before.remaining_seconds(now) > 0:
        entry["notBefore"] = iso(task.not_before.until)
    if task.tries or task.strikes:
        entry |= {"tries": task.tries, "strikes": task.strikes}
    return entry


def _reasons(work: Work, ids: Sequence[str]) -> dict[str, str]:
    return {task_id: work.task(task_id).reason for task_id in ids}
