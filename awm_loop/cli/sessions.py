"""`awm sessions`: every attempt that was made, as a work session of its project (SPEC 13)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

import click

from awm_loop import clock, terminal
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.cli import look, project_view, standing, steering
from awm_loop.cli.columns import columns
from awm_loop.cli.queueing import AS_JSON
from awm_loop.cli.setting_up import open_home
from awm_loop.core.model import Outcome
from awm_loop.core.notice import one_line
from awm_loop.errors import AwmError
from awm_loop.wiring import Home

SHOWN = 20
FILES = {"prompt": "prompt.md", "log": "out.log", "gate": "gate.log", "evidence": "evidence.txt"}
STYLES = {"running": "green", "completed": "green", "failed": "red"}
LABEL_CHARS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSession:
    """One attempt. `outcome` is a word of `result.json`, "" before the end; `duration_seconds` is of the boot clock."""

    id: str  # the task and the attempt's number
    project: str
    task: str
    number: int
    agent: str
    model: str
    is_analysis: bool
    status: str  # pending, running, completed or failed
    started_at: datetime | None
    ended_at: datetime | None
    duration_seconds: float | None
    outcome: str
    summary: str
    error: str
    tokens: Mapping[str, int] | None
    cost_usd: float | None
    commits: tuple[str, ...]
    directory: str


def found(home: Home, task_id: str = "", project_id: str = "") -> Iterator[WorkSession]:
    """The sessions of a task, of a project or all, the newest first; each is read when it is asked for."""
    loaded = home.store.load(clock.now())
    live = {attempt.key for attempt in loaded.work.attempts} if loaded else set()
    for number, directory in reversed(standing.attempt_directories(home, task_id).items()):
        session = _session(number, directory, directory.path.name in live)
        if session is not None and project_id in {"", session.project}:
            yield session


def _session(number: int, directory: AttemptDirectory, is_live: bool) -> WorkSession | None:
    """None where no order was ever written whole: nobody began it."""
    order, result = directory.order(), directory.result()
    if order is None:
        return None
    marker = directory.marker()
    if result is not None:
        status = "completed" if result.outcome is Outcome.SUCCEEDED else "failed"
    elif is_live:
        status = "running" if marker else "pending"
    else:
        status = "failed"
    began_at = result.started_at if result else marker.at if marker else None
    return WorkSession(
        id=f"{order.task}.{number}",
        project=order.project_id,
        task=order.task,
        number=number,
        agent=order.agent,
        model=order.model,
        is_analysis=order.is_analysis,
        status=status,
        started_at=began_at,
        ended_at=result.ended_at if result else None,
        duration_seconds=round(result.seconds, 1) if result else None,
        outcome=str(result.outcome) if result else "",
        summary=terminal.plain(result.summary) if result else "",
        error=terminal.plain(result.error or result.question) if result else "",
        tokens=result.tokens if result else None,
        cost_usd=result.cost_usd if result else None,
        commits=result.commits if result else (),
        directory=str(directory.path),
    )


OF_PROJECT = click.option("--project", "project_id", metavar="ID", default="", help="Only those of this project.")


@click.group(invoke_without_command=True)
@OF_PROJECT
@AS_JSON
@click.pass_context
def sessions(context: click.Context, as_json: bool, project_id: str) -> None:
    """Every attempt: how it went, how long, what it cost.

    \b
    Examples:  awm sessions
               awm sessions list --project my-docs --limit 5
               awm sessions show S1.3
    """
    if context.invoked_subcommand is None:
        context.invoke(list_sessions, as_json=as_json, project_id=project_id)


@sessions.command("list")
@OF_PROJECT
@click.option("--task", "task_id", metavar="TASK", default="", help="Only those of this task.")
@click.option("--limit", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="How many, the newest.")
@AS_JSON
@click.pass_context
def list_sessions(context: click.Context, as_json: bool, project_id: str, task_id: str, limit: int) -> None:
    """The newest attempts first.

    \b
    Example:  awm sessions list --task S1
    """
    home = open_home(context)
    shown = list(islice(found(home, task_id, project_id), limit))
    if not shown and project_id:
        project_view.found(home, project_id)  # raises AwmError for one that nobody knows
    if not shown and task_id:
        steering.known(standing.loaded(home).work, task_id)  # as above
    if as_json:
        look.print_json([standing.json_of(session) for session in shown])
        return
    if not shown:
        whose = f" of {task_id or project_id}" if task_id or project_id else ""
        click.echo(f"no sessions{whose} yet: awm run, or awm install for a timer, starts what is queued")
        return
    for line in columns(("SESSION", "PROJECT", "AGENT", "STATUS", "STARTED", "TOOK", "WHAT"), list(map(_row, shown))):
        click.echo(line)


def _row(session: WorkSession) -> tuple[str, ...]:
    began = session.started_at.astimezone().strftime("%a %d %b %H:%M") if session.started_at else ""
    took = standing.length_text(session.duration_seconds) if session.duration_seconds is not None else ""
    what = session.summary if session.status == "completed" else _ended_text(session)
    return session.id, session.project, session.agent, session.status, began, took, one_line(what)


def _ended_text(session: WorkSession) -> str:
    """How one that is not completed ended, "" for one that goes on."""
    if session.status in {"pending", "running"}:
        return ""
    outcome = standing.outcome_text(session.outcome) or "it left no result"
    said = session.error or session.summary
    return f"{outcome}: {said}" if said else outcome


@sessions.command()
@click.argument("session_id", metavar="SESSION")
@AS_JSON
@click.pass_context
def show(context: click.Context, session_id: str, as_json: bool) -> None:
    """All that is known of one attempt, with its files.

    \b
    Example:  awm sessions show S1.3
    """
    home = open_home(context)
    task_id, _, number = session_id.rpartition(".")
    session = next((one for one in found(home, task_id) if str(one.number) == number), None)
    if session is None:
        raise AwmError(
            f"there is no session {session_id}", "`awm sessions list` shows the newest: S1.3 is attempt 3 of S1"
        )
    if as_json:
        look.print_json(standing.json_of(session))
        return
    status = click.style(session.status, fg=STYLES.get(session.status))
    click.echo(f"{terminal.plain(session.id)} — {status}", color=look.color())
    for label, text in _lines(session):
        click.echo(f"  {label.ljust(LABEL_CHARS)} {terminal.plain(text)}")


def _lines(session: WorkSession) -> Iterator[tuple[str, str]]:
    yield "project", session.project
    model = f" ({session.model})" if session.model else ""
    yield "agent", f"{session.agent}{model}{', to find out why the task stalls' if session.is_analysis else ''}"
    for label, moment in (("started", session.started_at), ("ended", session.ended_at)):
        if moment:
            yield label, f"{moment.astimezone():%a %d %b %H:%M:%S}"
    if session.duration_seconds is not None:
        yield "took", standing.length_text(session.duration_seconds)
    for label, text in (("outcome", _ended_text(session)), ("summary", session.summary)):
        if text and (label == "outcome" or session.status == "completed"):
            yield label, one_line(text)
    if session.tokens:
        yield "tokens", ", ".join(f"{count:,} {name}" for name, count in session.tokens.items())
    if session.cost_usd is not None:
        yield "cost", f"${session.cost_usd:.2f}"
    if session.commits:
        yield "commits", " ".join(session.commits)
    directory = AttemptDirectory(path=Path(session.directory))
    for label, name in FILES.items():
        if (directory / name).exists():
            yield label, str(directory / name)
