"""A night: 40 tasks, of which a tenth fails at the first try and one hangs; in how much of it did an agent work?

The same night three ways. First AWM as it is: the end of an agent starts the next beat, and a timer beats besides. Then
with a slower timer and every kick lost: each supervisor is killed when its attempt is over, before it would beat. Last
a work loop that looks every thirty minutes, as the one did that AWM grew from; it is computed, and given every doubt:
it never errs, takes no time, and knows a hung agent when it first sees one.

Times are scaled, in one contender all by one factor: tasks, timers, backoffs, the time without progress after which an
agent counts as hung. What AWM itself takes is not scaled; in a night of full length it would be less beside the rest.
"""

from __future__ import annotations

import math
import random
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import home as homes
import peers
from home import Code, Home
from measure import Bench, Column, Contender, Figures, Setting

TASKS_COUNT, FAILING_COUNT = 40, 4
QUICK_TASKS_COUNT, QUICK_FAILING_COUNT = 4, 1
SHORTEST, LONGEST = 5, 60  # of a unit
STALL_SECONDS, SAMPLE_SECONDS, GRACE_SECONDS = 900.0, 20.0, 10.0  # AWM's defaults ...
BACKOFF_SECONDS = (30.0, 60.0, 120.0, 300.0, 900.0)  # ... as they stand in config.py
KICKED, TIMER, HEARTBEAT = "awm", "awm, 5-minute timer only", "30-minute heartbeat"
# Seconds between two looks; the first as `awm install` has it.
PERIODS = {KICKED: 60.0, TIMER: 300.0, HEARTBEAT: 1800.0}
UNITS = {"seconds": 1.0, "minutes": 60.0}
# What times are multiplied by: as little as leaves some minutes for each; what AWM takes is to be small beside a task.
SCALES = {
    ("seconds", KICKED): 1 / 10,
    ("seconds", TIMER): 1 / 30,
    ("minutes", KICKED): 1 / 200,
    ("minutes", TIMER): 1 / 300,
}
QUICK_SCALES = {("seconds", KICKED): 1 / 300, ("seconds", TIMER): 1 / 300}


@dataclass(frozen=True, slots=True)
class Task:
    """So many seconds of work; the first try of one may end badly after that, or never end."""

    seconds: float
    fails: bool = False
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class Night:
    """Tasks in seconds of a night of full length, what those are multiplied by, and who stands for the agent."""

    code: Code
    tasks: Sequence[Task]
    scale: float
    command: Sequence[str]
    folder: Path


def _contenders(setting: Setting) -> dict[str, Contender]:
    command = peers.agent(setting.work)
    scales = QUICK_SCALES if setting.is_quick else SCALES
    found: dict[str, Contender] = {}
    for unit in dict.fromkeys(unit for unit, _ in scales):
        tasks = _tasks(UNITS[unit], is_quick=setting.is_quick)
        for mark, code in setting.codes.items():
            for name in (KICKED, TIMER):
                night = Night(code, tasks, scales[unit, name], command, setting.work / "night")
                found[_name(unit, f"{name}{mark}")] = partial(_awm, night, is_kicked=name == KICKED)
        found[_name(unit, HEARTBEAT)] = partial(_heartbeat, tasks)
    return found


def _name(unit: str, way: str) -> str:
    return f"{SHORTEST} to {LONGEST} {unit}: {way}"


def _tasks(unit_seconds: float, *, is_quick: bool) -> list[Task]:
    """The same in each run."""
    tasks_count, failing_count = (QUICK_TASKS_COUNT, QUICK_FAILING_COUNT) if is_quick else (TASKS_COUNT, FAILING_COUNT)
    chance = random.Random(8)
    hanging, *failing = chance.sample(range(tasks_count), failing_count + 1)
    return [
        Task(chance.uniform(SHORTEST, LONGEST) * unit_seconds, fails=number in failing, hangs=number == hanging)
        for number in range(tasks_count)
    ]


def _heartbeat(tasks: Sequence[Task]) -> Figures:
    """At each look the agent that ended is followed by the next, or by a second try, and one that hangs is replaced."""
    ended_at, looks = 0.0, 0
    for task in tasks:
        for is_first in (True, False) if task.fails or task.hangs else (False,):
            begun_at = looks * PERIODS[HEARTBEAT]
            ended_at = begun_at + (0.0 if is_first and task.hangs else task.seconds)
            looks = max(math.ceil(ended_at / PERIODS[HEARTBEAT]), looks + 1)
    worked = sum(task.seconds * (2 if task.fails else 1) for task in tasks)
    return _figures(worked, ended_at)


def _figures(worked_seconds: float, night_seconds: float) -> Figures:
    return {"worked": 100 * worked_seconds / night_seconds, "hours": night_seconds / 3600}


def _awm(night: Night, *, is_kicked: bool) -> Figures:
    shutil.rmtree(night.folder, ignore_errors=True)
    stamps = night.folder / "stamps"
    lines = [_line(night, task, f"{night.folder}/tried.{number}", stamps) for number, task in enumerate(night.tasks)]
    home = Home.make(night.folder / "home", lines, _settings(night.scale))
    log = night.folder / "lost"
    lost = {} if is_kicked else {"AWM_FAULT": f"seed=1 among=supervision.beat:before kill=1 log={log}"}
    ending_count = len(night.tasks) + sum(task.fails for task in night.tasks)
    begun = time.monotonic_ns()
    period = int(PERIODS[KICKED if is_kicked else TIMER] * night.scale * 1e9)
    while len(peers.read(stamps)) < ending_count and home.state().get("idleSince") is None:
        homes.run(night.code.beat(home), **lost)
        next_at = begun + ((time.monotonic_ns() - begun) // period + 1) * period
        while (left := next_at - time.monotonic_ns()) > 0 and len(peers.read(stamps)) < ending_count:
            time.sleep(min(homes.POLL_SECONDS, left / 1e9))
    homes.wait_for(lambda: home.supervisor() is None, "the end of the last attempt")
    homes.run(night.code.beat(home))
    homes.wait_for(lambda: home.state().get("idleSince") is not None, "the end of the queue")
    if len(home.completed()) != len(night.tasks):
        raise SystemExit(f"{len(home.completed())} of {len(night.tasks)} tasks are done: too loaded for times so short")
    times = peers.read(stamps)
    worked = sum(end - start for start, end in times)
    return _figures(worked / 1e9 / night.scale, (times[-1][1] - begun) / 1e9 / night.scale)


def _line(night: Night, task: Task, tried: str, stamps: Path) -> str:
    """For the shell: the agent, with its seconds and exit code. A first try is known by the folder it makes."""
    work = f"exec {shlex.join([*night.command, str(stamps)])} {task.seconds * night.scale:.3f}"
    if not task.hangs and not task.fails:
        return f"{work} 0"
    first = "exec sleep 1000000" if task.hangs else f"{work} 1"
    return f"mkdir {shlex.quote(tried)} 2>/dev/null && {first}\n{work} 0"


def _settings(scale: float) -> str:
    backoff = ", ".join(f"{seconds * scale:.3f}" for seconds in BACKOFF_SECONDS)
    return homes.settings(
        loop=f"""\
stall_minutes = {STALL_SECONDS / 60 * scale:.6f}
sample_seconds = {SAMPLE_SECONDS * scale:.6f}
stop_grace_seconds = {GRACE_SECONDS * scale:.6f}
retry_backoff_seconds = [{backoff}]"""
    )


def _base(name: str) -> str:
    return f"{name.partition(':')[0]}: {KICKED}"


BENCH = Bench(
    contenders=_contenders,
    columns=[
        Column(metric="worked", head="% of the night worked"),
        Column(metric="hours", head="hours", base=_base, base_head=KICKED),
    ],
    rounds_count=1,
    is_warmed=False,
)
