"""Which deliveries were taken in the last three days, in a file of lines `seconds key` (SPEC 13.4).

It outlives the receiver, so that a delivery that comes again after a restart is known. A line that a crash tore is
passed over: its delivery is known by the name of its request still.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from awm_loop import durable
from awm_loop.config import HOOK_SEEN_BYTES_MAX, HOOK_SEEN_LINES_MAX, HOOK_SEEN_SECONDS
from awm_loop.regular import open_regular, read_regular

_LINE = re.compile(r"([0-9]{1,12}) ([0-9a-f]{32})")


class Seen:
    """Of one home, by one process. Raises DiskError."""

    def __init__(self, path: Path, now: float) -> None:
        self._path = path
        with durable.disk_trouble(path, "read"):
            try:
                text = read_regular(path, HOOK_SEEN_BYTES_MAX).decode("ascii", "replace")
            except FileNotFoundError:
                text = ""
        found = (_LINE.fullmatch(line) for line in text.split("\n"))
        self._at = {line[2]: int(line[1]) for line in found if line}
        self._rewrite(now)

    def has(self, key: str, now: float) -> bool:
        """Whether `key` was added within the last three days; one of a clock that was ahead counts."""
        return key in self._at and now - self._at[key] < HOOK_SEEN_SECONDS

    def add(self, keys: list[str], now: float) -> None:
        """Remember these, 32 hexadecimal digits each, durably."""
        self._at |= dict.fromkeys(keys, int(now))
        self._appended += len(keys)
        if self._appended > HOOK_SEEN_LINES_MAX:
            self._rewrite(now)
            return
        with durable.disk_trouble(self._path):
            fd = open_regular(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(fd, _lines(dict.fromkeys(keys, int(now))))
                os.fsync(fd)
            finally:
                os.close(fd)

    def _rewrite(self, now: float) -> None:
        self._at = {key: at for key, at in self._at.items() if now - at < HOOK_SEEN_SECONDS}
        self._appended = 0
        durable.write_durably(self._path, _lines(self._at))


def _lines(at: dict[str, int]) -> bytes:
    return "".join(f"{seconds} {key}\n" for key, seconds in at.items()).encode()
