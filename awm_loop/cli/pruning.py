"""Attempts that nobody asks for any more: `state/attempts/` is looked through by each beat, and would grow for ever.

The newest are kept, and all of tasks that are not over: prompts quote them, and what is live is theirs. The newest
number is never removed, so none is given twice (SPEC 8.1). Numbers, outcomes and times of all stay in the journal and
the metrics.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from awm_loop import trees
from awm_loop.attempt.directory import AttemptDirectory, tending
from awm_loop.config import ATTEMPTS_KEPT, ATTEMPTS_REMOVED_MAX
from awm_loop.core.model import Work, task_key
from awm_loop.wiring import Home

_NAME = re.compile(r"(?P<task>[0-9a-f]{12})\.(?P<number>[0-9]{1,12})")


def prune(home: Home, work: Work, kept: int = ATTEMPTS_KEPT) -> list[str]:
    """Remove the oldest where there are more than `kept`, some at a time; returns their keys.

    Each is taken out by name first: a kill leaves it whole, or where the next one finds it. Trouble is left to another
    beat.
    """
    attempts = home.store.directory / "attempts"
    if work.next_attempt <= kept:
        return []
    with suppress(OSError):
        found = {path.name: named for path in attempts.iterdir() if (named := _NAME.fullmatch(path.name))}
        if len(found) <= kept:
            return []
        gone = home.store.directory / "cache" / "gone"
        _empty(gone)
        gone.mkdir(mode=0o700, parents=True, exist_ok=True)
        open_tasks = {task_key(task) for task in (*work.queue, *work.blocked, *(one.task for one in work.attempts))}
        oldest = sorted(found, key=lambda name: int(found[name]["number"]))[: len(found) - kept]
        over = [name for name in oldest if found[name]["task"] not in open_tasks][:ATTEMPTS_REMOVED_MAX]
        removed = [name for name in over if _take_out(attempts / name, gone)]
        _empty(gone)
        return removed
    return []


def _empty(gone: Path) -> None:
    """One that cannot be removed keeps none of the others."""
    with suppress(OSError):
        for path in gone.iterdir():
            with suppress(OSError):
                trees.remove(path)
        gone.rmdir()


def _take_out(path: Path, gone: Path) -> bool:
    """False where it is tended, or has no result: something of it may live."""
    with suppress(OSError), tending(AttemptDirectory(path)) as was_free:
        if was_free and (path / "result.json").exists():
            path.rename(gone / path.name)
            return True
    return False
