"""A world from one seed: machine, clocks, disk, agents, channels and people, around the real beat and the real store.

    World(seed).run()      a time of chaos, then a calm in which everything must drain; a Violation where it does not

Everything is drawn from `random.Random(seed)`, so a seed is a story that can be told again: `./scripts/soak --seed N
--verbose`. Real are the core, the beat, the pulse, the outbox and all of the store with its files. Fake are the clock,
the attempts (`agents.py`), the channels, and the people (`person.py`); `disk.py` stands between the store and a real
directory. What came of it is judged by `truth.py`.
"""

from __future__ import annotations

import concurrent.futures
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import remembered
from agents import INEPT, WILD, Attempts
from disk import Crash, Disk, Fault, Operation
from estate import Estate
from person import Person
from truth import Truth

from awm_loop import beat
from awm_loop.cli import delivery
from awm_loop.cli.pulse import pulse
from awm_loop.config import AgentConfig, Config, LoopConfig, NotifyConfig, ProjectConfig
from awm_loop.core import choice, machine
from awm_loop.core.model import Attempt, Instant, Notice, Policy, Task, Work
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.durable import disk_trouble
from awm_loop.errors import AwmError, BadFileError, DiskError
from awm_loop.notify.channels import names as channel_names
from awm_loop.ports import Ports, Send, Settings
from awm_loop.wiring import Home

EPOCH = datetime(2026, 6, 1, tzinfo=UTC)
LEAPS_SECONDS = (0, 0, 3_600, -3_600, 86_400, -86_400, 2_600_000, -2_600_000, 63_000_000, -63_000_000)
CALM_BEATS_MAX = 1_500
CALM_SECONDS_MAX = 120 * 86_400.0
CHANGES_MAX = 45  # of a beat: where its faults are drawn from
LOOK_SECONDS = 0.002
STORM = 25
DEPTH_MAX = 2  # beats inside of a beat's operations
FAST_DISK = Path("/dev/shm")
Plan = dict[int | str, Fault | Callable[[], object]]  # what happens at an operation, by its place or its kind


class World:
    """One story. `tell` hears its narration, line by line."""

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None) -> None:
        self.seed, self.tell, self.chance = seed, tell, random.Random(seed)
        self.root = Path(tempfile.mkdtemp(prefix="awm-world-", dir=FAST_DISK if FAST_DISK.is_dir() else None)).resolve()
        self.steady = self.slept = 0.0  # seconds since the beginning; of those, suspended
        self.skew = 0.0  # of the wall clock
        self.told: set[datetime] = set()  # what it said to the process that runs
        self.boot, self.boot_at, self.spent = 1, -50.0, 0.0
        self.is_calm = self.is_unreachable = False
        self.full_until = 0.0
        self.down: dict[str, float] = {}  # channels, and until when
        self.plan: Plan = {}
        self.count = self.depth = self.beats = 0
        self.is_dying = self.is_person = False
        self.rows: Counter[machine.Row] = Counter()
        self.crashes: Counter[str] = Counter()
        self.last: Work | None = None
        self.storms = self.chance.choice((2, 2, 2, 2, 2, STORM))  # how often it reboots
        self.stillborn = self.chance.choice((0.08, 0.08, 0.08, 0.08, 0.8))  # how many supervisors die before the start
        self.temper: Mapping[str, int] = self.chance.choice((WILD, WILD, WILD, INEPT))
        self.home = Home(self.root, self._config())
        state = self.home.store.directory
        self.truth = Truth(self.home.store.path, self.home.config.loop.max_parallel, state / "log.jsonl")
        self.attempts = Attempts(self, self.truth)
        self.truth.runs = self.attempts.runs
        self.estate = Estate(self)
        self.truth.on_start = lambda doc, new: self.estate.look(doc, new, self._instant())
        self.disk = Disk(self.root, self._asked)
        self.person = Person(self, self.root, (DEFAULT_PROJECT, *self.estate.names))
        self.channels = channel_names(self.home.config)

    def _config(self) -> Config:
        draw = self.chance.choice
        agents = {
            "local": AgentConfig(kind="shell"),
            "codex": AgentConfig(kind="command", command=["codex"], account="openai", fallback=draw(([], ["opus"]))),
            "opus": AgentConfig(kind="command", command=["opus"], account="anthropic", fallback=draw(([], ["mini"]))),
            "mini": AgentConfig(kind="command", command=["mini"], account="openai"),
        }
        loop = LoopConfig(
            default_agent=draw(("codex", "codex", "opus")),
            max_parallel=draw((1, 1, 2, 3)),
            strikes_max=draw((1, 2, 3)),
            max_retries=draw((0, 1, 3)),
            allow_overtake=draw((True, False)),
            analysis_agent=draw(("", "opus")),
            gate_must_fail_first=draw((True, False)),
            isolation=draw(("auto", "auto", "in-place")),
        )
        urls = ["env:SIMULATED_ONE", "env:SIMULATED_TWO"][: draw((0, 1, 2))]
        return Config(loop=loop, agents=agents, project=ProjectConfig(), notify=NotifyConfig(urls=urls))

    # The story.

    def run(self) -> World:
        """From the first file to the end of the calm. Raises Violation."""
        with self.mounted():
            self.begins()
            for _ in range(self.chance.randint(90, 130)):
                self.happens()
            self.calms()
        return self

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """In this world: its clock, its disk, its channels, no real waiting. The directory is gone after it."""
        wanted: dict[str, Any] = {
            "awm_loop.clock.now": self.now,
            "awm_loop.store.statefile.time": self,
            "awm_loop.notify.outbox.time": self,
            "awm_loop.store.statefile.LOCK_WAIT_SECONDS": 0,
            "awm_loop.store.statefile.COMMAND_LOCK_WAIT_SECONDS": 0,
            "awm_loop.cli.pulse.LOCK_WAIT_SECONDS": 0,
            "awm_loop.cli.delivery.senders": lambda _: self._senders(),
            "awm_loop.core.consequence.ROWS": _Counting(machine.ROWS, self.rows),
            "awm_loop.store.document.parse": remembered.parsed,
            "awm_loop.store.jsontext.layout": remembered.laid_out,
        }
        with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
            stack.callback(shutil.rmtree, self.root, ignore_errors=True)
            for name, value in wanted.items():
                patch.setattr(name, value)
            patch.setattr(concurrent.futures, "ThreadPoolExecutor", _Inline)
            patch.delenv("AWM_ATTEMPT", raising=False)
            stack.enter_context(self.disk.mounted())
            yield

    def begins(self, tasks: int = 0) -> None:
        """A home, and the first file, with so many tasks, or some."""
        draw = self.chance.choice
        (self.root / "specs").mkdir()
        (self.root / "project").mkdir()
        self.home.store.prepare()
        with self.home.store.locked(0):
            self.home.store.create("project")
        self.disk.sync()
        self.truth.glance()
        settings = {
            "autoNewAfterSprints": draw((0, 0, 1, 2, 3)),
            "retryOnRateLimit": draw((True, True, False)),
            "notifyUser": draw((True, True, False)),
            "maxRetries": draw((0, 1, 3)),
        }
        self.person.begins(settings, tasks or draw((1, 2, 4)))

    def happens(self) -> None:
        """One thing of the chaos."""
        kinds: dict[Callable[[], object], int] = {
            self._beats_on: 75, self.heartbeat: 6, self._waits_long: 4, self.person.acts: 2 if self.is_stormy else 16, self.reboots: self.storms,
            self.loses_power: 2, self.leaps: 3, self.suspends: 2, self.disk_fills: 1, self.channel_fails: 3,
            self.gateway_fails: 1, self.quiet_seconds: 2, self.estate.changes: 3, self.estate.calls_out: 5,
        }  # fmt: skip
        self.chance.choices(list(kinds), list(kinds.values()))[0]()

    def _beats_on(self) -> None:
        self.passes(60.0 if self.is_stormy else self.chance.choice((1.0, 20.0, 60.0, 60.0, 60.0, 300.0)))
        if self.chance.random() < 0.9:
            self.heartbeat()

    def _waits_long(self) -> None:
        self.passes(self.chance.choice((1_800.0, 7_200.0, 30_000.0, 90_000.0)))

    def calms(self) -> None:
        """No more faults, beats each minute, agents that end: everything drains (SPEC 15, 15)."""
        self.says("CALM")
        self.is_calm, self.is_unreachable, self.full_until = True, False, 0.0
        self.down.clear()
        self.disk.sync()
        self.person.mends()
        self.estate.mends()
        until = self.steady + CALM_SECONDS_MAX
        for _ in range(CALM_BEATS_MAX):
            since = self._instant()
            self.heartbeat()
            if self.last is not None and self.last.paused:
                self.person.resumes()
            doc = self.truth.doc
            if doc.get("agentsOff"):
                self.person.turns_on()
            if not doc["attempts"] and doc["blocked"]:
                self.person.gives_up(doc)
            if (
                not (
                    doc["queue"] or doc["attempts"] or doc["outbox"] or doc["pending"] or doc["reset"] or doc["active"]
                )
                and not self.estate.waiting
            ):
                break
            is_quiet = self.last is not None and not doc["attempts"]
            due = self._next_due(self.now()) if is_quiet else None
            self.passes(max(60.0, (due - self.now().wall).total_seconds() + 1 if due else 0.0))
            if self.steady > until:
                break
        self.truth.drained(self.channels)
        self.estate.drained(self.truth.journal)
        self._rests(since)

    def _next_due(self, now: Instant) -> datetime | None:
        return self.last and choice.next_due(self.last, now, self._policy(Settings(), now))

    def _rests(self, since: Instant) -> None:
        """A beat with nothing new writes nothing (SPEC 6.4), and no lock is held. `since`: when the last one began."""
        due = self._next_due(since)
        if due is not None and due < self._instant().wall + timedelta(seconds=1):  # so there may be something new
            self.passes(1.0)
            self.heartbeat()
        changes = len([one for one in self.disk.operations if one.is_change and one.kind != "open"])
        before = self.home.store.path.read_bytes()
        self.heartbeat()
        made = [one for one in self.disk.operations if one.is_change and one.kind != "open"][changes:]
        self.truth.expect(self.home.store.path.read_bytes() == before, "12", "a beat with nothing new wrote")
        self.truth.expect(not [one for one in made if one.kind == "write"], "12", "an idle beat wrote", made)
        with self.home.store.locked(0) as is_free:
            self.truth.expect(is_free, "15", "the state lock is held by nobody")

    # Processes.

    def heartbeat(self, plan: Plan | None = None) -> None:
        """One process: a beat, its deliveries, and a look at the mark. It may die anywhere, as `plan` says or by chance."""
        since, done = self.truth.tick, list[beat.Beat]()
        ports = self.ports()

        def again() -> list[beat.Beat]:
            found = pulse(self.home.store, ports)
            done.extend(found)
            return found

        def body() -> None:
            self.home.store.prepare()
            try:
                again()
                delivery.deliver_and_look(self.home, self._sender(self.channels[0]), again)
            except BadFileError as error:
                delivery.tell_bad_file(self.home, self.home.store.path, error)
                raise

        is_whole = self._process("beat", body, self._drawn_plan() if plan is None else plan)
        self.beats += len(done)
        for step in [step for one in done for step in one.steps]:
            self.says("  row", step.task, step.attempt or "", step.row, f"({step.reason})" if step.reason else "")
        works = [one.work for one in done]
        if works and works[-1] is not None:
            self.last = works[-1]
        if is_whole and self.depth == 0 and works and works[-1] is not None:
            self.truth.settled(since)

    def command(self, change: Callable[[Work, Instant], Work]) -> Work | None:
        """A verb of `awm`, as a process of its own. Raises AwmError where the verb is refused."""
        refused: list[AwmError] = []
        found: list[Work | None] = []

        def body() -> None:
            with self.home.store.locked_for_command():
                found.append(self.home.store.update(partial(self._refusing, change, refused), self.now()))

        self._process("verb", body, {})
        if refused:
            raise refused[0]
        if not found:
            raise AwmError("busy, bad file or full disk")
        return found[0]

    @staticmethod
    def _refusing(change: Callable[[Work, Instant], Work], refused: list[AwmError], work: Work, now: Instant) -> Work:
        try:
            return change(work, now)
        except AwmError as error:
            refused.append(error)
            return work

    def _process(self, name: str, body: Callable[[], None], plan: Plan) -> bool:
        """Run it, until its end or its death; whether it met no trouble."""
        outer = self.plan, self.count, self.truth.sent, self.is_person
        if self.depth == 0:
            self.told.clear()
        self.plan, self.count, self.truth.sent, self.is_person = plan, 0, [], False
        self.depth += 1
        is_whole = False
        self.says(f"{'  ' * self.depth}{name}", f"plan {plan}" if plan else "")
        try:
            body()
            is_whole = True
        except Crash as crash:
            self.crashes["crash"] += 1
            self.says("  DIES at", crash)
        except AwmError as error:
            self.crashes[type(error).__name__] += 1
            self.says("  stops:", error.message)
        finally:
            self.depth -= 1
        if self.depth == 0:
            self.is_dying = False
            self.disk.revive()
        self.truth.process_ended(is_clean=is_whole)
        self.plan, self.count, self.truth.sent, self.is_person = outer
        if self.depth == 0:
            self.truth.look(is_standing=True)
        return is_whole

    def _drawn_plan(self) -> Plan:
        """What shall happen at which operation of the next process."""
        draw = self.chance
        if self.is_calm or self.depth or draw.random() < 0.55:
            return {}
        faults = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TORN, Fault.EIO, Fault.ENOSPC, Fault.EACCES)
        plan: Plan = {}
        if draw.random() < 0.2:
            plan[draw.choice(("spawn", "send", "stop request", "exchange", "reaper", "read", "list"))] = draw.choice(
                faults
            )
        for _ in range(draw.choice((1, 1, 2, 3))):
            act = draw.choices((self.person_meanwhile, self.heartbeat, self.time_meanwhile), (4, 1, 2))[0]
            plan[draw.randint(1, CHANGES_MAX)] = act if draw.random() < 0.5 else draw.choice(faults)
        return plan

    def person_meanwhile(self) -> None:
        if self.depth < DEPTH_MAX:
            self.person.acts()

    def time_meanwhile(self) -> None:
        if self.depth < DEPTH_MAX:
            self.passes(self.chance.choice((0.1, 5.0, 60.0, 400.0)))

    def _asked(self, operation: Operation) -> Fault | None:
        """Before each operation of a process: the state on disk is looked at, then what the plan says happens."""
        self.truth.tick += 1
        if self.is_person:
            return None
        self.truth.glance()
        if self.is_dying:
            return Fault.CRASH_BEFORE
        self.count += operation.is_change
        act = self.plan.pop(self.count, None) or self.plan.pop(operation.kind, None)
        if isinstance(act, Fault):
            self.crashes[f"{operation.kind} {act.name}"] += 1
            self.says(f"    {operation.kind} {operation.path.name}: {act.name}")
            return act
        if act is not None:
            self.says(f"    meanwhile, before {operation.kind} {operation.path.name}:")
            outer, self.plan = (self.plan, self.count), {}
            act()
            self.plan, self.count = outer
        is_full = self.steady < self.full_until and operation.kind in {"write", "open", "mkdir"}
        return Fault.ENOSPC if is_full else None

    @contextmanager
    def aside(self) -> Iterator[None]:
        outer, self.is_person = self.is_person, True
        try:
            yield
        finally:
            self.is_person = outer

    def does(self, kind: str, what: str, deed: Callable[[], None]) -> None:
        """An operation that is not the disk's. Raises Crash, DiskError."""
        fault = self._asked(Operation(0, kind, Path(what)))
        if fault in {None, Fault.CRASH_AFTER}:
            deed()
        if fault in {Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TORN}:
            self.is_dying = True
            raise Crash(f"{kind} {what}")
        if fault is not None:
            raise DiskError(f"{kind} {what}: {fault.name}")

    def makes_directory(self, key: str) -> None:
        path = self.home.store.directory / "attempts"
        with disk_trouble(path):
            path.mkdir(exist_ok=True)
            (path / key).mkdir(exist_ok=True)
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def kicks(self) -> None:
        if self.depth < DEPTH_MAX and (self.is_calm or self.chance.random() < 0.85):
            self.says("  kick")
            self.heartbeat()

    # Ports.

    def ports(self) -> Ports:
        return replace(
            self.home.ports(), launcher=_Judged(self), clock=self.now, head=self.estate.head, policy=self._policy,
            remember=self._remember, calls=self.estate.calls, taken=self.estate.taken,
        )  # fmt: skip

    def _policy(self, settings: Settings, now: Instant) -> Policy:
        return self.estate.policy(self.home.policy(settings, now), now)

    def _remember(self, work: Work, key: str) -> None:
        self.truth.resets(key)
        self.home.ports().remember(work, key)

    def _senders(self) -> dict[str, Send]:
        return {name: self._sender(name) for name in self.channels[1:]}

    def _sender(self, name: str) -> Send:
        return partial(self._send, name)

    def _send(self, name: str, notice: Notice) -> str | None:
        chance = self.chance
        is_bad_state = notice.id.startswith("bad-")
        if self.down.get(name, 0.0) > self.steady:
            self.spent += chance.choice((0.0, 6.0))
            return "unreachable"

        def deed() -> None:
            self.says("  NOTICE", notice.id, "to", name, notice.text.splitlines()[0] if notice.text else "")
            if not is_bad_state:
                self.truth.sends(name, notice.id)

        try:
            self.does("send", f"{name} {notice.id}", deed)
        except DiskError as error:
            return error.message
        if not self.is_calm and chance.random() < 0.03:
            self.truth.doubtful.add((name, notice.id))
            return "it arrived, and the answer was lost"
        self.spent += 0.0 if self.is_calm else chance.choice((0.0, 0.0, 0.0, 4.0))
        return None

    # Time and the machine.

    def now(self) -> Instant:
        """The time. It goes on a little with each look, as it does."""
        self.steady += LOOK_SECONDS
        now = self._instant()
        self.told.add(now.wall)
        return now

    def _instant(self) -> Instant:
        wall = EPOCH + timedelta(seconds=self.steady + self.skew)
        return Instant(wall=wall, boottime=self.steady - self.boot_at, boot_id=f"boot {self.boot}")

    @property
    def is_stormy(self) -> bool:
        return self.storms == STORM and not self.is_calm

    @property
    def awake(self) -> float:
        return self.steady - self.slept

    def monotonic(self) -> float:
        """In place of `time.monotonic`, and so on: waiting costs nothing here."""
        return self.awake + self.spent

    def time(self) -> float:
        return time.time() + self.spent

    def sleep(self, seconds: float) -> None:
        self.spent += seconds

    def passes(self, seconds: float) -> None:
        """Time passes, with what is due in it."""
        until = self.awake + seconds
        while self.attempts.next_at() <= until:
            self.steady += max(self.attempts.next_at() - self.awake, 0.0)
            self.attempts.step()
        self.steady += max(until - self.awake, 0.0)

    def suspends(self) -> None:
        seconds = self.chance.choice((600.0, 20_000.0, 200_000.0))
        self.says("SUSPENDED for", seconds)
        self.steady += seconds
        self.slept += seconds

    def leaps(self) -> None:
        self.skew = float(self.chance.choice(LEAPS_SECONDS))
        self.says("CLOCK is off by", self.skew)

    def reboots(self) -> None:
        """All processes end, the locks go; the wall clock goes on, or not."""
        gone = 30.0 if self.is_stormy else self.chance.choice((30.0, 30.0, 3_600.0, 300_000.0))
        self.steady += gone
        self.slept += gone
        self.boot += 1
        self.boot_at = self.steady - self.chance.choice((5.0, 60.0))
        self.attempts.reboot()
        self.says("REBOOT", self.boot)
        if self.chance.random() < 0.3:
            self.leaps()

    def loses_power(self) -> None:
        """At rest or in the middle of a process, which was just killed."""
        self.says("POWER LOST")
        self.disk.lose_power(self.chance)
        self.person.copies.clear()
        self.truth.lost_power()
        self.estate.passed.clear()  # the ledger may be an older one
        self.reboots()

    def disk_fills(self) -> None:
        self.full_until = self.steady + self.chance.choice((60.0, 600.0))
        self.says("DISK full until", self.full_until)

    def channel_fails(self) -> None:
        name = self.chance.choice(self.channels)
        self.down[name] = self.steady + self.chance.choice((120.0, 4_000.0, 100_000.0))
        self.says("CHANNEL", name, "is down until", self.down[name])

    def gateway_fails(self) -> None:
        self.is_unreachable = not self.is_unreachable
        self.says("ATTEMPTS are", "unreachable" if self.is_unreachable else "reachable again")

    def quiet_seconds(self) -> None:
        self.disk.sync()

    def says(self, *words: object) -> None:
        if self.tell is not None:
            self.tell(f"{self.truth.tick:6} {self.steady:12.1f}  {' '.join(map(str, words))}")


class _Judged:
    """The launcher of a beat in a world: what is new is held to the accounts' deadlines first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.probe, self.stop = world.attempts.probe, world.attempts.stop

    def start(self, attempt: Attempt, task: Task) -> bool:
        self.world.truth.opens(attempt, self.world.now())
        return self.world.attempts.start(attempt, task)


class _Counting(dict[Any, machine.Row]):
    """The table, counting which of its rows are taken."""

    def __init__(self, rows: Mapping[Any, machine.Row], counts: Counter[machine.Row]) -> None:
        super().__init__(rows)
        self.counts = counts

    def __getitem__(self, key: Any) -> machine.Row:
        row = super().__getitem__(key)
        self.counts[row] += 1
        return row


class _Inline:
    """In place of a pool of threads: one after another, so that a seed is one story."""

    def __init__(self, max_workers: int) -> None:
        self.max_workers = max_workers

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def submit(self, call: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future[Any]:
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        done.set_result(call(*arguments))
        return done


class _Ending:
    """How a story ended: `error` is what broke it, whatever that is, with the command that tells it again."""

    error: Exception | None = None

    def __enter__(self) -> _Ending:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None


def play(seed: int, tell: Callable[[str], None] | None = None) -> tuple[World, Exception | None]:
    """The story of a seed, and what broke it; None where it came to its end."""
    world, ending = World(seed, tell), _Ending()
    with ending:
        world.run()
    if ending.error is not None:
        ending.error.add_note(f"seed {seed}, operation {world.truth.tick}: ./scripts/soak --seed {seed} --verbose")
    return world, ending.error
