"""Several projects in one loop (SPEC 7.5, 13.1, 13.3), through real beats, supervisors and agents."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from home import QUICK, Home
from test_verbs import awm

from awm_loop.triggers import inbox


def projects(home: Home, *entries: dict[str, object]) -> None:
    (home.path / "state" / "projects.json").write_text(json.dumps({"version": 1, "projects": entries}))


def project(home: Home, name: str, **fields: object) -> dict[str, object]:
    """A project with a repository of its own."""
    path = home.root / name
    if not path.exists():
        path.mkdir()
        home.git("-C", str(path), "init", "-q")
        home.git("-C", str(path), "commit", "-q", "--allow-empty", "-m", "base")
    return {"id": name, "path": str(path), **fields}


def commits(home: Home, path: Path) -> list[str]:
    return home.git("-C", str(path), "log", "--format=%s", "--reverse").splitlines()[1:]


def test_projects_take_turns_each_in_its_own_directory(home: Home) -> None:
    """Priority first, within it projects in turn, within a project queue order (SPEC 7.5)."""
    home.config(QUICK)
    tasks = ["A1", "A2", "A3", "B1", "B2", "D1"]
    for task in tasks:
        home.spec(task, header="**Priority:** P0" if task == "B2" else "")
    projects(home, project(home, "a"), project(home, "b"))
    home.queue(*tasks, projectOf={"A1": "a", "A2": "a", "A3": "a", "B1": "b", "B2": "b"})

    state = home.finish()

    assert home.begun() == ["B2", "A1", "D1", "B1", "A2", "A3"]
    assert sorted(state["completed"]) == tasks
    assert commits(home, home.root / "a") == ["A1", "A2", "A3"]
    assert commits(home, home.root / "b") == ["B2", "B1"]
    assert commits(home, home.project) == ["D1"]
    assert {name: spent["inAll"]["attempts"] for name, spent in state["spent"].items()} == {
        "a": 3,
        "b": 2,
        "default": 1,
    }


def test_a_paused_project_starts_nothing_and_holds_up_nobody(home: Home) -> None:
    """SPEC 13.1; resumed, it goes on."""
    home.config(QUICK)
    home.spec("A1")
    home.spec("D1")
    projects(home, project(home, "a", status="paused"))
    home.queue("A1", "D1", projectOf={"A1": "a"})

    home.wait_for(lambda: home.state().get("completed") == ["D1"], beat_every=1)
    assert "project a is paused" in awm(home, "why", "A1").out
    assert awm(home, "projects", "resume", "a").code == 0
    state = home.finish()

    assert (state["completed"], home.begun()) == (["D1", "A1"], ["D1", "A1"])


def test_the_loop_reports_when_all_that_is_left_waits_for_a_person(home: Home) -> None:
    """Once, with what is still queued and why; `awm run` ends with it, `awm status` says it (SPEC 4.4, 6.6)."""
    home.config(QUICK)
    home.spec("A1")
    home.spec("D1")
    projects(home, project(home, "a", status="paused"))
    home.queue("A1", "D1", projectOf={"A1": "a"})

    done = awm(home, "run")
    home.beat()
    home.beat()
    status = awm(home, "status").out

    left = "⏸️ Still queued: 1 sprint — project a is paused"
    assert (done.code, done.out.count("🏁 All that can start is done — 1 of 1"), done.out.count(left)) == (0, 1, 1)
    assert done.out.endswith("\n\nnothing can start: project a is paused\n")
    assert home.texts("report") == []
    assert "● waiting" in status
    assert "A1 waits for project a is paused" in status


def test_a_budget_that_is_reached_lets_nothing_new_start_and_is_told_once(home: Home) -> None:
    """SPEC 13.3: running work finishes; the other projects go on; a larger budget opens it again."""
    home.config(QUICK)
    for task in ("A1", "A2", "D1"):
        home.spec(task)
    projects(home, project(home, "a", budget={"attempts": 1}))
    home.queue("A1", "A2", "D1", projectOf={"A1": "a", "A2": "a"})

    home.wait_for(lambda: home.state().get("completed") == ["A1", "D1"], beat_every=1)
    home.beat()
    home.beat()
    assert home.texts("budget") == [
        "💰 Nothing new starts — the budget of project a is reached: 1 attempt in all. What runs goes on to its end"
    ]
    projects(home, project(home, "a", budget={"attempts": 2}))
    home.finish()

    assert home.begun() == ["A1", "D1", "A2"]
    assert len(home.texts("budget")) <= 2


def test_a_project_whose_directory_vanished_is_put_aside_and_comes_back(home: Home) -> None:
    """With one notice; everything else goes on (SPEC 13; issue: error recovery)."""
    home.config(QUICK)
    home.spec("A1")
    home.spec("D1")
    entry = project(home, "a")
    projects(home, entry)
    (home.root / "a").rename(home.root / "unmounted")
    home.queue("A1", "D1", projectOf={"A1": "a"})

    home.wait_for(lambda: home.state().get("completed") == ["D1"], beat_every=1)
    home.beat()
    (notice,) = home.texts("project")
    assert notice.startswith("✋ Project a waits — ")
    (home.root / "unmounted").rename(home.root / "a")
    state = home.finish()

    assert state["completed"] == ["D1", "A1"]
    assert len(home.texts("project")) == 1


def test_run_says_when_nothing_can_start_and_ends(home: Home) -> None:
    """It would wait without an end, and say nothing (SPEC 6.6)."""
    home.config(QUICK)
    home.spec("A1")
    projects(home, project(home, "a", status="paused"))
    home.queue("A1", projectOf={"A1": "a"})

    done = awm(home, "run")

    assert (done.code, done.out) == (0, "nothing can start: project a is paused\n")
    assert home.begun() == []


@pytest.mark.parametrize("table", ["loop", "project"])
def test_a_window_in_a_zone_that_nobody_knows_is_an_error_of_awm_toml(home: Home, table: str) -> None:
    """It would never open (SPEC 13.3, 16)."""
    home.config(f'[{table}]\nwindow = "22:00-07:00 Europe/Berlim"\n')
    home.queue()

    done = home.heartbeat()

    assert (done.code, done.out) == (78, "")
    assert f"awm.toml:2: {table}.window: " in done.err
    assert "did you mean Europe/Berlin?" in done.err


def test_while_the_projects_cannot_be_read_what_calls_for_them_waits(home: Home) -> None:
    """Nothing is put aside for a project that is there, in a file that somebody mends (SPEC 4.7, 13.2)."""
    home.config(QUICK)
    entry = project(home, "a")
    projects(home, entry)
    spec = Path(str(entry["path"])) / "SPEC.md"
    spec.write_text("# Thing\n\n**Commit:** no\n\n```sh run\ntrue\n```\n")
    home.queue()
    home.beat()
    request = {"spec": str(spec), "project": "a", "id": "A9"}
    inbox.write_request(home.path, request)
    (home.path / "state" / "projects.json").write_text("{")

    assert home.heartbeat().code == 78
    assert home.state()["queue"] == []
    projects(home, entry)
    home.wait_for(lambda: home.state().get("completed") == ["A9"], beat_every=1)


def test_trouble_that_passes_costs_a_trigger_no_slot(home: Home) -> None:
    """Its spec was not there for a while: the slot is still within its grace (SPEC 13.2)."""
    home.config(QUICK)
    home.queue()
    spec = home.path / "NIGHTLY.md"
    trigger = {
        "id": "t",
        "type": "time",
        "trigger": "* * * * *",
        "spec": str(spec),
        "createdAt": "2026-01-01T00:00:00Z",
    }
    trigger["trigger"] = f"{(datetime.now(UTC) - timedelta(minutes=5)).minute} * * * *"
    (home.path / "state" / "triggers.json").write_text(json.dumps({"version": 1, "triggers": [trigger]}))

    home.beat()
    home.beat()
    assert len(home.texts("trigger")) == 1
    spec.write_text("# Thing\n\n**Commit:** no\n\n```sh run\ntrue\n```\n")

    home.wait_for(lambda: len(home.state().get("completed", [])) == 1, beat_every=1)


def test_a_bad_projects_file_stops_its_projects_only_and_is_told_once(home: Home) -> None:
    """SPEC 4.7: each file on its own; it is never written over, and copied to quarantine once."""
    home.config(QUICK + '\n[notify]\ncommand = ["sh", "-c", "cat >> \\"$HOME/notices\\""]\n')
    home.spec("A1")
    home.spec("D1")
    path = home.path / "state" / "projects.json"
    path.write_text('{"projects": [{"id": "a", "path": "/tmp", "budjet": {}, "status": "actve"}]}')
    home.queue("A1", "D1", projectOf={"A1": "a"})

    done = home.heartbeat()
    home.wait_for(lambda: home.state().get("completed") == ["D1"])
    again = home.heartbeat()

    assert done.code == again.code == 78
    assert f"{path}:1:" in done.err
    assert len([one for one in (home.path / "state" / "quarantine").iterdir() if one.suffix == ".json"]) == 1
    notices = (home.user / "notices").read_text()
    assert notices.count("projects.json does not validate; the loop goes on without it") == 1


@pytest.mark.parametrize("is_allowed", [False, True])
def test_an_agent_proposes_next_steps_and_queues_them_only_where_its_project_lets_it(
    home: Home, is_allowed: bool
) -> None:
    """Data, shown for a person to accept; its words set nothing (SPEC 13.1)."""
    proposing = """
case $AWM_TASK in A1) printf '{"status": "succeeded", "nextSteps": ["**Verify:** false"]}' > "$AWM_RESULT_FILE";; esac
git commit -q --allow-empty -m "$AWM_TASK"
"""
    home.config(
        QUICK.replace("[loop]", '[loop]\ndefault_agent = "mine"')
        + f'\n[agents.mine]\nkind = "command"\ncommand = ["{home.agent(proposing)}"]\n'
    )
    home.spec("A1")
    projects(home, project(home, "a", mayEnqueue=is_allowed))
    home.queue("A1", projectOf={"A1": "a"})

    if is_allowed:  # the loop may have rested before a beat saw what was proposed
        home.wait_for(lambda: home.state().get("completed") == ["A1", "a-p1"], beat_every=1)
        assert home.state()["proposals"] == []
        return
    state = home.finish()
    assert (state["completed"], [one["text"] for one in state["proposals"]]) == (["A1"], ["**Verify:** false"])
    assert awm(home, "projects", "accept", "p1").code == 0
    state = home.finish()

    assert (state["completed"], state["proposals"]) == (["A1", "a-p1"], [])
    assert commits(home, home.root / "a") == ["A1", "a-p1"]


def test_one_directory_by_several_names_is_one_workspace(home: Home) -> None:
    """A symlink, a slash at the end, a way round: two attempts never work in one directory at once (SPEC 7.5, 15.1)."""
    home.config(f'{QUICK}max_parallel = 4\nisolation = "in-place"\n')
    entry = project(home, "a")
    path = Path(str(entry["path"]))
    (home.root / "link").symlink_to(path)
    names = {"A1": path, "B1": home.root / "link", "C1": f"{path}/", "D1": f"{path}/../a"}
    script = f"""\
mkdir {home.root}/at-work || echo "double $AWM_TASK" >> {home.truth_path}
sleep 0.3
git commit -q --allow-empty -m "$AWM_TASK"
rmdir {home.root}/at-work"""
    for task in names:
        home.spec(task, script)
    projects(home, *({"id": task.lower(), "path": str(where)} for task, where in names.items()))
    home.queue(*names, projectOf={task: task.lower() for task in names})

    state = home.finish()

    assert sorted(state["completed"]) == sorted(names)
    assert not home.truth_path.exists()
    assert sorted(commits(home, path)) == sorted(names)


def test_a_project_whose_directory_is_gone_is_named_with_its_file_and_the_remedy(home: Home) -> None:
    """Not the state file, which does not say where it is (issue 6, error recovery)."""
    home.config(QUICK)
    home.spec("A1")
    path = home.root / "nowhere"
    projects(home, {"id": "a", "path": str(path)})
    home.queue("A1", projectOf={"A1": "a"})
    file = home.path / "state" / "projects.json"
    said = f"{file}: a: project directory {path} does not exist"

    home.beat()
    checked = awm(home, "check")

    remedy = "awm projects edit a --path DIR, or make the directory (is it on a disk that is not mounted?)"
    assert home.texts("project") == [f"✋ Project a waits — {said}: {remedy}. The others go on now"]
    assert (checked.code, said in checked.out) == (78, True)


def test_status_and_the_start_name_the_task_that_is_really_next(home: Home) -> None:
    """Not one of a project that is paused; beside that one stands why it waits (SPEC 7.5, 12.1)."""
    home.config(QUICK)
    for task in ("A1", "D1", "D2"):
        home.spec(task)
    projects(home, project(home, "a", status="paused"))
    home.queue("A1", "D1", "D2", projectOf={"A1": "a"})

    before = awm(home, "status").out
    home.wait_for(lambda: home.state().get("idleSince") and len(home.texts("started")) == 2, beat_every=1)

    assert "queue      A1  (project a is paused)\n" in before
    assert "next       your timer's next beat starts it; no timer yet: awm run, or awm install for a timer\n" in before
    assert ["Next up: D2" in text for text in home.texts("started")] == [True, False]
    assert "Next up: nothing that can start yet\n" in home.texts("started")[1]
