"""One heartbeat: load, observe, advance, promise, perform, prove (SPEC 6.2). The only place where pure and impure meet.

An effect is saved in the state before it is done, done idempotently by attempt key, and saved as proved after. A beat
that dies anywhere in between leaves a promise, and the next beat does it again first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from awm_loop import fault
from awm_loop.config import BEAT_STEPS_MAX, EDITS_MAX
from awm_loop.core import choice
from awm_loop.core.consequence import Moment, Step, take_account, take_live, take_loop, take_queued
from awm_loop.core.machine import classify_account, classify_live, classify_loop, classify_queued
from awm_loop.core.model import Effect, Launch, Reset, Stop, Work
from awm_loop.core.observation import AttemptSeen, ProbeFailed, SpecBad, SpecRead, TaskSeen
from awm_loop.ports import Changed, Loaded, Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What one beat did. `steps` are the rows that changed something, `work` the state it left, None without one."""

    work: Work | None
    steps: tuple[Step, ...] = ()
    effect: Effect | None = None
    redone: Effect | None = None  # an earlier beat's promise
    lines: tuple[str, ...] = field(default=())  # what else is worth a line: a metrics file set aside
    wants_another: bool = False  # more can be done at once than one beat may (SPEC 6.2)


def run(ports: Ports, *, dry_run: bool = False) -> Beat:
    """One beat; the caller holds the state lock. `dry_run` decides and writes nothing.

    Raises BadFileError, DiskError and ConfigError with the state untouched by the step that failed.
    """
    for _ in range(EDITS_MAX):
        try:
            return _once(ports, dry_run=dry_run)
        except Changed:
            continue  # somebody saved the file between our read and our write: their word first, then ours
    return Beat(work=None, lines=("the state file is being edited without a pause; nothing was done",))


def _once(ports: Ports, *, dry_run: bool) -> Beat:
    now = ports.clock()
    loaded = ports.store.load(now)
    if loaded is None:
        return Beat(work=None)
    if not dry_run:
        ports.store.catch_up(loaded)
    moment = Moment(now=now, policy=ports.policy(loaded.settings))
    redone = loaded.work.pending
    if redone is not None and not dry_run and not (loaded.work.paused and isinstance(redone, Launch)):
        fault.point("beat.redo:before")
        _perform(ports, loaded.work, redone)
        fault.point("beat.redo:after")
    start = replace(_with_priorities(loaded, ports), pending=None)
    steps = tuple(_advance(start, ports, moment))
    work = steps[-1].work if steps else start
    lines: tuple[str, ...] = ()
    if not dry_run and work != loaded.work:
        work, lines = _promise_and_prove(ports, loaded, work)
    effect = steps[-1].work.pending if steps else None
    has_room = bool(work.queue) and len(work.attempts) < moment.policy.max_parallel
    is_cut = isinstance(effect, Reset) or (isinstance(effect, Launch) and has_room) or len(steps) >= BEAT_STEPS_MAX
    return Beat(work=work, steps=steps, effect=effect, redone=redone, lines=lines, wants_another=is_cut)


def _with_priorities(loaded: Loaded, ports: Ports) -> Work:
    """A person wrote the file: learn the priorities of what is queued, before the next task is chosen from it."""
    work = loaded.work
    if work.paused or not work.queue or not ports.store.is_edited(loaded):
        return work
    tasks = dict(work.tasks)
    for task_id in work.queue:
        spec = ports.read_spec(work, task_id)
        if not isinstance(spec, SpecBad) and spec.priority is not work.task(task_id).priority:
            tasks[task_id] = replace(work.task(task_id), priority=spec.priority)
    return replace(work, tasks=tasks)


def _promise_and_prove(ports: Ports, loaded: Loaded, work: Work) -> tuple[Work, tuple[str, ...]]:
    """Save with the effect promised, do it, save it as proved; without an effect one save is all.

    Metrics are recorded before the last save, each task once by its attempt number, so a crash on the way repeats them.
    """
    news = work.report if work.report != loaded.work.report or loaded.work.pending is not None else ()
    if work.pending is not None:
        fault.point("beat.promise:before-save")
        loaded = ports.store.save(loaded, work, ports.clock())
        fault.point("beat.effect:before")
        _perform(ports, work, work.pending)
        fault.point("beat.effect:after")
        work = replace(loaded.work, pending=None)
    fault.point("beat.record:before")
    set_aside = ports.record(news, ports.clock()) if news else None
    fault.point("beat.record:after")
    return ports.store.save(loaded, work, ports.clock()).work, (set_aside,) if set_aside else ()


def _perform(ports: Ports, work: Work, effect: Effect) -> None:
    match effect:
        case Launch(key=key):
            attempt = work.attempt(key)
            if attempt is not None:
                ports.launcher.start(attempt, work.task(attempt.task))
        case Stop(key=key, why=why):
            ports.launcher.stop(key, why)
        case Reset(key=key):
            ports.remember(work, key)


def _advance(work: Work, ports: Ports, moment: Moment) -> Iterator[Step]:
    """Rows until one has an effect or nothing changes: live attempts oldest first, accounts, loop, the next task."""
    seen = ports.launcher.probe(work.attempts) if work.attempts else {}
    fault.point("beat.probe:after")
    for count, step in enumerate(_rows(work, seen, ports, moment), start=1):
        yield step
        if step.work.pending is not None or count >= BEAT_STEPS_MAX:
            return


def _rows(work: Work, seen: Mapping[str, AttemptSeen], ports: Ports, moment: Moment) -> Iterator[Step]:
    for attempt in work.attempts:
        current = work.attempt(attempt.key)
        while current is not None:
            looked = seen.get(current.key) or ProbeFailed(reason="the launcher did not say")
            step = take_live(work, current, classify_live(work, current, looked, moment.now, moment.policy), moment)
            if step.row.is_quiet:
                break
            work = step.work
            yield step
            current = work.attempt(attempt.key)
    for account in tuple(work.accounts.values()):
        if account.deadline is not None:
            step = take_account(work, account, classify_account(account, moment.now), moment)
            if not step.row.is_quiet:
                work = step.work
                yield step
    if work.paused:
        return
    for subject in ("loop", "loop", "loop", "queue", "loop"):  # the last two steps of a reset, then what there is to do
        for step in _loop_row(work, moment) if subject == "loop" else _queue_rows(work, ports, moment):
            work = step.work
            yield step


def _loop_row(work: Work, moment: Moment) -> Iterator[Step]:
    step = take_loop(work, classify_loop(work, moment.policy), moment)
    if not step.row.is_quiet:
        yield step


def _queue_rows(work: Work, ports: Ports, moment: Moment) -> Iterator[Step]:
    """The next task, and the one after it where the next is blocked. A launch ends the beat."""
    while True:
        task_id = choice.candidate(work, moment.now, moment.policy)
        if task_id is None:
            return
        seen = None if choice.is_waiting(work, task_id, moment.now) else _read(work, task_id, ports)
        step = take_queued(work, task_id, classify_queued(work, task_id, seen, moment.now, moment.policy), moment)
        if step.row.is_quiet:
            return
        work = step.work
        yield step


def _read(work: Work, task_id: str, ports: Ports) -> TaskSeen:
    spec = ports.read_spec(work, task_id)
    if isinstance(spec, SpecBad):
        return spec
    following = next((other for other in choice.in_order(work) if other != task_id), None)
    next_up = None
    if following is not None:
        next_spec = ports.read_spec(work, following)
        next_up = (following, "its spec cannot be read" if isinstance(next_spec, SpecBad) else next_spec.title)
    head, branch = ports.head(work.project)
    past, worktree = tuple(ports.past()), ports.worktree(task_id)
    return SpecRead(spec=spec, head=head, branch=branch, worktree=worktree, past=past, next_up=next_up)
