"""A JSON file of the home that people edit beside AWM: read strictly, changed under a lock (SPEC 4.7, 4.8).

Guarantee: a bad file is never written over, and an edit that somebody saves while AWM changes the file is kept.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from awm_loop import durable
from awm_loop.config import COMMAND_LOCK_WAIT_SECONDS, EDITS_MAX, SETTLING_POLL_SECONDS, SETTLING_SECONDS
from awm_loop.errors import AwmError, BadFileError, BusyError
from awm_loop.store import jsontext

VERSION = 1
Raw = dict[str, Any]
Shape = TypeVar("Shape", bound=BaseModel)
Value = TypeVar("Value")


class WrongError(ValueError):
    """Well-formed JSON with a wrong value at `pointer`; `said` tells what, `hint` what to do about it."""

    def __init__(self, pointer: jsontext.Pointer, said: str, hint: str) -> None:
        super().__init__(said)
        self.pointer, self.said, self.hint = pointer, said, hint


class Found(NamedTuple, Generic[Value]):
    """The file as it was read: its object, what that means, and what tells a later write of an edit since."""

    raw: Raw
    value: Value
    token: os.stat_result


def read(path: Path, check: Callable[[str, Raw], Value]) -> Found[Value] | None:
    """The file; None where there is none. `check` gets its text and the object in it, and may raise WrongError.

    Raises BadFileError, DiskError.
    """
    until = time.monotonic() + SETTLING_SECONDS
    while True:
        token, data = None, b""
        with (
            durable.disk_trouble(path, "read"),
            suppress(FileNotFoundError),
            os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file,  # no waiting at a FIFO
        ):
            token, data = os.fstat(file.fileno()), file.read(jsontext.BYTES_MAX + 1)
        if token is None:
            return None
        try:
            return Found(*_parsed(data, path, check), token)
        except BadFileError:
            is_young = stat.S_ISREG(token.st_mode) and 0 <= time.time() - token.st_mtime < SETTLING_SECONDS
            if not is_young or time.monotonic() >= until:
                raise
        time.sleep(SETTLING_POLL_SECONDS)


def _parsed(data: bytes, path: Path, check: Callable[[str, Raw], Value]) -> tuple[Raw, Value]:
    text, raw = jsontext.parse(data, path)
    if not isinstance(raw, dict):
        hint = 'such as {"version": 1, ...}; see state/README.md'
        raise jsontext.complaint(path, text, (), "expected an object", hint)
    version = raw.get("version")
    if isinstance(version, int) and version > VERSION:
        wanted = f"expected version {VERSION} or older: a newer AWM wrote this"
        raise jsontext.complaint(path, text, ("version",), wanted, "upgrade AWM: git pull")
    try:
        return raw, check(text, raw)
    except WrongError as wrong:
        raise jsontext.complaint(path, text, wrong.pointer, wrong.said, wrong.hint) from wrong


def update(path: Path, check: Callable[[str, Raw], object], change: Callable[[Raw], Raw]) -> None:
    """Write what `change` makes of the file's object ({} where there is none), where it passes `check`.

    `change` must not change its argument; it is called again where somebody edits the file meanwhile. Raises AwmError
    where the result does not pass, BadFileError where the file did not before, BusyError, DiskError.
    """
    lock = FileLock(
        path.with_name(f"{path.name}.lock"),
        timeout=COMMAND_LOCK_WAIT_SECONDS,
        mode=0o600,
        thread_local=False,
        fallback_to_soft=False,
    )
    with durable.disk_trouble(path.parent, "lock"):
        try:
            lock.acquire(poll_interval=0.01)
        except Timeout as error:
            raise BusyError(f"{path} has been locked by another process for a while", "try again") from error
    try:
        for _ in range(EDITS_MAX):
            found = read(path, check)
            before, token = (found.raw, found.token) if found else ({}, None)
            after = {"version": VERSION} | change(before)
            try:
                data = jsontext.layout(after)
            except UnicodeEncodeError as error:
                raise AwmError("a value is not UTF-8 text", "write it in plain characters") from error
            except (TypeError, ValueError) as error:  # of a TOML file: a date, a NaN
                raise AwmError(f"a value cannot stand in JSON: {error}", "write it as text") from error
            try:
                check(jsontext.parse(data, path)[0], after)
            except WrongError as wrong:
                place = "/".join(map(str, wrong.pointer[2:]))  # inside its entry
                raise AwmError(f"{place}: {wrong.said}".removeprefix(": "), wrong.hint) from wrong
            with suppress(durable.ChangedError):
                durable.write_durably(path, data, unless_changed_since=token)
                return
        raise BusyError(f"{path} is being edited without a pause", "close the editor, or try again")
    finally:
        lock.release()


def validated(shape: type[Shape], text: str, raw: Mapping[str, Any]) -> Shape:
    """The text as `shape`. Raises WrongError at the first value that is wrong, or at its nearest existing parent."""
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    pointer: list[str | int] = []
    value: Any = raw
    for part in problem["loc"]:
        if not (part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)):
            break  # a member that is missing, or a branch of a union
        pointer.append(part)
        value = value[part]
    said = re.sub(r"<\w+\.\w+: ('\w+')>", r"\1", problem["msg"])  # a member of an enum, by its word
    said = said.removeprefix("Value error, ").removeprefix("Input ")
    said = f"`{problem['loc'][-1]}` is missing" if problem["type"] == "missing" else said[:1].lower() + said[1:]
    raise WrongError(pointer, said, "see state/README.md for the type of each field")
