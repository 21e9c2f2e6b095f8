"""The assistant's notes: what was done before a session reset, one section for each reset (SPEC 11.1)."""

from __future__ import annotations

import os
from pathlib import Path

from awm_loop.core.model import Ended, Instant, Phase, Work
from awm_loop.durable import disk_trouble, sync_folder


def write(folder: Path, work: Work, key: str, now: Instant) -> None:
    """Append to `folder/YYYY-MM-DD.md` (local date) what was done since the last reset; once for each `key`, durably.

    The file is the assistant's own: what stands in it stays. The mark of the key comes last, so that a section which a
    full disk or a kill cut short does not pass for one. Raises DiskError.
    """
    local = now.wall.astimezone()
    path = folder / f"{local:%Y-%m-%d}.md"
    mark = f"<!-- awm {key} -->"
    with disk_trouble(path):
        is_new = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        recent = {other: other.read_text(encoding="utf-8", errors="replace") for other in _recent(folder)}
        done = next((other for other, text in recent.items() if mark in text), None)
        fd = os.open(done or path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            if done is None:
                lines = [f"## {local:%H:%M} — session reset", "", *_highlights(work), "", mark, ""]
                file.write("\n".join(["", *lines]))
                file.flush()
            os.fsync(fd)  # also of what a killed beat wrote
        sync_folder(folder)
        if is_new:
            sync_folder(folder.parent)


def _recent(folder: Path) -> list[Path]:
    """The newest two days: a reset that a crash cut in two may go on after midnight."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].md"))[-2:]


def _highlights(work: Work) -> list[str]:
    lines = [f"- {line.task} {line.outcome}: {_what(line)}" for line in _since_reset(work)]
    ends = {"Waiting for a person": work.blocked, "Next": work.queue[:5]}
    return [*lines, *(f"- {title}: {', '.join(ids)}" for title, ids in ends.items() if ids)]


def _since_reset(work: Work) -> list[Ended]:
    """The newest lines of the report, back to as many completions as the reset counts."""
    found: list[Ended] = []
    left = work.since_reset
    for line in reversed(work.report):
        left -= line.outcome is Phase.COMPLETED
        if left < 0:
            break
        found.insert(0, line)
    return found


def _what(line: Ended) -> str:
    parts = [line.notes, f"commit {line.commit[:7]}" if line.commit else "", f"{line.minutes_in_all:.0f} min"]
    return ", ".join(part for part in parts if part)
