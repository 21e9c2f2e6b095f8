"""What AWM asks of the repository an attempt works in. Hooks and fsmonitor are off: it is data (SPEC 17)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from awm_loop.errors import AwmError
from awm_loop.regular import NotRegularError, open_regular, read_regular

GIT_SECONDS_MAX = 60.0
GIT_GRACE_SECONDS = 5.0  # between TERM, on which git takes its lock files away, and KILL
COMMITS_MAX = 1000
REF_BYTES_MAX = 4096
EXCLUDE_BYTES_MAX = 1024 * 1024

# A person's own configuration must neither start programs here nor move what is not AWM's to move: an automatic stash
# takes their uncommitted work along, a background gc outlives the beat, a signature waits for a passphrase.
CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.safecrlf=false",
    "safe.directory=*",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "merge.autoStash=false",
    "rebase.autoStash=false",
    "rebase.updateRefs=false",
    "submodule.recurse=false",
)
LITERAL = MappingProxyType({"GIT_LITERAL_PATHSPECS": "1"})  # names, whatever signs are in them, not patterns


class Ran(NamedTuple):
    """How a git command ended. Bytes that are no UTF-8 are surrogates in the texts, as in a file name of Python's."""

    code: int  # negative: killed by that signal; -SIGTERM too when it took longer than GIT_SECONDS_MAX
    out: str
    err: str


def head(directory: Path) -> str | None:
    """The commit checked out in `directory`: "" before the first commit, None outside of any git repository.

    Raises AwmError where git cannot be asked.
    """
    git_path = _git_path(directory)
    if git_path is None:
        return None
    return _loose_head(git_path) or said(directory, "rev-parse", "--verify", "--quiet", "HEAD") or ""


def written_paths(directory: Path) -> tuple[Path, ...]:
    """The directories that a commit in `directory` writes to: its own of git, and that of the whole repository."""
    found = said(directory, "rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir")
    return tuple(dict.fromkeys(map(Path, found.splitlines()))) if found else ()


def pass_over(git_paths: Sequence[Path], patterns: Sequence[str]) -> None:
    """Let git take untracked files of `patterns` for ignored, in all worktrees of a repository with `written_paths`.

    In its `info/exclude`, which belongs to no commit. Where that cannot be read or written, it stays as it is.
    """
    if not git_paths or not patterns:
        return
    path = git_paths[-1] / "info" / "exclude"
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with os.fdopen(open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "r+b") as file:
            known = file.read(EXCLUDE_BYTES_MAX)
            new = [line for line in map(os.fsencode, patterns) if line not in known.splitlines()]
            if new:
                gap = b"\n" if known and not known.endswith(b"\n") else b""
                file.write(gap + b"\n".join(new) + b"\n")


def ref_name(task: str) -> str:
    """A task's id as a part of a ref, which may not be as much as an id may: such an id is hashed."""
    is_fit = ".." not in task and not task.endswith((".", ".lock"))
    return task if is_fit else hashlib.sha256(task.encode()).hexdigest()[:12]


def branch(directory: Path) -> str:
    """The short name of the branch checked out in `directory`: "" when HEAD is detached, or outside of git."""
    # Not `--short`: that says `heads/main` where a tag has the name too.
    named = said(directory, "symbolic-ref", "--quiet", "HEAD") if _git_path(directory) else None
    return (named or "").removeprefix("refs/heads/")


def commits_since(directory: Path, base: str | None) -> tuple[str, ...]:
    """Commits reachable from HEAD and not from `base`, oldest first; () outside git or where nothing is new.

    A base that is no commit any more (history rewritten, pruned) counts every commit that no longer has it as new.
    """
    tip = head(directory)
    if not tip or tip == base:
        return ()
    limits = [f"--max-count={COMMITS_MAX}", "HEAD"]
    listed = said(directory, "rev-list", *limits, f"^{base}") if base else None
    listed = said(directory, "rev-list", *limits) if listed is None else listed
    return tuple(reversed((listed or "").split()))


def tip(directory: Path, ref: str) -> str | None:
    """The commit that the full name `ref` stands for; None where there is no such ref."""
    return said(directory, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")


def is_ancestor(directory: Path, older: str, newer: str) -> bool:
    """Whether everything in the history of commit `older` is in that of `newer`."""
    return run(directory, "merge-base", "--is-ancestor", older, newer).code == 0


def names(directory: Path, *arguments: str) -> set[str]:
    """The file names that a git command given `-z` lists. Raises AwmError when it fails."""
    return set(demanded(run(directory, *arguments)).split("\0")) - {""}


def _git_path(directory: Path) -> Path | None:
    """Walk up for `.git`, as git does: no process is started for a directory outside git.

    Raises AwmError where it may not be looked at.
    """
    here = directory.resolve()
    try:
        return next((path for parent in (here, *here.parents) if (path := parent / ".git").exists()), None)
    except PermissionError as error:
        raise AwmError(
            f"{error.filename} cannot be looked at: {error.strerror}", f"`ls -ld {directory}`; run as its owner"
        ) from error


def _loose_head(git_path: Path) -> str | None:
    """HEAD where two small files say it: a branch whose loose ref, which wins over a packed one, holds a commit.

    That spares two git processes between two agents. None, so that git is asked, for anything else: no commit yet, a
    packed ref, a detached HEAD, a worktree, a reftable. Raises AwmError for a FIFO and the like, at which git waits.
    """
    try:
        found = re.fullmatch(r"ref: (refs/heads/\S+)\n", read_regular(git_path / "HEAD", REF_BYTES_MAX).decode())
        commit = read_regular(git_path / found[1], REF_BYTES_MAX).decode() if found else ""
    except NotRegularError as error:
        raise AwmError(
            f"git cannot be asked: {error.filename} is not a regular file", f"`ls -l {error.filename}`"
        ) from error
    except (OSError, UnicodeDecodeError):
        return None
    return commit.strip() if re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\n", commit) else None


def said(directory: Path, *arguments: str) -> str | None:
    """stdout of git, stripped; None where it fails. Raises AwmError where there is no git to run."""
    ran = run(directory, *arguments)
    return ran.out.strip() if ran.code == 0 else None


def demanded(ran: Ran) -> str:
    """stdout of a git command that had to end well; else AwmError with what git said."""
    if ran.code:
        raise AwmError(f"git failed: {complaint(ran)}")
    return ran.out


def complaint(ran: Ran) -> str:
    """The line in which git said what was wrong, fit for a notice."""
    lines = [line for line in ran.err.splitlines() if line.strip()]
    told = sorted((line for line in lines if line.startswith(("fatal: ", "error: "))), reverse=True)  # what was fatal
    return printable((told or lines or [f"it ended with {ran.code} and said nothing"])[0])


def printable(text: str) -> str:
    """`text` without the surrogates that stand for odd bytes in file names."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def run(
    directory: Path,
    *arguments: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    feed: str = "",
    lock: int | None = None,
) -> Ran:
    """Run git in `directory`, for GIT_SECONDS_MAX at most, with `feed` on stdin. Commits it makes are AWM's.

    `lock`, a descriptor, stays open in git: whoever takes that lock after our own death finds no git of ours at work.
    Raises AwmError where there is no git to run.
    """
    settings = [word for setting in CONFIG for word in ("-c", setting)]
    try:
        process = subprocess.Popen(
            ["git", *settings, *arguments],
            cwd=directory,
            env=_environment() | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # so that what git started ends with it
            pass_fds=() if lock is None else (lock,),
        )
    except OSError as error:
        is_there = shutil.which("git") is not None
        if is_there and isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
            return Ran(128, "", f"fatal: cannot work in {directory}: {error.strerror}")
        why = f"git cannot be run: {error.strerror}" if is_there else "there is no `git` on PATH"
        raise AwmError(
            f"{directory} is a git repository, but {why}", "is git on PATH? install git, or set PATH"
        ) from error
    with process:
        try:
            out, err = process.communicate(feed.encode("utf-8", "surrogateescape"), timeout=GIT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            _end(process)
            return Ran(-signal.SIGTERM, "", f"fatal: git {arguments[0]} took longer than {GIT_SECONDS_MAX:g} s")
    return Ran(process.returncode, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Not reaped before the last signal: the number of the group is ours until then."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GIT_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "true",
        "GIT_AUTHOR_NAME": "AWM",
        "GIT_AUTHOR_EMAIL": "awm@localhost",
        "GIT_COMMITTER_NAME": "AWM",
        "GIT_COMMITTER_EMAIL": "awm@localhost",
        "LC_ALL": "C",
    }
