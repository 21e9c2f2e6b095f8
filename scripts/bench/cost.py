"""What AWM weighs beside an agent: its supervisor, `awm status`, and sixteen kicks at once."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import home as homes
from home import LONG, Code, Home
from measure import Bench, Column, Contender, Figures, Rounds, Setting, Target

HANDFUL, BURST = 5, 16
HOMES = ("cost", "beside")  # two supervisors at work: what both map is no memory of one of them alone
STATUS, ONE, KICKS, SUPERVISOR = "awm status", "one beat", f"{BURST} kicks at once", "supervisor"
KIB_IN_MIB = 1024
STEADY_SECONDS = 0.5  # without CPU time used: the supervisor has done what it does at the beginning


def _contenders(setting: Setting) -> dict[str, Contender]:
    found: dict[str, Contender] = {}
    for mark, code in setting.codes.items():
        home, _ = (homes.launched(code, Home.make(setting.work / f"{name}{mark}", [LONG] * HANDFUL)) for name in HOMES)
        own: dict[str, Contender] = {
            STATUS: partial(homes.timed, code.awm(home, "status")),
            ONE: partial(_kicked, code, home, 1),
            KICKS: partial(_kicked, code, home, BURST),
            SUPERVISOR: partial(_weighed, home),
        }
        found |= {f"{name}{mark}": contender for name, contender in own.items()}
    return found


def _kicked(code: Code, home: Home, count: int) -> Figures:
    """So many beats begun at once, none of which may end by a note; of them the whole ones are counted, by a log."""
    log = home.path / "whole-beats"
    log.unlink(missing_ok=True)
    counting = f"seed=1 among=pulse.beat:after kill=0 pause=1 pause_seconds=0 log={log}"
    begun = time.perf_counter()
    pids = [homes.begin(code.beat(home), AWM_FAULT=counting) for _ in range(count)]
    figures = [homes.waited(pid, begun) for pid in pids]
    return {
        "wall": max(one["wall"] for one in figures),
        "cpu": sum(one["cpu"] for one in figures),
        "beats": float(len(log.read_text().splitlines())),
    }


def _weighed(home: Home) -> Figures:
    """The memory that only this supervisor has, while its agent works, and another one beside it."""
    pid = home.supervisor()
    if pid is None:
        raise SystemExit("the supervisor is gone")
    used = -1.0
    while used != (used := _cpu_ticks(pid)):
        time.sleep(STEADY_SECONDS)
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return {"private": sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / KIB_IN_MIB}


def _cpu_ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return float(fields[11]) + float(fields[12])


def _targets(rounds: Rounds) -> list[Target]:
    together = rounds.ratio(KICKS, ONE, "cpu") / BURST
    return [
        Target(what=f"{KICKS}, whole beats", measured=max(rounds.values(KICKS, "beats")), unit="", most=3, digits=0),
        Target(what=f"{KICKS}, cpu", measured=together, unit=f"x {BURST} beats", most=0.25),
        Target(what=f"{STATUS}, least cpu", measured=min(rounds.values(STATUS, "cpu")), unit="ms", most=200, digits=0),
        Target(
            what="supervisor, private memory", measured=max(rounds.values(SUPERVISOR, "private")), unit="MiB", most=20
        ),
    ]


BENCH = Bench(
    contenders=_contenders,
    columns=[
        Column(metric="wall", head="wall ms"),
        Column(metric="cpu", head="cpu ms"),
        Column(metric="beats", head="whole beats", digits=0),
        Column(metric="private", head="private MiB"),
    ],
    targets=_targets,
)
