"""`current_work.json` to and from the core: the one place where the file's shape and ours meet (SPEC 4).

The file is a contract with people and assistants: published names stay, unknown keys stay verbatim and in place, wrong
types are errors that name line and column. Shapes of our own nouns are made from the core's dataclasses, camelCase.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from awm_loop.config import ID_PATTERN, STATE_LOG_MAX
from awm_loop.core.model import (
    Account,
    Attempt,
    Channel,
    Deadline,
    Effect,
    Ended,
    Instant,
    Launch,
    LogEntry,
    Notice,
    Stop,
    Task,
    Work,
)
from awm_loop.errors import BadFileError
from awm_loop.ports import Settings
from awm_loop.store import jsontext
from awm_loop.store.shape import VERSION, ClockEntry, Document, PendingEntry, shape_of

STARTER: Mapping[str, object] = {  # the published fields, in the published order
    "active": True,
    "task": "my-project-sprints",
    "description": "Autonomous sprint queue for my project",
    "queue": [],
    "completed": [],
    "inProgress": None,
    "specFiles": {},
    "project": "",
    "notifyUser": True,
    "retryOnRateLimit": True,
    "rateLimitRetryMinutes": 15,
    "autoNewAfterSprints": 3,
}
TERMINAL_LISTS = ("completed", "failed", "skipped", "blocked")


def read(text: str, raw: object, path: Path, now: Instant, default_agent: tuple[str, str]) -> tuple[Work, Settings]:
    """The state of a parsed file. `default_agent` is its name and account, for a `rateLimitedUntil` set by hand.

    Raises BadFileError with line, column, JSON pointer, what was expected, and a hint.
    """
    if not isinstance(raw, dict):
        raise jsontext.complaint(path, text, (), "expected an object with a `queue`", "see state/README.md")
    try:
        document = Document.model_validate_json(text)
    except ValidationError as error:
        raise _schema_complaint(path, text, raw, error) from error
    if document.version > VERSION:
        wanted = f"expected version {VERSION} or older: a newer AWM wrote this"
        raise jsontext.complaint(path, text, ("version",), wanted, "upgrade AWM: git pull")
    _check_lists(path, text, document)
    settings = Settings(
        max_retries=document.max_retries,
        retry_on_limit=document.retry_on_rate_limit,
        limit_retry_minutes=document.rate_limit_retry_minutes,
        notify_user=document.notify_user,
    )
    return _work(document, now, default_agent), settings


def _work(document: Document, now: Instant, default_agent: tuple[str, str]) -> Work:
    attempts = tuple(_noun(Attempt, entry, now) for entry in document.attempts)
    tasks = {task_id: _noun(Task, entry, now, id=task_id) for task_id, entry in document.tasks.items()}
    live = {attempt.task for attempt in attempts}
    queue = tuple(task_id for task_id in document.queue if task_id not in live) if live else tuple(document.queue)
    found = document.in_progress
    if found and found not in live:
        # SPEC 4.5: in progress by somebody else's word; started afresh, told that earlier work may exist.
        queue = (found, *(task_id for task_id in queue if task_id != found))
        tasks[found] = dataclasses.replace(tasks.get(found) or Task(id=found), work_may_exist=True)
    pending = document.pending
    return Work(
        active=document.active,
        idle_since=None if document.active else document.idle_since,
        project=document.project,
        queue=queue,
        completed=tuple(document.completed),
        failed=tuple(document.failed),
        skipped=tuple(document.skipped),
        blocked=tuple(document.blocked),
        spec_files=document.spec_files,
        tasks=tasks,
        attempts=attempts,
        accounts=_accounts(document, now, default_agent),
        pending=None if pending is None else _effect(pending),
        outbox=tuple(_noun(Notice, entry, now) for entry in document.outbox),
        channels={name: _noun(Channel, entry, now, name=name) for name, entry in document.channels.items()},
        report=tuple(_noun(Ended, entry, now) for entry in document.report),
        seq=document.seq,
        next_attempt=document.next_attempt,
        next_notice=document.next_notice,
    )


def _accounts(document: Document, now: Instant, default_agent: tuple[str, str]) -> dict[str, Account]:
    """SPEC 4.2, 9.1: `rateLimitedUntil` is the earliest deadline; where it is not, a person set it, and wins."""
    accounts = {name: _noun(Account, entry, now, name=name) for name, entry in document.accounts.items()}
    closed = {name: account.deadline for name, account in accounts.items() if account.deadline is not None}
    by_hand = document.rate_limited_until or None
    earliest = min(closed, key=lambda name: closed[name].until) if closed else None
    written = closed[earliest].until if earliest else None
    if by_hand == written:
        return accounts
    if not isinstance(by_hand, datetime):
        return {name: dataclasses.replace(account, deadline=None) for name, account in accounts.items()}
    deadline = Deadline.after((by_hand - now.wall).total_seconds(), now)
    agent, name = default_agent
    known = accounts[earliest] if earliest else Account(name=name, deadline=None, source="", agent=agent)
    by_person = dataclasses.replace(known, deadline=dataclasses.replace(deadline, until=by_hand), source="by hand")
    return {**accounts, known.name: by_person}


Noun = TypeVar("Noun")


def _noun(noun: type[Noun], entry: BaseModel, now: Instant, **identity: str) -> Noun:
    """A core value from its entry. A deadline whose readable time was changed by hand counts from now (SPEC 9.1)."""
    values: dict[str, Any] = dict(identity)
    for item in dataclasses.fields(noun):  # type: ignore[arg-type]
        if item.name in identity:
            continue
        value = getattr(entry, item.name)
        if f"{item.name}_clock" in type(entry).model_fields and value is not None:
            value = _deadline(value, getattr(entry, f"{item.name}_clock"), now)
        values[item.name] = value
    return noun(**values)


def _deadline(until: datetime, clock: ClockEntry | None, now: Instant) -> Deadline:
    if clock is None or clock.until != until:
        return dataclasses.replace(Deadline.after((until - now.wall).total_seconds(), now), until=until)
    set_at = Instant(wall=clock.wall, boottime=clock.boottime, boot_id=clock.boot_id)
    return Deadline(until=until, left_seconds=clock.left_seconds, set_at=set_at)


def _effect(pending: PendingEntry) -> Effect:
    return Launch(key=pending.key) if pending.effect == "launch" else Stop(key=pending.key, why=pending.why)


def _check_lists(path: Path, text: str, document: Document) -> None:
    """Ids are well-formed and each stands in one list (SPEC 4.3); queue and in progress at once is fine (4.1)."""
    lists = {name: getattr(document, name) for name in ("queue", *TERMINAL_LISTS)}
    places = [(task_id, (name, index)) for name, ids in lists.items() for index, task_id in enumerate(ids)]
    extra: list[tuple[str, tuple[str | int, ...]]] = [
        (attempt.task, ("attempts", index, "task")) for index, attempt in enumerate(document.attempts)
    ]
    if document.in_progress:
        extra.append((document.in_progress, ("inProgress",)))
    for task_id, place in (*places, *extra):
        if not re.fullmatch(ID_PATTERN, task_id):
            wanted = "expected a task id: a letter or digit, then letters, digits, `.`, `_`, `-`, 64 at most"
            raise jsontext.complaint(path, text, place, wanted, "rename the task, here and in specFiles")
    if len({task_id for task_id, _ in places}) == len(places) and not extra:
        return
    seen: dict[str, tuple[str | int, ...]] = {}
    for task_id, place in places:
        if task_id in seen:
            raise _two_places(path, text, task_id, (seen[task_id], place))
        seen[task_id] = place
    for task_id, place in extra:
        other = seen.get(task_id)
        if other is not None and other[0] != "queue":
            raise _two_places(path, text, task_id, (other, place))


def _two_places(
    path: Path, text: str, task_id: str, places: tuple[tuple[str | int, ...], tuple[str | int, ...]]
) -> BadFileError:
    line, column = jsontext.locate(text, places[0])
    other = "/".join(("", *(str(part) for part in places[0])))
    wanted = f"task {task_id} is also in {other} (line {line}, column {column}); expected it in one list only"
    return jsontext.complaint(path, text, places[1], wanted, f"remove {task_id} from one of the two")


def _schema_complaint(path: Path, text: str, raw: Mapping[str, object], error: ValidationError) -> BadFileError:
    problem = error.errors(include_url=False)[0]
    if problem["type"] == "missing" and problem["loc"] == ("queue",):
        found = ", ".join(list(raw)[:8]) or "nothing"
        wanted = f"no `queue`: expected the fields of state/README.md, found: {found}"
        return jsontext.complaint(path, text, (), wanted, "see state/current_work.example.json")
    pointer: list[str | int] = []
    value: object = raw
    for part in problem["loc"]:
        inside = isinstance(value, dict) and part in value
        if not inside and not (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            break  # a branch of a union, or a member that is missing
        pointer.append(part)
        value = value[part]  # type: ignore[index]
    missing = f"`{problem['loc'][-1]}` is missing" if problem["type"] == "missing" else problem["msg"]
    wanted = missing[:1].lower() + missing[1:].replace("Input should be", "should be").replace("input should", "should")
    return jsontext.complaint(path, text, pointer, wanted.replace("input ", "", 1), _type_hint(value))


def _type_hint(value: object) -> str:
    if isinstance(value, str):
        return "numbers, true, false and null stand without quotes; times look like 2026-01-01T00:00:00Z"
    return "an empty list is [], not null" if value is None else "see state/README.md for the type of each field"


def write(work: Work, raw: Mapping[str, object], now: Instant, rev: int) -> dict[str, object]:
    """The file's new content: `raw` with our keys updated in place, new ones at the end, the rest untouched."""
    result = dict(raw)
    deadlines = [account.deadline.until for account in work.accounts.values() if account.deadline is not None]
    result |= {
        "version": VERSION,
        "rev": rev,
        "active": work.active,
        "queue": list(work.queue),
        "completed": list(work.completed),
        "inProgress": work.attempts[0].task if work.attempts else None,
        "failed": list(work.failed),
        "skipped": list(work.skipped),
        "blocked": list(work.blocked),
        "specFiles": dict(work.spec_files),
        "project": work.project,
        "idleSince": iso(work.idle_since),
        "rateLimitedUntil": iso(min(deadlines)) if deadlines else None,
        "nextAttempt": work.next_attempt,
        "nextNotice": work.next_notice,
        "tasks": _by_key(work.tasks, raw.get("tasks"), Task),
        "attempts": _by_identity(work.attempts, raw.get("attempts"), ("task", "number")),
        "accounts": _by_key(work.accounts, raw.get("accounts"), Account),
        "pending": _pending(work.pending),
        "outbox": _by_identity(work.outbox, raw.get("outbox"), ("id",)),
        "channels": _by_key(work.channels, raw.get("channels"), Channel),
        "report": [_entry(line) for line in work.report],
        "lastUpdated": iso(now.wall),
        "seq": work.seq,
        "log": _log(raw.get("log"), work.log),
    }
    return result


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with Z, to the millisecond where there is a fraction."""
    if moment is None:
        return None
    utc = moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds").replace("+00:00", "Z")


def log_line(entry: LogEntry) -> dict[str, object]:
    """One entry as it stands in the state's `log` and in the journal."""
    line = {"seq": entry.seq, "at": iso(entry.at), "what": entry.what, "task": entry.task or None}
    line |= {"attempt": entry.attempt, "note": entry.note or None}
    return {key: value for key, value in line.items() if value is not None}


def _pending(effect: Effect | None) -> dict[str, object] | None:
    match effect:
        case None:
            return None
        case Launch(key=key):
            return {"effect": "launch", "key": key}
        case Stop(key=key, why=why):
            return {"effect": "stop", "key": key, "why": why}


def _entry(noun: Any, *, only_changed: bool = False) -> dict[str, object]:
    """camelCase keys of a noun; with `only_changed` those that differ from the default, and no identity."""
    result: dict[str, object] = {}
    for item in dataclasses.fields(noun):
        value = getattr(noun, item.name)
        if only_changed and (item.name in {"id", "name"} or value == item.default):
            continue
        key = _camel(item.name)
        if isinstance(value, Deadline):
            result[key] = iso(value.until)
            result[f"{key}Clock"] = {
                "until": iso(value.until),
                "leftSeconds": round(value.left_seconds, 3),
                "wall": iso(value.set_at.wall),
                "boottime": round(value.set_at.boottime, 3),
                "bootId": value.set_at.boot_id,
            }
        else:
            result[key] = _plain(value)
    return result


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return _entry(value)
    return round(value, 3) if isinstance(value, float) else value


_camel = cache(to_camel)  # half of the time it takes to write a state


@cache
def _known_keys(noun: type) -> frozenset[str]:
    return frozenset(_camel(name) for name in shape_of(noun).model_fields)


def _overlay(old: object, new: Mapping[str, object], known: frozenset[str]) -> dict[str, object]:
    """`old` with our keys replaced in place; those we no longer have are dropped, foreign ones stay (SPEC 4.2)."""
    kept = {key: new.get(key, value) for key, value in _items(old) if key in new or key not in known}
    return {**kept, **new}


def _items(value: object) -> Iterator[tuple[str, object]]:
    return iter(value.items()) if isinstance(value, Mapping) else iter(())


def _by_key(nouns: Mapping[str, Any], old: object, noun: type) -> dict[str, object]:
    known = _known_keys(noun)
    before = dict(_items(old))
    result: dict[str, object] = {}
    for key in (*before, *(key for key in nouns if key not in before)):
        new = _entry(nouns[key], only_changed=True) if key in nouns else {}
        entry = _overlay(before.get(key), new, known)
        if entry or (key in before and not before[key]):
            result[key] = entry
    return result


def _by_identity(nouns: Sequence[Any], old: object, identity: tuple[str, ...]) -> list[object]:
    """Entries in our order, each with the foreign keys its namesake had."""
    before = {
        tuple(entry.get(name) for name in identity): entry
        for entry in (old if isinstance(old, list) else [])
        if isinstance(entry, dict)
    }
    result: list[object] = []
    for noun in nouns:
        new = _entry(noun)
        result.append(_overlay(before.get(tuple(new[name] for name in identity)), new, _known_keys(noun.__class__)))
    return result


def _log(old: object, new: tuple[LogEntry, ...]) -> list[object]:
    """The newest entries of ours; entries of others stay, verbatim."""
    entries = [*(old if isinstance(old, list) else []), *(log_line(entry) for entry in new)]
    excess = sum(is_ours(entry) for entry in entries) - STATE_LOG_MAX
    kept: list[object] = []
    for entry in entries:
        if is_ours(entry) and excess > 0:
            excess -= 1
        else:
            kept.append(entry)
    return kept


def is_ours(entry: object) -> bool:
    """Whether a log entry carries our sequence number; others were there before us and are not touched."""
    return isinstance(entry, dict) and type(entry.get("seq")) is int
