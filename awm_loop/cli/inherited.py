"""What survives exec and breaks a beat, whoever calls it: ignored signals, closed standard streams."""

from __future__ import annotations

import os
import signal
import sys


def set_right() -> None:
    """Make the end of a child something to wait for, and have /dev/null where stdin, stdout or stderr is closed.

    Else the first files that are opened, the locks, would get the numbers 0 to 2. Python has set up its streams by
    then: where one was closed the process is replaced by itself, once.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, the kernel takes the exit codes of agents and of git
    was_closed = False
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            was_closed = True
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: `fd`
    if was_closed:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  our own command line again
