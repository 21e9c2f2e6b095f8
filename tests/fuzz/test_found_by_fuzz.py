"""What the fuzz found, each shrunk to its story: these once crashed a beat or a verb, or left a state nobody could read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import example
import pytest
from bad_input import Scene, dumped, scene
from click.testing import CliRunner
from home import REPOSITORY
from test_attempt_files import FILES

from awm_loop import clock
from awm_loop.attempt.directory import let_go, look, take_lock
from awm_loop.cli.main import awm
from awm_loop.core.observation import Alive


@pytest.fixture
def found() -> Iterator[Scene]:
    """A home whose one queued task can be started, in a state with a history."""
    with scene() as made:
        state = made.state()
        made.put(dumped({"queue": ["S2"], "project": state["project"], "specFiles": state["specFiles"]}))
        yield made


def say(found: Scene, *words: str) -> str:
    done = CliRunner().invoke(awm, ["--home", str(found.path), *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def state_after_a_beat(found: Scene) -> dict[str, Any]:
    """What the next beat can read."""
    found.beat()
    loaded = found.opened().store.load(clock.now())
    assert loaded is not None
    return dict(loaded.raw)


def journal(found: Scene, **fields: object) -> None:
    entry = {"seq": 1, "at": "2026-11-21T12:00:00Z", "what": "said"} | fields
    (found.path / "state" / "log.jsonl").write_bytes(dumped(entry) + b"\n")


def test_a_wait_that_ends_in_no_year_has_no_time(found: Scene) -> None:
    """SPEC 9.2: `leftSeconds` by hand, thirty thousand years; `awm status` and `--json` counted beyond Python's last."""
    now = clock.now()
    until = "2026-11-21T12:05:00Z"
    hand = {"until": until, "leftSeconds": 1e12, "wall": until, "boottime": now.boottime, "bootId": now.boot_id}
    state = json.loads(found.state_path.read_bytes())
    found.put(dumped(state | {"tasks": {"S2": {"notBefore": until, "notBeforeClock": hand}}}))

    assert json.loads(say(found, "status", "--json"))["nextDue"] is None


@pytest.mark.parametrize("seq", [10**15, 10**20, 10**30])
def test_a_journal_entry_with_an_absurd_number_is_none(found: Scene, seq: int) -> None:
    """SPEC 4.3, 15.10: the state went on from it, with a number that it could not be read with."""
    journal(found, seq=seq)

    assert state_after_a_beat(found)["seq"] == 1


def test_a_journal_entry_that_says_no_text_is_none(found: Scene) -> None:
    """SPEC 3.2: `awm status` looked a list up, where a channel had failed."""
    journal(found, what=["a"])
    channel = {"url-1": {"failures": 1}}
    outbox = example.full()["outbox"][0] | {"channels": ["url-1"]}
    state = json.loads(found.state_path.read_bytes())
    found.put(dumped(state | {"channels": channel, "outbox": [outbox]}))

    assert json.loads(say(found, "status", "--json"))["last"] is None
    assert say(found, "logs") == ""


def test_a_time_that_is_none_is_shown_as_it_stands(found: Scene) -> None:
    """SPEC 4.6: people write in the state's log, and that is carried to the journal; `awm logs` wanted a time."""
    journal(found, at="yesterday")

    assert say(found, "logs").split() == ["yesterday", "said"]


def test_a_log_entry_of_the_state_that_says_no_text_is_a_strangers(found: Scene) -> None:
    """SPEC 15.14: a beat looked a list up among its rows, and ended with a traceback."""
    state = json.loads(found.state_path.read_bytes())
    found.put(dumped(state | {"log": [{"what": []}]}))

    assert state_after_a_beat(found)["log"][0] == {"what": []}


def test_a_file_of_history_that_is_no_revision_is_left_alone(found: Scene) -> None:
    """SPEC 3.2: `²` is a digit to Python and no number; of thirty nines, the next revision could not be read."""
    good = say(found, "check")
    assert good
    state = state_after_a_beat(found)
    for name in ("²", "9" * 30):
        (found.path / "state" / "history" / f"{name}.json").write_bytes(found.state_path.read_bytes())

    assert say(found, "restore", "--dry-run").endswith("is the last good copy already\n")
    found.put(dumped(state | {"active": False}))
    assert state_after_a_beat(found)["rev"] == state["rev"] + 1


def test_a_directory_with_the_number_of_no_attempt_is_no_attempt(found: Scene) -> None:
    """SPEC 8.1, 15.2: the next number came after the largest there is, and the state could not be read."""
    (found.path / "state" / "attempts" / f"{'0' * 12}.{'9' * 15}").mkdir(parents=True)

    assert state_after_a_beat(found)["nextAttempt"] == 2


@pytest.mark.parametrize(
    ("line", "idle_seconds"),
    [
        (b"[" * 60_000, 3.0),
        (b'{"idleSeconds": NaN}', 0.0),
        (b'{"idleSeconds": 1e999}', 0.0),
        (b'{"idleSeconds": 1' + b"0" * 400 + b"}", 0.0),
        (b'{"idleSeconds": -5}', 0.0),
    ],
)
def test_a_sample_that_is_no_length_of_time_says_nothing(found: Scene, line: bytes, idle_seconds: float) -> None:
    """SPEC 8.4: the agent can write there; nested without an end it crashed each beat, as no number it hid a stall."""
    found.attempt.path.mkdir(parents=True)
    (found.attempt / "started").write_bytes(b"")
    (found.attempt / "samples.jsonl").write_bytes(b'{"idleSeconds": 3.0}\n' + line + b"\n")
    lock = take_lock(found.attempt / "sup.lock")
    assert lock is not None
    try:
        seen = look(found.attempt, clock.now())
    finally:
        let_go(lock)

    assert seen == Alive(idle_seconds=idle_seconds, busy_seconds=0.0, running_seconds=0.0)


@pytest.mark.parametrize(
    "fields",
    [{"tokens": {"input": 10**15 + 1}}, {"contextShare": 7.5}, {"costUsd": -1}, {"seconds": -1}, {"exitCode": 10**30}],
)
def test_a_result_with_a_number_no_state_may_hold_is_no_result(found: Scene, fields: dict[str, object]) -> None:
    """SPEC 8.2: the agent can write there; the state took it over, and no beat could read it any more."""
    found.attempt.path.mkdir(parents=True)
    (found.attempt / "result.json").write_bytes(dumped(FILES["result.json"]))
    good = found.attempt.result()
    (found.attempt / "result.json").write_bytes(dumped(FILES["result.json"] | fields))

    assert (good is None, found.attempt.result()) == (False, None)


@pytest.mark.parametrize(
    ("named", "code", "said"),
    [
        ("{root}/" + "a" * 300, 74, "cannot open {root}/" + "a" * 300 + ": File name too long"),
        ("{root}/loop", 78, "the home {root}/loop does not exist"),
        ("~nobody-has-this/sprints", 78, "the home {cwd}/~nobody-has-this/sprints does not exist"),
    ],
)
@pytest.mark.parametrize("is_timer", [False, True])
def test_a_home_that_cannot_be_looked_at_is_the_operators_trouble(
    tmp_path: Path, named: str, code: int, said: str, is_timer: bool
) -> None:
    """SPEC 6.3: each of these ended with a traceback, as did a home in a directory of another user."""
    (tmp_path / "loop").symlink_to("loop")
    places = {"root": tmp_path, "cwd": tmp_path}
    program = [str(REPOSITORY / "heartbeat.py")] if is_timer else ["-m", "awm_loop.cli.main"]
    verb = [] if is_timer else ["status"]

    done = subprocess.run(
        [sys.executable, *program, "--home", named.format(**places), *verb],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[0] == f"awm: {said.format(**places)}"
