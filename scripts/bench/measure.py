"""Contenders side by side: shuffled rounds, ratios within a round, medians of those (docs/benchmarks/README.md).

On a machine shared with others a time means little, but two times taken a second apart suffer alike. So every contender
runs once in each round, in an order of its own, and what is quoted is the median over the rounds of a ratio within one
round; beside it the ratio of the two best times, which is steadier where the machine is quiet for some of the rounds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from home import Code

PRESSURE = Path("/proc/pressure/cpu")

Figures = Mapping[str, float]  # by metric, for example "wall"; what is not measured of a contender is left out
Contender = Callable[[], Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and with what a bench makes its contenders."""

    codes: Mapping[str, Code]  # by a mark at the end of their contenders' names: "", and "'" of another checkout
    work: Path
    is_quick: bool  # small numbers of everything: only to see that the bench works


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One metric in the table: its median and least value and, with `base`, how it compares to that contender's."""

    metric: str
    head: str
    digits: int = 1
    base: Callable[[str], str] | None = None  # from a contender's name
    base_head: str = ""


def times(base: Callable[[str], str], base_head: str) -> list[Column]:
    """Wall clock and CPU of a process, beside a contender's."""
    return [Column(metric=metric, head=f"{metric} ms", base=base, base_head=base_head) for metric in ("wall", "cpu")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What issue 8 asks for: `measured` is at most `most`, or at least `least`."""

    what: str
    measured: float
    unit: str
    most: float | None = None
    least: float | None = None
    digits: int = 2

    @property
    def is_met(self) -> bool:
        return (self.most is None or self.measured <= self.most) and (self.least is None or self.measured >= self.least)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """What was measured: for each round the figures of each contender, and how much the machine lacked CPU in it."""

    seed: int
    names: Sequence[str]
    figures: Sequence[Mapping[str, Figures]]
    stalled_percent: Sequence[float]  # of a round's time, in which some process that could run waited for a CPU

    def has(self, name: str, metric: str) -> bool:
        return name in self.names and metric in self.figures[0][name]

    def values(self, name: str, metric: str) -> list[float]:
        return [one[name][metric] for one in self.figures]

    def ratios(self, name: str, base: str, metric: str) -> list[float]:
        """For each round `name` in units of `base`."""
        return [one / other for one, other in zip(self.values(name, metric), self.values(base, metric), strict=True)]

    def ratio(self, name: str, base: str, metric: str) -> float:
        return median(self.ratios(name, base, metric))

    def ratio_of_best(self, name: str, base: str, metric: str) -> float:
        return min(self.values(name, metric)) / min(self.values(base, metric))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One question: who is compared, what the table shows, and what is asked of AWM."""

    contenders: Callable[[Setting], dict[str, Contender]]
    columns: Sequence[Column]
    targets: Callable[[Rounds], Sequence[Target]] = field(default=lambda _: ())
    rounds_count: int = 9
    is_warmed: bool = True  # by one round that is not measured, so that no file is read cold in another

    def tables(self, rounds: Rounds) -> str:
        """The figures, and what they say about the targets, in Markdown."""
        heads = ["contender", *(head for column in self.columns for head in _heads(column))]
        rows = [
            [name, *(cell for column in self.columns for cell in _cells(column, rounds, name))] for name in rounds.names
        ]
        targets = [_row(target) for target in self.targets(rounds)]
        asked = [table(["asked", "measured", "target", ""], targets)] if targets else []
        return "\n\n".join([table(heads, rows), *asked])


def shuffled(contenders: Mapping[str, Contender], rounds_count: int, seed: int, *, is_warmed: bool) -> Rounds:
    """Run each contender once a round, in an order drawn from `seed`."""
    order = list(contenders)
    chance = random.Random(seed)
    figures: list[Mapping[str, Figures]] = []
    stalled_percent: list[float] = []
    for number in range(rounds_count + is_warmed):
        chance.shuffle(order)
        stalled_ms, begun = _stalled_ms(), time.monotonic()
        found = {name: contenders[name]() for name in order}
        if number or not is_warmed:
            figures.append(found)
            stalled_percent.append((_stalled_ms() - stalled_ms) / 10 / (time.monotonic() - begun))
    return Rounds(seed=seed, names=list(contenders), figures=figures, stalled_percent=stalled_percent)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned so that it also reads in a terminal."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def pressure_percent() -> float | None:
    """Of the last minute, in how much of it some process that could run waited for a CPU; None where nobody counts."""
    try:
        return float(PRESSURE.read_text().split("avg60=")[1].split()[0])
    except OSError:
        return None


def _stalled_ms() -> float:
    """Since boot; 0 where nobody counts."""
    try:
        return int(PRESSURE.read_text().split("total=")[1].split()[0]) / 1000
    except OSError:
        return 0.0


def _heads(column: Column) -> list[str]:
    compared = [f"x {column.base_head}", "x, least to least"] if column.base else []
    return [column.head, "least", *compared]


def _cells(column: Column, rounds: Rounds, name: str) -> list[str]:
    metric, base = column.metric, column.base(name) if column.base else ""
    if not rounds.has(name, metric):
        return [""] * len(_heads(column))
    values = rounds.values(name, metric)
    cells = [f"{value:.{column.digits}f}" for value in (median(values), min(values))]
    if base and rounds.has(base, metric):
        return [*cells, f"{rounds.ratio(name, base, metric):.2f}", f"{rounds.ratio_of_best(name, base, metric):.2f}"]
    return cells + [""] * (len(_heads(column)) - len(cells))


def _row(target: Target) -> list[str]:
    word, limit = ("at most", target.most) if target.most is not None else ("at least", target.least)
    unit = f" {target.unit}".rstrip()
    return [
        target.what,
        f"{target.measured:.{target.digits}f}{unit}",
        f"{word} {limit:g}{unit}",
        "met" if target.is_met else "MISSED",
    ]
