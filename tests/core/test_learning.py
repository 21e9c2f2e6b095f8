"""What specs say of the order is learnt once for each edit, and in time that grows with the queue alone (SPEC 4.6, 7.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from build import NOW, POLICY, SPEC, later, project
from loop import Loop

from awm_loop import beat
from awm_loop.core import choice, projects
from awm_loop.core.model import Account, Deadline, Spec, Task, Work
from awm_loop.core.observation import SpecBad
from awm_loop.core.project import Bounds, Priority
from awm_loop.store import jsontext
from awm_loop.store.statefile import StateFile

CLOSED = replace(POLICY, bounds=Bounds(opens_at=later(3600.0).wall))  # so no row is taken


class Edited:
    """A home whose loop waits for its window, and counts the specs that are read."""

    def __init__(self, path: Path, *tasks: str) -> None:
        self.loop, self.read = (
            Loop(Work(active=True, idle_since=None, project="/p", queue=(), completed=()), CLOSED),
            Counter[str](),
        )
        self.store = StateFile(path, ("local", "local"))
        self.store.path.write_bytes(jsontext.layout({"queue": ["S0"], "project": "/p"}))
        self.beat()
        self.edit(*tasks)

    def edit(self, *tasks: str) -> None:
        loaded = self.store.load(NOW)
        assert loaded is not None
        self.store.path.write_bytes(jsontext.layout({**loaded.raw, "queue": [*loaded.work.queue, *tasks]}))

    def beat(self) -> dict[str, int]:
        """The specs read in one beat."""
        self.read.clear()
        beat.run(replace(self.loop.ports, store=self.store, read_spec=self._spec))
        return dict(self.read)

    def _spec(self, work: Work, task: str) -> Spec | SpecBad:
        self.read[task] += 1
        return self.loop.ports.read_spec(work, task)


def test_the_specs_are_read_once_for_each_edit(tmp_path: Path) -> None:
    """Though no row says that the edit was seen: ten thousand would else cost each beat of a night (SPEC 6.4)."""
    home = Edited(tmp_path, "S1", "S2")

    assert [home.beat(), home.beat(), home.beat()] == [{"S0": 1, "S1": 1, "S2": 1}, {}, {}]
    home.edit("S3")
    assert [home.beat(), home.beat()] == [{"S0": 1, "S1": 1, "S2": 1, "S3": 1}, {}]


def test_a_spec_that_was_not_there_yet_is_looked_at_until_it_is(tmp_path: Path) -> None:
    """Somebody may write the state first and the spec a moment later: its priority counts all the same (SPEC 7.5)."""
    home = Edited(tmp_path, "S1", "S2")
    home.loop.specs["S2"] = SpecBad(reason="spec file does not exist")

    assert [home.beat(), home.beat(), home.beat()] == [{"S0": 1, "S1": 1, "S2": 1}, {"S2": 1}, {"S2": 1}]
    home.loop.specs["S2"] = replace(SPEC, priority=Priority.CRITICAL)
    assert [home.beat(), home.beat()] == [{"S2": 1}, {}]
    loaded = home.store.load(NOW)
    assert loaded is not None
    assert loaded.work.task("S2").priority is Priority.CRITICAL


@pytest.mark.parametrize("torn", [b"", b"{", b"[]", b'{"edit": 3}', b'{"edit": "", "bad": 4}'])
def test_a_torn_cache_costs_one_more_look(torn: bytes, tmp_path: Path) -> None:
    """It is not synced: what a power loss leaves of it is not believed (SPEC 4.8)."""
    home = Edited(tmp_path, "S1")
    home.beat()
    (tmp_path / "cache" / "unread.json").write_bytes(torn)

    assert [home.beat(), home.beat()] == [{"S0": 1, "S1": 1}, {}]


def test_thousands_that_move_at_once_are_chosen_from_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project got another priority: each task it concerns would else begin the choice anew (SPEC 7.5)."""
    names = tuple(f"S{number}" for number in range(2000))
    work = Work(active=True, idle_since=None, project="/p", queue=(*names, "last"), completed=())
    work = replace(work, project_of=dict.fromkeys(names, "web"))
    loop = Loop(work, replace(POLICY, projects={"web": project("web", priority=Priority.LOW)}))
    counts = Counter[str]()
    monkeypatch.setattr(choice, "in_order", partial(_count, counts, "in_order", choice.in_order))

    loop.beat()

    assert (loop.live, counts["in_order"] < 30) == (["last"], True)


def test_thousands_of_priorities_are_learnt_in_one_step() -> None:
    """One new state, not one for each (SPEC 7.5)."""
    names = [f"S{number}" for number in range(5000)]
    work = Work(active=True, idle_since=None, project="/p", queue=tuple(names), completed=())

    found = choice.learnt(work, dict.fromkeys(names, replace(SPEC, priority=Priority.LOW)), POLICY)

    assert {task.priority for task in found.tasks.values()} == {Priority.LOW}
    assert [*found.tasks] == names
    assert choice.learnt(found, dict.fromkeys(names, replace(SPEC, priority=Priority.HIGH)), POLICY) is found


def test_a_queue_that_waits_is_looked_through_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tasks may overtake, each of thousands is looked at: its order and dependencies not for each anew (SPEC 4.3)."""
    names = tuple(f"S{number}" for number in range(500))
    tasks = {name: Task(id=name, depends=("done",)) for name in names}
    closed = {
        one.account: Account(name=one.account, deadline=Deadline.after(60.0, NOW), source="", agent="")
        for one in POLICY.agents.values()
    }
    work = Work(
        active=True, idle_since=None, project="/p", queue=names, completed=("done",), tasks=tasks, accounts=closed
    )
    counts = Counter[str]()
    for module, name in ((choice, "in_order"), (projects, "waits"), (choice, "waits")):
        monkeypatch.setattr(module, name, partial(_count, counts, name, getattr(module, name)))

    loop = Loop(work, replace(POLICY, allow_overtake=True))

    assert loop.beat() == []
    assert all(count < 10 for count in counts.values()), counts


def _count(counts: Counter[str], name: str, real: Callable[[Work], object], work: Work) -> object:
    counts[name] += 1
    return real(work)
