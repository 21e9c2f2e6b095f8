"""`current_work.json` and the core's `Work` are one thing in two shapes (SPEC 4.1-4.7, 9.1)."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from example import ATTEMPT, DEFAULT_AGENT, FULL, NOW, PATH, read, read_both, write

from awm_loop.core.model import Account, Deadline, Instant, LogEntry, Phase, Reset, StopReason, Task, Work
from awm_loop.errors import BadFileError
from awm_loop.ports import Settings
from awm_loop.store import document, jsontext

SEED = {  # seeds/work-loop.md, as published
    "active": True,
    "task": "my-project-sprints",
    "description": "Build features for my app",
    "queue": ["S3", "S4", "S5"],
    "completed": ["S1", "S2"],
    "inProgress": "S3",
    "specFiles": {
        "S1": "/path/to/SPRINT_S1_SPEC.md",
        "S2": "/path/to/SPRINT_S2_SPEC.md",
        "S3": "/path/to/SPRINT_S3_SPEC.md",
    },
    "project": "/path/to/your/project",
    "notifyUser": True,
    "retryOnRateLimit": True,
    "rateLimitRetryMinutes": 15,
    "maxRetries": 3,
    "autoNewAfterSprints": 3,
    "log": [],
}
STARTER = {  # SPEC 4.1, as published
    "_comment": "Copy this to current_work.json and fill in your project details",
    "active": True,
    "task": "my-project-sprints",
    "description": "Autonomous sprint queue for my project",
    "queue": ["S1", "S2", "S3"],
    "completed": [],
    "inProgress": None,
    "specFiles": {f"S{n}": f"/path/SPRINT_S{n}_SPEC.md" for n in (1, 2, 3)},
    "project": "/path/to/your/project",
    "notifyUser": True,
    "retryOnRateLimit": True,
    "rateLimitRetryMinutes": 15,
    "maxRetries": 3,
    "autoNewAfterSprints": 3,
    "createdAt": "2026-01-01T00:00:00Z",
    "lastUpdated": "2026-01-01T00:00:00Z",
    "log": [],
}

# The published forms


def test_the_seeds_example_is_valid_as_it_stands() -> None:
    """The form of seeds/work-loop.md, with S3 queued and in progress at once: it counts as in progress (SPEC 4.1, 4.5)."""
    assert read_both(SEED) == (
        Work(
            active=True,
            idle_since=None,
            project="/path/to/your/project",
            queue=("S3", "S4", "S5"),
            completed=("S1", "S2"),
            spec_files=SEED["specFiles"],  # type: ignore[arg-type]
            tasks={"S3": Task(id="S3", work_may_exist=True)},
        ),
        Settings(max_retries=3, retry_on_limit=True, limit_retry_minutes=15.0, notify_user=True, reset_after=3),
    )


def test_the_starter_file_is_valid_as_it_stands() -> None:
    """The starter file of SPEC 4.1."""
    assert read_both(STARTER) == (
        Work(
            active=True,
            idle_since=None,
            project="/path/to/your/project",
            queue=("S1", "S2", "S3"),
            completed=(),
            spec_files=STARTER["specFiles"],  # type: ignore[arg-type]
        ),
        Settings(max_retries=3, retry_on_limit=True, limit_retry_minutes=15.0, notify_user=True, reset_after=3),
    )


def test_the_published_keys_keep_their_place_and_ours_follow() -> None:
    """Names, order and what AWM has no field for are kept, `_comment` and `createdAt` too (SPEC 4.1, 4.2)."""
    written = write(read(STARTER), STARTER, rev=7)

    assert list(written)[: len(STARTER)] == list(STARTER)
    assert {key: written[key] for key in STARTER} == STARTER | {"lastUpdated": "2026-11-21T12:00:00Z"}
    assert {key: written[key] for key in written if key not in STARTER} == {
        "version": 1,
        "rev": 7,
        "failed": [],
        "skipped": [],
        "blocked": [],
        "idleSince": None,
        "rateLimitedUntil": None,
        "nextAttempt": 1,
        "nextNotice": 1,
        "sinceReset": 0,
        "contextShare": 0.0,
        "reset": None,
        "tasks": {},
        "attempts": [],
        "accounts": {},
        "projectOf": {},
        "spent": {},
        "closed": {},
        "fired": {},
        "proposals": [],
        "nextProposal": 1,
        "sessions": {},
        "agentsOff": {},
        "pending": None,
        "outbox": [],
        "channels": {},
        "report": [],
        "seq": 0,
    }


@pytest.mark.parametrize("change", [{"inProgress": None}, {"inProgress": ""}, {}], ids=["null", "empty", "absent"])
def test_nothing_in_progress_is_said_in_three_ways(change: dict[str, object]) -> None:
    """Null, "" and absent are the same (SPEC 4.1), with and without an attempt of ours, which wins (SPEC 4.6)."""
    bare = {key: value for key, value in STARTER.items() if key != "inProgress"} | change
    live = {key: value for key, value in FULL.items() if key != "inProgress"} | change

    assert read(bare) == read(STARTER)
    assert read(live) == read(FULL)
    assert write(read(live), live)["inProgress"] == "S1"


def test_a_task_in_progress_by_somebody_elses_word_goes_first() -> None:
    """It need not be queued, keeps its options, and is told that earlier work may exist (SPEC 4.5)."""
    work = read({"queue": ["S1", "S2"], "inProgress": "S9", "tasks": {"S9": {"tries": 2}}})

    assert (work.queue, work.tasks) == (("S9", "S1", "S2"), {"S9": Task(id="S9", tries=2, work_may_exist=True)})


def test_a_live_task_that_is_queued_too_is_live_only() -> None:
    """A task counts as in progress where it is in both (SPEC 4.1, 4.3)."""
    assert read(FULL | {"queue": ["S2", "S1", "S3"]}) == read(FULL)


# What people edit

LATER = Instant(wall=NOW.wall + timedelta(seconds=100), boottime=NOW.boottime + 100, boot_id=NOW.boot_id)


def waits(work: Work, now: Instant) -> dict[str, float | None]:
    """For each account, how long it stays closed; None where it is open."""
    return {
        name: None if account.deadline is None else account.deadline.remaining_seconds(now)
        for name, account in work.accounts.items()
    }


def limited(**changes: object) -> dict[str, Any]:
    """A file in which AWM closed two accounts, for 300 s and for 900 s; then `changes` by hand."""
    accounts = {
        name: Account(name=name, deadline=Deadline.after(seconds, NOW), source="result file", agent="codex")
        for name, seconds in (("openai", 300.0), ("google", 900.0))
    }
    raw = write(replace(read({"queue": ["S1"]}), accounts=accounts), {"queue": ["S1"]})
    assert raw["rateLimitedUntil"] == raw["accounts"]["openai"]["deadline"] == "2026-11-21T12:05:00Z"
    return raw | changes


@pytest.mark.parametrize(
    ("until", "openai"),
    [
        ("2026-11-21T12:05:00Z", 200.0),
        ("2026-11-21T14:05:00+02:00", 200.0),
        ("2026-11-21T12:02:00Z", 20.0),
        ("2026-11-21T12:10:00Z", 500.0),
        ("2026-11-21T13:00:00+01:00", -100.0),
    ],
    ids=["as written", "in another zone", "earlier", "later", "past"],
)
def test_the_earliest_account_follows_a_hand_edited_rate_limited_until(until: str, openai: float) -> None:
    """A hand-edited deadline wins; other accounts keep theirs (SPEC 4.2, 9.1)."""
    assert waits(read(limited(rateLimitedUntil=until), LATER), LATER) == {"openai": openai, "google": 800.0}


def test_removing_rate_limited_until_opens_every_account() -> None:
    """Null, "" and no key at all are the same word of the person's (SPEC 4.1, 9.1)."""
    removed = limited()
    del removed["rateLimitedUntil"]

    found = [
        waits(read(raw, LATER), LATER)
        for raw in (limited(rateLimitedUntil=None), limited(rateLimitedUntil=""), removed)
    ]

    assert found == [{"openai": None, "google": None}] * 3


@pytest.mark.parametrize(
    ("change", "openai"),
    [
        ({"deadline": "2026-11-21T12:02:00Z"}, 20.0),
        ({"deadline": "2026-11-21T12:20:00Z"}, 1100.0),
        ({"deadline": None}, None),
        ({"deadline": None, "deadlineClock": None}, None),
    ],
    ids=["earlier", "later", "null", "null with its clock"],
)
def test_a_hand_edited_account_wins_though_rate_limited_until_is_as_it_was(
    change: dict[str, object], openai: float | None
) -> None:
    """The person changed one of the two places and means it (SPEC 9.1); once the other undid it."""
    raw = limited()
    raw["accounts"]["openai"] |= change
    raw["rateLimitedUntil"] = None if change.get("deadlineClock", 0) is None else raw["rateLimitedUntil"]

    assert waits(read(raw, LATER), LATER)["openai"] == openai


def test_rate_limited_until_without_a_limit_closes_the_default_agents_account() -> None:
    """A person says "not before"; their word counts from now (SPEC 9.1, 9.2)."""
    work = read({"queue": ["S1"], "rateLimitedUntil": "2026-11-21T13:00:00Z"})

    deadline = Deadline(until=NOW.wall + timedelta(hours=1), left_seconds=3600.0, set_at=NOW)
    assert work.accounts == {
        "local-account": Account(name="local-account", deadline=deadline, source="by hand", agent="local")
    }


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"notBefore": "2026-11-21T12:10:00Z"}, 500.0),
        ({"notBefore": "2026-11-21T12:01:00Z"}, -40.0),
        ({"notBefore": None}, None),
        ({"notBefore": "2026-11-21T12:05:00Z"}, 200.0),
    ],
    ids=["later", "earlier", "removed", "as written"],
)
def test_a_hand_edited_not_before_wins(options: dict[str, object], left: float | None) -> None:
    """Options of people win (SPEC 4.6)."""
    raw = {**FULL, "tasks": {"S2": FULL["tasks"]["S2"] | options}}

    found = read(raw, LATER).task("S2").not_before

    assert (found and found.remaining_seconds(LATER)) == left


def test_a_deadline_awm_wrote_counts_by_the_boot_clock_whatever_the_wall_says() -> None:
    """Clock jumps of a day either way make nothing early or late within a boot; a reboot takes the wall (SPEC 9.2)."""
    jumped = [replace(LATER, wall=LATER.wall + timedelta(days=days)) for days in (-1, 1)]
    booted = Instant(wall=LATER.wall, boottime=30.0, boot_id="next")

    found = [waits(read(limited(), now), now)["openai"] for now in (*jumped, booted)]

    assert found == [200.0, 200.0, 200.0]


def test_active_by_hand_ends_the_rest_and_inactive_by_hand_is_a_pause() -> None:
    """`idleSince` counts only beside `active: false` (SPEC 4.4)."""
    since = "2026-11-21T11:00:00Z"
    flags = [{"active": True, "idleSince": since}, {"active": False, "idleSince": since}, {"active": False}]

    works = [read({"queue": [], **given}) for given in flags]

    assert [(work.active, work.idle_since, work.paused) for work in works] == [
        (True, None, False),
        (False, NOW.wall - timedelta(hours=1), False),
        (False, None, True),
    ]


def test_an_account_begun_by_hand_needs_no_more_than_its_deadline() -> None:
    """People may close an account with one key (SPEC 9.1)."""
    work = read({"queue": [], "accounts": {"openai": {"deadline": "2026-11-21T13:00:00Z"}}, "rateLimitedUntil": None})

    deadline = Deadline(until=NOW.wall + timedelta(hours=1), left_seconds=3600.0, set_at=NOW)
    assert work.accounts == {"openai": Account(name="openai", deadline=deadline, source="", agent="")}


# A reset, a gate, a worktree, an analysis

AT_REST = {key: value for key, value in FULL.items() if key not in {"attempts", "pending", "inProgress"}}
RESET = Reset(key="reset.41")


@pytest.mark.parametrize(
    "changes",
    [
        {"since_reset": 3, "context_share": 0.875},
        {"since_reset": 3, "reset": Phase.RESETTING, "pending": RESET},
        {"reset": Phase.RESUMING},
    ],
    ids=["counted", "promised", "done, not told"],
)
def test_a_reset_goes_on_where_it_was(changes: dict[str, Any]) -> None:
    """Its counters, its step and its promise survive in the state (SPEC 11.1, 15.4)."""
    work = replace(read(AT_REST), **changes)

    written = write(work, AT_REST)

    assert read(written) == work
    assert (written["sinceReset"], written["contextShare"], written["reset"], written["pending"]) == (
        work.since_reset,
        work.context_share,
        work.reset,
        {"effect": "reset", "key": "reset.41"} if work.pending else None,
    )


@pytest.mark.parametrize(
    ("fields", "reset_after"), [({}, 0), ({"autoNewAfterSprints": 0}, 0), ({"autoNewAfterSprints": 5}, 5)]
)
def test_how_many_sprints_make_a_reset_is_a_published_field(fields: dict[str, Any], reset_after: int) -> None:
    """`autoNewAfterSprints`; without it, or at 0, none is ever due by count (SPEC 4.1, 11.1)."""
    assert read_both({"queue": [], **fields})[1] == Settings(reset_after=reset_after)


def test_two_attempts_in_worktrees_of_their_own_are_read_back() -> None:
    """With gate, gate files, project and the place a re-queued one is to go to (SPEC 4.6, 7.5, 10)."""
    gated = {"verify": "pytest -q\n", "gate_files": ("tests/a.py", "b.py"), "gate_first": True, "is_worktree": True}
    first = replace(ATTEMPT, project="/project", workspace="/worktrees/a", **gated)
    second = replace(first, task="S2", number=5, workspace="/worktrees/b", is_analysis=True)
    second = replace(second, stop=StopReason.REQUEUED, before="S3")
    work = replace(read(FULL), attempts=(first, second), queue=("S3",), next_attempt=6, pending=None)

    written = write(work, FULL)

    assert read(written) == work
    assert (written["inProgress"], written["attempts"][1]["stop"], written["attempts"][1]["before"]) == (
        "S1",
        "requeued",
        "S3",
    )


def test_what_an_analysis_left_is_read_back_and_else_not_written() -> None:
    """The task's gate, branch, guidance and who took it over stand in its options (SPEC 4.2, 7.4, 10.1)."""
    task = Task(id="S2", verify="", branch="main", guidance=("Do not wait.",), analysis="done", agent="opus")
    raw = {"queue": ["S1", "S2"]}
    work = replace(read(raw), tasks={"S2": task})

    written = write(work, raw)

    assert read(written) == work
    assert written["tasks"] == {
        "S2": {"verify": "", "branch": "main", "guidance": ["Do not wait."], "analysis": "done", "agent": "opus"}
    }


# How much of it there may be


def test_the_file_keeps_the_newest_two_hundred_entries_of_ours_and_all_of_others() -> None:
    """SPEC 4.3; entries of others stay verbatim and where they were (SPEC 4.2)."""
    theirs: list[Any] = [
        "started by hand",
        {"seq": 2, "note": "no time, so not ours"},
        {"seq": 10**18, "at": "x", "what": "y"},
        7,
    ]
    entries = tuple(LogEntry(seq=seq, at=NOW.wall, what="row") for seq in range(1, 301))
    raw: dict[str, Any] = {"queue": [], "log": theirs[:2]}
    for end in (150, 300):
        work = replace(read(raw), log=entries[end - 150 : end], seq=end)
        raw = write(work, raw)
        raw["log"] += theirs[2:] if end == 150 else []

    ours = [document.log_line(entry) for entry in entries[100:]]
    assert raw["log"] == [*theirs[:2], *ours[:50], *theirs[2:], *ours[50:]]


def test_of_the_lists_that_grow_only_what_changed_is_made_anew() -> None:
    """A night of a thousand tasks costs its last turn no more than its first; what others wrote beside it stays."""
    raw = FULL | {
        name: [{**FULL[name][0], "mine": 1}, {**FULL[name][0], "id": "n2", "number": 2, "mine": 2}]
        for name in ("outbox", "report")
    }
    said = read(raw)
    told, ended = replace(said.outbox[1], text="told"), replace(said.report[1], notes="well done")
    work = replace(said, outbox=(said.outbox[0], told), report=(*said.report[:1], ended, replace(ended, number=3)))

    written: Any = document.write(work, raw, NOW, 2, said)

    for name, key in (("outbox", "text"), ("report", "notes")):
        assert written[name][0] is raw[name][0]
        assert written[name][1][key] != raw[name][1][key]
    assert written == document.write(work, raw, NOW, 2)


def test_ten_thousand_tasks_are_read_and_written_at_once() -> None:
    """Under 60 ms of processor for both, so that a beat of a long queue stays short (facts/perf.md)."""
    names = [f"S{number}" for number in range(10_000)]
    raw = {"queue": names, "specFiles": {name: f"/specs/{name}.md" for name in names}, "project": "/p"}
    data = jsontext.layout(raw)
    took = []
    for _ in range(9):
        begun = time.process_time()
        work = document.read(document.parse.__wrapped__(data, PATH), PATH, NOW, DEFAULT_AGENT)[0]
        document.write(work, raw, NOW, 1)
        took.append(time.process_time() - begun)

    assert len(work.queue) == 10_000
    assert min(took) < 0.060


# What is refused


def refusal(raw: object) -> tuple[str, str]:
    """The message after the path, and the hint."""
    with pytest.raises(BadFileError) as caught:
        read(raw)
    return caught.value.message.removeprefix(f"{PATH}:"), caught.value.hint


QUOTED = "numbers, true, false and null stand without quotes; times look like 2026-01-01T00:00:00Z"
OTHER = "see state/README.md for the type of each field"
WRONG = {
    # name: (fields beside the queue, message after the path, hint)
    "text for a number": ({"maxRetries": "3"}, "1:32: /maxRetries: should be a valid integer", QUOTED),
    "null for a list": ({"completed": None}, "1:31: /completed: should be a valid array", "an empty list is [], not null"),
    "text for a list": ({"failed": "S1"}, "1:28: /failed: should be a valid array", QUOTED),
    "a number for an id": ({"completed": ["S1", 2]}, "1:38: /completed/1: should be a valid string", OTHER),
    "true for a number": ({"rateLimitRetryMinutes": True}, "1:43: /rateLimitRetryMinutes: should be a valid number", OTHER),
    "one for true": ({"active": 1}, "1:28: /active: should be a valid boolean", OTHER),
    "a list for an object": ({"specFiles": []}, "1:31: /specFiles: should be an object", OTHER),
    "no minutes": ({"rateLimitRetryMinutes": 0}, "1:43: /rateLimitRetryMinutes: should be greater than 0", OTHER),
    "fewer than none": ({"maxRetries": -1}, "1:32: /maxRetries: should be greater than or equal to 0", OTHER),
    "a fraction of a count": ({"seq": 1.5}, "1:25: /seq: should be a valid integer", OTHER),
    "a count no reader takes back": ({"rev": 10**16}, "1:25: /rev: should be less than or equal to 1000000000000000", OTHER),
    "a negative try": ({"tasks": {"S1": {"tries": -9}}}, "1:44: /tasks/S1/tries: should be greater than or equal to 0", OTHER),
    "a time without a zone": (
        {"idleSince": "2026-01-01T00:00:00"},
        "1:31: /idleSince: should have timezone info",
        QUOTED,
    ),
    "a time no calendar has": (
        {"rateLimitedUntil": "0001-01-01T00:00:00+14:00"},
        "1:38: /rateLimitedUntil: should be greater than or equal to 2000-01-01T00:00:00Z",
        QUOTED,
    ),
    "no time": (
        {"tasks": {"S1": {"notBefore": "soon"}}},
        "1:48: /tasks/S1/notBefore: should be a valid datetime, input is too short",
        QUOTED,
    ),
    "a number for a time": ({"rateLimitedUntil": 1700000000}, "1:38: /rateLimitedUntil: should be a valid datetime", OTHER),
    "no priority": (
        {"tasks": {"S1": {"priority": "urgent"}}},
        "1:47: /tasks/S1/priority: should be 'critical', 'high', 'medium' or 'low'",
        QUOTED,
    ),
    "a NUL in a path": ({"project": "a\0b"}, "1:29: /project: string should match pattern '^[^\\x00]*$'", QUOTED),
    "a space in an id": (
        {"completed": ["S 1"]},
        "1:32: /completed/0: expected a task id: a letter or digit, then letters, digits, `.`, `_`, `-`, 64 at most",
        "rename the task, here and in specFiles",
    ),
    "a line end behind an id": (
        {"inProgress": "S1\n"},
        "1:32: /inProgress: expected a task id: a letter or digit, then letters, digits, `.`, `_`, `-`, 64 at most",
        "rename the task, here and in specFiles",
    ),
    "twice in a list": (
        {"completed": ["S1", "S2", "S1"]},
        "1:44: /completed/2: task S1 is also in /completed/0 (line 1, column 32); expected it in one list only",
        "remove S1 from one of the two",
    ),
    "in two lists": (
        {"completed": ["S1"], "blocked": ["S1"]},
        "1:51: /blocked/0: task S1 is also in /completed/0 (line 1, column 32); expected it in one list only",
        "remove S1 from one of the two",
    ),
    "queued and done": (
        {"completed": ["Q"]},
        "1:32: /completed/0: task Q is also in /queue/0 (line 1, column 12); expected it in one list only",
        "remove Q from one of the two",
    ),
    "done and in progress": (
        {"inProgress": "S1", "skipped": ["S1"]},
        "1:32: /inProgress: task S1 is also in /skipped/0 (line 1, column 50); expected it in one list only",
        "remove S1 from one of the two",
    ),
    "a reset that is no step": ({"reset": "working"}, "1:27: /reset: should be 'resetting' or 'resuming'", QUOTED),
    "more context than there is": ({"contextShare": 1.5}, "1:34: /contextShare: should be less than or equal to 1", OTHER),
    "null for a count": (
        {"autoNewAfterSprints": None},
        "1:41: /autoNewAfterSprints: should be a valid integer",
        "an empty list is [], not null",
    ),
    "an effect that is none": (
        {"pending": {"effect": "delete", "key": "x"}},
        "1:40: /pending/effect: should be 'launch', 'stop' or 'reset'",
        QUOTED,
    ),
    "no analysis": (
        {"tasks": {"S1": {"analysis": "soon"}}},
        "1:47: /tasks/S1/analysis: should be '', 'due' or 'done'",
        QUOTED,
    ),
    "of a newer version": (
        {"version": 2, "active": "yes"},
        "1:29: /version: expected version 1 or older: a newer AWM wrote this",
        "upgrade AWM: git pull",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_with_its_place_and_what_to_do(name: str) -> None:
    """File, line, column, pointer, what was expected, hint (SPEC 4.7); nothing is guessed ("3" is not 3)."""
    fields, message, hint = WRONG[name]

    said, hinted = refusal({"queue": ["Q"]} | fields)

    assert (
        said.partition(": '")[0] if "'" not in message else said[: len(message)],
        hinted,
    ) == (message, hint)


def test_another_programs_file_is_refused_with_the_names_it_has() -> None:
    """A file without `queue` is not "no work" (SPEC 4.7); the kit's other shape has `running` and `next`."""
    assert refusal({"running": None, "next": ["S1"], "focus": "x" * 99, "version": "2.0"}) == (
        "1:1: no `queue`: expected the fields of state/README.md, found: running, next, focus, version: '{'",
        "see state/current_work.example.json",
    )
    assert refusal({})[0].startswith("1:1: no `queue`: expected the fields of state/README.md, found: nothing")
    assert refusal(["S1"])[0].startswith("1:1: expected an object with a `queue`")
    assert len(refusal({"k" * 5000: 1})[0]) < 300


def test_a_live_task_in_a_terminal_list_is_refused_with_how_to_end_it() -> None:
    """Whoever moves a running task to `completed` learns what to do; the agent goes on untouched (SPEC 4.7)."""
    said, hint = refusal(FULL | {"completed": ["S1"], "inProgress": None})

    assert "/attempts/0/task: task S1 is also in /completed/0" in said
    assert hint == "S1 is running: take it out of `completed`; to end it, `awm skip S1` after that"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attempts": [*FULL["attempts"], {**FULL["attempts"][0], "task": "X", "number": 3}]}, "/attempts: no state can have this (guarantee 1: "),
        ({"attempts": [*FULL["attempts"], {**FULL["attempts"][0], "number": 3, "workspace": "/w"}]}, "/attempts: no state can have this (guarantee 4.3: "),
        ({"reset": "resetting"}, "/attempts: no state can have this (guarantee 13: "),
        ({"attempts": [{**FULL["attempts"][0], "verify": "a\0"}]}, "/attempts/0/verify: string should match pattern"),
        ({"attempts": [{**FULL["attempts"][0], "phase": "queued"}]}, "/attempts/0/phase: should be 'launching', 'running', 'stopping' or 'ended'"),
        ({"report": [{**FULL["report"][0], "outcome": "queued"}]}, "/report/0/outcome: should be 'completed', 'failed', 'skipped' or 'blocked'"),
        ({"tasks": {"S1": {"base": "--output=x"}}}, "/tasks/S1/base: string should match pattern '^[0-9a-f]*$'"),
    ],
    ids=["two in one workspace", "two of one task", "a reset beside it", "a NUL in a gate", "no phase of an attempt", "no end", "no commit"],
)  # fmt: skip
def test_a_state_that_no_save_would_write_is_refused_when_read(fields: dict[str, Any], message: str) -> None:
    """Else a beat would fail later, with a traceback and exit 70 (SPEC 6.3, 15)."""
    assert message in refusal(FULL | fields)[0]


def test_a_promise_about_an_attempt_that_was_taken_out_is_none() -> None:
    """Removing a live task is a request, also between a promise and its proof, and no bad file (SPEC 4.6)."""
    assert read(FULL | {"attempts": [], "inProgress": None}).pending is None


def test_counters_never_fall_below_what_is_live() -> None:
    """A `nextAttempt` set back or removed by hand gives no number twice (SPEC 8.1, 15.2)."""
    assert read(FULL | {"nextAttempt": 1}) == read(FULL)


def test_an_attempt_that_had_ended_is_looked_at_again() -> None:
    """`ended` is a step within one beat: what proves it is still there (SPEC 7.3)."""
    assert read(FULL | {"attempts": [{**FULL["attempts"][0], "phase": "ended"}]}).attempts == (ATTEMPT,)
