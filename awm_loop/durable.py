"""Files replaced whole and durably, with their history and quarantine (SPEC 4.7, 4.8, docs/MEASURED.md 3).

Guarantee: a reader sees the old contents or the new, never a mixture, also after a crash or power loss; where the disk
refuses, the old contents stand and nothing is left lying beside them. What was returned from is on disk. What stands in
the bytes is not looked at here: a caller reads with `jsontext.parse` first and does not write over what that refuses.

A process killed inside a write can leave a `.*.tmp` behind: a write that never was, or what somebody had saved in that
very moment (`left_behind`). Callers hold the state lock.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType

from awm_loop import fault
from awm_loop.errors import DiskError

HISTORY_MAX = 50  # SPEC 3.2
QUARANTINE_MAX = 200  # files that did not validate
_RENAME_EXCHANGE = 2  # <linux/fs.h>

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}(?:-([0-9a-f]{16}))?\.tmp")  # the second: of what it is to replace
_REVISION = re.compile(r"(0|[1-9][0-9]{0,11})\.json")


class ChangedError(Exception):
    """The file is not the one its caller read: somebody edited it meanwhile. Nothing was written; look again."""


class UnsyncedError(DiskError):
    """The new contents are there, and may be edited, but it is not known that they survive a power loss."""


class LeftError(ChangedError):
    """The same, twice: somebody also edited what was written while it stood. `left_behind` finds the first edit."""


class _TakenOutError(OSError):
    """What has the temporary name now is somebody's edit, and could not be put back: `left_behind` finds it."""


def write_durably(
    path: Path,
    data: bytes,
    unless_changed_since: os.stat_result | EllipsisType | None = ...,
    *,
    before: Callable[[], None] | None = None,
) -> os.stat_result:
    """Replace the contents of `path` by `data`: temporary file, fsync, rename, fsync of the directory (SPEC 4.8).

    A symlink stays and its target is replaced. The file gets mode 0600, whatever it had (SPEC 3.3). Returns the `fstat`
    of what was written, for the next write's `unless_changed_since`. With
    `unless_changed_since`, the file must still be the one which had that `fstat` when it was read (None: must still be
    missing), else ChangedError, and nothing is changed. That is looked at before the rename (SPEC 4.6), and again at
    what the rename took out: an edit between these system calls is put back. `before` is called when all is on disk but
    the name.

    Raises DiskError and leaves the old contents; only where the very last step fails, the fsync of the directory, the
    new contents are there already and may not survive a power loss.
    """
    with disk_trouble(path):
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
    with disk_trouble(target), _folder(target.parent) as folder:
        old = _status(folder, target.name)
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise DiskError(f"cannot write {target}: it is not a regular file", "move it away")
        with _temporary(folder, data, unless_changed_since) as (name, descriptor):
            fault.point("durable.write:before-sync")
            os.fsync(descriptor)
            if before is not None:
                before()
            fault.point("durable.write:before-rename")
            found = _status(folder, target.name)
            if unless_changed_since is not ... and _identity(found) != _identity(unless_changed_since):
                raise ChangedError(str(path))
            written = os.fstat(descriptor)
            if not (isinstance(unless_changed_since, os.stat_result) and _exchange(folder, name, target.name)):
                os.rename(name, target.name, src_dir_fd=folder, dst_dir_fd=folder)
            elif _identity(_status(folder, name)) != _identity(unless_changed_since):
                _put_back(folder, name, target.name, written)
                raise ChangedError(str(path))
        fault.point("durable.write:after-rename")
        try:
            os.fsync(folder)
        except OSError as error:
            cause, hint = _explained(error, target)
            raise UnsyncedError(f"cannot write {target}: {cause}", hint) from error
    fault.point("durable.write:after-sync")
    return written


def write_unsynced(path: Path, data: bytes) -> None:
    """Replace the contents of `path`, of mode 0600, whole; its directory is made 0700.

    For what can be made again: a power loss may leave the old contents, none, or a part. Raises DiskError.
    """
    with disk_trouble(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with _folder(path.parent) as folder, _temporary(folder, data) as (name, _):
            os.rename(name, path.name, src_dir_fd=folder, dst_dir_fd=folder)


def _put_back(folder: int, name: str, other: str, written: os.stat_result) -> None:
    """Exchange again, so that what was `written` is out and the edit stands.

    Where it was edited or replaced as well while it stood, that is their last word: it stays, and the edit before it is
    left behind. Raises LeftError then.
    """
    try:
        _exchange(folder, name, other)
        if _identity(_status(folder, name)) == _identity(written):
            return
        _exchange(folder, name, other)
    except OSError as error:
        raise _TakenOutError(error.errno, error.strerror) from error
    raise LeftError(other)


def _exchange(folder: int, name: str, other: str) -> bool:
    """Give two files of `folder` each other's name in one step; False where kernel or file system cannot.

    Raises ChangedError where one of them is gone.
    """
    import ctypes  # noqa: PLC0415  a beat that saves nothing has no use for it

    libc = ctypes.CDLL(None, use_errno=True)
    fault.point("durable.exchange:before")
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(folder, os.fsencode(name), folder, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        fault.point("durable.exchange:after")
        return True
    error = ctypes.get_errno()
    if error == errno.ENOENT:
        raise ChangedError(other)
    if error in {errno.EINVAL, errno.ENOSYS}:
        return False
    raise OSError(error, os.strerror(error))


def sync_folder(path: Path) -> None:
    """Make the names in a directory durable, as they are now. Raises OSError."""
    with _folder(path) as folder:
        os.fsync(folder)


def left_behind(directory: Path) -> list[Path]:
    """The temporary files in `directory`, of writes that were killed or go on. Raises DiskError."""
    with disk_trouble(directory, "read"), os.scandir(directory) as entries:
        return [Path(entry.path) for entry in entries if _TEMPORARY.fullmatch(entry.name)]


def is_replaced(path: Path) -> bool:
    """Whether a file that was left behind is what its writer had read and put new contents in place of, not an edit.

    Raises DiskError.
    """
    found = _TEMPORARY.fullmatch(path.name)
    with disk_trouble(path, "read"):
        return found is not None and found[1] == _digest(path.lstat())


def keep_history(directory: Path, rev: int, data: bytes) -> None:
    """Keep `data` as `<rev>.json` (0600, not synced) in `directory` (made 0700). Raises DiskError."""
    path = directory / f"{rev}.json"
    with disk_trouble(path):
        directory.mkdir(mode=0o700, exist_ok=True)
        with _folder(directory) as folder, _temporary(folder, data) as (name, _):
            fault.point("durable.history:before-rename")
            os.rename(name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            fault.point("durable.history:after-rename")


def thin_history(directory: Path, rev: int, keep_max: int = HISTORY_MAX) -> None:
    """Keep only the newest `keep_max` revs up to `rev`, which stands: until then an edit may need the oldest.

    The directory is listed on every `keep_max`-th rev only, to sweep what gaps in the revs left, and what could not be
    removed; between two sweeps that can leave twice `keep_max` files. Other names are left alone.
    """
    with suppress(OSError), _folder(directory) as folder:
        for surplus in _surplus(folder, rev, keep_max):
            with suppress(OSError):
                os.unlink(f"{surplus}.json", dir_fd=folder)


def history_revs(directory: Path) -> list[int]:
    """The revs that `keep_history` kept in `directory`, in no order. Raises DiskError."""
    with disk_trouble(directory, "read"), suppress(FileNotFoundError):
        return _revs(directory)
    return []


def quarantine(directory: Path, data: bytes, now: datetime, keep_max: int = QUARANTINE_MAX) -> tuple[Path, bool]:
    """Copy bytes that do not validate to `<utc>-<sha8>.json` (0600) in `directory` (made 0700), once for each content.

    Returns the copy and whether this content is new; one seen before keeps its first copy. The newest `keep_max` are
    kept. Raises DiskError.
    """
    digest = hashlib.sha256(data).hexdigest()[:8]
    path = directory / f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest}.json"
    with disk_trouble(path):
        directory.mkdir(mode=0o700, exist_ok=True)
        earlier = min(directory.glob(f"*-{digest}.json"), default=None)
    if earlier is not None:
        return earlier, False
    write_durably(path, data)
    with suppress(OSError):
        for old in sorted(directory.glob("*.json"))[:-keep_max]:
            old.with_suffix(".told").unlink(missing_ok=True)
            old.unlink()
    return path, True


@contextmanager
def disk_trouble(path: Path, verb: str = "write") -> Iterator[None]:
    """Turn an OSError inside into a DiskError: one line with `path` and the cause, and what to do about it as hint."""
    try:
        yield
    except OSError as error:
        cause, hint = _explained(error, path)
        raise DiskError(f"cannot {verb} {path}: {cause}", hint) from error


def _explained(error: OSError, path: Path) -> tuple[str, str]:
    """The cause in words, and what to type."""
    folder = path.parent
    cause = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC if _has_no_inodes(folder):
            return f"{cause} (no free inodes)", f"remove files: `df -i {folder}`"
        case errno.ENOSPC:
            return cause, f"free some space: `df -h {folder}`"
        case errno.EDQUOT:
            return cause, "free some space in your quota: `quota -s`"
        case errno.EROFS:
            return cause, f"mount it read-write: `findmnt -T {folder}`"
        case errno.EACCES | errno.EPERM:
            return cause, _whose(folder) or _whose(path) or f"`ls -ld {folder}; lsattr -d {folder}`"
        case errno.EIO:
            return cause, "the disk reports errors: `dmesg | tail`"
        case errno.ENAMETOOLONG:
            return cause, "use a home with a shorter path"
        case errno.ENOENT:
            return cause, f"`ls -ld {folder}`"
        case errno.ENOTDIR | errno.EEXIST:  # something else has the name of a folder that is to be there
            odd = next((one for one in (path, folder) if one.exists() and not one.is_dir()), None)
            return (f"{odd} is no directory", f"`ls -l {odd}`; move it away") if odd else (cause, "")
    return cause, ""


def _has_no_inodes(folder: Path) -> bool:
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_files > 0 and found.f_favail == 0
    return False


def _whose(path: Path) -> str:
    """Whom to run as when `path` belongs to another user, else nothing."""
    try:
        owner = path.stat().st_uid
    except OSError:
        return ""
    if owner == os.geteuid():
        return ""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"uid {owner}"
    return f"{path} belongs to {name}; run as {name} or chown it"


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """The open directory: all steps of a write happen in this one, whatever its path comes to mean."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(folder: int, data: bytes, old: os.stat_result | EllipsisType | None = ...) -> Iterator[tuple[str, int]]:
    """A new file in `folder` with `data` in it: its name and descriptor. Afterwards it is renamed, or gone.

    What is not ours is left. The name says which `old` file it is to replace: exchanged and killed, or not to be
    removed, the one under that name can be told from an edit that was taken out.
    """
    is_ours = True
    of = f"-{_digest(old)}" if isinstance(old, os.stat_result) else ""
    name = f".{os.urandom(8).hex()}{of}.tmp"
    descriptor = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
    )
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        yield name, descriptor
    except (_TakenOutError, LeftError):
        is_ours = False
        raise
    finally:
        os.close(descriptor)
        if is_ours:
            with suppress(OSError):  # the trouble that led here is the one to tell
                os.unlink(name, dir_fd=folder)


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _identity(status: os.stat_result | None) -> tuple[int, int, int] | None:
    return status and (status.st_ino, status.st_size, status.st_mtime_ns)


def _digest(status: os.stat_result) -> str:
    return hashlib.sha256(repr(_identity(status)).encode()).hexdigest()[:16]


def _surplus(folder: int, rev: int, keep_max: int) -> list[int]:
    if rev % keep_max:
        return [rev - keep_max] if rev > keep_max else []
    # A rev above this one is of a state that was put back since, and will be written over: not older.
    return sorted(kept for kept in _revs(folder) if kept <= rev)[:-keep_max]


def _revs(directory: Path | int) -> list[int]:
    with os.scandir(directory) as entries:
        return [int(found[1]) for entry in entries if (found := _REVISION.fullmatch(entry.name))]
