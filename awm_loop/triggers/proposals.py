"""What an agent would do next, as a task (SPEC 13.1). Its words are data: they set nothing and run nothing (13.4)."""

from __future__ import annotations

from pathlib import Path

from awm_loop.core.project import Proposal
from awm_loop.triggers import templates

SPEC = """\
# Sprint {task}: {title}

The agent of {origin} proposed this as a next step of its project:

{text}

Do it, as far as it is right and fits the project. Where it is not, say so and change nothing.
"""


def task_of(proposal: Proposal) -> str:
    """The id of the task that it becomes."""
    return f"{proposal.project[:50]}-{proposal.id[:13]}"


def write_spec(specs: Path, proposal: Proposal) -> Path:
    """Its spec in the folder `specs`, durable; the same each time. Raises DiskError."""
    text = templates.quoted(proposal.text)
    filled = SPEC.format(task=task_of(proposal), title=text.strip("`"), origin=proposal.task, text=text)
    return templates.write(specs / f"{task_of(proposal)}.md", filled)
