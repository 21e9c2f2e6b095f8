"""Accepted work goes to the base branch: forward only, under a lock of the project, whole or not at all (SPEC 10.3)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from awm_loop import fault
from awm_loop.workspace import git, unfinished
from awm_loop.workspace.locks import GitDirs, exclusive, git_dirs
from awm_loop.workspace.worktree import put_back, set_aside, undo_half_done

INDEX_SECONDS_MAX = 5.0  # how long a person's editor or prompt may keep the index to itself
POLL_SECONDS = 0.1
NAMED_MAX = 5  # files, and commits of each side, in one line of a notice


@dataclass(frozen=True, slots=True)
class Integrated:
    """The base branch has `commit`."""

    commit: str


@dataclass(frozen=True, slots=True)
class Behind:
    """The base branch has gone on to `tip`, which the work does not have: rebase, and gate again."""

    tip: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was moved; `reason` is one line for a person, who has to do something about it."""

    reason: str


class _Place(NamedTuple):
    """A working tree of the repository; `ref` is the full name of its branch, "" when HEAD is detached."""

    path: Path
    ref: str
    dirs: GitDirs


def integrate(worktree: Path, project: Path, base_branch: str, lock_path: Path) -> Integrated | Behind | Refused:
    """Move `base_branch` of `project` forward to the commit checked out in `worktree`, if it only has to be added.

    Where the base branch is checked out its files go forward too, and git refuses when uncommitted work of a person's
    would be touched, ignored files among it. An exclusive flock on `lock_path` (a file of AWM's own; what is under way
    is written in it) keeps integrations of one project apart. May be repeated; a call that was killed at whatever
    moment is undone or finished by the next one.
    """
    try:
        with exclusive(lock_path) as lock:
            stuck = unfinished.settle(lock)
            return Refused(stuck) if stuck else _integrate(worktree, project, f"refs/heads/{base_branch}", lock)
    except TimeoutError as error:
        return Refused(str(error))


def _integrate(worktree: Path, project: Path, ref: str, lock: int) -> Integrated | Behind | Refused:
    name = ref.removeprefix("refs/heads/")
    commit, tip = git.head(worktree), git.tip(project, ref)
    if not commit:
        return Refused(f"there is no commit in {worktree}")
    if not tip:
        return Refused(f"the base branch {name} is not there any more: it was deleted or renamed")
    if git.is_ancestor(project, commit, tip):
        return Integrated(commit)
    if not git.is_ancestor(project, tip, commit):
        return Behind(tip)
    places = _places(project)
    busy = _under_way(places, worktree, ref)
    if busy:
        return Refused(busy)
    checked_out = [place for place in places if place.ref == ref]
    if len(checked_out) > 1:
        return Refused(f"{name} is checked out more than once: {', '.join(str(place.path) for place in checked_out)}")
    ran = _move(project, checked_out, unfinished.Step(ref, tip, commit), lock)
    now = git.tip(project, ref)
    if now and git.is_ancestor(project, commit, now):
        return Integrated(commit)
    if now and not git.is_ancestor(project, now, commit):  # somebody committed to it meanwhile
        return Behind(now)
    return Refused(_refusal(ran, checked_out[0].path if checked_out else project))


def _move(project: Path, checked_out: Sequence[_Place], step: unfinished.Step, lock: int) -> git.Ran:
    where = checked_out[0].path if checked_out else project
    fault.point("integration.move:before-note")
    unfinished.note(lock, where, step)
    fault.point("integration.move:noted")
    if checked_out:
        # Ignored files are somebody's too, and git would overwrite them without a word.
        arguments = ["merge", "--quiet", "--ff-only", "--no-overwrite-ignore", step.new]
    else:
        arguments = ["update-ref", "-m", "awm: integrate", step.ref, step.new, step.old]
    deadline = time.monotonic() + INDEX_SECONDS_MAX
    while True:
        ran = git.run(where, *arguments, lock=lock)
        if ran.code == 0 or "index.lock" not in ran.err or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    fault.point("integration.move:moved")
    if ran.code >= 0:  # a git that was killed may have done half of it
        unfinished.done(lock)
    fault.point("integration.move:after")
    return ran


def _places(project: Path) -> list[_Place]:
    """The working trees of the repository that are there."""
    places = []
    for block in git.demanded(git.run(project, "worktree", "list", "--porcelain")).split("\n\n"):
        lines = dict(line.partition(" ")[::2] for line in block.splitlines())
        path = Path(lines.get("worktree", ""))
        dirs = git_dirs(path) if "worktree" in lines and "bare" not in lines and path.is_dir() else None
        if dirs is not None:
            places.append(_Place(path, lines.get("branch", ""), dirs))
    return places


def _under_way(places: Sequence[_Place], worktree: Path, ref: str) -> str:
    """What a person or an agent is in the middle of, where `ref` or the work is checked out; "" for nothing."""
    names = {
        "rebase-merge": "rebase",
        "rebase-apply": "rebase",
        "CHERRY_PICK_HEAD": "cherry-pick",
        "REVERT_HEAD": "revert",
        "MERGE_HEAD": "merge",
    }
    for place in places:
        if place.ref != ref and ref not in _rebased(place.dirs.own) and not place.path.samefile(worktree):
            continue
        for name, what in names.items():
            if (place.dirs.own / name).exists():
                return f"a {what} is under way in {place.path}: finish or abort it there"
    return ""


def _rebased(git_dir: Path) -> set[str]:
    """The branch under rebase in a working tree, whose HEAD is detached meanwhile."""
    files = [git_dir / state / "head-name" for state in ("rebase-merge", "rebase-apply")]
    return {path.read_text(encoding="utf-8", errors="surrogateescape").strip() for path in files if path.is_file()}


def _refusal(ran: git.Ran, where: Path) -> str:
    names = [git.printable(line.strip()) for line in ran.err.splitlines() if line.startswith("\t")]
    if names:
        return f"uncommitted work in {where} is in the way: {_listed(names)}; commit it, stash it, or move it away"
    return f"{where}: {git.complaint(ran)}" if ran.code else f"the branch checked out in {where} changed meanwhile"


def rebase(worktree: Path, base_branch: str) -> str | None:
    """Rebase what is checked out in `worktree` on the tip of `base_branch`; None when that is done.

    Else everything is as it was, and the line returned says why: on a conflict the files, and the commits of both sides
    that touch them. Uncommitted work is set aside and put back; where the base has changed the same file it is not put
    back, so callers `salvage` first. Raises AwmError when it could not be set aside.
    """
    tip, before = git.tip(worktree, f"refs/heads/{base_branch}"), git.head(worktree)
    dirs = git_dirs(worktree)
    if not tip or not before or dirs is None:
        return f"the base branch {base_branch} is not there any more: it was deleted or renamed"
    try:
        with exclusive(dirs.own) as lock:
            put_back(worktree)
            set_aside(worktree)
            fault.point("integration.rebase:before")
            ran = git.run(worktree, "rebase", "--quiet", tip, lock=lock)
            fault.point("integration.rebase:after")
            why = _conflict(worktree, base_branch, tip, before) or git.complaint(ran) if ran.code else None
            if ran.code:
                undo_half_done(worktree, dirs, lock)
            put_back(worktree)
            return why
    except TimeoutError as error:
        return str(error)


def _conflict(worktree: Path, base_branch: str, tip: str, before: str) -> str:
    """Both sides of the conflict that git stopped at; "" where it stopped at something else."""
    files = sorted(git.names(worktree, "diff", "-z", "--name-only", "--diff-filter=U"))
    if not files:
        return ""
    fork = git.said(worktree, "merge-base", before, tip)
    since = [f"^{fork}"] if fork else []
    theirs = _commits(worktree, files, tip, *since)
    ours = _commits(worktree, files, before, *since)
    where = _listed([git.printable(name) for name in files])
    return f"conflict in {where}: {base_branch} has {theirs}; this task has {ours}"


def _commits(worktree: Path, files: Sequence[str], newest: str, *since: str) -> str:
    """The commits that touch `files`, newest first; the newest of all where it is under another name."""
    log = ["log", "--no-show-signature", "--format=%h %s", f"--max-count={NAMED_MAX + 1}", newest]
    found = git.run(worktree, *log, *since, "--", *files, environment=git.LITERAL).out.splitlines()
    found = found or git.run(worktree, *log, "--max-count=1").out.splitlines()
    return _listed([git.printable(line) for line in found])


def _listed(items: Sequence[str]) -> str:
    more = ["and more"] if len(items) > NAMED_MAX else []
    return ", ".join([*items[:NAMED_MAX], *more])
