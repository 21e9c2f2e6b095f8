"""One attempt under a supervisor that ends in order, however its agent goes about it (SPEC 8.2, 8.3)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from awm_loop import clock
from awm_loop.attempt import supervise
from awm_loop.attempt.directory import AttemptDirectory, put, take_lock
from awm_loop.attempt.spawn import Invocation, Spare
from awm_loop.attempt.stage import End, Stage, Tended
from awm_loop.attempt.supervise import Course, Run, marker, tend
from awm_loop.cli import supervision
from awm_loop.cli.supervision import READ_AHEAD_BYTES_MAX, Image
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Result
from awm_loop.errors import DiskError
from awm_loop.store import document
from awm_loop.wiring import Home

REPOSITORY = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0
ORDER = {
    "key": "0a1b2c3d4e5f.1", "task": "S1", "number": 1, "agent": "local", "kind": "command", "command": ("true",), "model": "",
    "env_pass": (), "home": "/", "workspace": "/nowhere", "limit_seconds": 60.0, "sample_seconds": 20.0,
    "stop_grace_seconds": 0.1, "require_commit": False, "base": None,
}  # fmt: skip
SUPERVISOR = """
import sys
from pathlib import Path
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.attempt.spawn import Spare, become_subreaper
from awm_loop.attempt.supervise import Run
sys.path.insert(0, {tests!r})
from test_supervise import course, tended
become_subreaper()
path = Path(sys.argv[1])
Run(tended(AttemptDirectory(path)), course(path, sys.argv[2]), set(), Spare.fork).finish()
"""
BROKEN = """
import os
import sys
from pathlib import Path
from awm_loop.attempt.directory import AttemptDirectory, take_lock
from awm_loop.attempt.spawn import Invocation, Spare, become_subreaper, spawn
from awm_loop.attempt.supervise import Run
sys.path.insert(0, {tests!r})
from test_supervise import nothing, tended
become_subreaper()
path = Path(sys.argv[1])
held = tended(AttemptDirectory(path))
run = Invocation(argv=["sleep", "1000"], environment=dict(os.environ), directory=path, stdin_path=Path(os.devnull))
held.child = spawn(run, take_lock(path / "agent.lock"), Spare.fork())
print(held.child.pid, flush=True)
Run(held, nothing(), set(), Spare.fork).finish()
"""


@pytest.fixture
def directory(tmp_path: Path) -> AttemptDirectory:
    """An attempt that was ordered and has begun, with nothing run yet."""
    put(tmp_path / "order.json", json.dumps(ORDER))
    found = AttemptDirectory(tmp_path)
    assert found.pass_start(marker())
    return found


def tended(directory: AttemptDirectory) -> Tended:
    """The attempt, held by this process."""
    order, lock_fd = directory.order(), tend(directory)
    assert order is not None
    assert lock_fd is not None
    return Tended(directory, order, lock_fd)


def course(path: Path, script: str, then: Callable[[], object] = lambda: None) -> Course:
    """One stage, a shell script; its end is the result."""
    invocation = Invocation(
        argv=["sh", "-c", script], environment=dict(os.environ), directory=path, stdin_path=Path("/dev/null")
    )
    end: End = yield Stage(invocation=invocation)
    then()
    now = clock.now().wall
    outcome = end.cut_short or (Outcome.FAILED if end.exit_code else Outcome.SUCCEEDED)
    return Result(
        outcome=outcome, exit_code=end.exit_code, started_at=now, ended_at=now, seconds=0.0, error=end.error
    )  # fmt: skip


def nothing() -> Course:
    """A course that breaks off before its first stage."""
    now = clock.now().wall
    return Result(outcome=Outcome.FAILED, exit_code=None, started_at=now, ended_at=now, seconds=0.0, error="no room")
    yield Stage(invocation=Invocation(argv=(), environment={}, directory=Path(), stdin_path=Path()))


def supervisor(directory: AttemptDirectory, script: str) -> subprocess.Popen[bytes]:
    """A supervisor in a process of its own, which is a subreaper and has no other child."""
    code = SUPERVISOR.format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(directory.path), script],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


def ended(directory: AttemptDirectory, process: subprocess.Popen[bytes]) -> Result:
    assert process.wait(DEADLINE_SECONDS) == 0
    result = directory.result()
    assert result is not None
    return result


def test_all_that_an_agent_printed_is_in_its_log(directory: AttemptDirectory) -> None:
    """Also what the pipe still holds when its last process is gone (SPEC 8.2)."""
    result = ended(directory, supervisor(directory, "head -c 1000000 /dev/zero; echo over >&2; exit 3"))

    assert (result.outcome, result.exit_code) == (Outcome.FAILED, 3)
    assert (directory / "out.log").read_bytes() == bytes(1_000_000) + b"over\n"


def test_a_writer_outside_of_the_tree_keeps_nobody(directory: AttemptDirectory) -> None:
    """Who opened the pipe from outside and writes without end is not the agent's to wait for (SPEC 8.2, 8.3)."""
    ready = directory / "ready"
    process = supervisor(
        directory, f"echo $$ > {ready}.new; mv {ready}.new {ready}; while [ -e {ready} ]; do sleep 0.05; done"
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pid = int(ready.read_text())
    with open(f"/proc/{pid}/fd/1", "wb") as pipe, subprocess.Popen(["yes"], stdout=pipe) as writer:
        try:
            ready.unlink()
            result = ended(directory, process)
            assert writer.wait(DEADLINE_SECONDS) == -signal.SIGPIPE
        finally:
            writer.kill()
            process.kill()

    assert result.outcome == Outcome.SUCCEEDED


def test_a_stage_is_not_run_when_the_end_is_wanted(directory: AttemptDirectory) -> None:
    """A stop between two stages, as between agent and gate (SPEC 8.3)."""
    directory.write_stop_request("skip")

    result = Run(tended(directory), course(directory.path, "touch ran"), set(), Spare.fork).finish()

    assert (result.outcome, result.error) == (Outcome.STOPPED, "asked to end before it was run")
    assert (directory.result(), (directory / "ran").exists()) == (result, False)


@pytest.mark.parametrize("how", ["held", "replaced"])
def test_a_stage_is_not_run_beside_another(
    directory: AttemptDirectory, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something of the stage before hides and holds `agent.lock`, or put a link in its place (SPEC 8.1, 8.3)."""
    monkeypatch.setattr(supervise, "ATTEMPT_LOCK_WAIT_SECONDS", 0.1)
    held = take_lock(directory / "agent.lock") if how == "held" else None
    if held is None:
        (directory / "agent.lock").symlink_to("elsewhere")

    result = Run(tended(directory), course(directory.path, "touch ran"), set(), Spare.fork).finish()
    if held is not None:
        os.close(held)

    said = {
        "held": "something that hides still holds the attempt's lock",
        "replaced": f"{directory.path}/agent.lock: Too many levels of symbolic links",
    }
    assert (result.outcome, result.error) == (Outcome.FAILED, said[how])
    assert not (directory / "ran").exists()


def test_a_result_that_no_disk_will_ever_take_ends_the_supervisor(directory: AttemptDirectory) -> None:
    """Only a full disk is waited for; the attempt is unattended then, and a beat sees to it (SPEC 8.2)."""
    directory.write_stop_request("skip")
    one = tended(directory)

    with pytest.raises(DiskError, match="No such file or directory"):
        Run(one, course(directory.path, "true", lambda: shutil.rmtree(directory.path)), set(), Spare.fork).finish()
    os.close(one.lock_fd)


def test_an_agent_that_runs_is_ended_where_its_course_breaks_off(directory: AttemptDirectory) -> None:
    """It was begun by the beat, and a full disk refused what comes before its stage: it worked on, untended (SPEC 8.3)."""
    code = BROKEN.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(directory.path)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        result = ended(directory, process)

    assert (result.outcome, result.error) == (Outcome.FAILED, "no room")
    assert not Path(f"/proc/{pid}").exists()


def lingering(directory: AttemptDirectory, script: str) -> Run:
    """An agent that runs."""
    run = Run(tended(directory), course(directory.path, script), set(), Spare.fork)
    assert run.reach_agent()
    return run


def test_an_agent_that_ends_soon_is_seen_to(directory: AttemptDirectory) -> None:
    """Its image stays, and what it said is in its log (SPEC 8.2); who has ended is not looked at for a stall first."""
    run = lingering(directory, "echo said")
    assert run.ends_within(DEADLINE_SECONDS)
    assert run.finish().outcome is Outcome.SUCCEEDED
    assert (directory / "out.log").read_bytes() == b"said\n"
    assert not (directory / "samples.jsonl").exists()


def test_an_agent_that_says_much_is_not_kept_waiting(directory: AttemptDirectory) -> None:
    """A pipe that nobody reads holds 64 KiB: who fills it gets an image that reads."""
    run = lingering(directory, "head -c 100000 /dev/zero")
    begun = time.monotonic()
    assert not run.ends_within(DEADLINE_SECONDS)
    assert time.monotonic() - begun < DEADLINE_SECONDS  # for so long who does not look would wait
    assert run.finish().outcome is Outcome.SUCCEEDED
    assert (directory / "out.log").stat().st_size == 100_000


def test_an_agent_that_is_asked_to_end_is_ended_here(directory: AttemptDirectory) -> None:
    """SPEC 8.3: at once, no fresh image comes first."""
    run = lingering(directory, "exec sleep 1000")
    directory.write_stop_request("operator")
    assert run.ends_within(DEADLINE_SECONDS)
    assert run.finish().outcome is Outcome.STOPPED


def test_an_image_lingers_only_while_it_is_young(directory: AttemptDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of nothing but short tasks still runs the code as it stands (SPEC 8.2)."""
    monkeypatch.setattr(supervision, "LINGER_SECONDS", DEADLINE_SECONDS)
    run = lingering(directory, "exec sleep 1000")
    begun = time.monotonic()
    assert not Image(directory.path, Spare.fork, set(), fresh_until=begun).lingers(Home.open(directory.path), run)
    assert time.monotonic() - begun < DEADLINE_SECONDS  # for so long who does not look at its age would wait
    directory.write_stop_request("operator")
    assert run.finish().outcome is Outcome.STOPPED


@pytest.mark.parametrize(
    ("script", "others_bytes", "looks_count"),
    [("exec sleep 0.3", 0, 1), (":", 0, 0), ("exec sleep 0.3", READ_AHEAD_BYTES_MAX, 0)],
)
def test_an_image_that_lingers_reads_the_state_while_the_agent_works(
    directory: AttemptDirectory, tmp_path: Path, script: str, others_bytes: int, looks_count: int
) -> None:
    """At the agent's end it is known, if it is still the same; nothing comes before an end at once, or takes long."""
    home = Home.open(tmp_path)
    home.store.prepare()
    home.store.create("/p")
    with home.store.path.open("a") as file:
        file.write(" " * others_bytes)
    document.parse.cache_clear()
    run = lingering(directory, script)
    image = Image(home.path, Spare.fork, set(), fresh_until=time.monotonic() + DEADLINE_SECONDS)
    try:
        assert image.lingers(home, run)
        assert document.parse.cache_info().misses == looks_count
    finally:
        if image.spare is not None:
            image.spare.dismiss()
        run.finish()


def test_who_delivered_is_collected_also_where_no_agent_runs(directory: AttemptDirectory) -> None:
    """A queue of attempts that end before their agents leaves no dead, whose pids may be others' (SPEC 15.9)."""
    delivering = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, delivering, os.WEXITED | os.WNOWAIT)
    image = Image(directory.path, Spare.fork, {delivering}, fresh_until=0.0)
    image.collect()
    assert image.spared == set()
    assert not Path(f"/proc/{delivering}").exists()
