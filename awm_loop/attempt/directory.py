"""One attempt's directory, and the locks and marker in it that make a start happen once (SPEC 8.1).

The protocol is that of docs/decisions/0001. `sup.lock` is held by whoever tends the attempt; `agent.lock` is inherited
by the agent's whole tree; `started` is created with O_EXCL before the agent is run, so one number passes its start
once, ever. Who looks must *hold* `sup.lock` while it reads result and marker: let go in between, the answer may be of
two times.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from awm_loop import fault
from awm_loop.config import COUNT_MAX, SECONDS_MAX
from awm_loop.core.model import Advised, Instant, Outcome
from awm_loop.core.observation import (
    Advice,
    Alive,
    AttemptSeen,
    Exited,
    GateSeen,
    Limit,
    NotStarted,
    ProbeFailed,
    Result,
    Starting,
    Unattended,
)
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.durable import disk_trouble, sync_folder, write_durably
from awm_loop.regular import open_regular, read_regular

POLL_SECONDS = 0.01
FILE_BYTES_MAX = 8 * 1024 * 1024  # of a file of ours here: a result quotes 256 KiB of the agent's, escaped
SAMPLE_BYTES_MAX = 65_536


class _File(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_alias=True, validate_by_name=True, frozen=True, defer_build=True
    )

    def to_bytes(self) -> bytes:
        return (self.model_dump_json(by_alias=True, indent=1) + "\n").encode()


FileKind = TypeVar("FileKind", bound=_File)


class Order(_File):
    """`order.json`: all a supervisor needs to know. Written before it starts, never changed."""

    key: str
    task: str
    number: int
    agent: str
    kind: str
    command: tuple[str, ...]
    model: str
    env_pass: tuple[str, ...]
    home: str
    workspace: str
    limit_seconds: float
    sample_seconds: float
    stop_grace_seconds: float
    require_commit: bool
    base: str | None
    project_id: str = DEFAULT_PROJECT
    project: str = ""  # the directory of the project; the workspace is this, or a worktree of it
    branch: str = ""  # of the project, into which accepted work goes
    is_worktree: bool = False
    prepare: tuple[str, ...] = ()  # shell lines that make a new worktree ready
    verify: str = ""  # the gate, a shell line
    gate_files: tuple[str, ...] = ()
    gate_number: int = 0  # of the attempt at which the gate was taken
    gate_first: bool = False
    gate_seconds: float = 0.0  # how long the gate may take
    is_analysis: bool = False
    executable: str = ""  # of a CLI: its program, "" for the usual name on PATH ...
    extra_args: tuple[str, ...] = ()  # ... what a person adds to its arguments ...
    is_sandboxed: bool = True
    session: str = ""  # ... and the session it is to resume
    problem: str = ""  # the spec could not be read any more: the attempt fails with this


class Marker(_File):
    """`started`: the start was passed, by whom and when. Empty on a full disk; its existence is what counts."""

    boot_id: str
    boottime: Annotated[float, Field(ge=0, le=SECONDS_MAX)]
    at: AwareDatetime
    supervisor: tuple[int, int]  # pid and start time in ticks
    fenced: bool = False  # passed by a reaper, so that nobody ever starts it


class StopRequest(_File):
    """`stop`: the beat asks for the end, and why."""

    why: str


class LimitEntry(_File):
    resets_at: AwareDatetime | None
    source: str


class GateEntry(_File):
    passed: bool
    before: bool
    seconds: float
    changed: tuple[str, ...]


class AdviceEntry(_File):
    cause: str
    action: Advised
    text: str


class ResultEntry(_File):
    """`result.json` (SPEC 8.2). No number is larger than the state that takes it over may hold."""

    outcome: Outcome
    exit_code: Annotated[int, Field(ge=-255, le=255)] | None
    started_at: AwareDatetime
    ended_at: AwareDatetime
    seconds: Annotated[float, Field(ge=0, le=SECONDS_MAX)]
    summary: str
    error: str
    question: str
    session_id: str
    tokens: dict[str, Annotated[int, Field(ge=0, le=COUNT_MAX)]] | None
    cost_usd: Annotated[float, Field(ge=0, le=COUNT_MAX)] | None
    commits: tuple[str, ...]
    gate: GateEntry | None
    limit: LimitEntry | None
    advice: AdviceEntry | None
    context_share: Annotated[float, Field(ge=0, le=1)] | None
    remark: str
    next_steps: tuple[str, ...] = ()
    removed_locks: tuple[str, ...]


NESTED = {"gate": GateSeen, "limit": Limit, "advice": Advice}  # nouns inside a result, by its key


@dataclass(frozen=True, slots=True)
class AttemptDirectory:
    """Paths and reads of `state/attempts/<key>/`."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def of_task(self) -> str:
        """The part of its name that all attempts of its task share."""
        return self.path.name.partition(".")[0]

    def order(self) -> Order | None:
        """The order, or None where it was never written whole."""
        return _load(self / "order.json", Order)

    def marker(self) -> Marker | None:
        return _load(self / "started", Marker)

    def stop_request(self) -> StopRequest | None:
        """None where nobody asked; an unreadable request is still one."""
        if not os.path.lexists(self / "stop"):
            return None
        return _load(self / "stop", StopRequest) or StopRequest(why="operator")

    def write_stop_request(self, why: str) -> None:
        """Durable before it is proved. Raises DiskError."""
        _write(self / "stop", StopRequest(why=why))

    def result(self) -> Result | None:
        """The durable result; an unreadable one counts as none, and the attempt as unattended."""
        entry = _load(self / "result.json", ResultEntry)
        if entry is None:
            return None
        values = {name: getattr(entry, name) for name in ResultEntry.model_fields}
        for name, noun in NESTED.items():
            values[name] = noun(**dict(values[name])) if values[name] else None
        return Result(**values)

    def write_result(self, result: Result) -> None:
        """Durable before anything is done about it. Raises DiskError."""
        _write(self / "result.json", ResultEntry.model_validate(result, from_attributes=True))

    def pass_start(self, marker: Marker) -> bool:
        """Create `started`; False when this number has passed its start already.

        O_EXCL alone decides, so it works on a full disk: what is written into the file is for people and reapers.
        Raises DiskError; the start is not passed where not even the name can be made.
        """
        with disk_trouble(self / "started"):
            return self._pass_start(marker)

    def _pass_start(self, marker: Marker) -> bool:
        try:
            fault.point("attempt.marker:before")
            fd = os.open(self / "started", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        try:
            fault.point("attempt.marker:made")
            os.write(fd, marker.to_bytes())
            os.fsync(fd)
        except OSError:
            pass
        finally:
            os.close(fd)
        fault.point("attempt.marker:written")
        for folder in (self.path, self.path.parent):  # all at once: a disk has the least to do for them so
            sync_folder(folder)
        return True

    def last_sample(self) -> Mapping[str, object]:
        """The newest whole line of `samples.jsonl`; {} where there is none."""
        try:
            with os.fdopen(open_regular(self / "samples.jsonl"), "rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - SAMPLE_BYTES_MAX, 0))
                lines = file.read(SAMPLE_BYTES_MAX).split(b"\n")
        except OSError:
            return {}
        for line in reversed(lines[:-1]):
            try:
                sample = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(sample, dict):
                return sample
        return {}


def take_lock(path: Path, wait_seconds: float = 0.0) -> int | None:
    """An exclusive flock on `path`, made when missing; None when it is held for longer than `wait_seconds`.

    It is let go by closing the last copy of the descriptor, or by `let_go`; not inherited unless made so.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                return None
            time.sleep(POLL_SECONDS)
        else:
            fault.point("attempt.lock:taken")
            return fd


def let_go(fd: int) -> None:
    """Let the lock go at once, also where a process forked a moment ago has not closed its copy yet."""
    fault.point("attempt.lock:before-release")
    fcntl.flock(fd, fcntl.LOCK_UN)
    fault.point("attempt.lock:released")
    os.close(fd)


def put(path: Path, text: str) -> None:
    """Write whole, by name, whatever was there but a directory: nobody reads half of it. Not synced. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    fault.point("attempt.put:before-rename")
    temporary.rename(path)
    fault.point("attempt.put:after-rename")


@contextmanager
def tending(directory: AttemptDirectory) -> Iterator[bool]:
    """Hold `sup.lock` if it is free; yields whether it was."""
    fd = take_lock(directory / "sup.lock")
    try:
        yield fd is not None
    finally:
        if fd is not None:
            let_go(fd)


def look(directory: AttemptDirectory, now: Instant) -> AttemptSeen:
    """What a probe sees (SPEC 8.1): never waits, changes nothing."""
    if not directory.path.is_dir():
        return NotStarted()
    try:
        fault.point("attempt.look:before")
        with tending(directory) as was_free:
            if not was_free:
                return _tended(directory, now)
            fault.point("attempt.look:locked")
            result = directory.result()
            if result is not None:
                return Exited(result=result)
            fault.point("attempt.look:no-result")
            return Unattended() if _is_there(directory / "started") else NotStarted()
    except OSError as error:
        return ProbeFailed(reason=f"{directory.path}: {error.strerror}")


def _tended(directory: AttemptDirectory, now: Instant) -> AttemptSeen:
    if not _is_there(directory / "started"):
        return Starting()
    marker, sample = directory.marker(), directory.last_sample()
    same_boot = marker is not None and marker.boot_id == now.boot_id
    return Alive(
        idle_seconds=_seconds(sample.get("idleSeconds")),
        busy_seconds=_seconds(sample.get("busySeconds")),
        running_seconds=_seconds(now.boottime - marker.boottime) if marker and same_boot else 0.0,
    )


def _seconds(value: object) -> float:
    """A length as we would have written it; 0 for anything else: the agent can write there too."""
    return float(value) if isinstance(value, int | float) and 0 <= value <= SECONDS_MAX else 0.0


def _is_there(path: Path) -> bool:
    """Whatever it is; raises OSError where that cannot be seen."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _load(path: Path, kind: type[FileKind]) -> FileKind | None:
    try:
        return kind.model_validate_json(read_regular(path, FILE_BYTES_MAX))
    except (OSError, ValidationError):
        return None


def _write(path: Path, file: _File) -> None:
    """Write durably; what an agent put there that is no file is moved aside first. Raises DiskError."""
    with disk_trouble(path):
        if _is_there(path) and not stat.S_ISREG(path.lstat().st_mode):
            path.rename(path.with_name(f"{path.name}.{os.urandom(4).hex()}.aside"))
    write_durably(path, file.to_bytes())
