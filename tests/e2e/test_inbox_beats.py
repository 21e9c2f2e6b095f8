"""Requests of the inbox, taken by real beats: each once, poison told once, and nothing in the way (SPEC 3.2, 13.2, 13.4)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from home import Home, texts

from awm_loop.config import BEAT_WATCHDOG_SECONDS
from awm_loop.triggers import inbox

BUILD = """\
# Mend $branch

**Commit:** no

It is $branch.

```sh run
echo "begin $$AWM_TASK" >> TRUTH
```
"""


def prepare(home: Home, **fields: object) -> None:
    """An empty queue, a webhook trigger, and a template of the home that a shell can do."""
    (home.path / "templates").mkdir()
    (home.path / "templates" / "build.md").write_text(BUILD.replace("TRUTH", str(home.truth_path)))
    trigger = {"id": "ci", "type": "webhook", "template": "build", "overlap": "queue", **fields}
    write_triggers(home, trigger)
    home.queue()


def write_triggers(home: Home, *entries: dict[str, object]) -> None:
    (home.path / "state" / "triggers.json").write_text(json.dumps({"version": 1, "triggers": entries}))


def left(home: Home) -> list[str]:
    directory = home.path / "state" / "inbox"
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def fire(home: Home, name: str, branch: str = "main") -> Path:
    return inbox.write_request(home.path, {"trigger": "ci", "values": {"branch": branch}}, name)


def test_each_request_is_one_task(home: Home) -> None:
    """In order of arrival, each done once, and the inbox is empty after (SPEC 3.2)."""
    prepare(home)
    for name in ("b", "a", "c"):
        fire(home, name, name)
    state = home.finish()

    titles = [(home.path / "state" / "specs" / f"{task}.md").read_text().splitlines()[0] for task in home.begun()]
    assert titles == ["# Mend b", "# Mend a", "# Mend c"]
    assert (len(state["completed"]), left(home)) == (3, [])


def test_a_request_that_is_let_pass_leaves_no_spec(home: Home) -> None:
    """The task before it is not over; that one's spec stays, to be tried again (SPEC 13.2)."""
    prepare(home, overlap="skip")
    home.edit(lambda state: state.update(active=False))
    for name in ("a", "b", "c"):
        fire(home, name)
    while left(home):
        home.beat()

    assert [path.stem for path in (home.path / "state" / "specs").iterdir()] == home.state()["queue"]


def test_poison_is_told_once_each_and_the_rest_is_done(home: Home) -> None:
    """One notice for each bad file, however many lie there at once (issue 6, point 9)."""
    prepare(home)
    directory = home.path / "state" / "inbox"
    directory.mkdir()
    for name in ("p1", "p2", "p3"):
        (directory / name).write_text("{")
    fire(home, "good")
    state = home.finish()

    told = [text for text in texts(home.told) if "is not JSON" in text]
    assert sorted(next(name for name in ("p1", "p2", "p3") if f"'{name}'" in text) for text in told) == [
        "p1",
        "p2",
        "p3",
    ]
    assert left(home) == [f"rejected/{name}{end}" for name in ("p1", "p2", "p3") for end in ("", ".why")]
    assert len(state["completed"]) == 1


def test_a_folder_that_may_not_be_written_is_in_nobodys_way(home: Home) -> None:
    """It is put aside as all poison is, and does not end every beat (issue 6, point 9)."""
    prepare(home)
    if os.geteuid() == 0:
        home.prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    folder = home.path / "state" / "inbox" / "folder"
    (folder / "inside").mkdir(parents=True)
    folder.chmod(0o500)
    fire(home, "good")

    assert len(home.finish()["completed"]) == 1
    assert left(home) == ["rejected/folder.why"]
    assert (folder.parent / "rejected" / "folder" / "inside").is_dir()


@pytest.mark.parametrize("name", ["inbox", "triggers", "specs"])
def test_a_file_in_the_place_of_a_folder_is_named(home: Home, name: str) -> None:
    """Exit 74 with which one it is, and what to type (SPEC 4.8)."""
    prepare(home)
    (home.path / "s4.md").write_text("# S4\n")
    write_triggers(
        home,
        {
            "id": "t",
            "type": "time",
            "trigger": "* * * * *",
            "template": "build",
            "values": {"branch": "x"},
            "createdAt": "2026-01-01T00:00:00Z",
        },
        {"id": "f", "type": "file", "trigger": "*", "spec": "s4.md"},
    )
    path = home.path / "state" / name
    path.write_text("")
    done = home.heartbeat()

    assert (done.code, f"{path} is no directory\nhint: `ls -l {path}`; move it away\n" in done.err) == (74, True), done


def test_a_fifo_in_the_place_of_the_triggers_holds_nobody_up(home: Home) -> None:
    """It is told as bad, and the beat ends (SPEC 4.7, 17)."""
    prepare(home)
    path = home.path / "state" / "triggers.json"
    path.unlink()
    os.mkfifo(path)
    begun = time.monotonic()

    assert home.heartbeat().code == 78
    assert time.monotonic() - begun < BEAT_WATCHDOG_SECONDS / 2


def test_a_task_of_the_inbox_is_done(home: Home) -> None:
    """A spec of the home by its relative path, under the id that was asked for."""
    prepare(home)
    (home.path / "s4.md").write_text(BUILD.replace("TRUTH", str(home.truth_path)).replace("$$", "$"))
    inbox.write_request(home.path, {"spec": "s4.md", "id": "S4", "priority": "high"})

    assert (home.finish()["completed"], home.begun(), left(home)) == (["S4"], ["S4"], [])


@pytest.mark.parametrize("status", ["completed", "archived"])
def test_what_calls_for_a_project_that_is_over_is_told_and_queues_nothing(home: Home, status: str) -> None:
    """One notice each, for a clock that ticks on too; paused projects queue, and their tasks wait (SPEC 13.1)."""
    prepare(home, projectId="site")
    entries = [
        {"id": name, "path": str(home.project), "status": state} for name, state in (("site", status), ("p", "paused"))
    ]
    (home.path / "state" / "projects.json").write_text(json.dumps({"projects": entries}))
    (home.path / "s4.md").write_text("# S4\n")
    of_files = {"type": "file", "trigger": "*.txt", "debounceSeconds": 0, "spec": "s4.md"}
    write_triggers(
        home,
        {"id": "ci", "type": "webhook", "template": "build", "projectId": "site"},
        {**of_files, "id": "over", "projectId": "site"},
        {**of_files, "id": "goes-on", "projectId": "p"},
    )
    home.beat()
    (home.project / "new.txt").write_text("new")
    fire(home, "one")
    inbox.write_request(home.path, {"spec": "s4.md", "project": "site"}, "two")
    for _ in range(4):
        home.beat()

    told = [text for text in texts(home.told) if f"project site is {status}" in text]
    assert [name for name in ("over", "ci", "inbox-") for text in told if f"Trigger {name}" in text] == [
        "over",
        "ci",
        "inbox-",
    ]
    assert [task.partition("-2")[0] for task in home.state()["queue"]] == ["goes-on"]
    assert left(home) == ["rejected/one", "rejected/one.why", "rejected/two", "rejected/two.why"]
