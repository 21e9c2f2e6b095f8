"""`awm demo`: four sprints to watch in a throw-away home, each with a trouble of its own. Needs git and no model."""

from __future__ import annotations

import shlex
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from awm_loop import trees
from awm_loop.cli import steering, throwaway
from awm_loop.cli.queueing import edit, wait_until_gone
from awm_loop.cli.running import play

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
        home = throwaway.home_in(directory, CONFIG, SPECS)
        click.echo(f"a throw-away home with four sprints: {directory}\n")
        if play(home, left=KEPT if keep else GONE) is None and not keep:
            wait_until_gone(home, [attempt.key for attempt in edit(home, steering.stop).attempts])
        commits = throwaway.git(directory / "project", "log", "--oneline", "--reverse").stdout
        click.echo(f"\nwhat the agents committed:\n{commits}")
        if keep:
            click.echo(f"look around:  ./scripts/run --home {shlex.quote(str(directory))} status")
    finally:
        if not keep:
            with suppress(OSError):
                trees.remove(directory)
