"""What an archive brings is laid into a home: all of it, or nothing (SPEC 13.5).

Everything is checked before the first write. A kill between two writes leaves what the same import, done again,
finds in its place: specs, templates, settings, projects that are paused, triggers that are disabled.
Tasks come last, at once.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from awm_loop import clock, config, durable
from awm_loop.cli.setting_up import CONFIG_NAME, CONFIG_TEMPLATE
from awm_loop.config import EDITS_MAX, SPEC_BYTES_MAX
from awm_loop.core.consequence import note
from awm_loop.core.model import Work
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.errors import AwmError, BusyError
from awm_loop.ports import Changed, Loaded
from awm_loop.regular import read_regular
from awm_loop.store import (
    arriving,
    disarming,
    document,
    jsontext,
    metrics,
    peoplefile,
    portable,
    projects,
    tomltext,
    triggers,
)
from awm_loop.store.portable import Portable
from awm_loop.wiring import Home

TEMPLATES = "templates"
HEADER = "# Imported by AWM. `awm init` in an empty directory shows every key with what it does.\n\n"


def loaded_of(home: Home) -> Loaded:
    """The state. Raises AwmError where there is none."""
    loaded = home.store.load(clock.now())
    if loaded is None:
        raise AwmError(f"{home.store.path} does not exist yet", f"awm init {home.path}")
    return loaded


def here(home: Home, work: Work) -> arriving.Here:
    """What the home has. Raises BadFileError, DiskError."""
    found = {
        key: {entry["id"]: entry for entry in portable.entries(home.store.directory / name, key)}
        for key, name in (("projects", projects.NAME), ("triggers", triggers.NAME))
    }
    live = [attempt.task for attempt in work.attempts]
    tasks = frozenset([*live, *(task for name in portable.LISTS for task in getattr(work, name))])
    return arriving.Here(tasks, found["projects"], found["triggers"])


def fitted(home: Home, found: Portable, loaded: Loaded) -> tuple[Portable, bool]:
    """Without settings and rules, where the home has its own, and whether it is a new one, which takes them.

    Its project stays, where it is more than what `awm init` takes when it is told none.
    """
    if not _is_new(home, found, here(home, loaded.work)):
        return replace(found, settings={}, rules={}), False
    project = loaded.work.project
    is_own = bool(project) and os.path.realpath(home.project_path(project)) != os.path.realpath(home.path)
    drop = {"active", "project"} if is_own else {"active"}
    return replace(found, rules={key: value for key, value in found.rules.items() if key not in drop}), True


def _is_new(home: Home, found: Portable, there: arriving.Here) -> bool:
    """Whether nobody has set or queued anything in it, but this import, killed before its end."""
    if found.project is not None or there.tasks:
        return False
    arrived = (*map(arriving.project, found.projects), *map(arriving.trigger, found.triggers))
    harmless, _ = disarming.disarmed(found)
    arrived += (*map(arriving.project, harmless.projects), *map(arriving.trigger, harmless.triggers))
    settings = settings_of(home)
    return all(entry in arrived for entry in (*there.projects.values(), *there.triggers.values())) and settings in (
        {},
        tomllib.loads(CONFIG_TEMPLATE),
        found.settings,
        harmless.settings,
    )


def settings_of(home: Home) -> dict[str, Any]:
    """The home's awm.toml, as it is written. Raises DiskError."""
    with durable.disk_trouble(home.path / CONFIG_NAME, "read"), suppress(FileNotFoundError):
        return tomllib.loads((home.path / CONFIG_NAME).read_bytes().decode("utf-8-sig"))
    return {}


def pauses(found: Portable, *, is_new: bool) -> bool:
    """Whether the loop is paused by it: a whole home arrives at rest, and no task of it shall start by itself."""
    queued = found.places.get("queue", ())
    own = any(found.project_of.get(task, DEFAULT_PROJECT) == DEFAULT_PROJECT for task in queued)
    return found.project is None and (is_new or own)


def place(home: Home, found: Portable, *, is_new: bool, dry_run: bool) -> None:
    """Check, then write. Raises AwmError with the names of all that is in the way; then nothing was written."""
    if dry_run:
        _checked(home, found, is_new=is_new)
        return
    home.store.prepare()
    with home.store.locked_for_command():
        for path, data in _checked(home, found, is_new=is_new).items():
            with durable.disk_trouble(path):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.write_durably(path, data)
        for name, key, entries in _listed(found):
            if entries:
                peoplefile.update(home.store.directory / name, portable.CHECKS[key], partial(_with, key, entries))
        if found.sprints:
            _record(home, found)
        _queue(home, found, is_new=is_new)


def _checked(home: Home, found: Portable, *, is_new: bool) -> dict[Path, bytes]:
    """The files to be written, in their order, without those that are there. Raises AwmError."""
    loaded = loaded_of(home)
    there = here(home, loaded.work)
    if is_new and not _is_new(home, found, there):
        raise AwmError(f"{home.path} was changed meanwhile; nothing was imported", "once more, please")
    files = _texts(home, found)
    problems = [*arriving.taken(found, there), *filter(None, (_in_the_way(home, path, files[path]) for path in files))]
    if problems:
        hint = "`--as NEW_ID` gives what is taken another id; a file that is in the way can be moved"
        raise AwmError(f"here already: {', '.join(problems)}; nothing was imported", hint)
    _merged(home, found, loaded, is_new=is_new)
    if is_new and found.settings:
        text = HEADER + tomltext.layout(found.settings)
        config.read(text, home.path / CONFIG_NAME)
        files[home.path / CONFIG_NAME] = text.encode()
    for name, key, entries in _listed(found):
        path = home.store.directory / name
        read = peoplefile.read(path, portable.CHECKS[key])
        raw = read.raw if read else {}
        after = {"version": 1} | _with(key, entries, raw)
        try:
            portable.CHECKS[key](jsontext.layout(after).decode(), after)
        except peoplefile.WrongError as wrong:
            raise AwmError(f"{path} would be wrong then: {wrong.said}", wrong.hint) from wrong
    return files


def _listed(found: Portable) -> tuple[tuple[str, str, list[dict[str, Any]]], ...]:
    return (
        (projects.NAME, "projects", [arriving.project(entry) for entry in found.projects]),
        (triggers.NAME, "triggers", [arriving.trigger(entry) for entry in found.triggers]),
    )


def _with(key: str, entries: Sequence[portable.Entry], raw: peoplefile.Raw) -> peoplefile.Raw:
    """The file with entries added at its end, but for those that are there; what it holds stays."""
    there = raw.get(key, [])
    return raw | {key: [*there, *(entry for entry in entries if entry not in there)]}


def _texts(home: Home, found: Portable) -> dict[Path, bytes]:
    return {
        home.path / name: text.encode()
        for name, text in (
            *((arriving.TASK_SPEC.format(task), text) for task, text in found.specs.items()),
            *((arriving.TRIGGER_SPEC.format(name), text) for name, text in found.trigger_specs.items()),
            *((f"{TEMPLATES}/{name}", text) for name, text in found.templates.items()),
        )
    }


def _in_the_way(home: Home, path: Path, data: bytes) -> str:
    """What keeps a file from being written, in words: another one, or a folder that leads away."""
    root = home.path if path.parent.name == TEMPLATES else home.store.directory
    shown = path.relative_to(home.path)
    if os.path.realpath(path.parent) != str(Path(os.path.realpath(root)) / path.parent.relative_to(root)):
        return f"{shown.parent} is a link"
    try:
        return "" if read_regular(path, SPEC_BYTES_MAX + 1) == data else f"{shown} with other words"
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{shown} ({error.strerror})"


def _record(home: Home, found: Portable) -> None:
    """What is there already is not recorded twice, though nothing but its words tell an entry made by hand."""
    known = {json.dumps(entry, sort_keys=True) for entry in (metrics.load(home.metrics_path) or {}).get("sprints", [])}
    new = [entry for entry in found.sprints if json.dumps(entry, sort_keys=True) not in known]
    metrics.append(home.metrics_path, new, clock.now())


def _queue(home: Home, found: Portable, *, is_new: bool) -> None:
    store, words = home.store, f"{len(found.tasks)} tasks"
    for _ in range(EDITS_MAX):
        with suppress(Changed):
            now, loaded = clock.now(), loaded_of(home)
            store.catch_up(loaded)
            merged = _merged(home, found, loaded, is_new=is_new)
            store.save(merged, note(merged.work, now, "imported", reason=words), now)
            return
    raise BusyError(f"{store.path} is being edited without a pause", "close the editor, or try again")


def _merged(home: Home, found: Portable, loaded: Loaded, *, is_new: bool) -> Loaded:
    """The state with the archive's tasks. Raises BadFileError where it would be one that cannot be read."""
    now = clock.now()
    raw: Mapping[str, object] = document.write(loaded.work, loaded.raw, now, loaded.rev)
    fields = arriving.state(raw, found, is_new=is_new, is_paused=pauses(found, is_new=is_new))
    work, settings, fields, _ = home.store.parse(jsontext.layout(fields), now)
    counted = replace(work, seq=loaded.work.seq, next_attempt=loaded.work.next_attempt)
    return Loaded(counted, settings, fields, loaded.data, loaded.rev, loaded.token)
