"""`awm queue`: what waits, in the order it will run, and the verbs that change that order (SPEC 7.5, 14)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from awm_loop import clock
from awm_loop.cli import look, project_view, standing, steering
from awm_loop.cli.columns import columns
from awm_loop.cli.queueing import AS_JSON, edit
from awm_loop.cli.setting_up import open_home
from awm_loop.core import choice
from awm_loop.core.consequence import note
from awm_loop.core.model import Instant, Phase, Work
from awm_loop.core.project import Priority
from awm_loop.core.projects import project_of, shut, unmet
from awm_loop.errors import AwmError
from awm_loop.ports import Settings
from awm_loop.store.shape import iso
from awm_loop.wiring import Home

OF_PROJECT = click.option("--project", "project_id", metavar="ID", help="Only the tasks of this project.")


def move(work: Work, task_id: str, where: tuple[str, str], now: Instant) -> Work:
    """A queued task to another place: ("first", ""), ("last", ""), ("before", other) or ("after", other).

    Raises AwmError for one that is not in the queue, and for such another.
    """
    how, other = where
    _check_queued(work, task_id)
    rest = [one for one in work.queue if one != task_id]
    if other == task_id:
        raise AwmError(f"{task_id} cannot stand {how} itself", "`awm queue` lists the others")
    if other:
        _check_queued(work, other)
    index = {"first": 0, "last": len(rest)}[how] if not other else rest.index(other) + (how == "after")
    queue = (*rest[:index], task_id, *rest[index:])
    moved = note(replace(work, queue=queue), now, f"moved {how} {other}".rstrip(), task_id)
    return work if queue == work.queue else moved


def remove(work: Work, task_id: str, now: Instant) -> Work:
    """A queued task is one no more; its spec stays where it lies. Raises AwmError for one that is not in the queue."""
    _check_queued(work, task_id)
    changed = replace(
        work,
        queue=tuple(other for other in work.queue if other != task_id),
        tasks={key: task for key, task in work.tasks.items() if key != task_id},
        spec_files={key: path for key, path in work.spec_files.items() if key != task_id},
        project_of={key: project for key, project in work.project_of.items() if key != task_id},
    )
    return note(changed, now, f"taken out by hand -> {Phase.REMOVED}", task_id)


def prioritize(work: Work, task_id: str, priority: Priority, now: Instant) -> Work:
    """Raises AwmError for a task that is not in the queue."""
    _check_queued(work, task_id)
    task = work.task(task_id)
    if task.priority is priority and task_id in work.tasks:
        return work
    tasks = {**work.tasks, task_id: replace(task, priority=priority)}
    return note(replace(work, tasks=tasks), now, f"priority {priority}", task_id)


def _check_queued(work: Work, task_id: str) -> None:
    """Raises AwmError for a task that is not in the queue, with what can be done about it instead."""
    there = steering.known(work, task_id)
    if there == "running":
        hint = f"`awm skip {task_id}` gives it up; `awm stop` puts it back into the queue and pauses"
        raise AwmError(f"{task_id} is running", hint)
    if there != "queue":
        raise AwmError(f"{task_id} is {there}", f"`awm retry {task_id}` queues it again")


@click.group(invoke_without_command=True)
@OF_PROJECT
@AS_JSON
@click.pass_context
def queue(context: click.Context, project_id: str | None, as_json: bool) -> None:
    """What waits, in the order it will run; move it, take it out.

    \b
    Examples:  awm queue
               awm queue move S3 --first
               awm queue priority S3 high
               awm queue remove S3
    """
    if context.invoked_subcommand is None:
        context.invoke(list_queue, project_id=project_id, as_json=as_json)


@queue.command("list")
@OF_PROJECT
@AS_JSON
@click.pass_context
def list_queue(context: click.Context, project_id: str | None, as_json: bool) -> None:
    """What waits, in the order it will run.

    \b
    Example:  awm queue list --project my-docs
    """
    home, now = open_home(context), clock.now()
    loaded = home.store.load(now)
    work, settings = (loaded.work, loaded.settings) if loaded else (project_view.NOTHING, Settings())
    found = [one for one in entries(home, work, settings, now) if project_id in (None, one["project"])]
    if project_id is not None and not found:
        project_view.found(home, project_id)  # raises AwmError for one that nobody knows
    if as_json:
        look.print_json(found)
    elif not found:
        click.echo(f"nothing waits{f' in {project_id}' if project_id else ''}: awm add SPEC.md queues a task")
    else:
        rows = [(str(one["place"]), *_cells(one, now.wall)) for one in found]
        for line in columns(("", "TASK", "PROJECT", "PRIORITY", "SPEC", "WAITS FOR"), rows):
            click.echo(line)


def entries(home: Home, work: Work, settings: Settings, now: Instant) -> Iterator[dict[str, Any]]:
    """What waits, in the order it will run; each is looked at when it is asked for."""
    policy = home.policy(settings, now)
    reasons: dict[str, str] = {}  # by project
    for place, task_id in enumerate(choice.in_order(work), start=1):
        project, task = project_of(work, task_id), work.task(task_id)
        if project not in reasons:
            reasons[project] = shut(work, project, now, policy)
        until = task.not_before if task.not_before and choice.is_waiting(work, task_id, now) else None
        after = unmet(work, task_id)
        yield {
            "place": place,
            "task": task_id,
            "project": project,
            "priority": task.priority.value,
            "spec": work.spec_files.get(task_id),
            "after": after,
            "notBefore": iso(until.until) if until else None,
            "waitsFor": reasons[project],
        }


def _cells(one: Mapping[str, Any], now: datetime) -> tuple[str, str, str, str, str]:
    waits = [", ".join(one["after"]), one["waitsFor"]]
    waits += [standing.when_text(datetime.fromisoformat(one["notBefore"]), now)] if one["notBefore"] else []
    spec = Path(one["spec"] or "").name
    return one["task"], one["project"], one["priority"], spec, "; ".join(filter(None, waits))


@queue.command("move")
@click.argument("task_id", metavar="TASK")
@click.option("--first", is_flag=True, help="To the head of the queue.")
@click.option("--last", is_flag=True, help="To its end.")
@click.option("--before", metavar="OTHER", help="Before another task.")
@click.option("--after", metavar="OTHER", help="After another task.")
@AS_JSON
@click.pass_context
def move_verb(context: click.Context, /, task_id: str, as_json: bool, **where: str | bool | None) -> None:
    """Move a waiting task. Priorities and projects' turns come before this order.

    \b
    Examples:  awm queue move S3 --first
               awm queue move S3 --after S1
    """
    named = [(how, "" if value is True else str(value)) for how, value in where.items() if value]
    if len(named) != 1:
        raise click.UsageError("say where: --first, --last, --before OTHER or --after OTHER")
    work = edit(open_home(context), lambda work, now: move(work, task_id, named[0], now))
    _tell_place(work, task_id, as_json)


def _tell_place(work: Work, task_id: str, as_json: bool) -> None:
    order = [*choice.in_order(work)]
    place = order.index(task_id) + 1
    if as_json:
        look.print_json({"task": task_id, "place": place, "queue": order})
    else:
        click.echo(f"{task_id} is number {place} of {len(order)} to run")


@queue.command("priority")
@click.argument("task_id", metavar="TASK")
@click.argument("priority", type=click.Choice([*map(str, Priority)]), metavar="PRIORITY")
@AS_JSON
@click.pass_context
def priority_verb(context: click.Context, task_id: str, priority: str, as_json: bool) -> None:
    """Give a waiting task another priority.

    \b
    Example:  awm queue priority S3 high
    """
    work = edit(open_home(context), lambda work, now: prioritize(work, task_id, Priority(priority), now))
    _tell_place(work, task_id, as_json)


@queue.command("remove")
@click.argument("task_id", metavar="TASK")
@click.option("--dry-run", is_flag=True, help="Say what would be taken out.")
@AS_JSON
@click.pass_context
def remove_verb(context: click.Context, task_id: str, dry_run: bool, as_json: bool) -> None:
    """Take a waiting task out, as if it had never been queued. Its spec stays where it lies.

    \b
    Example:  awm queue remove S3 --dry-run
    """
    home = open_home(context)
    before = standing.loaded(home).work
    remove(before, task_id, clock.now())
    bereft = [other for other, task in before.tasks.items() if task_id in task.depends and other in before.queue]
    if not dry_run:
        edit(home, lambda work, now: remove(work, task_id, now))
    if as_json:
        look.print_json({"removed": None if dry_run else task_id, "wouldRemove": task_id, "dependents": bereft})
        return
    depend = f"; {', '.join(bereft)} cannot start without it" if bereft else ""
    spec = before.spec_files.get(task_id, "")
    click.echo(f"{task_id} {'would be' if dry_run else 'is'} out of the queue{depend}; to put it back: awm add {spec}")
