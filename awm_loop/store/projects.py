"""`state/projects.json`: the projects beside the default one, which people edit too (SPEC 13.1, 13.3).

An entry holds what a person says of a project; what became of it (hours, budgets used) is in the state. Unknown keys
are kept, verbatim and in place, but not in a budget: a limit that is misspelt would be none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from awm_loop import windows
from awm_loop.config import ID_PATTERN, PARALLEL_MAX, BudgetConfig, PathText, ShellLine, WindowText
from awm_loop.core.project import DEFAULT_PROJECT, Bounds, Priority, Project, ProjectStatus, Use
from awm_loop.errors import AwmError
from awm_loop.store import peoplefile
from awm_loop.store.peoplefile import Raw, WrongError
from awm_loop.store.shape import Time, iso

NAME = "projects.json"
ZONE_AGAIN = timedelta(days=1)  # a window in a zone that this machine does not know stays shut


class Budget(BudgetConfig):
    """The same in the words of a JSON file."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_alias=True, defer_build=True)


class ProjectEntry(BaseModel):
    """One project as its file has it."""

    model_config = ConfigDict(
        extra="allow", strict=True, frozen=True, alias_generator=to_camel, validate_by_alias=True, defer_build=True
    )

    id: str
    name: str = ""
    description: str = ""
    status: ProjectStatus = ProjectStatus.ACTIVE
    goals: tuple[str, ...] = ()
    context: str = ""
    next_steps: tuple[str, ...] = ()
    path: PathText
    agent: str = ""
    verify: ShellLine = ""
    isolation: Literal["", "in-place", "worktree"] = ""
    prepare: tuple[ShellLine, ...] = ()
    priority: Priority = Priority.MEDIUM
    window: WindowText = ""
    budget: Budget = Budget()
    max_parallel: Annotated[int, Field(ge=0, le=PARALLEL_MAX)] = 0
    depends: tuple[str, ...] = ()
    may_enqueue: bool = False
    created_at: Time | None = None
    updated_at: Time | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, defer_build=True)

    projects: tuple[ProjectEntry, ...]


KEYS = {to_camel(name): name for name in ProjectEntry.model_fields}
BUDGET_KEYS = tuple(map(to_camel, Budget.model_fields))


def read(path: Path) -> tuple[ProjectEntry, ...]:
    """The projects of the file, () where there is none. Raises BadFileError (SPEC 4.7), DiskError."""
    found = peoplefile.read(path, checked)
    return found.value if found else ()


def add(path: Path, fields: Mapping[str, object], now: datetime) -> None:
    """Append a project of these keys, and of the defaults for all others, so that people see what there is to fill in.

    Raises AwmError where its id is taken or a value is wrong, BadFileError, BusyError, DiskError.
    """
    blank = ProjectEntry.model_construct(id="", path="").model_dump(mode="json", by_alias=True)
    entry = blank | {"budget": {}} | dict(fields) | {"createdAt": iso(now), "updatedAt": iso(now)}

    def change(raw: Raw) -> Raw:
        if any(other["id"] == entry["id"] for other in raw.get("projects", ())):
            raise AwmError(f"there is a project {entry['id']} already", f"awm projects edit {entry['id']} changes it")
        return raw | {"projects": [*raw.get("projects", ()), entry]}

    peoplefile.update(path, checked, change)


def change(path: Path, project: str, fields: Mapping[str, object], gone: Sequence[str], now: datetime) -> None:
    """Set the keys of one project, take out those that are `gone`, leave all others as they are.

    Raises AwmError where there is no such project or a value is wrong, BadFileError, BusyError, DiskError.
    """

    def changed(raw: Raw) -> Raw:
        ids = [entry["id"] for entry in raw.get("projects", ())]
        if project not in ids:
            raise unknown(project, ids)
        entries = list(raw["projects"])
        old = entries[ids.index(project)]
        kept = {key: value for key, value in old.items() if key not in gone}
        entries[ids.index(project)] = kept | dict(fields) | {"updatedAt": iso(now)}
        return raw | {"projects": entries}

    peoplefile.update(path, checked, changed)


def named(path: Path, project: str) -> ProjectEntry:
    """One project. Raises AwmError where there is no such one, BadFileError, DiskError."""
    entries = read(path)
    found = next((entry for entry in entries if entry.id == project), None)
    if found is None:
        raise unknown(project, [entry.id for entry in entries])
    return found


def unknown(project: str, ids: Sequence[str]) -> AwmError:
    """The error for an id that no project has, with the nearest one."""
    near = difflib.get_close_matches(project, ids, n=1)
    hint = f"did you mean {near[0]}?" if near else "`awm projects list --all` lists them"
    return AwmError(f"there is no project {project}", hint)


def checked(text: str, raw: Raw) -> tuple[ProjectEntry, ...]:
    """The projects of a file's text. Raises WrongError."""
    try:
        entries = peoplefile.validated(_File, text, raw).projects
    except WrongError as wrong:
        raise _of_a_budget(wrong) from wrong
    ids: dict[str, int] = {}
    for index, entry in enumerate(entries):
        place = ("projects", index, "id")
        if not re.fullmatch(ID_PATTERN, entry.id):
            said = "expected an id: a letter or digit, then letters, digits, `.`, `_`, `-`, 64 at most"
            raise WrongError(place, said, "rename the project")
        if entry.id == DEFAULT_PROJECT:
            raise WrongError(place, f"{entry.id} is the project of awm.toml", "rename the project")
        if entry.id in ids:
            raise WrongError(place, f"{entry.id} is also in /projects/{ids[entry.id]}", "rename one of the two")
        ids[entry.id] = index
    _check_depends(entries, ids)
    return entries


def _of_a_budget(wrong: WrongError) -> WrongError:
    """The same, for a key that no budget has with those that it may have."""
    if len(wrong.pointer) == 4 and wrong.pointer[2] == "budget" and wrong.pointer[3] not in BUDGET_KEYS:
        near = difflib.get_close_matches(str(wrong.pointer[3]), BUDGET_KEYS, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"a budget may have: {', '.join(BUDGET_KEYS)}"
        return WrongError(wrong.pointer, "unknown key", hint)
    return wrong


def _check_depends(entries: Sequence[ProjectEntry], ids: Mapping[str, int]) -> None:
    """Each is known, and none waits for itself, through whichever others. Raises WrongError."""
    for index, entry in enumerate(entries):
        for number, other in enumerate(entry.depends):
            if other not in ids:
                error = unknown(other, [*ids])
                raise WrongError(("projects", index, "depends", number), error.message, error.hint)
    if any(entry.depends for entry in entries):
        cycle = _cycle({entry.id: entry.depends for entry in entries})
        if cycle:
            said = f"{' -> '.join(cycle)}: these projects would wait for each other for ever"
            raise WrongError(("projects", ids[cycle[0]], "depends"), said, "take one of them out of `depends`")


def _cycle(depends: Mapping[str, Sequence[str]]) -> list[str]:
    """One of those there are, from the first of its projects to that again; [] where there is none."""
    import graphlib  # noqa: PLC0415  most homes have no dependencies

    try:
        graphlib.TopologicalSorter(depends).prepare()
    except graphlib.CycleError as error:
        loop = [*reversed(error.args[1])][1:]
        first = min(map([*depends].index, loop))
        start = loop.index([*depends][first])
        return [*loop[start:], *loop[:start], loop[start]]
    return []


def core_projects(entries: Sequence[ProjectEntry], now: datetime) -> dict[str, Project]:
    """What the core needs of them, by id; windows as they stand at `now`."""
    windows_now = {text: window_at(text, now) for text in {entry.window for entry in entries}}
    return {
        entry.id: Project(
            id=entry.id,
            status=entry.status,
            priority=entry.priority,
            agent=entry.agent,
            verify=entry.verify,
            isolation=entry.isolation,
            max_parallel=entry.max_parallel,
            depends=entry.depends,
            bounds=bounds(windows_now[entry.window], entry.budget),
        )
        for entry in entries
    }


def window_at(window: str, now: datetime) -> Bounds:
    """When a window opens or closes; "" is never shut, and one in a zone unknown to this machine never opens."""
    if not window:
        return Bounds()
    try:
        parsed = windows.parse(window)
    except windows.UnknownZoneError:
        return Bounds(opens_at=now + ZONE_AGAIN)
    is_open, changes = parsed.at(now)
    return Bounds(opened_at=parsed.opened(now), closes_at=changes) if is_open else Bounds(opens_at=changes)


def bounds(window: Bounds, budget: BudgetConfig) -> Bounds:
    """A window as it stands, with what a budget allows."""
    by_day = Use(
        attempts=budget.attempts_per_day,
        minutes=budget.minutes_per_day,
        tokens=budget.tokens_per_day,
        cost_usd=budget.cost_usd_per_day,
    )
    in_all = Use(attempts=budget.attempts, minutes=budget.minutes, tokens=budget.tokens, cost_usd=budget.cost_usd)
    return replace(window, by_day=by_day, in_all=in_all, is_hard=budget.hard)
