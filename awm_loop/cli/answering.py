"""`awm answer`: what a blocked task asked, and a person's answer to it (SPEC 7.2)."""

from __future__ import annotations

import sys

import click

from awm_loop import terminal
from awm_loop.cli import standing, steering
from awm_loop.cli.pulse import pulse
from awm_loop.cli.queueing import edit
from awm_loop.cli.setting_up import open_home

CUT = "# ------------------------ >8 ------------------------"
TEMPLATE = f"""

{CUT}
# Your answer stands above this line. Without one, nothing is changed.
# {{task}} asks:
#
"""


@click.command()
@click.argument("task_id", metavar="TASK")
@click.argument("words", metavar="[TEXT]", nargs=-1)
@click.pass_context
def answer(context: click.Context, task_id: str, words: tuple[str, ...]) -> None:
    """Answer the question of a blocked task, which then goes on. It is next, with the answer in its prompt.

    Without TEXT the answer is read from a pipe, else written in $EDITOR. It is kept in the state: no secrets.

    \b
    Example:  awm answer S3 "Use the blue one"
    """
    home = open_home(context)
    asked = terminal.plain(steering.question(standing.loaded(home).work, task_id))
    click.echo(f"{task_id} asks: {asked}")
    text = " ".join(words) or _written(task_id, asked)
    edit(home, lambda work, now: steering.answer(work, task_id, text, now))
    pulse(home.store, home.ports())
    work = standing.loaded(home).work
    if steering.whereabouts(work, task_id) == "queue":
        then = (
            "; the loop is paused, `awm resume` goes on"
            if work.paused
            else f"; `awm why {task_id}` says what it waits for"
        )
        click.echo(f"{task_id} is back at the head of the queue, and its next prompt holds the answer{then}")
    else:
        click.echo(f"{task_id} goes on now, and its prompt holds the answer")


def _written(task_id: str, asked: str) -> str:
    """The answer from a pipe, of which no more is read than may be too much, or from the person's editor."""
    if not sys.stdin.isatty():
        return sys.stdin.buffer.read(4 * steering.ANSWER_CHARS_MAX + 1).decode(errors="surrogateescape")
    shown = "".join(f"#   {line}\n" for line in asked.splitlines())
    written = click.edit(TEMPLATE.format(task=task_id) + shown, extension=".md")
    return (written or "").partition(CUT)[0]
