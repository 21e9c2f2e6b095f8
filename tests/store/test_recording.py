"""What a beat is told is written down whole, and leads to the same state again (SPEC 3.2, 6.4, 7.1, 15.12)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awm_loop import beat
from awm_loop.cli.replaying import difference
from awm_loop.config import RECORDING_BYTES_MAX
from awm_loop.core.estimate import Past
from awm_loop.core.model import Advised, Agent, Attempt, Instant, Outcome, Policy, Spec, Task, Work, task_key
from awm_loop.core.observation import (
    Advice,
    Alive,
    AttemptSeen,
    Call,
    Exited,
    Limit,
    NotStarted,
    ProbeFailed,
    Result,
    Site,
    SpecBad,
    Starting,
    Unattended,
)
from awm_loop.core.project import Priority
from awm_loop.errors import BadFileError
from awm_loop.ports import Ports
from awm_loop.store import recording
from awm_loop.store.recording import Heard, Record
from awm_loop.store.statefile import StateFile

GOLDEN = sorted((Path(__file__).parent.parent / "golden").glob("*.jsonl"))
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = Policy(
    retries_max=1,
    strikes_max=2,
    reboots_max=1,
    launches_max=2,
    backoff_seconds=(0.0, 60.0),
    stall_seconds=900.0,
    stall_busy_factor=4.0,
    attempt_max_seconds=7200.0,
    late_factor=2.0,
    retry_on_limit=True,
    limit_retry_seconds=900.0,
    limit_retry_max_seconds=21_600.0,
    limit_margin_seconds=60.0,
    limit_max_seconds=691_200.0,
    allow_overtake=False,
    max_parallel=1,
    isolation="auto",
    require_commit=True,
    verify="",
    gate_first=False,
    reset_after=2,
    context_share_max=0.85,
    default_agent="codex",
    analysis_agent="opus",
    agents={
        "codex": Agent(name="codex", kind="command", model="gpt", account="plus", fallback=("opus",)),
        "opus": Agent(name="opus", kind="command", model="", account="max"),
    },
    notify_user=True,
    channels=("console",),
)


def result(outcome: Outcome, **changes: Any) -> Exited:
    usual = Result(outcome=outcome, exit_code=1, started_at=START, ended_at=START, seconds=480.0)
    return Exited(result=replace(usual, **changes))


@dataclass
class World:
    """What the ports of a beat say, and what they were asked."""

    seconds: float = 0.0
    seen: AttemptSeen = field(default_factory=NotStarted)
    specs: dict[str, Spec | SpecBad] = field(default_factory=dict)
    past: tuple[Past, ...] = ()
    policy: Policy = POLICY
    worktree: str = "/home/you/worktrees"
    asked: list[str] = field(default_factory=list)

    def start(self, attempt: Attempt, task: Task) -> bool:
        self.asked.append(f"start {attempt.key}")
        return True

    def stop(self, key: str, why: str) -> None:
        self.asked.append(f"stop {key}")

    def probe(self, attempts: Sequence[Attempt]) -> Mapping[str, AttemptSeen]:
        return {one.key: self.seen for one in attempts}

    def now(self) -> Instant:
        return Instant(wall=START + timedelta(seconds=self.seconds), boottime=1000.0 + self.seconds, boot_id="boot")

    def read_spec(self, work: Work, task: str) -> Spec | SpecBad:
        self.asked.append(f"spec {task}")
        return self.specs.get(task) or Spec(path=f"/{task}.md", text="# Do it", title=f"Thing {len(self.asked)}")

    def ports(self, store: StateFile) -> Ports:
        return Ports(
            store=store,
            launcher=self,
            clock=self.now,
            policy=lambda *_: self.policy,
            read_spec=self.read_spec,
            head=lambda *_: Site("/project", "ba5e", "main"),
            worktree=lambda task: f"{self.worktree}/{task_key(task)}",
            past=lambda: self.past,
            remember=lambda _, key: self.asked.append(f"remember {key}"),
            record=lambda *_: None,
            calls=lambda *_: (),
            taken=lambda *_: None,
        )


@pytest.fixture
def store(tmp_path: Path) -> StateFile:
    """A state file in which a person queued two tasks."""
    return queued(tmp_path / "state")


def queued(directory: Path) -> StateFile:
    found = StateFile(directory, ("codex", "plus"))
    found.prepare()
    found.path.write_text(json.dumps({"queue": ["S1", "S2"], "project": "/project"}))
    return found


def live(store: StateFile, world: World) -> beat.Beat:
    """One beat, recorded."""
    return beat.run(recording.recorded(world.ports(store), store.directory))


def records(store: StateFile) -> list[Record]:
    return [record for path in recording.paths(store.directory) for record in recording.read(path)]


def lines(store: StateFile) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording.paths(store.directory)[1].read_text().splitlines()]


# Laws


def as_recorded(past: Past) -> Past:
    """How long a failure took is not kept: nobody asks."""
    return replace(past, minutes=abs(past.minutes) if past.succeeded else 0.0)


st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))  # as JSON has them
DRAWN = {
    Work: st.from_type(Work),
    Heard: st.builds(
        Heard,
        now=st.from_type(Instant),
        policy=st.from_type(Policy),
        unread=st.none() | st.lists(st.text(), max_size=3),
        probed=st.dictionaries(st.text(), st.from_type(AttemptSeen)),
        specs=st.dictionaries(st.text(), st.from_type(Spec | SpecBad)),
        heads=st.dictionaries(st.text(), st.builds(Site, st.text(), st.none() | st.text(), st.text())),
        gone=st.dictionaries(st.text(), st.tuples(st.text(), st.text())),
        calls=st.lists(st.from_type(Call), max_size=2).map(tuple),
        worktrees=st.dictionaries(st.text(), st.text()),
        past=st.none() | st.lists(st.from_type(Past).map(as_recorded), max_size=3),
    ),
}


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(before=DRAWN[Work], after=DRAWN[Work], heard=DRAWN[Heard])
def test_every_value_comes_back_from_its_line(before: Work, after: Work, heard: Heard) -> None:
    """Times, words, kinds without fields, None and mappings: what a beat was told is what its replay is told (SPEC 15.12)."""
    line = json.loads(json.dumps(recording.line_of(Record(before, heard, after))))

    found = recording.record_of(line)

    told = heard.past and sorted(heard.past, key=lambda one: (one.agent, one.type))
    again = found.heard.past and sorted(found.heard.past, key=lambda one: (one.agent, one.type))
    assert (replace(found.heard, past=again), again is None) == (replace(heard, past=told), told is None)
    assert [recording.plain(work) for work in (found.before, found.after)] == [
        recording.plain(work) for work in (before, after)
    ]
    assert (replace(found.before, pending=None), replace(found.after, pending=None)) == (
        replace(before, pending=None),
        replace(after, pending=None),
    )


SEEN: tuple[AttemptSeen, ...] = (
    NotStarted(),
    Starting(),
    Unattended(),
    ProbeFailed(reason="disk"),
    Alive(idle_seconds=0.0, busy_seconds=0.0, running_seconds=60.0),
    Alive(idle_seconds=900.0, busy_seconds=0.5, running_seconds=1e6),
    *(result(outcome, error="said no") for outcome in Outcome),
    result(Outcome.LIMITED, limit=Limit(resets_at=START + timedelta(hours=1), source="result file")),
    result(Outcome.SUCCEEDED, commits=("abc",), cost_usd=0.1, tokens={"input": 3}, context_share=0.9),
    result(Outcome.SUCCEEDED, advice=Advice(cause="a hang", action=Advised.TAKEOVER, text="do it")),
)


@dataclass(frozen=True)
class Turn:
    """What changes before one beat."""

    seen: AttemptSeen
    seconds: float
    spec: Spec | SpecBad | None
    past: tuple[Past, ...]
    is_added: bool  # a person queues a further task by hand


TURNS = st.builds(
    Turn,
    seen=st.sampled_from(SEEN),
    seconds=st.sampled_from([0.0, 0.000001, 59.9999999, 60.0, 961.0, 1e6]),
    spec=st.sampled_from(
        [
            None,
            SpecBad(reason="empty"),
            Spec(path="/x", text="", title="X", type="coding", model="opus", priority=Priority.HIGH),
        ]
    ),
    past=st.sampled_from(
        [(), (Past(agent="opus", type="coding", minutes=0.1), Past(agent="codex", type="", minutes=7))]
    ),
    is_added=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(turns=st.lists(TURNS, min_size=1, max_size=10))
def test_every_recorded_beat_replays_the_same(turns: Sequence[Turn], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever agents, clocks, specs and people do, the same inputs lead to the same state (SPEC 7.1, 15.12)."""
    store, world = queued(tmp_path_factory.mktemp("home") / "state"), World()
    decided: list[Work] = []
    for number, turn in enumerate(turns):
        world.seen, world.past = turn.seen, turn.past
        world.seconds += turn.seconds
        world.specs = {} if turn.spec is None else {"S2": turn.spec}
        if turn.is_added:
            raw = json.loads(store.path.read_bytes())
            store.path.write_text(json.dumps({**raw, "queue": [*raw["queue"], f"T{number}"]}))
        done = live(store, world)
        if done.steps:
            assert done.work is not None
            decided.append(replace(done.work, pending=None, log=()))

    found = records(store)
    assert [difference(record) for record in found] == [None] * len(found)
    left = [replace(record.after, pending=None, log=()) for record in found if record.after.log]
    assert left == decided


# What is written, and when


def test_a_beat_with_nothing_new_records_nothing(store: StateFile) -> None:
    """No row, no line (SPEC 6.4)."""
    world = World()
    live(store, world)
    world.seen = Starting()
    before = recording.paths(store.directory)[1].read_bytes()

    live(store, world)

    assert recording.paths(store.directory)[1].read_bytes() == before


def test_the_line_is_written_after_the_effect_and_before_its_proof(store: StateFile) -> None:
    """It costs nothing between two agents, and a proof that comes to nothing costs no line (SPEC 6.2)."""
    seen: list[bool] = []
    path = recording.paths(store.directory)[1]

    class Launcher(World):
        def start(self, attempt: Attempt, task: Task) -> bool:
            if not seen:
                store.path.write_text(store.path.read_text() + "\n")  # a person saves: the proof must begin again
            seen.append(path.exists())
            return True

    beat.run(recording.recorded(Launcher(seen=Starting()).ports(store), store.directory))

    assert seen == [False, True]
    first, second = records(store)
    assert [one.after.pending is not None for one in (first, second)] == [True, False]
    assert [difference(one) for one in (first, second)] == [None, None]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_question_is_asked_once_a_beat(store: StateFile) -> None:
    """A person's file makes a beat read a spec twice; what changes between is not seen, as in the replay (SPEC 15.12)."""
    world = World()

    live(store, world)

    assert world.asked[:2] == ["spec S1", "spec S2"]
    assert [one for one in world.asked if one.startswith("spec")] == ["spec S1", "spec S2"]
    [record] = records(store)
    assert {task: spec.title for task, spec in record.heard.specs.items() if isinstance(spec, Spec)} == {
        "S1": "Thing 1",
        "S2": "Thing 2",
    }


def test_a_beat_that_begins_again_asks_again(store: StateFile) -> None:
    """A person who saves under a beat may have changed the spec as well: their word first (SPEC 4.6)."""

    class Edited(World):
        def read_spec(self, work: Work, task: str) -> Spec | SpecBad:
            if not self.asked:
                store.path.write_text(store.path.read_text() + "\n")
            return super().read_spec(work, task)

    world = Edited()
    beat.run(recording.recorded(world.ports(store), store.directory))

    [record] = records(store)
    assert [one for one in world.asked if one.startswith("spec")] == ["spec S1", "spec S2"] * 2
    assert (record.after.attempts[0].title, difference(record)) == ("Thing 3", None)


def test_a_beat_under_endless_edits_does_nothing_and_says_so(store: StateFile) -> None:
    """A person's file is never overwritten; the next beat comes (SPEC 4.6)."""

    class Edited(World):
        def read_spec(self, work: Work, task: str) -> Spec | SpecBad:
            store.path.write_text(store.path.read_text() + "\n")
            return super().read_spec(work, task)

    before = store.path.read_text()

    done = live(store, Edited())

    assert (done.work, done.steps) == (None, ())
    assert done.lines == ("the state file is being edited without a pause; nothing was done",)
    assert (store.path.read_text().rstrip("\n"), records(store)) == (before.rstrip("\n"), [])


def test_the_text_of_a_spec_is_not_recorded(store: StateFile) -> None:
    """It may be a megabyte, and no row reads it (SPEC 5.1)."""
    live(store, World())

    assert "Do it" not in recording.paths(store.directory)[1].read_text()


def test_a_disk_that_refuses_costs_the_line_and_not_the_beat(store: StateFile) -> None:
    """The next beat is recorded whole, and replays without the one before it (SPEC 4.8)."""
    world, path = World(), recording.paths(store.directory)[1]
    path.mkdir()
    first = live(store, world)
    path.rmdir()
    world.seen = Alive(idle_seconds=0, busy_seconds=0, running_seconds=1)

    second = live(store, world)

    assert ([str(step.row) for step in first.steps], [str(step.row) for step in second.steps]) == (
        ["queued ready -> launching, launch"],
        ["launching alive -> running"],
    )
    assert [difference(record) for record in records(store)] == [None]


def test_a_path_that_is_not_utf_8_costs_the_line_and_not_the_beat(store: StateFile) -> None:
    """JSON cannot hold it; the loop can (SPEC 3.1)."""
    world = World(worktree=os.fsdecode(b"/home/\xff"))

    done = live(store, world)

    assert ([str(step.row) for step in done.steps], records(store)) == (["queued ready -> launching, launch"], [])


def test_a_full_recording_gives_way_to_a_new_one(store: StateFile) -> None:
    """16 MiB and as much of the older: then the older goes (SPEC 3.2)."""
    older, path = recording.paths(store.directory)
    older.write_text("the one before\n")
    path.touch()
    os.truncate(path, RECORDING_BYTES_MAX)

    live(store, World())

    assert older.stat().st_size == RECORDING_BYTES_MAX
    assert [difference(record) for record in recording.read(path)] == [None]


# What is read


def test_a_torn_last_line_is_dropped(store: StateFile) -> None:
    """What a kill left of a line was never recorded; the next beat's line does not run into it (SPEC 4.3)."""
    path = recording.paths(store.directory)[1]
    world = World()
    live(store, world)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:-1])
    assert len(records(store)) == 1

    world.seen = result(Outcome.FAILED)
    live(store, world)

    assert [difference(record) for record in records(store)] == [None, None]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{}", "'past'"),
        ("[]", "list indices must be integers or slices, not str"),
        ("{", "Expecting property name enclosed in double quotes: line 2 column 1 (char 2)"),
    ],
)
def test_a_line_that_is_no_record_is_named(store: StateFile, line: str, reason: str) -> None:
    """A file that is none of ours is refused with its line, after what was read of it (SPEC 4.7)."""
    path = recording.paths(store.directory)[1]
    live(store, World())
    with path.open("a") as file:
        file.write(f"{line}\n")

    found = recording.read(path)
    assert difference(next(found)) is None
    with pytest.raises(BadFileError) as caught:
        next(found)
    assert caught.value.message == f"{path}, line 2: is not the record of a beat: {reason}"


def test_a_record_of_another_version_replays(store: StateFile) -> None:
    """Fields that are unknown are dropped; missing ones are what they were before they existed (SPEC 3.2)."""
    world = World(policy=replace(POLICY, verify=""), seen=result(Outcome.FAILED))
    live(store, world)
    live(store, world)
    _, line = lines(store)
    for noun in (
        line,
        line["now"],
        line["before"],
        line["policy"],
        *line["before"]["attempts"],
        *line["specs"].values(),
    ):
        noun["fromTheFuture"] = {"x": 1}
    [seen] = line["probed"].values()
    seen["result"] |= {"later": [1]}
    assert "remark" not in seen["result"]
    del line["before"]["accounts"], line["before"]["channels"]

    assert difference(recording.record_of(line)) is None


def test_a_changed_answer_is_a_difference(store: StateFile) -> None:
    """What the beat would have done, at the places of the state where it shows (SPEC 15.12)."""
    live(store, World())
    [line] = lines(store)
    line["specs"]["S1"]["title"] = "Thong 1"

    found = difference(recording.record_of(line))

    assert found is not None
    assert found.rows_then == found.rows_now == ["S1 attempt 1: queued ready -> launching, launch (codex)"]
    assert found.values == {"/attempts/0/title": ("Thing 1", "Thong 1")}


def test_a_question_without_an_answer_is_a_difference(store: StateFile) -> None:
    """Today's beat asks what the recorded one did not: that is not answered from this machine (SPEC 15.12)."""
    live(store, World())
    [line] = lines(store)
    line["specs"] = {}
    line["isEdited"] = False

    found = difference(recording.record_of(line))

    assert found is not None
    assert (found.rows_now, found.values) == ([], {"(inputs)": (None, "asks what was not asked then: the spec of S1")})


def test_the_wording_of_a_notice_is_no_difference(store: StateFile) -> None:
    """It may become better; recordings outlive it. That one was sent, and of which kind, is compared (SPEC 12.1)."""
    live(store, World())
    [line] = lines(store)
    line["after"]["outbox"][0]["text"] = "It has begun."
    assert difference(recording.record_of(line)) is None
    line["after"]["outbox"][0]["kind"] = "retry"

    found = difference(recording.record_of(line))

    assert found is not None
    assert found.values == {"/outbox/0/kind": ("retry", "started")}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_recording_replays_for_ever(path: Path) -> None:
    """What a version decided, from real agents, every later one decides (`tests/e2e/test_replay.py` records them)."""
    found = list(recording.read(path))

    assert found
    assert [difference(record) for record in found] == [None] * len(found)
