"""The files a gate is judged by, in the version they had when the task began (SPEC 10.2).

`keep` copies them once; around each gate `swap_in` puts that version in place and `swap_out` puts back what was there.
Between the two the workspace is not as somebody left it, so what to put back is on disk before anything is changed, and
`swap_out` can be called at any time, by anybody, again. Names are looked at one by one and symlinks are never followed:
a link on the way to a gate file is itself a gate file (`named`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple, TypeAlias

from awm_loop import fault, trees
from awm_loop.config import GATE_FILE_BYTES_MAX, GATE_FILE_DEPTH_MAX, GATE_FILES_MAX
from awm_loop.durable import disk_trouble, write_durably

LINKS_MAX = 40  # as many as Linux follows in one name

State: TypeAlias = list[str | int]  # of one name: ["file", mode, SHA-256], ["link", target], or one of the words below

ABSENT: State = ["absent"]
DIRECTORY: State = ["directory"]
OTHER: State = ["other"]  # a FIFO, a file that cannot be read: it can be moved, not copied
ELSEWHERE: State = ["elsewhere"]  # a name on the way is no directory, or a symlink to one


class Change(NamedTuple):
    """What a swap does to one name: it `was` this, and that is `put` there, a kept version or a directory for it."""

    name: str
    was: State
    put: State


def named(verify: str, declared: Sequence[str], workspace: Path) -> tuple[str, ...]:
    """The gate files: those `declared`, directories with all in them, else what the shell line `verify` names.

    Names are relative to `workspace`, sorted, and of regular files in it once symlinks are followed; symlinks on the
    way are named too, since whoever moves one changes the judge. What does not exist, lies outside or in `.git`, is
    larger than GATE_FILE_BYTES_MAX, deeper than GATE_FILE_DEPTH_MAX or comes after the first GATE_FILES_MAX is left
    out.
    """
    root = Path(os.path.realpath(workspace))
    found: set[str] = set()
    for path in _declared(root, declared) if declared else (root / word for word in _words(verify)):
        found.update(_way(root, path))
        if len(found) >= GATE_FILES_MAX:
            break
    return tuple(sorted(found))


def keep(workspace: Path, names: Sequence[str], into: Path) -> None:
    """Copy `names` of `workspace`, with their modes, into the directory `into`, whole or not at all.

    Where `into` exists nothing is done: the first version is the one that counts. Raises DiskError.
    """
    if into.exists():
        return
    half_made = into.with_name(f"{into.name}.half-made")
    with disk_trouble(into):
        if half_made.exists():
            trees.remove(half_made)
        half_made.mkdir(parents=True)
        for name in names:
            if _is_copied(_state(workspace, name)):
                _copy(workspace / name, half_made / name)
        _sync(half_made)
        fault.point("gatefiles.keep:before-rename")
        half_made.rename(into)
        _sync_one(into.parent)


def swap_in(workspace: Path, kept: Path, saved: Path) -> tuple[str, ...]:
    """Put the version in `kept` in place where the workspace differs; returns the names that did, sorted.

    A difference is in content, in mode, in kind (a symlink or directory in its place), or that the file is gone. What
    is there is copied to the directory `saved`, and listed there, durably, before anything is changed; a directory is
    moved aside where it is. A swap that is still in from before is swapped out first. Raises DiskError.
    """
    swap_out(workspace, saved)
    changes = _changes(workspace, kept)
    if not changes:
        return ()
    with disk_trouble(saved):
        saved.mkdir(parents=True, exist_ok=True)
        swap = Path(tempfile.mkdtemp(prefix="swap-", dir=saved))
        for change in changes:
            if _is_copied(change.was):
                _copy(workspace / change.name, swap / "files" / change.name)
        _sync(swap)
        _sync_one(saved)
    fault.point("gatefiles.swap:before-listed")
    write_durably(swap / "swap.json", json.dumps(changes).encode("ascii"))
    with disk_trouble(workspace):
        for number, (name, was, put) in enumerate(changes):
            path, aside = workspace / name, _aside(workspace / name, swap, number)
            if was in (DIRECTORY, OTHER):
                path.rename(aside)
            if put == DIRECTORY:
                path.unlink(missing_ok=True)
                path.mkdir()
            else:
                _place(kept / name, path, aside.with_suffix(".tmp"), _second_unlike(path))
    fault.point("gatefiles.swap:in")
    return tuple(change.name for change in changes if change.put != DIRECTORY)


def swap_out(workspace: Path, saved: Path) -> None:
    """Put back what `swap_in` saved, wherever the file is still the one it put there.

    Where somebody has changed it since, theirs stays, and the copy of what was there before stays in `saved`. May be
    repeated; a crash between any two steps is finished by the next call. Raises DiskError.
    """
    for listed in sorted(saved.glob("*/swap.json")):
        swap, is_all_back = listed.parent, True
        with disk_trouble(workspace):
            changes = [Change(*change) for change in json.loads(listed.read_bytes())]
            for number, change in reversed(list(enumerate(changes))):
                aside = _aside(workspace / change.name, swap, number)
                is_all_back &= _put_back(workspace, change, aside, swap / "files" / change.name)
        with disk_trouble(saved):
            fault.point("gatefiles.swap:out")
            listed.unlink()
            if is_all_back:
                trees.remove(swap)


def _put_back(workspace: Path, change: Change, aside: Path, copy: Path) -> bool:
    """Make one name what it was; False where somebody else has changed it since the swap."""
    name, was, put = change
    if not workspace.is_dir():
        return False
    path, half_made = workspace / name, aside.with_suffix(".tmp")
    now = _state(workspace, name)
    if now == ELSEWHERE:
        return was == ABSENT
    half_made.unlink(missing_ok=True)
    is_aside = os.path.lexists(aside)
    if now == was and not is_aside:
        return True
    if now == put == DIRECTORY:
        if any(path.iterdir()):  # somebody has put a file there: the gate, perhaps
            return was == ABSENT
        path.rmdir()
    elif now not in (put, ABSENT):
        return False
    if _is_copied(was):
        path.parent.mkdir(parents=True, exist_ok=True)
        _place(copy, path, half_made, None)
        return True
    if put != DIRECTORY:
        path.unlink(missing_ok=True)
    if is_aside:
        aside.rename(path)
    return True


def _changes(workspace: Path, kept: Path) -> list[Change]:
    """What a swap has to do, parents before children."""
    found: dict[str, Change] = {}
    for path in sorted(kept.rglob("*")):
        name = str(path.relative_to(kept))
        was = ABSENT if str(PurePath(name).parent) in found else _state(workspace, name)
        put = _state(kept, name)
        if was != put:
            found[name] = Change(name, was, put)
    return list(found.values())


def _state(root: Path, name: str) -> State:
    """What stands at `name` in `root`, itself and not what it may be a link to."""
    path = root / name
    try:
        for parent in reversed(PurePath(name).parents[:-1]):
            if not stat.S_ISDIR((root / parent).lstat().st_mode):
                return ELSEWHERE
        status = path.lstat()
    except FileNotFoundError:
        return ABSENT
    if stat.S_ISLNK(status.st_mode):
        return ["link", str(path.readlink())]
    if stat.S_ISDIR(status.st_mode):
        return DIRECTORY
    if not stat.S_ISREG(status.st_mode):
        return OTHER
    try:
        with path.open("rb") as file:
            return ["file", status.st_mode & 0o777, hashlib.file_digest(file, "sha256").hexdigest()]
    except PermissionError:
        return OTHER


def _is_copied(state: State) -> bool:
    return state[0] in {"file", "link"}


def _aside(path: Path, swap: Path, number: int) -> Path:
    """Where a directory at `path` waits during a swap: of another name than its own, which may be as long as can be."""
    return path.with_name(f".awm-{swap.name}-{number}")


def _place(source: Path, path: Path, half_made: Path, modified_at: float | None) -> None:
    """Replace `path` by a copy of the file or link `source` in one step, with its time of change or `modified_at`."""
    half_made.unlink(missing_ok=True)
    shutil.copy2(source, half_made, follow_symlinks=False)
    if not half_made.is_symlink():
        if modified_at is not None:
            os.utime(half_made, (modified_at, modified_at))
        _sync_one(half_made)
    half_made.replace(path)


def _second_unlike(path: Path) -> float:
    """A time of change near now that is not the one of `path`.

    Python takes bytecode for that of a source with the same second and size: it must not be the agent's.
    """
    now = time.time()
    there = int(path.lstat().st_mtime) if os.path.lexists(path) else 0
    return now - 1 if int(now) == there else now


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def _sync(directory: Path) -> None:
    """Bring all in `directory` to the disk."""
    for parent, _, names in os.walk(directory):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            if not path.is_symlink():
                _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _declared(root: Path, names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        path = root / name
        if path.is_dir() and Path(os.path.realpath(path)).is_relative_to(root):
            yield from trees.files(path)
        else:
            yield path


def _words(verify: str) -> Iterator[str]:
    """What may be a file's name in a shell line: words, words in quoted words, `x` of `x::test` and `--config=x`."""
    lexer = shlex.shlex(verify, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:  # a quotation that does not end: the shell will say so
        words = verify.split()
    for word in (part for quoted in words for part in (quoted, *quoted.split())):
        yield from (text.partition("::")[0] for text in (word, word.partition("=")[2]))


def _way(root: Path, path: Path) -> tuple[str, ...]:
    """The names in `root` of the file that `path` leads to and of the symlinks passed; () unless it is a gate file."""
    passed: list[Path] = []
    here, ahead = root, list(reversed(path.parts))
    try:
        while ahead:
            here = Path(os.path.normpath(here / ahead.pop()))  # nothing in `here` is a link, so `..` is its parent
            if here.is_symlink():
                passed.append(here)
                if len(passed) > LINKS_MAX:
                    return ()
                ahead += reversed(here.readlink().parts)
                here = here.parent
        status = here.lstat()
    except (OSError, ValueError):  # not there, not to be read, or no name at all
        return ()
    names = [way.relative_to(root) for way in (*passed, here) if way.is_relative_to(root)]
    if not here.is_relative_to(root) or any(
        ".git" in name.parts or len(name.parts) > GATE_FILE_DEPTH_MAX for name in names
    ):
        return ()
    return tuple(map(str, names)) if stat.S_ISREG(status.st_mode) and status.st_size <= GATE_FILE_BYTES_MAX else ()
