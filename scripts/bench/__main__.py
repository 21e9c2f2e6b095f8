"""The benchmarks of the work loop; see docs/MEASURED.md 6 for why they are made this way.

Four questions: `gap`, how long the machine idles between two agents; `beat`, what one beat costs; `size`, what it
costs when many tasks wait; `many`, when they are of many projects, with many triggers. Not a test: a person judges what
it says, with the pressure on the machine beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import beat
import gap
import many
import size
from home import MADE, Code
from measure import Rounds, shuffled

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SAVED = CHECKOUT / "docs" / "benchmarks"
CONTENDERS = {"gap": gap.contenders, "beat": beat.contenders, "size": size.contenders, "many": many.contenders}
REPORTS = {"gap": gap.report, "beat": beat.report, "size": size.report, "many": many.report}


def main() -> None:
    options = _parser().parse_args()
    machine = _machine()
    print("; ".join(f"{name}: {value}" for name, value in machine.items()), "\n")
    with tempfile.TemporaryDirectory(prefix="awm-bench.") as folder:
        work = Path(folder)
        codes = {"": Code.copy_of(CHECKOUT, work / "code")}
        if options.against:
            codes["'"] = Code.copy_of(options.against.resolve(), work / "other")
            print("Names with ' are those of the other checkout.\n")
        for is_realtime in (True, False) if options.realtime else (False,):
            scheduling = _schedule(is_realtime=is_realtime)
            for question in [options.question] if options.question else REPORTS:
                here = Path(tempfile.mkdtemp(dir=work))
                rounds = _measured(question, codes, here, options)
                names = list(rounds.figures[0])
                print(f"## {question}, {len(rounds.figures)} rounds, seed {rounds.seed}, {scheduling}\n")
                print(REPORTS[question](rounds, sorted(names)), f"\n{rounds.pressure()}\n")
                if options.save:
                    _save(question, rounds, {**machine, "scheduling": scheduling})


def _measured(question: str, codes: dict[str, Code], work: Path, options: argparse.Namespace) -> Rounds:
    try:
        return shuffled(CONTENDERS[question](codes, work), options.rounds, options.seed)
    finally:
        while MADE:
            MADE.pop().end()


def _schedule(*, is_realtime: bool) -> str:
    """As `chrt -r 1`, for this process and all it starts: ahead of everything else on a loaded machine."""
    policy, priority = (os.SCHED_RR, 1) if is_realtime else (os.SCHED_OTHER, 0)
    os.sched_setscheduler(0, policy, os.sched_param(priority))
    return "SCHED_RR priority 1 (disk journal at normal priority)" if is_realtime else "unprioritised"


def _machine() -> dict[str, str]:
    """What the figures depend on, and nothing that tells whose machine it is."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace"))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": f"{os.cpu_count()} x {cpu[1] if cpu else platform.machine()}",
        "load": f"{os.getloadavg()[0]:.1f}",
        "kernel": platform.release(),
        "filesystem": _said("stat", "-f", "-c", "%T", tempfile.gettempdir()),
        "python": platform.python_version(),
        "pydantic": version("pydantic"),
        "task-spooler": _said("tsp", "-V"),
        "git": _said("git", "--version"),
    }


def _said(*command: str) -> str:
    """The first line a command prints; "none" where it is not installed."""
    if not shutil.which(command[0]):
        return "none"
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return lines[0].partition(" - ")[0] if lines else "unknown"


def _save(question: str, rounds: Rounds, machine: dict[str, str]) -> None:
    SAVED.mkdir(parents=True, exist_ok=True)
    kind = "realtime" if machine["scheduling"].startswith("SCHED_RR") else "plain"
    path = SAVED / f"{machine['date']}-{question}-{kind}.json"
    figures = [
        {name: {metric: round(value, 3) for metric, value in one.items()} for name, one in found.items()}
        for found in rounds.figures
    ]
    saved = {
        "machine": machine,
        "seed": rounds.seed,
        "unit": "ms",
        "cpuStalledMs": [round(value, 1) for value in rounds.stalled_ms],
        "rounds": figures,
    }
    path.write_text(json.dumps(saved, indent=1) + "\n")
    print(f"saved {path.relative_to(CHECKOUT)}\n")


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="scripts/bench/run", description=__doc__)
    found.add_argument("question", nargs="?", choices=REPORTS, help="one of the four; all without it")
    found.add_argument("--rounds", type=int, default=9, help="default %(default)s")
    found.add_argument("--seed", type=int, default=1, help="of the order in each round; default %(default)s")
    found.add_argument("--realtime", action="store_true", help="as root: once ahead of all other work, then once not")
    found.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in the same rounds")
    found.add_argument("--save", action="store_true", help="write the figures to docs/benchmarks/")
    return found


if __name__ == "__main__":
    main()
