"""The benchmarks run, each as small as can be, and their page shows what they saved (docs/benchmarks/README.md)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from home import REPOSITORY, only

FOLDERS = ("scripts/bench", "docs/benchmarks")
ROWS = {
    "gap": {
        "awm in place",
        "awm, tasks of 1.5 s",
        "awm, shell agent",
        "awm, project in git",
        "awm, git, gate",
        "awm, git, worktrees",
    },
    "drain": {"awm in place", "bash loop", "xargs"},
    "night": {f"5 to 60 seconds: {way}" for way in ("awm", "awm, 5-minute timer only", "30-minute heartbeat")},
    "beat": {
        "python -c pass",
        "one pydantic model",
        "idle: no work",
        "busy: looks at all of it",
        "ends one, starts one",
    },
    "size": {"10 queued", "1,000 queued", "10,000 queued", "10 queued, 1,000,000 lines"},
    "many": {"an agent works: one project", "outside of the window: 100 projects, 1,000 triggers"},
    "cost": {"awm status", "one beat", "16 kicks at once", "supervisor"},
}


def page_of(checkout: Path) -> Path:
    return checkout / "docs" / "benchmarks" / "README.md"


def first_cells(table: str) -> set[str]:
    return {line.split("|")[1].strip() for line in table.splitlines()[2:]}


def bench(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "scripts" / "bench"), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The benchmarks and their page, to write to."""
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    return tmp_path


@pytest.mark.timeout(600)  # alone on the machine some seconds each
@pytest.mark.parametrize("name", ROWS)
def test_each_bench_runs_and_shows_all_it_compares(name: str) -> None:
    """One round of it, in its smallest form, through real processes; nothing is written."""
    before = page_of(REPOSITORY).read_bytes()

    done = bench(REPOSITORY, name, "--quick", "--rounds", "1")

    assert (done.returncode, done.stderr) == (0, "")
    table = only(re.findall(rf"^## {name}\n\n((?:\|.*\n)+)", done.stdout, re.M))
    assert first_cells(table) >= ROWS[name]
    assert "A quick run" in done.stdout
    assert page_of(REPOSITORY).read_bytes() == before


def test_the_page_shows_what_is_saved(checkout: Path) -> None:
    """Made anew of the JSON files, docs/benchmarks/README.md is as it is: no table was edited or forgotten."""
    done = bench(checkout, "--page")

    assert (done.returncode, done.stderr) == (0, "")
    assert page_of(checkout).read_text() == page_of(REPOSITORY).read_text()


@pytest.mark.timeout(600)
def test_a_saved_run_is_on_the_page(checkout: Path) -> None:
    """`--save` writes the file and the table: machine, versions, pressure, and of each contender every round."""
    for name in ("awm_loop", "heartbeat.py"):
        (checkout / name).symlink_to(REPOSITORY / name)

    done = bench(checkout, "cost", "--quick", "--rounds", "2", "--save")

    assert (done.returncode, done.stderr) == (0, "")
    saved = json.loads((checkout / "docs" / "benchmarks" / "cost.json").read_text())
    assert {*saved["machine"]} == {"cores", "memory", "kernel", "filesystem", "python"}
    assert {"awm", "task-spooler", "nq", "GNU parallel", "xargs", "bash loop"} <= {*saved["versions"]}
    assert len(saved["stalledPercent"]) == len(saved["contenders"]["awm status"]["cpu"]["rounds"]) == 2
    least = saved["contenders"]["awm status"]["cpu"]["least"]
    block = re.findall(r"<!-- tables of cost -->\n(.*)<!-- end of cost -->", page_of(checkout).read_text(), re.S)
    assert f"| {least:.1f}" in only(block)
    assert str(Path.home()) not in json.dumps(saved)


def test_a_bench_without_a_place_on_the_page_is_refused(checkout: Path) -> None:
    """The page's marks are what a run writes between: a lost one would hide a table for ever."""
    page = page_of(checkout)
    page.write_text(page.read_text().replace("<!-- end of cost -->", ""))

    done = bench(checkout, "--page")

    assert done.returncode == 1
    assert "the page has no place for cost" in done.stderr
