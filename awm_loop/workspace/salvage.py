"""Uncommitted work as a commit, and out of the way of a rebase: never lost (SPEC 10.3)."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from awm_loop.workspace import git

ASIDE = "refs/worktree/awm-aside"  # of one working tree only: git keeps `refs/worktree/` apart for each


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
    with tempfile.TemporaryDirectory(prefix="awm-salvage-") as scratch:
        index = Path(scratch, "index")
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
    git.demanded(git.run(path, "update-ref", "--create-reflog", "-m", "awm: salvage", ref, commit))
    return commit


def set_aside(path: Path) -> None:
    """Take the uncommitted work out of `path`, to be put back by `put_back`; ignored files stay. Raises AwmError."""
    saved = salvage(path, ASIDE)
    if saved is None:
        return
    new = git.names(path, "diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=A", f"{saved}^", saved)
    git.demanded(git.run(path, "reset", "--quiet", "--hard"))
    for name in new:
        with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):  # the old tree stands there again
            os.unlink(path / name)


def put_back(path: Path) -> None:
    """Put back what `set_aside` took, also after a crash within it. Raises AwmError.

    A file that HEAD has changed since is left as HEAD has it: the work on it stays in the caller's salvage alone.
    """
    saved = git.tip(path, ASIDE)
    if saved is None:
        return
    listing = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", f"{saved}^"]
    ours = git.names(path, *listing, saved) - git.names(path, *listing, "HEAD")
    if ours:
        arguments = ["restore", f"--source={saved}", "--worktree", "--pathspec-from-file=-", "--pathspec-file-nul"]
        git.demanded(git.run(path, *arguments, feed="\0".join(sorted(ours)), environment=git.LITERAL))
    git.demanded(git.run(path, "update-ref", "-d", ASIDE))


def _repositories(path: Path) -> set[str]:
    """Submodules, and repositories that lie in the working tree without being part of it, by name."""
    strangers = {
        name for name in git.names(path, "ls-files", "-z", "--others", "--exclude-standard") if name[-1] == "/"
    }
    entries = git.names(path, "ls-files", "-z", "--stage")
    return strangers | {entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")}


def _everything_but(names: set[str]) -> str:
    return "\0".join([".", *(f":(exclude,literal){name}" for name in sorted(names))])
