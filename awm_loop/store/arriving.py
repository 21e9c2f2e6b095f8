"""What an archive holds as it is to stand in a home: paused, disabled, its specs there, under ids that are free there.

Nothing is written here (SPEC 13.5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from awm_loop.config import ID_PATTERN
from awm_loop.core.project import DEFAULT_PROJECT, ProjectStatus
from awm_loop.errors import AwmError
from awm_loop.store import specfile
from awm_loop.store.portable import LISTS, RULES, Entry, Portable

TASK_SPEC, TRIGGER_SPEC = (
    "state/specs/imported/{}.md",
    "state/specs/triggers/{}.md",
)  # in a home; beside those that triggers write


@dataclass(frozen=True, slots=True)
class Here:
    """What a home has already: task ids, and the entries of its projects and triggers by id."""

    tasks: frozenset[str]
    projects: Mapping[str, Entry]
    triggers: Mapping[str, Entry]


def project(entry: Entry) -> dict[str, Any]:
    """A project as it arrives: one that would start work is paused."""
    is_over = entry.get("status") in {ProjectStatus.COMPLETED, ProjectStatus.ARCHIVED}
    return dict(entry) if is_over else {**entry, "status": str(ProjectStatus.PAUSED)}


def trigger(entry: Entry) -> dict[str, Any]:
    """A trigger as it arrives: disabled, its spec among those of the home."""
    spec = {"spec": TRIGGER_SPEC.format(entry["id"])} if "spec" in entry else {}
    return {**entry, **spec, "enabled": False}


def taken(found: Portable, here: Here) -> list[str]:
    """What the home has already under the same id, in words. The same entry again is what a killed import left."""
    said = [f"task {task}" for task in found.tasks if task in here.tasks]
    said += [f"project {entry['id']}" for entry in found.projects if _differs(project(entry), here.projects)]
    return [*said, *(f"trigger {entry['id']}" for entry in found.triggers if _differs(trigger(entry), here.triggers))]


def without_strangers(found: Portable, here: Here) -> tuple[Portable, list[str]]:
    """Without dependencies on projects that neither the archive nor the home knows, and which those were."""
    known = {*here.projects, *(entry["id"] for entry in found.projects)}
    said, projects = [], []
    for entry in found.projects:
        unknown = [name for name in entry.get("depends", ()) if name not in known]
        said += [f"project {entry['id']}, depends: {name} is not here" for name in unknown]
        kept = [name for name in entry.get("depends", ()) if name in known]
        projects.append({**entry, "depends": kept} if unknown else entry)
    return replace(found, projects=tuple(projects)), said


def renamed(found: Portable, here: Here, new: str) -> Portable:
    """The one project is called `new`; any other id that is taken gets `new-` before it. Raises AwmError."""
    of_projects = {found.project: new} if found.project else {}
    of_projects |= {
        entry["id"]: f"{new}-{entry['id']}"
        for entry in found.projects
        if entry["id"] not in of_projects and _differs(project(entry), here.projects)
    }
    moved = [
        {**entry, "projectId": of_projects.get(entry["projectId"], entry["projectId"])}
        if "projectId" in entry
        else entry
        for entry in found.triggers
    ]
    of_triggers = {now["id"]: f"{new}-{now['id']}" for now in moved if _differs(trigger(now), here.triggers)}
    of_tasks = {task: f"{new}-{task}" for task in found.tasks if task in here.tasks}
    for name in (new, *of_projects.values(), *of_triggers.values(), *of_tasks.values()):
        if not re.fullmatch(ID_PATTERN.removesuffix("$"), name) or name == DEFAULT_PROJECT:
            raise AwmError(f"{name!r} is not an id", "--as NEW_ID: letters, digits, `.`, `_`, `-`; a short one")
    specs = {of_tasks.get(task, task): _spec(task, text, of_tasks) for task, text in found.specs.items()}
    return replace(
        found,
        project=found.project and new,
        places={name: tuple(of_tasks.get(task, task) for task in found.places.get(name, ())) for name in LISTS},
        options={of_tasks.get(task, task): _options(its, of_tasks) for task, its in found.options.items()},
        project_of={of_tasks.get(task, task): of_projects.get(of, of) for task, of in found.project_of.items()},
        projects=tuple(_project(entry, of_projects) for entry in found.projects),
        triggers=tuple({**entry, "id": of_triggers.get(entry["id"], entry["id"])} for entry in moved),
        specs=specs,
        trigger_specs={of_triggers.get(name, name): text for name, text in found.trigger_specs.items()},
    )


def _differs(entry: Entry, there: Mapping[str, Entry]) -> bool:
    return entry["id"] in there and there[entry["id"]] != entry


def _spec(task: str, text: str, names: Mapping[str, str]) -> str:
    try:
        return specfile.with_depends(text, names)
    except ValueError as error:
        hint = "take the comments off that line, or import into a home of its own"
        raise AwmError(f"the `**Depends:**` of {task}'s spec cannot be renamed: {error}", hint) from error


def _options(its: Entry, names: Mapping[str, str]) -> Entry:
    return {**its, "depends": [names.get(one, one) for one in its["depends"]]} if "depends" in its else its


def _project(entry: Entry, names: Mapping[str, str]) -> Entry:
    depends = {"depends": [names.get(one, one) for one in entry["depends"]]} if "depends" in entry else {}
    return {**entry, **depends, "id": names.get(entry["id"], entry["id"])}


def state(raw: Mapping[str, Any], found: Portable, *, is_new: bool, is_paused: bool) -> dict[str, Any]:
    """A state file's fields with the archive's tasks after its own. A new one has its rules, and no others."""
    merged = {key: value for key, value in raw.items() if not (is_new and key in RULES)} | dict(found.rules)
    for name in LISTS:
        merged[name] = [*raw.get(name, ()), *found.places.get(name, ())]
    specs = {task: TASK_SPEC.format(task) for task in found.specs}
    merged["specFiles"] = {**raw.get("specFiles", {}), **specs}
    merged["tasks"] = {**raw.get("tasks", {}), **found.options}
    if found.project_of:
        merged["projectOf"] = {**raw.get("projectOf", {}), **found.project_of}
    return merged | ({"active": False, "idleSince": None} if is_paused else {})
