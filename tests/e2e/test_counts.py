"""What beats cost, counted and not timed, so that it holds on a noisy machine (SPEC 6.4, docs/MEASURED.md 6)."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from home import PATIENCE_SECONDS, REPOSITORY, Home

from awm_loop import idle

STRACE = shutil.which("strace")
counted = pytest.mark.skipif(STRACE is None, reason="strace is not installed: system calls cannot be counted here")
SYNCS, FORKS = {"fsync", "fdatasync", "sync", "syncfs"}, {"clone", "clone3", "fork", "vfork"}
CHANGES = {
    "mkdir",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "truncate",
    "ftruncate",
    "chmod",
    "utimensat",
}
WRITES = re.compile(r"O_WRONLY|O_TRUNC")
CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
NEVER_IN_A_BEAT = {"httpx", "croniter", "apprise", "rich", "click", "asyncio", "markdown_it"}
BURST = 16
LAUNCH_SYNCS_MAX, LAUNCH_FORKS_MAX = 9, 2
TURN_SYNCS_MAX, TURN_CHANGES_MAX = 7, 16


class Traced:
    """The system calls of one beat's own process, but for those that failed."""

    def __init__(self, home: Home) -> None:
        path = home.root / "trace"
        traced = home.prefix
        home.prefix = (str(STRACE), "-y", "-s0", "-o", str(path))
        try:
            self.done = home.heartbeat()
        finally:
            home.prefix = traced
        calls = [found for line in path.read_text().splitlines() if (found := CALL.match(line)) and int(found[3]) >= 0]
        self.calls = [(found[1], found[2], int(found[3])) for found in calls]

    def count(self, names: set[str]) -> int:
        return sum(name in names for name, _, _ in self.calls)

    def opened(self, folder: Path) -> Counter[str]:
        """How often each file below `folder` was opened."""
        found = [re.search(r'"([^"]*)"', words) for name, words, _ in self.calls if name == "openat"]
        return Counter(one[1] for one in found if one and one[1].startswith(str(folder)))

    def read_from(self, path: Path) -> int:
        """Bytes."""
        return sum(
            size
            for name, words, size in self.calls
            if name in {"read", "pread64"} and words.split(",")[0].endswith(f"<{path}>")
        )

    @property
    def written(self) -> list[str]:
        return [f"{name}({words})" for name, words, _ in self.calls if name in CHANGES or WRITES.search(words)]


def modules(home: Home, *command: str) -> set[str]:
    """The names of all modules that a Python imports, by its own word."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], env=home.environ(), capture_output=True, text=True, check=True
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def beat_modules(home: Home) -> set[str]:
    return modules(home, str(REPOSITORY / "heartbeat.py"), "--home", str(home.path)) - modules(home, "-c", "pass")


def whole_beats(home: Home) -> None:
    """From now on, as under a test of faults of which none comes."""
    home.environment = {"AWM_FAULT": f"seed=1 among=nowhere kill=0 log={home.root / 'faults'}"}


def at_rest(home: Home) -> None:
    """No work, and long enough for the file system's clock: all that was noted was written a while ago."""
    home.queue()
    home.heartbeat()
    home.wait_for(lambda: home.heartbeat() and idle.is_idle(str(home.path)))


def running(home: Home, *waiting: str) -> None:
    """An agent is at work, and all of that is said."""
    home.spec("S1", home.work("sleep 1000"))
    for task in waiting:
        home.spec(task)
    home.queue("S1", *waiting)
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    home.beat()


@counted
def test_a_beat_at_rest_syncs_starts_and_writes_nothing(home: Home) -> None:
    """Nor does it open more than its lock and the note (SPEC 6.4)."""
    at_rest(home)
    traced = Traced(home)

    assert (traced.done.code, traced.done.out, traced.done.err) == (0, "", "")
    assert (traced.count(SYNCS), traced.count(FORKS), traced.written) == (0, 0, [])
    state = home.path / "state"
    assert traced.opened(home.path) == {str(path): 1 for path in (home.lock_path, state, state / "cache" / "idle")}


def test_a_beat_at_rest_imports_next_to_nothing(home: Home) -> None:
    """No pydantic, not even json: the whole of it costs what an empty Python costs (SPEC 6.4)."""
    at_rest(home)

    assert beat_modules(home) == {"awm_loop", "awm_loop.idle", "fcntl"}


def test_a_python_of_the_checkout_starts_without_a_finder(home: Home) -> None:
    """pip's other kind of editable install imports one at each start: twice the CPU of a beat at rest (SPEC 6.4)."""
    assert {name for name in modules(home, "-c", "pass") if name.startswith("__editable__")} == set()


def test_a_beat_while_an_agent_works_imports_next_to_nothing(home: Home) -> None:
    """Of the beats of a night most are of this kind (SPEC 6.4)."""
    running(home)
    home.wait_for(lambda: home.heartbeat() and idle.is_idle(str(home.path)))

    assert beat_modules(home) == {"awm_loop", "awm_loop.idle", "fcntl"}


@counted
def test_a_beat_with_nothing_new_syncs_starts_and_writes_nothing(home: Home) -> None:
    """Also one that has to look at everything (SPEC 6.4)."""
    running(home)
    whole_beats(home)

    traced = Traced(home)

    assert (traced.done.code, traced.count(SYNCS), traced.count(FORKS), traced.written) == (0, 0, 0, [])


def test_a_beat_imports_nothing_that_only_others_need(home: Home) -> None:
    """No HTTP, no cron expressions, no terminal: what a channel or trigger needs is imported where there is one."""
    running(home)
    whole_beats(home)

    assert beat_modules(home) & NEVER_IN_A_BEAT == set()


@counted
def test_a_launch_syncs_as_often_as_safety_wants(home: Home) -> None:
    """Each is some milliseconds on a busy disk: promise, order, proof and delivery, each a file and its folder."""
    home.queue()
    home.finish()
    home.spec("S1", home.work("sleep 1000"))
    home.queue("S1")
    home.heartbeat("--dry-run")

    traced = Traced(home)

    assert "started" in traced.done.out
    assert traced.count(SYNCS) <= LAUNCH_SYNCS_MAX
    assert traced.count(FORKS) <= LAUNCH_FORKS_MAX


@counted
def test_between_two_agents_is_done_no_more_than_there_was(home: Home) -> None:
    """From the end of one to the word that starts the next: SPEC 6.5, docs/MEASURED.md 7."""
    let_go, path = home.root / "let-go", home.root / "trace"
    home.spec("S1", home.work(f"while [ ! -e {let_go} ]; do sleep 0.1; done"))
    home.spec("S2", home.work())
    home.queue("S1", "S2")
    watched = ",".join([*SYNCS, *FORKS, *CHANGES, "poll", "sendmsg"])
    home.prefix = (str(STRACE), "-f", "--seccomp-bpf", "-s0", "-e", f"trace={watched}", "-o", str(path))
    beat = home.begin_beat()
    home.wait_for(lambda: watches(path) is not None)
    let_go.touch()
    beat.communicate(timeout=PATIENCE_SECONDS)

    pid = watches(path)
    calls = re.findall(rf"^{pid} +(\w+)\((.*)", path.read_text(), re.MULTILINE)
    names = [name for name, _ in calls]
    sent = max(at for at, (name, rest) in enumerate(calls) if name == "sendmsg" and ORDERED in rest)
    waited = sent - names[:sent][::-1].index("poll")
    turn = names[waited:sent]
    assert sum(name in SYNCS for name in turn) <= TURN_SYNCS_MAX
    assert sum(name in FORKS for name in turn) == 0
    assert sum(name in CHANGES for name in turn) <= TURN_CHANGES_MAX, turn


ORDERED = "cmsg_len=36,"  # of five descriptors: a spare becomes an agent; with one it is asked for


def watches(trace: Path) -> str | None:
    """The pid of the supervisor that waits for its agent, by its system calls, once all is prepared for the next."""
    lines = trace.read_text().splitlines() if trace.exists() else []
    return next((line.split()[0] for line in lines if re.match(r"\d+ +poll\(.*, 2, 250", line)), None)


@counted
def test_what_a_beat_reads_grows_with_the_state_alone(home: Home) -> None:
    """No spec of those that wait is opened, and of the journal only its end is read, however long both are (SPEC 3.2)."""
    running(home)
    whole_beats(home)
    few = Traced(home)
    log = home.path / "state" / "log.jsonl"
    line = log.read_bytes().splitlines()[0]
    log.write_bytes(b"".join(line + b"\n" for _ in range(100_000)) + log.read_bytes())
    names = [f"W{number}" for number in range(2000)]
    for name in names:
        home.spec(name)
    home.edit(
        lambda state: (
            state["queue"].extend(names),
            state["specFiles"].update({name: str(home.root / f"SPRINT_{name}_SPEC.md") for name in names}),
        )
    )
    for _ in range(3):  # the edit is merged, its specs are read once
        home.beat()

    many = Traced(home)

    assert sum(many.opened(home.root).values()) <= sum(few.opened(home.root).values()) + 1  # which specs were read
    assert not [path for path in many.opened(home.root) if "SPEC" in path]
    assert many.read_from(log) <= 4 * 64 * 1024
    size = home.state_path.stat().st_size
    assert many.read_from(home.state_path) <= 2 * size


def test_a_burst_of_beats_is_one_or_two(home: Home) -> None:
    """Sixteen agents that end at once ask for sixteen: one is let on, the others' news is read by it (SPEC 6.5)."""
    running(home)
    log = home.root / "beats"
    home.environment = {"AWM_FAULT": f"seed=1 among=pulse.beat:after kill=0 pause=1 pause_seconds=0.001 log={log}"}

    processes = [home.begin_beat() for _ in range(BURST)]
    codes = {process.wait(PATIENCE_SECONDS) for process in processes if process.communicate(timeout=PATIENCE_SECONDS)}

    assert codes == {0}
    assert 1 <= log.read_text().count("pulse.beat:after") <= 3


def test_what_a_burst_was_asked_for_is_seen(home: Home) -> None:
    """Each edits the file and asks for a beat: whoever is turned away, its task is known when it returns (SPEC 6.5)."""
    running(home)
    processes = []
    for number in range(BURST):
        home.edit(lambda state, name=f"N{number}": state["queue"].append(name))
        processes.append(home.begin_beat())
    for process in processes:
        process.communicate(timeout=PATIENCE_SECONDS)

    newest = max((home.path / "state" / "history").glob("*.json"), key=lambda path: int(path.stem))
    assert newest.read_bytes() == home.state_path.read_bytes()  # no edit that no beat has seen
    assert {f"N{number}" for number in range(BURST)} <= {*home.state()["queue"]}


def test_one_that_is_stopped_in_the_turnstile_holds_nobody_up_for_ever(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waited long enough beats by itself (SPEC 6.5)."""
    home.queue()
    home.heartbeat()
    descriptor = os.open(home.path / idle.TURNSTILE, os.O_RDWR | os.O_CREAT, 0o600)
    monkeypatch.setattr(idle, "TURNSTILE_SECONDS", 0.2)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    child = os.fork()
    if child == 0:
        os._exit(0 if not idle._is_done_by_another(str(home.path)) else 1)
    _, status = os.waitpid(child, 0)
    os.close(descriptor)

    assert os.waitstatus_to_exitcode(status) == 0
