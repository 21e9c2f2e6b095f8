"""Calls of triggers: each is queued once or let pass, whatever is killed where (SPEC 13.2, 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from build import NOW, POLICY, exited, later, live, seen_call, working
from hypothesis import given
from hypothesis import strategies as st
from loop import Killed, Loop
from project_stories import call

from awm_loop.core.machine import Signal, classify_call
from awm_loop.core.model import Outcome, Work
from awm_loop.core.observation import Call
from awm_loop.core.project import Fired

SUCCESS = exited(Outcome.SUCCEEDED)
FIRED, OVERLAPPING = "armed called -> fired", "armed overlapping -> passed"
MISSED, BROKEN = "armed missed -> passed", "armed broken -> passed"


def last(key: str, task: str) -> dict[str, Fired]:
    return {"nightly": Fired(key=key, task=task, at=NOW.wall)}


def running(key: str) -> Work:
    """S1 is live, and `nightly` queued it."""
    return replace(live(), fired=last(key, "S1"))


@pytest.mark.parametrize(
    ("work", "offered", "signal"),
    [
        (working(), call("1"), Signal.CALLED),
        (working(fired=last("1", "x")), call("1"), None),
        (working(fired=last("1", "x")), call("1", problem="gone"), None),
        (working(fired=last("0", "x")), call("1"), Signal.CALLED),
        (working("x", fired=last("0", "x")), call("1"), Signal.OVERLAPPING),
        (working("x", fired=last("0", "x")), call("1", may_overlap=True), Signal.CALLED),
        (working("x", fired=last("0", "x")), call("1", trigger="other"), Signal.CALLED),
        (running("0"), call("1"), Signal.OVERLAPPING),
        (running("0"), call("1", may_overlap=True), Signal.CALLED),
        (working(blocked=("x",), fired=last("0", "x")), call("1"), Signal.CALLED),
        (working("nightly-1"), call("1", may_overlap=True), Signal.OVERLAPPING),
        (working(completed=("nightly-1",)), call("1"), Signal.OVERLAPPING),
        (working("ci-0", fired={"": Fired(key="0", task="ci-0", at=NOW.wall)}), call("1", trigger=""), Signal.CALLED),
        (working(), call("1", missed="late", problem="gone"), Signal.MISSED),
        (working("nightly-1"), call("1", problem="gone"), Signal.BROKEN),
    ],
)
def test_what_becomes_of_a_call(work: Work, offered: Call, signal: Signal | None) -> None:
    """Known by its key; its trigger's last task is over unless it is queued or live (SPEC 13.2)."""
    judged = classify_call(work, offered)

    assert (judged and judged.signal) is signal


def test_a_removed_task_is_over() -> None:
    """Its trigger fires again at the next slot, and not again for the same one (SPEC 4.6, 13.2)."""
    removed = working(fired=last("1", "nightly-1"))

    assert classify_call(removed, call("1")) is None
    step = seen_call(removed, call("2"))
    assert step is not None
    assert step.work.queue == ("nightly-2",)


def test_a_paused_loop_queues_and_starts_nothing() -> None:
    """The call is not lost; when the person resumes, it is done (SPEC 4.4)."""
    loop = Loop(working(active=False))
    loop.calls = [call("1")]

    assert loop.beat() == [FIRED]
    assert (loop.work.queue, loop.work.paused, loop.started) == (("nightly-1",), True, [])
    assert loop.taken == [call("1")]


def test_an_idle_loop_wakes() -> None:
    """In the beat that hears of it (SPEC 4.4)."""
    loop = Loop(working(active=False, idle_since=NOW.wall))
    loop.calls = [call("1")]

    assert loop.beat() == [FIRED, "idle fed -> working", "queued ready -> launching, launch"]
    assert (loop.work.active, loop.work.idle_since) == (True, None)


def test_one_call_of_a_trigger_is_taken_in_a_beat_and_another_beat_is_wanted() -> None:
    """What a trigger did last is all that is kept, so the next is heard when this one is told as taken (SPEC 13.2)."""
    loop = Loop(working(), replace(POLICY, max_parallel=1))
    loop.calls = [call("1", may_overlap=True), call("2", may_overlap=True), call("9", trigger="docs")]

    first = loop.beat()

    assert first[:2] == [FIRED, FIRED]
    assert (loop.work.queue, loop.live) == (("docs-9",), ["nightly-1"])
    assert [one.key for one in loop.taken] == ["1", "9"]
    assert loop.wants_another
    assert loop.beat() == [FIRED]
    assert ([one.key for one in loop.taken], loop.wants_another) == (["1", "9", "2"], False)


def test_a_dry_run_takes_nothing() -> None:
    """It says what it would do (SPEC 6.1)."""
    loop = Loop(working())
    loop.calls = [call("1")]

    assert loop.foreseen() == [FIRED, "queued ready -> launching, launch"]
    assert (loop.taken, loop.states) == ([], [])


def test_a_beat_that_is_told_the_same_again_writes_nothing() -> None:
    """Killed before it could say what it took (SPEC 6.4)."""
    loop = Loop(running("1"))
    loop.calls = [call("1")]

    assert (loop.beat(), loop.states, loop.taken) == ([], [], [call("1")])


OFFERED = [
    call("1"),
    call("2"),
    call("3", may_overlap=True),
    call("4", problem="its spec is gone"),
    call("5", missed="its grace is over"),
    call("1", trigger=""),
    call("2", trigger=""),
    call("3", trigger="", problem="a request that says nothing"),
    call("7", trigger="docs", project="web"),
]


def lives_through(loop: Loop, kills: Sequence[int]) -> None:
    """Beats until all is done, some of which are killed after so many deeds."""
    for kill in [*kills, *[-1] * 60]:
        loop.kill_in = kill if kill >= 0 else None
        loop.now = later(60, loop.now)
        with suppress(Killed):
            loop.beat(SUCCESS)
        loop.kill_in = None


@given(st.lists(st.integers(min_value=-1, max_value=9), max_size=25), st.permutations(OFFERED))
def test_a_kill_at_any_point_neither_loses_nor_doubles_a_call(kills: list[int], offered: list[Call]) -> None:
    """Each is queued by one row or let pass by one row; what was queued is done once; all are told (SPEC 13.2, 15.2)."""
    loop = Loop(working(project_of={}), replace(POLICY, projects={}))
    loop.calls = list(offered)

    lives_through(loop, kills)

    rows = [(one.task, one.what) for one in loop.journal if one.what.startswith("armed")]
    assert sorted(task for task, _ in rows) == sorted(one.task for one in offered)
    queued = {task for task, what in rows if what == FIRED}
    homeless = {"docs-7"}  # of a project that nobody knows: it waits
    assert {*loop.work.completed} == queued - homeless
    assert {*loop.work.queue} == queued & homeless
    started = [one.split(".")[0] for one in dict.fromkeys(loop.started)]
    assert sorted(started) == sorted(loop.work.completed)
    assert {one.task for one in loop.taken} == {one.task for one in offered}
    assert {(task, what) for task, what in rows if what in {BROKEN, MISSED}} == {
        ("nightly-4", BROKEN),
        ("nightly-5", MISSED),
        ("ci-3", BROKEN),
    }


@given(st.integers(min_value=0, max_value=12))
def test_only_what_is_saved_is_told_as_taken(kill: int) -> None:
    """A beat killed before its save says nothing (SPEC 6.2)."""
    loop = Loop(working())
    loop.calls = list(OFFERED)
    loop.kill_in = kill

    with suppress(Killed):
        loop.beat()

    for one in loop.taken:
        assert classify_call(loop.work, one) is None
