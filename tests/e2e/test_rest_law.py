"""The law of the quick look: where it says that a beat has nothing to do, a whole beat does nothing (SPEC 6.4, 15).

A home with real files, whatever people, programs and clocks do to it; the clock alone is the test's. After each step
the quick look is asked. Where it says "idle", a whole beat must leave every byte and stamp of the home as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from awm_loop import clock, idle
from awm_loop.attempt.directory import AttemptDirectory, Marker, take_lock
from awm_loop.cli import delivery, resting
from awm_loop.cli.pulse import pulse
from awm_loop.core.model import Instant, Outcome
from awm_loop.core.observation import Result
from awm_loop.errors import AwmError
from awm_loop.launchers import local
from awm_loop.triggers import inbox
from awm_loop.wiring import Home

State = dict[str, Any]
NEVER_SYNCED = ("cache/idle",)
REAL_NOW = clock.now
AHEAD_SECONDS = 3.0  # of the files' clock: what was written before a step is settled in the next


def tomorrow(now: Instant) -> Instant:
    """One in the morning of the next day here: no midnight comes in the hours of a test, and no file is of later."""
    wall = (now.wall.astimezone() + timedelta(days=1)).replace(hour=1, minute=0, second=0)
    return replace(now, wall=wall.astimezone(UTC))


@dataclass
class World:
    """A home, and a clock that goes as it is told."""

    path: Path
    now: Instant = field(default_factory=lambda: tomorrow(REAL_NOW()))
    said_idle: int = 0
    tended: dict[Path, int] = field(default_factory=dict)  # attempts that "run", and their locks

    def __post_init__(self) -> None:
        for name in ("state", "project", "specs"):
            (self.path / name).mkdir(mode=0o700)
        self.put(
            "current_work.json", {"active": True, "queue": [], "completed": [], "project": str(self.path / "project")}
        )

    def put(self, name: str, value: object) -> None:
        (self.path / "state" / name).write_text(json.dumps(value))

    def edit(self, change: Callable[[State], object]) -> None:
        with suppress(FileNotFoundError, ValueError):
            state = json.loads((self.path / "state" / "current_work.json").read_bytes())
            change(state)
            self.put("current_work.json", state)

    def add(self, task: str, **more: object) -> None:
        """A task that waits till it is due, and then would start."""
        if task != "first":
            (self.path / "specs" / f"{task}.md").write_text(f"# {task}\n\nDo it.\n\n```sh run\ntrue\n```\n")

        def change(state: State) -> None:
            state.setdefault("queue", []).append(f"{task}-{state.get('rev', 0)}-{len(state['queue'])}")
            state.setdefault("specFiles", {})[state["queue"][-1]] = str(self.path / "specs" / f"{task}.md")
            state.setdefault("tasks", {})[state["queue"][-1]] = more

        self.edit(change)

    def runs(self) -> None:
        """The agents of all attempts come to life, as far as a beat can see."""
        for path in (self.path / "state" / "attempts").glob("*"):
            if path not in self.tended and not (path / "started").exists():
                marker = Marker(
                    boot_id=self.now.boot_id,
                    boottime=self.now.boottime,
                    at=self.now.wall,
                    supervisor=(os.getpid(), 0),
                )
                AttemptDirectory(path).pass_start(marker)
                self.tended[path] = take_lock(path / "sup.lock") or -1

    def ends(self) -> None:
        """They succeed."""
        for path, fd in self.tended.items():
            result = Result(
                outcome=Outcome.SUCCEEDED, exit_code=0, started_at=self.now.wall, ended_at=self.now.wall, seconds=3600.0
            )
            AttemptDirectory(path).write_result(result)
            os.close(fd)
        self.tended.clear()

    def samples(self, idle_seconds: float) -> None:
        """The supervisors write down for how long nothing happened."""
        for path in self.tended:
            line = {"at": "?", "idleSeconds": idle_seconds, "busySeconds": 60.0, "processes": []}
            with (path / "samples.jsonl").open("a") as file:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def dies(self) -> None:
        """The supervisors are gone, and left no result."""
        for fd in self.tended.values():
            os.close(fd)
        self.tended.clear()

    def goes(self, wall_seconds: float, boot_seconds: float, boot: str = "") -> None:
        self.now = replace(
            self.now,
            wall=self.now.wall + timedelta(seconds=wall_seconds),
            boottime=self.now.boottime + boot_seconds,
            boot_id=boot or self.now.boot_id,
        )

    def beat(self) -> str:
        """A whole beat as heartbeat.py has it; agents never come to life. Returns the trouble there was."""
        told: list[str] = []
        try:
            home = Home.open(self.path)
            ports = home.ports(lambda _: None)
            home.store.prepare()
            before = resting.look(home)
            beats = [*pulse(home.store, ports)]

            def again() -> list[Any]:
                beats.extend(pulse(home.store, ports))
                return beats

            delivery.deliver_and_look(home, lambda notice: told.append(notice.text), again)
            resting.keep(home, before, beats)
            return "; ".join([*told, *map(str, home.bad)])
        except AwmError as error:
            return error.message

    def tree(self) -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in sorted(self.path.rglob("*"))
            if not str(path).endswith(NEVER_SYNCED)
        }


HOUR = 3600.0


def _triggers(world: World, **trigger: str) -> None:
    (world.path / "specs" / "t.md").write_text("# T\n\nDo it.\n\n```sh run\ntrue\n```\n")
    one = {"id": "t", "projectId": "default", "spec": "specs/t.md", "createdAt": f"{world.now.wall:%FT%TZ}", **trigger}
    world.put("triggers.json", {"version": 1, "triggers": [one]})


def _later(world: World) -> str:
    return f"{world.now.wall + timedelta(hours=1):%FT%TZ}"


def _window(state: str) -> dict[str, object]:
    return {"id": "web", "name": "Web", "path": "project", "status": "active", "window": state}


def _remove(world: World, name: str) -> None:
    path = world.path / "state" / name
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _in_place(world: World) -> None:
    """The same bytes, written once more by an editor."""
    path = world.path / "state" / "current_work.json"
    path.write_bytes(path.read_bytes())


def _same_stamp(world: World) -> None:
    """Another digit, in place, by a tool that puts the time back: only the change time tells."""
    path = world.path / "state" / "current_work.json"
    with suppress(FileNotFoundError):
        found, data = path.stat(), path.read_bytes()
        path.write_bytes(data.replace(b'"active":true', b'"active":null').replace(b'"active": true', b'"active": null'))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _request(world: World) -> None:
    (world.path / "specs" / "r.md").write_text("# R\n\nDo it.\n\n```sh run\ntrue\n```\n")
    inbox.write_request(world.path, {"spec": "specs/r.md", "id": "R1"})


ACTIONS: dict[str, Callable[[World], object]] = {
    "beat": World.beat,
    "a minute": lambda world: world.goes(60, 60),
    "an hour": lambda world: world.goes(HOUR, HOUR),
    "two days": lambda world: world.goes(48 * HOUR, 48 * HOUR),
    "wall forward": lambda world: world.goes(5 * HOUR, 1),
    "wall back": lambda world: world.goes(-HOUR, 1),
    "boot clock alone": lambda world: world.goes(0, 2 * HOUR),
    "reboot": lambda world: world.goes(60, 30 - world.now.boottime, f"boot {world.now.wall:%c}"),
    "task due now": lambda world: world.add("now"),
    "task due later": lambda world: world.add("later", notBefore=_later(world)),
    "agents run": World.runs,
    "agents end": World.ends,
    "supervisors die": World.dies,
    "a sample": lambda world: world.samples(30.0),
    "a stall": lambda world: world.samples(1000.0),
    "task before its spec": lambda world: world.add("first", notBefore=_later(world)),
    "its spec": lambda world: (world.path / "specs" / "first.md").write_text("# F\n**Priority:** P0\n\nDo it.\n"),
    "no spec": lambda world: (world.path / "specs" / "now.md").unlink(missing_ok=True),
    "no project": lambda world: (world.path / "project").rmdir(),
    "pause": lambda world: world.edit(lambda state: state.update(active=False, idleSince=None)),
    "resume": lambda world: world.edit(lambda state: state.update(active=True)),
    "limit": lambda world: world.edit(
        lambda state: state.update(rateLimitedUntil=f"{world.now.wall + timedelta(hours=2):%FT%TZ}")
    ),
    "empty": lambda world: world.edit(lambda state: state.update(queue=[])),
    "same bytes": _in_place,
    "same stamp": _same_stamp,
    "white space": lambda world: world.edit(lambda state: state),
    "torn state": lambda world: (world.path / "state" / "current_work.json").write_text("{"),
    "no history": lambda world: _remove(world, "history"),
    "no journal": lambda world: _remove(world, "log.jsonl"),
    "no state": lambda world: _remove(world, "current_work.json"),
    "leftover": lambda world: (world.path / "state" / f".{'0' * 16}.tmp").write_text('{"rev": 1, "queue": ["X"]}'),
    "mark": lambda world: (world.path / "state" / "look-again").touch(),
    "open folder": lambda world: (world.path / "state").chmod(0o755),
    "config": lambda world: (world.path / "awm.toml").write_text("[loop]\nallow_overtake = true\n"),
    "bad config": lambda world: (world.path / "awm.toml").write_text("[loop\n"),
    "window": lambda world: (world.path / "awm.toml").write_text(
        f'[loop]\nwindow = "{world.now.wall + timedelta(hours=3):%H:%M}-{world.now.wall + timedelta(hours=9):%H:%M} UTC"\n'
    ),
    "no config": lambda world: (world.path / "awm.toml").unlink(missing_ok=True),
    "projects": lambda world: world.put("projects.json", {"version": 1, "projects": [_window("01:00-02:00 UTC")]}),
    "bad projects": lambda world: world.put("projects.json", {"version": "?"}),
    "time trigger": lambda world: _triggers(world, type="time", trigger="0 * * * *", timezone="UTC"),
    "file trigger": lambda world: _triggers(world, type="file", trigger="**/*.py"),
    "bad triggers": lambda world: world.put("triggers.json", []),
    "request": _request,
    "no cache": lambda world: _remove(world, "cache"),
    "old plan": lambda world: _remove(world, "triggers"),
}


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[World], None]]:
    """Let both looks see the time of a world: the quick one reads the clocks by itself."""

    def of(world: World) -> None:
        def boot_id() -> str:
            return world.now.boot_id

        monkeypatch.setattr(clock, "now", lambda: world.now)
        monkeypatch.setattr(idle, "_boot_id", boot_id)
        monkeypatch.setattr(local, "start_supervisor", lambda *_: None)  # nobody comes to sweep what is left

        def wall() -> float:
            return world.now.wall.timestamp()

        told = SimpleNamespace(time=wall, clock_gettime=lambda _: world.now.boottime, CLOCK_BOOTTIME=0)
        monkeypatch.setattr(idle, "time", told)

    yield of
    monkeypatch.undo()


def play(steps: list[str], clocks: Callable[[World], None]) -> World:
    """The steps on a new home, each followed by the quick look and, where that says so, by a beat that must do nothing."""
    folder = tempfile.mkdtemp(prefix="awm-rest.")
    world = World(Path(folder))
    try:
        clocks(world)
        for step in steps:
            with suppress(FileNotFoundError):
                ACTIONS[step](world)
            world.goes(AHEAD_SECONDS, AHEAD_SECONDS)
            if idle.is_idle(folder):
                world.said_idle += 1
                before = world.tree()
                assert (world.beat(), world.tree()) == ("", before)
        return world
    finally:
        for fd in world.tended.values():
            os.close(fd)
        shutil.rmtree(folder)


NOTHING_THERE = {
    "agents run",
    "agents end",
    "supervisors die",
    "a sample",
    "a stall",
    "its spec",
    "no spec",
    "no project",
}  # of an empty home
DONE_IN_AN_HOUR = ["task due now", "beat", "agents run", "beat", "agents end", "beat"]  # so the next is late after two
MANY = int(os.environ.get("AWM_REST_EXAMPLES", "150"))


@settings(
    deadline=None, max_examples=MANY, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example(["beat", "beat", "task due later", "beat", "beat", "beat", "an hour"])
@example(["beat", "beat", "time trigger", "beat", "beat", "beat", "a minute", "an hour"])
@example(["beat", "task due later", "beat", "beat", "beat", "boot clock alone"])
@example(["task due later", "beat", "beat", "beat", "reboot"])
@example(["limit", "task due now", "beat", "beat", "beat", "no spec"])
@example(["task due now", "beat", "agents run", "beat", "beat", "agents end"])
@example(["task due now", "beat", "agents run", "beat", "beat", "a sample", "beat", "a stall"])
@example(["task due now", "beat", "agents run", "beat", "beat", "a sample", "beat", "supervisors die"])
@example([*DONE_IN_AN_HOUR, "task due now", "beat", "agents run", "beat", "a sample", "beat", "an hour", "an hour"])
@example(["task before its spec", "beat", "beat", "beat", "its spec"])
@given(st.lists(st.sampled_from(["beat", "beat", "beat", *ACTIONS, *ACTIONS]), min_size=4, max_size=14))
def test_where_the_quick_look_says_idle_a_whole_beat_does_nothing(
    clocks: Callable[[World], None], steps: list[str]
) -> None:
    """Hand edits, requests, triggers, limits, clocks that leap, reboots, files gone or bad: any doubt is a whole beat."""
    play(steps, clocks)


@pytest.mark.parametrize(
    "state",
    [
        [],
        ["pause"],
        ["task due later"],
        ["limit"],
        ["window", "task due now"],
        ["config"],
        ["projects"],
        ["time trigger"],
        ["task due later", "white space"],
        ["no history"],
        ["task due now", "beat", "agents run", "beat", "a sample"],
    ],
)
def test_a_home_at_rest_is_seen_to_be_so(state: list[str], clocks: Callable[[World], None]) -> None:
    """Else the law above would hold of a look that always doubts (SPEC 6.4)."""
    assert play([*state, *["beat"] * 5], clocks).said_idle > 0


@pytest.mark.parametrize("step", sorted(set(ACTIONS) - {"beat", "a minute", "an hour"}))
def test_whatever_touches_a_home_at_rest_is_a_doubt(step: str, clocks: Callable[[World], None]) -> None:
    """But time alone, and what changes nothing (SPEC 6.4)."""
    harmless = {"boot clock alone", "wall forward", "no config", "old plan", *NOTHING_THERE}

    rested = play(["beat"] * 4, clocks).said_idle
    touched = play([*["beat"] * 4, step], clocks).said_idle

    assert rested > 0
    assert touched == rested + (step in harmless)
