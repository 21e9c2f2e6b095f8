"""Scenes in which the attempts are real directories: order, prompt, start marker, stop request and result on the disk.

The launcher is the real one. What a supervisor does is done in its place, in this process: it takes the lock, passes the
start, later writes the result. The truth is which numbers passed their start, and what was durably written about them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from scenes import Scene, World, beat, ended, queued

from awm_loop.attempt.directory import AttemptDirectory, Marker, let_go, take_lock
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Exited, Site
from awm_loop.ports import Ports

NOBODY = (2**22 + 1, 1)  # above the largest pid there is


@dataclass
class Supervised(World):
    """A world whose agents have directories. `written` are the outcomes of results whose writing has returned."""

    written: dict[str, Outcome] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)  # to stop
    held: list[int] = field(default_factory=list)  # locks of supervisors

    def directory(self, key: str) -> AttemptDirectory:
        return AttemptDirectory(self.state / "attempts" / key)

    def ports(self) -> Ports:
        real = self.home.ports(self.begin)
        return replace(real, clock=self.clock, head=lambda *_: Site("project", "abc1234", "main"), worktree=str)

    def begin(self, directory: AttemptDirectory) -> None:
        """What a supervisor does first, in a process of its own: its lock outlives the beat, and its agent runs."""
        with self.past_the_disk():
            lock = take_lock(directory / "sup.lock")
        if lock is None:
            return
        now = self.now
        marker = Marker(boot_id=now.boot_id, boottime=now.boottime, at=now.wall, supervisor=NOBODY)
        self.held.append(lock)
        if directory.pass_start(marker):
            self.starts.append(directory.path.name)

    def let_go(self) -> None:
        """The supervisors are gone."""
        while self.held:
            let_go(self.held.pop())

    def reboot(self) -> None:
        super().reboot()
        self.let_go()

    def tend(self) -> None:
        """Whatever has passed its start ends well, unless it was asked to end or has its result."""
        self.let_go()
        with self.past_the_disk():
            for marker in sorted(self.state.glob("attempts/*/started")):
                directory = AttemptDirectory(marker.parent)
                if directory.result() is None:
                    is_asked = directory.stop_request() is not None
                    _write(directory, Outcome.STALLED if is_asked else Outcome.SUCCEEDED)

    def check_attempts(self) -> None:
        """What was said of an attempt stays said, on whatever disk (SPEC 8.1, 15)."""
        for key, outcome in self.written.items():
            found = self.directory(key).result()
            assert found is not None, f"the result of {key} is lost"
            assert found.outcome is outcome, f"{key} ended as {outcome}, not as {found.outcome}"
            is_success = outcome is Outcome.SUCCEEDED
            again = [one for one in self.starts if one.partition(".")[0] == key.partition(".")[0] and one != key]
            assert not (is_success and again), f"{key} succeeded and was followed by {again}"
        for key in self.asked:
            assert self.directory(key).stop_request() is not None, f"the wish to stop {key} is lost"


def _write(directory: AttemptDirectory, outcome: Outcome) -> None:
    exited: Exited = ended(outcome)
    directory.write_result(exited.result)


def started(world: World) -> None:
    assert isinstance(world, Supervised)
    queued(world)
    beat(world)
    world.let_go()


def failed(world: World) -> None:
    """The first attempt has failed, and it is time for the second, which is told of the first."""
    started(world)
    end(world, Outcome.FAILED)
    beat(world)  # settles it; the next one is not due yet
    world.pass_time(3_600.0)


def end(world: World, outcome: Outcome = Outcome.SUCCEEDED) -> None:
    """The supervisor of the newest attempt writes its result."""
    assert isinstance(world, Supervised)
    key = world.starts[-1]
    _write(world.directory(key), outcome)
    world.written[key] = outcome


def ask(world: World) -> None:
    """The newest attempt is asked to end."""
    assert isinstance(world, Supervised)
    key = world.starts[-1]
    world.directory(key).write_stop_request("stalled")
    world.asked.add(key)


SUPERVISED: dict[str, Scene] = {
    "an attempt begins": Scene(queued),
    "a second attempt": Scene(failed),
    "a result is written": Scene(started, end),
    "a failure is written": Scene(started, partial(end, outcome=Outcome.FAILED)),
    "a stop is asked for": Scene(started, ask),
}
