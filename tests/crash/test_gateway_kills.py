"""Gateway, attending program and supervisor under SIGKILL: no task is lost, none has two sub-agents (SPEC 8.8, 15.1)."""

from __future__ import annotations

import random
import select
import signal
import time
from collections import Counter

import pytest
from claw import Claw, claw
from home import Home, kill, rounds

__all__ = ["claw"]
pytestmark = pytest.mark.timeout(4 * 3600)  # all rounds take their time

CONFIG = """\
[loop]
default_agent = "claw"
max_retries = 1000
strikes_max = 1000
retry_backoff_seconds = [0]
stop_grace_seconds = 0.5
registration_grace_seconds = 2
require_commit = false
"""
SHOTS_MAX = 3  # at one task: five that hit the gateway would be too many reboots (SPEC 7.2)


def test_kills_at_random_moments_lose_nothing_and_double_nothing(home: Home, claw: Claw) -> None:
    """By the gateway's own truth: each label once, never two of one task alive, each task done (SPEC 7.3, 8.8, 15.1)."""
    chance = random.Random(7)
    home.config(CONFIG + claw.config())
    home.queue()
    hit: Counter[str] = Counter()
    tasks = [f"T{number}" for number in range(rounds(8, 400))]

    for task in tasks:
        claw.be(
            lose_share=chance.choice((0, 0, 0.3)),
            late_seconds=chance.choice((0, 0, 0.3)),
            starting_seconds=chance.choice((0, 0.3)),
            lists_early=chance.choice((False, True)),
            stale_seconds=chance.choice((0, 0, 1)),
            slow={"sessions_spawn": chance.choice((0, 0.3)), "subagents": chance.choice((0, 0, 0.2))},
        )
        go = home.root / f"go-{task}"
        path = str(home.spec(task, f"until [ -e {go} ]; do sleep 0.05; done"))
        home.edit(lambda state, task=task, path=path: enqueue(state, task, path))
        for _ in range(chance.randint(1, SHOTS_MAX)):
            home.beat()
            if chance.random() < 0.6:  # else while it is started
                home.wait_for(claw.living, beat_every=0.4)
            wait(chance.choice((0, 0, 0.3, 1)) + chance.random() / 2)
            hit.update(shoot(home, claw, chance))
            (home.root / "hits").write_text(f"{hit.total()} {hit.most_common()}")  # of a run that is broken off
        go.touch()
        home.wait_for(lambda task=task: task in home.state()["completed"], beat_every=0.4)

    print(f"{hit.total()} hits: {hit.most_common()}; {len(claw.labels())} sub-agents")
    assert [line for line in claw.truth() if line[0] == "double"] == []
    assert {label: count for label, count in Counter(claw.labels()).items() if count > 1} == {}
    assert home.state()["completed"] == tasks
    assert claw.living() == []


def shoot(home: Home, claw: Claw, chance: random.Random) -> list[str]:
    """SIGKILL to one or two of the three; a gateway comes back at once or later. Returns who was hit."""
    hit = []
    for target in chance.choice(
        (["gateway"], ["gateway"], ["attending"], ["supervisor"], ["attending", "gateway"], ["supervisor", "gateway"])
    ):
        if target == "gateway":
            claw.kill()
            hit.append(target)
            continue
        attending = [pid for pid, argv in home.processes().items() if "awm_loop.cli.attend" in argv]
        found = attending if target == "attending" else home.supervisors()
        hit += [target for pid in found if kill(pid, signal.SIGKILL, str(home.root))]
    if "gateway" in hit:
        wait(chance.choice((0, 0, 0.5, 2)))
        claw.start(is_awaited=False)
    return hit


def enqueue(state: dict[str, object], task: str, path: str) -> None:
    state["queue"] = [*state["queue"], task]  # type: ignore[misc]
    state["specFiles"] = state["specFiles"] | {task: path}  # type: ignore[operator]


def wait(seconds: float) -> None:
    until = time.monotonic() + seconds
    select.select((), (), (), max(until - time.monotonic(), 0))
