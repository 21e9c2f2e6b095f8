"""`work_metrics.json` and the script that logs to it: SPEC 12.3, 12.4, 4.7, 3.1, 3.4."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

import awm_loop
from awm_loop.core.estimate import Past
from awm_loop.core.model import Ended, Instant, Phase
from awm_loop.errors import BadFileError, BusyError, DiskError
from awm_loop.store import metrics

CHECKOUT = Path(awm_loop.__file__).parents[1]
EXAMPLE = CHECKOUT / "state" / "work_metrics.example.json"
NOW = Instant(wall=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), boottime=1.0, boot_id="b")
S1 = ("--sprint", "S1", "--agent", "codex", "--status", "success", "--duration", "5")
BARE = (sys.executable, "-S")  # a Python that finds no dependencies

DONE = Ended(
    task="S7",
    number=9,
    outcome=Phase.COMPLETED,
    agent="codex",
    model="gpt-5.2-codex",
    type="coding",
    at=datetime(2026, 1, 2, 3, 0, tzinfo=UTC),
    minutes=4.00049,
    minutes_in_all=9.0,
    attempts=2,
    eta_minutes=10.0,
    error_type="",
    notes="Search bar",
    commit="abc1234",
    tokens={"input": 10, "output": 2},
    cost_usd=0.0,
)
LOGGED = {
    "sprint": "S7",
    "agent": "codex",
    "status": "success",
    "durationMinutes": 4.0,
    "timestamp": "2026-01-02T03:00:00Z",
    "errorType": None,
    "notes": "Search bar",
    "type": "coding",
    "project": "default",
    "model": "gpt-5.2-codex",
    "fallbackFor": None,
    "attempt": 9,
    "attempts": 2,
    "etaMinutes": 10.0,
    "tokens": {"input": 10, "output": 2},
    "costUsd": 0.0,
}


def entry(status: str, minutes: object, agent: str = "codex", **further: object) -> dict[str, Any]:
    return {"sprint": "S1", "agent": agent, "status": status, "durationMinutes": minutes, **further}


def written(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps({"version": 1, "sprints": list(entries)}))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work_metrics.json"


def test_the_first_task_makes_the_file(tmp_path: Path) -> None:
    """The published form with our further keys; the folder is 0700, the file 0600 (SPEC 12.3, 3.3)."""
    path = tmp_path / "state" / "work_metrics.json"

    assert metrics.record(path, [DONE], NOW) is None

    assert json.loads(path.read_bytes()) == {
        "version": 1,
        "created": "2026-01-02T03:04:05Z",
        "sprints": [LOGGED],
        "summary": {
            "totalCompleted": 1,
            "totalFailed": 0,
            "totalStalled": 0,
            "avgDurationMinutes": 4.0,
            "agentPerformance": {
                "codex": {"completed": 1, "failed": 0, "stalled": 0, "successRate": 100.0, "avgDurationMinutes": 4.0}
            },
        },
    }
    modes = [each.stat().st_mode & 0o777 for each in (path.parent, path, Path(f"{path}.lock"))]
    assert modes == [0o700, 0o600, 0o600]


def test_recording_again_leaves_the_file_as_it_is(path: Path) -> None:
    """Each task and attempt number once, also after a crash between record and save (SPEC 12.3)."""
    metrics.record(path, [DONE], NOW)
    before = path.read_bytes(), path.stat().st_ino

    metrics.record(path, [DONE, DONE], NOW)

    assert (path.read_bytes(), path.stat().st_ino) == before


def test_a_retried_task_is_a_new_entry(path: Path) -> None:
    """Another attempt number is another line; one batch may not double it either (SPEC 12.3)."""
    again = replace(DONE, number=12)

    metrics.record(path, [DONE], NOW)
    metrics.record(path, [DONE, again, again], NOW)

    assert json.loads(path.read_bytes())["sprints"] == [LOGGED, {**LOGGED, "attempt": 12}]


@pytest.mark.parametrize(
    ("outcome", "error_type", "number", "status"),
    [
        (Phase.COMPLETED, "", 9, "success"),
        (Phase.FAILED, "hollow", 9, "failed"),
        (Phase.SKIPPED, "stalled", 9, "stalled"),
        (Phase.SKIPPED, "timed_out", 9, "stalled"),
        (Phase.SKIPPED, "stopped", 9, None),  # a person's decision
        (Phase.BLOCKED, "blocked", 9, None),  # waits for an answer
        (Phase.BLOCKED, "", None, None),  # its spec was bad
        (Phase.COMPLETED, "", None, None),  # no agent had a part in it
    ],
)
def test_what_says_something_about_an_agent_is_recorded(
    outcome: Phase, error_type: str, number: int | None, status: str | None, path: Path
) -> None:
    """Success, failure and the last stall; not what people or specs decided (SPEC 12.3)."""
    metrics.record(path, [replace(DONE, outcome=outcome, error_type=error_type, number=number)], NOW)

    expected = [{**LOGGED, "status": status, "errorType": error_type or None}] if status else None
    assert (json.loads(path.read_bytes())["sprints"] if path.exists() else None) == expected


def test_the_example_is_what_awm_writes(path: Path) -> None:
    """Take away its last entry and its summary, log that entry: byte for byte the example again (SPEC 12.3)."""
    document = json.loads(EXAMPLE.read_bytes())
    last = document["sprints"].pop()
    path.write_text(json.dumps({**document, "summary": {}}))

    metrics.append(path, [last], NOW)

    assert path.read_bytes() == EXAMPLE.read_bytes()


def test_the_summary_counts_as_published(path: Path) -> None:
    """`successRate` is a percentage to one decimal, a stall counts against it; averages are of successes (SPEC 12.3)."""
    mine = [
        entry("success", 1),
        entry("success", 2.26),
        entry("failed", 90),
        entry("stalled", 45),
        entry("stalled", 45),
    ]
    not_told = entry("success", 0)  # what the published script wrote where it was told no duration
    written(path, *mine, not_told, entry("failed", 90, agent="opus"))

    metrics.append(path, [entry("success", None)], NOW)

    assert json.loads(path.read_bytes())["summary"] == {
        "totalCompleted": 4,
        "totalFailed": 2,
        "totalStalled": 2,
        "avgDurationMinutes": 1.6,
        "agentPerformance": {
            "codex": {"completed": 4, "failed": 1, "stalled": 2, "successRate": 57.1, "avgDurationMinutes": 1.6},
            "opus": {"completed": 0, "failed": 1, "stalled": 0, "successRate": 0.0, "avgDurationMinutes": 0.0},
        },
    }


TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(-1e9, 1e9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FOREIGN = st.dictionaries(TEXT.map("x-{}".format), JSON, max_size=3)


@st.composite
def foreign_files(draw: st.DrawFn) -> dict[str, Any]:
    """The published form with keys of others at each level, before and after the known ones, and odd entries."""

    def mixed(known: dict[str, Any]) -> dict[str, Any]:
        return {**draw(FOREIGN), **known, **draw(FOREIGN)}

    sprints = [mixed(entry("success", 5.0, attempt=number)) for number in range(draw(st.integers(0, 2)))]
    performance = mixed({"codex": mixed({"completed": 99}), "gone": mixed({"completed": 3})})
    return mixed(
        {
            "version": 1,
            "created": "then",
            "sprints": [*sprints, *draw(st.lists(JSON, max_size=2))],
            "summary": mixed({"totalCompleted": 99, "agentPerformance": performance}),
        }
    )


def put_back(after: dict[str, Any], before: dict[str, Any], computed: set[str]) -> None:
    """Undo what was computed: the old value where there was one, else nothing."""
    for key in computed & after.keys():
        if key in before:
            after[key] = before[key]
        else:
            del after[key]


@settings(max_examples=60, deadline=None)
@given(before=foreign_files())
def test_a_file_of_others_is_taken_over_without_loss(
    before: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Unknown keys and entries survive at every level, verbatim and in place; only numbers are new (SPEC 12.3)."""
    path = tmp_path_factory.mktemp("metrics") / "work_metrics.json"
    path.write_text(json.dumps(before))

    assert metrics.record(path, [DONE], NOW) is None

    after = json.loads(path.read_bytes())
    assert after["sprints"].pop() == LOGGED
    ours = {"completed", "failed", "stalled", "successRate", "avgDurationMinutes"}
    totals = {"totalCompleted", "totalFailed", "totalStalled", "avgDurationMinutes"}
    put_back(after["summary"], before["summary"], totals)
    put_back(after["summary"]["agentPerformance"]["codex"], before["summary"]["agentPerformance"]["codex"], ours)
    assert json.dumps(after) == json.dumps(before)


CORRUPT = {
    "torn": b'{"version": 1, "sprints": [',
    "empty": b"",
    "a list": b"[]",
    "sprints no list": b'{"version": 1, "sprints": {}}',
    "a later version": b'{"version": 2, "sprints": []}',
}


@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT)
def test_a_corrupt_file_is_set_aside(data: bytes, path: Path) -> None:
    """Its bytes are kept under another name, a new file begins, and the text says both (SPEC 4.7)."""
    path.write_bytes(data)

    said = metrics.record(path, [DONE], NOW)

    assert said is not None
    assert said.startswith(f"{path}:1:")
    assert said.endswith("; set aside as work_metrics.json.bad-20260102T030405Z")
    assert path.with_name("work_metrics.json.bad-20260102T030405Z").read_bytes() == data
    assert json.loads(path.read_bytes())["sprints"] == [LOGGED]


def test_two_corrupt_files_in_one_second_are_both_kept(path: Path) -> None:
    """Nothing is ever renamed over something (SPEC 4.7)."""
    for data in (b"one", b"two", b"three"):
        path.write_bytes(data)
        metrics.record(path, [DONE], NOW)

    stem = "work_metrics.json.bad-20260102T030405Z"
    assert [path.with_name(stem + end).read_bytes() for end in ("", "-2", "-3")] == [b"one", b"two", b"three"]


def test_a_held_lock_is_waited_for_and_then_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No entry is written past another writer (SPEC 12.3)."""
    monkeypatch.setattr(metrics, "LOCK_WAIT_SECONDS", 0.1)

    with FileLock(f"{path}.lock"), pytest.raises(BusyError) as caught:
        metrics.record(path, [DONE], NOW)

    assert (caught.value.message, path.exists()) == (f"another process holds {path}.lock", False)


def test_a_disk_that_refuses_is_one_clear_error(tmp_path: Path) -> None:
    """No place for the file: DiskError, naming what could not be done (SPEC 4.8)."""
    (tmp_path / "state").write_text("not a folder")
    path = tmp_path / "state" / "work_metrics.json"

    with pytest.raises(DiskError, match=f"^cannot lock {path}.lock: "):
        metrics.record(path, [DONE], NOW)


def test_the_past_is_what_succeeded_in_a_known_time_and_what_failed(path: Path) -> None:
    """For estimates and routes: no entries of another form, no unknown times (SPEC 7.6, 12.4)."""
    written(
        path,
        entry("success", 5, type="coding"),
        entry("failed", 6),
        entry("stalled", 7),
        entry("cancelled", 8),
        entry("success", 0),
        entry("success", -1),
        entry("success", "9"),
        entry("success", True),
        entry("success", 10.5, agent="opus", type=None),
        {"status": "success", "durationMinutes": 11},
        "S1",
    )

    assert [*metrics.past(path)] == [
        Past(agent="codex", type="coding", minutes=5.0),
        Past(agent="codex", type="", minutes=0.0, succeeded=False),
        Past(agent="codex", type="", minutes=0.0, succeeded=False),
        Past(agent="opus", type="", minutes=10.5),
    ]


@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT)
def test_who_only_reads_a_corrupt_file_leaves_it(data: bytes, path: Path) -> None:
    """An ETA never fails for it, also where there is no file or a folder; a person who asks is told (SPEC 4.7)."""
    assert (metrics.past(path), metrics.past(path.parent)) == ((), ())

    path.write_bytes(data)

    assert metrics.past(path) == ()
    with pytest.raises(BadFileError):
        metrics.summary_text(path)
    assert path.read_bytes() == data


def history(path: Path) -> Path:
    return written(
        path,
        entry("success", 8, type="coding", etaMinutes=10),
        entry("success", 12, type="coding", etaMinutes=8),
        entry("success", 125, type="coding"),
        entry("failed", 3, type="coding", errorType="failed", notes="no such file"),
        entry("stalled", 31, errorType="stalled", notes="build \x1b[31mhangs", etaMinutes=1),
        entry("stalled", 31, agent="gemini-2.5-pro", errorType="stalled", notes="build \x1b[31mhangs"),
        entry("failed", 0, agent="gemini-2.5-pro", errorType=None, notes=None),
        entry("cancelled", 1),
    )


def test_the_summary_for_programs(path: Path) -> None:
    """Totals, per agent and type, ETA quality over successes, failure patterns (SPEC 12.3)."""
    told = metrics.summary_json(history(path))

    published = told.pop("summary")
    assert {key: published[key] for key in published if key.startswith("total")} == {
        "totalCompleted": 3,
        "totalFailed": 2,
        "totalStalled": 2,
    }
    assert set(published) >= {"avgDurationMinutes", "agentPerformance"}
    assert told == {
        "sprints": 7,
        "notUnderstood": 1,
        "total": {"completed": 3, "failed": 2, "stalled": 2, "successRate": 42.9, "medianMinutes": 12.0},
        "agents": {
            "codex": {"completed": 3, "failed": 1, "stalled": 1, "successRate": 60.0, "medianMinutes": 12.0},
            "gemini-2.5-pro": {"completed": 0, "failed": 1, "stalled": 1, "successRate": 0.0, "medianMinutes": None},
        },
        "types": {
            "coding": {"completed": 3, "failed": 1, "stalled": 0, "successRate": 75.0, "medianMinutes": 12.0},
            "": {"completed": 0, "failed": 1, "stalled": 2, "successRate": 0.0, "medianMinutes": None},
        },
        "eta": {"sprints": 2, "medianErrorMinutes": 3.0, "medianErrorPercent": 35.0},
        "failures": {
            "errorTypes": {"stalled": 2, "failed": 1, "": 1},
            "notes": {"build \x1b[31mhangs": 2, "no such file": 1},
        },
    }


def test_the_summary_for_people(path: Path) -> None:
    """The same, aligned, in human times, and without terminal escapes (SPEC 12.3)."""
    assert (
        metrics.summary_text(history(path))
        == """\
Sprints: 3 completed, 2 failed, 2 stalled; 42.9 % succeeded, median 12 min

Agent           Completed  Failed  Stalled  Success       Median
codex                   3       1        1   60.0 %       12 min
gemini-2.5-pro          0       1        1    0.0 %      unknown

Type    Completed  Failed  Stalled  Success       Median
coding          3       1        0   75.0 %       12 min
(none)          0       1        2    0.0 %      unknown

ETA: off by 3 min (35.0 %) in the median of 2

Error types
    2  stalled
    1  failed
    1  (none)

Notes of failures
    2  build  [31mhangs
    1  no such file

Not counted, for they have another form: 1"""
    )


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0.2, "under 1 min"), (0.6, "1 min"), (59.4, "59 min"), (59.6, "1 h 0 min"), (125, "2 h 5 min")],
)
def test_times_are_for_people(minutes: float, text: str, path: Path) -> None:
    """Minutes below an hour, hours and minutes above; without a file it says so (SPEC 12.1)."""
    assert metrics.summary_text(path) == f"No sprints recorded in {path}"

    written(path, entry("success", minutes))

    assert metrics.summary_text(path).splitlines()[0].endswith(f", median {text}")


def test_a_file_that_cannot_be_read_is_set_aside(path: Path) -> None:
    """No history is no reason to stop: a directory in its place once kept every success from being recorded (SPEC 4.7)."""
    path.mkdir()

    told = metrics.record(path, [DONE], NOW)

    assert told is not None
    assert "set aside as work_metrics.json.bad-" in told
    assert [sprint["sprint"] for sprint in json.loads(path.read_bytes())["sprints"]] == [DONE.task]
