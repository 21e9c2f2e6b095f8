"""The scenes that faults are injected into: a home at one point of its life, and what the program does there.

All of the product is real but the launcher's processes and the clock: the pulse of a beat, the state file, journal,
history, recording, metrics, memory, outbox. What agents did, which notices arrived and which tasks were accepted is kept
here, beside the home: the truth that the state is checked against.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from disk import Disk

from awm_loop import clock
from awm_loop.cli import delivery, steering
from awm_loop.cli.pulse import pulse
from awm_loop.cli.replaying import difference
from awm_loop.core.model import Attempt, Effect, Instant, Launch, Notice, Outcome, Reset, Stop, Task, Work, attempt_key
from awm_loop.core.observation import Alive, AttemptSeen, Exited, Limit, NotStarted, Result, Site
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.errors import AwmError, BadFileError
from awm_loop.ports import Ports
from awm_loop.store import recording
from awm_loop.wiring import Home

BEGIN = Instant(wall=datetime(2026, 1, 1, 3, 0, tzinfo=UTC), boottime=1_000.0, boot_id="boot 1")
CONFIG = '[loop]\nmemory = "state/memory"\n'  # below the folder whose disk fails
SPEC = "# Sprint {task}: Work\n\n```sh run\ntrue\n```\n"
HEALTHY = Alive(idle_seconds=0.0, busy_seconds=0.0, running_seconds=60.0)
STUCK = Alive(idle_seconds=1_000.0, busy_seconds=0.0, running_seconds=1_000.0)
LISTS = ("queue", "completed", "failed", "skipped", "blocked")
LONG_AGO = 1_000_000_000
DRAIN_BEATS_MAX = 30


def ended(outcome: Outcome, **changes: Any) -> Exited:
    """An attempt of a minute that came to `outcome`."""
    usual = Result(outcome=outcome, exit_code=0, started_at=BEGIN.wall, ended_at=BEGIN.wall, seconds=60.0)
    return Exited(result=replace(usual, **changes))


@dataclass
class World:
    """One home, and the truth beside it. Agents finish well as soon as they started, unless told else."""

    home: Home
    shared: Path  # project and specs, which no fault touches
    now: Instant = BEGIN
    answers: dict[str, AttemptSeen] = field(default_factory=dict)  # what probes see, by attempt key
    starts: list[str] = field(default_factory=list)  # keys, each time an agent passed its start
    stops: dict[str, str] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)  # ids of notices that arrived
    offered: set[str] = field(default_factory=set)  # tasks that somebody asked for
    accepted: set[str] = field(default_factory=set)  # of these, those that AWM said yes to
    removed: set[str] = field(default_factory=set)  # by a person, in the file
    refusals: int = 0  # of the console, still to come
    disk: Disk | None = None

    @property
    def state(self) -> Path:
        return self.home.path / "state"

    @classmethod
    def made(cls, base: Path, before: Callable[[World], None]) -> Self:
        """A new home, and what `before` did in it, without a fault."""
        for folder in (base / "home", base / "shared" / "project"):
            folder.mkdir(parents=True)
        (base / "home" / "awm.toml").write_text(CONFIG)
        world = cls(Home.open(base / "home"), base / "shared")
        with world.mounted(Disk(world.home.path, lambda _: None)):
            before(world)
        return world

    def copied_to(self, base: Path) -> Self:
        """The same, elsewhere: each run of a scene has its own."""
        shutil.copytree(self.home.path, base / "home", symlinks=True)
        return copy.deepcopy(replace(self, disk=None, home=replace(self.home, path=base / "home")))

    @contextmanager
    def mounted(self, disk: Disk) -> Iterator[None]:
        """The program works on this disk, by the clock of this world."""
        self.disk, real = disk, clock.now
        clock.now = self.clock
        try:
            with disk.mounted():
                yield
        finally:
            clock.now = real

    def clock(self) -> Instant:
        self.pass_time(1.0)
        return self.now

    def pass_time(self, seconds: float) -> None:
        wall = self.now.wall + timedelta(seconds=seconds)
        self.now = replace(self.now, wall=wall, boottime=self.now.boottime + seconds)

    def reboot(self) -> None:
        """Agents that were alive are not any more."""
        self.now = replace(self.now, boottime=10.0, boot_id=f"{self.now.boot_id}'")
        for key in self.starts:
            if isinstance(self.answers.get(key), Alive):
                self.answers[key] = ended(Outcome.REBOOTED)

    def tend(self) -> None:
        """What happens to agents between two beats. Nothing: the answers of this world are there from the start."""

    def check_attempts(self) -> None:
        """What else must hold of the attempts. Nothing: they have no files."""

    def ports(self) -> Ports:
        launcher = _Launcher(self)
        return replace(
            self.home.ports(),
            launcher=launcher,
            clock=self.clock,
            head=lambda *_: Site("project", "abc1234", "main"),
            worktree=str,
        )

    def hear(self, notice: Notice) -> str | None:
        """The console."""
        if self.refusals:
            self.refusals -= 1
            return "nobody looks"
        self.sent.append(notice.id)
        return None

    def past_the_disk(self) -> AbstractContextManager[None]:
        """What is done inside is done by others than the program."""
        if self.disk is None:
            raise AssertionError("no disk is mounted")
        return self.disk.away()

    def promise(self) -> Effect | None:
        """What the file on disk promises, read past the program."""
        with self.past_the_disk():
            raw = json.loads((self.state / "current_work.json").read_bytes())
        kinds: dict[str, type[Launch | Stop | Reset]] = {"launch": Launch, "stop": Stop, "reset": Reset}
        pending = dict(raw["pending"] or {"effect": ""})
        kind = kinds.get(pending.pop("effect"))
        return kind(**pending) if kind else None


class _Launcher:
    """Attempts of a world, to the contract of `ports.Launcher`: each verb may be repeated, a number starts once."""

    def __init__(self, world: World) -> None:
        self._world = world

    def start(self, attempt: Attempt, task: Task) -> bool:
        world = self._world
        if world.promise() != Launch(key=attempt.key):
            raise AssertionError(f"guarantee 4: {attempt.key} starts, and the file promises {world.promise()}")
        if attempt.key in world.starts:
            return False
        world.starts.append(attempt.key)
        return True

    def probe(self, attempts: Sequence[Attempt]) -> Mapping[str, AttemptSeen]:
        return {one.key: self._seen(one.key) for one in attempts}

    def _seen(self, key: str) -> AttemptSeen:
        if key not in self._world.starts:
            return NotStarted()
        return self._world.answers.get(key) or ended(Outcome.SUCCEEDED, commits=("abc1234",))

    def stop(self, key: str, why: str) -> None:
        world = self._world
        if world.promise() != Stop(key=key, why=why):
            raise AssertionError(f"guarantee 4: {key} is stopped, and the file promises {world.promise()}")
        world.stops[key] = why
        if not isinstance(world.answers.get(key), Exited):
            world.answers[key] = ended(Outcome.STALLED if why == "stalled" else Outcome.STOPPED)


# What the program does.


def beat(world: World) -> None:
    """What one `heartbeat.py` does, from its lock to its notices. Raises what a beat raises."""
    home = world.home
    world.tend()
    try:
        home.store.prepare()
        pulse(home.store, world.ports())
        delivery.deliver_and_look(home, world.hear, lambda: pulse(home.store, world.ports()))
    except BadFileError as error:
        delivery.tell_bad_file(home, home.store.path, error)
        raise


def deliver(world: World) -> None:
    delivery.deliver(world.home, world.hear)


def create(world: World) -> None:
    """`awm init` and the first `awm add`."""
    store = world.home.store
    store.prepare()
    with store.locked_for_command():
        store.create(str(world.shared / "project"))
    if "S1" not in world.accepted:
        add(world, "S1")


def add(world: World, *tasks: str) -> None:
    """`awm add`: the tasks are accepted when it has returned."""
    world.offered.update(tasks)

    def change(work: Work, now: Instant) -> Work:
        for task in tasks:
            if steering.whereabouts(work, task) is None:
                work = steering.add(work, Task(id=task), str(_spec(world, task)), DEFAULT_PROJECT, now)
        return work

    store = world.home.store
    with store.locked_for_command():
        if store.update(change, world.clock()) is None:
            raise AwmError("there is no state yet")
    world.accepted.update(tasks)


def _spec(world: World, task: str) -> Path:
    path = world.shared / f"{task}.md"
    if not path.exists():
        path.write_text(SPEC.format(task=task))
    return path


def edit(world: World) -> None:
    """`awm edit`: S3 is put first and S2 taken out, in a copy that is merged."""
    store = world.home.store
    with store.locked_for_command():
        loaded = store.load(world.clock())
        if loaded is None:
            raise AwmError("there is no state")
        after = _edited(world, loaded.raw)
        store.take(loaded.raw, after, world.clock())
    world.accepted.add("S3")


def _edited(world: World, raw: Mapping[str, Any]) -> dict[str, Any]:
    world.offered.add("S3")
    world.removed.add("S2")
    specs = {**raw["specFiles"], "S3": str(_spec(world, "S3"))}
    return {**raw, "queue": ["S3", *(one for one in raw["queue"] if one != "S2")], "specFiles": specs}


# What went before, and what people do past the program.


def newborn(world: World) -> None:
    """There is a configuration and nothing else."""


def queued(world: World, *tasks: str) -> None:
    world.home.store.prepare()
    world.home.store.create(str(world.shared / "project"))
    add(world, *(tasks or ("S1", "S2")))


def running(world: World, *tasks: str, seen: AttemptSeen = HEALTHY) -> None:
    """The first attempt of the first task has started, and a probe sees `seen`."""
    queued(world, *tasks)
    _answer_next(world, seen)
    beat(world)
    world.pass_time(60.0)


def _answer_next(world: World, seen: AttemptSeen) -> None:
    """The next attempt, of the live task or the first in the queue, will be seen as `seen`."""
    loaded = world.home.store.load(world.clock())
    if loaded is None:
        raise AssertionError("there is no state")
    task = next((one.task for one in loaded.work.attempts), None) or loaded.work.queue[0]
    world.answers[attempt_key(task, loaded.work.next_attempt)] = seen


def stopping(world: World) -> None:
    running(world, seen=STUCK)
    beat(world)


def struck(world: World) -> None:
    """Two strikes, and the third stall is seen and stopped."""
    running(world, seen=STUCK)
    for _ in range(3):
        beat(world)  # stop is promised and done
        if len(world.stops) < 3:
            _answer_next(world, STUCK)
            beat(world)  # the strike, and the next start


def drained(world: World) -> None:
    queued(world, "S1")
    for _ in range(4):
        beat(world)


def resetting(world: World) -> None:
    """One completion is as many as the person wants between two resets."""
    queued(world)
    _write(world, lambda raw: {**raw, "autoNewAfterSprints": 1})
    beat(world)
    world.pass_time(60.0)


def edited(world: World) -> None:
    running(world, "S1", "S2", "S4")
    _write(world, partial(_edited, world))
    world.accepted.add("S3")


def bad(world: World) -> None:
    running(world)
    path = world.state / "current_work.json"
    path.write_bytes(path.read_bytes()[:-40])
    os.utime(path, (LONG_AGO, LONG_AGO))  # not half written: that would be read again for a second


def without_journal(world: World) -> None:
    """What a crash between the rename and the journal leaves."""
    running(world)
    path = world.state / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]) + lines[-2][:20])


def with_bad_metrics(world: World) -> None:
    running(world, "S1")
    world.answers.clear()
    (world.state / "work_metrics.json").write_bytes(b'{"version": 1, "sprints": [')


def with_old_metrics(world: World) -> None:
    running(world, "S1")
    world.answers.clear()
    beat(world)
    add(world, "S2")
    beat(world)


def undelivered(world: World) -> None:
    queued(world)
    pulse(world.home.store, world.ports())


def unheard(world: World) -> None:
    undelivered(world)
    world.refusals = 1


def at_rev_49(world: World) -> None:
    running(world)
    for _ in range(60):
        loaded = world.home.store.load(world.clock())
        if loaded is None or loaded.rev >= 49:
            return
        world.home.store.save(loaded, replace(loaded.work, context_share=loaded.rev / 1000), world.clock())


def finishing(world: World, *tasks: str) -> None:
    running(world, *tasks)
    world.answers.clear()


def marked(world: World) -> None:
    finishing(world)
    world.home.store.leave_mark()


def _write(world: World, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """A person's edit of the file, past the program."""
    path = world.state / "current_work.json"
    path.write_text(json.dumps(change(json.loads(path.read_bytes())), indent=1))


# What must hold, by the truth of the world.


def mend(world: World) -> None:
    """A person puts the newest good copy back; one who was told that a home could not be made, tries again."""
    if not world.accepted:
        create(world)
        return
    history = sorted((world.state / "history").glob("*.json"), key=lambda path: int(path.stem))
    shutil.copy(history[-1], world.state / "current_work.json")


def check(world: World, *, is_bad: bool = False) -> None:
    """After any fault: the file is whole, each task in one place, and every start is known to it (SPEC 4.3, 4.8, 15).

    A file that is bad is as it was, and was quarantined at most once (SPEC 4.7).
    """
    path = world.state / "current_work.json"
    if is_bad:
        copies = [one.read_bytes() for one in (world.state / "quarantine").glob("*.json")]
        assert copies in ([], [path.read_bytes()]), "the quarantine has something else"
        return
    if not path.exists():
        assert not world.accepted, "the state file is gone"
        return
    raw = json.loads(path.read_bytes())
    live = [one["task"] for one in raw.get("attempts", ())]
    places = [*live, *(task for name in LISTS for task in raw.get(name, ()))]
    assert len(places) == len(set(places)), f"a task stands in two places: {places}"
    assert world.accepted - world.removed <= set(places) <= world.offered, f"lost or invented: {places}"
    numbers = [int(key.rpartition(".")[2]) for key in world.starts]
    assert len(numbers) == len(set(numbers)), f"a number was started twice: {world.starts}"
    world.check_attempts()
    assert max(numbers, default=0) < raw.get("nextAttempt", 1), f"a start that the file does not know: {world.starts}"


def drain(world: World) -> None:
    """Beats without faults, until the queue is done and everybody told; then all that was written down is checked."""
    for key in [key for key, seen in world.answers.items() if isinstance(seen, Alive)]:
        del world.answers[key]
    for _ in range(DRAIN_BEATS_MAX):
        world.pass_time(3_600.0)
        beat(world)
        check(world)
        raw = json.loads((world.state / "current_work.json").read_bytes())
        if raw["idleSince"] and not (raw["queue"] or raw["attempts"] or raw["outbox"] or raw["pending"]):
            break
    else:
        raise AssertionError(f"not drained: {raw}")
    assert set(world.sent) >= {f"n{number}" for number in range(1, raw["nextNotice"])}, "a notice was lost"
    _check_journal(world, raw)
    _check_metrics(world, raw)
    _check_recording(world)
    _check_memory(world, raw)


def _check_journal(world: World, raw: Mapping[str, Any]) -> None:
    lines = [json.loads(line) for line in (world.state / "log.jsonl").read_bytes().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, raw["seq"] + 1)), "the journal has a gap"


def _check_metrics(world: World, raw: Mapping[str, Any]) -> None:
    found = json.loads((world.state / "work_metrics.json").read_bytes())["sprints"]
    counts = Counter((one["sprint"], one["attempt"]) for one in found)
    assert max(counts.values()) == 1, f"metrics hold a task twice: {counts}"
    missing = {*raw["completed"], *raw["failed"]} - {task for task, _ in counts}
    set_aside = (
        [json.loads(path.read_bytes()) for path in world.state.glob("work_metrics.json.bad-*")] if missing else []
    )
    assert missing <= {one["sprint"] for old in set_aside for one in old["sprints"]}, f"metrics lost {missing}"


def _check_recording(world: World) -> None:
    for path in recording.paths(world.state):
        for record in recording.read(path):
            assert difference(record) is None, "a recorded beat replays to another state"


def _check_memory(world: World, raw: Mapping[str, Any]) -> None:
    """Every reset has its section once, and it is whole (SPEC 11.1)."""
    every = raw.get("autoNewAfterSprints", 0)
    text = "".join(path.read_text(errors="replace") for path in sorted((world.state / "memory").glob("*.md")))
    told = raw["completed"][: len(raw["completed"]) // every * every] if every else []
    assert [task for task in told if f"- {task} completed" not in text] == [], "a reset left no notes"
    sections = Counter(line for line in text.splitlines() if line.startswith("<!-- awm "))
    assert max(sections.values(), default=1) == 1, f"a reset was noted twice: {sections}"


@dataclass(frozen=True)
class Scene:
    """`before` leads to it, `act` is what meets the faults. `is_bad`: the state file does not validate."""

    before: Callable[[World], None]
    act: Callable[[World], None] = beat
    is_bad: bool = False


SCENES: dict[str, Scene] = {
    "an idle home": Scene(drained),
    "a new home": Scene(newborn, create),
    "the first launch": Scene(queued),
    "busy, nothing new": Scene(running),
    "ended, the next launch": Scene(finishing),
    "a mark was left": Scene(marked),
    "a stall": Scene(partial(running, seen=STUCK)),
    "a strike": Scene(stopping),
    "the third strike": Scene(struck),
    "a failure": Scene(partial(running, seen=ended(Outcome.FAILED, error="no"))),
    "a limit": Scene(
        partial(
            running, seen=ended(Outcome.LIMITED, limit=Limit(resets_at=BEGIN.wall + timedelta(hours=2), source="test"))
        )
    ),
    "the end of the queue": Scene(lambda world: finishing(world, "S1")),
    "a hand edit": Scene(edited),
    "awm edit": Scene(running, edit),
    "awm add": Scene(running, lambda world: add(world, "S3")),
    "a session reset": Scene(resetting),
    "a delivery": Scene(undelivered, deliver),
    "a delivery that fails": Scene(unheard, deliver),
    "a bad state file": Scene(bad, is_bad=True),
    "a torn journal": Scene(without_journal),
    "metrics set aside": Scene(with_bad_metrics),
    "metrics that grow": Scene(with_old_metrics),
    "a sweep of history": Scene(at_rev_49),
}
