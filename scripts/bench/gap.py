"""The gap, from the end of one agent to the start of the next, and how soon a queue of tasks that end at once is done.

The agent stamps both moments itself, so a gap holds all of it: exit, verdict, decision, promise, start. `gap` has tasks
of 0.3 s, since those that end at once would hide what a cold cache costs; `drain` has those.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import home as homes
import peers
from home import Code, Home
from measure import Bench, Column, Contender, Figures, Rounds, Setting, Target
from peers import NQ, SPOOLER, Way

GAP_TASKS_COUNT, GAP_TASK_SECONDS, DRAIN_TASKS_COUNT = 50, 0.3, 500
LONG_TASKS_COUNT, LONG_TASK_SECONDS = 15, 1.5  # beyond LINGER_SECONDS: as every agent's that takes its time
QUICK_TASKS_COUNT = 4
ONE_SHOT = ("systemd-run", "--quiet", "--wait", "--collect", "-p", "Type=oneshot", "-p", "KillMode=process")
REST_SECONDS = 0.25  # between looks at the queue, which would be part of the gaps
MANAGER = Path("/run/systemd/system")  # there while systemd is this machine's first process


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How AWM runs the tasks; the plain one in place, with the program itself as the agent."""

    is_direct: bool = True
    is_long: bool = False
    is_git: bool = False
    loop: str = ""
    project: str = ""
    starter: Sequence[str] = ()  # before the command of the first beat

    def way(self, code: Code) -> Way:
        return partial(_awm, code, self)


IN_PLACE = "awm in place"
VARIANTS: Mapping[str, Variant] = {
    IN_PLACE: Variant(),
    "awm, tasks of 1.5 s": Variant(is_long=True),
    "awm, shell agent": Variant(is_direct=False),
    "awm, project in git": Variant(is_git=True),
    "awm, git, gate": Variant(is_git=True, project='verify = "true"'),
    "awm, git, worktrees": Variant(is_git=True, loop='isolation = "worktree"'),
    "awm from a systemd unit": Variant(starter=ONE_SHOT),
}


def can_have_units() -> bool:
    return MANAGER.is_dir() and os.geteuid() == 0


def _gap(setting: Setting) -> dict[str, Contender]:
    has_units = can_have_units()
    if not has_units:
        print("No systemd that would run a unit for us: what a unit adds is not measured\n")
    variants = {name: one for name, one in VARIANTS.items() if has_units or not one.starter}
    count = QUICK_TASKS_COUNT if setting.is_quick else GAP_TASKS_COUNT
    return _contenders(setting, variants, count, GAP_TASK_SECONDS)


def _drain(setting: Setting) -> dict[str, Contender]:
    count = QUICK_TASKS_COUNT if setting.is_quick else DRAIN_TASKS_COUNT
    return _contenders(setting, {IN_PLACE: VARIANTS[IN_PLACE]}, count, 0)


def _contenders(setting: Setting, variants: Mapping[str, Variant], count: int, seconds: float) -> dict[str, Contender]:
    stamps, folder = setting.work / "stamps", setting.work / "queue"
    agent = [*peers.agent(setting.work), str(stamps)]
    short, long = (
        partial(_measured, command=[*agent, f"{each:g}"], count=many, folder=folder)
        for each, many in ((seconds, count), (LONG_TASK_SECONDS, min(count, LONG_TASKS_COUNT)))
    )
    found: dict[str, Contender] = {name: partial(short, way) for name, way in peers.installed().items()}
    for mark, code in setting.codes.items():
        for name, one in variants.items():
            found[f"{name}{mark}"] = partial(long if one.is_long else short, one.way(code))
    return found


def _measured(way: Way, command: Sequence[str], count: int, folder: Path) -> Figures:
    """Gaps in milliseconds, and tasks a second from the start of the first to the end of the last."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    stamps = Path(command[-2])
    stamps.unlink(missing_ok=True)
    way(command, count, folder)
    times = peers.read(stamps)
    if len(times) != count:
        raise SystemExit(f"{len(times)} of {count} tasks ran")
    gaps = sorted((after[0] - before[1]) / 1e6 for before, after in pairwise(times))
    seconds = (times[-1][1] - times[0][0]) / 1e9
    return {"gap": median(gaps), "p90": gaps[len(gaps) * 9 // 10], "tasks": len(times) / seconds}


def _awm(code: Code, variant: Variant, command: Sequence[str], count: int, folder: Path) -> None:
    """One beat starts the first; each further one is started by the process that tended the one before."""
    toml = homes.settings(loop=variant.loop, project=variant.project, command=command if variant.is_direct else ())
    home = Home.make(folder / "home", [f"exec {shlex.join(command)}"] * count, toml, is_git=variant.is_git)
    homes.run([*variant.starter, *code.beat(home)])
    homes.wait_for(lambda: home.state().get("idleSince") is not None, "the end of the queue", REST_SECONDS)
    homes.wait_for(lambda: home.supervisor() is None, "the end of the supervisor")


def _gap_targets(rounds: Rounds) -> list[Target]:
    if SPOOLER not in rounds.names:
        return []
    ratio = rounds.ratio(IN_PLACE, SPOOLER, "gap")
    return [Target(what="gap in place, tasks of 0.3 s", measured=ratio, unit=f"x {SPOOLER}", most=5)]


def _drain_targets(rounds: Rounds) -> list[Target]:
    if NQ not in rounds.names:
        return []
    ratio = rounds.ratio(IN_PLACE, NQ, "tasks")
    return [Target(what="tasks a second, each result durable", measured=ratio, unit=f"x {NQ}", least=1)]


GAP = Bench(
    contenders=_gap,
    columns=[
        Column(metric="gap", head="gap ms", digits=2, base=lambda _: SPOOLER, base_head=SPOOLER),
        Column(metric="p90", head="p90 ms", digits=2),
    ],
    targets=_gap_targets,
    rounds_count=3,
    is_warmed=False,  # each round has gaps enough
)
DRAIN = Bench(
    contenders=_drain,
    columns=[
        Column(metric="tasks", head="tasks a second", digits=0, base=lambda _: NQ, base_head=NQ),
        Column(metric="gap", head="gap ms", digits=2, base=lambda _: SPOOLER, base_head=SPOOLER),
        Column(metric="p90", head="p90 ms", digits=2),
    ],
    targets=_drain_targets,
    rounds_count=3,
    is_warmed=False,
)
