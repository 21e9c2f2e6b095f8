"""`state/triggers.json`: what calls for work, and when (SPEC 13.2). People edit it; unknown keys are kept.

What fired is not in here but in the state, saved together with the task it queued.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from awm_loop.config import ID_PATTERN, MINUTES_MAX, SECONDS_MAX
from awm_loop.core.project import DEFAULT_PROJECT, Priority
from awm_loop.errors import AwmError
from awm_loop.store import jsontext, peoplefile
from awm_loop.store.peoplefile import Raw, WrongError
from awm_loop.store.shape import PathText, Time, iso
from awm_loop.trigger import (
    DEBOUNCE_SECONDS,
    GRACE_MINUTES,
    ID_CHARS_MAX,
    ZONE_PATTERN,
    Trigger,
    cron_fault,
    glob_fault,
)

NAME = "triggers.json"
GLOB_HINT = 'as "src/**/*.ts", or a list of them'

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]


class _Entry(BaseModel):
    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, alias_generator=to_camel, validate_by_alias=True, defer_build=True
    )

    id: Id
    type: Literal["time", "file", "webhook", "manual"]
    project_id: Id = DEFAULT_PROJECT
    priority: Priority = Priority.MEDIUM
    trigger: str | list[str] = ""  # a cron line, or globs
    enabled: bool = True
    spec: PathText = ""
    template: str = ""
    values: dict[str, str] = {}
    timezone: str = "UTC"
    misfire_grace: Annotated[float, Field(gt=0, le=MINUTES_MAX, allow_inf_nan=False)] = GRACE_MINUTES
    overlap: Literal["skip", "queue"] = "skip"
    debounce_seconds: Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False)] = DEBOUNCE_SECONDS
    created_at: Time | None = None
    enabled_at: Time | None = None

    @property
    def cron(self) -> str:
        return self.trigger if isinstance(self.trigger, str) and self.type == "time" else ""

    @property
    def globs(self) -> tuple[str, ...]:
        if self.type != "file":
            return ()
        return (self.trigger,) if isinstance(self.trigger, str) else tuple(self.trigger)


class _File(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    triggers: list[_Entry]


def read(path: Path) -> tuple[Trigger, ...]:
    """The triggers in the file's order, () where there is no file. Raises BadFileError (SPEC 4.7), DiskError."""
    found = peoplefile.read(path, checked)
    return found.value if found else ()


def add(path: Path, fields: Mapping[str, object], now: datetime) -> None:
    """Append a trigger of these keys.

    Raises AwmError where its id is taken or a value is wrong, BadFileError, BusyError, DiskError.
    """
    _change(path, lambda entries: _with(entries, {**fields, "createdAt": iso(now)}))


def tried(path: Path, fields: Mapping[str, object], now: datetime) -> Trigger:
    """What `add` would make; nothing is written. Raises as `add` does."""
    found = peoplefile.read(path, checked)
    raw = {"triggers": _with(found.raw["triggers"] if found else [], {**fields, "createdAt": iso(now)})[-1:]}
    try:
        return checked(jsontext.layout(raw).decode(), raw)[0]
    except WrongError as wrong:
        key = "" if wrong.said.startswith("trigger ") else "/".join(map(str, wrong.pointer[2:]))
        raise AwmError(f"{key}: {wrong.said}".removeprefix(": "), wrong.hint) from wrong
    except UnicodeEncodeError as error:
        raise AwmError("a value is not UTF-8 text", "write it in plain characters") from error


def _with(entries: list[Raw], entry: Raw) -> list[Raw]:
    if any(other["id"] == entry["id"] for other in entries):
        raise AwmError(f"there is a trigger {entry['id']} already", f"awm triggers show {entry['id']}")
    return [*entries, entry]


def change(path: Path, trigger: str, fields: Mapping[str, object]) -> None:
    """Set these keys of one trigger. Raises as `remove` does, and AwmError for a wrong value."""
    _change(path, lambda entries: [{**one, **fields} if one["id"] == trigger else one for one in entries], trigger)


def remove(path: Path, trigger: str) -> None:
    """Raises AwmError where there is none of that id, BadFileError, BusyError, DiskError."""
    _change(path, lambda entries: [one for one in entries if one["id"] != trigger], trigger)


def unknown(trigger: str, ids: Sequence[str]) -> AwmError:
    """The error for an id that no trigger has, with the nearest one."""
    near = difflib.get_close_matches(trigger, ids, n=1)
    return AwmError(
        f"there is no trigger {trigger}", f"did you mean {near[0]}?" if near else "`awm triggers` lists them"
    )


def _change(path: Path, change: Callable[[list[Raw]], list[Raw]], trigger: str = "") -> None:
    def changed(raw: Raw) -> Raw:
        before = list(raw.get("triggers", ()))
        ids = [one["id"] for one in before]
        if trigger and trigger not in ids:
            raise unknown(trigger, ids)
        return raw | {"triggers": change(before)}

    peoplefile.update(path, checked, changed)


def checked(text: str, raw: Raw) -> tuple[Trigger, ...]:
    """The triggers of a file's text. Raises WrongError."""
    found = peoplefile.validated(_File, text, raw).triggers
    ids: dict[str, int] = {}
    for index, entry in enumerate(found):
        if entry.id in ids:
            other = f"{entry.id} is also in /triggers/{ids[entry.id]}"
            raise WrongError(("triggers", index, "id"), other, "rename one of the two")
        wrong = _fault(entry)
        if wrong is not None:
            key, said, hint = wrong
            raise WrongError(("triggers", index, key), f"trigger {entry.id}: {said}", hint)
        ids[entry.id] = index
    return tuple(map(_noun, found))


def _fault(entry: _Entry) -> tuple[str, str, str] | None:
    """Of an entry whose types are right: the key that is wrong still, how, and how to mend it."""
    if len(entry.id) > ID_CHARS_MAX:
        return "id", f"longer than {ID_CHARS_MAX} characters", "the ids of its tasks begin with it: make it shorter"
    if bool(entry.spec) == bool(entry.template):
        return "spec", "it queues a `spec` or a `template`, one of the two", '"spec": "specs/review.md"'
    if entry.type in {"webhook", "manual"} and entry.trigger:
        return "trigger", f"nothing belongs here for the type {entry.type}", "remove it, or change `type`"
    if entry.type == "time" and (said := cron_fault(entry.cron)):
        return "trigger", said, '"0 2 * * *" is each day at 02:00, "0 9 * * 1" each Monday at 09:00'
    if entry.type == "time" and not re.fullmatch(ZONE_PATTERN, entry.timezone):
        return "timezone", "this is no name of a zone", "an IANA name: UTC, Europe/Berlin, America/New_York"
    if entry.type == "file" and not entry.globs:
        return "trigger", "it names no files", GLOB_HINT
    for glob in entry.globs:
        if said := glob_fault(glob):
            return "trigger", f"{glob!r}: {said}", GLOB_HINT
    return None


def _noun(entry: _Entry) -> Trigger:
    since = [at for at in (entry.created_at, entry.enabled_at) if at is not None]
    shared: dict[str, Any] = {name: getattr(entry, name) for name in _SHARED}
    return Trigger(cron=entry.cron, globs=entry.globs, since=max(since, default=None), **shared)


_SHARED = tuple(Trigger.__dataclass_fields__.keys() & _Entry.model_fields.keys())
