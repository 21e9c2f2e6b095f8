"""Not only the demo: prose specs, the published starter file, a command agent, and a person's own repository."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from home import POLL_SECONDS, REPOSITORY, Home

STARTER = """\
{"_comment": "Copy this to current_work.json and fill in your project details", "active": true, "task": "my-project-sprints",
 "description": "Autonomous sprint queue for my project", "queue": ["S1","S2","S3"], "completed": [], "inProgress": null,
 "specFiles": {"S1": "%(root)s/SPRINT_S1_SPEC.md", "S2": "%(root)s/SPRINT_S2_SPEC.md", "S3": "%(root)s/SPRINT_S3_SPEC.md"},
 "project": "%(project)s", "notifyUser": true, "retryOnRateLimit": true, "rateLimitRetryMinutes": 15, "maxRetries": 3,
 "autoNewAfterSprints": 3, "createdAt": "2026-01-01T00:00:00Z", "lastUpdated": "2026-01-01T00:00:00Z", "log": []}
"""
PROSE = """\
# Sprint %(task)s: Say %(word)s

**Priority:** P2
**Files:** words/%(word)s.txt

Please add a file with the word in it, run the tests with the project's own virtual environment, and commit only that file.
"""
AGENT = """\
#!/bin/sh
set -eu
word=$(sed -n 's/^# Sprint S[0-9]: Say //p' "$AWM_PROMPT_FILE" | head -n 1)
venv/bin/python -c "import calc; assert calc.add(1, 2) == 3"
mkdir -p words
echo "$word" > "words/$word.txt"
git add -- "words/$word.txt"
git commit -q -m "Say $word" -- "words/$word.txt"
printf '{"status": "succeeded", "summary": "Said %s."}' "$word" > "$AWM_RESULT_FILE"
"""


def persons_repository(home: Home) -> dict[str, bytes]:
    """A Python project with a venv of its own and a dirty tree; returns everything in it that is the person's."""
    project = home.project
    (project / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    (project / "notes.txt").write_text("first\n")
    (project / ".gitignore").write_text("venv/\n")
    home.git("add", ".")
    home.git("commit", "-q", "-m", "a calculator")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(project / "venv")], check=True)
    (project / "calc.py").write_text("def add(a, b):\n    return b + a  # mine, not committed\n")
    (project / "notes.txt").write_text("first\nsecond\n")
    home.git("add", "notes.txt")
    (project / "scratch.md").write_text("untracked\n")
    return dirt(home)


def dirt(home: Home) -> dict[str, bytes]:
    """What of the person's could be lost: uncommitted, staged and untracked contents, stashes, the venv, the config."""
    files = ("calc.py", "notes.txt", "scratch.md", ".git/config", "venv/pyvenv.cfg")
    found = {name: (home.project / name).read_bytes() for name in files}
    found["staged"] = home.git("diff", "--cached").encode()
    found["unstaged"] = home.git("diff").encode()
    found["stash"] = home.git("stash", "list").encode()
    return found


def prepare(home: Home) -> dict[str, bytes]:
    before = persons_repository(home)
    agent = home.root / "agent.sh"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    for task, word in (("S1", "one"), ("S2", "two"), ("S3", "three")):
        (home.root / f"SPRINT_{task}_SPEC.md").write_text(PROSE % {"task": task, "word": word})
    home.config(f'[loop]\ndefault_agent = "mine"\n[agents.mine]\nkind = "command"\ncommand = ["{agent}"]\n')
    home.put_bytes((STARTER % {"root": home.root, "project": home.project}).encode())
    return before


def check_outcome(home: Home, before: dict[str, bytes]) -> None:
    state = home.state()
    assert (state["completed"], state["active"]) == (["S1", "S2", "S3"], False)
    assert home.git("log", "--format=%s", "-n", "3").split("\n") == ["Say three", "Say two", "Say one"]
    assert dirt(home) == before
    metrics = json.loads((home.path / "state" / "work_metrics.json").read_text())
    assert [(one["sprint"], one["status"]) for one in metrics["sprints"]] == [
        ("S1", "success"),
        ("S2", "success"),
        ("S3", "success"),
    ]


def test_a_loop_that_stands_for_cron_ends_the_queue_and_touches_nothing_of_the_persons(home: Home) -> None:
    """SPEC 1.1, 3.4, 10.3: cron's bare environment, a dirty tree, default configuration but for the agent."""
    before = prepare(home)
    said = []
    deadline = time.monotonic() + 60
    while not home.is_idle or home.state()["outbox"]:
        assert time.monotonic() < deadline, home.story()
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "heartbeat.py"), "--home", str(home.path)],
            env={"PATH": "/usr/bin:/bin", "HOME": str(home.user), "LOGNAME": "root", "SHELL": "/bin/sh"},
            cwd=home.user,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        said.append(done.stdout)
        time.sleep(POLL_SECONDS)

    check_outcome(home, before)
    assert "✅ Sprint S2 COMPLETE — Said two. Commit " in "".join(said)
    assert "🤖 Model: Mine\n" in "".join(said)


CRON_NAMESPACE = """\
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=1730 none /var/spool/cron/crontabs
chgrp crontab /var/spool/cron/crontabs
for directory in /etc/cron.d /etc/cron.hourly /etc/cron.daily /run; do mount -t tmpfs none $directory; done
touch %(root)s/empty; mount --bind %(root)s/empty /etc/crontab
install -o root -g crontab -m 0600 %(root)s/crontab /var/spool/cron/crontabs/root
exec cron -f -L 15
"""


@pytest.mark.timeout(400)
def test_real_cron_ends_the_queue(home: Home, request: pytest.FixtureRequest) -> None:
    """SPEC 1.1: the crontab line of systemd/awm.cron's form, under Debian's cron in a namespace (docs/MEASURED.md 1)."""
    if not request.config.getoption("--cron"):
        pytest.skip("real cron takes two minutes: run `scripts/test --cron`")
    before = prepare(home)
    line = f"* * * * * {sys.executable} {REPOSITORY}/heartbeat.py --home {home.path} >> {home.root}/cron.log 2>&1\n"
    (home.root / "crontab").write_text(f"HOME={home.user}\n{line}")
    script = home.root / "cron.sh"
    script.write_text(CRON_NAMESPACE % {"root": home.root})
    namespace = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", str(script)]
    with subprocess.Popen(namespace, stderr=subprocess.PIPE, text=True) as cron:
        try:
            home.wait_for(lambda: home.is_idle, seconds=200)
        finally:
            cron.kill()

    check_outcome(home, before)
    assert "🚀 Sprint S1 started — Say one" in Path(home.root / "cron.log").read_text()
