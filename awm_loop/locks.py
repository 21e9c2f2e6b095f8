"""Locks between processes: exclusive, by `flock` on a file beside what they guard.

The file is never unlinked: a lock on an unlinked file can be held twice (docs/MEASURED.md 2). The kernel drops a lock
with its last descriptor, so none outlives its holder.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

POLL_SECONDS = 0.01


def take(path: Path, wait_seconds: float = 0.0) -> int | None:
    """The descriptor of `path`, made (0600) when missing, locked; None where it is held for longer than `wait_seconds`.

    It is not inherited unless made so. Raises OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    deadline = time.monotonic() + wait_seconds
    while not _is_ours(fd):
        if time.monotonic() >= deadline:
            os.close(fd)
            return None
        time.sleep(POLL_SECONDS)
    return fd


def let_go(fd: int) -> None:
    """Let the lock go at once, also where a process forked a moment ago has not closed its copy yet."""
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _is_ours(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        os.close(fd)
        raise
    return True
