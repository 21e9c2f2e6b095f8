"""The forgetful disk is honest: it forgets what is not synced, keeps what is, and fails where it is told to."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from disk import Crash, Disk, Fault, Operation
from hypothesis import given
from hypothesis import strategies as st

from awm_loop.durable import write_durably

SEEDS = range(60)


def after_power_loss(folder: Path, act: Callable[[Path], None]) -> set[tuple[tuple[str, bytes], ...]]:
    """What may be left of a directory that held `old`, over many seeds."""
    found = set()
    for seed in SEEDS:
        root = folder / str(seed)
        root.mkdir()
        (root / "old").write_bytes(b"old")
        disk = Disk(root, lambda _: None)
        with disk.mounted():
            act(root)
        disk.lose_power(random.Random(seed))
        found.add(tuple(sorted((path.name, path.read_bytes()) for path in root.iterdir())))
    return found


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def test_what_is_synced_stays(tmp_path: Path) -> None:
    """A file and its directory, both synced, survive whole."""

    def act(root: Path) -> None:
        (root / "new").write_bytes(b"new")
        sync(root / "new")
        sync(root)

    assert after_power_loss(tmp_path, act) == {(("new", b"new"), ("old", b"old"))}


def test_a_name_may_survive_without_its_contents_and_they_without_the_name(tmp_path: Path) -> None:
    """Contents and names are forgotten apart; contents are torn at any byte, or end in zeros."""
    found = after_power_loss(tmp_path, lambda root: (root / "new").write_bytes(b"new") and None)

    kept = (("old", b"old"),)
    assert {kept, (("new", b""), *kept), (("new", b"new"), *kept)} <= found
    assert all(dict(one)["old"] == b"old" for one in found)
    assert {dict(one).get("new", b"") for one in found} <= {b"", b"n", b"ne", b"new", b"\0\0\0", b"n\0\0", b"ne\0"}


def test_a_rename_is_old_or_new(tmp_path: Path) -> None:
    """Never both names, never none; the file it replaced comes back with it."""

    def act(root: Path) -> None:
        (root / "new").write_bytes(b"new")
        sync(root / "new")
        sync(root)
        (root / "new").rename(root / "old")

    assert after_power_loss(tmp_path, act) == {(("new", b"new"), ("old", b"old")), (("old", b"new"),)}


def test_a_lost_directory_takes_what_is_in_it(tmp_path: Path) -> None:
    """However well a file and its directory were synced, the directory's own name may go."""

    def act(root: Path) -> None:
        (root / "folder").mkdir()
        (root / "folder" / "file").write_bytes(b"")
        sync(root / "folder")

    found = set()
    for seed in SEEDS:
        root = tmp_path / str(seed)
        root.mkdir()
        disk = Disk(root, lambda _: None)
        with disk.mounted():
            act(root)
        disk.lose_power(random.Random(seed))
        found.add(tuple(sorted(path.name for path in root.rglob("*"))))
    assert found == {(), ("file", "folder")}


def test_a_removal_that_is_not_synced_may_be_undone(tmp_path: Path) -> None:
    """The file is there again, whole."""
    found = after_power_loss(tmp_path, lambda root: (root / "old").unlink())

    assert found == {(), (("old", b"old"),)}


def test_a_file_whose_removal_is_undone_is_the_same_file(tmp_path: Path) -> None:
    """Of the same inode number, as on a real disk: by that AWM knows what a save had read (SPEC 4.6)."""
    found = set()
    for seed in SEEDS:
        root = tmp_path / str(seed)
        root.mkdir()
        (root / "old").write_bytes(b"old")
        number = (root / "old").stat().st_ino
        disk = Disk(root, lambda _: None)
        with disk.mounted():
            (root / "old").unlink()
        disk.lose_power(random.Random(seed))
        found |= {(path.name, path.stat().st_ino == number) for path in root.iterdir()}

    assert found == {("old", True)}


@given(seed=st.integers(), crash_at=st.integers(1, 14))
def test_the_store_leaves_old_or_new_whatever_is_forgotten(
    tmp_path_factory: pytest.TempPathFactory, seed: int, crash_at: int
) -> None:
    """`write_durably` under power loss at any operation: old or new, and new once it has returned: SPEC 4.8."""
    root = tmp_path_factory.mktemp("disk")
    (root / "file").write_bytes(b"old contents")
    disk = Disk(root, lambda operation: Fault.CRASH_AFTER if operation.number == crash_at else None)
    has_returned = False
    try:
        with disk.mounted():
            write_durably(root / "file", b"new")
            has_returned = True
    except Crash:
        pass
    disk.lose_power(random.Random(seed))

    assert (root / "file").read_bytes() in ({b"new"} if has_returned else {b"old contents", b"new"})
    shutil.rmtree(root)


def test_after_a_crash_nothing_is_done_until_another_process_comes(tmp_path: Path) -> None:
    """`finally` cannot clean up for the dead, who lose their locks and descriptors; reads are theirs no more either."""
    disk = Disk(tmp_path, lambda operation: Fault.CRASH_AFTER if operation.kind == "mkdir" else None)
    with disk.mounted():
        lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Crash):
            (tmp_path / "made").mkdir()
        with pytest.raises(Crash):
            (tmp_path / "made").rmdir()
        with pytest.raises(Crash):
            (tmp_path / "lock").read_bytes()
        disk.revive()
        with (tmp_path / "lock").open("r+b") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    assert (tmp_path / "made").is_dir()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(lock)


def test_a_full_disk_takes_the_first_half(tmp_path: Path) -> None:
    """As the kernel does: a short count, and ENOSPC for the rest. A torn write ends the process after its half."""
    full = Disk(tmp_path, lambda operation: Fault.ENOSPC if operation.kind == "write" else None)
    torn = Disk(tmp_path, lambda operation: Fault.TORN if operation.kind == "write" else None)

    with full.mounted():
        descriptor = os.open(tmp_path / "full", os.O_CREAT | os.O_WRONLY)
        assert os.write(descriptor, b"abcd") == 2
        with pytest.raises(OSError, match="No space") as refused:
            os.write(descriptor, b"cd")
        os.close(descriptor)
    with torn.mounted(), pytest.raises(Crash):
        (tmp_path / "torn").write_bytes(b"abcd")

    assert refused.value.errno == errno.ENOSPC
    assert ((tmp_path / "full").read_bytes(), (tmp_path / "torn").read_bytes()) == (b"ab", b"ab")


def test_every_operation_below_the_root_is_counted_and_none_elsewhere(tmp_path: Path) -> None:
    """Numbers from 1, kinds and paths, relative to a directory's descriptor too; `os` is as it was afterwards."""
    before = (os.open, os.write, os.fsync, open)
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"")
    disk = Disk(root, lambda _: None)
    with disk.mounted():
        write_durably(root / "file", b"1", unless_changed_since=(root / "file").stat())
        (tmp_path / "elsewhere").write_bytes(b"2")

    kinds = ["read", "open", "write", "fsync", "exchange", "unlink", "fsync-directory"]
    assert [(one.number, one.kind) for one in disk.operations] == list(enumerate(kinds, start=1))
    assert disk.operations[4] == Operation(5, "exchange", root / "file")
    assert before == (os.open, os.write, os.fsync, open)
