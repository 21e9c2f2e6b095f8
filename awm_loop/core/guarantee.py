"""What must hold of every state that is saved (SPEC 15), whatever the rows did. A breach is a bug: nothing is saved."""

from __future__ import annotations

from awm_loop.core.model import Work


def broken(before: Work, after: Work) -> str | None:
    """The first guarantee that `after`, following `before`, breaks, in words; None when all hold."""
    live = [attempt.task for attempt in after.attempts]
    ids = [*after.queue, *live, *after.completed, *after.failed, *after.skipped, *after.blocked]
    accepted = {*before.queue, *before.completed, *before.failed, *before.skipped, *before.blocked}
    accepted.update(attempt.task for attempt in before.attempts)
    if len(set(ids)) != len(ids):
        return "4.3: a task stands in two places"
    if not accepted <= set(ids):
        return f"4.3: lost {sorted(accepted - set(ids))}"
    if len(live) > 1:
        return "1: more than one live attempt"
    if after.next_attempt < before.next_attempt or after.next_notice < before.next_notice or after.seq < before.seq:
        return "2: a counter went back"
    if any(attempt.number >= after.next_attempt for attempt in after.attempts):
        return "2: an attempt number was not counted"
    if after.pending is not None and after.attempt(after.pending.key) is None:
        return "4: an effect of no live attempt is promised"
    for task_id, task in after.tasks.items():
        known = before.tasks.get(task_id)
        if known is not None and task.strikes < known.strikes and known.strikes and task_id not in after.queue:
            return f"5: strikes of {task_id} fell"
    if [entry.seq for entry in after.log] != list(range(after.seq - len(after.log) + 1, after.seq + 1)):
        return "10: the journal's sequence has a gap"
    return None
