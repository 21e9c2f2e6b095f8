"""The use cases of time and files, end to end with agents that run (issue 6, SPEC 13.2).

A night in which the clock changes is lived through in this process: its beats are given their time, as every beat is.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from home import Home, only

from awm_loop import clock, wiring
from awm_loop.cli.pulse import pulse

MINUTE = timedelta(minutes=1)


def put_trigger(home: Home, written_at: datetime | None = None, **fields: Any) -> None:
    """One trigger, and the spec it queues; written by hand at that time."""
    spec = home.path / "spec.md"
    spec.write_text(f"# Review\n\n```sh run\n{home.work(fields.pop('between', ''))}\n```\n")
    path = home.path / "state" / "triggers.json"
    path.write_text(json.dumps({"triggers": [{"spec": "spec.md", **fields}]}))
    if written_at is not None:
        os.utime(path, (written_at.timestamp(), written_at.timestamp()))
    home.queue()


def live_through(home: Home, *moments: datetime) -> None:
    """Beats at these moments of the wall clock."""
    here = wiring.Home.open(home.path)
    for moment in moments:
        pulse(here.store, replace(here.ports(), clock=lambda moment=moment: replace(clock.now(), wall=moment)))


def minutes(start: datetime, count: int, step: int = 5) -> list[datetime]:
    return [start + MINUTE * number for number in range(0, count, step)]


@pytest.mark.parametrize(
    ("start", "task"),
    [
        (datetime(2026, 3, 28, 23, 0, tzinfo=UTC), "review-20260329T0200"),  # 03:00 follows 01:59
        (datetime(2026, 10, 24, 22, 0, tzinfo=UTC), "review-20261025T0200"),  # 02:00 comes twice
    ],
)
def test_a_review_at_two_runs_once_in_each_night_that_the_clock_changes(home: Home, start: datetime, task: str) -> None:
    """Exactly one run each (issue 6)."""
    put_trigger(home, start, id="review", type="time", trigger="0 2 * * *", timezone="Europe/Berlin")
    live_through(home, *minutes(start, 6 * 60))

    assert home.finish()["completed"] == [task]
    assert home.begun() == [task]


def test_an_audit_missed_while_the_machine_slept_runs_once_when_it_wakes(home: Home) -> None:
    """Monday 09:00, asleep from Sunday until 09:40: within the grace of an hour, one run (issue 6)."""
    sunday, monday = datetime(2026, 11, 15, 20, tzinfo=UTC), datetime(2026, 11, 16, 9, 40, tzinfo=UTC)
    put_trigger(home, sunday, id="audit", type="time", trigger="0 9 * * 1")
    live_through(home, sunday, *minutes(monday, 60))

    assert home.finish()["completed"] == ["audit-20261116T0900"]
    assert home.begun() == ["audit-20261116T0900"]


def test_an_audit_missed_by_more_than_its_grace_is_let_pass(home: Home) -> None:
    """Asleep until 10:01: nothing runs, and the journal says why, once."""
    sunday, monday = datetime(2026, 11, 15, 20, tzinfo=UTC), datetime(2026, 11, 16, 10, 1, tzinfo=UTC)
    put_trigger(home, sunday, id="audit", type="time", trigger="0 9 * * 1")
    live_through(home, sunday, *minutes(monday, 60))

    assert home.begun() == []
    missed = [line for line in home.journal() if "missed" in line["what"]]
    assert [line["note"] for line in missed] == ["2026-11-16 09:00 UTC is 61 min ago, over its grace of 60 min"]


def listed(home: Home, task: str) -> list[str]:
    text = (home.path / "state" / "specs" / f"{task}.md").read_text()
    return re.findall(r"^- (\w+: .+)$", text, re.M)


def put(home: Home, name: str, text: str) -> Path:
    path = home.project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_ten_changed_files_are_one_task_that_names_them(home: Home) -> None:
    """Touch alone does nothing, and what its own agent writes does not call it again (issue 6)."""
    fields = {"type": "file", "trigger": "src/**/*.ts", "debounceSeconds": 0.5}
    put_trigger(home, id="docs", between="echo made > src/made.ts; git add src; echo more > src/more.ts", **fields)
    old = put(home, "src/deep/old.ts", "old")
    home.beat()
    os.utime(old, (1, 1))
    for _ in range(3):
        home.beat()
    assert home.begun() == []
    for number in range(10):
        put(home, f"src/n{number}.ts", "new")
    home.wait_for(home.begun, beat_every=0.3)
    task = only(home.finish()["completed"])

    assert listed(home, task) == [f"created: `src/n{number}.ts`" for number in range(10)]
    begun = home.begun()
    for _ in range(4):
        home.beat()
    assert home.begun() == begun == [task]
    old.unlink()
    home.wait_for(lambda: home.begun() != begun, beat_every=0.3)
    assert listed(home, home.begun()[-1]) == ["deleted: `src/deep/old.ts`"]
    home.finish()
