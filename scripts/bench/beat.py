"""What one beat costs, whatever it finds: beside an empty Python, and a script that only defines one pydantic model.

Whole processes, from exec to exit, with a handful of tasks. `wall` is what cron waits for; `cpu` leaves out what a beat
starts and does not wait for. A home is copied anew before each beat that changes something, outside of the time taken.
"""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path

import home as homes
from home import LONG, Code, Home
from measure import Bench, Contender, Figures, Rounds, Setting, Target, times

HANDFUL = 5
FLOOR, MODEL = "python -c pass", "one pydantic model"
IDLE, RESTING, BUSY = "idle: no work", "idle: an agent works", "busy: looks at all of it"
SCRIPT = "from pydantic import BaseModel\n\n\nclass Task(BaseModel):\n    id: str\n"


def _contenders(setting: Setting) -> dict[str, Contender]:
    script = setting.work / "model.py"
    script.write_text(SCRIPT)
    found: dict[str, Contender] = {
        FLOOR: partial(homes.timed, [sys.executable, "-c", "pass"]),
        MODEL: partial(homes.timed, [sys.executable, str(script)]),
    }
    for mark, code in setting.codes.items():
        own = setting.work / f"beat{mark}"
        waiting = Home.make(own / "launching", [LONG] * HANDFUL)
        settling, idle = _ended(code, own, "settling", 1)
        turning, _ = _ended(code, own, "turning", HANDFUL)
        busy = homes.launched(code, Home.make(own / "busy", [LONG] * HANDFUL))
        beats: dict[str, Contender] = {
            IDLE: partial(homes.timed, code.beat(homes.noted(code, idle))),
            RESTING: partial(homes.timed, code.beat(homes.noted(code, busy))),
            BUSY: partial(homes.timed, code.whole_beat(busy)),
            "starts an attempt": partial(_on_a_copy, code, waiting, own / "now"),
            "ends one, starts one": partial(_on_a_copy, code, turning, own / "now"),
            "ends the last": partial(_on_a_copy, code, settling, own / "now"),
        }
        found |= {f"{kind}{mark}": beat for kind, beat in beats.items()}
    return found


def _ended(code: Code, folder: Path, name: str, queued_count: int) -> tuple[Home, Home]:
    """Two homes: one where the first agent has ended and no beat has seen it, and the one it was copied from, idle.

    Its own supervisor would beat at once. So the copy is taken while the agent runs, and gets the result later.
    """
    word = folder / f"{name}-may-end"
    waits = f"until [ -e {shlex.quote(str(word))} ]; do sleep 0.05; done"
    origin = homes.launched(code, Home.make(folder / f"{name}-origin", [waits, *[LONG] * (queued_count - 1)]))
    unseen = origin.copy_to(folder / name)
    (first,) = origin.attempts()
    word.touch()
    homes.wait_for((first / "result.json").exists, "the result of an attempt")
    (unseen.path / "state" / "attempts" / first.name / "result.json").write_bytes((first / "result.json").read_bytes())
    if queued_count == 1:
        homes.wait_for(lambda: origin.state().get("idleSince") is not None, "the end of the queue")
        homes.wait_for(lambda: origin.supervisor() is None, "the end of the supervisor")
    else:
        homes.wait_for(lambda: len(origin.attempts()) > 1, "the start of the next attempt")
        origin.end()
    return unseen, origin


def _on_a_copy(code: Code, home: Home, path: Path) -> Figures:
    fresh = home.copy_to(path)
    count = len(fresh.attempts())
    figures = homes.timed(code.beat(fresh))
    if len(fresh.attempts()) > count:
        homes.wait_for(lambda: fresh.supervisor() is not None, "the start of an attempt")
    fresh.end()
    return figures


def _targets(rounds: Rounds) -> list[Target]:
    asked = ((IDLE, FLOOR), (RESTING, FLOOR), (BUSY, MODEL))
    return [
        Target(what=name, measured=rounds.ratio(name, base, "wall"), unit=f"x {base}", most=1.2) for name, base in asked
    ]


BENCH = Bench(
    contenders=_contenders,
    columns=times(lambda _: MODEL, MODEL),
    targets=_targets,
)
