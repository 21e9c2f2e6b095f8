"""`awm edit`: the state file in a person's editor, checked and merged with what AWM wrote meanwhile (SPEC 4.6, 14)."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from awm_loop import clock, durable
from awm_loop.cli.pulse import pulse
from awm_loop.cli.setting_up import open_home
from awm_loop.errors import AwmError, BadFileError
from awm_loop.terminal import plain
from awm_loop.wiring import Home

RESTORES = re.compile(
    r"(?:^|[;,:] ?(?:or:)?) ?`awm restore`.*"
)  # of a hint: nothing is wrong with the state file itself


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would change.")
@click.pass_context
def edit(context: click.Context, dry_run: bool) -> None:
    """Edit the state file in your $VISUAL or $EDITOR. It is checked, then merged with what AWM wrote meanwhile.

    \b
    Example:  EDITOR=nano awm edit
    """
    home = open_home(context)
    command = editor()
    with durable.disk_trouble(home.store.path, "read"):
        if not home.store.path.exists():
            hint = "`awm init` makes one, `awm add SPEC.md` fills it"
            raise AwmError(f"{home.store.path} does not exist yet", hint)
        before = home.store.path.read_bytes()
    copy = copy_of(before)
    after = _edited(home, command, copy, before)
    if after is None:
        copy.unlink()
        click.echo("nothing changed")
        return
    try:
        changes = _take(home, before, after, dry_run=dry_run)
    except AwmError as error:
        raise type(error)(error.message, f"{error.hint}; {_kept(home, copy)}".removeprefix("; ")) from error
    copy.unlink()
    for change in changes:
        click.echo(plain(change))
    if not changes:
        click.echo("nothing that counts changed")
    elif dry_run:
        click.echo("nothing was written")


def editor() -> list[str]:
    """The command of the person's editor. Raises AwmError where none is named."""
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        words = shlex.split(named)
    except ValueError as error:
        raise AwmError(f"$VISUAL or $EDITOR cannot be read: {error}", "for example: EDITOR=nano awm edit") from error
    if not words:
        raise AwmError("neither $VISUAL nor $EDITOR names an editor", "for example: EDITOR=nano awm edit")
    return words


def copy_of(data: bytes) -> Path:
    """A file of the person's own, for as long as the editor is open: the state is not locked meanwhile."""
    with durable.disk_trouble(Path(tempfile.gettempdir())):
        descriptor, name = tempfile.mkstemp(prefix="awm-edit-", suffix=".json")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    return Path(name)


def _edited(home: Home, command: list[str], copy: Path, before: bytes) -> bytes | None:
    """What the person made of the copy, once it is right; None where they changed nothing.

    On a terminal one with a mistake can be edited again. Raises AwmError, and the copy stays.
    """
    while True:
        try:
            code = subprocess.run([*command, str(copy)], check=False).returncode
        except OSError as error:
            copy.unlink()
            raise AwmError(f"cannot run {command[0]}: {error.strerror}", "for example: EDITOR=nano awm edit") from error
        with durable.disk_trouble(copy, "read"):
            after = copy.read_bytes()
        if after == before:
            return None
        if code:
            hint = f"nothing was changed; {_kept(home, copy)}"
            raise AwmError(f"{command[0]} ended with exit code {code}", hint)
        try:
            home.store.parse(after, clock.now())
        except BadFileError as error:
            message = error.message.replace(str(home.store.path), str(copy), 1)
            click.echo(f"awm: {message}\nhint: {RESTORES.sub('', error.hint)}", err=True)
            if not (sys.stdin.isatty() and click.confirm("edit again?", default=True, err=True)):
                raise AwmError(f"nothing was changed in {home.store.path}", f"mend it: {_kept(home, copy)}") from error
        else:
            return after


def _kept(home: Home, copy: Path) -> str:
    """Where an edit is that was not taken, and how it is: it carries the `rev` that it began from (SPEC 4.6)."""
    command = shlex.join(["mv", str(copy), str(home.store.path)])
    return f"your edit is kept in {copy}; when it is right, `{command}`, and the next beat merges it"


def _take(home: Home, before: bytes, after: bytes, *, dry_run: bool) -> tuple[str, ...]:
    """Merge the edit, and beat where something runs: it may be asked to end. Returns the changes in words."""
    store, now = home.store, clock.now()
    edited = store.parse(after, now)[2]
    try:
        began = store.parse(before, now)[2]
    except BadFileError:
        return _mended(home, after, dry_run=dry_run)
    if dry_run:
        return store.take(began, edited, now, dry_run=True)
    store.prepare()
    with store.locked_for_command():
        changes = store.take(began, edited, now)
        loaded = store.load(now)
    if changes and loaded is not None and loaded.work.attempts:
        pulse(store, home.ports())
    return changes


def _mended(home: Home, after: bytes, *, dry_run: bool) -> tuple[str, ...]:
    """The file was bad: what it says now stands in its place, and the next beat merges it by the rev it carries."""
    store = home.store
    if not dry_run:
        store.prepare()
        with store.locked_for_command(), durable.disk_trouble(store.path):
            durable.quarantine(store.directory / "quarantine", store.path.read_bytes(), clock.now().wall)
            durable.write_durably(store.path, after)
    return ("the file was bad and is mended",)
