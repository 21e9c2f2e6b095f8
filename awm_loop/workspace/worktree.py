"""A git worktree for each task: made, mended and taken away (SPEC 10.3).

All of it happens under a flock on the repository's git directory: no two of AWM's processes add or remove at once, and
what is found half-done there was left by one that died. A worktree is known by the two files that join it to its
repository (gitrepository-layout(5)): `.git` in it, and `worktrees/<name>/gitdir` in the common git directory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from awm_loop.durable import disk_trouble
from awm_loop.errors import AwmError
from awm_loop.workspace import git
from awm_loop.workspace.locks import drop_dead, exclusive, git_dirs
from awm_loop.workspace.salvage import put_back, salvage

__all__ = ["ensure", "remove", "salvage"]

# What stands in a working tree's git directory while something is half-done there, and the command that undoes it.
HALF_DONE = {
    "rebase-merge": ("rebase", "--abort"),
    "rebase-apply": ("rebase", "--abort"),
    "CHERRY_PICK_HEAD": ("cherry-pick", "--abort"),
    "REVERT_HEAD": ("revert", "--abort"),
    "MERGE_HEAD": ("merge", "--abort"),
    "BISECT_LOG": ("bisect", "reset"),
}


def ensure(project: Path, path: Path, branch: str, base: str) -> bool:
    """See that there is a worktree of `project` at `path` on `branch`; True when its directory was made now.

    A missing branch is made at the commit `base`; one that is there keeps its commits. What a kill or a person left is
    mended: a directory removed by hand, a worktree added half-way, a half-done rebase, merge, cherry-pick, revert or
    bisect, git's lock files, another branch checked out. Undoing something half-done drops what it has in the files:
    callers `salvage` first.

    Raises AwmError, and has removed nothing, where something else is at `path`, where `branch` is checked out
    elsewhere, or where there is no repository or no commit in it.
    """
    path = Path(os.path.realpath(path))
    with _alone(project) as (common, lock):
        ref = f"refs/heads/{branch}"
        if _is_worktree(path, common) or _is_mended(project, path, common):
            _settle(path, branch, base)
            return False
        entry = _entry(common, path)
        if _is_filled(path) and (entry is None or not _is_half_added(entry)):
            raise AwmError(
                f"{path} is in the way: it is not a worktree of {project}",
                f"look into it, then move it away: `mv {path} {path}.old`",
            )
        _discard(path, entry)
        project_dirs = git_dirs(project)
        if project_dirs is not None:
            drop_dead(project_dirs, ref)
        how = [str(path), branch] if git.tip(project, ref) else ["-b", branch, str(path), base]
        added = git.run(project, "worktree", "add", "--quiet", *how, lock=lock)
        if added.code:
            raise AwmError(
                f"cannot make a worktree at {path}: {git.complaint(added)}",
                f"`git -C {project} worktree list` shows who has what checked out",
            )
        return True


def remove(project: Path, path: Path, branch: str) -> None:
    """Take away the worktree at `path` with all that is in it, its entry in the repository, and `branch`.

    May be repeated, and finishes what a kill left. A branch that somebody has checked out elsewhere stays. Raises
    AwmError, and has removed nothing, where something else is at `path`; DiskError where a file cannot be removed.
    """
    path = Path(os.path.realpath(path))
    with _alone(project) as (common, lock):
        entry = _entry(common, path)
        if entry is None and _is_filled(path):
            raise AwmError(
                f"{path} is not a worktree of {project}: it stays", f"look into it, then remove it: `rm -r {path}`"
            )
        _discard(path, entry)
        ref = f"refs/heads/{branch}"
        dirs = git_dirs(project)
        if dirs is not None:
            drop_dead(dirs, ref)
        if git.tip(project, ref):
            git.run(project, "branch", "--quiet", "-D", "--", branch, lock=lock)


@contextmanager
def _alone(project: Path) -> Iterator[tuple[Path, int]]:
    """The common git directory of `project`, and the descriptor of the lock on it."""
    dirs = git_dirs(project)
    if dirs is None:
        raise AwmError(
            f"{project} is not in a git repository: there can be no worktree of it",
            'use isolation = "in-place", or `git init`',
        )
    try:
        with exclusive(dirs.common) as lock:
            yield dirs.common, lock
    except TimeoutError as error:
        raise AwmError(str(error), f"see who holds it: `fuser -v {dirs.common}`") from error


def _is_worktree(path: Path, common: Path) -> bool:
    """Whether a whole worktree of the repository is at `path`, not one that lies around it."""
    if not (path / ".git").is_file():
        return False
    dirs = git_dirs(path)
    return (
        dirs is not None and dirs.common == common and dirs.own == _entry(common, path) and not _is_half_added(dirs.own)
    )


def _is_mended(project: Path, path: Path, common: Path) -> bool:
    """Join the two again where the repository or the home was moved: then one of them names a place that is gone."""
    if not (path / ".git").is_file():
        return False
    git.run(project, "worktree", "repair", str(path))
    return _is_worktree(path, common)


def _entry(common: Path, path: Path) -> Path | None:
    """The repository's directory for the worktree at `path`."""
    for gitdir in (common / "worktrees").glob("*/gitdir"):
        if os.path.realpath(os.fsdecode(gitdir.read_bytes()).strip()) == str(path / ".git"):
            return gitdir.parent
    return None


def _is_half_added(entry: Path) -> bool:
    """Git locks a worktree with this reason until all of its files are there: nobody has worked in it yet."""
    lock = entry / "locked"
    return lock.exists() and lock.read_bytes().strip() == b"initializing"


def _is_filled(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _discard(path: Path, entry: Path | None) -> None:
    """The entry last: while it stands, the directory is known to be AWM's to remove."""
    for directory in (path, entry):
        if directory is not None and directory.exists():
            with disk_trouble(directory, "remove"):
                shutil.rmtree(directory)


def _settle(path: Path, branch: str, base: str) -> None:
    """Undo what is half-done in a worktree, put it on `branch`, and put back what a killed rebase had set aside."""
    dirs = git_dirs(path)
    if dirs is None:  # somebody removed it just now
        raise AwmError(f"{path} is not a worktree any more", "try again")
    drop_dead(dirs, f"refs/heads/{branch}")
    for name, undo in HALF_DONE.items():
        if (dirs.own / name).exists() and git.run(path, *undo).code:
            # It cannot be undone: git was killed while it wrote down what it was about to do, so it had not begun.
            _forget(dirs.own / name)
            git.demanded(git.run(path, "reset", "--quiet", "--hard"))
    here = git.head(path)
    if not here:
        git.demanded(git.run(path, "update-ref", f"refs/heads/{branch}", base))
    if git.branch(path) != branch:
        tip = git.tip(path, f"refs/heads/{branch}")
        onward = tip is None or git.is_ancestor(path, tip, "HEAD")
        git.demanded(git.run(path, "checkout", "--quiet", *(["-B"] if onward else []), branch, "--"))
    put_back(path)


def _forget(state: Path) -> None:
    with disk_trouble(state, "remove"):
        if state.is_dir():
            shutil.rmtree(state)
        else:
            state.unlink()
