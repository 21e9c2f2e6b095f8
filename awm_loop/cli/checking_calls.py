"""What `awm check` says of triggers and windows: what a beat would stumble over (SPEC 13.2, 13.3)."""

from __future__ import annotations

from collections.abc import Iterator

from awm_loop import clock, windows
from awm_loop.core.model import Work
from awm_loop.core.observation import SpecBad
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.errors import AwmError, BadFileError, ConfigError
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


def warnings(home: Home) -> Iterator[str]:
    """What may be meant: a trigger of a project that is over, a secret for one that is not there."""
    for trigger in _triggers(home):
        try:
            home.going_on(trigger.project_id)
        except ConfigError as error:
            yield f"trigger {trigger.id} queues nothing: {error.message}"
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
    if trigger.template:
        brought = templates.wanted(home.path, trigger.template) if trigger.type in inbox.CALLED else ()
        templates.fill(home.path, trigger.template, {**dict.fromkeys(brought, "x"), **trigger.values})
        return ""
    project = home.directory_of(work, trigger.project_id)
    read = specfile.read(inbox.spec_path(trigger.spec, home.path, project), "", project)
    return read.reason if isinstance(read, SpecBad) else ""
