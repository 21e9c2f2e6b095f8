"""What an archive brings is laid into a home: all of it, or nothing (SPEC 13.5).

Everything is checked before the first write. A kill between two writes leaves what the same import, done again,
finds in its place: specs, templates, settings, projects that are paused, triggers that are disabled.
Tasks come last, at once.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from awm_loop import clock, config, durable
from awm_loop.cli.setting_up import CONFIG_NAME, CONFIG_TEMPLATE
from awm_loop.config import COMMAND_LOCK_WAIT_SECONDS, EDITS_MAX, SPEC_BYTES_MAX
from awm_loop.core.consequence import note
from awm_loop.core.model import DEFAULT_PROJECT, Work
from awm_loop.errors import AwmError, BusyError
from awm_loop.ports import Changed, Loaded
from awm_loop.regular import read_regular
from awm_loop.store import arriving, disarming, document, jsontext, metrics, portable, tomltext
from awm_loop.store.portable import Portable
from awm_loop.wiring import Home

PROJECTS, TRIGGERS, TEMPLATES = "projects.json", "triggers.json", "templates"
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
        for key, name in (("projects", PROJECTS), ("triggers", TRIGGERS))
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
    with _locked(home):
        for path, data in _checked(home, found, is_new=is_new).items():
            with durable.disk_trouble(path):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.write_durably(path, data)
        if found.sprints:
            _record(home, found)
        _queue(home, found, is_new=is_new)


@contextmanager
def _locked(home: Home) -> Iterator[None]:
    """Projects and triggers, then the state: nobody else holds two of them. They are never unlinked."""
    with ExitStack() as stack:
        for name in (PROJECTS, TRIGGERS):
            lock = FileLock(home.store.directory / f"{name}.lock", mode=0o600, fallback_to_soft=False)
            with durable.disk_trouble(Path(lock.lock_file), "lock"):
                try:
                    stack.enter_context(lock.acquire(COMMAND_LOCK_WAIT_SECONDS))
                except Timeout as error:
                    raise BusyError(f"another process holds {lock.lock_file}", "try again") from error
        stack.enter_context(home.store.locked_for_command())
        yield


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
    for name, key, entries, known in (
        (PROJECTS, "projects", map(arriving.project, found.projects), there.projects),
        (TRIGGERS, "triggers", map(arriving.trigger, found.triggers), there.triggers),
    ):
        path, added = home.store.directory / name, arriving.new_entries(entries, known)
        if added:
            files[path] = portable.with_entries(portable.read_file(path), path, key, added)
    return files


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
    known = (metrics.load(home.metrics_path) or {}).get("sprints", [])
    metrics.append(home.metrics_path, [entry for entry in found.sprints if entry not in known], clock.now())


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
    fields = arriving.state(raw, found, is_paused=pauses(found, is_new=is_new))
    work, settings, fields, _ = home.store.parse(jsontext.layout(fields), now)
    counted = replace(work, seq=loaded.work.seq, next_attempt=loaded.work.next_attempt)
    return Loaded(counted, settings, fields, loaded.data, loaded.rev, loaded.token)
