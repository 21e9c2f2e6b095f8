"""What holds whatever happens, in any order (SPEC 15): random histories of agents, clocks and people, and then a calm.

The guarantees that are checked before each save hold after every single row here; and each of them is seen to be caught.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from build import (
    CANNOT_LOOK,
    HEALTHY,
    LOCAL,
    NOW,
    OPUS,
    POLICY,
    SPEC,
    advised,
    attempt,
    by_hand,
    closed,
    entry,
    exited,
    later,
    live,
    project,
    read,
    seen_live,
    seen_loop,
    seen_queued,
    spent,
    working,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from loop import Loop

from awm_loop import beat
from awm_loop.cli import steering
from awm_loop.core import choice, projects
from awm_loop.core.machine import TABLE
from awm_loop.core.model import (
    Advised,
    Deadline,
    Instant,
    Launch,
    Outcome,
    Phase,
    Policy,
    Reset,
    Spec,
    Stop,
    StopReason,
    Task,
    Work,
)
from awm_loop.core.observation import Alive, AttemptSeen, Call, Exited, Limit, NotStarted, SpecBad, Starting, Unattended
from awm_loop.core.project import DEFAULT_PROJECT, Bounds, Priority, ProjectStatus, Use
from awm_loop.errors import AwmError
from awm_loop.store import guarantee

LIVE = (Phase.LAUNCHING, Phase.RUNNING, Phase.STOPPING, Phase.ENDED)
TERMINAL = ("completed", "failed", "skipped")
RULES = replace(POLICY, retries_max=1, strikes_max=2, reboots_max=1, launches_max=2, backoff_seconds=(0.0, 60.0))
BOUNDS = st.builds(
    lambda attempts, minutes, is_hard: Bounds(by_day=Use(attempts=attempts, minutes=minutes), is_hard=is_hard),
    st.sampled_from([None, None, 0, 1, 2]),
    st.sampled_from([None, None, 10.0]),
    st.booleans(),
)
PROJECTS = st.builds(
    lambda status, most, own, api: {
        "web": project("web", status=status, max_parallel=most, bounds=own),
        "api": project("api", bounds=api, depends=("web",) if most == 1 else ()),
    },
    st.sampled_from([ProjectStatus.ACTIVE, ProjectStatus.ACTIVE, ProjectStatus.PAUSED, ProjectStatus.COMPLETED]),
    st.sampled_from([0, 0, 1]),
    BOUNDS,
    BOUNDS,
)
POLICIES = st.builds(
    lambda overtake, retry, parallel, isolation, analyst, reset_after, projects, bounds: replace(
        RULES,
        projects=projects,
        bounds=bounds,
        allow_overtake=overtake,
        retry_on_limit=retry,
        max_parallel=parallel,
        isolation=isolation,
        analysis_agent=analyst,
        reset_after=reset_after,
    ),
    st.booleans(),
    st.booleans(),
    st.integers(min_value=1, max_value=3),
    st.sampled_from(["auto", "auto", "in-place"]),
    st.sampled_from(["", "opus"]),
    st.sampled_from([0, 1, 2]),
    st.just({}) | PROJECTS,
    BOUNDS,
)
SPECS: tuple[Spec | SpecBad, ...] = (
    SPEC,
    replace(SPEC, estimate_minutes=12.0),
    replace(SPEC, model="opus"),
    replace(SPEC, has_script=True, model="local"),
    replace(SPEC, model="nobody"),
    replace(SPEC, isolation="in-place"),
    replace(SPEC, depends=("S1",)),
    replace(SPEC, depends=("S2", "S3")),
    replace(SPEC, depends=("T9",)),
    SpecBad(reason="empty"),
)
OF = st.dictionaries(
    st.sampled_from([f"S{n}" for n in range(1, 6)]), st.sampled_from(["web", "api", "gone"]), max_size=4
)
CALLS = st.builds(
    lambda number, trigger, overlap, why: Call(
        trigger=trigger,
        key=f"k{number}",
        task=f"{trigger or 'hook'}-k{number}",
        project="web" if number % 2 else "default",
        spec_path="/specs/n.md",
        may_overlap=overlap,
        missed="late" if why == "missed" else "",
        problem="no spec" if why == "problem" else "",
    ),
    st.integers(min_value=1, max_value=9),
    st.sampled_from(["", "nightly", "docs"]),
    st.booleans(),
    st.sampled_from(["", "", "", "missed", "problem"]),
)


def limited(seconds: float | None) -> Exited:
    resets_at = None if seconds is None else NOW.wall + timedelta(seconds=seconds)
    return exited(Outcome.LIMITED, limit=Limit(resets_at=resets_at, source="test"))


LIMITS = st.one_of(st.none(), st.floats(min_value=-1e6, max_value=1e9)).map(limited)
ENDS = st.builds(
    lambda outcome, share, action: exited(outcome, context_share=share, advice=advised(action).result.advice),
    st.sampled_from(list(Outcome)),
    st.sampled_from([None, None, 0.84, 0.85]),
    st.sampled_from(list(Advised)),
)
ALIVE = st.builds(
    Alive,
    idle_seconds=st.sampled_from([0.0, 0.0, 899.9, 900.0]),
    busy_seconds=st.sampled_from([0.0, 0.0, 900.0, 3_600.0]),
    running_seconds=st.sampled_from([0.0, 1_440.0, 9_000.0]),
)
OTHERS = st.sampled_from([CANNOT_LOOK, NotStarted(), Starting(), Unattended()])
SEEN = st.sampled_from([ALIVE] * 5 + [ENDS] * 3 + [LIMITS, OTHERS]).flatmap(lambda kind: kind)
SOME_TASK = st.integers(min_value=1, max_value=6).map("S{}".format)


def waits(now: Instant, seconds: float, jump: float) -> Instant:
    """Time passes, and the wall clock is set to something else."""
    passed = later(seconds, now)
    return replace(passed, wall=passed.wall + timedelta(seconds=jump))


def restarts(now: Instant, uptime: float, moved: float) -> Instant:
    """Another boot, whose number is in its id, and a wall clock that may be anything."""
    number = int(now.boot_id.split()[1]) + 1
    return Instant(wall=now.wall + timedelta(seconds=moved), boottime=uptime, boot_id=f"boot {number}")


TIME = st.one_of(
    st.builds(
        lambda seconds, jump: lambda now: waits(now, seconds, jump),
        st.sampled_from([0.0, 1.0, 60.0, 3_600.0, 700_000.0]),
        st.sampled_from([0.0, 0.0, 3_600.0, -86_400.0]),
    ),
    st.builds(
        lambda uptime, moved: lambda now: restarts(now, uptime, moved),
        st.floats(min_value=1.0, max_value=1e5),
        st.floats(min_value=-1e6, max_value=1e6),
    ),
)


def opens_accounts(work: Work, now: Instant) -> Work:
    accounts = {name: replace(account, deadline=None) for name, account in work.accounts.items()}
    return steering.note(replace(work, accounts=accounts), now, "opened by hand")


def queues(work: Work, task: str) -> Work:
    """A task written into the queue of the file."""
    return replace(work, queue=(*work.queue, task)) if steering.whereabouts(work, task) is None else work


def takes_back(work: Work, task: str, stop: StopReason, before: str) -> Work:
    """What a merge makes of a live task that was removed, or re-queued, by hand; nothing of one that is not live."""
    return by_hand(work, stop, before=before, task=task)


PERSON: st.SearchStrategy[Callable[[Work, Instant], Work]] = st.one_of(
    st.sampled_from([steering.pause, steering.resume, steering.resume, steering.stop, opens_accounts]),
    SOME_TASK.map(lambda task: lambda work, now: steering.retry(work, task, now)),
    SOME_TASK.map(lambda task: lambda work, now: steering.skip(work, task, "by hand", now)),
    st.builds(
        lambda task, priority: (
            lambda work, now: steering.add(work, Task(id=task, priority=priority), f"{task}.md", DEFAULT_PROJECT, now)
        ),
        SOME_TASK,
        st.sampled_from(list(Priority)),
    ),
    SOME_TASK.map(lambda task: lambda work, _: queues(work, task)),
    st.builds(
        lambda task, stop, before: lambda work, _: takes_back(work, task, stop, before),
        SOME_TASK,
        st.sampled_from([StopReason.REMOVED, StopReason.REQUEUED]),
        SOME_TASK,
    ),
)


def now_and_then(what: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([False, False, False, True]).flatmap(lambda is_so: what if is_so else st.none())


# What passes before a beat, what a person does then, and what the beat sees of attempts with an even and an odd number.
EVENTS = st.lists(
    st.tuples(now_and_then(TIME), now_and_then(PERSON), now_and_then(CALLS), SEEN, SEEN), min_size=12, max_size=40
)


def edited(work: Work, change: Callable[[Work, Instant], Work], now: Instant) -> Work:
    """A person's command, which may be refused."""
    try:
        return change(work, now)
    except AwmError:
        return work


def happens(loop: Loop, even: AttemptSeen, odd: AttemptSeen) -> list[Work]:
    """Every state on the way through one beat."""
    loop.seen = {one.task: odd if one.number % 2 else even for one in loop.work.attempts}
    foreseen = beat.run(loop.ports, dry_run=True).steps
    steps = loop.steps(loop.seen)
    assert steps == foreseen, "the same input gave another output"
    return [*(step.work for step in steps), loop.work]


def holds(before: Work, after: Work, loop: Loop) -> None:
    """The laws of one transition, beside the guarantees that are checked before each save."""
    policy = loop.policy
    assert guarantee.broken(before, after) is None
    new = [one for one in after.log if one.seq > before.seq]
    assert not after.log or [one.seq for one in new] == list(range(before.seq + 1, after.seq + 1))
    is_by_hand = any(one.what not in guarantee.ROWS for one in new)
    for name in TERMINAL:
        then, now = getattr(before, name), getattr(after, name)
        assert is_by_hand or now[: len(then)] == then
    for task_id, known in after.tasks.items():
        task = before.task(task_id)
        if not is_by_hand:
            assert known.strikes >= task.strikes
            assert known.tries >= task.tries
            assert known.reboots >= task.reboots
            assert known.attempts >= task.attempts
            assert task.verify in {None, known.verify}
            assert (task.analysis, known.analysis) not in {("done", "due"), ("done", ""), ("due", "")}
    started = {one.key for one in after.attempts} - {one.key for one in before.attempts}
    for one in (one for one in after.attempts if one.key in started):
        assert projects.shut(before, one.project_id, loop.now, policy) == ""
        assert all(projects.overspent(before, name, policy) == "" for name in (one.project_id, projects.ALL))
        assert {*after.task(one.task).depends} <= {*before.completed}
    assert after.next_attempt == before.next_attempt + len(started)
    assert not started or (len(after.attempts) <= policy.max_parallel and not choice.reset_due(before, policy))
    assert not (started and before.reset)
    alone = {one.project for one in after.attempts if not one.is_worktree}
    assert all(sum(one.project == path for one in after.attempts) == 1 for path in alone)
    ids = [int(notice.id[1:]) for notice in after.outbox]
    assert ids == sorted(set(ids))
    assert all(number < after.next_notice for number in ids)
    unsaid = replace(after, attempts=before.attempts, pending=None, log=())  # a stop asked again, a promise proved
    assert after.seq > before.seq or unsaid == replace(before, pending=None, log=())


@pytest.mark.timeout(600)
@settings(max_examples=150, deadline=None)
@given(EVENTS, st.lists(st.sampled_from(SPECS), min_size=6, max_size=6), POLICIES, OF)
def test_the_guarantees_hold_through_any_history_and_a_calm_ends_it(
    events: list[tuple[Any, ...]], specs: list[Spec | SpecBad], policy: Policy, of: dict[str, str]
) -> None:
    """SPEC 15.1-8, 15.10, 15.13, 15.15: after every row; and once faults end, every accepted task reaches an end."""
    loop = Loop(working("S1", "S2", "S3", "S4", "S5", project_of=of), policy)
    loop.specs = dict(zip([f"S{number}" for number in range(1, 7)], specs, strict=True))
    offered: dict[str, Call] = {}
    for time, person, call, even, odd in events:
        loop.now = time(loop.now) if time else loop.now
        if person:
            before, loop.work = loop.work, edited(loop.work, person, loop.now)
            assert guarantee.broken(before, loop.work) is None
        if call and call.task not in offered:
            offered[call.task] = call
            loop.calls.append(call)
        loop.policy = replace(policy, today=loop.now.wall.date().isoformat())
        follows(loop, even, odd)
    calm(loop)
    assert {one.task for one in loop.taken} == {*offered}
    fired = [one.task for one in loop.journal if one.what == "armed called -> fired"]
    passed = [one.task for one in loop.journal if one.what.endswith("-> passed")]
    assert sorted([*fired, *passed]) == sorted(offered)


def follows(loop: Loop, even: AttemptSeen, odd: AttemptSeen) -> None:
    before = loop.work
    for after in happens(loop, even, odd):
        holds(before, after, loop)
        before = after


def calm(loop: Loop) -> None:
    """Nobody pauses, no agent is off, all succeed, and time goes on: the queue drains in some beats for each task.

    Who waits for a blocked one waits on.
    """
    loop.policy = replace(
        loop.policy, projects={name: project(name) for name in ("web", "api", "gone")}, bounds=Bounds()
    )
    work = loop.work
    accepted = {*work.queue, *(one.task for one in work.attempts), *work.completed, *work.failed}
    loop.work = replace(steering.resume(work, loop.now), agents_off={})
    for _ in range(6 * len(accepted) + 9 + 6 * len(loop.calls)):
        loop.now = later(700_000.0, loop.now)
        follows(loop, exited(Outcome.SUCCEEDED), exited(Outcome.SUCCEEDED))
    work = loop.work
    assert not work.attempts
    assert work.phase is Phase.IDLE or (work.phase is Phase.WORKING and work.queue)  # who waits may be known by specs
    for task in work.queue:  # a beat that only waits keeps nothing of what it learnt
        spec = loop.specs[task]
        work = choice.learnt(work, {task: spec}, loop.policy) if isinstance(spec, Spec) else work
    waits = projects.waits(work)
    assert all(waits[task] == "" and {*work.task(task).depends} & {*work.queue, *work.blocked} for task in work.queue)
    assert not work.queue or work.blocked
    assert accepted <= {*work.completed, *work.failed, *work.skipped, *work.blocked, *work.queue}


OBSERVATIONS: tuple[AttemptSeen, ...] = (
    CANNOT_LOOK,
    NotStarted(),
    Starting(),
    Unattended(),
    HEALTHY,
    Alive(idle_seconds=900.0, busy_seconds=0.0, running_seconds=0.0),
    Alive(idle_seconds=0.0, busy_seconds=0.0, running_seconds=9e9),
    *(exited(outcome) for outcome in Outcome),
)


@pytest.mark.parametrize("phase", LIVE)
@pytest.mark.parametrize("stop", [None, *StopReason])
def test_no_live_cell_is_missing(phase: Phase, stop: StopReason | None) -> None:
    """Whatever is seen of an attempt in whatever phase, wanted or not, analysing or not, has its row (SPEC 7.1).

    Ended is a step within a beat, which has seen the end; a file that says so is read as running.
    """
    observed = [seen for seen in OBSERVATIONS if phase is not Phase.ENDED or isinstance(seen, Exited)]
    counts = ({}, {"tries": 9, "strikes": 9, "reboots": 9}, {"strikes": 9, "analysis": "done"})
    flags = product((1, 5), counts, (True, False), (True, False), ("", "opus"))
    for launches, count, retry, is_analysis, analyst in flags:
        task, wanted = Task(id="S1", **count), {"stop": stop, "launches": launches, "is_analysis": is_analysis}
        work = replace(live(phase=phase, task=task, **wanted), accounts=closed(9, OPUS), active=retry)
        policy = replace(POLICY, retry_on_limit=retry, analysis_agent=analyst)

        assert all(seen_live(work, seen, policy=policy).row in TABLE for seen in observed)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("accounts", [{}, closed(9), closed(9) | closed(9, OPUS) | closed(9, LOCAL)])
@pytest.mark.parametrize("analysis", ["", "due", "done"])
def test_no_queued_cell_is_missing(spec: Spec | SpecBad, accounts: dict[str, object], analysis: str) -> None:
    """Whatever the spec says, whichever accounts are closed and whoever works beside it (SPEC 7.1)."""
    tasks = {"S1": Task(id="S1", analysis=analysis)}
    for beside, isolation, analyst in product(((), (attempt(),)), ("auto", "worktree"), ("", "opus")):
        work = working("S1", accounts=accounts, tasks=tasks, attempts=beside)
        policy = replace(POLICY, max_parallel=2, isolation=isolation, analysis_agent=analyst)
        for seen in (spec,) if isinstance(spec, SpecBad) else (read(spec), read(spec, head=None, branch="")):
            assert seen_queued(work, "S1", seen, policy=policy).row in TABLE


@pytest.mark.parametrize("reset", [None, Phase.RESETTING, Phase.RESUMING])
@pytest.mark.parametrize("idle_since", [None, NOW.wall])
@pytest.mark.parametrize("queue", [(), ("S2",)])
@pytest.mark.parametrize("attempts", [(), (attempt(),)])
@pytest.mark.parametrize("since_reset", [0, 3])
def test_no_cell_of_the_loop_is_missing(
    reset: Phase | None, idle_since: object, queue: tuple[str, ...], attempts: tuple[object, ...], since_reset: int
) -> None:
    """At work or at rest, with or without something to do, and in each step of a reset (SPEC 7.1)."""
    work = working(*queue, reset=reset, idle_since=idle_since, attempts=attempts, since_reset=since_reset)

    assert seen_loop(work, policy=replace(POLICY, reset_after=3)).row in TABLE


GOOD = replace(
    working("S2", "S3", completed=("S4",), failed=("S5",), skipped=("S6",), blocked=("S7",)),
    attempts=(attempt(),),
    tasks={"S1": Task(id="S1", strikes=1), "S2": Task(id="S2", strikes=2), "S5": Task(id="S5", strikes=2)},
    next_attempt=2,
    next_notice=4,
    seq=9,
)
RESTING = replace(GOOD, attempts=(), queue=("S1", "S2", "S3"))
STARTED = replace(
    GOOD, attempts=(attempt(number=2),), next_attempt=3, pending=Launch(key=attempt(number=2).key), tasks=RESTING.tasks
)
UNSTRUCK = replace(GOOD, tasks={})
BESIDE = replace(attempt(task="S2", number=2), workspace="/worktrees/S2", is_worktree=True)
BOTH = replace(GOOD, queue=("S3",), attempts=(attempt(), BESIDE), next_attempt=3, pending=Launch(key=BESIDE.key))
RESETTING = replace(RESTING, reset=Phase.RESETTING, pending=Reset(key="reset.9"))
AFTER_S4 = RESTING.tasks | {"S1": Task(id="S1", strikes=1, depends=("S4",))}
AFTER_S5 = RESTING.tasks | {"S1": Task(id="S1", strikes=1, depends=("S4", "S5"))}
WITHDRAWN = entry(10, "ended withdrawn -> removed")
RETRIED = entry(10, "retried, was in completed", task="S4", attempt=None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (GOOD, GOOD),
        (RESTING, STARTED),
        (GOOD, replace(GOOD, pending=Stop(key=attempt().key, why="stalled"))),
        (GOOD, replace(GOOD, attempts=(), completed=("S4", "S1"), tasks={})),
        (GOOD, replace(GOOD, queue=("S4", "S2", "S3"), completed=(), seq=10, log=(RETRIED,))),
        (
            GOOD,
            replace(
                GOOD,
                tasks={**GOOD.tasks, "S2": Task(id="S2")},
                seq=10,
                log=(replace(RETRIED, task="S2", attempt=None),),
            ),
        ),
        (GOOD, replace(GOOD, queue=("S2", "S3", "S8"))),
        (GOOD, BOTH),
        (UNSTRUCK, replace(UNSTRUCK, attempts=(), seq=10, log=(WITHDRAWN,))),
        (RESTING, RESETTING),
        (replace(RESETTING, pending=None), replace(RESETTING, pending=None, reset=Phase.RESUMING, since_reset=0)),
        (replace(RESTING, tasks=AFTER_S4), replace(STARTED, tasks=AFTER_S4, spent=spent(attempts=1))),
        (replace(GOOD, spent=spent(minutes=1.0)), replace(GOOD, spent=spent(minutes=1.5, tokens=3))),
    ],
    ids=[
        "nothing",
        "a start",
        "a stop",
        "a success",
        "a retry",
        "a retry in the queue",
        "a new task",
        "a worktree beside it",
        "a removal",
        "a reset",
        "its end",
        "a start after what it depends on",
        "a ledger that grows",
    ],
)
def test_what_is_allowed_breaks_no_guarantee(before: Work, after: Work) -> None:
    """The states that the next test spoils are good as they are (SPEC 15)."""
    if after.completed == ("S4", "S1"):
        before = replace(before, tasks={"S1": Task(id="S1", strikes=1)})

    assert guarantee.broken(before, after) is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (GOOD, replace(GOOD, queue=("S1", "S2", "S3")), "4.3: a task stands in two places"),
        (GOOD, replace(GOOD, queue=("S2", "S2", "S3")), "4.3: a task stands in two places"),
        (GOOD, replace(GOOD, blocked=("S7", "S4")), "4.3: a task stands in two places"),
        (GOOD, replace(GOOD, queue=("S2",)), "4.3: lost ['S3']"),
        (GOOD, replace(GOOD, attempts=()), "4.3: lost ['S1']"),
        (GOOD, replace(GOOD, blocked=()), "4.3: lost ['S7']"),
        (
            GOOD,
            replace(GOOD, queue=("S3",), attempts=(attempt(), attempt(task="S2", number=2)), next_attempt=3),
            "1: two live attempts in one workspace",
        ),
        (GOOD, replace(GOOD, attempts=(attempt(), replace(BESIDE, task="S1"))), "4.3: a task stands in two places"),
        (GOOD, replace(UNSTRUCK, attempts=(), seq=10, log=(replace(WITHDRAWN, task="S2"),)), "4.3: lost ['S1']"),
        (
            GOOD,
            replace(UNSTRUCK, attempts=(), seq=10, log=(entry(10, "ended succeeded -> completed"),)),
            "4.3: lost ['S1']",
        ),
        (GOOD, replace(GOOD, reset=Phase.RESETTING), "13: a reset while an attempt is live"),
        (RESTING, replace(STARTED, reset=Phase.RESETTING), "13: a reset while an attempt is live"),
        (GOOD, replace(GOOD, next_attempt=1), "2: a counter went back"),
        (GOOD, replace(GOOD, next_notice=3), "2: a counter went back"),
        (GOOD, replace(GOOD, seq=8), "2: a counter went back"),
        (RESTING, replace(STARTED, next_attempt=2), "2: an attempt number is not new"),
        (
            RESTING,
            replace(STARTED, attempts=(attempt(number=1),), pending=Launch(key=attempt().key)),
            "2: an attempt number is not new",
        ),
        (GOOD, replace(GOOD, completed=(), queue=("S2", "S3", "S4")), "3: ['S4'] left a list of what is over"),
        (GOOD, replace(GOOD, failed=(), queue=("S2", "S3", "S5")), "3: ['S5'] left a list of what is over"),
        (GOOD, replace(GOOD, skipped=(), failed=("S5", "S6")), "3: ['S6'] left a list of what is over"),
        (GOOD, replace(GOOD, pending=Launch(key=attempt(number=7).key)), "4: an effect on no live attempt"),
        (RESTING, replace(STARTED, pending=None), "4: a start without its promise"),
        (
            RESTING,
            replace(STARTED, pending=Stop(key=attempt(number=2).key, why="operator")),
            "4: a start without its promise",
        ),
        (GOOD, replace(GOOD, tasks={**GOOD.tasks, "S2": Task(id="S2", strikes=1)}), "5: strikes of ['S2'] fell"),
        (GOOD, replace(GOOD, tasks={"S1": GOOD.tasks["S1"], "S2": GOOD.tasks["S2"]}), "5: strikes of ['S5'] fell"),
        (replace(RESTING, active=False), replace(STARTED, active=False), "6: a start while paused"),
        (replace(RESTING, accounts=closed(9)), replace(STARTED, accounts=closed(9)), "6: a start on a closed account"),
        (RESTING, replace(STARTED, closed={"default": "its budget"}), "6: a start in a closed project"),
        (RESTING, replace(STARTED, closed={"": "its budget"}), "6: a start in a closed project"),
        (RESTING, replace(STARTED, tasks=AFTER_S5), "6: a start before what it depends on"),
        (replace(GOOD, next_proposal=2), GOOD, "2: a counter went back"),
        (
            replace(GOOD, spent=spent(tokens=2)),
            replace(GOOD, spent=spent(tokens=1)),
            "13: the ledger of ['default'] fell",
        ),
        (replace(GOOD, spent=spent("web", minutes=2.0)), GOOD, "13: the ledger of ['web'] fell"),
        (GOOD, replace(GOOD, queue=("S3",), completed=("S4", "S2")), "7: completed without an attempt"),
        (GOOD, replace(GOOD, seq=10), "10: the journal's sequence has a gap"),
        (GOOD, replace(GOOD, seq=11, log=(replace(RETRIED, seq=11),)), "10: the journal's sequence has a gap"),
        (GOOD, replace(GOOD, seq=10, log=(RETRIED, RETRIED)), "10: the journal's sequence has a gap"),
    ],
)
def test_each_guarantee_is_caught(before: Work, after: Work, words: str) -> None:
    """A state that breaks one is named, and so is not saved (SPEC 15)."""
    assert guarantee.broken(before, after) == words


def test_a_row_is_no_persons_word() -> None:
    """Only what is journalled and no row may take a task out of a list of what is over (SPEC 15.3)."""
    row = entry(10, "ended worth_retry -> queued", task="S4")

    after = replace(GOOD, queue=("S4", "S2", "S3"), completed=(), seq=10, log=(row,))

    assert guarantee.broken(GOOD, after) == "3: ['S4'] left a list of what is over"


def test_a_beat_in_which_nothing_is_due_has_no_row() -> None:
    """It would write nothing (SPEC 6.4)."""
    waiting = working("S1", "S2", tasks={"S1": Task(id="S1", not_before=Deadline.after(9, NOW))})

    for work, seen in ((waiting, CANNOT_LOOK), (live("S2"), HEALTHY), (live("S2"), CANNOT_LOOK)):
        loop = Loop(work)
        assert (loop.beat(seen), loop.states) == ([], [])
