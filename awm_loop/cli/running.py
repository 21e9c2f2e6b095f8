"""`awm run`: the loop in the foreground, for people without a timer, with a live view (SPEC 6.6)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TextIO

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from awm_loop import clock, durable
from awm_loop.cli import delivery, standing
from awm_loop.cli.pulse import pulse
from awm_loop.cli.setting_up import open_home
from awm_loop.config import DELIVERY_BUDGET_SECONDS
from awm_loop.core import projects
from awm_loop.core.consequence import Step
from awm_loop.core.machine import Signal, Tell
from awm_loop.core.model import Notice, Phase, Work
from awm_loop.ports import Settings
from awm_loop.wiring import Home

BEAT_SECONDS = 1.0  # between beats in the foreground; each is a few ms
BEAT_SHARE_MAX = 0.05  # of the time that beats of a very long queue may take
FRAME_SECONDS = 0.1
LEFT = "left; the agents go on. `awm status` shows them, `awm run` comes back, `awm stop` ends them"
SECOND = "another `awm run` shows the notices of this home; they come here when that one ends"
WORDS = {  # of the rows without a notice, by what follows; nothing is said of the others
    Phase.STOPPING: "is being stopped",
    Phase.LAUNCHING: "is started again",
    Phase.QUEUED: "is back in the queue",
    Phase.REMOVED: "is removed",
}


@click.command()
@click.pass_context
def run(context: click.Context) -> None:
    """Work until the queue is empty, and show it. Ctrl-C leaves; the agents go on.

    Exit code 0 says that the loop rests or is paused, not that every task was completed: `awm status` says that.

    \b
    Example:  awm run
    """
    play(open_home(context))


def play(home: Home, left: str = LEFT) -> Work | None:
    """Beat in the foreground until there is nothing left to do; returns the state it left.

    None, after the words `left`, where the person left before. Raises AwmError.
    """
    home.store.prepare()
    console = Console(highlight=False, soft_wrap=True)
    try:
        if not console.is_terminal:
            return _loop(home, lambda text: console.print(Text(text)), lambda _: None)
        with Live(console=console, refresh_per_second=1 / FRAME_SECONDS, transient=True) as live:
            return _loop(home, lambda text: live.console.print(Text(text)), live.update)
    except KeyboardInterrupt:
        console.print(f"\n{left}")
        return None


def _loop(home: Home, say: Callable[[str], None], show: Callable[[RenderableType], None]) -> Work | None:
    def hear(notice: Notice) -> None:
        say(delivery.console_text(notice, clock.now().wall) + "\n")

    had_work = False
    with _console_lock(home) as lock:
        is_first = _is_had(lock)
        if not is_first:
            say(SECOND)
        while True:
            began_at = time.monotonic()
            for beat in pulse(home.store, home.ports()):
                had_work = had_work or any(step.task for step in beat.steps)
                for line in (*filter(None, map(_words, beat.steps)), *beat.lines):
                    say(line)
            work = standing.loaded(home).work  # looked at before: at rest, its report is delivered below
            is_first = is_first or _is_had(lock)
            is_over = standing.rests(work)  # then what is not said now is not said here: wait for who is at it
            delivery.deliver(home, hear if is_first else None, DELIVERY_BUDGET_SECONDS if is_over else 0.0)
            had_work = had_work or bool(work.queue or work.attempts)
            if is_over:
                if whys := projects.stuck(work, home.policy(Settings(), clock.now())):
                    say(f"nothing can start: {'; '.join(whys)}")
                elif work.paused:
                    say("paused; `awm resume` goes on")
                elif not had_work:
                    say("nothing queued: awm add SPEC.md")
                return work
            took_seconds = time.monotonic() - began_at
            _watch(home, work, show, until=time.monotonic() + max(BEAT_SECONDS, took_seconds / BEAT_SHARE_MAX))


def _console_lock(home: Home) -> TextIO:
    """The file whose lock says who shows the notices. Raises DiskError."""
    path = home.store.directory / "run.lock"
    with durable.disk_trouble(path):
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "w")


def _is_had(lock: TextIO) -> bool:
    """Whether the console's notices of this home are ours from now on, until we end (SPEC 6.6)."""
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _words(step: Step) -> str:
    """What a row did that has no notice, for people; "" where there is nothing to tell them."""
    if step.row.tell is not Tell.NOTHING or step.row.then not in WORDS or not step.task:
        return ""
    reason = "by hand" if step.row.signal is Signal.UNWANTED else step.reason
    return f"{step.task} {WORDS[step.row.then]}" + (f": {reason}" if reason else "")


def _watch(home: Home, work: Work, show: Callable[[RenderableType], None], until: float) -> None:
    """Show the work until the next beat is due, or the state file has changed under us."""
    written = standing.stamp(home.store.path)
    show(_view(standing.standing(home, work)))
    while time.monotonic() < until and standing.stamp(home.store.path) == written:
        time.sleep(FRAME_SECONDS)


def _view(found: standing.Standing) -> RenderableType:
    """What is live now: the agent with its ETA and last line, what waits, what is limited."""
    now = clock.now().wall
    parts: list[RenderableType] = []
    for one in found.running:
        spent = standing.length_text(one.running_seconds)
        eta = f" of ~{standing.length_text(one.eta_seconds)}" if one.eta_seconds is not None else ""
        quiet = f", quiet for {standing.length_text(one.quiet_seconds)}" if one.quiet_seconds >= 1 else ""
        line = Text(f"{one.task}  {one.agent}, {spent}{eta}{quiet} — {one.title}", "green")
        line.no_wrap, line.overflow = True, "ellipsis"
        parts.append(Spinner("dots", line))
        if one.last_line:
            parts.append(Text(f"  {one.last_line}", "bright_black", no_wrap=True, overflow="ellipsis"))
    waits = [str(task["task"]) + _wait(task.get("notBefore"), now) for task in found.queue]
    if waits:
        more = f" … {found.queued_count - len(waits)} more" if found.queued_count > len(waits) else ""
        parts.append(Text(f"  queue: {' '.join(waits)}{more}", "bright_black"))
    for account, until in found.limits.items():
        parts.append(Text(f"  {account} is limited, opens {standing.wait_text(until, now)}", "yellow"))
    parts.append(Text(f"  {len(found.completed)} completed. Ctrl-C leaves, the agents go on.", "bright_black"))
    return Group(*parts)


def _wait(until: object, now: datetime) -> str:
    return f" ({standing.wait_text(until, now)})" if isinstance(until, str) else ""
