"""A home with a project of its own, to be thrown away: for a look at AWM, and at an agent."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from awm_loop import clock
from awm_loop.cli import steering
from awm_loop.core.model import Instant, Task, Work
from awm_loop.core.project import DEFAULT_PROJECT
from awm_loop.errors import AwmError
from awm_loop.wiring import Home


def home_in(directory: Path, config: str, specs: Mapping[str, str]) -> Home:
    """awm.toml, a git repository with one commit, and a state file with the specs queued. Raises AwmError."""
    project = directory / "project"
    project.mkdir()
    git(project, "init", "-q", "-b", "main")
    for key, value in (("user.name", "AWM"), ("user.email", "awm@localhost"), ("commit.gpgsign", "false")):
        git(project, "config", key, value)
    (project / "README.md").write_text("# A project that agents work on\n", encoding="utf-8")
    git(project, "add", "README.md")
    git(project, "commit", "-qm", "Begin")
    (directory / "awm.toml").write_text(config, encoding="utf-8")
    home = Home.open(directory)
    home.store.prepare()
    paths = {task_id: directory / f"SPRINT_{task_id}_SPEC.md" for task_id in specs}
    for task_id, path in paths.items():
        path.write_text(specs[task_id], encoding="utf-8")

    def queue_all(work: Work, now: Instant) -> Work:
        for task_id, path in paths.items():
            work = steering.add(work, Task(id=task_id), str(path), DEFAULT_PROJECT, now)
        return work

    with home.store.locked_for_command():
        home.store.create(str(project))
        home.store.update(queue_all, clock.now())
    return home


def git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise AwmError("this needs git, and there is none on PATH", "install git") from error
