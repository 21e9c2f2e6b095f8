"""The verbs that only look: status, logs, metrics, table; and `restore`, which puts the last good state back."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from awm_loop import clock, durable, terminal
from awm_loop.attempt.output import tail
from awm_loop.cli import standing, steering, waiting
from awm_loop.cli.following import follow
from awm_loop.cli.setting_up import open_home
from awm_loop.core import choice
from awm_loop.core.machine import TABLE, Count, Do, Tell
from awm_loop.core.model import Outcome, Work
from awm_loop.core.notice import counted, one_line
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.core.projects import project_of
from awm_loop.errors import AwmError, BadFileError
from awm_loop.ports import Loaded
from awm_loop.store import journal, metrics, projects
from awm_loop.wiring import Home

BEAT_LATE_SECONDS = 300.0  # without a beat although work waits: there is no timer, or it is slow
LOOKED_AT_BYTES = 1024 * 1024  # of the end of a log, for its last lines
ASKED_SHOWN_MAX = 3
NEXT_BEAT = "your timer's next beat starts it; no timer yet"
STYLES = {"working": "green", "waiting": "cyan", "idle": "bright_black", "paused": "yellow"}


def print_json(value: object) -> None:
    """One value on stdout, indented for people."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def color() -> bool | None:
    """None lets click decide by the terminal; NO_COLOR decides against it."""
    import os  # noqa: PLC0415

    return False if os.environ.get("NO_COLOR") else None


@click.command()
@click.option("--project", "project_id", metavar="ID", help="Only the tasks of this project.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def status(context: click.Context, project_id: str | None, as_json: bool) -> None:
    """What runs, what waits, what is done, and what needs you.

    \b
    Examples:  awm status
               awm status --project my-docs
    """
    home = open_home(context)
    loaded = home.store.load(clock.now())
    if loaded is None:
        if as_json:
            print_json(None)
        else:
            click.echo(f"{home.path}: nothing queued yet.  Next:  awm add SPRINT_S1_SPEC.md")
        return
    if project_id not in {None, DEFAULT_PROJECT}:
        projects.named(home.projects_path, str(project_id))  # raises AwmError for one that is not there
    found = standing.standing(home, loaded.work if project_id is None else of_project(loaded.work, project_id))
    if as_json:
        print_json(standing.json_of(found))
        return
    for line in status_lines(found, hints(home, loaded, found) if project_id is None else ()):
        click.echo(line, color=color())


def of_project(work: Work, project_id: str) -> Work:
    """The work as if there were this project alone, to be looked at."""

    def own(ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(task_id for task_id in ids if project_of(work, task_id) == project_id)

    return replace(
        work,
        queue=own(work.queue),
        completed=own(work.completed),
        failed=own(work.failed),
        skipped=own(work.skipped),
        blocked=own(work.blocked),
        attempts=tuple(attempt for attempt in work.attempts if attempt.project_id == project_id),
    )


def hints(home: Home, loaded: Loaded, found: standing.Standing) -> list[str]:
    """What to type next, or why nothing happens."""
    now, troubles = clock.now(), [task_id for task_id, _ in standing.troubles(loaded.work)]
    asked = [task_id for task_id in troubles if task_id in found.blocked and standing.asks(loaded.work.task(task_id))]
    said = [f'awm answer {task_id} "…" answers it' for task_id in asked[:ASKED_SHOWN_MAX]]
    for task_id in [task_id for task_id in troubles if task_id not in asked][:1]:
        said.append(f"awm retry {task_id} queues it again; awm why {task_id} says more")
    if found.loop == "paused":
        said.append("awm resume goes on")
    elif not found.queue and not found.running:
        said.append("awm add SPEC.md queues more")
    elif not found.running:
        task_id = next(choice.in_turn(loaded.work, now, home.policy(loaded.settings, now)), str(found.queue[0]["task"]))
        waits = waiting.waits(home, loaded, task_id, now)
        for wait in [wait for wait in waits[:1] if wait.until is None]:
            then = f"; then {wait.then}" if wait.then else ""
            said.append(f"{task_id} waits for {waiting.text_of(wait, now.wall)}{then}")
        if not waits:
            is_late = now.wall.timestamp() - home.store.path.stat().st_mtime > BEAT_LATE_SECONDS
            said.append(f"{'no beat lately' if is_late else NEXT_BEAT}: awm run, or awm install for a timer")
    return said


def status_lines(found: standing.Standing, hints: Sequence[str]) -> list[str]:
    """The status as aligned lines, styled for a terminal."""
    now = clock.now().wall
    lines = [
        f"{click.style('●', fg=STYLES.get(found.loop, 'green'))} {click.style(found.loop, bold=True)}  {found.home}"
    ]

    def row(label: str, text: str, style: str | None = None) -> None:
        lines.append(f"  {click.style(label.ljust(10), fg='bright_black')} {click.style(text, fg=style)}")

    for one in found.running:
        eta = f" of ~{standing.length_text(one.eta_seconds)}" if one.eta_seconds is not None else ""
        quiet = f", last progress {standing.length_text(one.quiet_seconds)} ago" if one.quiet_seconds >= 1 else ""
        how = one.phase if one.phase != "running" else standing.length_text(one.running_seconds) + eta
        row("running", f"{one.task} — {one.title} (attempt {one.attempt}, {one.agent}, {how}{quiet})", "green")
        if one.last_line:
            row("", f"  {one.last_line[:100]}", "bright_black")
    for index, task in enumerate(found.queue):
        extra = [str(task["priority"])] if "priority" in task else []
        extra += [standing.wait_text(str(task["notBefore"]), now)] if "notBefore" in task else []
        extra += [str(task["waitsFor"])] if "waitsFor" in task else []
        extra += [f"tries {task['tries']}, strikes {task['strikes']}"] if "tries" in task else []
        why = f" — {task['why']}" if task.get("why") else ""
        row("queue" if index == 0 else "", str(task["task"]) + (f"  ({', '.join(extra)})" if extra else "") + why)
    if found.queued_count > len(found.queue):
        row("", f"and {found.queued_count - len(found.queue)} more")
    if found.completed:
        shown = " ".join(found.completed[-10:])
        row("completed", f"{len(found.completed)}: {'… ' if len(found.completed) > 10 else ''}{shown}")
    for label, tasks, style in (
        ("failed", found.failed, "red"),
        ("skipped", found.skipped, "yellow"),
        ("blocked", found.blocked, "magenta"),
    ):
        for task_id, reason in tasks.items():
            row(label, f"{task_id} — {reason or 'no reason recorded'}", style)
    for account, until in found.limits.items():
        row("limited", f"{account} until {standing.local_text(until)} ({standing.wait_text(until, now)})", "yellow")
    for channel in found.channels:
        undelivered = f"{counted(int(str(channel['waiting'])), 'notice')} for {channel['channel']}"
        row("notices", undelivered + _tried(channel, now))
    for index, hint in enumerate(hints):
        row("next" if index == 0 else "", hint)
    return lines


def _tried(channel: Mapping[str, object], now: datetime) -> str:
    if not channel.get("nextTry"):
        return ", with the next beat"
    return f", not delivered: {channel['problem']}; next try {standing.wait_text(str(channel['nextTry']), now)}"


@click.command()
@click.argument("task_id", metavar="[TASK]", required=False)
@click.option("-n", "count", type=click.IntRange(min=0), default=20, show_default=True, help="How many lines.")
@click.option(
    "-f", "--follow", "is_followed", is_flag=True, help="Go on with what the agents print, until all is done."
)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects; with TASK one object.")
@click.pass_context
def logs(context: click.Context, task_id: str | None, count: int, is_followed: bool, as_json: bool) -> None:
    """The journal's last lines, or a task's newest output.

    With -f the output as it comes, of TASK or of all that run, until all is done. Ctrl-C leaves; the agents go on.

    \b
    Example:  awm logs -f S1
    """
    home = open_home(context)
    if is_followed:
        if as_json:
            raise click.UsageError("--json goes without --follow")
        follow(home, task_id or "", count)
        return
    if task_id is not None:
        _show_output(home, task_id, count, as_json)
        return
    entries = journal.tail(home.store.journal_path, count)
    if as_json:
        print_json(entries)
        return
    whose = [" ".join(str(entry[key]) for key in ("task", "attempt") if key in entry) for entry in entries]
    width = max(map(len, whose), default=0)
    for who, entry in zip(whose, entries, strict=True):
        click.echo(entry_text(entry, f"{who:<{width}}  "))


def entry_text(entry: Mapping[str, object], who: str = "") -> str:
    """A line of the journal: when, what, and why."""
    note = f"  ({entry['note']})" if entry.get("note") else ""
    return terminal.plain(f"{standing.local_text(str(entry.get('at')))}  {who}{entry.get('what')}{note}")


def _show_output(home: Home, task_id: str, count: int, as_json: bool) -> None:
    """What the task's newest attempt printed; and how it ended, where that was not well or there is nothing else."""
    found = output_of(home, task_id, count)
    if as_json:
        print_json(found)
        return
    lines, number, outcome, why = list(found["lines"]), found["attempt"], found["outcome"], found["error"]
    if not lines or outcome not in {None, Outcome.SUCCEEDED}:
        evidence = standing.attempt_directories(home, task_id)[number] / "evidence.txt"
        parts = [f"attempt {number}: {standing.outcome_text(outcome or 'no result yet')}{f' — {why}' if why else ''}"]
        parts += [] if lines else ["it printed nothing"]
        parts += [str(evidence)] if evidence.exists() else []
        lines.append(f"({'; '.join(parts)}; more: awm why {task_id})")
    click.echo("\n".join(lines))


def output_of(home: Home, task_id: str, count: int) -> dict[str, Any]:
    """The last lines of a task's newest attempt, and how it ended. Raises AwmError for one without any."""
    found = standing.attempt_directories(home, task_id)
    if not found:
        steering.known(standing.loaded(home).work, task_id)
        raise AwmError(f"{task_id} has no attempt yet", f"`awm why {task_id}` says what it waits for")
    number, directory = list(found.items())[-1]
    lines = tail(directory / "out.log", LOOKED_AT_BYTES).splitlines()[-count:] if count else []
    result = directory.result()
    return {
        "task": task_id,
        "attempt": number,
        "lines": [terminal.plain(line) for line in lines],
        "outcome": str(result.outcome) if result else None,
        "error": terminal.plain(one_line(result.error or result.question or result.summary)) if result else "",
    }


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the difference only.")
@click.pass_context
def restore(context: click.Context, yes: bool, dry_run: bool) -> None:
    """Show the difference to the last good state, and put that back. The bytes it replaces are kept in quarantine.

    \b
    Example:  awm restore --dry-run
    """
    home = open_home(context)
    good = last_good(home)
    if good is None:
        raise AwmError(f"{home.store.history_path} holds no good copy", "mend the file by hand; `awm check` helps")
    path = home.store.path
    current = path.read_bytes() if path.exists() else b""
    if current == good.read_bytes():
        click.echo(f"{path} is the last good copy already")
        return
    difference = difflib.unified_diff(
        current.decode(errors="backslashreplace").splitlines(),
        good.read_text(encoding="utf-8").splitlines(),
        str(path),
        str(good),
        lineterm="",
    )
    click.echo("\n".join(terminal.plain(line) for line in difference))
    if dry_run or not (yes or is_wanted(f"put {good.name} back as {path.name}?", "restore")):
        return
    with home.store.locked_for_command():
        if current:
            copy, _ = durable.quarantine(home.store.directory / "quarantine", current, clock.now().wall)
            click.echo(f"kept the replaced bytes as {copy}")
        durable.write_durably(path, good.read_bytes())
    click.echo(f"restored {path} from {good.name}")


def is_wanted(question: str, verb: str) -> bool:
    """A person's yes to a verb of the command line. Raises AwmError where there is nobody to ask."""
    try:
        return click.confirm(question)
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        said = f"nothing was {verb.rstrip('e')}ed: there is nobody to ask"
        raise AwmError(said, f"`awm {verb} --yes` does not ask") from error


def last_good(home: Home) -> Path | None:
    """The newest state in history that validates."""
    for rev in sorted(durable.history_revs(home.store.history_path), reverse=True):
        path = home.store.history_path / f"{rev}.json"
        try:
            home.store.parse(path.read_bytes(), clock.now())
        except BadFileError:
            continue
        return path
    return None


@click.command(name="metrics")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def metrics_verb(context: click.Context, as_json: bool) -> None:
    """What was learnt: totals by agent and type, estimates, failures.

    \b
    Example:  awm metrics
    """
    path = open_home(context).metrics_path
    if as_json:
        print_json(metrics.summary_json(path))
    else:
        click.echo(metrics.summary_text(path))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def table(as_json: bool) -> None:
    """The table of decisions: what is, what is seen, what follows.

    \b
    Example:  awm table
    """
    rows = [
        {
            "phase": row.phase.value,
            "signal": row.signal.value,
            "then": row.then.value,
            "effect": "" if row.do is Do.NOTHING else row.do.value,
            "counts": "" if row.count is Count.NOTHING else row.count.value,
            "notice": "" if row.tell is Tell.NOTHING else row.tell.value,
        }
        for row in TABLE
    ]
    if as_json:
        print_json(rows)
        return
    heads = list(rows[0])
    widths = [max(len(head), *(len(row[head]) for row in rows)) for head in heads]
    for cells in ([head.upper() for head in heads], *([row[head] for head in heads] for row in rows)):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
