"""A git worktree for each task: made, mended and taken away (SPEC 10.3).

All of it happens under a flock on the repository's git directory: no two of AWM's processes add or remove at once, and
what is found half-done there was left by one that died. A worktree is known by the two files that join it to its
repository (gitrepository-layout(5)): `.git` in it, and `worktrees/<name>/gitdir` in the common git directory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from awm_loop import fault, trees
from awm_loop.durable import disk_trouble
from awm_loop.errors import AwmError
from awm_loop.workspace import git
from awm_loop.workspace.locks import GitDirs, drop_dead, exclusive, git_dirs
from awm_loop.workspace.scratch import scratch

ASIDE = "refs/worktree/awm-aside"  # of one working tree only: git keeps `refs/worktree/` apart for each

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
    path, ref = _real(path), f"refs/heads/{branch}"
    with _alone(project) as (common, lock):
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
        drop_dead([common / f"{ref}.lock"], common)
        how = [str(path), branch] if git.tip(project, ref) else ["-b", branch, str(path), base]
        fault.point("worktree.add:before")
        added = git.run(project, "worktree", "add", "--quiet", *how, lock=lock)
        fault.point("worktree.add:after")
        if added.code:
            _discard(path, _entry(common, path))  # where git failed among the files it leaves them, and no sign of that
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
    path, ref = _real(path), f"refs/heads/{branch}"
    with _alone(project) as (common, lock):
        entry = _entry(common, path)
        if entry is None and _is_filled(path):
            raise AwmError(
                f"{path} is not a worktree of {project}: it stays", f"look into it, then remove it: `rm -r {path}`"
            )
        fault.point("worktree.remove:before")
        _discard(path, entry)
        drop_dead([common / f"{ref}.lock"], common)
        fault.point("worktree.remove:discarded")
        if git.tip(project, ref):
            git.run(project, "branch", "--quiet", "-D", "--", branch, lock=lock)


def salvage(path: Path, ref: str) -> str | None:
    """Keep the uncommitted work in `path` at `ref`, as a commit on top of HEAD; returns it, None when there is none.

    Work is what is changed, deleted, or new and not ignored. Index, HEAD and files stay as they are, half-done merges
    too. What `ref` held before stays in its reflog. Left out are repositories inside this one, submodules and other
    worktrees: their work is theirs, and one that is broken would stop git. None outside of git. Raises AwmError where
    the work is there and could not be kept: nothing may be removed then.
    """
    base = git.head(path)
    if base is None:
        return None
    with scratch() as folder:
        index = folder / "index"
        real = path / git.demanded(git.run(path, "rev-parse", "--git-path", "index")).rstrip("\n")
        with suppress(FileNotFoundError):  # before the first `git add`
            shutil.copyfile(real, index)
        environment = {"GIT_INDEX_FILE": str(index)}
        # Files that cannot be read, or vanish meanwhile, are left out: the others are worth keeping without them.
        arguments = ["add", "--all", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul"]
        added = git.run(path, *arguments, environment=environment, feed=_everything_but(_repositories(path)))
        if added.code not in (0, 1):
            git.demanded(added)
        tree = git.demanded(git.run(path, "write-tree", environment=environment)).strip()
    nothing = f"{base}^{{tree}}" if base else git.demanded(git.run(path, "mktree")).strip()
    if git.said(path, "rev-parse", nothing) == tree:
        return None
    parents = ["-p", base] if base else []
    commit = git.demanded(git.run(path, "commit-tree", tree, *parents, "-m", "AWM: uncommitted work")).strip()
    fault.point("worktree.salvage:before-ref")
    git.demanded(git.run(path, "update-ref", "--create-reflog", "-m", "awm: salvage", ref, commit))
    fault.point("worktree.salvage:kept")
    return commit


def set_aside(path: Path) -> None:
    """Take the uncommitted work out of `path`, to be put back by `put_back`; ignored files stay. Raises AwmError."""
    saved = salvage(path, ASIDE)
    if saved is not None:
        fault.point("worktree.set-aside:before-clean")
        clean(path)


def clean(path: Path) -> None:
    """Make the files in `path` those of HEAD: all that `salvage` keeps goes, ignored files stay. Raises AwmError."""
    git.demanded(git.run(path, "reset", "--quiet", "--hard"))
    git.demanded(git.run(path, "clean", "--quiet", "-d", "--force"))


def put_back(path: Path) -> None:
    """Put back what `set_aside` took, also after a crash within it. Raises AwmError.

    A file that HEAD has changed since is left as HEAD has it: the work on it stays in the caller's salvage alone.
    """
    saved = git.tip(path, ASIDE)
    if saved is None:
        return
    clean(path)  # of what a killed git was writing: all work is in `saved`
    listing = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", f"{saved}^"]
    ours = git.names(path, *listing, saved) - git.names(path, *listing, "HEAD")
    if ours:
        arguments = ["restore", f"--source={saved}", "--worktree", "--pathspec-from-file=-", "--pathspec-file-nul"]
        git.demanded(git.run(path, *arguments, feed="\0".join(sorted(ours)), environment=git.LITERAL))
    fault.point("worktree.put-back:before-forget")
    git.demanded(git.run(path, "update-ref", "-d", ASIDE))


def undo_half_done(path: Path, dirs: GitDirs, lock: int) -> None:
    """Abort the rebase, merge, cherry-pick, revert or bisect under way in a worktree, by force if need be.

    Callers hold `lock` on `dirs.own`. Git's lock files in there go first. Raises AwmError.
    """
    drop_dead((path for path in trees.files(dirs.own) if path.suffix == ".lock"), dirs.common)
    for name, undo in HALF_DONE.items():
        if (dirs.own / name).exists() and git.run(path, *undo, lock=lock).code:
            _forget(dirs.own / name)  # written half, so that it can be neither continued nor aborted
            git.demanded(git.run(path, "reset", "--quiet", "--hard", lock=lock))


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
    dirs, entry = git_dirs(path), _entry(common, path)
    return dirs is not None and dirs.own == entry and not _is_half_added(entry)


def _is_mended(project: Path, path: Path, common: Path) -> bool:
    """Join the two again where the repository or the home was moved: then one of them names a place that is gone."""
    joint = path / ".git"
    if path.is_symlink() or not joint.is_file():
        return False
    named = path / os.fsdecode(joint.read_bytes()).removeprefix("gitdir:").strip()
    if not named.exists() and _entry(common, path) is not None:
        git.run(project, "worktree", "repair")
    elif _real(named).parent == common / "worktrees" and not _worktree_of(named).exists():
        git.run(project, "worktree", "repair", str(path))
    return _is_worktree(path, common)


def _entry(common: Path, path: Path) -> Path | None:
    """The repository's directory for the worktree at `path`."""
    return next((entry for entry in (common / "worktrees").glob("*") if _worktree_of(entry) == path), None)


def _worktree_of(entry: Path) -> Path:
    """Where the worktree of a directory of the repository's is, or was; the directory itself when it does not say."""
    try:
        return _real(entry / os.fsdecode((entry / "gitdir").read_bytes()).strip()).parent
    except (FileNotFoundError, NotADirectoryError):
        return entry


def _real(path: Path) -> Path:
    """`path` by its real parent: a symlink in the place of a worktree is not followed."""
    return Path(os.path.realpath(path.parent), path.name)


def _is_half_added(entry: Path) -> bool:
    """Git locks a worktree with this reason until all of its files are there: nobody has worked in it yet."""
    lock = entry / "locked"
    return lock.exists() and lock.read_bytes().strip() == b"initializing"


def _is_filled(path: Path) -> bool:
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir()))


def _discard(path: Path, entry: Path | None) -> None:
    """The entry last: while it stands, the directory is known to be AWM's to remove."""
    for gone in (path, entry):
        if gone is not None:
            _forget(gone)


def _settle(path: Path, branch: str, base: str) -> None:
    """Undo what is half-done in a worktree, put back what a killed rebase had set aside, and put it on `branch`."""
    dirs = git_dirs(path)
    if dirs is None:  # somebody removed it just now
        raise AwmError(f"{path} is not a worktree any more", "try again")
    ref = f"refs/heads/{branch}"
    with exclusive(dirs.own) as lock:  # a git of a killed `rebase` has ended
        drop_dead([dirs.common / f"{ref}.lock"], dirs.common)
        undo_half_done(path, dirs, lock)
        put_back(path)
        tip = git.tip(path, ref)
        if not git.head(path):
            git.demanded(git.run(path, "update-ref", ref, tip or base))
        if git.branch(path) == branch:
            return
        # What was committed on another branch, or on none, is the task's work too, if it only has to be added.
        onward = tip is None or git.is_ancestor(path, tip, "HEAD")
        set_aside(path)
        git.demanded(git.run(path, "checkout", "--quiet", *(["-B"] if onward else []), branch, "--", lock=lock))
        put_back(path)


def _forget(path: Path) -> None:
    with disk_trouble(path, "remove"):
        if path.is_dir() and not path.is_symlink():
            trees.remove(path)
        else:
            path.unlink(missing_ok=True)


def _repositories(path: Path) -> set[str]:
    """Submodules, and repositories that lie in the working tree without being part of it, by name."""
    strangers = {
        name for name in git.names(path, "ls-files", "-z", "--others", "--exclude-standard") if name[-1] == "/"
    }
    entries = git.names(path, "ls-files", "-z", "--stage")
    return strangers | {entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")}


def _everything_but(names: set[str]) -> str:
    return "\0".join([".", *(f":(exclude,literal){name}" for name in sorted(names))])
