"""The state file edited by hand at random moments of a run, and live tasks moved by hand (SPEC 4.6)."""

from __future__ import annotations

import json
import os
import random
import select
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from home import Home, only, rounds

State = dict[str, Any]
LISTS = ("queue", "completed", "failed", "skipped", "blocked")


def spec_path(home: Home, task: str) -> str:
    return str(home.root / f"SPRINT_{task}_SPEC.md")


def edits(home: Home) -> list[str]:
    return [line["note"] for line in home.journal() if line["what"] == "edited by hand"]


def waiting(home: Home, *tasks: str) -> None:
    """S1 runs until `go` exists, and the others wait behind it."""
    home.spec("S1", home.work(f"until [ -e {home.root}/go ]; do sleep 0.02; done"))
    for task in tasks:
        home.spec(task)
    home.queue("S1", *tasks)
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    home.beat()


# A person's story or two


def test_a_running_task_taken_out_by_hand_is_stopped_and_gone(home: Home) -> None:
    """A request to stop it, then the edit applies; no pause, no try, and the next one runs (SPEC 4.6, 7.2)."""
    waiting(home, "S2")

    home.edit(lambda state: state.update(inProgress=None))
    state = home.finish(0.2)

    assert [state[name] for name in LISTS] == [[], ["S2"], [], [], []]
    assert "S1" not in state["tasks"]
    assert (home.begun(), edits(home)) == (["S1", "S2"], ["S1 removed while it runs: asked to end"])
    assert home.rows("S1")[-1] == "ended withdrawn -> removed"


def test_a_running_task_put_back_by_hand_is_stopped_and_runs_again_in_its_new_place(home: Home) -> None:
    """Behind S2 and before S3, as the person wrote it (SPEC 4.6)."""
    waiting(home, "S2", "S3")

    home.edit(lambda state: state.update(inProgress="", queue=["S2", "S1", "S3"]))
    home.wait_for(lambda: "S2" in home.begun(), beat_every=0.2)
    (home.root / "go").touch()
    state = home.finish(0.2)

    assert (state["completed"], home.begun()) == (["S2", "S1", "S3"], ["S1", "S2", "S1", "S3"])
    assert "tries" not in state["tasks"].get("S1", {})
    assert only(edits(home)) == "S1 put back into the queue while it runs: asked to end"


def test_emptied_attempts_start_nobody_twice(home: Home) -> None:
    """What AWM keeps of a run is put back, whatever the file says (SPEC 4.6, 15.1)."""
    waiting(home, "S2")

    for empty in (
        lambda state: state.update(attempts=[], seq=0, nextAttempt=1),
        lambda state: [state.pop(key) for key in set(state) - {"rev", "queue", "inProgress", "specFiles", "project"}],
        lambda state: [state.pop(key) for key in set(state) - {"queue", "specFiles", "project"}],
        lambda state: (state.pop("rev"), state.pop("attempts"), state.update(inProgress=None, queue=["S1", "S2"])),
    ):
        home.edit(empty)
        home.beat()
        assert (home.state()["inProgress"], len(home.state()["attempts"])) == ("S1", 1)
    (home.root / "go").touch()
    state = home.finish(0.2)

    assert (state["completed"], home.begun()) == (["S1", "S2"], ["S1", "S2"])
    assert len(home.attempts()) == 2


def test_the_priority_of_a_task_added_by_hand_counts(home: Home) -> None:
    """Also where a delivery and not a beat saved the edit (SPEC 7.5)."""
    waiting(home, "S2")
    home.spec("S3", header="**Priority:** P0 — CRITICAL")

    home.edit(lambda state: (state["queue"].append("S3"), state["specFiles"].update(S3=spec_path(home, "S3"))))
    (home.root / "go").touch()
    home.finish(0.2)

    assert home.begun() == ["S1", "S3", "S2"]


def test_a_file_saved_again_after_beats_undoes_nothing(home: Home) -> None:
    """An editor open for a while: what ended stays ended, and the note in it is taken (SPEC 4.6)."""
    waiting(home, "S2")
    old = home.state()
    (home.root / "go").touch()
    before = home.finish(0.2)

    home.put(old | {"mine": "kept"})
    home.finish(0.2)
    state = home.state()

    assert (state["completed"], state["queue"], state["mine"]) == (before["completed"], [], "kept")
    assert home.begun() == ["S1", "S2"]


# A thousand edits


@dataclass
class Person:
    """Somebody who edits the file all the time, and remembers what they wanted."""

    home: Home
    chance: random.Random
    count: int = 0
    rev: int = 0
    added: list[str] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    marked: dict[str, int] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    def edit(self) -> None:
        """Read, think for a moment, and save what was made of it: by rename or in place, at once or in two pieces."""
        state = self._read()
        if state["rev"] > self.rev:  # AWM wrote it; else it is what this person left there
            ids = [task for name in LISTS for task in state[name]] + [one["task"] for one in state["attempts"]]
            assert len(ids) == len(set(ids)), f"in two places: {ids}"
            self.rev = state["rev"]
        kind = self.chance.choice(
            ("add", "add", "add", "remove", "reorder", "reorder", "option", "live", "empty", "key")
        )
        getattr(self, f"_{kind}")(state)
        self.count += 1
        state[f"edit{self.count}"] = self.count
        self._pause(0.01)
        data = json.dumps(state, indent=2).encode()
        how = self.chance.choice(("rename", "in place", "in pieces"))
        self.kinds[f"{kind}, {how}"] += 1
        if how == "rename":
            self.home.put_bytes(data)
            return
        with self.home.state_path.open("wb", buffering=0) as file:
            if how == "in pieces":
                file.write(data[: len(data) // 2])
                self._pause(0.01)
                data = data[len(data) // 2 :]
            file.write(data)

    def _read(self) -> State:
        found: State = json.loads(self.home.state_path.read_bytes())
        return found

    def _pause(self, most_seconds: float) -> None:
        select.select((), (), (), self.chance.choice((0, most_seconds)) * self.chance.random())

    def _add(self, state: State) -> None:
        if len(state["queue"]) >= 20:
            return
        task = f"T{len(self.added)}"
        self.added.append(task)
        self.home.spec(task, self.home.work(f"sleep 0.0{self.chance.randrange(10)}"))
        state["queue"].insert(self.chance.randrange(len(state["queue"]) + 1), task)
        state["specFiles"][task] = spec_path(self.home, task)

    def _remove(self, state: State) -> None:
        if len(state["queue"]) > 1:
            self.removed.add(state["queue"].pop(self.chance.randrange(len(state["queue"]))))

    def _reorder(self, state: State) -> None:
        self.chance.shuffle(state["queue"])

    def _option(self, state: State) -> None:
        for task in state["queue"][:1]:
            state["tasks"].setdefault(task, {})["mine"] = self.count
            self.marked[task] = self.count

    def _live(self, state: State) -> None:
        """Take what runs out of `inProgress`: put it back into the queue, or remove it."""
        task = state["inProgress"]
        if not task or state["pending"] or self.chance.random() < 0.5:
            return
        state["inProgress"] = None
        if self.chance.random() < 0.5:
            state["queue"].append(task)
        else:
            self.removed.add(task)

    def _empty(self, state: State) -> None:
        if not state["pending"]:
            state["attempts"] = []
            state["seq"], state["nextAttempt"] = 0, 1

    def _key(self, state: State) -> None:
        state["notes"] = {"mine": [self.count, None]}


@contextmanager
def timer(home: Home, chance: random.Random) -> Iterator[Callable[[], set[int]]]:
    """Beats at random times, as more than one timer would make; yields what tells their exit codes."""
    codes: set[int] = set()
    is_over = threading.Event()

    def beats() -> None:
        while not is_over.wait(chance.random() * 0.3):
            done = home.heartbeat()
            codes.add(done.code)

    thread = threading.Thread(target=beats)
    thread.start()
    try:
        yield lambda: codes
    finally:
        is_over.set()
        thread.join()


@pytest.mark.timeout(3600)  # all rounds take their time
def test_a_thousand_edits_at_random_moments_lose_nothing_and_double_nobody(home: Home) -> None:
    """Reorder, add, remove, options, unknown keys, by rename and in place (SPEC 4.3, 4.6, 15)."""
    seed = int(os.environ.get("AWM_SEED", "11"))
    person = Person(home, random.Random(seed))
    home.queue(mine=0)
    home.edit(lambda state: state.update(tasks={}, attempts=[], pending=None, seq=0, nextAttempt=1))
    home.beat()
    with timer(home, random.Random(seed + 1)) as codes:
        while person.count < rounds(40, 1000):
            person.edit()
            person._pause(0.2)
        home.wait_for(lambda: home.is_idle, seconds=600)
    home.finish(0.5)
    home.wait_for(lambda: not home.processes(), beat_every=0.5)

    state = home.state()
    print(f"{len(home.attempts())} attempts, {len(edits(home))} entries in the journal")
    for kind, count in sorted(person.kinds.items()):
        print(f"{count:5}  {kind}")
    assert codes() <= {0, 75}  # a beat gives up where it is edited twenty times in a row; the next one does it
    assert [number for number in range(1, person.count + 1) if state.get(f"edit{number}") != number] == []
    ends = {task: [name for name in LISTS if task in state[name]] for task in person.added}
    kept = set(person.added) - person.removed
    assert {task: places for task, places in ends.items() if task in kept and places != ["completed"]} == {}
    begun = Counter(line[2] for line in home.truth() if line[0] == "begin")
    assert [key for key, count in begun.items() if count > 1] == []
    assert [line for line in home.truth() if line[0] == "double"] == []
    ended = {line["attempt"] for line in home.journal() if line["what"].startswith("ended ")}
    assert ended == {int(path.name.partition(".")[2]) for path in home.attempts()}
    for task in person.removed:  # gone, or done before that: never left waiting, or run after it was removed
        assert ends[task] in ([], ["completed"]), task
    assert {task: state["tasks"][task]["mine"] for task in person.marked if task in kept} == {
        task: number for task, number in person.marked.items() if task in kept
    }
    assert [line["seq"] for line in home.journal()] == list(range(1, state["seq"] + 1))
