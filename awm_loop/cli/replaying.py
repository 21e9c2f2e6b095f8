"""`awm replay`: decide every recorded beat again, and say whether it comes to the same state (SPEC 7.1, 15.12)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from awm_loop import beat, terminal
from awm_loop.cli.setting_up import open_home
from awm_loop.core.model import Instant, LogEntry, Work
from awm_loop.core.notice import counted
from awm_loop.errors import EXIT_BUG
from awm_loop.store import document, recording
from awm_loop.store.recording import NotRecorded, Record

EPOCH = Instant(wall=datetime.fromtimestamp(0, UTC), boottime=0.0, boot_id="")
HINT = """\
The same inputs must lead to the same state, unless AWM was upgraded since and decides this otherwise on purpose.
Please report it, with the line above of {file} (read it first: it names tasks, paths and what agents said)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where a recorded beat and its replay part: what each did, and the values of the state, by place."""

    rows_then: list[str]
    rows_now: list[str]
    values: dict[str, tuple[object, object]]  # then, now; None where one has no such place


def difference(record: Record) -> Difference | None:
    """Run today's beat on what the recorded one was told. None where it comes to the same state.

    The wording of notices is not compared: it is for people and may become better; recordings outlive it.
    """
    try:
        now = beat.run(recording.answering(record), dry_run=True).work
    except NotRecorded as question:
        asked = (None, f"asks what was not asked then: {question}")
        return Difference(rows_then=rows(record.before, record.after), rows_now=[], values={"(inputs)": asked})
    if now is None:
        raise AssertionError("a replay has a state")
    then = _compared(record.after, record.unknown)
    values = dict(_parted(then, _compared(now, record.unknown), ""))
    if not values:
        return None
    return Difference(rows_then=rows(record.before, record.after), rows_now=rows(record.before, now), values=values)


def rows(before: Work, after: Work) -> list[str]:
    """What a beat journalled, each as the task, the row, and the reason."""
    return [_row(entry) for entry in after.log if entry.seq > before.seq]


def _row(entry: LogEntry) -> str:
    who = entry.task + (f" attempt {entry.attempt}" if entry.attempt is not None else "")
    return f"{who + ': ' if who else ''}{entry.what}" + (f" ({entry.note})" if entry.note else "")


def _compared(work: Work, unknown: frozenset[str]) -> dict[str, Any]:
    """Every field of the state but those the recording cannot have, without the wording of notices."""
    worded = replace(work, outbox=tuple(replace(notice, text="") for notice in work.outbox))
    return {item.name: recording.plain(getattr(worded, item.name)) for item in fields(Work) if item.name not in unknown}


def _parted(then: Any, now: Any, place: str) -> Iterator[tuple[str, tuple[object, object]]]:
    """The innermost places at which two values differ."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in then | now:
            yield from _parted(then.get(key), now.get(key), f"{place}/{key}")
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for index, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _parted(one, other, f"{place}/{index}")
    elif then != now:
        yield place, (then, now)


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--from", "seq_min", metavar="SEQ", default=0, help="Begin at this number of the journal.")
@click.option("--show", is_flag=True, help="Print each beat: its time, its rows, and what others changed before it.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def replay(context: click.Context, file: Path | None, seq_min: int, show: bool, as_json: bool) -> None:
    """Decide every recorded beat again from what it saw, and compare. Nothing is touched; exit 70 at a difference.

    FILE is a recording from anywhere; without it, this home's own.

    \b
    Example:  awm replay --show
    """
    files = [file] if file else [*recording.paths(open_home(context).store.directory)]
    counts = {"beats": 0, "rows": 0}
    last: Work | None = None
    for path, number, record in _records(files):
        if record.after.seq < seq_min:
            continue
        if show and not as_json:
            click.echo(terminal.plain(_shown(record, last)))
        found, last = difference(record), record.after
        if found is not None:
            _tell(found, f"{path}:{number}", record, counts if as_json else None)
            context.exit(EXIT_BUG)  # by SPEC 6.3: what one version decides twice in two ways is no operator's trouble
        counts["beats"] += 1
        counts["rows"] += len(rows(record.before, record.after))
    if as_json:
        click.echo(json.dumps({**counts, "difference": None}))
    else:
        click.echo(f"{counted(counts['beats'], 'beat')}, {counted(counts['rows'], 'row')} replayed: the same")


def _records(files: Iterable[Path]) -> Iterator[tuple[Path, int, Record]]:
    for path in files:
        for number, record in enumerate(recording.read(path), start=1):
            yield path, number, record


def _shown(record: Record, last: Work | None) -> str:
    """One line: when, what happened, and which keys of the state file are not as the beat before left them."""
    found, left = _in_file(record.before), _in_file(last or record.before)
    others = ", ".join(key for key in found if found[key] != left[key])
    done = "; ".join(rows(record.before, record.after)) or "finished what was promised"
    return f"{_at(record)}  {done}" + (f"  [others changed {others}]" if others else "")


def _in_file(work: Work) -> dict[str, object]:
    """The state as its file has it (times to the millisecond), without what a beat itself does after its decision."""
    return document.write(replace(work, log=(), pending=None), {}, EPOCH, 0)


def _at(record: Record) -> str:
    return str(document.iso(record.heard.now.wall)) if record.heard.now else "at no known time"


def _tell(found: Difference, place: str, record: Record, counts: dict[str, int] | None) -> None:
    """The first difference: as one object with the counts before it, or for people."""
    if counts is not None:
        values = {name: {"then": then, "now": now} for name, (then, now) in found.values.items()}
        told = {"at": place, "time": _at(record), "rowsThen": found.rows_then, "rowsNow": found.rows_now}
        click.echo(json.dumps({**counts, "difference": {**told, "state": values}}, ensure_ascii=False))
        return
    lines = [f"{place}  {_at(record)}: a difference"]
    lines += [f"  then  {row}" for row in found.rows_then] + [f"  now   {row}" for row in found.rows_now or ["nothing"]]
    for name, (then, now) in found.values.items():
        lines += [f"  {name}", f"    then  {json.dumps(then)}", f"    now   {json.dumps(now)}"]
    click.echo(terminal.plain("\n".join([*lines, HINT.format(file=place.rpartition(":")[0])])))
