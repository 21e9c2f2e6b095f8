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
from pathlib import Path

import markdown_it  # noqa: F401  the next beat reads specs with it: imported now, while the agent works

from awm_loop import beat, clock
from awm_loop.attempt import abandoned, supervise
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.attempt.spawn import Child, Spare, become_subreaper
from awm_loop.attempt.supervise import Tended
from awm_loop.cli import delivery, tending
from awm_loop.cli.pulse import pulse
from awm_loop.errors import AwmError
from awm_loop.launchers.local import start_supervisor
from awm_loop.store import document, jsontext
from awm_loop.wiring import Home


def main(arguments: list[str], spare: Spare) -> int:
    home_path, key, *rest = arguments
    os.chdir(home_path)
    become_subreaper()
    directory = AttemptDirectory(Path(home_path) / "state" / "attempts" / key)
    spared: set[int] = set()
    if rest[0] == "--adopt":
        tended: Tended | None = _adopted(directory, rest[1:5])
        spared.update(int(pid) for pid in rest[6:])
        if rest[5] == "deliver":
            spared.add(_deliverer(home_path))
    else:
        tended = _begun(directory, int(rest[0]))
    with suppress(AwmError):  # trouble is for the beat itself to tell
        _rehearse(Home.open(Path(home_path)))
    gc.freeze()  # what there is now is not looked through again: that would fall between two agents
    if tended is not None:
        supervise.watch(tended, tending.course(tended), spared, spare)
    try:
        return _next_beat(Path(home_path), spare, spared)
    except AwmError as error:
        return error.show()


def _rehearse(home: Home) -> None:
    """Do what the next beat will do, while the agent works, and write nothing: the first time of anything is slow."""
    now = clock.now()
    work = beat.run(home.ports(), dry_run=True).work
    loaded = home.store.load(now)
    if work is not None and loaded is not None:
        jsontext.layout(document.write(work, loaded.raw, now, loaded.rev))
        for task_id in work.queue[:1]:
            home.read_spec(work, task_id)


def _begun(directory: AttemptDirectory, lock_fd: int) -> Tended | None:
    """Start the attempt, or reap it where a stop was asked; None when there is nothing to watch."""
    os.set_inheritable(lock_fd, False)
    if directory.stop_request() is not None:
        abandoned.reap_attempt(directory, lock_fd)
        with suppress(AwmError):
            tending.restore(directory)
        return None
    return supervise.begin(directory, lock_fd, tending.first)


def _adopted(directory: AttemptDirectory, numbers: list[str]) -> Tended | None:
    """What the image before exec left to us: lock, child, pipe, and why the agent could not be run."""
    lock_fd, pid, output_fd = (int(number) for number in numbers[:3])
    order = directory.order()
    os.set_inheritable(lock_fd, False)
    if order is None:
        raise AssertionError(f"{directory.path}: begun without an order")
    if pid == 0:
        return Tended(directory, order, lock_fd, None, numbers[3])
    os.set_inheritable(output_fd, False)
    return Tended(directory, order, lock_fd, Child(pid, output_fd))


def _deliverer(home_path: str) -> int:
    """The notices of the beat that started our agent, sent by a child of ours that is not the agent's."""
    arguments = [sys.executable, "-P", "-m", "awm_loop.cli.delivery", home_path]
    return os.posix_spawn(sys.executable, arguments, os.environ, setsid=True)


def _next_beat(home_path: Path, spare: Spare, spared: set[int]) -> int:
    """Run the beat. Where it starts another attempt here, never return: the process goes on as its supervisor."""
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
            _become_its_supervisor(home, tended, spared)
    # A later beat starts its attempt in a fresh process: threads of a delivery may linger in this one.
    delivery.deliver_and_look(home, None, lambda: pulse(home.store, home.ports()))
    delivery.send_ping(home, 0)
    return 0


def _become_its_supervisor(home: Home, tended: Tended, spared: set[int]) -> None:
    """Replace this image, also when the beat failed after the start: a running agent is never left untended."""
    child = tended.child or Child(0, -1)
    for fd in (tended.lock_fd, child.output_fd):
        if fd >= 0:
            os.set_inheritable(fd, True)
    tending = [str(tended.lock_fd), str(child.pid), str(child.output_fd), tended.problem]
    delivering = ["deliver" if delivery.has_channels(home) else "", *map(str, spared)]
    program = ["-P", "-m", "awm_loop.cli.supervise"]
    arguments = [*program, str(home.path), tended.order.key, "--adopt", *tending, *delivering]
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  our own program
