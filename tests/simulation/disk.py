"""A file system that fails and forgets, under the real store: faults at any operation, and the loss of power.

What the program does below a real directory goes through the real kernel; `Disk` stands in the functions of `os`, `io`
and libc's `renameat2` that it is done by, as the VFS of SQLite's crash tests does. It asks
before each operation whether that is to fail, and remembers what has not been synced, so that `lose_power` can leave
what a real power loss might:

- The contents of a file are those of its last fsync with a part of what was written since: any number of the writes in
  their order, the last one torn at any byte, the rest of the length missing or read as zeros.
- The names of a directory are those of its last fsync with any of the changes since that do not rest on a lost change
  of the same name. A rename is atomic: one name or the other, an exchange both or none. Other directories, and the
  contents of files, have their own fate: a name may survive without the contents, the contents without the name.
- What lies in a directory is lost with the directory's own name, however well it was synced itself.

That covers ext4 (data=ordered and writeback), XFS, btrfs and f2fs in their default modes, which promise more, and what
POSIX alone allows. Not covered: disks that lie about a flush or damage what was synced, pages of one file written back
out of their order, lost modes and times, renames between directories, network file systems, and other processes: what
they do below `root`, or this one while the disk is not mounted, is as if it were synced at once. Fsync is not passed on
to the kernel, for speed.
"""

# The doubles take and make what system calls do, paths as strings:
# ruff: noqa: PTH100, PTH101, PTH103, PTH108, PTH110, PTH112, PTH116, PTH119, PTH120

from __future__ import annotations

import builtins
import ctypes
import errno
import fcntl
import io
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

ZEROS_SHARE = 0.3  # how often the lost end of a file reads as zeros
NAMED = ("open", "close", "write", "fsync", "fdatasync", "rename", "replace", "unlink", "remove", "mkdir", "rmdir")
TOUCHED = ("chmod", "utime", "fchmod")  # counted and failed, but never forgotten
HELD = ".held"  # a directory below the root, of files whose last name went and may come back
PATCHED = (*NAMED, *TOUCHED, "truncate", "ftruncate", "link", "scandir", "listdir")
RENAME_EXCHANGE, AT_FDCWD = 2, -100  # <linux/fs.h>, <fcntl.h>


class Crash(BaseException):
    """The process is gone at this point. Nothing it does below the root happens any more, until `Disk.revive`."""


class Fault(Enum):
    """What becomes of an operation. A number is its `errno`; a write meets ENOSPC only after its first half.

    TORN is a write of which the first half arrives before the crash, and CRASH_BEFORE of anything else.
    """

    EIO = errno.EIO
    ENOSPC = errno.ENOSPC
    EACCES = errno.EACCES
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    TORN = "torn write"


@dataclass(frozen=True, slots=True)
class Operation:
    """The `number`-th operation below the root, from 1.

    `kind`: open (where that makes or empties a file), write, truncate, fsync, fsync-directory, rename, exchange, unlink,
    mkdir, rmdir, link, chmod, utime; and read (any other open) and list, which change nothing.
    """

    number: int
    kind: str
    path: Path

    @property
    def is_change(self) -> bool:
        return self.kind not in {"read", "list"}


@dataclass(slots=True, eq=False)
class _Node:
    """A file or directory, under whatever name. `synced` is None while nothing is unsynced."""

    path: str  # where it is now, or was last
    is_directory: bool = False
    synced: bytes | None = None
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset and data; length and None: truncated
    kept: tuple[bytes, int, int] | None = None  # contents, mode, mtime, where no name is left
    held: str = ""  # by this one then, which the program does not see

    def surviving(self, chance: random.Random) -> bytes:
        """What a power loss leaves of its contents: the synced ones and a beginning of the changes since."""
        data = bytearray(self.synced or b"")
        count = chance.choice((0, len(self.changes), chance.randint(0, len(self.changes))))
        for offset, written in self.changes[:count]:
            _change(data, offset, written)
        if count < len(self.changes) and chance.random() < 0.5:
            offset, written = self.changes[count]
            if written is not None:
                part = written[: chance.randint(0, len(written))]
                zeros = bytes(len(written) - len(part)) if chance.random() < ZEROS_SHARE else b""
                _change(data, offset, part + zeros)
        return bytes(data)


def _change(data: bytearray, offset: int, written: bytes | None) -> None:
    data.extend(bytes(max(0, offset - len(data))))
    if written is None:
        del data[offset:]
    else:
        data[offset : offset + len(written)] = written


_Names = dict[str, tuple[_Node | None, _Node | None]]  # what one change made of names: before, after


class Disk:
    """The file system below `root`. `fault` is asked before each operation and says what becomes of it.

    `deaf` has kinds of operations that are said to be done and are not remembered as done: a store that relies on them
    is a store without them.
    """

    def __init__(
        self, root: Path, fault: Callable[[Operation], Fault | None], *, deaf: frozenset[str] = frozenset()
    ) -> None:
        self.operations: list[Operation] = []
        self.fault = fault
        self.deaf = deaf
        self._root = os.path.realpath(root)
        self._is_dead = self._is_away = False
        self._opened: dict[int, str] = {}  # the paths of descriptors
        self._full: set[int] = set()  # descriptors whose next write meets ENOSPC
        self._nodes: dict[tuple[int, int], _Node] = {}  # by device and inode: those with unsynced changes
        self._folders: dict[str, list[_Names]] = {}  # unsynced changes of names, by directory
        self._real: dict[str, Any] = {name: getattr(os, name) for name in PATCHED}
        self._real_open, self._real_cdll = io.open, ctypes.CDLL

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Stand between this process and everything below `root`."""
        doubles = {name: getattr(self, f"_{name}", None) or self._toucher(name) for name in PATCHED}
        try:
            for name, double in doubles.items():
                setattr(os, name, double)
            io.open = builtins.open = self._file
            ctypes.CDLL = lambda *args, **kwargs: _Libc(self, self._real_cdll(*args, **kwargs))  # type: ignore[assignment,misc]
            yield
        finally:
            for name, real in self._real.items():
                setattr(os, name, real)
            io.open = builtins.open = self._real_open
            ctypes.CDLL = self._real_cdll  # type: ignore[misc]

    def revive(self) -> None:
        """After a Crash: another process works here. The descriptors of the dead one are closed, its flocks gone.

        Most are by now: closing and unlocking work for the dead too, since they are what the kernel does for them.
        """
        self._is_dead = False
        for descriptor in tuple(self._opened):
            with suppress(OSError):
                self._close(descriptor)

    def sync(self) -> None:
        """Nothing is unsynced any more, as after some quiet seconds of a real system."""
        self._nodes.clear()
        self._folders.clear()
        with self.away():
            shutil.rmtree(f"{self._root}/{HELD}", ignore_errors=True)

    def lose_power(self, chance: random.Random) -> None:
        """Leave below `root` what a power loss at this moment might leave; then the disk is up again."""
        with self.away():
            self._lose(chance)
        self.sync()
        self.revive()

    @contextmanager
    def away(self) -> Iterator[None]:
        """What is done inside is not the program's doing: a look from outside, another process. It is synced at once."""
        self._is_away = True
        try:
            yield
        finally:
            self._is_away = False

    def _lose(self, chance: random.Random) -> None:
        finals = {folder: _surviving(changes, chance) for folder, changes in self._folders.items()}
        named = {id(node): node for names in finals.values() for node in names.values() if node}
        saved = {key: self._surviving_of(node, chance) for key, node in named.items()}
        held = {key: node.held or self._hold(node.path) for key, node in named.items() if not node.is_directory}
        for node in self._nodes.values():
            if id(node) not in named and node.synced is not None and os.path.exists(node.path):
                self._restore(node.path, self._surviving_of(node, chance))
        for folder in sorted(finals, key=lambda path: path.count("/")):
            for name, left in finals[folder].items() if os.path.isdir(folder) else ():
                path = f"{folder}/{name}"
                if left is not None and left.is_directory:
                    os.makedirs(path, 0o700, exist_ok=True)
                    continue
                if os.path.isdir(path):
                    shutil.rmtree(path)
                with suppress(FileNotFoundError):
                    os.unlink(path)
                if left is not None:
                    self._real["link"](held[id(left)], path)
                    self._restore(path, saved[id(left)])

    def _surviving_of(self, node: _Node, chance: random.Random) -> tuple[bytes, int, int]:
        data, mode, mtime = self._contents(node)
        return (data if node.synced is None else node.surviving(chance)), mode, mtime

    def _contents(self, node: _Node) -> tuple[bytes, int, int]:
        """Its contents, mode and mtime as they are now."""
        if node.is_directory:
            return b"", 0o700, 0
        if node.kept is not None:
            return node.kept
        found = os.stat(node.path)
        with self._real_open(node.path, "rb") as file:
            return file.read(), stat.S_IMODE(found.st_mode), found.st_mtime_ns

    def _restore(self, path: str, what: tuple[bytes, int, int]) -> None:
        data, mode, mtime = what
        with self._real_open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)
        os.utime(path, ns=(mtime, mtime))

    def _hold(self, path: str) -> str:
        """Another name for the file: what comes back with a power loss is that file, of the same inode number."""
        held = f"{self._root}/{HELD}/{os.lstat(path).st_ino}"
        with suppress(FileExistsError):
            self._real["mkdir"](os.path.dirname(held))
        with suppress(FileExistsError):
            self._real["link"](path, held)
        return held

    def _below(self, path: Any, folder: int | None = None) -> str | None:
        """The whole path where it is below the root, else None."""
        if self._is_away:
            return None
        if isinstance(path, int):
            return self._opened.get(path)
        name = os.fsdecode(path)
        if folder is not None and not name.startswith("/"):
            if folder not in self._opened:
                return None
            name = f"{self._opened[folder]}/{name}"
        whole = os.path.abspath(name)
        return whole if whole == self._root or whole.startswith(f"{self._root}/") else None

    def _step(self, kind: str, path: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """One operation, with what `fault` makes of it. `half` does a part of it."""
        if self._is_dead:
            raise Crash
        operation = Operation(len(self.operations) + 1, kind, Path(path))
        self.operations.append(operation)
        fault = self.fault(operation)
        if fault is None:
            return act()
        if fault is Fault.ENOSPC and half is not None:
            return half()
        if isinstance(fault.value, int):
            self._refuse(fault.value, path)
        with suppress(OSError):
            if fault is Fault.CRASH_AFTER and operation.is_change:
                act()
            elif fault is Fault.TORN and half is not None:
                half()
        self._is_dead = True
        raise Crash(str(operation))

    def _node(self, path: str | int) -> _Node:
        """The node that has this name or descriptor; a new one where nothing of it is unsynced."""
        found = os.stat(path, follow_symlinks=False) if isinstance(path, str) else os.fstat(path)
        where = path if isinstance(path, str) else self._opened[path]
        if stat.S_ISDIR(found.st_mode):
            return _Node(where, is_directory=True)
        node = self._nodes.setdefault((found.st_dev, found.st_ino), _Node(where))
        node.path = where
        return node

    def _find(self, path: str) -> _Node | None:
        return self._node(path) if os.path.lexists(path) else None

    def _forget_name(self, node: _Node | None) -> None:
        """Its last name goes: keep its contents and its inode, for the name may come back."""
        if node is None or node.is_directory:
            return
        found = os.stat(node.path, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            node.kept, node.held = self._contents(node), self._hold(node.path)
        self._nodes.pop((found.st_dev, found.st_ino), None)

    # What stands in the place of os.*: the same signatures.

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = self._below(path, dir_fd)
        if where is None:
            descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            self._opened.pop(descriptor, None)
            return descriptor
        is_change = bool(flags & (os.O_CREAT | os.O_TRUNC)) and not os.path.isdir(where)

        def act() -> int:
            is_new = not os.path.lexists(where)
            if flags & os.O_TRUNC and not is_new:
                self._dirty(where, 0, None)
            made: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            self._opened[made] = where
            if is_new:
                found = os.fstat(made)
                self._nodes.pop((found.st_dev, found.st_ino), None)  # an earlier file's
                names: _Names = {os.path.basename(where): (None, self._node(made))}
                self._folders.setdefault(os.path.dirname(where), []).append(names)
            return made

        result: int = self._step("open" if is_change else "read", where, act)
        return result

    def _close(self, descriptor: int) -> None:
        self.closed(descriptor)
        self._real["close"](descriptor)

    def closed(self, descriptor: int) -> None:
        """It is of nothing below the root any more."""
        self._opened.pop(descriptor, None)
        self._full.discard(descriptor)

    def _dirty(self, file: str | int, offset: int, data: bytes | None) -> None:
        """Before a change of contents: what was there counts as synced, unless an earlier change is unsynced too."""
        node = self._node(file)
        if node.synced is None:
            name = file if isinstance(file, str) else f"/proc/self/fd/{file}"
            with self._real_open(name, "rb") as found:
                node.synced = found.read()
        node.changes.append((offset, data))

    def _write(self, descriptor: int, data: Any) -> int:
        where = self._opened.get(descriptor)
        if where is None:
            passed: int = self._real["write"](descriptor, data)
            return passed
        whole = bytes(data)

        def arrive(part: bytes) -> int:
            is_append = bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)
            offset = os.fstat(descriptor).st_size if is_append else os.lseek(descriptor, 0, os.SEEK_CUR)
            self._dirty(descriptor, offset, part)
            count: int = self._real["write"](descriptor, part)
            return count

        def half() -> int:
            if descriptor in self._full:
                self._refuse(errno.ENOSPC, where)
            self._full.add(descriptor)
            return arrive(whole[: len(whole) // 2]) or self._refuse(errno.ENOSPC, where)

        def act() -> int:
            return self._refuse(errno.ENOSPC, where) if descriptor in self._full else arrive(whole)

        result: int = self._step("write", where, act, half)
        return result

    def _ftruncate(self, descriptor: int, length: int) -> None:
        where = self._opened.get(descriptor)
        if where is None:
            self._real["ftruncate"](descriptor, length)
            return

        def act() -> None:
            self._dirty(descriptor, length, None)
            self._real["ftruncate"](descriptor, length)

        self._step("truncate", where, act)

    def _truncate(self, path: Any, length: int) -> None:
        with self._file(path, "r+b") as file:
            file.truncate(length)

    def _fsync(self, descriptor: int) -> None:
        where = self._opened.get(descriptor)
        if where is None:
            self._real["fsync"](descriptor)
            return
        node = self._node(descriptor)
        kind = "fsync-directory" if node.is_directory else "fsync"

        def act() -> None:
            if kind in self.deaf:
                return
            if node.is_directory:
                self._folders.pop(where, None)
            node.synced = None
            node.changes.clear()

        self._step(kind, where, act)

    _fdatasync = _fsync

    def _rename(
        self, old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, kind: str = "rename"
    ) -> None:
        source, target = self._below(old, src_dir_fd), self._below(new, dst_dir_fd)
        if source is None and target is None:
            self._real["rename"](old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            return
        folder = os.path.dirname(source or "")
        if source is None or target is None or folder != os.path.dirname(target):
            raise NotImplementedError(f"a rename between directories: {old} to {new}")
        names = (os.path.basename(source), os.path.basename(target))

        def act() -> None:
            moved, replaced = self._find(source), self._find(target)
            if moved is not None and (moved.is_directory or moved is replaced):
                raise NotImplementedError(f"a rename of a directory, or of one file to itself: {source}")
            changes = self._folders.setdefault(folder, [])
            if kind == "rename":
                self._forget_name(replaced)
                self._real["rename"](source, target)
                changes.append({names[0]: (moved, None), names[1]: (replaced, moved)})
            else:
                self._exchange_for_real(source, target)
                changes.append({names[0]: (moved, replaced), names[1]: (replaced, moved)})
            for node, path in ((moved, target), (replaced, source)):
                if node is not None and node.kept is None:
                    node.path = path

        self._step(kind, target, act)

    _replace = _rename

    def _exchange_for_real(self, source: str, target: str) -> None:
        libc = self._real_cdll(None, use_errno=True)
        if libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), RENAME_EXCHANGE) != 0:
            self._refuse(ctypes.get_errno(), target)

    def exchange(self, folder: int, name: bytes, other: bytes) -> None:
        """What libc's `renameat2` does with RENAME_EXCHANGE and names in one open directory. Raises OSError."""
        self._rename(name, other, src_dir_fd=folder, dst_dir_fd=folder, kind="exchange")

    def is_open(self, descriptor: int) -> bool:
        """Whether this descriptor is of something below the root."""
        return descriptor in self._opened

    def _named(self, kind: str, path: Any, folder: int | None, act: Callable[[], None]) -> None:
        """An operation that takes a name away, or makes one that was not there."""
        where = self._below(path, folder)
        if where is None:
            act()
            return

        def both() -> None:
            before = self._find(where)
            if kind in {"unlink", "rmdir"}:
                self._forget_name(before)
            act()
            names: _Names = {os.path.basename(where): (before, self._find(where))}
            self._folders.setdefault(os.path.dirname(where), []).append(names)

        self._step(kind, where, both)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._named("unlink", path, dir_fd, lambda: self._real["unlink"](path, dir_fd=dir_fd))

    _remove = _unlink

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._named("mkdir", path, dir_fd, lambda: self._real["mkdir"](path, mode, dir_fd=dir_fd))

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        self._named("rmdir", path, dir_fd, lambda: self._real["rmdir"](path, dir_fd=dir_fd))

    def _link(self, old: Any, new: Any, **where: Any) -> None:
        self._named("link", new, where.get("dst_dir_fd"), lambda: self._real["link"](old, new, **where))

    def _toucher(self, name: str) -> Callable[..., Any]:
        """A double for a call that is counted and may fail, and leaves nothing to forget."""
        kind = {"scandir": "list", "listdir": "list", "fchmod": "chmod"}.get(name, name)

        def touch(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            where = self._below(path, kwargs.get("dir_fd"))
            if where is None:
                return self._real[name](path, *args, **kwargs)
            return self._step(kind, where, lambda: self._real[name](path, *args, **kwargs))

        return touch

    def _file(self, file: Any, mode: str = "r", buffering: int = -1, *text: Any, **kwargs: Any) -> Any:
        """`open` and `os.fdopen`, over `_Raw` for what is below the root."""
        where = self._below(file)
        if where is None:
            return self._real_open(file, mode, buffering, *text, **kwargs)
        binary = mode.replace("b", "").replace("t", "")
        opener = None if isinstance(file, int) else lambda path, flags: self._open(path, flags, 0o666)
        raw = _Raw(self, file, binary, kwargs.pop("closefd", True), opener)
        if "b" in mode and buffering == 0:
            return raw
        kind = io.BufferedRandom if "+" in mode else io.BufferedReader if "r" in mode else io.BufferedWriter
        buffered = kind(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *text, **kwargs)

    @staticmethod
    def _refuse(number: int, path: str) -> NoReturn:
        raise OSError(number, os.strerror(number), path)


class _Raw(io.FileIO):
    """A file below the root whose writes are operations of the disk."""

    def __init__(self, disk: Disk, file: Any, mode: str, closefd: bool, opener: Any) -> None:
        self._disk = disk
        super().__init__(file, mode, closefd, opener)

    def write(self, data: Any, /) -> int:
        return os.write(self.fileno(), data)

    def truncate(self, size: int | None = None, /) -> int:
        length = self.tell() if size is None else size
        os.ftruncate(self.fileno(), length)
        return length

    def close(self) -> None:
        if not self.closed and self.closefd:
            self._disk.closed(self.fileno())
        super().close()


class _Libc:
    """libc as `ctypes` has it, but for `renameat2` below the root."""

    def __init__(self, disk: Disk, real: Any) -> None:
        self._disk, self._real = disk, real

    def __getattr__(self, name: str) -> Any:
        return self._renameat2 if name == "renameat2" else getattr(self._real, name)

    def _renameat2(self, folder: int, name: bytes, other_folder: int, other: bytes, flags: int) -> int:
        if not (self._disk.is_open(folder) and folder == other_folder and flags == RENAME_EXCHANGE):
            answer: int = self._real.renameat2(folder, name, other_folder, other, flags)
            return answer
        try:
            self._disk.exchange(folder, name, other)
        except OSError as error:
            ctypes.set_errno(error.errno or errno.EIO)
            return -1
        return 0


def _surviving(changes: Sequence[_Names], chance: random.Random) -> dict[str, _Node | None]:
    """What the names are after a power loss: any of the changes that do not rest on a lost one of the same name."""
    share = chance.choice((0.0, 0.5, 0.9, 1.0))
    final: dict[str, _Node | None] = {}
    lost: set[str] = set()
    for names in changes:
        for name, (before, _) in names.items():
            final.setdefault(name, before)
        if lost.isdisjoint(names) and chance.random() < share:
            final.update({name: after for name, (_, after) in names.items()})
        else:
            lost.update(names)
    return final
