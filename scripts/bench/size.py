"""What a whole beat costs when thousands of tasks wait in the queue, or a million lines stand in the journal."""

from __future__ import annotations

from functools import partial

import home as homes
from home import LONG, Code, Home
from measure import Bench, Contender, Rounds, Setting, Target, times

FEW, MANY, LINES = 10, 10_000, 1_000_000
QUICK_MANY, QUICK_LINES = 100, 1000
BASE, QUEUED, JOURNAL = f"{FEW} queued", f"{MANY:,} queued", f"{FEW} queued, {LINES:,} lines"


def _contenders(setting: Setting) -> dict[str, Contender]:
    many, lines_count = (QUICK_MANY, QUICK_LINES) if setting.is_quick else (MANY, LINES)
    found: dict[str, Contender] = {}
    for mark, code in setting.codes.items():
        for name, count in ((BASE, FEW), (f"{MANY // 10:,} queued", many // 10), (QUEUED, many), (JOURNAL, FEW)):
            home = Home.make(setting.work / f"size{mark}-{name}", [LONG] * (count + 1))
            homes.launched(code, home)
            if name == JOURNAL:
                _lengthen(code, home, lines_count)
            found[f"{name}{mark}"] = partial(homes.timed, code.whole_beat(home))
    return found


def _lengthen(code: Code, home: Home, lines_count: int) -> None:
    """Put lines before those of the journal, as years would have."""
    path = home.path / "state" / "log.jsonl"
    own = path.read_bytes()
    line = own.splitlines(keepends=True)[0]
    with path.open("wb") as file:
        for _ in range(lines_count // 1000):
            file.write(line * 1000)
        file.write(own)
    homes.settled(code, home)


def _base(name: str) -> str:
    return f"{BASE}'" if name.endswith("'") else BASE


def _targets(rounds: Rounds) -> list[Target]:
    asked = ((QUEUED, 1.5), (JOURNAL, 1.05))
    return [
        Target(what=name, measured=rounds.ratio(name, BASE, "wall"), unit=f"x {BASE}", most=most)
        for name, most in asked
    ]


BENCH = Bench(
    contenders=_contenders,
    columns=times(_base, BASE),
    targets=_targets,
)
