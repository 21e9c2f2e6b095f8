"""One frame of `awm watch`, as lines no wider than the screen: a few sections that share its height."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from rich.text import Text

from awm_loop import clock, terminal
from awm_loop.attempt.output import tail
from awm_loop.cli import standing, waiting
from awm_loop.core import choice
from awm_loop.core.machine import TABLE, Tell
from awm_loop.core.model import Instant, Work, attempt_key
from awm_loop.core.observation import SpecBad
from awm_loop.errors import AwmError
from awm_loop.ports import Loaded
from awm_loop.store import journal
from awm_loop.wiring import Home

TROUBLES_MAX = 8
QUEUE_MAX = 12
LATELY_MAX = 5
LATELY_LOOKED_AT_MAX = 60  # rows of the journal, of which most tell nothing
LOG_LINES_MAX = 40
LOG_BYTES = 65_536
STALL_CELLS = 8
PROGRESS_CELLS = 10
TASK_CELLS_MAX = 16
FLEXIBLE_CELLS_MIN = 12
TITLE_SHARE = 4  # of the queue's width at most the fourth part: what a task waits for matters more
WIDE_CELLS = 60
GAP = "  "
DIM = "bright_black"
STYLES = {"working": "green", "waiting": "cyan", "idle": DIM, "paused": "yellow"}
TELLS = {str(row): row.tell for row in TABLE}
ENDS = {"completed": "green", "failed": "red", "skipped": "yellow", "blocked": "magenta"}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the frame. Where room is short its first lines are shown, or its last."""

    title: str
    lines: Sequence[Text]
    keeps_last: bool = False


def frame(home: Home, width: int, height: int) -> list[Text]:
    """What the files say at this moment. Trouble with them is in the frame; the next may be without."""
    now = clock.now()
    try:
        loaded = standing.loaded(home)
    except AwmError as error:
        said = [*textwrap.wrap(terminal.plain(error.message), width), *textwrap.wrap(terminal.plain(error.hint), width)]
        return [_fitted(Text(line, "red"), width) for line in said[:height]]
    found = standing.standing(home, loaded.work)
    sections = [
        Section("running", _running(found, width)),
        Section("needs you", _troubles(loaded.work, width)),
        Section(f"queue {found.queued_count}", _queue(home, loaded, now, width)),
        Section("limits", _limits(found, now.wall, width)),
        Section("lately", _lately(home, width), keeps_last=True),
        _log(home, found, width),
    ]
    body = _shared([section for section in sections if section.lines], width, height - 2)
    return [_header(found, now.wall, width), *body, _footer(found, now.wall, width)]


def _header(found: standing.Standing, now: datetime, width: int) -> Text:
    done, rest = len(found.completed), found.queued_count + len(found.running)
    in_all = done + rest + len(found.failed) + len(found.skipped) + len(found.blocked)
    left = Text.assemble(("● ", STYLES.get(found.loop, "green")), (found.loop, "bold"), GAP, (found.home, DIM))
    right = Text.assemble(_bar(done / in_all if in_all else 0.0, PROGRESS_CELLS, "green"), GAP, f"{done}/{in_all} done")
    if width >= WIDE_CELLS:
        right.append(f"{GAP}{now.astimezone():%H:%M:%S}", DIM)
    return _spread(left, right, width)


def _footer(found: standing.Standing, now: datetime, width: int) -> Text:
    right = "paused: awm resume goes on" if found.loop == "paused" else ""
    if found.next_due and not right:
        right = f"next due {standing.when_text(datetime.fromisoformat(found.next_due), now)}"
    return _spread(Text("q leaves, the agents go on", DIM), Text(right, DIM), width)


def _running(found: standing.Standing, width: int) -> list[Text]:
    rows = []
    for one in found.running:
        eta = f" of ~{standing.length_text(one.eta_seconds)}" if one.eta_seconds is not None else ""
        spent = standing.length_text(one.running_seconds) + eta if one.phase == "running" else one.phase
        style = "red" if one.stall_share >= 0.8 else "yellow" if one.stall_share >= 0.5 else DIM
        quiet = standing.length_text(one.quiet_seconds) if one.quiet_seconds >= 1 else ""
        rows.append(
            [
                _cell(one.task, "bold green"),
                _cell(one.title),
                Text(spent, justify="right"),
                Text.assemble(("quiet ", style), _bar(one.stall_share, STALL_CELLS, style), GAP, (quiet, style)),
                _cell(f"{one.agent} #{one.attempt}", DIM),
            ]
        )
    return _columns(rows, width)


def _troubles(work: Work, width: int) -> list[Text]:
    rows = [
        [
            _cell(task_id, f"bold {ENDS[end]}"),
            _cell(f"{end} — {work.task(task_id).reason or 'no reason recorded'}"),
            _cell(f"awm why {task_id}", DIM),
        ]
        for task_id, end in standing.troubles(work)[:TROUBLES_MAX]
    ]
    return _columns(rows, width)


def _queue(home: Home, loaded: Loaded, now: Instant, width: int) -> list[Text]:
    rows = []
    for task_id in islice(choice.in_order(loaded.work), QUEUE_MAX):
        wait = next(iter(waiting.waits(home, loaded, task_id, now)), None)
        what = f"waits for {waiting.text_of(wait, now.wall)}" if wait else "starts with the next beat"
        spec = home.read_spec(loaded.work, task_id)
        title = _cell("" if isinstance(spec, SpecBad) else spec.title)
        rows.append([_cell(task_id, "bold"), _cell(what, DIM), _fitted(title, width // TITLE_SHARE)])
    return _columns(rows, width)


def _limits(found: standing.Standing, now: datetime, width: int) -> list[Text]:
    rows = [
        [_cell(account, "yellow"), _cell(f"opens {standing.when_text(datetime.fromisoformat(until), now)}")]
        for account, until in found.limits.items()
    ]
    return _columns(rows, width)


def _lately(home: Home, width: int) -> list[Text]:
    """What was told last, and what people did: of the notices themselves nothing is kept once they are delivered."""
    rows = []
    for entry in journal.tail(home.store.journal_path, LATELY_LOOKED_AT_MAX):
        what = str(entry.get("what"))
        tell = TELLS.get(what)
        if tell is not Tell.NOTHING:
            note = f" — {entry['note']}" if entry.get("note") else ""
            said = Text.assemble(
                _cell((tell or what).replace("_", " "), ENDS.get(tell or "", "")),
                Text(f" {_cell(note)}" if note else "", DIM),
            )
            at = standing.local_text(str(entry.get("at")), "%H:%M:%S")
            rows.append([Text(at, DIM), _cell(str(entry.get("task", ""))), said])
    return _columns(rows[-LATELY_MAX:], width, flexible=2)


def _log(home: Home, found: standing.Standing, width: int) -> Section:
    """The end of what the oldest running attempt printed."""
    if not found.running:
        return Section("", ())
    oldest = found.running[0]
    path = standing.attempt_directory(home, attempt_key(oldest.task, oldest.attempt)) / "out.log"
    lines = terminal.plain(tail(path, LOG_BYTES)).splitlines()[-LOG_LINES_MAX:]
    shown = [_fitted(Text(line.expandtabs(4), DIM), width) for line in lines if line.strip()]
    return Section(f"log of {oldest.task} #{oldest.attempt}", shown, keeps_last=True)


def _shared(sections: Sequence[Section], width: int, height: int) -> list[Text]:
    """Titles and lines in `height` lines at most: one line for each section, then gaps, then one more each in turn."""
    fitting = sections[: max(height // 2, 0)]
    shown = [1] * len(fitting)
    room = height - 2 * len(fitting)
    gap = 1 if room >= len(fitting) else 0
    room -= gap * len(fitting)
    while room > 0 and any(count < len(section.lines) for count, section in zip(shown, fitting, strict=True)):
        for index, section in enumerate(fitting):
            if room > 0 and shown[index] < len(section.lines):
                shown[index] += 1
                room -= 1
    result: list[Text] = []
    for count, section in zip(shown, fitting, strict=True):
        lines = section.lines[-count:] if section.keeps_last else section.lines[:count]
        result += [*[Text()] * gap, _fitted(Text(section.title.upper(), DIM), width), *lines]
    return result


def _columns(rows: Sequence[Sequence[Text]], width: int, flexible: int = 1) -> list[Text]:
    """Aligned cells. The column `flexible` has the room there is; those after it give way, those before are bounded."""
    if not rows:
        return []
    widths = [max(row[index].cell_len for row in rows) for index in range(len(rows[0]))]
    widths[:flexible] = [min(one, TASK_CELLS_MAX) for one in widths[:flexible]]
    wanted = min(widths[flexible], FLEXIBLE_CELLS_MIN)

    def room() -> int:
        return width - sum(widths) + widths[flexible] - len(GAP) * (len(widths) - 1)

    while len(widths) > flexible + 1 and room() < wanted:
        widths.pop()
    widths[flexible] = max(room(), 1)
    lines = []
    for row in rows:
        cells = [cell.copy() for cell in row[: len(widths)]]
        for cell, cell_width in zip(cells, widths, strict=True):
            cell.truncate(cell_width, overflow="ellipsis", pad=True)
        line = _fitted(Text(GAP).join(cells), width)
        line.rstrip()
        lines.append(line)
    return lines


def _spread(left: Text, right: Text, width: int) -> Text:
    """`left` and `right` at the two ends; the left one gives way."""
    left.truncate(max(width - right.cell_len - len(GAP), 0), overflow="ellipsis", pad=True)
    line = _fitted(Text.assemble(left, GAP, right), width)
    line.rstrip()
    return line


def _bar(share: float, cells: int, style: str) -> Text:
    full = round(min(max(share, 0.0), 1.0) * cells)
    return Text.assemble(("▰" * full, style), ("▱" * (cells - full), DIM))


def _cell(text: str, style: str = "") -> Text:
    """One line, printable: what agents and specs say must not drive the terminal (SPEC 17)."""
    return Text(" ".join(terminal.plain(text).split()), style)


def _fitted(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text
