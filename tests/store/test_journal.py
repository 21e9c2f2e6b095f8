"""The journal: whole lines only, whatever happens to a write, at a cost that does not grow (SPEC 3.2, 4.3)."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import awm_loop
from awm_loop.errors import DiskError
from awm_loop.store.journal import append, last_seq, tail

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(awm_loop.__file__).parents[1])}


def entry(seq: int, note: str = "") -> dict[str, object]:
    return {"seq": seq, "note": note}


def test_entries_are_added_one_a_line(tmp_path: Path) -> None:
    """JSON as people read it, a line each, in a private file; no lines make no file: SPEC 3.2, 3.3."""
    path = tmp_path / "log.jsonl"
    append(path, [])
    assert not path.exists()
    umask = os.umask(0)
    try:
        append(path, [entry(1, "two\nlines"), entry(2)])
        append(path, [entry(3, "läuft 🚀")])
    finally:
        os.umask(umask)

    assert path.read_text() == (
        '{"seq": 1, "note": "two\\nlines"}\n{"seq": 2, "note": ""}\n{"seq": 3, "note": "läuft 🚀"}\n'
    )
    assert (stat.S_IMODE(path.stat().st_mode), last_seq(path)) == (0o600, 3)


def test_a_missing_or_empty_journal_is_at_zero(tmp_path: Path) -> None:
    """A new home has no journal yet: SPEC 4.3."""
    empty = tmp_path / "empty.jsonl"
    empty.touch()

    assert [last_seq(tmp_path / "none"), last_seq(empty)] == [0, 0]
    assert [tail(tmp_path / "none", 5), tail(empty, 5)] == [[], []]


TEXT = "".join(json.dumps({"seq": seq, "note": "é" * seq}, ensure_ascii=False) + "\n" for seq in (1, 2, 3)).encode()


@pytest.mark.parametrize("length", range(len(TEXT) + 1))
def test_a_torn_last_line_is_cut_off_before_the_next(length: int, tmp_path: Path) -> None:
    """Wherever a kill tore the file, its stump is not read and never merges with a new line: docs/MEASURED.md 3."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(TEXT[:length])
    whole = TEXT[:length].count(b"\n")

    assert last_seq(path) == whole
    append(path, [entry(9)])

    assert path.read_bytes() == b"".join(TEXT.splitlines(keepends=True)[:whole]) + b'{"seq": 9, "note": ""}\n'


@pytest.mark.parametrize("size", [65_534, 65_535, 65_536, 65_537, 300_000])
def test_lines_longer_than_a_block_are_read_and_torn_like_others(size: int, tmp_path: Path) -> None:
    """The blocks that the end is read in leave no seam."""
    path = tmp_path / "log.jsonl"
    entries = [entry(1), entry(2, "x" * size), entry(3, "y" * size)]
    append(path, entries)

    assert (tail(path, 9), tail(path, 2), last_seq(path)) == (entries, entries[1:], 3)

    os.truncate(path, path.stat().st_size - 1)
    assert last_seq(path) == 2
    append(path, [entry(4)])
    assert tail(path, 9) == [*entries[:2], entry(4)]


def test_lines_that_are_no_entry_are_passed_over(tmp_path: Path) -> None:
    """Rubbish in the journal hides no entry and stops nothing: it is for people."""
    path = tmp_path / "log.jsonl"
    append(path, [entry(1), entry(2)])
    bad = ["[" * 100_000, "", "[1]", "null", '{"seq": "3"}', '{"seq": true}', '{"note": ""}', "{}{}", "9" * 5000, "{"]
    with path.open("ab") as file:
        file.write("\n".join(bad).encode() + b"\n\xff\xfe\n\0\0\0\n")

    assert (tail(path, 1), tail(path, 0), last_seq(path)) == ([entry(2)], [], 2)
    append(path, [entry(3)])
    assert tail(path, 5) == [entry(1), entry(2), entry(3)]


@given(st.binary(max_size=200).map(lambda data: data.replace(b"0", b"\n")), st.integers(0, 3))
@settings(deadline=None)
def test_any_bytes_before_leave_an_appended_entry_whole(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, count: int
) -> None:
    """No content of the file makes a call fail or loses the new entry."""
    path = tmp_path_factory.mktemp("journal") / "log.jsonl"
    path.write_bytes(data)
    before = last_seq(path)

    append(path, [entry(7)])

    assert (before, last_seq(path), tail(path, count)) == (0, 7, [entry(7)][:count])


def test_no_call_costs_more_in_a_long_journal(tmp_path: Path) -> None:
    """With 64 GiB before the last line each call reads a few blocks only: SPEC 4.3."""
    path = tmp_path / "log.jsonl"
    with path.open("wb") as file:
        file.truncate(2**36)  # a hole
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + TEXT + b'{"seq": 4')

    before = read_bytes_count()
    assert last_seq(path) == 3
    append(path, [entry(4)])
    assert [found["seq"] for found in tail(path, 3)] == [2, 3, 4]

    assert read_bytes_count() - before < 1_000_000


def read_bytes_count() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_write_that_stops_half_way_leaves_nothing_of_it(tmp_path: Path) -> None:
    """A disk that takes only part of the lines (here: a file size limit) gets none of them: SPEC 4.8."""
    path = tmp_path / "log.jsonl"
    append(path, [entry(1)])
    run = subprocess.run(
        [sys.executable, "-c", HALF_WAY, str(path)], check=False, capture_output=True, text=True, env=ENVIRONMENT
    )

    assert (run.returncode, run.stderr, run.stdout) == (0, "", f"cannot write {path}: File too large\n")
    assert path.read_bytes() == b'{"seq": 1, "note": ""}\n'


HALF_WAY = """
import resource, sys
from pathlib import Path
from awm_loop.errors import DiskError
from awm_loop.store.journal import append
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))
try:
    append(Path(sys.argv[1]), [{"seq": 2, "note": "x" * 700}, {"seq": 3, "note": "y" * 700}])
except DiskError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)  # whoever measures this process writes down what he saw
"""


def test_a_journal_that_is_no_file_is_the_operators_trouble(tmp_path: Path) -> None:
    """The line names the path and the cause, for writing and for reading: SPEC 4.8."""
    with pytest.raises(DiskError) as written:
        append(tmp_path, [entry(1)])
    with pytest.raises(DiskError) as read:
        last_seq(tmp_path)

    assert written.value.message == f"cannot write {tmp_path}: Is a directory"
    assert read.value.message == f"cannot read {tmp_path}: Is a directory"


@pytest.mark.parametrize("note", ["\ud800", float("nan")])
def test_what_could_not_be_read_back_is_not_journalled(note: object, tmp_path: Path) -> None:
    """Our bug stops before the file is touched: docs/MEASURED.md 3."""
    with pytest.raises(ValueError):
        append(tmp_path / "log.jsonl", [entry(1), {"seq": 2, "note": note}])

    assert list(tmp_path.iterdir()) == []
