"""What calls for work at this moment: triggers that are due, and requests from the inbox (SPEC 13.2).

A call is the same, by key and task, each time it is made, until the state says that it fired: a beat may be killed
between any two steps. What is written here (baselines, rendered specs, the cache of `next.json`) is written before the
task is queued and may be written again.

Most beats have nothing due: `plan` tells so without the triggers being read. A file trigger is looked at on every beat.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from awm_loop.config import CHANGES_LISTED_MAX, PLAN_HELD_SECONDS, SPEC_BYTES_MAX
from awm_loop.core.model import Instant
from awm_loop.core.observation import Call
from awm_loop.core.project import Fired
from awm_loop.errors import AwmError, BadFileError, ConfigError
from awm_loop.regular import read_regular
from awm_loop.trigger import Trigger
from awm_loop.triggers import files, inbox, plan, schedule, templates

AT_ONCE = 0.0
Standing = StrEnum("Standing", "QUEUED LIVE OVER")  # of a task: it waits, it is worked on, or neither
PROBLEM_PREFIX = "problem-"  # of a call's key: its trigger is in trouble ...
WELL = "well"  # ... which is over, so that it is told again where it comes back


@dataclass(frozen=True, slots=True)
class Calls:
    """Of one home. `triggers` reads its triggers, and is asked only when one may be due.

    `specs` is the folder for specs that are made here; in a dry run nothing else is written.

    `project_path` is where a project lies, None for one that is not known; it raises ConfigError for one that is over.
    """

    home: Path
    project_path: Callable[[str], Path | None]
    triggers: Callable[[], Sequence[Trigger]]
    specs: Path
    is_dry: bool = False

    def calls(self, fired: Mapping[str, Fired], standing: Callable[[str], Standing], now: Instant) -> Sequence[Call]:
        """All that call now, the same ones until they are in `fired`. `standing` is where a task stands.

        A trigger in trouble is a call with a `problem`, and the others go on. Where the file of triggers is bad, what
        wants one of them waits until it is mended. Raises DiskError.
        """
        requests = inbox.read(self.home)
        due: list[Call] = []
        known: dict[str, Trigger] = {}
        try:
            due = self._due(fired, standing, now)
            known = {trigger.id: trigger for trigger in (self.triggers() if requests else ())}
        except BadFileError:
            requests = [request for request in requests if not isinstance(request.said, inbox.Fire)]
        return [*due, *inbox.calls(requests, known, self.project_path, self.home, self.specs)]

    # Which are due

    def _due(self, fired: Mapping[str, Fired], standing: Callable[[str], Standing], now: Instant) -> list[Call]:
        identity, stamp = plan.identity(self.home), now.wall.timestamp()
        if identity is None:
            return []
        old = plan.read(self.home)
        held = old if old is not None and old.holds(identity, stamp) else None
        if held is not None and not held.is_due(stamp):
            return []
        due = dict(held.due) if held else {}
        found: list[Call] = []
        triggers = self.triggers()
        if held is None and not self.is_dry:
            files.forget_others(self.home, {trigger.id for trigger in triggers})
        for trigger in triggers:
            if not trigger.enabled or trigger.type not in {"time", "file"} or due.get(trigger.id, AT_ONCE) > stamp:
                continue
            last = fired.get(trigger.id)
            try:
                self._project(trigger)
                if trigger.type == "file":
                    call, due[trigger.id] = self._of_files(trigger, last, standing, now), AT_ONCE
                else:
                    call, due[trigger.id] = self._of_time(trigger, last, identity.written_at, now)
            except (ConfigError, files.UnwatchableError) as error:
                call, due[trigger.id] = _problem(trigger.id, trigger.project_id, _said(error)), AT_ONCE
            if call is None and last is not None and last.key.startswith(PROBLEM_PREFIX):
                call, due[trigger.id] = self._call(trigger, WELL, missed="its trouble is over"), AT_ONCE
            found += _once(call, fired)
        new = plan.Plan(identity.text, held.made_at if held else stamp, due)
        if new != held and not self.is_dry:
            plan.keep(self.home, new)
        return found

    def _of_time(
        self, trigger: Trigger, last: Fired | None, written_at: datetime, now: Instant
    ) -> tuple[Call | None, float]:
        """The call, and when to look again. Raises ConfigError."""
        where = schedule.zone(trigger.timezone)
        if where is None:
            raise ConfigError(f"this machine knows no zone {trigger.timezone}", "an IANA name, as Europe/Berlin")
        slot = schedule.newest(trigger.cron, where, now.wall)
        if slot is None:
            raise ConfigError(f"{trigger.cron!r} never comes", "as no 31 February does; correct it")
        # A person who wrote it by hand did not say since when: it counts from the file's last change, till it fires.
        since = trigger.since or (written_at if last is None else None)
        if slot.local <= schedule.after(where, now.wall, since, last.at if last else None):
            then = schedule.following(trigger.cron, where, now.wall)
            return None, then.at.timestamp() if then else now.wall.timestamp() + PLAN_HELD_SECONDS
        late = now.wall - slot.at
        if late > timedelta(minutes=trigger.misfire_grace):
            return self._call(trigger, slot.key, missed=_missed(slot, trigger, late)), AT_ONCE
        task = f"{trigger.id}-{slot.key}"
        return self._call(trigger, slot.key, spec=self._spec(trigger, task)), AT_ONCE

    def _of_files(
        self, trigger: Trigger, last: Fired | None, standing: Callable[[str], Standing], now: Instant
    ) -> Call | None:
        """Raises ConfigError, UnwatchableError, DiskError."""
        task = last.task if last and trigger.overlap == "skip" else ""
        old = promoted = files.read(self.home, trigger.id)
        if old is not None and old.pending is not None and last is not None:
            key = old.pending.key
            if last.key == key or last.task == f"{trigger.id}-{key}":  # it was saved; trouble may have come since
                promoted = old.promoted(now.wall)
        where = standing(task) if task else Standing.OVER
        if where is Standing.LIVE:
            if promoted is not None and promoted.ran != task and not self.is_dry:
                files.write(self.home, trigger.id, replace(promoted, ran=task))
            return None
        project = self._project(trigger)
        watched = files.Watched(
            project=Path(os.path.realpath(project)),
            globs=trigger.globs,
            since=trigger.since,
            omitted=frozenset(os.path.realpath(self.home / name) for name in ("state", "worktrees")),
        )
        new = files.looked(promoted, watched, now.wall)
        if new != old and not self.is_dry:
            files.write(self.home, trigger.id, new)
        is_free = where is Standing.OVER
        if new.pending is None or not is_free or not files.is_due(new.pending, trigger.debounce_seconds, now.wall):
            return None
        task = f"{trigger.id}-{new.pending.key}"
        return self._call(trigger, new.pending.key, spec=self._spec_with(trigger, task, new.told()))

    # What they queue

    def _call(self, trigger: Trigger, key: str, *, spec: Path | None = None, missed: str = "") -> Call:
        return Call(
            trigger=trigger.id,
            key=key,
            task=f"{trigger.id}-{key}",
            project=trigger.project_id,
            priority=trigger.priority,
            spec_path="" if spec is None else str(spec),
            may_overlap=trigger.overlap == "queue",
            missed=missed,
        )

    def _project(self, trigger: Trigger) -> Path:
        path = self.project_path(trigger.project_id)
        if path is None:
            raise ConfigError(f"there is no project {trigger.project_id}", "awm projects list")
        return path

    def _spec(self, trigger: Trigger, task: str) -> Path:
        """Raises ConfigError, DiskError."""
        if trigger.template:
            return templates.render(self.home, trigger.template, trigger.values, self.specs / f"{task}.md")
        return inbox.spec_path(trigger.spec, self.home, self._project(trigger))

    def _spec_with(self, trigger: Trigger, task: str, changes: Sequence[tuple[str, str]]) -> Path:
        """The spec with the list of what changed behind it, as a file of its own. Raises ConfigError, DiskError."""
        if trigger.template:
            text = templates.fill(self.home, trigger.template, trigger.values)
        else:
            text = _text(inbox.spec_path(trigger.spec, self.home, self._project(trigger)))
        full = f"{text.rstrip()}\n\n{listed(trigger.id, changes)}"
        if _blocks(full) != _blocks(text):
            raise ConfigError("a code block of its spec is never closed", "close it: ``` on a line of its own")
        path = self.specs / f"{task}.md"
        with suppress(OSError):
            if read_regular(path, SPEC_BYTES_MAX + 1) == full.encode():
                return path
        return templates.write(path, full)


def listed(trigger: str, changes: Sequence[tuple[str, str]]) -> str:
    """The section of a spec that says what changed: names of files, one to a line, which are nothing but names."""
    lines = [f"- {what}: {templates.quoted(path)}" for what, path in changes[:CHANGES_LISTED_MAX]]
    more = [f"- and {len(changes) - CHANGES_LISTED_MAX} more"] if len(changes) > CHANGES_LISTED_MAX else []
    head = f"The trigger `{trigger}` saw these files change in the project:"
    return "\n".join(["## What changed", "", head, "", *lines, *more, ""])


def _text(path: Path) -> str:
    """A spec's text. Raises ConfigError."""
    try:
        data = read_regular(path, SPEC_BYTES_MAX + 1)
        if len(data) <= SPEC_BYTES_MAX:
            return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"the spec {path} cannot be read: {error.strerror}", f"ls -l {path}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the spec {path} is not UTF-8 (byte {error.start})", "save as UTF-8") from error
    raise ConfigError(f"the spec {path} is over 1 MiB", "make it shorter")


def _blocks(text: str) -> list[Any]:
    """The code blocks of a spec: nothing that stands behind it may become a part of one, for some are run."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  20 ms that only this pays

    tokens = MarkdownIt().disable("inline").parse(text)
    return [(token.info, token.content) for token in tokens if token.type == "fence"]


def _once(call: Call | None, fired: Mapping[str, Fired]) -> list[Call]:
    last = fired.get(call.trigger) if call else None
    return [] if call is None or (last and last.key == call.key) else [call]


def _problem(name: str, project: str, why: str) -> Call:
    """Told once, until it is well again: its key is what it says."""
    key = f"{PROBLEM_PREFIX}{hashlib.sha256(why.encode(errors='backslashreplace')).hexdigest()[:8]}"
    return Call(trigger=name, key=key, task=f"{name}-{key}", project=project, spec_path="", problem=why)


def _said(error: Exception) -> str:
    if isinstance(error, AwmError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    return str(error)


def _missed(slot: schedule.Slot, trigger: Trigger, late: timedelta) -> str:
    minutes = int(late.total_seconds() // 60)
    return (
        f"{slot.local:%Y-%m-%d %H:%M} {trigger.timezone} is {minutes} min ago, over its grace of "
        f"{trigger.misfire_grace:g} min"
    )
