"""Bugs of the product that the simulation found, each as its shortest story."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from disk import Fault
from truth import Edit, places
from world import World

from awm_loop.cli import steering
from awm_loop.core.model import Task
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.durable import HISTORY_MAX
from awm_loop.store.statefile import EDITED


@contextmanager
def told(seed: int = 0, tasks: int = 1) -> Iterator[World]:
    """A world in which nothing happens by itself, with some tasks to do."""
    world = World(seed)
    with world.mounted():
        world.is_calm = True
        world.begins(tasks)
        with world.aside():
            for number in range(1, tasks + 1):
                (world.root / "specs" / f"S{number}.md").write_text(f"# Sprint S{number}: Work\n")
        yield world


def edit(world: World, change: Callable[[dict[str, Any]], object], **wanted: Any) -> None:
    """A person changes what stands in the file."""
    doc = json.loads(world.home.store.path.read_bytes())
    change(doc)
    data = json.dumps(doc).encode()
    world.truth.wrote(data, Edit(world.truth.tick, **wanted), from_stale=False)
    world.person.saves(data, in_place=False)


def add_x1(doc: dict[str, Any], task: str = "X1") -> None:
    doc["queue"].append(task)
    doc["specFiles"][task] = "specs/S1.md"


def journalled_edits(world: World) -> int:
    log = json.loads(world.home.store.path.read_bytes())["log"]
    return [entry["what"] for entry in log].count(EDITED)


def test_a_live_task_is_removed_between_promise_and_proof() -> None:
    """The promise names an attempt that the edited file has not: that was refused as a bad file (SPEC 4.6)."""
    with told() as world:
        world.heartbeat({"spawn": Fault.CRASH_BEFORE})
        edit(world, lambda doc: doc.update(inProgress=None, attempts=[]), removed=("S1",))
        world.heartbeat({})
        state = json.loads(world.home.store.path.read_bytes())

        assert [attempt["stop"] for attempt in state["attempts"]] == ["removed"]
        world.calms()


def test_power_is_lost_after_a_delivery_was_settled() -> None:
    """Its save has no line of the journal, and the copy of it is lost: what was sent was sent again (SPEC 15.11)."""
    with told() as world:
        world.heartbeat({})
        rev = json.loads(world.home.store.path.read_bytes())["rev"]
        (world.home.store.history_path / f"{rev}.json").unlink()
        sent = [*world.truth.got["console"]]
        world.heartbeat({})

        assert [notice for notice in world.truth.got["console"] if notice not in sent] == []
        world.calms()


def test_power_is_lost_after_a_delivery_was_settled_and_a_person_edits() -> None:
    """The edit hides that the state was AWM's own: what was sent was sent again, as the truth told (SPEC 15.11)."""
    with told(seed=4) as world:
        world.heartbeat({})
        rev = json.loads(world.home.store.path.read_bytes())["rev"]
        (world.home.store.history_path / f"{rev}.json").unlink()
        edit(world, add_x1, added=("X1",))
        world.heartbeat({})

        assert "X1" in json.loads(world.home.store.path.read_bytes())["specFiles"]
        world.calms()


def test_an_old_copy_of_a_state_that_a_power_loss_took_from_history_removes_nothing() -> None:
    """What stood in the file, an edit in it, was kept as what AWM had written: the older copy lacked that task."""
    with told() as world:
        world.heartbeat({})
        copy = json.loads(world.home.store.path.read_bytes())
        (world.home.store.history_path / f"{copy['rev']}.json").unlink()
        edit(world, add_x1, added=("X1",))
        world.heartbeat({})
        edit(world, lambda doc: (doc.clear(), doc.update(copy)))
        world.heartbeat({})

        state = json.loads(world.home.store.path.read_bytes())
        assert [attempt["stop"] for attempt in state["attempts"]] == [None, None]
        world.calms()


def test_a_person_edits_a_state_whose_last_sync_was_refused() -> None:
    """It stood in the file, and its copy was taken back: the edit passed for AWM's own and forgot a live attempt."""
    with told() as world:
        world.heartbeat({})
        world.heartbeat({"fsync-directory": Fault.EACCES})
        edit(world, lambda doc: doc.update(inProgress=None, attempts=[]), removed=("S1",))
        world.heartbeat({})
        state = json.loads(world.home.store.path.read_bytes())

        assert [attempt["stop"] for attempt in state["attempts"]] == ["removed"]
        world.calms()


def test_what_a_person_edits_as_its_last_sync_is_refused_keeps_its_copy() -> None:
    """The file was not what the save had written any more: its copy was taken back, and what the edit began with was
    not known. With a save of deliveries alone, seed 104, a pause was lost (SPEC 4.6)."""
    with told() as world:
        world.heartbeat({})
        plan: dict[str, Any] = {}

        def pause() -> None:
            edit(world, lambda doc: doc.update(active=False), is_paused=True)

        plan["exchange"] = lambda: plan.update({"unlink": pause, "fsync-directory": Fault.EIO})
        world.heartbeat(plan)
        state = json.loads(world.home.store.path.read_bytes())

        assert (state["active"], (world.home.store.history_path / f"{state['rev']}.json").exists()) == (False, True)
        world.calms()


def test_an_edit_falls_between_the_last_look_and_a_kill() -> None:
    """A save had taken the edit out by its exchange and died before it put it back: the edit was lost (SPEC 4.6)."""
    with told() as world:
        plan: dict[str, Any] = {}

        def save_and_be_killed() -> None:
            edit(world, add_x1, added=("X1",))
            plan["exchange"] = Fault.CRASH_BEFORE

        plan["exchange"] = save_and_be_killed
        world.heartbeat(plan)
        left = [*(world.root / "state").glob(".*.tmp")]
        world.heartbeat({})

        assert len(left) == 1
        assert [*(world.root / "state").glob(".*.tmp")] == []
        assert "X1" in json.loads(world.home.store.path.read_bytes())["specFiles"]
        world.calms()


def test_two_people_edit_around_one_exchange() -> None:
    """One between the last look and the exchange, one what was written: they were exchanged for ever (SPEC 4.6)."""
    with told() as world:
        plan: dict[str, Any] = {}

        def first() -> None:
            edit(world, add_x1, added=("X1",))
            plan["exchange"] = second

        def second() -> None:
            edit(world, lambda doc: add_x1(doc, "X2"), added=("X2",))
            plan.clear()

        plan["exchange"] = first
        world.heartbeat(plan)
        world.heartbeat({})

        assert {"X1", "X2"} <= {*json.loads(world.home.store.path.read_bytes())["specFiles"]}
        world.calms()


def test_what_the_second_of_two_people_around_one_exchange_removes_stays_removed() -> None:
    """The first one's file had it still: it passed for a task that they had added (SPEC 4.6)."""
    with told(tasks=2) as world:
        plan: dict[str, Any] = {}

        def first() -> None:
            edit(world, add_x1, added=("X1",))
            plan["exchange"] = second

        def second() -> None:
            edit(world, lambda doc: doc["queue"].remove("S2"), removed=("S2",))
            plan.clear()

        plan["exchange"] = first
        world.heartbeat(plan)
        world.heartbeat({})
        state = json.loads(world.home.store.path.read_bytes())

        assert ("X1" in state["specFiles"], "S2" in places(state)) == (True, False)
        world.calms()


def test_a_killed_saves_own_file_is_no_edit_though_a_power_loss_tore_its_copy() -> None:
    """It was synced, and its copy in history was not: its log passed for a person's, with numbers to come (SPEC 15.10)."""
    with told() as world:
        world.heartbeat({"exchange": Fault.CRASH_BEFORE})
        newest = max(world.home.store.history_path.iterdir(), key=lambda path: int(path.stem))
        newest.write_bytes(b"")
        world.heartbeat({})
        log = json.loads(world.home.store.path.read_bytes())["log"]

        assert [entry["seq"] for entry in log] == [*range(1, len(log) + 1)]
        world.calms()


def test_an_edit_cannot_be_put_back_after_a_save_took_it_out() -> None:
    """The disk refused the exchange that was to put it back, and it was removed with the temporary file (SPEC 4.6)."""
    with told() as world:
        plan: dict[str, Any] = {}

        def save_and_be_refused() -> None:
            edit(world, add_x1, added=("X1",))
            plan["exchange"] = Fault.ENOSPC

        plan["exchange"] = save_and_be_refused
        world.heartbeat(plan)
        world.heartbeat({})

        assert "X1" in json.loads(world.home.store.path.read_bytes())["specFiles"]
        world.calms()


def test_what_a_save_had_read_cannot_be_removed() -> None:
    """It stayed beside the file, passed for an edit, and brought back what was removed meanwhile (SPEC 4.6)."""
    with told(tasks=2) as world:
        edit(world, add_x1, added=("X1",))
        plan: dict[str, Any] = {}

        def and_remove_s2() -> None:
            edit(world, lambda doc: doc["queue"].remove("S2"), removed=("S2",))

        plan["exchange"] = lambda: plan.update({"unlink": Fault.EACCES, "fsync-directory": and_remove_s2})
        world.heartbeat(plan)
        world.heartbeat({})

        assert "S2" not in json.loads(world.home.store.path.read_bytes())["queue"]
        world.calms()


def test_a_task_of_an_edit_is_removed_after_the_save_that_merged_it_was_killed() -> None:
    """Its copy in history passed for what stood: the task was taken for AWM's own and stayed (SPEC 4.6)."""
    with told() as world:
        edit(world, add_x1, added=("X1",))
        world.heartbeat({"exchange": Fault.CRASH_BEFORE})
        edit(world, lambda doc: doc["queue"].remove("X1"), removed=("X1",))
        world.heartbeat({})

        assert "X1" not in json.loads(world.home.store.path.read_bytes())["queue"]
        world.calms()


def test_a_save_that_never_stands_does_not_forget_what_the_edit_in_the_file_began_with() -> None:
    """It had removed the oldest copy in history for its own: a removal in the edit was not known for one (SPEC 4.6)."""
    with told() as world:
        world.heartbeat({})
        old = json.loads(world.home.store.path.read_bytes())
        for _ in range(HISTORY_MAX - 1):
            world.command(lambda work, _: replace(work, context_share=work.context_share + 0.01))
        edit(world, lambda doc: doc.update(old, inProgress=None, attempts=[]), removed=("S1",))
        world.heartbeat({"exchange": Fault.CRASH_BEFORE})
        world.heartbeat({})
        state = json.loads(world.home.store.path.read_bytes())

        assert [attempt["stop"] for attempt in state["attempts"]] == ["removed"]
        world.calms()


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.EIO])
def test_the_copy_of_a_save_that_never_stood_does_not_come_back_with_a_power_loss(fault: Fault) -> None:
    """Its removal was not durable: the next save, of its rev, passed for an edit of it (SPEC 4.6, 15.10)."""
    for seed in range(20):  # of what survives
        with told() as world:
            world.heartbeat({})
            world.heartbeat({"exchange": fault})
            world.command(lambda work, now: steering.add(work, Task(id="X1"), "specs/S1.md", DEFAULT_PROJECT, now))
            edits = journalled_edits(world)
            world.disk.lose_power(random.Random(seed))
            world.truth.lost_power()
            world.reboots()
            world.heartbeat({})

            assert journalled_edits(world) == edits
            world.calms()


def test_a_call_is_not_told_that_it_was_heard_before_that_is_durable() -> None:
    """Killed between exchange and sync, its save stood: the next beat let the call go, and a power loss took its task
    (SPEC 13.2, 15.3)."""
    for seed in range(20):  # of what survives
        with told() as world:
            world.heartbeat({})
            world.estate.calls_out()
            world.heartbeat({"exchange": Fault.CRASH_AFTER})
            world.heartbeat({})
            heard = not world.estate.waiting
            world.disk.lose_power(random.Random(seed))
            world.truth.lost_power()
            world.reboots()
            world.heartbeat({})

            assert heard
            world.calms()
