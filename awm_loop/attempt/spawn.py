"""Start an agent's main process so that it can neither outlive its supervisor nor hide from it (SPEC 8.2, 8.5)."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: the child must not load libraries


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How to run an agent: argv, its whole environment, the directory, and the file that is its stdin."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    stdin_path: Path


@dataclass(frozen=True, slots=True)
class Child:
    """A running agent: its pid, and the pipe its stdout and stderr arrive by."""

    pid: int
    output_fd: int


def become_subreaper() -> None:
    """From now on, orphans of the agent's tree come to this process instead of to init. Survives exec."""
    if _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def spawn(invocation: Invocation, agent_lock_fd: int) -> Child | str:
    """Start the agent in a session of its own, holding `agent_lock_fd`. Returns why where it cannot be run.

    Must be called from a single-threaded process: PR_SET_PDEATHSIG follows the thread that forks.
    """
    output_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    error_fd, report_fd = os.pipe2(os.O_CLOEXEC)
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_agent(invocation, (write_fd, agent_lock_fd, report_fd), supervisor)
    os.close(write_fd)
    os.close(report_fd)
    with os.fdopen(error_fd, "rb") as reports:
        problem = reports.read().decode(errors="backslashreplace")
    if problem:
        os.waitpid(pid, 0)
        os.close(output_fd)
        return problem
    os.set_blocking(output_fd, False)
    return Child(pid, output_fd)


def _become_agent(invocation: Invocation, fds: tuple[int, int, int], supervisor: int) -> None:
    """Runs in the child, between fork and exec; never returns. `fds` are output, agent lock and problem report."""
    output_fd, lock_fd, report_fd = fds
    what = "fork"
    try:
        os.setsid()
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:  # it died before the line above: nobody would send us that signal
            os._exit(1)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o077)
        what = f"working directory {invocation.directory}"
        os.chdir(invocation.directory)
        what = f"prompt {invocation.stdin_path}"
        stdin_fd = os.open(invocation.stdin_path, os.O_RDONLY)
        os.dup2(stdin_fd, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        os.set_inheritable(lock_fd, True)
        what = f"program {invocation.argv[0]}"
        os.execvpe(invocation.argv[0], list(invocation.argv), dict(invocation.environment))  # noqa: S606  argv, no shell
    except OSError as error:
        os.write(report_fd, f"{what}: {error.strerror}".encode(errors="backslashreplace"))
    finally:
        os._exit(127)
