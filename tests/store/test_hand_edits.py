"""Edits of the state file by hand, on real files: merged, journalled, and never undone by a kill (SPEC 4.6)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from example import ATTEMPT, NOW

from awm_loop.core.consequence import note
from awm_loop.core.model import Launch, StopReason, Work
from awm_loop.durable import HISTORY_MAX
from awm_loop.errors import BadFileError, BusyError
from awm_loop.ports import Changed, Loaded
from awm_loop.store import journal, jsontext
from awm_loop.store.statefile import StateFile

REPOSITORY = Path(__file__).resolve().parents[2]
LIVE = replace(ATTEMPT, number=1)
State = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> StateFile:
    """A home where S1 runs and S2, S3 wait: two revs were written."""
    found = StateFile(tmp_path / "state", ("local", "local"))
    found.prepare()
    found.path.write_bytes(jsontext.layout({"queue": ["S1", "S2", "S3"], "project": "/p", "mine": 1}))
    found.update(lambda work, now: note(work, now, "first"), NOW)
    found.update(launched, NOW)
    return found


def launched(work: Work, now: Any) -> Work:
    began = replace(work, queue=work.queue[1:], attempts=(LIVE,), next_attempt=2, pending=Launch(key=LIVE.key))
    return replace(note(began, now, "queued ready -> launching, launch", "S1"), pending=Launch(key=LIVE.key))


def noted(work: Work, now: Any) -> Work:
    return note(work, now, "something was done")


def edit(store: StateFile, change: Callable[[State], object], data: bytes | None = None) -> None:
    """Save the file, or an older copy of it, as changed by a person."""
    state = json.loads(store.path.read_bytes() if data is None else data)
    change(state)
    store.path.write_text(json.dumps(state, indent=4))


def load(store: StateFile) -> Loaded:
    loaded = store.load(NOW)
    assert loaded is not None
    return loaded


def settle(store: StateFile) -> Loaded:
    """Load as a beat does."""
    while True:
        loaded = load(store)
        try:
            store.catch_up(loaded)
        except Changed:
            continue
        return loaded


def edits(store: StateFile) -> list[str]:
    """What the journal says of edits by hand, oldest first; its numbers have no gaps."""
    entries = journal.tail(store.journal_path, 1000)
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    return [str(entry["note"]) for entry in entries if entry["what"] == "edited by hand"]


def revs(store: StateFile) -> list[int]:
    return sorted(int(path.stem) for path in store.history_path.glob("*.json"))


# What becomes of an edit


def test_an_edit_is_merged_saved_and_journalled_once(store: StateFile) -> None:
    """Its base is the rev it carries, whatever AWM wrote since (SPEC 4.6)."""
    old = store.path.read_bytes()
    store.update(noted, NOW)
    edit(store, lambda state: state.update(queue=["S3", "S9", "S2"], mine=2), old)

    work = settle(store).work
    before = store.path.read_bytes()

    assert (work.queue, work.attempts) == (("S3", "S9", "S2"), (LIVE,))
    assert (json.loads(before)["mine"], json.loads(before)["rev"], revs(store)) == (2, 4, [1, 2, 3, 4])
    assert edits(store) == ["mine set to 2; S9 added to queue; queue reordered: S3 S9 S2"]
    assert (settle(store).data, len(edits(store))) == (before, 1)


def test_looking_at_an_edit_writes_nothing(store: StateFile) -> None:
    """`awm status` and a dry run see the merge (SPEC 6.1)."""
    edit(store, lambda state: state["queue"].remove("S3"))
    before = {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()}

    assert load(store).work.queue == ("S2",)
    assert {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("change", [dict.clear, lambda state: state.update(lastUpdated="2026-01-01T00:00:00Z")])
def test_a_file_that_says_the_same_stays_as_the_person_wrote_it(
    store: StateFile, change: Callable[[State], object]
) -> None:
    """White space, the order of keys, and a time nobody counts by: nothing is saved or journalled (SPEC 6.4)."""
    state = json.loads(store.path.read_bytes())
    change(ignored := dict(state))
    store.path.write_text(json.dumps(dict(reversed({**state, **ignored}.items()))))
    before = store.path.read_bytes()

    loaded = settle(store)

    assert (store.path.read_bytes(), revs(store), edits(store)) == (before, [1, 2], [])
    assert (loaded.work.queue, loaded.work.attempts) == (("S2", "S3"), (LIVE,))


def test_an_old_copy_saved_again_or_put_back_undoes_nothing(store: StateFile) -> None:
    """What AWM wrote since stands, and there was no edit to tell of (SPEC 4.6)."""
    newest = load(store).work
    store.path.write_bytes((store.history_path / "1.json").read_bytes())

    work = settle(store).work

    assert (work, edits(store)) == (newest, [])
    assert json.loads(store.path.read_bytes())["attempts"][0]["task"] == "S1"


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.update(attempts=[], pending=None, seq=0, nextAttempt=1),
        lambda state: [state.pop(key) for key in ("attempts", "pending", "seq", "nextAttempt", "log", "tasks")],
        lambda state: [state.pop(key) for key in set(state) - {"queue", "completed", "inProgress"}],
        lambda state: (state.pop("rev"), state.update(attempts=[], pending=None, queue=["S1", "S2", "S3"])),
        lambda state: state.update(rev=99, attempts=[], pending=None),
        lambda state: state.update(rev=10**15, attempts=[], pending=None, inProgress=""),
    ],
)
def test_no_edit_of_what_awm_keeps_forgets_a_live_attempt(store: StateFile, change: Callable[[State], object]) -> None:
    """Emptied, left out, of no rev or one nobody wrote: the agent is not started a second time (SPEC 4.6, 15.1)."""
    edit(store, change)

    work = settle(store).work

    assert [replace(attempt, stop=None) for attempt in work.attempts] == [LIVE]
    assert (work.next_attempt, work.pending, "S1" in work.queue) == (2, Launch(key=LIVE.key), False)
    assert json.loads(store.path.read_bytes())["rev"] <= 3 + HISTORY_MAX


def test_a_live_task_removed_by_hand_is_asked_to_end(store: StateFile) -> None:
    """The core's rows do the rest (SPEC 4.6)."""
    edit(store, lambda state: state.update(inProgress=None, attempts=[], pending=None))

    work = settle(store).work

    assert work.attempts == (replace(LIVE, stop=StopReason.REMOVED),)
    assert edits(store) == ["pending put back, it is counted by AWM; S1 removed while it runs: asked to end"]


def test_an_edit_that_counts_rev_and_time_on_as_awm_does_is_an_edit(store: StateFile) -> None:
    """Taken for AWM's own save, it would forget a live attempt and start its task again (SPEC 4.6, 15.1)."""

    def change(state: State) -> None:
        state |= {"rev": state["rev"] + 1, "lastUpdated": "2031-01-01T00:00:00Z", "attempts": [], "inProgress": None}
        state["queue"] = ["S1", *state["queue"]]

    edit(store, change)

    after = settle(store).work

    assert [(attempt.task, attempt.stop) for attempt in after.attempts] == [("S1", StopReason.REQUEUED)]


@pytest.mark.parametrize("kind", ["metrics", "fifo", "directory", "link"])
def test_what_is_no_state_of_a_killed_save_is_left_alone(store: StateFile, kind: str) -> None:
    """It may be a file that another process writes at this moment, and nothing waits for it (SPEC 6.1)."""
    path = store.directory / ".0123456789abcdef.tmp"
    {
        "metrics": lambda: path.write_text('{"metrics": []}'),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "link": lambda: path.symlink_to("nowhere"),
    }[kind]()

    settle(store)

    assert os.path.lexists(path)


@pytest.mark.parametrize("was_edited_since", [False, True])
def test_an_edit_that_a_killed_save_had_taken_out_is_not_lost(store: StateFile, was_edited_since: bool) -> None:
    """It was renamed over at the same moment, and lies beside; of one that was edited since, what is new (SPEC 4.6)."""
    edit(store, lambda state: state["queue"].append("S9"))
    store.path.rename(store.directory / ".0123456789abcdef.tmp")
    store.path.write_bytes((store.history_path / "2.json").read_bytes())
    if was_edited_since:
        edit(store, lambda state: state["queue"].append("S8"))

    work = settle(store).work

    assert work.queue == (("S2", "S3", "S8", "S9") if was_edited_since else ("S2", "S3", "S9"))
    assert edits(store)[-1].endswith("S9 added to queue")
    assert [path.name for path in store.directory.glob(".*.tmp")] == []


def test_what_a_killed_save_left_of_a_state_that_was_written_is_removed(store: StateFile) -> None:
    """AWM's own bytes are no edit (SPEC 4.6)."""
    left = store.directory / ".0123456789abcdef.tmp"
    left.write_bytes((store.history_path / "1.json").read_bytes())

    settle(store)

    assert (left.exists(), edits(store), revs(store)) == (False, [], [1, 2])


def test_a_file_of_no_rev_in_a_used_home_only_adds(store: StateFile) -> None:
    """An assistant that writes the published form from memory (SPEC 4.6)."""
    store.path.write_bytes(jsontext.layout({"queue": ["S1", "S2", "S4"], "project": "/elsewhere", "maxRetries": 9}))

    loaded = settle(store)

    assert (loaded.work.queue, loaded.work.project, loaded.work.attempts) == (("S2", "S3", "S4"), "/p", (LIVE,))
    assert edits(store) == [
        "only what is new was taken: the rev it carries is not known here; maxRetries set to 9; S4 added to queue"
    ]


def test_an_edit_is_news_until_a_row_was_taken(store: StateFile) -> None:
    """So that a beat learns the priorities of what was added, whoever saved the edit (SPEC 7.5)."""
    assert not store.edit_of(load(store))
    edit(store, lambda state: state["queue"].append("S9"))
    assert store.edit_of(load(store))
    store.update(noted, NOW)
    assert store.edit_of(load(store))

    store.update(lambda work, now: note(work, now, "launching alive -> running", "S1"), NOW)

    assert not store.edit_of(load(store))


def test_the_first_file_of_a_home_is_no_edit(tmp_path: Path) -> None:
    """There is nothing it could differ from (SPEC 4.1)."""
    store = StateFile(tmp_path, ("local", "local"))
    store.path.write_bytes(jsontext.layout({"queue": ["S1"], "rev": 7}))

    loaded = settle(store)

    assert (loaded.work.queue, loaded.rev, bool(store.edit_of(loaded))) == (("S1",), 7, True)
    assert list(tmp_path.iterdir()) == [store.path]


# Kills, power losses, races

KILLED = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/store"]
from example import NOW
from awm_loop import durable
from awm_loop.core.consequence import note
from awm_loop.store.statefile import StateFile

left = int(sys.argv[3])

def before(call):
    def counted(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return counted

store = StateFile(Path(sys.argv[2]), ("local", "local"))

def change(work, now):
    for name in ("open", "write", "fsync", "rename", "unlink", "ftruncate", "mkdir", "close"):
        setattr(os, name, before(getattr(os, name)))
    durable._exchange = before(durable._exchange)
    return replace(note(work, now, "running alive -> running", "S1"), skipped=("S0",))

store.update(change, NOW)
"""


def killed_at(store: StateFile, operation: int) -> bool:
    """Save in a process that is killed before its n-th operation; False where it had less."""
    arguments = [sys.executable, "-c", KILLED, str(REPOSITORY), str(store.directory), str(operation)]
    code = subprocess.run(arguments, check=False).returncode
    assert code in {0, -signal.SIGKILL}
    return code != 0


def files_of(store: StateFile) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in store.directory.rglob("*") if path.is_file()}


def put_back(store: StateFile, files: dict[Path, bytes]) -> None:
    for path in files_of(store):
        path.unlink()
    for path, data in files.items():
        path.write_bytes(data)


def test_a_kill_between_any_two_operations_of_a_save_is_no_edit_and_hides_none(store: StateFile) -> None:
    """What was saved or was not is there whole; an edit right after it forgets no attempt and is not lost (SPEC 4.6)."""
    files, operation, seen = files_of(store), 0, set()
    while killed_at(store, operation):
        left, rev = files_of(store), json.loads(store.path.read_bytes())["rev"]
        work = settle(store).work
        assert (work.queue, work.attempts, edits(store)) == (("S2", "S3"), (LIVE,), [])

        put_back(store, left)
        edit(store, lambda state: state.update(attempts=[], pending=None, queue=["S2", "S3", "S9"]))
        edited = settle(store).work
        assert (edited.queue, edited.attempts, edited.skipped) == (("S2", "S3", "S9"), (LIVE,), work.skipped)
        assert edits(store) == ["pending put back, it is counted by AWM; S9 added to queue"]

        seen.add((rev, work.skipped))
        put_back(store, files)
        operation += 1

    assert operation > 10
    assert seen == {(2, ()), (3, ("S0",))}


@pytest.mark.parametrize("lost", [b"", b"\0" * 100, None])
def test_after_a_power_loss_the_file_is_the_truth(store: StateFile, lost: bytes | None) -> None:
    """History is not synced: its newest copies may be empty or gone (SPEC 4.3, 4.8)."""
    saved = store.update(noted, NOW)
    for rev in (2, 3):
        (store.history_path / f"{rev}.json").unlink()
        if lost is not None:
            (store.history_path / f"{rev}.json").write_bytes(lost)

    assert (settle(store).work, edits(store)) == (replace(saved, log=()), [])
    assert (store.history_path / "4.json").read_bytes() == store.path.read_bytes()  # for a later edit to begin with


@pytest.mark.parametrize("lost", [b"", b"\0" * 100])
def test_a_torn_copy_of_a_save_without_a_row_is_no_edit(store: StateFile, lost: bytes) -> None:
    """A proof, or a delivery, has no sequence number of its own; its torn copy still tells whose it was (SPEC 6.2)."""
    store.update(lambda work, now: replace(work, pending=None), NOW)
    (store.history_path / "3.json").write_bytes(lost)

    assert (settle(store).work.pending, edits(store)) == (None, [])
    assert (store.history_path / "4.json").read_bytes() == store.path.read_bytes()


def test_without_any_history_the_file_is_the_truth(store: StateFile) -> None:
    """Somebody tidied up."""
    for path in store.history_path.iterdir():
        path.unlink()
    edit(store, lambda state: state["queue"].remove("S2"))

    assert (settle(store).work.queue, edits(store)) == (("S3",), [])


def test_a_save_that_is_refused_by_an_edit_leaves_no_history(store: StateFile) -> None:
    """Else the next load would take for written what was not (SPEC 4.6)."""
    loaded = load(store)
    edit(store, lambda state: state["queue"].append("S9"))

    with pytest.raises(Changed):
        store.save(loaded, noted(loaded.work, NOW), NOW)

    assert (revs(store), settle(store).work.queue, edits(store)) == ([1, 2], ("S2", "S3", "S9"), ["S9 added to queue"])


@pytest.mark.parametrize("how", ["by rename", "in place", "deleted"])
def test_an_edit_between_the_look_and_the_rename_stands(
    store: StateFile, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the rename takes out is looked at too, and put back (SPEC 4.6)."""
    loaded = load(store)
    edited = store.path.read_bytes().replace(b'"S3"', b'"S9"')
    fstat = os.fstat

    def edits_then_fstat(descriptor: int) -> os.stat_result:
        """Called between the two, of our temporary file."""
        monkeypatch.undo()
        if how == "deleted":
            store.path.unlink()
        elif how == "in place":
            store.path.write_bytes(edited)
        else:
            (store.directory / "edited~").write_bytes(edited)
            (store.directory / "edited~").rename(store.path)
        return fstat(descriptor)

    monkeypatch.setattr("awm_loop.durable.os.fstat", edits_then_fstat)
    with pytest.raises(Changed):
        store.save(loaded, noted(loaded.work, NOW), NOW)

    assert (store.path.read_bytes() if how != "deleted" else edited, revs(store)) == (edited, [1, 2])
    assert store.path.exists() is (how != "deleted")
    assert [path for path in store.directory.iterdir() if path.suffix == ".tmp"] == []


def test_without_one_whole_copy_the_file_is_the_truth(store: StateFile) -> None:
    """A power loss that tore all of history: there is nothing to merge with (SPEC 4.6)."""
    for path in store.history_path.iterdir():
        path.write_bytes(b"")
    edit(store, lambda state: state.update(queue=["S9"]))

    assert (settle(store).work.queue, edits(store)) == (("S9",), [])


# An edit made beside the file


def test_an_edit_beside_the_file_is_told_before_it_is_made(store: StateFile) -> None:
    """`awm edit` shows what it will do and writes nothing, then does just that (SPEC 4.6)."""
    before = json.loads(store.path.read_bytes())
    after = before | {"queue": ["S2", "S3", "S9"]}
    data = store.path.read_bytes()

    told = store.take(before, after, NOW, dry_run=True)
    assert (store.path.read_bytes(), revs(store)) == (data, [1, 2])

    assert (told, store.take(before, after, NOW)) == (("S9 added to queue",),) * 2
    assert (load(store).work.queue, edits(store)) == (("S2", "S3", "S9"), ["S9 added to queue"])
    assert store.take(after, after, NOW) == ()


def test_an_edit_beside_the_file_needs_one(store: StateFile) -> None:
    """A home that lost its state gets none from an editor's buffer (SPEC 4.7)."""
    store.path.unlink()
    for path in store.history_path.iterdir():
        path.unlink()

    with pytest.raises(BadFileError, match="is gone") as caught:
        store.take({}, {}, NOW)

    assert caught.value.hint == "`awm restore` puts the last good copy back"


def test_an_edit_beside_a_file_that_is_edited_without_end_gives_up(
    store: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs is saved first each time, and never overwritten (SPEC 4.6)."""
    before = json.loads(store.path.read_bytes())
    fstat = os.fstat

    def edits_then_fstat(descriptor: int) -> os.stat_result:
        edit(store, lambda state: state.update(mine=state["mine"] + 1))
        return fstat(descriptor)

    monkeypatch.setattr("awm_loop.durable.os.fstat", edits_then_fstat)
    with pytest.raises(BusyError, match="is being edited without a pause"):
        store.take(before, before | {"maxRetries": 9}, NOW)
    monkeypatch.undo()

    assert json.loads(store.path.read_bytes())["mine"] > before["mine"]
    assert "maxRetries" not in settle(store).raw


def test_a_file_that_is_half_written_is_read_again(store: StateFile) -> None:
    """An editor that writes in place truncates first: no notice for a torn moment (SPEC 4.7)."""
    data = store.path.read_bytes().replace(b'"S3"', b'"S9"')

    def writes_slowly() -> None:
        with store.path.open("wb", buffering=0) as file:
            for part in (data[:50], data[50:200], data[200:]):
                time.sleep(0.1)
                file.write(part)

    editor = threading.Thread(target=writes_slowly)
    editor.start()
    while store.path.read_bytes() == (store.history_path / "2.json").read_bytes():
        pass
    work = load(store).work
    editor.join()

    assert work.queue == ("S2", "S9")


def test_a_file_that_stays_half_written_is_bad_within_a_second_and_a_half(store: StateFile) -> None:
    """The wait is short, and none for a file that has been so for a while (SPEC 4.7)."""
    store.path.write_bytes(store.path.read_bytes()[:50])
    for age_seconds, most_seconds in ((0.0, 1.5), (10.0, 0.2)):
        stamp = time.time() - age_seconds
        os.utime(store.path, (stamp, stamp))
        began = time.monotonic()
        with pytest.raises(BadFileError, match="the file ends"):
            store.load(NOW)
        assert time.monotonic() - began < most_seconds


def test_a_file_that_is_spoilt_without_end_is_bad_in_the_end(store: StateFile) -> None:
    """A beat holds the lock meanwhile, so the wait has a bound of its own (SPEC 4.7)."""
    store.path.write_bytes(store.path.read_bytes()[:50])
    is_over = threading.Event()

    def touches() -> None:
        while not is_over.wait(0.01):
            os.utime(store.path)

    toucher = threading.Thread(target=touches)
    toucher.start()
    try:
        with pytest.raises(BadFileError, match="the file ends"):
            store.load(NOW)
    finally:
        is_over.set()
        toucher.join()
