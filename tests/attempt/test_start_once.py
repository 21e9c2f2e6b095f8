"""The two halves of a start that happens once: who looks holds the lock, who starts looks first (SPEC 8.1)."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from awm_loop import clock
from awm_loop.attempt import directory as attempt_directory
from awm_loop.attempt import supervise
from awm_loop.attempt.directory import AttemptDirectory, let_go, put, take_lock
from awm_loop.attempt.spawn import Spare
from awm_loop.attempt.supervise import begin, marker, tend
from awm_loop.core.observation import ProbeFailed

REPOSITORY = Path(__file__).parents[2]
LOOK = """\
import sys
from pathlib import Path
from awm_loop import clock
from awm_loop.attempt.directory import AttemptDirectory, look
print(look(AttemptDirectory(Path(sys.argv[1])), clock.now()))
"""
ORDER = {
    "key": "0a1b2c3d4e5f.1", "task": "S1", "number": 1, "agent": "local", "kind": "command", "command": ("true",), "model": "",
    "env_pass": (), "home": "/", "workspace": "/", "limit_seconds": 60.0, "sample_seconds": 20.0, "stop_grace_seconds": 0.1,
    "require_commit": False, "base": None,
}  # fmt: skip
RESULT = {
    "outcome": "succeeded", "exitCode": 0, "startedAt": "2026-11-21T00:00:00Z", "endedAt": "2026-11-21T00:00:01Z",
    "seconds": 1.0, "summary": "", "error": "", "question": "", "sessionId": "", "tokens": None, "costUsd": None,
    "commits": [], "gate": None, "limit": None, "advice": None, "contextShare": None, "remark": "", "removedLocks": [],
}  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> AttemptDirectory:
    """An attempt that was ordered and never began."""
    put(tmp_path / "order.json", json.dumps(ORDER))
    return AttemptDirectory(tmp_path)


def look(directory: AttemptDirectory, fault: str) -> subprocess.Popen[str]:
    """A process that looks at the attempt and meets `fault` on its way."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "AWM_FAULT": f"{fault} log={directory / 'faults'}"}
    command = [sys.executable, "-P", "-c", LOOK, str(directory.path)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("point", ["attempt.look:locked", "attempt.look:no-result"])
def test_who_looks_holds_the_lock_over_both_reads(directory: AttemptDirectory, point: str) -> None:
    """Else the answer is of two times: a result that comes in between is never seen, and the work done again."""
    with look(directory, f"at={point} do=stop") as looker:
        os.waitid(os.P_PID, looker.pid, os.WSTOPPED)
        taken = take_lock(directory / "sup.lock")
        os.kill(looker.pid, signal.SIGCONT)
        said, _ = looker.communicate()

    assert taken is None
    assert said == "NotStarted()\n"


def test_who_looks_takes_the_lock_once(directory: AttemptDirectory) -> None:
    """To let go and take it again between two reads is to look at two times (docs/decisions/0001)."""
    with look(directory, "at=attempt.lock:taken nth=2 do=kill") as looker:
        said, _ = looker.communicate()

    assert (looker.returncode, said) == (0, "NotStarted()\n")


@pytest.mark.parametrize("why", ["asked to stop", "has a result", "began before"])
def test_nothing_begins_that_must_not(directory: AttemptDirectory, why: str) -> None:
    """Not for a moment: what an agent does in its first second may be what the stop was to prevent (SPEC 8.1, 8.3)."""
    if why == "asked to stop":
        directory.write_stop_request("operator")
    elif why == "has a result":
        put(directory / "result.json", json.dumps(RESULT))
    else:
        assert directory.pass_start(marker())
    fd = take_lock(directory / "sup.lock")
    assert fd is not None

    begun = begin(directory, fd, lambda order: None, Spare.fork)

    assert begun is None
    assert (directory / "started").exists() == (why == "began before")
    free = take_lock(directory / "sup.lock")
    assert free is not None
    let_go(free)


def test_nothing_begins_while_somebody_holds_the_lock_of_the_agent(directory: AttemptDirectory) -> None:
    """An agent of this number may live: the start is not passed, and who looks finds nobody there (SPEC 8.1, 15)."""
    held, fd = take_lock(directory / "agent.lock"), take_lock(directory / "sup.lock")
    assert held is not None
    assert fd is not None

    begun = begin(directory, fd, lambda order: None, Spare.fork)

    free = take_lock(directory / "sup.lock")
    assert (begun, (directory / "started").exists(), free is None) == (None, False, False)
    let_go(free or -1)
    let_go(held)


def test_an_attempt_is_tended_by_one(directory: AttemptDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes second waits for a beat that only looks, and then goes (SPEC 8.1)."""
    monkeypatch.setattr(supervise, "ATTEMPT_LOCK_WAIT_SECONDS", 0.1)
    first = tend(directory)
    assert first is not None

    assert tend(directory) is None
    let_go(first)
    second = tend(directory)
    assert second is not None
    let_go(second)


def test_a_start_is_passed_once_on_a_full_disk_too(directory: AttemptDirectory) -> None:
    """The name alone decides; what could not be written into it counts as nothing (SPEC 8.1)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        passed = [directory.pass_start(marker()) for _ in range(2)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert (passed, directory.marker()) == ([True, False], None)


def test_a_lock_that_cannot_be_seen_is_a_failed_probe(directory: AttemptDirectory) -> None:
    """Never the end of an attempt: nothing is concluded from what could not be seen (SPEC 8.1, 17)."""
    (directory / "sup.lock").symlink_to("sup.lock")

    seen = attempt_directory.look(directory, clock.now())

    assert seen == ProbeFailed(reason=f"{directory.path}: Too many levels of symbolic links")


def test_what_an_agent_put_in_the_place_of_a_file_of_ours_is_moved_aside(directory: AttemptDirectory) -> None:
    """Else no result could be written, and what is done would be done again (SPEC 8.2, 17)."""
    (directory / "stop" / "mine").mkdir(parents=True)

    directory.write_stop_request("skip")

    request = directory.stop_request()
    aside = list(directory.path.glob("stop.*.aside/mine"))
    assert (request and request.why, len(aside)) == ("skip", 1)
