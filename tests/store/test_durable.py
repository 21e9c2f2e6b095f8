"""A file of the home is replaced whole and durably, or not at all (SPEC 4.8); its history and quarantine (SPEC 4.7)."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import awm_loop
from awm_loop.durable import ChangedError, keep_history, quarantine, thin_history, write_durably
from awm_loop.errors import EXIT_DISK, DiskError

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(awm_loop.__file__).parents[1])}


def test_what_is_written_is_private_whatever_mode_it_had(tmp_path: Path) -> None:
    """0600 for new files whatever the umask, the old mode where there was one, and no litter: SPEC 3.3, 4.8."""
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_bytes(b"before")
    old.chmod(0o640)
    umask = os.umask(0)
    try:
        write_durably(new, b"1")
        write_durably(old, b"2")
    finally:
        os.umask(umask)

    found = {path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()}
    assert found == {"new.json": (b"1", 0o600), "old.json": (b"2", 0o600)}


def test_a_symlink_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    """A state file kept elsewhere stays elsewhere: docs/MEASURED.md 3."""
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "work.json"
    target.write_bytes(b"old")
    link = tmp_path / "current_work.json"
    link.symlink_to("elsewhere/work.json")

    write_durably(link, b"new")

    assert (link.readlink(), target.read_bytes()) == (Path("elsewhere/work.json"), b"new")
    assert list((tmp_path / "elsewhere").iterdir()) == [target]


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File fsync, rename, directory fsync, in this order; a power loss cannot be tested otherwise: SPEC 4.8."""
    path = tmp_path / "a.json"
    steps: list[tuple[str, bytes | None]] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        steps.append((f"fsync {kind}", path.read_bytes() if path.exists() else None))
        fsync(descriptor)

    def seen_rename(*args: str, **kwargs: int) -> None:
        steps.append(("rename", path.read_bytes() if path.exists() else None))
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)

    write_durably(path, b"new")

    assert steps == [("fsync file", None), ("rename", None), ("fsync directory", b"new")]


def test_a_reader_sees_old_or_new_and_a_killed_writer_leaves_one_of_them(tmp_path: Path) -> None:
    """Never a mixture, under a real writer in a loop and its SIGKILL: SPEC 4.8."""
    path = tmp_path / "a.json"
    contents = (b"a" * 300_000, b"b" * 100)
    path.write_bytes(contents[0])
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], env=ENVIRONMENT, start_new_session=True)
    try:
        seen = dict.fromkeys(contents, 0)
        while min(seen.values()) < 20:
            seen[path.read_bytes()] += 1
            assert writer.poll() is None
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()

    assert path.read_bytes() in contents


WRITER = """
import sys
from pathlib import Path
from awm_loop.durable import write_durably
while True:
    write_durably(Path(sys.argv[1]), b"b" * 100)
    write_durably(Path(sys.argv[1]), b"a" * 300_000)
"""


@pytest.mark.parametrize("edit", ["same size", "same time", "replaced", "deleted", "created"])
def test_an_edit_up_to_the_rename_is_noticed(edit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's save while ours is being written wins, and nothing of ours is left: SPEC 4.6."""
    path = tmp_path / "a.json"
    read = None
    if edit != "created":
        path.write_bytes(b"read")
        read = path.stat()
    fsync = os.fsync

    def edited_fsync(descriptor: int) -> None:
        fsync(descriptor)
        if edit == "deleted":
            path.unlink()
        elif edit == "replaced":
            (tmp_path / "other").write_bytes(b"hand")
            assert read is not None
            os.utime(tmp_path / "other", ns=(read.st_atime_ns, read.st_mtime_ns))
            (tmp_path / "other").rename(path)
        else:
            path.write_bytes(b"longer" if edit == "same time" else b"hand")
            os.utime(path, ns=(read.st_atime_ns, read.st_mtime_ns) if edit == "same time" and read else (1, 1))

    monkeypatch.setattr(os, "fsync", edited_fsync)
    with pytest.raises(ChangedError):
        write_durably(path, b"ours", unless_changed_since=read)

    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == (
        [] if edit == "deleted" else [("a.json", b"longer" if edit == "same time" else b"hand")]
    )


def test_an_unchanged_file_is_replaced_and_a_missing_one_made(tmp_path: Path) -> None:
    """The look before the rename lets pass what is as it was read: SPEC 4.6."""
    path = tmp_path / "a.json"

    write_durably(path, b"first", unless_changed_since=None)
    write_durably(path, b"second", unless_changed_since=path.stat())

    assert path.read_bytes() == b"second"


REFUSED = """
import json, os, subprocess, sys
from pathlib import Path
from awm_loop.errors import DiskError
from awm_loop.durable import keep_history, quarantine, write_durably
home = Path(sys.argv[1])
state = home / "a.json"
if len(sys.argv) > 2:
    write_durably(state, b"old")
    (home / "history").mkdir()
    exec(sys.argv[2])
before = sorted(os.listdir(home))
told = []
for write in (lambda: write_durably(state, b"x" * 200_000), lambda: keep_history(home / "history", 7, b"x" * 200_000)):
    try:
        write()
    except DiskError as error:
        told.append([error.message, error.hint, error.exit_code])
print(json.dumps([told, sorted(os.listdir(home)) == before, os.listdir(home / "history"), state.read_text()]))
"""


@pytest.mark.parametrize(
    ("options", "spoil", "cause", "hint"),
    [
        ("size=64k", "", "No space left on device", "free some space: `df -h {}`"),
        (
            "nr_inodes=8",
            "for n in range(5): (home / str(n)).touch()",
            "No space left on device (no free inodes)",
            "remove files: `df -i {}`",
        ),
        (
            "size=1m",
            "subprocess.run(['mount', '-o', 'remount,ro', str(home)], check=True)",
            "Read-only file system",
            "mount it read-write: `findmnt -T {}`",
        ),
    ],
    ids=["full", "no inodes", "read-only"],
)
def test_a_disk_that_refuses_leaves_the_old_file_and_no_litter(
    options: str, spoil: str, cause: str, hint: str, tmp_path: Path
) -> None:
    """On a real tmpfs: one line with path, cause and hint, exit 74, the old contents, nothing beside them: SPEC 4.8."""
    told, no_litter, history, contents = in_private_mount(tmp_path, options, spoil)

    assert told == [
        [f"cannot write {tmp_path}/a.json: {cause}", hint.format(tmp_path), EXIT_DISK],
        [f"cannot write {tmp_path}/history/7.json: {cause}", hint.format(tmp_path / "history"), EXIT_DISK],
    ]
    assert (no_litter, history, contents) == (True, [], "old")


def in_private_mount(home: Path, options: str, spoil: str) -> list[object]:
    """What REFUSED prints on a tmpfs mounted on `home` in a mount namespace of its own."""
    unshare = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]
    mount = [*unshare, "sh", "-c", f'mount -t tmpfs -o {options} awm-test "$0" && exec "$@"', str(home)]
    probe = subprocess.run([*mount, "true"], check=False, capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"NOT TESTED, no private tmpfs to be had here: {probe.stderr.strip()}")
    python = [sys.executable, "-c", REFUSED, str(home), spoil]
    run = subprocess.run([*mount, *python], check=False, capture_output=True, text=True, env=ENVIRONMENT)
    assert (run.returncode, run.stderr) == (0, "")
    answer: list[object] = json.loads(run.stdout)
    return answer


def test_a_directory_of_another_user_is_named_with_its_owner() -> None:
    """EACCES says whose directory it is and what to do; /usr is root's on every Linux: SPEC 4.8."""
    run = subprocess.run([sys.executable, "-c", NOBODY], check=False, capture_output=True, text=True, env=ENVIRONMENT)

    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout) == [
        "cannot write /usr/awm-test.json: Permission denied",
        "/usr belongs to root; run as root or chown it",
    ]


NOBODY = """
import json, os
from pathlib import Path
from awm_loop.errors import DiskError
from awm_loop.durable import write_durably
is_root = os.geteuid() == 0
if is_root:
    os.seteuid(65534)
try:
    write_durably(Path("/usr/awm-test.json"), b"")
except DiskError as error:
    print(json.dumps([error.message, error.hint]))
if is_root:
    os.seteuid(0)  # whoever measures this process writes down what he saw
"""


def test_a_place_that_is_no_place_for_a_file_is_said_so(tmp_path: Path) -> None:
    """A directory or FIFO at the name, no directory, a name too long: one line each, nothing left: SPEC 4.8."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    long = "n" * 300
    causes = {
        "directory": "it is not a regular file",
        "fifo": "it is not a regular file",
        "loop": "it is not a regular file",
        "missing/a.json": "No such file or directory",
        "fifo/a.json": f"{tmp_path / 'fifo'} is no directory",
        long: "File name too long",
    }

    told = {}
    for name in causes:
        with pytest.raises(DiskError) as caught:
            write_durably(tmp_path / name, b"data")
        told[name] = caught.value.message

    assert told == {name: f"cannot write {tmp_path / name}: {cause}" for name, cause in causes.items()}
    assert {entry.name for entry in tmp_path.iterdir()} == {"directory", "fifo", "loop"}


def test_a_planted_temporary_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the random name guessed, the link's target would still not be written to: SPEC 17."""
    monkeypatch.setattr(os, "urandom", bytes)
    victim, planted = tmp_path / "victim", tmp_path / ".0000000000000000.tmp"
    victim.write_bytes(b"precious")
    planted.symlink_to(victim)

    with pytest.raises(DiskError, match="File exists"):
        write_durably(tmp_path / "a.json", b"data")

    assert (victim.read_bytes(), planted.readlink(), len(list(tmp_path.iterdir()))) == (b"precious", victim, 2)


def test_history_keeps_the_newest_revs_and_nothing_else_is_touched(tmp_path: Path) -> None:
    """The last `keep_max` states, 0600 in a 0700 directory; foreign names stay: SPEC 3.2, 3.3."""
    history = tmp_path / "history"
    foreign = {"notes.txt", "07.json", "-3.json", "1.json.bak", "x1.json"}
    for rev in range(1, 24):
        keep_history(history, rev, b"state %d" % rev)
        thin_history(history, rev, keep_max=5)
        if rev == 1:
            for name in foreign:
                (history / name).touch()
        assert revisions(history) == {n: b"state %d" % n for n in range(max(1, rev - 4), rev + 1)}

    assert foreign <= {entry.name for entry in history.iterdir()}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (history, history / "23.json")}
    assert modes == {0o700, 0o600}


def revisions(history: Path) -> dict[int, bytes]:
    return {
        int(path.stem): path.read_bytes() for path in history.iterdir() if re.fullmatch(r"[1-9]\d*.json", path.name)
    }


def test_history_stays_bounded_over_gaps_and_over_a_state_put_back(tmp_path: Path) -> None:
    """A leap of the rev leaves no files for ever, and a lower rev does not lose the state just written: SPEC 4.6."""
    for rev in [*range(1, 8), *range(1001, 1011), *range(8, 11)]:
        keep_history(tmp_path, rev, b"")
        thin_history(tmp_path, rev, keep_max=5)

    assert sorted(revisions(tmp_path)) == [8, 9, 10, 1006, 1007, 1008, 1009, 1010]


def test_quarantine_copies_each_content_once(tmp_path: Path) -> None:
    """The bytes as they are, named by UTC and hash, 0600 in a 0700 directory, known again later: SPEC 4.7."""
    directory = tmp_path / "quarantine"
    now = datetime(2026, 11, 21, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    later = now + timedelta(days=1)

    first = quarantine(directory, b"{broken", now)
    other = quarantine(directory, b"\0\xff", later)
    again = quarantine(directory, b"{broken", later)

    assert first == (directory / "20261120T233000Z-be302461.json", True)
    assert other == (directory / "20261121T233000Z-06eb7d6a.json", True)
    assert again == (first[0], False)
    assert {path: path.read_bytes() for path in directory.iterdir()} == {first[0]: b"{broken", other[0]: b"\0\xff"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory, first[0])} == {0o700, 0o600}
