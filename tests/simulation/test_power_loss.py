"""Power is lost at any operation of any scene, and the disk keeps what it has to keep and no more (SPEC 4.8, 15).

What a real file system may have forgotten is drawn from seeds; `disk.py` says what that covers. After it the same must
hold as after a kill: what was done in the world and what AWM said yes to is known, and everything comes to its end.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from disk import Fault
from test_nth_operation import SCENES, Sweep, nth, told_by

from awm_loop import durable
from awm_loop.errors import AwmError

MANY = range(25)  # for what must be caught: two drawings may miss it
SEEDS = range(25 if os.environ.get("AWM_ALL_ROUNDS") else 2)


def lose_power_everywhere(sweep: Sweep, name: str, deaf: frozenset[str] = frozenset(), seeds: range = SEEDS) -> None:
    """Before the first operation of the scene, after each that changes something, and when the act has returned."""
    operations = sweep.plain()
    points = [1, *(one.number for one in operations if one.is_change), len(operations) + 1]
    for number, seed in itertools.product(points, seeds):
        world, disk = sweep.again()
        disk.deaf, disk.fault = deaf, nth(number, Fault.CRASH_AFTER)
        with told_by(f"{name}: power lost after operation {number}, seed {seed}"):
            sweep.act(world, disk, "power")
            disk.deaf = frozenset()
            disk.lose_power(random.Random(f"{name} {number} {seed}"))
            world.reboot()
            sweep.check(world)
            sweep.go_on(world, disk)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENES)
def test_power_may_be_lost_at_any_operation(name: str, tmp_path: Path) -> None:
    """Whatever survives: a whole file that knows every start and every accepted task, then the end: SPEC 4.8, 15."""
    sweep = Sweep(name, SCENES[name], tmp_path)
    lose_power_everywhere(sweep, name)
    print(f"{name:24} {dict(sweep.runs)}, {len(sweep.drained)} ends")


def test_a_promise_is_durable_before_the_next_beat_keeps_it(tmp_path: Path) -> None:
    """A beat is killed between rename and fsync, the next finds the promise; then power is lost: SPEC 6.2, 15.4."""
    sweep = Sweep("killed", SCENES["the first launch"], tmp_path)
    named = next(one.number for one in sweep.plain() if one.kind == "exchange")
    for number, seed in itertools.product(range(1, len(sweep.plain())), SEEDS):
        world, disk = sweep.again()
        disk.fault = nth(named, Fault.CRASH_AFTER)
        sweep.act(world, disk, "kill")
        disk.fault = nth(named + number, Fault.CRASH_AFTER)
        with told_by(f"power lost {number} operations after the kill, seed {seed}"):
            sweep.act(world, disk, "power")
            disk.lose_power(random.Random(f"{number} {seed}"))
            sweep.check(world)


@pytest.mark.parametrize(
    ("deaf", "what"),
    [("fsync", "a file without its contents"), ("fsync-directory", "a name that is not durable")],
)
def test_a_store_without_one_of_its_syncs_is_caught(deaf: str, what: str, tmp_path: Path) -> None:
    """The test above can fail: where a disk does not do what fsync asks, promises and files are lost."""
    sweep = Sweep(what, SCENES["the first launch"], tmp_path)

    with pytest.raises((AssertionError, ValueError, AwmError)):
        lose_power_everywhere(sweep, what, frozenset({deaf}), MANY)


def test_a_store_that_renames_before_it_syncs_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of SPEC 4.8 matters: with the name first there is a moment of a name without contents."""

    def hasty(path: Path, data: bytes, *_: object, before: Callable[[], None] | None = None, **__: object) -> object:
        temporary = path.with_name(".hasty.tmp")
        temporary.write_bytes(data)
        if before is not None:
            before()
        temporary.rename(path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
            durable.sync_folder(path.parent)
            return os.fstat(file.fileno())

    monkeypatch.setattr(durable, "write_durably", hasty)
    sweep = Sweep("hasty", SCENES["the first launch"], tmp_path)

    with pytest.raises((AssertionError, ValueError, AwmError)):
        lose_power_everywhere(sweep, "hasty", seeds=MANY)
