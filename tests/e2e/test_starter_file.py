"""The published state file, done from its first beat to its report (SPEC 4.1, 4.2, 4.4, 4.5, 12.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from home import Home

STARTER = """\
{"_comment": "Copy this to current_work.json and fill in your project details", "active": true, "task": "my-project-sprints",
 "description": "Autonomous sprint queue for my project", "queue": ["S1","S2","S3"], "completed": [], "inProgress": null,
 "specFiles": {"S1": "/path/SPRINT_S1_SPEC.md", "S2": "/path/SPRINT_S2_SPEC.md", "S3": "/path/SPRINT_S3_SPEC.md"},
 "project": "/path/to/your/project", "notifyUser": true, "retryOnRateLimit": true, "rateLimitRetryMinutes": 15, "maxRetries": 3,
 "autoNewAfterSprints": 3, "createdAt": "2026-01-01T00:00:00Z", "lastUpdated": "2026-01-01T00:00:00Z", "log": []}
"""
SEED = """\
{
  "active": true,
  "task": "my-project-sprints",
  "description": "Build features for my app",
  "queue": ["S3", "S4", "S5"],
  "completed": ["S1", "S2"],
  "inProgress": "S3",
  "specFiles": {
    "S1": "/path/to/SPRINT_S1_SPEC.md",
    "S2": "/path/to/SPRINT_S2_SPEC.md",
    "S3": "/path/to/SPRINT_S3_SPEC.md"
  },
  "project": "/path/to/your/project",
  "notifyUser": true,
  "retryOnRateLimit": true,
  "rateLimitRetryMinutes": 15,
  "maxRetries": 3,
  "autoNewAfterSprints": 3,
  "log": []
}
"""


def published(home: Home, text: str = STARTER) -> dict[str, Any]:
    """A published file with its paths made real, and no `awm.toml`."""
    (home.path / "awm.toml").unlink()
    for placeholder, real in (("/path/to/your/project", home.project), ("/path/to/", home.root), ("/path/", home.root)):
        text = text.replace(
            f'"{placeholder}', f'"{real}{"/" if placeholder.endswith("/") and "your" not in placeholder else ""}'
        )
    found: dict[str, Any] = json.loads(text)
    return found


def last_beat_said(home: Home) -> str:
    """What a beat prints once all is done and told."""
    home.wait_for(lambda: home.is_idle)
    done = home.heartbeat()
    assert (done.code, done.err) == (0, "")
    return done.out


def test_the_starter_file_is_done_in_order_with_every_notice(home: Home) -> None:
    """One beat sets it off, each end starts the next, and a later beat prints what there is to tell (SPEC 4.4, 6.5, 12.1)."""
    home.put(published(home))
    home.spec("S1", home.work("sleep 0.1"), title="Search bar implementation")
    home.spec("S2", title="Deep dive linking", header="**Est:** 30 min")
    home.spec("S3", title="Tidy up")

    first = home.heartbeat()

    assert (first.code, first.err) == (0, "")
    assert first.out == (
        "🚀 Sprint S1 started — Search bar implementation\n"
        "🤖 Model: Shell\n"
        "⏱️ ETA: unknown\n"
        "📋 Next up: S2 — Deep dive linking\n"
        "📊 Progress: 0/3 sprints done\n"
    )
    said = last_beat_said(home)
    commits = home.git("log", "--reverse", "--format=%s %h", "--abbrev=7").splitlines()
    assert [line.split()[0] for line in commits] == ["base", "S1", "S2", "S3"]
    c1, c2, c3 = (line.split()[1] for line in commits[1:])
    assert said == (
        f"✅ Sprint S1 COMPLETE — Search bar implementation. Commit {c1}\n"
        "⏱️ Duration: under 1 min\n"
        "🚀 Sprint S2 started — Deep dive linking\n"
        "🤖 Model: Shell\n"
        "⏱️ ETA: ~30 minutes (from the spec)\n"
        "📋 Next up: S3 — Tidy up\n"
        "📊 Progress: 1/3 sprints done\n"
        f"✅ Sprint S2 COMPLETE — Deep dive linking. Commit {c2}\n"
        "⏱️ Duration: under 1 min (est was 30 min)\n"
        "🚀 Sprint S3 started — Tidy up\n"
        "🤖 Model: Shell\n"
        "⏱️ ETA: under 1 min (based on avg from metrics)\n"
        "📋 Next up: nothing, this is the last\n"
        "📊 Progress: 2/3 sprints done\n"
        f"✅ Sprint S3 COMPLETE — Tidy up. Commit {c3}\n"
        "⏱️ Duration: under 1 min (est was under 1 min)\n"
        "3 sprints done — saving state and resetting.\n"
        "✅ Reset complete. Fresh session online.\n"
        "📊 3 done, nothing left in the queue\n"
        "🏁 Queue finished — 3 of 3 sprints completed\n"
        f"✅ S1 completed — under 1 min, 1 attempt, commit {c1}\n"
        f"✅ S2 completed — under 1 min, 1 attempt, commit {c2}\n"
        f"✅ S3 completed — under 1 min, 1 attempt, commit {c3}\n"
    )
    again = home.heartbeat()
    assert (again.code, again.out, again.err) == (0, "", "")
    state = home.state()
    lists = {"queue": [], "completed": ["S1", "S2", "S3"], "failed": [], "skipped": [], "blocked": []}
    assert {key: state[key] for key in lists} == lists
    assert (state["active"], state["inProgress"]) == (False, None)
    assert state["idleSince"] is not None
    assert home.begun() == ["S1", "S2", "S3"]


def test_keys_that_awm_does_not_know_stay_in_place(home: Home) -> None:
    """At every level: beside ours, in task options, in spec files, in the log; the published order stands (SPEC 4.2)."""
    odd = {"x-mine": {"a": [1, {"b": None}], "é\u2028": "\t"}, "big": 12345678901234567890, "zero": 0.0}
    before = published(home) | {
        "tasks": {"S1": {"myNote": ["keep"]}, "S9": {"later": True}},
        "log": ["started by hand", {"who": "me", "seq": "none"}],
    }
    before["specFiles"]["S9"] = "not/queued.md"
    before = {"_first": 1, **before, **odd}
    home.put(before)
    for task in ("S1", "S2", "S3"):
        home.spec(task)

    home.finish()

    state = home.state()
    ours = {"active": False, "queue": [], "completed": ["S1", "S2", "S3"], "lastUpdated": state["lastUpdated"]}
    ours["log"] = before["log"] + home.journal()
    assert list(state)[: len(before)] == list(before)
    assert {key: state[key] for key in before} == before | ours


def test_keys_beside_ours_stay_in_what_is_live(home: Home) -> None:
    """In an attempt, an account and a task's options, while beats rewrite them (SPEC 4.2)."""
    go = home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.queue(
        "S1", rateLimitedUntil="2020-01-01T00:00:00Z", accounts={"other": {"source": "", "agent": "x", "mine": 1}}
    )
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])

    def write_on_it(state: dict[str, Any]) -> None:
        state["attempts"][0]["mine"] = {"note": [1]}
        state["tasks"]["S1"]["mine"] = "watch this one"

    home.edit(write_on_it)
    assert home.beat()["rows"][0]["then"] == "running"

    state = home.state()
    assert (state["attempts"][0]["mine"], state["attempts"][0]["phase"]) == ({"note": [1]}, "running")
    assert (state["tasks"]["S1"]["mine"], state["accounts"]["other"]["mine"]) == ("watch this one", 1)
    go.touch()
    assert home.finish()["tasks"] == {"S1": {"mine": "watch this one"}}


@pytest.mark.parametrize("value", ["S1", "S2", ""])
def test_a_task_in_progress_by_hand_is_started_first_and_told(value: str, home: Home) -> None:
    """Also when it stands in `queue` too; "" is nobody (SPEC 4.1, 4.5)."""
    home.put(published(home) | {"inProgress": value})
    for task in ("S1", "S2", "S3"):
        home.spec(task)

    state = home.finish()

    order = {"S1": ["S1", "S2", "S3"], "S2": ["S2", "S1", "S3"], "": ["S1", "S2", "S3"]}[value]
    assert (home.begun(), state["completed"], state["inProgress"]) == (order, order, None)
    assert [("Part of the work may exist already" in home.prompt(number)) for number in (1, 2, 3)] == [
        bool(value),
        False,
        False,
    ]


def test_a_task_in_progress_that_is_not_in_the_queue_is_done_too(home: Home) -> None:
    """It counts as accepted: started first, and nothing is lost (SPEC 4.3, 4.5)."""
    home.put(published(home) | {"queue": ["S2", "S3"], "inProgress": "S1"})
    for task in ("S1", "S2", "S3"):
        home.spec(task)

    state = home.finish()

    assert (home.begun(), state["completed"]) == (["S1", "S2", "S3"], ["S1", "S2", "S3"])


def test_a_file_without_in_progress_is_valid(home: Home) -> None:
    """`inProgress` may be absent (SPEC 4.1)."""
    starter = published(home)
    del starter["inProgress"]
    home.put(starter)
    for task in ("S1", "S2", "S3"):
        home.spec(task)

    assert home.finish()["completed"] == ["S1", "S2", "S3"]


def test_the_example_of_the_work_loop_is_valid_as_it_stands(home: Home) -> None:
    """S3 is in `queue` and `inProgress` at once; S4 and S5 name no spec and wait for a person (SPEC 4.1, 5.1)."""
    home.put(published(home, SEED))
    home.spec("S3", title="Search bar")

    state = home.finish()

    assert {key: state[key] for key in ("queue", "inProgress", "completed", "blocked", "active")} == {
        "queue": [],
        "inProgress": None,
        "completed": ["S1", "S2", "S3"],
        "blocked": ["S4", "S5"],
        "active": False,
    }
    assert [state["tasks"][task]["reason"] for task in ("S4", "S5")] == [
        "`specFiles` has no entry for S4",
        "`specFiles` has no entry for S5",
    ]
    assert home.begun() == ["S3"]
    commit = home.git("rev-parse", "--short=7", "HEAD")
    assert home.texts("report") == [
        (
            "🏁 Queue finished — 1 of 3 sprints completed\n"
            f"✅ S3 completed — under 1 min, 1 attempt, commit {commit}\n"
            "✋ S4 blocked — under 1 min, 0 attempts — `specFiles` has no entry for S4\n"
            "✋ S5 blocked — under 1 min, 0 attempts — `specFiles` has no entry for S5\n"
            "✋ Waiting for you: S4, S5"
        )
    ]


def test_a_task_added_to_an_idle_file_turns_the_loop_on_again(home: Home) -> None:
    """And the next report is about the new task alone (SPEC 4.4)."""
    home.spec("S1")
    home.spec("S2")
    home.queue("S1")
    home.finish()

    def add(state: dict[str, Any]) -> None:
        state["queue"].append("S2")
        state["specFiles"]["S2"] = str(home.root / "SPRINT_S2_SPEC.md")

    home.edit(add)
    home.beat()
    state = home.finish()

    assert (state["active"], state["completed"], home.begun()) == (False, ["S1", "S2"], ["S1", "S2"])
    assert [text.splitlines()[0] for text in home.texts("report")] == [
        "🏁 Queue finished — 1 of 1 sprints completed"
    ] * 2
    assert [text.splitlines()[1].split()[1] for text in home.texts("report")] == ["S1", "S2"]


def test_a_pause_by_hand_lets_the_running_attempt_end_and_starts_nothing(home: Home) -> None:
    """`active: false` without `idleSince`; taking it back goes on (SPEC 4.4)."""
    go = home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.spec("S2")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])

    home.edit(lambda state: state.update(active=False))
    home.beat()
    go.touch()
    home.wait_for(lambda: home.state()["completed"] == ["S1"])
    for _ in range(2):
        home.beat()

    state = home.state()
    assert {key: state[key] for key in ("active", "idleSince", "queue", "inProgress")} == {
        "active": False,
        "idleSince": None,
        "queue": ["S2"],
        "inProgress": None,
    }
    assert home.begun() == ["S1"]
    assert (home.texts("completed"), home.texts("report")) == ([home.texts("completed")[0]], [])
    home.edit(lambda state: state.update(active=True))
    assert home.finish()["completed"] == ["S1", "S2"]


def test_a_home_that_never_had_a_state_has_no_work(home: Home) -> None:
    """A missing file is no error before there is history (SPEC 4.7)."""
    done = home.heartbeat()

    assert (done.code, done.out, done.err, home.state_path.exists()) == (0, "", "", False)


def test_the_starter_file_put_back_in_a_used_home_adds_only_what_is_new(home: Home) -> None:
    """Copied over the old file it has no rev: what is finished stays so, and `awm retry` is told of (SPEC 4.6)."""
    starter = published(home)
    for task in ("S1", "S2", "S3"):
        home.spec(task)
    home.put(starter)
    home.finish()

    home.spec("S4")
    starter["queue"].append("S4")
    starter["specFiles"]["S4"] = str(home.root / "SPRINT_S4_SPEC.md")
    home.put(starter)
    home.wait_for(lambda: len(home.begun()) == 4, beat_every=0.5)
    state = home.finish()

    assert home.begun() == ["S1", "S2", "S3", "S4"]
    assert state["completed"] == ["S1", "S2", "S3", "S4"]
    assert [line["seq"] for line in home.journal()] == list(range(1, state["seq"] + 1))


@pytest.mark.parametrize("named", ["../project", "~/../project"])
def test_a_project_may_be_named_from_the_home_or_from_the_persons_home(named: str, home: Home) -> None:
    """As spec files may; its agents work there, whoever started the beat where (SPEC 4.1)."""
    home.spec("S1", home.work("touch here.txt"))
    home.queue("S1", project=named)

    assert home.finish()["completed"] == ["S1"]
    assert (home.project / "here.txt").exists()
