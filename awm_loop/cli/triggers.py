"""`awm triggers`: make, change, fire and remove what calls for work (SPEC 13.2). `trigger_view` shows it."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from awm_loop import clock
from awm_loop.cli import checking_calls, look, standing, trigger_view
from awm_loop.cli.queueing import AS_JSON, values_of
from awm_loop.cli.setting_up import open_home
from awm_loop.core.model import Instant, Work
from awm_loop.core.notice import counted
from awm_loop.core.observation import SpecBad
from awm_loop.core.project import DEFAULT_PROJECT, Priority
from awm_loop.errors import AwmError
from awm_loop.ports import Settings
from awm_loop.store import specfile
from awm_loop.store import triggers as store
from awm_loop.store.shape import iso
from awm_loop.trigger import DEBOUNCE_SECONDS, GRACE_MINUTES, Trigger
from awm_loop.triggers import files, inbox, schedule, templates
from awm_loop.wiring import Home

DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done.")
WHEN = (
    click.option("--at", "cron", metavar="CRON", help='By the clock, five fields: "0 2 * * *" is each day at 02:00.'),
    click.option("--zone", default="UTC", show_default=True, help="The clock's zone, as Europe/Berlin."),
    click.option("--files", "globs", multiple=True, metavar="GLOB", help="When contents change, as src/**/*.ts."),
    click.option("--webhook", is_flag=True, help="When `awm hook` is called for it."),
    click.option("--manual", is_flag=True, help="By `awm triggers fire` alone."),
)
WHAT = (
    click.option("--spec", type=click.Path(path_type=Path), help="What to queue: a spec file ..."),
    click.option("--template", help="... or a template, such as nightly-review."),
    click.option("--set", "texts", multiple=True, metavar="NAME=VALUE", help="A value for the template. Repeatable."),
    click.option("--project", "project_id", default=DEFAULT_PROJECT, show_default=True, metavar="ID", help="Where."),
    click.option("--priority", type=click.Choice([*map(str, Priority)]), default="medium", show_default=True),
)
HOW = (
    click.option(
        "--overlap",
        type=click.Choice(["skip", "queue"]),
        default="skip",
        show_default=True,
        help="Its last task is not over.",
    ),
    click.option(
        "--grace", default=GRACE_MINUTES, show_default=True, metavar="MINUTES", help="How late a time may fire."
    ),
    click.option(
        "--debounce", default=DEBOUNCE_SECONDS, show_default=True, metavar="SECONDS", help="Files stand still."
    ),
)


def _with(options: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    def decorated(verb: Any) -> Any:
        for option in reversed(options):
            verb = option(verb)
        return verb

    return decorated


@click.group(invoke_without_command=True)
@AS_JSON
@click.pass_context
def triggers(context: click.Context, as_json: bool) -> None:
    """What calls for work: a time, changed files, a webhook, you.

    \b
    Examples:  awm triggers create nightly --at "0 2 * * *" --zone Europe/Berlin --template nightly-review
               awm triggers create docs --files "src/**/*.ts" --template docs-on-change
               awm triggers next
    """
    if context.invoked_subcommand is None:
        context.invoke(trigger_view.list_triggers, as_json=as_json)


for view in (trigger_view.list_triggers, trigger_view.show, trigger_view.next_times):
    triggers.add_command(view)


@triggers.command()
@click.argument("trigger_id", metavar="ID")
@_with((*WHEN, *WHAT, *HOW))
@DRY_RUN
@AS_JSON
@click.pass_context
def create(context: click.Context, /, trigger_id: str, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Make a trigger: when, and what it queues.

    A time that the machine slept through fires once, up to --grace late. Files count by contents, not by times; the
    task is told what changed.

    \b
    Examples:  awm triggers create nightly --at "0 2 * * *" --zone Europe/Berlin --template nightly-review
               awm triggers create docs --files "src/**/*.ts" --spec specs/DOCS.md --project my-docs
               awm triggers create ci --webhook --template broken-build --priority high
               awm triggers create release --manual --spec specs/RELEASE.md
    """
    home, now = open_home(context), clock.now()
    fields = _fields(home, trigger_id, given, now)
    home.store.prepare()
    made = store.tried(home.triggers_path, fields, now.wall)
    if made.type == "time":
        _check_zone(made, now)
    if not dry_run:
        store.add(home.triggers_path, fields, now.wall)
    why = _why_blocked(home, made, now)
    if as_json:
        look.print_json({**trigger_view.json_of(home, made, None, now.wall), "problems": [why] if why else []})
        return
    click.echo(f"{'would make' if dry_run else 'made'} trigger {made.id}: {trigger_view.when_of(made)}")
    click.echo(_first(home, made, now))
    if why:
        click.echo(f"but its task would be blocked: {why}")


def _why_blocked(home: Home, made: Trigger, now: Instant) -> str:
    """Why nobody could do what it queues, as `awm add` says of a spec; "" where somebody can."""
    loaded = home.store.load(now)
    work = loaded.work if loaded else Work(active=True, idle_since=None, project=str(home.path), queue=(), completed=())
    return checking_calls.blocked(home, work, loaded.settings if loaded else Settings(), made)


def _fields(home: Home, trigger_id: str, given: dict[str, Any], now: Instant) -> dict[str, Any]:
    """The keys of the entry. Raises AwmError, UsageError."""
    kinds = {"time": given["cron"], "file": given["globs"], "webhook": given["webhook"], "manual": given["manual"]}
    chosen = [kind for kind, value in kinds.items() if value]
    if len(chosen) != 1:
        raise click.UsageError('say when, in one way: --at "0 2 * * *", --files "src/**/*.ts", --webhook or --manual')
    if bool(given["spec"]) == bool(given["template"]):
        raise click.UsageError("say what to queue: --spec FILE, or --template NAME")
    wrong = next((name for name in ("grace", "debounce") if not math.isfinite(given[name])), None)
    if wrong is not None:
        raise click.UsageError(f"--{wrong} is to be a number: 60")
    kind = chosen[0]
    fields: dict[str, Any] = {"id": trigger_id, "type": kind, "projectId": given["project_id"]}
    if kind == "time":
        fields |= {"trigger": given["cron"], "timezone": given["zone"], "misfireGrace": given["grace"]}
    if kind == "file":
        globs = list(given["globs"])
        fields |= {"trigger": globs[0] if len(globs) == 1 else globs, "debounceSeconds": given["debounce"]}
    project = _project(home, given["project_id"], now)
    fields |= _queued(home, kind, project, given)
    return fields | {"priority": given["priority"], "overlap": given["overlap"], "enabled": True}


def _project(home: Home, project_id: str, now: Instant) -> Path:
    """Its directory. Raises AwmError."""
    known = {one.id: one for one in home.project_entries()}
    if project_id != DEFAULT_PROJECT and project_id not in known:
        near = difflib.get_close_matches(project_id, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "`awm projects list` lists them"
        raise AwmError(f"there is no project {project_id}", hint)
    if project_id != DEFAULT_PROJECT:
        home.going_on(project_id)
        return home.project_path(known[project_id].path)
    loaded = home.store.load(now)
    return home.project_path(loaded.work.project) if loaded and loaded.work.project else home.path


def _queued(home: Home, kind: str, project: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What it queues, checked as it will be when it fires. Raises AwmError."""
    values = values_of(given["texts"])
    if given["template"]:
        if kind == "webhook" and given["template"] in templates.names(home.path):
            return {"template": given["template"], "values": values}  # the caller brings the rest
        templates.fill(home.path, given["template"], values)
        return {"template": given["template"], "values": values}
    if values:
        raise click.UsageError("--set goes with --template")
    path = inbox.spec_path(str(given["spec"].expanduser().resolve()), home.path, project)
    read = specfile.read(path, "", project)
    if isinstance(read, SpecBad):
        raise AwmError(read.reason, "a spec is a Markdown file; see the README")
    inside = path.is_relative_to(home.path.resolve())
    return {"spec": str(path.relative_to(home.path.resolve()) if inside else path)}


def _check_zone(made: Trigger, now: Instant) -> None:
    where = schedule.zone(made.timezone)
    if where is None:
        import zoneinfo  # noqa: PLC0415

        near = difflib.get_close_matches(made.timezone, zoneinfo.available_timezones(), n=1)
        hint = f"did you mean {near[0]}?" if near else "an IANA name: Europe/Berlin, America/New_York, UTC"
        raise AwmError(f"this machine knows no zone {made.timezone}", hint)
    if schedule.following(made.cron, where, now.wall) is None:
        raise AwmError(f"{made.cron!r} never comes", 'as no 31 February does; "0 9 1 * *" is each first of a month')


def _first(home: Home, made: Trigger, now: Instant) -> str:
    """What is to be expected of it."""
    match made.type:
        case "time":
            first = next(trigger_view.coming(made, now.wall))
            return f"next:  {first.local:%a %Y-%m-%d %H:%M} {made.timezone} ({standing.wait_text(first.at, now.wall)})"
        case "file":
            project = _project(home, made.project_id, now).resolve()
            try:
                count = len(files.look(files.Watched(project=project, globs=made.globs), {}, now.wall))
            except files.UnwatchableError as error:
                return f"but: {error}"
            return f"matches {counted(count, 'file')} now; the next beat remembers them, and changes after that fire"
        case "webhook":
            return f"next:  awm hook, then POST /hook/{made.id}"
    return f"next:  awm triggers fire {made.id}"


def _switch(name: str, *, on: bool) -> click.Command:
    @click.command(name)
    @click.argument("trigger_id", metavar="ID")
    @AS_JSON
    @click.pass_context
    def verb(context: click.Context, trigger_id: str, as_json: bool) -> None:
        home, now = open_home(context), clock.now().wall
        before = trigger_view.named(home, trigger_id)
        if before.enabled is not on:
            store.change(home.triggers_path, trigger_id, {"enabled": on} | ({"enabledAt": iso(now)} if on else {}))
        if as_json:
            look.print_json({"trigger": trigger_id, "enabled": on, "changed": before.enabled is not on})
            return
        said = "enabled: it fires for what comes from now on" if on else "disabled: what it queued before stays queued"
        click.echo(f"{trigger_id} {'is' if before.enabled is not on else 'was already'} {said}")

    verb.help = (
        "Let a trigger fire again, for what comes from now on.\n\n\b\nExample:  awm triggers enable nightly"
        if on
        else "Let a trigger rest. What it queued stays queued.\n\n\b\nExample:  awm triggers disable nightly"
    )
    return verb


for switch in (_switch("enable", on=True), _switch("disable", on=False)):
    triggers.add_command(switch)


@triggers.command()
@click.argument("trigger_id", metavar="ID")
@click.option("--set", "texts", multiple=True, metavar="NAME=VALUE", help="A value for the template. Repeatable.")
@AS_JSON
@click.pass_context
def fire(context: click.Context, trigger_id: str, texts: tuple[str, ...], as_json: bool) -> None:
    """Fire a trigger of any type now: the next beat queues its task. Its schedule and baseline stay as they are.

    \b
    Examples:  awm triggers fire release
               awm triggers fire ci --set branch=main
    """
    home = open_home(context)
    trigger = trigger_view.named(home, trigger_id)
    if not trigger.enabled:
        raise AwmError(f"{trigger_id} is disabled", f"awm triggers enable {trigger_id}")
    home.going_on(trigger.project_id)
    values = values_of(texts)
    if trigger.template:
        templates.fill(home.path, trigger.template, {**trigger.values, **values})
    home.store.prepare()
    path = inbox.write_request(home.path, {"trigger": trigger_id, "values": values})
    if as_json:
        look.print_json({"trigger": trigger_id, "request": path.name})
        return
    click.echo(f"fired {trigger_id}; the next beat queues its task: awm beat, awm run or your timer")


@triggers.command()
@click.argument("trigger_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@DRY_RUN
@AS_JSON
@click.pass_context
def remove(context: click.Context, trigger_id: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Take a trigger out. What it queued stays queued.

    \b
    Example:  awm triggers remove nightly --dry-run
    """
    home = open_home(context)
    trigger = trigger_view.named(home, trigger_id)
    if not dry_run:
        if not (yes or _is_wanted(f"remove trigger {trigger_id} ({trigger_view.when_of(trigger)})?")):
            return
        store.remove(home.triggers_path, trigger_id)
        files.forget(home.path, trigger_id)
    if as_json:
        look.print_json({"wouldRemove" if dry_run else "removed": trigger_id})
        return
    click.echo(f"{'would remove' if dry_run else 'removed'} {trigger_id}")


def _is_wanted(question: str) -> bool:
    """A person's yes. Raises AwmError where there is nobody to ask."""
    try:
        return click.confirm(question)
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        raise AwmError("nothing was removed: there is nobody to ask", "--yes does not ask") from error
