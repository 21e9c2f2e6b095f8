"""The noun of a trigger, and what its fields may hold (SPEC 13.2). Nothing here reads a clock, a file or a zone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from awm_loop.core.project import DEFAULT_PROJECT, Priority

ID_CHARS_MAX = 40  # a task's id is the trigger's and its slot, and has 64
GRACE_MINUTES = 60.0
DEBOUNCE_SECONDS = 30.0
GLOB_CHARS_MAX = 200
STARS_MAX = 3  # of `**` in one glob: each multiplies the work
ZONE_PATTERN = r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,3}"  # of tzdata's names, so that none is another path

_FIELDS: tuple[tuple[str, int, int, str], ...] = (  # name, smallest, largest, the words for numbers from the smallest
    ("minute", 0, 59, ""),
    ("hour", 0, 23, ""),
    ("day of the month", 1, 31, ""),
    ("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    ("day of the week", 0, 7, "sun mon tue wed thu fri sat"),
)
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One entry of `state/triggers.json`."""

    id: str
    type: str  # time, file, webhook, manual
    project_id: str = DEFAULT_PROJECT
    priority: Priority = Priority.MEDIUM
    enabled: bool = True
    cron: str = ""  # of type time: five fields
    globs: tuple[str, ...] = ()  # of type file, relative to the project
    timezone: str = "UTC"
    misfire_grace: float = GRACE_MINUTES  # minutes
    debounce_seconds: float = DEBOUNCE_SECONDS
    overlap: str = "skip"  # or "queue": while the last task is not over
    spec: str = ""  # the one or ...
    template: str = ""  # ... the other
    values: Mapping[str, str] = field(default_factory=dict)  # for the template
    since: datetime | None = None  # created or enabled again, whichever is later; None where a person did not say


def cron_fault(cron: str) -> str:
    """Why a text is no cron line of five fields, for people; "" where it is one.

    Numbers, names, `*`, ranges, lists and steps, as in crontab(5). What programs have added since (seconds, `@daily`,
    `L`, `#`, `H`) means other things elsewhere and is refused.
    """
    parts = cron.split()
    if len(parts) != len(_FIELDS) or cron.startswith("@"):
        return f"{len(parts)} fields, but a cron line has five: minute, hour, day of the month, month, day of the week"
    for text, (name, low, high, words) in zip(parts, _FIELDS, strict=True):
        for part in text.split(","):
            found = _PART.fullmatch(part)
            if found is None:
                return f"{name} {part!r} is none of 5, 1-5, */15, 1-5/2 or a list of them"
            ends = [_number(end, low, words.split()) for end in (found["first"], found["last"]) if end is not None]
            if any(end is None or not low <= end <= high for end in ends):
                return f"{name} {part!r} is not within {low} to {high}{f', or {words}' if words else ''}"
            if len(ends) == 2 and (ends[0] or 0) >= (ends[1] or 0):  # croniter takes 5-5 for all
                return f"{name} {part!r} does not run from a smaller to a larger one"
            if found["step"] is not None and (int(found["step"]) == 0 or len(ends) == 1):
                return f"{name} {part!r}: a step wants a range before it, and is not 0: */15, 5-59/15"
    return ""


def _number(text: str, low: int, words: list[str]) -> int | None:
    if text.isdigit():
        return int(text) if len(text) <= 3 else None
    return low + words.index(text.lower()) if text.lower() in words else None


def glob_fault(glob: str) -> str:
    """Why a text is no glob of files in a project, for people; "" where it is one."""
    parts = glob.split("/")
    if not glob or len(glob) > GLOB_CHARS_MAX or "\0" in glob:
        return f"it is empty, longer than {GLOB_CHARS_MAX} characters, or holds a NUL"
    if "" in parts or "." in parts or ".." in parts:
        return "it is to be relative to the project, without `..`, as src/**/*.ts"
    if any("**" in part and part != "**" for part in parts):
        return "`**` stands alone between slashes, as in src/**/*.ts"
    if parts.count("**") > STARS_MAX:
        return f"more than {STARS_MAX} times `**`"
    if "{" in glob:
        return "braces are not read: give one glob for each, as src/**/*.ts and src/**/*.tsx"
    return ""
