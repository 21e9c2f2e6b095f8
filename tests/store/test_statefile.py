"""The state on disk: under a lock, never over an edit, never without its history and journal (SPEC 3.2, 3.3, 4.3-4.8)."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from example import ATTEMPT, FULL

from awm_loop.core.consequence import note
from awm_loop.core.model import Instant, Task, Work
from awm_loop.errors import BadFileError, BusyError, DiskError
from awm_loop.ports import Changed, Loaded
from awm_loop.store import journal, jsontext, statefile
from awm_loop.store.statefile import StateFile

NOW = Instant(wall=datetime(2026, 11, 21, 12, tzinfo=UTC), boottime=5000.0, boot_id="boot")


@pytest.fixture
def store(tmp_path: Path) -> StateFile:
    """The state of a new home, with one task queued."""
    found = StateFile(tmp_path / "state", ("local", "local"))
    found.prepare()
    found.path.write_bytes(jsontext.layout({"queue": ["S1"], "project": "/p"}))
    return found


def load(store: StateFile) -> Loaded:
    loaded = store.load(NOW)
    assert loaded is not None
    return loaded


def noted(work: Work, now: Instant = NOW) -> Work:
    """A change that any state can have: one line in the journal."""
    return note(work, now, "something was done")


def saved(store: StateFile, count: int = 1) -> Loaded:
    loaded = load(store)
    for _ in range(count):
        loaded = store.save(loaded, noted(loaded.work), NOW)
    return loaded


def seqs(store: StateFile) -> list[object]:
    return [entry["seq"] for entry in journal.tail(store.journal_path, 1000)]


def modes(directory: Path) -> dict[str, int]:
    return {
        str(path.relative_to(directory)): stat.S_IMODE(path.stat().st_mode)
        for path in (directory, *directory.rglob("*"))
    }


# Saving


def test_a_state_of_any_size_is_refused_and_not_read_whole(store: StateFile) -> None:
    """SPEC 4.7: a file with a hole of a terabyte is a bad file, not a lack of memory."""
    os.truncate(store.path, 2**40)

    with pytest.raises(BadFileError, match="has more than 33554432 bytes"):
        store.load(NOW)


def test_what_was_saved_is_what_is_loaded(store: StateFile) -> None:
    """State, bytes and rev; the journal's lines leave the state in memory once they are on disk (SPEC 4.3)."""
    loaded = saved(store)

    again = load(store)
    assert again.work == loaded.work == replace(noted(load(store).work), log=(), seq=1)
    assert (again.data, again.rev, again.settings) == (loaded.data, 1, loaded.settings)
    assert (store.history_path / "1.json").read_bytes() == store.path.read_bytes() == loaded.data
    assert not store.edit_of(again)


def test_a_state_that_breaks_a_guarantee_is_never_written(store: StateFile) -> None:
    """It is our bug and leaves everything as it was (SPEC 15)."""
    loaded = saved(store)
    before = {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()}
    broken = [
        replace(loaded.work, queue=()),
        replace(loaded.work, queue=("S1", "S1")),
        replace(loaded.work, completed=("S1",)),
        replace(loaded.work, attempts=(replace(ATTEMPT, task="S2"),)),
        replace(loaded.work, next_attempt=0),
        replace(noted(loaded.work), seq=loaded.work.seq),
    ]

    for work in broken:
        with pytest.raises(AssertionError, match="guarantee"):
            store.save(loaded, work, NOW)

    assert {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()} == before


def in_place(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"S1", b"S9"))


def by_rename(path: Path) -> None:
    other = path.with_name("edited~")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def within_the_second(path: Path) -> None:
    """An editor that keeps the size and gives the file its old time again, to the second."""
    before = path.stat()
    in_place(path)
    second = before.st_mtime_ns // 10**9 * 10**9
    os.utime(path, ns=(second, second + (before.st_mtime_ns + 1) % 10**9))


def by_symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere.json"))
    path.symlink_to("elsewhere.json")
    by_rename(path.with_name("elsewhere.json"))


@pytest.mark.parametrize("edit", [in_place, by_rename, within_the_second, by_symlink, Path.unlink])
def test_an_edit_between_load_and_save_is_seen(store: StateFile, edit: Callable[[Path], None]) -> None:
    """However it was made; then nothing is written, not even history and journal (SPEC 4.6)."""
    loaded = saved(store)
    edit(store.path)
    edited = store.path.read_bytes() if store.path.exists() else None

    with pytest.raises(Changed):
        store.save(loaded, noted(loaded.work), NOW)

    assert (store.path.read_bytes() if store.path.exists() else None) == edited
    assert (seqs(store), [path.name for path in store.history_path.iterdir()]) == ([1], ["1.json"])


def test_two_saves_in_one_beat_follow_each_other_and_an_edit_between_them_is_seen(store: StateFile) -> None:
    """Promise, then proof: the second save knows what the first one wrote (SPEC 4.6, 6.2)."""
    first = saved(store)
    second = store.save(first, noted(first.work), NOW)
    in_place(store.path)

    with pytest.raises(Changed):
        store.save(second, noted(second.work), NOW)

    assert json.loads(store.path.read_bytes())["queue"] == ["S9"]


def test_a_file_that_comes_to_be_meanwhile_is_not_overwritten(store: StateFile) -> None:
    """Two `awm init` at once, or a person who copies the starter file (SPEC 4.6)."""
    loaded = replace(load(store), token=None, data=b"", rev=0)

    with pytest.raises(Changed):
        store.save(loaded, noted(loaded.work), NOW)


def test_history_keeps_the_last_fifty_states_written(store: StateFile) -> None:
    """SPEC 3.2."""
    saved(store, 120)

    assert sorted(int(path.stem) for path in store.history_path.iterdir()) == list(range(71, 121))
    assert (store.history_path / "120.json").read_bytes() == store.path.read_bytes()


def test_only_the_owner_may_read_what_is_kept(store: StateFile) -> None:
    """`state/` is 0700 and its files 0600, whatever the umask and whatever they were (SPEC 3.3)."""
    store.directory.chmod(0o755)
    store.path.chmod(0o664)
    umask = os.umask(0)
    try:
        store.prepare()
        with store.locked(1) as is_ours, store.delivering() as is_delivering:
            assert (is_ours, is_delivering, store.leave_mark()) == (True, True, True)
            saved(store)
    finally:
        os.umask(umask)

    assert modes(store.directory) == {
        ".": 0o700,
        "current_work.json": 0o600,
        "current_work.json.lock": 0o600,
        "outbox.lock": 0o600,
        "look-again": 0o600,
        "log.jsonl": 0o600,
        "history": 0o700,
        "history/1.json": 0o600,
    }


def test_a_state_file_kept_elsewhere_stays_elsewhere(store: StateFile, tmp_path: Path) -> None:
    """The link stays, its target is replaced, and an edit of the target is seen (SPEC 4.6, facts/reliability.md 4)."""
    target = tmp_path / "elsewhere.json"
    store.path.rename(target)
    store.path.symlink_to(target)

    loaded = saved(store, 2)
    in_place(target)

    assert (store.path.readlink(), json.loads(target.read_bytes())["rev"]) == (target, 2)
    with pytest.raises(Changed):
        store.save(loaded, noted(loaded.work), NOW)


# Journal and numbers


def test_what_a_crash_kept_from_the_journal_is_appended_once(store: StateFile) -> None:
    """The file is the truth; a torn last line is dropped first (SPEC 4.3)."""
    saved(store, 3)
    lines = store.journal_path.read_bytes().splitlines(keepends=True)
    store.journal_path.write_bytes(lines[0] + lines[1][:9])

    for _ in range(2):
        store.catch_up(load(store))

    assert store.journal_path.read_bytes() == b"".join(lines)


def test_entries_of_others_in_the_log_never_reach_the_journal(store: StateFile) -> None:
    """Neither those without a number nor those with one that is not ours (SPEC 4.2, 15.10)."""
    theirs = ["by hand", {"seq": 10**18, "at": "now", "what": "far"}, {"seq": 1, "note": "no row"}]
    store.path.write_bytes(jsontext.layout({"queue": ["S1"], "seq": 2, "log": theirs}))

    store.catch_up(load(store))
    loaded = saved(store)

    assert (seqs(store), loaded.work.seq, json.loads(loaded.data)["log"][:3]) == ([3], 3, theirs)


@pytest.mark.parametrize("form", ["starter", "older"])
def test_no_number_is_given_twice_after_a_state_was_replaced(store: StateFile, form: str) -> None:
    """A person begins anew from the starter file, or puts an old copy back (SPEC 8.1, 15.2, 15.10).

    Attempt 1 of S1 would else find its old directory, take the old result for its own, and count as done.
    """
    starter = store.path.read_bytes()
    saved(store, 5)
    for name in ("3696ad59777e.1", "3696ad59777e.12", "0123456789ab.7", "note.99", "3696ad59777e.x"):
        (store.directory / "attempts" / name).mkdir(parents=True)
    store.path.write_bytes(starter if form == "starter" else (store.history_path / "3.json").read_bytes())

    replaced = load(store)
    loaded = store.save(replaced, noted(replaced.work), NOW)

    assert (replaced.work.next_attempt, loaded.rev, seqs(store)) == (13, 6, [1, 2, 3, 4, 5, 6])
    assert bool(store.edit_of(replaced)) is (form == "starter")


def test_a_state_nobody_touched_loads_as_it_was_saved(store: StateFile) -> None:
    """The floor under the numbers changes nothing by itself, or a quiet beat would write (SPEC 6.4)."""
    loaded = saved(store)
    (store.directory / "attempts").mkdir()

    assert load(store).work == loaded.work


# Loading


def test_a_missing_file_is_no_work_only_where_there_never_was_one(store: StateFile) -> None:
    """Where history exists it is a bad file, with what to type (SPEC 4.7)."""
    store.path.unlink()
    assert store.load(NOW) is None

    store.create("/p")
    store.path.unlink()
    with pytest.raises(BadFileError, match="is gone, and this home had one") as caught:
        store.load(NOW)
    assert caught.value.hint == "`awm restore` puts the last good copy back"


def test_a_fifo_or_a_directory_in_the_files_place_is_told_and_does_not_hang(store: StateFile) -> None:
    """Opening a FIFO waits for a writer unless told otherwise (facts/reliability.md 8)."""
    store.path.unlink()
    os.mkfifo(store.path)
    with pytest.raises(BadFileError, match="the file is empty"):
        store.load(NOW)

    store.path.unlink()
    store.path.mkdir()
    with pytest.raises(DiskError, match="Is a directory"):
        store.load(NOW)


WRITER = """
import sys
from pathlib import Path
from awm_loop import durable
from awm_loop.store import jsontext
for count in range(400):
    raw = {"queue": [f"S{count}"] * 1, "specFiles": {str(n): "/s" * count for n in range(200)}}
    durable.write_durably(Path(sys.argv[1]), jsontext.layout(raw))
"""


def test_what_is_loaded_while_another_writes_is_whole(store: StateFile) -> None:
    """A reader without the lock, as `awm status` is one, sees the old state or the new (SPEC 4.8)."""
    environment = os.environ | {"PYTHONPATH": str(Path(sys.modules["awm_loop"].__file__ or "").parents[1])}
    with subprocess.Popen([sys.executable, "-c", WRITER, str(store.path)], env=environment) as writer:
        seen = set()
        while writer.poll() is None:
            seen.add(load(store).work.queue)

    assert writer.returncode == 0
    assert len(seen) > 5


# Changing it from a command


def test_an_update_begins_again_where_a_person_edits_meanwhile(store: StateFile) -> None:
    """Their word first, then ours (SPEC 4.6)."""
    seen: list[tuple[str, ...]] = []

    def change(work: Work, now: Instant) -> Work:
        seen.append(work.queue)
        if len(seen) == 1:
            in_place(store.path)
        return noted(work, now)

    work = store.update(change, NOW)

    assert seen == [("S1",), ("S9",)]
    assert work == load(store).work
    assert json.loads(store.path.read_bytes())["queue"] == ["S9"]


def test_an_update_under_endless_edits_gives_up(store: StateFile) -> None:
    """With what to do about it; a person's file is never overwritten (SPEC 4.6)."""

    def change(work: Work, now: Instant) -> Work:
        by_rename(store.path)
        return noted(work, now)

    with pytest.raises(BusyError, match="is being edited without a pause"):
        store.update(change, NOW)


def test_an_update_that_changes_nothing_writes_nothing(store: StateFile) -> None:
    """The file stays byte-identical and of its time (SPEC 6.4)."""
    before = store.path.stat()

    store.update(lambda work, now: replace(work, queue=tuple(work.queue)), NOW)

    assert (store.path.stat(), store.history_path.exists()) == (before, False)


def test_an_update_keeps_what_a_person_wrote_without_our_knowing(store: StateFile) -> None:
    """Keys, options and order of a full file, one line of journal apart (SPEC 4.2)."""
    store.path.write_bytes(jsontext.layout({"_note": [1, {"b": None}], **FULL, "zz": {"y": 1}}))
    before = json.loads(store.path.read_bytes())

    store.update(noted, NOW)

    after = json.loads(store.path.read_bytes())
    assert list(after) == list(before)
    assert after == before | {"rev": 2, "seq": 2, "log": [*before["log"], after["log"][-1]]}


def test_the_lock_is_held_by_one_and_its_file_stays(store: StateFile) -> None:
    """A lock on an unlinked file can be held twice (facts/reliability.md 3)."""
    path = store.directory / "current_work.json.lock"
    with store.locked(0) as first:
        inode = path.stat().st_ino
        with store.locked(0) as second:
            assert (first, second) == (True, False)
    with store.locked(0) as again:
        assert (again, path.stat().st_ino) == (True, inode)
    assert path.exists()


def test_a_command_waits_its_time_for_the_lock_and_says_so(store: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves no mark, so a person is told to try again (SPEC 6.1)."""
    monkeypatch.setattr(statefile, "COMMAND_LOCK_WAIT_SECONDS", 0.1)
    message = "has been locked by another process"
    with store.locked_for_command(), pytest.raises(BusyError, match=message), store.locked_for_command():
        raise AssertionError("the lock was held twice")

    with store.locked_for_command(), store.locked(0) as again:
        assert not again


def test_a_mark_is_left_and_taken_once(store: StateFile) -> None:
    """And none where there is no place for it; one that cannot be removed is the operator's trouble (SPEC 6.5)."""
    assert [store.leave_mark(), store.leave_mark(), store.take_mark(), store.take_mark()] == [True, True, True, False]

    store.mark_path.mkdir()
    with pytest.raises(DiskError, match="look-again: Is a directory"):
        store.take_mark()

    assert not StateFile(store.directory / "gone", store.default_agent).leave_mark()


def test_a_save_that_a_disk_refuses_leaves_all_as_it_was(store: StateFile) -> None:
    """Above all no history of a state that never was: it would be put back by `awm restore` (SPEC 4.8)."""
    loaded = saved(store)
    before = {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()}
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(loaded.data), unlimited[1]))
    try:
        with pytest.raises(DiskError, match="File too large"):
            store.save(loaded, noted(loaded.work), NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    assert {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()} == before


def test_a_new_state_is_the_starter_file_and_is_made_once(store: StateFile) -> None:
    """`awm init` twice keeps what is there (SPEC 4.1)."""
    store.path.unlink()

    assert [store.create("/project"), store.create("/other")] == [True, False]

    loaded = load(store)
    assert loaded.work == Work(active=True, idle_since=None, project="/project", queue=(), completed=())
    assert list(loaded.raw)[:4] == ["active", "task", "description", "queue"]
    assert Task(id="S1") == loaded.work.task("S1")
