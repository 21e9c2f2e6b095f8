"""Three-way merge of a person's edit with what AWM wrote meanwhile, at the grain of the task (SPEC 4.6).

`base` is the state the person began with, `theirs` the file as they left it, `ours` the newest state AWM wrote: JSON
objects that validate. Their queue order, additions, removals and options win; our live attempts and results win, and
all that AWM counts and owes. Without a base only additions are taken. Pure: objects in, an object out.

What is in `ours` already is not a change again: a process killed in between leaves the same edit to be merged twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from awm_loop.core.model import Account, Attempt, Ended, Notice, StopReason, Task
from awm_loop.store.document import is_ours
from awm_loop.store.shape import IDENTITY, known_keys, shape_of

LISTS = ("queue", "completed", "failed", "skipped", "blocked")
FINISHED = ("completed", "failed", "skipped")
LIVE = "in progress"
SHOWN_MAX = 20  # ids of a queue in the words of a change
VALUE_CHARS_MAX = 40
# What the loop counts and owes: a person's copy of it is only older than ours.
COUNTED = (
    "version", "seq", "nextAttempt", "nextNotice", "nextProposal", "sinceReset", "contextShare", "reset", "pending",
    "spent", "closed", "fired", "proposals",
)  # fmt: skip
STANDING = ("active", "idleSince")  # one fact in two keys: at work, at rest, or paused (SPEC 4.4)
ENTRIES: Mapping[str, type] = {"attempts": Attempt, "outbox": Notice, "report": Ended}
TASK_KEYS = known_keys(shape_of(Task))
OPTIONS = frozenset(
    {"priority", "notBefore", "depends", "guidance", "agent", "verify"}
)  # of a task; the rest is what it met
FROZEN: Mapping[str, frozenset[str]] = {  # objects of objects, and which members of those are ours
    "tasks": TASK_KEYS - OPTIONS,
    "accounts": known_keys(shape_of(Account)) - {"deadline"},
    "channels": frozenset(),
}
PLAIN = ("sessions", "agentsOff", "projectOf")  # objects of texts, as `specFiles`
CONTAINERS = (*LISTS, *ENTRIES, *FROZEN, "specFiles", *PLAIN, "log")
BY_RULE = frozenset({*CONTAINERS, *COUNTED, *STANDING, "rev", "lastUpdated", "inProgress"})

State = Mapping[str, Any]
_ABSENT: Any = object()


class Merged(NamedTuple):
    """The merged state, and in words what of the edit was applied or put back: none where nothing that counts was."""

    state: dict[str, Any]
    changes: tuple[str, ...]


class _Sides(NamedTuple):
    """One value as the three states have it."""

    base: Any
    ours: Any
    theirs: Any

    def of(self, key: str, default: Any = _ABSENT) -> _Sides:
        return _Sides(*(side.get(key, default) for side in self))

    def value(self) -> Any:
        """Of three values: theirs where they changed it, else ours."""
        return self.ours if self.theirs == self.base else self.theirs


def merge(base: State | None, ours: State, theirs: State, earlier: State | None = None) -> Merged:
    """Merge. Where the person changed nothing, the state is ours, in the order and with the bytes' values of ours.

    Without a base, no task that an `earlier` state has is an addition: where ours lacks it, it was removed since.
    """
    changes: list[str] = []
    if base is None:
        base, theirs = ours, _additions(ours, theirs, _places(earlier or {}), changes)
    # A whole key left out decides nothing about what stood in it.
    sides = _Sides(base, ours, {name: base[name] for name in CONTAINERS if name in base} | dict(theirs))
    state = _settings(sides, list(theirs), changes)
    here, now = _places(ours), _wanted(base, sides.theirs)
    places, leaving = _placed(sides, here, now, changes)
    named = sides.theirs.get("inProgress")
    is_to_begin = places.get(named) == "queue" and named != base.get("inProgress") and not _may_have_begun(ours, named)
    state["inProgress"] = named if is_to_begin else ours.get("inProgress")  # SPEC 4.5: a fresh attempt
    state["queue"] = _queue(sides, places, changes)
    for name in LISTS[1:]:
        state[name] = [task for task in dict.fromkeys([*ours.get(name, []), *places]) if places.get(task) == name]
    for name, noun in ENTRIES.items():
        state[name] = _entries(sides.of(name, []), noun)
    _ask_to_end(state, leaving, sides.theirs, changes)
    for name in (*FROZEN, "specFiles", *(name for name in PLAIN if any(name in side for side in sides))):
        state[name] = _members(sides.of(name, {}), FROZEN.get(name))
    _forget(state, {*_places(base)} - {*now, *places})
    _tell_members(state, ours, {task for task in {*here, *places} if here.get(task) != places.get(task)}, changes)
    state["log"] = _log(sides.of("log", []), ours.get("seq", 0))
    return Merged({key: state[key] for key in dict.fromkeys([*theirs, *ours, *state]) if key in state}, tuple(changes))


def as_delivered(ours: State, theirs: State) -> State:
    """`ours`, with the outbox as a later state of the same `seq` has it, of which a power loss took our copy.

    What AWM saved in between are proofs and deliveries. A proof comes again by itself; a delivery shall not. A person
    who only counts `rev` on loses nothing: of the rest, ours stands.
    """
    mine: Any = ours["outbox"]
    left: Any = theirs.get("outbox", mine)
    known = {entry["id"] for entry in mine}
    return {**ours, "outbox": [entry for entry in left if entry["id"] in known]}


def _additions(ours: State, theirs: State, known: Mapping[str, str], changes: list[str]) -> dict[str, Any]:
    """Ours with what is new in theirs: tasks, what is said of them, and keys that are not AWM's."""
    here = dict.fromkeys(known, "") | _places(ours)
    new = {task for task in _places(theirs) if task not in here}
    result = dict(ours) | {key: value for key, value in theirs.items() if key not in BY_RULE and key not in ours}
    for name in LISTS:
        result[name] = [*ours.get(name, []), *(task for task in theirs.get(name, []) if task in new)]
    if theirs.get("inProgress") in new:
        result["inProgress"] = theirs["inProgress"]
    result["queue"] += sorted(new - {*_places(result)})  # in `attempts` alone
    for name in ("tasks", "specFiles", "projectOf"):
        if name not in theirs:
            continue
        known = ours.get(name, {})
        unknown = {key: value for key, value in theirs.get(name, {}).items() if key not in known and key not in here}
        result[name] = {**known, **unknown}
    said = [entry for entry in theirs.get("log", []) if not is_ours(entry, ours.get("seq", 0))]
    result["log"] = [*ours.get("log", []), *(entry for entry in said if entry not in ours.get("log", []))]
    settings = [key for key in theirs if key in ours and (key in STANDING or key not in BY_RULE)]
    is_queue_other = _in_both(theirs["queue"], ours["queue"]) != ours["queue"]
    if is_queue_other or any(theirs[key] != ours[key] for key in settings):
        changes.append("only what is new was taken: the rev it carries is not known here")
    finished = [task for task in theirs["queue"] if here.get(task) in FINISHED]
    if finished:
        changes.append(f"{_listed(finished)} finished before: `awm retry TASK` runs one again")
    return result


def _settings(sides: _Sides, order: Sequence[str], changes: list[str]) -> dict[str, Any]:
    """Every key that is no list of tasks or object of entries, three ways; the counted ones are ours."""
    base, ours, theirs = sides
    state: dict[str, Any] = {}
    is_set = _standing(theirs) not in {_standing(base), _standing(ours)}
    if is_set:
        is_active, idle_since = _standing(theirs)
        changes.append(f"the loop {'set to work' if is_active else 'set to rest' if idle_since else 'paused'}")
    for key in dict.fromkeys([*order, *ours]):
        three = sides.of(key)
        if key in STANDING:
            value = three.theirs if is_set else three.ours
        elif key in BY_RULE:
            value = three.ours
            if key in COUNTED and three.theirs not in (_ABSENT, three.base, three.ours):
                changes.append(f"{key} put back, it is counted by AWM")
        else:
            value = three.value()
            if value != three.ours:
                changes.append(_set_to(key, value))
        if value is not _ABSENT:
            state[key] = value
    return state


def _standing(state: State) -> tuple[bool, Any]:
    active = state.get("active", True)
    return active, None if active else state.get("idleSince")


def _places(state: State) -> dict[str, str]:
    """Where each task of a state of ours stands; in progress wins over queue, as in the published form (SPEC 4.1)."""
    found = {task: name for name in LISTS for task in state.get(name, [])}
    running = [entry["task"] for entry in state.get("attempts", [])]
    return found | {task: LIVE for task in [*running, state.get("inProgress")] if task}


def _wanted(base: State, theirs: State) -> dict[str, str]:
    """Where each task of an edit is to stand.

    `inProgress` is how people know the oldest live task: taken out of it, it is to leave, though `attempts` may list it
    still. Another live task is known by `attempts` alone; emptied as a whole, that says nothing of any.
    """
    found = {task: name for name in LISTS for task in theirs.get(name, [])}
    listed = [entry["task"] for entry in theirs.get("attempts", [])]
    live = [entry["task"] for entry in base.get("attempts", [])]
    named, oldest = theirs.get("inProgress"), base.get("inProgress")
    for task in live:
        is_elsewhere = task in found
        if task == oldest:
            stays = bool(named) and task in listed and not is_elsewhere
        else:
            stays = task in listed or not (listed or is_elsewhere)
        if stays:
            found[task] = LIVE
    found |= {task: "queue" for task in listed if task not in live and task not in found}  # nobody runs it
    return found | {task: LIVE for task in [named] if task}


def _placed(
    sides: _Sides, here: Mapping[str, str], now: Mapping[str, str], changes: list[str]
) -> tuple[dict[str, str], dict[str, str | None]]:
    """Where each task stands after the merge, and where the live ones are wanted that are to end first."""
    was, places = _places(sides.base), dict(here)
    leaving: dict[str, str | None] = {}
    for task in dict.fromkeys([*was, *now]):
        old, new, mine = was.get(task), now.get(task), here.get(task)
        if new in {old, mine}:
            continue
        if mine == LIVE:
            leaving[task] = new
        elif mine in FINISHED and new in {"queue", LIVE}:
            if old in {mine, None}:
                changes.append(f"{task} is {mine} and was put back there: `awm retry {task}` runs it again")
        elif mine in LISTS[1:] and mine != old:
            continue  # it came to that meanwhile: the result stays
        elif new is None:
            del places[task]
            changes.append(f"{task} removed from {mine}")
        elif new != LIVE:
            places[task] = new
            changes.append(f"{task} moved from {mine} to {new}" if mine else f"{task} added to {new}")
        elif not (mine == "queue" and _may_have_begun(sides.ours, task)):
            places[task] = "queue"
            changes.append(f"{task} put in progress")
    return places, leaving


def _may_have_begun(ours: State, task: str) -> bool:
    """Whether it was put in progress by this edit or another one already."""
    return bool(ours.get("tasks", {}).get(task, {}).get("workMayExist"))


def _queue(sides: _Sides, places: Mapping[str, str], changes: list[str]) -> list[str]:
    """Their order where they changed it, else ours; what only one side has keeps its neighbour."""
    base, ours, theirs = sides.of("queue", [])
    is_reordered = _in_both(theirs, base) != _in_both(base, theirs)
    woven = _woven(theirs, ours) if is_reordered else _woven(ours, theirs)
    queue = [task for task in dict.fromkeys([*woven, *places]) if places.get(task) == "queue"]
    if is_reordered and _in_both(queue, ours) != _in_both(ours, queue):
        changes.append(f"queue reordered: {_listed(queue)}")
    return queue


def _woven(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """`first` in its order, with what only `second` has behind the neighbour it has there; its tail at the end."""
    shared = {*first} & {*second}
    tail = len(second) - next((at for at, task in enumerate(reversed(second)) if task in shared), len(second))
    after: dict[str | None, list[str]] = {}
    neighbour = None
    for task in second[:tail]:
        if task in shared:
            neighbour = task
        else:
            after.setdefault(neighbour, []).append(task)
    found = [*after.get(None, [])]
    for task in first:
        found += [task, *after.get(task, [])]
    return [*found, *(task for task in second[tail:] if task not in shared)]


def _in_both(of: Sequence[str], also: Collection[str]) -> list[str]:
    wanted = {*also}
    return [task for task in of if task in wanted]


def _ask_to_end(state: State, leaving: Mapping[str, str | None], theirs: State, changes: list[str]) -> None:
    """A live task that is wanted elsewhere: its attempt bears the request, and then goes where it is wanted.

    Among the finished it is wanted without a success of its own: it is skipped. If it succeeds first, the result wins.
    """
    for entry in state["attempts"]:
        if entry["task"] not in leaving:
            continue
        task, wanted = entry["task"], leaving[entry["task"]]
        request = {"stop": StopReason.SKIP.value, "before": ""}
        words = f"moved to {wanted}"
        if wanted is None:
            request, words = {"stop": StopReason.REMOVED.value, "before": ""}, "removed"
        elif wanted == "queue":
            following = theirs["queue"][theirs["queue"].index(task) + 1 :] if task in theirs["queue"] else []
            before = next((other for other in following if other in state["queue"]), "")
            request, words = {"stop": StopReason.REQUEUED.value, "before": before}, "put back into the queue"
        if any(entry.get(key) != value for key, value in request.items()):
            entry.update(request)
            changes.append(f"{task} {words} while it runs: asked to end")


def _entries(sides: _Sides, noun: type) -> list[dict[str, Any]]:
    """The entries of ours, with what the person wrote beside our keys in them."""
    identity, frozen = IDENTITY[noun], known_keys(shape_of(noun))
    base, _, theirs = ({tuple(one.get(key) for key in identity): one for one in side} for side in sides)
    result = []
    for entry in sides.ours:
        name = tuple(entry.get(key) for key in identity)
        result.append(_laid(_Sides(base.get(name, {}), entry, theirs.get(name, base.get(name, {}))), frozen))
    return result


def _members(sides: _Sides, frozen: frozenset[str] | None) -> dict[str, Any]:
    """An object of objects, member by member; of plain values where `frozen` is None."""
    if frozen is None:
        return _laid(sides, frozenset())
    result: dict[str, Any] = {}
    for key in dict.fromkeys([*sides.theirs, *sides.ours]):
        if key in sides.base or key in sides.ours:
            entry = _laid(sides.of(key, {}), frozen)
            if entry or (key in sides.theirs and key in sides.ours):
                result[key] = entry
        else:
            result[key] = sides.theirs[key]
    return result


def _laid(sides: _Sides, frozen: frozenset[str]) -> dict[str, Any]:
    """An object merged by its keys; `frozen` ones are ours."""
    found = {}
    for key in dict.fromkeys([*sides.theirs, *sides.ours]):
        three = sides.of(key)
        found[key] = three.ours if key in frozen else three.value()
    return {key: value for key, value in found.items() if value is not _ABSENT}


def _forget(state: State, gone: Collection[str]) -> None:
    """Of a task that is removed only what is not AWM's stays."""
    for task in gone:
        state.get("projectOf", {}).pop(task, None)
        entry = state["tasks"].pop(task, {})
        if foreign := {key: value for key, value in entry.items() if key not in TASK_KEYS}:
            state["tasks"][task] = foreign


def _tell_members(state: State, ours: State, moved: Collection[str], changes: list[str]) -> None:
    """What was said of tasks that are neither new nor gone, of accounts and of channels."""
    for name, label in (("tasks", "options of "), ("accounts", "account "), ("channels", "channel ")):
        for key in dict.fromkeys([*state[name], *ours.get(name, {})]):
            new, old = state[name].get(key, {}), ours.get(name, {}).get(key, {})
            parts = [part for part in dict.fromkeys([*new, *old]) if new.get(part, _ABSENT) != old.get(part, _ABSENT)]
            if parts and not (name == "tasks" and key in moved):
                changes.append(f"{label}{key}: {', '.join(_set_to(part, new.get(part, _ABSENT)) for part in parts)}")
    off, before = state.get("agentsOff", {}), ours.get("agentsOff", {})
    for key in dict.fromkeys([*off, *before]):
        if (key in off) != (key in before):
            changes.append(f"agent {key} turned {'off' if key in off else 'on'}")
    for name, label in (("specFiles", "spec of "), ("projectOf", "project of ")):
        new, old = state.get(name, {}), ours.get(name, {})
        for key in dict.fromkeys([*new, *old]):
            if key not in moved and new.get(key) != old.get(key):
                changes.append(f"{label}{_set_to(key, new.get(key, _ABSENT))}")


def _log(sides: _Sides, seq: int) -> list[Any]:
    """Our entries; those of others as the person left them."""
    base, ours, theirs = ([entry for entry in side if not is_ours(entry, seq)] for side in sides)
    gone = [entry for entry in base if entry not in theirs]
    new = [entry for entry in theirs if entry not in base and entry not in ours]
    return [*(entry for entry in sides.ours if entry not in gone), *new]


def _set_to(key: str, value: Any) -> str:
    if value is _ABSENT:
        return f"{key} removed"
    text = json.dumps(value, ensure_ascii=False)
    return f"{key} set to {text}" if len(text) <= VALUE_CHARS_MAX else f"{key} changed"


def _listed(tasks: Sequence[str]) -> str:
    return " ".join(tasks[:SHOWN_MAX]) + (" …" if len(tasks) > SHOWN_MAX else "")
