"""A person, and an assistant, who edit the state file whenever they like and type `awm` verbs (SPEC 4.6)."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from truth import LISTS, OVER, Edit, Truth

from awm_loop.cli import steering
from awm_loop.core.model import Instant, Spec, Task, Work
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.durable import HISTORY_MAX
from awm_loop.errors import AwmError

GARBAGE = (b"", b"{", b'{"queue": [', b"<<<<<<< HEAD\n{}", b"not json", b"[]", b'{"queue": "S1"}')
SPECS = {  # what stands in a spec file, and how often; None: no file
    "# Sprint {task}: Work\n\n**Est:** 12 min\n": 30,
    "# Sprint {task}: Urgent\n\n**Priority:** P0\n": 8,
    "# Sprint {task}: Later\n\n**Priority:** P3\n": 4,
    "# Sprint {task}: By opus\n\n**Model:** opus\n": 8,
    "# Sprint {task}: By a script\n\n**Model:** local\n\n```sh run\ntrue\n```\n": 6,
    "# Sprint {task}: In place\n\n**Isolation:** in-place\n": 4,
    "# Sprint {task}: Short\n\n**Timeout:** 5 min\n": 4,
    "# Sprint {task}: By nobody\n\n**Model:** nobody\n": 2,
    "# Sprint {task}: After nobody\n\n**Depends:** S0\n": 1,
    "# Sprint {task}: After another\n\n**Depends:** {other}\n": 6,
    "": 1,
}


class Desk(Protocol):
    """What a person needs of the world."""

    chance: random.Random
    truth: Truth

    def command(self, change: Callable[[Work, Instant], Work]) -> Work | None:
        """`awm VERB`: change the state under its lock; None where that could not be done. Raises AwmError."""

    def aside(self) -> AbstractContextManager[None]:
        """What is done in it is another program's: it meets no faults, and counts as no operation."""

    def quiet_seconds(self) -> None:
        """The kernel writes back what is unsynced."""

    def says(self, *words: object) -> None:
        """For the narration."""


class Person:
    """Edits by rename or in place, from what stands in the file or from a copy opened a while ago."""

    def __init__(self, world: Desk, home: Path, projects: Sequence[str]) -> None:
        self.world, self.home, self.projects = world, home, projects
        self.path = home / "state" / "current_work.json"
        self.copies: list[bytes] = []  # what was opened and not saved yet
        self.good: bytes | None = None  # what stands in place of the garbage in the file
        self.count = 0

    def begins(self, settings: Mapping[str, object], count: int) -> None:
        """The first edit of a new home: rules, and tasks to do."""
        doc = json.loads(self.path.read_bytes()) | dict(settings)
        edit = Edit(self.world.truth.tick)
        for _ in range(count):
            self._adds(doc, edit)
        text = json.dumps(doc).encode()
        self.world.truth.wrote(text, edit, from_stale=False)
        self.saves(text, in_place=False)

    def resumes(self) -> None:
        """`awm resume`."""
        try:
            self.world.command(steering.resume)
        except AwmError:
            return
        self.world.says("PERSON resumes")
        self.world.truth.commanded(is_paused=False)

    def turns_on(self) -> None:
        """`awm agents on`, for all that are off."""
        try:
            self.world.command(lambda work, _: replace(work, agents_off={}))
        except AwmError:
            return
        self.world.says("PERSON turns the agents on")

    def gives_up(self, doc: Mapping[str, Any]) -> None:
        """Where others wait for blocked tasks, and nothing else is to do: `awm skip`, so that they need not."""
        depends = {one for task in doc["queue"] for one in doc["tasks"].get(task, {}).get("depends", ())}
        specs = [self.world.home.read_spec(self.world.last, task) for task in doc["queue"]] if self.world.last else []
        depends |= {one for spec in specs if isinstance(spec, Spec) for one in spec.depends}
        for task in [one for one in doc["blocked"] if one in depends]:
            self.world.truth.wanted(task)
            with suppress(AwmError):
                self.world.command(partial(_skipped, task))

    def acts(self) -> None:
        """One thing a person does."""
        chance = self.world.chance
        if self.good is not None:
            self.mends()
            return
        if self.world.truth.paused_at is not None and chance.random() < 0.6:
            self.resumes()
            return
        if chance.random() < 0.4:
            self.types()
        elif chance.random() < 0.08:
            self.spoils()
        else:
            self.edits()

    def new_task(self) -> str:
        """A new id, with a spec file."""
        chance = self.world.chance
        self.count += 1
        task = f"S{self.count}"
        other = f"S{chance.randint(1, self.count + 1)}"
        text = chance.choices(list(SPECS), list(SPECS.values()))[0].format(task=task, other=other)
        path = self.home / "specs" / f"{task}.md"
        if chance.random() < 0.97:
            with self.world.aside():
                path.write_text(text)
        return task

    def types(self) -> None:
        """A verb."""
        chance, truth = self.world.chance, self.world.truth
        known = [task for name in LISTS for task in truth.doc.get(name, ())]
        known += [one["task"] for one in truth.doc.get("attempts", ())]
        task = chance.choice(known) if known else "S1"
        verb = chance.choice(
            (
                "add",
                "add",
                "add",
                "add",
                "add",
                "pause",
                "resume",
                "resume",
                "resume",
                "stop",
                "retry",
                "skip",
                "answer",
            )
        )
        added, project = [self.new_task()] if verb == "add" else [], chance.choice(self.projects)

        def change(work: Work, now: Instant) -> Work:
            match verb:
                case "add":
                    return steering.add(work, Task(id=added[0]), f"specs/{added[0]}.md", project, now)
                case "pause" | "resume" | "stop":
                    done: Work = getattr(steering, verb)(work, now)
                    return done
                case "retry":
                    changed = steering.retry(work, task, now)
                case "skip":
                    changed = steering.skip(work, task, "by hand", now)
                case _:
                    changed = steering.answer(work, task, "the blue one", now)
            truth.wanted(task)
            return changed

        try:
            done = self.world.command(change)
        except AwmError as error:
            self.world.says("PERSON types", verb, task, "- refused:", error.message)
            return
        self.world.says("PERSON types", verb, added or task)
        is_paused = {"pause": True, "stop": True, "resume": False}.get(verb) if done else None
        truth.commanded(added if done else (), is_paused=is_paused)

    def spoils(self) -> None:
        """The file is no state any more, for a while."""
        data = self._current()
        if data is None:
            return
        self.good = data
        self.saves(self.world.chance.choice(GARBAGE), in_place=True)
        self.world.says("PERSON spoils the file")

    def mends(self) -> None:
        """The file is put back as it was."""
        if self.good is not None:
            if not self._is_known(json.loads(self.good)):
                self.world.truth.blurs(Edit(self.world.truth.tick), json.loads(self.good))
            self.saves(self.good, in_place=False)
            self.good = None
            self.world.says("PERSON mends the file")

    def edits(self) -> None:
        """Open, change, save."""
        chance, truth = self.world.chance, self.world.truth
        now = self._current()
        if now is None:
            return
        is_stale = bool(self.copies) and chance.random() < 0.3
        data = self.copies.pop(chance.randrange(len(self.copies))) if is_stale else now
        if chance.random() < 0.3 and not truth.is_by_person:
            self.copies = [*self.copies[-4:], now]
        if is_stale and chance.random() < 0.2:
            self.world.says("PERSON puts an old copy back")
            if not self._is_known(json.loads(data)):
                truth.blurs(Edit(truth.tick), json.loads(data))
            truth.wrote(data, Edit(truth.tick), from_stale=True)
            self.world.quiet_seconds()
            self.saves(data, in_place=False)
            return
        doc = json.loads(data)
        edit, standing = Edit(truth.tick), _standing(doc)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            self._changes(doc, edit)
        if _standing(doc) != standing:
            edit.is_paused = _standing(doc) == (False, None)
        if not self._is_known(doc):
            truth.blurs(edit, doc)
            edit = Edit(truth.tick, added=edit.added)
        text = json.dumps(doc, indent=chance.choice((None, 2)), ensure_ascii=False).encode()
        if text == now:
            return
        said = replace(edit, tick=0) if not is_stale else "from an old copy"
        self.world.says("PERSON edits", said, "rev", doc.get("rev"))
        truth.wrote(text, edit, from_stale=is_stale)
        if is_stale:
            self.world.quiet_seconds()
        self.saves(text, in_place=chance.random() < 0.5)

    def _changes(self, doc: dict[str, Any], edit: Edit) -> None:
        chance = self.world.chance
        kinds = [self._adds] * 4 + [self._reorders, self._removes, self._removes_live, self._requeues_live]
        kinds += [self._pauses, self._resumes, self._notes, self._sets, self._requeues_finished]
        kinds += [self._mends_logins] if doc.get("agentsOff") else []
        chance.choice(kinds)(doc, edit)

    def _adds(self, doc: dict[str, Any], edit: Edit) -> None:
        task = self.new_task()
        doc["queue"].insert(self.world.chance.randint(0, len(doc["queue"])), task)
        doc.setdefault("specFiles", {})[task] = f"specs/{task}.md"
        project = self.world.chance.choice(self.projects)
        if project != DEFAULT_PROJECT:
            doc.setdefault("projectOf", {})[task] = project
        edit.added += (task,)

    def _reorders(self, doc: dict[str, Any], _: Edit) -> None:
        self.world.chance.shuffle(doc["queue"])

    def _removes(self, doc: dict[str, Any], edit: Edit) -> None:
        if doc["queue"]:
            task = doc["queue"].pop(self.world.chance.randrange(len(doc["queue"])))
            edit.added = tuple(one for one in edit.added if one != task)
            edit.removed += (task,)

    def _removes_live(self, doc: dict[str, Any], edit: Edit) -> None:
        task = doc.get("inProgress")
        if task:
            doc["inProgress"] = None
            doc["attempts"] = [one for one in doc.get("attempts", ()) if one["task"] != task]
            edit.removed += (task,)

    def _requeues_live(self, doc: dict[str, Any], edit: Edit) -> None:
        task = doc.get("inProgress")
        if task and task not in doc["queue"]:
            doc["inProgress"] = None
            doc["queue"].append(task)
            edit.removed = tuple(one for one in edit.removed if one != task)
            self.world.truth.wanted(task)

    def _requeues_finished(self, doc: dict[str, Any], edit: Edit) -> None:
        over = [task for name in OVER for task in doc.get(name, ())]
        if over:
            task = self.world.chance.choice(over)
            edit.requeued += (task,)
            for name in OVER:
                doc[name] = [one for one in doc[name] if one != task]
            doc["queue"].append(task)

    def _pauses(self, doc: dict[str, Any], _: Edit) -> None:
        doc["active"] = False
        doc.pop("idleSince", None)

    def _resumes(self, doc: dict[str, Any], _: Edit) -> None:
        doc["active"] = True

    def _notes(self, doc: dict[str, Any], edit: Edit) -> None:
        value = {"n": self.world.chance.randint(0, 999)}
        doc["x-note"] = edit.foreign["x-note"] = value

    def _sets(self, doc: dict[str, Any], _: Edit) -> None:
        key, values = self.world.chance.choice(
            (("maxRetries", (0, 1, 3)), ("notifyUser", (True, False)), ("autoNewAfterSprints", (0, 1, 2)))
        )
        doc[key] = self.world.chance.choice(values)

    def _mends_logins(self, doc: dict[str, Any], _: Edit) -> None:
        doc["agentsOff"] = {}

    def _is_known(self, doc: dict[str, Any]) -> bool:
        """Whether AWM can know what the edit began with: else it takes what is new, and no more (SPEC 4.6).

        One older than the last states may be there still, and gone at the next save.
        """
        if doc.get("rev", 0) <= self.world.truth.doc.get("rev", 0) - HISTORY_MAX:
            return False
        try:
            with self.world.aside():
                json.loads((self.path.parent / "history" / f"{doc.get('rev', 0)}.json").read_bytes())
        except (OSError, ValueError):
            return False
        return True

    def _current(self) -> bytes | None:
        """The file, where it is there and is a state."""
        try:
            with self.world.aside():
                data = self.path.read_bytes()
            json.loads(data)
        except (FileNotFoundError, ValueError):
            return None
        return data

    def saves(self, data: bytes, *, in_place: bool) -> None:
        """As editors do, and synced."""
        self.world.truth.by_person.add(data)
        self.world.truth.is_by_person = True
        path = self.path if in_place else self.path.with_name("edited~")
        with self.world.aside():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(fd, data)
            os.fsync(fd)
            os.close(fd)
            if not in_place:
                path.rename(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(folder)
            os.close(folder)


def _skipped(task: str, work: Work, now: Instant) -> Work:
    return steering.skip(work, task, "others wait for it", now)


def _standing(doc: dict[str, Any]) -> tuple[object, object]:
    active = doc.get("active", True)
    return active, None if active else doc.get("idleSince")
