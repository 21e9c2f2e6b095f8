"""What a beat costs with 100 projects, 1,000 triggers and 10,000 queued tasks, beside one with the same queue alone.

Two kinds of beat: `busy` has its agent at work and nothing new; `shut` may start something, looks through the whole
queue, and finds every project outside of its work window. Both are whole: most beats of a home without triggers on
files end by the note of the last one, in a fraction of that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import home as homes
from beat import LONG_AGENT
from home import Code, Home
from measure import Contender, Rounds, table

QUEUED_COUNT, PROJECT_COUNT, TRIGGER_COUNT, FILE_TRIGGER_COUNT = 10_000, 100, 1_000, 10
TARGET = 2.0
KINDS = ("busy", "shut")


def contenders(codes: Mapping[str, Code], work: Path) -> dict[str, Contender]:
    found: dict[str, Contender] = {}
    for label, code in codes.items():
        for kind in KINDS:
            for name in ("one", "many"):
                home = Home.make(work / f"{kind}{label}-{name}", LONG_AGENT, QUEUED_COUNT + 1)
                if name == "many":
                    _divide(home)
                if kind == "shut":
                    _shut(home)
                    homes.run(code.beat(home))
                    homes.wait_for(partial(_is_quiet, code, home), "a beat with nothing new")
                else:
                    homes.launched(code, home)
                whole = [*code.beat(home), "--json"]  # without triggers on files a beat at rest ends by its note
                found[f"{kind} {name}{label}"] = partial(homes.timed, whole)
    return found


def _is_quiet(code: Code, home: Home) -> bool:
    return homes.run(code.beat(home)) == ""


def _divide(home: Home) -> None:
    """The queue over many projects, and triggers of all of them that are not due."""
    state, now = home.path / "state", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    projects = []
    for number in range(PROJECT_COUNT):
        path = home.path / "projects" / f"p{number}"
        path.mkdir(parents=True)
        projects.append({"id": f"p{number}", "path": str(path), "budget": {"attemptsPerDay": 50}})
    (state / "projects.json").write_text(json.dumps({"version": 1, "projects": projects}))
    triggers = [
        {
            "id": f"t{number}",
            "projectId": f"p{number % PROJECT_COUNT}",
            "spec": str(home.path / "specs" / "S1.md"),
            "createdAt": now,
            **(
                {"type": "file", "trigger": "src/**/*.py"}
                if number < FILE_TRIGGER_COUNT
                else {"type": "time", "trigger": f"{number % 60} 3 29 2 *", "timezone": "Europe/Berlin"}
            ),
        }
        for number in range(TRIGGER_COUNT)
    ]
    (state / "triggers.json").write_text(json.dumps({"version": 1, "triggers": triggers}))
    raw = home.state()
    queue = raw["queue"]
    if not isinstance(queue, list):
        raise TypeError("the state of a benchmark has a queue")
    raw["projectOf"] = {task: f"p{number % PROJECT_COUNT}" for number, task in enumerate(queue)}
    (state / "current_work.json").write_text(json.dumps(raw, indent=2))


def _shut(home: Home) -> None:
    hour = datetime.now(UTC).hour
    path = home.path / "awm.toml"
    window = f"{(hour + 11) % 24:02}:00-{(hour + 12) % 24:02}:00 UTC"
    path.write_text(path.read_text().replace("[loop]\n", f'[loop]\nwindow = "{window}"\n', 1))


def report(rounds: Rounds, names: list[str]) -> str:
    rows, verdicts = [], []
    for name in names:
        base = name.replace("many", "one")
        cells = [
            cell
            for metric in ("wall", "cpu")
            for cell in (f"{median(rounds.values(name, metric)):.0f}", f"{rounds.ratio(name, base, metric):.2f}")
        ]
        rows.append([name, *cells])
        if name != base:
            ratio = rounds.ratio(name, base, "wall")
            verdict = "met" if ratio <= TARGET else "MISSED"
            verdicts.append(f"{name}: {ratio:.2f} x {base}, target at most {TARGET}: {verdict}")
    head = ["beat", "wall ms", "x one", "cpu ms", "x one"]
    return "\n".join([table(head, rows), "", *verdicts])
