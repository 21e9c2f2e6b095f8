"""Beats that overlap do no harm, and no kick is lost (SPEC 6.3, 6.4, 6.5, 8.1, 15.2)."""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from home import PATIENCE_SECONDS, REPOSITORY, Done, Home, is_running, kill, lock_holder, rounds


@contextmanager
def holding(home: Home) -> Iterator[None]:
    """Hold the state lock, as a beat at work does."""
    descriptor = os.open(home.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def four_at_once(home: Home, chance: random.Random) -> list[int]:
    """Exit codes of four beats, begun within some milliseconds of each other."""
    processes = []
    for _ in range(4):
        processes.append(home.begin_beat())
        select.select((), (), (), chance.choice((0, 0, 0.01, 0.05)))
    return [process.wait(PATIENCE_SECONDS) for process in processes if process.communicate(timeout=PATIENCE_SECONDS)]


@pytest.mark.timeout(3600)  # all rounds take their time
def test_four_beats_at_once_start_no_attempt_twice(home: Home) -> None:
    """A hundred times over: each number begins once, in order, and every exit code is 0 or 75 (SPEC 6.3, 8.1)."""
    count = rounds(4, 100)
    codes: set[int] = set()
    tasks = [f"T{number}" for number in range(2 * count)]
    home.queue()
    for task in tasks:
        home.spec(task)
    for number in range(count):
        new = tasks[2 * number : 2 * number + 2]
        home.edit(
            lambda state, new=new: state.update(
                queue=new, specFiles={task: str(home.root / f"SPRINT_{task}_SPEC.md") for task in new}
            )
        )
        codes |= set(four_at_once(home, random.Random(number)))
        home.wait_for(lambda: home.is_idle)
        home.wait_for(lambda: not home.processes())

    assert codes <= {0, 75}
    assert home.begun() == tasks
    assert Counter(line[0] for line in home.truth()) == {"begin": len(tasks), "end": len(tasks)}
    assert len({line[2] for line in home.truth()}) == len(tasks)
    assert home.state()["completed"] == tasks
    assert [line["seq"] for line in home.journal()] == list(range(1, home.state()["seq"] + 1))


@pytest.mark.timeout(3600)
def test_a_kick_that_arrives_while_a_beat_stands_still_is_not_lost(home: Home) -> None:
    """The agent ends, its supervisor finds the lock held: its holder looks again, without any other beat (SPEC 6.5)."""
    tasks = kick_while_a_beat_stands_still(home, rounds(1, 25), in_delivery=False)

    assert (home.begun(), home.state()["completed"]) == (tasks, tasks)


def test_a_kick_that_arrives_while_a_delivery_stands_still_is_not_lost(home: Home) -> None:
    """A delivery holds the same lock, so who delivers looks once more at the mark before it exits (SPEC 6.2, 6.5)."""
    tasks = kick_while_a_beat_stands_still(home, rounds(1, 25), in_delivery=True)

    assert (home.begun(), home.state()["completed"]) == (tasks, tasks)


def test_a_kick_that_arrives_while_a_supervisor_delivers_is_not_lost(home: Home) -> None:
    """A supervisor's last beat is followed by a delivery too, which holds the lock (SPEC 6.2, 6.5)."""
    home.queue()
    supervisor = home.wait_for(lambda: stopped_in_its_delivery(home))
    home.spec("last")
    home.edit(lambda state: add(home, state, "last"))

    assert home.heartbeat() == Done(0, "", "")
    kill(supervisor, signal.SIGCONT, str(home.root))

    home.wait_for(lambda: "last" in home.state()["completed"], seconds=10)


def add(home: Home, state: dict[str, Any], task: str) -> None:
    state["queue"].append(task)
    state["specFiles"][task] = str(home.root / f"SPRINT_{task}_SPEC.md")


def stopped_in_its_delivery(home: Home) -> int | None:
    """Do one more task; its supervisor, stopped while it delivers and holds the state lock. None where it was quicker."""
    task = f"T{len(home.state()['completed'])}"
    go = home.root / f"go-{task}"
    home.spec(task, home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.edit(lambda state: add(home, state, task))
    home.beat()
    [supervisor] = home.wait_for(home.supervisors)
    go.touch()
    while is_running(supervisor):
        if is_there(home, supervisor, in_delivery=True):
            kill(supervisor, signal.SIGSTOP, str(home.root))
            if is_there(home, supervisor, in_delivery=True):
                return supervisor
            kill(supervisor, signal.SIGCONT, str(home.root))
        os.sched_yield()
    return None


def kick_while_a_beat_stands_still(home: Home, count: int, *, in_delivery: bool) -> list[str]:
    """Let `count` attempts end while a stopped beat holds the lock. No beat but the first is begun to go on."""
    chance = random.Random(5)
    if in_delivery:  # so that there is always something to deliver
        home.config((home.path / "awm.toml").read_text() + '[notify]\ncommand = ["false"]\n')
    tasks = [f"T{number}" for number in range(count + 1)]
    for task in tasks:
        go = home.root / f"go-{task}"
        home.spec(task, home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.queue(*tasks)
    home.beat()
    for task in tasks[:-1]:
        home.wait_for(lambda task=task: home.begun()[-1:] == [task], seconds=10)
        beat = stand_still_in_the_lock(home, chance, in_delivery=in_delivery)
        (home.root / f"go-{task}").touch()
        home.wait_for(home.mark_path.exists)
        home.wait_for(lambda beat=beat: set(home.processes()) == {beat.pid})  # the kick gave up
        beat.send_signal(signal.SIGCONT)
        assert beat.communicate(timeout=PATIENCE_SECONDS)[1] == ""
    (home.root / f"go-{tasks[-1]}").touch()
    home.wait_for(lambda: home.is_idle, seconds=10)
    return tasks


def stand_still_in_the_lock(home: Home, chance: random.Random, *, in_delivery: bool) -> subprocess.Popen[str]:
    """A beat that was stopped by SIGSTOP somewhere between taking and releasing the state lock."""
    while True:
        beat = home.begin_beat()
        while beat.poll() is None and not is_there(home, beat.pid, in_delivery=in_delivery):
            os.sched_yield()  # the lock is held for some milliseconds only
        if not in_delivery:
            select.select((), (), (), chance.uniform(0, 0.005))
        beat.send_signal(signal.SIGSTOP)
        if is_there(home, beat.pid, in_delivery=in_delivery):
            return beat
        beat.send_signal(signal.SIGCONT)
        beat.communicate(timeout=PATIENCE_SECONDS)


def is_there(home: Home, pid: int, *, in_delivery: bool) -> bool:
    """Whether this process holds the state lock, for a beat or for a delivery."""
    delivers = lock_holder(home.state_path.with_name("outbox.lock")) == pid
    return delivers is in_delivery and lock_holder(home.lock_path) == pid


def test_an_edit_made_while_a_beat_is_at_work_is_not_overwritten(home: Home) -> None:
    """The beat looks again before it replaces the file, and takes the person's word first (SPEC 4.6)."""
    chance = random.Random(7)
    for task in ("S1", "S2"):
        home.spec(task)
    home.queue("S1")
    beat = stand_still_in_the_lock(home, chance, in_delivery=False)

    home.edit(lambda state: (add(home, state, "S2"), state.update(mine="kept")))
    beat.send_signal(signal.SIGCONT)
    beat.communicate(timeout=PATIENCE_SECONDS)
    home.wait_for(lambda: len(home.begun()) == 2, beat_every=0.3)

    state = home.finish()
    assert (state["completed"], state["mine"], home.begun()) == (["S1", "S2"], "kept", ["S1", "S2"])


def test_an_agent_that_beats_its_own_home_does_no_harm(home: Home) -> None:
    """From inside, with AWM's variables and without: nothing starts twice, nothing is swept with it (SPEC 6.4, 15.1)."""
    beat = f"{sys.executable} {REPOSITORY}/heartbeat.py --home {home.path}"
    for task in ("S1", "S2", "S3"):
        home.spec(
            task, home.work(f"{beat} > /dev/null; env -i PATH=$PATH HOME=$HOME {beat} > /dev/null & {beat} > /dev/null")
        )
    home.queue("S1", "S2", "S3")

    state = home.finish()

    assert (home.begun(), state["completed"]) == (["S1", "S2", "S3"],) * 2
    assert {result["outcome"] for result in home.results()} == {"succeeded"}


def test_a_slow_channel_gets_every_notice_once_however_quick_the_tasks_are(home: Home) -> None:
    """A delivery outlives the attempt it was begun beside, and is not swept with the next (SPEC 12.2, 15.11)."""
    sink = home.root / "ids"
    program = home.agent(
        f'line=$(cat); echo "$line" | grep -o \'"id": "n[0-9]*"\' >> {sink}; case $line in *COMPLETE*) sleep 0.7; esac',
        "channel",
    )
    home.config((home.path / "awm.toml").read_text() + f'[notify]\ncommand = ["{program}"]\n')
    tasks = [f"T{number}" for number in range(4)]
    for task in tasks:
        home.spec(task, home.work("sleep 0.1"))
    home.queue(*tasks)

    state = home.finish()

    assert (state["completed"], home.begun()) == (tasks, tasks)
    ids = sink.read_text().splitlines()  # nine, and a "still running" on a busy machine
    assert ids == [f'"id": "n{number}"' for number in range(1, len(ids) + 1)]
    assert len(ids) >= 9


def test_a_beat_that_finds_another_at_work_leaves_a_mark_and_says_nothing(home: Home) -> None:
    """Exit 0: the other one looks again (SPEC 6.3, 6.5)."""
    home.spec("S1")
    home.queue("S1")
    with holding(home):
        done = home.heartbeat()

    assert (done, home.mark_path.exists(), home.truth()) == (Done(0, "", ""), True, [])
    home.finish()
    assert (home.begun(), home.mark_path.exists()) == (["S1"], False)


def test_a_beat_that_can_neither_have_nor_mark_the_lock_exits_with_75(home: Home) -> None:
    """So that whoever beats knows that its news may not have been seen (SPEC 6.3)."""
    home.spec("S1")
    home.queue("S1")
    home.mark_path.symlink_to("nowhere/at-all")
    with holding(home):
        done = home.heartbeat()

    message = f"awm: the lock of {home.path / 'state'} is held, and no mark can be left there\n"
    assert (done, home.truth()) == (Done(75, "", message), [])
