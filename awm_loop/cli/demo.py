"""`awm demo`: four sprints to watch in a throw-away home, each with a trouble of its own. Needs git and no model."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from awm_loop import clock
from awm_loop.cli import steering
from awm_loop.cli.queueing import edit, wait_until_gone
from awm_loop.cli.running import play
from awm_loop.core.model import Instant, Priority, Work
from awm_loop.errors import AwmError
from awm_loop.wiring import Home

GONE = "left; its agents are stopped, and the throw-away home is removed"
KEPT = "left; the agents go on"
CONFIG = """\
[loop]
stall_minutes = 0.05             # 3 seconds
stop_grace_seconds = 1
retry_backoff_seconds = [2]
limit_margin_seconds = 0
"""

SPECS = {
    "S1": """\
# Sprint S1: A greeting

**Est:** 1 min

```sh run
echo "writing greeting.txt"
echo "hello" > greeting.txt
git add greeting.txt
git commit -qm "Add a greeting"
```
""",
    "S2": """\
# Sprint S2: Fails once, then works

**Est:** 1 min

```sh run
if [ ! -e ".git/tried-s2" ]; then
  touch ".git/tried-s2"
  echo "the build broke" >&2
  exit 1
fi
echo "fixed" > build.txt
git add build.txt
git commit -qm "Mend the build"
```
""",
    "S3": """\
# Sprint S3: Hangs, is stopped, and works the second time

**Est:** 1 min

```sh run
if [ ! -e ".git/tried-s3" ]; then
  touch ".git/tried-s3"
  echo "waiting for something that never comes"
  sleep 600
fi
echo "done" > patience.txt
git add patience.txt
git commit -qm "Do not wait for it"
```
""",
    "S4": """\
# Sprint S4: Meets a usage limit and waits it out

**Est:** 1 min

```sh run
if [ ! -e ".git/tried-s4" ]; then
  touch ".git/tried-s4"
  echo "{\\"status\\": \\"limited\\", \\"resetsAt\\": $(( $(date +%s) + 5 ))}" > "$AWM_RESULT_FILE"
  exit 1
fi
echo "enough quota" > quota.txt
git add quota.txt
git commit -qm "Go on after the limit"
```
""",
}


@click.command()
@click.option("--keep", is_flag=True, help="Leave the throw-away home in place and say where it is.")
def demo(keep: bool) -> None:
    """Play four sprints, with trouble, in a throw-away home. One works, one fails once, one hangs, one meets a limit.

    \b
    Example:  awm demo
    """
    directory = Path(tempfile.mkdtemp(prefix="awm-demo-"))
    try:
        home = _demo_home(directory)
        click.echo(f"a throw-away home with four sprints: {directory}\n")
        if play(home, left=KEPT if keep else GONE) is None and not keep:
            wait_until_gone(home, [attempt.key for attempt in edit(home, steering.stop).attempts])
        commits = _git(directory / "project", "log", "--oneline", "--reverse").stdout
        click.echo(f"\nwhat the agents committed:\n{commits}")
        if keep:
            click.echo(f"look around:  ./scripts/run --home {shlex.quote(str(directory))} status")
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _demo_home(directory: Path) -> Home:
    """awm.toml, a git repository, and a state file with the four specs queued."""
    project = directory / "project"
    project.mkdir()
    _git(project, "init", "-q", "-b", "main")
    for key, value in (("user.name", "AWM demo"), ("user.email", "demo@localhost"), ("commit.gpgsign", "false")):
        _git(project, "config", key, value)
    (project / "README.md").write_text("# A project that agents work on\n", encoding="utf-8")
    _git(project, "add", "README.md")
    _git(project, "commit", "-qm", "Begin")
    (directory / "awm.toml").write_text(CONFIG, encoding="utf-8")
    home = Home.open(directory)
    home.store.prepare()
    paths = {task_id: directory / f"SPRINT_{task_id}_SPEC.md" for task_id in SPECS}
    for task_id, path in paths.items():
        path.write_text(SPECS[task_id], encoding="utf-8")

    def queue_all(work: Work, now: Instant) -> Work:
        for task_id, path in paths.items():
            work = steering.add(work, task_id, str(path), Priority.MEDIUM, now)
        return work

    with home.store.locked_for_command():
        home.store.create(str(project))
        home.store.update(queue_all, clock.now())
    return home


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise AwmError("the demo needs git, and there is none on PATH", "install git") from error
