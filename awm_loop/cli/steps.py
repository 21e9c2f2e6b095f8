"""What `awm install` and `awm uninstall` do, step by step: each is said as it is done, or in a dry run said only."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from awm_loop.cli.look import print_json
from awm_loop.durable import disk_trouble
from awm_loop.errors import AwmError

PATIENCE_SECONDS = 60.0  # with a manager, a crontab or a gateway that does not answer


@dataclass(frozen=True, slots=True)
class File:
    """A step: write `text` to `path`, or remove the file where it is None, and with it a `folder_of_ours` that is empty
    then.
    """

    path: Path
    text: str | None
    folder_of_ours: Path | None = None

    def shown(self) -> dict[str, object]:
        return {"remove": str(self.path)} if self.text is None else {"write": str(self.path), "text": self.text}

    def do(self) -> str:
        with disk_trouble(self.path):
            if self.text is None:
                self.path.unlink(missing_ok=True)
                if self.folder_of_ours is not None:
                    with suppress(OSError):
                        self.folder_of_ours.rmdir()
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.write_text(self.text, encoding="utf-8")
        return ""


@dataclass(frozen=True, slots=True)
class Run:
    """A step: run `command` with `stdin`. Where it fails, that is an error with the hint `instead`, or a warning that
    begins `if_refused`.
    """

    command: Sequence[str]
    stdin: bytes = b""
    if_refused: str = ""
    instead: str = "`awm uninstall` takes out what is in place"

    def shown(self) -> dict[str, object]:
        stdin = {"stdin": self.stdin.decode(errors="backslashreplace")} if self.stdin else {}
        return {"run": list(self.command), **stdin}

    def do(self) -> str:
        done = run(self.command, self.stdin)
        said = " ".join(done.stderr.decode(errors="replace").split())
        if done.returncode == 0:
            return ""
        if self.if_refused:
            return f"{self.if_refused} ({said})"
        raise AwmError(f"`{shlex.join(self.command)}` failed: {said}", self.instead)


Step = File | Run


def take(
    steps: Sequence[Step], said: Mapping[str, object], warnings: list[str], *, dry_run: bool, as_json: bool
) -> None:
    """Do the steps in order and say each, or in a dry run say them only."""
    for step in steps:
        trouble = "" if dry_run else step.do()
        warnings += [trouble] if trouble else []
        if not as_json:
            _say(step, dry_run=dry_run)
    if as_json:
        shown = [step.shown() for step in steps]
        print_json({**said, "dryRun": dry_run, "steps": shown, "warnings": warnings})
    else:
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)


def _say(step: Step, *, dry_run: bool) -> None:
    if isinstance(step, Run):
        whole = "    # with the whole crontab; its other lines stay as they are:" if dry_run and step.stdin else ""
        click.echo(f"{'would run' if dry_run else 'ran'}     {shlex.join(step.command)}{whole}")
        text = step.stdin.decode(errors="backslashreplace")
    else:
        verb, text = ("remove", "") if step.text is None else ("write", step.text)
        click.echo(f"{f'would {verb}' if dry_run else {'write': 'wrote', 'remove': 'removed'}[verb]}   {step.path}")
    if dry_run:
        click.echo("".join(f"    {line}\n" for line in text.splitlines()), nl=False)


def run(command: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A program that is not there, or does not come back, is one that fails."""
    # Where no login set it, as under `su` and cron, the manager listens there nevertheless.
    environment = {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}", **os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, input=stdin, env=environment, capture_output=True, check=False, timeout=PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, b"", str(error).encode())
