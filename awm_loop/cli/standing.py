"""Where the work stands, as one value: what `awm status` prints, `--json` gives, and `awm run` shows live."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from pydantic.alias_generators import to_camel

from awm_loop import clock, terminal
from awm_loop.agents import verdict
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.attempt.output import tail
from awm_loop.config import BUSY_FACTOR
from awm_loop.core import choice
from awm_loop.core.machine import BY_HAND
from awm_loop.core.model import Instant, Outcome, Phase, Policy, StopReason, Task, Work, attempt_key
from awm_loop.core.observation import Alive
from awm_loop.core.project import Priority
from awm_loop.core.projects import project_of, shut
from awm_loop.errors import AwmError
from awm_loop.notify import outbox
from awm_loop.ports import Loaded, Settings
from awm_loop.store import journal
from awm_loop.store.document import iso
from awm_loop.wiring import Home

QUEUE_SHOWN_MAX = 20
OUTCOMES = {"hollow": "not accepted", "timed_out": "over its time limit", "rebooted": "cut short by a reboot"}
PROBLEMS_LOOKED_AT_MAX = 1000  # newest journal lines in which a channel's trouble is looked for


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
    stall_share: float  # of the time without progress at which it is stopped (SPEC 8.4)
    last_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The whole of it; `queue` is the next few, in the order they will run.

    `loop` is working, resetting or resuming; waiting where there is work and none of it runs; idle; paused.
    """

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
    channels: tuple[dict[str, object], ...]
    next_due: str | None
    last: dict[str, object] | None


def loaded(home: Home) -> Loaded:
    """The state, read without a lock. Raises AwmError where there is none yet, BadFileError."""
    found = home.store.load(clock.now())
    if found is None:
        raise AwmError(f"{home.store.path} does not exist yet", "`awm add SPRINT_S1_SPEC.md` queues a first task")
    return found


def standing(home: Home, work: Work) -> Standing:
    """Look at the state and, through the launcher, at what runs. Takes no lock and writes nothing."""
    now = clock.now()
    policy = home.policy(Settings(), now)
    newest = journal.tail(home.store.journal_path, 1)
    return Standing(
        home=str(home.path),
        loop=_loop(work),
        running=running(home, work),
        queued_count=len(work.queue),
        queue=tuple(_queued(work, task_id, now, policy) for task_id in islice(choice.in_order(work), QUEUE_SHOWN_MAX)),
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
        channels=_channels(home, work),
        next_due=iso(choice.next_due(work, now, policy)),
        last=newest[0] if newest else None,
    )


def _loop(work: Work) -> str:
    if work.paused:
        return "paused"
    if work.reset is not None or work.attempts:
        return str(work.phase)
    return "waiting" if work.queue else "idle"


def troubles(work: Work) -> list[tuple[str, str]]:
    """The tasks that need a person, each with its list. What a person skipped needs nobody."""
    ends = {"blocked": work.blocked, "failed": work.failed, "skipped": work.skipped}
    found = [(task_id, end) for end, ids in ends.items() for task_id in ids]
    return [(task_id, end) for task_id, end in found if end != "skipped" or not is_by_hand(work.task(task_id))]


def is_by_hand(task: Task) -> bool:
    """Of a skipped task: a person did it. By itself the loop skips only what stalled."""
    return not task.strikes or task.reason == BY_HAND[StopReason.SKIP][1]


def asks(task: Task) -> bool:
    """Of a blocked task: it is its agent's question, which `awm answer` answers, and no spec to be mended."""
    return bool(task.earlier) and task.earlier[-1].outcome is Outcome.BLOCKED


def outcome_text(outcome: str) -> str:
    """How an attempt ended, for people: some words of `result.json` say little to them."""
    return OUTCOMES.get(outcome, outcome)


def _channels(home: Home, work: Work) -> tuple[dict[str, object], ...]:
    """The channels with notices that wait; of one that failed the reason, as journalled then, and the next try."""
    waiting = Counter(name for notice in work.outbox for name in notice.channels)
    entries = journal.tail(home.store.journal_path, PROBLEMS_LOOKED_AT_MAX) if work.channels else []
    problems = {entry.get("what"): entry.get("note") for entry in entries}
    found = []
    for name, count in waiting.items():
        channel, entry = work.channels.get(name), dict[str, object](channel=name, waiting=count)
        if channel is not None:
            until = channel.not_before.until if channel.not_before else None
            entry |= {"problem": problems.get(outbox.FAILED.format(channel=name)), "nextTry": iso(until)}
        found.append(entry)
    return tuple(found)


def rests(work: Work) -> bool:
    """Nothing runs, and nothing will before a person says so."""
    return not work.attempts and (work.paused or work.phase is Phase.IDLE)


def json_of(value: object) -> object:
    """For programs: a dataclass as an object with camelCase keys, a time as ISO 8601; mappings as they are."""
    if isinstance(value, tuple):
        return [json_of(part) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {to_camel(field.name): json_of(getattr(value, field.name)) for field in fields(value)}
    return iso(value) if isinstance(value, datetime) else value


def wait_text(until: datetime | str | None, now: datetime) -> str:
    """`in 4 s`, `in 23 min`, `now`: how far away a time is."""
    if until is None:
        return ""
    moment = datetime.fromisoformat(until) if isinstance(until, str) else until
    return "now" if moment <= now else f"in {length_text((moment - now).total_seconds())}"


def when_text(until: datetime, now: datetime) -> str:
    """`in 12 min (14:05)`, in local time; with the day where it is not the next 20 hours."""
    form = "%a %H:%M" if (until - now).total_seconds() > 20 * 3600 else "%H:%M"
    return f"{wait_text(until, now)} ({until.astimezone().strftime(form)})"


def local_text(moment: str, form: str = "%a %H:%M:%S") -> str:
    """An ISO 8601 time as local time; the text itself where it is none, for people write in the journal's files."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime(form)
    except (ValueError, OverflowError):
        return moment


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


def running(home: Home, work: Work) -> tuple[Running, ...]:
    """What is seen of each live attempt, the oldest first."""
    seen, stall_seconds = home.launcher().probe(work.attempts), home.config.loop.stall_minutes * 60
    result = []
    for attempt in work.attempts:
        look = seen[attempt.key]
        is_begun = attempt.phase is Phase.LAUNCHING and isinstance(look, Alive)  # the next beat will see it too
        alive = look if isinstance(look, Alive) else Alive(idle_seconds=0, busy_seconds=0, running_seconds=0)
        lines = terminal.plain(tail(attempt_directory(home, attempt.key) / "out.log", 2048)).split("\n")
        result.append(
            Running(
                task=attempt.task,
                title=attempt.title,
                attempt=attempt.number,
                agent=attempt.agent,
                phase=str(Phase.RUNNING if is_begun else attempt.phase),
                seen=re.sub(r"(?<=.)([A-Z])", r" \1", type(look).__name__).lower(),
                running_seconds=round(alive.running_seconds, 1),
                eta_seconds=attempt.eta_seconds,
                quiet_seconds=round(alive.idle_seconds + alive.busy_seconds, 1),
                stall_share=round((alive.idle_seconds + alive.busy_seconds / BUSY_FACTOR) / stall_seconds, 3),
                last_line=next((_read(line.strip()) for line in reversed(lines) if line.strip()), ""),
            )
        )
    return tuple(result)


def _read(line: str) -> str:
    """A line as people read it: what is seen of a sub-agent (`cli/attend.py`) in words, any other as it stands."""
    match verdict.fields(line):
        case {"type": "waits", "mark": _, "why": str(why)}:
            return f"waits: {why}"
        case {"type": "lives", "mark": _, "status": str(status), "tool": str(tool), "says": str(says)}:
            return ": ".join(part for part in (status, f"its tool {tool}" * bool(tool), says) if part)
    return line


def attempt_directory(home: Home, key: str) -> AttemptDirectory:
    return AttemptDirectory(home.path / "state" / "attempts" / key)


def attempt_directories(home: Home, task_id: str = "") -> dict[int, AttemptDirectory]:
    """The attempts of a task, or all, that have a directory: by number, the oldest first."""
    prefix = attempt_key(task_id, 0).removesuffix("0") if task_id else "*."
    found = (home.path / "state" / "attempts").glob(f"{prefix}*")
    numbered = {int(path.suffix[1:]): AttemptDirectory(path) for path in found if path.suffix[1:].isdecimal()}
    return dict(sorted(numbered.items()))


def stamp(path: Path) -> tuple[int, int] | None:
    """Tells two contents of a file that is replaced whole apart; None where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _queued(work: Work, task_id: str, now: Instant, policy: Policy) -> dict[str, object]:
    task = work.task(task_id)
    entry: dict[str, object] = {"task": task_id, "spec": Path(work.spec_files.get(task_id, "")).name}
    if task.priority not in {None, Priority.MEDIUM}:
        entry["priority"] = task.priority.value
    if task.not_before is not None and task.not_before.remaining_seconds(now) > 0:
        entry["notBefore"] = iso(task.not_before.until)
    if why := shut(work, project_of(work, task_id), now, policy):
        entry["waitsFor"] = why
    if task.tries or task.strikes:
        entry |= {"tries": task.tries, "strikes": task.strikes}
        entry |= {"why": task.earlier[-1].summary} if task.earlier else {}
    return entry


def _reasons(work: Work, ids: Sequence[str]) -> dict[str, str]:
    return {task_id: work.task(task_id).reason for task_id in ids}
