"""`awm triggers list`, `show` and `next`: what calls for work, when it did, and when it will (SPEC 13.2)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import click

from awm_loop import clock, terminal
from awm_loop.cli import look, standing
from awm_loop.cli.columns import columns
from awm_loop.cli.queueing import AS_JSON
from awm_loop.cli.setting_up import open_home
from awm_loop.core.notice import counted
from awm_loop.core.project import Fired
from awm_loop.store import triggers as store
from awm_loop.store.shape import iso
from awm_loop.trigger import Trigger
from awm_loop.triggers import files, schedule
from awm_loop.triggers.calls import PROBLEM_PREFIX
from awm_loop.wiring import Home

LABEL_CHARS = 11
NEXT_COUNT = 10


class Coming(NamedTuple):
    """A moment at which a trigger fires, if its clock goes on as it does now."""

    at: datetime
    trigger: str
    local: datetime


def named(home: Home, trigger: str) -> Trigger:
    """The trigger of that id. Raises AwmError where there is none, BadFileError."""
    every = {one.id: one for one in store.read(home.triggers_path)}
    if trigger not in every:
        raise store.unknown(trigger, [*every])
    return every[trigger]


def coming(trigger: Trigger, now: datetime) -> Iterator[Coming]:
    """When it fires from now on; nothing for what no clock fires, and for a zone that is not known here."""
    where = schedule.zone(trigger.timezone)
    if trigger.type != "time" or not trigger.enabled or where is None:
        return
    while (reached := schedule.following(trigger.cron, where, now)) is not None:
        # Of slots that the clock skips together, the newest stands for all.
        slot = schedule.newest(trigger.cron, where, reached.at) or reached
        yield Coming(slot.at, trigger.id, slot.at.astimezone(where))
        now = slot.at


def json_of(home: Home, trigger: Trigger, fired: Fired | None, now: datetime) -> dict[str, Any]:
    """What is known of one trigger."""
    ahead = next(coming(trigger, now), None)
    told: dict[str, Any] = {
        "id": trigger.id,
        "type": trigger.type,
        "projectId": trigger.project_id,
        "priority": trigger.priority.value,
        "enabled": trigger.enabled,
        "when": when_of(trigger),
        "overlap": trigger.overlap,
        "queues": {"template": trigger.template} if trigger.template else {"spec": trigger.spec},
        "values": dict(trigger.values),
        "fired": {"key": fired.key, "task": fired.task or None, "at": iso(fired.at)} if fired and fired.task else None,
        "trouble": bool(fired and fired.key.startswith(PROBLEM_PREFIX)),
        "next": iso(ahead.at) if ahead else None,
    }
    if trigger.type == "time":
        told |= {"timezone": trigger.timezone, "misfireGrace": trigger.misfire_grace}
    if trigger.type == "file":
        told |= {"debounceSeconds": trigger.debounce_seconds, "baseline": _baseline(home, trigger)}
    return told


def _baseline(home: Home, trigger: Trigger) -> dict[str, Any] | None:
    found = files.read(home.path, trigger.id)
    if found is None:
        return None
    pending = [{"change": what, "path": path} for what, path in found.told()]
    return {"files": len(found.files), "takenAt": iso(found.taken_at), "why": found.why, "pending": pending}


def when_of(trigger: Trigger) -> str:
    """What it waits for, in the words of its entry."""
    match trigger.type:
        case "time":
            return f"{trigger.cron} {trigger.timezone}"
        case "file":
            return " ".join(trigger.globs)
        case "webhook":
            return f"POST /hook/{trigger.id}"
    return f"awm triggers fire {trigger.id}"


def every_trigger(home: Home) -> list[dict[str, Any]]:
    """All of them, in the file's order. Raises BadFileError."""
    now, loaded = clock.now().wall, home.store.load(clock.now())
    fired: Mapping[str, Fired] = loaded.work.fired if loaded else {}
    return [json_of(home, one, fired.get(one.id), now) for one in store.read(home.triggers_path)]


@click.command("list")
@AS_JSON
@click.pass_context
def list_triggers(context: click.Context, as_json: bool) -> None:
    """The triggers, when they fired last, and when they will.

    \b
    Example:  awm triggers list
    """
    every, now = every_trigger(open_home(context)), clock.now().wall
    if as_json:
        look.print_json(every)
        return
    if not every:
        click.echo('no triggers yet.  Next:  awm triggers create nightly --at "0 2 * * *" --template nightly-review')
        return
    heads = ("ID", "TYPE", "STATE", "PROJECT", "WHEN", "LAST", "NEXT")
    for line in columns(heads, [_row(one, now) for one in every]):
        click.echo(line)


def _row(one: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    state = "on" if one["enabled"] else "off"
    last = standing.local_text(one["fired"]["at"], "%a %d %b %H:%M") if one["fired"] else "-"
    last = "in trouble" if one["trouble"] else last
    ahead = standing.wait_text(one["next"], now) or "-"
    return (one["id"], one["type"], state, one["projectId"], one["when"], last, ahead)


@click.command()
@click.argument("trigger_id", metavar="ID")
@AS_JSON
@click.pass_context
def show(context: click.Context, trigger_id: str, as_json: bool) -> None:
    """All that is known of a trigger.

    \b
    Example:  awm triggers show nightly
    """
    home = open_home(context)
    named(home, trigger_id)
    one = next(one for one in every_trigger(home) if one["id"] == trigger_id)
    if as_json:
        look.print_json(one)
        return
    click.echo(f"{one['id']} — {one['type']}{'' if one['enabled'] else ', disabled'}")
    for label, text in _lines(one, clock.now().wall):
        click.echo(f"  {label.ljust(LABEL_CHARS)} {files.shown(terminal.plain(text))}".rstrip())


def _lines(one: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    [(kind, what)] = one["queues"].items()
    yield "when", one["when"]
    yield "queues", f"{kind} {what}, {one['priority']}, in project {one['projectId']}"
    for name, value in one["values"].items():
        yield "with", f"{name}={value}"
    if one["overlap"] == "queue":
        yield "overlap", "queues another task while its last one is not over"
    if "misfireGrace" in one:
        yield "grace", f"{one['misfireGrace']:g} min, for a slot that was missed"
    if "debounceSeconds" in one:
        yield "debounce", f"fires when nothing changed for {one['debounceSeconds']:g} s"
        yield from _files_lines(one["baseline"])
    if one["next"]:
        local = datetime.fromisoformat(one["next"]).astimezone(schedule.zone(one["timezone"]))
        yield "next", f"{local:%a %Y-%m-%d %H:%M} {one['timezone']} ({standing.wait_text(one['next'], now)})"
    if one["trouble"]:
        yield "trouble", "it cannot queue its task; why: awm check, awm logs"
    if one["fired"]:
        fired = one["fired"]
        yield "last", f"{standing.local_text(fired['at'], '%a %d %b %H:%M')}: {fired['task'] or fired['key']}"
    else:
        yield "last", "never"


def _files_lines(baseline: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if baseline is None:
        yield "baseline", "none yet: the next beat takes one, and changes after that fire"
        return
    at = standing.local_text(baseline["takenAt"], "%a %d %b %H:%M")
    yield "baseline", f"{counted(baseline['files'], 'file')}, taken {at}: {baseline['why']}"
    for one in baseline["pending"][:NEXT_COUNT]:
        yield "pending", f"{one['change']} {one['path']}"


@click.command("next")
@click.argument("trigger_id", metavar="[ID]", required=False)
@click.option("-n", "count", type=click.IntRange(1, 1000), default=NEXT_COUNT, show_default=True, help="How many.")
@AS_JSON
@click.pass_context
def next_times(context: click.Context, trigger_id: str | None, count: int, as_json: bool) -> None:
    """When triggers of type time fire next. Of all, each is shown once at least, before there is more of busy ones.

    Where a clock is put forward or back meanwhile, the times are those at which they really fire.

    \b
    Example:  awm triggers next nightly
    """
    home, now = open_home(context), clock.now().wall
    chosen = [named(home, trigger_id)] if trigger_id else store.read(home.triggers_path)
    every = [coming(one, now) for one in chosen]
    firsts = sorted(first for times in every if (first := next(times, None)) is not None)[:count]
    found = sorted([*firsts, *islice(heapq.merge(*every), count - len(firsts))])
    if as_json:
        look.print_json([{"trigger": one.trigger, "at": iso(one.at), "local": one.local.isoformat()} for one in found])
        return
    if not found:
        click.echo(_why_never(chosen[0]) if trigger_id else "nothing fires by the clock: awm triggers list")
        return
    zones = {one.id: one.timezone for one in chosen}
    rows = [
        (f"{one.local:%a %Y-%m-%d %H:%M}", zones[one.trigger], standing.wait_text(one.at, now), one.trigger)
        for one in found
    ]
    for line in columns(("WHEN", "ZONE", "", "TRIGGER"), rows):
        click.echo(line)


def _why_never(trigger: Trigger) -> str:
    if trigger.type != "time":
        return f"{trigger.id} does not fire by the clock: {when_of(trigger)}"
    if not trigger.enabled:
        return f"{trigger.id} is disabled: awm triggers enable {trigger.id}"
    if schedule.zone(trigger.timezone) is None:
        return f"{trigger.id} never fires: this machine knows no zone {trigger.timezone}"
    return f"{trigger.id} never fires: {trigger.cron!r} never comes"
