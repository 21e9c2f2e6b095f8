"""One entry of a file that people edit, as JSON in their editor (SPEC 14)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from awm_loop import durable
from awm_loop.cli.editing import copy_of, editor
from awm_loop.errors import AwmError
from awm_loop.store import jsontext

Take = Callable[[dict[str, Any], Sequence[str]], None]
"""Gets the keys with a new value, and those taken out. Raises AwmError."""


def edit_entry(entry: dict[str, Any], take: Take) -> list[str]:
    """Let a person change it, and have the change taken; returns the keys that differ.

    Its file is not locked meanwhile. Where the change is not taken, the copy stays and AwmError names it.
    """
    command = editor()
    copy = copy_of(jsontext.layout(entry))
    try:
        code = subprocess.run([*command, str(copy)], check=False).returncode
    except OSError as error:
        copy.unlink()
        raise AwmError(f"cannot run {command[0]}: {error.strerror}", "for example: VISUAL=nano") from error
    try:
        if code:
            raise AwmError(f"{command[0]} ended with exit code {code}", "nothing was changed")  # noqa: TRY301
        with durable.disk_trouble(copy, "read"):
            data = copy.read_bytes()
        after = jsontext.parse(data, copy)[1]
        if not isinstance(after, dict):
            raise AwmError(f"{copy}: expected an object", "nothing was changed")  # noqa: TRY301
        fields = {key: value for key, value in after.items() if key not in entry or entry[key] != value}
        gone = [key for key in entry if key not in after]
        if fields or gone:
            take(fields, gone)
    except AwmError as error:
        raise type(error)(error.message, f"{error.hint}; your edit is kept in {copy}".removeprefix("; ")) from error
    copy.unlink()
    return [*fields, *gone]
