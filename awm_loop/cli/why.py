"""`awm why`: why a task is where it is, what it waits for and until when, and what to type next (SPEC 14)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from awm_loop import clock, terminal
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.attempt.output import tail
from awm_loop.cli import look, standing, steering, waiting
from awm_loop.cli.setting_up import open_home
from awm_loop.core import choice
from awm_loop.core.model import Earlier, Outcome, Task, Work
from awm_loop.core.notice import one_line
from awm_loop.core.observation import SpecBad
from awm_loop.errors import AwmError
from awm_loop.ports import Loaded
from awm_loop.store import journal
from awm_loop.wiring import Home

JOURNAL_LOOKED_AT_MAX = 10_000  # newest rows of all tasks
JOURNAL_SHOWN_MAX = 8
ATTEMPTS_SHOWN_MAX = 10
EVIDENCE_LINES_MAX = 4
EVIDENCE_BYTES_MAX = 65_536
LABEL_CHARS = 11
FRESH_SECONDS = 60.0  # a beat may still be on its way
FILES = {"log": "out.log", "prompt": "prompt.md", "gate": "gate.log"}
STYLES = {"running": "green", "completed": "green", "failed": "red", "skipped": "yellow", "blocked": "magenta"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt. `outcome` is a word of `result.json`, or what a live one is doing; lengths are seconds."""

    number: int
    agent: str
    outcome: str
    began_at: datetime | None
    seconds: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """All that is known of why a task is where it is. `place` counts from 1 in the order the queue will run."""

    task: str
    title: str
    where: str  # queued, running, completed, failed, skipped or blocked
    place: int | None
    queued_count: int
    reason: str
    waits: tuple[waiting.Wait, ...]
    startable_since: datetime | None  # nothing is in its way, and no beat has come since
    tries: int
    tries_max: int
    strikes: int
    strikes_max: int
    reboots: int
    reboots_max: int
    guidance: tuple[str, ...]
    attempts: tuple[Tried, ...]
    evidence_path: str | None
    evidence: tuple[str, ...]
    journal: tuple[dict[str, object], ...]
    files: dict[str, str]
    next: str  # the command to type; "" where it goes on by itself, or is over
    next_why: str


@click.command()
@click.argument("task_id", metavar="TASK")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def why(context: click.Context, task_id: str, as_json: bool) -> None:
    """Why a task is where it is, what was tried, what to type next.

    \b
    Example:  awm why S3
    """
    home = open_home(context)
    found = explain(home, standing.loaded(home), task_id)
    if as_json:
        look.print_json(standing.json_of(found))
        return
    for line in lines_of(found, clock.now().wall):
        click.echo(line, color=look.color())


def explain(home: Home, loaded: Loaded, task_id: str) -> Why:
    """Look everything up; takes no lock and writes nothing. Raises AwmError for an unknown task."""
    work, now = loaded.work, clock.now()
    policy = home.policy(loaded.settings, now)
    there = steering.whereabouts(work, task_id) or _gone(home, work, task_id)
    where = "queued" if there == "queue" else there
    task, spec = work.task(task_id), home.read_spec(work, task_id)
    directories = standing.attempt_directories(home, task_id)
    attempts = _attempts(home, work, task, directories)
    waits = tuple(waiting.waits(home, loaded, task_id, now)) if where == "queued" else ()
    evidence_path, evidence = _evidence(directories)
    then, then_why = _next(task, where, waits, now.wall)
    return Why(
        task=task_id,
        title="" if isinstance(spec, SpecBad) else spec.title,
        where=where,
        place=choice.in_order(work).index(task_id) + 1 if where == "queued" else None,
        queued_count=len(work.queue),
        reason=terminal.plain(task.reason) or (attempts[-1].why if attempts and where == "completed" else ""),
        waits=waits,
        startable_since=_startable_since(home, task) if where == "queued" and not waits else None,
        tries=task.tries,
        tries_max=policy.retries_max + 1,
        strikes=task.strikes,
        strikes_max=policy.strikes_max,
        reboots=task.reboots,
        reboots_max=policy.reboots_max,
        guidance=tuple(map(terminal.plain, task.guidance)),
        attempts=attempts,
        evidence_path=evidence_path,
        evidence=evidence,
        journal=_rows(home, task_id),
        files=_files(home, work, task_id, directories),
        next=then,
        next_why=then_why,
    )


def _gone(home: Home, work: Work, task_id: str) -> str:
    """Raises AwmError: there is no such task, or only the journal knows it still."""
    rows = _rows(home, task_id)
    if not rows:
        return steering.known(work, task_id)
    when = standing.local_text(str(rows[-1].get("at")))
    is_removed = str(rows[-1].get("what")).endswith("-> removed")
    said = f"it was removed by hand, {when}" if is_removed else f"the journal's last word of it is of {when}"
    has_output = standing.attempt_directories(home, task_id)
    raise AwmError(f"{task_id} is no task any more: {said}", f"awm logs {task_id}" if has_output else "")


def _next(task: Task, where: str, waits: tuple[waiting.Wait, ...], now: datetime) -> tuple[str, str]:
    """The command to type and when; where there is none to type, what happens by itself."""
    match where:
        case "running":
            return f"awm logs -f {task.id}", "shows what it prints; it goes on by itself"
        case "completed":
            return "", "it is done"
        case "blocked" if standing.asks(task):
            return f'awm answer {task.id} "…"', "and it goes on"
        case "blocked":
            return f"awm retry {task.id}", "when that is mended"
        case "skipped" if standing.is_by_hand(task):
            return f"awm retry {task.id}", "queues it again"
        case "failed" | "skipped":
            return f"awm retry {task.id}", f"when its cause is mended; {_look_at(task)}"
    command = next((wait.then for wait in waits if wait.then), "")
    until = max((wait.until for wait in waits if wait.until), default=None)
    if command:
        return command, "tells what that one waits for" if command.startswith("awm why") else "and it goes on"
    if not waits:
        return "awm run", "starts it; so does the next beat of your timer"
    if until:
        return "", f"it goes on by itself {standing.when_text(until, now)}, with the first beat after that"
    return "", "its turn comes by itself"


def _look_at(task: Task) -> str:
    """Where the cause of a task's end shows."""
    if task.earlier and task.earlier[-1].outcome is Outcome.HOLLOW:
        if "no new commit" in task.reason:
            return "where none is wanted, `**Commit:** no` in its spec says so"
        return "the file at `gate` shows what its gate printed"
    return f"`awm logs {task.id}` shows its output"


def _startable_since(home: Home, task: Task) -> datetime:
    """A beat would have started it: so none has come since the state changed, or its pause ended."""
    changed_at = datetime.fromtimestamp(home.store.path.stat().st_mtime, UTC)
    return max(changed_at, task.not_before.until) if task.not_before else changed_at


def _attempts(home: Home, work: Work, task: Task, directories: Mapping[int, AttemptDirectory]) -> tuple[Tried, ...]:
    """The newest attempts, from their directories, the state, and the probe of what is live."""
    earlier = {one.number: one for one in task.earlier}
    live = {one.attempt: one for one in standing.running(home, work) if one.task == task.id}
    numbers = sorted({*directories, *earlier, *live})[-ATTEMPTS_SHOWN_MAX:]
    return tuple(_tried(number, directories.get(number), earlier.get(number), live.get(number)) for number in numbers)


def _tried(
    number: int, directory: AttemptDirectory | None, earlier: Earlier | None, live: standing.Running | None
) -> Tried:
    order, marker, result = (directory.order(), directory.marker(), directory.result()) if directory else (None,) * 3
    outcome, seconds, said = "no result", None, ""
    if result:
        outcome, seconds = str(result.outcome), result.seconds
        said = one_line(result.error or result.question or result.summary)
    elif live:
        outcome, seconds = live.phase, live.running_seconds
        said = f"last progress {standing.length_text(live.quiet_seconds)} ago" if live.quiet_seconds >= 1 else ""
    if earlier:
        outcome, said = str(earlier.outcome), earlier.summary or said
    return Tried(
        number=number,
        agent=order.agent if order else earlier.agent if earlier else "",
        outcome=outcome,
        began_at=result.started_at if result else marker.at if marker else None,
        seconds=seconds,
        why=terminal.plain(said),
    )


def _evidence(directories: Mapping[int, AttemptDirectory]) -> tuple[str | None, tuple[str, ...]]:
    """Where the newest evidence of a stall or a stop lies, and its first lines."""
    paths = [path for one in directories.values() if (path := one / "evidence.txt").exists()]
    if not paths:
        return None, ()
    lines = terminal.plain(tail(paths[-1], EVIDENCE_BYTES_MAX)).splitlines()
    return str(paths[-1]), tuple(lines[:EVIDENCE_LINES_MAX])


def _rows(home: Home, task_id: str) -> tuple[dict[str, object], ...]:
    """The task's newest rows of the journal, the oldest first."""
    entries = journal.tail(home.store.journal_path, JOURNAL_LOOKED_AT_MAX)
    return tuple([entry for entry in entries if entry.get("task") == task_id][-JOURNAL_SHOWN_MAX:])


def _files(home: Home, work: Work, task_id: str, directories: Mapping[int, AttemptDirectory]) -> dict[str, str]:
    """Its spec, and what its newest attempt left."""
    path = home.spec_path(work, task_id)
    found = {"spec": str(path)} if path else {}
    for newest in list(directories.values())[-1:]:
        found |= {label: str(newest / name) for label, name in FILES.items() if (newest / name).exists()}
    return found


def lines_of(found: Why, now: datetime) -> Iterator[str]:
    """Aligned lines, styled for a terminal; the last says what to type."""
    style = STYLES.get(found.where, "cyan")
    yield (
        click.style("● ", fg=style) + click.style(found.task, bold=True) + (f" — {found.title}" if found.title else "")
    )
    yield from _row(found.where, found.reason.splitlines() or [_place(found)], style)
    if found.where == "queued":
        yield from _row("waits for", [waiting.text_of(wait, now) for wait in found.waits] or [_beat_line(found, now)])
    tries = f"tries {found.tries} of {found.tries_max}"
    counts = f"{tries}, strikes {found.strikes} of {found.strikes_max}, reboots {found.reboots} of {found.reboots_max}"
    if found.where != "completed":  # of a completed task the counts are not kept
        yield from _row("counts", [counts])
    for text in found.guidance:
        yield from _row("told", text.splitlines())
    for tried in found.attempts:
        yield from _row(f"attempt {tried.number}", [_tried_line(tried)])
    if found.evidence_path:
        yield from _row("evidence", [found.evidence_path, *found.evidence])
    yield from _row("journal", [look.entry_text(entry) for entry in found.journal])
    for label, path in found.files.items():
        yield from _row(label, [path])
    next_text = (
        f"{click.style(found.next, bold=True)}   {found.next_why}" if found.next else f"nothing: {found.next_why}"
    )
    yield from _row("next", [next_text])


def _place(found: Why) -> str:
    if found.place is not None:
        return f"place {found.place} of {found.queued_count}"
    if not found.attempts:
        return "no reason is recorded"
    number, count = found.attempts[-1].number, len(found.attempts)
    return f"with attempt {number}" + ("; the numbers count all tasks' attempts" if number > count else "")


def _row(label: str, lines: Sequence[str], style: str | None = None) -> Iterator[str]:
    """A label and its lines, below each other; nothing for no lines."""
    for index, line in enumerate(lines):
        shown = label if index == 0 else ""
        yield f"  {click.style(shown.ljust(LABEL_CHARS), fg=style or 'bright_black')} {line}".rstrip()


def _beat_line(found: Why, now: datetime) -> str:
    since = found.startable_since
    if since is None or (now - since).total_seconds() < FRESH_SECONDS:
        return "the next beat; nothing else is in its way"
    ago = standing.length_text((now - since).total_seconds())
    return f"a beat: nothing else is in its way, and none has come for {ago}, since {since.astimezone():%a %H:%M}"


def _tried_line(tried: Tried) -> str:
    began = f"{tried.began_at.astimezone():%a %H:%M:%S}" if tried.began_at else ""
    took = "" if tried.seconds is None else standing.length_text(tried.seconds)
    known = ", ".join(part for part in (tried.agent, began, took) if part)
    return " — ".join(part for part in (f"{standing.outcome_text(tried.outcome)}  {known}", tried.why) if part)
