"""`awm watch`: the whole loop on one screen, live, from files alone (SPEC 14). It steers nothing and writes nothing."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from awm_loop.cli import standing
from awm_loop.cli.frame import frame
from awm_loop.cli.setting_up import open_home

FRAME_SECONDS = 1.0
LINES_MAX = 100  # of a frame that no screen bounds


@click.command()
@click.pass_context
def watch(context: click.Context) -> None:
    """The whole loop on one screen, live. `q` or Ctrl-C leaves; the agents go on.

    Where the output is no terminal, one frame is printed.

    \b
    Example:  awm watch
    """
    home = open_home(context)
    standing.loaded(home)  # trouble with it is said before there is a screen
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        for line in frame(home, console.width, LINES_MAX):
            console.print(line, no_wrap=True, crop=False)
        return
    try:
        with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
            is_left = False
            while not is_left:
                lines = frame(home, console.width, console.height)
                live.update(Text("\n", no_wrap=True).join(lines), refresh=True)
                is_left = _is_left(keys)
    except KeyboardInterrupt:
        return


@contextmanager
def _keys() -> Iterator[list[int]]:
    """Where keys come from, each at once and unseen: the terminal, or nowhere."""
    if not sys.stdin.isatty():
        yield []
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield [fd]
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _is_left(keys: list[int]) -> bool:
    """Wait for the time of the next frame; True as soon as `q` is typed, or the terminal is gone."""
    until = time.monotonic() + FRAME_SECONDS
    while (left_seconds := until - time.monotonic()) > 0:
        for fd in select.select(keys, [], [], left_seconds)[0]:
            typed = os.read(fd, 1024)
            if not typed or b"q" in typed.lower():
                return True
    return False
