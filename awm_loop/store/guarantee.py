"""What must hold of every state that is saved (SPEC 15), whatever the core did. A breach is a bug: nothing is saved.

It stands outside of the core that it checks, and knows nothing of how that came to a state.
"""

from __future__ import annotations

from awm_loop.core.machine import TABLE
from awm_loop.core.model import Launch, Phase, Stop, Work
from awm_loop.core.project import Spent
from awm_loop.core.projects import ALL, UNITS

ROWS = frozenset(str(row) for row in TABLE)


def broken(before: Work, after: Work) -> str | None:
    """The first guarantee that `after`, following `before`, breaks, in words; None when all hold."""
    accepted, ids = set(_places(before)), _places(after)
    started = [attempt for attempt in after.attempts if before.attempt(attempt.key) is None]
    entries = [entry for entry in after.log if entry.seq > before.seq]
    by_hand = {entry.task for entry in entries if entry.what not in ROWS}  # a person's word, journalled
    shrunk = {*before.completed} - {*after.completed} | {*before.failed} - {*after.failed}
    shrunk |= {*before.skipped} - {*after.skipped}
    fell = {task_id for task_id, task in before.tasks.items() if after.task(task_id).strikes < task.strikes}
    counters = [(work.next_attempt, work.next_notice, work.next_proposal, work.seq) for work in (before, after)]
    limits = [after.accounts[attempt.account] for attempt in started if attempt.account in after.accounts]
    done = {*after.completed} - {*before.completed}
    removed = {entry.task for entry in entries if entry.what.endswith(f"-> {Phase.REMOVED}")}
    live, over, lessened = after.attempts, {*after.completed} if started else set(), _fell(before, after)
    holds = {
        "4.3: a task stands in two places": len(set(ids)) == len(ids),
        f"4.3: lost {sorted(accepted - set(ids) - removed)}": accepted <= {*ids, *removed},
        "1: two live attempts in one workspace": len({one.workspace for one in live}) == len(live),
        "2: a counter went back": all(was <= now for was, now in zip(*counters, strict=True)),
        "2: an attempt number is not new": all(
            before.next_attempt <= attempt.number < after.next_attempt for attempt in started
        ),
        f"3: {sorted(shrunk - by_hand)} left a list of what is over": shrunk <= by_hand,
        "4: an effect on no live attempt": not is_baseless(after),
        "4: a start without its promise": all(after.pending == Launch(key=attempt.key) for attempt in started),
        f"5: strikes of {sorted(fell)} fell": fell <= by_hand | done | removed,
        f"13: the ledger of {lessened} fell": not lessened,
        "6: a start while paused": not (started and before.paused),
        "6: a start on a closed account": all(account.deadline is None for account in limits),
        "6: a start in a closed project": all({one.project_id, ALL}.isdisjoint(after.closed) for one in started),
        "6: a start before what it depends on": all(over.issuperset(after.task(one.task).depends) for one in started),
        "7: completed without an attempt": done <= {attempt.task for attempt in before.attempts},
        "13: a reset while an attempt is live": not (after.reset is Phase.RESETTING and live),
        "10: the journal's sequence has a gap": [entry.seq for entry in entries]
        == list(range(before.seq + 1, after.seq + 1)),
    }
    return next((words for words, is_kept in holds.items() if not is_kept), None)


def _fell(before: Work, after: Work) -> list[str]:
    """The projects whose ledger has less in it than it had."""
    nothing = Spent()
    return [
        name
        for name, was in before.spent.items()
        for unit in UNITS
        if (getattr(after.spent.get(name, nothing).in_all, unit) or 0) < (getattr(was.in_all, unit) or 0)
    ]


def is_baseless(work: Work) -> bool:
    """Whether its promise is about an attempt that it does not have."""
    effect = work.pending
    return isinstance(effect, Launch | Stop) and work.attempt(effect.key) is None


def _places(work: Work) -> list[str]:
    live = [attempt.task for attempt in work.attempts]
    return [*work.queue, *live, *work.completed, *work.failed, *work.skipped, *work.blocked]
