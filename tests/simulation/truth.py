"""The guarantees of SPEC 15, held against what really happened: what agents, channels and people did and saw.

AWM's own opinion counts only as what stands on disk. Each state that AWM writes is looked at as soon as it is there,
each effect when it is asked for, and what a person wrote is expected from the first undisturbed beat after it on.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents import Run

from awm_loop.core.model import Attempt, Instant, Outcome

LISTS = ("queue", "completed", "failed", "skipped", "blocked")
OVER = ("completed", "failed", "skipped")
COUNTED = {
    "strikes": {Outcome.STALLED, Outcome.TIMED_OUT},
    "tries": {Outcome.HOLLOW, Outcome.FAILED, Outcome.LOST},
    "reboots": {Outcome.REBOOTED},
}
SLACK_SECONDS = 0.01  # of a deadline: it is written to the millisecond
_stat, _open = os.stat, open  # as they are: a disk may stand in their place later


class Violation(AssertionError):
    """A guarantee is broken."""


@dataclass(slots=True)
class Edit:
    """What a person asked for in one write of the file."""

    tick: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    requeued: tuple[str, ...] = ()  # though they were over
    is_paused: bool | None = None
    foreign: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Closed:
    """An account's deadline as it was written."""

    left_seconds: float
    boottime: float
    boot_id: str


class Truth:
    """What was seen so far, and the checks."""

    def __init__(self, state: Path, max_parallel: int, journal: Path) -> None:
        self.path, self.journal, self.max_parallel = state, journal, max_parallel
        self.is_broken = False
        self.tick = 0  # operations so far
        self.doc: dict[str, Any] = {}  # the newest that AWM wrote
        self.standing: dict[str, Any] = {}  # the newest at the end of a process
        self.by_person: set[bytes] = set()
        self.is_by_person = True  # what stands in the file now
        self._seen: tuple[int, int, int] = (0, 0, 0)
        self.runs: dict[str, Run] = {}
        self.numbers: dict[int, Attempt] = {}
        self.begun: Counter[int] = Counter()
        self.given: set[int] = set()  # numbers of attempts in any state that AWM wrote
        self.recalled: set[int] = set()  # asked to end for a budget: whatever they end as is not counted
        self.retries_max = 0  # the most there ever were
        self.accepted: set[str] = set()
        self.may_vanish: set[str] = set()
        self.unsynced: set[str] = set()  # in a state that a process left which died: a power loss may take it back
        self.is_clean = True  # the process that ended last
        self.touched: dict[str, int] = {}  # tasks a person steered, and when
        self.uncounted: set[str] = set()  # whose counts a person disturbed
        self.done: set[tuple[str, str]] = set()  # promises that were kept
        self.counted: set[int] = set()  # numbers whose end is in the counts
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.fresh: list[Edit] = []  # edits no beat has seen for sure
        self.removed: dict[str, int] = {}
        self.paused_at: int | None = None
        self.foreign: dict[str, object] = {}
        self.closed: dict[str, Closed] = {}
        self.noticed: dict[str, Mapping[str, Any]] = {}
        self.got: dict[str, list[str]] = defaultdict(list)  # by channel
        self.doubtful: set[tuple[str, str]] = set()  # sent in a process that met trouble
        self.sent: list[tuple[str, str]] = []  # by the process that runs
        self._journal = (0, 0)  # bytes and lines checked
        self.on_start: Callable[[dict[str, Any], list[dict[str, Any]]], None] = lambda *_: None

    def expect(self, holds: object, guarantee: str, *seen: object) -> None:
        if not holds:
            self.is_broken = True
            raise Violation(f"guarantee {guarantee}: {' '.join(map(str, seen))}")

    # What people did.

    def wrote(self, data: bytes, edit: Edit, *, from_stale: bool) -> None:
        """A person saved the file. From a stale copy they take back what they wrote since, if nobody saved it yet."""
        if from_stale:
            self._drops()
            self.may_vanish |= self.accepted - {*places(self.doc)}
        self.by_person.add(data)
        here = {*places(json.loads(data))}
        for earlier in self.fresh:  # a save took that edit out and could not put it back; this is their last word
            earlier.removed = tuple(task for task in earlier.removed if task not in here)
        if edit.is_paused is False:  # it may be read at any moment from now on
            self.paused_at = None
            for earlier in self.fresh:
                earlier.is_paused = None
        for key in edit.foreign:
            for owed in (self.foreign, *(earlier.foreign for earlier in self.fresh)):
                owed.pop(key, None)
        for task in (*edit.removed, *edit.added):
            self.touches(task)
        for task in edit.requeued:  # finished: it goes back to its list, or after a power loss is done once more
            self.removed.pop(task, None)
        self.may_vanish |= {*edit.removed}
        self.fresh.append(edit)

    def _drops(self) -> None:
        for edit in self.fresh:
            self.may_vanish |= {*edit.added, *edit.removed}
            for task in edit.requeued:
                self.touches(task)
        self.fresh.clear()

    def blurs(self, edit: Edit, doc: Mapping[str, Any]) -> None:
        """An edit whose beginning AWM cannot know: all but what it adds may be taken, or not; what is gone comes back."""
        self.standing = {**self.standing, "pending": None}  # a power loss took the copy: whom it was for is dead
        self.may_vanish |= {*edit.removed}
        for task in (*edit.removed, *edit.requeued, *(task for task in self.removed if task in places(doc))):
            self.wanted(task)
        self.paused_at = None if edit.is_paused is False else self.paused_at
        for key in edit.foreign:
            self.foreign.pop(key, None)

    def touches(self, task: str) -> None:
        self.touched[task] = self.tick
        self.uncounted.add(task)

    def wanted(self, task: str) -> None:
        """A person put it into the queue again."""
        self.touches(task)
        self.removed.pop(task, None)
        for edit in self.fresh:
            edit.removed = tuple(one for one in edit.removed if one != task)

    def commanded(self, added: Collection[str] = (), *, is_paused: bool | None = None) -> None:
        """A verb of `awm` was done: it is in the state already."""
        self.accepted |= {*added}
        self.unsynced.clear()
        if is_paused is not None:
            self.paused_at = self.tick if is_paused else None
            for edit in self.fresh:
                edit.is_paused = None

    def settled(self, since: int) -> None:
        """A beat that began at `since` ran to its end undisturbed: it has seen what people wrote before."""
        for edit in [one for one in self.fresh if one.tick < since]:
            self.fresh.remove(edit)
            self.accepted |= {*edit.added}
            for task in edit.added:
                self.removed.pop(task, None)
            self.removed |= dict.fromkeys(edit.removed, self.tick)
            self.foreign |= edit.foreign
            if edit.is_paused is not None:
                self.paused_at = self.tick if edit.is_paused else None
        self.look(is_standing=True)
        self.unsynced.clear()
        for key, value in () if self.is_by_person else self.foreign.items():
            self.expect(self.doc.get(key) == value, "14", "lost or changed:", key, value)
        self._check_journal()

    # What stands on disk.

    def glance(self) -> None:
        """The state file, if it is another than at the last look: one that AWM wrote is valid, each task in one list."""
        try:
            found = _stat(self.path)
        except FileNotFoundError:
            return
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen == self._seen:
            return
        self._seen = seen
        with _open(self.path, "rb") as file:
            data = file.read()
        self.is_by_person = data in self.by_person
        if self.is_by_person:
            return
        try:
            self.doc = json.loads(data)
        except ValueError as error:
            raise Violation(f"guarantee 14: AWM wrote what is no JSON: {error}") from error
        self.noticed |= {notice["id"]: notice for notice in self.doc["outbox"]}
        ids = places(self.doc)
        self.expect(len(ids) == len({*ids}), "3", "a task in two places:", ids)
        self.expect(len(self.doc["attempts"]) <= self.max_parallel, "1", "live:", self.doc["attempts"])
        self.recalled |= {one["number"] for one in self.doc["attempts"] if one["stop"] == "overspent"}
        new = [one for one in self.doc["attempts"] if one["number"] not in self.given]
        if new:
            numbers = {one["number"] for one in new}
            self.expect(min(numbers) > max(self.given, default=0), "2", "numbers", numbers, "are not above all given")
            self.given |= numbers
            self.on_start(self.doc, new)

    def look(self, *, is_standing: bool) -> None:
        """The state that stands when a process is gone, against the one before it."""
        self.glance()
        if not is_standing or self.is_by_person or self.doc is self.standing:
            return
        before, after = self.standing, self.doc
        for counter in ("rev", "seq", "nextAttempt", "nextNotice"):
            self.expect(before.get(counter, 0) <= after[counter], "2", counter, "went back to", after[counter])
        ids = {*places(after)}
        lost = self.accepted - ids - self.may_vanish
        self.expect(not lost, "3", "lost:", sorted(lost))
        if not self.is_clean:
            self.unsynced |= ids - self.accepted
        self.accepted |= ids
        for name in OVER:
            left = {*before.get(name, ())} - {*after[name]} - {*self.touched}
            self.expect(not left, "3", "left", name, sorted(left))
        for task in {*after["completed"]} - {*before.get("completed", ())}:
            good = [run for run in self._of(task) if succeeded(run)]
            self.expect(good or task in self.touched, "7", "completed without a success:", task)
        kept = before.get("pending") or {"effect": "launch"}  # one that is not kept is seen, and kept by another row
        is_kept = kept["effect"] == "launch" or after["pending"] or (kept["effect"], kept["key"]) in self.done
        self.expect(is_kept, "4", "promised and never done:", kept)
        self._count(after)
        self._check_deadlines(after)
        self.standing = after

    def _of(self, task: str) -> list[Run]:
        return [run for run in self.runs.values() if run.attempt is not None and run.attempt.task == task]

    def _count(self, after: Mapping[str, Any]) -> None:
        """SPEC 7.2: what each end adds to its task; a limit, a reboot, a budget and the operator add no strike."""
        live = {one["number"] for one in after["attempts"]}
        for number in self.numbers.keys() - live - self.counted:
            run = self.runs.get(self.numbers[number].key)
            if run is None or run.result is None:
                continue
            self.counted.add(number)
            if number in self.recalled:
                continue
            for name, outcomes in COUNTED.items():
                is_counted = name == "reboots" or not run.attempt_is_analysis
                self.counts[self.numbers[number].task][name] += is_counted and run.result.outcome in outcomes
        self.retries_max = max(self.retries_max, after.get("maxRetries", 0))
        here = {one["task"] for one in after["attempts"]}
        for task in places(after):
            if task in here or task in self.uncounted or task in after["completed"]:
                continue
            entry = after["tasks"].get(task, {})
            for name in COUNTED:
                found, real = entry.get(name, 0), self.counts[task][name]
                self.expect(found == real, "5", task, "has", found, name, "of", real)
            tries = self.counts[task]["tries"]
            self.expect(tries <= self.retries_max + 1, "15", task, "was tried", tries, "times")

    def _check_deadlines(self, after: Mapping[str, Any]) -> None:
        for name, entry in after["accounts"].items():
            clock = entry.get("deadlineClock")
            if clock and entry.get("deadline") == clock["until"]:
                self.closed[name] = Closed(clock["leftSeconds"], clock["boottime"], clock["bootId"])

    def _check_journal(self) -> None:
        """Append-only and gapless: every line has the number after the one before it (SPEC 15, 10)."""
        size, lines = self._journal
        try:
            with _open(self.journal, "rb") as file:
                file.seek(size)
                data = file.read()
        except FileNotFoundError:
            data = b""
        for line in data.splitlines(keepends=True):
            try:
                found = json.loads(line)["seq"]
            except ValueError as error:
                raise Violation(f"guarantee 10: a line of the journal is {line!r}") from error
            lines += 1
            self.expect(found == lines, "10", "the journal has", found, "in line", lines)
        self.expect(lines >= self.standing.get("seq", 0), "10", "the journal ends at", lines)
        self._journal = (size + len(data), lines)

    # What is asked of the world.

    def on_disk(self) -> list[dict[str, Any]]:
        """What AWM wrote last, and what a person made of it; of a save that they forestalled only theirs stands."""
        self.glance()
        docs = [self.doc]
        if self.is_by_person:
            with suppress(ValueError), _open(self.path, "rb") as file:
                docs.append(json.loads(file.read()))
        return [doc for doc in docs if isinstance(doc, dict)]

    def promised(self, effect: str, key: str) -> bool:
        found = [doc.get("pending") or {} for doc in self.on_disk()]
        return any((one.get("effect"), one.get("key")) == (effect, key) for one in found)

    def ordered(self, attempt: Attempt) -> None:
        self.expect(self.promised("launch", attempt.key), "4", "no promise of", attempt.key)
        known = self.numbers.setdefault(attempt.number, attempt)
        is_same = (known.task, known.promised_at) == (attempt.task, attempt.promised_at)
        self.expect(is_same, "2", "number", attempt.number, "was given before")
        is_new = known is attempt and attempt.key not in self.runs
        if is_new:
            removed_at = self.removed.get(attempt.task)
            self.expect(removed_at is None, "3", attempt.task, "was removed, and is started")
            is_off = attempt.agent in self.doc.get("agentsOff", ())
            self.expect(not is_off, "6", attempt.key, "is started by", attempt.agent, "which is off")
        self.expect(self.paused_at is None, "6", attempt.key, "is started while paused")
        self.expect(self.doc.get("active"), "6", attempt.key, "is started while at rest")
        self.expect(self.doc.get("reset") is None, "13", attempt.key, "is started in a reset")

    def opens(self, attempt: Attempt, now: Instant) -> None:
        """A new attempt is promised by an account: within a boot never before its deadline (SPEC 9.2)."""
        closed = self.closed.get(attempt.account)
        if attempt.key in self.runs or closed is None or closed.boot_id != now.boot_id:
            return
        left = closed.left_seconds - (now.boottime - closed.boottime)
        self.expect(left <= SLACK_SECONDS, "6", attempt.key, "starts", left, "s before", attempt.account, "opens")

    def began(self, run: Run) -> None:
        attempt = run.attempt
        assert attempt is not None
        self.begun[attempt.number] += 1
        self.expect(self.begun[attempt.number] == 1, "2", run.key, "has begun twice")
        working = [one for one in self.runs.values() if one.is_working]
        same = [one.key for one in working if one.attempt and one.attempt.task == attempt.task]
        self.expect(len(same) <= 1, "1", "two at work at", attempt.task, same)
        places_ = [one.attempt.workspace for one in working if one.attempt]
        self.expect(len(places_) == len({*places_}), "1", "two at work in one workspace", places_)
        self.expect(len(working) <= self.max_parallel, "1", len(working), "at work")
        for other in self._of(attempt.task):
            is_over = other is not run and succeeded(other) and other.ended_tick > self.touched.get(attempt.task, -1)
            self.expect(not is_over, "8", run.key, "begins after the success of", other.key)

    def asked_to_end(self, key: str, why: str) -> None:
        self.expect(self.promised("stop", key), "9", "no promise to stop", key, why)
        self.done.add(("stop", key))

    def resets(self, key: str) -> None:
        self.expect(self.promised("reset", key), "4", "no promise of a reset")
        self.done.add(("reset", key))
        live = [run.key for run in self.runs.values() if run.is_working or run.holder == "supervisor"]
        self.expect(not live, "13", "a reset while at work:", live)

    def sends(self, channel: str, notice: str) -> None:
        """A channel acknowledged a notice."""
        owed = [one for doc in self.on_disk() for one in doc.get("outbox", ()) if one["id"] == notice]
        self.expect(
            any(channel in one["channels"] for one in owed),
            "4",
            notice,
            "is sent and is not in the outbox for",
            channel,
        )
        if notice in self.got[channel]:
            self.expect((channel, notice) in self.doubtful, "11", notice, "is sent twice to", channel)
        else:
            last = max((int(one[1:]) for one in self.got[channel]), default=0)
            self.expect(int(notice[1:]) > last, "11", notice, "comes after", last, "to", channel)
            self.got[channel].append(notice)
        self.sent.append((channel, notice))

    def process_ended(self, *, is_clean: bool) -> None:
        self.is_clean = is_clean
        if not is_clean:
            self.doubtful |= {*self.sent}
        self.sent.clear()

    def lost_power(self) -> None:
        """What was not synced may be gone: states are compared from here on, edits nobody read are not owed."""
        self._drops()
        self.accepted -= self.unsynced
        self.unsynced.clear()
        self._seen = (0, 0, 0)
        self.standing = {}
        self.noticed = {
            name: one for name, one in self.noticed.items() if any(name in got for got in self.got.values())
        }
        self._journal = (0, 0)
        self.glance()

    def drained(self, channels: Collection[str]) -> None:
        """Guarantee 15, after the calm: every task has an end, every notice arrived or was given up in the journal."""
        doc = json.loads(self.path.read_bytes())  # an old copy that a person put back may be all there is to do
        rest = {name: doc[name] for name in ("queue", "attempts", "pending", "outbox", "active", "reset") if doc[name]}
        self.expect(not rest, "15", "after the calm there are", rest)
        self.expect(doc["idleSince"], "15", "not at rest")
        ended = {task for name in LISTS[1:] for task in doc[name]}
        missing = self.accepted - ended - self.may_vanish
        self.expect(not missing, "15", "without an end:", sorted(missing))
        self._check_metrics()
        with _open(self.journal, encoding="utf-8") as file:
            given_up = "\n".join(line for line in file if '"undelivered ' in line or '"dropped ' in line)
        for name, notice in self.noticed.items():
            if int(name[1:]) >= doc["nextNotice"]:  # of a save that was undone, for a person had saved first
                continue
            for channel in notice["channels"]:
                is_known = name in self.got[channel] or json.dumps(notice["text"], ensure_ascii=False) in given_up
                self.expect(is_known or channel not in channels, "11", name, "never came to", channel)

    def _check_metrics(self) -> None:
        """Each end of a task is recorded once, and no completion is missing (SPEC 7.2, 12.3)."""
        found = []
        with suppress(FileNotFoundError), _open(self.path.with_name("work_metrics.json"), "rb") as file:
            found = json.loads(file.read())["sprints"]
        ends = Counter((one["sprint"], one["attempt"]) for one in found)
        self.expect(not ends or max(ends.values()) == 1, "12.3", "recorded twice:", ends.most_common(1))
        done = {one["sprint"] for one in found if one["status"] == "success"}
        missing = {*self.doc["completed"]} - done - {*self.touched}
        self.expect(not missing, "12.3", "completed and not recorded:", sorted(missing))


def succeeded(run: Run) -> bool:
    return run.result is not None and run.result.outcome is Outcome.SUCCEEDED and not run.attempt_is_analysis


def places(doc: Mapping[str, Any]) -> list[str]:
    live = [one["task"] for one in doc.get("attempts", ())]
    return [*(task for name in LISTS for task in doc.get(name, ())), *live]
