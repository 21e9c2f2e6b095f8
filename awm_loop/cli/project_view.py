"""`awm projects list` and `show`: what a project is, where its work stands, what it took (SPEC 13.1, 13.3)."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import click

from awm_loop import clock, terminal, windows
from awm_loop.cli import look, standing
from awm_loop.cli.columns import columns, width_max
from awm_loop.cli.queueing import AS_JSON
from awm_loop.cli.setting_up import open_home
from awm_loop.config import BudgetConfig
from awm_loop.core.model import Instant, Policy, Work
from awm_loop.core.project import DEFAULT_PROJECT, Bounds, ProjectStatus, Spent, Use
from awm_loop.core.projects import found as project_found
from awm_loop.core.projects import project_of, shut
from awm_loop.ports import Settings
from awm_loop.store import projects as store
from awm_loop.store.shape import iso
from awm_loop.wiring import Home

NOTHING = Work(active=True, idle_since=None, project="", queue=(), completed=())
UNITS = {"attempts": "attempts", "minutes": "minutes", "tokens": "tokens", "cost_usd": "dollars"}
LISTS = ("completed", "failed", "skipped", "blocked")
LABEL_CHARS = 11


def found(home: Home, project_id: str) -> dict[str, Any]:
    """All that is known of one project, as one object. Raises AwmError for an unknown id, BadFileError."""
    every = {str(one["id"]): one for one in every_project(home)}
    if project_id not in every:
        raise store.unknown(project_id, [*every])
    return every[project_id]


def every_project(home: Home) -> Iterator[dict[str, Any]]:
    """The default project, then those of the file, in its order: their own keys, and what became of them."""
    now = clock.now()
    loaded = home.store.load(now)
    work, settings = (loaded.work, loaded.settings) if loaded else (NOTHING, Settings())
    entries = store.read(home.projects_path)
    policy = home.policy(settings, now)
    own = home.config.project
    default: dict[str, Any] = {
        "id": DEFAULT_PROJECT,
        "status": "active",
        "priority": "medium",
        "goals": [],
        "nextSteps": [],
    }
    default |= {"path": str(home.project_path(work.project)) if work.project else "", "verify": own.verify}
    default |= {"prepare": own.prepare, "window": own.window, "budget": _budget(own.budget)}
    yield default | _standing(work, DEFAULT_PROJECT, policy, now)
    for entry in entries:
        said = entry.model_dump(mode="json", by_alias=True, exclude={"budget"})
        said["budget"] = _budget(entry.budget)
        yield said | _standing(work, entry.id, policy, now)


def _budget(limits: BudgetConfig) -> dict[str, object]:
    """Its limits by the keys of the projects file; what is left out is no limit."""
    names = zip(store.BUDGET_KEYS, store.Budget.model_fields, strict=True)
    return {key: value for key, name in names if (value := getattr(limits, name)) not in (None, False)}


def hours(work: Work, project_id: str) -> float:
    """What its attempts took in all (SPEC 13.1)."""
    return round(((work.spent.get(project_id) or Spent()).in_all.minutes or 0.0) / 60, 2)


def _standing(work: Work, project_id: str, policy: Policy, now: Instant) -> dict[str, Any]:
    """What the state says of a project."""
    queued = [task_id for task_id in work.queue if project_of(work, task_id) == project_id]
    counts = {name: sum(project_of(work, one) == project_id for one in getattr(work, name)) for name in LISTS}
    known = project_found(project_id, policy)  # None where the file was changed this very moment
    bounds = policy.own if project_id == DEFAULT_PROJECT else known.bounds if known else Bounds()
    spent = work.spent.get(project_id) or Spent()
    used = replace(spent, day=policy.today, today=spent.today if spent.day == policy.today else Use())
    return {
        "hoursSpent": hours(work, project_id),
        "queued": queued,
        "running": [attempt.task for attempt in work.attempts if attempt.project_id == project_id],
        **counts,
        "spent": standing.json_of(used),
        "opensAt": iso(bounds.opens_at),
        "closesAt": iso(bounds.closes_at),
        "waitsFor": shut(work, project_id, now, policy) if known else "",
        "proposals": [
            {"id": one.id, "task": one.task, "text": one.text} for one in work.proposals if one.project == project_id
        ],
    }


@click.command("list")
@click.option("--all", "show_all", is_flag=True, help="The archived ones too.")
@AS_JSON
@click.pass_context
def list_projects(context: click.Context, as_json: bool, show_all: bool = False) -> None:
    """The projects, and where their work stands.

    \b
    Example:  awm projects list --all
    """
    every = list(every_project(open_home(context)))
    shown = [one for one in every if show_all or one["status"] != ProjectStatus.ARCHIVED]
    if as_json:
        look.print_json(shown)
        return
    heads = ("ID", "STATUS", "PRIORITY", "QUEUED", "RUNNING", "DONE", "WORKED", "NEXT STEP")
    for line in columns(heads, [_row(one) for one in shown]):
        click.echo(line)
    if len(shown) < len(every):
        click.echo(f"and {len(every) - len(shown)} archived: awm projects list --all")


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (len(one["queued"]), len(one["running"]), one["completed"])
    step = next(iter(one["nextSteps"]), "")
    worked = standing.length_text(one["hoursSpent"] * 3600)
    return (one["id"], one["status"], one["priority"], *map(str, counts), worked, step)


@click.command()
@click.argument("project_id", metavar="ID")
@AS_JSON
@click.pass_context
def show(context: click.Context, project_id: str, as_json: bool) -> None:
    """All that is known of a project.

    \b
    Example:  awm projects show my-docs
    """
    one = found(open_home(context), project_id)
    if as_json:
        look.print_json(one)
        return
    name = terminal.plain(one.get("name", ""))
    click.echo(f"{one['id']} — {one['status']}{f', {name}' if name not in {'', one['id']} else ''}")
    most = max((width_max() or sys.maxsize) - LABEL_CHARS - 3, 1)
    for label, text in _lines(one):
        said = [part for line in terminal.plain(text).splitlines() for part in textwrap.wrap(line, most) or [""]]
        for index, line in enumerate(said or [""]):
            click.echo(f"  {(label if index == 0 else '').ljust(LABEL_CHARS)} {line}".rstrip())


def _lines(one: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Label and text of each line; a label once for what has several."""
    for label, key in (("about", "description"), ("works in", "path"), ("agent", "agent"), ("gate", "verify")):
        if one.get(key):
            yield label, one[key]
    for label, key in (("goals", "goals"), ("next steps", "nextSteps"), ("context", "context"), ("after", "depends")):
        texts = one.get(key) or ()
        for index, text in enumerate([texts] if isinstance(texts, str) else texts):
            yield "" if index else label, text
    counts = {"queued": len(one["queued"]), "running": len(one["running"])} | {name: one[name] for name in LISTS}
    yield "tasks", ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none yet"
    if one["waitsFor"]:
        yield "waits", one["waitsFor"]
    if one["window"]:
        yield "window", f"{one['window']} ({_window_text(one)})"
    for index, line in enumerate(_spent_lines(one)):
        yield "" if index else "spent", line
    for index, proposal in enumerate(one["proposals"]):
        yield "" if index else "proposals", f"{proposal['id']}  {proposal['text']} (of {proposal['task']})"
    if one["proposals"]:
        first = one["proposals"][0]["id"]
        yield "", f"awm projects accept {first} queues one, awm projects dismiss {first} drops it"


def _window_text(one: Mapping[str, Any]) -> str:
    try:
        windows.parse(one["window"])
    except windows.UnknownZoneError as error:
        return f"closed: {error}"
    if one["opensAt"]:
        return f"closed, opens {standing.local_text(one['opensAt'], '%a %H:%M')}"
    return f"open until {standing.local_text(one['closesAt'], '%a %H:%M')}" if one["closesAt"] else "open"


def _figure(unit: str, value: float) -> str:
    return standing.length_text(value * 60) if unit == "minutes" else f"{value:,.2f}".removesuffix(".00")


def _spent_lines(one: Mapping[str, Any]) -> Iterator[str]:
    """What attempts took, and what of it they may, by unit."""
    for unit, noun in UNITS.items():
        key = store.BUDGET_KEYS[[*store.Budget.model_fields].index(unit)]
        parts = []
        for place, limit, words in (("today", f"{key}PerDay", "today"), ("inAll", key, "in all")):
            used, allowed = one["spent"][place][key], one["budget"].get(limit)
            if used is not None or allowed is not None:
                of = f" of {_figure(unit, allowed)}" if allowed is not None else ""
                parts.append(f"{_figure(unit, used or 0)}{of} {words}")
        if parts:
            yield f"{'time' if unit == 'minutes' else noun}: {', '.join(parts)}"
    if one["budget"].get("hard"):
        yield "running work is stopped where a budget is reached"
