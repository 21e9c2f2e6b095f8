"""The verbs that steer: add, pause, resume, stop, retry, skip. Each edits the state under its lock."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import click

from awm_loop import clock
from awm_loop.cli import steering
from awm_loop.cli.pulse import pulse
from awm_loop.cli.setting_up import open_home
from awm_loop.config import ID_PATTERN
from awm_loop.core.model import Instant, Work
from awm_loop.core.observation import SpecBad
from awm_loop.errors import AwmError
from awm_loop.store import specfile
from awm_loop.wiring import Home

STOP_WAIT_SECONDS = 5.0  # beyond the grace, before `stop` leaves the rest to the loop


def edit(home: Home, change: Callable[[Work, Instant], Work]) -> Work:
    """Apply a person's edit to the state and journal it. Raises AwmError where there is no state yet or it is bad."""
    home.store.prepare()
    with home.store.locked_for_command():
        work = home.store.update(change, clock.now())
    if work is None:
        raise AwmError(f"{home.store.path} does not exist yet", "`awm init` makes one, `awm add SPEC.md` fills it")
    return work


@click.command()
@click.argument("specs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--id", "task_id", help="The task's id. [default: from the title or the file name]")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def add(context: click.Context, specs: tuple[Path, ...], task_id: str | None, as_json: bool) -> None:
    """Queue spec files, in the order given.

    \b
    Example:  awm add SPRINT_S1_SPEC.md SPRINT_S2_SPEC.md
    """
    if task_id and len(specs) > 1:
        raise click.UsageError("--id goes with one spec")
    home = open_home(context)
    home.store.prepare()
    added: list[str] = []

    def change(work: Work, now: Instant) -> Work:
        added.clear()
        for path in specs:
            full = path.expanduser().resolve()
            name = task_id or id_of(full)
            spec = specfile.read(full, name, home.project_path(work.project))
            if isinstance(spec, SpecBad):
                raise AwmError(spec.reason, "a spec is a Markdown file; see the README")
            work = steering.add(work, name, str(full), spec.priority, now)
            added.append(name)
        return work

    with home.store.locked_for_command():
        home.store.create(str(home.path))
        work = home.store.update(change, clock.now())
    queued = len(work.queue) if work else 0
    if as_json:
        click.echo(json.dumps({"added": added, "queue": list(work.queue) if work else []}))
    else:
        click.echo(f"queued {', '.join(added)} ({queued} in the queue)")


def id_of(path: Path) -> str:
    """`S1` of a title `# Sprint S1: …` or of SPRINT_S1_SPEC.md, else the stem. Raises AwmError if that is no id."""
    spec = specfile.read(path, "", path.parent)
    heading = re.search(
        r"^#\s+sprint\s+([A-Za-z0-9][\w.-]*)\s*[:—-]", "" if isinstance(spec, SpecBad) else spec.text, re.I | re.M
    )
    stem = re.sub(r"^SPRINT[_-]|[_-]SPEC$", "", path.stem, flags=re.I)
    name = heading[1] if heading else stem
    if not re.fullmatch(ID_PATTERN, name):
        raise AwmError(f"{name!r} is not a task id", "--id NAME: letters, digits, `.`, `_`, `-`")
    return name


@click.command()
@click.pass_context
def pause(context: click.Context) -> None:
    """Start nothing new; what runs is finished and recorded.

    \b
    Example:  awm pause
    """
    work = edit(open_home(context), steering.pause)
    running = ", ".join(attempt.task for attempt in work.attempts)
    click.echo("paused" + (f"; {running} goes on to its end" if running else "") + ". `awm resume` goes on")


@click.command()
@click.pass_context
def resume(context: click.Context) -> None:
    """Go on after a pause or a stop.

    \b
    Example:  awm resume
    """
    work = edit(open_home(context), steering.resume)
    click.echo(f"resumed; {len(work.queue)} in the queue. The next beat starts work: `awm run` or your timer")


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be stopped.")
@click.pass_context
def stop(context: click.Context, dry_run: bool) -> None:
    """End the running attempt with all its processes; the task goes back to the head of the queue, the loop is paused.

    \b
    Example:  awm stop
    """
    home = open_home(context)
    if dry_run:
        loaded = home.store.load(clock.now())
        running = [attempt.task for attempt in loaded.work.attempts] if loaded else []
        click.echo(f"would stop {', '.join(running)} and pause" if running else "would pause; nothing is running")
        return
    before = edit(home, steering.stop)
    running = [attempt.task for attempt in before.attempts]
    gone = wait_until_gone(home, [attempt.key for attempt in before.attempts])
    if not running:
        click.echo("paused; nothing was running. `awm resume` goes on")
    elif gone:
        click.echo(f"stopped {', '.join(running)} and paused. `awm resume` goes on")
    else:
        click.echo(f"asked {', '.join(running)} to stop; `awm status` shows when it is gone")


def wait_until_gone(home: Home, keys: list[str]) -> bool:
    """Beat until none of these attempts is live any more, for the grace and a little; False when one still is."""
    deadline = time.monotonic() + home.config.loop.stop_grace_seconds + STOP_WAIT_SECONDS
    while True:
        pulse(home.store, home.ports())
        loaded = home.store.load(clock.now())
        if loaded is None or not any(loaded.work.attempt(key) for key in keys):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)


@click.command()
@click.argument("task_id", metavar="TASK")
@click.pass_context
def retry(context: click.Context, task_id: str) -> None:
    """Queue a failed, skipped, blocked or finished task again, at the head, with fresh tries.

    \b
    Example:  awm retry S3
    """
    edit(open_home(context), lambda work, now: steering.retry(work, task_id, now))
    click.echo(f"{task_id} is at the head of the queue")


@click.command()
@click.argument("task_id", metavar="TASK")
@click.option("--reason", default="skipped by hand", show_default=True, help="Kept with the task.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.pass_context
def skip(context: click.Context, task_id: str, reason: str, dry_run: bool) -> None:
    """Give a task up. A running one is stopped first.

    \b
    Example:  awm skip S3 --reason "done by hand"
    """
    home = open_home(context)
    if dry_run:
        loaded = home.store.load(clock.now())
        there = steering.whereabouts(loaded.work, task_id) if loaded else None
        click.echo(f"would skip {task_id} ({there})" if there else f"there is no task {task_id}")
        return
    work = edit(home, lambda work, now: steering.skip(work, task_id, reason, now))
    wait_until_gone(home, [attempt.key for attempt in work.attempts if attempt.task == task_id])
    click.echo(f"skipped {task_id}")
