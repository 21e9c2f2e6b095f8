"""A person's edit, merged with what AWM wrote meanwhile (SPEC 4.6)."""

from __future__ import annotations

from typing import Any

import pytest
from example import ATTEMPT, FULL, read, write
from hypothesis import given
from hypothesis import strategies as st

from awm_loop.store.merge import FINISHED, LISTS, merge
from awm_loop.store.shape import entry_of

State = dict[str, Any]
OBJECTS: State = {name: {} for name in ("tasks", "specFiles", "accounts", "channels")}
EMPTY: State = {"rev": 1, "seq": 9, "active": True, "attempts": [], "outbox": [], "report": [], "log": [], **OBJECTS}


def state(queue: str = "", running: str = "", **fields: Any) -> State:
    """A state of ids given as words; other keys as they are."""
    words = {name: fields.pop(name, "").split() for name in LISTS[1:]}
    live = running.split()
    found = EMPTY | {"queue": queue.split(), "inProgress": live[0] if live else None, **words}
    found["attempts"] = [
        {"task": task, "number": number, "stop": None, "before": ""} for number, task in enumerate(live)
    ]
    return found | fields


def asked(of: State) -> dict[str, tuple[str, str]]:
    """The attempts that are to end, and where their tasks are to go."""
    return {one["task"]: (one["stop"], one["before"]) for one in of["attempts"] if one["stop"]}


def tasks_of(of: State) -> list[str]:
    """Every id, as often as it stands somewhere."""
    return [task for name in LISTS for task in of[name]] + [one["task"] for one in of["attempts"]]


# Places


def test_an_old_copy_saved_again_changes_nothing() -> None:
    """Our results win over it (SPEC 4.6)."""
    base, ours = state("S2", "S1"), state("", "S2", completed="S1")

    assert merge(base, ours, base) == (ours, ())


def test_order_additions_and_removals_are_theirs() -> None:
    """Their queue order, additions and removals win (SPEC 4.6)."""
    base = state("S1 S2 S3 S4")

    merged = merge(base, base, state("S5 S3 S2 S1"))

    assert merged.state == state("S5 S3 S2 S1")
    assert merged.changes == ("S4 removed from queue", "S5 added to queue", "queue reordered: S5 S3 S2 S1")


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "queue"),
    [
        ("S1 S2", "S1 S2 S9", "S2 S1", "S2 S1 S9"),  # `awm add` meanwhile
        ("S2 S3", "S1 S2 S3", "S3 S2", "S1 S3 S2"),  # S1 came back from its attempt meanwhile
        ("S1 S2 S3", "S3 S1 S2", "S1 S2 S9 S3", "S3 S1 S2 S9"),  # `awm retry` meanwhile, and one more behind S2
        ("S1 S2", "S1 S2", "S9 S1 S2", "S9 S1 S2"),  # at the head
        ("S1 S2 S3", "S2 S3", "S3 S1 S2", "S3 S2"),  # S1 was removed meanwhile
        ("S1 S2 S3", "S1 S2 S8 S3", "S3 S2 S1", "S3 S2 S8 S1"),  # keeps its neighbour
        ("", "S8", "S9", "S8 S9"),
    ],
)
def test_both_orders_meet(base: str, ours: str, theirs: str, queue: str) -> None:
    """Theirs where they changed it, else ours; what only one side has keeps its neighbour or its end (SPEC 4.6)."""
    assert merge(state(base), state(ours), state(theirs)).state["queue"] == queue.split()


@pytest.mark.parametrize("theirs", [state("S2"), state("S1 S2"), state("S2 S1", skipped="")])
def test_what_ended_meanwhile_stays_ended(theirs: State) -> None:
    """Our results win over a removal and over a move (SPEC 4.6)."""
    ours = state("S2", completed="S1")

    assert merge(state("S2", "S1"), ours, theirs) == (ours, ())


def test_a_task_that_came_back_from_its_attempt_meanwhile_is_removed() -> None:
    """It has no result that would win (SPEC 4.6)."""
    merged = merge(state("S2", "S1"), state("S1 S2"), state("S2"))

    assert (merged.state, merged.changes) == (state("S2"), ("S1 removed from queue",))


@pytest.mark.parametrize("place", FINISHED)
def test_a_finished_task_moved_into_the_queue_goes_back(place: str) -> None:
    """That is `awm retry`'s (SPEC 4.6)."""
    base = state("S2", **{place: "S1"})

    merged = merge(base, base, state("S2 S1"))

    assert merged.state == base
    assert merged.changes == (f"S1 is {place} and was put back there: `awm retry S1` runs it again",)


def test_a_blocked_task_moved_into_the_queue_stays_there() -> None:
    """It waited for a person (SPEC 7.2)."""
    base = state("S2", blocked="S1")

    merged = merge(base, base, state("S1 S2"))

    assert (merged.state, merged.changes) == (state("S1 S2"), ("S1 moved from blocked to queue",))


# Live tasks


@pytest.mark.parametrize(
    ("theirs", "request_", "words"),
    [
        (state("S2 S3"), ("removed", ""), "removed"),
        (state("S2 S3") | {"attempts": state("", "S1")["attempts"]}, ("removed", ""), "removed"),
        (state("S2 S1 S3"), ("requeued", "S3"), "put back into the queue"),
        (state("S2 S3 S1"), ("requeued", ""), "put back into the queue"),
        (state("S2 S1 S3") | {"attempts": state("", "S1")["attempts"]}, ("requeued", "S3"), "put back into the queue"),
        (state("S2 S3", completed="S1"), ("skip", ""), "moved to completed"),
    ],
)
def test_a_live_task_moved_by_hand_is_asked_to_end_first(theirs: State, request_: tuple[str, str], words: str) -> None:
    """Removed, re-queued or called done; whether or not `attempts` was touched with `inProgress` (SPEC 4.6)."""
    base = state("S2 S3", "S1")

    merged = merge(base, base, theirs)

    assert asked(merged.state) == {"S1": request_}
    assert merged.state | {"attempts": base["attempts"]} == base
    assert merged.changes == (f"S1 {words} while it runs: asked to end",)
    assert merge(base, merged.state, theirs) == (merged.state, ())


@pytest.mark.parametrize(
    "theirs",
    [
        state("S3", "S1 S2") | {"attempts": []},
        state("S1 S3", "S1 S2"),  # in both: in progress (SPEC 4.1)
        state("S2 S3", "S1 S2"),
        {key: value for key, value in state("S3", "S1 S2").items() if key != "attempts"},
    ],
)
def test_live_tasks_stay_live_though_what_awm_keeps_of_them_is_edited_away(theirs: State) -> None:
    """Nobody who empties `attempts` gets a second agent; it is said only where something was meant (SPEC 4.6, 15.1)."""
    base = state("S3", "S1 S2")

    assert merge(base, base, theirs) == (base, ())


def test_a_second_live_task_is_taken_out_of_attempts() -> None:
    """`inProgress` names the oldest only (SPEC 4.2, 4.6)."""
    base = state("S3", "S1 S2")
    theirs = state("S3", "S1")

    assert asked(merge(base, base, theirs).state) == {"S2": ("removed", "")}


def test_a_task_launched_meanwhile_and_removed_is_asked_to_end() -> None:
    """Removals win, live attempts are not forgotten (SPEC 4.6)."""
    base, ours = state("S1 S2"), state("S2", "S1")

    assert asked(merge(base, ours, state("S2")).state) == {"S1": ("removed", "")}
    assert merge(base, ours, state("S1 S2 S3")).state == state("S2 S3", "S1")


@pytest.mark.parametrize("running", ["", "S1"])
def test_a_task_put_in_progress_by_hand_is_to_be_begun(running: str) -> None:
    """Also one that is new; what runs goes on (SPEC 4.5)."""
    base = state("S2 S3", running)

    merged = merge(base, base, base | {"inProgress": "S9"})

    assert merged.state == base | {"queue": ["S2", "S3", "S9"], "inProgress": "S9"}
    assert merged.changes == ("S9 put in progress",)


# Settings, options, and what is counted


def test_settings_and_unknown_keys_are_theirs_in_their_place() -> None:
    """SPEC 4.2, 4.6: changed, added and removed ones; what they did not touch is ours."""
    base = state("S1", maxRetries=3, note="a", project="/p")
    ours = {**base, "rev": 7, "project": "/q"}
    theirs = {"mine": 1, **base, "maxRetries": 5}
    del theirs["note"]

    merged = merge(base, ours, theirs)

    assert merged.state == {"mine": 1} | {key: ours[key] for key in ours if key != "note"} | {"maxRetries": 5}
    assert next(iter(merged.state)) == "mine"
    assert merged.changes == ("mine set to 1", "maxRetries set to 5", "note removed")


def test_a_pause_by_hand_stands_though_the_loop_came_to_rest_meanwhile() -> None:
    """`active` and `idleSince` are one fact: else the next addition would end the pause (SPEC 4.4)."""
    base = state("S1", idleSince=None)
    ours = state(completed="S1", active=False, idleSince="2026-01-01T00:00:00Z")

    merged = merge(base, ours, base | {"active": False})

    assert (merged.state["active"], merged.state["idleSince"]) == (False, None)
    assert merged.changes == ("the loop paused",)
    assert merge(base, ours, base | {"note": 1}).state["idleSince"] == ours["idleSince"]


def test_what_awm_counts_and_owes_is_ours() -> None:
    """Put back with a word; a number that is given twice could double an agent (SPEC 4.6, 8.1)."""
    base = state("S1", nextAttempt=5, pending=None, outbox=[{"id": "n1", "text": "hm"}])

    merged = merge(base, base, base | {"nextAttempt": 1, "seq": 0, "outbox": []})

    assert merged.state == base
    assert merged.changes == ("seq put back, it is counted by AWM", "nextAttempt put back, it is counted by AWM")


def test_what_budgets_triggers_and_proposals_count_is_ours() -> None:
    """A person's copy of it is only older: nothing fires twice, nothing is spent twice (SPEC 4.6, 13.2, 13.3)."""
    base = state("S1", spent={"web": {"inAll": {"attempts": 1}}}, fired={}, closed={}, proposals=[], nextProposal=1)
    ours = base | {
        "spent": {"web": {"inAll": {"attempts": 2}}},
        "fired": {"nightly": {"key": "k1"}},
        "closed": {"web": "its budget"},
        "proposals": [{"id": "p1"}],
        "nextProposal": 2,
    }
    theirs = base | {"spent": {}, "fired": {"nightly": {"key": "k0"}}, "closed": {"x": "y"}, "nextProposal": 1}

    merged = merge(base, ours, theirs)

    assert merged.state == ours
    assert merged.changes == tuple(f"{key} put back, it is counted by AWM" for key in ("spent", "fired", "closed"))


def test_the_project_and_the_dependencies_of_a_task_are_theirs() -> None:
    """As its other options; what they did not touch stays as ours (SPEC 4.6)."""
    base = state("S1 S2", projectOf={"S1": "web"}, tasks={"S1": {"depends": ["S0"]}})
    ours = base | {"projectOf": {"S1": "web", "T1": "api"}}
    theirs = base | {"projectOf": {"S1": "api", "S2": "web"}, "tasks": {"S1": {"depends": ["S2"]}}}

    merged = merge(base, ours, theirs)

    assert merged.state["projectOf"] == {"S1": "api", "S2": "web", "T1": "api"}
    assert merged.state["tasks"] == {"S1": {"depends": ["S2"]}}
    assert merged.changes == (
        'options of S1: depends set to ["S2"]',
        'project of S1 set to "api"',
        'project of S2 set to "web"',
    )


def test_a_removed_task_leaves_no_project_behind() -> None:
    """One that is given its id later is of the project it names (SPEC 4.6)."""
    base = state("S1 S2", projectOf={"S1": "web", "S2": "web"})

    merged = merge(base, base, base | {"queue": ["S2"]})

    assert merged.state["projectOf"] == {"S2": "web"}
    assert merged.changes == ("S1 removed from queue",)


def test_with_an_unknown_base_additions_come_with_their_project() -> None:
    """And what is known already stays in its own (SPEC 4.6)."""
    ours = state("S1", projectOf={"S1": "web"})
    theirs = state("S1 S2", projectOf={"S1": "api", "S2": "api"}, rev=77)

    assert merge(None, ours, theirs).state["projectOf"] == {"S1": "web", "S2": "api"}


def test_options_are_theirs_and_what_attempts_left_is_ours() -> None:
    """Options win, results win; what is foreign in them is theirs (SPEC 4.2, 4.6)."""
    base = state("S1", tasks={"S1": {"tries": 1, "base": "abc", "colour": "red", "notBefore": "then"}})
    ours = state("S1", tasks={"S1": {"tries": 2, "base": "abc", "colour": "red", "notBefore": "later", "seconds": 9.0}})
    theirs = state("S1", tasks={"S1": {"tries": 0, "base": "mine", "colour": "blue", "priority": "high"}})

    merged = merge(base, ours, theirs)

    assert merged.state["tasks"] == {
        "S1": {"tries": 2, "base": "abc", "colour": "blue", "priority": "high", "seconds": 9.0}
    }
    assert merged.changes == ('options of S1: colour set to "blue", priority set to "high", notBefore removed',)


def test_a_limit_met_meanwhile_is_not_lost_by_an_edit_of_another() -> None:
    """No start before an account's deadline (SPEC 15.6); one opened by hand is open (SPEC 9.1)."""
    one = {"deadline": "then", "deadlineClock": {"until": "then"}, "source": "x", "agent": "a", "hits": 1}
    base, ours = state(accounts={"one": one}), state(accounts={"one": one, "two": one})

    merged = merge(base, ours, state(accounts={"one": one | {"deadline": None}}))

    assert merged.state["accounts"] == {"one": one | {"deadline": None}, "two": one}
    assert merged.changes == ("account one: deadline set to null",)


def test_an_account_taken_out_by_hand_is_open_and_its_clock_stays() -> None:
    """Else `rateLimitedUntil`, which is left, would pass for a deadline set by hand (SPEC 4.2, 9.1)."""
    one = {"deadline": "then", "deadlineClock": {"until": "then"}, "source": "x", "agent": "a", "hits": 1}
    base = state(accounts={"one": one}, rateLimitedUntil="then")

    merged = merge(base, base, base | {"accounts": {}})

    assert merged.state["accounts"] == {"one": {key: one[key] for key in one if key != "deadline"}}
    assert merged.changes == ("account one: deadline removed",)


def test_what_stands_beside_our_keys_in_an_attempt_and_in_the_log_is_theirs() -> None:
    """Unknown data survives (SPEC 4.2, 15.14)."""
    mine = {"seq": 1, "at": "then", "what": "x"}
    base = state("", "S1", log=["old", mine])
    ours = state("", "S1", log=["old", mine, mine | {"seq": 2}])
    theirs = state("", "S1", log=[mine, "new"])
    theirs["attempts"] = [base["attempts"][0] | {"stop": "skip", "note": [1]}]

    merged = merge(base, ours, theirs)

    assert merged.state["attempts"] == [base["attempts"][0] | {"note": [1]}]
    assert merged.state["log"] == [mine, mine | {"seq": 2}, "new"]
    assert merged.changes == ()


def test_of_a_removed_task_only_what_is_not_awms_stays() -> None:
    """Queued again later, it is a new one (SPEC 4.2, 4.6)."""
    base = state("S1 S2", tasks={"S1": {"tries": 3}, "S2": {"tries": 1, "mine": 1}})

    assert merge(base, base, base | {"queue": []}).state["tasks"] == {"S2": {"mine": 1}}


# An unknown rev


def test_without_a_base_only_additions_are_taken() -> None:
    """An unknown rev, and that is said (SPEC 4.6)."""
    ours = state("S2", "S1", completed="S0", project="/p", tasks={"S2": {"tries": 1}})
    theirs = state("S3 S1 S0", project="/other", mine=1, tasks={"S2": {"tries": 0}, "S3": {"priority": "high"}})

    merged = merge(None, ours, theirs)

    options = {"S2": {"tries": 1}, "S3": {"priority": "high"}}
    assert merged.state == ours | {"queue": ["S2", "S3"], "tasks": options, "mine": 1}
    assert merged.changes == (
        "only what is new was taken: the rev it carries is not known here",
        "S0 finished before: `awm retry TASK` runs one again",
        "mine set to 1",
        "S3 added to queue",
    )


# Laws

IDS = [f"S{number}" for number in range(6)]


@st.composite
def states(draw: st.DrawFn) -> State:
    """Any valid state of a few tasks: each in one place at most, two live at most, with some options."""
    places = draw(st.fixed_dictionaries({task: st.sampled_from([*LISTS, "nowhere", "live"]) for task in IDS}))
    order = [str(task) for task in draw(st.permutations(IDS))]
    live = [task for task in order if places[task] == "live"][:2]
    lists = {name: " ".join(task for task in order if places[task] == name) for name in LISTS[1:]}
    options = draw(
        st.dictionaries(st.sampled_from(IDS), st.fixed_dictionaries({"tries": st.integers(0, 2)}), max_size=2)
    )
    settings = draw(st.dictionaries(st.sampled_from(["maxRetries", "x", "active"]), st.integers(0, 2), max_size=2))
    settings["projectOf"] = draw(st.dictionaries(st.sampled_from(IDS), st.sampled_from(["web", "api"]), max_size=3))
    found = state(" ".join(task for task in order if places[task] == "queue"), " ".join(live), **lists, tasks=options)
    return found | settings


EDITS = st.tuples(st.none() | states(), states(), states())


@given(EDITS)
def test_whatever_is_edited_no_task_stands_twice_and_no_live_one_is_lost(
    edit: tuple[State | None, State, State],
) -> None:
    """SPEC 4.3, 4.6: each id in one place; attempts and results are ours; additions are never lost."""
    base, ours, theirs = edit
    merged = merge(*edit)
    ids = tasks_of(merged.state)

    assert len(ids) == len(set(ids))
    assert [one | {"stop": None, "before": ""} for one in merged.state["attempts"]] == ours["attempts"]
    added = set(tasks_of(theirs)) - set(tasks_of(base or {**ours}))
    assert added <= set(ids)
    removed = set() if base is None else set(tasks_of(base)) - set(tasks_of(theirs))
    assert set(tasks_of(ours)) - removed <= set(ids)
    for task in set(ids) & {task for name in FINISHED for task in ours[name]}:
        assert task not in merged.state["queue"]


def written(merged: State) -> State:
    """As the document writes it: a task put in progress waits in the queue, and is told that work may exist (SPEC 4.5)."""
    named, oldest = merged["inProgress"], next((one["task"] for one in merged["attempts"]), None)
    if named == oldest:
        return merged
    begun = {named: {**merged["tasks"].get(named, {}), "workMayExist": True}}
    return merged | {"inProgress": oldest, "tasks": merged["tasks"] | begun}


@given(EDITS)
def test_merged_twice_is_merged_once(edit: tuple[State | None, State, State]) -> None:
    """A kill between history and file leaves the same edit to be merged again (SPEC 4.6, 6.4)."""
    base, _, theirs = edit
    once = written(merge(*edit).state)

    again = merge(base, once, theirs)

    assert again.state == once
    assert [words for words in again.changes if "awm retry" not in words and "only what is new" not in words] == []


@given(states(), states())
def test_where_nothing_was_changed_ours_stands(base: State, ours: State) -> None:
    """Identity (SPEC 6.4)."""
    assert merge(base, ours, base) == (ours, ())
    assert merge(ours, ours, ours) == (ours, ())


@given(base=states(), theirs=states())
def test_an_edit_of_the_newest_state_is_what_stands_then(base: State, theirs: State) -> None:
    """With nothing written meanwhile their word is law, but for live tasks and retries (SPEC 4.6)."""
    merged = merge(base, base, theirs).state
    live = {one["task"] for one in (*base["attempts"], *theirs["attempts"])}
    retried = {task for name in FINISHED for task in base[name]} & set(theirs["queue"])
    free = [task for task in IDS if task not in live | retried]

    for name in LISTS:
        assert {*free} & {*merged[name]} == {*free} & {*theirs[name]}
    assert [task for task in merged["queue"] if task in free] == [task for task in theirs["queue"] if task in free]


def test_what_comes_of_a_full_file_is_read_again() -> None:
    """Every key of ours goes through the merge as the document wants it (SPEC 4.2)."""
    ours = FULL | {"attempts": [*FULL["attempts"]], "rev": 2}
    theirs = FULL | {"queue": ["S3", "S9"], "inProgress": None, "maxRetries": 7, "completed": []}

    merged = merge(FULL, ours, theirs)
    work = read(merged.state)

    assert (work.queue, work.completed, work.attempts[0].stop) == (("S3", "S9"), (), "removed")
    assert write(work, merged.state)["attempts"] == [entry_of(ATTEMPT) | {"stop": "removed"}]
