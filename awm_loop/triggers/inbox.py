"""`state/inbox/`: requests that other processes drop in, one file each (SPEC 3.2, 13.2).

    {"trigger": "ci", "values": {"branch": "main"}}                           fires a trigger
    {"spec": "specs/S4.md", "project": "docs", "id": "S4", "priority": "high"}    adds a task; only `spec` must be there

A file arrives under its name whole: a writer gives it a name that begins with a dot, which is not looked at, and
renames it. What becomes a task is decided by the name of the file alone, so a request that comes again after a crash is
the same task. What cannot be taken is put aside, with the reason beside it, and everything else goes on.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awm_loop import durable, trees
from awm_loop.config import ID_PATTERN, INBOX_BYTES_MAX, INBOX_REQUESTS_MAX, REJECTED_KEPT
from awm_loop.core.observation import Call
from awm_loop.core.project import DEFAULT_PROJECT, Priority
from awm_loop.errors import ConfigError
from awm_loop.regular import read_regular
from awm_loop.triggers import templates

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from awm_loop.trigger import Trigger

KEY_PREFIX = "inbox/"  # of a call's key: no slot of a clock and no hash of a file is one
NAME_BYTES_MAX = 200  # of a file that is put aside: `.why` and a number must fit behind it
SHOWN_CHARS_MAX = 80
TRIGGER_CHARS_MAX = 51  # of a trigger's id in a task's, which has 64 with `-` and 12 digits of a hash
CALLED = ("webhook", "manual")  # types of triggers that only a request fires
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_STRICT = {"extra": "forbid", "strict": True}


@dataclass(frozen=True, kw_only=True)
class Fire:
    """Fire a trigger. `values` win over its own."""

    __pydantic_config__ = _STRICT

    trigger: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Add:
    """Queue a task. A relative `spec` is relative to the home."""

    __pydantic_config__ = _STRICT

    spec: str
    project: str = DEFAULT_PROJECT
    id: str = ""
    priority: Priority = Priority.MEDIUM


@dataclass(frozen=True, slots=True)
class Bad:
    """A file that is no request; `why` is for people."""

    why: str


@dataclass(frozen=True, slots=True)
class Request:
    """One file of the inbox and what it says."""

    path: Path
    said: Fire | Add | Bad

    @property
    def key(self) -> str:
        return _key(self.path.name)

    @property
    def digest(self) -> str:
        """What a task's id has of it: the same file name is the same task."""
        return hashlib.sha256(os.fsencode(self.path.name)).hexdigest()[:12]


def write_request(home: Path, request: Mapping[str, object], name: str = "") -> Path:
    """Drop a request in, durably; the next beat takes it. Returns its path.

    `name`, by default one of its own, is its identity: where the inbox has that file already it stays, whatever it
    says. Raises ConfigError for what would be put aside, DiskError.
    """
    from pydantic_core import to_json  # noqa: PLC0415  as in `_parsed`

    name = name or f"{os.urandom(8).hex()}.json"
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(name)
    try:
        data = to_json(dict(request))
    except ValueError as error:  # half a character
        raise ConfigError(f"that cannot be written as JSON: {error}") from error
    said = _parsed(data) if len(data) <= INBOX_BYTES_MAX else Bad("is over 1 MiB")
    if isinstance(said, Bad):
        raise ConfigError(f"the inbox would not take that: it {said.why}")
    path = _directory(home) / name
    with durable.disk_trouble(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.sync_folder(path.parent.parent)
        temporary = path.with_name(f".{os.urandom(8).hex()}.tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            with suppress(FileExistsError):
                os.link(temporary, path)  # a rename would replace the one that is there
        finally:
            temporary.unlink()
        durable.sync_folder(path.parent)
    return path


def read(home: Path) -> list[Request]:
    """What lies in the inbox in order of arrival, `INBOX_REQUESTS_MAX` at most, unchanged. Raises DiskError."""
    with durable.disk_trouble(_directory(home), "read"):
        found = heapq.nsmallest(INBOX_REQUESTS_MAX, ((_arrived_at(entry), entry.name) for entry in _entries(home)))
    return [Request(path, _said(path)) for path in (_directory(home) / name for _, name in found)]


def calls(
    requests: Sequence[Request],
    triggers: Mapping[str, Trigger],
    project_path: Callable[[str], Path | None],
    home: Path,
    specs: Path,
) -> list[Call]:
    """What the requests ask for. One that cannot be had is a call with a `problem`, and an empty `spec_path`.

    `project_path` is as in `Calls`. A template is rendered here, into `specs`. Raises DiskError.
    """
    return [_call(request, triggers, project_path, home, specs) for request in requests]


def settle(home: Path, taken: Sequence[Call]) -> None:
    """After the save: the files of these calls leave the inbox, with a problem to `rejected/`. Raises DiskError."""
    by_key = {call.key: call for call in taken if call.key.startswith(KEY_PREFIX)}
    for entry in _entries(home) if by_key else ():
        call = by_key.get(_key(entry.name))
        if call is not None and call.problem:
            put_aside(Path(entry.path), call.problem)
        elif call is not None:
            take(Path(entry.path))


def take(path: Path) -> None:
    """Remove a request that is queued. Raises DiskError."""
    with durable.disk_trouble(path, "remove"), suppress(FileNotFoundError):
        path.unlink()


def put_aside(path: Path, why: str) -> Path:
    """Move what cannot be taken to `rejected/`, whatever it is, with the reason in `.why`. Raises DiskError."""
    directory = path.parent / "rejected"
    name = os.fsdecode(os.fsencode(path.name)[:NAME_BYTES_MAX])
    with durable.disk_trouble(path, "move"):
        if os.path.lexists(directory) and not directory.is_dir():  # some file of that name, which the next beat reads
            directory.rename(directory.with_name(f"odd-{os.urandom(4).hex()}"))
        directory.mkdir(mode=0o700, exist_ok=True)
        taken = {entry.name for entry in directory.iterdir()}
        numbered = (f"{name}-{number}" if number > 1 else name for number in count(1))
        free = directory / next(one for one in numbered if not {one, f"{one}.why"} & taken)
        durable.write_durably(directory / f"{free.name}.why", f"{why}\n".encode(errors="backslashreplace"))
        with suppress(FileNotFoundError):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)  # a folder that may not be written cannot be moved elsewhere
            path.rename(free)
        durable.sync_folder(path.parent)
    if len(taken) > 2 * REJECTED_KEPT:
        _drop_oldest(directory)
    return free


def _drop_oldest(directory: Path) -> None:
    """Of what was put aside the newest stay. What has no reason beside it was not put there by AWM, and stays too."""
    found = {}
    for path in directory.glob("*.why"):
        with suppress(OSError):
            found[path] = path.lstat().st_mtime_ns
    for why in sorted(found, key=lambda path: found[path])[:-REJECTED_KEPT]:
        path = why.with_suffix("")
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                trees.remove(path)
            else:
                path.unlink(missing_ok=True)
            why.unlink()


def spec_path(named: str, home: Path, project: Path) -> Path:
    """The spec that a trigger or request names. After symlinks it lies in the home or the project (SPEC 5.1).

    A relative one is relative to the home. Raises ConfigError.
    """
    shown = _shown(named)
    if not named or "\0" in named:
        raise ConfigError(f"{shown} is no path of a spec")
    path = Path(os.path.realpath(home / named))
    if not any(path.is_relative_to(os.path.realpath(parent)) for parent in (home, project)):
        raise ConfigError(f"the spec {shown} lies neither in the home nor in the project", f"move it to {home}")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"the spec {shown} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise ConfigError(f"the spec {shown} is not a regular file")
    return path


def _directory(home: Path) -> Path:
    return home / "state" / "inbox"


def _entries(home: Path) -> list[os.DirEntry[str]]:
    """All but what is being written and what was put aside. Raises DiskError."""
    directory = _directory(home)
    with durable.disk_trouble(directory, "read"), suppress(FileNotFoundError), os.scandir(directory) as entries:
        return [entry for entry in entries if not entry.name.startswith(".") and entry.name != "rejected"]
    return []


def _arrived_at(entry: os.DirEntry[str]) -> int:
    """When it got its name, which is later than when it was written; of one that is gone meanwhile, last."""
    try:
        return entry.stat(follow_symlinks=False).st_ctime_ns
    except FileNotFoundError:
        return 2**63


def _key(name: str) -> str:
    """What a file name is in the state: itself, or its hash where it is not a plain one."""
    plain = _PLAIN_NAME.fullmatch(name)
    return KEY_PREFIX + (name if plain else f"odd/{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}")


def _said(path: Path) -> Fire | Add | Bad:
    try:
        data = read_regular(path, INBOX_BYTES_MAX + 1)
    except OSError as error:
        return Bad(f"cannot be read: {error.strerror}")
    return Bad("is over 1 MiB") if len(data) > INBOX_BYTES_MAX else _parsed(data)


def _parsed(data: bytes) -> Fire | Add | Bad:
    from pydantic import ValidationError  # noqa: PLC0415  a beat with an empty inbox has no use for these
    from pydantic_core import from_json  # noqa: PLC0415

    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        return Bad(f"is not JSON: {error}")
    if not isinstance(value, dict) or ("trigger" in value) == ("spec" in value):
        return Bad('is no request: it is {"trigger": id, "values": {…}} or {"spec": path, …}')
    try:
        said: Fire | Add = _shape(Fire if "trigger" in value else Add).validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"]))
        return Bad(f"has a wrong {_shown(where)}: {problem['msg']}")
    if isinstance(said, Add) and said.id and not re.fullmatch(ID_PATTERN, said.id):
        return Bad(f"has an id that is none: {_shown(said.id)}")
    return said


@cache
def _shape(shape: type[Fire | Add]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(shape)


def _call(
    request: Request,
    triggers: Mapping[str, Trigger],
    project_path: Callable[[str], Path | None],
    home: Path,
    specs: Path,
) -> Call:
    try:
        match request.said:
            case Bad(why=why):
                return _problem(request, f"{_shown(request.path.name)} {why}")
            case Add() as add:
                return Call(
                    trigger="",
                    key=request.key,
                    task=add.id or f"inbox-{request.digest}",
                    project=add.project,
                    priority=add.priority,
                    spec_path=str(spec_path(add.spec, home, _known(add.project, project_path))),
                    may_overlap=True,
                )
            case Fire() as fire:
                trigger = _enabled(fire.trigger, triggers)
                task = f"{trigger.id[:TRIGGER_CHARS_MAX]}-{request.digest}"
                project = _known(trigger.project_id, project_path)
                # What a clock or a file fires has keys of its own, which a firing by hand must not take the place of.
                is_called = trigger.type in CALLED
                if trigger.template:
                    values = {**trigger.values, **fire.values}
                    path = templates.render(home, trigger.template, values, specs / f"{task}.md")
                else:
                    path = spec_path(trigger.spec, home, project)
                return Call(
                    trigger=trigger.id if is_called else "",
                    key=request.key,
                    task=task,
                    project=trigger.project_id,
                    priority=trigger.priority,
                    spec_path=str(path),
                    may_overlap=not is_called or trigger.overlap == "queue",
                )
    except ConfigError as error:
        known = triggers.get(request.said.trigger) if isinstance(request.said, Fire) else None
        why = f"{error.message} ({error.hint})" if error.hint else error.message
        return _problem(request, why, known.id if known and known.type in CALLED else "")


def _problem(request: Request, why: str, trigger: str = "") -> Call:
    task = f"inbox-{request.digest}"
    return Call(trigger=trigger, key=request.key, task=task, project=DEFAULT_PROJECT, spec_path="", problem=why)


def _enabled(name: str, triggers: Mapping[str, Trigger]) -> Trigger:
    trigger = triggers.get(name)
    if trigger is None:
        raise ConfigError(f"there is no trigger {_shown(name)}", "awm triggers list")
    if not trigger.enabled:
        raise ConfigError(f"the trigger {trigger.id} is disabled", f"awm triggers enable {trigger.id}")
    return trigger


def _known(project: str, project_path: Callable[[str], Path | None]) -> Path:
    path = project_path(project)
    if path is None:
        raise ConfigError(f"there is no project {_shown(project)}", "awm projects list")
    return path


def _shown(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= SHOWN_CHARS_MAX else f"{shown[:SHOWN_CHARS_MAX]}…"
