"""`awm triggers`, as a person types it, and the beats that follow (SPEC 13.2, 14)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from home import Home, only
from test_verbs import awm

NIGHTLY = ("create", "nightly", "--at", "0 2 * * *", "--zone", "Europe/Berlin", "--spec", "review.md")


@pytest.fixture
def home(home: Home) -> Home:
    """With a spec that lies in it, and an empty queue."""
    home.queue()
    put_spec(home)
    return home


def put_spec(home: Home, name: str = "review.md") -> Path:
    path = home.path / name
    path.write_text(f"# Review\n\n```sh run\n{home.work()}\n```\n")
    return path


def triggers(home: Home, *arguments: str) -> str:
    """What the verb says, where it ends well; run in the home."""
    done = awm(home, "triggers", *arguments, cwd=home.path)
    assert (done.code, done.err) == (0, ""), done
    return done.out


def refused(home: Home, *arguments: str) -> str:
    done = awm(home, "triggers", *arguments, cwd=home.path)
    assert done.code in {2, 78}, done
    assert "Traceback" not in done.err
    assert done.out == ""
    return done.err


def entries(home: Home) -> list[dict[str, Any]]:
    path = home.path / "state" / "triggers.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["triggers"] if path.exists() else []
    return found


def test_a_time_trigger_is_made_with_all_that_it_needs(home: Home) -> None:
    """And says when it fires first; the spec is kept by its place in the home (SPEC 13.2)."""
    said = triggers(home, *NIGHTLY, "--priority", "high", "--grace", "5", "--overlap", "queue")
    entry = only(entries(home))

    assert re.fullmatch(
        r"made trigger nightly: 0 2 \* \* \* Europe/Berlin\n"
        r"next:  \w{3} \d{4}-\d\d-\d\d 0[23]:00 Europe/Berlin \(in .+\)\n",
        said,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", entry.pop("createdAt"))
    assert entry == {
        "id": "nightly",
        "type": "time",
        "projectId": "default",
        "trigger": "0 2 * * *",
        "timezone": "Europe/Berlin",
        "misfireGrace": 5.0,
        "spec": "review.md",
        "priority": "high",
        "overlap": "queue",
        "enabled": True,
    }


def test_every_kind_can_be_made_and_is_listed(home: Home) -> None:
    """In columns for people, and with --json as a list of objects (SPEC 14)."""
    (home.project / "a.md").write_text("a")
    assert json.loads(triggers(home, "list", "--json")) == []
    assert "awm triggers create" in triggers(home)
    triggers(home, *NIGHTLY)
    said = triggers(home, "create", "docs", "--files", "*.md", "--files", "src/**/*.ts", "--template", "docs-on-change")
    assert said.splitlines()[:2] == [
        "made trigger docs: *.md src/**/*.ts",
        "matches 1 file now; the next beat remembers them, and changes after that fire",
    ]
    triggers(home, "create", "ci", "--webhook", "--template", "broken-build")
    triggers(home, "create", "release", "--manual", "--spec", "review.md")
    lines = triggers(home).splitlines()

    assert [line.split()[:4] for line in lines] == [
        ["ID", "TYPE", "STATE", "PROJECT"],
        ["nightly", "time", "on", "default"],
        ["docs", "file", "on", "default"],
        ["ci", "webhook", "on", "default"],
        ["release", "manual", "on", "default"],
    ]
    assert [(one["id"], one["when"], bool(one["next"])) for one in json.loads(triggers(home, "--json"))] == [
        ("nightly", "0 2 * * * Europe/Berlin", True),
        ("docs", "*.md src/**/*.ts", False),
        ("ci", "POST /hook/ci", False),
        ("release", "awm triggers fire release", False),
    ]


def test_a_trigger_whose_task_nobody_could_do_is_made_and_that_is_said(home: Home) -> None:
    """As of a spec that is added: an agent may come before it fires. A new home has none but the shell (SPEC 5.1, 8.7)."""
    nightly = ("create", "nightly", "--at", "0 2 * * *", "--template", "nightly-review")
    said = triggers(home, *nightly).splitlines()
    as_json = json.loads(triggers(home, *nightly[:1], "again", *nightly[2:], "--json"))
    home.state_path.unlink()
    in_a_new_home = triggers(home, "create", "first", *nightly[2:], "--dry-run").splitlines()

    why = "the spec has no ```sh run block for agent local (kind shell) to run; agents that could do it: none"
    assert said[2:] == [f"but its task would be blocked: {why} (`**Model:** …`)"]
    assert as_json["problems"] == [f"{why} (`**Model:** …`)"]
    assert in_a_new_home[2:] == said[2:]
    assert json.loads(triggers(home, "create", "third", *NIGHTLY[2:], "--json"))["problems"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "x", "--spec", "review.md"), "say when, in one way"),
        (("create", "x", "--manual", "--webhook", "--spec", "review.md"), "say when, in one way"),
        (("create", "x", "--manual"), "say what to queue"),
        (("create", "x", "--manual", "--spec", "review.md", "--template", "broken-build"), "say what to queue"),
        (("create", "x", "--manual", "--spec", "review.md", "--set", "a=b"), "--set goes with --template"),
        (("create", "x", "--manual", "--spec", "gone.md"), "cannot be read: No such file"),
        (("create", "x", "--manual", "--spec", "/dev/null"), "lies neither in the home nor in the project"),
        (("create", "x", "--manual", "--template", "gone"), "there are: broken-build"),
        (("create", "x", "--manual", "--spec", "review.md", "--project", "gone"), "there is no project gone"),
        (("create", "a b", "--manual", "--spec", "review.md"), "id: string should match pattern"),
        (("create", "x", "--at", "0 2 * *", "--spec", "review.md"), "4 fields, but a cron line has five"),
        (("create", "x", "--at", "0 0 31 2 *", "--spec", "review.md"), "'0 0 31 2 *' never comes"),
        (
            ("create", "x", "--at", "0 2 * * *", "--zone", "Europe/Belin", "--spec", "review.md"),
            "did you mean Europe/Berlin?",
        ),
        (("create", "x", "--at", "0 2 * * *", "--grace", "nan", "--spec", "review.md"), "--grace is to be a number"),
        (
            ("create", "x", "--at", "0 2 * * *", "--grace", "-1", "--spec", "review.md"),
            "misfireGrace: should be greater",
        ),
        (("create", "x", "--files", "../*", "--spec", "review.md"), "relative to the project"),
        (("create", "x", "--files", "\udcff", "--spec", "review.md"), "a value is not UTF-8 text"),
        (("show", "x"), "`awm triggers` lists them"),
        (("next", "x"), "there is no trigger x"),
        (("fire", "x"), "there is no trigger x"),
        (("enable", "x"), "there is no trigger x"),
        (("remove", "x", "--yes"), "there is no trigger x"),
    ],
)
def test_what_cannot_be_is_told_with_what_to_type(home: Home, arguments: tuple[str, ...], said: str) -> None:
    """No traceback, exit code 78 or click's 2, and nothing is written (SPEC 6.3, 14)."""
    assert said in refused(home, *arguments)
    assert entries(home) == []


def test_an_id_that_is_taken_is_not_made_again(home: Home) -> None:
    """Not even as a dry run; a dry run of another writes nothing."""
    triggers(home, *NIGHTLY)
    assert "there is a trigger nightly already" in refused(home, *NIGHTLY)
    assert "there is a trigger nightly already" in refused(home, *NIGHTLY, "--dry-run")

    assert triggers(home, "create", "x", "--manual", "--spec", "review.md", "--dry-run").startswith(
        "would make trigger x"
    )
    assert [one["id"] for one in entries(home)] == ["nightly"]


def test_next_shows_ten_times_with_their_zone(home: Home) -> None:
    """Of one trigger or of all, in order (issue 6)."""
    triggers(home, *NIGHTLY)
    triggers(home, "create", "hourly", "--at", "30 * * * *", "--spec", "review.md")
    lines = triggers(home, "next", "nightly").splitlines()
    every = json.loads(triggers(home, "next", "-n", "30", "--json"))

    assert len(lines) == 11
    assert all(
        re.fullmatch(r"\w{3} \d{4}-\d\d-\d\d 0[23]:00  Europe/Berlin  in .+  nightly", line) for line in lines[1:]
    )
    assert [one["at"] for one in every] == sorted(one["at"] for one in every)
    assert {one["trigger"] for one in every} == {"nightly", "hourly"}
    assert len(every) == 30


def test_nothing_is_made_or_fired_for_a_project_that_is_over(home: Home) -> None:
    """Its tasks would wait, hidden, until it is resumed: that is said at once (SPEC 13.1)."""
    site = {"id": "site", "path": str(home.project)}
    (home.path / "state" / "projects.json").write_text(json.dumps({"projects": [site]}))
    create = ("--manual", "--spec", "review.md", "--project", "site")
    triggers(home, "create", "m", *create)
    (home.path / "state" / "projects.json").write_text(json.dumps({"projects": [{**site, "status": "completed"}]}))

    for arguments in (("fire", "m"), ("create", "n", *create)):
        assert "project site is completed\nhint: awm projects resume site" in refused(home, *arguments)


def test_trouble_is_shown_until_it_is_over(home: Home) -> None:
    """In the list and of the trigger itself, with where to read why (SPEC 13.2)."""
    home.queue()
    triggers(home, "create", "docs", "--files", "*.md", "--spec", "review.md")
    home.project.rename(home.root / "elsewhere")
    home.beat()
    shown = triggers(home, "list"), triggers(home, "show", "docs")
    (home.root / "elsewhere").rename(home.project)
    home.beat()

    assert ("in trouble" in shown[0], "  trouble     it cannot queue its task" in shown[1]) == (True, True)
    assert "trouble" not in triggers(home, "list") + triggers(home, "show", "docs")


def test_a_busy_trigger_hides_no_other(home: Home) -> None:
    """The next time of each is shown, as far as there is room, the earliest first (issue 6)."""
    triggers(home, *NIGHTLY)
    triggers(home, "create", "busy", "--at", "* * * * *", "--spec", "review.md")
    triggers(home, "create", "yearly", "--at", "0 0 29 2 *", "--spec", "review.md")
    found = [json.loads(triggers(home, "next", "-n", n, "--json")) for n in ("10", "2")]
    shown = [sorted(one["trigger"] for one in times) for times in found]

    assert shown == [["busy"] * 8 + ["nightly", "yearly"], ["busy", "nightly"]]


def test_a_disabled_trigger_rests_until_it_is_enabled(home: Home) -> None:
    """It has no next time and cannot be fired; enabled again it counts from then on (SPEC 13.2)."""
    triggers(home, *NIGHTLY)
    assert triggers(home, "disable", "nightly") == "nightly is disabled: what it queued before stays queued\n"
    assert "nightly is disabled" in triggers(home, "next", "nightly")
    assert "awm triggers enable nightly" in refused(home, "fire", "nightly")
    assert triggers(home, "show", "nightly").startswith("nightly — time, disabled\n")
    assert json.loads(triggers(home, "enable", "nightly", "--json")) == {
        "trigger": "nightly",
        "enabled": True,
        "changed": True,
    }
    assert triggers(home, "enable", "nightly").startswith("nightly was already enabled")

    assert only(entries(home))["enabledAt"] > only(entries(home))["createdAt"]


def test_a_fired_trigger_queues_its_task_with_the_next_beat(home: Home) -> None:
    """Once for each firing, and its task is worked on (SPEC 13.2)."""
    triggers(home, "create", "release", "--manual", "--spec", "review.md")
    assert triggers(home, "fire", "release") == (
        "fired release; the next beat queues its task: awm beat, awm run or your timer\n"
    )
    state = home.finish()
    task = only(state["completed"])

    assert re.fullmatch(r"release-[0-9a-f]{12}", task)
    assert home.begun() == [task]
    assert task in triggers(home, "show", "release")
    assert list((home.path / "state" / "inbox").glob("*.json")) == []


def test_what_a_file_trigger_remembers_is_shown(home: Home) -> None:
    """Before its first look, after it, and with changes pending; names of files drive no terminal (SPEC 17)."""
    (home.project / "a.md").write_text("a")
    triggers(home, "create", "docs", "--files", "**/*.md", "--spec", "review.md", "--debounce", "3600")
    assert "none yet: the next beat takes one" in triggers(home, "show", "docs")
    home.beat()
    assert re.search(r"  baseline    1 file, taken .+: the first look\n", triggers(home, "show", "docs"))
    (home.project / "b\x1b[2J\n.md").write_text("b")
    home.beat()

    assert json.loads(triggers(home, "show", "docs", "--json"))["baseline"]["pending"] == [
        {"change": "created", "path": "b\x1b[2J\n.md"}
    ]
    assert "\x1b" not in triggers(home, "show", "docs")
    assert home.state()["queue"] == []


def test_a_trigger_is_removed_after_a_question(home: Home) -> None:
    """--dry-run says it, --yes does not ask, nobody to ask is an error; its baseline goes with it (SPEC 14)."""
    triggers(home, "create", "docs", "--files", "*.md", "--spec", "review.md")
    home.beat()
    kept = set((home.path / "state" / "triggers").iterdir())
    assert triggers(home, "remove", "docs", "--dry-run") == "would remove docs\n"
    done = awm(home, "triggers", "remove", "docs")
    assert (done.code, "there is nobody to ask" in done.err) == (78, True)
    assert [one["id"] for one in entries(home)] == ["docs"]
    assert json.loads(triggers(home, "remove", "docs", "--yes", "--json")) == {"removed": "docs"}

    assert entries(home) == []
    assert len(kept - set((home.path / "state" / "triggers").iterdir())) == 1


def test_a_bad_file_of_triggers_is_named_and_left_alone(home: Home) -> None:
    """By every subverb and every beat; the rest of the loop goes on (SPEC 4.7)."""
    path = home.path / "state" / "triggers.json"
    path.write_text('{"triggers": [{"id": "x", "type": "tme", "spec": "review.md"}]}')
    for verb in (("list",), ("show", "x"), ("next",), ("fire", "x"), NIGHTLY):
        assert "/triggers/0/type: should be 'time', 'file', 'webhook' or 'manual'" in refused(home, *verb)
    home.spec("S1")
    home.queue("S1")

    assert home.heartbeat().code == 78
    home.wait_for(lambda: home.heartbeat().code == 78 and home.state()["completed"] == ["S1"])
    assert '"tme"' in path.read_text()
