"""Homes to beat in, and the code that beats: both made for the run, so that nobody's work is touched by it."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

WAIT_SECONDS = 1800.0  # before a benchmark gives up, however loaded the machine
POLL_SECONDS = 0.02
NOTE = Path("state", "cache", "idle")
# What cron gives, and nothing that would keep Python from using or writing .pyc files.
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

SPEC = """\
# Sprint {name}: A task to measure with
**Priority:** P2 — MEDIUM
**Est:** 30 min

## What to do

Nothing but this:

```sh run
{line}
```
"""
AWM = """\
import sys
sys.path.insert(0, {path!r})
from awm_loop.cli.main import main
main()
"""


@dataclass(frozen=True, slots=True)
class Code:
    """A copy of a checkout's code, compiled: edits to the checkout during the run do not reach it."""

    path: Path

    @classmethod
    def copy_of(cls, checkout: Path, into: Path) -> Code:
        shutil.copytree(checkout / "awm_loop", into / "awm_loop", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(checkout / "heartbeat.py", into)
        compileall.compile_dir(into / "awm_loop", quiet=1)
        (into / "awm.py").write_text(AWM.format(path=str(into)))
        return cls(into)

    def beat(self, home: Home) -> list[str]:
        """The command line of one beat, as cron would have it."""
        return [sys.executable, str(self.path / "heartbeat.py"), "--home", str(home.path)]

    def whole_beat(self, home: Home) -> list[str]:
        """One that looks at everything, even where the note of the last one would do."""
        return [*self.beat(home), "--json"]

    def awm(self, home: Home, *words: str) -> list[str]:
        """As the installed program does it."""
        return [sys.executable, str(self.path / "awm.py"), "--home", str(home.path), *words]


def settings(*, loop: str = "", project: str = "", command: Sequence[str] = ()) -> str:
    """An awm.toml whose tasks need no commit. The agent runs the spec's `sh run` block, or `command`."""
    agent = f'kind = "command"\ncommand = {json.dumps(list(command))}' if command else 'kind = "shell"'
    return f"[loop]\nrequire_commit = false\n{loop}\n[project]\n{project}\n[agents.local]\n{agent}\n"


SHELL_AGENT = settings()
LONG = "sleep 600"  # an agent that is at work as long as anybody looks


@dataclass(frozen=True, slots=True)
class Home:
    """A home whose tasks each run a shell line, and which need no commit to succeed."""

    path: Path

    @classmethod
    def make(cls, path: Path, lines: Sequence[str], toml: str = SHELL_AGENT, *, is_git: bool = False) -> Home:
        project, specs = path / "project", path / "specs"
        specs.mkdir(parents=True)
        project.mkdir()
        ids = [f"S{number}" for number in range(1, len(lines) + 1)]
        for name, line in zip(ids, lines, strict=True):
            (specs / f"{name}.md").write_text(SPEC.format(name=name, line=line))
        (path / "awm.toml").write_text(toml)
        state = {
            "active": True,
            "task": "benchmark",
            "queue": ids,
            "completed": [],
            "inProgress": None,
            "specFiles": {name: str(specs / f"{name}.md") for name in ids},
            "project": str(project),
            "log": [],
        }
        (path / "state").mkdir(mode=0o700)
        (path / "state" / "current_work.json").write_text(json.dumps(state, indent=2))
        if is_git:
            git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-C", str(project)]
            for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "base"]):
                subprocess.run([*git, *words], check=True, env=ENVIRONMENT)
        MADE.append(cls(path))
        return cls(path)

    def copy_to(self, path: Path) -> Home:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.path, path)
        MADE.append(Home(path))
        return Home(path)

    def state(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.path / "state" / "current_work.json").read_bytes())
        return found

    def completed(self) -> list[str]:
        found = self.state()["completed"]
        return [str(name) for name in found] if isinstance(found, list) else []

    def attempts(self) -> list[Path]:
        return sorted((self.path / "state" / "attempts").glob("*"))

    def supervisor(self) -> int | None:
        """The pid of the newest supervisor that still runs."""
        for marker in sorted(self.path.glob("state/attempts/*/started"), key=lambda found: -found.stat().st_mtime_ns):
            text = marker.read_bytes()  # empty for the moment between its creation and its first byte
            pid, started_at = json.loads(text)["supervisor"] if text else (0, 0)
            if text and _start_time(pid) == started_at:
                return int(pid)
        return None

    def end(self) -> None:
        """End the supervisor, and with it, by its parent-death signal, the agent."""
        pid = self.supervisor()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: self.supervisor() is None, "the end of a supervisor")


MADE: list[Home] = []
"""Every home of this run: however it ends, no agent may go on."""


def launched(code: Code, home: Home) -> Home:
    """The home with its first agent running and all of that said: from here beats have nothing new."""
    run(code.beat(home))
    wait_for(lambda: any(home.path.glob("state/attempts/*/started")), "the start of an attempt")
    return settled(code, home)


def settled(code: Code, home: Home) -> Home:
    """The home when a beat had nothing new to tell."""
    wait_for(lambda: run(code.beat(home)) == "", "a beat with nothing new")
    return home


def noted(code: Code, home: Home) -> Home:
    """The home when a beat has left its note: from here most beats end by it."""
    settled(code, home)
    wait_for(lambda: run(code.beat(home)) == "" and (home.path / NOTE).exists(), "the note of a beat at rest")
    return home


def run(command: Sequence[str], **environment: str) -> str:
    """stdout of a command that must succeed."""
    done = subprocess.run(
        command, env=ENVIRONMENT | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def timed(command: Sequence[str]) -> dict[str, float]:
    """Milliseconds of one run: `wall`, and `cpu` of the process and the children it waited for."""
    begun = time.perf_counter()
    return waited(begin(command), begun)


def begin(command: Sequence[str], **environment: str) -> int:
    """The pid of a command that reads nothing and whose output nobody reads."""
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)]
    return os.posix_spawn(command[0], list(command), ENVIRONMENT | environment, file_actions=quiet)


def waited(pid: int, begun: float) -> dict[str, float]:
    """The figures of process `pid`, begun at `begun` of the performance counter, when it has ended well."""
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"a process that is measured ended with {os.waitstatus_to_exitcode(status)}")
    return {"wall": wall * 1000, "cpu": (usage.ru_utime + usage.ru_stime) * 1000}


def wait_for(is_so: Callable[[], bool], what: str, poll_seconds: float = POLL_SECONDS) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {WAIT_SECONDS:.0f} s in vain for {what}")
        time.sleep(poll_seconds)


def _start_time(pid: int) -> int | None:
    """In ticks since boot; None when the process is gone or waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
