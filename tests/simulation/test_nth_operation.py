"""The N-th operation fails, for every N, in every scene (SQLite's I/O error tests are the model): nothing is lost, nothing twice.

Exhaustive, not random: an act is run once for each operation it does below `state/` and each fault that operation can
meet, until a run meets none. Then the file and the truth of the world must agree, and beats without faults must bring
everything to its end. Runs that leave the same bytes and the same truth go on alike, so that is looked at once for each.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from disk import Crash, Disk, Fault, Operation
from scenes import SCENES as PLAIN
from scenes import Scene, World, beat, check, drain, mend
from supervised import SUPERVISED, Supervised

from awm_loop.errors import EXIT_CONFIG, EXIT_DISK, EXIT_OK, AwmError

SCENES = PLAIN | SUPERVISED
MAKES_NAMES = frozenset({"open", "mkdir", "rename", "exchange", "link"})
TAKES_ROOM = MAKES_NAMES | {"write", "fsync", "fsync-directory"}
CHECKS_RIGHTS = MAKES_NAMES | {"unlink", "rmdir", "truncate", "chmod", "utime"}
if "AWM_ALL_ROUNDS" in os.environ:
    CHECKS_RIGHTS |= {"read", "list"}  # EIO takes the same way there
LITTER = re.compile(r"\.[0-9a-f]{16}(-[0-9a-f]{16})?\.tmp")


def can_meet(operation: Operation, fault: Fault) -> bool:
    """Whether this fault says something about this operation that no other one says."""
    match fault:
        case Fault.EIO:
            return True
        case Fault.ENOSPC:
            return operation.kind in TAKES_ROOM
        case Fault.EACCES:
            return operation.kind in CHECKS_RIGHTS
        case Fault.TORN:
            return operation.kind == "write"
        case Fault.CRASH_BEFORE | Fault.CRASH_AFTER:
            return operation.is_change


@dataclass
class Sweep:
    """One scene under all faults. `runs` counts them by fault."""

    name: str
    scene: Scene
    folder: Path
    given: World | None = None  # where the scene begins, unless it makes its own
    runs: Counter[str] = field(default_factory=Counter)
    drained: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        kind: type[World] = Supervised if self.name in SUPERVISED else World
        self.before = self.given or kind.made(self.folder / "before", self.scene.before)

    def plain(self) -> list[Operation]:
        """The operations of a run that meets no fault."""
        world, disk = self.again()
        self.act(world, disk, "no fault")
        return disk.operations

    def again(self) -> tuple[World, Disk]:
        world = self.before.copied_to(self.folder / f"run {self.runs.total()}")
        return world, Disk(world.home.path, lambda _: None)

    def act(self, world: World, disk: Disk, fault: str) -> None:
        """The act of the scene; only what is declared may come of it (SPEC 4.8, 6.3)."""
        self.runs[fault] += 1
        code = EXIT_OK
        try:
            with world.mounted(disk):
                self.scene.act(world)
        except AwmError as error:
            code = error.exit_code
        except Crash:
            disk.revive()
        assert code in {EXIT_OK, EXIT_DISK, EXIT_CONFIG if self.scene.is_bad else EXIT_DISK}
        self.check(world)

    def check(self, world: World) -> None:
        check(world, is_bad=self.scene.is_bad)

    def go_on(self, world: World, disk: Disk) -> None:
        """Without faults from here, where no other run came to the same."""
        disk.fault = lambda _: None
        digest = digest_of(world)
        if digest not in self.drained:
            self.drained.add(digest)
            with world.mounted(disk):
                if self.scene.is_bad or not world.accepted:
                    mend(world)
                drain(world)
        shutil.rmtree(world.home.path)


def digest_of(world: World) -> str:
    """All that the future of a world depends on, but for the hour, and the names of what a killed write left."""
    files = sorted((path for path in world.state.rglob("*") if path.is_file()), key=str)
    names = [LITTER.sub("litter", str(path.relative_to(world.state))) for path in files]
    here = os.fsencode(world.home.path)
    found = list(zip(names, [path.read_bytes().replace(here, b"home") for path in files], strict=True))
    truth = (world.starts, world.stops, world.answers, world.sent, world.accepted, world.refusals)
    return hashlib.sha256(repr((sorted(found), truth)).encode()).hexdigest()


def nth(number: int, fault: Fault) -> Callable[[Operation], Fault | None]:
    return lambda operation: fault if operation.number == number else None


def full_from(number: int) -> Callable[[Operation], Fault | None]:
    """From this operation on the disk has no room."""
    return lambda operation: Fault.ENOSPC if operation.number >= number and can_meet(operation, Fault.ENOSPC) else None


def fail_each(sweep: Sweep, name: str, faults: Sequence[Fault]) -> list[Operation]:
    """A run for each operation and each of these faults that it can meet; returns the operations."""
    operations = sweep.plain()
    for operation, fault in itertools.product(operations, faults):
        if can_meet(operation, fault):
            world, disk = sweep.again()
            disk.fault = nth(operation.number, fault)
            with told_by(f"{name}: {fault.name} at {operation.number}, {operation.kind} {operation.path.name}"):
                sweep.act(world, disk, fault.name)
                sweep.go_on(world, disk)
    return operations


@contextmanager
def told_by(words: str) -> Iterator[None]:
    """Whatever fails inside says which run it was."""
    try:
        yield
    finally:
        error = sys.exception()
        if error is not None:
            error.add_note(words)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENES)
def test_any_one_operation_may_fail_or_be_the_last(name: str, tmp_path: Path) -> None:
    """Each operation with each fault: declared trouble only, a whole file, no start twice, then the end: SPEC 4.8, 15."""
    sweep = Sweep(name, SCENES[name], tmp_path)
    for operation in fail_each(sweep, name, tuple(Fault)):
        if can_meet(operation, Fault.ENOSPC):
            world, disk = sweep.again()
            disk.fault = full_from(operation.number)
            with told_by(f"{name}: full from {operation.number} on, {operation.kind} {operation.path.name}"):
                sweep.act(world, disk, "full from there on")
                sweep.go_on(world, disk)
    print(f"{name:24} {dict(sweep.runs)}, {len(sweep.drained)} ends")


@pytest.mark.skipif("AWM_ALL_ROUNDS" not in os.environ, reason="a second fault in each recovery: AWM_ALL_ROUNDS=1")
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("name", SCENES)
def test_the_recovery_may_fail_as_well(name: str, tmp_path: Path) -> None:
    """A kill at each operation, then each operation of the beat after it fails or is the last: SPEC 4.8, 15."""
    sweep = Sweep(name, SCENES[name], tmp_path)
    left: set[str] = set()
    for first in [one.number for one in sweep.plain() if one.is_change]:
        killed, disk = sweep.again()
        disk.fault = nth(first, Fault.CRASH_AFTER)
        sweep.act(killed, disk, "CRASH_AFTER")
        if killed.accepted and digest_of(killed) not in left:
            left.add(digest_of(killed))
            scene = replace(sweep.scene, act=beat)
            second = Sweep(name, scene, tmp_path / f"after {first}", killed)
            fail_each(second, f"{name}, after a kill at {first}", (Fault.EIO, Fault.CRASH_AFTER))
            sweep.runs += second.runs
    print(f"{name:24} {dict(sweep.runs)}, {len(left)} recoveries")
