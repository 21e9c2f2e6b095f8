"""What a new user was told and was not true, or could not type: the words of the verbs that show the loop (SPEC 14)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from filelock import FileLock
from home import QUICK, REPOSITORY, Done, Home
from test_verbs import awm
from test_why import ASK, why

NEXT = "  next       "


def status(home: Home) -> list[str]:
    done = awm(home, "status")
    assert (done.code, done.err) == (0, "")
    return done.out.splitlines()


@contextmanager
def begun(home: Home, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A verb in a process of its own that goes on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "awm_loop.cli.main", *arguments],
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def holding(home: Home) -> str:
    """A script that works until `go` exists."""
    return home.work(f"while [ ! -e {home.root}/go ]; do sleep 0.05; done")


def test_a_loop_in_which_nothing_runs_does_not_say_that_it_works(home: Home) -> None:
    """SPEC 14: after add and resume it waits, after skip it is idle; before the first beat it says what to type."""
    home.queue()
    awm(home, "add", str(home.spec("S1")))
    added = status(home)
    awm(home, "pause")
    awm(home, "resume")
    resumed = status(home)
    awm(home, "skip", "S1")
    skipped = status(home)

    assert (added[0], added[-1]) == (
        f"● waiting  {home.path}",
        f"{NEXT}your timer's next beat starts it; no timer yet: awm run, or awm install for a timer",
    )
    assert (resumed[0], resumed[-1]) == (added[0], added[-1])
    assert skipped[0] == f"● idle  {home.path}"
    assert skipped[-1] == f"{NEXT}awm add SPEC.md queues more"
    assert json.loads(awm(home, "status", "--json").out)["loop"] == "idle"


def test_status_names_the_task_to_answer_and_the_one_to_retry(home: Home) -> None:
    """SPEC 7.2, 14: what stands there can be typed; what a person skipped needs nobody."""
    home.spec("S1", ASK)
    home.spec("S2", "exit 3")
    home.spec("S3")
    home.queue("S1", "S2", "S3", maxRetries=0)
    awm(home, "skip", "S3")
    home.finish(0.2)

    lines = status(home)

    assert lines[-3:] == [
        f'{NEXT}awm answer S1 "…" answers it',
        "             awm retry S2 queues it again; awm why S2 says more",
        "             awm add SPEC.md queues more",
    ]


def test_watch_leaves_out_what_was_skipped_by_hand(home: Home) -> None:
    """SPEC 14: NEEDS YOU lists what needs a person; `why` of the other speaks of no cause to mend."""
    home.spec("S1")
    home.queue("S1", failed=["S9"])
    awm(home, "skip", "S1", "--reason", "not needed")

    shown = awm(home, "watch").out

    assert "\nNEEDS YOU\nS9  failed" in shown
    assert "S1  skipped — not needed" not in shown
    assert why(home, "S1")["next"] == ["awm retry S1   queues it again"]


def test_watch_says_in_words_that_an_attempt_is_late(home: Home) -> None:
    """SPEC 12.1, 14: no identifiers."""
    home.spec("S1", holding(home), header="**Est:** 1 sec")
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: "running late -> running" in home.rows("S1"), beat_every=0.2)

    shown = awm(home, "watch").out

    assert "S1  still running" in shown
    assert "still_running" not in shown


def test_a_run_does_not_end_before_its_last_notices_are_said(home: Home) -> None:
    """SPEC 6.6, 12.2: while another process delivers it waits, as nobody would say them here after it."""
    home.spec("S1")
    home.queue("S1")
    lock = FileLock(home.path / "state" / "outbox.lock")
    with lock, begun(home, "--home", str(home.path), "run") as run:
        home.wait_for(lambda: home.is_idle)
        until = time.monotonic() + 2.0  # in which it would have ended
        home.wait_for(lambda: run.poll() is not None or time.monotonic() > until)
        lock.release()
        told = run.communicate(timeout=60)[0]

    assert [told.count(word) for word in ("started", "COMPLETE", "Queue finished")] == [1, 1, 1]


def test_a_second_run_says_that_the_first_shows_the_notices(home: Home) -> None:
    """SPEC 6.6, 12.2: not each a random half; both end with the queue."""
    home.spec("S1", holding(home))
    home.spec("S2")
    home.queue("S1", "S2")
    with begun(home, "--home", str(home.path), "run") as first:
        home.wait_for(lambda: home.begun() == ["S1"])
        with begun(home, "--home", str(home.path), "run") as second:
            said = second.stdout.readline() if second.stdout else ""
            (home.root / "go").touch()
            told, rest = first.communicate(timeout=60)[0], second.communicate(timeout=60)[0]

    assert said == "another `awm run` shows the notices of this home; they come here when that one ends\n"
    assert [told.count(word) for word in ("started", "COMPLETE", "Queue finished")] == [2, 2, 1]
    assert (first.returncode, second.returncode, rest) == (0, 0, "")


def test_a_second_run_takes_over_when_the_first_is_left(home: Home) -> None:
    """SPEC 6.6, 12.2: no notice is lost."""
    home.spec("S1", holding(home))
    home.queue("S1")
    with begun(home, "--home", str(home.path), "run") as first:
        home.wait_for(lambda: home.begun() == ["S1"])
        with begun(home, "--home", str(home.path), "run") as second:
            said = second.stdout.readline() if second.stdout else ""
            first.send_signal(signal.SIGINT)
            first.communicate(timeout=60)
            (home.root / "go").touch()
            rest = second.communicate(timeout=60)[0]

    assert said.startswith("another `awm run`")
    assert [rest.count(word) for word in ("COMPLETE", "Queue finished")] == [1, 1]


def test_run_speaks_of_a_stall_in_words(home: Home) -> None:
    """SPEC 6.6: rows of the table are for logs."""
    home.config("[loop]\nstall_minutes = 0.02\nsample_seconds = 0.1\nstrikes_max = 1\nstop_grace_seconds = 0.3\n")
    home.spec("S1", "sleep 600")
    home.queue("S1")

    done = awm(home, "run")

    assert "S1 is being stopped: no progress for 0.0 min, mostly idle\n" in done.out
    assert "->" not in done.out


def test_run_does_not_say_that_nothing_was_queued_when_all_was_blocked(home: Home) -> None:
    """SPEC 6.6: its own report stands above."""
    home.queue("S1")

    done = awm(home, "run")

    assert "✋ Waiting for you: S1" in done.out
    assert "nothing queued" not in done.out


def test_the_demo_left_with_ctrl_c_leaves_nothing_behind(home: Home) -> None:
    """SPEC 14: what it says is true: no agents, no home."""
    with begun(home, "demo", TMPDIR=str(home.root)) as process:
        home.wait_for(lambda: list(home.root.glob("awm-demo-*/state/attempts/*.1/out.log")))
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]

    assert "\nleft; its agents are stopped, and the throw-away home is removed\n" in said
    assert "the agents go on" not in said
    assert (process.returncode, list(home.root.glob("awm-demo-*"))) == (0, [])
    home.wait_for(lambda: not home.processes())


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        ("true", "where none is wanted, `**Commit:** no` in its spec says so"),
        ("git commit -q --allow-empty -m x", "the file at `gate` shows what its gate printed"),
    ],
)
def test_why_says_how_an_end_without_proof_is_looked_into(home: Home, script: str, hint: str) -> None:
    """SPEC 10.1, 14: a red gate has a file, a missing commit may be meant; `hollow` is nobody's word."""
    home.config(QUICK + '[project]\nverify = "false"\n')
    home.spec("S1", script)
    home.queue("S1", maxRetries=0)
    home.finish(0.2)

    found = why(home, "S1")

    assert found["attempt 1"][0].startswith("not accepted  local, ")
    assert found["next"] == [f"awm retry S1   when its cause is mended; {hint}"]
    assert ("gate" in found) == ("`gate`" in hint)


def test_an_attempts_number_is_not_taken_for_a_count(home: Home) -> None:
    """SPEC 2, 14: a number never returns, whichever task it was of."""
    home.spec("S1")
    home.spec("S2")
    home.queue("S1", "S2")
    home.finish(0.2)

    assert why(home, "S1")["completed"] == ["with attempt 1"]
    assert why(home, "S2")["completed"] == ["with attempt 2; the numbers count all tasks' attempts"]


def test_a_task_that_was_removed_is_told_from_one_that_never_was(home: Home) -> None:
    """SPEC 4.6, 14: the journal knows it, and when."""
    home.spec("S1", home.work("sleep 300"))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    home.edit(lambda state: state.update(attempts=[], inProgress=None))
    home.wait_for(lambda: "ended withdrawn -> removed" in home.rows("S1"), beat_every=0.2)
    at = awm(home, "logs").out.partition("-> removed")[0].splitlines()[-1][:12]

    done = awm(home, "why", "S1")

    assert done == Done(78, "", f"awm: S1 is no task any more: it was removed by hand, {at}\nhint: awm logs S1\n")
    assert awm(home, "logs", "S1").code == 0


def test_restore_with_nobody_to_ask_says_how(home: Home) -> None:
    """SPEC 4.7, 14: no silence; a yes on a pipe is a yes."""
    home.spec("S1")
    home.queue("S1")
    home.finish(0.2)
    good = home.state_path.read_bytes()
    home.put_bytes(b"{")

    refused = awm(home, "restore")
    untouched = home.state_path.read_bytes()
    subprocess.run(
        [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "restore"],
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY)},
        input=b"y\n",
        stdout=subprocess.DEVNULL,
        check=True,
    )

    said = "awm: nothing was restored: there is nobody to ask\nhint: `awm restore --yes` does not ask\n"
    assert (refused.code, refused.err[-len(said) :]) == (78, said)
    assert (untouched, home.state_path.read_bytes()) == (b"{", good)


def test_a_reader_that_goes_away_is_no_error(home: Home) -> None:
    """SPEC 6.3: `awm status | head -1` in a script with `set -o pipefail`."""
    home.queue("S1")
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "status"],
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY)},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (0, b"")
