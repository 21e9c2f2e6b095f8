"""`awm why TASK` tells a newcomer why a task is where it is, and the next step (SPEC 14)."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

import pytest
from home import Done, Home
from test_verbs import awm

ASK = """printf '{"status": "blocked", "question": "Blue or \\\\u001b[31mgreen\\\\u001b[0m?"}' > "$AWM_RESULT_FILE"; exit 1"""
LIMITED = """printf '{"status": "limited", "resetsAt": %s}' $(( $(date +%s) + 7200 )) > "$AWM_RESULT_FILE"; exit 1"""


def why(home: Home, task: str) -> dict[str, list[str]]:
    """What `awm why` prints, by label: the lines that stand under it."""
    done = awm(home, "why", task)
    assert (done.code, done.err) == (0, "")
    title, *rows = done.out.splitlines()
    found: dict[str, list[str]] = {"title": [title]}
    label = ""
    for row in rows:
        label = row[2:13].strip() or label
        found.setdefault(label, []).append(row[14:])
    return found


def why_json(home: Home, task: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(awm(home, "why", task, "--json").out)
    return found


def without_times(rows: list[str]) -> list[str]:
    return [re.sub(r"^\w{3} \d\d:\d\d:\d\d  ", "", row) for row in rows]


def test_a_blocked_task_shows_its_question_and_the_answer_to_type(home: Home) -> None:
    """SPEC 7.2, 14, 17: the question, where it came from, and the next step; nothing of it drives the terminal."""
    spec = home.spec("S1", ASK, title="A button")
    home.queue("S1")
    home.finish(0.2)

    found = why(home, "S1")

    directory = home.attempt(1)
    assert re.fullmatch(r"blocked  local, \w{3} \d\d:\d\d:\d\d, \d s — Blue or green\?", found.pop("attempt 1")[0])
    assert without_times(found.pop("journal"))[-1] == "ended asked -> blocked  (Blue or green?)"
    assert found == {
        "title": ["● S1 — A button"],
        "blocked": ["Blue or green?"],
        "counts": ["tries 0 of 4, strikes 0 of 3, reboots 0 of 5"],
        "spec": [str(spec)],
        "log": [str(directory / "out.log")],
        "prompt": [str(directory / "prompt.md")],
        "next": ['awm answer S1 "…"   and it goes on'],
    }


def test_a_failed_task_shows_each_try_and_how_to_try_again(home: Home) -> None:
    """SPEC 7.2: the reason of every attempt, the rows taken, the command that queues it again on the last line."""
    home.spec("S1", "echo no module >&2; exit 3")
    home.queue("S1", maxRetries=1)
    home.finish(0.2)

    found = why(home, "S1")

    assert found["failed"] == ["exit code 3: no module"]
    assert found["counts"] == ["tries 2 of 2, strikes 0 of 3, reboots 0 of 5"]
    assert [found[f"attempt {number}"][0].partition(" — ")[2] for number in (1, 2)] == ["exit code 3: no module"] * 2
    assert without_times(found["journal"])[-1] == "ended out_of_tries -> failed  (exit code 3: no module)"
    assert list(found)[-1] == "next"
    assert found["next"] == ["awm retry S1   when its cause is mended; `awm logs S1` shows its output"]


def test_a_task_between_two_tries_says_until_when(home: Home) -> None:
    """SPEC 7.2, 4.3: the backoff in human words with the local time; a later task does not overtake, and says so."""
    home.config("[loop]\nretry_backoff_seconds = [720]\n")
    home.spec("S1", "exit 3")
    home.spec("S2")
    home.queue("S1", "S2")
    home.wait_for(lambda: "ended worth_retry -> queued" in home.rows("S1"), beat_every=0.2)

    first, second = why(home, "S1"), why(home, "S2")

    assert re.fullmatch(r"the pause after try 1 of 4, in 1[12] min \(\d\d:\d\d\)", first["waits for"][0])
    assert re.fullmatch(r"nothing: it goes on by itself in 1[12] min \(\d\d:\d\d\), .*", first["next"][0])
    assert (first["queued"], second["queued"]) == (["place 1 of 2"], ["place 2 of 2"])
    assert second["waits for"] == ["S1, before it in the queue"]
    assert second["next"] == ["awm why S1   tells what that one waits for"]


def test_a_limited_task_names_the_account_and_when_it_opens(home: Home) -> None:
    """SPEC 9.1: the deadline of the account, with its margin."""
    home.config("[loop]\nlimit_margin_seconds = 0\n")
    home.spec("S1", LIMITED)
    home.queue("S1")
    home.wait_for(lambda: "ended limited -> queued" in home.rows("S1"), beat_every=0.2)

    found = why(home, "S1")

    assert re.fullmatch(
        r"the limit of account local, in (2 h 00|1 h 59) min \((\w{3} )?\d\d:\d\d\)", found["waits for"][0]
    )
    assert found["next"][0].startswith("nothing: it goes on by itself in ")


def test_a_running_task_and_the_one_behind_it(home: Home) -> None:
    """SPEC 7.5: one attempt at a time: the second waits for the first, and both need nothing of a person."""
    home.spec("S1", home.work("sleep 300"))
    home.spec("S2")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])

    first, second = why(home, "S1"), why(home, "S2")

    assert first["running"] == ["with attempt 1"]
    assert first["attempt 1"][0].startswith("running  local, ")
    assert first["next"] == ["awm logs -f S1   shows what it prints; it goes on by itself"]
    assert second["waits for"] == ["S1, which is running"]
    assert second["next"] == ["nothing: its turn comes by itself"]


def test_a_paused_loop_is_the_first_reason(home: Home) -> None:
    """SPEC 4.4: nothing starts before a person says so."""
    home.spec("S1")
    home.queue("S1", active=False)

    found = why(home, "S1")

    assert found["waits for"] == ["you: the loop is paused"]
    assert found["next"] == ["awm resume   and it goes on"]


def test_a_task_that_nothing_keeps_tells_that_nobody_beats(home: Home) -> None:
    """SPEC 6: a beat would have started it, so since the state was written none has come."""
    home.spec("S1")
    home.queue("S1")
    fresh = why(home, "S1")["waits for"]
    old = time.time() - 7200
    os.utime(home.state_path, (old, old))

    found = why(home, "S1")

    assert fresh == ["the next beat; nothing else is in its way"]
    assert re.fullmatch(
        r"a beat: nothing else is in its way, and none has come for 2 h 00 min, since \w{3} \d\d:\d\d",
        found["waits for"][0],
    )
    assert found["next"] == ["awm run   starts it; so does the next beat of your timer"]


def test_a_task_that_will_be_blocked_says_so_before(home: Home) -> None:
    """SPEC 5.1: what is wrong with its spec, without a beat."""
    home.queue("S1")

    found = why(home, "S1")

    assert found["waits for"] == [
        f"nothing, but the next beat blocks it: spec file {home.root}/SPRINT_S1_SPEC.md does not exist"
    ]


def test_a_task_skipped_for_its_stalls_shows_the_evidence(home: Home) -> None:
    """SPEC 8.4: where the evidence lies, and how it begins."""
    home.config("[loop]\nstall_minutes = 0.01\nstrikes_max = 1\nstop_grace_seconds = 0.3\n")
    home.spec("S1", "sleep 300")
    home.queue("S1")
    home.finish(0.2)

    found = why(home, "S1")

    path = home.attempt(1) / "evidence.txt"
    assert found["evidence"][0] == str(path)
    assert found["evidence"][1:] == path.read_text().splitlines()[: len(found["evidence"]) - 1]
    assert found["evidence"][1].startswith("Likely cause: ")
    assert found["counts"] == ["tries 0 of 4, strikes 1 of 1, reboots 0 of 5"]
    assert found["attempt 1"][0].startswith("stalled  local, ")


def test_a_finished_task_needs_nothing(home: Home) -> None:
    """SPEC 14: it is done, and by which attempt."""
    home.spec("S1")
    home.queue("S1")
    home.finish(0.2)

    found = why(home, "S1")

    assert found["completed"] == ["with attempt 1"]
    assert found["next"] == ["nothing: it is done"]


def test_the_same_for_programs(home: Home) -> None:
    """SPEC 14: `--json` gives one object with camelCase keys."""
    spec = home.spec("S1", ASK)
    home.queue("S1", "S2")
    home.finish(0.2)

    found = why_json(home, "S1")

    assert found.pop("journal")[-1]["what"] == "ended asked -> blocked"
    assert [(one["number"], one["outcome"], one["agent"]) for one in found.pop("attempts")] == [(1, "blocked", "local")]
    assert found == {
        "task": "S1",
        "title": "Thing S1",
        "where": "blocked",
        "place": None,
        "queuedCount": 0,
        "reason": "Blue or green?",
        "waits": [],
        "startableSince": None,
        "tries": 0,
        "triesMax": 4,
        "strikes": 0,
        "strikesMax": 3,
        "reboots": 0,
        "rebootsMax": 5,
        "guidance": [],
        "evidencePath": None,
        "evidence": [],
        "files": {
            "spec": str(spec),
            "log": str(home.attempt(1) / "out.log"),
            "prompt": str(home.attempt(1) / "prompt.md"),
        },
        "next": 'awm answer S1 "…"',
        "nextWhy": "and it goes on",
    }


def test_an_unknown_task_is_met_with_the_nearest(home: Home) -> None:
    """SPEC 14: errors say what to type next."""
    home.queue("search-bar", "S1")

    near, far = awm(home, "why", "serch-bar"), awm(home, "why", "zzz")

    assert near == Done(78, "", "awm: there is no task serch-bar\nhint: did you mean search-bar?\n")
    assert far == Done(78, "", "awm: there is no task zzz\nhint: `awm status` lists them; `awm add SPEC.md` adds one\n")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_why_takes_no_lock_and_writes_nothing(home: Home, options: tuple[str, ...]) -> None:
    """SPEC 4.8: it works where nothing can be written."""
    home.spec("S1")
    home.queue("S1")
    before = home.tree()

    done = awm(home, "why", "S1", *options)

    assert (done.code, home.tree()) == (0, before)
