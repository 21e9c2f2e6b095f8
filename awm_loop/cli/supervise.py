"""The supervisor's process (SPEC 8.2): tend one attempt, then run the next beat, and become the next supervisor.

    python -m awm_loop.cli.supervise HOME KEY READY_FD        a fresh one, started by a beat
    python -m awm_loop.cli.supervise HOME KEY --adopt …       this process again, after exec, with child and lock

The next agent is started first, inside the beat, by this very process; only then is the image replaced, so that the
code is fresh and nothing leaks, while pid, child and lock stay. What a beat imports is imported while the agent works.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import markdown_it  # noqa: F401  the next beat reads specs with it: imported now, while the agent works

from awm_loop.attempt import supervise
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.attempt.spawn import Child, become_subreaper
from awm_loop.attempt.supervise import Tended
from awm_loop.cli import delivery
from awm_loop.cli.pulse import pulse
from awm_loop.cli.tending import invocation, judge
from awm_loop.errors import AwmError
from awm_loop.wiring import Home


def main(arguments: list[str]) -> int:
    home_path, key, *rest = arguments
    gc.freeze()  # what was imported is not looked through again: that would fall between two agents
    os.chdir(home_path)
    become_subreaper()
    directory = AttemptDirectory(Path(home_path) / "state" / "attempts" / key)
    tended = _adopted(directory, rest[1:]) if rest[0] == "--adopt" else _begun(directory, int(rest[0]))
    if tended is not None:
        supervise.watch(tended, judge, _deliverer(home_path) if "--deliver" in rest else ())
    try:
        return _next_beat(Path(home_path))
    except AwmError as error:
        return error.show()


def _begun(directory: AttemptDirectory, ready_fd: int) -> Tended | None:
    """Start the attempt, or reap it where a stop was asked; None when there is nothing to watch."""
    os.set_inheritable(ready_fd, False)
    lock_fd = supervise.tend(directory)
    os.close(ready_fd)
    if lock_fd is None:
        return None
    if directory.stop_request() is not None:
        supervise.reap_attempt(directory, lock_fd)
        return None
    return supervise.begin(directory, lock_fd, invocation)


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


def _deliverer(home_path: str) -> tuple[int, ...]:
    """The notices of the beat that started our agent, sent by a child of ours that is not the agent's."""
    arguments = [sys.executable, "-P", "-m", "awm_loop.cli.delivery", home_path]
    return (os.posix_spawn(sys.executable, arguments, os.environ, setsid=True),)


def _next_beat(home_path: Path) -> int:
    """Run the beat. Where it starts another attempt here, never return: the process goes on as its supervisor."""
    begun: list[Tended] = []

    def begin(directory: AttemptDirectory) -> None:
        lock_fd = supervise.tend(directory)
        tended = None if lock_fd is None else supervise.begin(directory, lock_fd, invocation)
        if tended is not None:
            begun.append(tended)

    home = Home.open(home_path)
    try:
        pulse(home.store, home.ports(begin))
    finally:
        for tended in begun:
            _become_its_supervisor(home, tended)
    # A later beat starts its attempt in a fresh process: threads of a delivery may linger in this one.
    delivery.deliver_and_look(home, None, lambda: pulse(home.store, home.ports()))
    delivery.send_ping(home, 0)
    return 0


def _become_its_supervisor(home: Home, tended: Tended) -> None:
    """Replace this image, also when the beat failed after the start: a running agent is never left untended."""
    child = tended.child or Child(0, -1)
    for fd in (tended.lock_fd, child.output_fd):
        if fd >= 0:
            os.set_inheritable(fd, True)
    numbers = [str(tended.lock_fd), str(child.pid), str(child.output_fd), tended.problem]
    if delivery.has_channels(home):
        numbers.append("--deliver")
    arguments = ["-P", "-m", "awm_loop.cli.supervise", str(home.path), tended.order.key, "--adopt", *numbers]
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  our own program


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
