"""What a hostile caller, a hostile agent or a broken machine does to the processes of an attempt (SPEC 6.2, 8, 17).

What an agent leaves in files is in `test_attacks_on_files`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from home import QUICK, REPOSITORY, Home, is_running, kill, only
from test_disk_trouble import SMALL, Disk, fill_inodes, on_disk, queue_one_more

from awm_loop.attempt.procfs import open_files, read

__all__ = ["on_disk"]

SUPERVISOR = 'sup=$(cut -d" " -f4 /proc/$$/stat)'
SPARE = f"{SUPERVISOR}\nfor k in $(cat /proc/$sup/task/$sup/children); do [ $k = $$ ] || spare=$k; done"


def called(home: Home, *prefix: str, prepare: Callable[[], object] | None = None) -> subprocess.CompletedProcess[str]:
    """One beat, called in a strange way."""
    return subprocess.run(
        [*prefix, sys.executable, str(REPOSITORY / "heartbeat.py"), "--home", str(home.path)],
        env=home.environ(),
        cwd="/",
        capture_output=True,
        text=True,
        preexec_fn=prepare,
        check=False,
    )


# The caller


def test_a_caller_that_ignores_the_end_of_children_does_not_matter(home: Home) -> None:
    """Ignored signals survive exec: the kernel would take the agent's exit code, and git's (SPEC 8.2)."""
    home.spec("S1")
    home.queue("S1")

    called(home, prepare=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    home.wait_for(lambda: home.is_idle, seconds=20)

    assert (home.state()["completed"], only(home.results())["exitCode"]) == (["S1"], 0)


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "<&-", "2>&-"])
def test_a_caller_that_closes_the_standard_streams_does_not_matter(closed: str, home: Home) -> None:
    """Else lock and log get the numbers 0 to 2, and what a supervisor has there takes their place (SPEC 8.1, 15.1)."""
    go = home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.queue("S1")

    done = called(home, "sh", "-c", f'exec "$@" {closed}', "sh")
    home.wait_for(lambda: home.begun() == ["S1"])
    home.beat()
    go.touch()
    state = home.finish()

    assert (done.returncode, done.stderr, state["completed"]) == (0, "", ["S1"])
    assert (home.begun(), only(home.results())["outcome"]) == (["S1"], "succeeded")


def test_a_beat_with_closed_streams_has_its_exit_code(home: Home) -> None:
    """Also where it can tell nobody why (SPEC 6.3)."""
    home.put_bytes(b"{")

    assert called(home, "sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh").returncode == 78


def test_a_descriptor_of_the_caller_is_not_kept(home: Home) -> None:
    """Cron's `flock -n` would find its lock held as long as the work goes on, and no timer would beat (SPEC 6.5, 8.4)."""
    lock, go = home.root / "cron.lock", home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.queue("S1")

    called(home, "flock", "-n", str(lock))
    home.wait_for(lambda: home.begun() == ["S1"])
    again = called(home, "flock", "-n", str(lock))

    assert again.returncode == 0
    assert [pid for pid in home.processes() if str(lock) in {target for _, target in open_files(pid)}] == []
    go.touch()
    assert home.finish()["completed"] == ["S1"]


# The machine


def test_a_supervisor_that_cannot_be_replaced_goes_on_as_it_is(home: Home) -> None:
    """The program was taken away while the agent worked: the next agent runs already, is watched, and followed (SPEC 8.2)."""
    environment = home.root / "venv"
    (environment / "bin").mkdir(parents=True)
    here = Path(sys.prefix)
    shutil.copy(here / "pyvenv.cfg", environment)
    (environment / "lib").symlink_to(here / "lib")
    program = environment / "bin" / "python"
    program.symlink_to((here / "bin" / "python").resolve())
    home.spec("S1", f"mv {program} {program}.away\n{home.work()}")
    home.spec(
        "S2", home.work(f"until grep -q again {home.path}/state/attempts/*.1/supervisor.log; do sleep 0.02; done")
    )
    home.spec("S3")
    home.queue("S1", "S2", "S3")

    beat = [str(program), str(REPOSITORY / "heartbeat.py"), "--home", str(home.path)]
    subprocess.run(beat, env=home.environ(), cwd="/", capture_output=True, check=True)
    home.wait_for(lambda: len(home.begun()) == 3 and not home.processes())

    log = (home.attempt(1) / "supervisor.log").read_text().splitlines()
    assert log == [f"awm: cannot run {program} again: No such file or directory"]
    assert home.finish()["completed"] == ["S1", "S2", "S3"]
    assert home.begun() == ["S1", "S2", "S3"]


def test_without_inodes_no_attempt_is_used_up(on_disk: Disk) -> None:
    """No agent ran, so nothing failed, nor is it our bug: the same number starts with room (SPEC 4.8, 6.3, 7.2)."""
    home = on_disk(SMALL)
    home.queue()
    tasks, codes = [f"T{left}" for left in (6, 7, 8, 10, 11, 12)], set[int]()
    for task in tasks:
        queue_one_more(home, task)
        make_room = fill_inodes(home, int(task[1:]))
        codes.add(home.heartbeat().code)
        home.wait_for(lambda: not home.supervisors())
        make_room()
        home.finish(beat_every=0.5)

    assert (codes, home.state()["completed"], home.begun()) == ({0, 74}, tasks, tasks)
    assert [result["outcome"] for result in home.results()] == ["succeeded"] * len(tasks)


# The agent, against its supervisor


def test_a_stopped_spare_does_not_stop_the_loop(home: Home) -> None:
    """The next agent is to be it, and is started with the state lock held (SPEC 6.2)."""
    home.spec("S1", f"{SPARE}\nkill -STOP $spare\n{home.work()}")
    home.spec("S2")
    home.queue("S1", "S2")

    home.beat()
    home.wait_for(lambda: home.is_idle, seconds=20)

    assert home.state()["completed"] == ["S1", "S2"]


def test_who_takes_the_pid_of_a_dead_spare_is_swept(home: Home) -> None:
    """A child is spared as long as it is not collected, not for its number (SPEC 8.3)."""
    if not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK):
        pytest.skip("NOT TESTED: pids cannot be chosen here")
    daemon = home.root / "daemon"
    shutil.copy(shutil.which("sleep"), daemon)
    taken = home.root / "taken"
    home.spec(
        "S1",
        f"""{SPARE}
kill -9 $spare
while [ -e /proc/$spare ]; do sleep 0.02; done
for i in $(seq 500); do
  echo $((spare - 1)) > /proc/sys/kernel/ns_last_pid; {daemon} 1000 &
  [ $! = $spare ] && {{ echo $spare > {taken}; break; }}
  kill $!
done
{home.work()}""",
    )
    home.queue("S1")

    home.beat()
    home.wait_for(lambda: home.is_idle)

    assert home.state()["completed"] == ["S1"]
    if not taken.exists():
        pytest.skip("NOT TESTED: another process was always quicker to take the pid")
    home.wait_for(lambda: not home.processes(), seconds=10)
    assert not is_running(int(taken.read_text()))


def test_a_stopped_supervisor_is_let_go_on_by_the_next_beat(home: Home) -> None:
    """Its lock makes it look alive, and it would serve no time limit, ever (SPEC 8.3, 8.4)."""
    home.spec("S1", home.work(f"{SUPERVISOR}\nkill -STOP $sup\nsleep 1000"), header="**Timeout:** 1 sec")
    home.config(QUICK + "strikes_max = 1\n")
    home.queue("S1")

    state = home.finish(beat_every=0.5)

    assert (state["skipped"], [result["outcome"] for result in home.results()]) == (["S1"], ["timed_out"])


def test_orphans_are_collected_while_the_agent_works(home: Home) -> None:
    """A build of a day leaves thousands, and the table of processes is finite (SPEC 8.2)."""
    done = home.root / "done"
    home.spec(
        "S1", home.work(f"i=0; while [ $i -lt 200 ]; do (true &); i=$((i+1)); done; touch {done}; exec sleep 1000")
    )
    home.queue("S1")
    home.beat()
    home.wait_for(done.exists)
    supervisor = only(home.supervisors())

    def dead() -> list[str]:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        return [pid for pid in children if (process := read(int(pid))) and process.gone]

    home.wait_for(lambda: not dead(), seconds=10)


# The owner's own command


def test_what_a_notifier_leaves_running_is_not_the_agents(home: Home) -> None:
    """It is neither swept with an attempt nor waited for, nor does its work count as the agent's (SPEC 8.3, 12.2)."""
    said, helper = home.root / "said", home.root / "helper"
    shutil.copy(shutil.which("sleep"), helper)
    notifier = home.agent(f"cat > /dev/null\n({helper} 1000 & echo $! >> {said}) > /dev/null 2>&1 &", "notifier")
    home.config(QUICK + f'[notify]\ncommand = ["{notifier}"]\n')
    for task in ("S1", "S2", "S3"):
        home.spec(task, home.work("sleep 1"))
    home.queue("S1", "S2", "S3")

    home.beat()
    home.wait_for(lambda: home.is_idle)

    def children() -> list[int]:
        return [int(line) for line in said.read_text().split()]

    assert home.state()["completed"] == ["S1", "S2", "S3"]
    assert [pid for pid in children() if not is_running(pid)] == []
    assert [result["seconds"] < 10 for result in home.results()] == [True] * 3
    home.wait_for(lambda: not [kill(pid, signal.SIGKILL, str(home.root)) for pid in children()] or not home.processes())
