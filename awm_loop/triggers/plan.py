"""Whether anything can call at this moment, without a trigger being read (SPEC 13.2).

`state/triggers/next.json` says when each trigger is to be looked at next, as of one version of their file. It is a
cache: stale, torn, missing, or written by a clock that was wrong, it is made anew. So a beat with nothing due costs
two looks at the disk, however many triggers there are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from awm_loop import durable
from awm_loop.config import PLAN_BYTES_MAX, PLAN_HELD_SECONDS
from awm_loop.errors import DiskError
from awm_loop.regular import read_regular


class Identity(NamedTuple):
    """What tells one version of the triggers' file from the next."""

    text: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """When each trigger is to be looked at next, in seconds since 1970."""

    identity: str
    made_at: float
    due: Mapping[str, float]

    def holds(self, identity: Identity, now: float) -> bool:
        return self.identity == identity.text and self.made_at <= now < self.made_at + PLAN_HELD_SECONDS

    def is_due(self, now: float) -> bool:
        return any(at <= now for at in self.due.values())


def is_idle(home: Path, now: datetime) -> bool:
    """Whether no trigger is due and the inbox is empty. Raises DiskError."""
    inbox = home / "state" / "inbox"
    with durable.disk_trouble(inbox, "read"), suppress(FileNotFoundError), os.scandir(inbox) as entries:
        if any(entry.name != "rejected" and not entry.name.startswith(".") for entry in entries):
            return False
    found = identity(home)
    plan = read(home) if found else None
    return found is None or (
        plan is not None and plan.holds(found, now.timestamp()) and not plan.is_due(now.timestamp())
    )


def identity(home: Path) -> Identity | None:
    """Of the triggers' file; None where there is none. Raises DiskError."""
    path = home / "state" / "triggers.json"
    with durable.disk_trouble(path, "read"), suppress(FileNotFoundError):
        found = path.stat()
        text = f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"
        return Identity(text, datetime.fromtimestamp(found.st_mtime, UTC))
    return None


def read(home: Path) -> Plan | None:
    """The plan as it was kept; None where it cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raw = json.loads(read_regular(_path(home), PLAN_BYTES_MAX))
        due = {name: float(at) for name, at in raw["due"].items()}
        return Plan(str(raw["identity"]), float(raw["madeAt"]), due)
    return None


def keep(home: Path, plan: Plan) -> None:
    """Write it, if the disk lets us: without it the next beat looks at all again."""
    written = {"identity": plan.identity, "madeAt": plan.made_at, "due": plan.due}
    with suppress(DiskError, OSError):
        _path(home).parent.mkdir(mode=0o700, exist_ok=True)
        durable.write_durably(_path(home), json.dumps(written).encode())


def _path(home: Path) -> Path:
    return home / "state" / "triggers" / "next.json"
