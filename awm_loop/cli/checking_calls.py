"""What `awm check` says of triggers and windows: what a beat would stumble over (SPEC 13.2, 13.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from awm_loop import clock, windows
from awm_loop.core import choice
from awm_loop.core.machine import Signal, classify_queued
from awm_loop.core.model import Spec, Work
from awm_loop.core.observation import Site, SpecBad, SpecRead
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.core.projects import project_of, waits
from awm_loop.errors import AwmError, BadFileError, ConfigError
from awm_loop.ports import Settings
from awm_loop.store import specfile
from awm_loop.trigger import Trigger
from awm_loop.triggers import inbox, schedule, templates
from awm_loop.wiring import Home


def problems(home: Home, work: Work) -> Iterator[str]:
    """One line for each enabled trigger that could not queue its task, and each window that never opens."""
    for entry in home.project_entries():
        try:
            if entry.window:
                windows.parse(entry.window)
        except windows.UnknownZoneError as error:
            yield f"project {entry.id}: its window never opens: {error}"
    for trigger in _triggers(home):
        try:
            why = _trouble(home, work, trigger)
        except AwmError as error:
            why = f"{error.message} ({error.hint})" if error.hint else error.message
        if why:
            yield f"trigger {trigger.id}: {why}"


def warnings(home: Home, work: Work, settings: Settings) -> Iterator[str]:
    """What may be meant: a trigger of a project that is over, or whose task nobody could do; a secret for one that is
    not there.
    """
    for trigger in _triggers(home):
        try:
            home.going_on(trigger.project_id)
        except ConfigError as error:
            yield f"trigger {trigger.id} queues nothing: {error.message}"
            continue
        with suppress(AwmError):  # told as a problem
            if why := blocked(home, work, settings, trigger):
                yield f"trigger {trigger.id}: its task would be blocked: {why}"
    known = {trigger.id for trigger in _triggers(home) if trigger.type == "webhook"}
    for name in home.config.hook.triggers.keys() - known:
        yield f"[hook.triggers] {name}: no enabled trigger of type webhook has that id"


def _triggers(home: Home) -> list[Trigger]:
    """The enabled ones; none where their file is bad, which is told by itself."""
    try:
        return [trigger for trigger in home.triggers() if trigger.enabled]
    except BadFileError:
        return []


def _trouble(home: Home, work: Work, trigger: Trigger) -> str:
    """Why a trigger could not queue its task, "" where it could. Raises AwmError, which says why too."""
    projects = (DEFAULT_PROJECT, *(entry.id for entry in home.project_entries()))
    if trigger.project_id not in projects:
        raise ConfigError(f"there is no project {trigger.project_id}", "awm projects list")
    if trigger.type == "time":
        where = schedule.zone(trigger.timezone)
        if where is None:
            return f"this machine knows no zone {trigger.timezone}"
        if schedule.following(trigger.cron, where, clock.now().wall) is None:
            return f"{trigger.cron!r} never comes"
    spec = _spec(home, work, trigger)
    return spec.reason if isinstance(spec, SpecBad) else ""


def _spec(home: Home, work: Work, trigger: Trigger) -> Spec | SpecBad:
    """What it would queue now. Raises AwmError."""
    project = home.directory_of(work, trigger.project_id)
    if not trigger.template:
        return specfile.read(inbox.spec_path(trigger.spec, home.path, project), "", project)
    brought = templates.wanted(home.path, trigger.template) if trigger.type in inbox.CALLED else ()
    text = templates.fill(home.path, trigger.template, {**dict.fromkeys(brought, "x"), **trigger.values})
    return specfile.parse(text, Path(f"{trigger.template}.md"), "", project)


def blocked(home: Home, work: Work, settings: Settings, trigger: Trigger) -> str:
    """Why a beat would block the task of a trigger, "" where it would not, or where there would be none.

    Raises AwmError.
    """
    spec, task_id = _spec(home, work, trigger), f"the task of {trigger.id}"  # no task has such an id
    if isinstance(spec, SpecBad):
        return ""
    projects = {**work.project_of, task_id: trigger.project_id}
    then = replace(work, queue=(*work.queue, task_id), project_of=projects)
    return why_blocked(home, then, settings, task_id, spec)


def why_blocked(home: Home, work: Work, settings: Settings, task_id: str, spec: Spec) -> str:
    """Why a beat would block a queued task of that spec; "" where it would not."""
    now = clock.now()
    policy = home.policy(settings, now)
    if why := waits(choice.learnt(work, {task_id: spec}, policy)).get(task_id):
        return why
    try:
        site = home.head(work, project_of(work, task_id))
    except ConfigError:  # told once, of the project
        site = Site("", "", "")
    not_waiting = replace(work, tasks={}, accounts={})
    read = SpecRead(spec=spec, site=site, past=(), next_up=None)
    judged = classify_queued(not_waiting, task_id, read, now, policy)
    return judged.reason if judged.signal is Signal.UNFIT else ""
