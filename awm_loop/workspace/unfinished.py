"""An integration that was killed half-way is finished, or undone so that it can be repeated (SPEC 10.3).

Where a branch is checked out git writes its files one by one, then the index, and moves the branch last. What is about
to happen is therefore written into the lock file of the integration first, and wiped when it is over. A step found
there by the next holder of the lock was killed: no git of ours is alive then, since it would hold the lock (see
`locks.exclusive`). Files that are as the dead step makes them go back to what they were; all others are a person's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from awm_loop import fault
from awm_loop.durable import disk_trouble
from awm_loop.workspace import git
from awm_loop.workspace.locks import drop_dead, git_dirs, tree_locks
from awm_loop.workspace.scratch import scratch

STEP_BYTES_MAX = 65536


class Step(NamedTuple):
    """The branch `ref` (its full name) goes from commit `old` to commit `new`."""

    ref: str
    old: str
    new: str


def note(lock: int, where: Path, step: Step) -> None:
    """Write durably that `step` is about to be done in the working tree `where`. Raises DiskError."""
    with disk_trouble(where):
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps([str(where), *step]).encode("ascii"), 0)
        os.fsync(lock)


def done(lock: int) -> None:
    """Nothing is under way any more. Not durable: a step that is over is settled without harm."""
    os.ftruncate(lock, 0)


def settle(lock: int) -> str:
    """Finish or undo the step that was killed, if there is one. Returns why that cannot be done, or ""."""
    try:
        where, *rest = json.loads(os.pread(lock, STEP_BYTES_MAX, 0))
    except ValueError:  # nothing, or torn: then it was killed before it began
        return ""
    path, step = Path(where), Step(*rest)
    dirs = git_dirs(path)
    if dirs is not None:
        is_checked_out = f"refs/heads/{git.branch(path)}" == step.ref
        locks = [dirs.common / f"{step.ref}.lock", *(tree_locks(dirs) if is_checked_out else ())]
        stuck = drop_dead(locks, dirs.common, os.fstat(lock).st_mtime_ns)
        if stuck:
            return f"git is at work, or died, in {path}: {stuck[0]} is there; remove it when no git runs there"
        # Elsewhere the branch has gone on, by us or by a person with our files or without: what is there is theirs.
        fault.point("unfinished.settle:before")
        if is_checked_out and git.tip(path, step.ref) == step.old:
            _finish_or_undo(path, step)
    done(lock)
    return ""


def _finish_or_undo(where: Path, step: Step) -> None:
    touched = _touched(where, step)
    not_in_index = git.names(where, "diff-index", "-z", "--cached", "--name-only", "--no-renames", step.new)
    undone = [entry for entry in touched if entry[0] in not_in_index]
    if undone:
        _undo(where, step, undone)
    else:  # the index is written when all files are: only the branch was left, and git would not begin again
        git.demanded(git.run(where, "update-ref", "-m", "awm: integrate", step.ref, step.new, step.old))


def _undo(where: Path, step: Step, entries: Sequence[tuple[str, bool, bool]]) -> None:
    with scratch() as folder:
        old = {"GIT_INDEX_FILE": str(folder / "old")}
        changed_since_old = _read(where, step.old, old)
        changed_since_new = _read(where, step.new, {"GIT_INDEX_FILE": str(folder / "new")})
        ours, folders = [], []
        for name, in_old, in_new in entries:
            path = where / name
            stands = os.path.lexists(path) and not _is_below_a_file(where, name)
            if name not in changed_since_old if in_old else not stands:
                continue  # not reached
            if stands and in_old and path.is_dir() and not path.is_symlink():
                folders.append(name)  # it was to become one
            elif not stands or (in_new and (name not in changed_since_new or _is_torn(path, step.new, name))):
                ours.append((name, in_old, stands))
        for name in (name for name, _, stands in ours if stands):
            with suppress(FileNotFoundError, NotADirectoryError):
                (where / name).unlink()
        gone = [name for name, in_old, _ in ours if in_old] + [name for name in folders if _is_emptied(where / name)]
        names = "\0".join(name for name in gone if not _is_below_a_file(where, name))  # git would remove it
        git.demanded(git.run(where, "checkout-index", "-z", "--force", "--stdin", environment=old, feed=names))


def _is_emptied(folder: Path) -> bool:
    """Remove a folder with all that is empty in it; False where a person has put something there, which stays."""
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)  # noqa: PTH106  `walk` says it as text
    return not folder.exists()


def _is_below_a_file(where: Path, name: str) -> bool:
    """Whether a person has put a file or a link where the folder of `name` was."""
    folders = [where / parent for parent in Path(name).parents][:-1]
    return any(folder.is_symlink() or (folder.exists() and not folder.is_dir()) for folder in folders)


def _read(where: Path, commit: str, environment: dict[str, str]) -> set[str]:
    """Make an index of `commit`, and return the names that differ from it in the working tree."""
    git.demanded(git.run(where, "read-tree", commit, environment=environment))
    git.run(where, "update-index", "-q", "--refresh", environment=environment)  # fails when files differ
    listed = git.run(where, "diff-files", "-z", "--name-only", "--ignore-submodules=all", environment=environment)
    return set(git.demanded(listed).split("\0"))


def _touched(where: Path, step: Step) -> list[tuple[str, bool, bool]]:
    """Each name that the step changes, with whether it is there before, and after; submodules are not touched."""
    raw = git.demanded(git.run(where, "diff-tree", "-r", "-z", "--raw", "--no-renames", step.old, step.new)).split("\0")
    found = []
    for entry, name in zip(raw[:-1:2], raw[1::2], strict=True):
        modes = entry[1:].split(" ")[:2]
        if "160000" not in modes:
            found.append((name, modes[0] != "000000", modes[1] != "000000"))
    return found


def _is_torn(path: Path, commit: str, name: str) -> bool:
    """Whether a file holds the first bytes of what the commit has, as when git died writing it."""
    if os.path.realpath(path) != str(path) or not path.is_file():  # not through a person's symlink
        return False
    whole = git.demanded(git.run(path.parent, "cat-file", "--filters", f"{commit}:{name}"))
    size = path.stat().st_size
    written = whole.encode("utf-8", "surrogateescape")
    return size < len(written) and path.read_bytes() == written[:size]
