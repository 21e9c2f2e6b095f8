"""What a person may do to the work, as pure edits; the next beat's rows act on them (SPEC 7.2, 14)."""

from __future__ import annotations

from dataclasses import replace

from awm_loop.core.consequence import note
from awm_loop.core.model import Instant, Priority, StopReason, Task, Work
from awm_loop.errors import AwmError

LISTS = ("queue", "completed", "failed", "skipped", "blocked")


def whereabouts(work: Work, task_id: str) -> str | None:
    """The list a task stands in, `running` for a live one, None for an unknown id."""
    if any(attempt.task == task_id for attempt in work.attempts):
        return "running"
    return next((name for name in LISTS if task_id in getattr(work, name)), None)


def add(work: Work, task_id: str, spec_path: str, priority: Priority, now: Instant) -> Work:
    """Queue a new task. Raises AwmError for an id that is there already."""
    there = whereabouts(work, task_id)
    if there is not None:
        hint = f"--id NAME gives it another id; `awm retry {task_id}` runs the old one again"
        raise AwmError(f"{task_id} is already there ({there})", hint)
    tasks = dict(work.tasks)
    if priority is not Priority.MEDIUM:
        tasks[task_id] = Task(id=task_id, priority=priority)
    queued = replace(
        work,
        queue=(*work.queue, task_id),
        spec_files={**work.spec_files, task_id: spec_path},
        tasks=tasks,
    )
    return note(_woken(queued), now, "added", task_id)


def pause(work: Work, now: Instant) -> Work:
    """Nothing new starts; what runs is finished and recorded (SPEC 4.4)."""
    return work if work.paused else note(replace(work, active=False, idle_since=None), now, "paused")


def resume(work: Work, now: Instant) -> Work:
    return note(replace(work, active=True, idle_since=None), now, "resumed") if work.paused else work


def stop(work: Work, now: Instant) -> Work:
    """Pause, and ask every live attempt to end; each goes back to the head of the queue."""
    attempts = tuple(replace(attempt, stop=attempt.stop or StopReason.OPERATOR) for attempt in work.attempts)
    return replace(pause(work, now), attempts=attempts)


def retry(work: Work, task_id: str, now: Instant) -> Work:
    """Back to the head of the queue with fresh tries and strikes. Raises AwmError unless it failed, was skipped, …"""
    there = _known(work, task_id)
    if there == "running":
        raise AwmError(f"{task_id} is running", f"`awm stop` ends it; `awm logs {task_id}` shows what it does")
    old = work.task(task_id)
    fresh = replace(old, not_before=None, tries=0, strikes=0, reboots=0, reason="")
    queue = (task_id, *(other for other in work.queue if other != task_id))
    moved = replace(_taken_out(work, task_id), queue=queue, tasks={**work.tasks, task_id: fresh})
    return note(_woken(moved), now, f"retried, was in {there}", task_id)


def skip(work: Work, task_id: str, reason: str, now: Instant) -> Work:
    """Give a task up; a live one is asked to end first. Raises AwmError for one that is over."""
    there = _known(work, task_id)
    if there in {"completed", "skipped"}:
        raise AwmError(f"{task_id} is {there} already", f"`awm retry {task_id}` queues it again")
    if there == "running":
        attempts = tuple(
            replace(attempt, stop=StopReason.SKIP) if attempt.task == task_id else attempt for attempt in work.attempts
        )
        return note(replace(work, attempts=attempts), now, "asked to end and be skipped", task_id, reason)
    given_up = replace(work.task(task_id), reason=reason, not_before=None)
    moved = replace(
        _taken_out(work, task_id), skipped=(*work.skipped, task_id), tasks={**work.tasks, task_id: given_up}
    )
    return note(moved, now, f"skipped, was in {there}", task_id, reason)


def _woken(work: Work) -> Work:
    """A loop at rest has work again (SPEC 4.4); a pause stays a pause."""
    return work if work.idle_since is None else replace(work, active=True, idle_since=None, report=())


def _known(work: Work, task_id: str) -> str:
    there = whereabouts(work, task_id)
    if there is None:
        raise AwmError(f"there is no task {task_id}", "`awm status` lists them; `awm add SPEC.md` adds one")
    return there


def _taken_out(work: Work, task_id: str) -> Work:
    def without(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(other for other in ids if other != task_id)

    return replace(
        work,
        queue=without(work.queue),
        completed=without(work.completed),
        failed=without(work.failed),
        skipped=without(work.skipped),
        blocked=without(work.blocked),
    )
