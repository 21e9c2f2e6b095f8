"""How fast AWM is, and what it costs, beside others: docs/benchmarks/README.md says what is compared, and how.

Not a test: a person judges what it says, with the pressure on the machine beside it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import beat
import cost
import gap
import machine
import many
import night
import page
import size
from home import MADE, Code
from measure import Bench, Rounds, Setting, pressure_percent, shuffled

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SAVED = CHECKOUT / "docs" / "benchmarks"
BENCHES = {
    "gap": gap.GAP,
    "drain": gap.DRAIN,
    "night": night.BENCH,
    "beat": beat.BENCH,
    "size": size.BENCH,
    "many": many.BENCH,
    "cost": cost.BENCH,
}


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.save and options.against:
        parser.error("what is saved is of this checkout alone: --save or --against")
    if options.page:
        _write_page()
        return
    if options.realtime:  # as `chrt -r 1`, for this process and all it starts
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with tempfile.TemporaryDirectory(prefix="awm-bench.") as folder:
        work = Path(folder)
        codes = {"": Code.copy_of(CHECKOUT, work / "code")}
        if options.against:
            codes["'"] = Code.copy_of(options.against.resolve(), work / "other")
            print("Names with ' are those of the other checkout.\n")
        for name in [options.name] if options.name else BENCHES:
            about = _about(options)
            setting = Setting(codes=codes, work=Path(tempfile.mkdtemp(dir=work)), is_quick=options.quick)
            rounds = _measured(BENCHES[name], setting, options)
            print(f"## {name}\n\n{BENCHES[name].tables(rounds)}\n")
            print(page.about(rounds, about), "\n")
            if options.save:
                page.save(SAVED / f"{name}.json", BENCHES[name], rounds, about)
                _write_page()


def _measured(bench: Bench, setting: Setting, options: argparse.Namespace) -> Rounds:
    try:
        contenders = bench.contenders(setting)
        return shuffled(contenders, options.rounds or bench.rounds_count, options.seed, is_warmed=bench.is_warmed)
    finally:
        while MADE:
            MADE.pop().end()


def _about(options: argparse.Namespace) -> page.Saved:
    """Before the first round."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "isQuick": options.quick,
        "scheduling": "SCHED_RR, ahead of all other work" if options.realtime else "unprioritised",
        "machine": machine.facts(),
        "versions": machine.versions(CHECKOUT),
        "stalledPercentBefore": pressure_percent(),
    }


def _write_page() -> None:
    path = SAVED / "README.md"
    path.write_text(page.rendered(path.read_text(), SAVED, BENCHES))
    print(f"wrote the tables of {path.relative_to(CHECKOUT)}\n")


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="scripts/bench/run", description=__doc__)
    found.add_argument("name", nargs="?", choices=BENCHES, help="one of them; all without it")
    found.add_argument("--save", action="store_true", help="write docs/benchmarks/NAME.json and the page's tables")
    found.add_argument("--page", action="store_true", help="measure nothing: make the page's tables of what is saved")
    found.add_argument("--quick", action="store_true", help="few tasks, small queues: to see that it works")
    found.add_argument("--rounds", type=int, help="default: as many as each bench wants")
    found.add_argument("--seed", type=int, default=1, help="of the order in each round; default %(default)s")
    found.add_argument("--realtime", action="store_true", help="as root: ahead of all other work of the machine")
    found.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in the same rounds")
    return found


if __name__ == "__main__":
    main()
