"""The state of a home on disk: `current_work.json` under its lock, with history and journal (SPEC 3.2, 4)."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from awm_loop import clock, durable, fault
from awm_loop.config import (
    COMMAND_LOCK_WAIT_SECONDS,
    EDITS_MAX,
    LOCK_WAIT_SECONDS,
    SETTLING_POLL_SECONDS,
    SETTLING_SECONDS,
)
from awm_loop.core import notice
from awm_loop.core.consequence import note
from awm_loop.core.model import Instant, Work
from awm_loop.errors import BadFileError, BusyError, DiskError
from awm_loop.ports import Changed, Loaded, Settings
from awm_loop.store import document, guarantee, journal, jsontext, merge, unread
from awm_loop.store.copies import Copies, Left

STATE_NAME = "current_work.json"
EDITED = "edited by hand"  # what the journal calls an edit of the file (SPEC 4.6)
EDIT_CHARS_MAX = 1000  # of its words there
State = Mapping[str, object]
_LAID: jsontext.Texts = {}  # by this process, of the state that it saved or looked at last
_ATTEMPT_NAME = re.compile(r"[0-9a-f]{12}\.([0-9]{1,12})")  # `core.model.attempt_key`; far from COUNT_MAX


@dataclass(frozen=True, slots=True)
class Edited(Loaded):
    """To be saved as it is: a person's edit, merged, in words `changes`; or a state whose copy a power loss took."""

    changes: tuple[str, ...]


class _Versions(NamedTuple):
    """What a person's edit began with, None where that is not known, and what AWM wrote last."""

    base: State | None
    ours: State


@dataclass(frozen=True, slots=True)
class StateFile:
    """`state/` of one home. `default_agent` is its name and account (for a limit set by hand)."""

    directory: Path
    default_agent: tuple[str, str]

    @property
    def path(self) -> Path:
        return self.directory / STATE_NAME

    @property
    def journal_path(self) -> Path:
        return self.directory / "log.jsonl"

    @property
    def mark_path(self) -> Path:
        return self.directory / "look-again"

    def prepare(self) -> None:
        """Make `state/` 0700 (SPEC 3.3). Raises DiskError."""
        with durable.disk_trouble(self.directory, "prepare"):
            if not self.directory.exists():
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                durable.sync_folder(self.directory.parent)
            if self.directory.stat().st_mode & 0o077:
                self.directory.chmod(0o700)

    def locked(self, wait_seconds: float) -> AbstractContextManager[bool]:
        """Hold the state lock; False when somebody else kept it for `wait_seconds`. Raises DiskError."""
        return self._lock(f"{STATE_NAME}.lock", wait_seconds)

    @contextmanager
    def locked_for_command(self) -> Iterator[None]:
        """The state lock for a person's command, which leaves no mark and so waits longer. Raises BusyError."""
        with self.locked(COMMAND_LOCK_WAIT_SECONDS) as is_ours:
            if not is_ours:
                raise BusyError(f"{self.directory} has been locked by another process for a while", "try again")
            yield

    def delivering(self, wait_seconds: float = 0.0) -> AbstractContextManager[bool]:
        """Hold the lock of the outbox's delivery; False when somebody else kept it for `wait_seconds`."""
        return self._lock("outbox.lock", wait_seconds)

    @contextmanager
    def _lock(self, name: str, wait_seconds: float) -> Iterator[bool]:
        """The file is never unlinked: a lock on an unlinked file can be held twice (docs/MEASURED.md 2)."""
        lock = FileLock(
            self.directory / name,
            timeout=wait_seconds,
            mode=0o600,
            thread_local=False,
            fallback_to_soft=False,
        )
        with durable.disk_trouble(self.directory, "lock"), suppress(Timeout):  # an OSError too, but not the disk's
            lock.acquire(poll_interval=0.01)
        try:
            fault.point("store.lock:taken")
            yield lock.is_locked
        finally:
            fault.point("store.lock:before-release")
            lock.release()
            fault.point("store.lock:released")

    def load(self, now: Instant) -> Loaded | None:
        """The state, a person's edit of the file merged with what AWM wrote since they read it (SPEC 4.6).

        Nothing is written; `catch_up` saves what is an `Edited`. None in a home that never had a state. Raises
        BadFileError (SPEC 4.7), DiskError.
        """
        loaded = self._read(now)
        if loaded is None:
            if any(self.history_path.glob("*.json")):
                raise BadFileError(
                    f"{self.path}: is gone, and this home had one", "`awm restore` puts the last good copy back"
                )
            return None
        versions = self._versions(loaded, now)
        plain = replace(loaded, work=self._counted_on(loaded.work))
        if versions is None:
            return plain
        if versions.ours is loaded.raw:
            return Edited(plain.work, plain.settings, plain.raw, plain.data, plain.rev, plain.token, ())
        return self._edited(loaded, (*versions, loaded.raw), now) or plain

    def _read(self, now: Instant) -> Loaded | None:
        """The file alone. One that is bad and was written this very second may be half written: it is read again."""
        until = time.monotonic() + SETTLING_SECONDS
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # not blocking: a FIFO must not wait for a writer
        while True:
            token, data = None, None
            with (
                durable.disk_trouble(self.path, "read"),
                suppress(FileNotFoundError),
                os.fdopen(os.open(self.path, flags), "rb") as file,
            ):
                token, data = os.fstat(file.fileno()), file.read(jsontext.BYTES_MAX + 1)
            if token is None or data is None:
                return None
            try:
                work, settings, raw, rev = self.parse(data, now)
                return Loaded(work, settings, raw, data, rev, token)
            except BadFileError:
                is_young = stat.S_ISREG(token.st_mode) and 0 <= time.time() - token.st_mtime < SETTLING_SECONDS
                if not is_young or time.monotonic() >= until:
                    raise
            time.sleep(SETTLING_POLL_SECONDS)

    def _versions(self, loaded: Loaded, now: Instant) -> _Versions | None:
        """What `loaded` is an edit of; None where it is as AWM wrote it, or there is no history yet.

        A save keeps its history first, so a file of a rev that history does not have is not AWM's, but for a power
        loss: that leaves copies without contents, and sequence numbers which only AWM gives. What AWM wrote last is
        then what stands. Who has edited that already cannot be told, so no copy of its rev is made up for later edits
        to begin with: it is saved under the next.
        """
        copies = self._copies(now)
        revs = copies.revs()
        if revs and loaded.rev < max(revs):
            revs -= {left.rev for left in copies.left() if copies.never_stood(left, loaded.rev)}
        if not revs or (loaded.rev == max(revs) and copies.has(loaded.rev, loaded.data)):
            return None
        rev, ours = copies.newest(revs)
        if ours is None or (loaded.rev > rev and (loaded.rev in revs or _seq(loaded.raw) > _seq(ours))):
            return _Versions(loaded.raw, loaded.raw)
        if loaded.rev > rev:
            return _Versions(*(merge.as_delivered(ours, loaded.raw),) * 2)
        return _Versions(ours if loaded.rev == rev else copies.state(loaded.rev), ours)

    def _copies(self, now: Instant) -> Copies:
        return Copies(self.directory, lambda data: self.parse(data, now)[2:])

    def _edited(
        self, loaded: Loaded, sides: tuple[State | None, State, State], now: Instant, earlier: State | None = None
    ) -> Edited | None:
        """The merge of base, ours and theirs, journalled; None where it is what the file says, but for white space."""
        state, changes = merge.merge(*sides, earlier)
        if not changes and state | {"lastUpdated": None} == {**loaded.raw, "lastUpdated": None}:
            return None
        work, settings, raw, rev = self.parse(jsontext.layout(state), now)
        rev = min(loaded.rev, rev + durable.HISTORY_MAX)  # of saves that a power loss took our copies of
        work = self._counted_on(work)
        if changes:
            words = "; ".join(notice.one_line(change) for change in changes)
            work = note(work, now, EDITED, reason=words[:EDIT_CHARS_MAX])
        return Edited(work, settings, raw, loaded.data, rev, loaded.token, changes)

    def _counted_on(self, work: Work) -> Work:
        """No number is given twice, also where a person put an old state back or began a new one (SPEC 8.1, 15).

        A second attempt with the number of an old one would find its directory, and take its result for its own.
        """
        with durable.disk_trouble(self.directory, "read"), suppress(FileNotFoundError):
            with os.scandir(self.directory / "attempts") as entries:
                numbers = [int(found[1]) for entry in entries if (found := _ATTEMPT_NAME.fullmatch(entry.name))]
            work = replace(work, next_attempt=max(work.next_attempt, max(numbers, default=0) + 1))
        return replace(work, seq=max(work.seq, journal.last_seq(self.journal_path)))

    def catch_up(self, loaded: Loaded) -> None:
        """SPEC 4.3: the file is the truth; what a crash kept from the journal is appended there. Raises DiskError.

        A promise or a call found in it is durable then. An `Edited` is saved, and Changed raised.
        """
        log = loaded.raw.get("log")
        seq_max = loaded.work.seq
        entries = [entry for entry in log if document.is_ours(entry, seq_max)] if isinstance(log, list) else []
        last = journal.last_seq(self.journal_path) if entries else 0
        missing = [entry for entry in entries if entry["seq"] > last]
        if missing or loaded.work.pending is not None:  # who saved it may have been killed before that was durable
            with durable.disk_trouble(self.path):
                durable.sync_folder(self.path.resolve().parent)
        if missing:
            fault.point("store.catch-up:before-journal")
            journal.append(self.journal_path, missing)
            fault.point("store.catch-up:after-journal")
        for left in self._copies(clock.now()).left():
            self._take_left(left, loaded)
        if isinstance(loaded, Edited):
            self.save(loaded, loaded.work, clock.now())
            raise Changed

    def _take_left(self, left: Left, loaded: Loaded) -> None:
        """A save that was killed left this: its own, with its copy in history, or an edit that it had taken out.

        Merging that twice, where we are killed here too, is merging it once. Where the file was edited since, only what
        it adds is taken: their last word is there. Raises Changed where it was an edit.
        """
        now, edited = clock.now(), None
        copies = self._copies(now)
        if copies.is_edit(left):
            base = None if isinstance(loaded, Edited) else copies.state(left.rev)
            edited = self._edited(loaded, (base, loaded.raw, left.state), now, copies.newest(copies.revs())[1])
        if edited is not None:
            self.save(edited, edited.work, now)
        with durable.disk_trouble(left.path):
            if copies.never_stood(left, loaded.rev):
                copies.forget(left.rev)
            left.path.unlink()
        if edited is not None:
            raise Changed

    def edit_of(self, loaded: Loaded) -> str:
        """A name for what a person wrote in it and no row was taken on since: an edit that was merged, or their bytes.

        "" where there is no such thing.
        """
        log = loaded.raw.get("log")
        told = [entry for entry in log if isinstance(entry, dict)] if isinstance(log, list) else []
        newest = next((one for one in reversed(told) if str(one.get("what")) in {EDITED, *guarantee.ROWS}), {})
        if newest.get("what") == EDITED:
            return f"{newest.get('seq')} {newest.get('at')}"
        is_ours = self._copies(clock.now()).has(loaded.rev, loaded.data)
        return "" if is_ours else hashlib.sha256(loaded.data).hexdigest()

    def unread_specs(self, loaded: Loaded) -> Sequence[str]:
        """All queued tasks after an edit, then those alone whose spec was bad: it may have been about to be written."""
        return unread.left(self.directory, edit, loaded.work.queue) if (edit := self.edit_of(loaded)) else ()

    def specs_read(self, loaded: Loaded, bad: Sequence[str]) -> None:
        unread.keep(self.directory, self.edit_of(loaded), bad)

    def try_update(self, change: Callable[[Work, Instant], Work], now: Instant) -> Work | None:
        """Load, change and save under the lock; None where there is no state or the lock was not to be had."""
        with self.locked(LOCK_WAIT_SECONDS) as is_ours:
            return self.update(change, now) if is_ours else None

    def update(self, change: Callable[[Work, Instant], Work], now: Instant) -> Work | None:
        """Load, change and save, again where a person edits meanwhile; the caller holds the lock. None: no state."""
        for _ in range(EDITS_MAX):
            with suppress(Changed):
                loaded = self.load(now)
                if loaded is None:
                    return None
                self.catch_up(loaded)
                work = change(loaded.work, now)
                return work if work == loaded.work else self.save(loaded, work, now).work
        raise self._endless()

    def take(self, before: State, after: State, now: Instant, *, dry_run: bool = False) -> tuple[str, ...]:
        """Merge an edit that was made beside the file, in a copy of `before`; returns in words what it changes.

        The caller holds the lock, but for `dry_run`, which writes nothing. Raises BadFileError, DiskError, BusyError.
        """
        for _ in range(EDITS_MAX):
            with suppress(Changed):
                loaded = self.load(now)
                if loaded is None:
                    raise BadFileError(f"{self.path}: is gone", "`awm restore` puts the last good copy back")
                if not dry_run:
                    self.catch_up(loaded)
                edited = self._edited(loaded, (before, loaded.raw, after), now)
                if edited is not None and not dry_run:
                    self.save(edited, edited.work, now)
                return () if edited is None else edited.changes
        raise self._endless()

    def _endless(self) -> BusyError:
        return BusyError(f"{self.path} is being edited without a pause", "close the editor, or try again")

    def create(self, project: str) -> bool:
        """Write the published starter file with an empty queue; False where a state file is there already."""
        if self.load(clock.now()) is not None:
            return False
        now = clock.now()
        raw = dict(document.STARTER) | {"project": project, "createdAt": document.iso(now.wall)}
        work = Work(active=True, idle_since=None, project=project, queue=(), completed=())
        self.save(Loaded(work, Settings(), raw, b"", 0, None), work, now)
        return True

    def parse(self, data: bytes, now: Instant) -> tuple[Work, Settings, dict[str, object], int]:
        """The state in `data`, as if it were the file's. Raises BadFileError."""
        parsed = document.parse(data, self.path)
        read = document.read(parsed, self.path, now, self.default_agent)
        return *read, dict(parsed.raw), int(parsed.raw.get("rev", 0))

    def content(self, loaded: Loaded, work: Work, now: Instant, rev: int) -> tuple[dict[str, object], bytes]:
        """What a save of `work` writes. Nothing is written; what two of them have in common is laid out once."""
        return (raw := document.write(work, loaded.raw, now, rev, loaded.work)), jsontext.layout(raw, _LAID)

    def save(self, loaded: Loaded, work: Work, now: Instant) -> Loaded:
        """Check the guarantees, write durably, then history and journal. Raises Changed, DiskError."""
        broken = guarantee.broken(loaded.work, work)
        if broken:
            raise AssertionError(f"refusing to save a state that breaks a guarantee: {broken}")
        # Above those of a state that was replaced: `awm restore` takes the newest.
        rev = max(loaded.rev, *durable.history_revs(self.history_path), 0) + 1
        raw, data = self.content(loaded, work, now, rev)
        if loaded.token is not None and not isinstance(loaded.token, os.stat_result):
            raise AssertionError("this state was not loaded from this store")
        try:
            # History first: whatever a kill leaves, a file of this rev can be compared to what AWM wrote. But a first
            # file without it is only a new home, and a first copy without its file would be a home that lost its own.
            fault.point("store.save:before-write")
            keep = partial(durable.keep_history, self.history_path, rev, data)
            early, late = (None, keep) if loaded.token is None else (keep, None)
            written = durable.write_durably(self.path, data, unless_changed_since=loaded.token, before=early)
            if late is not None:
                late()
        except (durable.ChangedError, DiskError) as error:
            stands = isinstance(error, durable.LeftError | durable.UnsyncedError)  # it may be edited by now
            with suppress(OSError):
                stands = stands or self.path.read_bytes() == data
            with suppress(OSError):
                if not stands:
                    self._copies(now).forget(rev)
            if isinstance(error, DiskError):
                raise
            raise Changed from error
        durable.thin_history(self.history_path, rev)
        fault.point("store.save:before-journal")
        journal.append(self.journal_path, [document.log_line(entry) for entry in work.log])
        fault.point("store.save:after-journal")
        return Loaded(replace(work, log=()), loaded.settings, raw, data, rev, written)

    @property
    def history_path(self) -> Path:
        return self.directory / "history"

    def leave_mark(self) -> bool:
        """Ask the beat that holds the lock to look once more (SPEC 6.5); False where no mark can be left."""
        try:
            fault.point("store.mark:before-leave")
            self.mark_path.touch(mode=0o600)
            fault.point("store.mark:left")
        except OSError:
            return False
        return True

    def take_mark(self) -> bool:
        """Remove the mark; True when there was one."""
        try:
            fault.point("store.mark:before-take")
            self.mark_path.unlink()
            fault.point("store.mark:taken")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise DiskError(f"{self.mark_path}: {error.strerror}") from error
        return True


def _seq(state: State) -> int:
    found = state.get("seq", 0)
    return found if isinstance(found, int) else 0
