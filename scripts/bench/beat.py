"""What one beat costs, whatever it finds to do: beside a script that only defines one pydantic model.

Whole processes, from exec to exit, with a handful of tasks. `wall` is what cron waits for; `cpu` leaves out what a beat
starts and does not wait for. A home is copied anew before each beat that changes something, outside of the time taken.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median

import home as homes
from home import Code, Home
from measure import Contender, Figures, Rounds, table

HANDFUL = 5
TARGET = 1.5
MODEL = "one pydantic model"
FLOOR = "python -c pass"
LONG_AGENT = ["sleep", "600"]
KINDS = {
    "idle": "nothing queued, nothing runs",
    "busy": "an agent runs, nothing new",
    "launching": "starts an attempt",
    "settling": "records the end of the last task, and reports",
    "turning": "records the end of a task, and starts the next",
}
SCRIPT = "from pydantic import BaseModel\n\n\nclass Task(BaseModel):\n    id: str\n"


def contenders(codes: Mapping[str, Code], work: Path) -> dict[str, Contender]:
    script = work / "model.py"
    script.write_text(SCRIPT)
    found: dict[str, Contender] = {
        FLOOR: partial(homes.timed, [sys.executable, "-c", "pass"]),
        MODEL: partial(homes.timed, [sys.executable, str(script)]),
    }
    for label, code in codes.items():
        own = work / f"beat{label}"
        waiting = Home.make(own / "launching", LONG_AGENT, HANDFUL)
        busy = homes.launched(code, Home.make(own / "busy", LONG_AGENT, HANDFUL))
        settling, idle = _ended(code, own, "settling", 1)
        turning, _ = _ended(code, own, "turning", HANDFUL)
        beats: dict[str, Contender] = {
            "idle": partial(homes.timed, code.beat(idle)),
            "busy": partial(homes.timed, code.beat(busy)),
            "launching": partial(_on_a_copy, code, waiting, own / "now"),
            "settling": partial(_on_a_copy, code, settling, own / "now"),
            "turning": partial(_on_a_copy, code, turning, own / "now"),
        }
        found |= {f"{kind}{label}": beat for kind, beat in beats.items()}
    return found


def report(rounds: Rounds, names: list[str]) -> str:
    rows = [
        [
            name,
            *(
                cell
                for metric in ("wall", "cpu")
                for cell in (
                    f"{median(rounds.values(name, metric)):.0f}",
                    f"{rounds.ratio(name, MODEL, metric):.2f}",
                    f"{rounds.ratio_of_best(name, MODEL, metric):.2f}",
                )
            ),
        ]
        for name in names
    ]
    head = ["contender", "wall ms", "x model", "x, best to best", "cpu ms", "x model", "x, best to best"]
    verdicts = [
        f"{name} ({KINDS[kind]}): {ratio:.2f} x {MODEL}, target at most {TARGET}:"
        f" {'met' if ratio <= TARGET else 'MISSED'}"
        for name in names
        for kind in KINDS
        if name.startswith(kind)
        for ratio in [rounds.ratio(name, MODEL, "wall")]
    ]
    return "\n".join([table(head, rows), "", *verdicts])


def _ended(code: Code, folder: Path, name: str, queued_count: int) -> tuple[Home, Home]:
    """Two homes: one where the first agent has ended and no beat has seen it, and the one it was copied from, idle.

    Its own supervisor would beat at once. So the copy is taken while the agent runs, and gets the result later.
    """
    origin = homes.launched(code, Home.make(folder / f"{name}-origin", ["sleep", "3"], queued_count))
    unseen = origin.copy_to(folder / name)
    (first,) = origin.attempts()
    homes.wait_for((first / "result.json").exists, "the result of an attempt")
    (unseen.path / "state" / "attempts" / first.name / "result.json").write_bytes((first / "result.json").read_bytes())
    if queued_count == 1:
        homes.wait_for(lambda: origin.state().get("idleSince") is not None, "the end of the queue")
        homes.wait_for(lambda: origin.supervisor() is None, "the end of the supervisor")
        homes.wait_for(lambda: homes.run(code.beat(origin)) == "", "a beat with nothing new")
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
