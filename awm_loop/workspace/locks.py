"""Locks around git: AWM's own, so that two attempts do not meet, and those a killed git left (SPEC 8.3, 10.3)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from awm_loop.durable import disk_trouble
from awm_loop.workspace import git

LOCK_SECONDS_MAX = 60.0
POLL_SECONDS = 0.05


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold an exclusive flock on `path`, a directory or a file made when missing; yields its descriptor.

    Given to `git.run` as `lock` it is held until that git has ended too, whatever becomes of this process. Raises
    TimeoutError when another holds it for LOCK_SECONDS_MAX, DiskError when it cannot be opened.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    with disk_trouble(path, "open"):
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_SECONDS_MAX
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{path} was locked by another process for {LOCK_SECONDS_MAX:g} s")
            time.sleep(POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


class GitDirs(NamedTuple):
    """`own` belongs to one working tree; `common` to all of the repository, and is the same in the main one."""

    own: Path
    common: Path


def git_dirs(directory: Path) -> GitDirs | None:
    """The git directories of the working tree that `directory` lies in, symlinks resolved; None outside of git."""
    said = git.said(directory, "rev-parse", "--absolute-git-dir", "--git-common-dir")
    if said is None:
        return None
    own, common = (Path(os.path.realpath(directory / line)) for line in said.splitlines())
    return GitDirs(own, common)


def tree_locks(dirs: GitDirs) -> list[Path]:
    """The lock files that git makes where it changes the files or the branch of one working tree."""
    return [dirs.own / name for name in ("index.lock", "HEAD.lock", "ORIG_HEAD.lock")]


def drop_dead(locks: Iterable[Path], common: Path, since_ns: int = 0) -> list[Path]:
    """Remove those of git's lock files `locks` that a killed git left; returns those that stay.

    Only what was made at or after `since_ns` (of the file system's clock) by this user goes, and only while no git
    process of the repository `common` lives. Callers hold AWM's lock, so such a git is a person's or an agent's.
    """
    # Listed before git processes are looked for: a git that starts later finds these taken, so none can be its own.
    found = [path for path in locks if path.exists()]
    if not found or _at_work(common):
        return found
    for path in found:
        with suppress(FileNotFoundError):
            status = path.lstat()
            if status.st_uid == os.geteuid() and status.st_ctime_ns >= since_ns:
                path.unlink()
    return [path for path in found if path.exists()]


def _at_work(common: Path) -> bool:
    """Whether a git process of the repository lives. One of another user makes locks of its own, which stay."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if not (process / "comm").read_text(encoding="utf-8", errors="replace").startswith("git"):
                continue
            directory = (process / "cwd").readlink()
        except OSError:  # it ended, or is another user's
            continue
        dirs = git_dirs(directory)
        if dirs is not None and dirs.common == common:
            return True
    return False


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
