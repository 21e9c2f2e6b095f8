"""An agent's output is kept bounded, with both its ends and a line on what is missing (SPEC 8.2)."""

from __future__ import annotations

import os
import resource
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from awm_loop.attempt.liveness import Liveness
from awm_loop.attempt.output import CHUNK_BYTES, Lines, OutputLog, tail
from awm_loop.core.model import Instant

HEAD, TAIL = 10, 20


def logged(path: Path, *chunks: bytes) -> bytes:
    """What is on disk of an output that came in `chunks`."""
    log = OutputLog(path, HEAD, TAIL)
    for chunk in chunks:
        log.append(chunk)
    log.close()
    return path.read_bytes()


def cut(count: int) -> bytes:
    return b"\n[AWM: %d bytes of output left out here]\n" % count


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """A disk with room for so much of one file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_output_up_to_both_bounds_is_kept_whole(tmp_path: Path) -> None:
    """The first and the last part touch: nothing is cut, and no line says so (SPEC 8.2)."""
    assert logged(tmp_path / "out.log", b"h" * HEAD, b"t" * TAIL) == b"h" * HEAD + b"t" * TAIL


def test_of_more_output_the_middle_is_left_out_and_counted(tmp_path: Path) -> None:
    """However often the file was cut on the way: one line, with all that is missing (SPEC 8.2)."""
    chunks = [b"%03d." % number for number in range(100)]

    kept = logged(tmp_path / "out.log", *chunks)

    whole = b"".join(chunks)
    assert kept == whole[:HEAD] + cut(len(whole) - HEAD - TAIL) + whole[-TAIL:]
    assert [path.name for path in tmp_path.iterdir()] == ["out.log"]


def test_a_log_never_holds_more_than_one_tail_too_much(tmp_path: Path) -> None:
    """An agent that prints without end does not fill the disk before it ends (SPEC 8.2)."""
    log = OutputLog(tmp_path / "out.log", HEAD, TAIL)
    sizes = []
    for _ in range(100):
        log.append(b"12345678")
        sizes.append((tmp_path / "out.log").stat().st_size)
    log.close()

    assert max(sizes) <= HEAD + 2 * TAIL + len(cut(999))


def test_a_long_tail_is_copied_in_pieces(tmp_path: Path) -> None:
    """More than one read's worth, and each byte once (SPEC 8.2)."""
    data = os.urandom(3 * CHUNK_BYTES)
    log = OutputLog(tmp_path / "out.log", HEAD, 2 * CHUNK_BYTES)
    log.append(data)
    log.close()

    assert (tmp_path / "out.log").read_bytes() == data[:HEAD] + cut(CHUNK_BYTES - HEAD) + data[-2 * CHUNK_BYTES :]


def test_what_no_disk_takes_is_counted_as_left_out(tmp_path: Path) -> None:
    """A disk that refuses the log, or takes a part, stops nobody, and the line tells of it (SPEC 8.2)."""
    log = OutputLog(tmp_path / "out.log", HEAD, TAIL)
    with files_of_at_most(15):
        log.append(b"a" * 20)
        log.append(b"b" * 20)
    log.append(b"c" * 100)
    log.close()

    assert (tmp_path / "out.log").read_bytes() == b"a" * HEAD + cut(140 - HEAD - TAIL) + b"c" * TAIL


def test_a_log_that_cannot_be_cut_stays_as_it_is(tmp_path: Path) -> None:
    """No room for the shorter copy: nothing of it is left behind, and the output goes on (SPEC 8.2)."""
    path = tmp_path / "out.log"
    log = OutputLog(path, HEAD, TAIL)
    with files_of_at_most(30):
        log.append(b"a" * 30)
        log._compact()
        kept = [found.name for found in tmp_path.iterdir()]
    log.append(b"b" * 5)
    log.close()

    assert (kept, path.read_bytes()[-5:]) == (["out.log"], b"bbbbb")


@pytest.mark.parametrize("what", ["the log", "its shorter copy"])
def test_what_an_agent_put_in_the_way_stops_nobody(what: str, tmp_path: Path) -> None:
    """The agent can write in this directory too: its output is then lost, or longer, and nothing else is (SPEC 8.2)."""
    path = tmp_path / "out.log"
    obstacle = path if what == "the log" else tmp_path / f".out.log.{os.getpid()}"
    obstacle.mkdir()

    log = OutputLog(path, HEAD, TAIL)
    log.append(b"a" * 100)
    log.close()

    assert obstacle.is_dir()
    assert path.is_dir() or path.read_bytes() == b"a" * 100


def test_a_log_that_its_agent_emptied_is_cut_all_the_same(tmp_path: Path) -> None:
    """`> out.log` by the agent: there is less to copy than was counted, and the copy ends (SPEC 8.2)."""
    path = tmp_path / "out.log"
    log = OutputLog(path, HEAD, TAIL)
    log.append(b"a" * 45)
    os.truncate(path, 0)
    log.append(b"b" * 45)
    log.close()

    assert path.read_bytes().startswith(b"b" * HEAD + b"\n[AWM: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", ""),
        (b"short\n", "short\n"),
        (b"first\nsecond\nthird\n", "third\n"),
        (b"one line without an end", "thout an end"),
        ("äöü ".encode("latin-1"), "\\xe4\\xf6\\xfc "),
    ],
)
def test_the_end_of_a_log_begins_with_a_whole_line(text: bytes, said: str, tmp_path: Path) -> None:
    """Where there is one; bytes that are no text are escaped (SPEC 8.2)."""
    (tmp_path / "out.log").write_bytes(text)

    assert tail(tmp_path / "out.log", 12) == said
    assert tail(tmp_path / "none.log", 12) == ""


def test_a_sign_of_life_with_a_new_id_each_time_is_no_progress(tmp_path: Path) -> None:
    """Claude Code prints `tool_progress` every 30 s of a tool that hangs, each with a UUID of its own (SPEC 8.4)."""
    watch, said = Liveness(tmp_path, (), 20.0), []
    for second in range(0, 120, 20):
        watch.feed(f'{{"type":"tool_progress","elapsed":{second},"uuid":"{uuid.uuid4()}"}}\n'.encode())
        now = Instant(wall=datetime.now(UTC), boottime=float(second), boot_id="one")
        said.append("output" in watch.sample(set(), now, float(second)).progress)

    assert said == [False, False, False, False, False, False]


def test_lines_come_whole_whatever_pieces_they_come_in() -> None:
    """Bytes that are no UTF-8 are escaped, a line that is too long loses its end, the last needs none (SPEC 8.2)."""
    lines = Lines(line_bytes_max=8)
    found = [
        line for piece in (b"one\ntw", b"o\n", b"", b"\n", b"0123456789", b"0\n\xff\nend") for line in lines.feed(piece)
    ]

    assert found == ["one", "two", "", "01234567", "\\xff"]
    assert (lines.close(), lines.close()) == (["end"], [])


class Copied(bytes):
    """Bytes that count what is copied of them, and of what they are added to."""

    count = 0

    def split(self, *arguments: Any) -> list[bytes]:
        return [Copied(part) for part in super().split(*arguments)]

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        Copied.count += len(found)
        return found

    def __radd__(self, before: bytes) -> bytes:
        Copied.count += len(before) + len(self)
        return bytes(before) + bytes(self)


def test_a_long_line_is_copied_once_however_many_pieces_it_comes_in() -> None:
    """What comes is kept as it comes: no copy of the whole for each piece (SPEC 8.2)."""
    lines, piece = Lines(), Copied(b"a" * 1000)

    found = [line for _ in range(200) for line in lines.feed(piece)] + lines.close()

    assert found == ["a" * 200_000]
    assert Copied.count <= 200_000
