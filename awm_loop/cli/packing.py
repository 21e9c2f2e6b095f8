"""`awm export` and `awm import`: a whole home, or one project of it, as one archive (SPEC 13.5)."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from awm_loop import __version__, clock, durable
from awm_loop.cli import look, placing
from awm_loop.cli.queueing import AS_JSON
from awm_loop.cli.setting_up import open_home
from awm_loop.config import ID_PATTERN, SPEC_BYTES_MAX
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.errors import AwmError, BadFileError
from awm_loop.ports import Loaded
from awm_loop.regular import read_regular
from awm_loop.store import arriving, disarming, document, metrics, portable
from awm_loop.store.portable import Entry, Portable
from awm_loop.store.shape import iso
from awm_loop.terminal import plain
from awm_loop.wiring import Home

TEMPLATE = re.compile(rf"({ID_PATTERN.strip('^$')})\.(?:md|toml)")


@click.command("export")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--project", "project_id", metavar="ID", help="Only this project, with its triggers, tasks and specs.")
@AS_JSON
@click.pass_context
def export(context: click.Context, file: Path | None, project_id: str | None, as_json: bool) -> None:
    """Write the home, or one project, as one archive.

    Not in it: attempts and their logs, the projects' repositories, and what may be a secret.

    \b
    Examples:  awm export
               awm export app.tar.gz --project app
    """
    home, now = open_home(context), clock.now()
    found, left_out = gathered(home, project_id)
    path = (file or Path(f"awm-{project_id or 'home'}-{now.wall.astimezone():%Y%m%d}.tar.gz")).expanduser()
    data = portable.pack(found, awm=__version__, made=str(iso(now.wall.replace(microsecond=0))))
    try:
        durable.write_durably(path, data, unless_changed_since=None)
    except durable.ChangedError as error:
        raise AwmError(f"{path} is there already", "name another file: awm export FILE") from error
    counts = _counts(found)
    if as_json:
        look.print_json({"file": str(path), "project": project_id, "bytes": len(data), **counts, "leftOut": left_out})
        return
    click.echo(f"wrote {path}: {_told(counts)}")
    for line in left_out:
        click.echo(plain(f"left out: {line}"))


def gathered(home: Home, project_id: str | None) -> tuple[Portable, list[str]]:
    """What travels of a home, and in words what does not though one might look for it. Raises AwmError."""
    loaded = placing.loaded_of(home)
    here, said = placing.here(home, loaded.work), list[str]()
    if project_id is not None and project_id not in here.projects:
        if project_id == DEFAULT_PROJECT:
            raise AwmError(f"{DEFAULT_PROJECT} is the home's own project", "`awm export` exports the whole home")
        known = ", ".join(here.projects) or "none"
        raise AwmError(f"there is no project {project_id}", f"projects: {known}")
    found, strays = _of_state(home, loaded, project_id, {*here.projects, DEFAULT_PROJECT})
    said += strays
    specs, bad = _texts({task: home.spec_path(loaded.work, task) for task in found.tasks})
    said += [f"spec of task {task}: {why}" for task, why in bad.items()]
    triggers = [one for one in here.triggers.values() if project_id in (None, one.get("projectId"))]
    said += [f"trigger {one['id']}: {_stray(one['projectId'])}" for one in triggers if _is_stray(one, here)]
    triggers = [one for one in triggers if not _is_stray(one, here)]
    paths = {one["id"]: home.path / one["spec"] for one in triggers if one.get("spec")}
    trigger_specs, bad = _texts(paths)
    said += [f"trigger {name}, whose spec cannot be had: {why}" for name, why in bad.items()]
    templates, words = _templates(home, None if project_id is None else [one.get("template") for one in triggers])
    found = replace(
        found,
        projects=tuple(_moved(home, one) for one in here.projects.values() if project_id in (None, one["id"])),
        triggers=tuple(one for one in triggers if one["id"] not in bad),
        specs=specs,
        trigger_specs=trigger_specs,
        templates=templates,
    )
    if project_id is not None:
        return found, said + words
    settings, secrets = disarming.without_secrets(placing.settings_of(home))
    try:
        sprints = (metrics.load(home.metrics_path) or {}).get("sprints", [])
    except BadFileError as error:  # SPEC 4.7: no reason to stop
        sprints, words = [], [*words, f"metrics: {error.message}"]
    dicts = tuple(entry for entry in sprints if isinstance(entry, dict))
    return replace(found, settings=settings, sprints=dicts), [*secrets, *said, *words]


def _is_stray(trigger: Entry, here: arriving.Here) -> bool:
    return trigger.get("projectId", DEFAULT_PROJECT) not in (*here.projects, DEFAULT_PROJECT)


def _stray(project: str) -> str:
    return f"its project {project} is in no projects.json"


def _of_state(
    home: Home, loaded: Loaded, project_id: str | None, projects: Collection[str]
) -> tuple[Portable, list[str]]:
    """The state's part, and which tasks are of no project that there is."""
    work = loaded.work
    raw: dict[str, Any] = document.write(work, loaded.raw, clock.now(), loaded.rev)
    project_of = {task: of for task, of in raw.get("projectOf", {}).items() if of != DEFAULT_PROJECT}

    strays = {task: of for task, of in project_of.items() if of not in projects and project_id is None}

    def own(ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(task for task in ids if project_id in (None, project_of.get(task)) and task not in strays)

    places = {name: own(getattr(work, name)) for name in portable.LISTS}
    places["queue"] = (*own([attempt.task for attempt in work.attempts]), *places["queue"])
    tasks = {task for ids in places.values() for task in ids}
    options = {
        task: {key: its[key] for key in portable.OPTIONS if key in its}
        for task, its in raw["tasks"].items()
        if task in tasks
    }
    rules = {key: raw[key] for key in portable.RULES if key in raw}
    rules |= {"active": not work.paused, "project": _portable_path(home, work.project)}
    found = Portable(
        project=project_id,
        rules=rules if project_id is None else {},
        places=places,
        options={task: its for task, its in options.items() if its},
        project_of={task: of for task, of in project_of.items() if task in tasks},
    )
    return found, [f"task {task}: {_stray(of)}" for task, of in strays.items()]


def _portable_path(home: Home, text: str) -> str:
    """A path in the home as one from it, so that it leads into whatever home it comes to; any other as it is."""
    full = os.path.normpath(home.project_path(text))
    return os.path.relpath(full, home.path) if text and Path(full).is_relative_to(home.path) else text


def _moved(home: Home, entry: Entry) -> Entry:
    path = entry.get("path")
    return {**entry, "path": _portable_path(home, path)} if isinstance(path, str) else entry


def _texts(paths: Mapping[str, Path | None]) -> tuple[dict[str, str], dict[str, str]]:
    """The files' texts, and why some cannot be had. An id without a path has neither."""
    texts, bad = dict[str, str](), dict[str, str]()
    for name, path in paths.items():
        if path is None:
            continue
        try:
            data = read_regular(Path(os.path.realpath(path)), SPEC_BYTES_MAX + 1)
            texts[name] = data.decode("utf-8-sig")
        except OSError as error:
            bad[name] = f"{path}: {error.strerror}"
            continue
        except UnicodeDecodeError:
            bad[name] = f"{path}: not UTF-8"
            continue
        if len(data) > SPEC_BYTES_MAX:
            bad[name] = f"{path}: over 1 MiB"
            del texts[name]
    return texts, bad


def _templates(home: Home, wanted: Sequence[Any] | None) -> tuple[dict[str, str], list[str]]:
    """The home's templates by file name, of `wanted` names or all, and what is left out of them."""
    folder = home.path / placing.TEMPLATES
    with durable.disk_trouble(folder, "read"):
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    fitting = {name: found[1] for name in names if (found := TEMPLATE.fullmatch(name))}
    texts, bad = _texts({name: folder / name for name, stem in fitting.items() if wanted is None or stem in wanted})
    strange = [name for name in names if name not in fitting] if wanted is None else []
    words = [f"template {name}: {why}" for name, why in bad.items()]
    return texts, [*words, *(f"{placing.TEMPLATES}/{name}: no NAME.md or NAME.toml" for name in strange)]


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "new_id", metavar="NEW_ID", help="Call the project so; put it before other ids that are taken.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--with-commands", is_flag=True, help="Take its commands and addresses too; they are shown first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@AS_JSON
@click.pass_context
def import_(context: click.Context, /, file: Path, new_id: str | None, **given: Any) -> None:
    """Take in what `awm export` wrote. It arrives paused, its triggers disabled, its commands left out.

    \b
    Examples:  awm import app.tar.gz --dry-run
               awm import app.tar.gz --as my-app
    """
    home = open_home(context)
    loaded = placing.loaded_of(home)
    manifest, came = portable.unpack(file.expanduser(), clock.now())
    found, is_new = placing.fitted(home, came, loaded)
    here = placing.here(home, loaded.work)
    harmless, commands = disarming.disarmed(found)
    if not given["with_commands"]:
        found = harmless
    if new_id is not None:
        found = arriving.renamed(found, here, new_id)
    found, strangers = arriving.without_strangers(found, here)
    scripts = disarming.scripts(found)
    placing.place(home, found, is_new=is_new, dry_run=True)
    if given["with_commands"] and not _is_accepted(commands, scripts, **given):
        click.echo("nothing was imported")
        return
    if not given["dry_run"]:
        placing.place(home, found, is_new=is_new, dry_run=False)
    left_out = [*strangers, *([] if given["with_commands"] else commands)]
    if came.settings and not found.settings:
        left_out.append("awm.toml: this home has its own" if not is_new else "awm.toml: it sets nothing else")
    said = {
        "file": str(file),
        "made": manifest.made,
        "imported": not given["dry_run"],
        **_counts(found),
        "project": found.rules.get("project"),
        "paused": placing.pauses(found, is_new=is_new),
        "leftOut": left_out,
        "scripts": [whose for whose, _ in scripts],
    }
    if given["as_json"]:
        look.print_json(said)
    else:
        _tell(said, found, taken_commands=given["with_commands"])


def _is_accepted(commands: Sequence[str], scripts: Sequence[tuple[str, str]], **given: bool) -> bool:
    """Each command is shown, and asked about once: on stderr, where --json does not look."""
    lines = [*commands, *(f"{whose} runs: {script.strip()}" for whose, script in scripts)]
    for line in lines:
        click.echo(plain(line), err=True)
    return not lines or given["yes"] or given["dry_run"] or look.is_wanted("import it with these commands?", "import")


def _tell(said: Mapping[str, Any], found: Portable, *, taken_commands: bool) -> None:
    word = "imported" if said["imported"] else "would import"
    click.echo(plain(f"{word} {_told(said)} from {said['file']} (made {said['made']})"))
    if said["project"]:
        click.echo(plain(f"agents work in {said['project']}"))
    for entry in found.projects:
        click.echo(plain(f"project {entry['id']}: {arriving.project(entry)['status']}, in {entry['path']}"))
    for entry in found.triggers:
        click.echo(f"trigger {entry['id']}: disabled; `awm triggers enable {entry['id']}`")
    for line in said["leftOut"]:
        click.echo(plain(f"left out: {line}"))
    if not taken_commands:
        for whose in said["scripts"]:
            kind, _, name = whose.partition(" ")
            where = (arriving.TASK_SPEC if kind == "task" else arriving.TRIGGER_SPEC).format(name)
            click.echo(f"read first: {whose} has a script in {where}")
    if said["paused"]:
        click.echo("the loop is paused: `awm resume` goes on")


def _counts(found: Portable) -> dict[str, Any]:
    return {
        "tasks": {name: list(ids) for name, ids in found.places.items() if ids},
        "projects": [entry["id"] for entry in found.projects],
        "triggers": [entry["id"] for entry in found.triggers],
        "templates": list(found.templates),
        "sprints": len(found.sprints),
    }


def _told(counts: Mapping[str, Any]) -> str:
    tasks = sum(map(len, counts["tasks"].values()))
    parts = [(tasks, "task"), *((len(counts[name]), name[:-1]) for name in ("projects", "triggers", "templates"))]
    return ", ".join(f"{count} {noun}{'s' if count != 1 else ''}" for count, noun in parts)
