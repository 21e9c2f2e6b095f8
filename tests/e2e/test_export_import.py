"""`awm export` and `awm import`: what travels from home to home, through real processes (SPEC 13.5)."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from home import Done, Home, rounds
from test_verbs import awm

PROJECTS = {
    "version": 1,
    "projects": [
        {"id": "app", "name": "App", "status": "active", "path": "app", "verify": "make", "depends": ["lib"], "own": 1},
        {"id": "lib", "name": "Lib", "status": "completed", "path": "/lib"},
    ],
}
CONFIG = """\
# a comment with a token
[loop]
default_agent = "mine"
stall_minutes = 2.5
[agents.mine]
kind = "command"
command = ["my-agent", "{prompt_file}"]
[notify]
urls = ["ntfy://hush-hush", "env:AWM_URL"]
"""
PLACED = ("active", "queue", "completed", "blocked", "tasks", "specFiles", "projectOf", "maxRetries", "project")
SCRIPT = "# Sprint S2: B\n\n```sh run\necho hi\n```\n"


def wrote(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


@pytest.fixture
def full(home: Home) -> Home:
    """A home with something of everything that travels, and of what does not."""
    home.config(CONFIG)
    specs = {
        "S0": wrote(home.root / "S0.md", "# Sprint S0: Done\n"),
        "S1": wrote(home.root / "S1.md", "# Sprint S1: A\n\n**Verify:** pytest\n\nDo it.\n"),
        "S2": wrote(home.root / "S2.md", SCRIPT),
    }
    trigger = {"id": "nightly", "type": "time", "projectId": "app", "trigger": "0 2 * * *", "enabled": True}
    trigger |= {"spec": str(wrote(home.root / "review.md", "# Review\n")), "timezone": "Europe/Berlin"}
    wrote(home.path / "state" / "projects.json", PROJECTS)
    wrote(
        home.path / "state" / "triggers.json",
        {"version": 1, "triggers": [trigger, {"id": "hand", "type": "manual", "template": "docs"}]},
    )
    wrote(home.path / "state" / "work_metrics.json", {"version": 1, "sprints": [{"sprint": "S0", "agent": "codex"}]})
    wrote(home.path / "templates" / "docs.md", "# $what\n")
    home.queue("S1", "S2")
    home.edit(
        lambda state: state.update(completed=["S0"], blocked=["S3"], maxRetries=1, projectOf={"S1": "app"}, rev=0)
    )
    home.edit(lambda state: state.update(specFiles={task: str(path) for task, path in specs.items()}))
    home.edit(lambda state: state.update(tasks={"S1": {"priority": "high", "tries": 1}, "S3": {"reason": "asks"}}))
    return home


def other(home: Home, name: str, *options: str) -> Path:
    """Another home beside it, as `awm init` makes it."""
    path = home.root / name
    assert awm(home, "init", str(path), *options, named=False).code == 0
    return path


def at(home: Home, path: Path, *arguments: str, **environment: str) -> Done:
    return awm(home, "--home", str(path), *arguments, named=False, **environment)


def exported(home: Home, path: Path, name: str, *options: str) -> dict[str, bytes]:
    """The files of its archive, by name."""
    done = at(home, path, "export", name, *options)
    assert (done.code, done.err) == (0, ""), done
    with tarfile.open(home.root / name) as tar:
        return {info.name: file.read() for info in tar if (file := tar.extractfile(info)) is not None}


def tree(path: Path) -> dict[str, bytes]:
    """The files of a home, but for locks."""
    found = [one for one in sorted(path.rglob("*")) if one.is_file() and one.suffix != ".lock"]
    return {str(one.relative_to(path)): one.read_bytes() for one in found}


def test_a_whole_home_travels_and_arrives_at_rest(full: Home) -> None:
    """SPEC 13.5: the loop and its projects paused, triggers disabled, commands left out and told, scripts blocked."""
    exported(full, full.path, "a.tar.gz")
    there = other(full, "there")

    done = at(full, there, "import", "a.tar.gz")
    state = json.loads((there / "state" / "current_work.json").read_text())
    projects = json.loads((there / "state" / "projects.json").read_text())["projects"]
    triggers = json.loads((there / "state" / "triggers.json").read_text())["triggers"]

    made = done.out.partition("(made ")[2].partition(")")[0]
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"imported 4 tasks, 2 projects, 2 triggers, 1 template from a.tar.gz (made {made})",
        f"agents work in {full.project}",
        "project app: paused, in app",
        "project lib: completed, in /lib",
        "trigger nightly: disabled; `awm triggers enable nightly`",
        "trigger hand: disabled; `awm triggers enable hand`",
        "left out: awm.toml [notify] urls: env:AWM_URL",
        "left out: awm.toml [agents.mine] command: my-agent {prompt_file}",
        "left out: awm.toml [agents.mine]: nothing is left of an agent without its command",
        "left out: awm.toml [loop] default_agent: mine",
        "left out: project app, verify: make",
        "left out: task S1, Verify: pytest",
        "read first: task S2 has a script in state/specs/imported/S2.md",
        "the loop is paused: `awm resume` goes on",
    ]
    assert {key: state[key] for key in ("active", "queue", "completed", "blocked", "maxRetries", "project")} == {
        "active": False,
        "queue": ["S1"],
        "completed": ["S0"],
        "blocked": ["S3", "S2"],
        "maxRetries": 1,
        "project": str(full.project),
    }
    assert state["tasks"] == {
        "S1": {"priority": "high"},
        "S3": {"reason": "asks"},
        "S2": {"reason": "came by import with a script: read it, then awm retry"},
    }
    assert (state["idleSince"], state["projectOf"]) == (None, {"S1": "app"})
    assert projects == [
        {"id": "app", "name": "App", "status": "paused", "path": "app", "depends": ["lib"], "own": 1},
        PROJECTS["projects"][1],  # type: ignore[index]
    ]
    assert [(one["enabled"], one.get("spec")) for one in triggers] == [
        (False, "state/specs/triggers/nightly.md"),
        (False, None),
    ]
    assert (there / "state" / "specs" / "imported" / "S1.md").read_text() == "# Sprint S1: A\n\n\nDo it.\n"
    assert "stall_minutes = 2.5" in (there / "awm.toml").read_text()
    assert f"{there}/awm.toml: ok\n{there}/state/current_work.json: ok, 1 queued\n" in at(full, there, "check").out


def test_nothing_of_it_runs_until_a_person_says_so(full: Home) -> None:
    """A beat after the import starts nothing; `awm retry` and `awm resume` are a person's word."""
    exported(full, full.path, "a.tar.gz")
    there = other(full, "there", "--project", str(full.project))
    assert at(full, there, "import", "a.tar.gz").code == 0

    beat = at(full, there, "beat", "--json")
    (there / "state" / "projects.json").unlink()
    resumed = [at(full, there, *words).code for words in (("skip", "S1"), ("retry", "S2"), ("resume",), ("run",))]

    assert (json.loads(beat.out)["notices"], beat.code) == ([], 0)
    assert resumed[:3] == [0, 0, 0]
    assert len(list((there / "state" / "attempts").glob("*/out.log"))) >= 1


def test_secrets_and_what_belongs_to_one_home_stay_there(full: Home) -> None:
    """SPEC 3.3: no address, no comment of awm.toml, no attempt, no counter, no path of the home; the file is 0600."""
    full.edit(
        lambda state: state.update(
            agentsOff={"codex": "hush-hush bill"}, log=[], sessions={"codex": "hush-hush session"}
        )
    )
    wrote(full.path / "state" / "attempts" / "0123456789ab.1" / "out.log", "hush-hush log")

    done = at(full, full.path, "export", "a.tar.gz", "--json")
    with tarfile.open(full.root / "a.tar.gz") as tar:
        words = b"".join(file.read() for info in tar if (file := tar.extractfile(info)) is not None)

    said = json.loads(done.out)
    assert stat.S_IMODE((full.root / "a.tar.gz").stat().st_mode) == 0o600
    assert said["leftOut"] == ["awm.toml [notify] urls: a value that is no env:NAME may be a secret"]
    assert said["tasks"] == {"queue": ["S1", "S2"], "completed": ["S0"], "blocked": ["S3"]}
    assert [
        word for word in (b"hush-hush", b"token", b'"tries"', b"seq", str(full.path).encode()) if word in words
    ] == []


def test_the_round_trip_changes_nothing_but_what_is_paused(full: Home) -> None:
    """With its commands an import exports the same again: only what is paused and disabled differs."""
    full.config(CONFIG.replace('"ntfy://hush-hush", ', ""))
    first = exported(full, full.path, "a.tar.gz")
    there = other(full, "there")
    done = at(full, there, "import", "a.tar.gz", "--with-commands", "--yes")
    second = exported(full, there, "b.tar.gz")

    assert done.code == 0
    assert done.err.splitlines() == [
        "awm.toml [notify] urls: env:AWM_URL",
        "awm.toml [agents.mine] command: my-agent {prompt_file}",
        "awm.toml [agents.mine]: nothing is left of an agent without its command",
        "awm.toml [loop] default_agent: mine",
        "project app, verify: make",
        "task S1, Verify: pytest",
        "task S2 runs: echo hi",
    ]
    paused = first["projects.json"].replace(b'"active"', b'"paused"', 1)
    assert second.keys() == first.keys()
    assert {name for name in first if first[name] != second[name]} <= {
        "manifest.json",
        "current_work.json",
        "projects.json",
        "triggers.json",
    }
    assert json.loads(second["current_work.json"]) == json.loads(first["current_work.json"]) | {"active": False}
    assert second["projects.json"] == paused
    assert [one | {"enabled": True} for one in json.loads(second["triggers.json"])["triggers"]] == [
        one | {"enabled": True} for one in json.loads(first["triggers.json"])["triggers"]
    ]


def test_the_same_home_gives_the_same_archive_but_for_the_date(full: Home) -> None:
    """So two of them can be compared."""
    first, second = (exported(full, full.path, name) for name in ("a.tar.gz", "b.tar.gz"))
    dates = [json.loads(found.pop("manifest.json")) | {"made": ""} for found in (first, second)]

    assert (first, dates[0]) == (second, dates[1])


def test_one_project_travels_with_its_own_and_joins_a_home_at_work(full: Home) -> None:
    """Its triggers, tasks and specs; the loop it comes to goes on, and its own settings stay."""
    files = exported(full, full.path, "app.tar.gz", "--project", "app")
    there = other(full, "there", "--project", str(full.project))
    before = (there / "awm.toml").read_bytes()

    done = at(full, there, "import", "app.tar.gz", "--json")
    state = json.loads((there / "state" / "current_work.json").read_text())

    assert sorted(files) == [
        "current_work.json",
        "manifest.json",
        "projects.json",
        "specs/tasks/S1.md",
        "specs/triggers/nightly.md",
        "triggers.json",
    ]
    said = json.loads(done.out)
    assert {key: said[key] for key in said if key != "made"} == {
        "file": "app.tar.gz",
        "imported": True,
        "tasks": {"queue": ["S1"]},
        "projects": ["app"],
        "triggers": ["nightly"],
        "templates": [],
        "sprints": 0,
        "project": None,
        "paused": False,
        "leftOut": ["project app, depends: lib is not here", "project app, verify: make", "task S1, Verify: pytest"],
        "scripts": [],
    }
    assert (state["active"], state["queue"], state["projectOf"]) == (True, ["S1"], {"S1": "app"})
    assert (there / "awm.toml").read_bytes() == before


def test_what_is_here_already_is_refused_by_name_and_comes_under_another(full: Home) -> None:
    """Nothing is half imported; `--as` names the project, and what else is taken."""
    exported(full, full.path, "app.tar.gz", "--project", "app")
    there = other(full, "there", "--project", str(full.project))
    assert at(full, there, "import", "app.tar.gz").code == 0
    state = there / "state" / "projects.json"
    state.write_text(state.read_text().replace('"App"', '"Mine", "_own": 1').replace("{", '{"_comment": "mine",', 1))
    before = tree(there)

    refused = at(full, there, "import", "app.tar.gz")
    unchanged = tree(there) == before
    done = at(full, there, "import", "app.tar.gz", "--as", "app2")
    after = json.loads(state.read_text())
    projects = after["projects"]
    triggers = json.loads((there / "state" / "triggers.json").read_text())["triggers"]

    assert (after["_comment"], projects[0]["_own"]) == ("mine", 1)
    assert (refused.code, refused.out) == (78, "")
    assert refused.err == (
        "awm: here already: task S1, project app; nothing was imported\n"
        "hint: `--as NEW_ID` gives what is taken another id; a file that is in the way can be moved\n"
    )
    assert unchanged
    assert done.code == 0
    assert [(one["id"], one["name"]) for one in projects] == [("app", "Mine"), ("app2", "App")]
    assert [(one["id"], one["projectId"]) for one in triggers] == [("nightly", "app"), ("app2-nightly", "app2")]
    found = json.loads((there / "state" / "current_work.json").read_text())
    assert (found["queue"], found["projectOf"]) == (["S1", "app2-S1"], {"S1": "app", "app2-S1": "app2"})


def test_a_spec_that_depends_on_what_is_renamed_waits_for_that(full: Home) -> None:
    """Not for another task of that name; what else it says of it stays (SPEC 13.5)."""
    wrote(full.root / "S2.md", "# Sprint S2: B\n\n**Depends:** S1, S0 and S9\n\n## About\n\n**Depends:** S1\n")
    exported(full, full.path, "a.tar.gz")
    there = other(full, "there")
    assert at(full, there, "import", "a.tar.gz").code == 0

    done = at(full, there, "import", "a.tar.gz", "--as", "x")

    assert (done.code, done.err) == (0, "")
    spec = (there / "state" / "specs" / "imported" / "x-S2.md").read_text()
    assert spec == "# Sprint S2: B\n\n**Depends:** x-S1, x-S0 and S9\n\n## About\n\n**Depends:** S1\n"


@pytest.mark.parametrize(
    "point", ["durable.write:before-rename", "durable.write:after-rename", "store.save:before-journal"]
)
def test_an_import_that_was_killed_is_done_again(full: Home, point: str) -> None:
    """At any write: the same command brings the home to where the import that was not killed brings it."""
    exported(full, full.path, "a.tar.gz")
    calm = other(full, "calm")
    assert at(full, calm, "import", "a.tar.gz").code == 0
    wanted = {name: data for name, data in tree(calm).items() if "history" not in name and "log" not in name}
    kills, fresh = 0, other(full, "fresh", "--project", str(full.project))
    step = rounds(9, 1) if point == "durable.write:after-rename" else 1
    for nth in range(1, 20, step):
        there = Path(shutil.copytree(fresh, full.root / "there" / str(nth) / "fresh", symlinks=True))
        fault = f"at={point} do=kill nth={nth} log={full.root}/faults"
        first = at(full, there, "import", "a.tar.gz", AWM_FAULT=fault)
        if first.code == 0:
            break
        kills += 1
        again = at(full, there, "import", "a.tar.gz")
        found = {name: data for name, data in tree(there).items() if name in wanted}
        is_late = "task S1" in again.err  # the state was saved: the import was over
        assert first.code == -9
        assert again.code == 0 or is_late, again
        for name, data in wanted.items():
            if name == "state/current_work.json":
                states = [json.loads(one[name]) for one in (found, wanted)]
                assert len({json.dumps([one[key] for key in PLACED]) for one in states}) == 1
            elif name == "state/work_metrics.json":
                assert len(json.loads(found[name])["sprints"]) == 1
            else:
                assert found[name] == data, name
    assert kills == {"durable.write:before-rename": 10, "durable.write:after-rename": rounds(2, 10)}.get(point, 1)


def test_a_home_at_work_is_paused_by_tasks_of_its_own_project_alone(full: Home) -> None:
    """They would start by themselves; its settings and rules stay, and it keeps its place to work."""
    exported(full, full.path, "a.tar.gz")
    there = other(full, "there")
    assert at(full, there, "add", str(full.spec("S9"))).code == 0
    settings = (there / "awm.toml").read_bytes()
    wrote(full.root / "S2.md", "# Sprint S2: B\n")
    exported(full, full.path, "b.tar.gz")

    blocked = at(full, there, "import", "a.tar.gz", "--json")
    queued = at(full, there, "import", "b.tar.gz", "--as", "b", "--json")
    state = json.loads((there / "state" / "current_work.json").read_text())

    assert [json.loads(done.out)["paused"] for done in (blocked, queued)] == [False, True]
    assert json.loads(blocked.out)["leftOut"][-1] == "awm.toml: this home has its own"
    assert (state["active"], state["queue"], state["project"]) == (False, ["S9", "S1", "b-S1", "b-S2"], str(there))
    assert (state.get("maxRetries"), (there / "awm.toml").read_bytes()) == (None, settings)


def test_tasks_of_a_project_that_is_gone_stay_and_are_told(full: Home) -> None:
    """An archive that refers to what it does not hold could not be imported."""
    wrote(full.path / "state" / "projects.json", {"version": 1, "projects": []})

    done = at(full, full.path, "export", "a.tar.gz", "--json")
    said = json.loads(done.out)

    assert (said["tasks"]["queue"], said["triggers"]) == (["S2"], ["hand"])
    assert said["leftOut"][1:] == [
        "task S1: its project app is in no projects.json",
        "trigger nightly: its project app is in no projects.json",
    ]
    assert at(full, other(full, "there"), "import", "a.tar.gz").code == 0


def test_a_dry_run_writes_nothing(full: Home) -> None:
    """SPEC 14: also with commands, which it shows without a question."""
    exported(full, full.path, "a.tar.gz")
    there = other(full, "there")
    before = {path: path.lstat().st_mtime_ns for path in there.rglob("*")}

    plain = at(full, there, "import", "a.tar.gz", "--dry-run")
    shown = at(full, there, "import", "a.tar.gz", "--dry-run", "--with-commands")

    assert plain.out.startswith("would import 4 tasks, 2 projects")
    assert "task S1, Verify: pytest" in shown.err
    assert {path: path.lstat().st_mtime_ns for path in there.rglob("*")} == before


def test_commands_are_not_taken_without_a_yes(full: Home) -> None:
    """Where nobody can be asked, nothing is imported."""
    exported(full, full.path, "a.tar.gz")
    there = other(full, "there")
    before = tree(there)

    done = at(full, there, "import", "a.tar.gz", "--with-commands")

    assert done.code == 78
    assert done.err.endswith(
        "awm: nothing was imported: there is nobody to ask\nhint: `awm import --yes` does not ask\n"
    )
    assert tree(there) == before


def test_no_link_leads_an_import_out_of_the_home(full: Home) -> None:
    """SPEC 17: what an agent left in the home as a link is in the way, and what it leads to stays as it is."""
    exported(full, full.path, "a.tar.gz")
    there = other(full, "there")
    victim = wrote(full.root / "victim.md", "mine")
    (full.root / "outside").mkdir()
    (there / "state" / "specs" / "imported").mkdir(parents=True)
    (there / "state" / "specs" / "imported" / "S1.md").symlink_to(victim)
    (there / "templates").symlink_to(full.root / "outside")

    done = at(full, there, "import", "a.tar.gz")

    assert done.code == 78
    assert "here already: state/specs/imported/S1.md (not a regular file), templates is a link; nothing" in done.err
    assert (victim.read_text(), list((full.root / "outside").iterdir())) == ("mine", [])
    assert not (there / "state" / "projects.json").exists()


def test_a_hostile_archive_changes_nothing(full: Home) -> None:
    """SPEC 17: one clear line and no traceback; links that `tar` itself would follow."""
    there = other(full, "there")
    before = tree(there)
    with tarfile.open(full.root / "evil.tar.gz", "w:gz") as tar:
        for name, kind in (("../../evil", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc", 1 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"x"))
    os.mkfifo(full.root / "fifo")

    evil, fifo, none = (at(full, there, "import", name) for name in ("evil.tar.gz", "fifo", "none"))

    said = "only what `awm export` wrote can be imported"
    assert evil == Done(78, "", f"awm: evil.tar.gz: its first file is not manifest.json\nhint: {said}\n")
    assert fifo == Done(78, "", f"awm: fifo: it is not a regular file\nhint: {said}\n")
    assert (none.code, none.err.splitlines()[0]) == (78, "awm: none: cannot be read: No such file or directory")
    assert tree(there) == before


def test_what_cannot_travel_is_told_and_the_rest_goes(full: Home) -> None:
    """A spec that is gone, a trigger without its spec, a corrupt history: each is named, none stops the export."""
    (full.root / "S0.md").unlink()
    (full.root / "review.md").write_bytes(b"\xff")
    wrote(full.path / "state" / "work_metrics.json", "[")
    wrote(full.path / "templates" / "notes.txt", "x")

    done = at(full, full.path, "export", "a.tar.gz", "--json")
    said: dict[str, Any] = json.loads(done.out)

    assert done.code == 0
    assert said["triggers"] == ["hand"]
    assert said["leftOut"][1:4] == [
        f"spec of task S0: {full.root}/S0.md: No such file or directory",
        f"trigger nightly, whose spec cannot be had: {full.root}/review.md: not UTF-8",
        "templates/notes.txt: no NAME.md or NAME.toml",
    ]
    assert said["leftOut"][4].startswith("metrics: ")


def test_errors_of_an_export_say_what_to_type(full: Home) -> None:
    """SPEC 14: a file that is there stays; a project that is not there is told with those that are."""
    taken = wrote(full.root / "a.tar.gz", "mine")

    there, unknown, default = (
        at(full, full.path, "export", *words)
        for words in (("a.tar.gz",), ("b.tar.gz", "--project", "no"), ("b.tar.gz", "--project", "default"))
    )
    named = at(full, full.path, "export", "--project", "app")

    assert there == Done(78, "", "awm: a.tar.gz is there already\nhint: name another file: awm export FILE\n")
    assert taken.read_text() == "mine"
    assert unknown == Done(78, "", "awm: there is no project no\nhint: projects: app, lib\n")
    assert default.err == "awm: default is the home's own project\nhint: `awm export` exports the whole home\n"
    assert named.out.startswith("wrote awm-app-20")


def test_a_live_task_travels_as_a_queued_one(full: Home) -> None:
    """Its attempt belongs to the home it runs in."""
    full.config("")
    full.spec("S9", full.work(f"until [ -e {full.root}/go ]; do sleep 0.02; done"))
    full.queue("S9", "S1", specFiles={"S9": str(full.root / "SPRINT_S9_SPEC.md")})
    full.beat()
    full.wait_for(lambda: full.begun() == ["S9"])

    files = exported(full, full.path, "a.tar.gz")
    (full.root / "go").touch()

    state = json.loads(files["current_work.json"])
    assert (state["queue"], "attempts" in state, "inProgress" in state) == (["S9", "S1"], False, False)
