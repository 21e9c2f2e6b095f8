"""`awm logs --follow`: the output of attempts as it comes, like `tail -F`, on to the next attempt (SPEC 8.2, 14)."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import click

from awm_loop import terminal
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.cli import standing, steering
from awm_loop.config import LOG_HEAD_BYTES
from awm_loop.core.model import Work
from awm_loop.errors import BadFileError
from awm_loop.wiring import Home

POLL_SECONDS = 0.25
CHUNK_BYTES = 1024 * 1024  # of one attempt in one poll
LINE_BYTES_MAX = 65_536  # held back until the line ends
# `attempt.output` writes it between the head and the tail of a log that lost its middle.
_CUT_LINE = re.compile(rb"\n\[AWM: ([0-9]{1,15}) bytes of output left out here\]\n")


class OutputReader:
    """Reads one `out.log` as it grows, also when it is replaced by a file without its middle: nothing comes twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._offset = 0  # in the file
        self._shift = 0  # from there to the place in all that the agent printed, beyond the cut
        self._kept_from = 0  # where in the file the tail begins
        self._begun = b""  # a line that has not ended
        self._open()

    def begin_at_last(self, count: int) -> None:
        """Leave out all but the last `count` lines, of those that one chunk holds."""
        if self._fd is None:
            return
        size = os.fstat(self._fd).st_size
        data = os.pread(self._fd, CHUNK_BYTES, max(size - CHUNK_BYTES, 0))
        lines = data.splitlines(keepends=True)
        self._offset = size - sum(map(len, lines[-count:] if count else []))

    def read(self) -> str | None:
        """The next whole lines, printable; a line without its end waits for one call. None where nothing is new."""
        data = self._next()
        if not data:
            text, self._begun = self._begun, b""
            return terminal.plain(text.decode(errors="backslashreplace")) if text else None
        whole, newline, begun = (self._begun + data).rpartition(b"\n")
        if len(begun) > LINE_BYTES_MAX:
            whole, newline, begun = whole + newline + begun, b"", b""
        self._begun = begun
        return terminal.plain((whole + newline).decode(errors="backslashreplace"))

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _next(self) -> bytes:
        data = self._take()
        if data or not self._is_replaced():
            return data
        data = self._take()  # came between the two looks; nothing is added to a file that was replaced
        if data:
            return data
        place = self._offset + self._shift
        self._open()
        if place < LOG_HEAD_BYTES:  # the head is the same in both
            return self._take()
        left_out = self._kept_from + self._shift - place
        self._offset = max(place - self._shift, self._kept_from)
        note = b"\n[AWM: %d bytes of output left out here]\n" % left_out if left_out > 0 else b""
        return note + self._take()

    def _take(self) -> bytes:
        if self._fd is None:
            return b""
        data = os.pread(self._fd, CHUNK_BYTES, self._offset)
        self._offset += len(data)
        return data

    def _is_replaced(self) -> bool:
        found = standing.stamp(self._path)
        return found is not None and (self._fd is None or found[0] != os.fstat(self._fd).st_ino)

    def _open(self) -> None:
        """The file that bears the name now, and what it left out."""
        self.close()
        with suppress(FileNotFoundError):
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            cut = _CUT_LINE.match(os.pread(self._fd, 128, LOG_HEAD_BYTES))
            self._shift = int(cut[1]) - len(cut[0]) if cut else 0
            self._kept_from = LOG_HEAD_BYTES + len(cut[0]) if cut else 0


def follow(home: Home, task_id: str, count: int) -> None:
    """Print what the attempts of a task, or all, print, from the last `count` lines of the newest on.

    Ends when the task has ended, or the loop rests. Raises AwmError for an unknown task.
    """
    work = standing.loaded(home).work
    there = steering.known(work, task_id) if task_id else ""
    found = standing.attempt_directories(home, task_id)
    live = {attempt.number for attempt in work.attempts}
    readers = {number: OutputReader(found[number] / "out.log") for number in live & found.keys() or list(found)[-1:]}
    for reader in readers.values():
        reader.begin_at_last(count)
    if there == "queue" and not standing.rests(work):
        click.echo(f"{task_id} is in the queue: `awm why {task_id}` tells what it waits for", err=True)
    newest, shown, seen = max(found, default=0), 0, None
    while True:
        stamps = standing.stamp(home.store.path), standing.stamp(home.path / "state" / "attempts")
        if stamps != seen:
            with suppress(BadFileError):  # while somebody edits it, what it said before stands
                work = standing.loaded(home).work
            found, seen = standing.attempt_directories(home, task_id), stamps
            readers |= {number: OutputReader(found[number] / "out.log") for number in found if number > newest}
            newest = max(found, default=newest)
        is_over = _is_over(work, task_id)
        for number in sorted(readers):
            has_ended = is_over or number not in found or (found[number] / "result.json").exists()
            while (text := readers[number].read()) is not None:
                if text:
                    shown = _say(text, found.get(number), number, shown)
                if not has_ended:
                    break
            if has_ended:
                readers.pop(number).close()
        if is_over:
            click.echo(_last_word(work, task_id), err=True)
            return
        time.sleep(POLL_SECONDS)


def _say(text: str, directory: AttemptDirectory | None, number: int, shown: int) -> int:
    """Print it, under the name of its attempt where that was not the last to print; returns who was."""
    if number != shown:
        order = directory.order() if directory else None
        who = f"{order.task}, attempt {number}, {order.agent}" if order else f"attempt {number}"
        click.echo(f"==> {who} <==")
    click.echo(text, nl=False)
    return number


def _is_over(work: Work, task_id: str) -> bool:
    there = steering.whereabouts(work, task_id) if task_id else "queue"
    return standing.rests(work) if there == "queue" else there != "running"


def _last_word(work: Work, task_id: str) -> str:
    there = steering.whereabouts(work, task_id) if task_id else "queue"
    if there != "queue":
        return f"{task_id} is {there or 'no task any more'}; `awm why {task_id}` tells more"
    return "the loop is paused; `awm resume` goes on" if work.paused else "the loop is idle; `awm status` tells more"
