"""The one place that reads a clock. Everything else is given an `Instant`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from awm_loop.core.model import Instant


@lru_cache(maxsize=1)
def boot_id() -> str:
    """The kernel's id of this boot; it cannot change while this process lives."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def now() -> Instant:
    """This moment: wall clock in UTC, seconds since boot with suspend counted."""
    return Instant(wall=datetime.now(UTC), boottime=time.clock_gettime(time.CLOCK_BOOTTIME), boot_id=boot_id())
