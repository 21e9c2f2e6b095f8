"""The verbs that steer: add, pause, resume, stop, retry, skip. Each edits the state under its lock."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import click

from awm_loop import clock
from awm_loop.cli import steering
from awm_loop.cli.checking import Verdict, verdict
from awm_loop.cli.pulse import pulse
from awm_loop.cli.setting_up import open_home
from awm_loop.config import ID_PATTERN
from awm_loop.core.model import Instant, Task, Work
from awm_loop.core.observation import SpecBad
from awm_loop.core.project import DEFAULT_PROJECT, Priority, ProjectStatus
from awm_loop.errors import AwmError, BadFileError
from awm_loop.ports import Settings
from awm_loop.store import document, jsontext, projects, specfile
from awm_loop.triggers import templates
from awm_loop.wiring import Home

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one object.")
STOP_WAIT_SECONDS = 5.0  # beyond the grace, before `stop` leaves the rest to the loop


def edit(home: Home, change: Callable[[Work, Instant], Work]) -> Work:
    """Apply a person's edit to the state and journal it.

    Raises AwmError where there is no state yet, it is bad, or what the edit makes of it could not be read back.
    """

    def checked(work: Work, now: Instant) -> Work:
        changed = change(work, now)
        try:
            home.store.parse(jsontext.layout(document.write(changed, {}, now, 0)), now)
        except (BadFileError, UnicodeEncodeError) as error:
            raise AwmError(f"that would make a state file that cannot be read back: {error}") from error
        return changed

    home.store.prepare()
    with home.store.locked_for_command():
        work = home.store.update(checked, clock.now())
    if work is None:
        raise AwmError(f"{home.store.path} does not exist yet", "`awm init` makes one, `awm add SPEC.md` fills it")
    return work


@click.command()
@click.argument("specs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--id", "task_id", help="The task's id. [default: from the title or the file name]")
@click.option("--project", "project_id", metavar="ID", default=DEFAULT_PROJECT, help="The project they are of.")
@click.option("--template", metavar="NAME", help="Make the spec of a template, instead of naming a file.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="What the template's $NAME is. Repeatable.")
@AS_JSON
@click.pass_context
def add(context: click.Context, /, specs: tuple[Path, ...], task_id: str | None, as_json: bool, **made: Any) -> None:
    """Queue spec files, or one made of a template.

    Templates are those of the home's `templates/`, and nightly-review, docs-on-change, dependency-audit, broken-build.

    \b
    Examples:  awm add SPRINT_S1_SPEC.md SPRINT_S2_SPEC.md
               awm add NIGHTLY.md --project my-docs
               awm add --template nightly-review
               awm add --template mine --set area=search --id S9
    """
    template, values, project_id = made["template"], values_of(made["values"]), made["project_id"]
    if bool(specs) == bool(template) or (values and not template):
        raise click.UsageError("name spec files, or one --template NAME, with its --set NAME=VALUE")
    if task_id is not None and len(specs) > 1:
        raise click.UsageError("--id goes with one spec")
    home = open_home(context)

    def named(work: Work) -> Sequence[tuple[Path, str]]:
        paths = [path.expanduser().resolve() for path in specs]
        found = [(path, id_of(path) if task_id is None else checked_id(task_id)) for path in paths]
        return found or [_templated(home, work, template, values, task_id)]

    work, fields = queue_specs(home, named, project_id)
    queued = f"queued {', '.join(fields['added'])} ({len(work.queue)} in the queue){_if_paused(work)}"
    found = Verdict([f"would be blocked: {problem}" for problem in fields["problems"]], fields["warnings"])
    _say("\n".join([queued, *found.lines()]), fields, as_json)


def queue_specs(
    home: Home, named: Callable[[Work], Sequence[tuple[Path, str]]], project_id: str
) -> tuple[Work, dict[str, Any]]:
    """Queue the specs that `named` finds, each with its task's id, and say what is wrong with them.

    `named` may be asked again, where somebody edits the state meanwhile. Raises AwmError.
    """
    home.store.prepare()
    entry = None if project_id == DEFAULT_PROJECT else projects.named(home.projects_path, project_id)
    added: list[str] = []

    def change(work: Work, now: Instant) -> Work:
        added.clear()
        for full, name in named(work):
            spec = specfile.read(full, name, home.directory_of(work, project_id))
            if isinstance(spec, SpecBad):
                raise AwmError(spec.reason, "a spec is a Markdown file; see the README")
            priority = spec.priority or (entry.priority if entry else Priority.MEDIUM)
            task = Task(id=name, priority=priority, depends=spec.depends)
            work = steering.add(work, task, str(full), project_id, now)
            added.append(name)
        return work

    with home.store.locked_for_command():
        home.store.create(str(home.path))
    work = edit(home, change)
    loaded = home.store.load(clock.now())
    found = verdict(home, work, loaded.settings if loaded else Settings(), added)
    if entry is not None and entry.status is not ProjectStatus.ACTIVE:
        found.warnings.append(f"{project_id} is {entry.status}: `awm projects resume {project_id}` lets it start")
    fields = {"added": added, "queue": list(work.queue), "problems": found.problems, "warnings": found.warnings}
    return work, fields


def values_of(texts: Sequence[str]) -> dict[str, str]:
    """The values of `--set NAME=VALUE`. Raises AwmError."""
    pairs = [text.partition("=") for text in texts]
    wrong = next((name for name, equals, _ in pairs if not (name.isidentifier() and equals)), None)
    if wrong is not None:
        raise AwmError(f"--set {wrong}: is no NAME=VALUE", "--set branch=main")
    return {name: value for name, _, value in pairs}


def _templated(
    home: Home, work: Work, template: str, values: Mapping[str, str], task_id: str | None
) -> tuple[Path, str]:
    """The spec of a template, and its task's id, else one after the template. One of a task that is there stays."""
    text = templates.fill(home.path, template, values)
    numbered = (f"{template[:60]}-{number}" if number > 1 else template for number in count(1))
    name = checked_id(task_id or next(name for name in numbered if steering.whereabouts(work, name) is None))
    if steering.whereabouts(work, name) is None:
        templates.write(home.path, name, text)
    return templates.spec_path(home.path, name), name


def id_of(path: Path) -> str:
    """`S1` of a title `# Sprint S1: …` or of SPRINT_S1_SPEC.md, else the stem. Raises AwmError if that is no id."""
    spec = specfile.read(path, "", path.parent)
    stem = re.sub(r"^SPRINT[_-]|[_-]SPEC$", "", path.stem, flags=re.I)
    return checked_id(("" if isinstance(spec, SpecBad) else id_in(spec.text)) or stem)


def id_in(text: str) -> str:
    """`S1` of a title `# Sprint S1: …`; "" where there is none."""
    heading = re.search(r"^#\s+sprint\s+([A-Za-z0-9][\w.-]*)[ \t]*(?:[:—-]|$)", text, re.I | re.M)
    return heading[1] if heading else ""


def checked_id(name: str) -> str:
    """The name, if it is a task id (SPEC 17). Raises AwmError."""
    if not re.fullmatch(ID_PATTERN.removesuffix("$"), name):
        raise AwmError(f"{name!r} is not a task id", "--id NAME: letters, digits, `.`, `_`, `-`; at most 64")
    return name


def _if_paused(work: Work) -> str:
    return "; paused: `awm resume` goes on" if work.paused else ""


def _say(text: str, fields: Mapping[str, object], as_json: bool) -> None:
    click.echo(json.dumps(fields, ensure_ascii=False) if as_json else text)


@click.command()
@AS_JSON
@click.pass_context
def pause(context: click.Context, as_json: bool) -> None:
    """Start nothing new; what runs is finished and recorded.

    \b
    Example:  awm pause
    """
    work = edit(open_home(context), steering.pause)
    running = [attempt.task for attempt in work.attempts]
    goes_on = f"; {', '.join(running)} goes on to its end" if running else ""
    _say(f"paused{goes_on}. `awm resume` goes on", {"paused": True, "running": running}, as_json)


@click.command()
@AS_JSON
@click.pass_context
def resume(context: click.Context, as_json: bool) -> None:
    """Go on after a pause or a stop.

    \b
    Example:  awm resume
    """
    work = edit(open_home(context), steering.resume)
    some = f"{len(work.queue)} in the queue. The next beat starts work: `awm run` or your timer"
    text = f"resumed; {some if work.queue else 'nothing is queued: awm add SPEC.md'}"
    _say(text, {"paused": False, "queue": list(work.queue)}, as_json)


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be stopped.")
@AS_JSON
@click.pass_context
def stop(context: click.Context, dry_run: bool, as_json: bool) -> None:
    """Pause, and end what runs with all its processes. The task goes back to the head of the queue.

    \b
    Example:  awm stop
    """
    home = open_home(context)
    if dry_run:
        loaded = home.store.load(clock.now())
        running = [attempt.task for attempt in loaded.work.attempts] if loaded else []
        would = f"would stop {', '.join(running)} and pause" if running else "would pause; nothing is running"
        _say(would, {"wouldStop": running}, as_json)
        return
    before = edit(home, steering.stop)
    running = [attempt.task for attempt in before.attempts]
    gone = wait_until_gone(home, [attempt.key for attempt in before.attempts])
    if not running:
        text = "paused; nothing was running. `awm resume` goes on"
    elif gone:
        text = f"stopped {', '.join(running)} and paused. `awm resume` goes on"
    else:
        text = f"asked {', '.join(running)} to stop; `awm status` shows when it is gone"
    fields = {"paused": True, "stopped": running if gone else [], "stopping": [] if gone else running}
    _say(text, fields, as_json)


def wait_until_gone(home: Home, keys: list[str]) -> bool:
    """Beat until none of these attempts is live any more, for the grace and a little; False when one still is.

    Where there is none to wait for, no beat: one might start work that nobody asked for.
    """
    deadline = time.monotonic() + home.config.loop.stop_grace_seconds + STOP_WAIT_SECONDS
    while keys:
        pulse(home.store, home.ports())
        loaded = home.store.load(clock.now())
        if loaded is None or not any(loaded.work.attempt(key) for key in keys):
            break
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True


@click.command()
@click.argument("task_id", metavar="TASK")
@AS_JSON
@click.pass_context
def retry(context: click.Context, task_id: str, as_json: bool) -> None:
    """Queue a task that is over again, at the head, with fresh tries.

    \b
    Example:  awm retry S3
    """
    work = edit(open_home(context), lambda work, now: steering.retry(work, task_id, now))
    text = f"{task_id} is at the head of the queue{_if_paused(work)}"
    _say(text, {"retried": task_id, "queue": list(work.queue)}, as_json)


@click.command()
@click.argument("task_id", metavar="TASK")
@click.option("--reason", default="skipped by hand", show_default=True, help="Kept with the task.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@AS_JSON
@click.pass_context
def skip(context: click.Context, task_id: str, reason: str, dry_run: bool, as_json: bool) -> None:
    """Give a task up. A running one is stopped first.

    \b
    Example:  awm skip S3 --reason "done by hand"
    """
    home = open_home(context)
    if dry_run:
        loaded = home.store.load(clock.now())
        there = steering.whereabouts(loaded.work, task_id) if loaded else None
        would = f"would skip {task_id} ({there})" if there else f"there is no task {task_id}"
        _say(would, {"wouldSkip": task_id if there else None}, as_json)
        return
    work = edit(home, lambda work, now: steering.skip(work, task_id, reason, now))
    wait_until_gone(home, [attempt.key for attempt in work.attempts if attempt.task == task_id])
    _say(f"skipped {task_id}", {"skipped": task_id}, as_json)
