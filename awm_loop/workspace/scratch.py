"""A directory for a moment: what a process that was killed left of one is removed by the next (SPEC 3.2)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from awm_loop import trees

PREFIX = "awm-scratch-"
KEPT_SECONDS = 86_400.0  # no index of git is written for a day


@contextmanager
def scratch() -> Iterator[Path]:
    """Made 0700 in the machine's folder for such, and removed with all that is in it."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = left.lstat()
            if found.st_uid == os.geteuid() and 0 <= found.st_mtime < time.time() - KEPT_SECONDS:
                trees.remove(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as path:
        yield Path(path)
