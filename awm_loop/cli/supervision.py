"""Tend one attempt, then run the next beat, and become the next supervisor (SPEC 8.2).

The next agent is started first, inside the beat, by this very process; only then is the image replaced, so that the
code is fresh and nothing leaks, while pid, child and lock stay. What the next beat needs is imported, its spare process
forked and its way rehearsed while the agent works: none of it falls between two agents.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from awm_loop import beat, clock, fault
from awm_loop.agents import kinds
from awm_loop.attempt import abandoned, supervise
from awm_loop.attempt.directory import AttemptDirectory, ResultEntry
from awm_loop.attempt.spawn import Child, Spare, become_subreaper
from awm_loop.attempt.stage import Tended
from awm_loop.cli import attend, delivery, tending
from awm_loop.cli.pulse import pulse
from awm_loop.config import CLIS
from awm_loop.core.model import Spec, Work
from awm_loop.core.observation import SpecBad
from awm_loop.errors import AwmError
from awm_loop.launchers.local import start_supervisor
from awm_loop.store import document, jsontext, specfile
from awm_loop.wiring import Home

REHEARSED_BYTES_MAX = 64 * 1024  # of a spec: to parse a whole MiB takes seconds, in which nobody looks for a stop


def main(arguments: list[str], spare: Spare) -> int:
    """Tend the attempt, then run the next beat; `arguments` are those of `supervise`. Returns the exit code."""
    home_path, key, *rest = arguments
    os.chdir(home_path)
    fault.point("supervision.image:begun")
    become_subreaper()
    directory = AttemptDirectory(Path(home_path) / "state" / "attempts" / key)
    spared = {spare.pid}
    try:
        if len(rest) == 1:
            tended = _begun(directory, int(rest[0]))
        else:
            tended = _adopted(directory, rest)
            spared |= {int(pid) for pid in rest[6:]} | (_deliverer(home_path) if rest[5] else set())
        try:
            with suppress(AwmError):  # trouble is for the beat itself to tell
                _rehearse(Home.open(Path(home_path)))
            fault.point("supervision.rehearsal:after")
            gc.freeze()  # what there is now is not looked through again
            gc.enable()
        finally:  # a bug in what the rehearsal runs must not leave a healthy agent untended
            if tended is not None:
                supervise.watch(tended, tending.course(tended), spared)
        gc.disable()  # after the beat this image ends, or is replaced
        fault.point("supervision.beat:before")
        return _next_beat(Path(home_path), spare, spared)
    except AwmError as error:
        return error.show()


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
    now = clock.now()
    work = beat.run(replace(home.ports(), read_spec=read_spec, calls=lambda *_: ()), dry_run=True).work
    loaded = home.store.load(now)
    if work is not None and loaded is not None:
        jsontext.layout(document.write(work, loaded.raw, now, loaded.rev))
        for task_id in work.queue[:1]:
            spec = read_spec(work, task_id)
            if isinstance(spec, Spec) and spec.has_script:
                specfile.run_blocks(spec.text)


def _begun(directory: AttemptDirectory, lock_fd: int) -> Tended | None:
    """Start the attempt, or reap it where a stop was asked; None when there is nothing to watch."""
    os.set_inheritable(lock_fd, False)
    if directory.stop_request() is not None:
        abandoned.reap_attempt(directory, lock_fd, attend.call_off)
        with suppress(AwmError):
            tending.restore(directory)
        return None
    return supervise.begin(directory, lock_fd, tending.first)


def _adopted(directory: AttemptDirectory, left: list[str]) -> Tended | None:
    """What the image before exec left to us: lock, pipes, child, and why the agent could not be run."""
    lock_fd, output_fd, errors_fd, pid = (int(number) for number in left[:4])
    order = directory.order()
    os.set_inheritable(lock_fd, False)
    if order is None:
        raise AssertionError(f"{directory.path}: begun without an order")
    if pid == 0:
        return Tended(directory, order, lock_fd, None, left[4])
    child = Child(pid, output_fd, errors_fd)
    for fd in child.fds:
        os.set_inheritable(fd, False)
    return Tended(directory, order, lock_fd, child)


def _deliverer(home_path: str) -> set[int]:
    """The notices of the beat that started our agent, sent by a child of ours that is not the agent's.

    Where there is no process for it, a later beat sends them.
    """
    arguments = [sys.executable, "-P", "-m", "awm_loop.cli.delivery", home_path]
    try:
        return {os.posix_spawn(sys.executable, arguments, os.environ, setsid=True)}
    except OSError as error:
        print(f"awm: cannot deliver notices: {error.strerror}", file=sys.stderr)
        return set()


def _next_beat(home_path: Path, spare: Spare, spared: set[int]) -> int:
    """Run the beat. Where it starts another attempt here, the process goes on as its supervisor and does not return."""
    begun: list[Tended] = []

    def begin(directory: AttemptDirectory) -> None:
        if begun:  # one attempt for one supervisor
            start_supervisor(home_path, directory)
            return
        lock_fd = supervise.tend(directory)
        tended = None if lock_fd is None else supervise.begin(directory, lock_fd, tending.first, spare)
        if tended is not None:
            begun.append(tended)

    home = Home.open(home_path)
    try:
        pulse(home.store, home.ports(begin))
    finally:
        for tended in begun:
            spared.discard(spare.pid)  # it became the agent, or ends with this image
            fault.point("supervision.agent:begun")
            _become_its_supervisor(home, tended, spared)
            home.store.leave_mark()
    fault.point("supervision.beat:after")
    # A later beat starts its attempt in a fresh process: threads of a delivery may linger in this one.
    delivery.deliver_and_look(home, None, lambda: pulse(home.store, home.ports()))
    delivery.send_ping(home, 0)
    return 0


def _become_its_supervisor(home: Home, tended: Tended, spared: set[int]) -> None:
    """Replace this image, also when the beat failed after the start: a running agent is never left untended.

    Returns only where this cannot be done, when the attempt has ended under this image.
    """
    child = tended.child or Child(0, -1)
    for fd in (tended.lock_fd, *child.fds):
        os.set_inheritable(fd, True)
    left = [str(number) for number in (tended.lock_fd, child.output_fd, child.errors_fd, child.pid)]
    left.append(tended.problem)
    delivering = ["deliver" if delivery.has_channels(home) else "", *map(str, spared)]
    program = ["-P", "-m", "awm_loop.cli.supervise"]
    arguments = [*program, str(home.path), tended.order.key, *left, *delivering]
    sys.stderr.flush()
    try:
        fault.point("supervision.exec:before")
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  our own program
    except OSError as error:
        print(f"awm: cannot run {sys.executable} again: {error.strerror}", file=sys.stderr)
    for fd in (tended.lock_fd, *child.fds):
        os.set_inheritable(fd, False)
    supervise.watch(tended, tending.course(tended), spared)
