"""One heartbeat: load, observe, advance, promise, perform, prove (SPEC 6.2). The only place where pure and impure meet.

An effect is saved in the state before it is done, done idempotently by attempt key, and saved as proved after. A beat
that dies anywhere in between leaves a promise, and the next beat does it again first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from awm_loop import fault
from awm_loop.config import BEAT_STEPS_MAX, EDITS_MAX, RESET_REFUSED_SECONDS_MAX
from awm_loop.core import choice, projects
from awm_loop.core.consequence import (
    Moment,
    Step,
    note,
    take_account,
    take_call,
    take_live,
    take_loop,
    take_project,
    take_queued,
)
from awm_loop.core.machine import (
    Signal,
    classify_account,
    classify_call,
    classify_live,
    classify_loop,
    classify_project,
    classify_queued,
)
from awm_loop.core.model import Effect, Instant, Launch, Policy, Reset, Spec, Stop, Work
from awm_loop.core.observation import AttemptSeen, Call, ProbeFailed, ProjectGone, SpecBad, SpecRead, TaskSeen
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.errors import ConfigError
from awm_loop.ports import Changed, Loaded, Ports

NOT_RESET = "the assistant's session is not reset yet"  # in the journal, with the reason
GIVEN_UP = "⚠️ What was done is saved. The assistant's session could not be reset: {why}. The work goes on."


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What one beat did. `steps` are the rows that changed something, `work` the state it left, None without one."""

    work: Work | None
    steps: tuple[Step, ...] = ()
    effect: Effect | None = None
    redone: Effect | None = None  # an earlier beat's promise
    lines: tuple[str, ...] = field(default=())  # what else is worth a line: a metrics file set aside
    wants_another: bool = False  # more can be done at once than one beat may (SPEC 6.2)
    misses_specs: bool = False  # since an edit some could not be read: the next beat tries again


class _News(NamedTuple):
    """What a beat is told before it looks at anything: what calls for work, and what of a reset was given up."""

    calls: Sequence[Call]
    given_up: str


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
    moment = Moment(now=now, policy=ports.policy(loaded.settings, now))
    redone = loaded.work.pending
    if redone is not None and not dry_run and not _is_held(loaded.work, redone, moment):
        fault.point("beat.redo:before")
        refused = _perform(ports, loaded.work, redone)
        fault.point("beat.redo:after")
        if refused is not None:
            kept, why = _put_off(ports, loaded, refused)
            return Beat(work=kept, lines=why)
    unread = () if loaded.work.paused or not loaded.work.queue else ports.store.unread_specs(loaded)
    learnt, bad = _learnt(loaded.work, unread, ports, moment.policy)
    start = replace(learnt, pending=None)
    calls = ports.calls(start, now)
    steps = tuple(_advance(start, _News(calls, _given_up(loaded.work, now)), ports, moment))
    work = steps[-1].work if steps else start
    lines: tuple[str, ...] = ()
    if not dry_run and work != loaded.work:
        work, lines = _promise_and_prove(ports, loaded, work)
    if unread and not dry_run and not steps:  # a row says by itself that the edit was seen
        ports.store.specs_read(loaded, bad)
    taken = [call for call in calls if classify_call(work, call) is None]
    if taken and not dry_run:
        fault.point("beat.calls:before-taken")
        ports.taken(taken, work)
    effect = steps[-1].work.pending if steps else None
    has_room = bool(work.queue) and len(work.attempts) < moment.policy.max_parallel
    is_cut = isinstance(effect, Launch) and has_room
    is_cut = is_cut or (isinstance(effect, Reset) and work.pending is None)
    is_cut = is_cut or len(steps) >= BEAT_STEPS_MAX or len(taken) < len(calls)
    return Beat(
        work=work,
        steps=steps,
        effect=effect,
        redone=redone,
        lines=lines,
        wants_another=is_cut,
        misses_specs=bool(bad),
    )


def _is_held(work: Work, effect: Effect, moment: Moment) -> bool:
    """A launch that was promised before a pause, or before its project's window closed: not now (SPEC 15.6). A reset
    that was refused for too long: not any more (SPEC 11.1)."""
    if isinstance(effect, Reset):
        return bool(_given_up(work, moment.now))
    attempt = work.attempt(effect.key) if isinstance(effect, Launch) else None
    if attempt is None:
        return False
    return work.paused or bool(projects.barred(attempt.project_id, moment.now, moment.policy))


def _learnt(work: Work, tasks: Iterable[str], ports: Ports, policy: Policy) -> tuple[Work, list[str]]:
    """What the specs of these tasks say of the order, and the tasks whose spec is bad, which says nothing."""
    read = {task_id: ports.read_spec(work, task_id) for task_id in tasks}
    specs = {task_id: spec for task_id, spec in read.items() if not isinstance(spec, SpecBad)}
    return choice.learnt(work, specs, policy), [task_id for task_id in read if task_id not in specs]


def _promise_and_prove(ports: Ports, loaded: Loaded, work: Work) -> tuple[Work, tuple[str, ...]]:
    """Save with the effect promised, do it, save it as proved; without an effect one save is all.

    Metrics are recorded before the last save, each task once by its attempt number, so a crash on the way repeats them.
    """
    news = work.report if work.report != loaded.work.report or loaded.work.pending is not None else ()
    if work.pending is not None:
        fault.point("beat.promise:before-save")
        loaded = ports.store.save(loaded, work, ports.clock())
        fault.point("beat.effect:before")
        refused = _perform(ports, work, work.pending)
        fault.point("beat.effect:after")
        if refused is not None:
            return _put_off(ports, loaded, refused)
        work = replace(loaded.work, pending=None)
    fault.point("beat.record:before")
    set_aside = ports.record(news, ports.clock()) if news else None
    fault.point("beat.record:after")
    return ports.store.save(loaded, work, ports.clock()).work, (set_aside,) if set_aside else ()


def _put_off(ports: Ports, loaded: Loaded, why: str) -> tuple[Work, tuple[str, ...]]:
    """The world refused the effect: it stays promised, the next beat does it again, and the journal says why, once."""
    effect, now = loaded.work.pending, ports.clock()
    if not why or not isinstance(effect, Reset) or effect.refused:
        return loaded.work, ()
    work = replace(loaded.work, pending=replace(effect, refused=(why, now.wall)))
    return ports.store.save(loaded, note(work, now, NOT_RESET, reason=why), now).work, (f"{NOT_RESET}: {why}",)


def _given_up(work: Work, now: Instant) -> str:
    """What is told instead of a reset that was refused for too long, wherever the clock went; "" where none was."""
    if work.paused or not isinstance(work.pending, Reset) or not work.pending.refused:
        return ""
    why, since = work.pending.refused
    is_over = abs((now.wall - since).total_seconds()) >= RESET_REFUSED_SECONDS_MAX
    return GIVEN_UP.format(why=why) if is_over else ""


def _perform(ports: Ports, work: Work, effect: Effect) -> str | None:
    """None: done. Else why the world refuses it now."""
    match effect:
        case Launch(key=key):
            attempt = work.attempt(key)
            if attempt is not None:
                ports.launcher.start(attempt, work.task(attempt.task))
        case Stop(key=key, why=why):
            ports.launcher.stop(key, why)
        case Reset(key=key):
            return ports.remember(work, key)
    return None


def _advance(work: Work, news: _News, ports: Ports, moment: Moment) -> Iterator[Step]:
    """Rows until one has an effect or nothing changes: live attempts oldest first, what calls, accounts and projects,
    the loop, the next task."""
    seen = ports.launcher.probe(work.attempts) if work.attempts else {}
    fault.point("beat.probe:after")
    for count, step in enumerate(_rows(work, seen, news, ports, moment), start=1):
        yield step
        if step.work.pending is not None or count >= BEAT_STEPS_MAX:
            return


def _rows(work: Work, seen: Mapping[str, AttemptSeen], news: _News, ports: Ports, moment: Moment) -> Iterator[Step]:
    for attempt in work.attempts:
        for step in _live_rows(work, attempt.key, seen, moment):
            work = step.work
            yield step
    first: dict[str, Call] = {}  # of each trigger, one a beat: what it did last is all that is kept
    for call in news.calls:
        first.setdefault(call.trigger, call)
    for call in first.values():
        judged = classify_call(work, call)
        if judged is not None:
            step = take_call(work, call, judged, moment)
            work = step.work
            yield step
    for step in _limit_rows(work, ports, moment):
        work = step.work
        yield step
    if work.paused:
        return
    for subject in ("loop", "loop", "loop", "queue", "loop"):  # the last two steps of a reset, then what there is to do
        for step in _loop_row(work, news, moment) if subject == "loop" else _queue_rows(work, ports, moment):
            work = step.work
            yield step


def _live_rows(work: Work, key: str, seen: Mapping[str, AttemptSeen], moment: Moment) -> Iterator[Step]:
    current = work.attempt(key)
    while current is not None:
        looked = seen.get(key) or ProbeFailed(reason="the launcher did not say")
        step = take_live(work, current, classify_live(work, current, looked, moment.now, moment.policy), moment)
        if step.row.is_quiet:
            return
        work = step.work
        yield step
        current = work.attempt(key)


def _limit_rows(work: Work, ports: Ports, moment: Moment) -> Iterator[Step]:
    """Accounts that open, projects whose budget or directory is gone or back."""
    for account in tuple(work.accounts.values()):
        if account.deadline is not None:
            step = take_account(work, account, classify_account(account, moment.now), moment)
            if not step.row.is_quiet:
                work = step.work
                yield step
    for project_id in dict.fromkeys((*work.closed, *moment.policy.projects, DEFAULT_PROJECT, projects.ALL)):
        gone = _gone(work, project_id, ports) if project_id in work.closed else ""
        judged = classify_project(work, project_id, gone, moment.policy)
        if judged is not None:
            step = take_project(work, project_id, judged, moment)
            if not step.row.is_quiet:
                work = step.work
                yield step


def _gone(work: Work, project_id: str, ports: Ports) -> str:
    """Why the directory of a project is not to be had, "" where it is."""
    if project_id == projects.ALL:
        return ""
    try:
        ports.head(work, project_id)
    except ConfigError as error:
        return error.message
    return ""


def _loop_row(work: Work, news: _News, moment: Moment) -> Iterator[Step]:
    judged = classify_loop(work, moment.policy)
    if judged.signal is Signal.SAVED:
        judged = judged._replace(reason=news.given_up)
    step = take_loop(work, judged, moment)
    if not step.row.is_quiet:
        yield step


def _queue_rows(work: Work, ports: Ports, moment: Moment) -> Iterator[Step]:
    """The next task; where it waits, the one after it, of another project; where it is blocked, whatever is next then.

    A launch ends the beat. What a spec says of the order may change who is next. Then the specs of some behind it are
    looked at too, twice as many each time: thousands that say so, as where a project got another priority, cost no
    choice for each.
    """
    is_done, ahead_count = False, 1
    while not is_done:
        is_done, order = True, choice.in_order(work)
        for task_id in choice.candidates(work, moment.now, moment.policy):
            spec = ports.read_spec(work, task_id)
            if _learnt(work, [task_id], ports, moment.policy)[0] is not work:
                start = order.index(task_id)
                work, _ = _learnt(work, order[start : start + ahead_count], ports, moment.policy)
                is_done, ahead_count = False, ahead_count * 2
                break
            seen = spec if isinstance(spec, SpecBad) else _seen(work, task_id, spec, ports, moment)
            judged = classify_queued(work, task_id, seen, moment.now, moment.policy)
            if isinstance(judged.seen, SpecRead):  # it is to start: its notice names who is next
                next_up = _next_up(work, task_id, ports, moment)
                judged = judged._replace(seen=replace(judged.seen, next_up=next_up))
            step = take_queued(work, task_id, judged, moment)
            if not step.row.is_quiet:
                work, is_done = step.work, False
                yield step
                break


def _seen(work: Work, task_id: str, spec: Spec, ports: Ports, moment: Moment) -> TaskSeen:
    try:
        site = ports.head(work, projects.project_of(work, task_id))
    except ConfigError as error:
        if not moment.policy.projects:
            raise  # nothing else could go on
        return ProjectGone(reason=f"{error.message}: {error.hint}")
    return SpecRead(spec=spec, site=site, worktree=ports.worktree(task_id), past=tuple(ports.past()))


def _next_up(work: Work, task_id: str, ports: Ports, moment: Moment) -> tuple[str, str] | None:
    """The id and title of the task after this one."""
    following = choice.following(work, task_id, moment.now, moment.policy)
    if following is None:
        return None
    spec = ports.read_spec(work, following)
    return following, "its spec cannot be read" if isinstance(spec, SpecBad) else spec.title
