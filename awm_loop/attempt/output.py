"""An agent's output on disk, bounded: the first MiB, the last 20 MiB, a line on what is missing (SPEC 8.2)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from awm_loop.config import LOG_HEAD_BYTES, LOG_TAIL_BYTES, OUTPUT_LINE_BYTES_MAX
from awm_loop.regular import open_regular

CHUNK_BYTES = 65_536


class OutputLog:
    """`out.log`: `append` as output comes, `close` at the end. While it runs it may hold one tail more.

    A disk that refuses the log does not stop the agent: what could not be written is counted and named in the cut line.
    """

    def __init__(self, path: Path, head_bytes: int = LOG_HEAD_BYTES, tail_bytes: int = LOG_TAIL_BYTES) -> None:
        self._path = path
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._cut_bytes = 0
        self._note_bytes = 0  # of our own line in the file
        try:
            self._file = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError:
            self._file = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._size = os.fstat(self._file).st_size

    def append(self, chunk: bytes) -> None:
        written = 0
        with suppress(OSError):
            written = os.write(self._file, chunk)  # a disk that is nearly full takes a part
        self._cut_bytes += len(chunk) - written
        self._size += written
        if self._size > self._head_bytes + 2 * self._tail_bytes:
            self._compact()

    def close(self) -> None:
        if self._size > self._head_bytes + self._note_bytes + self._tail_bytes:
            self._compact()
        os.close(self._file)

    def _compact(self) -> None:
        """Keep head and tail. Done in a new file and renamed, so that a reader never sees a hole."""
        cut_bytes = self._cut_bytes + self._size - self._head_bytes - self._note_bytes - self._tail_bytes
        note = f"\n[AWM: {cut_bytes} bytes of output left out here]\n".encode()
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            fresh = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            self._copy(fresh, 0, self._head_bytes)
            os.write(fresh, note)
            self._copy(fresh, self._size - self._tail_bytes, self._tail_bytes)
            temporary.rename(self._path)
        except OSError:
            os.close(fresh)
            temporary.unlink(missing_ok=True)
            return
        os.close(self._file)
        self._file, self._size = fresh, self._head_bytes + len(note) + self._tail_bytes
        self._cut_bytes, self._note_bytes = cut_bytes, len(note)

    def _copy(self, target: int, offset: int, count: int) -> None:
        while count > 0:
            chunk = os.pread(self._file, min(CHUNK_BYTES, count), offset)
            if not chunk:
                return
            os.write(target, chunk)
            offset, count = offset + len(chunk), count - len(chunk)


class Lines:
    """Whole lines out of the pieces a pipe delivers; of one that is too long the end is left out."""

    def __init__(self, line_bytes_max: int = OUTPUT_LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._rest = bytearray()  # grows in place: a line may come in thousands of pieces

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that `chunk` ends, without their ends; of bytes that are no UTF-8, escapes."""
        *whole, rest = chunk.split(b"\n")
        lines = []
        for part in whole:
            self._take(part)
            lines.append(self._rest.decode("utf-8", errors="backslashreplace"))
            self._rest.clear()
        self._take(rest)
        return lines

    def close(self) -> list[str]:
        """The last line, where it has no end."""
        return self.feed(b"\n") if self._rest else []

    def _take(self, part: bytes) -> None:
        self._rest += part[: self._line_bytes_max - len(self._rest)]


def tail(path: Path, bytes_max: int) -> str:
    """The end of a log as text, from the first whole line; "" where there is none."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - bytes_max, 0))
            data = file.read(bytes_max)
    except OSError:
        return ""
    if size > bytes_max:
        data = data.partition(b"\n")[2] or data
    return data.decode("utf-8", errors="backslashreplace")
