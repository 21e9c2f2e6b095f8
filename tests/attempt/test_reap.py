"""The whole tree ends, and nothing else: real trees, below a real subreaper and after its SIGKILL."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import awm_loop
from awm_loop.attempt import procfs
from awm_loop.attempt.procfs import Identity
from awm_loop.attempt.reap import Sweep, left_behind, wake

KEY = "0123456789ab.7"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(awm_loop.__file__).parents[1])}
DEADLINE_SECONDS = 20.0

# Each line leaves descendants that write their pid into a file of their own and then stay. $LEAF is what they run.
LEAF = 'sh -c \'echo $$ > "$0/$$.new"; mv "$0/$$.new" "$0/$$.pid"; exec sleep 300\' "$PIDS"'
KINDS = {
    "plain": "{leaf} &",
    "nohup": "nohup {leaf} > /dev/null 2>&1 &",
    "setsid": "setsid {leaf} &",
    "double fork": "(setsid {leaf} &)",
    "env -i, setsid": "env -i setsid {leaf} &",
    "env -i, double fork": "(env -i setsid {leaf} &)",
    "closed files": "(setsid {leaf} 9>&- &)",
    "nothing left but its parent": "env -i setsid {leaf} 9>&- &",
    "deaf to TERM": "(trap '' TERM; setsid {leaf} &)",
    "stopped": "({leaf} & pid=$!; kill -STOP $pid; echo $pid > $PIDS/$pid.pid)",
    "forks again upon TERM": (
        'setsid sh -c \'trap "{escaped} & sleep 300" TERM; echo $$ > "$PIDS/$$.pid"; while :; do sleep 0.05; done\' &'
    ),
}
SUPERVISOR = """
import ctypes, json, os, subprocess, sys, time
from pathlib import Path
from awm_loop.attempt import reap
script, lock_path, key, grace_seconds = sys.argv[1:]
home = Path(lock_path).parent
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
os.dup2(os.open(lock_path, os.O_RDWR | os.O_CREAT), 9)
spared = subprocess.Popen(["sh", "-c", "sleep 300 & wait"], start_new_session=True, stdout=subprocess.DEVNULL)
prompt_path = os.path.join(os.path.dirname(lock_path), "prompt.md")
environment = {**os.environ, "AWM_ATTEMPT": key, "AWM_PROMPT_FILE": prompt_path}
quiet = subprocess.DEVNULL
subprocess.Popen(["sh", "-c", script], start_new_session=True, pass_fds=(9,), env=environment, stdout=quiet)
os.close(9)
print(spared.pid, flush=True)
sys.stdin.readline()
sweep = reap.Sweep(lambda: reap.own_descendants(home, {spared.pid}), float(grace_seconds))
while not sweep.step(time.monotonic()):
    time.sleep(0.01)
below = [one for one in reap.own_descendants(home) if one.pid != spared.pid]
print(json.dumps([len(sweep.left), spared.poll(), len(below)]), flush=True)
"""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def marked_by(directory: Path, key: str) -> dict[str, str]:
    return {**ENVIRONMENT, "AWM_ATTEMPT": key, "AWM_PROMPT_FILE": str(directory / "prompt.md")}


def lives(identity: Identity) -> bool:
    process = procfs.read(identity.pid)
    return process is not None and process.identity == identity and not process.gone


Starter = Callable[..., tuple["subprocess.Popen[bytes]", Identity]]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Start a process that is ended with the test: (its handle, its identity)."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*argv: str, **options: Any) -> tuple[subprocess.Popen[bytes], Identity]:
        process = subprocess.Popen(argv, **options)
        started.append(process)
        seen = procfs.read(process.pid)
        assert seen is not None
        return process, seen.identity

    yield begin
    for process in started:
        process.kill()
        process.wait()


def living(identities: set[Identity]) -> set[Identity]:
    return {identity for identity in identities if lives(identity)}


def swept(sweep: Sweep) -> bool:
    wait_for(lambda: sweep.step(time.monotonic()))
    return True


class Attempt:
    """A supervisor (a subreaper) and below it an agent that leaves descendants."""

    def __init__(self, directory: Path) -> None:
        self.lock_path = directory / "agent.lock"
        self._pids = directory / "pids"
        self._pids.mkdir()
        self._supervisor: subprocess.Popen[str] | None = None
        self.spared_pid = 0

    def start(self, kinds: list[str], grace_seconds: float) -> None:
        """Return once every descendant is up. The agent itself stays as well."""
        leaf = LEAF.replace("$PIDS", str(self._pids))
        escaped = leaf.replace('"', '\\"').replace("$", "\\$").replace("'", "'\\''")
        lines = [KINDS[kind].replace("{leaf}", leaf).replace("{escaped}", escaped) for kind in kinds]
        script = "\n".join([f"PIDS={self._pids}; export PIDS", *lines, f"echo $$ > {self._pids}/$$.pid", "sleep 300"])
        self._supervisor = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, script, str(self.lock_path), KEY, str(grace_seconds)],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._supervisor.stdout is not None
        self.spared_pid = int(self._supervisor.stdout.readline())
        wait_for(lambda: len(self.leaves()) > len(kinds))

    def leaves(self) -> dict[int, procfs.Process]:
        """The processes that have reported themselves and still live."""
        pids = [int(path.stem) for path in self._pids.glob("*.pid")]
        return {pid: process for pid in pids if (process := procfs.read(pid)) is not None and not process.gone}

    def sweep(self) -> list[object]:
        """Let the supervisor sweep: [processes given up, exit code of the spared child, processes below that one]."""
        assert self._supervisor is not None
        report, _ = self._supervisor.communicate("go\n", timeout=DEADLINE_SECONDS)
        answer: list[object] = json.loads(report)
        return answer

    def kill_supervisor(self) -> None:
        assert self._supervisor is not None
        self._supervisor.kill()
        self._supervisor.communicate()

    def end(self) -> None:
        if self._supervisor is None:
            return
        self.kill_supervisor()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.spared_pid, signal.SIGKILL)
        swept(Sweep(lambda: {process.identity for process in self.leaves().values()}, 0.0))


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    made = Attempt(tmp_path)
    yield made
    made.end()


@pytest.fixture
def bystander(tmp_path: Path, start: Starter) -> Iterator[None]:
    """Strangers that look alike: the same attempt of another home, and a key of this one that begins like ours."""
    (tmp_path / "other").mkdir()
    with (tmp_path / "other" / "agent.lock").open("w") as file:
        same_key, _ = start("sleep", "300", env=marked_by(tmp_path / "other", KEY), pass_fds=[file.fileno()])
        like_key, _ = start("sleep", "300", env=marked_by(tmp_path, KEY + "1"))
    yield
    assert (same_key.poll(), like_key.poll()) == (None, None), "a stranger was killed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_supervisor_ends_every_descendant_of(kind: str, attempt: Attempt, bystander: None) -> None:
    """SPEC 8.3: whatever they did to hide; and what is spared, with all below it, lives on."""
    attempt.start([kind], grace_seconds=0.3)

    assert (attempt.sweep(), attempt.leaves()) == ([0, None, 1], {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_reaper_ends_what_a_killed_supervisor_left_of(kind: str, attempt: Attempt, bystander: None) -> None:
    """SPEC 8.3: before an attempt is called lost, all of it is swept; the reaper is nobody's parent."""
    attempt.start([kind], grace_seconds=0.3)
    attempt.kill_supervisor()

    assert attempt.leaves() != {}
    sweep = Sweep(lambda: left_behind(KEY, attempt.lock_path, []), 0.3)
    assert swept(sweep)
    assert (sweep.left, attempt.leaves()) == (set(), {})


def test_all_kinds_at_once_are_swept_by_a_reaper(attempt: Attempt, bystander: None) -> None:
    """SPEC 8.3."""
    attempt.start(list(KINDS), grace_seconds=0.3)
    attempt.kill_supervisor()

    assert swept(Sweep(lambda: left_behind(KEY, attempt.lock_path, []), 0.2))
    assert attempt.leaves() == {}


def test_a_chain_that_forks_and_exits_faster_than_a_look_is_not_taken_for_gone(start: Starter) -> None:
    """SPEC 8.3: until nothing is left; each link lives for less than 1 ms, and is dead when it is looked at."""
    script = (
        "import ctypes, os, pathlib, signal, time; from awm_loop.attempt import reap\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "end = time.monotonic() + 20\n"
        "if os.fork() == 0:\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    while time.monotonic() < end and os.fork() == 0: pass\n"
        "    os._exit(0)\n"
        "def collected_all():\n"
        "    try:\n"
        "        while os.waitpid(-1, os.WNOHANG)[0]: pass\n"
        "    except ChildProcessError: return True\n"
        "look = lambda: reap.own_descendants(pathlib.Path('/nowhere'))\n"
        "seen = [bool(look()) for _ in range(50) if not collected_all()]\n"
        "sweep = reap.Sweep(look, 0.0)\n"
        "while not sweep.step(time.monotonic()): collected_all()\n"
        "print(len(seen), all(seen), collected_all(), time.monotonic() < end)"
    )

    process, _ = start(sys.executable, "-c", script, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)

    assert process.communicate(timeout=DEADLINE_SECONDS + 10)[0] == "50 True True True\n"


LOOKS = """
import ctypes, json, os, sys, threading, time
from pathlib import Path
from awm_loop.attempt import procfs, reap
from awm_loop.attempt.spawn import become_subreaper
home, looks_count, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
become_subreaper()
for _ in range(8 if looks_count > 1 else 0):  # whose main thread has ended, not they: they never have a command line
    if os.fork() == 0:
        threading.Thread(target=time.sleep, args=(600,)).start()
        ctypes.CDLL(None).pthread_exit(None)
os.chdir(home)
os.dup2(os.pipe()[0], 0)
nowhere = os.open(os.devnull, os.O_WRONLY)
for name in names:
    for of in (home, home / "other"):
        if os.fork() == 0:  # somebody between, who ends: whoever looks may find another parent than there is
            if os.fork() == 0:
                os.dup2(nowhere, 2)  # bash takes -m for its own, and says what it thinks of that
                os.execv("/bin/bash", ["python", "-P", "-m", name, str(of)])
            os._exit(0)
        os.wait()
def below(of):
    return sorted(filter(None, (procfs.argv(one.pid)[3:] for one in reap.own_descendants(of))))
while sum(str(home / "other") in words for words in below(Path("/nowhere"))) < len(names): pass
seen = {json.dumps(below(home)) for _ in range(looks_count)}
for one in reap.own_descendants(Path("/nowhere")): os.kill(one.pid, 9)
print(*seen, sep="\\n")
"""


def seen_below(start: Starter, home: Path, body: str, *names: str, looks_count: int = 1) -> list[object]:
    """What looks find below a supervisor of `home` where programs of these names, for two homes, are `body` in bash."""
    for name in names:
        (home / name).write_text(body)
    words = (sys.executable, "-c", LOOKS, str(home), str(looks_count), *names)
    process, _ = start(*words, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in process.communicate(timeout=DEADLINE_SECONDS)[0].splitlines()]


def test_supervisors_and_deliverers_of_a_home_are_nobodys_agents(tmp_path: Path, start: Starter) -> None:
    """Wherever below us: their parent may be a supervisor that ended during the look (SPEC 8.2, 15.9)."""
    names = ("awm_loop.cli.delivery", "awm_loop.cli.supervise")

    found = seen_below(start, tmp_path, "read line", *names)

    assert found == [[[name, f"{tmp_path}/other"] for name in names]]


def test_a_supervisor_in_the_middle_of_its_exec_is_nobodys_agent(tmp_path: Path, start: Starter) -> None:
    """For that moment it has no command line, as it becomes a fresh image (docs/decisions/0003)."""
    name, other = "awm_loop.cli.supervise", f"{tmp_path}/other"
    body = f'[ "$1" = {other} ] && read line\nexec -a python /bin/bash -P -m {name} "$1"'

    found = seen_below(start, tmp_path, body, name, looks_count=300)

    assert found == [[[name, other]]]


def test_who_has_lost_every_trace_is_found_by_the_last_sample_alone(attempt: Attempt, tmp_path: Path) -> None:
    """SPEC 8.3: files closed, environment emptied, orphaned: only its remembered identity proves it ours."""
    attempt.start([], grace_seconds=0.3)
    (agent,) = (process.identity for process in attempt.leaves().values())
    script = f"(env -i setsid {LEAF.replace('$PIDS', str(tmp_path / 'pids'))} 9>&- &)"
    subprocess.run(["sh", "-c", script], check=True)
    wait_for(lambda: len(attempt.leaves()) == 2)
    (lost,) = {process.identity for process in attempt.leaves().values()} - {agent}
    attempt.kill_supervisor()

    assert lost not in left_behind(KEY, attempt.lock_path, [])
    assert {agent, lost} <= left_behind(KEY, attempt.lock_path, [lost])
    assert swept(Sweep(lambda: left_behind(KEY, attempt.lock_path, [lost]), 0.2))
    assert attempt.leaves() == {}


def test_the_session_of_a_proved_leader_is_ours(start: Starter, tmp_path: Path) -> None:
    """SPEC 8.3: a leader that is remembered proves its session's members, also those orphaned out of the tree."""
    script = "(sh -c 'echo $$ > new; mv new member; exec sleep 300' &); exec sleep 300"
    _, leader = start("sh", "-c", script, cwd=tmp_path, start_new_session=True)
    wait_for((tmp_path / "member").exists)
    member = procfs.read(int((tmp_path / "member").read_text()))
    assert member is not None

    found = left_behind(KEY, tmp_path / "agent.lock", [leader])

    assert found == {leader, member.identity}
    assert swept(Sweep(lambda: living(found), 0.0))


def test_a_reaper_spares_itself_and_those_above_it(tmp_path: Path) -> None:
    """SPEC 15.9: a beat that an agent started must not kill itself, though it bears the mark."""
    script = (
        "import os, subprocess, sys; from pathlib import Path; from awm_loop.attempt import reap\n"
        "sibling = int(sys.argv[1])\n"
        f"found = reap.left_behind('{KEY}', Path('agent.lock').absolute(), [])\n"
        "print(sorted(one.pid for one in found) == [sibling])"
    )
    shell = f"sleep 300 9>&- & '{sys.executable}' -c \"$0\" $!; kill $! || :"
    argv = ["sh", "-c", shell, script]
    answer = subprocess.run(
        argv, cwd=tmp_path, env=marked_by(tmp_path, KEY), check=True, capture_output=True, text=True
    )

    assert (answer.stdout, answer.stderr) == ("True\n", "")


def test_a_pid_that_was_given_to_another_process_is_not_signalled(start: Starter) -> None:
    """SPEC 15.9: the start time behind the pidfd decides, not the number."""
    process, identity = start("sleep", "300")
    stranger = Identity(identity.pid, identity.starttime - 1)
    looks = [{stranger}, {stranger}, set(), set()]
    sweep = Sweep(lambda: looks.pop(0), 0.0)

    assert [sweep.step(0.0), sweep.step(1.0), sweep.step(2.0)] == [False, False, True]
    assert (sweep.signalled, process.poll()) == (set(), None)


def test_a_remembered_pid_that_is_another_process_now_proves_nothing(start: Starter, tmp_path: Path) -> None:
    """SPEC 15.9: pid and start time, never the pid alone."""
    _, identity = start("sleep", "300", start_new_session=True)

    assert left_behind(KEY, tmp_path / "agent.lock", [Identity(identity.pid, identity.starttime - 1)]) == set()
    assert left_behind(KEY, tmp_path / "agent.lock", [identity]) == {identity}


def test_a_polite_process_gets_term_once_and_its_time_to_end(start: Starter, tmp_path: Path) -> None:
    """SPEC 8.3: TERM, the grace, KILL; who tidies up is not disturbed, and nobody waits longer than it takes."""
    script = "trap 'echo bye >> said' TERM; echo > up; while [ ! -e done ]; do sleep 0.02; done"
    process, identity = start("sh", "-c", script, cwd=tmp_path)
    wait_for((tmp_path / "up").exists)
    sweep = Sweep(lambda: living({identity}), 3600.0)
    wait_for(lambda: not sweep.step(time.monotonic()) and (tmp_path / "said").exists())
    steps = [sweep.step(time.monotonic()) for _ in range(5)]
    (tmp_path / "done").touch()

    assert swept(sweep)
    assert (steps, (tmp_path / "said").read_text()) == ([False] * 5, "bye\n")
    assert (process.wait(), sweep.signalled, sweep.left) == (0, {identity}, set())


def test_a_stopped_process_is_woken_to_hear_term(start: Starter, tmp_path: Path) -> None:
    """SPEC 8.3: TERM waits for as long as a process is stopped."""
    script = "trap 'echo bye > said; exit' TERM; echo > up; while :; do sleep 0.02; done"
    process, identity = start("sh", "-c", script, cwd=tmp_path)
    wait_for((tmp_path / "up").exists)
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: (seen := procfs.read(process.pid)) is not None and seen.state == "T")

    assert swept(Sweep(lambda: living({identity}), 3600.0))
    assert ((tmp_path / "said").read_text(), process.wait()) == ("bye\n", 0)


def stopped(identity: Identity) -> bool:
    process = procfs.read(identity.pid)
    return process is not None and process.state == "T"


def test_a_supervisor_that_was_stopped_is_woken_and_nobody_else(start: Starter, tmp_path: Path) -> None:
    """Proved by its start time and by its open `sup.lock`: a stopped editor on a recycled pid stays stopped (SPEC 8.3)."""
    lock_path = tmp_path / "sup.lock"
    with lock_path.open("w") as lock:
        supervisor, identity = start("sleep", "300", pass_fds=(lock.fileno(),))
    stranger, other = start("sleep", "300")
    for process in (supervisor, stranger):
        process.send_signal(signal.SIGSTOP)
    wait_for(lambda: stopped(identity) and stopped(other))

    wake(other, lock_path)
    wake(Identity(identity.pid, identity.starttime + 1), lock_path)
    wake(identity, tmp_path / "another.lock")
    assert (stopped(identity), stopped(other)) == (True, True)

    wake(identity, lock_path)
    wait_for(lambda: not stopped(identity))
    wake(identity, lock_path)
    supervisor.kill()
    supervisor.wait()
    wake(identity, lock_path)
    assert stopped(other)


def test_a_deaf_process_is_killed_at_the_end_of_the_grace_and_not_before(start: Starter, tmp_path: Path) -> None:
    """SPEC 8.3."""
    process, identity = start("sh", "-c", "trap '' TERM; echo > up; exec sleep 300", cwd=tmp_path)
    wait_for((tmp_path / "up").exists)
    sweep = Sweep(lambda: living({identity}), 10.0)

    assert [sweep.step(100.0), sweep.step(109.9), process.poll()] == [False, False, None]
    assert sweep.step(110.0) is False
    assert process.wait(DEADLINE_SECONDS) == -signal.SIGKILL
    assert sweep.step(110.1) is True


def test_nothing_left_is_true_at_once_and_only_after_two_looks() -> None:
    """SPEC 8.3: until nothing is left. One look can miss a process that was forked during it."""
    looks: list[set[Identity]] = [set(), {Identity(2**22 + 1, 1)}, set(), set()]
    sweep = Sweep(lambda: looks.pop(0), 0.0)

    assert [sweep.step(0.0), sweep.step(0.0), looks] == [False, True, []]


def test_a_zombie_is_gone_unless_a_thread_of_it_works_on(start: Starter) -> None:
    """SPEC 8.3: a main thread that ended looks like a zombie while the others go on."""
    script = (
        "import ctypes, platform, threading, time\n"
        "threading.Thread(target=time.sleep, args=(300,)).start()\n"
        "ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[platform.machine()], 0)"
    )
    process, identity = start(sys.executable, "-c", script)
    wait_for(lambda: (seen := procfs.read(process.pid)) is not None and seen.state == "Z")

    assert living({identity}) == {identity}
    assert swept(Sweep(lambda: living({identity}), 0.0))
    ended = procfs.read(process.pid)
    assert ended is not None
    assert procfs.doing(ended, ()) == procfs.Doing.ENDED
    assert process.wait() == -signal.SIGKILL


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_a_process_that_may_not_be_signalled_is_given_up_and_named(start: Starter) -> None:
    """SPEC 15.15: a sweep ends; what it could not end is in `left`."""
    process, _ = start("sleep", "300")
    script = (
        "import os, sys; from awm_loop.attempt import procfs, reap\n"
        "os.setresuid(65534, 65534, 0)\n"
        "seen = procfs.read(int(sys.argv[1])).identity\n"
        "sweep = reap.Sweep(lambda: {seen}, 0.0)\n"
        "print(sweep.step(0.0), sweep.step(1.0), sweep.left == {seen}, len(sweep.signalled))\n"
        "os.setresuid(0, 0, 0)  # whoever measures this process writes down what he saw"
    )

    argv = [sys.executable, "-c", script, str(process.pid)]
    answer = subprocess.run(argv, env=ENVIRONMENT, check=True, capture_output=True, text=True)

    assert (answer.stdout, answer.stderr, process.poll()) == ("False True True 0\n", "", None)


def test_names_with_blanks_and_parentheses_do_not_confuse(start: Starter, tmp_path: Path) -> None:
    """procfs: the name in /proc/PID/stat is the program's choice, and may look like more fields."""
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    process, _ = start(str(program), "300")
    wait_for(lambda: procfs.argv(process.pid) == (str(program), "300"))
    seen = procfs.read(process.pid)

    assert seen is not None
    assert (seen.pid, seen.ppid, seen.pgid, seen.sid) == (process.pid, os.getpid(), os.getpgid(0), os.getsid(0))
    process.kill()
    process.wait()
    assert procfs.read(process.pid) is None
    assert (procfs.argv(process.pid), procfs.environ(process.pid), procfs.link(process.pid, "cwd")) == ((), (b"",), "")
    assert (list(procfs.open_files(process.pid)), procfs.written(process.pid)) == ([], None)
    assert (procfs.wchan(process.pid), procfs.syscall(process.pid)) == ("", None)
