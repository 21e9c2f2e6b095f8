"""File triggers: what changed in a project since the last time, by contents (SPEC 13.2).

Each trigger has a baseline in `state/triggers/<hash of its id>.json`: the files its globs match, each with a digest of
its contents, as they were when it last fired. Every beat looks again; what differs is pending until it has stood still
for the debounce, and is then a call. The first look, and one whose baseline is gone, torn or of other globs, takes a
new baseline and fires nothing: what happened before it is not known.

Where a trigger may not overlap (`overlap: skip`), what changes while the task it queued last waits is pending until it
is over. While its agent is at work nothing is looked at, and what was changed meanwhile goes into the baseline. So what
its own agent changes never calls it again; neither does what others change at that time, which is the price. With
`overlap: queue` everything counts, its own task's changes too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from awm_loop import durable, fault
from awm_loop.config import BASELINE_BYTES_MAX, WATCHED_BYTES_MAX, WATCHED_FILES_MAX, WATCHED_NAMES_MAX
from awm_loop.core.model import task_key
from awm_loop.regular import NotRegularError, open_regular, read_regular

YOUNG_SECONDS = 2.0  # a file may change again within the grain of its times: until then it is read each time
SKIPPED = frozenset(  # folders that no glob means unless it names them
    {".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
_CHUNK_BYTES = 1024 * 1024
_BASELINE_NAME = re.compile(r"[0-9a-f]{12}\.json")

Mark = tuple[str, str]  # digest of the contents; size, times and inode, by which a look knows that it need not read
Marks = Mapping[str, Mark]


class UnwatchableError(Exception):
    """A look could not say what is there: the project is gone, a file may not be read, or there are too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What one trigger looks at. `omitted` are absolute paths that are none of the project's: AWM's own."""

    project: Path
    globs: tuple[str, ...]
    since: datetime | None = None  # enabled
    omitted: frozenset[str] = frozenset()

    @property
    def identity(self) -> str:
        said = json.dumps([str(self.project), *self.globs], ensure_ascii=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Changes against the baseline, as they were first seen `at`; None for a file that is gone."""

    key: str
    at: datetime
    changes: Mapping[str, Mark | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was there when the trigger last fired, or was first looked at. `ran` is its task that began since."""

    identity: str
    taken_at: datetime
    why: str  # it was taken anew, for people
    files: Marks
    ran: str = ""
    pending: Pending | None = None

    def promoted(self, now: datetime) -> Baseline:
        """The baseline after its pending changes were taken."""
        files = {**self.files, **(self.pending.changes if self.pending else {})}
        there = {path: mark for path, mark in files.items() if mark is not None}
        return replace(self, files=there, pending=None, taken_at=now, why="its changes were taken")

    def absorbed(self, seen: Marks, now: datetime) -> Baseline:
        """The baseline after its task ran: all that is there now, but for what was pending before."""
        kept = self.pending.changes if self.pending else {}
        files = {path: mark for path, mark in seen.items() if path not in kept}
        files |= {path: mark for path, mark in self.files.items() if path in kept}
        return replace(self, files=files, ran="", taken_at=now, why=f"its task {self.ran} ran")

    def told(self) -> list[tuple[str, str]]:
        """The pending changes as (created | changed | deleted, path), by path."""
        changes = self.pending.changes if self.pending else {}
        return [
            ("deleted" if mark is None else "changed" if path in self.files else "created", path)
            for path, mark in sorted(changes.items())
        ]


def path_of(home: Path, trigger: str) -> Path:
    """Where a trigger's baseline lies: no byte of the name is the user's."""
    return home / "state" / "triggers" / f"{task_key(trigger)}.json"


def looked(old: Baseline | None, watched: Watched, now: datetime) -> Baseline:
    """The baseline after a look. Raises UnwatchableError."""
    why = _why_anew(old, watched, now)
    known = old.files if old is not None else {}
    seen = look(watched, known if old is None or old.pending is None else {**known, **_present(old.pending)}, now)
    if old is None or why:
        return Baseline(identity=watched.identity, taken_at=now, why=why, files=seen)
    if old.ran:
        old = old.absorbed(seen, now)
        known = old.files
    changes = {path: seen.get(path) for path in {*seen, *known} if _digest(seen.get(path)) != _digest(known.get(path))}
    # Of what did not change only the times are news; a young file's are not kept, so it is read again.
    files = {path: mark if path in changes else seen[path] for path, mark in known.items()}
    return replace(old, files=files, pending=_pending(old.pending, changes, now))


def _why_anew(old: Baseline | None, watched: Watched, now: datetime) -> str:
    """Why the baseline is to be taken anew, for people; "" where it is not."""
    if old is None:
        return "the first look"
    if old.identity != watched.identity:
        return "its globs or its project changed"
    if watched.since is not None and old.taken_at < watched.since <= now:
        return "it was enabled"
    return ""


def is_due(pending: Pending, debounce_seconds: float, now: datetime) -> bool:
    """Whether the changes have stood still for that long."""
    return now - pending.at >= timedelta(seconds=debounce_seconds)


def _pending(old: Pending | None, changes: Mapping[str, Mark | None], now: datetime) -> Pending | None:
    if not changes:
        return None
    contents = {path: _digest(mark) for path, mark in changes.items()}
    if old is not None and old.at <= now and contents == {path: _digest(mark) for path, mark in old.changes.items()}:
        return replace(old, changes=changes)
    digest = hashlib.sha256(json.dumps(sorted(contents.items())).encode()).hexdigest()[:6]  # a task's id ends so
    return Pending(key=f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{digest}", at=now, changes=changes)


def _present(pending: Pending) -> dict[str, Mark]:
    return {path: mark for path, mark in pending.changes.items() if mark is not None}


def _digest(mark: Mark | None) -> str:
    return "" if mark is None else mark[0]


# What is there


def look(watched: Watched, known: Marks, now: datetime) -> dict[str, Mark]:
    """The files that the globs match, by path relative to the project. Raises UnwatchableError.

    No symlink is followed: what it leads to has its own name in the project, or is none of it. A file whose size, times
    and inode are `known` is not read again.
    """
    found: dict[str, Mark] = {}
    bytes_count = 0
    for path, entry in _matching(watched):
        try:
            status = entry.stat(follow_symlinks=False)
            bytes_count += status.st_size
            if len(found) >= WATCHED_FILES_MAX or bytes_count > WATCHED_BYTES_MAX:
                raise UnwatchableError(
                    f"its globs match more than {WATCHED_FILES_MAX} files or {WATCHED_BYTES_MAX >> 30} GiB; narrow them"
                )
            found[path] = _mark(entry.path, status, known.get(path), now)
        except (FileNotFoundError, NotRegularError, IsADirectoryError):
            continue  # gone, or made something else, since it was listed
        except OSError as error:
            raise UnwatchableError(f"{shown(path)} cannot be read: {error.strerror}") from error
    return found


def _mark(path: str, status: os.stat_result, known: Mark | None, now: datetime) -> Mark:
    signature = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    if known is not None and known[1] == signature:
        return known
    digest = hashlib.sha256()
    with os.fdopen(open_regular(Path(path)), "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    is_young = abs(now.timestamp() - status.st_ctime) < YOUNG_SECONDS
    return digest.hexdigest()[:32], "" if is_young else signature


def _matching(watched: Watched) -> Iterator[tuple[str, os.DirEntry[str]]]:
    globs = [tuple(glob.split("/")) for glob in watched.globs]
    skipped = SKIPPED.difference(*globs)
    visited_count = 0
    folders: list[tuple[str, ...]] = [()]
    while folders:
        parts = folders.pop()
        for entry in _entries(watched.project, parts):
            visited_count += 1
            if visited_count > WATCHED_NAMES_MAX:
                raise UnwatchableError(f"there are more than {WATCHED_NAMES_MAX} names to look at; narrow its globs")
            inside = (*parts, entry.name)
            if entry.is_dir(follow_symlinks=False):
                is_ours = entry.path in watched.omitted
                if not is_ours and entry.name not in skipped and any(_leads_to(inside, glob) for glob in globs):
                    folders.append(inside)
            elif entry.is_file(follow_symlinks=False) and any(_matches(inside, glob) for glob in globs):
                yield _as_text("/".join(inside)), entry


def _entries(project: Path, parts: tuple[str, ...]) -> list[os.DirEntry[str]]:
    """What a folder of the project holds. Raises UnwatchableError, for nothing would look like all deleted."""
    folder = project.joinpath(*parts)
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError) as error:
        if parts:
            return []  # gone since it was listed
        raise UnwatchableError(f"the project's directory {folder} does not exist") from error
    except OSError as error:
        raise UnwatchableError(f"{shown(str(folder))} cannot be read: {error.strerror}") from error


def _matches(parts: Sequence[str], glob: Sequence[str]) -> bool:
    """Whether a path matches: `**` is any number of folders, also none, the rest as in a shell, hidden names too."""
    places = _and_behind_stars({0}, glob)  # in the glob, where its rest may begin
    for part in parts:
        there = {at for at in places if at < len(glob)}
        stayed = {at for at in there if glob[at] == "**"}
        passed = {at + 1 for at in there - stayed if fnmatchcase(part, glob[at])}
        places = _and_behind_stars(stayed | passed, glob)
    return len(glob) in places


def _and_behind_stars(places: set[int], glob: Sequence[str]) -> set[int]:
    """The places, and those that `**` for no folder at all leads to."""
    for at, pattern in enumerate(glob):
        if at in places and pattern == "**":
            places.add(at + 1)
    return places


def _leads_to(parts: Sequence[str], glob: Sequence[str]) -> bool:
    """Whether something in the folder `parts` can match."""
    for index, part in enumerate(parts):
        if glob[index] == "**":
            return True
        if index >= len(glob) - 1 or not fnmatchcase(part, glob[index]):
            return False
    return True


def _as_text(path: str) -> str:
    """A path as text that can be written down, whatever bytes it has."""
    return os.fsencode(path).decode(errors="backslashreplace")


def shown(path: str) -> str:
    """A path on one line, without what drives a terminal or ends a code span (SPEC 17)."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in _as_text(path)).replace("`", "'")


# On disk


def read(home: Path, trigger: str) -> Baseline | None:
    """The baseline, None where there is none that can be read: then the next look takes a new one."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _decoded(json.loads(read_regular(path_of(home, trigger), BASELINE_BYTES_MAX)))
    return None


def write(home: Path, trigger: str, baseline: Baseline) -> None:
    """Raises DiskError."""
    path = path_of(home, trigger)
    pending = baseline.pending
    written = {
        "trigger": trigger,
        "identity": baseline.identity,
        "takenAt": baseline.taken_at.isoformat(),
        "why": baseline.why,
        "ran": baseline.ran,
        "pending": pending and {"key": pending.key, "at": pending.at.isoformat(), "changes": pending.changes},
        "files": baseline.files,
    }
    with durable.disk_trouble(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
    fault.point("triggers.baseline:before")
    durable.write_durably(path, json.dumps(written, ensure_ascii=False).encode())
    fault.point("triggers.baseline:after")


def forget(home: Path, trigger: str) -> None:
    """Remove the baseline of a trigger that is no more. Raises DiskError."""
    path = path_of(home, trigger)
    with durable.disk_trouble(path, "remove"):
        path.unlink(missing_ok=True)


def forget_others(home: Path, triggers: Collection[str]) -> None:
    """Remove the baselines of all but these triggers: a person took theirs out of the file. Raises DiskError."""
    kept = {path_of(home, name) for name in triggers}
    folder = home / "state" / "triggers"
    with durable.disk_trouble(folder, "remove from"):
        for path in folder.glob("*.json"):
            if path not in kept and _BASELINE_NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _decoded(raw: Any) -> Baseline:
    pending = raw["pending"]
    return Baseline(
        identity=str(raw["identity"]),
        taken_at=_instant(raw["takenAt"]),
        why=str(raw["why"]),
        ran=str(raw["ran"]),
        files={path: _checked(mark) for path, mark in raw["files"].items()},
        pending=None
        if pending is None
        else Pending(
            key=str(pending["key"]),
            at=_instant(pending["at"]),
            changes={path: mark and _checked(mark) for path, mark in pending["changes"].items()},
        ),
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _checked(mark: Any) -> Mark:
    digest, signature = mark
    if not isinstance(digest, str) or not isinstance(signature, str):
        raise TypeError(mark)
    return digest, signature
