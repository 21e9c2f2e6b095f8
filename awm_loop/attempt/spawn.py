"""Start an agent's main process so that it can neither outlive its supervisor nor hide from it (SPEC 8.2, 8.5).

The process is forked while the agent before it still works, and waits for what it is to become: forking an interpreter
costs five times what the exec does, and would fall between two agents (docs/MEASURED.md 6).
"""

from __future__ import annotations

import array  # noqa: F401  `socket` imports it to pass descriptors: now, not between two agents
import ctypes
import marshal
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from awm_loop import fault
from awm_loop.errors import AwmError

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PID_BYTES_MAX = 20
ORPHAN_POLL_SECONDS = 0.0002
AGENT_FIRST_SECONDS = 0.001  # it may have come to our CPU, and would wait there while we write down that it runs
PATIENCE_SECONDS = 1.0  # with a spare that does not answer: then it may have been stopped, and is told to go on
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: the child must not load libraries


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How to run an agent: argv, its whole environment, the directory, and the file that is its stdin.

    With `is_stderr_apart` its stderr has a pipe of its own; else it comes in its place among the output.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    stdin_path: Path
    is_stderr_apart: bool = False


@dataclass(frozen=True, slots=True)
class Child:
    """A running agent: its pid, and the pipes of its stdout and stderr; `errors_fd` is -1 where both share one."""

    pid: int
    output_fd: int
    errors_fd: int = -1

    @property
    def fds(self) -> tuple[int, ...]:
        """The pipes there are."""
        return tuple(fd for fd in (self.output_fd, self.errors_fd) if fd >= 0)


@dataclass(frozen=True, slots=True)
class Spare:
    """A child in a session of its own that waits to become an agent, and dies with this process.

    It holds nothing open but its end of `orders`. Where nothing comes, the end of `orders` ends it.
    """

    pid: int
    pidfd: int
    orders: socket.socket

    @classmethod
    def fork(cls) -> Spare:
        """Must be called from a single-threaded process: PR_SET_PDEATHSIG follows the thread that forks.

        Returns when it has closed what this process has open. Raises AwmError where no process can be made.
        """
        pid, orders = _forked(_wait_to_become_agent)
        return cls(pid, os.pidfd_open(pid), orders)

    @property
    def is_waiting(self) -> bool:
        """Whether it has not been told yet what to become."""
        return self.orders.fileno() >= 0

    def become(self, invocation: Invocation, fds: tuple[int, int, int, int]) -> None:
        """Let it become the agent with `fds` (output, errors, agent lock, problem report).

        In one message, which a stopped one cannot keep waiting. Raises OSError where it is gone.
        """
        with self.orders, os.fdopen(os.memfd_create("invocation"), "wb") as file:
            marshal.dump(
                (
                    list(invocation.argv),
                    dict(invocation.environment),
                    str(invocation.directory),
                    str(invocation.stdin_path),
                ),
                file,
            )
            file.flush()
            socket.send_fds(self.orders, [b"\0"], [*fds, file.fileno()])

    def dismiss(self) -> None:
        """It is not needed, and ends: nothing of it stays open here."""
        self.orders.close()
        os.close(self.pidfd)

    def wake(self) -> None:
        """Let it go on where somebody stopped it."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Nursery:
    """A child forked before this process has grown, which forks spares for it, and dies with it.

    What is forked from a grown process shares its memory: until the spare has become something else, this process
    copies each page that it writes, which is a third of a turn (docs/MEASURED.md 7).
    """

    pid: int
    orders: socket.socket

    @classmethod
    def fork(cls) -> Nursery:
        """Must be called as `Spare.fork` must. Raises AwmError where no process can be made."""
        pid, orders = _forked(_bear)
        return cls(pid, orders)

    def spare(self) -> Spare:
        """One more. This process must be a subreaper: as an orphan of the nursery's the spare becomes its child.

        Where the nursery is gone or does not answer, a fork of this process does. Raises AwmError where there is none.
        """
        with suppress(OSError):
            ours, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self.orders, [b"\0"], [theirs.fileno()])
            if not select.select([ours], [], [], PATIENCE_SECONDS)[0]:
                self.orders.close()  # it is not asked again: from now on a fork of this process does, at once
            elif said := ours.recv(PID_BYTES_MAX):
                return Spare(int(said), os.pidfd_open(int(said)), ours)
            ours.close()  # the end of one that comes late
        return Spare.fork()


def become_subreaper() -> None:
    """From now on, orphans of the agent's tree come to this process instead of to init. Survives exec."""
    if _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def close_all_but(kept: set[int]) -> None:
    """Close every descriptor from 3 on that is not `kept`."""
    first = 3
    for fd in sorted(fd for fd in kept if fd >= first):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def spawn(invocation: Invocation, agent_lock_fd: int, spare: Spare) -> Child | str:
    """Start the agent, holding `agent_lock_fd`, in `spare`, which is used up. Returns why it cannot be run.

    Raises AwmError where no process can be made.
    """
    fault.point("spawn.agent:before")
    pipes: list[int] = []
    try:
        pipes += os.pipe2(os.O_CLOEXEC)
        pipes += os.pipe2(os.O_CLOEXEC) if invocation.is_stderr_apart else (-1, os.dup(pipes[1]))
        pipes += os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        for fd in pipes:
            with suppress(OSError):
                os.close(fd)
        spare.dismiss()
        raise AwmError(f"cannot start another process: {error.strerror}", "`ulimit -n`") from error
    output_fd, write_fd, errors_fd, errors_write_fd, problem_fd, report_fd = pipes
    fds = (write_fd, errors_write_fd, agent_lock_fd, report_fd)
    try:
        spare.become(invocation, fds)
    except OSError:  # somebody ended it: it has not become anything
        spare.dismiss()
        spare = Spare.fork()
        try:
            spare.become(invocation, fds)
        except OSError as error:
            raise AwmError(f"cannot start another process: {error.strerror}", "`dmesg | tail`") from error
    fault.point("spawn.agent:sent")
    for fd in (write_fd, errors_write_fd, report_fd):
        os.close(fd)
    child = Child(spare.pid, output_fd, errors_fd)
    problem = _report(problem_fd, spare).decode(errors="backslashreplace")
    os.close(spare.pidfd)
    if problem:
        os.waitpid(spare.pid, 0)
        for fd in child.fds:
            os.close(fd)
        return problem
    time.sleep(AGENT_FIRST_SECONDS)
    fault.point("spawn.agent:runs")
    for fd in child.fds:
        os.set_blocking(fd, False)
    return child


def _report(problem_fd: int, spare: Spare) -> bytes:
    """What `spare` says before its end of the pipe is closed, by exec or with it: nothing where all is well."""
    said = b""
    with os.fdopen(problem_fd, "rb", buffering=0) as reports:
        while True:
            while not select.select([reports], [], [], PATIENCE_SECONDS)[0]:
                spare.wake()
            piece = reports.read(4096)
            if not piece:
                return said
            said += piece


def _forked(be: Callable[[socket.socket, int], NoReturn]) -> tuple[int, socket.socket]:
    """A child that is to `be` something and holds nothing of ours any more: its pid, and our end of its orders."""
    try:
        ours, theirs = socket.socketpair()
        supervisor = os.getpid()
        pid = os.fork()
    except OSError as error:
        raise AwmError(f"cannot start another process: {error.strerror}", "`ulimit -u -n; free -h`") from error
    if pid == 0:
        be(theirs, supervisor)
    fault.point("spawn.fork:after")
    theirs.close()
    if select.select([ours], [], [], PATIENCE_SECONDS)[0]:
        ours.recv(PID_BYTES_MAX)
    return pid, ours


def _settle(orders: socket.socket, supervisor: int) -> None:
    """In a child: nothing of the supervisor's stays open, above all no lock, and it dies with it. It says its pid."""
    os.setsid()
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it died before the line above: nobody would send us that signal
        os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    orders.set_inheritable(False)  # one that was received is: the agent would have it
    close_all_but({orders.fileno()})
    orders.send(b"%d" % os.getpid())


def _bear(orders: socket.socket, supervisor: int) -> NoReturn:
    """The nursery: a spare for each socket it is sent. It comes of a child that ends at once, so it is an orphan."""
    try:
        _settle(orders, supervisor)
        nursery = os.getpid()
        while True:
            _, fds, _, _ = socket.recv_fds(orders, 1, 1)
            if not fds:
                break
            fault.point("spawn.nursery:asked")
            try:
                between = os.fork()
            except OSError:  # for the moment: who asked finds its end closed
                os.close(fds[0])
                continue
            if between == 0:
                between = os.getpid()
                _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() != nursery or os.fork():
                    break
                while os.getppid() == between:
                    time.sleep(ORPHAN_POLL_SECONDS)
                _wait_to_become_agent(socket.socket(fileno=fds[0]), supervisor)
            os.close(fds[0])
            os.waitpid(between, 0)
    finally:
        os._exit(0)


def _wait_to_become_agent(orders: socket.socket, supervisor: int) -> NoReturn:
    try:
        _settle(orders, supervisor)
        fault.point("spawn.spare:waits")
        _, fds, _, _ = socket.recv_fds(orders, 1, 5)
        if fds:
            *fds, invocation_fd = fds
            with os.fdopen(invocation_fd, "rb") as file:
                file.seek(0)
                invocation = marshal.load(file)  # noqa: S302  from who forked us
            _become_agent(fds, *invocation)
    finally:
        os._exit(127)


def _become_agent(
    fds: list[int], argv: list[str], environment: dict[str, str], directory: str, stdin_path: str
) -> None:
    """Returns only where it cannot be done, having reported why. `fds` are output, errors, lock and problem report."""
    output_fd, errors_fd, lock_fd, report_fd = fds
    what = f"working directory {directory}"
    try:
        os.set_inheritable(report_fd, False)
        os.chdir(directory)
        what = f"prompt {stdin_path}"
        stdin_fd = os.open(stdin_path, os.O_RDONLY)
        os.dup2(stdin_fd, 0)
        os.dup2(output_fd, 1)
        os.dup2(errors_fd, 2)
        os.set_inheritable(output_fd, False)
        os.set_inheritable(errors_fd, False)
        os.set_inheritable(lock_fd, True)
        is_relative = "/" in argv[0] and not argv[0].startswith("/")
        what = f"program {argv[0]}" + (f" (from {directory})" if is_relative else "")
        fault.point("spawn.agent:before-exec")
        os.execvpe(argv[0], argv, environment)  # noqa: S606  argv, no shell
    except OSError as error:
        os.write(report_fd, f"{what}: {error.strerror}".encode(errors="backslashreplace"))
