"""`awm projects accept` and `dismiss`: a person decides on what an agent proposed (SPEC 13.1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from awm_loop import terminal
from awm_loop.cli import look, standing, steering
from awm_loop.cli.queueing import AS_JSON, edit
from awm_loop.cli.setting_up import open_home
from awm_loop.core.consequence import note
from awm_loop.core.model import Instant, Task, Work
from awm_loop.core.project import DEFAULT_PROJECT, Priority, Proposal
from awm_loop.errors import AwmError
from awm_loop.store import projects as store
from awm_loop.triggers import proposals


def named(work: Work, proposal_id: str) -> Proposal:
    """Raises AwmError for one that is not there."""
    found = next((one for one in work.proposals if one.id == proposal_id), None)
    if found is None:
        raise AwmError(f"there is no proposal {proposal_id}", "awm projects show ID lists a project's")
    return found


def accepted(work: Work, proposal_id: str, spec_path: Path, priority: Priority, now: Instant) -> Work:
    """The proposal becomes a queued task of its project. Raises AwmError where it is gone or its task is there."""
    proposal = named(work, proposal_id)
    task = Task(id=proposals.task_of(proposal), priority=None if priority is Priority.MEDIUM else priority)
    return steering.add(_without(work, proposal), task, str(spec_path), proposal.project, now)


def dismissed(work: Work, proposal_id: str, now: Instant) -> Work:
    proposal = named(work, proposal_id)
    return note(_without(work, proposal), now, f"proposal {proposal.id} dismissed", reason=proposal.text)


def _without(work: Work, proposal: Proposal) -> Work:
    return replace(work, proposals=tuple(one for one in work.proposals if one != proposal))


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@AS_JSON
@click.pass_context
def accept(context: click.Context, proposal_id: str, as_json: bool) -> None:
    """Queue what an agent proposed as a next step.

    \b
    Example:  awm projects accept p3
    """
    home = open_home(context)
    proposal = named(standing.loaded(home).work, proposal_id)
    is_own = proposal.project == DEFAULT_PROJECT
    priority = Priority.MEDIUM if is_own else store.named(home.projects_path, proposal.project).priority
    spec_path = proposals.write_spec(home.specs_path, proposal)
    edit(home, lambda work, now: accepted(work, proposal_id, spec_path, priority, now))
    task_id = proposals.task_of(proposal)
    if as_json:
        look.print_json({"accepted": proposal_id, "task": task_id})
    else:
        click.echo(f"queued {task_id}: {terminal.plain(proposal.text)}")


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--dry-run", is_flag=True, help="Say what would be dropped.")
@AS_JSON
@click.pass_context
def dismiss(context: click.Context, proposal_id: str, dry_run: bool, as_json: bool) -> None:
    """Drop what an agent proposed.

    \b
    Example:  awm projects dismiss p3
    """
    home = open_home(context)
    proposal = named(standing.loaded(home).work, proposal_id)
    if not dry_run:
        edit(home, lambda work, now: dismissed(work, proposal_id, now))
    if as_json:
        look.print_json({"dismissed": None if dry_run else proposal_id, "text": proposal.text})
    else:
        click.echo(f"{proposal_id} {'would be' if dry_run else 'is'} dropped: {terminal.plain(proposal.text)}")
