"""A whole home in a temporary directory, beaten by real `python heartbeat.py` processes (SPEC 3, 6).

`Home` writes specs, configuration and state as a person would, runs beats as cron would, and reads what AWM left. What an
agent did is told by the agent itself: its lines in `truth`, appended with O_APPEND to a file outside of the home.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from awm_loop.cli.replaying import difference
from awm_loop.store import recording

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 60.0  # a condition that has not come by then never will, however busy the machine
POLL_SECONDS = 0.02
QUICK = """\
[loop]
retry_backoff_seconds = [0]
stop_grace_seconds = 0.3
"""
Value = TypeVar("Value")


def rounds(few: int, all_of_them: int) -> int:
    """How often a test repeats what only chance finds: `few` times, or all with AWM_ALL_ROUNDS in the environment."""
    return all_of_them if os.environ.get("AWM_ALL_ROUNDS") else few


@dataclass(frozen=True)
class Done:
    """How one process ended."""

    code: int
    out: str
    err: str


@dataclass
class Home:
    """One home, its project (a git repository) and its agents' truth, all below `root`."""

    root: Path
    told: list[dict[str, Any]] = field(default_factory=list)  # every notice the beats' consoles got
    environment: dict[str, str] = field(default_factory=dict)  # of every beat, beside the basic four
    prefix: tuple[str, ...] = ()  # before each command, to run it in another namespace
    view: Path = Path("/")  # where that namespace's root is seen

    def __post_init__(self) -> None:
        for directory in (self.path / "state", self.project, self.user):
            directory.mkdir(parents=True)
        (self.path / "state").chmod(0o700)
        (self.user / ".gitconfig").write_text(
            "[user]\nname = Agent\nemail = agent@example.org\n[init]\ndefaultBranch = main\n"
        )
        self.git("init", "-q")
        self.git("commit", "-q", "--allow-empty", "-m", "base")

    @property
    def path(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def user(self) -> Path:
        return self.root / "user"

    @property
    def lock_path(self) -> Path:
        return self.state_path.with_name("current_work.json.lock")

    @property
    def mark_path(self) -> Path:
        return self.state_path.with_name("look-again")

    @property
    def state_path(self) -> Path:
        return self.seen(self.path / "state" / "current_work.json")

    def seen(self, path: Path) -> Path:
        """Where this process finds a path of the beats' namespace."""
        return self.view / path.relative_to("/")

    # What a person does

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.project, env=self.environ(), capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def config(self, text: str) -> None:
        (self.path / "awm.toml").write_text(text)

    def spec(self, task: str, script: str | None = None, *, header: str = "", title: str = "") -> Path:
        """A spec whose `sh run` block is `script`; without one, its agent commits something."""
        path = self.root / f"SPRINT_{task}_SPEC.md"
        block = f"```sh run\n{self.work() if script is None else script}\n```"
        path.write_text(f"# Sprint {task}: {title or f'Thing {task}'}\n\n{header}\n\n{block}\n")
        return path

    def work(self, between: str = "") -> str:
        """A shell script that says when it begins and ends, notices company, and commits."""
        return f"""\
exec 9>>{self.root}/live
flock -n 9 || echo "double $AWM_TASK $AWM_ATTEMPT" >> {self.truth_path}
echo "begin $AWM_TASK $AWM_ATTEMPT" >> {self.truth_path}
{between}
git commit -q --allow-empty -m "$AWM_TASK"
echo "end $AWM_TASK $AWM_ATTEMPT" >> {self.truth_path}"""

    def agent(self, script: str, name: str = "agent") -> str:
        """A program on its own, for `kind = "command"`; returns its path."""
        path = self.root / f"{name}.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def queue(self, *tasks: str, **fields: object) -> None:
        """Write the state file of a person who wants `tasks` done."""
        self.put(
            {
                "active": True,
                "queue": list(tasks),
                "completed": [],
                "inProgress": None,
                "specFiles": {task: str(self.root / f"SPRINT_{task}_SPEC.md") for task in tasks},
                "project": str(self.project),
                **fields,
            }
        )

    def put(self, state: object) -> None:
        self.put_bytes(json.dumps(state, indent=2, ensure_ascii=False).encode())

    def put_bytes(self, data: bytes) -> None:
        """Replace the state file in one step, as a good editor does."""
        temporary = self.state_path.with_name("edited~")
        temporary.write_bytes(data)
        temporary.rename(self.state_path)

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit the state by hand, again where a beat saved meanwhile."""
        while True:
            before = self.state_path.read_bytes()
            state = json.loads(before)
            change(state)
            data = json.dumps(state, indent=2, ensure_ascii=False).encode()
            if self.state_path.read_bytes() == before:
                self.put_bytes(data)
                return

    # What cron does

    def environ(self) -> dict[str, str]:
        basic = {"PATH": os.environ["PATH"], "HOME": str(self.user), "LANG": "C.UTF-8", "TERM": "dumb"}
        measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        return basic | measured | self.environment

    def begin_beat(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.prefix, sys.executable, str(REPOSITORY / "heartbeat.py"), "--home", str(self.path), *arguments],
            env=self.environ(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def heartbeat(self, *arguments: str) -> Done:
        """One beat with whatever came of it."""
        with self.begin_beat(*arguments) as process:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return Done(process.returncode, out, err)

    def beat(self, *arguments: str) -> dict[str, Any]:
        """One beat that must end well; returns its `--json` object, and keeps its notices in `told`."""
        done = self.heartbeat("--json", *arguments)
        assert (done.code, done.err) == (0, ""), done
        said: dict[str, Any] = json.loads(done.out)
        self.told += said["notices"]
        return said

    def wait_for(
        self, condition: Callable[[], Value], *, beat_every: float | None = None, seconds: float = PATIENCE_SECONDS
    ) -> Value:
        """Poll until `condition` is true, with a timer's beats between where `beat_every` seconds are given."""
        deadline = time.monotonic() + seconds
        beat_at = time.monotonic() if beat_every is not None else deadline
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited in vain for {condition}\n{self.story()}"
            if beat_every is not None and time.monotonic() >= beat_at:
                self.beat()
                beat_at = time.monotonic() + beat_every
            select.select((), (), (), POLL_SECONDS)
        return value

    def finish(self, beat_every: float = 1.0) -> dict[str, Any]:
        """Beat as a timer does until the loop rests and has said so; returns the state."""
        self.wait_for(lambda: self.is_idle, beat_every=beat_every)
        self.wait_for(lambda: not self.state()["outbox"], beat_every=beat_every)
        return self.state()

    # What can be read

    @property
    def truth_path(self) -> Path:
        return self.root / "truth"

    def truth(self) -> list[tuple[str, ...]]:
        """What the agents did, by their own words."""
        with suppress(FileNotFoundError):
            return [tuple(line.split()) for line in self.truth_path.read_text().splitlines()]
        return []

    def begun(self) -> list[str]:
        """The tasks whose agents began, in order."""
        return [line[1] for line in self.truth() if line[0] == "begin"]

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state_path.read_bytes())
        return found

    @property
    def is_idle(self) -> bool:
        state = self.state()
        return bool(state.get("idleSince")) and not state["queue"]

    def journal(self) -> list[dict[str, Any]]:
        path = self.seen(self.path / "state" / "log.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def rows(self, task: str) -> list[str]:
        """The rows taken for a task, as the journal has them."""
        return [line["what"] for line in self.journal() if line.get("task") == task]

    def attempts(self) -> list[Path]:
        """The attempt directories, by number."""
        found = self.seen(self.path / "state" / "attempts")
        return sorted(found.iterdir(), key=lambda path: int(path.name.split(".")[1])) if found.exists() else []

    def attempt(self, number: int) -> Path:
        return next(path for path in self.attempts() if path.name.endswith(f".{number}"))

    def results(self) -> list[dict[str, Any]]:
        """Every `result.json`, by attempt number."""
        return [
            json.loads((path / "result.json").read_text())
            for path in self.attempts()
            if (path / "result.json").exists()
        ]

    def prompt(self, number: int) -> str:
        return (self.attempt(number) / "prompt.md").read_text()

    def texts(self, kind: str) -> list[str]:
        """The texts of the notices of one kind that the consoles got."""
        return [notice["text"] for notice in self.told if notice["kind"] == kind]

    def tree(self) -> dict[str, tuple[int, int, bytes]]:
        """Every path of the home with mode, time of change and contents."""
        return {
            str(path.relative_to(self.path)): (
                path.lstat().st_mode,
                path.lstat().st_mtime_ns,
                path.read_bytes() if path.is_file() else b"",
            )
            for path in sorted(self.path.rglob("*"))
        }

    def story(self) -> str:
        """For a failed test: what happened."""
        logs = [path.read_text() for path in self.seen(self.path).glob("state/attempts/*/supervisor.log")]
        state = [self.state_path.read_text()] if self.state_path.exists() else []
        return "\n".join(["", *map(str, self.truth()), *map(json.dumps, self.journal()), *logs, *state])

    # What runs

    def processes(self) -> dict[int, str]:
        """The processes, not zombies, that have anything below `root`: argv, environment, directory, or an open file."""
        found: dict[int, str] = {}
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            if pid != os.getpid() and str(self.root) in _traces(pid):
                found[pid] = _read(f"/proc/{pid}/cmdline").replace("\0", " ")
        return found

    def supervisors(self) -> list[int]:
        """Those who tend an attempt: supervisors that have its `sup.lock` open."""
        return sorted({pid for path in self.attempts() for pid in _supervisors_with(path / "sup.lock")})

    def agents(self) -> list[int]:
        """The agents' main processes: children of supervisors, in sessions of their own."""
        return [pid for parent in self.supervisors() for pid in _children(parent) if not is_ours(pid)]

    def end_all(self) -> None:
        """Kill what is left of this home, and nothing else."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while found := self.processes():
            assert time.monotonic() < deadline, f"cannot end {found}"
            for pid in found:
                kill(pid, signal.SIGKILL, str(self.root))
            select.select((), (), (), POLL_SECONDS)


def kill(pid: int, number: signal.Signals, trace: str) -> bool:
    """Signal `pid` where it is still a process that bears `trace`; a recycled pid is not hit."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            if trace in _traces(pid):
                signal.pidfd_send_signal(pidfd, number)
                return True
        finally:
            os.close(pidfd)
    return False


def is_running(pid: int) -> bool:
    """Alive, and no zombie."""
    state = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return bool(state) and state[0] not in "ZX"


def lock_holder(path: Path) -> int | None:
    """Who holds the flock on `path`, by the kernel's word; None where nobody does."""
    with suppress(FileNotFoundError):
        found = path.stat()
        name = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1] == "FLOCK" and words[5] == name:
                return int(words[4])
    return None


def _supervisors_with(path: Path) -> Iterator[int]:
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        if is_ours(pid):
            with suppress(OSError):
                if str(path) in {_link(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}:
                    yield pid


def is_ours(pid: int) -> bool:
    """A supervisor, its spare for the next agent, or the child that delivers its notices."""
    return "awm_loop.cli." in _read(f"/proc/{pid}/cmdline")


def _traces(pid: int) -> str:
    if not is_running(pid):
        return ""
    links = [_link(Path(f"/proc/{pid}/cwd")), _link(Path(f"/proc/{pid}/exe"))]
    with suppress(OSError):
        links += [_link(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return "\n".join([_read(f"/proc/{pid}/cmdline"), _read(f"/proc/{pid}/environ"), *links])


def _children(pid: int) -> list[int]:
    return [int(word) for word in _read(f"/proc/{pid}/task/{pid}/children").split()]


def _read(path: str) -> str:
    with suppress(OSError), open(path, "rb") as file:
        return file.read().decode(errors="replace")
    return ""


def _link(path: Path) -> str:
    with suppress(OSError):
        return str(path.readlink())
    return ""


def only(values: Sequence[Value]) -> Value:
    """The one value there is."""
    [value] = values
    return value


def texts(notices: Sequence[Mapping[str, Any]]) -> list[str]:
    return [notice["text"] for notice in notices]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home with short waits, whose processes are ended with the test, and whose beats must all replay (SPEC 15.12)."""
    found = Home(tmp_path)
    found.config(QUICK)
    try:
        yield found
    finally:
        found.end_all()
    for path in recording.paths(found.seen(found.path / "state")):
        assert [parted for record in recording.read(path) if (parted := difference(record))] == []
