"""What of a home travels in an archive, as values, and how its files hold it (SPEC 13.5).

What a home met or counted stays there: attempts, limits, notices, sessions, tries, the journal. A task travels with its
place, its options and its spec; a live one as queued. In the archive no path is the home's: a spec is named by its id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from awm_loop import config
from awm_loop.config import ID_PATTERN
from awm_loop.core.model import Instant
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.errors import AwmError, BadFileError
from awm_loop.store import archive, document, jsontext, metrics, peoplefile, projects, tomltext, triggers
from awm_loop.store.shape import VERSION

LISTS = ("queue", *document.TERMINAL_LISTS)
RULES = (  # of the state file's published fields, those that are a person's words (SPEC 4.1)
    "task",
    "description",
    "notifyUser",
    "retryOnRateLimit",
    "rateLimitRetryMinutes",
    "maxRetries",
    "autoNewAfterSprints",
)
OPTIONS = ("priority", "depends", "guidance", "reason")  # of a task; the rest is what it met in its home
CHECKS: Mapping[str, Callable[[str, peoplefile.Raw], object]] = {
    "projects": projects.checked,
    "triggers": triggers.checked,
}
TASK_SPEC, TRIGGER_SPEC = "specs/tasks/{}.md", "specs/triggers/{}.md"
HINT = "only what `awm export` wrote can be imported"

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Portable:
    """What travels. `project` is the one project it is of, None for a whole home, which has `settings` and `rules`.

    Texts are by id: of tasks, of triggers; templates by file name.
    """

    project: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # awm.toml
    rules: Mapping[str, Any] = field(default_factory=dict)  # of the state file, with `active` and `project`
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # ids, by the list they stand in
    options: Mapping[str, Entry] = field(default_factory=dict)  # of tasks
    project_of: Mapping[str, str] = field(default_factory=dict)  # by task
    projects: tuple[Entry, ...] = ()
    triggers: tuple[Entry, ...] = ()
    sprints: tuple[Entry, ...] = ()
    specs: Mapping[str, str] = field(default_factory=dict)
    trigger_specs: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        return [task for name in LISTS for task in self.places.get(name, ())]


def entries(path: Path, key: str) -> list[dict[str, Any]]:
    """The entries of `projects.json` (key `projects`) or `triggers.json` (`triggers`); none where there is no file.

    Raises BadFileError, DiskError.
    """
    found = peoplefile.read(path, CHECKS[key])
    return list(found.raw[key]) if found else []


def _entries_in(data: bytes, label: Path, key: str) -> tuple[Entry, ...]:
    """As `entries`, of an archive's bytes. What a project depends on may be in the home. Raises BadFileError."""
    text, raw = jsontext.parse(data, label)
    found = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(found, list) or raw.get("version") != peoplefile.VERSION:
        raise jsontext.complaint(label, text, (), f"expected an object with version 1 and a list `{key}`", HINT)
    known = [entry.get("id") for entry in found if isinstance(entry, dict)]
    alone = [{**entry, "depends": _those_in(known, entry["depends"])} if _depends(entry) else entry for entry in found]
    text = jsontext.layout({**raw, key: alone}).decode()
    try:
        CHECKS[key](text, {**raw, key: alone})
    except peoplefile.WrongError as wrong:
        raise jsontext.complaint(label, text, wrong.pointer, wrong.said, wrong.hint) from wrong
    return tuple(found)


def _depends(entry: object) -> bool:
    return isinstance(entry, dict) and _are_ids(entry.get("depends"))


def _those_in(known: list[Any], ids: list[str]) -> list[str]:
    return [name for name in ids if name in known]


def pack(found: Portable, *, awm: str, made: str) -> bytes:
    """The archive. Raises AwmError where it would be one that cannot be imported."""
    names = {task: TASK_SPEC.format(task) for task in found.specs}
    state = dict(found.rules) | {name: list(found.places.get(name, ())) for name in LISTS}
    state |= {"version": VERSION, "specFiles": names}
    state |= {"projectOf": dict(found.project_of), "tasks": {task: dict(its) for task, its in found.options.items()}}
    triggers = [
        dict(entry) | ({"spec": TRIGGER_SPEC.format(entry["id"])} if entry["id"] in found.trigger_specs else {})
        for entry in found.triggers
    ]
    members = {
        archive.STATE: jsontext.layout(state),
        archive.PROJECTS: jsontext.layout({"version": 1, "projects": [dict(entry) for entry in found.projects]}),
        archive.TRIGGERS: jsontext.layout({"version": 1, "triggers": triggers}),
        **{names[task]: text.encode() for task, text in found.specs.items()},
        **{TRIGGER_SPEC.format(name): text.encode() for name, text in found.trigger_specs.items()},
        **{f"templates/{name}": text.encode() for name, text in found.templates.items()},
    }
    if found.project is None:
        members[archive.CONFIG] = tomltext.layout(found.settings).encode()
        members[archive.METRICS] = jsontext.layout(
            {"version": metrics.VERSION, "sprints": [dict(entry) for entry in found.sprints]}
        )
    try:
        return archive.pack(members, awm=awm, made=made, project=found.project)
    except BadFileError as error:
        raise AwmError(error.message, "`awm export --project ID` exports one project") from error


def unpack(path: Path, now: Instant) -> tuple[archive.Manifest, Portable]:
    """What an archive holds, all of it checked; nothing is written. Raises BadFileError, ConfigError."""
    manifest, members = archive.unpack(path)

    def label(name: str) -> Path:
        return Path(f"{path}!{name}")

    def those_in(folder: str) -> dict[str, str]:
        return {name.removeprefix(folder): text for name, text in texts.items() if name.startswith(folder)}

    texts = {name: _text(data, label(name)) for name, data in members.items() if not name.endswith(".json")}
    settings = _settings(texts.get(archive.CONFIG, ""), label(archive.CONFIG))
    found = Portable(
        project=manifest.project,
        settings=settings,
        projects=_entries_in(members[archive.PROJECTS], label(archive.PROJECTS), "projects"),
        triggers=_entries_in(members[archive.TRIGGERS], label(archive.TRIGGERS), "triggers"),
        sprints=tuple(_sprints(members.get(archive.METRICS), label(archive.METRICS))),
        specs={name.removesuffix(".md"): text for name, text in those_in("specs/tasks/").items()},
        trigger_specs={name.removesuffix(".md"): text for name, text in those_in("specs/triggers/").items()},
        templates=those_in("templates/"),
    )
    found = _with_state(found, members[archive.STATE], label(archive.STATE), now)
    why = _why_not(found)
    if why:
        raise BadFileError(f"{path}: {why}", HINT)
    return manifest, found


def _settings(text: str, label: Path) -> dict[str, Any]:
    try:
        settings = tomltext.read(text)
    except ValueError as error:
        raise BadFileError(f"{label}: {error}", HINT) from error
    config.read(text, label)
    return settings


def _text(data: bytes, label: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFileError(f"{label}: not UTF-8 (byte {error.start})", HINT) from error


def _sprints(data: bytes | None, label: Path) -> Iterator[Entry]:
    if data is None:
        return
    text, raw = jsontext.parse(data, label)
    found = raw.get("sprints") if isinstance(raw, dict) else None
    if not isinstance(found, list):
        raise jsontext.complaint(label, text, ("sprints",), "expected a list of sprints", metrics.FORM_HINT)
    yield from (entry for entry in found if isinstance(entry, dict))


def _with_state(found: Portable, data: bytes, label: Path, now: Instant) -> Portable:
    """With the state's part, as strictly checked as a home's own; of its keys only those that travel."""
    parsed = document.parse(data, label)
    work, _ = document.read(parsed, label, now, ("", ""))
    text, fields = parsed.text, parsed.raw
    places: dict[str, tuple[str, ...]] = {name: tuple(getattr(work, name)) for name in LISTS}
    tasks = {task for ids in places.values() for task in ids}
    if work.spec_files != {task: TASK_SPEC.format(task) for task in found.specs} or not found.specs.keys() <= tasks:
        wanted = f"expected the specs of the archive, as {TASK_SPEC.format('S1')} for a task S1"
        raise jsontext.complaint(label, text, ("specFiles",), wanted, HINT)
    project_of = fields.get("projectOf", {})
    if not isinstance(project_of, dict) or not all(task in tasks and _is_id(of) for task, of in project_of.items()):
        raise jsontext.complaint(label, text, ("projectOf",), "expected a project's id for each task", HINT)
    given = {task: its for task, its in fields.get("tasks", {}).items() if task in tasks}
    options = {task: {key: its[key] for key in OPTIONS if key in its} for task, its in given.items()}
    if not all(_are_ids(its.get("depends", [])) for its in options.values()):
        raise jsontext.complaint(label, text, ("tasks",), "expected `depends` to be a list of ids", HINT)
    return replace(
        found,
        rules={key: fields[key] for key in (*RULES, "active", "project") if key in fields},
        places=places,
        options={task: its for task, its in options.items() if its},
        project_of=project_of,
    )


def _why_not(found: Portable) -> str:
    """What in an archive does not belong together; "" where all does."""
    known = {entry["id"] for entry in found.projects}
    here = [*known, DEFAULT_PROJECT] if found.project is None else [found.project]
    if found.project is not None and (known != {*here} or found.rules):
        return f"it is the archive of project {found.project}, and holds more than that, or less"
    for entry in found.triggers:
        name = entry["id"]
        if entry.get("projectId", DEFAULT_PROJECT) not in here:
            return f"trigger {name} is of a project that the archive does not hold"
        if entry.get("spec", TRIGGER_SPEC.format(name)) != TRIGGER_SPEC.format(name):
            return f"the spec of trigger {name} is to be {TRIGGER_SPEC.format(name)}"
    if {entry["id"] for entry in found.triggers if "spec" in entry} != found.trigger_specs.keys():
        return "it lacks the spec of a trigger, or holds one of none"
    if {found.project_of.get(task, DEFAULT_PROJECT) for task in found.tasks} - {*here}:
        return "it holds a task of a project that it does not hold"
    return ""


def _is_id(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(ID_PATTERN.removesuffix("$"), value) is not None


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_id, value))
