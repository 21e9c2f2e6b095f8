"""`state/recording.jsonl`: what every beat was told and decided, so that it can be decided again (`awm replay`).

One line for each beat that changed something (SPEC 6.4). Each is whole: the time, the rules, the state, every answer of
the world, and what of the state changed. So any line can be replayed alone, after a gap, a rotation, or on another
machine, and what people, commands and deliveries did between two beats is the difference of two lines. It is a file of
its own beside the journal because people read `log.jsonl` line by line, and these lines are some KiB long.

Guarantee: what is here replays to the same state. What is not here is lost without harm: a beat killed between promise
and proof leaves no line, one that the disk refuses is left out, and when the file is full the one before it goes.
Nothing is synced, and a line is written after its effect, so that it costs nothing between two agents. Callers hold the
state lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, get_args

from pydantic import ValidationError

from awm_loop import __version__, fault
from awm_loop.config import RECORDING_BYTES_MAX
from awm_loop.core.estimate import Past
from awm_loop.core.model import Attempt, Instant, Policy, Spec, Task, Work
from awm_loop.core.observation import AttemptSeen, Call, Site, SpecBad
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.durable import disk_trouble
from awm_loop.errors import BadFileError, ConfigError, DiskError
from awm_loop.ports import Loaded, Ports, Settings
from awm_loop.store import journal

KINDS = {kind.__name__: kind for kind in (*get_args(AttemptSeen), Spec, SpecBad)}


FAILED = -1  # stands for the minutes of a task that failed: nobody asks how long that took


@dataclass(slots=True, kw_only=True)
class Heard:
    """What one beat was told. A question that was not asked has no answer here; none was asked twice."""

    now: Instant | None = None
    policy: Policy | None = None
    unread: Sequence[str] | None = None  # after somebody else's edit: the tasks whose specs were read for the order
    probed: Mapping[str, AttemptSeen] = field(default_factory=dict)  # by attempt key
    specs: dict[str, Spec | SpecBad] = field(default_factory=dict)  # by task, without their text: no row reads it
    heads: dict[str, Site] = field(default_factory=dict)  # by project
    gone: dict[str, tuple[str, str]] = field(default_factory=dict)  # those that are not there: why, and a hint
    calls: Sequence[Call] = ()
    worktrees: dict[str, str] = field(default_factory=dict)  # by task
    past: Sequence[Past] | None = None


class Record(NamedTuple):
    """One beat: the state it found, what it was told, and the state it decided on, with the effect it promised."""

    before: Work
    heard: Heard
    after: Work
    unknown: frozenset[str] = frozenset()  # fields of the state that its version did not have


class NotRecorded(LookupError):  # noqa: N818  a difference between two beats, not an error
    """A replayed beat asks what the recorded one did not ask."""


def paths(state: Path) -> tuple[Path, Path]:
    """Where the beats of a home are recorded: the older ones, then those being written."""
    return state / "recording.old.jsonl", state / "recording.jsonl"


def recorded(ports: Ports, state: Path) -> Ports:
    """`ports` that ask each question once a beat, and record below `state` what a beat that saves was told."""
    ear = _Ear(ports, state)
    return replace(
        ports,
        store=ear,
        launcher=ear,
        policy=ear.policy,
        read_spec=ear.read_spec,
        head=ear.head,
        worktree=ear.worktree,
        past=ear.past,
        calls=ear.calls,
    )


def answering(record: Record) -> Ports:
    """Ports that tell a beat (a dry run) what the recorded one was told. What that one did not ask: NotRecorded."""
    heard, replayed = record.heard, _Replayed(record)
    return Ports(
        store=replayed,
        launcher=replayed,
        clock=lambda: _given(heard.now, "the time"),
        policy=lambda *_: _given(heard.policy, "the policy"),
        read_spec=lambda _, task: _given(heard.specs.get(task), f"the spec of {task}"),
        head=replayed.head,
        worktree=lambda task: _given(heard.worktrees.get(task), f"the worktree of {task}"),
        past=lambda: _given(heard.past, "what the metrics say"),
        remember=replayed.stop,
        record=replayed.stop,
        calls=lambda *_: heard.calls,
        taken=replayed.stop,
    )


def _given(answer: Any, question: str) -> Any:
    if answer is None:
        raise NotRecorded(question)
    return answer


def read(path: Path) -> Iterator[Record]:
    """The beats recorded in a file, oldest first; a torn last line is dropped, a missing file has none.

    Raises BadFileError with the number of a line that is no record, DiskError.
    """
    with disk_trouble(path, "read"), suppress(FileNotFoundError), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield record_of(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                where = f"{path}, line {number}: is not the record of a beat: {_reason(error)}"
                raise BadFileError(where, "the lines before it can be replayed: `head`") from error


def line_of(record: Record) -> dict[str, object]:
    """A record as one line of JSON: of what it left, only the fields of the state that it changed."""
    before, heard, after, _ = record
    changed = [item.name for item in fields(Work) if getattr(after, item.name) != getattr(before, item.name)]
    past: dict[str, dict[str, list[float]]] = {}
    for one in heard.past or ():
        past.setdefault(one.agent, {}).setdefault(one.type, []).append(one.minutes if one.succeeded else FAILED)
    return {
        "awm": __version__,
        "now": plain(heard.now),
        "before": plain(before),
        "after": {name: plain(getattr(after, name)) for name in changed},
        "policy": plain(heard.policy),
        "unread": heard.unread,
        "probed": {key: _named(seen) for key, seen in heard.probed.items()},
        "specs": {task: _named(spec) for task, spec in heard.specs.items()},
        "heads": plain(heard.heads),
        "gone": heard.gone,
        "calls": plain(heard.calls),
        "worktrees": heard.worktrees,
        "past": None if heard.past is None else past,  # by agent and type: thousands of tasks, one number each
    }


def record_of(line: Mapping[str, Any]) -> Record:
    """The record of a line, also of an older version: fields it does not know are dropped, missing ones defaulted.

    So a field added to what a beat is told, `Policy` too, needs a default: what the loop did before there was one.
    """
    past, before, is_of_one_project = line["past"], line["before"], "heads" not in line  # 0.1.0
    all_unread = {None: None, False: [], True: before["queue"]}[line.get("isEdited")]  # 0.1.0
    heads = line.get("heads", {})
    if is_of_one_project and line["head"]:
        heads = {DEFAULT_PROJECT: [before["project"], *line["head"]]}
    heard = Heard(
        now=_noun(Instant, line["now"]),
        policy=_noun(Policy, line["policy"]),
        unread=line.get("unread", all_unread),
        probed={key: _unnamed(seen) for key, seen in line["probed"].items()},
        specs={task: _unnamed(spec) for task, spec in line["specs"].items()},
        heads={project: Site(*site) for project, site in heads.items()},
        gone={project: tuple(said) for project, said in line.get("gone", {}).items()},
        calls=_noun(tuple[Call, ...], line.get("calls", ())),
        worktrees=line["worktrees"],
        past=None if past is None else list(_flat(past)),
    )
    unknown = frozenset({"spent"} if is_of_one_project else ())
    return Record(_noun(Work, before), heard, _noun(Work, {**before, **line["after"]}), unknown)


def plain(value: Any) -> Any:
    """A value of the core as JSON has it; of its nouns, the fields that differ from their default."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    noun: type = type(value)
    found = ((name, getattr(value, name), default) for name, default in _fields(noun))
    return {name: plain(part) for name, part, default in found if part != default}


@cache
def _fields(noun: type) -> tuple[tuple[str, object], ...]:
    """The fields of a noun with their defaults; MISSING, which no value equals, where there is none."""
    return tuple((item.name, item.default) for item in fields(noun))


class _Ear:
    """The store and the launcher of a beat that is recorded, and its other questions, each asked once a beat.

    What is in the world can change between two looks; a beat is told the first, and so is its replay.
    """

    def __init__(self, ports: Ports, state: Path) -> None:
        self._ports = ports
        self._state = state
        self._heard = Heard()
        self._promised: tuple[Work, Work] | None = None  # the state found, and the one saved with an effect promised

    def load(self, now: Instant) -> Loaded | None:
        self._heard, self._promised = Heard(now=now), None
        return self._ports.store.load(now)

    def catch_up(self, loaded: Loaded) -> None:
        self._ports.store.catch_up(loaded)

    def unread_specs(self, loaded: Loaded) -> Sequence[str]:
        self._heard.unread = self._ports.store.unread_specs(loaded)
        return self._heard.unread

    def specs_read(self, loaded: Loaded, bad: Sequence[str]) -> None:
        self._ports.store.specs_read(loaded, bad)

    def save(self, loaded: Loaded, work: Work, now: Instant) -> Loaded:
        if self._promised is not None:  # this save is the proof: the effect is done
            self._keep(*self._promised)
            return self._ports.store.save(loaded, work, now)
        saved = self._ports.store.save(loaded, work, now)
        if work.pending is not None:
            self._promised = loaded.work, work
        else:
            self._keep(loaded.work, work)
        return saved

    def start(self, attempt: Attempt, task: Task) -> bool:
        return self._ports.launcher.start(attempt, task)

    def probe(self, attempts: Sequence[Attempt]) -> Mapping[str, AttemptSeen]:
        self._heard.probed = self._ports.launcher.probe(attempts)
        return self._heard.probed

    def stop(self, key: str, why: str) -> None:
        self._ports.launcher.stop(key, why)

    def policy(self, settings: Settings, now: Instant) -> Policy:
        self._heard.policy = self._ports.policy(settings, now)
        return self._heard.policy

    def read_spec(self, work: Work, task: str) -> Spec | SpecBad:
        if task not in self._heard.specs:
            spec = self._ports.read_spec(work, task)
            self._heard.specs[task] = replace(spec, text="") if isinstance(spec, Spec) else spec
        return self._heard.specs[task]

    def head(self, work: Work, project: str) -> Site:
        if project not in self._heard.heads:
            try:
                self._heard.heads[project] = self._ports.head(work, project)
            except ConfigError as error:
                self._heard.gone[project] = error.message, error.hint
                raise
        return self._heard.heads[project]

    def calls(self, work: Work, now: Instant) -> Sequence[Call]:
        self._heard.calls = self._ports.calls(work, now)
        return self._heard.calls

    def worktree(self, task: str) -> str:
        return self._heard.worktrees.setdefault(task, self._ports.worktree(task))

    def past(self) -> Sequence[Past]:
        if self._heard.past is None:
            self._heard.past = tuple(self._ports.past())
        return self._heard.past

    def _keep(self, before: Work, after: Work) -> None:
        """Append the beat; a disk that refuses, or a path that is not UTF-8, costs the line and not the beat."""
        older, path = paths(self._state)
        line = line_of(Record(before, self._heard, after))
        with suppress(OSError):
            if path.stat().st_size >= RECORDING_BYTES_MAX:
                path.replace(older)
        with suppress(DiskError, ValueError):  # NaN and lone surrogates are ValueErrors of `append`
            fault.point("recording.keep:before-append")
            journal.append(path, [line])
            fault.point("recording.keep:appended")


class _Replayed:
    """The store and the launcher of a beat that is decided again: nothing is written, started or stopped."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def load(self, *_: object, **__: object) -> Loaded:
        return Loaded(self._record.before, Settings(), {}, b"", 0, None)

    def unread_specs(self, *_: object, **__: object) -> Sequence[str]:
        return _given(self._record.heard.unread, "which specs nobody has read since an edit")  # type: ignore[no-any-return]

    def probe(self, *_: object, **__: object) -> Mapping[str, AttemptSeen]:
        return self._record.heard.probed

    def head(self, _: Work, project: str) -> Site:
        heard = self._record.heard
        if project in heard.gone:
            raise ConfigError(*heard.gone[project])
        return _given(heard.heads.get(project), f"the commit of {project}")  # type: ignore[no-any-return]

    @staticmethod
    def catch_up(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a replay is a dry run")

    save = start = stop = specs_read = catch_up


def _noun(kind: Any, value: object) -> Any:
    return _adapter(kind).validate_python(value)


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415  3 ms that no beat needs

    return TypeAdapter(kind)


def _named(value: Any) -> dict[str, object]:
    """One of several kinds, with the name of its kind: some of them have no fields to be told apart by."""
    return {"kind": type(value).__name__, **plain(value)}


def _unnamed(value: Mapping[str, Any]) -> Any:
    return _noun(KINDS[value["kind"]], {key: part for key, part in value.items() if key != "kind"})


def _flat(past: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Past]:
    for agent, kinds in past.items():
        for kind, minutes in kinds.items():
            for one in minutes:
                yield Past(agent=agent, type=kind, minutes=max(one, 0.0), succeeded=one != FAILED)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False)[0]
        return f"{'/'.join(map(str, problem['loc']))}: {problem['msg']}"
    return str(error)
