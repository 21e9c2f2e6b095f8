"""What a beat costs with 100 projects, 1,000 triggers and 10,000 queued tasks, beside one with the same queue alone.

Two kinds of beat: `busy` has its agent at work and nothing new; `shut` may start something, looks through the whole
queue, and finds every project outside of its work window. Both are whole: most beats of a home without triggers on
files end by the note of the last one, in a fraction of that.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import home as homes
from home import LONG, Code, Home
from measure import Bench, Contender, Rounds, Setting, Target, times

QUEUED_COUNT, PROJECT_COUNT, TRIGGER_COUNT, FILE_TRIGGER_COUNT = 10_000, 100, 1_000, 10
QUICK_QUEUED_COUNT = 200
BUSY, SHUT = "an agent works", "outside of the window"
ONE, MANY = "one project", f"{PROJECT_COUNT} projects, {TRIGGER_COUNT:,} triggers"


def _contenders(setting: Setting) -> dict[str, Contender]:
    queued_count = QUICK_QUEUED_COUNT if setting.is_quick else QUEUED_COUNT
    return {
        f"{kind}: {name}{mark}": _whole_beat(
            code, setting.work / f"{kind}-{name}{mark}", queued_count, is_shut=kind == SHUT, is_divided=name == MANY
        )
        for mark, code in setting.codes.items()
        for kind in (BUSY, SHUT)
        for name in (ONE, MANY)
    }


def _whole_beat(code: Code, path: Path, queued_count: int, *, is_shut: bool, is_divided: bool) -> Contender:
    home = Home.make(path, [LONG] * (queued_count + 1), homes.settings(loop=_shut()) if is_shut else homes.SHELL_AGENT)
    if is_divided:
        _divide(home)
    if is_shut:
        homes.run(code.beat(home))
        homes.settled(code, home)
    else:
        homes.launched(code, home)
    return partial(homes.timed, code.whole_beat(home))


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


def _shut() -> str:
    hour = datetime.now(UTC).hour
    return f'window = "{(hour + 11) % 24:02}:00-{(hour + 12) % 24:02}:00 UTC"'


def _base(name: str) -> str:
    kind = name.partition(":")[0]
    return f"{kind}: {ONE}" + ("'" if name.endswith("'") else "")


def _targets(rounds: Rounds) -> list[Target]:
    names = [f"{kind}: {MANY}" for kind in (BUSY, SHUT)]
    return [
        Target(what=name, measured=rounds.ratio(name, _base(name), "wall"), unit=f"x {ONE}", most=2) for name in names
    ]


BENCH = Bench(
    contenders=_contenders,
    columns=times(_base, ONE),
    targets=_targets,
)
