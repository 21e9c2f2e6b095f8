"""`current_work.json` to and from the core: the one place where the file's shape and ours meet (SPEC 4).

The file is a contract with people and assistants: published names stay, unknown keys stay verbatim and in place, wrong
types are errors that name line and column. What is read obeys the guarantees that a save is held to, so that no edit of
the file can make a beat fail later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from awm_loop.config import ID_PATTERN, STATE_LOG_MAX
from awm_loop.core.model import (
    Account,
    Channel,
    Effect,
    Ended,
    Instant,
    Launch,
    LogEntry,
    Notice,
    Phase,
    Reset,
    Stop,
    Task,
    Work,
)
from awm_loop.core.project import Fired, Spent
from awm_loop.errors import BadFileError
from awm_loop.ports import Settings
from awm_loop.store import guarantee, jsontext
from awm_loop.store.shape import (
    TIME_MIN,
    VERSION,
    Document,
    PendingEntry,
    by_hand,
    entries_of,
    entry_of,
    is_by_hand,
    iso,
    known_keys,
    noun_of,
    overlay,
    shape_of,
)

__all__ = ["STARTER", "is_ours", "iso", "log_line", "parse", "read", "write"]

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
NAMES_SHOWN_MAX = 8
NAME_CHARS_MAX = 40

Place = tuple[str | int, ...]
_NEVER = Instant(wall=TIME_MIN, boottime=0.0, boot_id="")  # for nouns of which no deadline counts from when it is read


class Parsed(NamedTuple):
    """The content of a state file, all of it that does not depend on when it is read. Nobody changes what is in it."""

    text: str
    raw: Mapping[str, Any]
    document: Document
    outbox: tuple[Notice, ...]
    report: tuple[Ended, ...]


@lru_cache(maxsize=1)
def parse(data: bytes, path: Path) -> Parsed:
    """The state in `data`, which stood in `path`. The last content is remembered: looked at while an agent works, it is
    known when the agent ends.

    Raises BadFileError with line, column, JSON pointer, what was expected, and a hint.
    """
    text, raw = jsontext.parse(data, path)
    if not isinstance(raw, dict):
        raise jsontext.complaint(path, text, (), "expected an object with a `queue`", "see state/README.md")
    if "queue" not in raw:
        found = ", ".join(key[:NAME_CHARS_MAX] for key in list(raw)[:NAMES_SHOWN_MAX]) or "nothing"
        wanted = f"no `queue`: expected the fields of state/README.md, found: {found}"
        raise jsontext.complaint(path, text, (), wanted, "see state/current_work.example.json")
    version = raw.get("version")
    if isinstance(version, int) and version > VERSION:  # looked at first: its other fields may have other shapes
        wanted = f"expected version {VERSION} or older: a newer AWM wrote this"
        raise jsontext.complaint(path, text, ("version",), wanted, "upgrade AWM: git pull")
    try:
        document = Document.model_validate_json(text)
    except ValidationError as error:
        raise _schema_complaint(path, text, raw, error) from error
    _check_lists(path, text, document)
    outbox, report = (tuple(noun_of(entry, _NEVER) for entry in told) for told in (document.outbox, document.report))
    return Parsed(text, raw, document, outbox, report)


def read(parsed: Parsed, path: Path, now: Instant, default_agent: tuple[str, str]) -> tuple[Work, Settings]:
    """The state that a file holds. `default_agent` is its name and account, for a `rateLimitedUntil` set by hand.

    Raises BadFileError as `parse` does.
    """
    document = parsed.document
    work = _work(parsed, now, default_agent)
    if guarantee.is_baseless(work):  # a person took the live attempt out between a promise and its proof (SPEC 4.6)
        work = replace(work, pending=None)
    broken = guarantee.broken(work, work)
    if broken:
        hint = "`awm restore` shows the last good copy"
        raise jsontext.complaint(path, parsed.text, ("attempts",), f"no state can have this (guarantee {broken})", hint)
    settings = Settings(
        max_retries=document.max_retries,
        retry_on_limit=document.retry_on_rate_limit,
        limit_retry_minutes=document.rate_limit_retry_minutes,
        notify_user=document.notify_user,
        reset_after=document.auto_new_after_sprints,
    )
    return work, settings


def _work(parsed: Parsed, now: Instant, default_agent: tuple[str, str]) -> Work:
    document = parsed.document
    # ENDED is a step within one beat; the result that led there is still there for the next look.
    attempts = tuple(
        replace(attempt, phase=Phase.RUNNING) if attempt.phase is Phase.ENDED else attempt
        for attempt in (noun_of(entry, now) for entry in document.attempts)
    )
    tasks = {task_id: noun_of(entry, now, id=task_id) for task_id, entry in _begun(document.tasks)}
    live = {attempt.task for attempt in attempts}
    queue = tuple(task_id for task_id in document.queue if task_id not in live) if live else tuple(document.queue)
    found = document.in_progress
    if found and found not in live:
        # SPEC 4.5: in progress by somebody else's word; started afresh, told that earlier work may exist.
        queue = (found, *(task_id for task_id in queue if task_id != found))
        tasks[found] = replace(tasks.get(found) or Task(id=found), work_may_exist=True)
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
        project_of=document.project_of,
        spent={name: noun_of(entry, now) for name, entry in _begun(document.spent)},
        closed=document.closed,
        fired={name: noun_of(entry, now) for name, entry in document.fired.items()},
        proposals=tuple(noun_of(entry, now) for entry in document.proposals),
        next_proposal=document.next_proposal,
        sessions=document.sessions,
        agents_off=document.agents_off,
        pending=None if pending is None else _effect(pending),
        outbox=parsed.outbox,
        channels={name: noun_of(entry, now, name=name) for name, entry in _begun(document.channels)},
        report=parsed.report,
        seq=document.seq,
        next_attempt=max(document.next_attempt, *(attempt.number + 1 for attempt in attempts), 1),
        next_notice=document.next_notice,
        since_reset=document.since_reset,
        context_share=document.context_share,
        reset=document.reset,
    )


def _begun(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Those that hold a key of ours; what else people keep under a name is theirs."""
    return [item for item in entries.items() if item[1].model_fields_set & type(item[1]).model_fields.keys()]


def _accounts(document: Document, now: Instant, default_agent: tuple[str, str]) -> dict[str, Account]:
    """SPEC 4.2, 9.1: `rateLimitedUntil` is the earliest deadline that AWM wrote; where it is not, a person set it.

    Then it counts for the account that has the earliest one, or opens all; a deadline set by hand itself stands.
    """
    entries = dict(_begun(document.accounts))
    accounts = {name: noun_of(entry, now, name=name) for name, entry in entries.items()}
    clocks = [entry.deadline_clock.until for entry in entries.values() if entry.deadline_clock is not None]
    until = document.rate_limited_until or None
    if until == min(clocks, default=None):
        return accounts
    ours = [
        accounts[name]
        for name, entry in entries.items()
        if entry.deadline is not None and not is_by_hand(entry.deadline, entry.deadline_clock)
    ]
    if not isinstance(until, datetime):
        return accounts | {account.name: replace(account, deadline=None) for account in ours}
    agent, name = default_agent
    known = min(ours, key=lambda account: account.deadline.until, default=None) or accounts.get(name)
    known = known or Account(name=name, deadline=None, source="", agent=agent)
    return accounts | {known.name: replace(known, deadline=by_hand(until, now), source="by hand")}


def _effect(pending: PendingEntry) -> Effect:
    match pending.effect:
        case "launch":
            return Launch(key=pending.key)
        case "stop":
            return Stop(key=pending.key, why=pending.why)
        case "reset":
            return Reset(key=pending.key, refused=(pending.why, pending.since) if pending.since else None)


def _check_lists(path: Path, text: str, document: Document) -> None:
    """Ids are well-formed and each stands in one list (SPEC 4.3); queue and in progress at once is fine (4.1)."""
    lists = {name: getattr(document, name) for name in ("queue", *TERMINAL_LISTS)}
    places = [(task_id, (name, index)) for name, ids in lists.items() for index, task_id in enumerate(ids)]
    live: list[tuple[str, Place]] = [
        (attempt.task, ("attempts", index, "task")) for index, attempt in enumerate(document.attempts)
    ]
    if document.in_progress:
        live.append((document.in_progress, ("inProgress",)))
    for task_id, place in (*places, *live):
        if not re.fullmatch(ID_PATTERN, task_id):
            wanted = "expected a task id: a letter or digit, then letters, digits, `.`, `_`, `-`, 64 at most"
            raise jsontext.complaint(path, text, place, wanted, "rename the task, here and in specFiles")
    if len({task_id for task_id, _ in places}) == len(places) and not live:
        return
    seen: dict[str, Place] = {}
    for task_id, place in places:
        if task_id in seen:
            raise _two_places(path, text, task_id, (seen[task_id], place))
        seen[task_id] = place
    for task_id, place in live:
        other = seen.get(task_id)
        if other is not None and other[0] != "queue":
            raise _two_places(path, text, task_id, (other, place))


def _two_places(path: Path, text: str, task_id: str, places: tuple[Place, Place]) -> BadFileError:
    line, column = jsontext.locate(text, places[0])
    other = "/".join(("", *(str(part) for part in places[0])))
    wanted = f"task {task_id} is also in {other} (line {line}, column {column}); expected it in one list only"
    hint = f"remove {task_id} from one of the two"
    if places[1][0] == "attempts":
        hint = f"{task_id} is running: take it out of `{places[0][0]}`; to end it, `awm skip {task_id}` after that"
    return jsontext.complaint(path, text, places[1], wanted, hint)


def _schema_complaint(path: Path, text: str, raw: Mapping[str, object], error: ValidationError) -> BadFileError:
    problem = error.errors(include_url=False)[0]
    pointer: list[str | int] = []
    value: object = raw
    for part in problem["loc"]:
        inside = isinstance(value, dict) and part in value
        if not inside and not (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            break  # a branch of a union, or a member that is missing
        pointer.append(part)
        value = value[part]  # type: ignore[index]
    wanted = f"`{problem['loc'][-1]}` is missing" if problem["type"] == "missing" else problem["msg"]
    wanted = re.sub(r"<\w+\.\w+: ('\w+')>", r"\1", wanted).removeprefix("Input ")  # a member of an enum, by its word
    return jsontext.complaint(path, text, pointer, wanted[:1].lower() + wanted[1:], _type_hint(value))


def _type_hint(value: object) -> str:
    if isinstance(value, str):
        return "numbers, true, false and null stand without quotes; times look like 2026-01-01T00:00:00Z"
    return "an empty list is [], not null" if value is None else "see state/README.md for the type of each field"


def write(work: Work, raw: Mapping[str, object], now: Instant, rev: int, said: Work | None = None) -> dict[str, object]:
    """The file's new content: `raw` with our keys updated in place, new ones at the end, the rest untouched.

    Of what the lists that grow with the night hold, only what differs from `said`, the work that `raw` says, is made
    anew.
    """
    deadlines = [account.deadline.until for account in work.accounts.values() if account.deadline is not None]
    return dict(raw) | {
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
        "sinceReset": work.since_reset,
        "contextShare": round(work.context_share, 6),
        "reset": work.reset,
        "tasks": _by_key(work.tasks, raw.get("tasks"), Task),
        "attempts": entries_of(work.attempts, raw.get("attempts")),
        "accounts": _by_key(work.accounts, raw.get("accounts"), Account),
        "projectOf": dict(work.project_of),
        "spent": _by_key(work.spent, raw.get("spent"), Spent),
        "closed": dict(work.closed),
        "fired": _by_key(work.fired, raw.get("fired"), Fired),
        "proposals": entries_of(work.proposals, raw.get("proposals")),
        "nextProposal": work.next_proposal,
        "sessions": dict(work.sessions),
        "agentsOff": dict(work.agents_off),
        "pending": _pending(work.pending, raw.get("pending")),
        "outbox": entries_of(work.outbox, raw.get("outbox"), said.outbox if said else ()),
        "channels": _by_key(work.channels, raw.get("channels"), Channel),
        "report": entries_of(work.report, raw.get("report"), said.report if said else ()),
        "lastUpdated": iso(now.wall),
        "seq": work.seq,
        "log": _log(raw.get("log"), work),
    }


def log_line(entry: LogEntry) -> dict[str, object]:
    """One entry as it stands in the state's `log` and in the journal."""
    line = {"seq": entry.seq, "at": iso(entry.at), "what": entry.what, "task": entry.task or None}
    line |= {"attempt": entry.attempt, "note": entry.note or None}
    return {key: value for key, value in line.items() if value is not None}


def _pending(effect: Effect | None, old: object) -> dict[str, object] | None:
    match effect:
        case None:
            return None
        case Launch(key=key):
            new = {"effect": "launch", "key": key}
        case Stop(key=key, why=why):
            new = {"effect": "stop", "key": key, "why": why}
        case Reset(key=key, refused=None):
            new = {"effect": "reset", "key": key}
        case Reset(key=key, refused=(why, since)):
            new = {"effect": "reset", "key": key, "why": why, "since": iso(since) or ""}
    return overlay(new, old, known_keys(PendingEntry))


def _by_key(nouns: Mapping[str, Any], old: object, noun: type) -> dict[str, object]:
    """An entry for each noun that differs from the default; what others keep under a name stays without its noun."""
    known = known_keys(shape_of(noun))
    before: Mapping[str, object] = old if isinstance(old, dict) else {}
    result: dict[str, object] = {}
    for key in (*before, *(key for key in nouns if key not in before)):
        entry = entry_of(nouns[key], before.get(key)) if key in nouns else overlay({}, before[key], known)
        if entry or (key in before and not before[key]):
            result[key] = entry
    return result


def _log(old: object, work: Work) -> list[object]:
    """The newest entries of ours; entries of others stay, verbatim."""
    entries = [*(old if isinstance(old, list) else []), *(log_line(entry) for entry in work.log)]
    excess = sum(is_ours(entry, work.seq) for entry in entries) - STATE_LOG_MAX
    kept: list[object] = []
    for entry in entries:
        if excess > 0 and is_ours(entry, work.seq):
            excess -= 1
        else:
            kept.append(entry)
    return kept


def is_ours(entry: object, seq_max: int) -> bool:
    """Whether a log entry is one we wrote, with a number we gave; others' entries are not touched."""
    if not isinstance(entry, dict):
        return False
    seq = entry.get("seq")
    if type(seq) is not int or not 1 <= seq <= seq_max:
        return False
    return isinstance(entry.get("at"), str) and isinstance(entry.get("what"), str)
