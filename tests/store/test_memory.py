"""The assistant's notes tell once of what was done before a session reset (SPEC 11.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from example import NOW

from awm_loop.core.model import Ended, Phase, Work
from awm_loop.store import memory

WORK = Work(
    active=True,
    idle_since=None,
    project="/p",
    queue=("S3",),
    completed=("S1", "S2"),
    blocked=("S4",),
    since_reset=1,
    report=tuple(
        Ended(task=task, outcome=Phase.COMPLETED, at=NOW.wall, minutes_in_all=3.0, notes=task.lower())
        for task in ("S1", "S2")
    ),
)


def notes(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.iterdir()))


def test_a_reset_is_told_once_however_often_it_is_written(tmp_path: Path) -> None:
    """A beat that died after it wrote repeats its promise, also after midnight (SPEC 6.2, 11.1)."""
    folder = tmp_path / "memory"
    tomorrow = replace(NOW, wall=NOW.wall + timedelta(days=1))
    memory.write(folder, WORK, "reset.1", NOW)
    said = notes(folder)
    (folder / f"{tomorrow.wall.astimezone():%Y-%m-%d}.md").write_text("mine\n")

    memory.write(folder, WORK, "reset.1", NOW)
    memory.write(folder, WORK, "reset.1", tomorrow)

    assert notes(folder) == f"{said}mine\n"
    assert said.splitlines()[3:] == [
        "- S2 completed: s2, 3 min",
        "- Waiting for a person: S4",
        "- Next: S3",
        "",
        "<!-- awm reset.1 -->",
    ]


def test_what_stands_in_the_notes_stays(tmp_path: Path) -> None:
    """The file is the assistant's own, and each reset has a section of its own (SPEC 11.1)."""
    path = tmp_path / f"{NOW.wall.astimezone():%Y-%m-%d}.md"
    path.write_bytes(b"mine, \xff\n")

    for key in ("reset.1", "reset.2"):
        memory.write(tmp_path, WORK, key, NOW)

    said = path.read_bytes()
    assert said.startswith(b"mine, \xff\n\n## ")
    assert [said.count(b"<!-- awm reset.%d -->" % number) for number in (1, 2)] == [1, 1]
