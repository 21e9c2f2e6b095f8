"""Healthy and stuck agents told apart: the rows of docs/MEASURED.md 4 as real processes, and the arithmetic."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from awm_loop import clock
from awm_loop.attempt import liveness, procfs
from awm_loop.attempt.liveness import Liveness, Sample
from awm_loop.attempt.procfs import Identity
from awm_loop.core.model import Instant

WINDOW_SECONDS = 0.3
DEADLINE_SECONDS = 60.0
NOTHING: frozenset[str] = frozenset()
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
READY = {sys.executable: "print('ready', flush=True)\n", "/bin/sh": "echo ready\n"}


class Watched:
    """An agent under watch: its output is fed as a supervisor would, a window at a time. It is up when this returns."""

    def __init__(self, workspace: Path, script: str, interpreter: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            (argv := [interpreter, "-c", READY[interpreter] + script]),
            cwd=workspace,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.name = f"`{shlex.join([Path(interpreter).name, *argv[1:]])[:39]}…`".replace("\n", " ")  # in a cause
        self.workspace = workspace
        self.liveness = Liveness(workspace, [], WINDOW_SECONDS)
        self._selector = selectors.DefaultSelector()
        assert self.process.stdout is not None
        self._selector.register(self.process.stdout, selectors.EVENT_READ)
        self.pids: set[int] = set()
        while os.read(self.process.stdout.fileno(), 1) != b"\n":
            assert self.process.poll() is None

    def window(self) -> Sample:
        """Feed what comes in one window, then take a sample."""
        assert self.process.stdout is not None
        end = time.monotonic() + WINDOW_SECONDS
        while (left := end - time.monotonic()) > 0:
            for _ in self._selector.select(left):
                chunk = os.read(self.process.stdout.fileno(), 65_536)
                self.liveness.feed(chunk)
                if not chunk:
                    self._selector.unregister(self.process.stdout)
        self.pids = {self.process.pid} | procfs.descendants(procfs.scan(), {self.process.pid})
        return self.liveness.sample(self.pids, clock.now(), time.monotonic())

    def until(self, condition: Callable[[Sample], bool]) -> Sample:
        """The first sample that is as wanted."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition(sample := self.window()):
            assert time.monotonic() < deadline, f"never seen; the last was {sample}"
        return sample

    def stuck(self) -> Sample:
        """The first sample after four windows in a row without progress; what it did before does not matter."""
        return self.until(lambda sample: sample.idle_seconds + sample.busy_seconds > 3.5 * WINDOW_SECONDS)

    def idle(self) -> Sample:
        """After four idle ones, a loaded machine may have had it busy in one more."""
        return self.until(lambda sample: sample.idle_seconds > max(3.5 * WINDOW_SECONDS, 2 * sample.busy_seconds))

    def kinds(self) -> set[str]:
        """All progress seen until three windows had some, after those in which it started up."""
        self.until(lambda sample: len(sample.processes) > 0)
        self.window()
        seen: set[str] = set()
        for _ in range(3):
            seen |= self.until(lambda sample: sample.progress != NOTHING).progress
        return seen

    def says(self, *texts: str) -> bool:
        """Whether evidence shows all these; it is of an instant, so it may take several."""
        self.until(lambda _: all(text in self.evidence() for text in texts))
        return True

    def evidence(self) -> str:
        return self.liveness.evidence(self.pids, clock.now())

    def end(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Starter = Callable[..., Watched]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Starter]:
    started: list[Watched] = []
    (tmp_path / "workspace").mkdir()

    def begin(script: str, interpreter: str = sys.executable) -> Watched:
        started.append(Watched(tmp_path / "workspace", script, interpreter))
        return started[-1]

    yield begin
    for watched in started:
        watched.end()


STUCK = {
    "sleep back-off": ("import time; time.sleep(300)", "{name} sleeps."),
    "waiting on stdin": ("import sys; sys.stdin.read()", "{name} waits for input on stdin."),
    "pipe": ("import os; os.read(os.pipe()[0], 1)", "{name} waits for the output of another process."),
    "deadlock": (
        "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
        "{name} waits for a lock or for another of its threads (for which, cannot be seen from outside).",
    ),
    "file lock": (
        "import fcntl, os; files = [open('x.lock', 'w') for _ in range(2)]\nfor file in files: fcntl.flock(file, fcntl.LOCK_EX)",
        "{name} waits for a file lock that another process holds.",
    ),
    "polling, same line": (
        "import time\nfor n in range(10**9): print('still waiting, try', n, flush=True); time.sleep(0.1)",
        "it goes on printing what it printed before",
    ),
    "polling, in new processes": (
        "import subprocess\nwhile True: print('waiting', flush=True); subprocess.run(['sleep', '0.5'])",
        "it goes on printing what it printed before",
    ),
    "spinner": (
        r"""import time
for n in range(10**9):
    print(f'\r\x1b[2K\x1b[36m{chr(0x2800 + n % 256)}\x1b[0m Thinking ({n}s)', end='', flush=True)
    time.sleep(0.1)""",
        "it goes on printing what it printed before",
    ),
    "own log": ("import time\nwhile True: open('../own.txt', 'a').write('tick\\n'); time.sleep(0.1)", "{name} "),
}


@pytest.mark.parametrize("name", STUCK)
def test_an_idle_agent_makes_no_progress_and_says_why(name: str, watch: Starter) -> None:
    """SPEC 8.4, docs/MEASURED.md 4: hung, polling and spinning agents are told from healthy ones."""
    script, cause = STUCK[name]
    agent = watch(script)

    assert agent.idle().progress == NOTHING
    assert agent.says(f"Likely cause: {cause.format(name=agent.name)}")


def test_who_others_wait_for_is_named_first(watch: Starter) -> None:
    """SPEC 5.2: the cause is at the tip of the tree: the tool that sleeps, not the agent that waits for its pipe."""
    agent = watch("import subprocess, sys; child = subprocess.Popen(['sleep', '300']); sys.stdin.read()")
    agent.until(lambda sample: len(sample.processes) == 2)

    assert agent.says(f"Likely cause: `sleep 300` sleeps; {agent.name} waits for input on stdin.")


def test_an_endless_loop_is_busy_without_progress(watch: Starter) -> None:
    """SPEC 8.4: busy, so it gets four times the patience."""
    agent = watch("while True: pass")
    sample = agent.stuck()

    assert (sample.busy, sample.idle_seconds) == (True, 0.0)
    assert agent.says(f"Likely cause: {agent.name} computes.")


def test_work_in_short_lived_children_is_busy(watch: Starter) -> None:
    """SPEC 8.4: what ended children used is in the count of the parent that waited for them."""
    agent = watch("import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-Sc', 'sum(range(10**6))'])")
    sample = agent.stuck()

    assert (sample.busy, sample.idle_seconds) == (True, 0.0)


def test_an_ended_orphan_does_not_hide_who_works_on(watch: Starter) -> None:
    """SPEC 8.4: the orphan's count leaves the tree with it, and the loop that goes on is not overlooked."""
    agent = watch("while True: pass")
    orphan = watch("while True: pass")
    wait_until_used(orphan.process.pid, 60)
    agent.window()
    agent.liveness.sample(agent.pids | {orphan.process.pid}, clock.now(), time.monotonic())
    orphan.end()

    sample = agent.window()

    assert (sample.progress, sample.busy, sample.cpu < 1.5) == (NOTHING, True, True)


SPIN_UNTIL_TOLD = "import os\nwhile not os.path.exists('told'): pass"


def wait_until_used(pid: int, ticks: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (process := procfs.read(pid)) is not None and process.cpu_ticks < ticks:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def spun_for_a_while(agent: Watched) -> None:
    """Return when the tip of the agent's tree has used 0.6 s of CPU, and a sample has seen it."""
    agent.until(lambda sample: len(sample.processes) > 1 and "told" in str(procfs.argv(sample.processes[-1].pid)))
    wait_until_used(agent.window().processes[-1].pid, 60)
    agent.window()


def test_what_an_ended_branch_used_long_ago_is_not_counted_again(watch: Starter) -> None:
    """SPEC 8.4: its count moves up to the one that waited; a branch ends at once, and the agent looks as before."""
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN_UNTIL_TOLD!r}])"
    agent = watch(f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {inner!r}]); time.sleep(300)")
    spun_for_a_while(agent)
    (agent.workspace / "told").touch()

    assert agent.until(lambda sample: len(sample.processes) == 1).cpu < 1.5


def test_a_child_nobody_waits_for_takes_its_count_along(watch: Starter) -> None:
    """SPEC 8.4: a parent that ignores SIGCHLD gets no count; growth is never negative."""
    spin = f"[sys.executable, '-c', {SPIN_UNTIL_TOLD!r}]"
    ignore = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    agent = watch(f"import signal, subprocess, sys, time\n{ignore}\nchild = subprocess.Popen({spin}); time.sleep(300)")
    spun_for_a_while(agent)
    (agent.workspace / "told").touch()

    assert agent.until(lambda sample: len(sample.processes) == 1).cpu == 0.0


def test_a_stopped_agent_is_idle_and_its_evidence_says_so(watch: Starter) -> None:
    """docs/MEASURED.md 4: state T."""
    agent = watch("while True: pass")
    agent.process.send_signal(signal.SIGSTOP)

    assert agent.stuck().busy is False
    assert agent.says(f"Likely cause: {agent.name} is stopped, by a signal or a debugger.")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_silent_stream_is_progress_and_a_hung_one_is_not(address: str, watch: Starter) -> None:
    """SPEC 8.4: bytes received on its sockets; a model that thinks aloud to the agent alone keeps it alive."""
    if ":" in address and not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        server.settimeout(DEADLINE_SECONDS)
        peer = (address, server.getsockname()[1])
        agent = watch(f"import socket\npeer = socket.create_connection({peer})\nwhile peer.recv(99): pass")
        connection, _ = server.accept()
        with connection:
            assert agent.idle().progress == NOTHING
            for _ in range(3):
                connection.send(b"token")
                assert agent.window().progress == {"network"}
            with socket.create_connection(peer), server.accept()[0] as of_a_stranger:
                of_a_stranger.send(b"token")
                assert agent.window().progress == NOTHING
            assert agent.says(f"Likely cause: {agent.name} waits for the network.")


def test_a_chatty_agent_makes_progress(watch: Starter) -> None:
    """SPEC 8.4: a new distinct line."""
    words = "import itertools, time\nfor word in itertools.product('abcdefgh', repeat=6):\n"
    agent = watch(words + " print('reading', ''.join(word), flush=True); time.sleep(0.05)")

    assert agent.kinds() == {"output"}


def test_a_quiet_build_makes_progress_by_its_children_and_files(watch: Starter) -> None:
    """SPEC 8.4: new command lines and changed files; it prints nothing for minutes."""
    build = "n=0; while :; do n=$((n+1)); sh -c 'echo code > $0; sleep 0.2' part$n.o; done"
    agent = watch(build, "/bin/sh")

    assert agent.kinds() == {"process", "workspace"}


def test_a_silent_test_run_makes_progress_by_what_it_writes(watch: Starter, tmp_path: Path) -> None:
    """SPEC 8.4: 4 KiB written elsewhere, by short-lived children too."""
    if b"tmpfs" in subprocess.run(["df", "--output=fstype", tmp_path], check=True, capture_output=True).stdout:
        pytest.skip("the kernel charges nobody for writing to tmpfs")
    write = [sys.executable, "-c", "open('../elsewhere', 'wb').write(bytes(10**5))"]
    agent = watch(f"import subprocess\nwhile True: subprocess.run({write})")
    agent.until(lambda sample: sample.progress == {"written"})

    assert agent.kinds() == {"written"}


def test_printing_much_is_not_writing_elsewhere(watch: Starter) -> None:
    """SPEC 8.4: output goes through a pipe, which the kernel charges to no disk; a flood of one line is no progress."""
    agent = watch("while True: print('y' * 99)")

    assert agent.stuck().progress == NOTHING


def test_several_busy_children_look_like_a_build_to_the_evidence(watch: Starter) -> None:
    """SPEC 5.2: the next prompt is told what it looked like; command lines are there, bounded."""
    agent = watch("for n in 1 2 3 4; do (while :; do :; done) & done; wait", "/bin/sh")
    agent.until(lambda sample: len(sample.processes) == 5)

    assert agent.says(
        "Likely cause: 4 processes compute at once, as in a build or a test run; `sh -c",
        f"pid {agent.process.pid} (parent {os.getpid()}, state S) waits for events: syscall ",
        "argv \"/bin/sh -c 'echo ready\\nfor n in 1 2 3 4; do (while",
    )


def test_evidence_of_a_crowd_is_bounded(watch: Starter) -> None:
    """SPEC 8.4: it goes into a prompt."""
    agent = watch("for n in $(seq 60); do sleep 300 & done; wait", "/bin/sh")
    agent.until(lambda sample: len(sample.processes) == 61)

    assert agent.says("... and 37 more processes")
    assert len(agent.evidence()) <= 8192


# From here on: no agent, only the clock and the bytes.


def instant(seconds: float, boot_id: str = "this") -> Instant:
    return Instant(wall=datetime(2026, 11, 21, tzinfo=UTC), boottime=1000.0 + seconds, boot_id=boot_id)


@pytest.fixture
def idle(tmp_path: Path) -> Liveness:
    """A watch with a baseline at second 0, and nothing to see."""
    made = Liveness(tmp_path, [], 20.0)
    made.sample(set(), instant(0.0), 500.0)
    return made


def test_the_first_look_is_the_baseline(tmp_path: Path) -> None:
    """SPEC 8.4: nothing is progress before there is something to compare with."""
    made = Liveness(tmp_path, [], 20.0)
    made.feed(b"hello\n")

    sample = made.sample({os.getpid()}, instant(0.0), 500.0)

    assert (sample.progress, sample.busy, sample.idle_seconds, sample.busy_seconds) == (NOTHING, False, 0.0, 0.0)


def test_idle_time_adds_up_until_progress(idle: Liveness) -> None:
    """SPEC 8.4: the seconds since the last progress."""
    assert idle.sample(set(), instant(20.0), 520.0).idle_seconds == 20.0
    assert idle.sample(set(), instant(45.0), 545.0).idle_seconds == 45.0
    idle.feed(b"a new line\n")
    sample = idle.sample(set(), instant(60.0), 560.0)

    assert (sample.idle_seconds, sample.progress) == (0.0, {"output"})


@pytest.mark.parametrize(
    ("boottime", "monotonic", "counted"),
    [(22.0, 520.0, 20.0), (22.1, 520.0, 0.0), (60.0, 560.0, 60.0), (60.1, 560.1, 0.0), (3620.0, 520.0, 0.0)],
)
def test_a_window_over_a_suspend_or_far_too_long_adds_nothing(
    boottime: float, monotonic: float, counted: float, idle: Liveness
) -> None:
    """SPEC 8.4: more than 2 s between the clocks, more than three intervals, or (a machine restored) another boot."""
    assert idle.sample(set(), instant(boottime), monotonic).idle_seconds == counted
    assert idle.sample(set(), instant(boottime + 20), monotonic + 20).idle_seconds == counted + 20
    assert idle.sample(set(), instant(boottime + 40, "other"), monotonic + 40).idle_seconds == counted + 20


def test_a_sample_is_one_line_of_json() -> None:
    """SPEC 8.2: a line of samples.jsonl."""
    sample = Sample(
        at=instant(0.5),
        progress=frozenset({"workspace", "output"}),
        busy=True,
        cpu=0.12345,
        idle_seconds=0.0,
        busy_seconds=1.0,
        processes=(Identity(7, 99),),
    )

    assert json.dumps(sample.to_json()) == (
        '{"at": "2026-11-21T00:00:00.000Z", "boottime": 1000.5, "bootId": "this", "progress": ["output", "workspace"],'
        ' "busy": true, "cpu": 0.123, "idleSeconds": 0.0, "busySeconds": 1.0, "processes": [[7, 99]]}'
    )


def heard(watch: Liveness, *chunks: bytes) -> bool:
    """Whether these chunks bring a new line."""
    for chunk in chunks:
        watch.feed(chunk)
    return "output" in watch.sample(set(), instant(0.0), 500.0).progress


@pytest.mark.parametrize(
    "line",
    [
        b"Working on it\n",
        b"  Working\ton it  \r\n",
        b"Working on it 42\n",
        "⠹ Working on it…\n".encode(),
        "◐ Working on it ✳ ·\n".encode(),
        b"12 |\x08/\x08-\x08\\ Working on it...\n",
        b"\x1b[1;32mWorking\x1b[0m on it\x1b[K\n",
        b"\x1b]0;title 7\x07Working on it\n",
        b"\x1b[2;5HWorking on it\x1b[3;5H\n",
        b"\n\n \t \r\r\n 1234 \n",
    ],
)
def test_a_line_that_differs_in_decoration_alone_is_not_new(line: bytes, idle: Liveness) -> None:
    """SPEC 8.4, docs/MEASURED.md 4: ANSI escapes, digits, spinner glyphs and blanks are stripped; blank is nothing."""
    assert heard(idle, b"Working on it\n")

    assert not heard(idle, line)


def test_a_line_counts_when_it_is_whole_however_it_is_cut(idle: Liveness) -> None:
    """SPEC 8.4: half a line seen alone would look new each time it is cut elsewhere."""
    assert not heard(idle, b"Working")
    assert heard(idle, b" on it\n")
    assert not heard(idle, b"Wor")
    assert not heard(idle, b"king on", b" it\x1b[", b"0m\n")


def test_output_without_line_ends_counts_by_length(idle: Liveness) -> None:
    """A program that never ends a line is still heard, and is held in bounded memory."""
    assert heard(idle, *[json.dumps({str(n): chr(97 + n % 26)}).encode() * 9 for n in range(999)])
    assert not heard(idle, *[b"." * 1000] * 99)


def test_only_the_last_200_distinct_lines_are_remembered(idle: Liveness) -> None:
    """SPEC 8.4: seen again within 200 is old; after 200 others it is new."""
    lines = [b"a" * n + b"\n" for n in range(1, 202)]
    assert heard(idle, *lines)

    assert not heard(idle, lines[1])
    assert heard(idle, lines[0])
    assert heard(idle, *[b"b" * n + b"\n" for n in range(1, 150)])
    assert not heard(idle, lines[0])
    assert heard(idle, *[b"c" * n + b"\n" for n in range(1, 150)])
    assert not heard(idle, lines[0])


def test_a_flood_costs_little_and_its_rest_is_passed_over(idle: Liveness) -> None:
    """SPEC 8.4: the effort for a window is bounded; what is cut by that does not look new in the next."""
    flood = b"the same line again\n" * 3300
    heard(idle, flood)
    began = time.process_time()
    for _ in range(1600):
        idle.feed(flood)
    seconds = time.process_time() - began

    assert seconds < 0.5  # for 100 MB
    assert not heard(idle, b"the sa")
    assert not heard(idle, b"me li")
    assert not heard(idle, b"e again\nthe same line again\n")
    assert heard(idle, b"news\n")


PIECES = st.sampled_from(
    [b"one", b"two", b"\n", b"\r", b"\x1b[31m", b"\x1b[2K", b"\x1b]0;t\x07", "⠹✳".encode(), b"\xff\xe2", b" 7"]
)


@example([b"one", b"\x1b[2K", b"two"], [5])
@given(st.lists(PIECES, max_size=30), st.lists(st.integers(0, 120), max_size=10))
def test_how_output_is_cut_into_chunks_does_not_matter(pieces: list[bytes], cuts: list[int]) -> None:
    """SPEC 8.4: the same bytes hold the same lines, whatever the pipe makes of them."""
    text = b"".join(pieces) + b"\n"
    ends = [0, *sorted(cuts), len(text)]
    chunks = [text[begin:end] for begin, end in itertools.pairwise(ends)]
    whole_first = Liveness(Path("/nonexistent"), [], 20.0)
    chunks_first = Liveness(Path("/nonexistent"), [], 20.0)
    for made in (whole_first, chunks_first):
        made.sample(set(), instant(0.0), 500.0)

    assert heard(whole_first, text) == heard(chunks_first, *chunks)
    assert not heard(whole_first, *chunks)
    assert not heard(chunks_first, text)


def test_repeated_output_explains_a_stall_and_new_output_does_not(idle: Liveness) -> None:
    """SPEC 5.2: "do not poll" is said to those who poll."""
    unknown = "Likely cause: unknown; no process of the attempt waits for anything but its children.\n"
    heard(idle, *[b"a" * n + b"\n" for n in range(1, 9)])
    assert idle.evidence(set(), instant(0.0)).startswith(unknown)

    heard(idle, b"a\n", b"aa\n", b"aaa\n")

    assert idle.evidence(set(), instant(0.0)).startswith("Likely cause: it goes on printing what it printed before, as")


def changed(watch: Liveness) -> bool:
    return "workspace" in watch.sample(set(), instant(0.0), 500.0).progress


def test_the_workspace_changes_by_content_and_not_by_looks(
    idle: Liveness, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SPEC 8.4: files made, written, replaced, removed; logs and locks do not count, nor what lies behind a symlink."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    source = tmp_path / "src" / "a.py"
    source.parent.mkdir()
    source.write_text("one")
    assert changed(idle)
    assert not changed(idle)
    source.write_text("two!")
    assert changed(idle)
    (tmp_path / "run.log").write_text("log")
    (tmp_path / "src" / "x.lock").mkdir()
    assert not changed(idle)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "away").symlink_to(elsewhere)
    assert (changed(idle), changed(idle)) == (True, False)
    (elsewhere / "file").write_text("new")
    assert not changed(idle)
    source.unlink()
    assert changed(idle)


def test_of_git_only_commits_checkouts_and_additions_are_seen(idle: Liveness, tmp_path: Path) -> None:
    """SPEC 8.4: objects and lock files come and go with every look a git command takes."""
    subprocess.run([*GIT, "init", "-q"], cwd=tmp_path, check=True)
    assert changed(idle)
    (tmp_path / ".git" / "index.lock").touch()
    (tmp_path / ".git" / "objects" / "new").touch()
    assert not changed(idle)
    (tmp_path / ".git" / "index.lock").unlink()
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "first"], cwd=tmp_path, check=True)
    assert (changed(idle), changed(idle)) == (True, False)


def test_a_commit_in_a_linked_worktree_is_seen(tmp_path: Path) -> None:
    """SPEC 10.3: there `.git` is a file that points elsewhere."""
    subprocess.run([*GIT, "init", "-q", "main"], cwd=tmp_path, check=True)
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "first"], cwd=tmp_path / "main", check=True)
    subprocess.run([*GIT, "worktree", "add", "-q", "../side"], cwd=tmp_path / "main", check=True)
    made = Liveness(tmp_path / "side", [], 20.0)
    assert not changed(made)
    assert not changed(made)

    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "second"], cwd=tmp_path / "side", check=True)

    assert changed(made)


def test_what_awm_itself_writes_in_the_workspace_is_ignored(tmp_path: Path) -> None:
    """SPEC 8.4: the home may lie in the project; samples must not count as work."""
    (tmp_path / "state").mkdir()
    made = Liveness(tmp_path, [tmp_path / "state"], 20.0)
    changed(made)

    (tmp_path / "state" / "samples.jsonl").write_text("{}")
    assert not changed(made)
    (tmp_path / "states").write_text("mine")
    assert changed(made)


def test_a_huge_workspace_is_looked_at_from_the_top_and_not_for_ever(
    idle: Liveness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SPEC 8.4: so many entries, the shallow ones first, so node_modules does not hide the sources."""
    monkeypatch.setattr(liveness, "ENTRIES_MAX", 200)
    deep = tmp_path / "a" / "node_modules"
    deep.mkdir(parents=True)
    for number in range(300):
        (deep / str(number)).touch()
    (deep / "below").mkdir()
    (tmp_path / "z").mkdir()
    changed(idle)
    for number in range(300):
        (deep / str(number)).write_text("new")
    assert changed(idle)
    (deep / "below" / "too deep").touch()
    assert not changed(idle)

    (tmp_path / "z" / "source.py").write_text("new")

    assert (changed(idle), changed(idle)) == (True, False)


def test_a_workspace_that_vanishes_is_no_error(tmp_path: Path) -> None:
    """SPEC 7.3: trouble in the world is data."""
    (tmp_path / "w" / "d").mkdir(parents=True)
    made = Liveness(tmp_path / "w", [], 20.0)
    changed(made)
    (tmp_path / "w" / "d").rmdir()
    (tmp_path / "w").rmdir()

    assert (changed(made), changed(made)) == (True, False)
