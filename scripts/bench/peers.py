"""The queues that AWM is compared with, each given the same command so many times, one after the other.

The command stamps its own start and end, so that what lies between two of them is the queue's alone. Whoever queues
while it runs (task-spooler, nq) has its first task wait until all are queued.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import home as homes

SPOOLER, NQ, PARALLEL, XARGS, LOOP = "task-spooler", "nq", "GNU parallel", "xargs", "bash loop"
PROGRAMS = {SPOOLER: "tsp", NQ: "nq", PARALLEL: "parallel", XARGS: "xargs", LOOP: "bash"}
VERSIONS: Mapping[str, Sequence[str]] = {
    SPOOLER: ("tsp", "-V"),
    NQ: ("dpkg-query", "-W", "-f", "${Version}", "nq"),  # the program has no such option
    PARALLEL: ("parallel", "--version"),
    XARGS: ("xargs", "--version"),
    LOOP: ("bash", "--version"),
}

Way = Callable[[Sequence[str], int, Path], None]
"""Runs a command so many times in sequence, with a new folder of its own."""


def installed() -> dict[str, Way]:
    """Says aloud who is not."""
    ways: dict[str, Way] = {SPOOLER: _spooler, NQ: _nq, PARALLEL: _parallel, XARGS: _xargs, LOOP: _loop}
    for name in missing():
        print(f"{name} ({PROGRAMS[name]}) is not installed: the run goes on without it\n")
        del ways[name]
    return ways


def missing() -> list[str]:
    return [name for name, program in PROGRAMS.items() if not shutil.which(program)]


def agent(work: Path) -> list[str]:
    """The stamping program, compiled where there is a compiler."""
    here = Path(__file__).parent
    if shutil.which("cc"):
        subprocess.run(["cc", "-O2", "-o", str(work / "stamp"), str(here / "stamp.c")], check=True)
        return [str(work / "stamp")]
    print("No C compiler (cc): the stamping agent is a Python program, whose start-up is part of every gap.\n")
    return [sys.executable, "-I", "-S", str(here / "stamp.py")]


def read(stamps: Path) -> list[tuple[int, int]]:
    """Start and end of each task that ended, in nanoseconds of the monotonic clock."""
    if not stamps.exists():
        return []
    return [(int(start), int(end)) for start, end in (line.split() for line in stamps.read_text().splitlines())]


def _spooler(command: Sequence[str], count: int, folder: Path) -> None:
    environment = {**homes.ENVIRONMENT, "TS_SOCKET": str(folder / "socket"), "TMPDIR": str(folder)}
    tsp = partial(subprocess.run, check=True, env=environment, stdout=subprocess.DEVNULL)
    try:
        _queued(["tsp"], command, count, folder, environment)
        tsp(["tsp", "-w"])
    finally:
        tsp(["tsp", "-K"])


def _nq(command: Sequence[str], count: int, folder: Path) -> None:
    environment = {**homes.ENVIRONMENT, "NQDIR": str(folder / "queue")}
    _queued(["nq", "-q"], command, count, folder, environment)
    subprocess.run(["nq", "-q", "-w"], check=True, env=environment)


def _queued(
    program: Sequence[str], command: Sequence[str], count: int, folder: Path, environment: Mapping[str, str]
) -> None:
    """All are queued behind one that waits for the word."""
    word = folder / "go"
    waits = ["sh", "-c", f"until [ -e {shlex.quote(str(word))} ]; do sleep 0.01; done"]
    for one in [waits, *[command] * count]:
        subprocess.run([*program, *one], check=True, env=environment, stdout=subprocess.DEVNULL)
    word.touch()


def _parallel(command: Sequence[str], count: int, folder: Path) -> None:
    """With its log of jobs, without which nobody could tell in the morning what became of them."""
    log = str(folder / "jobs")
    _fed(["parallel", "--will-cite", "-j1", "-n0", "--joblog", log, shlex.join(command)], count, folder)


def _xargs(command: Sequence[str], count: int, folder: Path) -> None:
    _fed(["xargs", "-P1", "-I{}", *command], count, folder)


def _fed(program: Sequence[str], count: int, folder: Path) -> None:
    words = "".join(f"{number}\n" for number in range(count))
    environment = {**homes.ENVIRONMENT, "HOME": str(folder)}  # where parallel keeps notes
    subprocess.run(
        program, input=words.encode(), check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _loop(command: Sequence[str], count: int, folder: Path) -> None:
    """What people write first: a loop that keeps each one's output and exit code."""
    loop = 'for i in $(seq "$0"); do "$@" > "out.$i" 2>&1; echo "$i $?" >> codes; done'
    subprocess.run(["bash", "-c", loop, str(count), *command], check=True, cwd=folder, env=homes.ENVIRONMENT)
