"""Many seeds of the simulation, on several cores; or one, told operation by operation. `scripts/soak` runs it.

Exit 1 where a guarantee was broken; each such seed is printed with the command that tells its story.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from world import World, play

from awm_loop.core.machine import TABLE

CHUNK = 5  # seeds a process takes at once


@dataclass(slots=True)
class Tally:
    """What came of some seeds."""

    seeds: int = 0
    beats: int = 0
    starts: int = 0
    operations: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for name in ("seeds", "beats", "starts", "operations", "rows", "faults", "broken"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def count(self, world: World) -> None:
        self.beats += world.beats
        self.starts += world.truth.begun.total()
        self.operations += world.truth.tick
        self.rows += Counter({str(row): count for row, count in world.rows.items()})
        self.faults += world.crashes

    @property
    def never(self) -> list[str]:
        """Rows of the table that no beat took."""
        return [str(row) for row in TABLE if not self.rows[str(row)]]


def run(seeds: Iterable[int]) -> Tally:
    """Play each seed. What the program itself says on stderr is not of interest here."""
    tally = Tally()
    for seed in seeds:
        tally.seeds += 1
        with contextlib.redirect_stderr(io.StringIO()):
            world, error = play(seed)
        if error is not None:
            tally.broken.append((seed, f"{type(error).__name__}: {str(error)[:300]}"))
        tally.count(world)
    return tally


def run_all(first: int, count: int, jobs: int) -> Iterator[Tally]:
    """The same on several cores; yields what came of each part."""
    parts = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    if jobs == 1:
        yield from map(run, parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, parts)


def table(tally: Tally, seconds: float) -> str:
    """The figures, and how often each row was taken."""
    lines = [
        f"{tally.seeds:>9,} seeds, {len(tally.broken)} with a broken guarantee",
        f"{tally.beats:>9,} beats, {tally.beats / seconds:.0f} a second",
        f"{tally.operations:>9,} operations",
        f"{tally.starts:>9,} agents begun",
        *(f"{count:>9,} {name}" for name, count in sorted(tally.faults.items(), key=lambda item: -item[1])),
        "rows taken:",
        *(f"{tally.rows[str(row)]:>9,} {row}" for row in TABLE),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="SEED", help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes")
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument("--verbose", action="store_true", help="with --seed: tell each operation")
    options = parser.parse_args()
    if options.seed is not None:
        _, error = play(options.seed, print if options.verbose else None)
        if error is not None:
            traceback.print_exception(error)
        print(f"seed {options.seed}: {'broken' if error else 'no guarantee broken'}")
        return 1 if error else 0
    tally, began = Tally(), time.monotonic()
    for part in run_all(options.first, options.seeds, options.jobs):
        tally.add(part)
        for seed, what in part.broken:
            print(f"\rseed {seed}: {what}\n    ./scripts/soak --seed {seed} --verbose")
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{tally.seeds:,} of {options.seeds:,} seeds, {len(tally.broken)} broken ")
    print(table(tally, time.monotonic() - began))
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
