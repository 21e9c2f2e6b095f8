"""A spare process becomes an agent, whatever was done to it meanwhile; locks are let go at once (SPEC 8.1, 8.2)."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from awm_loop.attempt.directory import let_go, take_lock
from awm_loop.attempt.procfs import open_files
from awm_loop.attempt.spawn import Child, Invocation, Spare, spawn
from awm_loop.errors import AwmError

DEADLINE_SECONDS = 60.0


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    fd = take_lock(tmp_path / "agent.lock")
    assert fd is not None
    yield fd
    os.close(fd)


def run(script: str, directory: Path, lock: int, spare: Spare | None = None) -> tuple[int, bytes]:
    """The exit code and the output of a shell that is spawned as an agent is."""
    invocation = Invocation(
        argv=["sh", "-c", script], environment=dict(os.environ), directory=directory, stdin_path=Path("/dev/null")
    )
    child = spawn(invocation, lock, spare or Spare.fork())
    assert isinstance(child, Child), child
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    with os.fdopen(child.output_fd, "rb") as output:
        return code, output.read()


def test_a_spare_holds_no_lock_when_it_is_there(tmp_path: Path, lock: int) -> None:
    """Else the next beat takes the attempt of a supervisor that let go for one that lives, and its kick is lost (SPEC 6.5)."""
    for _ in range(20):
        spare = Spare.fork()
        held = [target for _, target in open_files(spare.pid)]
        os.kill(spare.pid, signal.SIGKILL)
        os.waitpid(spare.pid, 0)
        spare.orders.close()
        os.close(spare.pidfd)

        assert str(tmp_path / "agent.lock") not in held


def test_a_lock_is_let_go_at_once_though_a_fork_has_a_copy(tmp_path: Path) -> None:
    """A flock belongs to the open file: closing is not enough (SPEC 6.5)."""
    fd = take_lock(tmp_path / "sup.lock")
    assert fd is not None
    os.set_inheritable(fd, True)
    with subprocess.Popen(["sleep", "1000"], pass_fds=[fd]) as copier:
        let_go(fd)
        again = take_lock(tmp_path / "sup.lock")
        copier.kill()

    assert again is not None
    os.close(again)


def test_a_spare_that_somebody_stopped_becomes_the_agent(tmp_path: Path, lock: int) -> None:
    """The state lock is held meanwhile: to wait for ever would stop the loop (SPEC 6.2)."""
    spare = Spare.fork()
    os.kill(spare.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, spare.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    assert run("echo there", tmp_path, lock, spare) == (0, b"there\n")


def test_where_the_spare_is_gone_another_is_forked(tmp_path: Path, lock: int) -> None:
    """Somebody ended it while the agent before it worked (SPEC 8.2)."""
    spare = Spare.fork()
    os.kill(spare.pid, signal.SIGKILL)
    os.waitpid(spare.pid, 0)

    assert run("echo there", tmp_path, lock, spare) == (0, b"there\n")


ASKS = """
import json, os, signal, sys
from awm_loop.attempt import procfs
from awm_loop.attempt.spawn import Nursery, become_subreaper
nursery = Nursery.fork()
become_subreaper()
for trouble in sys.argv[1:]:
    os.kill(nursery.pid, getattr(signal, trouble))
    os.waitid(os.P_PID, nursery.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
spares = [nursery.spare() for _ in range(2)]
if os.fork():  # who holds their orders too, so that only the death of who asked can end them
    seen = [procfs.read(one.pid) for one in spares]
    held = [name for one in seen for name, _ in procfs.open_files(one.pid) if name not in ("fd/0", "fd/1", "fd/2")]
    is_asked = nursery.orders.fileno() >= 0
    print(json.dumps([os.getpid(), [[one.pid, one.ppid, one.sid] for one in seen], held, is_asked]), flush=True)
sys.stdin.read()
"""
RUNS = """
import os, sys
from pathlib import Path
from awm_loop.attempt.directory import take_lock
from awm_loop.attempt.spawn import Invocation, Nursery, become_subreaper, spawn
nursery = Nursery.fork()
become_subreaper()
listing = ["sh", "-c", "ls -l /proc/$$/fd"]
invocation = Invocation(argv=listing, environment=dict(os.environ), directory=Path("/"), stdin_path=Path(os.devnull))
child = spawn(invocation, take_lock(Path(sys.argv[1])), nursery.spare())
os.waitpid(child.pid, 0)
print(os.read(child.output_fd, 10_000).decode())
"""


@pytest.mark.parametrize("trouble", [(), ("SIGKILL",), ("SIGSTOP",)], ids=["well", "gone", "stopped"])
def test_a_spare_of_the_nursery_is_a_child_of_who_asked_and_dies_with_it(
    trouble: tuple[str, ...], tmp_path: Path
) -> None:
    """Also where there is no nursery any more, or it does not answer: then it is forked here (SPEC 8.2)."""
    command, log = [sys.executable, "-c", ASKS, *trouble], tmp_path / "points"
    environment = os.environ | {"AWM_FAULT": f"seed=1 pause=1 pause_seconds=0 log={log}"}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        asker, spares, held, is_asked = json.loads(process.stdout.readline())
        assert is_asked is (trouble != ("SIGSTOP",))  # it cost a second, and the next spare shall not
        assert spares == [[pid, asker, pid] for pid, _, _ in spares]
        assert len([name for name in held if name.startswith("fd/")]) == 2  # the end of its orders, each
        pidfds = [os.pidfd_open(pid) for pid, _, _ in spares]
        process.kill()
        forks_here = [line for line in log.read_text().splitlines() if line.startswith("spawn.fork:after")]
        assert len(forks_here) == (3 if trouble else 1)
        for fd in pidfds:
            assert select.select([fd], [], [], DEADLINE_SECONDS)[0]
            os.close(fd)


@pytest.mark.parametrize("is_of_nursery", [False, True])
def test_an_agent_has_its_streams_and_its_lock_and_no_other_file(
    tmp_path: Path, lock: int, is_of_nursery: bool
) -> None:
    """Above all not the order by which it was made (SPEC 8.2)."""
    if is_of_nursery:
        command = [sys.executable, "-c", RUNS, str(tmp_path / "other.lock")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace("other", "agent")
    else:
        said = run("ls -l /proc/$$/fd", tmp_path, lock)[1].decode()

    targets = sorted(line.partition(" -> ")[2] for line in said.splitlines() if " -> " in line)
    assert [target.partition(":")[0] for target in targets] == [
        "/dev/null",
        str(tmp_path / "agent.lock"),
        "pipe",
        "pipe",
    ]


def test_what_cannot_be_run_is_told(tmp_path: Path, lock: int) -> None:
    """With the part that was at fault (SPEC 8.2)."""
    invocation = Invocation(argv=["./no"], environment={}, directory=tmp_path, stdin_path=Path("/dev/null"))

    assert spawn(invocation, lock, Spare.fork()) == f"program ./no (from {tmp_path}): No such file or directory"


def test_why_no_process_can_be_made_is_told() -> None:
    """By one line and what to look at; here nothing more can be opened (SPEC 8.2)."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(AwmError, match="cannot start another process: Too many open files") as caught:
            Spare.fork()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert caught.value.hint == "`ulimit -u -n; free -h`"


def test_all_descriptors_but_the_named_are_closed(tmp_path: Path) -> None:
    """What a caller handed down is none of ours: cron's lock would be held as long as the work goes on (SPEC 6.1)."""
    with ExitStack() as stack:
        fds = [os.dup(stack.enter_context((tmp_path / "file").open("w")).fileno()) for _ in range(5)]
        kept = {fds[1], fds[3], -1}
        code = f"from awm_loop.attempt.spawn import *\nclose_all_but({kept})\nprint(os.listdir('/proc/self/fd'))"
        done = subprocess.run([sys.executable, "-c", code], pass_fds=fds, capture_output=True, text=True, check=True)
        for fd in fds:
            os.close(fd)

    kept_open = {int(fd) for fd in eval(done.stdout)}
    assert kept_open & set(fds) == {fds[1], fds[3]}
