"""The shape of `current_work.json`, made from the core's dataclasses, in camelCase (SPEC 4.1, 4.2)."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model
from pydantic.alias_generators import to_camel

from awm_loop.core.model import Account, Attempt, Channel, Deadline, Ended, Notice, Task

VERSION = 1


class _Entry(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, alias_generator=to_camel, validate_by_alias=True)


class ClockEntry(_Entry):
    """A deadline as AWM counts it, beside the `notBefore` or `until` that people read and may change."""

    until: AwareDatetime
    left_seconds: float
    wall: AwareDatetime
    boottime: float
    boot_id: str


class PendingEntry(_Entry):
    effect: str = Field(pattern="^(launch|stop)$")
    key: str
    why: str = ""


@cache
def shape_of(noun: type) -> type[BaseModel]:
    """A pydantic model of a core dataclass; a Deadline becomes `<name>` (ISO) and `<name>Clock`."""
    hints = get_type_hints(noun)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(noun):
        hint, default = hints[item.name], ... if item.default is dataclasses.MISSING else item.default
        if hint == Deadline | None:
            fields[item.name] = (AwareDatetime | None, None)
            fields[f"{item.name}_clock"] = (ClockEntry | None, None)
        elif hint in {datetime, datetime | None}:
            fields[item.name] = (AwareDatetime if hint is datetime else AwareDatetime | None, default)
        else:
            fields[item.name] = (hint, default)
    if noun in {Task, Account, Channel}:
        fields.pop("id" if noun is Task else "name")
    return create_model(f"{noun.__name__}Entry", __base__=_Entry, **fields)


class Document(_Entry):
    """The known keys. `queue` is required: a file without it is some other program's, not "no work"."""

    version: int = VERSION
    rev: int = 0
    seq: int = 0
    active: bool = True
    queue: list[str]
    completed: list[str] = []
    failed: list[str] = []
    skipped: list[str] = []
    blocked: list[str] = []
    in_progress: str | None = None
    spec_files: dict[str, str] = {}
    project: str = ""
    notify_user: bool = True
    retry_on_rate_limit: bool = True
    rate_limit_retry_minutes: Annotated[float, Field(gt=0)] = 15.0
    max_retries: Annotated[int, Field(ge=0)] | None = None
    auto_new_after_sprints: Annotated[int, Field(ge=0)] = 0
    rate_limited_until: AwareDatetime | Annotated[str, Field(max_length=0)] | None = None
    idle_since: AwareDatetime | None = None
    next_attempt: Annotated[int, Field(ge=1)] = 1
    next_notice: Annotated[int, Field(ge=1)] = 1
    tasks: dict[str, shape_of(Task)] = {}  # type: ignore[valid-type]
    attempts: list[shape_of(Attempt)] = []  # type: ignore[valid-type]
    accounts: dict[str, shape_of(Account)] = {}  # type: ignore[valid-type]
    pending: PendingEntry | None = None
    outbox: list[shape_of(Notice)] = []  # type: ignore[valid-type]
    channels: dict[str, shape_of(Channel)] = {}  # type: ignore[valid-type]
    report: list[shape_of(Ended)] = []  # type: ignore[valid-type]
    log: list[Any] = []
