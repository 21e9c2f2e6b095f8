"""`awm projects`: make, change, pause and end projects (SPEC 13.1). `project_view` shows them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from awm_loop import clock, windows
from awm_loop.cli import look, project_view, proposing
from awm_loop.cli.entry_editing import edit_entry
from awm_loop.cli.queueing import AS_JSON, values_of
from awm_loop.cli.setting_up import open_home
from awm_loop.core.notice import counted
from awm_loop.core.project import DEFAULT_PROJECT, Priority, ProjectStatus
from awm_loop.core.projects import project_of
from awm_loop.errors import AwmError
from awm_loop.store import projects as store
from awm_loop.store import triggers
from awm_loop.triggers import templates
from awm_loop.wiring import Home

HARD = {"true": True, "false": False}
OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--path", type=click.Path(path_type=Path), help="The directory its agents work in."),
    click.option("--description", help="What it is, in a sentence."),
    click.option("--goal", "goals", multiple=True, help="What it is to reach; goes into each prompt. Repeatable."),
    click.option("--context", help="What agents must know of it; goes into each prompt."),
    click.option(
        "--next-step", "next_steps", multiple=True, help="What comes next; goes into each prompt. Repeatable."
    ),
    click.option("--agent", help="Who works at it. [default: by the routes of awm.toml]"),
    click.option("--verify", help="Its gate, a shell line."),
    click.option("--isolation", type=click.Choice(["in-place", "worktree"]), help="[default: as awm.toml says]"),
    click.option("--priority", type=click.Choice([*map(str, Priority)]), help="Of its tasks that name none."),
    click.option("--window", help='When it may start work: "22:00-07:00 Europe/Berlin", "not Mon-Fri 9:00-17:00 UTC".'),
    click.option("--budget", "budget", multiple=True, metavar="KEY=VALUE", help=f"{', '.join(store.BUDGET_KEYS)}."),
    click.option("--max-parallel", type=click.IntRange(min=0), help="Attempts at once; 0 for as awm.toml says."),
    click.option("--depends", multiple=True, metavar="ID", help="A project that is to be completed first. Repeatable."),
    click.option("--may-enqueue/--may-not-enqueue", default=None, help="May its agents queue their own next steps?"),
)


def with_fields(verb: Any) -> Any:
    """The options for what a project may have."""
    for option in reversed(OPTIONS):
        verb = option(verb)
    return verb


@click.group(invoke_without_command=True)
@AS_JSON
@click.pass_context
def projects(context: click.Context, as_json: bool) -> None:
    """Several projects, worked at in turn: goals, windows, budgets.

    \b
    Examples:  awm projects
               awm projects create "My docs" --path ~/src/app --goal "every module is described"
               awm projects edit my-docs --window "22:00-07:00 Europe/Berlin" --budget attemptsPerDay=5
               awm add SPEC.md --project my-docs
    """
    if context.invoked_subcommand is None:
        context.invoke(project_view.list_projects, as_json=as_json)


for verb in (project_view.list_projects, project_view.show, proposing.accept, proposing.dismiss):
    projects.add_command(verb)


@projects.command()
@click.argument("name")
@click.option("--id", "project_id", help="Its id. [default: made of the name]")
@with_fields
@click.option("--template", help="Begin with a project template, which may bring triggers.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A value for the template. Repeatable.")
@AS_JSON
@click.pass_context
def create(context: click.Context, /, name: str, project_id: str | None, as_json: bool, **given: Any) -> None:
    """Make a project. Without --path its agents work where those of the default project do.

    \b
    Examples:  awm projects create "My docs" --path ~/src/app --goal "every module is described"
               awm projects create Review --template code-review
    """
    home = open_home(context)
    made = project_id or re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].rstrip("-")
    if not made:
        raise AwmError(f"no id can be made of {name!r}", "--id NAME: letters, digits, `.`, `_`, `-`; at most 64")
    template = _template(home, given["template"], {"project": made} | values_of(given["values"]))
    wanted = [{**one, "projectId": made} for one in template.pop("triggers", [])]
    fields = {**template, "id": made, "name": name, **fields_of(home, given)}
    fields["path"] = fields.get("path") or _default_path(home)
    now = clock.now().wall
    _check_triggers(home, wanted, now)
    home.store.prepare()
    store.add(home.projects_path, fields, now)
    for trigger in wanted:
        triggers.add(_triggers_path(home), trigger, now)
    if as_json:
        look.print_json(project_view.found(home, made))
        return
    click.echo(f"made project {made}, which works in {fields['path']}")
    if wanted:
        click.echo(f"made triggers {', '.join(str(trigger['id']) for trigger in wanted)}")
    click.echo(f"next:  awm add SPEC.md --project {made}")


def _template(home: Home, name: str | None, values: Mapping[str, str]) -> dict[str, Any]:
    """The keys that a project template gives, {} without one. Raises AwmError."""
    if name is None and len(values) > 1:
        raise click.UsageError("--set goes with --template NAME")
    found = templates.project_template(home.path, name, values) if name else {}
    listed = found.get("triggers", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) and "id" in one for one in listed):
        raise AwmError(f"template {name}: `triggers` is no list of tables with an id", "write them as [[triggers]]")
    return found


def _triggers_path(home: Home) -> Path:
    return home.path / "state" / triggers.NAME


def _check_triggers(home: Home, wanted: Sequence[Mapping[str, object]], now: datetime) -> None:
    """Raises AwmError where one cannot be made: before anything is written."""
    for trigger in wanted:
        try:
            triggers.tried(_triggers_path(home), trigger, now)
        except (TypeError, ValueError) as error:  # what TOML has and JSON has not, as a date
            raise AwmError(f"a trigger of the template: {error}", "mend the template; nothing was made") from error


def _default_path(home: Home) -> str:
    loaded = home.store.load(clock.now())
    path = home.project_path(loaded.work.project) if loaded and loaded.work.project else home.path
    return str(path.resolve())


def fields_of(home: Home, given: Mapping[str, Any], old: store.ProjectEntry | None = None) -> dict[str, Any]:
    """The keys of a project's entry for the options that were given, over `old` where a part is added to it.

    An empty text given for a list makes it empty. Raises AwmError for what cannot be.
    """
    fields: dict[str, Any] = {}
    for key, field in store.KEYS.items():
        value = given.get(field)
        if value not in (None, ()):
            fields[key] = [text for text in value if text] if isinstance(value, tuple) else value
    if "path" in fields:
        path = fields["path"].expanduser().resolve()
        if not path.is_dir():
            raise AwmError(f"{path} is no directory", "make it first, or name the directory its agents work in")
        fields["path"] = str(path)
    agent = fields.get("agent")
    if agent and agent not in home.config.agents:
        raise AwmError(f"there is no agent {agent}", f"agents: {', '.join(sorted(home.config.agents))}")
    if fields.get("window"):
        try:
            windows.parse(fields["window"])
        except ValueError as error:
            raise AwmError(f"--window: {error}") from error
    if "budget" in fields:
        had = old.budget.model_dump(by_alias=True, exclude_defaults=True) if old else {}
        fields["budget"] = _budget(had, fields["budget"])
    return fields


def _budget(old: Mapping[str, object], given: Sequence[str]) -> dict[str, object]:
    """`old` with what the options say; `KEY=` takes a limit out."""
    budget = dict(old)
    for text in given:
        key, equals, value = text.partition("=")
        if key not in store.BUDGET_KEYS or not equals:
            near = difflib.get_close_matches(key, store.BUDGET_KEYS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}=NUMBER?" if near else f"one of {', '.join(store.BUDGET_KEYS)}, then =NUMBER"
            raise AwmError(f"--budget {text}: is no KEY=VALUE of a budget", hint)
        if not value:
            budget.pop(key, None)
        elif key == "hard":
            if value not in HARD:
                raise AwmError(f"--budget {text}: expected true or false", "hard=true stops running work too")
            budget[key] = HARD[value]
        else:
            budget[key] = _number(text, value)
    return budget


def _number(text: str, value: str) -> int | float:
    try:
        number = float(value)
    except ValueError as error:
        raise AwmError(f"--budget {text}: {value} is no number", "such as attemptsPerDay=5 or costUsd=2.50") from error
    if not math.isfinite(number):
        raise AwmError(f"--budget {text}: expected a finite number", "leave the number out to take the limit away")
    return int(number) if number.is_integer() else number


@projects.command()
@click.argument("project_id", metavar="ID")
@click.option("--name", help="Another name for people.")
@with_fields
@AS_JSON
@click.pass_context
def edit(context: click.Context, /, project_id: str, as_json: bool, **given: Any) -> None:
    """Change a project by options, or in your $EDITOR.

    A list given replaces the one there is; an empty text makes it empty.

    \b
    Examples:  awm projects edit my-docs --window "22:00-07:00 Europe/Berlin" --budget attemptsPerDay=5
               EDITOR=nano awm projects edit my-docs
    """
    home = open_home(context)
    entry = known(home, project_id)
    fields = fields_of(home, given, entry)

    def take(fields: Mapping[str, Any], gone: Sequence[str]) -> None:
        if fields.get("id", project_id) != project_id or "id" in gone:
            raise AwmError(
                f"the id of {project_id} cannot be changed: tasks and triggers name it", "make a new project"
            )
        store.change(home.projects_path, project_id, fields, gone, clock.now().wall)

    if fields:
        take(fields, ())
    changed = [*fields] or edit_entry(entry.model_dump(mode="json", by_alias=True, exclude_unset=True), take)
    if as_json:
        look.print_json(project_view.found(home, project_id))
    else:
        click.echo(f"{project_id}: {', '.join(changed)} changed" if changed else "nothing changed")


def known(home: Home, project_id: str) -> store.ProjectEntry:
    """The entry of a project beside the default one. Raises AwmError."""
    if project_id == DEFAULT_PROJECT:
        hint = "`project` in the state file and [project] in awm.toml say what it is; `awm pause` pauses all"
        raise AwmError(f"{project_id} is the project of the home itself", hint)
    return store.named(home.projects_path, project_id)


def _status_verb(name: str, status: ProjectStatus, short: str, then: str) -> None:
    """A verb that sets the status of a project."""

    @projects.command(name, help=f"{short}\n\n\b\nExample:  awm projects {name} my-docs", short_help=short)
    @click.argument("project_id", metavar="ID")
    @click.option("--dry-run", is_flag=True, help="Say what would be done.")
    @AS_JSON
    @click.pass_context
    def verb(context: click.Context, project_id: str, dry_run: bool, as_json: bool) -> None:
        home = open_home(context)
        before = known(home, project_id).status
        if not dry_run and before is not status:
            store.change(home.projects_path, project_id, {"status": status.value}, (), clock.now().wall)
        left = _left(home, project_id)
        if as_json:
            look.print_json({"project": project_id, "before": before.value, "status": status.value, **left})
            return
        word = "would be" if dry_run else "is" if before is not status else "was already"
        parts = () if status is ProjectStatus.ACTIVE else (_unstarted(left), then.format(project_id))
        also = "; ".join(filter(None, parts))
        click.echo(f"{project_id} {word} {status}{f'; {also}' if also else ''}")


def _left(home: Home, project_id: str) -> dict[str, list[str]]:
    """The tasks of a project that wait, and that run."""
    loaded = home.store.load(clock.now())
    if loaded is None:
        return {"queued": [], "running": []}
    queued = [task_id for task_id in loaded.work.queue if project_of(loaded.work, task_id) == project_id]
    return {"queued": queued, "running": [one.task for one in loaded.work.attempts if one.project_id == project_id]}


def _unstarted(left: Mapping[str, Sequence[str]]) -> str:
    waits = f"{counted(len(left['queued']), 'queued task')} of it will not start" if left["queued"] else ""
    goes_on = f"{', '.join(left['running'])} goes on to its end" if left["running"] else ""
    return "; ".join(filter(None, (waits, goes_on)))


_status_verb("pause", ProjectStatus.PAUSED, "Start nothing new of a project.", "`awm projects resume {}` goes on")
_status_verb("resume", ProjectStatus.ACTIVE, "Go on with a project, whatever became of it.", "")
_status_verb("complete", ProjectStatus.COMPLETED, "Call a project done; those that depend on it may start.", "")
_status_verb("archive", ProjectStatus.ARCHIVED, "Put a project away; it stays in the file, and lists hide it.", "")
