"""Contenders side by side: shuffled rounds, ratios within a round, medians of those (docs/MEASURED.md 6).

On a machine shared with others a time means little, but two times taken a second apart suffer alike. So every contender
runs once in each round, in an order of its own, and what is quoted is the median over the rounds of a ratio within one
round; beside it the ratio of the two best times, which is steadier where the machine is quiet for some of the rounds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PRESSURE = Path("/proc/pressure/cpu")

Figures = Mapping[str, float]  # metric, for example "wall": milliseconds
Contender = Callable[[], Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """What was measured: for each round the figures of each contender, and how long the machine lacked CPU in it."""

    seed: int
    figures: Sequence[Mapping[str, Figures]]
    stalled_ms: Sequence[float]

    def values(self, name: str, metric: str) -> list[float]:
        return [one[name][metric] for one in self.figures]

    def ratio(self, name: str, base: str, metric: str) -> float:
        """Median over the rounds of `name` in units of `base`."""
        pairs = zip(self.values(name, metric), self.values(base, metric), strict=True)
        return median(one / other for one, other in pairs)

    def ratio_of_best(self, name: str, base: str, metric: str) -> float:
        return min(self.values(name, metric)) / min(self.values(base, metric))

    def difference(self, name: str, base: str, metric: str) -> float:
        """Median over the rounds of `name` less `base`, in milliseconds."""
        pairs = zip(self.values(name, metric), self.values(base, metric), strict=True)
        return median(one - other for one, other in pairs)

    def pressure(self) -> str:
        stalled = [round(value) for value in self.stalled_ms]
        return f"CPU stall (PSI) in a round: median {median(stalled):.0f} ms, most {max(stalled)} ms"


def shuffled(contenders: Mapping[str, Contender], rounds_count: int, seed: int) -> Rounds:
    """Run each contender once a round. One unmeasured round comes first, so that no file is read cold in another."""
    order = list(contenders)
    chance = random.Random(seed)
    figures: list[Mapping[str, Figures]] = []
    stalled_ms: list[float] = []
    for number in range(rounds_count + 1):
        chance.shuffle(order)
        before = _stalled_ms()
        found = {name: contenders[name]() for name in order}
        if number:
            figures.append(found)
            stalled_ms.append(_stalled_ms() - before)
    return Rounds(seed=seed, figures=figures, stalled_ms=stalled_ms)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned so that it also reads in a terminal."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def _stalled_ms() -> float:
    """How long at least one runnable process waited for a CPU since boot; 0 where the kernel keeps no count."""
    try:
        return int(PRESSURE.read_text().split("total=")[1].split()[0]) / 1000
    except OSError:
        return 0.0
