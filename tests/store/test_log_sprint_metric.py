"""`scripts/log_sprint_metric.py` as a real process, under every Python it must bear (SPEC 3.1, 3.4, 12.3)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import awm_loop
from awm_loop.core.model import Ended, Instant, Phase
from awm_loop.store import metrics
from awm_loop.venv import DEPENDENCIES

CHECKOUT = Path(awm_loop.__file__).parents[1]
EXAMPLE = CHECKOUT / "state" / "work_metrics.example.json"
NOW = Instant(wall=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), boottime=1.0, boot_id="b")
S1 = ("--sprint", "S1", "--agent", "codex", "--status", "success", "--duration", "5")
BARE = (sys.executable, "-S")  # a Python that finds no dependencies

DONE = Ended(
    task="S7",
    number=9,
    outcome=Phase.COMPLETED,
    agent="codex",
    model="gpt-5.2-codex",
    type="coding",
    at=datetime(2026, 1, 2, 3, 0, tzinfo=UTC),
    minutes=4.00049,
    minutes_in_all=9.0,
    attempts=2,
    eta_minutes=10.0,
    error_type="",
    notes="Search bar",
    commit="abc1234",
    tokens={"input": 10, "output": 2},
    cost_usd=0.0,
)
LOGGED = {
    "sprint": "S7",
    "agent": "codex",
    "status": "success",
    "durationMinutes": 4.0,
    "timestamp": "2026-01-02T03:00:00Z",
    "errorType": None,
    "notes": "Search bar",
    "type": "coding",
    "project": "default",
    "model": "gpt-5.2-codex",
    "attempt": 9,
    "attempts": 2,
    "etaMinutes": 10.0,
    "tokens": {"input": 10, "output": 2},
    "costUsd": 0.0,
}


def script(
    *arguments: str, checkout: Path = CHECKOUT, python: tuple[str, ...] = (sys.executable,), home: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the script as a process, `home` in AWM_HOME; 30 seconds are for ever."""
    return subprocess.run(
        [*python, str(checkout / "scripts" / "log_sprint_metric.py"), *arguments],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "AWM_HOME": home},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of its own, without a .venv."""
    copy = tmp_path / "checkout"
    shutil.copytree(CHECKOUT / "awm_loop", copy / "awm_loop", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "scripts", copy / "scripts")
    return copy


def logged(home: Path) -> list[dict[str, Any]]:
    document = json.loads((home / "state" / "work_metrics.json").read_bytes())
    entries: list[dict[str, Any]] = document["sprints"]
    return entries


def test_the_script_logs_the_published_keys(tmp_path: Path) -> None:
    """One line on stdout, one entry in the file; the same again is another entry, as it has no number (SPEC 12.3)."""
    again, done = (script(*S1, "--error", "none really", "--notes", "Ü 🚀", home=str(tmp_path)) for _ in range(2))

    assert (done.returncode, done.stdout, done.stderr) == (0, "Logged: S1 | codex | success | 5 min\n", "")
    assert again.stdout == done.stdout
    entries = logged(tmp_path)
    assert [datetime.fromisoformat(each.pop("timestamp")).tzinfo for each in entries] == [UTC, UTC]
    assert (
        entries
        == [
            {
                "sprint": "S1",
                "agent": "codex",
                "status": "success",
                "durationMinutes": 5.0,
                "errorType": "none really",
                "notes": "Ü 🚀",
            }
        ]
        * 2
    )


def test_the_home_is_named_else_in_the_environment_else_the_checkout(checkout: Path, tmp_path: Path) -> None:
    """`--home`, else `$AWM_HOME`, else the checkout the script lies in (SPEC 3.1)."""
    for name in ("named", "environment"):
        (tmp_path / name).mkdir()
    environment = str(tmp_path / "environment")

    script("--home", str(tmp_path / "named"), *S1[2:], "--sprint", "A", checkout=checkout, home=environment)
    script(*S1[2:], "--sprint", "B", checkout=checkout, home=environment)
    script(*S1[2:], "--sprint", "C", checkout=checkout)

    assert [
        [entry["sprint"] for entry in logged(home)] for home in (tmp_path / "named", tmp_path / "environment", checkout)
    ] == [["A"], ["B"], ["C"]]


def test_the_script_shows_the_summary(tmp_path: Path) -> None:
    """`--summary` for people, with `--json` for programs; logging and showing go together (SPEC 12.3)."""
    first = script(*S1, "--summary", home=str(tmp_path))
    text = script("--summary", home=str(tmp_path))
    programs = script("--summary", "--json", home=str(tmp_path))

    path = tmp_path / "state" / "work_metrics.json"
    assert first.stdout == text.stdout == f"{metrics.summary_text(path)}\n"
    assert json.loads(programs.stdout) == metrics.summary_json(path)


def test_scripts_at_the_same_time_lose_no_entry(tmp_path: Path) -> None:
    """Every invocation that reported success is in the file (SPEC 12.3)."""
    command = [sys.executable, str(CHECKOUT / "scripts" / "log_sprint_metric.py"), "--home", str(tmp_path), *S1[2:]]
    names = [f"S{number}" for number in range(8)]

    running = [subprocess.Popen([*command, "--sprint", name], stdout=subprocess.DEVNULL) for name in names]

    assert [process.wait(30) for process in running] == [0] * len(names)
    assert sorted(entry["sprint"] for entry in logged(tmp_path)) == names


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give a sprint to log, or --summary"),
        (("--sprint", "S1"), "to log a sprint give also --agent, --status, --duration"),
        (("--notes", "x", "--summary"), "to log a sprint give also --sprint, --agent, --status, --duration"),
        ((*S1[:6], "--duration", "nan"), "nan is not a number of minutes"),
        ((*S1[:6], "--duration", "-1"), "-1 is not a number of minutes"),
        ((*S1[:6], "--duration", "soon"), "invalid minutes value: 'soon'"),
        ((*S1, "--notes", "\udcff"), "'\\udcff' is not UTF-8"),
        ((*S1[:4], "--status", "done", "--duration", "1"), "invalid choice: 'done'"),
    ],
)
def test_a_wrong_command_line_writes_nothing(arguments: tuple[str, ...], complaint: str, tmp_path: Path) -> None:
    """The usual exit 2, with what is missing (SPEC 14)."""
    done = script(*arguments, home=str(tmp_path))

    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert complaint in done.stderr


def test_a_home_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Exit 78 and what to type, no traceback, no folder made (SPEC 3.1)."""
    home = tmp_path / "absent"

    done = script(*S1, "--home", str(home))

    assert (done.returncode, done.stdout, home.exists()) == (78, "", False)
    assert done.stderr == (f"awm: {home} is not a directory\nhint: name an existing home with --home DIR or AWM_HOME\n")


def test_the_script_goes_on_past_a_corrupt_file(tmp_path: Path) -> None:
    """Showing it is an error; logging sets it aside, says so on stderr and logs (SPEC 4.7)."""
    path = tmp_path / "state" / "work_metrics.json"
    path.parent.mkdir()
    path.write_bytes(b"[]")

    shown = script("--summary", home=str(tmp_path))
    done = script(*S1, home=str(tmp_path))

    assert (shown.returncode, shown.stdout) == (78, "")
    assert shown.stderr.startswith(f"awm: {path}:1:1: ")
    assert (done.returncode, done.stdout) == (0, "Logged: S1 | codex | success | 5 min\n")
    assert "; set aside as work_metrics.json.bad-" in done.stderr
    assert [entry["sprint"] for entry in logged(tmp_path)] == ["S1"]


def system_python() -> str:
    """A Python of the system, >= 3.11, without the dependencies; the test is skipped where there is none."""
    probe = "import sys; sys.exit(sys.version_info < (3, 11))"
    python = "/usr/bin/python3"
    if not Path(python).exists() or subprocess.run([python, "-c", probe], check=False).returncode:
        pytest.skip(f"{python} is not there or older than 3.11: re-execution from a system Python was NOT tested")
    if not subprocess.run([python, "-c", "import filelock"], check=False, capture_output=True).returncode:
        pytest.skip(f"{python} has the dependencies: re-execution from a system Python was NOT tested")
    return python


def test_a_system_python_without_dependencies_uses_the_venv(checkout: Path) -> None:
    """The same command line again with `.venv/bin/python`, arguments intact (SPEC 3.4)."""
    python = system_python()
    (checkout / ".venv").symlink_to(sys.prefix)

    done = script(*S1, "--notes", "two  words, 'quoted' 🚀", checkout=checkout, python=(python, "-B"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "Logged: S1 | codex | success | 5 min\n", "")
    assert [entry["notes"] for entry in logged(checkout)] == ["two  words, 'quoted' 🚀"]


def test_without_a_venv_the_command_that_makes_it_is_named(checkout: Path) -> None:
    """Exit 78 (SPEC 3.4)."""
    done = script("--summary", checkout=checkout, python=BARE)

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        f"awm: {sys.executable} lacks {', '.join(DEPENDENCIES)}, and {checkout} has no working .venv\n"
        f"hint: run `./scripts/run --help` in {checkout}: it sets up .venv\n"
    )


def test_a_venv_that_lacks_the_dependencies_is_tried_once(checkout: Path) -> None:
    """No endless re-execution: exit 78, naming what to remove (SPEC 3.4)."""
    (checkout / ".venv").symlink_to(sys.prefix)

    done = script("--summary", checkout=checkout, python=BARE)  # -S goes along, so the .venv finds nothing either

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.endswith(
        f"\nhint: remove {checkout}/.venv, then run `./scripts/run --help` in {checkout}: it sets up .venv\n"
    )


def test_help_needs_no_dependencies(checkout: Path) -> None:
    """`--help` has an example, and works before anything is installed (SPEC 14)."""
    done = script("--help", checkout=checkout, python=BARE)

    assert (done.returncode, done.stderr) == (0, "")
    assert "--sprint S1 --agent codex --status success --duration 5" in done.stdout


def test_the_dependencies_looked_for_are_those_of_the_project() -> None:
    """One list in pyproject.toml, one of importable names, no difference (SPEC 3.4)."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    distributions = packages_distributions()

    assert {distributions[name][0] for name in DEPENDENCIES} == {
        each.partition(">")[0] for each in project["dependencies"]
    }
