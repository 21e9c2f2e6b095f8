"""The four use cases of the work manager, by real beats, supervisors and agents; where needed on a clock that is moved.

The clock is libfaketime's, for every process of the home but its agents; the boot clock stays the machine's.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from home import QUICK, Home

BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")


def library() -> Path | None:
    found = importlib.util.find_spec("libfaketime")
    places = found.submodule_search_locations or () if found else ()
    return next((one for place in places for one in Path(place).rglob("libfaketime.so.1")), None)


needs_a_clock = pytest.mark.skipif(library() is None, reason="libfaketime is not installed here: no clock to move")


def at(home: Home, moment: datetime) -> None:
    """From now on the home's processes begin at that time."""
    path = home.root / "clock"
    path.write_text(f"@{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}\n")
    home.environment |= {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(path),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }


def triggers(home: Home, *entries: dict[str, object]) -> None:
    (home.path / "state" / "triggers.json").write_text(json.dumps({"version": 1, "triggers": entries}))


def nightly(home: Home, **fields: object) -> dict[str, object]:
    spec = home.path / "NIGHTLY.md"
    spec.write_text(f"# Review\n\n**Commit:** no\n\n```sh run\necho ran $AWM_TASK >> {home.truth_path}\n```\n")
    return {"id": "nightly", "type": "time", "trigger": "0 2 * * *", "spec": str(spec), **fields}


def ran(home: Home) -> list[str]:
    return [words[1] for words in home.truth() if words[0] == "ran"]


def rest(home: Home) -> None:
    """One beat, and others until what it began is over."""
    home.beat()
    home.wait_for(lambda: not home.state()["queue"] and not home.state()["attempts"], beat_every=1.0)


def walk(home: Home, start: datetime, stop: datetime, step: timedelta) -> None:
    """Beat at each step from one local time to another."""
    now = start.astimezone(UTC)
    while now <= stop.astimezone(UTC):
        at(home, now)
        rest(home)
        now += step


@needs_a_clock
@pytest.mark.parametrize(
    ("night", "cron", "slots"),
    [
        (datetime(2026, 3, 29, tzinfo=BERLIN), "0 2 * * *", ["nightly-20260328T0200", "nightly-20260329T"]),
        (datetime(2026, 10, 25, tzinfo=BERLIN), "30 2 * * *", ["nightly-20261024T0230", "nightly-20261025T0230"]),
    ],
    ids=["02:00 is skipped", "02:30 comes twice"],
)
def test_a_nightly_review_runs_once_on_each_night_also_when_the_clocks_change(
    home: Home, night: datetime, cron: str, slots: Sequence[str]
) -> None:
    """Use case 1: 02:00 in a zone over both DST nights, exactly one run each (SPEC 13.2)."""
    home.config(QUICK)
    home.queue()
    before = night - timedelta(days=1)
    triggers(home, nightly(home, trigger=cron, timezone="Europe/Berlin", createdAt="2026-01-01T00:00:00Z"))
    at(home, before)
    home.beat()

    walk(home, before.replace(hour=1), before.replace(hour=4), timedelta(minutes=30))
    walk(home, night.replace(hour=0), night.replace(hour=5), timedelta(minutes=20))

    found = ran(home)
    assert [task[: len(slot)] for task, slot in zip(found, slots, strict=True)] == slots


@needs_a_clock
@pytest.mark.parametrize(("hours", "runs"), [(1, 1), (20, 0)], ids=["within the grace", "after it"])
def test_an_audit_missed_while_the_machine_slept_runs_once_when_it_wakes_in_time(
    home: Home, hours: int, runs: int
) -> None:
    """Use case 3: each Monday 09:00; of three missed ones the newest, if it is within the grace (SPEC 13.2)."""
    home.config(QUICK)
    home.queue()
    asleep, monday = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 18, 9, tzinfo=UTC)
    triggers(home, nightly(home, trigger="0 9 * * 1", misfireGrace=120, createdAt="2026-05-01T00:00:00Z"))
    at(home, asleep)
    home.beat()

    walk(home, monday + timedelta(hours=hours), monday + timedelta(hours=hours, minutes=30), timedelta(minutes=10))

    assert len(ran(home)) == runs
    assert [row["task"] for row in home.journal() if "missed" in row["what"]] == (
        [] if runs else ["nightly-20260518T0900"]
    )


@needs_a_clock
def test_documentation_follows_changed_files_and_not_touched_ones(home: Home) -> None:
    """Use case 2: touch alone does nothing; ten changes within the debounce are one task with ten paths (SPEC 13.2)."""
    home.config(QUICK)
    home.queue()
    source = home.project / "src" / "deep"
    source.mkdir(parents=True)
    files = [source / f"part{number}.ts" for number in range(12)]
    for path in files:
        path.write_text("old\n")
    spec = home.path / "DOCS.md"
    spec.write_text(f"# Docs\n\n**Commit:** no\n\n```sh run\necho ran $AWM_TASK >> {home.truth_path}\n```\n")
    docs = {"id": "docs", "type": "file", "trigger": "src/**/*.ts", "spec": str(spec), "debounceSeconds": 30}
    triggers(home, docs)
    start = datetime(2026, 5, 1, 12, tzinfo=UTC)
    walk(home, start, start + timedelta(minutes=2), timedelta(minutes=1))

    for path in files:
        path.touch()
    walk(home, start + timedelta(minutes=3), start + timedelta(minutes=5), timedelta(minutes=1))
    assert ran(home) == []
    for number, path in enumerate(files[:10]):
        at(home, start + timedelta(minutes=6, seconds=number))
        path.write_text("new\n")
        rest(home)
    walk(home, start + timedelta(minutes=7), start + timedelta(minutes=10), timedelta(minutes=1))

    (task,) = ran(home)
    prompt = home.prompt(1)
    assert task.startswith("docs-")
    assert [path.name in prompt for path in files] == [True] * 10 + [False] * 2
