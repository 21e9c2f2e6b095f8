"""`awm doctor`: will the night work? What a night needs, a line each, with what to type where it is not well."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from awm_loop import clock, terminal
from awm_loop.cli import fitness, gateway_fitness, look, timers
from awm_loop.cli.fitness import Finding, Mark
from awm_loop.cli.setting_up import find_home
from awm_loop.core.model import Notice
from awm_loop.errors import AwmError
from awm_loop.notify.channels import senders
from awm_loop.wiring import Home

BARE = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}  # cron's (docs/MEASURED.md 1)
STYLES = {Mark.OK: "green", Mark.WARNING: "yellow", Mark.PROBLEM: "red"}
CHECKOUT = Path(__file__).resolve().parent.parent.parent


@click.command()
@click.option("--as-scheduler", is_flag=True, help="Look from the timer's environment: its PATH, no terminal.")
@click.option("--notify", "is_told", is_flag=True, help="Send a test notice to each channel.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def doctor(context: click.Context, as_scheduler: bool, is_told: bool, as_json: bool) -> None:
    """Look at all a night needs, with what to type. Exit 1 with a problem.

    Files, disk, git, agents, gates, channels, timer, gateway. It only looks, and runs no gate: those take their time,
    and are red until the work is done.

    \b
    Example:  awm doctor --as-scheduler
    """
    path = find_home(context.obj)
    if as_scheduler:
        found = _as_scheduler(path, is_told)
    else:
        found = [*fitness.findings(path), *_gateway(path), *(_test_notices(path) if is_told else ())]
    problems = [finding for finding in found if finding.mark is Mark.PROBLEM]
    if as_json:
        said = [{"mark": finding.mark, "what": finding.what, "remedy": finding.remedy} for finding in found]
        click.echo(json.dumps({"ok": not problems, "findings": said}, ensure_ascii=False))
    else:
        for finding in found:
            click.echo(_line(finding), color=look.color())
    context.exit(1 if problems else 0)


def _line(finding: Finding) -> str:
    """One line; on a terminal as many as its width makes of it, the later ones indented."""
    label = f"{finding.mark:<9}"
    text = f"{finding.what} → {finding.remedy}" if finding.remedy else finding.what
    text = terminal.plain(text).replace("\n", " ")
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns, 2 * len(label)) - len(label)
        lines = textwrap.wrap(text, width, break_on_hyphens=False)
        text = f"\n{' ' * len(label)}".join(lines)
    return click.style(label, fg=STYLES[finding.mark]) + text


def _gateway(path: Path) -> Iterator[Finding]:
    try:
        home = Home.open(path)
    except AwmError:  # said already
        return
    yield from gateway_fitness.findings(home)


def _test_notices(path: Path) -> Iterator[Finding]:
    """One test notice to each channel but the console. No ping: that would say that a beat ran."""
    try:
        channels = senders(Home.open(path).config)
    except AwmError:  # said already
        return
    now = clock.now().wall
    text = f"AWM doctor: a test notice from {path}"
    notice = Notice(id=f"test-{now:%Y%m%dT%H%M%S}", kind="test", task="", at=now, text=text, channels=())
    for name, send in channels.items():
        reason = send(notice)
        if reason is None:
            yield fitness.ok(f"channel {name}: took a test notice")
        else:
            yield fitness.problem(f"channel {name}: {reason}", "correct [notify] in awm.toml")


def _as_scheduler(path: Path, is_told: bool) -> list[Finding]:
    """The findings of a doctor that runs as the timer's beats do: bare environment, `/`, no terminal, umask 022."""
    found = timers.of(path)
    timer = next((timer for timer in found if timer.is_active), found[0] if found else None)
    sets = timer.environment if timer else {}
    whose = str(timer) if timer else "cron, as no timer is found (`awm install` gives its own a longer PATH)"
    environment = {**BARE, "HOME": str(Path.home()), **sets, "PYTHONPATH": str(CHECKOUT)}
    first = fitness.ok(f"as {whose}: PATH={environment['PATH']}")
    environment[fitness.LOGIN_PATH] = os.environ.get("PATH", "")
    options = ["--notify"] if is_told else []
    done = subprocess.run(
        [sys.executable, "-P", "-m", "awm_loop.cli.main", "--home", str(path), "doctor", "--json", *options],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
        start_new_session=True,
        umask=0o022,
    )
    try:
        said: Sequence[dict[str, str]] = json.loads(done.stdout)["findings"]
    except (ValueError, KeyError):
        ended = f"the doctor ended with {done.returncode} there, and said nothing"
        return [first, fitness.problem(ended, f"cd /; env -i PATH={environment['PATH']} {sys.executable} -m awm_loop…")]
    return [first, *(Finding(Mark(one["mark"]), one["what"], one["remedy"]) for one in said)]
