"""What lies beside the state file: its copies in history, and what killed saves left (SPEC 3.2, 4.6)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from awm_loop import durable
from awm_loop.errors import BadFileError
from awm_loop.regular import read_regular
from awm_loop.store import jsontext


class Left(NamedTuple):
    """A state which a save that was killed left under a temporary name."""

    path: Path
    data: bytes
    state: dict[str, Any]
    rev: int


@dataclass(frozen=True, slots=True)
class Copies:
    """Of the states in `directory`. `parse` gives the state and rev of bytes, or raises BadFileError."""

    directory: Path
    parse: Callable[[bytes], tuple[dict[str, Any], int]]

    @property
    def history(self) -> Path:
        return self.directory / "history"

    def revs(self) -> set[int]:
        """Those that history has a file of, whole or torn. Raises DiskError."""
        return {*durable.history_revs(self.history)}

    def newest(self, revs: Collection[int]) -> tuple[int, dict[str, Any] | None]:
        """The newest of `revs` that history has whole, and its state; 0 and None where it has none."""
        kept = ((rev, self.state(rev)) for rev in sorted(revs, reverse=True))
        return next(((rev, state) for rev, state in kept if state is not None), (0, None))

    def state(self, rev: int) -> dict[str, Any] | None:
        """A state of history, None where it is not there or was torn by a power loss."""
        try:
            return self.parse((self.history / f"{rev}.json").read_bytes())[0]
        except (OSError, BadFileError):
            return None

    def has(self, rev: int, data: bytes) -> bool:
        """Whether these bytes are what AWM wrote as `rev`."""
        try:
            return (self.history / f"{rev}.json").read_bytes() == data
        except OSError:
            return False

    def forget(self, rev: int) -> None:
        """For good: it would pass for what the next save wrote, of the same rev. Raises OSError."""
        (self.history / f"{rev}.json").unlink(missing_ok=True)
        durable.sync_folder(self.history)

    def left(self) -> list[Left]:
        """What killed saves left. What is no state is passed over: somebody may be writing it. Raises DiskError."""
        found = []
        for path in durable.left_behind(self.directory):
            try:
                data = read_regular(path, jsontext.BYTES_MAX)
                found.append(Left(path, data, *self.parse(data)))
            except (OSError, BadFileError):
                continue
        return found

    def never_stood(self, left: Left, rev: int) -> bool:
        """Whether it was kept in history and never got to the file, which has `rev`: nobody can have edited it."""
        return left.rev > rev and self.has(left.rev, left.data)

    def is_edit(self, left: Left) -> bool:
        """Whether it is what somebody had saved, taken out by a save that had not read it.

        Not a save's own (its rev never was, or history has it), nor what it had read and put the new state in place of.
        """
        is_later = left.rev > self.newest(self.revs())[0]
        return not (is_later or self.has(left.rev, left.data) or durable.is_replaced(left.path))
