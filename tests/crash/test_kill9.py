"""Real beats, supervisors and agents under real SIGKILL and SIGSTOP: every queue still ends, nothing starts twice (SPEC 8.1, 15)."""

from __future__ import annotations

import json
import math
import random
import select
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from ambush import Ambush, assert_promised, assert_truth, shoot, wait_a_moment, where
from home import PATIENCE_SECONDS, Home, lock_holder, rounds

pytestmark = pytest.mark.timeout(3600)  # all rounds take their time

CONFIG = """\
[loop]
max_retries = 1000
strikes_max = 1000
retry_backoff_seconds = [0]
stop_grace_seconds = 0.1
"""
BEAT_EVENTS = 130  # about what a beat that launches makes
SUPERVISOR_EVENTS = 100  # from one agent's start to the next


def bombarded(home: Home, seed: int) -> random.Random:
    """A home whose tasks are tried again until they succeed."""
    home.config(CONFIG)
    home.queue()
    return random.Random(seed)


def add(home: Home, chance: random.Random, *tasks: str) -> None:
    """Queue short tasks by hand."""
    for task in tasks:
        home.spec(task, home.work(f"sleep 0.{chance.randrange(1, 30):02}"))
    home.edit(lambda state: enqueue(home, state, *tasks))


def enqueue(home: Home, state: dict[str, Any], *tasks: str) -> None:
    state["queue"] += tasks
    state["specFiles"] |= {task: str(home.root / f"SPRINT_{task}_SPEC.md") for task in tasks}


def report(landed: Counter[str]) -> None:
    """What `pytest -rP` shows."""
    print(f"{landed.total()} shots")
    for place, count in landed.most_common():
        print(f"{count:5}  {place}")


def strike_a_beat(
    home: Home, chance: random.Random, number: signal.Signals, at: str = ""
) -> tuple[subprocess.Popen[str], bool]:
    """Begin a beat and send it `number` at some time, at some event, or when it has just saved. False where it had ended."""
    with Ambush(home) as ambush:
        beat = home.begin_beat()
        match at or chance.choices(("time", "event", "save"), (1, 4, 3))[0]:
            case "time":
                with suppress(subprocess.TimeoutExpired):
                    beat.wait(chance.uniform(0, 0.3))
            case "event":
                ambush.wait_for(chance.randrange(1, BEAT_EVENTS), beat.pid)
                wait_a_moment(chance)
            case "save":
                ambush.wait_for(chance.randrange(1, 3), beat.pid, home.state_path.name)
            case "promise":
                ambush.wait_for(1, beat.pid, home.state_path.name)
        return beat, beat.poll() is None and shoot(home, beat.pid, number)


def strike_a_supervisor(home: Home, chance: random.Random, number: signal.Signals) -> int | None:
    """Send `number` to whoever tends an attempt, at some event; its pid, None where nobody does or it ended before."""
    pid = next(iter(home.supervisors()), None)
    if pid is None:
        return None
    with Ambush(home) as ambush:
        ambush.wait_for(chance.randrange(1, SUPERVISOR_EVENTS), pid)
        wait_a_moment(chance)
        return pid if shoot(home, pid, number) else None


def test_beats_killed_at_any_point_lose_and_double_nothing(home: Home) -> None:
    """Between any two things a beat does, several in a row; then a timer brings the queue to its end (SPEC 8.1, 15)."""
    chance, landed = bombarded(home, 1), Counter[str]()
    tasks = [f"T{number}" for number in range(rounds(5, 120))]
    for task in tasks:
        add(home, chance, task)
        for _ in range(chance.randrange(1, 5)):
            beat, hit = strike_a_beat(home, chance, signal.SIGKILL)
            beat.communicate(timeout=PATIENCE_SECONDS)
            landed[where(home) if hit else "(too late)"] += 1
            assert_promised(home)
        home.finish(beat_every=0.5)

    report(landed)
    assert_truth(home, tasks)


def test_beats_killed_while_they_stop_an_attempt_forget_no_stop(home: Home) -> None:
    """A stall is stopped in the end, whichever beat promised it and died (SPEC 6.2, 8.4, 15.4)."""
    chance, landed = bombarded(home, 2), Counter[str]()
    home.config("[loop]\nstall_minutes = 0.01\nstrikes_max = 1\nstop_grace_seconds = 0.1\n")
    tasks = [f"T{number}" for number in range(rounds(3, 60))]
    for task in tasks:
        home.spec(task, home.work("exec sleep 1000"))
        home.edit(lambda state, task=task: enqueue(home, state, task))
        home.beat()
        home.wait_for(lambda task=task: home.begun()[-1:] == [task])
        home.beat()
        home.wait_for(lambda: idle_seconds(home) >= 0.6)
        for at in ("promise", "save")[: chance.randrange(1, 3)]:
            beat, hit = strike_a_beat(home, chance, signal.SIGKILL, at)
            beat.communicate(timeout=PATIENCE_SECONDS)
            landed[where(home) if hit else "(too late)"] += 1
            assert_promised(home)
        home.finish(beat_every=0.5)

    report(landed)
    assert (home.begun(), home.state()["skipped"]) == (tasks, tasks)
    assert [result["outcome"] for result in home.results()] == ["stalled"] * len(tasks)
    assert not home.processes()


def idle_seconds(home: Home) -> float:
    """What the last sample of the newest attempt says; without end once it has ended."""
    if not home.state()["attempts"] or not home.supervisors():
        return math.inf
    lines = (home.attempts()[-1] / "samples.jsonl").read_text().splitlines()
    return float(json.loads(lines[-1])["idleSeconds"]) if lines else 0.0


def test_supervisors_killed_at_any_point_lose_and_double_nothing(home: Home) -> None:
    """From one agent's start to the next; what they left is swept before its task starts again (SPEC 8.1, 8.3, 15.8)."""
    chance, landed = bombarded(home, 3), Counter[str]()
    tasks = [f"T{number}" for number in range(rounds(5, 100))]
    add(home, chance, *tasks)
    while not home.is_idle and landed.total() < rounds(8, 200):
        home.beat()
        landed[where(home) if strike_a_supervisor(home, chance, signal.SIGKILL) else "(too late)"] += 1

    home.finish(beat_every=0.5)

    report(landed)
    assert_truth(home, tasks)


def test_agents_killed_at_any_time_are_tried_again(home: Home) -> None:
    """The main process alone: its supervisor records the end, sweeps the rest, and goes on (SPEC 7.2, 8.3)."""
    chance, landed = bombarded(home, 4), Counter[str]()
    tasks = [f"T{number}" for number in range(rounds(5, 60))]
    add(home, chance, *tasks)
    home.beat()
    while not home.is_idle:
        agents = home.agents() if landed.total() < rounds(5, 120) else []
        for pid in agents[:1]:
            select.select((), (), (), chance.uniform(0, 0.05))
            landed[where(home) if shoot(home, pid, signal.SIGKILL) else "(too late)"] += 1

    home.finish()

    report(landed)
    assert_truth(home, tasks)


def test_beats_and_supervisors_that_stand_still_for_a_while_do_no_harm(home: Home) -> None:
    """Stopped at any point while other beats come and go, then continued, or killed as they stand (SPEC 6.4, 8.1)."""
    chance, landed = bombarded(home, 5), Counter[str]()
    tasks = [f"T{number}" for number in range(rounds(3, 60))]
    for task in tasks:
        add(home, chance, task)
        beat, hit = strike_a_beat(home, chance, signal.SIGSTOP)
        if hit:
            landed["beat: " + where(home) + (", locked" if lock_holder(home.lock_path) == beat.pid else "")] += 1
        supervisor = strike_a_supervisor(home, chance, chance.choice((signal.SIGSTOP, signal.SIGKILL)))
        if supervisor is not None:
            landed["supervisor: " + where(home)] += 1
        home.heartbeat()
        for pid in (beat.pid, supervisor):
            if pid is not None:
                shoot(home, pid, chance.choice((signal.SIGCONT, signal.SIGCONT, signal.SIGKILL)))
        beat.communicate(timeout=PATIENCE_SECONDS)
        home.finish(beat_every=0.5)

    report(landed)
    assert_truth(home, tasks)
