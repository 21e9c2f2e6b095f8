"""What a person may do to the work, as pure edits; the next beat's rows act on them (SPEC 7.2, 14)."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from awm_loop.core.consequence import note
from awm_loop.core.model import Ended, Instant, Phase, StopReason, Task, Work
from awm_loop.core.notice import one_line
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.core.projects import circle
from awm_loop.errors import AwmError

LISTS = ("queue", "completed", "failed", "skipped", "blocked")
ANSWER_CHARS_MAX = 4000  # it stands in the state file and in each prompt of the task from then on


def whereabouts(work: Work, task_id: str) -> str | None:
    """The list a task stands in, `running` for a live one, None for an unknown id."""
    if any(attempt.task == task_id for attempt in work.attempts):
        return "running"
    return next((name for name in LISTS if task_id in getattr(work, name)), None)


def add(work: Work, task: Task, spec_path: str, project_id: str, now: Instant) -> Work:
    """Queue a new task. Raises AwmError for an id that is there already, and for dependencies in a circle."""
    task_id, there = task.id, whereabouts(work, task.id)
    if there is not None:
        hint = f"--id NAME gives it another id; `awm retry {task_id}` runs the old one again"
        raise AwmError(f"{task_id} is already there ({there})", hint)
    queued = replace(
        work,
        queue=(*work.queue, task_id),
        spec_files={**work.spec_files, task_id: spec_path},
        tasks={**work.tasks, task_id: task} if task != Task(id=task_id) else work.tasks,
    )
    of = {name: one for name, one in work.project_of.items() if name != task_id}
    queued = replace(queued, project_of=of if project_id == DEFAULT_PROJECT else {**of, task_id: project_id})
    loop = circle({name: one.depends for name, one in queued.tasks.items()})
    if task_id in loop:
        hint = "take one `**Depends:**` out of their specs"
        raise AwmError(f"{task_id} would depend on itself: {' -> '.join(loop)}", hint)
    return note(_woken(queued), now, "added", task_id)


def pause(work: Work, now: Instant) -> Work:
    """Nothing new starts; what runs is finished and recorded (SPEC 4.4)."""
    return work if work.paused else note(replace(work, active=False, idle_since=None), now, "paused")


def resume(work: Work, now: Instant) -> Work:
    return note(replace(work, active=True, idle_since=None), now, "resumed") if work.paused else work


def turn_on(work: Work, now: Instant, name: str, known: Sequence[str]) -> Work:
    """An agent whose login or bill was refused may work again. Raises AwmError for one that is not off."""
    if name not in work.agents_off:
        hint = "awm agents lists them" if name in known else f"agents: {', '.join(known)}"
        raise AwmError(f"{name} is not turned off" if name in known else f"there is no agent {name}", hint)
    left = {agent: why for agent, why in work.agents_off.items() if agent != name}
    return note(replace(work, agents_off=left), now, f"agent {name} turned on")


def stop(work: Work, now: Instant) -> Work:
    """Pause, and ask every live attempt to end; each goes back to the head of the queue."""
    attempts = tuple(replace(attempt, stop=attempt.stop or StopReason.OPERATOR) for attempt in work.attempts)
    return replace(pause(work, now), attempts=attempts)


def retry(work: Work, task_id: str, now: Instant) -> Work:
    """Back to the head of the queue with fresh tries, strikes and gate: its spec may be another now.

    Raises AwmError unless it failed, was skipped, is blocked, or is done.
    """
    there = known(work, task_id)
    if there == "running":
        raise AwmError(f"{task_id} is running", f"`awm stop` ends it; `awm logs {task_id}` shows what it does")
    old = work.task(task_id)
    fresh = replace(old, not_before=None, tries=0, strikes=0, reboots=0, reason="", verify=None, analysis="", agent="")
    fresh = replace(fresh, sessions={}, depends=())
    queue = (task_id, *(other for other in work.queue if other != task_id))
    moved = replace(_taken_out(work, task_id), queue=queue, tasks={**work.tasks, task_id: fresh})
    return note(_woken(moved), now, f"retried, was in {there}", task_id)


def answer(work: Work, task_id: str, text: str, now: Instant) -> Work:
    """A blocked task back to the head of the queue, with a person's answer for its next prompt; its counts stay.

    Raises AwmError for one that is not blocked, and for a text that is empty, too long, or holds control characters.
    """
    asked = question(work, task_id)
    said = text.strip()
    if not said:
        raise AwmError(f"no answer was given to {task_id}", f'awm answer {task_id} "…"')
    if len(said) > ANSWER_CHARS_MAX:
        hint = f"put what is long into the spec, then: awm retry {task_id}"
        raise AwmError(f"the answer has more than {ANSWER_CHARS_MAX:,} characters", hint)
    # Surrogates stand for bytes that are not UTF-8.
    bad = next((char for char in said if unicodedata.category(char) in {"Cc", "Cs"} and char not in "\n\t"), None)
    if bad is not None:
        raise AwmError(f"the answer holds the control character {bad!a}", "plain text, with line ends and tabs")
    told = f"An earlier attempt asked: {asked}\nThe answer of the person in charge: {said}"
    old = work.task(task_id)
    answered = replace(old, not_before=None, reason="", guidance=(*old.guidance, told))
    queued = replace(_taken_out(work, task_id), queue=(task_id, *work.queue), tasks={**work.tasks, task_id: answered})
    return note(_woken(queued), now, "answered", task_id, one_line(said))


def question(work: Work, task_id: str) -> str:
    """What a blocked task asks, or why it is blocked. Raises AwmError for one that is not blocked."""
    there = known(work, task_id)
    if there != "blocked":
        where = "in the queue" if there == "queue" else there
        raise AwmError(f"{task_id} is not blocked, it is {where}", f"awm why {task_id}")
    return work.task(task_id).reason or "no question was recorded"


def skip(work: Work, task_id: str, reason: str, now: Instant) -> Work:
    """Give a task up; a live one is asked to end first. Raises AwmError for one that is over."""
    there = known(work, task_id)
    if there in {"completed", "skipped"}:
        raise AwmError(f"{task_id} is {there} already", f"`awm retry {task_id}` queues it again")
    if there == "running":
        attempts = tuple(
            replace(attempt, stop=StopReason.SKIP) if attempt.task == task_id else attempt for attempt in work.attempts
        )
        return note(replace(work, attempts=attempts), now, "asked to end and be skipped", task_id, reason)
    given_up = replace(work.task(task_id), reason=reason, not_before=None)
    line = Ended(
        task=task_id, outcome=Phase.SKIPPED, at=now.wall, notes=one_line(reason),
        minutes_in_all=given_up.seconds / 60, attempts=given_up.attempts, cost_usd=given_up.cost_usd,
    )  # fmt: skip
    moved = replace(
        _taken_out(work, task_id),
        skipped=(*work.skipped, task_id),
        tasks={**work.tasks, task_id: given_up},
        report=(*work.report, line),
    )
    return note(moved, now, f"skipped, was in {there}", task_id, reason)


def _woken(work: Work) -> Work:
    """A loop at rest has work again (SPEC 4.4); a pause stays a pause."""
    return work if work.idle_since is None else replace(work, active=True, idle_since=None, report=())


def known(work: Work, task_id: str) -> str:
    """`whereabouts` of a task that is there. Raises AwmError for an unknown id, with the nearest known ones."""
    there = whereabouts(work, task_id)
    if there is None:
        ids = [one for name in LISTS for one in getattr(work, name)] + [attempt.task for attempt in work.attempts]
        near = " or ".join(difflib.get_close_matches(task_id, ids))
        lists = "`awm status` lists them; `awm add SPEC.md` adds one"
        raise AwmError(f"there is no task {task_id}", f"did you mean {near}?" if near else lists)
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
