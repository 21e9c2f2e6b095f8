"""`state/log.jsonl`: one JSON object a line, each with its whole number `seq`; it only grows (SPEC 3.2, 4.3).

Guarantee: an entry is there whole or not at all. What a kill or a full disk left of one is never read, and is cut off
before the next is added, so that two never run together; the state file still has it and it is appended again on load.
For that reason nothing here is synced. No call costs more because the file is long: all look at its end only.
Callers hold the state lock.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from awm_loop import fault
from awm_loop.config import COUNT_MAX
from awm_loop.durable import disk_trouble

SEQ_MAX = COUNT_MAX // 1000  # a state that went on from more could soon not be read
_BLOCK_BYTES = 64 * 1024
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def append(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    """Add `lines` in one write; the file is made (0600) when missing. For no lines nothing is done.

    Raises DiskError, and then none of `lines` is in the file. NaN and lone surrogates are our bug: ValueError.
    """
    if not lines:
        return
    data = "".join(f"{_ENCODER.encode(dict(line))}\n" for line in lines).encode()
    with disk_trouble(path), _opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
        end = _whole_bytes(descriptor)
        if end < os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, end)
        fault.point("journal.append:before-write")
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            os.ftruncate(descriptor, end)
            raise
        fault.point("journal.append:written")


def last_seq(path: Path) -> int:
    """The `seq` of the newest entry, 0 when there is none. Raises DiskError when the file cannot be read."""
    match tail(path, 1):
        case [{"seq": int(seq)}]:
            return seq
    return 0


def tail(path: Path, count: int) -> list[dict[str, object]]:
    """The newest `count` entries, oldest first; lines that are none are left out. Raises DiskError like `last_seq`."""
    entries: list[dict[str, object]] = []
    with disk_trouble(path, "read"):
        try:
            with _opened(path, os.O_RDONLY) as descriptor:
                for line in _lines_backward(descriptor):
                    if len(entries) >= count:
                        break
                    entry = _entry(line)
                    if entry is not None:
                        entries.append(entry)
        except FileNotFoundError:
            return []
    return entries[::-1]


def _entry(line: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(value, dict) and type(value.get("seq")) is int and value["seq"] <= SEQ_MAX
    return value if is_one and isinstance(value.get("what", ""), str) else None


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _whole_bytes(descriptor: int) -> int:
    """Where the last whole line ends: what follows was torn."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _lines_backward(descriptor: int) -> Iterator[bytes]:
    """The whole lines, newest first, read from the end in blocks."""
    end = _whole_bytes(descriptor)
    begun = b""  # the end of a line whose beginning is in the block before
    while end:
        start = max(0, end - max(_BLOCK_BYTES, len(begun)))
        first, *lines = (os.pread(descriptor, end - start, start) + begun).split(b"\n")
        yield from reversed(lines)
        begun, end = first, start
    yield begun
