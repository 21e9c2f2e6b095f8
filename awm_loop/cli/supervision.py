"""Tend one attempt, then run the next beat, and become the next supervisor (SPEC 8.2).

The next agent is started first, by this very process: inside the beat, or, where something has to be made ready before
it, right after. Only then is the image replaced, so that the code is fresh and nothing leaks, while pid, child and lock
stay. What the next beat needs is imported, its spare process forked and its way rehearsed while the agent works: none
of it falls between two agents. An agent that ends within a second leaves no time for that, and is tended by the image
that started it, as long as that is young.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from awm_loop import beat, clock, fault
from awm_loop.agents import kinds
from awm_loop.attempt import abandoned, reap, supervise
from awm_loop.attempt.directory import AttemptDirectory, ResultEntry
from awm_loop.attempt.spawn import Child, Nursery, Spare, become_subreaper
from awm_loop.attempt.stage import Tended
from awm_loop.cli import attend, delivery, tending
from awm_loop.cli.pulse import pulse
from awm_loop.config import BARELY_SECONDS, CLIS, IMAGE_SECONDS_MAX, LINGER_SECONDS
from awm_loop.core.model import Spec, Work
from awm_loop.core.observation import SpecBad
from awm_loop.errors import AwmError
from awm_loop.launchers.local import start_supervisor
from awm_loop.store import specfile
from awm_loop.wiring import Home

READ_AHEAD_BYTES_MAX = 1024 * 1024  # of the state or the metrics: about 50 ms, in which nobody looks for a stop
REHEARSED_BYTES_MAX = 64 * 1024  # of a spec: to parse a whole MiB takes seconds, in which nobody looks for a stop


def main(arguments: list[str], nursery: Nursery | None) -> int:
    """Tend the attempt, then run the next beat; `arguments` are those of `supervise`. Returns the exit code."""
    home_path, key, lock_fd, *rest = arguments
    os.chdir(home_path)
    fault.point("supervision.image:begun")
    become_subreaper()
    directory = AttemptDirectory(Path(home_path) / "state" / "attempts" / key)
    os.set_inheritable(int(lock_fd), False)
    spared, spare_of = {*map(int, rest[3:])}, Spare.fork
    if nursery is not None:
        spared, spare_of = spared | {nursery.pid}, nursery.spare
    image = Image(Path(home_path), spare_of, spared, time.monotonic() + IMAGE_SECONDS_MAX)
    try:
        tended = (
            _adopted(directory, int(lock_fd), *map(int, rest[:3]))
            if rest
            else _begun(directory, int(lock_fd), spare_of)
        )
        if tended is not None:
            image.tend(tended)
        while image.beats():
            pass
    except AwmError as error:
        return error.show()
    return 0


@dataclass(slots=True)
class Image:
    """This process between two execs. `spare` waits to become the next agent; `spared` are no agent's children."""

    home_path: Path
    spare_of: Callable[[], Spare]
    spared: set[int]
    fresh_until: float
    spare: Spare | None = None

    def tend(self, tended: Tended) -> None:
        """The attempt that this image began with, to its end; the rehearsal meanwhile is for the next beat."""
        run = supervise.Run(tended, tending.course(tended), self.spared, self.spare_of)
        has_agent = run.reach_agent()
        try:
            if has_agent:
                with suppress(AwmError):  # trouble is for the beat itself to tell
                    self._armed()
                    _rehearse(Home.open(self.home_path))
                fault.point("supervision.rehearsal:after")
            gc.freeze()  # what there is now is not looked through again
            gc.enable()
        finally:  # a bug in what the rehearsal runs must not leave a healthy agent untended
            run.finish()

    def beats(self) -> bool:
        """Run the next beat. True where an attempt that it started here has come to its end under this image."""
        begun: list[Tended] = []
        self.collect()
        self._armed()
        fault.point("supervision.beat:before")
        home, is_whole = Home.open(self.home_path), False
        try:
            pulse(home.store, home.ports(partial(self._begin, begun)))
            is_whole = True
        finally:  # also when the beat failed after the start: a running agent is never left untended
            for tended in begun:
                fault.point("supervision.agent:begun")
                self._go_on(home, tended, may_linger=is_whole)
        fault.point("supervision.beat:after")
        if not begun:
            # A later beat starts its attempt in a fresh process: threads of a delivery may linger in this one.
            delivery.deliver_and_look(home, None, lambda: pulse(home.store, home.ports()))
            delivery.send_ping(home, 0)
        return bool(begun)

    def collect(self) -> None:
        """Those children that ended while nothing was watched, as each turn may leave one that delivers."""
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self.spared.discard(pid)

    def _armed(self) -> Spare:
        """The spare that waits to become the next agent; one more where there is none."""
        if self.spare is None or not self.spare.is_waiting:
            self.spare = self.spare_of()
            self.spared.add(self.spare.pid)
        return self.spare

    def _begin(self, begun: list[Tended], directory: AttemptDirectory) -> None:
        """Start the first attempt of a beat here; any other has a supervisor of its own."""
        if begun:
            start_supervisor(self.home_path, directory)
            return
        lock_fd = supervise.tend(directory)
        tended = None if lock_fd is None else supervise.begin(directory, lock_fd, tending.first, self._armed)
        if tended is not None:
            begun.append(tended)

    def _go_on(self, home: Home, tended: Tended, *, may_linger: bool) -> None:
        """Leave the attempt to a fresh image once its agent runs; where that is soon over, tend it to its end."""
        if self.spare is not None and not self.spare.is_waiting:  # it has become the agent
            self.spared.discard(self.spare.pid)
        if delivery.has_channels(home):
            self.spared |= _deliverer(self.home_path)
        run = supervise.Run(tended, tending.course(tended), self.spared, self.spare_of)
        has_agent = run.reach_agent()
        try:
            if has_agent and not (may_linger and self.lingers(home, run)):
                _replace_image(self.home_path, tended, self.spared)
        finally:  # as above, of what is read ahead
            run.finish()

    def lingers(self, home: Home, run: supervise.Run) -> bool:
        if time.monotonic() > self.fresh_until:
            return False
        with suppress(AwmError):  # where there is no process for it, the next start says so
            self._armed()
        if run.ends_within(BARELY_SECONDS):
            return True
        with suppress(AwmError):  # as above
            _read_ahead(home)
        return run.ends_within(LINGER_SECONDS)


def _rehearse(home: Home) -> None:
    """Do what the next beat will do, while the agent works, and write nothing: the first time of anything is slow."""

    def read_spec(work: Work, task_id: str) -> Spec | SpecBad:
        path = home.spec_path(work, task_id)
        with suppress(OSError):
            if path is not None and path.stat().st_size > REHEARSED_BYTES_MAX:
                return SpecBad(reason="too long for a rehearsal")
        return home.read_spec(work, task_id)

    for agent in home.config.agents.values():
        if agent.kind in CLIS:
            kinds.kind(agent.kind)
    ResultEntry.model_rebuild()  # its shape is worked out when it is first used
    work = beat.run(replace(home.ports(), read_spec=read_spec, calls=lambda *_: ()), dry_run=True).work
    if work is not None:
        for task_id in work.queue[:1]:
            spec = read_spec(work, task_id)
            if isinstance(spec, Spec) and spec.has_script:
                specfile.run_blocks(spec.text)
    _read_ahead(home)


def _read_ahead(home: Home) -> None:
    """Look at the state as it stands while the agent works: what is the same at its end need not be looked at then."""
    for path in (home.store.path, home.metrics_path):
        with suppress(OSError):
            if path.stat().st_size > READ_AHEAD_BYTES_MAX:
                return
    now = clock.now()
    loaded = home.store.load(now)
    if loaded is not None:
        home.store.content(loaded, loaded.work, now, loaded.rev)
        home.past()


def _begun(directory: AttemptDirectory, lock_fd: int, spare_of: Callable[[], Spare]) -> Tended | None:
    """Start the attempt, or reap it where a stop was asked; None when there is nothing to watch."""
    if directory.stop_request() is not None:
        abandoned.reap_attempt(directory, lock_fd, attend.call_off)
        with suppress(AwmError):
            tending.restore(directory)
        return None
    return supervise.begin(directory, lock_fd, tending.first, spare_of)


def _adopted(directory: AttemptDirectory, lock_fd: int, output_fd: int, errors_fd: int, pid: int) -> Tended:
    """What the image before exec left to us: lock, pipes and the agent."""
    order = directory.order()
    if order is None:
        raise AssertionError(f"{directory.path}: begun without an order")
    child = Child(pid, output_fd, errors_fd)
    for fd in child.fds:
        os.set_inheritable(fd, False)
    return Tended(directory, order, lock_fd, child)


def _deliverer(home_path: Path) -> set[int]:
    """The notices of the beat that started our agent, sent by a child of ours that is not the agent's.

    Where there is no process for it, a later beat sends them.
    """
    arguments = [sys.executable, *reap.DELIVERER, str(home_path)]
    try:
        return {os.posix_spawn(sys.executable, arguments, os.environ, setsid=True)}
    except OSError as error:
        print(f"awm: cannot deliver notices: {error.strerror}", file=sys.stderr)
        return set()


def _replace_image(home_path: Path, tended: Tended, spared: set[int]) -> None:
    """Become a fresh image that tends the agent which runs. Returns only where this cannot be done."""
    child = tended.child
    if child is None:
        return
    program = [*reap.SUPERVISOR, str(home_path), tended.order.key]
    left = [str(number) for number in (tended.lock_fd, child.output_fd, child.errors_fd, child.pid, *spared)]
    for fd in (tended.lock_fd, *child.fds):
        os.set_inheritable(fd, True)
    sys.stderr.flush()
    try:
        fault.point("supervision.exec:before")
        os.execv(sys.executable, [sys.executable, *program, *left])  # noqa: S606  our own program
    except OSError as error:
        print(f"awm: cannot run {sys.executable} again: {error.strerror}", file=sys.stderr)
    for fd in (tended.lock_fd, *child.fds):
        os.set_inheritable(fd, False)
