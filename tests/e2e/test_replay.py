"""What real beats decided, decided again from what they saw: the same, or a difference that is told (SPEC 7.1, 15.12).

With AWM_GOLDEN=1 in the environment the recordings of the stories become `tests/golden/VERSION-STORY.jsonl`, which every
later version must replay: record them once for each version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from home import REPOSITORY, Done, Home, only
from test_verbs import awm

from awm_loop import __version__, clock
from awm_loop.store import recording

STALLS = """\
[loop]
stall_minutes = 0.02
stop_grace_seconds = 0.2
retry_backoff_seconds = [0]
"""
AGENTS = """\
[loop]
default_agent = "codex"
limit_margin_seconds = 0
[agents.codex]
kind = "command"
command = ["{agent}", "codex"]
fallback = ["opus"]
[agents.opus]
kind = "command"
command = ["{agent}", "opus"]
"""


def recorded(home: Home) -> Path:
    return recording.paths(home.path / "state")[1]


def lines(home: Home) -> list[str]:
    return recorded(home).read_text().splitlines()


def tries_and_failures(home: Home) -> None:
    """One succeeds, one leaves no commit and then fails for good, one cannot be done."""
    home.config("[loop]\nretry_backoff_seconds = [0]\nmax_retries = 1\n")
    home.spec("S1", header="**Est:** 30 min\n**Type:** coding")
    home.spec("S2", f"test -e {home.root}/again && exit 3; touch {home.root}/again")
    home.spec("S3", header="**Model:** nobody")
    home.spec("S4", header="**Priority:** P1\n**Type:** coding")
    home.queue("S1", "S2", "S3", "S4", "S5")

    state = home.finish()

    assert {key: state[key] for key in ("completed", "failed", "blocked")} == {
        "completed": ["S4", "S1"],
        "failed": ["S2"],
        "blocked": ["S3", "S5"],
    }


def stalls(home: Home) -> None:
    """One sleeps through all its strikes."""
    home.config(STALLS)
    home.spec("S1", home.work("sleep 1000"))
    home.spec("S2")
    home.queue("S1", "S2")

    state = home.finish(beat_every=0.3)

    assert (state["skipped"], state["completed"]) == (["S1"], ["S2"])


def limits(home: Home) -> None:
    """One meets a limit, and so does the agent it falls back to; both open again."""
    agent = home.agent(
        f"""\
answer=$(sed -n 1p {home.root}/$1 2>/dev/null) && sed -i 1d {home.root}/$1
[ -z "$answer" ] || echo "$answer" > "$AWM_RESULT_FILE" """
    )
    home.config(AGENTS.format(agent=agent))
    for name, seconds in (("codex", 3), ("opus", 2)):
        resets_at = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        (home.root / name).write_text(json.dumps({"status": "limited", "resetsAt": resets_at}) + "\n")
    home.spec("S1", header="**Commit:** no")
    home.queue("S1")

    state = home.finish(beat_every=0.2)

    assert (state["completed"], [result["outcome"] for result in home.results()]) == (
        ["S1"],
        ["limited", "limited", "succeeded"],
    )


def hands(home: Home) -> None:
    """People edit, pause and resume; beats are killed; a session is reset."""
    for task in ("S1", "S2", "S3"):
        home.spec(task, home.work(f"while ! [ -e {home.root}/go ]; do sleep 0.05; done"))
    home.queue("S1", "S2", autoNewAfterSprints=2)
    home.beat()
    assert awm(home, "pause").code == 0
    home.edit(lambda state: state.update(queue=["S3", "S2"], specFiles=spec_files(home, "S1", "S2", "S3")))
    (home.root / "go").touch()
    home.wait_for(lambda: home.state()["completed"] == ["S1"])
    assert awm(home, "resume").code == 0

    state = home.finish()

    assert (state["completed"], home.begun()) == (["S1", "S3", "S2"], ["S1", "S3", "S2"])
    number = 0
    while not kill_at_a_promise(home, f"K{number}"):
        number += 1
        assert number < 50, "no beat was killed between promise and proof"
    state = home.finish()
    assert state["completed"][3:] == [f"K{index}" for index in range(number + 1)]


def spec_files(home: Home, *tasks: str) -> dict[str, str]:
    return {task: str(home.root / f"SPRINT_{task}_SPEC.md") for task in tasks}


def kill_at_a_promise(home: Home, task: str) -> bool:
    """Queue a task by hand, and kill the beat that starts it; whether its promise was not proved by then."""
    home.spec(task)
    home.finish()

    def add(state: dict[str, object]) -> None:
        state["queue"] = [task]
        state["specFiles"] |= spec_files(home, task)  # type: ignore[operator]

    home.edit(add)
    with home.begin_beat() as beat:
        while beat.poll() is None and not pending(home):
            os.sched_yield()
        with suppress(ProcessLookupError):
            beat.send_signal(signal.SIGKILL)
        beat.communicate()
    return pending(home)


def pending(home: Home) -> bool:
    return b'"pending": {' in home.state_path.read_bytes()


STORIES = (tries_and_failures, stalls, limits, hands)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_what_happened_is_decided_again_the_same(story: Callable[[Home], None], home: Home) -> None:
    """Every beat of a real run, from its inputs alone, comes to the state it came to; nothing is touched (SPEC 15.12)."""
    story(home)
    home.end_all()
    before = home.tree()

    done = awm(home, "replay")
    shown = awm(home, "replay", "--show")
    told = awm(home, "replay", "--json", str(recorded(home)), named=False)

    count = len(lines(home))
    rows = sum(len(json.loads(line)["after"].get("log", ())) for line in lines(home))
    assert done == Done(0, f"{count} beats, {rows} rows replayed: the same\n", "")
    assert (shown.code, shown.out.count("\n"), shown.out.splitlines()[-1:]) == (0, count + 1, done.out.splitlines())
    assert json.loads(told.out) == {"beats": count, "rows": rows, "difference": None}
    assert home.tree() == before
    if os.environ.get("AWM_GOLDEN"):
        golden(home, story.__name__)


def golden(home: Home, story: str) -> None:
    """Keep the recording, without what is this machine's."""
    text = (
        recorded(home)
        .read_text()
        .replace(str(home.path), "/home/you/sprints")
        .replace(str(home.root), "/home/you")
        .replace(clock.boot_id(), "boot")
    )
    (REPOSITORY / "tests" / "golden").mkdir(exist_ok=True)
    (REPOSITORY / "tests" / "golden" / f"{__version__}-{story}.jsonl").write_text(text)


def test_each_beat_is_shown_with_what_others_did_before_it(home: Home) -> None:
    """A line a beat: its time, its rows and reasons, and which keys people and commands changed (SPEC 14)."""
    home.spec("S1", "exit 3", header="**Commit:** no")
    home.config("[loop]\nmax_retries = 0\n")
    home.queue("S1")
    home.finish()
    home.spec("S2", "true", header="**Commit:** no")
    assert awm(home, "add", str(home.root / "SPRINT_S2_SPEC.md"), "--id", "S2").code == 0
    home.finish()

    shown = awm(home, "replay", "--show").out

    *beats, total = [re.sub(r"^\S+Z  ", "", line) for line in shown.splitlines()]
    assert beats[0] == "S1 attempt 1: queued ready -> launching, launch (local)"
    assert only([line for line in beats if "S2 attempt 2: queued" in line]) == (
        "S2 attempt 2: queued ready -> launching, launch (local)"
        "  [others changed active, queue, specFiles, idleSince, outbox, report, seq]"
    )
    assert total == f"{len(beats)} beats, 8 rows replayed: the same"
    fewer = awm(home, "replay", "--show", "--from", str(home.journal()[-1]["seq"])).out
    assert fewer.splitlines()[0] == shown.splitlines()[-2].partition("  [")[0]
    assert fewer.splitlines()[1].startswith("1 beat, ")


def finished(home: Home) -> Path:
    """The recording of a task that succeeded, and of nothing else."""
    home.spec("S1", "true", header="**Commit:** no")
    home.queue("S1")
    home.finish()
    home.end_all()
    return recorded(home)


def test_one_character_of_an_observation_makes_a_difference(home: Home) -> None:
    """It is told where, what was done and what would be, and asked for as a bug report; exit 70 (SPEC 6.3)."""
    path = finished(home)
    changed = home.root / "changed.jsonl"
    text, observed = path.read_text(), '"text": "", "title": "Thing S1"'
    assert text.count(observed) == 1
    changed.write_text(text.replace(observed, observed.replace("Thing", "Thong")))

    done = awm(home, "replay", str(changed), named=False)
    told = awm(home, "replay", "--json", str(changed), named=False)

    assert (done.code, done.err, told.code) == (70, "", 70)
    at = clock_text(lines(home)[0])
    row = "S1 attempt 1: queued ready -> launching, launch (local)"
    assert done.out.splitlines()[:6] == [
        f"{changed}:1  {at}: a difference",
        f"  then  {row}",
        f"  now   {row}",
        "  /attempts/0/title",
        '    then  "Thing S1"',
        '    now   "Thong S1"',
    ]
    assert f"Please report it, with the line above of {changed}" in done.out
    assert json.loads(told.out) == {
        "beats": 0,
        "rows": 0,
        "difference": {
            "at": f"{changed}:1",
            "time": at,
            "rowsThen": [row],
            "rowsNow": [row],
            "state": {"/attempts/0/title": {"then": "Thing S1", "now": "Thong S1"}},
        },
    }


def clock_text(line: str) -> str:
    wall = json.loads(line)["now"]["wall"]
    return f"{wall[:23]}Z"


def test_another_table_makes_a_difference(home: Home) -> None:
    """A copy of the package whose table fails what succeeds is caught by any recording (SPEC 7.1)."""
    path = finished(home)
    shutil.copytree(REPOSITORY / "awm_loop", home.root / "copy" / "awm_loop", ignore=shutil.ignore_patterns("*.pyc"))
    table = home.root / "copy" / "awm_loop" / "core" / "machine.py"
    row = "S.SUCCEEDED,          P.COMPLETED, tell=Tell.COMPLETED"
    text = table.read_text()
    assert text.count(row) == 1
    table.write_text(text.replace(row, "S.SUCCEEDED,          P.FAILED, tell=Tell.FAILED"))

    done = awm(home, "replay", str(path), PYTHONPATH=str(home.root / "copy"), named=False)

    assert done.code == 70
    assert only([line for line in done.out.splitlines() if "ended succeeded -> completed" in line][:1]) == (
        "  then  S1 attempt 1: ended succeeded -> completed"
    )
    assert "  now   S1 attempt 1: ended succeeded -> failed" in done.out.splitlines()


def test_a_home_without_beats_has_nothing_to_replay(home: Home) -> None:
    """No recording is no difference."""
    assert awm(home, "replay").out == "0 beats, 0 rows replayed: the same\n"


def test_a_file_that_is_no_recording_is_refused(home: Home) -> None:
    """By its line, and with exit 78 (SPEC 6.3)."""
    path = home.root / "file.jsonl"
    path.write_text('{"seq": 1}\n')

    done = awm(home, "replay", str(path), named=False)

    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(f"awm: {path}, line 1: is not the record of a beat: ")
