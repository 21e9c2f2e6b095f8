"""What a busy beat costs when 10, 1,000 or 10,000 tasks wait in the queue, each with its spec file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median

import home as homes
from beat import LONG_AGENT
from home import Code, Home
from measure import Contender, Rounds, table

FEW = 10
TARGETS = {1_000: 1.25, 10_000: 2.0}


def contenders(codes: Mapping[str, Code], work: Path) -> dict[str, Contender]:
    found: dict[str, Contender] = {}
    for label, code in codes.items():
        for count in (FEW, *TARGETS):
            home = homes.launched(code, Home.make(work / f"size{label}-{count}", LONG_AGENT, count + 1))
            found[f"{count}{label}"] = partial(homes.timed, code.beat(home))
    return found


def report(rounds: Rounds, names: list[str]) -> str:
    rows, verdicts = [], []
    for name in names:
        digits = name.rstrip("'")
        base = f"{FEW}{name[len(digits) :]}"
        cells = [
            cell
            for metric in ("wall", "cpu")
            for cell in (
                f"{median(rounds.values(name, metric)):.0f}",
                f"{rounds.ratio(name, base, metric):.2f}",
                f"{rounds.ratio_of_best(name, base, metric):.2f}",
            )
        ]
        rows.append([name, *cells])
        target = TARGETS.get(int(digits))
        if target is not None:
            ratio = rounds.ratio(name, base, "wall")
            verdict = "met" if ratio <= target else "MISSED"
            verdicts.append(f"{name} queued: {ratio:.2f} x {base} queued, target at most {target}: {verdict}")
    head = ["queued", "wall ms", f"x {FEW}", "x, best to best", "cpu ms", f"x {FEW}", "x, best to best"]
    return "\n".join([table(head, rows), "", *verdicts])
