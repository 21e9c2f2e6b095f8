"""The shape of `current_work.json`, made from the core's dataclasses, in camelCase (SPEC 4.1, 4.2).

A noun of the core and its entry in the file are turned into each other here. What a value may be is as narrow as the
machine needs it: whatever is read can be written, and read again.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import cache, reduce
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from awm_loop.config import COUNT_MAX
from awm_loop.core.model import Account, Attempt, Channel, Deadline, Earlier, Ended, Instant, Notice, Phase, Task
from awm_loop.core.project import Fired, Proposal, Spent, Use

VERSION = 1
TIME_MIN = datetime(2000, 1, 1, tzinfo=UTC)  # any UTC offset, and any wait we know, stays a time that Python has
TIME_MAX = datetime(9999, 1, 1, tzinfo=UTC)
SECONDS_MAX = 1e12

Time = Annotated[AwareDatetime, Field(ge=TIME_MIN, lt=TIME_MAX)]
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PathText = Annotated[str, Field(pattern=r"^[^\x00]*$")]

IDENTITY: Mapping[type, tuple[str, ...]] = {  # what makes two entries of a list the same one
    Attempt: ("task", "number"),
    Notice: ("id",),
    Ended: ("task", "number"),
    Earlier: ("number",),
    Proposal: ("id",),
}
# Entries of an object, sparse: the key is not in them, nor is what has its default.
KEY: Mapping[type, str] = {Task: "id", Account: "name", Channel: "name", Spent: "", Use: ""}
AS_WRITTEN: Mapping[object, Any] = {int: Count, float: Length, datetime: Time}
NARROWER: Mapping[tuple[type, str], Any] = {
    (Attempt, "phase"): Literal[Phase.LAUNCHING, Phase.RUNNING, Phase.STOPPING, Phase.ENDED],
    (Attempt, "spec_path"): PathText,
    (Attempt, "workspace"): PathText,
    (Attempt, "verify"): PathText,
    (Ended, "outcome"): Literal[Phase.COMPLETED, Phase.FAILED, Phase.SKIPPED, Phase.BLOCKED],
    (Task, "analysis"): Literal["", "due", "done"],
    (Task, "verify"): PathText | None,
    (Task, "base"): Annotated[str, Field(pattern="^[0-9a-f]*$")] | None,
}


class Entry(BaseModel):
    """An object of the file. `noun` is the core's class it stands for; foreign keys are kept."""

    model_config = ConfigDict(
        extra="allow", strict=True, alias_generator=to_camel, validate_by_alias=True, defer_build=True
    )
    noun: ClassVar[type]


class ClockEntry(Entry):
    """A deadline as AWM counts it, beside the time (`notBefore`, an account's `deadline`) that people may change."""

    until: Time
    left_seconds: Annotated[float, Field(ge=-SECONDS_MAX, le=SECONDS_MAX)]
    wall: Time
    boottime: Annotated[float, Field(ge=0, le=SECONDS_MAX)]
    boot_id: str


class PendingEntry(Entry):
    effect: Literal["launch", "stop", "reset"]
    key: str
    why: str = ""
    since: Time | None = None


@cache
def shape_of(noun: type) -> type[Entry]:
    """A pydantic model of a core dataclass; a Deadline becomes `<name>` (ISO) and `<name>Clock`.

    An entry that people may begin by hand (a task's options, an account) may leave out what it has nothing to say on.
    """
    hints = get_type_hints(noun)
    fields: dict[str, Any] = {}
    for name, _, is_deadline, default in _fields(noun):
        if is_deadline:
            fields[name] = (Time | None, None)
            fields[f"{name}_clock"] = (ClockEntry | None, None)
            continue
        may_be_left_out = noun in KEY and default is ...
        hint = NARROWER.get((noun, name)) or _as_written(hints[name])
        fields[name] = (hint, hints[name]() if may_be_left_out else default)
    model = create_model(f"{noun.__name__}Entry", __base__=Entry, **fields)
    model.noun = noun
    return model


def _as_written(hint: Any) -> Any:
    """A hint of the core as the file has it: numbers and times within bounds, nouns as entries, at any depth."""
    if dataclasses.is_dataclass(hint):
        return shape_of(hint)  # type: ignore[arg-type]
    parts = tuple(_as_written(part) for part in get_args(hint))
    if isinstance(hint, UnionType):
        return reduce(operator.or_, parts)
    origin = get_origin(hint)
    return origin[parts] if origin else AS_WRITTEN.get(hint, hint)


def noun_of(entry: Entry, now: Instant, **identity: str) -> Any:
    """The core's value of an entry. A deadline whose readable time was changed by hand counts from now (SPEC 9.1)."""
    values: dict[str, Any] = dict(identity)
    found = entry.__dict__
    for name, _, is_deadline, _ in _fields(entry.noun):
        value = found[name]
        if isinstance(value, tuple):
            value = tuple(noun_of(part, now) if isinstance(part, Entry) else part for part in value)
        elif isinstance(value, Entry):
            value = noun_of(value, now)
        elif is_deadline and value is not None:
            value = _deadline(value, found[f"{name}_clock"], now)
        values[name] = value
    return entry.noun(**values)


@cache
def _fields(noun: type) -> tuple[tuple[str, str, bool, object], ...]:
    """Of each field that an entry has: name, key, whether it is a deadline, and the default (`...` for none)."""
    hints = get_type_hints(noun)
    return tuple(
        (item.name, to_camel(item.name), hints[item.name] == Deadline | None, _default(item))
        for item in dataclasses.fields(noun)
        if item.name != KEY.get(noun)
    )


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return ... if item.default is dataclasses.MISSING else item.default


def is_by_hand(until: datetime | None, clock: ClockEntry | None) -> bool:
    """Whether a person changed, set or removed a deadline: AWM writes the time it counts to beside it."""
    return until != (clock.until if clock else None)


def _deadline(until: datetime, clock: ClockEntry | None, now: Instant) -> Deadline:
    if clock is None or is_by_hand(until, clock):
        return by_hand(until, now)
    set_at = Instant(wall=clock.wall, boottime=clock.boottime, boot_id=clock.boot_id)
    return Deadline(until=until, left_seconds=clock.left_seconds, set_at=set_at)


def by_hand(until: datetime, now: Instant) -> Deadline:
    """A deadline a person wrote, which counts from now."""
    return Deadline(until=until, left_seconds=(until - now.wall).total_seconds(), set_at=now)


def entry_of(noun: Any, old: object = None) -> dict[str, object]:
    """The keys of a noun laid over `old`, its entry as it was read: foreign keys stay, verbatim and in place.

    Of an entry of an object, only what differs from the default is written.
    """
    kind: type = type(noun)
    before = old if isinstance(old, Mapping) else {}
    new: dict[str, object] = {}
    is_sparse = kind in KEY
    for name, key, _, default in _fields(kind):
        value = getattr(noun, name)
        if is_sparse and value == default:
            continue
        if isinstance(value, Deadline):
            new[key] = iso(value.until)
            new[f"{key}Clock"] = overlay(_clock(value), before.get(f"{key}Clock"), known_keys(ClockEntry))
        else:
            new[key] = _plain(value, before.get(key))
    return overlay(new, before, known_keys(shape_of(kind)))


def entries_of(nouns: Sequence[Any], old: object, said: Sequence[Any] = ()) -> list[object]:
    """Entries in our order, each laid over the one in `old` that is the same.

    Where the nouns that `old` says are given, one by one, an entry whose noun is still that very one stands as it is.
    """
    if not nouns:
        return []
    if said and isinstance(old, list):
        standing = {id(noun): entry for noun, entry in zip(said, old, strict=True)}
        new = iter(entries_of([noun for noun in nouns if id(noun) not in standing], old))
        return [standing[id(noun)] if id(noun) in standing else next(new) for noun in nouns]
    names = IDENTITY[type(nouns[0])]
    found = [entry for entry in old if isinstance(entry, dict)] if isinstance(old, list) else []
    before = {tuple(entry.get(name) for name in names): entry for entry in found}
    return [entry_of(noun, before.get(tuple(getattr(noun, name) for name in names))) for noun in nouns]


def overlay(new: Mapping[str, object], old: object, known: frozenset[str]) -> dict[str, object]:
    """`old` with our keys replaced in place; those we no longer have are dropped, foreign ones stay (SPEC 4.2)."""
    before = old if isinstance(old, Mapping) else {}
    return {key: new.get(key, value) for key, value in before.items() if key in new or key not in known} | dict(new)


@cache
def known_keys(shape: type[Entry]) -> frozenset[str]:
    """The keys of an entry that are ours."""
    return frozenset(to_camel(name) for name in shape.model_fields)


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with Z, to the millisecond where there is a fraction."""
    if moment is None:
        return None
    utc = moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond >= 1000 else "seconds").replace("+00:00", "Z")


def _clock(deadline: Deadline) -> dict[str, object]:
    return {
        "until": iso(deadline.until),
        "leftSeconds": round(deadline.left_seconds, 3),
        "wall": iso(deadline.set_at.wall),
        "boottime": round(deadline.set_at.boottime, 3),
        "bootId": deadline.set_at.boot_id,
    }


def _plain(value: object, old: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return entries_of(value, old) if value and type(value[0]) in IDENTITY else list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value):
        return entry_of(value, old)
    return round(value, 6) if isinstance(value, float) else value


class Document(Entry):
    """The known keys. `queue` is required: a file without it is some other program's, not "no work"."""

    version: Annotated[int, Field(ge=1)] = VERSION
    rev: Count = 0
    seq: Count = 0
    active: bool = True
    queue: list[str]
    completed: list[str] = []
    failed: list[str] = []
    skipped: list[str] = []
    blocked: list[str] = []
    in_progress: str | None = None
    spec_files: dict[str, PathText] = {}
    project: PathText = ""
    notify_user: bool = True
    retry_on_rate_limit: bool = True
    rate_limit_retry_minutes: Annotated[float, Field(gt=0)] = 15.0
    max_retries: Count | None = None
    auto_new_after_sprints: Count = 0
    rate_limited_until: Time | Annotated[str, Field(max_length=0)] | None = None
    idle_since: Time | None = None
    next_attempt: Annotated[int, Field(ge=1, le=COUNT_MAX)] = 1
    next_notice: Annotated[int, Field(ge=1, le=COUNT_MAX)] = 1
    since_reset: Count = 0
    context_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    reset: Literal[Phase.RESETTING, Phase.RESUMING] | None = None
    tasks: dict[str, shape_of(Task)] = {}  # type: ignore[valid-type]
    attempts: list[shape_of(Attempt)] = []  # type: ignore[valid-type]
    accounts: dict[str, shape_of(Account)] = {}  # type: ignore[valid-type]
    project_of: dict[str, str] = {}
    spent: dict[str, shape_of(Spent)] = {}  # type: ignore[valid-type]
    closed: dict[str, str] = {}
    fired: dict[str, shape_of(Fired)] = {}  # type: ignore[valid-type]
    proposals: list[shape_of(Proposal)] = []  # type: ignore[valid-type]
    next_proposal: Annotated[int, Field(ge=1, le=COUNT_MAX)] = 1
    sessions: dict[str, str] = {}
    agents_off: dict[str, str] = {}
    pending: PendingEntry | None = None
    outbox: list[shape_of(Notice)] = []  # type: ignore[valid-type]
    channels: dict[str, shape_of(Channel)] = {}  # type: ignore[valid-type]
    report: list[shape_of(Ended)] = []  # type: ignore[valid-type]
    log: list[Any] = []
