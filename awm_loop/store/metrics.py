"""`state/work_metrics.json`: how every finished task went, in the published form (SPEC 12.3).

The file may come from the published script, be edited by people and carry the keys of others: every key and every entry
that is not understood stays verbatim and in place, and is not counted. Minutes of 0 count as not recorded, for that is
what the published script wrote where it was told none. Readers take no lock, since the file is replaced whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from statistics import fmean, median
from typing import Any

from awm_loop import durable, fault
from awm_loop.core.estimate import Past
from awm_loop.core.model import Ended, Instant, Outcome, Phase
from awm_loop.errors import BadFileError, BusyError, DiskError
from awm_loop.store import jsontext

VERSION = 1
STATUSES = ("success", "failed", "stalled")
FORM_HINT = "the form is that of state/work_metrics.example.json"
FREQUENT_SHOWN_MAX = 5
TEXT_SHOWN_MAX = 80
LOCK_WAIT_SECONDS = 10.0  # a writer holds the lock for one small write


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One entry of `sprints` that is understood. `minutes` and `eta_minutes` are None where not recorded."""

    agent: str
    type: str
    status: str
    minutes: float | None
    eta_minutes: float | None
    error_type: str
    notes: str

    @property
    def succeeded(self) -> bool:
        return self.status == "success"


def record(path: Path, ended: Sequence[Ended], now: Instant) -> str | None:
    """Append the tasks an attempt brought to success, failure or a last stall, each once; as `append`.

    A task that is blocked, was skipped by a person or ended without an attempt says nothing about an agent.
    """
    return append(path, [_entry(task, status) for task in ended if (status := _status(task))], now)


def append(path: Path, entries: Sequence[Mapping[str, Any]], now: Instant) -> str | None:
    """Append `entries`, in the form of the file, recompute the summary and write durably, under `path`.lock.

    An entry whose `sprint` and `attempt` (the number) are there already is left out; one without `attempt` was logged
    by hand and is always new. Nothing new, nothing written. A corrupt file is first renamed to `<name>.bad-<utc>`; the
    text returned then says so, and the loop goes on without history (SPEC 4.7). Raises BusyError when the lock cannot
    be had, DiskError when the disk refuses (SPEC 4.8).
    """
    with _locked(path):
        document, set_aside = _load_or_set_aside(path, now.wall)
        sprints = document["sprints"]
        there = {_identity(sprint) for sprint in sprints if isinstance(sprint, dict)}
        before = len(sprints)
        for entry in entries:
            if entry.get("attempt") is None or _identity(entry) not in there:
                there.add(_identity(entry))
                sprints.append(dict(entry))
        if len(sprints) > before:
            _summarize(document)
            fault.point("metrics.append:before-write")
            durable.write_durably(path, jsontext.layout(document))
            fault.point("metrics.append:written")
    return set_aside


def past(path: Path) -> Sequence[Past]:
    """What is recorded, oldest first, of successes those whose minutes are known; () where it cannot be read."""
    try:
        data = _bytes(path)
        return () if data is None else _past(data, path)
    except (BadFileError, DiskError):
        return ()


@lru_cache(maxsize=1)
def _past(data: bytes, path: Path) -> tuple[Past, ...]:
    """The last content is remembered: it grows with the years, and is looked at between two agents."""
    return tuple(
        Past(agent=entry.agent, type=entry.type, minutes=minutes, succeeded=entry.succeeded)
        for entry in recorded(_document(data, path))
        if (minutes := entry.minutes if entry.succeeded else 0.0) is not None
    )


def load(path: Path) -> dict[str, Any] | None:
    """The document, with a list `sprints`; None where there is no file. Raises BadFileError, DiskError."""
    data = _bytes(path)
    return None if data is None else _document(data, path)


def _bytes(path: Path) -> bytes | None:
    with durable.disk_trouble(path, "read"), suppress(FileNotFoundError), path.open("rb") as file:
        return file.read(jsontext.BYTES_MAX + 1)
    return None


def _document(data: bytes, path: Path) -> dict[str, Any]:
    text, document = jsontext.parse(data, path)
    if not isinstance(document, dict):
        raise jsontext.complaint(path, text, (), "expected an object", FORM_HINT)
    if document.get("version", VERSION) != VERSION:
        raise jsontext.complaint(path, text, ("version",), f"expected version {VERSION}", FORM_HINT)
    if not isinstance(document.setdefault("sprints", []), list):
        raise jsontext.complaint(path, text, ("sprints",), "expected a list of sprints", FORM_HINT)
    return document


def recorded(document: Mapping[str, Any]) -> Iterator[Recorded]:
    """The entries that are understood, in the order of the file: those with an agent and a known status."""
    for entry in document.get("sprints", ()):
        if (
            not isinstance(entry, dict)
            or entry.get("status") not in STATUSES
            or not isinstance(entry.get("agent"), str)
        ):
            continue
        yield Recorded(
            agent=entry["agent"],
            type=_text(entry.get("type")),
            status=entry["status"],
            minutes=_minutes(entry.get("durationMinutes")),
            eta_minutes=_minutes(entry.get("etaMinutes")),
            error_type=_text(entry.get("errorType")),
            notes=_text(entry.get("notes")),
        )


def summary_json(path: Path) -> dict[str, Any]:
    """The numbers of `--summary`, computed from the entries, not from the file's own summary; all zero without a file.

    `summary` has the published keys; `eta` is how far the estimate was from what a success took, where both are
    recorded. Agents, types ("" is none), error types and notes come most frequent first.

    Raises BadFileError, DiskError.
    """
    document = load(path) or {"sprints": []}
    entries = list(recorded(document))
    bad = [entry for entry in entries if not entry.succeeded]
    pairs = [(entry.minutes, entry.eta_minutes) for entry in entries if entry.succeeded]
    errors = [(abs(took - eta), 100 * abs(took - eta) / eta) for took, eta in pairs if took and eta]
    published: dict[str, Any] = {"sprints": document["sprints"]}
    _summarize(published)
    return {
        "summary": published["summary"],
        "sprints": len(entries),
        "notUnderstood": len(document["sprints"]) - len(entries),
        "total": _figures(entries),
        "agents": {agent: _figures([e for e in entries if e.agent == agent]) for agent in _frequent(entries, "agent")},
        "types": {kind: _figures([e for e in entries if e.type == kind]) for kind in _frequent(entries, "type")},
        "eta": {
            "sprints": len(errors),
            "medianErrorMinutes": round(median(minutes for minutes, _ in errors), 1) if errors else None,
            "medianErrorPercent": round(median(percent for _, percent in errors), 1) if errors else None,
        },
        "failures": {
            "errorTypes": _frequent(bad, "error_type"),
            "notes": _frequent([e for e in bad if e.notes], "notes"),
        },
    }


def summary_text(path: Path) -> str:
    """`summary_json` for people: aligned tables, human times; control characters in the file stay off the terminal."""
    facts = summary_json(path)
    if not facts["sprints"] and not facts["notUnderstood"]:
        return f"No sprints recorded in {path}"
    total, eta, failures = facts["total"], facts["eta"], facts["failures"]
    eta_text = (
        f"off by {_human(eta['medianErrorMinutes'])} ({eta['medianErrorPercent']} %) in the median of {eta['sprints']}"
        if eta["sprints"]
        else "no sprint has both an estimate and a duration yet"
    )
    counts = f"{total['completed']} completed, {total['failed']} failed, {total['stalled']} stalled"
    parts = [
        f"Sprints: {counts}; {total['successRate']} % succeeded, median {_human(total['medianMinutes'])}",
        _table("Agent", facts["agents"]),
        _table("Type", facts["types"]),
        f"ETA: {eta_text}",
    ]
    for title, found in (("Error types", failures["errorTypes"]), ("Notes of failures", failures["notes"])):
        if found:
            lines = [f"{times:5}  {_shown(text)}" for text, times in list(found.items())[:FREQUENT_SHOWN_MAX]]
            parts.append("\n".join([title, *lines]))
    if facts["notUnderstood"]:
        parts.append(f"Not counted, for they have another form: {facts['notUnderstood']}")
    return "\n\n".join(parts)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _minutes(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        return None
    return float(value)


def _status(task: Ended) -> str | None:
    if task.number is None:
        return None
    if task.outcome is Phase.SKIPPED and task.error_type in {Outcome.STALLED, Outcome.TIMED_OUT}:
        return "stalled"
    return {Phase.COMPLETED: "success", Phase.FAILED: "failed"}.get(task.outcome)


def _entry(task: Ended, status: str) -> dict[str, Any]:
    """The published keys first, then ours; what is not known is null."""
    return {
        "sprint": task.task,
        "agent": task.agent,
        "status": status,
        "durationMinutes": round(task.minutes, 3),
        "timestamp": utc_text(task.at),
        "errorType": task.error_type or None,
        "notes": task.notes or None,
        "type": task.type or None,
        "project": task.project,
        "model": task.model or None,
        "fallbackFor": task.fallback_for or None,
        "attempt": task.number,
        "attempts": task.attempts,
        "etaMinutes": None if task.eta_minutes is None else round(task.eta_minutes, 3),
        "tokens": None if task.tokens is None else dict(task.tokens),
        "costUsd": task.cost_usd,
    }


def utc_text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _identity(entry: Mapping[str, Any]) -> tuple[str, str]:
    return repr(entry.get("sprint")), repr(entry.get("attempt"))  # as text, for a foreign entry may hold a list there


def _count(entries: Sequence[Recorded]) -> dict[str, Any]:
    """`completed`, `failed`, `stalled` and `successRate`: a percentage to one decimal, 0 of none.

    A stall counts against the rate, as it used up its agent's time and brought nothing; the published script knew no
    `stalled` here and left stalls out of the rate.
    """
    completed, failed, stalled = (sum(entry.status == status for entry in entries) for status in STATUSES)
    rate = round(100 * completed / len(entries), 1) if entries else 0.0
    return {"completed": completed, "failed": failed, "stalled": stalled, "successRate": rate}


def _figures(entries: Sequence[Recorded]) -> dict[str, Any]:
    minutes = _success_minutes(entries)
    return {**_count(entries), "medianMinutes": round(median(minutes), 1) if minutes else None}


def _success_minutes(entries: Sequence[Recorded]) -> list[float]:
    return [entry.minutes for entry in entries if entry.succeeded and entry.minutes is not None]


def _frequent(entries: Sequence[Recorded], field: str) -> dict[str, int]:
    """How often each value of a text field occurs, most frequent first, ties in the order of the file."""
    return dict(Counter(getattr(entry, field) for entry in entries).most_common())


def _summarize(document: dict[str, Any]) -> None:
    """Bring `summary` up to date in place: the published keys and our counts of stalls; all others stay."""
    entries = list(recorded(document))
    counts = _count(entries)
    summary = _object_at(document, "summary")
    summary["totalCompleted"] = counts["completed"]
    summary["totalFailed"] = counts["failed"]
    summary["totalStalled"] = counts["stalled"]
    summary["avgDurationMinutes"] = _average_minutes(entries)
    performance = _object_at(summary, "agentPerformance")
    for agent in _frequent(entries, "agent"):
        own = [entry for entry in entries if entry.agent == agent]
        _object_at(performance, agent).update(_count(own), avgDurationMinutes=_average_minutes(own))


def _table(title: str, figures: Mapping[str, Mapping[str, Any]]) -> str:
    width = max(map(len, [title, *map(_shown, figures)]))
    lines = [f"{title:{width}}  Completed  Failed  Stalled  Success       Median"]
    for name, its in figures.items():
        counts = f"{its['completed']:11}{its['failed']:8}{its['stalled']:9}"
        lines.append(f"{_shown(name):{width}}{counts}{its['successRate']:7} %{_human(its['medianMinutes']):>13}")
    return "\n".join(lines)


def _shown(text: str) -> str:
    visible = "".join(character if character.isprintable() else " " for character in text)
    return f"{visible[: TEXT_SHOWN_MAX - 1]}…" if len(visible) > TEXT_SHOWN_MAX else visible or "(none)"


def _human(minutes: float | None) -> str:
    if minutes is None:
        return "unknown"
    whole = round(minutes)
    if whole < 1:
        return "under 1 min"
    return f"{whole} min" if whole < 60 else f"{whole // 60} h {whole % 60} min"


def _object_at(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """The object at `key`, made where there is none; what is computed anew may replace what is not an object."""
    if not isinstance(parent.get(key), dict):
        parent[key] = {}
    found: dict[str, Any] = parent[key]
    return found


def _average_minutes(entries: Sequence[Recorded]) -> float:
    minutes = _success_minutes(entries)
    return round(fmean(minutes), 1) if minutes else 0.0


def _load_or_set_aside(path: Path, now: datetime) -> tuple[dict[str, Any], str | None]:
    set_aside = None
    try:
        document = load(path)
    except (BadFileError, DiskError) as error:  # a directory, somebody else's file: no history is no reason to stop
        document = None
        set_aside = f"{error.message}; set aside as {_set_aside(path, now).name}"
    return document or {"version": VERSION, "created": utc_text(now), "sprints": [], "summary": {}}, set_aside


def _set_aside(path: Path, now: datetime) -> Path:
    stem = f"{path.name}.bad-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))  # two in one second: neither is lost
    bad = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    with durable.disk_trouble(path, "set aside"):
        path.rename(bad)
    return bad


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold `path`.lock. It is never unlinked: deleting a held lock file gives two holders (docs/MEASURED.md 2)."""
    from filelock import FileLock, Timeout  # noqa: PLC0415  readers do without

    lock = FileLock(f"{path}.lock", timeout=LOCK_WAIT_SECONDS, mode=0o600, fallback_to_soft=False)
    with durable.disk_trouble(Path(lock.lock_file), "lock"):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(f"another process holds {lock.lock_file}", "try again in a moment") from error
    try:
        yield
    finally:
        lock.release()
