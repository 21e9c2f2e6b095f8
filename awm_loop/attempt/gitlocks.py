"""Git's lock files that a killed git leaves behind, and which make every later git command fail (SPEC 8.3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from awm_loop import trees
from awm_loop.attempt import procfs

LOCK_NAMES = ("index.lock", "HEAD.lock", "ORIG_HEAD.lock", "packed-refs.lock", "config.lock", "shallow.lock")


class Repository(NamedTuple):
    """`git_dir` belongs to one working tree; `common_dir` to all of them, and is the same where there is but one."""

    git_dir: Path
    common_dir: Path


def repository(directory: Path) -> Repository | None:
    """The git repository that `directory` lies in, found as git does; None outside of one. Runs no git."""
    directory = Path(os.path.realpath(directory))  # not Path.resolve and its kin: they raise on loops and closed doors
    for parent in (directory, *directory.parents):
        git_dir = follow(parent / ".git")
        if _is_git_dir(git_dir):
            return _opened(git_dir)
        if _is_git_dir(parent):  # a bare repository, or somewhere inside a .git
            return _opened(parent)
    return None


def follow(dot_git: Path) -> Path:
    """The git directory behind a `.git`, which is a file with one line in linked worktrees and submodules."""
    line = _first_line(dot_git)
    return dot_git.parent / line.removeprefix("gitdir:").strip() if line.startswith("gitdir:") else dot_git


def remove_git_locks(workspace: Path, since: datetime) -> list[str]:
    """Remove the locks made in the repository of `workspace` at or after `since` (aware), and return their names.

    Nothing is removed while a git process of that repository lives, in whichever of its working trees, or one whose
    place cannot be told. Names are relative to the common git directory, fit to be written down: bytes that are no
    UTF-8 are escaped. A lock that cannot be removed stays.
    """
    found = repository(workspace)
    if found is None:
        return []
    # Listed before git processes are looked for: a git that starts later finds these taken, so none can be its own.
    locks = [path for path in _locks(found) if _made_since(path, since)]
    if not locks or any(_works_in(pid, found) for pid in procfs.scan()):
        return []
    names = [os.path.relpath(path, found.common_dir) for path in locks if _unlinked(path)]
    return [os.fsencode(name).decode(errors="backslashreplace") for name in names]


def _locks(found: Repository) -> Iterator[Path]:
    for directory in dict.fromkeys(found):
        yield from (directory / name for name in LOCK_NAMES)
        yield from (path for path in trees.files(directory / "refs") if path.name.endswith(".lock"))


def _made_since(path: Path, since: datetime) -> bool:
    try:
        return path.lstat().st_ctime >= since.timestamp()
    except OSError:
        return False


def _unlinked(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _works_in(pid: int, found: Repository) -> bool:
    """Whether this is a git process that may be at work in `found`; one that hides where it works counts."""
    argv = procfs.argv(pid)
    names = {Path(path).name for path in (procfs.link(pid, "exe"), *argv[:1])}
    if not any(name == "git" or name.startswith("git-") for name in names):
        return False
    cwd = procfs.link(pid, "cwd")
    if not cwd:
        process = procfs.read(pid)
        return process is not None and not process.gone
    named = [entry[8:].decode(errors="surrogateescape") for entry in procfs.environ(pid) if entry[:8] == b"GIT_DIR="]
    named += [after for word, after in zip(argv, (*argv[1:], ""), strict=True) if word == "--git-dir"]
    named += [word.removeprefix("--git-dir=") for word in argv if word.startswith("--git-dir=")]
    places = (repository(Path(cwd, name)) for name in (".", *named))
    return any(place is not None and place.common_dir == found.common_dir for place in places)


def _is_git_dir(path: Path) -> bool:
    return bool(_first_line(path / "HEAD")) and ((path / "objects").is_dir() or (path / "commondir").is_file())


def _opened(git_dir: Path) -> Repository:
    common = _first_line(git_dir / "commondir") or "."
    return Repository(Path(os.path.realpath(git_dir)), Path(os.path.realpath(git_dir / common)))


def _first_line(path: Path) -> str:
    """Of a small file; "" when it cannot be read. An agent may have put a FIFO in its place, so it never waits."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        return os.fsdecode(os.read(descriptor, 4096)).partition("\n")[0]
    except OSError:
        return ""
    finally:
        os.close(descriptor)
