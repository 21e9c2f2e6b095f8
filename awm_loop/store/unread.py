"""`state/cache/unread.json`: the tasks whose specs no beat could read since a person's edit (SPEC 4.6, 7.5).

A cache: without it, or torn, the next beat reads the specs of all queued tasks again. An edit of ten thousand would
else cost each beat that until one starts something.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from awm_loop import durable
from awm_loop.config import UNREAD_BYTES_MAX
from awm_loop.errors import DiskError
from awm_loop.regular import read_regular


def left(state: Path, edit: str, queue: Sequence[str]) -> Sequence[str]:
    """Those of `queue` whose specs are to be read: all, unless they were read once since `edit`."""
    bad = _bad(state, edit)
    return queue if bad is None else [task_id for task_id in queue if task_id in bad]


def keep(state: Path, edit: str, bad: Sequence[str]) -> None:
    """Remember that all but `bad` were read since `edit`, if the disk lets us; what is known is not written again."""
    if _bad(state, edit) != {*bad}:
        with suppress(DiskError):
            durable.write_unsynced(_path(state), json.dumps({"edit": edit, "bad": [*bad]}).encode())


def _bad(state: Path, edit: str) -> set[str] | None:
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        found = json.loads(read_regular(_path(state), UNREAD_BYTES_MAX))
        if found["edit"] == edit:
            return {*map(str, found["bad"])}
    return None


def _path(state: Path) -> Path:
    return state / "cache" / "unread.json"
