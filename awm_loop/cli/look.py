"""The verbs that only look: status, logs, check, metrics, table; and `restore`, which puts the last good state back."""

from __future__ import annotations

import difflib
import json
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from awm_loop import clock, durable
from awm_loop.attempt.output import tail
from awm_loop.cli import standing
from awm_loop.cli.setting_up import CONFIG_NAME, open_home
from awm_loop.core.machine import TABLE, Count, Do, Signal, Tell, classify_queued
from awm_loop.core.model import Work, attempt_key
from awm_loop.core.observation import SpecBad, SpecRead
from awm_loop.errors import AwmError, BadFileError
from awm_loop.ports import Settings
from awm_loop.store import journal, metrics
from awm_loop.wiring import Home

STYLES = {"working": "green", "idle": "bright_black", "paused": "yellow"}


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def _color() -> bool | None:
    """None lets click decide by the terminal; NO_COLOR decides against it."""
    import os  # noqa: PLC0415

    return False if os.environ.get("NO_COLOR") else None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """What runs, what waits and until when, what is done, and what needs you.

    \b
    Example:  awm status
    """
    home = open_home(context)
    loaded = home.store.load(clock.now())
    if loaded is None:
        if as_json:
            _print_json(None)
        else:
            click.echo(f"{home.path}: nothing queued yet.  Next:  awm add SPRINT_S1_SPEC.md")
        return
    found = standing.standing(home, loaded.work)
    if as_json:
        _print_json(found.to_json())
        return
    for line in status_lines(found):
        click.echo(line, color=_color())


def status_lines(found: standing.Standing) -> list[str]:
    """The status as aligned lines, styled for a terminal."""
    now = clock.now().wall
    lines = [f"{click.style('●', fg=STYLES[found.loop])} {click.style(found.loop, bold=True)}  {found.home}"]

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
        extra += [f"tries {task['tries']}, strikes {task['strikes']}"] if "tries" in task else []
        row("queue" if index == 0 else "", str(task["task"]) + (f"  ({', '.join(extra)})" if extra else ""))
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
        row("limited", f"{account} until {_local(until)} ({standing.wait_text(until, now)})", "yellow")
    if found.undelivered_count:
        row("notices", f"{found.undelivered_count} not delivered yet")
    if found.failed or found.skipped or found.blocked:
        row("next", "awm retry TASK queues it again; awm logs TASK shows its output, if it ran")
    return lines


def _local(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%a %H:%M:%S")


@click.command()
@click.argument("task_id", metavar="[TASK]", required=False)
@click.option("-n", "count", default=20, show_default=True, help="How many lines.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects (without TASK).")
@click.pass_context
def logs(context: click.Context, task_id: str | None, count: int, as_json: bool) -> None:
    """The journal's last lines; with TASK the output of its newest attempt.

    \b
    Example:  awm logs S1
    """
    home = open_home(context)
    if task_id is not None:
        click.echo(standing.plain(_output_of(home, task_id, count)))
        return
    entries = journal.tail(home.store.journal_path, count)
    if as_json:
        _print_json(entries)
        return
    for entry in entries:
        who = " ".join(str(entry[key]) for key in ("task", "attempt") if key in entry)
        note = f"  ({entry['note']})" if entry.get("note") else ""
        click.echo(standing.plain(f"{_local(str(entry.get('at')))}  {who:<12} {entry.get('what')}{note}"))


def _output_of(home: Home, task_id: str, count: int) -> str:
    prefix = attempt_key(task_id, 0).removesuffix("0")
    found = sorted((home.path / "state" / "attempts").glob(f"{prefix}*"), key=lambda path: int(path.suffix[1:]))
    if not found:
        raise AwmError(f"{task_id} has no attempt yet", "`awm status` lists the tasks")
    text = tail(found[-1] / "out.log", 1024 * 1024)
    lines = text.splitlines()[-count:]
    return "\n".join(lines) if lines else f"({task_id}, attempt {found[-1].suffix[1:]}, printed nothing)"


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def check(context: click.Context, file: Path | None, as_json: bool) -> None:
    """Say whether awm.toml, the state file and the queued specs are right, without a beat. Exit 78 when not.

    \b
    Example:  awm check
    """
    home = open_home(context)
    problems: list[str] = []
    findings = [f"{home.path / CONFIG_NAME}: ok"]
    path = file or home.store.path
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        findings.append(f"{path}: not there yet")
        data = None
    if data is not None:
        work, settings, *_ = home.store.parse(data, clock.now())
        findings.append(f"{path}: ok, {len(work.queue)} queued")
        for task_id in work.queue:
            reason = _would_block(home, work, settings, task_id)
            if reason:
                problems.append(f"{task_id}: {reason}")
    if as_json:
        _print_json({"ok": not problems, "checked": findings, "problems": problems})
    else:
        click.echo("\n".join([*findings, *problems]))
    if problems:
        raise AwmError(f"{len(problems)} spec(s) would be blocked", "mend them, or `awm skip TASK`")


def _would_block(home: Home, work: Work, settings: Settings, task_id: str) -> str:
    """Why a beat would block this task as its spec is now; "" where it would not."""
    spec = home.read_spec(work, task_id)
    seen = spec if isinstance(spec, SpecBad) else SpecRead(spec=spec, head=None, past=(), next_up=None)
    not_waiting = replace(work, tasks={}, accounts={})
    judged = classify_queued(not_waiting, task_id, seen, clock.now(), home.policy(settings))
    return judged.reason if judged.signal is Signal.UNFIT else ""


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the difference only.")
@click.pass_context
def restore(context: click.Context, yes: bool, dry_run: bool) -> None:
    """Show the difference to the last good state and put that back; the bytes it replaces are kept in quarantine.

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
    click.echo("\n".join(standing.plain(line) for line in difference))
    if dry_run or not (yes or click.confirm(f"put {good.name} back as {path.name}?")):
        return
    with home.store.locked_for_command():
        if current:
            copy, _ = durable.quarantine(home.store.directory / "quarantine", current, clock.now().wall)
            click.echo(f"kept the replaced bytes as {copy}")
        durable.write_durably(path, good.read_bytes())
    click.echo(f"restored {path} from {good.name}")


def last_good(home: Home) -> Path | None:
    """The newest state in history that validates."""
    revs = [path for path in home.store.history_path.glob("*.json") if path.stem.isdigit()]
    for path in sorted(revs, key=lambda path: int(path.stem), reverse=True):
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
    """What was learnt: totals, per agent and per type, how good the estimates were, what fails.

    \b
    Example:  awm metrics
    """
    path = open_home(context).metrics_path
    if as_json:
        _print_json(metrics.summary_json(path))
    else:
        click.echo(metrics.summary_text(path))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def table(as_json: bool) -> None:
    """Print the whole table of decisions: what is, what is seen, what follows.

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
        _print_json(rows)
        return
    heads = list(rows[0])
    widths = [max(len(head), *(len(row[head]) for row in rows)) for head in heads]
    for cells in ([head.upper() for head in heads], *([row[head] for head in heads] for row in rows)):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
