"""What AWM asks of the repository an attempt works in. Hooks and fsmonitor are off: it is data (SPEC 17)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from awm_loop.errors import AwmError

GIT_SECONDS_MAX = 60.0
COMMITS_MAX = 1000


def head(directory: Path) -> str | None:
    """The commit checked out in `directory`: "" before the first commit, None outside of any git repository."""
    git_path = _git_path(directory)
    if git_path is None:
        return None
    return _loose_head(git_path) or run(directory, "rev-parse", "--verify", "--quiet", "HEAD") or ""


def commits_since(directory: Path, base: str | None) -> tuple[str, ...]:
    """Commits reachable from HEAD and not from `base`, oldest first; () outside git or where nothing is new.

    A base that is no commit any more (history rewritten, pruned) counts every commit that no longer has it as new.
    """
    tip = head(directory)
    if not tip or tip == base:
        return ()
    limits = [f"--max-count={COMMITS_MAX}", "HEAD"]
    listed = run(directory, "rev-list", *limits, f"^{base}") if base else None
    listed = run(directory, "rev-list", *limits) if listed is None else listed
    return tuple(reversed((listed or "").split()))


def _git_path(directory: Path) -> Path | None:
    """Walk up for `.git`, as git does: no process is started for a directory outside git."""
    here = directory.resolve()
    return next((path for parent in (here, *here.parents) if (path := parent / ".git").exists()), None)


def _loose_head(git_path: Path) -> str | None:
    """HEAD where two small files say it: a branch whose loose ref, which wins over a packed one, holds a commit.

    That spares two git processes between two agents. None, so that git is asked, for anything else: no commit yet, a
    packed ref, a detached HEAD, a worktree, a reftable.
    """
    try:
        branch = re.fullmatch(r"ref: (refs/heads/\S+)\n", (git_path / "HEAD").read_text(encoding="utf-8"))
        commit = (git_path / branch[1]).read_text(encoding="utf-8") if branch else ""
    except (OSError, UnicodeDecodeError):
        return None
    return commit.strip() if re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\n", commit) else None


def run(directory: Path, *arguments: str) -> str | None:
    """stdout of git, stripped; None where it fails. Raises AwmError where there is no git to run."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "safe.directory=*"]
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS_MAX,
            check=False,
        )
    except FileNotFoundError as error:
        raise AwmError(
            f"{directory} is a git repository, but there is no `git` on PATH", "install git, or set PATH"
        ) from error
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
