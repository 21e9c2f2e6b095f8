"""The gap: from the end of one agent to the start of the next, beside task-spooler and a bare shell loop.

In place, no gate, no unit; tasks sleep 0.3 s, since back-to-back ones would hide what a cold cache costs. The agent
stamps both moments itself, so the gap holds all of it: exit, verdict, decision, promise, start.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import home as homes
from home import Code, Home
from measure import Contender, Figures, Rounds, table

TASK_SECONDS = 0.3
TASKS_COUNT = 7  # so six gaps a round
TARGET_MS = 10.0
SPOOLER, SHELL = "task-spooler", "shell loop"


def contenders(codes: Mapping[str, Code], work: Path) -> dict[str, Contender]:
    stamps = work / "stamps"
    command = [*_agent(work), str(stamps), str(TASK_SECONDS)]
    ways: dict[str, Callable[[], None]] = {SHELL: partial(_shell, command)}
    if shutil.which("tsp"):
        ways[SPOOLER] = partial(_spooler, command, work / "spooler")
    else:
        print("task-spooler (tsp) is not installed: the run goes on without it\n")
    for label, code in codes.items():
        ways[f"awm{label}"] = partial(_awm, code, work / "home", command, is_direct=True)
        ways[f"awm{label}, project in git"] = partial(_awm, code, work / "home", command, is_direct=True, is_git=True)
        ways[f"awm{label}, shell agent"] = partial(_awm, code, work / "home", command)
    return {name: partial(_gaps, way, stamps) for name, way in ways.items()}


def report(rounds: Rounds, names: list[str]) -> str:
    base = SPOOLER if SPOOLER in names else SHELL
    rows = [
        [
            name,
            f"{median(rounds.values(name, 'gap')):.2f}",
            f"{min(rounds.values(name, 'gap')):.2f}",
            f"{median(rounds.values(name, 'worst')):.2f}",
            f"{rounds.difference(name, base, 'gap'):+.2f}",
            f"{rounds.ratio(name, base, 'gap'):.1f}",
            f"{rounds.ratio_of_best(name, base, 'gap'):.1f}",
        ]
        for name in names
    ]
    head = ["contender", "gap ms", "least", "worst of six", f"ms above {base}", f"x {base}", "x, least to least"]
    verdicts = [
        f"{name}: {rounds.difference(name, base, 'gap'):+.1f} ms, target at most +{TARGET_MS:.0f} ms above {base}:"
        f" {'met' if rounds.difference(name, base, 'gap') <= TARGET_MS else 'MISSED'}"
        for name in names
        if name.startswith("awm") and base == SPOOLER
    ]
    return "\n".join([table(head, rows), "", *verdicts])


def _agent(work: Path) -> list[str]:
    """The stamping program, compiled where there is a compiler."""
    here = Path(__file__).parent
    if shutil.which("cc"):
        subprocess.run(["cc", "-O2", "-o", str(work / "stamp"), str(here / "stamp.c")], check=True)
        return [str(work / "stamp")]
    print("No C compiler (cc): the stamping agent is a Python program, whose start-up is part of every gap.\n")
    return [sys.executable, "-I", "-S", str(here / "stamp.py")]


def _gaps(way: Callable[[], None], stamps: Path) -> Figures:
    stamps.unlink(missing_ok=True)
    way()
    times = [tuple(map(int, line.split())) for line in stamps.read_text().splitlines()]
    if len(times) != TASKS_COUNT:
        raise SystemExit(f"{len(times)} of {TASKS_COUNT} tasks ran")
    gaps = [(after[0] - before[1]) / 1e6 for before, after in pairwise(times)]
    return {"gap": median(gaps), "worst": max(gaps)}


def _shell(command: list[str]) -> None:
    loop = f'i=0; while [ $i -lt {TASKS_COUNT} ]; do "$@"; i=$((i+1)); done'
    subprocess.run(["/bin/sh", "-c", loop, "sh", *command], check=True, env=homes.ENVIRONMENT)


def _spooler(command: list[str], folder: Path) -> None:
    """All are queued long before the first ends. It keeps their output, as AWM does."""
    folder.mkdir(exist_ok=True)
    environment = {**homes.ENVIRONMENT, "TS_SOCKET": str(folder / "socket"), "TMPDIR": str(folder)}
    for _ in range(TASKS_COUNT):
        subprocess.run(["tsp", *command], check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run(["tsp", "-w"], check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run(["tsp", "-K"], check=True, env=environment)


def _awm(code: Code, path: Path, command: list[str], *, is_direct: bool = False, is_git: bool = False) -> None:
    """One beat starts the first; each further one is started by the process that tended the one before."""
    shutil.rmtree(path, ignore_errors=True)
    home = Home.make(path, command, TASKS_COUNT, is_direct=is_direct, is_git=is_git)
    homes.run(code.beat(home))
    homes.wait_for(lambda: home.state().get("idleSince") is not None, "the end of the queue")
    homes.wait_for(lambda: home.supervisor() is None, "the end of the supervisor")
