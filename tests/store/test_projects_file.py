"""`state/projects.json`: read strictly, changed under its lock, unknown keys kept (SPEC 4.7, 13.1, 13.3)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awm_loop import windows
from awm_loop.core.project import Bounds, Priority, Project, ProjectStatus, Use
from awm_loop.errors import AwmError, BadFileError
from awm_loop.store import jsontext, peoplefile, projects

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DOCS = {
    "id": "docs",
    "name": "Documentation",
    "description": "Keeps the docs true",
    "status": "paused",
    "goals": ["every module is described"],
    "context": "Sphinx; British spelling",
    "nextSteps": ["the API page"],
    "path": "../src/app",
    "agent": "codex",
    "verify": "make docs",
    "isolation": "worktree",
    "prepare": ["make deps"],
    "priority": "low",
    "window": "22:00-07:00 Europe/Berlin",
    "budget": {"attemptsPerDay": 5, "minutesPerDay": 60.5, "tokens": 1000, "costUsd": 2, "hard": True},
    "maxParallel": 2,
    "depends": ["audits"],
    "mayEnqueue": True,
    "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": "2026-01-02T00:00:00Z",
}
AUDITS = {"id": "audits", "path": "/srv/audits"}


def put(path: Path, value: object) -> Path:
    """Write the file as one that is not being written any more."""
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value, indent=2).encode())
    os.utime(path, (1, 1))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "projects.json"


def test_what_a_person_wrote_of_a_project_is_what_the_core_gets(path: Path) -> None:
    """SPEC 13.1: all fields; the window as it stands now (13.3)."""
    put(path, {"version": 1, "projects": [DOCS, AUDITS]})

    found = projects.read(path)
    core = projects.core_projects(found, NOW)

    assert [(entry.id, entry.priority, entry.goals) for entry in found] == [
        ("docs", Priority.LOW, ("every module is described",)),
        ("audits", Priority.MEDIUM, ()),
    ]
    assert core == {
        "docs": Project(
            id="docs",
            status=ProjectStatus.PAUSED,
            priority=Priority.LOW,
            agent="codex",
            verify="make docs",
            isolation="worktree",
            max_parallel=2,
            depends=("audits",),
            bounds=Bounds(
                opens_at=datetime(2026, 11, 21, 21, tzinfo=UTC),
                by_day=Use(attempts=5, minutes=60.5),
                in_all=Use(tokens=1000, cost_usd=2),
                is_hard=True,
            ),
        ),
        "audits": Project(id="audits"),
    }


def test_an_open_window_says_when_it_closes(path: Path) -> None:
    """SPEC 13.3: a task that would not fit the rest is not started late."""
    put(path, {"projects": [DOCS | {"depends": []}]})

    core = projects.core_projects(projects.read(path), datetime(2026, 11, 21, 23, tzinfo=UTC))

    bounds = core["docs"].bounds
    assert (bounds.opens_at, bounds.opened_at, bounds.closes_at) == (
        None,
        datetime(2026, 11, 21, 21, tzinfo=UTC),
        datetime(2026, 11, 22, 6, tzinfo=UTC),
    )


def test_a_zone_that_this_machine_does_not_know_shuts_its_project_alone(path: Path) -> None:
    """The world around one entry spoils that one only."""
    put(path, {"projects": [{"id": "a", "path": "a", "window": "1:00-2:00 Mars/Olympus"}, AUDITS]})

    core = projects.core_projects(projects.read(path), NOW)

    assert core["a"].bounds == Bounds(opens_at=NOW + projects.ZONE_AGAIN)
    assert core["audits"].bounds == Bounds()


def test_a_home_without_the_file_has_no_other_projects(path: Path) -> None:
    """No file is no trouble."""
    assert projects.read(path) == ()


def of(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"projects": entries}).encode()


def chain(*depends: str) -> bytes:
    """Projects `a`, `b`, … of which each depends on the given ones."""
    return of(*({"id": "abcdef"[index], "path": "x", "depends": [*on]} for index, on in enumerate(depends)))


@pytest.mark.parametrize(
    ("data", "said", "hint"),
    [
        (b"[]", "1:1: expected an object: '[]'", 'such as {"version": 1, ...}; see state/README.md'),
        (b"", "1:1: the file is empty; expected a JSON document", "empty file: `awm restore` puts the last good"),
        (b'{"projects": [],}', "1:16: a trailing comma; expected one more", "remove the trailing comma"),
        (b'{"version": 2, "projects": []}', "1:13: /version: expected version 1 or older: a newer AWM", "upgrade AWM"),
        (b"{}", "1:1: `projects` is missing: '{}'", "see state/README.md"),
        (b'{"projects": {}}', "1:14: /projects: should be a valid array", "see state/README.md"),
        (of({"id": "a"}), "1:15: /projects/0: `path` is missing", "see state/README.md"),
        (of({"id": "a", "path": ""}), "/projects/0/path: string should match pattern", "see state/README.md"),
        (of({"id": "a b", "path": "x"}), "/projects/0/id: expected an id", "rename the project"),
        (of({"id": "a\n", "path": "x"}), "/projects/0/id: expected an id", "rename the project"),
        (of({"id": "default", "path": "x"}), "/projects/0/id: default is the project of awm.toml", "rename"),
        (of(AUDITS, AUDITS), "/projects/1/id: audits is also in /projects/0", "rename one of the two"),
        (of(AUDITS | {"status": "done"}), "/status: should be 'active', 'paused', 'completed' or 'archived'", "see"),
        (of(AUDITS | {"goals": "all"}), "/projects/0/goals: should be a valid array", "see state/README.md"),
        (of(AUDITS | {"window": "22-7"}), "/projects/0/window: '22-7' is no window: write it as", "see"),
        (of(AUDITS | {"budget": {"atempts": 3}}), "/budget/atempts: unknown key", "did you mean `attempts`?"),
        (of(AUDITS | {"budget": {"minutes": -1}}), "/budget/minutes: should be greater than or equal to 0", "see"),
        (of(AUDITS | {"maxParallel": True}), "/projects/0/maxParallel: should be a valid integer", "see"),
        (of(AUDITS | {"depends": ["docs"]}), "/projects/0/depends/0: there is no project docs", "`awm projects list"),
        (chain("a"), "/projects/0/depends: a -> a: these projects would wait for each other for ever", "take one"),
        (chain("b", "a"), "/projects/0/depends: a -> b -> a: these projects would wait", "take one of them out"),
        (chain("", "c", "ad", "b"), "/projects/1/depends: b -> c -> d -> b: these projects would wait", "take one"),
    ],
)
def test_a_bad_file_is_told_with_place_and_remedy(path: Path, data: bytes, said: str, hint: str) -> None:
    """SPEC 4.7: file, line, column, JSON pointer, what was expected, and a hint; a cycle with its name (13.5)."""
    put(path, data)

    with pytest.raises(BadFileError) as raised:
        projects.read(path)

    assert raised.value.message.startswith(f"{path}:1:")
    assert said in raised.value.message
    assert hint in raised.value.hint
    assert path.read_bytes() == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(projects.KEYS)) | st.text(), inner),
    max_leaves=20,
)


@given(
    JSON
    | st.builds(lambda keys: {"projects": [AUDITS | keys]}, st.dictionaries(st.sampled_from([*projects.KEYS]), JSON))
)
def test_whatever_stands_in_the_file_is_projects_or_a_bad_file(value: Any) -> None:
    """Any JSON: never a traceback, and what is read can be given to the core (SPEC 4.7)."""
    data = json.dumps(value).encode()
    try:
        text, raw = jsontext.parse(data, Path("projects.json"))
        entries = projects.checked(text, raw) if isinstance(raw, dict) else ()
    except (BadFileError, peoplefile.WrongError):
        return
    assert len(projects.core_projects(entries, NOW)) == len(entries)


def test_a_change_leaves_all_else_verbatim_and_in_place(path: Path) -> None:
    """Unknown keys too, of the file, of a project, of its neighbour (SPEC 4.2)."""
    odd = {"_comment": "mine", "id": "odd", "goals": [], "path": "x", "x-team": {"lead": "Jo", "n": [1, None]}}
    put(path, {"a": 1, "projects": [odd, AUDITS], "z": [2]})

    projects.change(path, "odd", {"goals": ["one"], "priority": "high"}, (), NOW)

    changed = odd | {"goals": ["one"], "priority": "high", "updatedAt": "2026-11-21T12:00:00Z"}
    assert json.loads(path.read_text()) == {"version": 1, "a": 1, "projects": [changed, AUDITS], "z": [2]}
    assert [*json.loads(path.read_text())["projects"][0]] == [*odd, "priority", "updatedAt"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_project_that_is_added_shows_what_there_is_to_fill_in(path: Path) -> None:
    """All keys stand in the file with their defaults."""
    projects.add(path, {"id": "docs", "name": "Docs", "path": "x"}, NOW)

    written = json.loads(path.read_text())
    assert [written["version"], *written["projects"][0]] == [1, *projects.KEYS]
    assert written["projects"] == [
        {
            "id": "docs", "name": "Docs", "description": "", "status": "active", "goals": [], "context": "",
            "nextSteps": [], "path": "x", "agent": "", "verify": "", "isolation": "", "prepare": [],
            "priority": "medium", "window": "", "budget": {}, "maxParallel": 0, "depends": [], "mayEnqueue": False,
            "createdAt": "2026-11-21T12:00:00Z", "updatedAt": "2026-11-21T12:00:00Z",
        }
    ]  # fmt: skip


def test_a_change_that_would_spoil_the_file_is_refused_and_writes_nothing(path: Path) -> None:
    """What is written can be read back."""
    put(path, {"projects": [AUDITS | {"depends": []}, {"id": "docs", "path": "x", "depends": ["audits"]}]})
    before = path.read_bytes()

    with pytest.raises(AwmError) as cycle:
        projects.change(path, "audits", {"depends": ["docs"]}, (), NOW)
    with pytest.raises(AwmError) as stranger:
        projects.change(path, "dogs", {}, (), NOW)
    with pytest.raises(AwmError) as twice:
        projects.add(path, {"id": "docs", "path": "y"}, NOW)

    assert cycle.value.message == "depends: audits -> docs -> audits: these projects would wait for each other for ever"
    assert (stranger.value.message, stranger.value.hint) == ("there is no project dogs", "did you mean docs?")
    assert (twice.value.message, twice.value.hint) == (
        "there is a project docs already", "awm projects edit docs changes it",
    )  # fmt: skip
    assert path.read_bytes() == before


def test_a_bad_file_is_never_written_over(path: Path) -> None:
    """SPEC 4.7."""
    put(path, b'{"projects": [')

    with pytest.raises(BadFileError):
        projects.add(path, {"id": "docs", "path": "y"}, NOW)

    assert path.read_bytes() == b'{"projects": ['


def test_an_edit_saved_while_awm_changes_the_file_is_kept(path: Path) -> None:
    """It is read again, and the change made in what stands there now (SPEC 4.6)."""
    put(path, {"projects": [AUDITS]})
    calls: list[int] = []

    def change(raw: dict[str, Any]) -> dict[str, Any]:
        calls.append(len(raw["projects"]))
        if len(calls) == 1:
            put(path, {"projects": [AUDITS, {"id": "docs", "path": "x"}]})
        return raw | {"touched": True}

    peoplefile.update(path, projects.checked, change)

    written = json.loads(path.read_text())
    assert (calls, [one["id"] for one in written["projects"]], written["touched"]) == ([1, 2], ["audits", "docs"], True)


def test_commands_at_the_same_time_lose_nothing(path: Path) -> None:
    """Each waits for the lock of the file."""
    program = (
        "import sys, pathlib, datetime\nfrom awm_loop.store import projects\n"
        "for number in range(5):\n"
        "    fields = {'id': f'p{sys.argv[2]}-{number}', 'path': 'x'}\n"
        "    projects.add(pathlib.Path(sys.argv[1]), fields, datetime.datetime.now(datetime.UTC))\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(path), str(one)]) for one in range(4)]

    assert [process.wait(60) for process in started] == [0] * 4
    assert {entry.id for entry in projects.read(path)} == {
        f"p{one}-{number}" for one in range(4) for number in range(5)
    }
    assert sorted(one.name for one in path.parent.iterdir()) == ["projects.json", "projects.json.lock"]


def test_the_document_of_the_files_names_every_key_and_its_windows_are_windows() -> None:
    """state/README.md is what a bad file's hint names."""
    text = (Path(__file__).parent.parent.parent / "state" / "README.md").read_text().partition("## `projects.json`")[2]
    shown = text.partition("```text\n")[2].partition("```")[0].splitlines()

    assert [key for key in projects.KEYS if f"`{key}`" not in text] == []
    assert {key.removesuffix("PerDay") for key in projects.BUDGET_KEYS} <= {*re.findall(r"`(\w+)`", text)}
    assert len([windows.parse(line) for line in shown]) == 4
