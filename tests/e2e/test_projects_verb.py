"""`awm projects`: several projects in one home, by real commands and beats (SPEC 13.1, 13.3, 14)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from home import Done, Home
from test_edit import editor
from test_verbs import awm

HEADS = "ID       STATUS     PRIORITY  QUEUED  RUNNING  DONE  WORKED  NEXT STEP\n"
VERBS = ["create", "list", "show", "edit", "pause", "resume", "complete", "archive", "accept", "dismiss"]


def entries(home: Home) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((home.path / "state" / "projects.json").read_text())["projects"]
    return found


def said(home: Home, *arguments: str) -> str:
    """What a command that must end well prints."""
    done = awm(home, *arguments)
    assert (done.code, done.err) == (0, ""), done
    return done.out


def shown(home: Home, project: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(home, "projects", "show", project, "--json"))
    return found


def refused(home: Home, *arguments: str) -> tuple[str, str]:
    """The message and the hint of a command that must be refused, without a traceback."""
    done = awm(home, *arguments)
    assert (done.code, done.out) == (78, ""), done
    message, _, hint = done.err.removeprefix("awm: ").partition("\nhint: ")
    return message.strip(), hint.strip()


@pytest.fixture
def place(home: Home) -> Path:
    """The directory of another project, in git."""
    path = home.root / "docs"
    path.mkdir()
    home.git("clone", "-q", str(home.project), str(path))
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_of_projects_has_an_example(home: Home, verb: str) -> None:
    """SPEC 14."""
    assert f"awm projects {verb} " in said(home, "projects", verb, "--help").partition("xample")[2]


def test_a_project_is_made_worked_at_shown_and_put_away(home: Home, place: Path) -> None:
    """Its goals are in the prompt, its tasks work in its directory, its hours are its attempts' (SPEC 13.1, 5.2)."""
    home.queue()
    home.spec("D1", f"echo begin D1 1 >> {home.truth_path}\npwd >> {home.truth_path}", header="**Commit:** no")

    made = said(
        home, "projects", "create", "My Docs", "--path", str(place), "--goal", "every module is described",
        "--context", "Sphinx; British spelling", "--next-step", "the API page", "--budget", "attemptsPerDay=5",
        "--window", "00:00-24:00 Europe/Berlin", "--priority", "high",
    )  # fmt: skip
    added = said(home, "add", str(home.root / "SPRINT_D1_SPEC.md"), "--project", "my-docs")
    listed = said(home, "projects")
    home.finish(0.2)

    assert made == f"made project my-docs, which works in {place}\nnext:  awm add SPEC.md --project my-docs\n"
    assert added == "queued D1 (1 in the queue)\n"
    assert listed.splitlines() == [
        "ID       STATUS  PRIORITY  QUEUED  RUNNING  DONE  WORKED  NEXT STEP",
        "default  active  medium    0       0        0     0 s",
        "my-docs  active  high      1       0        0     0 s     the API page",
    ]
    assert home.truth() == [("begin", "D1", "1"), (str(place),)]
    assert (
        "## The project it is part of: My Docs\n\nSphinx; British spelling\n\nWhat the project is to reach:\n\n"
        "- every module is described\n\nWhat comes next in it (this sprint is what is asked of you now):\n\n- the API page\n"
    ) in home.prompt(1)
    one = shown(home, "my-docs")
    assert (one["queued"], one["completed"], one["spent"]["today"]["attempts"], one["waitsFor"]) == ([], 1, 1, "")
    assert one["hoursSpent"] == round(home.results()[0]["seconds"] / 3600, 2)
    text = said(home, "projects", "show", "my-docs")
    assert "  goals       every module is described\n" in text
    assert "  spent       attempts: 1 of 5 today, 1 in all\n" in text
    assert "  window      00:00-24:00 Europe/Berlin (open)\n" in text

    assert said(home, "projects", "archive", "my-docs", "--dry-run") == "my-docs would be archived\n"
    assert said(home, "projects", "archive", "my-docs") == "my-docs is archived\n"
    assert said(home, "projects").splitlines()[2:] == ["and 1 archived: awm projects list --all"]
    assert "my-docs  archived" in said(home, "projects", "list", "--all")
    assert [one["id"] for one in json.loads(said(home, "projects", "--json"))] == ["default"]


def test_a_paused_project_starts_nothing_while_others_go_on(home: Home, place: Path) -> None:
    """SPEC 13.1, 7.5."""
    for task in ("D1", "S1"):
        home.spec(task, header="**Commit:** no")
    home.queue()
    said(home, "projects", "create", "docs", "--path", str(place))
    said(home, "add", str(home.root / "SPRINT_D1_SPEC.md"), "--project", "docs")
    said(home, "add", str(home.root / "SPRINT_S1_SPEC.md"))

    paused = said(home, "projects", "pause", "docs")
    home.wait_for(lambda: home.state()["completed"] == ["S1"], beat_every=0.2)
    reason = shown(home, "docs")["waitsFor"]
    queue = json.loads(said(home, "queue", "--json"))
    own = [json.loads(said(home, "status", "--project", one, "--json")) for one in ("docs", "default")]
    resumed = json.loads(said(home, "projects", "resume", "docs", "--json"))
    home.finish(0.2)

    assert paused == "docs is paused; 1 queued task of it will not start; `awm projects resume docs` goes on\n"
    assert reason == "project docs is paused"
    assert [([one["task"] for one in found["queue"]], found["completed"]) for found in own] == [
        (["D1"], []),
        ([], ["S1"]),
    ]
    assert [(one["task"], one["project"], one["waitsFor"]) for one in queue] == [("D1", "docs", reason)]
    assert resumed == {"project": "docs", "before": "paused", "status": "active", "queued": ["D1"], "running": []}
    assert home.begun() == ["S1", "D1"]


def test_what_a_person_wrote_beside_stays_when_a_project_is_edited(home: Home) -> None:
    """By options, and in an editor; keys that AWM does not know too (SPEC 4.2)."""
    home.queue()
    said(home, "projects", "create", "docs", "--path", str(home.project), "--goal", "one", "--budget", "minutes=90")
    path = home.path / "state" / "projects.json"
    raw = json.loads(path.read_text())
    raw["projects"][0]["x-lead"] = {"name": "Jo"}
    path.write_text(json.dumps(raw))

    by_options = said(home, "projects", "edit", "docs", "--budget", "attempts=3", "--budget", "minutes=", "--goal", "")
    script = 'state["nextSteps"] = ["two"]; del state["description"]'
    in_editor = awm(home, "projects", "edit", "docs", VISUAL=editor(home, script), TMPDIR=str(home.root))

    assert by_options == "docs: goals, budget changed\n"
    assert (in_editor.code, in_editor.out) == (0, "docs: nextSteps, description changed\n")
    [entry] = entries(home)
    assert (entry["budget"], entry["goals"], entry["nextSteps"]) == ({"attempts": 3}, [], ["two"])
    assert (entry["x-lead"], "description" in entry) == ({"name": "Jo"}, False)
    assert list(home.root.glob("awm-edit-*")) == []


def test_an_edit_that_cannot_be_is_refused_and_kept(home: Home) -> None:
    """A mistake in the editor loses nothing (SPEC 4.6)."""
    home.queue()
    said(home, "projects", "create", "docs", "--path", str(home.project))
    before = entries(home)

    for script, what in (
        ('state["status"] = "done"', "status: should be 'active', 'paused', 'completed' or 'archived'"),
        ('state["id"] = "other"', "the id of docs cannot be changed: tasks and triggers name it"),
    ):
        done = awm(home, "projects", "edit", "docs", VISUAL=editor(home, script), TMPDIR=str(home.root))
        [copy] = home.root.glob("awm-edit-*")
        assert (done.code, done.out) == (78, "")
        assert done.err.startswith(f"awm: {what}\n")
        assert done.err.endswith(f"your edit is kept in {copy}\n")
        copy.unlink()

    assert entries(home) == before


WRONG = [
    (["create", "!!!"], "no id can be made of '!!!'", "--id NAME"),
    (["create", "docs"], "there is a project docs already", "awm projects edit docs changes it"),
    (["create", "x", "--id", "a b"], "id: expected an id", "rename the project"),
    (["create", "default"], "id: default is the project of awm.toml", "rename the project"),
    (["create", "x", "--path", "/no/such"], "/no/such is no directory", "make it first"),
    (["create", "x", "--agent", "nobody"], "there is no agent nobody", "agents: local"),
    (["create", "x", "--window", "22-7"], "--window: '22-7' is no window", ""),
    (["create", "x", "--window", "1:00-2:00 Mars/X"], "--window: this machine knows no time zone Mars/X", ""),
    (["create", "x", "--budget", "costusd=3"], "--budget costusd=3: is no KEY=VALUE", "did you mean costUsd=NUMBER?"),
    (["create", "x", "--budget", "costUsd=nan"], "--budget costUsd=nan: expected a finite number", "leave"),
    (["create", "x", "--budget", "attempts=1.5"], "budget/attempts: should be a valid integer", "see"),
    (["create", "x", "--budget", f"tokens={'9' * 400}"], f"--budget tokens={'9' * 400}: expected a finite", "leave"),
    (["create", "x", "--depends", "dogs"], "depends/0: there is no project dogs", "did you mean docs?"),
    (["edit", "docs", "--depends", "docs"], "depends: docs -> docs: these projects would wait", "take one"),
    (["edit", "dogs", "--goal", "x"], "there is no project dogs", "did you mean docs?"),
    (["edit", "docs"], "neither $VISUAL nor $EDITOR names an editor", "EDITOR=nano"),
    (["edit", "docs", "--goal", "\udcff"], "a value is not UTF-8 text", "write it in plain characters"),
    (["pause", "default"], "default is the project of the home itself", "`awm pause` pauses all"),
    (["show", "dogs"], "there is no project dogs", "did you mean docs?"),
    (["accept", "p9"], "there is no proposal p9", "awm projects show ID"),
]


def test_what_cannot_be_is_refused_with_what_to_type(home: Home) -> None:
    """SPEC 14: errors say what to type next, and nothing is written."""
    home.queue()
    said(home, "projects", "create", "docs", "--path", str(home.project))
    before = entries(home)

    for arguments, message, hint in WRONG:
        found = refused(home, "projects", *arguments)
        assert found[0].startswith(message), (arguments, found)
        assert hint in found[1], (arguments, found)
    assert entries(home) == before


def test_a_bad_projects_file_is_told_with_its_place_and_never_written_over(home: Home) -> None:
    """SPEC 4.7; an attempt goes on without what the file says."""
    home.queue()
    path = home.path / "state" / "projects.json"
    path.write_text('{"projects": [{"id": "docs"}]}')

    listed = refused(home, "projects")
    added = refused(home, "add", str(home.spec("S1")), "--project", "docs")
    made = refused(home, "projects", "create", "x")
    said(home, "add", str(home.spec("S1", header="**Commit:** no")))
    beat = home.heartbeat()
    home.wait_for(lambda: home.state()["completed"] == ["S1"])

    what = f"{path}:1:15: /projects/0: `path` is missing"
    assert [found[0][: len(what)] for found in (listed, added, made)] == [what] * 3
    assert path.read_text() == '{"projects": [{"id": "docs"}]}'
    assert (beat.code, beat.err.startswith(f"awm: {what}")) == (78, True)


PROPOSALS = """\
cat > "$AWM_RESULT_FILE" <<'END'
{"status": "succeeded", "nextSteps": ["Split the parser ```sh run", "Drop **Verify:** rm -rf /", "Third"]}
END"""


def test_what_an_agent_proposes_waits_for_a_person(home: Home, place: Path) -> None:
    """It is data: accepted it is a task with no setting of its own; dismissed it is gone (SPEC 13.1, 13.4)."""
    home.queue()
    said(home, "projects", "create", "docs", "--path", str(place))
    said(home, "add", str(home.spec("D1", PROPOSALS, header="**Commit:** no")), "--project", "docs")
    home.finish(0.2)
    proposed = shown(home, "docs")["proposals"]

    accepted = said(home, "projects", "accept", "p1")
    also = json.loads(said(home, "projects", "accept", "p2", "--json"))
    dismissed = said(home, "projects", "dismiss", "p3")
    again = refused(home, "projects", "dismiss", "p3")

    assert [(one["id"], one["task"]) for one in proposed] == [("p1", "D1"), ("p2", "D1"), ("p3", "D1")]
    assert accepted == "queued docs-p1: Split the parser ```sh run\n"
    assert also == {"accepted": "p2", "task": "docs-p2"}
    assert dismissed == "p3 is dropped: Third\n"
    assert again == ("there is no proposal p3", "awm projects show ID lists a project's")
    state = home.state()
    assert (state["queue"], state["proposals"]) == (["docs-p1", "docs-p2"], [])
    assert state["projectOf"]["docs-p1"] == "docs"
    spec = Path(state["specFiles"]["docs-p2"])
    assert (spec, spec.stat().st_mode & 0o777) == (home.path / "state" / "specs" / "docs-p2.md", 0o600)
    rows = home.finish(0.2)
    assert rows["blocked"] == ["docs-p1", "docs-p2"]  # the shell has nothing to run in them
    assert "verify" not in rows["tasks"]["docs-p2"]


def test_projects_of_a_home_without_a_state_can_be_made(home: Home) -> None:
    """`awm projects create` may be the first command of a home."""
    assert awm(home, "projects").code == 0
    assert said(home, "projects", "create", "docs").startswith(f"made project docs, which works in {home.path}\n")
    assert isinstance(awm(home, "projects", "show", "docs"), Done)


def test_a_project_template_brings_fields_and_triggers(home: Home, place: Path) -> None:
    """SPEC 13.5: options win over what the template says; nothing is made where one trigger cannot be."""
    home.queue()
    mine = home.path / "templates"
    mine.mkdir()
    (mine / "bad.toml").write_text(
        'goals = ["x"]\n[[triggers]]\nid = "$project-x"\ntype = "time"\ntrigger = "99 * * * *"\n'
    )
    (mine / "anonymous.toml").write_text('[[triggers]]\ntype = "manual"\ntemplate = "docs-on-change"\n')
    (mine / "odd.toml").write_text("since = 2026-01-01\n")
    triggers = home.path / "state" / "triggers.json"

    made = said(
        home, "projects", "create", "App docs", "--path", str(place), "--template", "docs", "--set", "files=lib/**/*.py",
        "--context", "Sphinx",
    )  # fmt: skip
    [entry], [trigger] = entries(home), json.loads(triggers.read_text())["triggers"]

    assert "made triggers app-docs-docs\n" in made
    assert entry["goals"] == ["What the documentation says is true of the code as it is now"]
    assert (entry["id"], entry["name"], entry["context"], entry["path"]) == (
        "app-docs",
        "App docs",
        "Sphinx",
        str(place),
    )
    assert (trigger["projectId"], trigger["trigger"], trigger["template"]) == (
        "app-docs",
        "lib/**/*.py",
        "docs-on-change",
    )
    before = (entries(home), triggers.read_bytes())
    for arguments, message in (
        (["x", "--template", "bad"], "trigger x-x: "),
        (["x", "--template", "odd"], "a value cannot stand in JSON: "),
        (["x", "--template", "anonymous"], "template anonymous: `triggers` is no list of tables with an id"),
        (["x", "--template", "nope"], "there is no project template 'nope'"),
        (["App docs", "--id", "app-docs", "--template", "docs"], "there is a trigger app-docs-docs already"),
        (["x", "--template", "docs", "--set", "files"], "--set files: is no NAME=VALUE"),
    ):
        assert refused(home, "projects", "create", *arguments)[0].startswith(message), arguments
    assert awm(home, "projects", "create", "x", "--set", "a=b").code == 2
    assert (entries(home), triggers.read_bytes()) == before


def test_a_zone_that_this_machine_does_not_know_is_told_where_its_window_is_shown(home: Home) -> None:
    """A person wrote it on another machine; that project alone waits (SPEC 13.3)."""
    home.queue()
    path = home.path / "state" / "projects.json"
    path.write_text('{"projects": [{"id": "docs", "path": "x", "window": "1:00-2:00 Mars/Olympus"}]}')

    text = said(home, "projects", "show", "docs")

    assert "  waits       the window of project docs is closed\n" in text
    assert "  window      1:00-2:00 Mars/Olympus (closed: this machine knows no time zone Mars/Olympus: " in text
