"""Beats that overlap do no harm, and no kick is lost (SPEC 6.3, 6.4, 6.5, 8.1, 15.2)."""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from home import PATIENCE_SECONDS, Done, Home, lock_holder, rounds


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


def test_four_beats_at_once_start_no_attempt_twice(home: Home) -> None:
    """A hundred times over: each number begins once, in order, and every exit code is 0 or 75 (SPEC 6.3, 8.1)."""
    count = rounds(8, 100)
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


def test_a_kick_that_arrives_while_a_beat_stands_still_is_not_lost(home: Home) -> None:
    """The agent ends, its supervisor finds the lock held: whoever holds it looks again, without any other beat (SPEC 6.5)."""
    count = rounds(3, 25)
    chance = random.Random(5)
    tasks = [f"T{number}" for number in range(count + 1)]
    for task in tasks:
        go = home.root / f"go-{task}"
        home.spec(task, home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.queue(*tasks)
    home.beat()

    for task in tasks[:-1]:
        home.wait_for(lambda task=task: home.begun()[-1:] == [task])
        beat = stand_still_in_the_lock(home, chance)
        (home.root / f"go-{task}").touch()
        home.wait_for(lambda: not home.supervisors() and home.mark_path.exists())
        home.wait_for(lambda: set(home.processes()) == {beat.pid})  # the kick gave up
        beat.send_signal(signal.SIGCONT)
        assert beat.communicate(timeout=PATIENCE_SECONDS)[1] == ""

    (home.root / f"go-{tasks[-1]}").touch()
    home.wait_for(lambda: home.is_idle)
    assert (home.begun(), home.state()["completed"]) == (tasks, tasks)


def stand_still_in_the_lock(home: Home, chance: random.Random) -> subprocess.Popen[str]:
    """A beat that was stopped by SIGSTOP somewhere between taking and releasing the state lock."""
    while True:
        beat = home.begin_beat()
        while lock_holder(home.lock_path) != beat.pid and beat.poll() is None:
            os.sched_yield()  # the lock is held for some milliseconds only
        select.select((), (), (), chance.uniform(0, 0.005))
        beat.send_signal(signal.SIGSTOP)
        if lock_holder(home.lock_path) == beat.pid:
            return beat
        beat.send_signal(signal.SIGCONT)
        beat.communicate(timeout=PATIENCE_SECONDS)


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
