"""`awm queue`: what waits, in the order it will run, and changing that order (SPEC 7.5, 14)."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from home import REPOSITORY, Home
from test_hand_edits_live import waiting
from test_projects_verb import refused, said
from test_verbs import awm


def order(home: Home, *options: str) -> list[str]:
    return [one["task"] for one in json.loads(said(home, "queue", *options, "--json"))]


def queued(home: Home, *tasks: str) -> None:
    for task in tasks:
        home.spec(task, header="**Commit:** no")
    home.queue(*tasks)


@pytest.mark.parametrize("verb", ["list", "move", "priority", "remove"])
def test_each_verb_of_the_queue_has_an_example(home: Home, verb: str) -> None:
    """SPEC 14."""
    assert f"awm queue {verb} " in said(home, "queue", verb, "--help").partition("xample")[2]


def test_tasks_run_in_the_order_a_person_gave_them(home: Home) -> None:
    """Moved, given priorities, taken out: beats follow, and the journal says who did it (SPEC 7.5, 4.6)."""
    queued(home, "S1", "S2", "S3", "S4", "S5")

    lines = [
        said(home, "queue", "move", "S4", "--first"),
        said(home, "queue", "move", "S1", "--last"),
        said(home, "queue", "move", "S3", "--before", "S2"),
        said(home, "queue", "move", "S4", "--after", "S3"),
        said(home, "queue", "priority", "S1", "high"),
        said(home, "queue", "remove", "S5"),
    ]
    found = order(home)
    state = home.finish(0.2)

    assert lines[:5] == [
        "S4 is number 1 of 5 to run\n",
        "S1 is number 5 of 5 to run\n",
        "S3 is number 2 of 5 to run\n",
        "S4 is number 2 of 5 to run\n",
        "S1 is number 1 of 5 to run\n",
    ]
    assert lines[5] == f"S5 is out of the queue; to put it back: awm add {home.root}/SPRINT_S5_SPEC.md\n"
    assert found == ["S1", "S3", "S4", "S2"]
    assert home.begun() == found
    assert (state["completed"], "S5" in state["specFiles"]) == (found, False)
    by_hand = [
        (line["what"], line["task"]) for line in home.journal() if line.get("task") and " -> " not in line["what"]
    ]
    assert by_hand[:5] == [
        ("moved first", "S4"), ("moved last", "S1"), ("moved before S2", "S3"), ("moved after S3", "S4"),
        ("priority high", "S1"),
    ]  # fmt: skip
    assert home.rows("S5") == ["taken out by hand -> removed"]


def test_a_task_taken_out_can_be_added_again(home: Home) -> None:
    """It is as if it had never been queued."""
    queued(home, "S1", "S2")

    said(home, "queue", "remove", "S2")
    said(home, "add", str(home.root / "SPRINT_S2_SPEC.md"))

    assert home.finish(0.2)["completed"] == ["S1", "S2"]


def test_the_list_shows_priorities_projects_and_what_each_waits_for(home: Home) -> None:
    """And can be narrowed to one project (SPEC 13)."""
    home.spec("S1", header="**Priority:** P1")
    home.spec("S2", header="**Depends:** S1")
    home.spec("D1")
    home.queue()
    said(home, "projects", "create", "docs")
    said(home, "projects", "pause", "docs")
    said(home, "add", *(str(home.root / f"SPRINT_{task}_SPEC.md") for task in ("S2", "S1")))
    awm(home, "add", str(home.root / "SPRINT_D1_SPEC.md"), "--project", "docs")

    assert said(home, "queue").splitlines() == [
        "   TASK  PROJECT  PRIORITY  SPEC               WAITS FOR",
        "1  S1    default  high      SPRINT_S1_SPEC.md",
        "2  S2    default  medium    SPRINT_S2_SPEC.md  S1",
        "3  D1    docs     medium    SPRINT_D1_SPEC.md  project docs is paused",
    ]
    assert (order(home, "--project", "docs"), order(home, "--project", "default")) == (["D1"], ["S1", "S2"])
    assert order(home, "--project", "docs") == [
        one["task"] for one in json.loads(said(home, "queue", "list", "--project", "docs", "--json"))
    ]
    assert refused(home, "queue", "--project", "dogs") == ("there is no project dogs", "did you mean docs?")


def test_removing_names_who_depends_on_the_task_and_dry_run_removes_nothing(home: Home) -> None:
    """SPEC 14: a destructive verb has --dry-run."""
    home.spec("S1")
    home.spec("S2", header="**Depends:** S1")
    home.queue()
    said(home, "add", *(str(home.root / f"SPRINT_{task}_SPEC.md") for task in ("S1", "S2")))
    before = home.state_path.read_bytes()

    would = said(home, "queue", "remove", "S1", "--dry-run")

    back = f"to put it back: awm add {home.root}/SPRINT_S1_SPEC.md"
    assert would == f"S1 would be out of the queue; S2 cannot start without it; {back}\n"
    assert home.state_path.read_bytes() == before


def test_a_task_that_runs_or_is_over_is_refused_with_what_to_type(home: Home) -> None:
    """SPEC 14."""
    waiting(home, "S2")

    for verb in (
        ["move", "S1", "--last"],
        ["remove", "S1"],
        ["priority", "S1", "low"],
        ["move", "S2", "--after", "S1"],
    ):
        hint = "`awm skip S1` gives it up; `awm stop` puts it back into the queue and pauses"
        assert refused(home, "queue", *verb) == ("S1 is running", hint)
    assert refused(home, "queue", "move", "S2", "--after", "S2")[0] == "S2 cannot stand after itself"
    assert refused(home, "queue", "remove", "S9")[0] == "there is no task S9"
    assert awm(home, "queue", "move", "S2").code == 2
    assert awm(home, "queue", "move", "S2", "--first", "--last").code == 2
    (home.root / "go").touch()
    home.finish(0.2)
    done = ("S1 is completed", "`awm retry S1` queues it again")
    assert refused(home, "queue", "move", "S1", "--first") == done


def test_an_empty_queue_says_how_to_fill_it(home: Home) -> None:
    """Also in a home that has no state yet."""
    assert said(home, "queue") == "nothing waits: awm add SPEC.md queues a task\n"
    assert said(home, "queue", "--json") == "[]\n"
    assert Path(home.state_path).exists() is False


def test_a_persons_priority_wins_for_good_over_the_specs(home: Home) -> None:
    """Also the usual one, and when specs are read again after a hand edit of the file (SPEC 4.6, 5.1)."""
    for task, header in (("S1", ""), ("S2", "**Priority:** P1"), ("S3", "")):
        home.spec(task, header=f"**Commit:** no\n{header}")
    home.queue("S1", "S2", active=False)
    home.beat()

    said(home, "queue", "priority", "S2", "medium")
    spec = str(home.root / "SPRINT_S3_SPEC.md")
    state = home.state()
    home.put(state | {"active": True, "queue": ["S1", "S2", "S3"], "specFiles": state["specFiles"] | {"S3": spec}})

    assert home.finish(0.2)["completed"] == ["S1", "S2", "S3"]


def test_on_a_narrow_terminal_a_line_stays_one(home: Home) -> None:
    """Cut at its width; elsewhere nothing is (SPEC 14)."""
    home.spec("S1", header="**Commit:** no")
    home.queue("S1", active=False)
    leader, follower = pty.openpty()
    environment = home.environ() | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "30"}
    subprocess.run(
        [sys.executable, "-P", "-m", "awm_loop.cli.main", "--home", str(home.path), "queue"],
        env=environment, stdout=follower, check=True,
    )  # fmt: skip
    os.close(follower)
    told = os.read(leader, 4096).decode().splitlines()
    os.close(leader)

    assert told == ["   TASK  PROJECT  PRIORITY  S…", "1  S1    default  medium    S…"]
    assert "SPRINT_S1_SPEC.md" in said(home, "queue")
